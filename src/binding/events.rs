//! Events as JavaScript sees them.

use napi::bindgen_prelude::{Array, Buffer, BufferSlice, JsValue, ToNapiValue, Unknown};
use napi::{Env, Result};
use napi_derive::napi;

use super::channels::{Channels, FollowUp};
use super::text;
use crate::channel::{Bundle, ChannelCommand, ChannelEvent, Format, Frames, Part, Segment, Unwritten};
use crate::error::Error;
use crate::os;
use crate::proto::{LargeFrame, Serialization};

/// What an event is; the three values behind it are, by kind, those in the comment.
#[napi]
pub enum EventKind {
    /// worker or channel, message (string or Buffer)
    Message,
    /// worker or channel, messages, each with its newline or its length (string or Buffer)
    Messages,
    /// worker or channel, message (string or Buffer), what it brought along: an array of strings, or of where in the Buffer
    /// the message and each piece begin and end
    Attached,
    /// worker or channel, message (string or Buffer), descriptor
    HandleMessage,
    /// worker, message (string or Buffer)
    Internal,
    /// worker
    Online,
    /// worker, JSON of addressType, address, port and fd
    Listening,
    /// worker
    ExitedAfterDisconnect,
    /// worker or channel
    HandleArrived,
    /// worker or channel
    HandleLost,
    /// worker or channel, completion
    Written,
    /// worker or channel, completion, how many bytes of it were written
    Unwritten,
    /// worker or channel, code or undefined, message
    Closed,
    /// worker, JSON of key, address, port, family, remoteAddress and remotePort
    Connection,
    /// number of servers
    Servers,
    /// 0, code, message
    AcceptPaused,
    /// 0, code, message
    Fault,
    /// channel, JSON of listener and peer
    Asked,
    /// channel, JSON of listener, peer and maxMessageSize, which is what the peer takes
    Connected,
    /// listener, JSON of peer, code, message, and how many there were
    Refused,
}

/// Up to this size bytes are copied into V8's own memory.
const COPIED: usize = 64 << 10;

/// An event of messages for JavaScript: its kind, the messages, and what one has brought along.
pub fn message_values(env: &Env, serialization: Serialization, frames: Frames) -> Result<[Unknown<'_>; 3]> {
    let (kind, format, bytes) = match frames {
        Frames::One(format, bytes) => (EventKind::Message, format, bytes),
        Frames::Many(format, bytes, _) => (EventKind::Messages, format, bytes),
        Frames::Large(format, frame) => return large_values(env, format, frame),
        Frames::Attached(bundle) => return attached_values(env, serialization, bundle),
    };
    let kind = env.create_uint32(kind as u32)?.to_unknown();
    Ok([kind, frame_value(env, format, bytes)?, ().into_unknown(env)?])
}

fn large_values(env: &Env, format: Format, mut frame: LargeFrame) -> Result<[Unknown<'_>; 3]> {
    let kind = env.create_uint32(EventKind::Message as u32)?.to_unknown();
    let value = match format {
        Format::Text => text::from_utf8(env, &frame)?.to_unknown(),
        Format::V8 => {
            let (start, length) = (frame.as_mut_ptr(), frame.len());
            // SAFETY: so many bytes are there while the frame is, which the buffer has until its end; nobody else has them.
            let buffer =
                unsafe { BufferSlice::from_external(env, start, length, frame, |_, frame| drop(frame)) }?;
            prompt_collection(env)?;
            buffer.to_unknown()
        }
    };
    Ok([kind, value, ().into_unknown(env)?])
}

/// Has V8 see whether it is time to collect young buffers, which it does only when it makes one itself. Large buffers of others' would
/// wait for a collection of everything, a hundred times as dear, and their memory as long.
fn prompt_collection(env: &Env) -> Result<()> {
    BufferSlice::copy_from(env, [0]).map(drop)
}

fn attached_values(env: &Env, serialization: Serialization, bundle: Bundle) -> Result<[Unknown<'_>; 3]> {
    let Bundle { bytes, frame, pieces } = bundle;
    let kind = env.create_uint32(EventKind::Attached as u32)?.to_unknown();
    match serialization {
        Serialization::Json => {
            let text = text::from_utf8(env, &bytes[frame])?.to_unknown();
            let strings = pieces.into_iter().map(|(kind, part)| match part {
                Part::Behind(range) => text::piece(env, kind, &bytes[range]),
                Part::Shared(segment) => text::shared_piece(env, kind, &segment),
            });
            Ok([kind, text, strings.collect::<Result<Vec<_>>>()?.into_unknown(env)?])
        }
        // In place: what came with the frame become views of one buffer, as in a message of Node's own, what is in shared memory
        // buffers there.
        Serialization::Advanced => {
            let mut places = env.create_array(0)?;
            let parts = std::iter::once(Part::Behind(frame)).chain(pieces.into_iter().map(|(_, part)| part));
            for part in parts {
                match part {
                    Part::Behind(range) => {
                        places.insert(range.start as f64)?;
                        places.insert(range.end as f64)?;
                    }
                    Part::Shared(segment) => places.insert(shared_buffer(env, segment)?)?,
                }
            }
            Ok([kind, frame_value(env, Format::V8, bytes)?, places.into_unknown(env)?])
        }
    }
}

