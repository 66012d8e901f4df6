//! The channels that JavaScript sends on.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use napi::bindgen_prelude::BufferSlice;
use napi::{JsString, Result};
use nix::errno::Errno;
use serde_json::json;

use super::text;
use crate::channel::{
    Channel, ChannelCommand, Corked, Frame, HandleOrigin, Room, SendStatus, Uncorked, Unfit,
};
use crate::ids::Completion;
use crate::os;
use crate::proto::{self, ALIGNMENT, HANDLE_ACK, Piece, PieceKind, Serialization, aligned, announce};

/// The length in front of a message in V8's format.
const PREFIX: usize = 4;

/// A peer that has left so many bytes unread, beside those that the usual buffer of a socket holds, is far behind: two of Node's reads,
/// as `HIGH_WATER` in lib/sending.js.
const FAR_BEHIND: usize = 2 * 65536;

/// What a send returns that was written to a peer that is far behind.
const WRITTEN_AND_BEHIND: f64 = 0.5;

/// What is kept of the memory for messages on their way out, in bytes.
const KEEP_SCRATCH: usize = 4 << 20;

/// A failed send, as JavaScript gets it: a negative errno.
pub fn failure(errno: Errno) -> f64 {
    -f64::from(errno as i32)
}

fn errno_of(unfit: Unfit) -> Errno {
    match unfit {
        Unfit::TooLarge => Errno::EMSGSIZE,
        Unfit::QueueFull => Errno::ENOBUFS,
    }
}

/// What the reactor is to do for the channel of this number.
#[derive(Debug)]
pub struct FollowUp(pub u32, pub ChannelCommand);

/// What became of a message, for JavaScript, and what is to be done now.
pub struct Sent {
    /// 0 when everything was written, more than 0 and less than 1 when it was and the peer is far behind, the number of bytes
    /// that wait when not all was written, a negative errno on failure.
    pub status: f64,
    pub needs_flush: bool,
    /// It is corked: the reactor is to look after it.
    pub needs_look: bool,
}

impl Sent {
    fn failed(errno: Errno) -> Sent {
        Sent { status: failure(errno), needs_flush: false, needs_look: false }
    }
}

/// Pieces of a message in the memory that the two sides of a channel share. Those that are not sent are put back.
struct Placed<'a> {
    channel: &'a Channel,
    pieces: Vec<Piece>,
    rooms: Vec<Room>,
}

impl<'a> Placed<'a> {
    fn new(channel: &'a Channel) -> Self {
        Placed { channel, pieces: Vec::new(), rooms: Vec::new() }
    }

    fn room(&self, bytes: usize, needs_tending: &mut bool) -> Option<Room> {
        let (room, needs) = self.channel.room(bytes);
        *needs_tending |= needs;
        room
    }

    fn add(&mut self, room: Room, kind: PieceKind, length: usize) {
        self.pieces.push(Piece { kind, length, offset: Some(room.offset()) });
        self.rooms.push(room);
    }

    fn length(&self) -> usize {
        self.pieces.iter().map(|piece| piece.length).sum()
    }

    /// They are the receiver's now.
    fn sent(self) {
        self.rooms.into_iter().zip(self.pieces).for_each(|(room, piece)| room.sent(piece.length));
    }
}

/// The channels by their numbers.
#[derive(Default)]
pub struct Channels {
    by_id: HashMap<u32, Arc<Channel>>,
    /// Where messages become UTF-8 on their way out.
    scratch: Vec<u8>,
}

impl Channels {
    pub fn add(&mut self, id: u32, channel: Arc<Channel>) {
        self.by_id.insert(id, channel);
    }

    pub fn get(&self, id: u32) -> Option<&Arc<Channel>> {
        self.by_id.get(&id)
    }

    pub fn remove(&mut self, id: u32) {
        self.by_id.remove(&id);
    }

    /// The number of this side's descriptor of a channel; -1 when the channel is closed.
    pub fn descriptor(&self, id: u32) -> i32 {
        self.get(id).map_or(-1, |channel| channel.as_fd().as_raw_fd())
    }

