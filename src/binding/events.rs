//! Events on their way from the reactor thread to JavaScript.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use napi::bindgen_prelude::{Array, Buffer, BufferSlice, JsValue, Status, ToNapiValue, Unknown};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{Env, Result};
use napi_derive::napi;
use parking_lot::Mutex;

use super::channels::{Channels, FollowUp};
use super::text;
use crate::channel::{Bundle, ChannelEvent, Format, Frames, HANDLE_WEIGHT, Part, Segment, Unwritten};
use crate::error::Error;
use crate::ids::{ChannelId, WorkerId};
use crate::proto::{LargeFrame, Serialization};
use crate::reactor::EventSink;
use crate::{ipc, os, primary};

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
    /// listener, JSON of peer, code and message
    Refused,
}

/// Up to this size bytes are copied into V8's own memory.
const COPIED: usize = 64 << 10;

/// Calls JavaScript; never keeps the process alive; at most one call waits.
type Wake = ThreadsafeFunction<(), (), (), Status, false, true, 1>;

/// Events that JavaScript has not taken yet.
pub struct EventQueue<E> {
    events: Mutex<Vec<E>>,
    /// A call of `wake` is on its way that will see everything pushed so far.
    scheduled: AtomicBool,
    wake: Wake,
}

impl<E> EventQueue<E> {
    pub fn new(wake: Wake) -> Self {
        EventQueue { events: Mutex::new(Vec::new()), scheduled: AtomicBool::new(false), wake }
    }

    /// Adds an event on the JavaScript thread, which takes it without being woken.
    pub fn push(&self, event: E) {
        self.events.lock().push(event);
    }

    /// Everything so far, oldest first.
    pub fn take(&self) -> Vec<E> {
        // In this order: an event that is pushed after the swap finds the flag down and wakes again.
        self.scheduled.store(false, Ordering::SeqCst);
        std::mem::take(&mut self.events.lock())
    }
}

/// The events of an owner of channels.
pub trait OfChannels: Sized + Send + 'static {
    /// What has happened on one of its channels.
    fn of_channel(id: u32, event: ChannelEvent) -> Self;

    /// The messages of an event; what it was if it has none.
    fn into_messages(self) -> std::result::Result<(u32, Frames), Self>;
}

impl OfChannels for primary::Event {
    fn of_channel(id: u32, event: ChannelEvent) -> Self {
        primary::Event::Channel(WorkerId(id), event)
    }

    fn into_messages(self) -> std::result::Result<(u32, Frames), Self> {
        match self {
            primary::Event::Channel(id, ChannelEvent::Messages(frames)) => Ok((id.0, frames)),
            other => Err(other),
        }
    }
}

impl OfChannels for ipc::Event {
    fn of_channel(id: u32, event: ChannelEvent) -> Self {
        ipc::Event::Channel(ChannelId(id), event)
    }

    fn into_messages(self) -> std::result::Result<(u32, Frames), Self> {
        match self {
            ipc::Event::Channel(id, ChannelEvent::Messages(frames)) => Ok((id.0, frames)),
            other => Err(other),
        }
    }
}

impl<E: OfChannels> EventQueue<E> {
    /// The messages of the one event that there is; None if there are others, or is another.
    pub fn take_only_messages(&self) -> Option<(u32, Frames)> {
        let mut events = self.events.lock();
        if events.len() != 1 {
            return None;
        }
        match events.pop()?.into_messages() {
            Ok(messages) => Some(messages),
            Err(other) => {
                events.push(other);
                None
            }
        }
    }
}

/// The reactor's end of the queue. Events of one turn are handed over together.
pub struct Sink<E> {
    gathered: Vec<E>,
    queue: Arc<EventQueue<E>>,
}

impl<E> Sink<E> {
    pub fn new(queue: Arc<EventQueue<E>>) -> Self {
        Sink { gathered: Vec::new(), queue }
    }
}

impl<E: Send + 'static> EventSink<E> for Sink<E> {
    fn push(&mut self, event: E) {
        self.gathered.push(event);
    }

    fn flush(&mut self) {
        if self.gathered.is_empty() {
            return;
        }
        self.queue.events.lock().append(&mut self.gathered);
        if !self.queue.scheduled.swap(true, Ordering::SeqCst) {
            // It fails when a call is waiting already, which will see these too, and when the environment is being
            // torn down, which wants no events.
            self.queue.wake.call((), ThreadsafeFunctionCallMode::NonBlocking);
        }
    }
}

/// An event of messages for JavaScript: its kind, the messages, and what one has brought along.
pub fn message_values(env: &Env, serialization: Serialization, frames: Frames) -> Result<[Unknown<'_>; 3]> {
    let (kind, format, bytes) = match frames {
        Frames::One(format, bytes) => (EventKind::Message, format, bytes),
        Frames::Many(format, bytes) => (EventKind::Messages, format, bytes),
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
pub struct Writer<'env, 'a> {
    env: &'env Env,
    channels: &'a mut Channels,
    array: Array<'env>,
    length: u32,
    follow_up: Vec<FollowUp>,
}

impl<'env, 'a> Writer<'env, 'a> {
    pub fn new(env: &'env Env, channels: &'a mut Channels) -> Result<Self> {
        Ok(Writer { env, channels, array: env.create_array(0)?, length: 0, follow_up: Vec::new() })
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
                self.channels.count_taken(id, frames.len(), &mut self.follow_up);
                let serialization = self.serialization(id);
                let [kind, first, second] = message_values(self.env, serialization, frames)?;
                self.put(kind)?;
                self.put(id)?;
                self.put(first)?;
                self.put(second)
            }
            ChannelEvent::HandleMessage { bytes, handle } => {
                self.channels.count_taken(id, bytes.len() + HANDLE_WEIGHT, &mut self.follow_up);
                self.channels.acknowledge(id, &mut self.follow_up);
                self.head(EventKind::HandleMessage, id)?;
                self.frame(id, bytes)?;
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

    /// A message of a channel's, as that writes them.
    pub fn frame(&mut self, id: u32, bytes: Vec<u8>) -> Result<()> {
        let format = Format::of(self.serialization(id), &bytes);
        self.put(frame_value(self.env, format, bytes)?)
    }

    fn serialization(&self, id: u32) -> Serialization {
        self.channels.get(id).map_or(Serialization::Json, |peer| peer.channel.serialization())
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
