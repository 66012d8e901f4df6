//! Events on their way from the reactor thread to JavaScript.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use napi::bindgen_prelude::{Array, Buffer, BufferSlice, JsValue, Status, ToNapiValue, Unknown};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{Env, Result};
use napi_derive::napi;
use parking_lot::Mutex;
use serde_json::json;

use super::direct::DirectReading;
use super::{Peer, text};
use crate::address;
use crate::channel::{Frame, Frames, SendStatus};
use crate::error::Error;
use crate::ids::WorkerId;
use crate::os;
use crate::primary::{Command, Event, EventSink, HANDLE_WEIGHT, MAX_UNTOLD};
use crate::proto::{self, HANDLE_ACK, Serialization};

/// What an event is; the three values behind it are, by kind, those in the comment.
#[napi]
pub enum EventKind {
    /// worker, message (string or Buffer)
    Message,
    /// worker, messages, each with its newline or its length (string or Buffer)
    Messages,
    /// worker, message (string or Buffer), descriptor
    HandleMessage,
    /// worker, message (string or Buffer)
    Internal,
    /// worker
    Online,
    /// worker, JSON of addressType, address, port and fd
    Listening,
    /// worker
    ExitedAfterDisconnect,
    /// worker
    HandleArrived,
    /// worker
    HandleLost,
    /// worker, completion
    Written,
    /// worker, completion
    Unwritten,
    /// worker, code or undefined, message
    Closed,
    /// worker, JSON of key, address, port, family, remoteAddress and remotePort
    Connection,
    /// number of servers
    Servers,
    /// 0, code, message
    AcceptPaused,
    /// 0, code, message
    Fault,
}

/// Up to this size bytes are copied into V8's own memory.
const COPIED: usize = 64 << 10;

/// Calls JavaScript; never keeps the process alive; at most one call waits.
type Wake = ThreadsafeFunction<(), (), (), Status, false, true, 1>;

/// Events that JavaScript has not taken yet.
pub struct EventQueue {
    events: Mutex<Vec<Event>>,
    /// A call of `wake` is on its way that will see everything pushed so far.
    scheduled: AtomicBool,
    wake: Wake,
}

impl EventQueue {
    pub fn new(wake: Wake) -> Self {
        EventQueue { events: Mutex::new(Vec::new()), scheduled: AtomicBool::new(false), wake }
    }

    /// Adds an event on the JavaScript thread, which takes it without being woken.
    pub fn push(&self, event: Event) {
        self.events.lock().push(event);
    }

    /// The messages of the one event that there is; None if there are others, or is another.
    pub fn take_only_messages(&self) -> Option<(WorkerId, Frames)> {
        let mut events = self.events.lock();
        if !matches!(&events[..], [Event::Messages { .. }]) {
            return None;
        }
        match events.pop() {
            Some(Event::Messages { worker, frames }) => Some((worker, frames)),
            _ => None,
        }
    }

    /// Everything so far, oldest first.
    pub fn take(&self) -> Vec<Event> {
        // In this order: an event that is pushed after the swap finds the flag down and wakes again.
        self.scheduled.store(false, Ordering::SeqCst);
        std::mem::take(&mut self.events.lock())
    }
}

/// The reactor's end of the queue. Events of one turn are handed over together.
pub struct Sink {
    gathered: Vec<Event>,
    queue: Arc<EventQueue>,
}

impl Sink {
    pub fn new(queue: Arc<EventQueue>) -> Self {
        Sink { gathered: Vec::new(), queue }
    }
}

impl EventSink for Sink {
    fn push(&mut self, event: Event) {
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

/// Converts events for JavaScript, four values each. What the reactor is to do now that they are taken is added to
/// `follow_up`; workers whose last event it is are forgotten.
pub fn to_array<'env>(
    env: &'env Env,
    events: Vec<Event>,
    peers: &mut HashMap<u32, Peer>,
    direct: &'env Rc<DirectReading>,
    follow_up: &mut Vec<Command>,
) -> Result<Array<'env>> {
    let mut writer = Writer { env, direct, array: env.create_array(0)?, length: 0 };
    for event in events {
        writer.event(event, peers, follow_up)?;
    }
    Ok(writer.array)
}

/// JavaScript has these bytes now. A worker whose channel rests because of too many is to be read again.
fn count_taken(peers: &HashMap<u32, Peer>, worker: WorkerId, bytes: usize, follow_up: &mut Vec<Command>) {
    if let Some(peer) = peers.get(&worker.0)
        && peer.untold.fetch_sub(bytes, Ordering::Relaxed) > MAX_UNTOLD
    {
        follow_up.push(Command::Resume(worker));
    }
}

/// The worker may send its next handle. If it has gone, nobody waits for this.
fn acknowledge(peers: &HashMap<u32, Peer>, worker: WorkerId, follow_up: &mut Vec<Command>) {
    let Some(peer) = peers.get(&worker.0) else { return };
    let Ok(bytes) = proto::encode(peer.channel.serialization(), &json!({ "cmd": HANDLE_ACK })) else {
        return;
    };
    if let SendStatus::Queued { needs_flush: true, .. } = peer.channel.send(Frame::plain(bytes)) {
        follow_up.push(Command::Flush(worker));
    }
}

/// What an event of messages is for JavaScript, and the messages' bytes.
pub fn kind_of(frames: Frames) -> (EventKind, Vec<u8>) {
    match frames {
        Frames::One(bytes) => (EventKind::Message, bytes),
        Frames::Many(bytes) => (EventKind::Messages, bytes),
    }
}

