//! Sending as JavaScript sees it: the same on channels to workers and on those over named sockets.

use std::cell::RefCell;
use std::rc::Rc;

use napi::bindgen_prelude::BufferSlice;
use napi::{JsString, Result};
use napi_derive::napi;
use nix::errno::Errno;

use super::channels::{Channels, FollowUp, Sent, failure};
use crate::channel::{ChannelCommand, Uncorked};
use crate::error::Error;

/// What has a reactor do something for a channel. Errors: [`Error::ReactorGone`].
pub type Tell = Box<dyn Fn(FollowUp) -> std::result::Result<(), Error>>;

/// Sends on the channels of one core. Belongs to the JavaScript thread that made it.
#[napi]
pub struct NativeWriter {
    channels: Rc<RefCell<Channels>>,
    tell: Tell,
}

impl NativeWriter {
    pub fn new(channels: Rc<RefCell<Channels>>, tell: Tell) -> Self {
        NativeWriter { channels, tell }
    }

    /// Has the reactor do what a message needs, and says what became of it.
    fn finish(&self, id: u32, sent: Sent) -> f64 {
        if sent.needs_look {
            // Without a reactor the end of the turn comes, or fails.
            let _ = (self.tell)(FollowUp(id, ChannelCommand::LookAfterCorked));
        }
        if sent.needs_flush && (self.tell)(FollowUp(id, ChannelCommand::Flush)).is_err() {
            return failure(Errno::EPIPE);
        }
        sent.status
    }

    fn follow_up(&self, what: Option<FollowUp>) {
        if let Some(what) = what {
            // Without a reactor there is no channel.
            let _ = (self.tell)(what);
        }
    }

    fn tend_memory(&self, id: u32, is_needed: bool) {
        if is_needed {
            // Without a reactor there is nobody to send to either.
            let _ = (self.tell)(FollowUp(id, ChannelCommand::TendMemory));
        }
    }
}

#[napi]
impl NativeWriter {
    /// Sends JSON text, without its newline. `handle` is the number of a descriptor to send along, or -1; it is
    /// duplicated. `completion` names the callback for when the frame has to wait.
    ///
    /// Returns 0 when everything was written, more than 0 and less than 1 when it was and the peer is far behind, the number of
    /// bytes that wait when not, a negative errno on failure: `EMSGSIZE` for a message that the peer does not take, `ENOBUFS` when
    /// too much waits, `EPIPE` when nobody is there.
    #[napi]
    pub fn send_text(&self, id: u32, text: JsString, handle: i32, completion: u32) -> Result<f64> {
        let sent = self.channels.borrow_mut().send_text(id, &text, handle, completion)?;
        Ok(self.finish(id, sent))
    }

    /// As `sendText`, for a message that begins with four bytes for its length and is V8-serialized behind them.
    #[napi]
    pub fn send_bytes(&self, id: u32, message: BufferSlice, handle: i32, completion: u32) -> f64 {
        let sent = self.channels.borrow().send_bytes(id, message, handle, completion);
        self.finish(id, sent)
    }

    /// As `sendBytes`, for a message in several parts, which are one behind the other as they travel. What the socket takes at once is
    /// not copied.
    #[napi]
    pub fn send_parts(
        &self,
        id: u32,
        #[napi(ts_arg_type = "Uint8Array[]")] parts: Vec<&[u8]>,
        completion: u32,
    ) -> f64 {
        let sent = self.channels.borrow().send_in_parts(id, &parts, completion);
        self.finish(id, sent)
    }

    /// Sends JSON text, without its newline, that the peer's own doing has brought about. A peer that asks and does not read loses its
    /// channel; to one that has gone there is nothing to say.
    #[napi]
    pub fn answer_text(&self, id: u32, text: JsString) -> Result<()> {
        let follow_up = self.channels.borrow().answer_text(id, &text)?;
        self.follow_up(follow_up);
        Ok(())
    }

    /// As `answerText`, for a message as in `sendBytes`.
    #[napi]
    pub fn answer_bytes(&self, id: u32, message: &[u8]) {
        let follow_up = self.channels.borrow().answer_bytes(id, message);
        self.follow_up(follow_up);
    }

