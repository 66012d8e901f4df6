//! Events between the reactor thread and JavaScript, which takes a bounded batch in each turn of its event loop: timers, signals and
//! sockets have their turn in between.

use std::sync::Arc;

use parking_lot::Mutex;

use super::wake::Wake;
use crate::channel::ChannelEvent;
use crate::ids::{ChannelId, WorkerId};
use crate::reactor::{EventSink, FairQueue, Limits, Precedence, Work};
use crate::{ipc, primary};

/// How many times JavaScript is called before it looks how long it has been at it: a program may do much with each message.
pub const PORTION: usize = 128;

/// What one turn of the event loop takes: some milliseconds' work, beside which what a turn itself costs does not count. Bytes may become
/// objects of thirty times as many, which takes longer: that is seen after a portion.
const LIMITS: Limits =
    Limits { turn: Work { calls: 1024, bytes: 1 << 20 }, portion: Work { calls: PORTION, bytes: 128 << 10 } };

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

    /// What dealing with it takes.
    fn work(&self) -> Work;

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

    fn work(&self) -> Work {
        match self {
            primary::Event::Channel(_, event) => event.work(),
            primary::Event::Internal { bytes, .. } => Work { calls: 1, bytes: bytes.len() },
            _ => Work { calls: 1, bytes: 0 },
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

    fn work(&self) -> Work {
        match self {
            ipc::Event::Channel(_, event) => event.work(),
            _ => Work { calls: 1, bytes: 0 },
        }
    }

    fn cost(&self) -> Option<(u32, usize)> {
        self.cost().map(|(id, cost)| (id.0, cost))
    }
}

/// Events that JavaScript has not taken yet.
pub struct EventQueue<E> {
    waiting: Mutex<FairQueue<Source, E>>,
    wake: Wake,
}

impl<E: OfChannels> EventQueue<E> {
    pub fn new(wake: Wake) -> Self {
        EventQueue { waiting: Mutex::new(FairQueue::new(LIMITS)), wake }
    }

    /// Adds an event on the JavaScript thread, which takes it without being woken.
    pub fn push(&self, event: E) {
        push(&mut self.waiting.lock(), event);
    }

    /// Whether something of a source waits.
    pub fn has(&self, source: Source) -> bool {
        self.waiting.lock().has(source)
    }

    /// A portion of what may be taken in this turn of the event loop; `turn_ended` is to follow.
    pub fn take(&self) -> Vec<E> {
        self.waiting.lock().take(E::work)
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
        self.wake.wake();
    }
}

fn push<E: OfChannels>(queue: &mut FairQueue<Source, E>, event: E) {
    let source = event.source();
    let precedence = match source {
        Source::Reactor => Precedence::First,
        Source::Listener(_) | Source::Channel(_) => Precedence::InTurn,
    };
    queue.push(source, precedence, event);
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
        self.gathered.drain(..).for_each(|event| push(&mut waiting, event));
        let wants_waking = waiting.wants_waking();
        drop(waiting);
        if wants_waking {
            self.queue.wake();
        }
    }
}
