//! One Unix stream socket between two processes that carries frames and descriptors, in Node's own format, so that
//! an unmodified Node process is a valid peer.
//!
//! The sending half ([`Channel`]) may be used from any thread; the receiving half ([`Inbox`]) belongs to the reactor, or
//! to the JavaScript thread while the channel carries nothing but the program's messages.

mod batch;
mod event;
mod inbox;
mod lending;
mod outbox;
mod receiving;
mod window;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

pub use batch::{Batch, Frames};
pub use event::ChannelEvent;
pub use inbox::{Inbound, Inbox, LARGE_MESSAGE, ReadStatus};
pub use lending::{BUSY_AFTER, Lending, Look, QUIET};
pub use outbox::{FlushStatus, Frame, HandleOrigin, Retransmission, SendStatus, Unwritten};
pub use receiving::DirectRead;

use crate::ids::{Completion, Offer};
use crate::os;
use crate::proto::Serialization;
use outbox::Outbox;
use receiving::Receiving;

/// How many bytes of a peer's messages may wait for JavaScript before its channel is no longer read. The peer's own queue
/// grows then, as it does when a built-in primary is busy.
pub const MAX_UNTOLD: usize = 32 << 20;

/// What a handle that waits for JavaScript counts for in [`MAX_UNTOLD`], so that a peer that does not wait for
/// acknowledgements cannot use up the descriptors of this process.
pub const HANDLE_WEIGHT: usize = 512 << 10;

/// The sending half of a channel, its socket, and the receiving half while that is lent.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
    serialization: Serialization,
    outbox: Mutex<Outbox>,
    receiving: Mutex<Receiving>,
    traffic: Traffic,
    bounds: Bounds,
}

/// How many bytes of answers to the peer's handles may wait, beside what the program sends. No peer that goes by the rules has
/// so many under way: a frame with a handle is longer than its answer.
pub const MAX_ANSWERS: usize = 64 << 10;

/// What a channel takes from the program.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The largest message, in bytes as they travel.
    pub max_message: usize,
    /// How many bytes may wait to be written before it takes no more. A message finds room when nothing waits.
    pub max_queued: usize,
}

impl Default for Bounds {
    /// None, as for Node's own channels.
    fn default() -> Self {
        Bounds { max_message: usize::MAX, max_queued: usize::MAX }
    }
}

/// Why a channel does not take a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It is larger than the peer, or this side, allows.
    TooLarge,
    /// Too much waits already.
    QueueFull,
}

/// What has gone over a channel since it was made; for any thread to read.
#[derive(Debug, Default)]
pub struct Traffic {
    /// The program's messages that this side has sent, or queued.
    pub messages_sent: AtomicU64,
    /// Their bytes.
    pub bytes_sent: AtomicU64,
    /// The program's messages that the peer has sent.
    pub messages_received: AtomicU64,
    /// Their bytes.
    pub bytes_received: AtomicU64,
    /// Bytes of all frames that wait to be written.
    pub bytes_queued: AtomicU64,
}

