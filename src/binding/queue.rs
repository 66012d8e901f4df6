//! Events on their way from the reactor thread to JavaScript. Each turn of the event loop takes a limited
//! number, so that timers, signals and sockets have their turn in between.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::wake::Wake;
use crate::channel::{BATCHED_MESSAGE, ChannelEvent};
use crate::ids::{ChannelId, WorkerId};
use crate::reactor::{EventSink, FairQueue, Limits, Precedence, TurnEnd, Work};
use crate::{ipc, primary};

/// The number of calls into JavaScript after which JavaScript checks how long the turn has taken. A program
/// may do much with each message.
pub const PORTION: usize = 128;

/// The limits of one turn of the event loop: some milliseconds of work, so that the cost of the turn itself
/// does not matter. Parsing may make objects of thirty times as many bytes, which takes longer: of what is
/// large by itself, and not one of many, the time is measured.
const LIMITS: Limits = Limits {
    turn: Work { calls: 1024, bytes: 1 << 20 },
    portion: Work { calls: PORTION, bytes: 128 << 10 },
    large: BATCHED_MESSAGE,
};

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

    /// Whether it is the last of its source.
    fn is_last(&self) -> bool;
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
            | primary::Event::ExitedAfterDisconnect(id)
            | primary::Event::Blocked(id)
            | primary::Event::Recalled { worker: id, .. } => Source::Channel(id.0),
            primary::Event::Connection(connection) => Source::Channel(connection.worker.0),
            primary::Event::Asked(_)
            | primary::Event::Servers(_)
            | primary::Event::AcceptPaused(_)
            | primary::Event::Fault(_) => Source::Reactor,
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

    fn is_last(&self) -> bool {
        matches!(self, primary::Event::Channel(_, ChannelEvent::Closed(_)))
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

    fn is_last(&self) -> bool {
        matches!(self, ipc::Event::Channel(_, ChannelEvent::Closed(_)))
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

    /// Whether an event of a source may take long, and has to wait for its turn here.
    pub fn may_take_long(&self, source: Source, work: Work) -> bool {
        self.waiting.lock().may_take_long(source, work)
    }

    /// An event has not come by this queue, as it was not expected to take long.
    pub fn delivered_directly(&self, source: Source, work: Work, began: Instant) {
        self.waiting.lock().taken_elsewhere(source, work, began.elapsed());
    }

    /// Takes a portion of the events of this turn of the event loop. `may_take_more` and `turn_ended` are to
    /// follow.
    pub fn take(&self) -> Vec<E> {
        let mut waiting = self.waiting.lock();
        let taken = waiting.take(Instant::now());
        taken.iter().filter(|event| event.is_last()).for_each(|event| waiting.forget(event.source()));
        taken
    }

    /// The portion has been passed on. Returns whether another one may be taken in this turn.
    pub fn may_take_more(&self) -> bool {
        let (mut waiting, now) = (self.waiting.lock(), Instant::now());
        waiting.portion_ended(now);
        waiting.may_take_more(now)
    }

    /// The event loop has had a turn since events were taken. The next turn takes the events that still wait,
    /// unless they are to rest for the time that this returns.
    pub fn turn_ended(&self) -> Option<Duration> {
        match self.waiting.lock().end_turn(Instant::now()) {
            TurnEnd::Empty => None,
            TurnEnd::More => {
                self.wake();
                None
            }
            TurnEnd::Rest(rest) => Some(rest),
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
    let work = event.work();
    queue.push(source, precedence, event, work);
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
