//! What corral adds to the cluster protocol: messages between two corrals.

use serde_json::{Value, json};

use super::names::{HANDLE, PEER, PEER_HANDLE, PEER_ROSTER};
use super::serialization::{Serialization, decode, encode};

/// Parses a [`PEER_CONNECT`](super::PEER_CONNECT). The first number is the worker that the sender wants to
/// reach. The second is how many sockets to that worker have already arrived, which distinguishes a socket on
/// its way from one that has ended.
///
/// Errors: a description of what is wrong with the message.
pub fn parse_connect(serialization: Serialization, frame: &[u8]) -> Result<(u32, u32), String> {
    let message = decode(serialization, frame)?;
    let number =
        |name| message.get(name).and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok());
    let to = number("to").ok_or_else(|| "a worker that wants to talk to nobody".to_owned())?;
    Ok((to, number("after").unwrap_or(0)))
}

/// The frame that brings a worker a socket to the worker `peer`. `between` is how messages on that socket are
/// serialized.
///
/// Errors: as for [`encode`].
pub fn peer_frame(
    serialization: Serialization,
    peer: u32,
    between: Serialization,
    max_frame: usize,
) -> Result<Vec<u8>, String> {
    let advanced = between == Serialization::Advanced;
    let message = json!({"cmd": PEER, "id": peer, "advanced": advanced, "maxFrame": max_frame});
    encode(serialization, &json!({"cmd": HANDLE, "type": PEER_HANDLE, "msg": message}))
}

/// The frame that says why the worker `peer` cannot be reached.
///
/// Errors: as for [`encode`].
pub fn no_peer_frame(serialization: Serialization, peer: u32, reason: &str) -> Result<Vec<u8>, String> {
    encode(serialization, &json!({"cmd": PEER, "id": peer, "reason": reason}))
}

/// The frame that says that every existing worker has been announced.
///
/// Errors: as for [`encode`].
pub fn roster_frame(serialization: Serialization) -> Result<Vec<u8>, String> {
    encode(serialization, &json!({"cmd": PEER_ROSTER}))
}
