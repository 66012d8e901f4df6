//! What waits to be sent on a channel, and what is sent again.

mod queue;

use std::io::IoSlice;
use std::os::fd::AsFd;

use nix::errno::Errno;

use super::send_buffer::SendBuffer;
use super::sockets::Sockets;
use super::window::{Window, Writing};
use crate::ids::Completion;
use crate::os;

pub use queue::{Frame, HandleOrigin};
use queue::{MAX_PARTS, Purpose, Queue, Queued, Step};

/// How often a descriptor that did not arrive is sent again (Node: `MAX_HANDLE_RETRANSMISSIONS`).
const MAX_RETRANSMISSIONS: u8 = 3;

/// So many corked bytes are written without further waiting: about what a peer reads at once.
const CORKED: usize = 64 << 10;

/// A frame that will not be written to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unwritten {
    /// The callback to announce.
    pub completion: Completion,
    /// How many bytes were written. Those of several messages that were sent together may have whole ones among them.
    pub written: usize,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendStatus {
    /// Written completely; its completion will not be announced.
    Written,
    /// Waits in the queue, which now holds this many bytes.
    Queued {
        /// Bytes in the queue.
        bytes: usize,
        /// True when the reactor must wait for room; it is told by whoever gets this.
        needs_flush: bool,
    },
    /// The peer has gone. Nothing was kept.
    Failed(Errno),
    /// This end was closed before. Nothing was kept.
    Closed,
}

/// When what is corked goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uncorked {
    /// The caller uncorks it next.
    Next,
    /// When the turn ends, which may be long.
    AtTurnEnd,
}

/// What became of a frame that goes out with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corked {
    /// Written, or queued; what has failed by now is told by `uncork`.
    pub status: SendStatus,
    /// The reactor is to look after a while whether it has gone out.
    pub needs_look: bool,
}

/// How far a flush came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushStatus {
    /// Nothing waits.
    Idle,
    /// The socket is full: go on when it is writable.
    Blocked,
    /// A descriptor must wait until those before it are acknowledged.
    AwaitsAcknowledgement,
    /// Too many descriptors are under way on this machine: go on after a while.
    Exhausted,
    /// The peer has gone.
    Failed(Errno),
}

/// What became of a descriptor that did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retransmission {
    /// It is queued once more.
    SentAgain,
    /// It was sent too often and is given up.
    GivenUp(HandleOrigin),
    /// Nothing was under way.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum State {
    #[default]
    Open,
    /// No new frames; the queue is written, then the peer gets the end of the stream.
    Closing,
    Closed,
}

/// Frames in their order.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    state: State,
    queue: Queue,
    window: Window<Queued>,
    buffer: SendBuffer,
    /// Frames that go out together, behind what is queued: at the end of the turn in which they were sent, with the next
    /// frame that is not corked, or when the reactor finds that the turn takes long.
    corked: Vec<u8>,
    /// The reactor has been asked to look whether anything is still corked after a while.
    is_looked_after: bool,
    /// What was corked in the turn that is not over could not be written, for this reason.
    corked_failure: Option<Errno>,
}

impl Outbox {
    /// For a socket whose send buffer is to stay as it is.
    pub(super) fn with_fixed_buffer() -> Self {
        Outbox { buffer: SendBuffer::Fixed, ..Outbox::default() }
    }

    /// Appends a frame to those that go out together.
    pub(super) fn cork(
        &mut self,
        sockets: &Sockets,
        uncorked: Uncorked,
        append: impl FnOnce(&mut Vec<u8>),
    ) -> Corked {
        if self.state != State::Open {
            return Corked { status: SendStatus::Closed, needs_look: false };
        }
        append(&mut self.corked);
        if self.corked.len() >= CORKED {
            let status = match self.write_corked(sockets) {
                SendStatus::Failed(_) => SendStatus::Written,
                status => status,
            };
            return Corked { status, needs_look: false };
        }
        let needs_look =
            uncorked == Uncorked::AtTurnEnd && !std::mem::replace(&mut self.is_looked_after, true);
        Corked { status: SendStatus::Queued { bytes: self.queued_bytes(), needs_flush: false }, needs_look }
    }

