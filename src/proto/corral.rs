//! What corral adds to the cluster protocol: names and messages that go between two corrals only.

use serde_json::{Value, json};

use super::serialization::{Serialization, decode, encode};

/// Between two corrals: a worker wants to talk to another one, or to all (`to`: 0).
pub const PEER_CONNECT: &str = "NODE_CORRAL_CONNECT";
/// Between two corrals: a socket to another worker (`id`), or word that there will be none (`reason`).
const PEER: &str = "NODE_CORRAL_PEER";
/// Between two corrals: everybody that there is has been told of by [`PEER`].
const PEER_ROSTER: &str = "NODE_CORRAL_ROSTER";
/// The `type` of a handle that goes to nobody but corral.
const PEER_HANDLE: &str = "corral.Peer";

/// Between two corrals: the last message on the socket that a channel began with. What follows is on the socket that came
/// with [`FromWorker::Ready`](super::FromWorker::Ready). Said by the worker first, then by the primary.
pub const CHANNEL_MOVE: &str = "NODE_CORRAL_MOVE";
/// What comes with memory for large pieces, and is answered as a handle is.
pub const MEMORY: &str = "NODE_CORRAL_MEMORY";

/// Whom a worker wants to talk to, by its [`PEER_CONNECT`], 0 for all; and how many sockets to it have come by then, so that one
/// which is on its way can be told from one that has ended.
///
/// Errors: a description of what is wrong with it.
pub fn parse_connect(serialization: Serialization, frame: &[u8]) -> Result<(u32, u32), String> {
    let message = decode(serialization, frame)?;
    let number =
        |name| message.get(name).and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok());
    let to = number("to").ok_or_else(|| "a worker that wants to talk to nobody".to_owned())?;
    Ok((to, number("after").unwrap_or(0)))
}

/// The frame that brings a worker a socket to another one, on which messages are written like this.
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
    encode(serialization, &json!({"cmd": "NODE_HANDLE", "type": PEER_HANDLE, "msg": message}))
}

/// The frame that says why there is no way to another worker.
///
/// Errors: as for [`encode`].
pub fn no_peer_frame(serialization: Serialization, peer: u32, reason: &str) -> Result<Vec<u8>, String> {
    encode(serialization, &json!({"cmd": PEER, "id": peer, "reason": reason}))
}

/// The frame that says that a worker which wants to talk to all has been told of all.
///
/// Errors: as for [`encode`].
pub fn roster_frame(serialization: Serialization) -> Result<Vec<u8>, String> {
    encode(serialization, &json!({"cmd": PEER_ROSTER}))
}
