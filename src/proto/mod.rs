//! Everything on the wire, as bytes: Node's channel protocol with its frames and messages, and corral's own
//! lane and handshake. There are no descriptors, threads or I/O here.
//!
//! Source of Node's protocol: Node 20.19, `lib/internal/child_process/serialization.js`,
//! `lib/internal/child_process.js` and `lib/internal/cluster/`; the same on 22, 24 and 26.
//!
//! | File | What it holds |
//! | --- | --- |
//! | `names` | names and formats that JavaScript knows as well |
//! | `serialization` | `json` and `advanced`; internal messages as whole frames |
//! | `v8value` | internal messages in V8's format |
//! | `frame` | the decoder: where one frame ends and the next begins |
//! | `foreign` | peers that speak something else, by what they begin with |
//! | `attachment` | large strings and buffers beside their message |
//! | `kind` | which part of the protocol a frame belongs to |
//! | `cluster` | the messages of Node's cluster protocol |
//! | `corral` | messages that corral adds to it |
//! | `lane` | the messages of a lane |
//! | `first_bytes` | what clients say of themselves: the PROXY protocol, HTTP heads |
//! | `handover` | what a primary says to the one that takes its place |
//! | `handshake` | the first line of a channel over a named socket |

mod attachment;
mod cluster;
mod corral;
mod first_bytes;
mod foreign;
mod frame;
mod handover;
mod handshake;
mod kind;
mod lane;
mod names;
mod serialization;
mod v8value;

pub use attachment::{
    ALIGNMENT, Attachment, AttachmentKind, MAX_ATTACHMENTS, OwnedFrame, Place, aligned, write_header,
};
pub use cluster::{
    AddressKind, ClusterMessage, HandleKind, ListeningInfo, OwnServer, QueryServer, ToWorker, newconn_frame,
    parse,
};
pub use corral::{no_peer_frame, parse_connect, peer_frame, roster_frame};
pub use first_bytes::{KeyBy, Said};
pub use frame::{DEFAULT_MAX_FRAME, Decoder, Frame, FrameError, LargeFrame};
pub use handover::{Asked, Handed, Handover, MAX_HANDED, MAX_HANDOVER};
pub use handshake::{CHANNEL_VERSION, Greeting, Hello, MAX_HELLO, Refusal};
pub use kind::{Kind, classify};
pub use lane::{
    ConnectionKind, FromWorker, Generation, Keep, LANE_VERSION, LaneSeq, MAX_LANE_MESSAGE, MAX_SESSION_ID,
    MAX_SLOTS, Slot, ToLane,
};
pub use names::{
    ALL_PEERS, CHANNEL_MOVE, HANDLE_ACK, HANDLE_NACK, MEMORY, PEER_CONNECT, PREFIX, V8_HEADER, prefix,
};
pub use serialization::{MAX_MESSAGE, Serialization, check_size, encode};

/// For `fuzz/`, which tests these functions by themselves.
#[cfg(fuzzing)]
pub mod fuzzing {
    pub use super::v8value::{from_v8, to_v8};
}

/// For tests of modules that speak the protocol.
#[cfg(test)]
pub mod testing {
    /// Decodes a frame in V8's format.
    pub fn from_v8(frame: &[u8]) -> serde_json::Value {
        super::v8value::from_v8(frame).unwrap()
    }
}
