//! Events between the reactor thread and JavaScript.
//!
//! JavaScript takes a bounded batch in each turn of its event loop, whoever sends how much: timers, signals and sockets have their
//! turn in between. Each channel has a queue of its own and they take turns, so that one message of a quiet peer does not wait behind
//! all of a noisy one's.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use napi::bindgen_prelude::Status;
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use parking_lot::Mutex;

use crate::channel::ChannelEvent;
use crate::ids::{ChannelId, WorkerId};
use crate::reactor::EventSink;
use crate::{ipc, primary};

/// How many times JavaScript is called in one turn of its event loop, and of how many bytes it makes values, at most; one event is
/// taken however large it is. Some milliseconds' work, beside which what a turn itself costs does not count.
const TURN_EVENTS: usize = 1024;
const TURN_BYTES: usize = 1 << 20;

/// How many times JavaScript is called before it looks how long it has been at it: a program may do much with each message.
pub const PORTION_EVENTS: usize = 128;

/// Calls JavaScript; never keeps the process alive; at most one call waits.
pub type Wake = ThreadsafeFunction<(), (), (), Status, false, true, 1>;

/// What an event is of: events of one source are taken in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The reactor itself, whose events come first: what happens to it happens to all.
    Reactor,
    /// A listener of channels.
    Listener(u32),
    /// A channel.
    Channel(u32),
}

/// The events of an owner of channels.
pub trait OfChannels: Sized + Send + 'static {
    /// What has happened on one of its channels.
    fn of_channel(id: u32, event: ChannelEvent) -> Self;

    /// What it is of.
    fn source(&self) -> Source;

    /// How many times JavaScript is to be called for it, and of how many bytes it makes values.
    fn load(&self) -> (usize, usize);

    /// The channel whose peer has brought it about, and what it counts for while it is undelivered.
    fn cost(&self) -> Option<(u32, usize)>;
}

impl OfChannels for primary::Event {
    fn of_channel(id: u32, event: ChannelEvent) -> Self {
        primary::Event::Channel(WorkerId(id), event)
    }

    fn source(&self) -> Source {
        match self {
            primary::Event::Channel(id, _)
            | primary::Event::Internal { worker: id, .. }
            | primary::Event::Online(id)
            | primary::Event::Listening { worker: id, .. }
            | primary::Event::ExitedAfterDisconnect(id) => Source::Channel(id.0),
            primary::Event::Connection(connection) => Source::Channel(connection.worker.0),
            primary::Event::Servers(_) | primary::Event::AcceptPaused(_) | primary::Event::Fault(_) => {
                Source::Reactor
            }
        }
    }

    fn load(&self) -> (usize, usize) {
        match self {
            primary::Event::Channel(_, event) => event.load(),
            primary::Event::Internal { bytes, .. } => (1, bytes.len()),
            _ => (1, 0),
        }
    }

    fn cost(&self) -> Option<(u32, usize)> {
        self.cost().map(|(id, cost)| (id.0, cost))
    }
}

impl OfChannels for ipc::Event {
    fn of_channel(id: u32, event: ChannelEvent) -> Self {
        ipc::Event::Channel(ChannelId(id), event)
    }

    fn source(&self) -> Source {
        match self {
            ipc::Event::Channel(id, _)
            | ipc::Event::Asked { channel: id, .. }
            | ipc::Event::Connected { id, .. } => Source::Channel(id.0),
            ipc::Event::Refused { listener, .. } => Source::Listener(listener.0),
            ipc::Event::AcceptPaused(_) | ipc::Event::Fault(_) => Source::Reactor,
        }
    }

    fn load(&self) -> (usize, usize) {
        match self {
            ipc::Event::Channel(_, event) => event.load(),
            _ => (1, 0),
        }
    }

    fn cost(&self) -> Option<(u32, usize)> {
        self.cost().map(|(id, cost)| (id.0, cost))
    }
}

/// Events that JavaScript has not taken yet.
pub struct EventQueue<E> {
    waiting: Mutex<Waiting<E>>,
    wake: Wake,
}

impl<E: OfChannels> EventQueue<E> {
    pub fn new(wake: Wake) -> Self {
        EventQueue { waiting: Mutex::new(Waiting::new()), wake }
    }

