//! A Unix stream socket between two processes that carries frames and descriptors in Node's own format, so
//! that an unmodified Node process is a valid peer.
//!
//! Any thread may use the sending half ([`Channel`]). The receiving half ([`Inbox`]) belongs to the reactor,
//! or to the JavaScript thread while the channel carries nothing but the program's messages.
//!
//! | File | What it holds |
//! | --- | --- |
//! | `outbox` | the sending half: corking, writing, retransmission; its `queue` keeps the frames that wait, `status` says what became of one |
//! | `inbox` | the receiving half: frames, and the descriptors that belong to them |
//! | `window` | descriptors in flight, and whether another one may follow; no I/O |
//! | `sockets`, `send_buffer` | the first socket and the one that the channel moves to; the size of the send buffer |
//! | `memory` | shared memory for large attachments |
//! | `bounds`, `traffic` | what the channel takes from the program; what has gone over it |
//! | `unread` | what the peer has not read of what its socket holds |
//! | `undelivered` | what the program has not received yet, and how much that may be |
//! | `batch` | messages on their way to JavaScript, small ones together |
//! | `command`, `event` | commands from JavaScript, events for it |
//! | `shared_read` | which thread reads the channel: the reactor's, or the JavaScript thread |
//! | `driver` | driving the channel on its reactor: reading, writing, timers, lending, moving, closing |

mod batch;
mod bounds;
mod command;
mod driver;
mod event;
mod inbox;
mod memory;
mod outbox;
mod send_buffer;
mod shared_read;
mod sockets;
mod traffic;
mod undelivered;
mod unread;
mod window;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;

pub use batch::{BATCHED_MESSAGE, Batch, Format, Frames, Multipart, Part};
pub use bounds::{Bounds, MUCH_BACKLOG, Unfit};
use bounds::{MUCH_UNREAD, UNCOUNTED};
pub use command::ChannelCommand;
#[cfg(test)]
pub use driver::BUSY_AFTER;
pub use driver::{ChannelTimer, Driver, Emit, Outcome, Owner, Protocol, Reading, Recipient};
pub use event::ChannelEvent;
pub use inbox::{Extent, Inbound, Inbox, LARGE_MESSAGE, ReadStatus};
pub use memory::BLOCK as SMALLEST_ATTACHMENT;
#[cfg(fuzzing)]
pub use memory::LENGTH as MEMORY_LENGTH;
pub use memory::{MEMORY_KEPT, Maintenance, Reservation, Segment};
pub use outbox::{
    CORKED, Corked, FlushStatus, Frame, HandleOrigin, Retransmission, SendStatus, Uncorked, Unwritten,
    WAITING_WEIGHT,
};
pub use shared_read::DirectRead;
pub use traffic::Traffic;
pub use undelivered::{EVENT_COST, Undelivered};

use crate::error::Error;
use crate::ids::{Completion, Offer};
use crate::os;
use crate::proto::{self, MEMORY, Serialization};
use memory::Sharing;
use outbox::Outbox;
use shared_read::SharedInbox;
use sockets::Sockets;

/// How much of a peer's data may be undelivered, by its cost ([`Undelivered`]), before its channel is no
/// longer read. The peer's own queue grows from then on, as it does when a built-in primary is busy.
const MAX_UNDELIVERED: usize = 2 << 20;

/// How long corked messages wait for the end of their turn at most.
pub const CORKED_FOR: Duration = Duration::from_millis(1);

/// As [`MAX_UNDELIVERED`], in a worker: enough for its JavaScript to find the next message when it has
/// finished one. A primary that sends more than its worker takes should notice that as soon as with Node's
/// own reader, which reads nothing in advance.
const MAX_UNDELIVERED_IN_WORKER: usize = 256 << 10;

/// How many bytes a peer may have written that the reactor has not read, as far as the system allows. Node
/// writes as much of a message as the socket takes, and the rest in a later turn of its event loop, each time
/// waking the other end. A large message fits into this buffer at once.
const PEERS_BUFFER: usize = 1 << 20;

/// The cost of an undelivered handle, for [`MAX_UNDELIVERED`]. It keeps a peer that does not wait for
/// acknowledgements from using up the descriptors of this process.
pub const HANDLE_WEIGHT: usize = 256 << 10;

/// The sending half of a channel, its sockets, and the receiving half while it is lent.
///
/// A channel to a process that loads corral later begins on Node's socket and moves to a second one between
/// the two corrals, where frames may be ones that Node's own reader would not understand. It stays one
/// channel: frames keep their order, and unwritten or unacknowledged frames move along.
#[derive(Debug)]
pub struct Channel {
    sockets: Sockets,
    serialization: Serialization,
    outbox: Mutex<Outbox>,
    inbox: Mutex<SharedInbox>,
    sharing: Arc<Sharing>,
    traffic: Traffic,
    bounds: Bounds,
    /// The reader of further frames is a corral.
    accepts_attachments: AtomicBool,
    undelivered: Undelivered,
    max_undelivered: usize,
    /// How many bytes the socket holds that the peer has not read, where that is counted.
    unread: AtomicUsize,
}

