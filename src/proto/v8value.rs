//! Internal messages in V8's serialization format, as JSON values: they are plain data in both formats.
//!
//! Of the format only that is known here: `src/objects/value-serializer.cc` of V8, whose tags for plain data are the same from
//! version 13 to 15, which Node 20 to 26 write.

use std::ops::RangeInclusive;

use serde_json::{Map, Number, Value as Json};

/// The versions that are read; the newest is written.
const VERSIONS: RangeInclusive<u64> = 13..=15;

/// How deep an internal message may nest. V8's format has references, so that a hostile message could be a cycle.
const MAX_DEPTH: usize = 16;

/// How much reading a message may cost, in bytes: those that are read, and those that are made of them, also where a reference stands
/// for a copy, of which there could be any number. A message of the largest size is within that.
const MAX_COST: usize = 4 << 20;

/// What a value costs whatever is in it.
const VALUE_COST: usize = 64;

const VERSION: u8 = 0xff;
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

/// Reads a frame. `undefined` reads as absent, as JSON has it. Anything but plain objects, arrays, strings, numbers
/// and booleans is refused with a description.
pub fn from_v8(frame: &[u8]) -> Result<Json, String> {
    let mut reader = Reader { bytes: frame, at: 0, cost_left: MAX_COST, objects: Vec::new() };
    reader.message().map(Option::unwrap_or_default).map_err(str::to_owned)
}

type Read<T> = Result<T, &'static str>;

/// Whether objects are met for the first time, and so get a number by which they can be referred to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    First,
    /// A reference is followed.
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
    fn message(&mut self) -> Read<Option<Json>> {
        if self.byte()? != VERSION || !VERSIONS.contains(&self.varint()?) {
            return Err("an internal message in an unknown version of the format");
        }
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

    /// Seven bits a byte, the lowest first.
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

    /// An object whose tag has just been read gets the next number.
    fn note(&mut self, pass: Pass) {
        if pass == Pass::First {
            self.objects.push(self.at - 1);
        }
    }

    /// What is referred to is read once more, as if it stood here. What refers to what it is in gets too deep.
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
        // Each element has a tag, so that a length that is made up is one that breaks off.
        let mut items = Vec::new();
        for _ in 0..length {
            let item = match self.tag()? {
                HOLE => None,
                tag => self.value(tag, pass, depth + 1)?,
            };
            items.push(item.unwrap_or_default());
        }
        // What an array has besides is nothing that JSON would say.
        let count = self.properties(ARRAY_END, pass, depth, |_, _| {})?;
        if self.varint()? == count && self.length()? == length { Ok(items) } else { Err(MALFORMED) }
    }

    /// Reads properties up to a tag; returns how many there were.
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

    /// Zigzag: the sign is the lowest bit.
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

/// Whole numbers read as integers whichever way V8 wrote them.
fn number(value: f64) -> Json {
    // 2^53: up to here a double holds every integer exactly.
    if value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0 {
        Json::from(value as i64)
    } else {
        Number::from_f64(value).map_or(Json::Null, Json::Number)
    }
}

