//! Commands from JavaScript to the reactor that owns the channel.

use crate::error::Error;

#[derive(Debug)]
pub enum ChannelCommand {
    /// A frame could not be written at once: wait until the socket is writable.
    Flush,
    /// Another thread has corked messages: start the cork timer.
    StartCorkTimer,
    /// Make shared memory for large messages, or look after it again.
    MaintainMemory,
    /// The program has received messages: read the channel again if reading rests.
    Resume,
    /// The JavaScript thread has met something that is not for it, or cannot read: take the channel back.
    TakeBack,
    /// The reader of the messages has found that the peer broke the protocol: close the channel with this
    /// error.
    Destroy(Error),
}
