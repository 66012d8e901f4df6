//! The first socket of a channel, and the second one that it may move to.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::os;

/// The sockets of one channel. The first one stays open after the move: closing it would tell the peer's Node
/// that the channel is closed.
#[derive(Debug)]
pub(super) struct Sockets {
    first: OwnedFd,
    second: OnceLock<OwnedFd>,
    /// Frames are written to the second socket. Changed under the lock of the outbox.
    sends_on_second: AtomicBool,
    /// Frames are read from the second socket. Changed by the reactor while it has the inbox.
    reads_from_second: AtomicBool,
    /// The other end was closed when this side ended the channel.
    was_deserted: AtomicBool,
}

impl Sockets {
    pub(super) fn new(first: OwnedFd) -> Self {
        Sockets {
            first,
            second: OnceLock::new(),
            sends_on_second: AtomicBool::new(false),
            reads_from_second: AtomicBool::new(false),
            was_deserted: AtomicBool::new(false),
        }
    }

    /// Sets the second socket. Returns false if there is one already.
    pub(super) fn prepare(&self, second: OwnedFd) -> bool {
        self.second.set(second).is_ok()
    }

    pub(super) fn move_sending(&self) {
        self.sends_on_second.store(true, Ordering::Release);
    }

    pub(super) fn move_reading(&self) {
        self.reads_from_second.store(true, Ordering::Release);
    }

    pub(super) fn has_moved_sending(&self) -> bool {
        self.sends_on_second.load(Ordering::Acquire)
    }

    pub(super) fn has_moved_reading(&self) -> bool {
        self.reads_from_second.load(Ordering::Acquire)
    }

    pub(super) fn second(&self) -> Option<BorrowedFd<'_>> {
        self.second.get().map(AsFd::as_fd)
    }

    /// The socket to write to.
    pub(super) fn sending(&self) -> BorrowedFd<'_> {
        self.after(&self.sends_on_second)
    }

    /// The socket to read from.
    pub(super) fn reading(&self) -> BorrowedFd<'_> {
        self.after(&self.reads_from_second)
    }

    /// This side is about to shut down. Afterwards nothing tells an end that is closed from one that is shut down.
    pub(super) fn note_end(&self) {
        self.was_deserted.store(os::is_deserted(self.reading().as_raw_fd()), Ordering::Release);
    }

    pub(super) fn was_deserted(&self) -> bool {
        self.was_deserted.load(Ordering::Acquire)
    }

    fn after(&self, has_moved: &AtomicBool) -> BorrowedFd<'_> {
        self.second().filter(|_| has_moved.load(Ordering::Acquire)).unwrap_or(self.first.as_fd())
    }
}
