//! What becomes of frames that are sent.

use nix::errno::Errno;

use super::HandleOrigin;
use crate::ids::Completion;

/// A frame that will not be written to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unwritten {
    /// The callback to announce.
    pub completion: Completion,
    /// How many bytes were written. If several messages were sent together, some of them may be complete.
    pub written: usize,
}

/// The result of sending a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendStatus {
    /// The frame is written. Its completion will not be announced.
    Written,
    /// The frame waits in the queue.
    Queued {
        /// How many bytes the queue holds now.
        bytes: usize,
        /// The reactor must wait until the socket is writable. The caller asks it to.
        needs_flush: bool,
    },
    /// The peer has gone. The frame was dropped.
    Failed(Errno),
    /// This end was closed before. The frame was dropped.
    Closed,
}

/// When corked frames are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uncorked {
    /// The caller uncorks next.
    Next,
    /// At the end of the turn, which may last long.
    AtTurnEnd,
}

/// The result of corking a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corked {
    /// Written or queued. [`Outbox::uncork`] reports a failure.
    pub status: SendStatus,
    /// The reactor must start the cork timer.
    pub needs_timer: bool,
}

/// How far a flush has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushStatus {
    /// Nothing waits.
    Idle,
    /// The socket is full. Continue when it is writable.
    Blocked,
    /// A descriptor must wait until earlier ones are acknowledged.
    AwaitsAcknowledgement,
    /// Too many descriptors are in flight on this machine. Continue after a while.
    Exhausted,
    /// The peer has gone.
    Failed(Errno),
}

/// What became of a descriptor that did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retransmission {
    /// Its frame is queued once more.
    SentAgain,
    /// It was sent too often and is given up.
    GivenUp(HandleOrigin),
    /// None was in flight.
    Nothing,
}