/// Messages in the form that JavaScript parses: a string for JSON, bytes for V8's format.
pub fn frame_value(env: &Env, serialization: Serialization, bytes: Vec<u8>) -> Result<Unknown<'_>> {
    match serialization {
        Serialization::Json => Ok(text::from_utf8(env, bytes)?.to_unknown()),
        // Memory that is not V8's own costs it a good deal when it is collected: more than copying a little.
        Serialization::Advanced if bytes.len() <= COPIED => {
            Ok(BufferSlice::copy_from(env, &bytes)?.to_unknown())
        }
        Serialization::Advanced => Buffer::from(bytes).into_unknown(env),
    }
}

struct Writer<'env> {
    env: &'env Env,
    direct: &'env Rc<DirectReading>,
    array: Array<'env>,
    length: u32,
}

impl Writer<'_> {
    fn event(
        &mut self,
        event: Event,
        peers: &mut HashMap<u32, Peer>,
        follow_up: &mut Vec<Command>,
    ) -> Result<()> {
        match event {
            Event::Messages { worker, frames } => {
                count_taken(peers, worker, frames.len(), follow_up);
                let (kind, bytes) = kind_of(frames);
                self.head(kind, worker)?;
                self.frame(peers, worker, bytes)?;
                self.skip(1)
            }
            Event::HandleMessage { worker, bytes, handle } => {
                count_taken(peers, worker, bytes.len() + HANDLE_WEIGHT, follow_up);
                acknowledge(peers, worker, follow_up);
                self.head(EventKind::HandleMessage, worker)?;
                self.frame(peers, worker, bytes)?;
                self.put(os::into_raw(handle))
            }
            Event::Internal { worker, bytes } => {
                self.head(EventKind::Internal, worker)?;
                self.frame(peers, worker, bytes)?;
                self.skip(1)
            }
            Event::Online(worker) => self.plain(EventKind::Online, worker),
            Event::Listening { worker, info } => self.text(EventKind::Listening, worker, info),
            Event::ExitedAfterDisconnect(worker) => self.plain(EventKind::ExitedAfterDisconnect, worker),
            Event::HandleArrived(worker) => self.plain(EventKind::HandleArrived, worker),
            Event::HandleLost(worker) => self.plain(EventKind::HandleLost, worker),
            Event::Written { worker, completion } => self.number(EventKind::Written, worker, completion.0),
            Event::Unwritten { worker, completion } => {
                self.number(EventKind::Unwritten, worker, completion.0)
            }
            Event::Offered { worker, offer } => {
                if let Some(peer) = peers.get(&worker.0) {
                    self.direct.accept(self.env, worker, peer, offer);
                }
                Ok(())
            }
            Event::Closed { worker, cause } => {
                self.direct.forget(worker);
                peers.remove(&worker.0);
                match cause {
                    Some(error) => self.failure(EventKind::Closed, worker, &error),
                    None => self.plain(EventKind::Closed, worker),
                }
            }
            Event::Connection(connection) => {
                let (family, remote_address, remote_port) = match connection.peer {
                    address::Peer::Ip(ip, port) => {
                        let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
                        (Some(family), Some(ip.to_string()), Some(port))
                    }
                    address::Peer::Unix => (None, None, None),
                };
                let info = json!({
                    "key": *connection.key, "address": *connection.address, "port": connection.port,
                    "family": family, "remoteAddress": remote_address, "remotePort": remote_port,
                });
                self.text(EventKind::Connection, connection.worker, info.to_string())
            }
            Event::Servers(count) => self.plain(EventKind::Servers, WorkerId(count as u32)),
            Event::AcceptPaused(error) => self.failure(EventKind::AcceptPaused, WorkerId(0), &error),
            Event::Fault(error) => self.failure(EventKind::Fault, WorkerId(0), &error),
        }
    }

    fn head(&mut self, kind: EventKind, worker: WorkerId) -> Result<()> {
        self.put(kind as u32)?;
        self.put(worker.0)
    }

    fn plain(&mut self, kind: EventKind, worker: WorkerId) -> Result<()> {
        self.head(kind, worker)?;
        self.skip(2)
    }

    fn text(&mut self, kind: EventKind, worker: WorkerId, text: String) -> Result<()> {
        self.head(kind, worker)?;
        self.put(text)?;
        self.skip(1)
    }

    fn number(&mut self, kind: EventKind, worker: WorkerId, number: u32) -> Result<()> {
        self.head(kind, worker)?;
        self.put(number)?;
        self.skip(1)
    }

    fn failure(&mut self, kind: EventKind, worker: WorkerId, error: &Error) -> Result<()> {
        self.head(kind, worker)?;
        self.put(error.code())?;
        self.put(error.to_string())
    }

    fn frame(&mut self, peers: &HashMap<u32, Peer>, worker: WorkerId, bytes: Vec<u8>) -> Result<()> {
        let serialization =
            peers.get(&worker.0).map_or(Serialization::Json, |peer| peer.channel.serialization());
        self.put(frame_value(self.env, serialization, bytes)?)
    }

    fn put<T: ToNapiValue>(&mut self, value: T) -> Result<()> {
        self.array.set(self.length, value)?;
        self.length += 1;
        Ok(())
    }

    /// Leaves values undefined.
    fn skip(&mut self, count: u32) -> Result<()> {
        for _ in 0..count {
            self.put(())?;
        }
        Ok(())
    }
}