/// Writes a message, without the length in front.
pub fn to_v8(message: &Json) -> Vec<u8> {
    let mut bytes = vec![VERSION, *VERSIONS.end() as u8];
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
    // V8 wants the units at even places.
    if !(bytes.len() + head.len()).is_multiple_of(2) {
        bytes.push(PADDING);
    }
    bytes.extend(head);
    bytes.extend(units);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_what_node_writes() {
        // v8.serialize({cmd: 'NODE_CLUSTER', act: 'x', fd: undefined, port: -1, big: 2**40, ok: true, n: null})
        let frame = b"\xff\x0fo\"\x03cmd\"\x0cNODE_CLUSTER\"\x03act\"\x01x\"\x02fd_\"\x04portI\x01\"\x03bigN\x00\x00\x00\x00\x00\x00pB\"\x02okT\"\x01n0{\x07";
        let expected =
            json!({"cmd": "NODE_CLUSTER", "act": "x", "port": -1, "big": 1u64 << 40, "ok": true, "n": null});
        assert_eq!(from_v8(frame).unwrap(), expected);
        // const o = {k: 1}; v8.serialize({cmd: 'x', a: o, b: o, c: [o, [o]]})
        let frame = b"\xff\x0fo\"\x03cmd\"\x01x\"\x01ao\"\x01kI\x02{\x01\"\x01b^\x01\"\x01cA\x02^\x01A\x01^\x01$\x00\x01$\x00\x02{\x04";
        let o = json!({"k": 1});
        assert_eq!(from_v8(frame).unwrap(), json!({"cmd": "x", "a": o, "b": o, "c": [o, [o]]}));
        // v8.serialize({'\u0436': '\u0437\u{1f600}', '\xe9': '\xfc', 5: 6, f: 1.5, a: [undefined, null, true, false]})
        let frame = b"\xff\x0foI\x0aI\x0c\x00c\x026\x04\x00c\x067\x04=\xd8\x00\xde\"\x01\xe9\"\x01\xfc\"\x01fN\x00\x00\x00\x00\x00\x00\xf8?\"\x01aA\x04_0TF$\x00\x04{\x05";
        let expected = json!({
            "5": 6, "\u{436}": "\u{437}\u{1f600}", "\u{e9}": "\u{fc}", "f": 1.5, "a": [null, null, true, false],
        });
        assert_eq!(from_v8(frame).unwrap(), expected);
        // v8.serialize(Object.assign([1, 2], {x: 'y'}))
        let frame = b"\xff\x0fA\x02I\x02I\x04\"\x01x\"\x01y$\x01\x02";
        assert_eq!(from_v8(frame).unwrap(), json!([1, 2]));
    }

    #[test]
    fn writes_what_node_writes() {
        // v8.serialize({a: [1, -2, 'x'], b: '\u0436', c: 1.5, d: null, e: {}})
        let message = json!({"a": [1, -2, "x"], "b": "\u{436}", "c": 1.5, "d": null, "e": {}});
        let frame: &[u8] = b"\xff\x0fo\"\x01aA\x03I\x02I\x03\"\x01x$\x00\x03\"\x01b\x00c\x026\x04\"\x01cN\x00\x00\x00\x00\x00\x00\xf8?\"\x01d0\"\x01eo{\x00{\x05";
        assert_eq!(to_v8(&message), frame);
    }

    #[test]
    fn what_it_writes_it_reads() {
        let message = json!({"a": "\u{e4}\u{1f600}", "b": {"ticketKeys": "00ff"}, "c": 1.5, "d": 4294967296u64, "e": [false, {"f": 1}]});
        assert_eq!(from_v8(&to_v8(&message)).unwrap(), message);
    }

    #[test]
    fn a_cycle_is_refused() {
        // const m = {cmd: 'x'}; m.self = m; v8.serialize(m)
        let frame = b"\xff\x0fo\"\x03cmd\"\x01x\"\x04self^\x00{\x02";
        assert!(from_v8(frame).unwrap_err().contains("nested"));
    }

    /// An array of what is given and of as many references to its first element.
    fn repeated(first: &[u8], references: usize) -> Vec<u8> {
        let mut frame = b"\xff\x0fA".to_vec();
        write_varint(references as u64 + 1, &mut frame);
        frame.extend(first);
        (0..references).for_each(|_| frame.extend(b"^\x01"));
        frame.push(ARRAY_END);
        write_varint(0, &mut frame);
        write_varint(references as u64 + 1, &mut frame);
        frame
    }

    #[test]
    fn references_to_what_is_large_do_not_multiply_it() {
        let text = json!({ "text": "x".repeat(900_000) });
        let padding = [b"o".as_slice(), &[PADDING; 900_000], b"{\x00"].concat();
        for large in [to_v8(&text)[2..].to_vec(), padding] {
            assert!(from_v8(&repeated(&large, 1)).is_ok());
            let error = from_v8(&repeated(&large, 9000)).unwrap_err();
            assert!(error.contains("too much") && error.len() < 100, "{error}");
        }
    }

    #[test]
    fn references_to_references_do_not_multiply_either() {
        // Each of 14 objects has ten of the one before it.
        let mut frame = b"\xff\x0fA\x0e".to_vec();
        for number in 0..14u8 {
            frame.push(OBJECT);
            for key in b'a'..=b'j' {
                frame.extend([LATIN1, 1, key, REFERENCE, number]);
            }
            frame.extend([OBJECT_END, 10]);
        }
        frame.extend(b"$\x00\x0e");
        assert!(from_v8(&frame).is_err());
    }

    /// Found by fuzzing: of each empty buffer that came, one byte was never given back.
    #[test]
    fn an_empty_buffer_is_refused_as_any_other() {
        assert_eq!(from_v8(b"\xff\x0eB\x00"), Err(NOT_PLAIN.to_owned()));
        assert_eq!(from_v8(b"\xff\x0e\x00~\x00\xff\x00\x00\x00\xff\x0a"), Err(NOT_PLAIN.to_owned()));
    }

    #[test]
    fn what_is_no_plain_data_is_refused_in_few_words() {
        let zeros = |tag: u8| {
            // V8 would make a number of it: of a BigInt, or a key, as long as the message.
            let mut frame = b"\xff\x0fo\"\x01k".to_vec();
            frame.push(tag);
            write_varint(1_000_000 << 1, &mut frame);
            frame.resize(frame.len() + 1_000_000, 0xff);
            frame
        };
        let as_key = [b"\xff\x0foZ".as_slice(), &zeros(b'Z')[6..]].concat();
        let date = b"\xff\x0fD\x00\x00\x00\x00\x00\x00\x00\x00".to_vec();
        for frame in [zeros(b'Z'), as_key, date, zeros(b'r'), zeros(b'\\')] {
            assert!(from_v8(&frame).unwrap_err().len() < 100);
        }
    }

    #[test]
    fn what_breaks_off_or_is_counted_wrong_is_refused() {
        let whole = b"\xff\x0fo\"\x01aA\x02I\x02I\x04$\x00\x02\"\x01b\"\x01x{\x02";
        assert!(from_v8(whole).is_ok());
        for end in 0..whole.len() {
            assert!(from_v8(&whole[..end]).is_err(), "up to {end}");
        }
        for wrong in [
            b"\xff\x0fo{\x01".as_slice(),
            b"\xff\x0fA\x00$\x01\x00",
            b"\xff\x0fA\x00$\x00\x01",
            b"\xff\x0fo\"\x01a^\x07{\x01",
            b"\xff\x0fo\"\x01aI\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff{\x01",
            b"\xff\x0fo\"\x01ac\x03abc{\x01",
            b"\xff\x0fo\"\xff\xff\xff\xff\xff\xff\xff\xff\x7fa",
            b"\xff\x0c0",
            b"\xff\x100",
            b"0",
        ] {
            assert!(from_v8(wrong).is_err(), "{wrong:?}");
        }
    }

    fn any_message() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            any::<i32>().prop_map(Json::from),
            any::<f32>()
                .prop_filter("finite", |value| value.is_finite())
                .prop_map(|value| number(value.into())),
            any::<String>().prop_map(Json::from),
            "[a-z]{0,9}".prop_map(Json::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Json::from),
                prop::collection::vec((any::<String>(), inner), 0..6)
                    .prop_map(|pairs| Json::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn garbage_is_an_error_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut frame = b"\xff\x0fo\"\x03cmd\"\x0cNODE_CLUSTER".to_vec();
            frame.extend(bytes);
            let _ = from_v8(&frame);
        }

        #[test]
        fn tags_in_any_order_are_an_error_and_never_a_panic(
            bytes in prop::collection::vec(
                prop::sample::select(b"\x00\x01\x02\x7f\x80\xffo{A$a@^IUNc\"S_0TFZD\\-".to_vec()),
                0..60,
            ),
        ) {
            let _ = from_v8(&[b"\xff\x0f".as_slice(), &bytes].concat());
        }

        #[test]
        fn every_message_is_read_as_it_was_written(message in any_message()) {
            prop_assert_eq!(from_v8(&to_v8(&message)).unwrap(), message);
        }
    }
}