/// A piece in shared memory as a buffer, which has it until it is collected.
fn shared_buffer(env: &Env, mut segment: Segment) -> Result<BufferSlice<'_>> {
    segment.read();
    let (start, length) = (segment.pointer(), segment.len());
    // SAFETY: so many bytes are there while the segment is, which the buffer has until its end. No two segments overlap.
    unsafe { BufferSlice::from_external(env, start, length, segment, |_, segment| drop(segment)) }
}

/// Messages in the form that JavaScript parses: a string for JSON, bytes for V8's format.
fn frame_value(env: &Env, format: Format, bytes: Vec<u8>) -> Result<Unknown<'_>> {
    match format {
        Format::Text => Ok(text::from_utf8(env, &bytes)?.to_unknown()),
        // Memory that is not V8's own costs it a good deal when it is collected: more than copying a little.
        Format::V8 if bytes.len() <= COPIED => Ok(BufferSlice::copy_from(env, &bytes)?.to_unknown()),
        Format::V8 => Buffer::from(bytes).into_unknown(env),
    }
}

/// Converts events for JavaScript: a flat array of four values each.
pub struct EventWriter<'env, 'a> {
    env: &'env Env,
    channels: &'a mut Channels,
    array: Array<'env>,
    length: u32,
    follow_up: Vec<FollowUp>,
}

impl<'env, 'a> EventWriter<'env, 'a> {
    pub fn new(env: &'env Env, channels: &'a mut Channels) -> Result<Self> {
        Ok(EventWriter { env, channels, array: env.create_array(0)?, length: 0, follow_up: Vec::new() })
    }

    /// The array, and what the reactor is to do now that the events are taken.
    pub fn finish(self) -> (Array<'env>, Vec<FollowUp>) {
        (self.array, self.follow_up)
    }

    pub fn env(&self) -> &'env Env {
        self.env
    }

    pub fn channels(&mut self) -> &mut Channels {
        self.channels
    }

    /// What has happened on a channel. The channel is forgotten with its last event.
    pub fn channel_event(&mut self, id: u32, event: ChannelEvent) -> Result<()> {
        match event {
            ChannelEvent::Messages(frames) => {
                let serialization = self.serialization(id);
                let [kind, first, second] = message_values(self.env, serialization, frames)?;
                self.put(kind)?;
                self.put(id)?;
                self.put(first)?;
                self.put(second)
            }
            ChannelEvent::HandleMessage { bytes, handle } => {
                let frame = self.frame(id, bytes)?;
                self.channels.acknowledge(id, &mut self.follow_up);
                self.head(EventKind::HandleMessage, id)?;
                self.put(frame)?;
                self.put(os::into_raw(handle))
            }
            ChannelEvent::HandleArrived => self.plain(EventKind::HandleArrived, id),
            ChannelEvent::HandleLost => self.plain(EventKind::HandleLost, id),
            ChannelEvent::Written(completion) => self.number(EventKind::Written, id, completion.0),
            ChannelEvent::Unwritten(Unwritten { completion, written }) => {
                self.head(EventKind::Unwritten, id)?;
                self.put(completion.0)?;
                self.put(written as f64)
            }
            // Who reads a channel is no business of the program's.
            ChannelEvent::Offered(_) => Ok(()),
            ChannelEvent::Closed(cause) => {
                self.channels.remove(id);
                match cause {
                    Some(error) => self.failure(EventKind::Closed, id, &error),
                    None => self.plain(EventKind::Closed, id),
                }
            }
        }
    }

    pub fn head(&mut self, kind: EventKind, id: u32) -> Result<()> {
        self.put(kind as u32)?;
        self.put(id)
    }

    pub fn plain(&mut self, kind: EventKind, id: u32) -> Result<()> {
        self.head(kind, id)?;
        self.skip(2)
    }

    pub fn text(&mut self, kind: EventKind, id: u32, text: String) -> Result<()> {
        self.head(kind, id)?;
        self.put(text)?;
        self.skip(1)
    }

    fn number(&mut self, kind: EventKind, id: u32, number: u32) -> Result<()> {
        self.head(kind, id)?;
        self.put(number)?;
        self.skip(1)
    }

    pub fn failure(&mut self, kind: EventKind, id: u32, error: &Error) -> Result<()> {
        self.head(kind, id)?;
        self.put(error.code())?;
        self.put(error.to_string())
    }

    /// A message of a channel's, as that writes them. Fails before anything is put when it is no value of V8's.
    pub fn frame(&self, id: u32, bytes: Vec<u8>) -> Result<Unknown<'env>> {
        let format = Format::of(self.serialization(id), &bytes);
        frame_value(self.env, format, bytes)
    }

    /// A message that V8 has no value for is the end of its channel, and of nothing else.
    pub fn condemn(&mut self, id: u32) {
        let error = Error::FrameTooLarge { limit: text::MAX_LENGTH };
        self.follow_up.push(FollowUp(id, ChannelCommand::Condemn(error)));
    }

    fn serialization(&self, id: u32) -> Serialization {
        self.channels.get(id).map_or(Serialization::Json, |channel| channel.serialization())
    }

    pub fn put<T: ToNapiValue>(&mut self, value: T) -> Result<()> {
        self.array.set(self.length, value)?;
        self.length += 1;
        Ok(())
    }

    /// Leaves values undefined.
    pub fn skip(&mut self, count: u32) -> Result<()> {
        for _ in 0..count {
            self.put(())?;
        }
        Ok(())
    }
}