    /// Sends JSON text, without its newline. `handle` is the number of a descriptor to send along, or -1; it is
    /// duplicated. `completion` names the callback for when the frame has to wait.
    pub fn send_text(&mut self, id: u32, text: &JsString, handle: i32, completion: u32) -> Result<Sent> {
        self.with_utf8(self.serialization(id), text, |this, bytes| match this.admit(id, bytes.len()) {
            Ok(channel) => dispatch(channel, bytes, handle, completion),
            Err(sent) => sent,
        })
    }

    /// As `send_text`, for several messages with newlines between them, none of which is too large.
    pub fn send_texts(&mut self, id: u32, text: &JsString, count: u32, completion: u32) -> Result<Sent> {
        self.with_utf8(Serialization::Json, text, |this, bytes| this.send_many(id, bytes, count, completion))
    }

    /// As `send_text`, for a message that begins with four bytes for its length and is V8-serialized behind them.
    pub fn send_bytes(&self, id: u32, mut message: BufferSlice, handle: i32, completion: u32) -> Sent {
        let bytes: &mut [u8] = &mut message;
        let Some((length, body)) = bytes.split_first_chunk_mut::<4>() else {
            return Sent::failed(Errno::EINVAL);
        };
        let Ok(size) = u32::try_from(body.len()) else { return Sent::failed(Errno::EMSGSIZE) };
        *length = size.to_be_bytes();
        match self.admit(id, bytes.len()) {
            Ok(channel) => dispatch(channel, bytes, handle, completion),
            Err(sent) => sent,
        }
    }

    /// As `send_bytes`, for a message in several parts, of which the first has room for the length in front.
    pub fn send_in_parts(&self, id: u32, parts: &[&[u8]], completion: u32) -> Sent {
        let Some((first, rest)) = parts.split_first() else { return Sent::failed(Errno::EINVAL) };
        let Some((_, first)) = first.split_at_checked(PREFIX) else { return Sent::failed(Errno::EINVAL) };
        let length = first.len() + rest.iter().map(|part| part.len()).sum::<usize>();
        let Ok(size) = u32::try_from(length) else { return Sent::failed(Errno::EMSGSIZE) };
        let prefix = size.to_be_bytes();
        let parts: Vec<&[u8]> = [&prefix, first].into_iter().chain(rest.iter().copied()).collect();
        match self.admit(id, PREFIX + length) {
            Ok(_) => self.send_parts(id, &parts, completion),
            Err(sent) => sent,
        }
    }

    /// Sends several messages as they travel, none of which is too large.
    pub fn send_many(&self, id: u32, bytes: &[u8], count: u32, completion: u32) -> Sent {
        let Some(channel) = self.get(id) else { return Sent::failed(Errno::EPIPE) };
        match channel.has_room(bytes.len()) {
            Ok(()) => outcome(channel, channel.send_lent(bytes, Completion(completion)), count, bytes.len()),
            Err(unfit) => Sent::failed(errno_of(unfit)),
        }
    }

    /// As `send_text`, for a message that brings large strings along. Between two corrals.
    pub fn send_text_attached(
        &mut self,
        id: u32,
        text: &JsString,
        strings: &[JsString],
        completion: u32,
    ) -> Result<Sent> {
        let (mut pieces, mut attached) =
            (Vec::with_capacity(strings.len()), std::mem::take(&mut self.scratch));
        for string in strings {
            pieces.push(text::append_piece(string, &mut attached)?);
        }
        let mut frame = Vec::new();
        text::append_utf8(text, &mut frame)?;
        frame.push(b'\n');
        let mut head = Vec::new();
        announce(&pieces, frame.len(), &mut head);
        let sent = self.send_parts(id, &[&head, &frame, &attached], completion);
        self.keep_scratch(attached);
        Ok(sent)
    }

    /// As `send_bytes`, for a message that brings large buffers along. Between two corrals.
    pub fn send_bytes_attached(&self, id: u32, message: &[u8], buffers: &[&[u8]], completion: u32) -> Sent {
        let Some((_, body)) = message.split_at_checked(PREFIX) else { return Sent::failed(Errno::EINVAL) };
        let pieces: Vec<Piece> =
            buffers.iter().map(|buffer| Piece::behind(PieceKind::Bytes, buffer.len())).collect();
        let mut head = vec![0; PREFIX];
        announce(&pieces, PREFIX + body.len(), &mut head);
        let Ok(size) = u32::try_from(head.len() - PREFIX + body.len()) else {
            return Sent::failed(Errno::EMSGSIZE);
        };
        head[..PREFIX].copy_from_slice(&size.to_be_bytes());
        let mut parts: Vec<&[u8]> = vec![&head, body];
        for buffer in buffers {
            parts.extend([buffer, &[0; ALIGNMENT][..aligned(buffer.len()) - buffer.len()]]);
        }
        self.send_parts(id, &parts, completion)
    }

