//! Internal messages in V8's serialization format, converted from and to JSON values. Internal messages are
//! plain data in both formats.
//!
//! Only the format's plain data is supported: `src/objects/value-serializer.cc` of V8, whose tags for it are
//! the same from version 13 to 15. Node 20 to 26 write these versions.

use std::ops::RangeInclusive;

use serde_json::{Map, Number, Value as Json};

use super::names::V8_HEADER;

/// The versions that can be read. The newest one is written.
const VERSIONS: RangeInclusive<u64> = 13..=15;

/// How deep an internal message may nest. V8's format has references, so that a hostile message could be a cycle.
const MAX_DEPTH: usize = 16;

/// How much reading a message may cost, in bytes: those that are read and those of the values that result. A
/// reference stands for a copy, and a message may contain any number of them. A message of the largest size
/// stays below this.
const MAX_COST: usize = 4 << 20;

/// The cost of a value besides its contents.
const VALUE_COST: usize = 64;

const PADDING: u8 = 0;
const HOLE: u8 = b'-';
const UNDEFINED: u8 = b'_';
const NULL: u8 = b'0';
const TRUE: u8 = b'T';
const FALSE: u8 = b'F';
const INT32: u8 = b'I';
const UINT32: u8 = b'U';
const DOUBLE: u8 = b'N';
const LATIN1: u8 = b'"';
const UTF16: u8 = b'c';
const UTF8: u8 = b'S';
const OBJECT: u8 = b'o';
const OBJECT_END: u8 = b'{';
const ARRAY: u8 = b'A';
const ARRAY_END: u8 = b'$';
const REFERENCE: u8 = b'^';

const TRUNCATED: &str = "an internal message that breaks off";
const MALFORMED: &str = "an internal message that is malformed";
const NOT_PLAIN: &str = "something else than plain data in an internal message";

/// Decodes a frame. `undefined` counts as absent, as in JSON. Anything but plain objects, arrays, strings,
/// numbers and booleans is refused with a description.
pub fn from_v8(frame: &[u8]) -> Result<Json, String> {
    let mut reader = Reader { bytes: frame, at: 0, cost_left: MAX_COST, objects: Vec::new() };
    let version = reader.version()?;
    if !VERSIONS.contains(&version) {
        let (first, last) = (VERSIONS.start(), VERSIONS.end());
        return Err(format!(
            "version {version} of V8's format; Node writes {first} to {last}, and Deno 2.9 writes 16"
        ));
    }
    reader.message().map(Option::unwrap_or_default).map_err(str::to_owned)
}

type Read<T> = Result<T, &'static str>;

/// Whether objects are read for the first time and so get a number by which references name them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    First,
    /// A reference is being followed.
    Again,
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    cost_left: usize,
    /// Where each object begins, by its number.
    objects: Vec<usize>,
}