impl Traffic {
    /// So many messages of the program's have been sent, of so many bytes.
    pub fn sent(&self, messages: u32, bytes: usize) {
        self.messages_sent.fetch_add(messages.into(), Ordering::Relaxed);
        self.bytes_sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// A message for the program has been received.
    pub fn received(&self, bytes: usize) {
        self.messages_received.fetch_add(1, Ordering::Relaxed);
        self.bytes_received.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Channel {
    /// Takes over this process's end of a socket pair, which must be non-blocking.
    pub fn new(socket: OwnedFd, serialization: Serialization) -> Self {
        Self::bounded(socket, serialization, Bounds::default())
    }

    /// As [`Channel::new`], for a channel that does not take everything.
    pub fn bounded(socket: OwnedFd, serialization: Serialization, bounds: Bounds) -> Self {
        Channel {
            socket,
            serialization,
            outbox: Mutex::default(),
            receiving: Mutex::default(),
            traffic: Traffic::default(),
            bounds,
        }
    }

    /// Whether a message of the program's may be sent now. Only the thread that sends them may rely on the answer.
    pub fn takes(&self, message: usize) -> Result<(), Unfit> {
        if message > self.bounds.max_message { Err(Unfit::TooLarge) } else { self.has_room(message) }
    }

    /// As [`Channel::takes`], for several messages at once, none of which is too large.
    pub fn has_room(&self, bytes: usize) -> Result<(), Unfit> {
        let queued = self.traffic.bytes_queued.load(Ordering::Relaxed) as usize;
        let is_full = queued > 0 && queued.saturating_add(bytes) > self.bounds.max_queued;
        if is_full { Err(Unfit::QueueFull) } else { Ok(()) }
    }

    /// Whether more waits than a peer that goes by the rules can bring about: all that the program may send, and an
    /// acknowledgement for each handle that may be under way, see `window`.
    pub fn is_overfull(&self) -> bool {
        let queued = self.traffic.bytes_queued.load(Ordering::Relaxed) as usize;
        queued > self.bounds.max_queued.saturating_add(MAX_ANSWERS)
    }

    /// The largest message that it takes, in bytes as they travel.
    pub fn max_message(&self) -> usize {
        self.bounds.max_message
    }

    /// What has gone over it.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    fn with_outbox<T>(&self, work: impl FnOnce(&mut Outbox) -> T) -> T {
        let mut outbox = self.outbox.lock();
        let result = work(&mut outbox);
        self.traffic.bytes_queued.store(outbox.queued_bytes() as u64, Ordering::Relaxed);
        result
    }

    /// How messages on this channel are written.
    pub fn serialization(&self) -> Serialization {
        self.serialization
    }

    /// Sends a frame: at once if nothing waits in front of it and the socket has room, in its turn otherwise.
    /// Callable from any thread; never blocks.
    pub fn send(&self, frame: Frame) -> SendStatus {
        self.with_outbox(|outbox| outbox.send(self.socket.as_fd(), frame))
    }

    /// As [`Channel::send`], for bytes that are only lent, e.g. by JavaScript: what the socket takes at once is not
    /// copied.
    pub fn send_lent(&self, bytes: &[u8], completion: Completion) -> SendStatus {
        self.with_outbox(|outbox| outbox.send_lent(self.socket.as_fd(), bytes, completion))
    }

    /// Writes what waits, as far as the socket takes it. Callbacks that are due are added to `completed`.
    pub fn flush(&self, completed: &mut Vec<Completion>) -> FlushStatus {
        self.with_outbox(|outbox| outbox.flush(self.socket.as_fd(), completed))
    }

    /// The peer has acknowledged the oldest descriptor that is under way. Returns whose it was; None when nothing is
    /// under way, which a peer that behaves never says.
    pub fn acknowledge(&self) -> Option<HandleOrigin> {
        self.with_outbox(|outbox| outbox.acknowledge())
    }

    /// The peer says that the oldest descriptor under way did not arrive: it is queued again, in front, unless it
    /// was sent too often already.
    pub fn retransmit(&self) -> Retransmission {
        self.with_outbox(|outbox| outbox.retransmit())
    }

    /// Whether nothing waits to be sent or to be acknowledged.
    pub fn is_idle(&self) -> bool {
        self.outbox.lock().is_idle()
    }

    /// Offers the receiving half to the JavaScript thread. The event that says so must come behind all that has been
    /// read. Leaves the inbox where it is when offers are refused.
    pub fn offer(&self, inbox: &mut Option<Inbox>) -> Option<Offer> {
        self.receiving.lock().offer(inbox)
    }

    /// Takes the receiving half back from the JavaScript thread, wherever that is with it; None if it was not lent.
    pub fn take_back(&self) -> Option<Inbox> {
        self.receiving.lock().take_back()
    }

    /// The JavaScript thread has come to an offer. Returns whether it is to read from now on: the reactor may have
    /// taken the channel back meanwhile.
    pub fn accept(&self, offer: Offer) -> bool {
        self.receiving.lock().accept(offer)
    }

    /// The JavaScript thread cannot read, now or later.
    pub fn refuse_offers(&self) {
        self.receiving.lock().refuse();
    }

    /// Reads once, on the JavaScript thread. `tell` is called under the channel's lock and must not use the channel.
    pub fn read_directly(&self, tell: impl FnMut(Frames)) -> DirectRead {
        self.receiving.lock().read(self, tell)
    }

    /// How often the JavaScript thread has read.
    pub fn direct_reads(&self) -> u64 {
        self.receiving.lock().reads()
    }

    /// Takes no more frames, sends what waits, then tells the peer that this was all.
    /// What the peer still sends can be received.
    pub fn close_after_flush(&self) {
        self.with_outbox(|outbox| outbox.close_after_flush(self.socket.as_fd()));
    }

    /// Takes no more frames and drops what waits. Returns the callbacks of what was not written.
    pub fn abort(&self) -> Vec<Unwritten> {
        self.with_outbox(|outbox| outbox.abort(self.socket.as_fd()))
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
