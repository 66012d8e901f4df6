//! How messages are serialized, and internal messages as whole frames.

use serde_json::Value;

use super::names::{PREFIX, prefix};
use super::v8value;

/// The largest internal message, in bytes. Node's have a few hundred, and TLS ticket keys have 96 characters.
/// A message that carries one of the program, such as a handle's, may be as large as that one.
pub const MAX_MESSAGE: usize = 1 << 20;

/// How messages are serialized. It is fixed for a channel when its process is spawned (`serialization` in
/// `child_process`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Serialization {
    /// UTF-8 JSON text that ends with a newline.
    Json,
    /// A 4-byte big-endian length, then V8's serialization format.
    Advanced,
}

impl std::fmt::Display for Serialization {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Serialization::Json => "json",
            Serialization::Advanced => "advanced",
        })
    }
}

/// Encodes a message as a whole frame, with its newline or its length.
///
/// Errors: a description, for a message that V8's format cannot hold.
pub fn encode(serialization: Serialization, message: &Value) -> Result<Vec<u8>, String> {
    match serialization {
        Serialization::Json => {
            let mut frame = serde_json::to_vec(message).map_err(|error| error.to_string())?;
            frame.push(b'\n');
            Ok(frame)
        }
        Serialization::Advanced => {
            let body = v8value::to_v8(message);
            let length = u32::try_from(body.len()).map_err(|_| "a message of 4 GiB".to_owned())?;
            let mut frame = Vec::with_capacity(PREFIX + body.len());
            frame.extend(prefix(length));
            frame.extend(body);
            Ok(frame)
        }
    }
}

/// Decodes an internal message.
pub(super) fn decode(serialization: Serialization, frame: &[u8]) -> Result<Value, String> {
    check_size(frame)?;
    match serialization {
        Serialization::Json => serde_json::from_slice(frame).map_err(|error| error.to_string()),
        Serialization::Advanced => v8value::from_v8(frame),
    }
}

/// Errors: a description, for an internal message that is larger than [`MAX_MESSAGE`].
pub fn check_size(frame: &[u8]) -> Result<(), String> {
    match frame.len() {
        0..=MAX_MESSAGE => Ok(()),
        length => Err(format!("an internal message of {length} bytes")),
    }
}