    fn send_parts(&self, id: u32, parts: &[&[u8]], completion: u32) -> Sent {
        let Some(channel) = self.get(id) else { return Sent::failed(Errno::EPIPE) };
        let length = parts.iter().map(|part| part.len()).sum();
        outcome(channel, channel.send_parts(parts, Completion(completion)), 1, length)
    }

    fn keep_scratch(&mut self, mut bytes: Vec<u8>) {
        if bytes.capacity() <= KEEP_SCRATCH {
            bytes.clear();
            self.scratch = bytes;
        }
    }

    /// As `send_text`, for a message that goes out with others of this turn, to be followed by `uncork`. Returns how many
    /// bytes wait; what goes wrong is told by `uncork`.
    pub fn cork_text(&self, id: u32, text: &JsString) -> Result<Sent> {
        let mut appended = Ok(());
        let sent = self.cork(id, |bytes| {
            appended = append_text(self.serialization(id), text, bytes);
        });
        appended.map(|()| sent)
    }

    /// As `cork_text`, for a message as in `send_bytes`.
    pub fn cork_bytes(&self, id: u32, message: &[u8]) -> Sent {
        let Some(size) = message.len().checked_sub(PREFIX).and_then(|size| u32::try_from(size).ok()) else {
            return Sent::failed(Errno::EINVAL);
        };
        self.cork(id, |bytes| {
            bytes.extend(size.to_be_bytes());
            bytes.extend(&message[PREFIX..]);
        })
    }

    /// As `cork_text`, for a message whose large strings go to the memory that the two sides share. None if there is none, or no room
    /// in it. `needs_tending` is set when the reactor is to tend it.
    pub fn cork_text_in_memory(
        &self,
        id: u32,
        text: &JsString,
        strings: &[JsString],
        uncorked: Uncorked,
        needs_tending: &mut bool,
    ) -> Result<Option<Sent>> {
        let Some(channel) = self.get(id) else { return Ok(Some(Sent::failed(Errno::EPIPE))) };
        let mut placed = Placed::new(channel);
        for string in strings {
            match text::place_piece(string, |bytes| placed.room(bytes, needs_tending))? {
                Some((room, kind, length)) => placed.add(room, kind, length),
                None => return Ok(None),
            }
        }
        let mut appended = Ok(());
        let sent = self.cork_placed(channel, placed, uncorked, |pieces, bytes| {
            let start = bytes.len();
            announce(pieces, 0, bytes);
            appended = text::append_utf8(text, bytes);
            if appended.is_ok() {
                bytes.push(b'\n')
            } else {
                bytes.truncate(start)
            }
            appended.is_ok()
        });
        appended.map(|()| Some(sent))
    }

    /// As `cork_bytes`, for a message whose large buffers go to the memory that the two sides share; as `cork_text_in_memory`.
    pub fn cork_bytes_in_memory(
        &self,
        id: u32,
        message: &[u8],
        buffers: &[&[u8]],
        uncorked: Uncorked,
        needs_tending: &mut bool,
    ) -> Option<Sent> {
        let Some(channel) = self.get(id) else { return Some(Sent::failed(Errno::EPIPE)) };
        let Some(body) = message.get(PREFIX..) else { return Some(Sent::failed(Errno::EINVAL)) };
        if u32::try_from(message.len()).is_err() {
            return Some(Sent::failed(Errno::EMSGSIZE));
        }
        let mut placed = Placed::new(channel);
        for buffer in buffers {
            let room = placed.room(buffer.len(), needs_tending)?;
            room.write(buffer);
            placed.add(room, PieceKind::Bytes, buffer.len());
        }
        Some(self.cork_placed(channel, placed, uncorked, |pieces, bytes| {
            let start = bytes.len();
            bytes.extend([0; PREFIX]);
            announce(pieces, 0, bytes);
            bytes.extend(body);
            set_prefix(&mut bytes[start..]);
            true
        }))
    }