    /// Adds an event on the JavaScript thread, which takes it without being woken.
    pub fn push(&self, event: E) {
        self.waiting.lock().push(event);
    }

    /// Whether something of a source waits.
    pub fn has(&self, source: Source) -> bool {
        self.waiting.lock().queues.contains_key(&source)
    }

    /// A portion of what may be taken in this turn of the event loop; `turn_ended` is to follow.
    pub fn take(&self) -> Vec<E> {
        self.waiting.lock().take()
    }

    /// Whether another portion may be taken in this turn.
    pub fn may_take_more(&self) -> bool {
        self.waiting.lock().may_take_more()
    }

    /// The event loop has had a turn since something was taken. What still waits is taken in its next one.
    pub fn turn_ended(&self) {
        if self.waiting.lock().end_turn() {
            self.wake();
        }
    }

    fn wake(&self) {
        // It fails when a call is waiting already, which will see everything that is there by then, and when the environment is being
        // torn down, which wants no events.
        self.wake.call((), ThreadsafeFunctionCallMode::NonBlocking);
    }
}

struct Waiting<E> {
    /// None of them is empty.
    queues: HashMap<Source, VecDeque<E>>,
    /// Whose turn it is.
    rotation: VecDeque<Source>,
    /// What may still be taken in this turn.
    events_left: usize,
    bytes_left: usize,
    /// A call of `wake` is on its way, or a turn of the event loop under way at the end of which it is seen that something waits. To
    /// be woken in the turn itself would make it go on for ever: Node's queue of calls is emptied before the loop goes on.
    is_seen_to: bool,
}

impl<E: OfChannels> Waiting<E> {
    fn new() -> Self {
        Waiting {
            queues: HashMap::new(),
            rotation: VecDeque::new(),
            events_left: TURN_EVENTS,
            bytes_left: TURN_BYTES,
            is_seen_to: false,
        }
    }

    fn push(&mut self, event: E) {
        let source = event.source();
        match self.queues.entry(source) {
            Entry::Occupied(queue) => queue.into_mut().push_back(event),
            Entry::Vacant(place) => {
                place.insert(VecDeque::from([event]));
                match source {
                    Source::Reactor => self.rotation.push_front(source),
                    Source::Listener(_) | Source::Channel(_) => self.rotation.push_back(source),
                }
            }
        }
    }

    /// The next event, of the source whose turn it is.
    fn next(&mut self) -> Option<E> {
        let source = self.rotation.pop_front()?;
        let queue = self.queues.get_mut(&source)?;
        let event = queue.pop_front();
        if queue.is_empty() {
            self.queues.remove(&source);
        } else if source == Source::Reactor {
            self.rotation.push_front(source);
        } else {
            self.rotation.push_back(source);
        }
        event
    }

    fn take(&mut self) -> Vec<E> {
        self.is_seen_to = true;
        let (mut taken, mut portion) = (Vec::new(), PORTION_EVENTS);
        while portion > 0
            && self.events_left > 0
            && self.bytes_left > 0
            && let Some(event) = self.next()
        {
            let (events, bytes) = event.load();
            portion = portion.saturating_sub(events);
            self.events_left = self.events_left.saturating_sub(events);
            self.bytes_left = self.bytes_left.saturating_sub(bytes);
            taken.push(event);
        }
        taken
    }

    fn may_take_more(&self) -> bool {
        self.events_left > 0 && self.bytes_left > 0 && !self.rotation.is_empty()
    }

    /// Returns whether JavaScript is to be woken for more.
    fn end_turn(&mut self) -> bool {
        self.events_left = TURN_EVENTS;
        self.bytes_left = TURN_BYTES;
        self.is_seen_to = !self.rotation.is_empty();
        self.is_seen_to
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

impl<E: OfChannels> EventSink<E> for Sink<E> {
    fn push(&mut self, event: E) {
        self.gathered.push(event);
    }

    fn flush(&mut self) {
        if self.gathered.is_empty() {
            return;
        }
        let mut waiting = self.queue.waiting.lock();
        self.gathered.drain(..).for_each(|event| waiting.push(event));
        let is_seen_to = std::mem::replace(&mut waiting.is_seen_to, true);
        drop(waiting);
        if !is_seen_to {
            self.queue.wake();
        }
    }
}
