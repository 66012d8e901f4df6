//! What a channel travels on: the socket that it began with, and the one that it moves over to, once.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// The sockets of one channel. The first stays open after the move: its end would tell the peer's Node that the channel is
/// closed.
#[derive(Debug)]
pub(super) struct Sockets {
    first: OwnedFd,
    second: OnceLock<OwnedFd>,
    /// What is sent goes out on the second. Changed under the lock of the outbox.
    sends_on_second: AtomicBool,
    /// What comes is read from the second. Changed by the reactor while it has the inbox.
    reads_from_second: AtomicBool,
}

impl Sockets {
    pub(super) fn new(first: OwnedFd) -> Self {
        Sockets {
            first,
            second: OnceLock::new(),
            sends_on_second: AtomicBool::new(false),
            reads_from_second: AtomicBool::new(false),
        }
    }

    /// Where to move to. Returns false if there is such a place already.
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

    /// Where frames are written.
    pub(super) fn sending(&self) -> BorrowedFd<'_> {
        self.after(&self.sends_on_second)
    }

    /// Where frames are read.
    pub(super) fn reading(&self) -> BorrowedFd<'_> {
        self.after(&self.reads_from_second)
    }

    fn after(&self, has_moved: &AtomicBool) -> BorrowedFd<'_> {
        self.second().filter(|_| has_moved.load(Ordering::Acquire)).unwrap_or(self.first.as_fd())
    }
}
