//! Events on a channel, from its owner on the reactor thread to JavaScript.

use std::os::fd::OwnedFd;

use super::undelivered::EVENT_COST;
use super::{Frames, HANDLE_WEIGHT, Unwritten};
use crate::error::Error;
use crate::ids::{Completion, Offer};
use crate::reactor::Work;

#[derive(Debug)]
pub enum ChannelEvent {
    /// Messages for the program, still serialized.
    Messages(Frames),
    /// A message with a handle: a NODE_HANDLE frame, with the program's message inside.
    HandleMessage {
        /// The frame, without newline or length.
        bytes: Vec<u8>,
        /// The receiver of the event owns it.
        handle: OwnedFd,
    },
    /// The handle that the program sent last has arrived.
    HandleArrived,
    /// The handle that the program sent last did not arrive, however often it was sent.
    HandleLost,
    /// A queued frame has been written. `send` returned this completion.
    Written(Completion),
    /// A queued frame will never be written.
    Unwritten(Unwritten),
    /// The channel has carried nothing but messages for a while: the JavaScript thread may read it directly.
    /// The binding handles this event. The program does not see it.
    Offered(Offer),
    /// The peer's end of the channel is closed. This is the last event of the channel, after everything that
    /// the peer had sent. The error says why, unless the peer has closed it or ended.
    Closed(Option<Error>),
}

impl ChannelEvent {
    /// The cost while it is undelivered, see [`super::Undelivered`]. Events that this process causes itself,
    /// or that occur once, cost nothing.
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

    /// How much work the event is for JavaScript.
    pub fn work(&self) -> Work {
        match self {
            ChannelEvent::Messages(frames) => frames.work(),
            ChannelEvent::HandleMessage { bytes, .. } => Work { calls: 1, bytes: bytes.len() },
            _ => Work { calls: 1, bytes: 0 },
        }
    }
}
