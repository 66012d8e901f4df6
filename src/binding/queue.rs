//! Events on their way from the reactor thread to JavaScript. Each turn of the event loop takes a limited
//! number, so that timers, signals and sockets have their turn in between.

use std::sync::Arc;

use parking_lot::Mutex;

use super::wake::Wake;
use crate::channel::ChannelEvent;
use crate::ids::{ChannelId, WorkerId};
use crate::reactor::{EventSink, FairQueue, Limits, Precedence, Work};
use crate::{ipc, primary};

/// The number of calls into JavaScript after which JavaScript checks how long the turn has taken. A program
/// may do much with each message.
pub const PORTION: usize = 128;

/// The limits of one turn of the event loop: some milliseconds of work, so that the cost of the turn itself
/// does not matter. Parsing may make objects of thirty times as many bytes, which takes longer and is noticed
/// after a portion.
const LIMITS: Limits =
    Limits { turn: Work { calls: 1024, bytes: 1 << 20 }, portion: Work { calls: PORTION, bytes: 128 << 10 } };

/// The source of an event. Events of one source are taken in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The reactor itself. Its events come first, since they concern all.
    Reactor,
    /// A listener of channels.
    Listener(u32),
    /// A channel.
    Channel(u32),
}

/// An event of a reactor that owns channels.
pub trait ReactorEvent: Sized + Send + 'static {
    /// An event of one of its channels.
    fn from_channel(id: u32, event: ChannelEvent) -> Self;

    /// The source of the event.
    fn source(&self) -> Source;

    /// The work that it takes.
    fn work(&self) -> Work;

    /// The channel whose peer has caused it, and its cost while it is undelivered.
    fn cost(&self) -> Option<(u32, usize)>;
}

impl ReactorEvent for primary::Event {
    fn from_channel(id: u32, event: ChannelEvent) -> Self {
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

impl ReactorEvent for ipc::Event {
    fn from_channel(id: u32, event: ChannelEvent) -> Self {
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

impl<E: ReactorEvent> EventQueue<E> {
    pub fn new(wake: Wake) -> Self {
        EventQueue { waiting: Mutex::new(FairQueue::new(LIMITS)), wake }
    }

    /// Adds an event on the JavaScript thread, which takes it without being woken.
    pub fn push(&self, event: E) {
        push(&mut self.waiting.lock(), event);
    }

    /// Whether an event of a source waits.
    pub fn has(&self, source: Source) -> bool {
        self.waiting.lock().has(source)
    }

    /// Takes a portion of the events of this turn of the event loop. `turn_ended` is to follow.
    pub fn take(&self) -> Vec<E> {
        self.waiting.lock().take(E::work)
    }

    /// Whether another portion may be taken in this turn.
    pub fn may_take_more(&self) -> bool {
        self.waiting.lock().may_take_more()
    }

    /// The event loop has had a turn since events were taken. The next turn takes the events that still wait.
    pub fn turn_ended(&self) {
        if self.waiting.lock().end_turn() {
            self.wake();
        }
    }

    fn wake(&self) {
        self.wake.wake();
    }
}

fn push<E: ReactorEvent>(queue: &mut FairQueue<Source, E>, event: E) {
    let source = event.source();
    let precedence = match source {
        Source::Reactor => Precedence::First,
        Source::Listener(_) | Source::Channel(_) => Precedence::InTurn,
    };
    queue.push(source, precedence, event);
}

/// The reactor's end of the queue, which adds the events of one turn together.
pub struct Sink<E> {
    gathered: Vec<E>,
    queue: Arc<EventQueue<E>>,
}

impl<E> Sink<E> {
    pub fn new(queue: Arc<EventQueue<E>>) -> Self {
        Sink { gathered: Vec::new(), queue }
    }
}

impl<E: ReactorEvent> EventSink<E> for Sink<E> {
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
