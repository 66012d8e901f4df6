//! Sending as JavaScript sees it: the same on channels to workers and on those over named sockets.

use std::cell::{Ref, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use napi::bindgen_prelude::BufferSlice;
use napi::{JsString, Result};
use napi_derive::napi;
use nix::errno::Errno;

use super::channels::{Channels, FollowUp, answered};
use super::framing::{
    Placed, append_bytes_in_memory, append_text, append_text_in_memory, body_of, head_of, prefix_of,
};
use super::send::{Outcome, admit, cork, cork_placed, dispatch, failure, outcome, send_many, send_parts};
use super::text;
use crate::channel::{Channel, ChannelCommand, Frame, Uncorked};
use crate::error::Error;
use crate::ids::Completion;
use crate::proto::{ALIGNMENT, Attachment, AttachmentKind, PREFIX, Serialization, aligned, write_header};

/// How much memory for messages on their way out is kept, in bytes.
const KEEP_SCRATCH: usize = 4 << 20;

/// Gives the reactor a command for a channel. Errors: [`Error::ReactorGone`].
pub type Post = Box<dyn Fn(FollowUp) -> std::result::Result<(), Error>>;

/// Sends on the channels of one reactor. Belongs to the JavaScript thread that made it.
#[napi]
pub struct NativeWriter {
    channels: Rc<RefCell<Channels>>,
    post: Post,
    /// Where messages become UTF-8 on their way out.
    scratch: RefCell<Vec<u8>>,
}

impl NativeWriter {
    pub fn new(channels: Rc<RefCell<Channels>>, post: Post) -> Self {
        NativeWriter { channels, post, scratch: RefCell::default() }
    }

    fn channel(&self, id: u32) -> Option<Ref<'_, Arc<Channel>>> {
        Ref::filter_map(self.channels.borrow(), |channels| channels.get(id)).ok()
    }

    fn serialization(&self, id: u32) -> Serialization {
        self.channel(id).map_or(Serialization::Json, |channel| channel.serialization())
    }

    /// Calls `send`, gives the reactor the commands that follow, and returns the result for JavaScript.
    fn send(&self, id: u32, send: impl FnOnce(&Channel) -> Outcome) -> f64 {
        let outcome = match self.channel(id) {
            Some(channel) => send(&channel),
            None => Err(Errno::EPIPE),
        };
        self.finish(id, outcome)
    }

    fn finish(&self, id: u32, outcome: Outcome) -> f64 {
        let sent = match outcome {
            Ok(sent) => sent,
            Err(errno) => return failure(errno),
        };
        if sent.needs_timer {
            // Without a reactor the end of the turn comes, or fails.
            let _ = (self.post)(FollowUp(id, ChannelCommand::StartCorkTimer));
        }
        if sent.needs_flush && (self.post)(FollowUp(id, ChannelCommand::Flush)).is_err() {
            return failure(Errno::EPIPE);
        }
        sent.status
    }

    /// Sends an answer to the peer. Does nothing for a peer that has gone.
    fn answer(&self, id: u32, bytes: Vec<u8>) {
        let Some(channel) = self.channel(id) else { return };
        if let Some(what) = answered(id, channel.answer(Frame::plain(bytes))) {
            // Without a reactor there is no channel.
            let _ = (self.post)(what);
        }
    }

    /// Corks a message whose large attachments `place` writes to shared memory, and `append` the rest. None
    /// if `place` has found no room.
    fn cork_in_memory(
        &self,
        id: u32,
        uncorked: Uncorked,
        place: impl FnOnce(&mut Placed) -> Result<bool>,
        append: impl FnOnce(&[Attachment], &mut Vec<u8>) -> Result<()>,
    ) -> Result<Option<f64>> {
        let Some(channel) = self.channel(id) else { return Ok(Some(failure(Errno::EPIPE))) };
        let mut placed = Placed::new(&channel);
        let is_placed = place(&mut placed)?;
        let needs_maintenance = placed.needs_maintenance();
        let outcome = if is_placed { Some(cork_placed(&channel, placed, uncorked, append)?) } else { None };
        if needs_maintenance {
            // Without a reactor there is no memory.
            let _ = (self.post)(FollowUp(id, ChannelCommand::MaintainMemory));
        }
        Ok(outcome.map(|outcome| self.finish(id, outcome)))
    }

    fn keep_scratch(&self, mut bytes: Vec<u8>) {
        if bytes.capacity() <= KEEP_SCRATCH {
            bytes.clear();
            self.scratch.replace(bytes);
        }
    }
}

#[napi]
impl NativeWriter {
    /// Withholds the acknowledgements of handles that come on a channel, or sends what was withheld. A peer
    /// sends no more handles than may be under way.
    #[napi]
    pub fn withhold_receipts(&self, id: u32, is_withheld: bool) {
        let mut channels = self.channels.borrow_mut();
        let follow_up = if is_withheld {
            channels.withhold(id);
            Vec::new()
        } else {
            channels.acknowledge_all(id)
        };
        drop(channels);
        for what in follow_up {
            // Without a reactor there is no channel.
            let _ = (self.post)(what);
        }
    }