impl Reader<'_> {
    fn version(&mut self) -> Read<u64> {
        if self.byte()? == V8_HEADER { self.varint() } else { Err(MALFORMED) }
    }

    fn message(&mut self) -> Read<Option<Json>> {
        let tag = self.tag()?;
        self.value(tag, Pass::First, 0)
    }

    fn charge(&mut self, cost: usize) -> Read<()> {
        self.cost_left = self.cost_left.checked_sub(cost).ok_or("an internal message that says too much")?;
        Ok(())
    }

    fn take(&mut self, count: usize) -> Read<&[u8]> {
        self.charge(count)?;
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest.get(..count).ok_or(TRUNCATED)?;
        self.at += count;
        Ok(taken)
    }

    fn byte(&mut self) -> Read<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn tag(&mut self) -> Read<u8> {
        loop {
            let tag = self.byte()?;
            if tag != PADDING {
                return Ok(tag);
            }
        }
    }

    /// Seven bits per byte, the lowest first.
    fn varint(&mut self) -> Read<u64> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(MALFORMED)
    }

    fn length(&mut self) -> Read<usize> {
        usize::try_from(self.varint()?).map_err(|_| MALFORMED)
    }

    /// None stands for `undefined`.
    fn value(&mut self, tag: u8, pass: Pass, depth: usize) -> Read<Option<Json>> {
        self.charge(VALUE_COST)?;
        if depth > MAX_DEPTH {
            return Err("an internal message nested too deeply");
        }
        Ok(Some(match tag {
            UNDEFINED => return Ok(None),
            NULL => Json::Null,
            TRUE => Json::Bool(true),
            FALSE => Json::Bool(false),
            INT32 => Json::from(self.int32()?),
            UINT32 => Json::from(self.uint32()?),
            DOUBLE => number(self.double()?),
            LATIN1 | UTF16 | UTF8 => Json::String(self.string(tag)?),
            OBJECT => {
                self.note(pass);
                Json::Object(self.object(pass, depth)?)
            }
            ARRAY => {
                self.note(pass);
                Json::Array(self.array(pass, depth)?)
            }
            REFERENCE => return self.referred(depth),
            _ => return Err(NOT_PLAIN),
        }))
    }

    /// Gives the next number to the object whose tag has just been read.
    fn note(&mut self, pass: Pass) {
        if pass == Pass::First {
            self.objects.push(self.at - 1);
        }
    }

    /// Reads the target of a reference once more, as if it stood here. A reference to an enclosing object
    /// soon nests too deeply.
    fn referred(&mut self, depth: usize) -> Read<Option<Json>> {
        let number = self.length()?;
        let start = *self.objects.get(number).ok_or(MALFORMED)?;
        let back = std::mem::replace(&mut self.at, start);
        let tag = self.byte()?;
        let value = self.value(tag, Pass::Again, depth + 1);
        self.at = back;
        value
    }

    fn object(&mut self, pass: Pass, depth: usize) -> Read<Map<String, Json>> {
        let mut map = Map::new();
        let count = self.properties(OBJECT_END, pass, depth, |key, value| {
            if let Some(value) = value {
                map.insert(key, value);
            }
        })?;
        if self.varint()? == count { Ok(map) } else { Err(MALFORMED) }
    }

    fn array(&mut self, pass: Pass, depth: usize) -> Read<Vec<Json>> {
        let length = self.length()?;
        // Each element has a tag, so that an invented length runs out of bytes.
        let mut items = Vec::new();
        for _ in 0..length {
            let item = match self.tag()? {
                HOLE => None,
                tag => self.value(tag, pass, depth + 1)?,
            };
            items.push(item.unwrap_or_default());
        }
        // JSON has no notation for an array's other properties.
        let count = self.properties(ARRAY_END, pass, depth, |_, _| {})?;
        if self.varint()? == count && self.length()? == length { Ok(items) } else { Err(MALFORMED) }
    }

    /// Reads properties up to the tag `end`. Returns how many there were.
    fn properties(
        &mut self,
        end: u8,
        pass: Pass,
        depth: usize,
        mut add: impl FnMut(String, Option<Json>),
    ) -> Read<u64> {
        let mut count = 0;
        loop {
            let tag = self.tag()?;
            if tag == end {
                return Ok(count);
            }
            let key = match tag {
                INT32 => self.int32()?.to_string(),
                UINT32 => self.uint32()?.to_string(),
                DOUBLE => self.double()?.to_string(),
                LATIN1 | UTF16 | UTF8 => self.string(tag)?,
                _ => return Err(MALFORMED),
            };
            let tag = self.tag()?;
            let value = self.value(tag, pass, depth + 1)?;
            add(key, value);
            count += 1;
        }
    }

    fn uint32(&mut self) -> Read<u32> {
        u32::try_from(self.varint()?).map_err(|_| MALFORMED)
    }

    /// Zigzag encoding: the sign is the lowest bit.
    fn int32(&mut self) -> Read<i32> {
        let bits = self.uint32()?;
        Ok((bits >> 1) as i32 ^ -((bits & 1) as i32))
    }

    fn double(&mut self) -> Read<f64> {
        let bytes = self.take(size_of::<f64>())?.first_chunk().ok_or(TRUNCATED)?;
        Ok(f64::from_le_bytes(*bytes))
    }

    fn string(&mut self, tag: u8) -> Read<String> {
        let length = self.length()?;
        let bytes = self.take(length)?;
        let text: String = match tag {
            LATIN1 => bytes.iter().map(|byte| char::from(*byte)).collect(),
            UTF16 if length.is_multiple_of(2) => {
                let units = bytes.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
                char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
            }
            UTF8 => String::from_utf8_lossy(bytes).into_owned(),
            _ => return Err(MALFORMED),
        };
        self.charge(text.len())?;
        Ok(text)
    }
}

/// Whole numbers become integers, however V8 wrote them.
fn number(value: f64) -> Json {
    // 2^53: a double holds every integer up to here exactly.
    if value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0 {
        Json::from(value as i64)
    } else {
        Number::from_f64(value).map_or(Json::Null, Json::Number)
    }
}

/// Encodes a message, without the length in front.
pub fn to_v8(message: &Json) -> Vec<u8> {
    let mut bytes = vec![V8_HEADER, *VERSIONS.end() as u8];
    write(message, &mut bytes);
    bytes
}

fn write(value: &Json, bytes: &mut Vec<u8>) {
    match value {
        Json::Null => bytes.push(NULL),
        Json::Bool(value) => bytes.push(if *value { TRUE } else { FALSE }),
        Json::Number(value) => match value.as_i64().and_then(|value| i32::try_from(value).ok()) {
            Some(value) => {
                bytes.push(INT32);
                write_varint((value.cast_unsigned() << 1 ^ (value >> 31).cast_unsigned()).into(), bytes);
            }
            None => {
                bytes.push(DOUBLE);
                bytes.extend(value.as_f64().unwrap_or(f64::NAN).to_le_bytes());
            }
        },
        Json::String(text) => write_string(text, bytes),
        Json::Array(items) => {
            bytes.push(ARRAY);
            write_varint(items.len() as u64, bytes);
            items.iter().for_each(|item| write(item, bytes));
            bytes.push(ARRAY_END);
            write_varint(0, bytes);
            write_varint(items.len() as u64, bytes);
        }
        Json::Object(map) => {
            bytes.push(OBJECT);
            for (key, value) in map {
                write_string(key, bytes);
                write(value, bytes);
            }
            bytes.push(OBJECT_END);
            write_varint(map.len() as u64, bytes);
        }
    }
}

fn write_varint(mut number: u64, bytes: &mut Vec<u8>) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn write_string(text: &str, bytes: &mut Vec<u8>) {
    if let Some(latin1) = text.chars().map(|char| u8::try_from(char).ok()).collect::<Option<Vec<u8>>>() {
        bytes.push(LATIN1);
        write_varint(latin1.len() as u64, bytes);
        bytes.extend(latin1);
        return;
    }
    let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut head = vec![UTF16];
    write_varint(units.len() as u64, &mut head);
    // V8 aligns the units to even offsets.
    if !(bytes.len() + head.len()).is_multiple_of(2) {
        bytes.push(PADDING);
    }
    bytes.extend(head);
    bytes.extend(units);
}

#[cfg(test)]
mod tests;
