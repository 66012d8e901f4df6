//! What a channel's owner on the reactor thread tells JavaScript of it.

use std::os::fd::OwnedFd;

use super::undelivered::EVENT_COST;
use super::{Frames, HANDLE_WEIGHT, Unwritten};
use crate::error::Error;
use crate::ids::{Completion, Offer};
use crate::reactor::Load;

/// Something has happened on a channel.
#[derive(Debug)]
pub enum ChannelEvent {
    /// Messages of the peer's, still serialized, for the program.
    Messages(Frames),
    /// A message with a handle: a NODE_HANDLE frame, with the message proper inside.
    HandleMessage {
        /// The frame, without newline or length.
        bytes: Vec<u8>,
        /// Owned by whoever takes the event.
        handle: OwnedFd,
    },
    /// The handle that the program sent last has arrived.
    HandleArrived,
    /// The handle that the program sent last did not arrive, however often it was sent.
    HandleLost,
    /// A frame that could not be written at once has been written. The name is the one that `send` got for the callback.
    Written(Completion),
    /// A frame that could not be written at once never will be.
    Unwritten(Unwritten),
    /// The channel has carried nothing but messages for a while: whoever takes the events may read it directly. Handled
    /// where events are taken, unknown to the program.
    Offered(Offer),
    /// The peer's end of the channel is closed; everything that it sent has been told before. The last event of the
    /// channel. The cause, if the peer has neither closed it nor ended.
    Closed(Option<Error>),
}

impl ChannelEvent {
    /// What it counts for while it is undelivered, see [`super::Undelivered`]. Nothing if this process has brought it about itself, or
    /// if there is one only.
    pub fn cost(&self) -> usize {
        match self {
            ChannelEvent::Messages(frames) => frames.len() + frames.count() as usize * EVENT_COST,
            ChannelEvent::HandleMessage { bytes, .. } => bytes.len() + HANDLE_WEIGHT + EVENT_COST,
            ChannelEvent::HandleArrived
            | ChannelEvent::HandleLost
            | ChannelEvent::Written(_)
            | ChannelEvent::Unwritten(_)
            | ChannelEvent::Offered(_)
            | ChannelEvent::Closed(_) => 0,
        }
    }

    /// What dealing with it takes.
    pub fn load(&self) -> Load {
        match self {
            ChannelEvent::Messages(frames) => {
                Load { calls: frames.count() as usize, bytes: frames.total_length() }
            }
            ChannelEvent::HandleMessage { bytes, .. } => Load { calls: 1, bytes: bytes.len() },
            _ => Load { calls: 1, bytes: 0 },
        }
    }
}