    /// Sends JSON text, without its newline. `handle` is the number of a descriptor to send along, or -1; it
    /// is duplicated. `completion` names the callback for when the frame has to wait.
    ///
    /// Returns 0 when everything was written, `WRITTEN_AND_BEHIND` when it was and the peer is far behind,
    /// the number of bytes that wait when not, a negative errno on failure: `EMSGSIZE` for a message that the
    /// peer does not take, `ENOBUFS` when too much waits, `EPIPE` when the peer has gone.
    #[napi]
    pub fn send_text(&self, id: u32, text: JsString, handle: i32, completion: u32) -> Result<f64> {
        let mut bytes = self.scratch.take();
        append_text(self.serialization(id), &text, &mut bytes)?;
        let status = self.send(id, |channel| {
            admit(channel, bytes.len())?;
            dispatch(channel, &bytes, handle, completion)
        });
        self.keep_scratch(bytes);
        Ok(status)
    }

    /// As `sendText`, for a message that begins with four bytes for its length and is V8-serialized behind
    /// them.
    #[napi]
    pub fn send_bytes(&self, id: u32, mut message: BufferSlice, handle: i32, completion: u32) -> f64 {
        self.send(id, |channel| {
            let prefix = prefix_of(body_of(&message)?.len())?;
            message[..PREFIX].copy_from_slice(&prefix);
            admit(channel, message.len())?;
            dispatch(channel, &message, handle, completion)
        })
    }

    /// As `sendBytes`, for a message in several parts, in their order. Bytes that the socket takes at once
    /// are not copied.
    #[napi]
    pub fn send_parts(
        &self,
        id: u32,
        #[napi(ts_arg_type = "Uint8Array[]")] parts: Vec<&[u8]>,
        completion: u32,
    ) -> f64 {
        self.send(id, |channel| {
            let (first, rest) = parts.split_first().ok_or(Errno::EINVAL)?;
            let first = body_of(first)?;
            let length = first.len() + rest.iter().map(|part| part.len()).sum::<usize>();
            let prefix = prefix_of(length)?;
            let parts: Vec<&[u8]> = [&prefix, first].into_iter().chain(rest.iter().copied()).collect();
            admit(channel, PREFIX + length)?;
            send_parts(channel, &parts, completion)
        })
    }

    /// Sends an answer to the peer: JSON text, without its newline. A peer that does not read its answers
    /// loses its channel. Does nothing for a peer that has gone.
    #[napi]
    pub fn answer_text(&self, id: u32, text: JsString) -> Result<()> {
        let mut bytes = Vec::new();
        append_text(Serialization::Json, &text, &mut bytes)?;
        self.answer(id, bytes);
        Ok(())
    }

    /// As `answerText`, for a message as in `sendBytes`.
    #[napi]
    pub fn answer_bytes(&self, id: u32, message: &[u8]) {
        let Ok(prefix) = body_of(message).and_then(|body| prefix_of(body.len())) else { return };
        let mut bytes = message.to_vec();
        bytes[..PREFIX].copy_from_slice(&prefix);
        self.answer(id, bytes);
    }

    /// How many bytes wait to be written to a peer.
    #[napi]
    pub fn queued(&self, id: u32) -> f64 {
        self.channel(id).map_or(0.0, |channel| channel.traffic().queued() as f64)
    }

    /// Whether messages may bring large attachments along from now on: the other end is a corral that reads
    /// them.
    #[napi]
    pub fn accepts_attachments(&self, id: u32) -> bool {
        self.channel(id).is_some_and(|channel| channel.accepts_attachments())
    }

    /// As `sendText`, for a message that brings large strings along, between two corrals.
    #[napi]
    pub fn send_text_attached(
        &self,
        id: u32,
        text: JsString,
        strings: Vec<JsString>,
        completion: u32,
    ) -> Result<f64> {
        let (mut attachments, mut attached) = (Vec::with_capacity(strings.len()), self.scratch.take());
        for string in &strings {
            attachments.push(text::append_string(string, &mut attached)?);
        }
        let mut frame = Vec::new();
        text::append_utf8(&text, &mut frame)?;
        frame.push(b'\n');
        let mut head = Vec::new();
        write_header(&attachments, frame.len(), &mut head);
        let status = self.send(id, |channel| send_parts(channel, &[&head, &frame, &attached], completion));
        self.keep_scratch(attached);
        Ok(status)
    }