    /// The turn is over: writes what was corked in it. Its completion is announced if it has to wait.
    pub(super) fn uncork(&mut self, sockets: &Sockets, completion: Completion) -> SendStatus {
        if self.state != State::Open {
            return SendStatus::Closed;
        }
        let status = if self.corked.is_empty() { SendStatus::Written } else { self.write_corked(sockets) };
        if let Some(errno) = self.corked_failure.take() {
            return SendStatus::Failed(errno);
        }
        // Also what was corked in this turn and has had to wait before its end.
        if !self.queue.complete_awaiting(completion) {
            return SendStatus::Written;
        }
        let needs_flush = matches!(status, SendStatus::Queued { needs_flush: true, .. });
        SendStatus::Queued { bytes: self.queued_bytes(), needs_flush }
    }

    /// Whether anything is corked. The reactor looks for it again only when it is asked again.
    pub(super) fn look_after_corked(&mut self) -> bool {
        self.is_looked_after = false;
        !self.corked.is_empty()
    }

    fn write_corked(&mut self, sockets: &Sockets) -> SendStatus {
        let mut bytes = std::mem::take(&mut self.corked);
        // Those that were corked before in this turn, and wait, get no completion of their own.
        self.queue.forget_awaited_completions();
        let status = self.write(sockets, &[&bytes], None);
        match status {
            SendStatus::Queued { .. } => self.queue.last_awaits_completion(),
            SendStatus::Failed(errno) => self.corked_failure = Some(errno),
            SendStatus::Written | SendStatus::Closed => {}
        }
        bytes.clear();
        self.corked = bytes;
        status
    }

    /// Writes what is corked, so that what follows does not overtake it.
    fn settle(&mut self, sockets: &Sockets) {
        if !self.corked.is_empty() {
            self.write_corked(sockets);
        }
    }

    pub(super) fn send(&mut self, sockets: &Sockets, frame: Frame) -> SendStatus {
        self.send_queued(sockets, Queued::new(frame))
    }

    /// As [`Outbox::send`], for what the peer has asked for.
    pub(super) fn answer(&mut self, sockets: &Sockets, frame: Frame) -> SendStatus {
        self.send_queued(sockets, Queued::with_purpose(frame, Purpose::Answer))
    }

    /// Answers what has become of a descriptor of the peer's, in front of what has not begun: descriptors may wait here until others
    /// are acknowledged by a peer where it is the same. Node has it so, too.
    pub(super) fn send_receipt(&mut self, sockets: &Sockets, frame: Frame) -> SendStatus {
        let receipt = Queued::with_purpose(frame, Purpose::Receipt);
        if self.queue.is_empty() || self.state != State::Open {
            return self.send_queued(sockets, receipt);
        }
        self.settle(sockets);
        let place = self.queue.insert_receipt(receipt);
        let awaits = self.queue.get(place + 1).is_some_and(|queued| self.awaits_acknowledgement(queued));
        if !awaits || self.queue.front().is_none_or(Queued::has_begun) {
            // It goes out with what waits for the socket.
            return SendStatus::Queued { bytes: self.queue.bytes(), needs_flush: false };
        }
        // Nothing but receipts goes out, for which nobody waits here.
        match self.flush(sockets, &mut Vec::new()) {
            FlushStatus::Failed(errno) => SendStatus::Failed(errno),
            FlushStatus::Idle | FlushStatus::AwaitsAcknowledgement => SendStatus::Written,
            FlushStatus::Blocked | FlushStatus::Exhausted => {
                SendStatus::Queued { bytes: self.queue.bytes(), needs_flush: true }
            }
        }
    }

