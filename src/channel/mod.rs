//! One Unix stream socket between two processes that carries frames and descriptors, in Node's own format, so that
//! an unmodified Node process is a valid peer.
//!
//! The sending half ([`Channel`]) may be used from any thread; the receiving half ([`Inbox`]) belongs to the reactor.

mod inbox;
mod outbox;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use parking_lot::Mutex;

pub use inbox::{Inbound, Inbox, ReadStatus};
pub use outbox::{FlushStatus, Frame, HandleOrigin, Retransmission, SendStatus};

use crate::ids::Completion;
use crate::os;
use crate::proto::Serialization;
use outbox::Outbox;

/// The sending half of a channel, and its socket.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
    serialization: Serialization,
    outbox: Mutex<Outbox>,
}

impl Channel {
    /// Takes over this process's end of a socket pair, which must be non-blocking.
    pub fn new(socket: OwnedFd, serialization: Serialization) -> Self {
        Channel { socket, serialization, outbox: Mutex::new(Outbox::default()) }
    }

    /// How messages on this channel are written.
    pub fn serialization(&self) -> Serialization {
        self.serialization
    }

    /// Sends a frame: at once if nothing waits in front of it and the socket has room, in its turn otherwise.
    /// Callable from any thread; never blocks.
    pub fn send(&self, frame: Frame) -> SendStatus {
        self.outbox.lock().send(self.socket.as_fd(), frame)
    }

    /// As [`Channel::send`], for bytes that are only lent, e.g. by JavaScript: what the socket takes at once is not
    /// copied.
    pub fn send_lent(&self, bytes: &[u8], completion: Completion) -> SendStatus {
        self.outbox.lock().send_lent(self.socket.as_fd(), bytes, completion)
    }

    /// Writes what waits, as far as the socket takes it. Callbacks that are due are added to `completed`.
    pub fn flush(&self, completed: &mut Vec<Completion>) -> FlushStatus {
        self.outbox.lock().flush(self.socket.as_fd(), completed)
    }

    /// The peer has acknowledged the oldest descriptor that is under way. Returns whose it was; None when nothing is
    /// under way, which a peer that behaves never says.
    pub fn acknowledge(&self) -> Option<HandleOrigin> {
        self.outbox.lock().acknowledge()
    }

    /// The peer says that the oldest descriptor under way did not arrive: it is queued again, in front, unless it
    /// was sent too often already.
    pub fn retransmit(&self) -> Retransmission {
        self.outbox.lock().retransmit()
    }

    /// Takes no more frames, sends what waits, then tells the peer that this was all.
    /// What the peer still sends can be received.
    pub fn close_after_flush(&self) {
        self.outbox.lock().close_after_flush(self.socket.as_fd());
    }

    /// Takes no more frames and drops what waits. Returns the callbacks of what was not written.
    pub fn abort(&self) -> Vec<Completion> {
        self.outbox.lock().abort(self.socket.as_fd())
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Makes a channel and the end for the peer.
///
/// Errors: `EMFILE`, `ENFILE`, `ENOBUFS`.
pub fn pair(serialization: Serialization) -> Result<(Channel, OwnedFd), nix::errno::Errno> {
    let pair = os::socket_pair()?;
    Ok((Channel::new(pair.ours, serialization), pair.theirs))
}
