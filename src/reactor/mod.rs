//! The I/O thread: it waits for readiness, for commands from other threads and for timers, and hands each to
//! a [`Handler`], which owns all state. Nothing here knows what the descriptors mean.
//!
//! - This file has the thread, its turns and the commands of other threads.
//! - `context` is the reactor as a handler sees it: `registration` a descriptor that it waits for, `timers` each
//!   with what it is for.
//! - `acceptor` accepts the connections of a listening socket. `ready_set` has descriptors whose readiness is only asked
//!   for.
//! - `sink` is where a handler's events go, `fair_queue` where they wait for the other thread, and `pace` says
//!   how often those that take long have their turn. `tickets` count those of one kind.

mod acceptor;
mod context;
mod fair_queue;
mod pace;
mod ready_set;
mod registration;
mod sink;
mod tickets;
mod timers;

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded, unbounded};
use mio::{Events, Poll, Waker};

pub use acceptor::{ACCEPT_BUDGET, ACCEPT_PAUSE, Acceptor, Exhaustion, Next};
pub use context::{Context, Interest, Readiness};
pub use fair_queue::{FairQueue, Limits, Precedence, TurnEnd, Work};
pub use ready_set::ReadySet;
pub use registration::Registration;
pub use sink::EventSink;
pub use tickets::{Ticket, Tickets};
pub use timers::TimerId;

use crate::error::Error;
use crate::os;
use context::Token;

/// Runs on the reactor thread and owns all state. No method may block: a handler that waits stops every
/// connection.
pub trait Handler: Send + 'static {
    /// A request of another thread.
    type Command: Send + 'static;
    /// What a timer is for.
    type Timer: Send + 'static;
    /// What a registered descriptor is.
    type Source: Copy + Send + 'static;

    /// A command from another thread.
    fn on_command(&mut self, context: &mut ContextOf<Self>, command: Self::Command);
    /// A registered descriptor is readable or writable, or its peer has gone (which reads as the end of the
    /// stream). Readiness is reported once (edge-triggered): the handler goes on until `EAGAIN` or remembers
    /// that it did not.
    fn on_ready(&mut self, context: &mut ContextOf<Self>, source: Self::Source, readiness: Readiness);
    /// A timer that was set for `what` has run out.
    fn on_timer(&mut self, context: &mut ContextOf<Self>, what: Self::Timer);
    /// Everything that was ready has been handled. The handler continues what it had cut short, and passes on
    /// its events.
    fn on_turn_end(&mut self, context: &mut ContextOf<Self>);
    /// Polling itself has failed, or a handler has panicked; the thread ends after this call.
    fn on_fatal(&mut self, error: Error);
}

/// The reactor as a handler of this type sees it.
pub type ContextOf<H> = Context<<H as Handler>::Timer, <H as Handler>::Source>;

enum Message<C> {
    Command(C),
    /// Gets its reply when everything that was sent before it has been handled.
    Barrier(Sender<()>),
    Stop,
}

/// Another thread's access to a reactor. Dropping the last one ends the thread.
#[derive(Debug)]
pub struct Handle<C> {
    // Dropped before the waker, so that the thread which the last one wakes finds no sender.
    sender: Sender<Message<C>>,
    waker: Arc<LastWake>,
}

/// Wakes the thread once more when the last handle is dropped. The thread has a share in the waker: a wake-up that it has
/// not seen is lost when the waker is closed (mio 1.2).
#[derive(Debug)]
struct LastWake(Arc<Waker>);

impl Drop for LastWake {
    fn drop(&mut self) {
        // A thread that has ended needs none.
        let _ = self.0.wake();
    }
}

impl<C> Clone for Handle<C> {
    fn clone(&self) -> Self {
        Handle { sender: self.sender.clone(), waker: self.waker.clone() }
    }
}

impl<C> Handle<C> {
    /// Hands over a command and returns at once.
    ///
    /// Errors: [`Error::ReactorGone`].
    pub fn send(&self, command: C) -> Result<(), Error> {
        self.post(Message::Command(command))
    }

    /// Hands over a command and waits until it, and everything before it, has been handled. The reactor never
    /// waits for the caller's thread, so that this cannot deadlock and takes a few dozen microseconds.
    ///
    /// Errors: [`Error::ReactorGone`].
    pub fn call(&self, command: C) -> Result<(), Error> {
        self.send(command)?;
        let (sender, receiver) = bounded(1);
        self.post(Message::Barrier(sender))?;
        receiver.recv().map_err(|_| Error::ReactorGone)
    }

    /// Asks the thread to end after what was sent before.
    pub fn stop(&self) {
        // A thread that has ended needs no message.
        let _ = self.post(Message::Stop);
    }

