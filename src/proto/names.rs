//! Names and formats on the wire that JavaScript knows as well: `lib/protocol.js` has the same, and
//! `__test__/protocol.test.js` compares the two.

/// `cmd` of the cluster protocol. Node's name.
pub const CLUSTER: &str = "NODE_CLUSTER";
/// `cmd` of a message that comes with a handle. Node's name.
pub const HANDLE: &str = "NODE_HANDLE";
/// `cmd` of the acknowledgement of a handle. Node's name.
pub const HANDLE_ACK: &str = "NODE_HANDLE_ACK";
/// `cmd` of the report that a handle did not arrive with its frame. Node's name.
pub const HANDLE_NACK: &str = "NODE_HANDLE_NACK";

/// A worker wants a connection to another worker (`to`), or to [`ALL_PEERS`].
pub const PEER_CONNECT: &str = "NODE_CORRAL_CONNECT";
/// In the place of a worker's id: all of them.
pub const ALL_PEERS: u32 = 0;
/// A socket to another worker (`id`), or the reason why there will be none.
pub const PEER: &str = "NODE_CORRAL_PEER";
/// Every worker that exists has been announced by [`PEER`].
pub const PEER_ROSTER: &str = "NODE_CORRAL_ROSTER";
/// The `type` of a handle that is meant for corral itself.
pub const PEER_HANDLE: &str = "corral.Peer";

/// The half-close marker: the last message on a channel's first socket. What follows travels on the socket
/// that came with [`FromWorker::Ready`](super::FromWorker::Ready). The worker sends it first, then the
/// primary.
pub const CHANNEL_MOVE: &str = "NODE_CORRAL_MOVE";
/// Offers memory for large attachments. The receiver acknowledges it as it does a handle.
pub const MEMORY: &str = "NODE_CORRAL_MEMORY";

/// How many bytes the length in front of a frame in V8's format has.
pub const PREFIX: usize = 4;

/// What V8's format begins with, in front of its version. No JSON text begins with it.
pub const V8_HEADER: u8 = 0xff;

/// The length in front of a frame in V8's format.
pub fn prefix(length: u32) -> [u8; PREFIX] {
    length.to_be_bytes()
}

/// The length that a prefix says.
pub fn length_of(prefix: [u8; PREFIX]) -> usize {
    u32::from_be_bytes(prefix) as usize
}
