//! One Unix stream socket between two processes that carries frames and descriptors, in Node's own format, so that
//! an unmodified Node process is a valid peer.
//!
//! The sending half ([`Channel`]) may be used from any thread; the receiving half ([`Inbox`]) belongs to the reactor, or
//! to the JavaScript thread while the channel carries nothing but the program's messages.

mod batch;
mod bounds;
mod command;
mod event;
mod inbox;
mod lending;
mod memory;
mod outbox;
mod send_buffer;
mod shared_read;
mod sockets;
mod traffic;
mod undelivered;
mod window;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;

pub use batch::{Batch, Format, Frames, Multipart, Part};
pub use bounds::{Bounds, Unfit};
pub use command::ChannelCommand;
pub use event::ChannelEvent;
pub use inbox::{Extent, Inbound, Inbox, LARGE_MESSAGE, ReadStatus};
pub use lending::{BUSY_AFTER, Lending, Look, MAX_LENT, QUIET};
#[cfg(fuzzing)]
pub use memory::LENGTH as MEMORY_LENGTH;
pub use memory::{MEMORY_KEPT, Room, Segment, Tending};
pub use outbox::{Corked, FlushStatus, Frame, HandleOrigin, Retransmission, SendStatus, Uncorked, Unwritten};
pub use shared_read::DirectRead;
pub use traffic::Traffic;
pub use undelivered::{EVENT_COST, Undelivered};

use crate::error::Error;
use crate::ids::{Completion, Offer};
use crate::os;
use crate::proto::{self, MEMORY, Serialization};
use memory::Sharing;
use outbox::Outbox;
use send_buffer::LARGE_FRAME;
use shared_read::Receiving;
use sockets::Sockets;

/// How much of a peer's may wait for JavaScript, by its cost ([`Undelivered`]), before its channel is no longer read. The peer's own
/// queue grows then, as it does when a built-in primary is busy.
const MAX_UNDELIVERED: usize = 8 << 20;

/// For how long messages that are to go out together wait at most for the end of their turn.
pub const CORKED_FOR: Duration = Duration::from_millis(1);

/// As [`MAX_UNDELIVERED`], in a worker: enough for its JavaScript to find the next message when it has dealt with one. A primary that sends
/// more than the worker takes is to hear of it as soon as with Node's own reader, which reads nothing in advance.
const MAX_UNDELIVERED_IN_WORKER: usize = 256 << 10;

/// How many bytes a peer may have written that the reactor has not read; the system may allow less. A peer that is Node writes as much
/// of a message as the socket takes and the rest when its event loop comes round to it, each time with somebody to wake at the other end:
/// more than a large message has room at once.
const PEERS_BUFFER: usize = 1 << 20;

/// What a Unix socket holds unless told otherwise, in bytes (`net.core.wmem_default`), and the last piece, which need not fit whole.
const USUAL_BUFFER: usize = 212_992 + (36 << 10);

/// What a handle that waits for JavaScript counts for in [`MAX_UNDELIVERED`], so that a peer that does not wait for
/// acknowledgements cannot use up the descriptors of this process.
pub const HANDLE_WEIGHT: usize = 256 << 10;

/// The sending half of a channel, its socket, and the receiving half while that is lent.
///
/// A channel to a process that loads corral later begins on the socket that Node gave it and moves over to one between the
/// two corrals, where a frame may be what Node's own reader would not understand. It stays one channel: frames keep their
/// order, what waits to be written or to be acknowledged moves along.
#[derive(Debug)]
pub struct Channel {
    sockets: Sockets,
    serialization: Serialization,
    outbox: Mutex<Outbox>,
    receiving: Mutex<Receiving>,
    sharing: Arc<Sharing>,
    traffic: Traffic,
    bounds: Bounds,
    /// What is sent from now on is read by a corral.
    accepts_attachments: AtomicBool,
    undelivered: Undelivered,
    max_undelivered: usize,
    /// The socket may hold more than usual.
    may_exceed_usual: bool,
}

/// How many bytes of answers to what the peer sends may wait to be written, beside what the program sends; each counts for what it
/// costs to keep, which is more than its own bytes. That is some thousands: more than a peer that goes by the rules asks for before
/// it comes to read.
pub const MAX_ANSWERS: usize = 1 << 20;

impl Channel {
    /// Takes over this process's end of a socket pair, which must be non-blocking.
    pub fn new(socket: OwnedFd, serialization: Serialization) -> Self {
        Channel {
            outbox: Mutex::default(),
            may_exceed_usual: true,
            ..Self::bounded(socket, serialization, Bounds::default())
        }
    }

    /// As [`Channel::new`], for a channel that does not take everything. All that it takes and the usual send buffer does not hold
    /// waits in its queue, which alone holds anybody up: it is told when that has become empty.
    pub fn bounded(socket: OwnedFd, serialization: Serialization, bounds: Bounds) -> Self {
        Channel {
            sockets: Sockets::new(socket),
            serialization,
            outbox: Mutex::new(Outbox::with_fixed_buffer()),
            receiving: Mutex::default(),
            sharing: Arc::default(),
            traffic: Traffic::default(),
            bounds,
            accepts_attachments: AtomicBool::new(false),
            undelivered: Undelivered::default(),
            max_undelivered: MAX_UNDELIVERED,
            may_exceed_usual: false,
        }
    }