/// How many bytes of answers to a peer may wait to be written, besides what the program sends. Each answer
/// counts for what it costs to keep, which is more than its own bytes. The limit corresponds to thousands of
/// answers, more than a well-behaved peer asks for before it reads.
pub const MAX_ANSWERS: usize = 1 << 20;

impl Channel {
    /// Takes ownership of this process's end of a socket pair, which must be non-blocking.
    pub fn new(socket: OwnedFd, serialization: Serialization) -> Self {
        Channel {
            outbox: Mutex::new(Outbox::default().counting_unread()),
            ..Self::bounded(socket, serialization, Bounds::default())
        }
    }

    /// As [`Channel::new`], for a channel with a limited queue. The send buffer keeps its usual size, so that
    /// all further bytes wait in the queue. The program learns when the queue has become empty.
    pub fn bounded(socket: OwnedFd, serialization: Serialization, bounds: Bounds) -> Self {
        Channel {
            sockets: Sockets::new(socket),
            serialization,
            outbox: Mutex::new(Outbox::with_fixed_buffer()),
            inbox: Mutex::default(),
            sharing: Arc::default(),
            traffic: Traffic::default(),
            bounds,
            accepts_attachments: AtomicBool::new(false),
            undelivered: Undelivered::default(),
            max_undelivered: MAX_UNDELIVERED,
            unread: AtomicUsize::new(0),
        }
    }

    /// As [`Channel::new`], for a socket whose other end is a corral's from the beginning.
    pub fn between_corrals(socket: OwnedFd, serialization: Serialization) -> Self {
        Channel {
            accepts_attachments: AtomicBool::new(true),
            outbox: Mutex::new(Outbox::with_fixed_buffer().counting_unread()),
            max_undelivered: MAX_UNDELIVERED_IN_WORKER,
            ..Self::new(socket, serialization)
        }
    }

    /// What the peer has sent and the program has not received yet.
    pub fn undelivered(&self) -> &Undelivered {
        &self.undelivered
    }

    /// Whether more of the peer's data may be undelivered, on one of `channels` channels of the reactor. If
    /// not, [`Undelivered::remove`] says when to resume.
    pub fn may_read(&self, channels: usize) -> bool {
        self.undelivered.may_read(Undelivered::share(self.max_undelivered, channels))
    }

    /// Whether further frames may have attachments. Once this is true it stays true.
    pub fn accepts_attachments(&self) -> bool {
        self.accepts_attachments.load(Ordering::Acquire)
    }

    /// Whether the channel takes a message of the program now. Only the thread that sends the messages may
    /// rely on the answer.
    pub fn takes(&self, message: usize) -> Result<(), Unfit> {
        if message > self.bounds.max_message { Err(Unfit::TooLarge) } else { self.has_room(message) }
    }

    /// As [`Channel::takes`], for several messages together, none of which is too large.
    pub fn has_room(&self, bytes: usize) -> Result<(), Unfit> {
        let queued = self.traffic.queued();
        let is_full = queued > 0 && queued.saturating_add(bytes) > self.bounds.max_queued;
        if is_full { Err(Unfit::QueueFull) } else { Ok(()) }
    }

    /// The largest message that the channel takes, in bytes as they travel.
    pub fn max_message(&self) -> usize {
        self.bounds.max_message
    }

    /// How many bytes count as waiting: those of the queue, and on a channel without bounds also what the
    /// peer has unread in its socket and in shared memory, but for the first [`UNCOUNTED`]. A message counts
    /// by its bytes wherever it is, so that the sender learns of the backlog at the same point however its
    /// messages come.
    pub fn backlog(&self) -> usize {
        let queued = self.traffic.queued();
        if !self.bounds.is_unlimited() {
            return queued;
        }
        let others = queued + self.sharing.unread();
        let mut unread = self.unread.load(Ordering::Relaxed);
        // The kernel is asked where it decides. Most messages go to peers that keep up.
        if others + unread >= MUCH_UNREAD {
            unread = self.with_outbox(|outbox| outbox.refresh_unread(&self.sockets));
        }
        (others + unread).saturating_sub(UNCOUNTED)
    }

    /// Reserves shared memory for a large attachment, if the channel has any and enough of it is free. The
    /// second value says that the reactor must call [`Channel::maintain_memory`].
    pub fn reserve(&self, bytes: usize) -> (Option<Reservation>, bool) {
        if self.accepts_attachments() { self.sharing.reserve(bytes) } else { (None, false) }
    }