    fn post(&self, message: Message<C>) -> Result<(), Error> {
        self.sender.send(message).map_err(|_| Error::ReactorGone)?;
        self.waker.0.wake().map_err(Error::io("waking the reactor"))
    }
}

/// Starts a reactor thread around a handler.
///
/// Errors: `EMFILE` and the like from making the poller; from starting a thread.
pub fn spawn<H: Handler>(name: &str, handler: H) -> Result<(Handle<H::Command>, JoinHandle<()>), Error> {
    let poll = Poll::new().map_err(Error::io("making the poller"))?;
    let context = Context::new(poll.registry().try_clone().map_err(Error::io("making the poller"))?);
    let waker = Waker::new(poll.registry(), Token::WAKER.into()).map_err(Error::io("making the waker"))?;
    let (sender, receiver) = unbounded();
    let waker = Arc::new(waker);
    let mut reactor = Reactor { poll, context, receiver, handler, _waker: waker.clone() };
    let thread = thread::Builder::new()
        .name(name.into())
        .spawn(move || {
            // Where that does not exist, or is not allowed, the thread runs as before.
            let _ = os::schedule_in_batches();
            reactor.run();
        })
        .map_err(Error::io("starting the reactor thread"))?;
    Ok((Handle { sender, waker: Arc::new(LastWake(waker)) }, thread))
}

struct Reactor<H: Handler> {
    poll: Poll,
    context: ContextOf<H>,
    receiver: Receiver<Message<H::Command>>,
    handler: H,
    /// Of its handles: see [`LastWake`].
    _waker: Arc<Waker>,
}

/// Whether the thread goes on.
#[derive(PartialEq, Eq)]
enum Flow {
    Continue,
    Stop,
}

impl<H: Handler> Reactor<H> {
    fn run(&mut self) {
        let mut events = Events::with_capacity(256);
        // A panic in a handler is a bug; it must not pass silently, nor leave JavaScript waiting for replies.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            while self.turn(&mut events)? == Flow::Continue {}
            Ok(())
        }));
        match result {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.handler.on_fatal(error),
            Err(_) => self.handler.on_fatal(Error::ReactorGone),
        }
    }

    fn turn(&mut self, events: &mut Events) -> Result<Flow, Error> {
        let timeout = self.context.timeout(Instant::now());
        if let Err(error) = self.poll.poll(events, timeout)
            && error.kind() != std::io::ErrorKind::Interrupted
        {
            return Err(Error::io("polling")(error));
        }
        self.context.begin_turn();
        let mut flow = Flow::Continue;
        let mut barriers = Vec::new();
        for event in events.iter() {
            match Token::from(event.token()) {
                Token::WAKER => flow = self.take_commands(&mut barriers),
                token => {
                    // None: closed earlier in this turn.
                    if let Some(source) = self.context.source(token) {
                        self.handler.on_ready(&mut self.context, source, Readiness::from(event));
                    }
                }
            }
        }
        while let Some(what) = self.context.next_expired(Instant::now()) {
            self.handler.on_timer(&mut self.context, what);
        }
        self.handler.on_turn_end(&mut self.context);
        for barrier in barriers {
            // The thread that waited may have ended.
            let _ = barrier.send(());
        }
        Ok(flow)
    }

    fn take_commands(&mut self, barriers: &mut Vec<Sender<()>>) -> Flow {
        loop {
            match self.receiver.try_recv() {
                Ok(Message::Command(command)) => self.handler.on_command(&mut self.context, command),
                Ok(Message::Barrier(sender)) => barriers.push(sender),
                Ok(Message::Stop) | Err(TryRecvError::Disconnected) => return Flow::Stop,
                Err(TryRecvError::Empty) => return Flow::Continue,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Has nothing to do.
    struct Nothing;

    impl Handler for Nothing {
        type Command = ();
        type Timer = ();
        type Source = ();

        fn on_command(&mut self, _context: &mut ContextOf<Self>, (): ()) {}
        fn on_ready(&mut self, _context: &mut ContextOf<Self>, (): (), _readiness: Readiness) {}
        fn on_timer(&mut self, _context: &mut ContextOf<Self>, (): ()) {}
        fn on_turn_end(&mut self, _context: &mut ContextOf<Self>) {}
        fn on_fatal(&mut self, _error: Error) {}
    }

    #[test]
    fn a_thread_that_was_asked_to_end_or_has_no_handles_left_slept_on() {
        for round in 0..400 {
            let (handle, thread) = spawn("test", Nothing).unwrap();
            handle.call(()).unwrap();
            if round % 2 == 0 {
                handle.stop();
            }
            drop(handle);
            let deadline = Instant::now() + Duration::from_secs(20);
            while !thread.is_finished() {
                assert!(Instant::now() < deadline, "it sleeps, round {round}");
                thread::yield_now();
            }
        }
    }
}