    /// Corks a frame whose pieces are in shared memory. `append` says whether it has written one.
    fn cork_placed(
        &self,
        channel: &Channel,
        placed: Placed<'_>,
        uncorked: Uncorked,
        append: impl FnOnce(&[Piece], &mut Vec<u8>) -> bool,
    ) -> Sent {
        let mut is_whole = false;
        let sent = cork(channel, placed.length(), uncorked, |bytes| is_whole = append(&placed.pieces, bytes));
        if sent.status < 0.0 || !is_whole {
            return sent;
        }
        placed.sent();
        Sent { status: sent.status + channel.behind_in_memory() as f64, ..sent }
    }

    fn cork(&self, id: u32, append: impl FnOnce(&mut Vec<u8>)) -> Sent {
        match self.get(id) {
            Some(channel) => cork(channel, 0, Uncorked::AtTurnEnd, append),
            None => Sent::failed(Errno::EPIPE),
        }
    }

    /// Sends what was corked. What has to wait has this completion.
    pub fn uncork(&self, id: u32, completion: u32) -> Sent {
        let Some(channel) = self.get(id) else { return Sent::failed(Errno::EPIPE) };
        outcome(channel, channel.uncork(Completion(completion)), 0, 0)
    }

    fn serialization(&self, id: u32) -> Serialization {
        self.get(id).map_or(Serialization::Json, |channel| channel.serialization())
    }

    /// Calls `send` with the text as a frame.
    fn with_utf8(
        &mut self,
        serialization: Serialization,
        text: &JsString,
        send: impl FnOnce(&Self, &[u8]) -> Sent,
    ) -> Result<Sent> {
        let mut bytes = std::mem::take(&mut self.scratch);
        append_text(serialization, text, &mut bytes)?;
        let sent = send(self, &bytes);
        self.keep_scratch(bytes);
        Ok(sent)
    }

    /// Whether a message of so many bytes may be sent: 0, or the errno as sending it would return it.
    pub fn takes(&self, id: u32, bytes: usize) -> f64 {
        self.admit(id, bytes).map_or_else(|sent| sent.status, |_| 0.0)
    }

    fn admit(&self, id: u32, bytes: usize) -> std::result::Result<&Channel, Sent> {
        let channel = self.get(id).ok_or(Sent::failed(Errno::EPIPE))?;
        channel.takes(bytes).map_err(|unfit| Sent::failed(errno_of(unfit)))?;
        Ok(channel)
    }

    /// JavaScript has dealt with what the peer has brought about. A channel that rests because of too much is to be read again.
    pub fn delivered(&self, id: u32, cost: usize) -> Option<FollowUp> {
        let is_waited_for = self.get(id)?.undelivered().remove(cost);
        is_waited_for.then_some(FollowUp(id, ChannelCommand::Resume))
    }

    /// The peer may send its next handle. If it has gone, nobody waits for this.
    pub fn acknowledge(&self, id: u32, follow_up: &mut Vec<FollowUp>) {
        let Some(channel) = self.get(id) else { return };
        let Ok(bytes) = proto::encode(channel.serialization(), &json!({ "cmd": HANDLE_ACK })) else {
            return;
        };
        follow_up.extend(answered(id, channel.send_receipt(Frame::plain(bytes))));
    }

    /// Sends JSON text that the peer's own doing has brought about, without its newline. If it has gone, nobody waits for this.
    pub fn answer_text(&self, id: u32, text: &JsString) -> Result<Option<FollowUp>> {
        let Some(channel) = self.get(id) else { return Ok(None) };
        let mut bytes = Vec::new();
        append_text(Serialization::Json, text, &mut bytes)?;
        Ok(answer(id, channel, bytes))
    }

    /// As `answer_text`, for a message as in `send_bytes`.
    pub fn answer_bytes(&self, id: u32, message: &[u8]) -> Option<FollowUp> {
        let channel = self.get(id)?;
        let size = message.len().checked_sub(PREFIX).and_then(|size| u32::try_from(size).ok())?;
        let mut bytes = message.to_vec();
        bytes[..PREFIX].copy_from_slice(&size.to_be_bytes());
        answer(id, channel, bytes)
    }

