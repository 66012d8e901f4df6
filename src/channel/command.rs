//! What JavaScript asks of a channel's owner on the reactor thread.

use crate::error::Error;

/// Something is to be done for a channel.
#[derive(Debug)]
pub enum ChannelCommand {
    /// A send of another thread did not get through at once.
    Flush,
    /// Messages were corked by another thread: see in a while that they have gone out.
    LookAfterCorked,
    /// Memory for large messages to the peer is wanted, or is used again.
    TendMemory,
    /// Messages were taken: a channel that rests because of too many may be read again.
    Resume,
    /// The JavaScript thread has met something on a channel that is not for it, or cannot read it: take it back.
    TakeBack,
    /// The peer broke the protocol in a way that only the reader of its messages could see.
    Condemn(Error),
}