    /// How many bytes wait to be written to a peer.
    #[napi]
    pub fn queued(&self, id: u32) -> f64 {
        self.channels.borrow().queued(id)
    }

    /// Whether messages may bring large pieces along from now on: the other end is a corral that reads them.
    #[napi]
    pub fn takes_pieces(&self, id: u32) -> bool {
        self.channels.borrow().get(id).is_some_and(|channel| channel.takes_pieces())
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
        let sent = self.channels.borrow_mut().send_text_attached(id, &text, &strings, completion)?;
        Ok(self.finish(id, sent))
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
        let sent = self.channels.borrow().send_bytes_attached(id, message, &buffers, completion);
        self.finish(id, sent)
    }

    /// As `sendText`, for a message that goes out with others of this turn; `uncork` is to follow. Returns how many bytes
    /// wait; what goes wrong is told by `uncork`.
    #[napi]
    pub fn cork_text(&self, id: u32, text: JsString) -> Result<f64> {
        let sent = self.channels.borrow().cork_text(id, &text)?;
        Ok(self.finish(id, sent))
    }

    /// As `corkText`, for a message as in `sendBytes`.
    #[napi]
    pub fn cork_bytes(&self, id: u32, message: &[u8]) -> f64 {
        self.finish(id, self.channels.borrow().cork_bytes(id, message))
    }

    /// As `corkText`, for a message whose large strings go to the memory that the two ends share, between two corrals. Null if there is
    /// none, or no room in it. `is_last` when `uncork` is next, so that nobody need look after it.
    #[napi]
    pub fn cork_text_in_memory(
        &self,
        id: u32,
        text: JsString,
        strings: Vec<JsString>,
        is_last: bool,
    ) -> Result<Option<f64>> {
        let mut needs_tending = false;
        let sent = self.channels.borrow().cork_text_in_memory(
            id,
            &text,
            &strings,
            uncorked(is_last),
            &mut needs_tending,
        )?;
        self.tend_memory(id, needs_tending);
        Ok(sent.map(|sent| self.finish(id, sent)))
    }

    /// As `corkBytes`, for a message whose large buffers go to shared memory; as `corkTextInMemory`.
    #[napi]
    pub fn cork_bytes_in_memory(
        &self,
        id: u32,
        message: &[u8],
        #[napi(ts_arg_type = "Uint8Array[]")] buffers: Vec<&[u8]>,
        is_last: bool,
    ) -> Option<f64> {
        let mut needs_tending = false;
        let sent = self.channels.borrow().cork_bytes_in_memory(
            id,
            message,
            &buffers,
            uncorked(is_last),
            &mut needs_tending,
        );
        self.tend_memory(id, needs_tending);
        sent.map(|sent| self.finish(id, sent))
    }

    /// Sends what was corked in this turn. Returns as `sendText`, for all of it.
    #[napi]
    pub fn uncork(&self, id: u32, completion: u32) -> f64 {
        let sent = self.channels.borrow().uncork(id, completion);
        self.finish(id, sent)
    }

    /// As `sendText`, for several messages with newlines between them, none of which is too large. They share one
    /// completion.
    #[napi]
    pub fn send_texts(&self, id: u32, text: JsString, count: u32, completion: u32) -> Result<f64> {
        let sent = self.channels.borrow_mut().send_texts(id, &text, count, completion)?;
        Ok(self.finish(id, sent))
    }

    /// As `sendBytes`, for several messages, each with its length in front, none of which is too large. They share one
    /// completion.
    #[napi]
    pub fn send_frames(&self, id: u32, frames: BufferSlice, count: u32, completion: u32) -> f64 {
        let sent = self.channels.borrow().send_many(id, &frames, count, completion);
        self.finish(id, sent)
    }

    /// Whether a message of so many bytes may be sent: 0, or the errno as `sendText` would return it.
    #[napi]
    pub fn takes(&self, id: u32, bytes: f64) -> f64 {
        self.channels.borrow().takes(id, bytes as usize)
    }
}

fn uncorked(is_last: bool) -> Uncorked {
    if is_last { Uncorked::Next } else { Uncorked::AtTurnEnd }
}