    /// As [`Channel::new`], for a socket whose other end is a corral's from the beginning.
    pub fn between_corrals(socket: OwnedFd, serialization: Serialization) -> Self {
        Channel {
            accepts_attachments: AtomicBool::new(true),
            outbox: Mutex::new(Outbox::with_fixed_buffer()),
            max_undelivered: MAX_UNDELIVERED_IN_WORKER,
            ..Self::new(socket, serialization)
        }
    }

    /// What the peer has sent and JavaScript has not been given yet.
    pub fn undelivered(&self) -> &Undelivered {
        &self.undelivered
    }

    /// Whether more of the peer's may wait for JavaScript, on one of so many channels of a reactor. If not, the reactor is told to
    /// resume.
    pub fn may_read(&self, channels: usize) -> bool {
        self.undelivered.may_read(Undelivered::share(self.max_undelivered, channels))
    }

    /// Whether what is sent from now on may bring pieces along. Once it may, it always may.
    pub fn accepts_attachments(&self) -> bool {
        self.accepts_attachments.load(Ordering::Acquire)
    }

    /// Whether a message of the program's may be sent now. Only the thread that sends them may rely on the answer.
    pub fn takes(&self, message: usize) -> Result<(), Unfit> {
        if message > self.bounds.max_message { Err(Unfit::TooLarge) } else { self.has_room(message) }
    }

    /// As [`Channel::takes`], for several messages at once, none of which is too large.
    pub fn has_room(&self, bytes: usize) -> Result<(), Unfit> {
        let queued = self.traffic.queued();
        let is_full = queued > 0 && queued.saturating_add(bytes) > self.bounds.max_queued;
        if is_full { Err(Unfit::QueueFull) } else { Ok(()) }
    }

    /// The largest message that it takes, in bytes as they travel.
    pub fn max_message(&self) -> usize {
        self.bounds.max_message
    }

    /// How many bytes more the peer has left unread than the usual buffer of a socket holds, now that a message of so many has been
    /// sent. The sockets between two corrals hold more, and their memory; other sockets do while a large message is in them. Who sends
    /// is to be told all the same.
    pub fn behind(&self, message: usize) -> usize {
        // What is small and was written at once has found the usual buffer.
        let may_be = self.accepts_attachments()
            || message > LARGE_FRAME
            || self.traffic.bytes_queued.load(Ordering::Relaxed) > 0;
        if !(self.may_exceed_usual && may_be) {
            return 0;
        }
        let unread = os::unread_by_peer(self.sockets.sending()) + self.sharing.unread();
        unread.saturating_sub(USUAL_BUFFER)
    }

    /// As [`Channel::behind`], of what is in shared memory alone; costs no system call.
    pub fn behind_in_memory(&self) -> usize {
        self.sharing.unread().saturating_sub(USUAL_BUFFER)
    }

    /// Room for a large piece of a message in the memory that the two sides share, if they do and there is. The second value says
    /// that the reactor is to [`Channel::tend_memory`].
    pub fn room(&self, bytes: usize) -> (Option<Room>, bool) {
        if self.accepts_attachments() { self.sharing.room(bytes) } else { (None, false) }
    }

    /// For the reactor, when it has been asked to: makes memory for large pieces and offers it to the peer, or gives back to the
    /// system what has not been used. It may be that the reactor is to flush after this.
    pub fn tend_memory(&self) -> Tending {
        let tending = self.sharing.tend();
        if let Tending::Offered(file) = &tending {
            match proto::encode(self.serialization, &json!({ "cmd": MEMORY })) {
                Ok(bytes) => {
                    self.send(Frame::with_handle(bytes, file.clone(), HandleOrigin::Memory));
                }
                Err(_) => self.sharing.refused(),
            }
        }
        tending
    }

    /// A descriptor has not arrived, and is given up; or nothing is known of it.
    fn lost(&self, retransmission: Retransmission) -> Retransmission {
        if retransmission == Retransmission::GivenUp(HandleOrigin::Memory) {
            self.sharing.refused();
        }
        retransmission
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
        self.with_outbox(|outbox| outbox.send(&self.sockets, frame))
    }

    /// As [`Channel::send`], for a frame that the peer's own doing has brought about.
    ///
    /// Errors: the peer asks and does not read the answers. The channel is to be closed with this.
    pub fn answer(&self, frame: Frame) -> Result<SendStatus, Error> {
        self.answered(|outbox| outbox.answer(&self.sockets, frame))
    }

    /// As [`Channel::answer`], for what has become of a descriptor of the peer's: it does not wait behind descriptors that wait for the
    /// peer's answers.
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