    fn awaits_acknowledgement(&self, queued: &Queued) -> bool {
        queued.frame.handle.is_some() && queued.written == 0 && !self.window.admits(queued.frame.bytes.len())
    }

    /// What answers that wait to be written cost here, in bytes.
    pub(super) fn answers(&self) -> usize {
        self.queue.answers()
    }

    fn send_queued(&mut self, sockets: &Sockets, queued: Queued) -> SendStatus {
        if self.state != State::Open {
            return SendStatus::Closed;
        }
        self.settle(sockets);
        let was_idle = self.queue.is_empty();
        self.queue.push_back(queued);
        if !was_idle {
            return SendStatus::Queued { bytes: self.queue.bytes(), needs_flush: false };
        }
        let mut completed = Vec::new();
        match self.flush(sockets, &mut completed) {
            FlushStatus::Idle => SendStatus::Written,
            FlushStatus::Failed(errno) => {
                self.queue.drop_last();
                SendStatus::Failed(errno)
            }
            FlushStatus::AwaitsAcknowledgement => {
                SendStatus::Queued { bytes: self.queue.bytes(), needs_flush: false }
            }
            FlushStatus::Blocked | FlushStatus::Exhausted => {
                SendStatus::Queued { bytes: self.queue.bytes(), needs_flush: true }
            }
        }
    }

    /// As [`Outbox::send`], for bytes that are only lent: what the socket takes at once is not copied.
    pub(super) fn send_lent(
        &mut self,
        sockets: &Sockets,
        bytes: &[u8],
        completion: Completion,
    ) -> SendStatus {
        self.send_parts(sockets, &[bytes], completion)
    }

    /// As [`Outbox::send_lent`], for a frame in several parts.
    pub(super) fn send_parts(
        &mut self,
        sockets: &Sockets,
        parts: &[&[u8]],
        completion: Completion,
    ) -> SendStatus {
        if self.state != State::Open {
            return SendStatus::Closed;
        }
        self.settle(sockets);
        self.write(sockets, parts, Some(completion))
    }

