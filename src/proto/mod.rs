//! Node's channel protocol as bytes: frames, and the messages inside them. Pure: no descriptors, no threads, no I/O.
//!
//! Source: Node 20.19, `lib/internal/child_process/serialization.js`, `lib/internal/child_process.js` and
//! `lib/internal/cluster/`; the same on 22, 24 and 26.

mod frame;
mod message;
mod v8value;

pub use frame::{DEFAULT_MAX_FRAME, Decoder, Frame, FrameError, Kind, Serialization, classify};
pub use message::{
    AddressKind, ClusterMessage, HANDLE_ACK, HANDLE_NACK, HandleKind, ListeningInfo, QueryServer, ToWorker,
    encode, newconn_frame, parse,
};

/// For tests of what speaks the protocol.
#[cfg(test)]
pub mod testing {
    /// A frame in V8's format, as a value.
    pub fn from_v8(frame: &[u8]) -> serde_json::Value {
        super::v8value::from_v8(frame).unwrap()
    }
}
