//! Internal messages in V8's serialization format, as JSON values: they are plain data in both formats.

use serde_json::{Map, Number, Value as Json};
use v8_valueserializer::{
    DenseArray, Heap, HeapBuilder, HeapValue, Object, PropertyKey, StringValue, Value, ValueDeserializer,
    ValueSerializer,
};

/// The largest internal message that is read. Node's own have a few hundred bytes; TLS ticket keys are 96 characters.
const MAX_MESSAGE: usize = 1 << 20;

/// How deep an internal message may nest. V8's format has references, so that a hostile message could be a cycle.
const MAX_DEPTH: usize = 16;
/// How many values it may have, followed through references, which could stand for any number of copies.
const MAX_VALUES: usize = 10_000;

/// Reads a frame. `undefined` reads as absent, as JSON has it. Anything but plain objects, arrays, strings, numbers
/// and booleans is refused with a description.
pub fn from_v8(frame: &[u8]) -> Result<Json, String> {
    if frame.len() > MAX_MESSAGE {
        return Err(format!("internal message of {} bytes", frame.len()));
    }
    let (value, heap) = ValueDeserializer::default().read(frame).map_err(|error| format!("{error:?}"))?;
    let mut reader = Reader { heap: &heap, values_left: MAX_VALUES };
    reader.json(&value, 0).map(Option::unwrap_or_default)
}

struct Reader<'a> {
    heap: &'a Heap,
    values_left: usize,
}

impl Reader<'_> {
    /// None stands for `undefined`.
    fn json(&mut self, value: &Value, depth: usize) -> Result<Option<Json>, String> {
        self.values_left =
            self.values_left.checked_sub(1).ok_or("an internal message with too many values")?;
        if depth > MAX_DEPTH {
            return Err("an internal message nested too deeply".into());
        }
        Ok(Some(match value {
            Value::Undefined => return Ok(None),
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::I32(value) => Json::from(*value),
            Value::U32(value) => Json::from(*value),
            Value::Double(value) => number(*value),
            Value::String(value) => Json::String(value.to_string().into_owned()),
            Value::BigInt(_) => return Err("a BigInt in an internal message".into()),
            Value::HeapReference(reference) => match reference.try_open(self.heap) {
                Some(HeapValue::Object(object)) => {
                    let mut map = Map::new();
                    for (key, value) in &object.properties {
                        if let Some(value) = self.json(value, depth + 1)? {
                            map.insert(key_of(key), value);
                        }
                    }
                    Json::Object(map)
                }
                Some(HeapValue::DenseArray(array)) => {
                    let mut items = Vec::with_capacity(array.elements.len());
                    for element in &array.elements {
                        let item = match element {
                            Some(value) => self.json(value, depth + 1)?,
                            None => None,
                        };
                        items.push(item.unwrap_or_default());
                    }
                    Json::Array(items)
                }
                _ => return Err("something else than plain data in an internal message".into()),
            },
        }))
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

fn key_of(key: &PropertyKey) -> String {
    match key {
        PropertyKey::I32(index) => index.to_string(),
        PropertyKey::U32(index) => index.to_string(),
        PropertyKey::Double(index) => index.to_string(),
        PropertyKey::String(name) => name.to_string().into_owned(),
    }
}

/// Writes a message, without the length in front.
pub fn to_v8(message: &Json) -> Result<Vec<u8>, String> {
    let mut heap = HeapBuilder::default();
    let value = from_json(message, &mut heap);
    let heap = heap.build().map_err(|error| error.to_string())?;
    ValueSerializer::default().finish(&heap, &value).map_err(|error| error.to_string())
}

fn from_json(value: &Json, heap: &mut HeapBuilder) -> Value {
    match value {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(value) => match value.as_i64().and_then(|value| i32::try_from(value).ok()) {
            Some(value) => Value::I32(value),
            None => Value::Double(value.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(value) => Value::String(StringValue::new(value.clone())),
        Json::Array(items) => {
            let elements = items.iter().map(|item| Some(from_json(item, heap))).collect();
            let array = DenseArray { elements, properties: Vec::new() };
            Value::HeapReference(heap.insert(HeapValue::DenseArray(array)))
        }
        Json::Object(map) => {
            let properties = map
                .iter()
                .map(|(key, value)| {
                    (PropertyKey::String(StringValue::new(key.clone())), from_json(value, heap))
                })
                .collect();
            Value::HeapReference(heap.insert(HeapValue::Object(Object { properties })))
        }
    }
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
    }

    #[test]
    fn what_it_writes_it_reads() {
        let message = json!({"a": "\u{e4}\u{1f600}", "b": {"ticketKeys": "00ff"}, "c": 1.5, "d": 4294967296u64, "e": [false, {"f": 1}]});
        assert_eq!(from_v8(&to_v8(&message).unwrap()).unwrap(), message);
    }

    #[test]
    fn a_cycle_is_refused() {
        // const m = {cmd: 'x'}; m.self = m; v8.serialize(m)
        let frame = b"\xff\x0fo\"\x03cmd\"\x01x\"\x04self^\x00{\x02";
        assert!(from_v8(frame).unwrap_err().contains("nested"));
    }

    proptest! {
        #[test]
        fn garbage_is_an_error_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut frame = b"\xff\x0fo\"\x03cmd\"\x0cNODE_CLUSTER".to_vec();
            frame.extend(bytes);
            let _ = from_v8(&frame);
        }
    }
}
