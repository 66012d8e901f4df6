//! What a channel's owner on the reactor thread tells JavaScript of it.

use std::os::fd::OwnedFd;

use super::{Frames, Unwritten};
use crate::error::Error;
use crate::ids::{Completion, Offer};

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
