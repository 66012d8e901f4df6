//! A peer's bytes, cut into frames, and its descriptors, assigned to the frames that they came with.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;

use super::memory::{Incoming, Segment};
use crate::error::Error;
use crate::os::{self, Ancillary};
use crate::proto::{Decoder, Frame, FrameError, Kind, Serialization, classify};

/// How many bytes are read from one peer before it is the others' turn.
const READ_BUDGET: usize = 1 << 20;

/// The least cost of one read: a peer that writes byte by byte, each with a descriptor, must not get more
/// reads than others.
const READ_COST: usize = 4 << 10;

/// The cost of a message of the program besides its bytes. A turn of empty messages takes no longer than one
/// of long ones.
const MESSAGE_COST: usize = 64;

/// The cost of an internal message besides its bytes. The reactor may have to open a server or to inform
/// JavaScript, which takes some 100 us, so that 32 of them end a turn. A worker that is not corral has four
/// connections in flight, with two frames each.
const INTERNAL_COST: usize = 32 << 10;

/// The cost of a handle. A turn takes so few of them that the undelivered ones hardly exceed their limit.
const HANDLE_COST: usize = 128 << 10;

/// How many bytes are read at most that a peer has left behind, as another process may go on writing. The
/// buffers of a channel's sockets hold less.
pub const MAX_LEFT_BEHIND: usize = 8 << 20;

/// The reactor reads larger messages: JavaScript parses one while the next is arriving.
pub const LARGE_MESSAGE: usize = 64 << 10;

/// How many descriptors may wait for their frames. Node sends one and waits for its acknowledgement.
const MAX_UNCLAIMED: usize = 64;

#[derive(Debug)]
pub struct Inbound<'a> {
    /// Which part of the protocol it belongs to.
    pub kind: Kind,
    /// Without newline or length.
    pub bytes: Frame<'a>,
    /// Its attachments in shared memory, in order.
    pub segments: Vec<Segment>,
    /// The descriptor of a NODE_HANDLE frame; None when it was lost on the way. For an offer of memory, the
    /// descriptor that has been mapped; None if it could not be.
    pub handle: Option<OwnedFd>,
}

impl Inbound<'_> {
    /// The length of the frame with its attachments, in bytes.
    pub fn length(&self) -> usize {
        self.bytes.total_length()
    }
}

/// How much to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// The available bytes, within a budget.
    Ready,
    /// As `Ready`, until the end of the stream: the peer is known to have closed its end.
    ToEnd,
    /// The bytes that were in the socket when reading began, and no later ones: the peer has gone, and
    /// another process that has its end may go on writing for ever.
    Left,
}

/// How far a read has come.
#[derive(Debug)]
pub enum ReadStatus {
    /// Nothing is left to read for now.
    Drained,
    /// More is left. The others come first.
    BudgetSpent,
    /// The peer has closed its end, or died.
    Ended,
    /// The peer broke the protocol, or the socket failed. The channel must be closed.
    Broken(Error),
}

/// How far a read of the program's messages has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessagesRead {
    /// All messages have been passed on. There may be more in the socket.
    All,
    /// Something else comes next: an internal message, a handle, a large message, one too many, the end or an
    /// error. It is still there for [`Inbox::read`].
    SomethingElse,
}

/// The receiving half of a channel. It belongs to the reactor, or is lent to the JavaScript thread.
#[derive(Debug)]
pub struct Inbox {
    serialization: Serialization,
    decoder: Decoder,
    ancillary: Ancillary,
    /// Descriptors that no frame has claimed yet.
    unclaimed: VecDeque<OwnedFd>,
    memory: SharedMemory,
    /// Complete frames are left in the decoder.
    has_rest: bool,
}

impl Inbox {
    /// For a peer that may send frames of up to `limit` bytes.
    pub fn new(serialization: Serialization, limit: usize) -> Self {
        Inbox {
            serialization,
            decoder: Decoder::new(serialization, limit),
            ancillary: Ancillary::default(),
            unclaimed: VecDeque::new(),
            memory: SharedMemory::default(),
            has_rest: false,
        }
    }

    /// Further frames may have attachments: the peer is a corral.
    pub fn accept_attachments(&mut self) {
        self.decoder.accept_attachments();
        self.memory.is_taken = true;
    }