    /// As `sendBytes`, for a message that brings large buffers along, between two corrals.
    #[napi]
    pub fn send_bytes_attached(
        &self,
        id: u32,
        message: &[u8],
        #[napi(ts_arg_type = "Uint8Array[]")] buffers: Vec<&[u8]>,
        completion: u32,
    ) -> f64 {
        self.send(id, |channel| {
            let body = body_of(message)?;
            let attachments: Vec<Attachment> = buffers
                .iter()
                .map(|buffer| Attachment::behind(AttachmentKind::Bytes, buffer.len()))
                .collect();
            let head = head_of(&attachments, body)?;
            let mut parts: Vec<&[u8]> = vec![&head, body];
            for buffer in &buffers {
                parts.extend([buffer, &[0; ALIGNMENT][..aligned(buffer.len()) - buffer.len()]]);
            }
            send_parts(channel, &parts, completion)
        })
    }

    /// As `sendText`, for a message that goes out with others of this turn; `uncork` is to follow. Returns
    /// how many bytes wait. `uncork` reports errors.
    #[napi]
    pub fn cork_text(&self, id: u32, text: JsString) -> Result<f64> {
        let mut appended = Ok(());
        let status = self.send(id, |channel| {
            cork(channel, 0, Uncorked::AtTurnEnd, |bytes| {
                appended = append_text(channel.serialization(), &text, bytes);
            })
        });
        appended.map(|()| status)
    }

    /// As `corkText`, for a message as in `sendBytes`.
    #[napi]
    pub fn cork_bytes(&self, id: u32, message: &[u8]) -> f64 {
        self.send(id, |channel| {
            let body = body_of(message)?;
            let prefix = prefix_of(body.len())?;
            cork(channel, 0, Uncorked::AtTurnEnd, |bytes| {
                bytes.extend(prefix);
                bytes.extend(body);
            })
        })
    }

    /// As `corkText`, for a message whose large strings go to the memory that the two ends share, between two
    /// corrals. Null if there is none, or no room in it. `is_last` when `uncork` is next, so that the message
    /// needs no timer.
    #[napi]
    pub fn cork_text_in_memory(
        &self,
        id: u32,
        text: JsString,
        strings: Vec<JsString>,
        is_last: bool,
    ) -> Result<Option<f64>> {
        let place = |placed: &mut Placed| placed.add_strings(&strings);
        self.cork_in_memory(id, uncorked(is_last), place, |attachments, bytes| {
            append_text_in_memory(attachments, &text, bytes)
        })
    }

    /// As `corkBytes`, for a message whose large buffers go to shared memory; as `corkTextInMemory`.
    #[napi]
    pub fn cork_bytes_in_memory(
        &self,
        id: u32,
        message: &[u8],
        #[napi(ts_arg_type = "Uint8Array[]")] buffers: Vec<&[u8]>,
        is_last: bool,
    ) -> Result<Option<f64>> {
        let body = match body_of(message).and_then(|body| prefix_of(message.len()).map(|_| body)) {
            Ok(body) => body,
            Err(errno) => return Ok(Some(failure(errno))),
        };
        let place = |placed: &mut Placed| Ok(placed.add_buffers(&buffers));
        self.cork_in_memory(id, uncorked(is_last), place, |attachments, bytes| {
            append_bytes_in_memory(attachments, body, bytes);
            Ok(())
        })
    }

    /// Sends what was corked in this turn. Returns as `sendText`, for all of it.
    #[napi]
    pub fn uncork(&self, id: u32, completion: u32) -> f64 {
        self.send(id, |channel| outcome(channel, channel.uncork(Completion(completion)), 0, 0))
    }

    /// As `sendText`, for several messages with newlines between them, none of which is too large. They share
    /// one completion.
    #[napi]
    pub fn send_texts(&self, id: u32, text: JsString, count: u32, completion: u32) -> Result<f64> {
        let mut bytes = self.scratch.take();
        append_text(Serialization::Json, &text, &mut bytes)?;
        let status = self.send(id, |channel| send_many(channel, &bytes, count, completion));
        self.keep_scratch(bytes);
        Ok(status)
    }

    /// As `sendBytes`, for several messages, each with its length in front, none of which is too large. They
    /// share one completion.
    #[napi]
    pub fn send_frames(&self, id: u32, frames: BufferSlice, count: u32, completion: u32) -> f64 {
        self.send(id, |channel| send_many(channel, &frames, count, completion))
    }

    /// Whether a message of so many bytes may be sent: 0, or the errno as `sendText` would return it.
    #[napi]
    pub fn takes(&self, id: u32, bytes: f64) -> f64 {
        match self.channel(id).ok_or(Errno::EPIPE).and_then(|channel| admit(&channel, bytes as usize)) {
            Ok(()) => 0.0,
            Err(errno) => failure(errno),
        }
    }
}

fn uncorked(is_last: bool) -> Uncorked {
    if is_last { Uncorked::Next } else { Uncorked::AtTurnEnd }
}