    /// Writes bytes that are only lent, and queues what the socket does not take.
    fn write(&mut self, sockets: &Sockets, parts: &[&[u8]], completion: Option<Completion>) -> SendStatus {
        let length = parts.iter().map(|part| part.len()).sum::<usize>();
        let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut rest = slices.as_mut_slice();
        let mut sent = 0;
        if self.queue.is_empty() {
            self.buffer.fit(sockets, length);
        }
        while self.queue.is_empty() && sent < length {
            match os::send(sockets.sending(), &rest[..rest.len().min(MAX_PARTS)], None) {
                Ok(count) => {
                    sent += count;
                    IoSlice::advance_slices(&mut rest, count);
                    self.window.wrote(count);
                }
                Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM) => break,
                // Of what is lost then it is told how much was written.
                Err(_) if sent > 0 => break,
                Err(errno) => return SendStatus::Failed(errno),
            }
        }
        if sent == length {
            return SendStatus::Written;
        }
        let needs_flush = self.queue.is_empty();
        let frame = Frame { bytes: concat(rest), handle: None, completion };
        self.queue.push_back(Queued { before: sent, ..Queued::new(frame) });
        SendStatus::Queued { bytes: self.queue.bytes(), needs_flush }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.corked.is_empty() && self.queue.is_empty() && self.window.is_empty()
    }

    pub(super) fn flush(&mut self, sockets: &Sockets, completed: &mut Vec<Completion>) -> FlushStatus {
        self.settle(sockets);
        while let Some(front) = self.queue.front() {
            let handle = match &front.frame.handle {
                Some((fd, _)) if front.written == 0 => {
                    if !self.window.admits(front.frame.bytes.len()) {
                        return FlushStatus::AwaitsAcknowledgement;
                    }
                    Some(fd.clone())
                }
                _ => None,
            };
            self.buffer.fit(sockets, front.before + front.frame.bytes.len());
            let sent = os::send(sockets.sending(), &self.queue.parts(), handle.as_deref().map(AsFd::as_fd));
            match sent {
                Ok(count) => self.advance(sockets, count, completed),
                Err(Errno::EAGAIN) => return FlushStatus::Blocked,
                Err(Errno::ETOOMANYREFS | Errno::ENOBUFS | Errno::ENOMEM) => return FlushStatus::Exhausted,
                Err(errno) => return FlushStatus::Failed(errno),
            }
        }
        if self.state == State::Closing {
            self.finish(sockets);
        }
        FlushStatus::Idle
    }

    fn advance(&mut self, sockets: &Sockets, mut count: usize, completed: &mut Vec<Completion>) {
        loop {
            let mut done = match self.queue.advance(count) {
                None => return,
                Some(Step::Partial(bytes)) => return self.window.wrote(bytes),
                Some(Step::Complete(bytes, done)) => {
                    self.window.wrote(bytes);
                    count -= bytes;
                    done
                }
            };
            completed.extend(done.frame.completion.take());
            if done.purpose == Purpose::HalfClose {
                sockets.move_sending();
            }
            if done.frame.handle.is_some() {
                let length = done.frame.bytes.len();
                let writing = if done.written == 0 { Writing::AtOnce } else { Writing::InParts };
                self.window.sent(done, length, writing);
            }
            if count == 0 {
                return;
            }
        }
    }

    pub(super) fn acknowledge(&mut self) -> Option<HandleOrigin> {
        let arrived = self.window.take_oldest()?;
        arrived.frame.handle.map(|(_, origin)| origin)
    }

    pub(super) fn retransmit(&mut self) -> Retransmission {
        // The frame has been read, just without its descriptor.
        let Some(mut queued) = self.window.take_oldest() else { return Retransmission::Nothing };
        if queued.retransmissions == MAX_RETRANSMISSIONS {
            return match queued.frame.handle {
                Some((_, origin)) => Retransmission::GivenUp(origin),
                None => Retransmission::Nothing,
            };
        }
        queued.retransmissions += 1;
        queued.written = 0;
        self.queue.insert_first(queued);
        Retransmission::SentAgain
    }

    pub(super) fn close_after_flush(&mut self, sockets: &Sockets) {
        if self.state == State::Open {
            self.settle(sockets);
            self.state = State::Closing;
            if self.queue.is_empty() {
                self.finish(sockets);
            }
        }
    }

    fn finish(&mut self, sockets: &Sockets) {
        self.state = State::Closed;
        // A peer that has gone already needs no telling.
        let _ = os::shutdown_write(sockets.sending());
    }

    /// How many bytes wait to be written.
    pub(super) fn queued_bytes(&self) -> usize {
        self.queue.bytes() + self.corked.len()
    }

    pub(super) fn abort(&mut self, sockets: &Sockets) -> Vec<Unwritten> {
        self.finish(sockets);
        self.window.clear();
        self.corked.clear();
        self.queue
            .drain()
            .filter_map(|Queued { frame, written, before, .. }| {
                Some(Unwritten { completion: frame.completion?, written: before + written })
            })
            .collect()
    }

    /// Queues the last frame for the first socket. Returns false if nothing is sent any more.
    pub(super) fn push_farewell(&mut self, sockets: &Sockets, bytes: Vec<u8>) -> bool {
        if self.state == State::Open {
            self.settle(sockets);
            self.queue.push_back(Queued::with_purpose(Frame::plain(bytes), Purpose::HalfClose));
        }
        self.state == State::Open
    }
}

fn concat(slices: &[IoSlice<'_>]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(slices.iter().map(|slice| slice.len()).sum());
    slices.iter().for_each(|slice| bytes.extend_from_slice(slice));
    bytes
}

#[cfg(test)]
mod tests;
