//! What a peer sends: bytes cut into frames, descriptors given to the frames that they came with.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;

use super::memory::{Incoming, Segment};
use crate::error::Error;
use crate::os::{self, Ancillary};
use crate::proto::{Decoder, Frame, FrameError, Kind, Serialization, classify};

/// How many bytes are read from one peer before the others get their turn.
const READ_BUDGET: usize = 1 << 20;

/// What one read costs of it at least: who writes byte by byte, each with a descriptor, is not to have more reads than others.
const READ_COST: usize = 4 << 10;

/// What a message of the program costs of it beside its bytes: a turn of empty ones takes no longer than one of long ones.
const MESSAGE_COST: usize = 64;

/// What a frame costs of it that the reactor answers or acts upon, beside its bytes. That may be to open a server, or to tell JavaScript of
/// one: some 100 us, and others have their turn after 32 of them. A worker that is not corral has four connections in flight, with two frames each.
const INTERNAL_COST: usize = 32 << 10;

/// What a handle costs of it: so few are taken at once that what waits for JavaScript is not much more than may wait.
const HANDLE_COST: usize = 64 << 10;

/// How many bytes are read that a peer left behind which has gone, though somebody else may go on writing. More than the buffers
/// of a channel's sockets hold.
pub const MAX_LEFT_BEHIND: usize = 8 << 20;

/// Messages beyond this are read by the reactor: beside JavaScript, which parses one while the next is coming.
pub const LARGE_MESSAGE: usize = 64 << 10;

/// How many descriptors may wait for their frames. Node sends one and waits; a peer with more is up to no good.
const MAX_UNCLAIMED: usize = 64;

/// A complete frame.
#[derive(Debug)]
pub struct Inbound<'a> {
    /// Whom it is for.
    pub kind: Kind,
    /// Its bytes, without newline or length.
    pub bytes: Frame<'a>,
    /// What it brought along in shared memory, in order.
    pub segments: Vec<Segment>,
    /// The descriptor of a NODE_HANDLE frame; None when it was lost on the way. Also of memory, which has been mapped; None if it
    /// could not be.
    pub handle: Option<OwnedFd>,
}

impl Inbound<'_> {
    /// How many bytes there are, with those of what it brought along.
    pub fn length(&self) -> usize {
        self.bytes.total_length()
    }
}

/// How much is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// What there is, within a budget.
    Ready,
    /// As `Ready`; the peer is known to have closed its end, so that the end is there to be read.
    ToEnd,
    /// What was in the socket when reading began, and nothing that comes meanwhile: the peer has gone, and who else has its end may
    /// write for ever.
    Left,
}

/// How far reading came.
#[derive(Debug)]
pub enum ReadStatus {
    /// Nothing is left to read for now.
    Drained,
    /// The peer has more; others first.
    BudgetSpent,
    /// The peer has closed its end, or died.
    Ended,
    /// The peer broke the protocol, or the socket failed: the channel cannot be read on.
    Broken(Error),
}

/// How far reading of the program's messages alone came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessagesRead {
    /// All that was read has been handed over; there may be more.
    All,
    /// Something else is next: a frame of the cluster protocol or of a handle, a large one, one too many, the end, a failure. It is
    /// still there, for [`Inbox::read`].
    SomethingElse,
}

/// The receiving half of a channel; belongs to the reactor thread, or is lent.
#[derive(Debug)]
pub struct Inbox {
    serialization: Serialization,
    decoder: Decoder,
    ancillary: Ancillary,
    /// Arrived, not yet claimed by a frame.
    unclaimed: VecDeque<OwnedFd>,
    memory: SharedMemory,
    /// Frames have arrived and were left where they were.
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

    /// From here on frames may bring attachments along: the peer is a corral.
    pub fn accept_attachments(&mut self) {
        self.decoder.accept_attachments();
        self.memory.is_taken = true;
    }

    /// Reads once, 64 KiB or so, and hands over messages of the program, so many at most. Stops at the first frame that is something
    /// else and leaves it, and what is behind it, where it is.
    pub fn read_messages(
        &mut self,
        socket: BorrowedFd<'_>,
        most: usize,
        mut on_message: impl FnMut(Frame<'_>, Vec<Segment>),
    ) -> MessagesRead {
        match os::receive(socket, self.decoder.buffer(), &mut self.ancillary) {
            Ok(received) if received.bytes > 0 => self.unclaimed.extend(received.handles),
            Err(Errno::EAGAIN) => return MessagesRead::All,
            // The next read finds the same; after ECONNRESET it finds the end, which is what that means.
            Ok(_) | Err(_) => return MessagesRead::SomethingElse,
        }
        let mut count = 0;
        // A frame that cannot be read is found again.
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

    /// Reads until nothing is left, the budget is spent or the peer has ended, and hands each frame to `on_frame`.
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
                // The peer died and had not read everything: what it had sent has been read before this.
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
            // A stream socket that gave less than there was room for is empty; one more read would only say so,
            // unless the end is behind it. A read with a descriptor was cut short by the kernel instead.
            if received.bytes < room && !had_handles && extent == Extent::Ready && !self.has_rest {
                return ReadStatus::Drained;
            }
        }
    }

    /// Hands over the frames that have come, as far as the budget goes.
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
                // To others than a corral this is a message as any other.
                Kind::Memory if !memory.is_taken => (Kind::User, None),
                Kind::Memory => (Kind::Memory, unclaimed.pop_front().filter(|file| memory.map(file.as_fd()))),
                kind => (kind, None),
            };
            budget.take(kind);
            on_frame(Inbound { kind, bytes, segments, handle });
        }
        // Every frame that began in what was read is complete: a descriptor that none of them claimed came without
        // a NODE_HANDLE frame and must not be given to a later one.
        if self.decoder.is_empty() {
            self.unclaimed.clear();
        }
        if self.unclaimed.len() > MAX_UNCLAIMED {
            return Err(Error::BadFrame("descriptors without frames".into()));
        }
        Ok(())
    }
}

/// Whether more is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BudgetState {
    /// It is.
    Goes,
    /// It is the others' turn.
    Spent,
    /// All that the peer has left behind has been.
    AllRead,
    /// So has as much of it as may be, and there is more.
    TooMuch,
}

/// How much may still be read.
#[derive(Debug)]
enum Budget {
    /// Before others have their turn.
    Turn(usize),
    /// Of what the peer has left behind, of which there is so much more than is read.
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

    /// So many bytes were read at once.
    fn read(&mut self, bytes: usize) {
        match self {
            Budget::Turn(left) => *left = left.saturating_sub(bytes.max(READ_COST)),
            Budget::Left { bytes: left, .. } => *left = left.saturating_sub(bytes),
        }
    }

    /// A frame is handed over.
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

/// The memory in which the peer leaves large attachments.
#[derive(Debug, Default)]
struct SharedMemory {
    /// The peer may offer some.
    is_taken: bool,
    incoming: Option<Arc<Incoming>>,
}

impl SharedMemory {
    /// Returns whether it could be mapped. There is one at a time: a peer that sees to it that something of each is held would have as
    /// many mapped as a process may have mappings, and then its next allocation fails.
    fn map(&mut self, file: BorrowedFd<'_>) -> bool {
        if self.incoming.as_ref().is_some_and(Incoming::is_held) {
            return false;
        }
        let incoming = Incoming::map(file).ok();
        let is_mapped = incoming.is_some();
        self.incoming = incoming.or(self.incoming.take());
        is_mapped
    }

    /// What a frame says that it has there.
    ///
    /// Errors: it cannot be there.
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