    /// Called by the reactor when it has been asked to: makes shared memory and offers it to the peer, or
    /// returns unused memory to the system. The reactor may have to flush afterwards.
    pub fn maintain_memory(&self) -> Maintenance {
        let maintenance = self.sharing.maintain();
        if let Maintenance::Offered(file) = &maintenance {
            match proto::encode(self.serialization, &json!({ "cmd": MEMORY })) {
                Ok(bytes) => {
                    self.send(Frame::with_handle(bytes, file.clone(), HandleOrigin::Memory));
                }
                Err(_) => self.sharing.refused(),
            }
        }
        maintenance
    }

    /// Handles a descriptor that was given up.
    fn lost(&self, retransmission: Retransmission) -> Retransmission {
        if retransmission == Retransmission::GivenUp(HandleOrigin::Memory) {
            self.sharing.refused();
        }
        retransmission
    }

    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    fn with_outbox<T>(&self, work: impl FnOnce(&mut Outbox) -> T) -> T {
        let mut outbox = self.outbox.lock();
        let result = work(&mut outbox);
        self.traffic.queued_bytes.set(outbox.queued_bytes() as u64);
        self.unread.store(outbox.unread_bytes(), Ordering::Relaxed);
        result
    }

    /// How messages on this channel are serialized.
    pub fn serialization(&self) -> Serialization {
        self.serialization
    }

    /// Sends a frame: at once if nothing waits in front of it and the socket has room, otherwise in its turn.
    /// Any thread may call this. It never blocks.
    pub fn send(&self, frame: Frame) -> SendStatus {
        self.with_outbox(|outbox| outbox.send(&self.sockets, frame))
    }

    /// As [`Channel::send`], for a frame that answers the peer.
    ///
    /// Errors: the peer does not read the answers to what it asks. The channel must be closed with this
    /// error.
    pub fn answer(&self, frame: Frame) -> Result<SendStatus, Error> {
        self.answered(|outbox| outbox.answer(&self.sockets, frame))
    }

    /// As [`Channel::answer`], for the acknowledgement or refusal of a descriptor. It does not wait behind
    /// descriptors that wait for acknowledgements of the peer.
    ///
    /// Errors: as [`Channel::answer`].
    pub fn send_receipt(&self, frame: Frame) -> Result<SendStatus, Error> {
        self.answered(|outbox| outbox.send_receipt(&self.sockets, frame))
    }

    fn answered(&self, answer: impl FnOnce(&mut Outbox) -> SendStatus) -> Result<SendStatus, Error> {
        let (status, answers) = self.with_outbox(|outbox| (answer(outbox), outbox.answers()));
        if answers <= MAX_ANSWERS {
            return Ok(status);
        }
        Err(Error::BadFrame("much asked, and the answers not read".into()))
    }

    /// As [`Channel::send`], for borrowed bytes. The bytes that the socket takes at once are not copied.
    pub fn send_lent(&self, bytes: &[u8], completion: Completion) -> SendStatus {
        self.with_outbox(|outbox| outbox.send_lent(&self.sockets, bytes, completion))
    }

    /// As [`Channel::send_lent`], for a frame in several parts.
    pub fn send_parts(&self, parts: &[&[u8]], completion: Completion) -> SendStatus {
        self.with_outbox(|outbox| outbox.send_parts(&self.sockets, parts, completion))
    }

    /// Queues a frame to be written together with others of the same turn of the event loop, which saves a
    /// system call for each. [`Channel::uncork`] ends the turn. Later frames do not overtake it. If the turn
    /// lasts longer than [`CORKED_FOR`], the reactor writes it. `append` writes the frame into the buffer.
    pub fn cork(&self, uncorked: Uncorked, append: impl FnOnce(&mut Vec<u8>)) -> Corked {
        self.with_outbox(|outbox| outbox.cork(&self.sockets, uncorked, append))
    }

    /// Ends the turn. If corked frames have to wait, `completion` will be announced when they are written. If
    /// they could not be written, the status says so.
    pub fn uncork(&self, completion: Completion) -> SendStatus {
        self.with_outbox(|outbox| outbox.uncork(&self.sockets, completion))
    }

    /// The cork timer of the reactor has expired. Returns whether the reactor must flush.
    pub fn on_cork_timer(&self) -> bool {
        self.with_outbox(Outbox::on_cork_timer)
    }

    /// Writes waiting frames as far as the socket takes them. Adds the callbacks of complete frames to
    /// `completed`.
    pub fn flush(&self, completed: &mut Vec<Completion>) -> FlushStatus {
        self.with_outbox(|outbox| outbox.flush(&self.sockets, completed))
    }

