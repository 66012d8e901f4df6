//! Frames that wait to be written, in their order, and what they cost.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::ids::{Completion, Seq, WorkerId};

/// The cost of a waiting message beside its bytes: its place in the queue and the allocator's share.
pub const WAITING_WEIGHT: usize = 128;

/// How many frames one system call writes at most. The kernel's limit is 1024.
pub(super) const MAX_PARTS: usize = 64;

/// The sender of a descriptor, who learns of its arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandleOrigin {
    /// A connection on its way to a worker, by the message's `seq`.
    Connection(Seq),
    /// A listening socket in a reply of the primary. Nobody waits for its arrival.
    Reply,
    /// A socket to this other worker.
    Peer(WorkerId),
    /// A handle that the program has sent.
    User,
    /// Memory for large attachments.
    Memory,
}

/// A frame to be sent.
#[derive(Debug)]
pub struct Frame {
    /// Newline or length included.
    pub bytes: Vec<u8>,
    /// The descriptor that travels with the first byte. It is kept until the peer has acknowledged it.
    pub handle: Option<(Arc<OwnedFd>, HandleOrigin)>,
    /// The callback to announce if the frame is written later than at once.
    pub completion: Option<Completion>,
}

impl Frame {
    /// A frame without a descriptor and without a callback.
    pub fn plain(bytes: Vec<u8>) -> Self {
        Frame { bytes, handle: None, completion: None }
    }

    /// A frame with a descriptor.
    pub fn with_handle(bytes: Vec<u8>, fd: Arc<OwnedFd>, origin: HandleOrigin) -> Self {
        Frame { bytes, handle: Some((fd, origin)), completion: None }
    }
}

/// What a queued frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The program or the protocol sends it.
    Ordinary,
    /// The peer has asked for it.
    Answer,
    /// It acknowledges or refuses descriptors of the peer. It counts as an answer.
    Receipt,
    /// The half-close marker: what follows goes out on the channel's second socket.
    HalfClose,
}

/// A frame in the queue, or in flight with a descriptor.
#[derive(Debug)]
pub(super) struct Queued {
    pub frame: Frame,
    /// How many of the frame's bytes are written.
    pub written: usize,
    /// How many bytes were written before the rest was queued. They are not part of `frame`.
    pub before: usize,
    pub retransmissions: u8,
    pub purpose: Purpose,
    /// It was corked and gets its completion when the turn ends.
    pub awaits_completion: bool,
}

impl Queued {
    pub fn new(frame: Frame) -> Self {
        Self::with_purpose(frame, Purpose::Ordinary)
    }

    pub fn with_purpose(frame: Frame, purpose: Purpose) -> Self {
        Queued { frame, written: 0, before: 0, retransmissions: 0, purpose, awaits_completion: false }
    }

    /// Its share of the cost of waiting answers.
    fn answer_cost(&self) -> usize {
        match self.purpose {
            Purpose::Answer | Purpose::Receipt => self.frame.bytes.len() + WAITING_WEIGHT,
            Purpose::Ordinary | Purpose::HalfClose => 0,
        }
    }

    /// The peer has a part of the frame: the rest must follow before anything else.
    pub fn has_begun(&self) -> bool {
        self.before + self.written > 0
    }
}

/// How far a system call has come with the frame in front.
pub(super) enum Step {
    /// So many more bytes are written, and the frame is not complete.
    Partial(usize),
    /// So many bytes have completed this frame, which has left the queue.
    Complete(usize, Queued),
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    frames: VecDeque<Queued>,
    /// How many bytes of them are not written.
    bytes: usize,
    /// What the answers among them cost.
    answers: usize,
}

impl Queue {
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn answers(&self) -> usize {
        self.answers
    }

    pub fn front(&self) -> Option<&Queued> {
        self.frames.front()
    }

    pub fn get(&self, place: usize) -> Option<&Queued> {
        self.frames.get(place)
    }

    pub fn push_back(&mut self, queued: Queued) {
        self.bytes += queued.frame.bytes.len();
        self.answers += queued.answer_cost();
        self.frames.push_back(queued);
    }

    /// Inserts a frame behind those that the peer has a part of and behind other receipts, which are about older descriptors.
    /// Returns its place.
    pub fn insert_receipt(&mut self, receipt: Queued) -> usize {
        let is_before = |queued: &&Queued| queued.has_begun() || queued.purpose == Purpose::Receipt;
        let place = self.frames.iter().take_while(is_before).count();
        self.insert(place, receipt);
        place
    }

    /// Inserts a frame in front of those that wait, but never into the middle of a half-written one.
    pub fn insert_first(&mut self, queued: Queued) {
        let place = usize::from(self.front().is_some_and(Queued::has_begun));
        self.insert(place, queued);
    }

    fn insert(&mut self, place: usize, queued: Queued) {
        self.bytes += queued.frame.bytes.len();
        self.answers += queued.answer_cost();
        self.frames.insert(place, queued);
    }

    pub fn drop_last(&mut self) {
        if let Some(queued) = self.frames.pop_back() {
            self.bytes -= queued.frame.bytes.len() - queued.written;
            self.answers -= queued.answer_cost();
        }
    }

    /// Empties the queue.
    pub fn drain(&mut self) -> impl Iterator<Item = Queued> {
        self.bytes = 0;
        self.answers = 0;
        self.frames.drain(..)
    }

    /// Marks the last frame as one that gets its completion when the turn ends.
    pub fn last_awaits_completion(&mut self) {
        if let Some(queued) = self.frames.back_mut() {
            queued.awaits_completion = true;
        }
    }

    /// No frame waits for the end of the turn any more.
    pub fn forget_awaited_completions(&mut self) {
        self.frames.iter_mut().for_each(|queued| queued.awaits_completion = false);
    }

    /// Gives a completion to the last frame that waits for one. Returns whether there is such a frame.
    pub fn complete_awaiting(&mut self, completion: Completion) -> bool {
        let Some(queued) = self.frames.iter_mut().rev().find(|queued| queued.awaits_completion) else {
            return false;
        };
        queued.awaits_completion = false;
        queued.frame.completion = Some(completion);
        true
    }

    /// The front of the queue and the frames behind it that may go out in the same call: up to the next one with a
    /// descriptor, which needs a call of its own, or up to the half-close marker.
    pub fn parts(&self) -> Vec<IoSlice<'_>> {
        let pairs = self.frames.iter().zip(self.frames.iter().skip(1)).take(MAX_PARTS - 1);
        let behind = pairs
            .take_while(|(before, next)| before.purpose != Purpose::HalfClose && next.frame.handle.is_none())
            .map(|(_, next)| next);
        self.front()
            .into_iter()
            .chain(behind)
            .map(|queued| IoSlice::new(&queued.frame.bytes[queued.written..]))
            .collect()
    }

    /// Takes up to `count` written bytes off the frame in front; None if nothing waits.
    pub fn advance(&mut self, count: usize) -> Option<Step> {
        let front = self.frames.front_mut()?;
        let rest = front.frame.bytes.len() - front.written;
        if count < rest {
            front.written += count;
            self.bytes -= count;
            return Some(Step::Partial(count));
        }
        let done = self.frames.pop_front()?;
        self.bytes -= rest;
        self.answers -= done.answer_cost();
        Some(Step::Complete(rest, done))
    }
}