    /// As [`Channel::send`], for bytes that are only lent, e.g. by JavaScript: what the socket takes at once is not
    /// copied.
    pub fn send_lent(&self, bytes: &[u8], completion: Completion) -> SendStatus {
        self.with_outbox(|outbox| outbox.send_lent(&self.sockets, bytes, completion))
    }

    /// As [`Channel::send_lent`], for a frame in several parts.
    pub fn send_parts(&self, parts: &[&[u8]], completion: Completion) -> SendStatus {
        self.with_outbox(|outbox| outbox.send_parts(&self.sockets, parts, completion))
    }

    /// Sends a frame together with others of the same turn of the event loop, to save a system call for each:
    /// [`Channel::uncork`] ends the turn. Nothing overtakes it meanwhile, and a turn that takes longer than
    /// [`CORKED_FOR`] does not hold it up if the reactor looks after it. `append` writes the frame.
    pub fn cork(&self, uncorked: Uncorked, append: impl FnOnce(&mut Vec<u8>)) -> Corked {
        self.with_outbox(|outbox| outbox.cork(&self.sockets, uncorked, append))
    }

    /// The turn is over. If what was corked has to wait, its `completion` will be announced; if it could not be written,
    /// this tells so.
    pub fn uncork(&self, completion: Completion) -> SendStatus {
        self.with_outbox(|outbox| outbox.uncork(&self.sockets, completion))
    }

    /// The reactor has waited for [`CORKED_FOR`] since it was asked to. Returns whether it is to flush.
    pub fn look_after_corked(&self) -> bool {
        self.with_outbox(Outbox::look_after_corked)
    }

    /// Writes what waits, as far as the socket takes it. Callbacks that are due are added to `completed`.
    pub fn flush(&self, completed: &mut Vec<Completion>) -> FlushStatus {
        self.with_outbox(|outbox| outbox.flush(&self.sockets, completed))
    }

    /// The peer has acknowledged the oldest descriptor that is under way. Returns whose it was; None when nothing is
    /// under way, which a peer that behaves never says.
    pub fn acknowledge(&self) -> Option<HandleOrigin> {
        let origin = self.with_outbox(|outbox| outbox.acknowledge());
        if origin == Some(HandleOrigin::Memory) {
            self.sharing.accepted();
        }
        origin
    }

    /// The peer says that the oldest descriptor under way did not arrive: it is queued again, in front, unless it
    /// was sent too often already.
    pub fn retransmit(&self) -> Retransmission {
        self.lost(self.with_outbox(|outbox| outbox.retransmit()))
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
    pub fn read_directly(&self, most: usize, tell: impl FnMut(Frames)) -> DirectRead {
        self.receiving.lock().read(self, most, tell)
    }

    /// How often the JavaScript thread has read.
    pub fn direct_reads(&self) -> u64 {
        self.receiving.lock().reads()
    }

    /// Moves the sending half over to another socket, which the channel owns from now on: what was sent before goes out on
    /// the first one, then `farewell`, and everything else on the second. Whoever calls this flushes. False if it takes no
    /// frames any more, or has such a socket already.
    pub fn move_sending(&self, second: OwnedFd, farewell: Vec<u8>) -> bool {
        self.sockets.prepare(second)
            && self.with_outbox(|outbox| {
                let is_open = outbox.push_farewell(&self.sockets, farewell);
                self.accepts_attachments.store(is_open, Ordering::Release);
                is_open
            })
    }

    /// Whether the farewell is written, so that it is the second socket that may have to wait for room.
    pub fn has_moved_sending(&self) -> bool {
        self.sockets.has_moved_sending()
    }

    /// Moves the receiving half over to the second socket: the peer has said farewell on the first, or has gone. To be called
    /// by whoever has the inbox.
    pub fn move_reading(&self) {
        self.sockets.move_reading();
    }

    /// Whether the receiving half has moved, and so the whole channel.
    pub fn has_moved_reading(&self) -> bool {
        self.sockets.has_moved_reading()
    }

    /// The socket that it moves over to, once there is one.
    pub fn second_socket(&self) -> Option<BorrowedFd<'_>> {
        self.sockets.second()
    }

    /// Takes no more frames, sends what waits, then tells the peer that this was all.
    /// What the peer still sends can be received.
    pub fn close_after_flush(&self) {
        self.with_outbox(|outbox| outbox.close_after_flush(&self.sockets));
    }

    /// Takes no more frames and drops what waits. Returns the callbacks of what was not written.
    pub fn abort(&self) -> Vec<Unwritten> {
        self.with_outbox(|outbox| outbox.abort(&self.sockets))
    }
}

impl AsFd for Channel {
    /// The socket that is read. Only who has the receiving half may rely on its staying the same.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.sockets.reading()
    }
}

/// Makes a channel and the end for the peer.
///
/// Errors: `EMFILE`, `ENFILE`, `ENOBUFS`.
pub fn pair(serialization: Serialization) -> Result<(Channel, OwnedFd), nix::errno::Errno> {
    let pair = os::socket_pair()?;
    os::set_send_buffer(pair.theirs.as_fd(), PEERS_BUFFER);
    Ok((Channel::new(pair.ours, serialization), pair.theirs))
}
