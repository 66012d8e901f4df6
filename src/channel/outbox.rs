//! Frames to be sent on a channel, and those to be sent again.

mod queue;
mod status;

use std::io::IoSlice;
use std::os::fd::AsFd;

use nix::errno::Errno;

use super::send_buffer::SendBuffer;
use super::sockets::Sockets;
use super::unread::Unread;
use super::window::{Window, Writing};
use crate::ids::Completion;
use crate::os;

pub use queue::{Frame, HandleOrigin, WAITING_WEIGHT};
use queue::{MAX_PARTS, Purpose, Queue, Queued, Step};
pub use status::{Corked, FlushStatus, Retransmission, SendStatus, Uncorked, Unwritten};

/// How often a descriptor that did not arrive is sent again (Node: `MAX_HANDLE_RETRANSMISSIONS`).
const MAX_RETRANSMISSIONS: u8 = 3;

/// So many corked bytes are written at once: about as much as a peer reads at once.
pub const CORKED: usize = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum State {
    #[default]
    Open,
    /// No new frames. The stream ends after the queue.
    Closing,
    Closed,
}

#[derive(Debug, Default)]
pub(super) struct Outbox {
    state: State,
    queue: Queue,
    window: Window<Queued>,
    buffer: SendBuffer,
    /// None where it is not counted.
    unread: Option<Unread>,
    /// Frames that are written together, behind the queue: at the end of their turn, before the next frame
    /// that is not corked, or when the cork timer expires.
    corked: Vec<u8>,
    /// The cork timer is running, or the caller has been asked to start it.
    has_timer: bool,
    /// Why frames that were corked in this turn could not be written.
    corked_failure: Option<Errno>,
}

impl Outbox {
    /// For a socket whose send buffer keeps its size.
    pub(super) fn with_fixed_buffer() -> Self {
        Outbox { buffer: SendBuffer::Fixed, ..Outbox::default() }
    }

    /// Counts what the peer has not read.
    pub(super) fn counting_unread(self) -> Self {
        Outbox { unread: Some(Unread::default()), ..self }
    }

    /// Appends a frame to those that are written together.
    pub(super) fn cork(
        &mut self,
        sockets: &Sockets,
        uncorked: Uncorked,
        append: impl FnOnce(&mut Vec<u8>),
    ) -> Corked {
        if self.state != State::Open {
            return Corked { status: SendStatus::Closed, needs_timer: false };
        }
        append(&mut self.corked);
        if self.corked.len() >= CORKED {
            let status = match self.write_corked(sockets) {
                SendStatus::Failed(_) => SendStatus::Written,
                status => status,
            };
            return Corked { status, needs_timer: false };
        }
        let needs_timer = uncorked == Uncorked::AtTurnEnd && !std::mem::replace(&mut self.has_timer, true);
        Corked { status: SendStatus::Queued { bytes: self.queued_bytes(), needs_flush: false }, needs_timer }
    }

    /// Ends the turn and writes its corked frames. If they have to wait, their completion is announced.
    pub(super) fn uncork(&mut self, sockets: &Sockets, completion: Completion) -> SendStatus {
        if self.state != State::Open {
            return SendStatus::Closed;
        }
        let status = if self.corked.is_empty() { SendStatus::Written } else { self.write_corked(sockets) };
        if let Some(errno) = self.corked_failure.take() {
            return SendStatus::Failed(errno);
        }
        // This includes frames of this turn that were written before its end and had to wait.
        if !self.queue.complete_awaiting(completion) {
            return SendStatus::Written;
        }
        let needs_flush = matches!(status, SendStatus::Queued { needs_flush: true, .. });
        SendStatus::Queued { bytes: self.queued_bytes(), needs_flush }
    }

    /// The cork timer has expired. Returns whether anything is corked.
    pub(super) fn on_cork_timer(&mut self) -> bool {
        self.has_timer = false;
        !self.corked.is_empty()
    }

    fn write_corked(&mut self, sockets: &Sockets) -> SendStatus {
        let mut bytes = std::mem::take(&mut self.corked);
        // Earlier frames of this turn that still wait get no completion of their own.
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

    /// Writes corked frames, so that the next frame does not overtake them.
    fn settle(&mut self, sockets: &Sockets) {
        if !self.corked.is_empty() {
            self.write_corked(sockets);
        }
    }

    pub(super) fn send(&mut self, sockets: &Sockets, frame: Frame) -> SendStatus {
        self.send_queued(sockets, Queued::new(frame))
    }

    /// As [`Outbox::send`], for an answer to the peer.
    pub(super) fn answer(&mut self, sockets: &Sockets, frame: Frame) -> SendStatus {
        self.send_queued(sockets, Queued::with_purpose(frame, Purpose::Answer))
    }

    /// Sends the acknowledgement or refusal of a peer's descriptor in front of frames that have not begun.
    /// Descriptors may be waiting here for acknowledgements of a peer that does the same. Node sends it out
    /// of order, too.
    pub(super) fn send_receipt(&mut self, sockets: &Sockets, frame: Frame) -> SendStatus {
        let receipt = Queued::with_purpose(frame, Purpose::Receipt);
        if self.queue.is_empty() || self.state != State::Open {
            return self.send_queued(sockets, receipt);
        }
        self.settle(sockets);
        let place = self.queue.insert_receipt(receipt);
        let awaits = self.queue.get(place + 1).is_some_and(|queued| self.awaits_acknowledgement(queued));
        if !awaits || self.queue.front().is_none_or(Queued::has_begun) {
            // It goes out when the socket is writable.
            return SendStatus::Queued { bytes: self.queue.bytes(), needs_flush: false };
        }
        // Only receipts go out, and they have no callbacks.
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

    /// The cost of waiting answers, in bytes.
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

    /// As [`Outbox::send`], for borrowed bytes. The bytes that the socket takes at once are not copied.
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

    /// Writes borrowed bytes, and queues those that the socket does not take.
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
                    self.count_unread(sockets, count);
                }
                Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM) => break,
                // The rest is queued. The next write fails, and `abort` then reports how much was written.
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
                Ok(count) => {
                    self.count_unread(sockets, count);
                    self.advance(sockets, count, completed);
                }
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
                self.unread.iter_mut().for_each(Unread::clear);
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
        // The peer has read the frame, but without its descriptor.
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
        // A peer that has already gone does not need to know.
        let _ = os::shutdown_write(sockets.sending());
    }

    fn count_unread(&mut self, sockets: &Sockets, written: usize) {
        if let Some(unread) = &mut self.unread {
            unread.wrote(written, || os::unread_by_peer(sockets.sending()));
        }
    }

    /// Asks the kernel what the peer has read. Returns how many bytes it has not, where that is counted.
    pub(super) fn refresh_unread(&mut self, sockets: &Sockets) -> usize {
        let Some(unread) = &mut self.unread else { return 0 };
        unread.refresh(|| os::unread_by_peer(sockets.sending()));
        unread.bytes()
    }

    /// How many bytes the socket holds that the peer may not have read, where that is counted.
    pub(super) fn unread_bytes(&self) -> usize {
        self.unread.as_ref().map_or(0, Unread::bytes)
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

    /// Queues the half-close marker, the last frame on the first socket. Returns false if the outbox is
    /// closed.
    pub(super) fn push_half_close(&mut self, sockets: &Sockets, bytes: Vec<u8>) -> bool {
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