    /// Reads once, some 64 KiB, and passes on at most `most` messages of the program. Leaves the first other
    /// frame, and everything behind it, in place.
    pub fn read_messages(
        &mut self,
        socket: BorrowedFd<'_>,
        most: usize,
        mut on_message: impl FnMut(Frame<'_>, Vec<Segment>),
    ) -> MessagesRead {
        match os::receive(socket, self.decoder.buffer(), &mut self.ancillary) {
            Ok(received) if received.bytes > 0 => self.unclaimed.extend(received.handles),
            Err(Errno::EAGAIN) => return MessagesRead::All,
            // The next read returns the same. After ECONNRESET it returns the end of the stream, which
            // amounts to the same.
            Ok(_) | Err(_) => return MessagesRead::SomethingElse,
        }
        let mut count = 0;
        // A malformed frame stays in place and is found again.
        while let Ok(next) = self.decoder.next_frame() {
            let Some(frame) = next else {
                if self.unclaimed.is_empty() && self.decoder.incomplete() <= LARGE_MESSAGE {
                    return MessagesRead::All;
                }
                break;
            };
            let is_small = frame.has_attachments()
                || frame.len() <= LARGE_MESSAGE && classify(self.serialization, &frame) == Kind::User;
            match self.memory.claim(&frame) {
                Ok(segments) if is_small && count < most => {
                    count += 1;
                    on_message(frame, segments)
                }
                _ => {
                    frame.put_back();
                    break;
                }
            }
        }
        self.has_rest = true;
        MessagesRead::SomethingElse
    }

    /// Reads until nothing is left, the budget is spent or the stream has ended, and passes each frame to
    /// `on_frame`.
    pub fn read(
        &mut self,
        socket: BorrowedFd<'_>,
        extent: Extent,
        mut on_frame: impl FnMut(Inbound<'_>),
    ) -> ReadStatus {
        let mut budget = Budget::new(socket, extent);
        if std::mem::take(&mut self.has_rest)
            && let Err(error) = self.take_frames(&mut budget, &mut on_frame)
        {
            return ReadStatus::Broken(error);
        }
        loop {
            match budget.state() {
                BudgetState::Goes => {}
                BudgetState::Spent => return ReadStatus::BudgetSpent,
                BudgetState::AllRead if os::has_ended(socket) => return ReadStatus::Ended,
                BudgetState::AllRead => return ReadStatus::Drained,
                BudgetState::TooMuch => {
                    let fault = format!("more than {MAX_LEFT_BEHIND} bytes left behind");
                    return ReadStatus::Broken(Error::BadFrame(fault));
                }
            }
            let buffer = self.decoder.buffer();
            let room = buffer.capacity() - buffer.len();
            let received = match os::receive(socket, buffer, &mut self.ancillary) {
                Ok(received) => received,
                Err(Errno::EAGAIN) => return ReadStatus::Drained,
                // The peer died with data unread. Everything that it had sent was read before this error.
                Err(Errno::ECONNRESET) => return ReadStatus::Ended,
                Err(errno) => return ReadStatus::Broken(Error::Sys { doing: "reading a channel", errno }),
            };
            if received.bytes == 0 {
                return ReadStatus::Ended;
            }
            let had_handles = received.handles_lost || !received.handles.is_empty();
            self.unclaimed.extend(received.handles);
            if let Err(error) = self.take_frames(&mut budget, &mut on_frame) {
                return ReadStatus::Broken(error);
            }
            budget.read(received.bytes);
            // A short read has emptied the socket, unless it was cut short behind a descriptor. Another read
            // would only confirm that, unless the end of the stream is next.
            if received.bytes < room && !had_handles && extent == Extent::Ready && !self.has_rest {
                return ReadStatus::Drained;
            }
        }
    }

    /// Passes on complete frames, as far as the budget goes.
    fn take_frames(
        &mut self,
        budget: &mut Budget,
        on_frame: &mut impl FnMut(Inbound<'_>),
    ) -> Result<(), Error> {
        let serialization = self.serialization;
        let (unclaimed, memory) = (&mut self.unclaimed, &mut self.memory);
        loop {
            if budget.state() == BudgetState::Spent {
                self.has_rest = true;
                return Ok(());
            }
            let Some(bytes) = self.decoder.next_frame().map_err(|error| match error {
                FrameError::TooLarge { limit } => Error::FrameTooLarge { limit },
                FrameError::Malformed(fault) => Error::BadFrame(fault.into()),
            })?
            else {
                break;
            };
            let segments = memory.claim(&bytes)?;
            let (kind, handle) = match classify(serialization, &bytes) {
                _ if bytes.has_attachments() => (Kind::User, None),
                Kind::Handle => (Kind::Handle, unclaimed.pop_front()),
                // Only a corral may offer memory. From any other peer this is an ordinary message.
                Kind::Memory if !memory.is_taken => (Kind::User, None),
                Kind::Memory => (Kind::Memory, unclaimed.pop_front().filter(|file| memory.map(file.as_fd()))),
                kind => (kind, None),
            };
            budget.take(kind);
            on_frame(Inbound { kind, bytes, segments, handle });
        }
        // No frame is incomplete. A descriptor that is still unclaimed came without a NODE_HANDLE frame, and
        // a later frame must not get it.
        if self.decoder.is_empty() {
            self.unclaimed.clear();
        }
        if self.unclaimed.len() > MAX_UNCLAIMED {
            return Err(Error::BadFrame("descriptors without frames".into()));
        }
        Ok(())
    }
}

/// Whether to read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BudgetState {
    Goes,
    /// It is the others' turn.
    Spent,
    /// Everything that the peer has left behind has been read.
    AllRead,
    /// As much as allowed has been read of what the peer left behind, and more is left.
    TooMuch,
}

/// How much may still be read.
#[derive(Debug)]
enum Budget {
    /// Until it is the others' turn.
    Turn(usize),
    /// Of what the peer has left behind. `beyond` is how much more than the limit there is.
    Left { bytes: usize, beyond: usize },
}

impl Budget {
    fn new(socket: BorrowedFd<'_>, extent: Extent) -> Self {
        match extent {
            Extent::Ready | Extent::ToEnd => Budget::Turn(READ_BUDGET),
            Extent::Left => {
                let left = os::unread(socket);
                let bytes = left.min(MAX_LEFT_BEHIND);
                Budget::Left { bytes, beyond: left - bytes }
            }
        }
    }

    /// Counts the bytes of one read.
    fn read(&mut self, bytes: usize) {
        match self {
            Budget::Turn(left) => *left = left.saturating_sub(bytes.max(READ_COST)),
            Budget::Left { bytes: left, .. } => *left = left.saturating_sub(bytes),
        }
    }

    /// Counts a frame.
    fn take(&mut self, kind: Kind) {
        if let Budget::Turn(left) = self {
            let cost = match kind {
                Kind::User => MESSAGE_COST,
                Kind::Handle => HANDLE_COST,
                _ => INTERNAL_COST,
            };
            *left = left.saturating_sub(cost);
        }
    }

    fn state(&self) -> BudgetState {
        match self {
            Budget::Turn(0) => BudgetState::Spent,
            Budget::Left { bytes: 0, beyond: 0 } => BudgetState::AllRead,
            Budget::Left { bytes: 0, .. } => BudgetState::TooMuch,
            Budget::Turn(_) | Budget::Left { .. } => BudgetState::Goes,
        }
    }
}

/// The memory in which the peer puts large attachments.
#[derive(Debug, Default)]
struct SharedMemory {
    /// The peer may offer memory.
    is_taken: bool,
    incoming: Option<Arc<Incoming>>,
}

impl SharedMemory {
    /// Maps offered memory and returns whether that succeeded. Only one mapping exists at a time. Otherwise a
    /// peer that keeps a part of each in use could exhaust the mappings that a process may have, and then the
    /// next allocation fails.
    fn map(&mut self, file: BorrowedFd<'_>) -> bool {
        if self.incoming.as_ref().is_some_and(Incoming::is_held) {
            return false;
        }
        let incoming = Incoming::map(file).ok();
        let is_mapped = incoming.is_some();
        self.incoming = incoming.or(self.incoming.take());
        is_mapped
    }

    /// Claims a frame's attachments in shared memory.
    ///
    /// Errors: no attachment can be at the place that the frame states.
    fn claim(&self, frame: &Frame<'_>) -> Result<Vec<Segment>, Error> {
        frame
            .shared_attachments()
            .map(|(offset, length)| self.incoming.as_ref()?.claim(offset, length))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| Error::BadFrame("a attachment that cannot be where it is said to be".into()))
    }
}

#[cfg(test)]
mod tests;