    /// How many bytes wait to be written to a peer.
    pub fn queued(&self, id: u32) -> f64 {
        self.get(id).map_or(0.0, |channel| channel.traffic().queued() as f64)
    }
}

/// Corks a frame that brings `beside` more bytes along in shared memory.
fn cork(channel: &Channel, beside: usize, uncorked: Uncorked, append: impl FnOnce(&mut Vec<u8>)) -> Sent {
    let mut length = 0;
    let Corked { status, needs_look } = channel.cork(uncorked, |bytes| {
        let before = bytes.len();
        append(bytes);
        length = bytes.len() - before;
    });
    // Whether the peer is far behind the end of the turn tells: to ask the kernel costs as much as what corking saves.
    Sent { needs_look, ..counted(channel, status, 1, length + beside) }
}

/// Fills in the length in front of a frame in V8's format, which is less than 4 GiB.
fn set_prefix(frame: &mut [u8]) {
    let size = (frame.len() - PREFIX) as u32;
    frame[..PREFIX].copy_from_slice(&size.to_be_bytes());
}

/// Appends JSON text as a frame. Where V8's format is spoken that is for a corral only.
fn append_text(serialization: Serialization, text: &JsString, bytes: &mut Vec<u8>) -> Result<()> {
    match serialization {
        Serialization::Json => {
            text::append_utf8(text, bytes)?;
            bytes.push(b'\n');
        }
        Serialization::Advanced => {
            let start = bytes.len();
            bytes.extend([0; PREFIX]);
            text::append_utf8(text, bytes)?;
            // JavaScript gives no longer texts than V8 has strings, of some 512 MiB.
            set_prefix(&mut bytes[start..]);
        }
    }
    Ok(())
}

/// Sends what the peer has asked for. Returns what the reactor is to do now: a peer that reads no answers has no channel.
fn answer(id: u32, channel: &Channel, bytes: Vec<u8>) -> Option<FollowUp> {
    answered(id, channel.answer(Frame::plain(bytes)))
}

fn answered(id: u32, status: std::result::Result<SendStatus, crate::error::Error>) -> Option<FollowUp> {
    match status {
        Ok(SendStatus::Queued { needs_flush: true, .. }) => Some(FollowUp(id, ChannelCommand::Flush)),
        Ok(_) => None,
        Err(fault) => Some(FollowUp(id, ChannelCommand::Condemn(fault))),
    }
}

fn dispatch(channel: &Channel, bytes: &[u8], handle: i32, completion: u32) -> Sent {
    let completion = Completion(completion);
    let status = if handle < 0 {
        channel.send_lent(bytes, completion)
    } else {
        match os::duplicate_raw(handle) {
            Ok(fd) => channel.send(Frame {
                bytes: bytes.to_vec(),
                handle: Some((Arc::new(fd), HandleOrigin::User)),
                completion: Some(completion),
            }),
            Err(errno) => return Sent::failed(errno),
        }
    };
    outcome(channel, status, 1, bytes.len())
}

/// Says what came of what was sent, also how far behind the peer is.
fn outcome(channel: &Channel, status: SendStatus, count: u32, bytes: usize) -> Sent {
    let sent = counted(channel, status, count, bytes);
    match (status, channel.behind(bytes)) {
        (SendStatus::Written, FAR_BEHIND..) => Sent { status: WRITTEN_AND_BEHIND, ..sent },
        (SendStatus::Queued { .. }, behind) => Sent { status: sent.status + behind as f64, ..sent },
        _ => sent,
    }
}

/// Counts what was sent, and says what came of it.
fn counted(channel: &Channel, status: SendStatus, count: u32, bytes: usize) -> Sent {
    if matches!(status, SendStatus::Written | SendStatus::Queued { .. }) {
        channel.traffic().sent(count, bytes);
    }
    match status {
        SendStatus::Written => Sent { status: 0.0, needs_flush: false, needs_look: false },
        SendStatus::Queued { bytes, needs_flush } => {
            Sent { status: bytes as f64, needs_flush, needs_look: false }
        }
        SendStatus::Failed(errno) => Sent::failed(errno),
        SendStatus::Closed => Sent::failed(Errno::EPIPE),
    }
}