    /// The peer has acknowledged the oldest descriptor in flight. Returns its origin; None when none is in
    /// flight, which only a misbehaving peer brings about.
    pub fn acknowledge(&self) -> Option<HandleOrigin> {
        let origin = self.with_outbox(|outbox| outbox.acknowledge());
        if origin == Some(HandleOrigin::Memory) {
            self.sharing.accepted();
        }
        origin
    }

    /// The peer says that the oldest descriptor in flight did not arrive. Queues its frame again, in front,
    /// unless it was sent too often already.
    pub fn retransmit(&self) -> Retransmission {
        self.lost(self.with_outbox(|outbox| outbox.retransmit()))
    }

    /// Whether no frame waits to be written and no descriptor to be acknowledged.
    pub fn is_idle(&self) -> bool {
        self.outbox.lock().is_idle()
    }

    /// Offers the receiving half to the JavaScript thread. The event with the offer must follow everything
    /// that has been read. Leaves the inbox in place when offers are refused.
    pub fn offer(&self, inbox: &mut Option<Inbox>) -> Option<Offer> {
        self.inbox.lock().offer(inbox)
    }

    /// Takes the receiving half back from the JavaScript thread; None if it was not lent.
    pub fn take_back(&self) -> Option<Inbox> {
        self.inbox.lock().take_back()
    }

    /// Accepts an offer on the JavaScript thread. Returns whether that thread reads from now on: the reactor
    /// may have taken the channel back meanwhile.
    pub fn accept(&self, offer: Offer) -> bool {
        self.inbox.lock().accept(offer)
    }

    /// The JavaScript thread cannot read channels: no further offers.
    pub fn refuse_offers(&self) {
        self.inbox.lock().refuse();
    }

    /// Reads once, on the JavaScript thread. `deliver` is called under the channel's lock and must not use the
    /// channel.
    pub fn read_directly(&self, most: usize, deliver: impl FnMut(Frames)) -> DirectRead {
        self.inbox.lock().read(self, most, deliver)
    }

    /// How often the JavaScript thread has read.
    pub fn direct_reads(&self) -> u64 {
        self.inbox.lock().reads()
    }

    /// Moves the sending half to a second socket, which the channel owns from now on. Earlier frames go out
    /// on the first socket, then the half-close marker, and all later frames on the second. The caller must
    /// flush. Returns false if the channel is closed or has moved already.
    pub fn move_sending(&self, second: OwnedFd, marker: Vec<u8>) -> bool {
        self.sockets.prepare(second)
            && self.with_outbox(|outbox| {
                let is_open = outbox.push_half_close(&self.sockets, marker);
                self.accepts_attachments.store(is_open, Ordering::Release);
                is_open
            })
    }

    /// Whether the half-close marker is written, so that further frames go out on the second socket.
    pub fn has_moved_sending(&self) -> bool {
        self.sockets.has_moved_sending()
    }

    /// Moves the receiving half to the second socket: the peer has sent its half-close marker on the first,
    /// or has gone. The owner of the inbox calls this.
    pub fn move_reading(&self) {
        self.sockets.move_reading();
    }

    /// Whether the receiving half has moved, and with it the whole channel.
    pub fn has_moved_reading(&self) -> bool {
        self.sockets.has_moved_reading()
    }

    /// The socket to which the channel moves, if it has one.
    pub fn second_socket(&self) -> Option<BorrowedFd<'_>> {
        self.sockets.second()
    }

    /// Takes no more frames, writes the waiting ones, and then ends the stream. The peer's frames can still
    /// be received.
    pub fn close_after_flush(&self) {
        self.with_outbox(|outbox| outbox.close_after_flush(&self.sockets));
    }

    /// Takes no more frames and drops the waiting ones. Returns their callbacks.
    pub fn abort(&self) -> Vec<Unwritten> {
        // The outbox shuts this side down, and then it could not be told any more.
        self.sockets.note_end();
        self.with_outbox(|outbox| outbox.abort(&self.sockets))
    }
}

impl Channel {
    /// Whether the peer had gone when this channel was ended: it had not only shut down its sending half.
    pub fn is_deserted(&self) -> bool {
        self.sockets.was_deserted()
    }
}

impl AsFd for Channel {
    /// The socket to read from. Only the owner of the receiving half may rely on its staying the same.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.sockets.reading()
    }
}

/// Makes a channel and the peer's end.
///
/// Errors: `EMFILE`, `ENFILE`, `ENOBUFS`.
pub fn pair(serialization: Serialization) -> Result<(Channel, OwnedFd), nix::errno::Errno> {
    let pair = os::socket_pair()?;
    os::set_send_buffer(pair.theirs.as_fd(), PEERS_BUFFER);
    Ok((Channel::new(pair.ours, serialization), pair.theirs))
}
