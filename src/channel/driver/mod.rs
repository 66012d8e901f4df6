//! Driving a channel on its reactor. This file handles commands, timers, writing and closing, `reading` the
//! peer's frames, `lending` the choice of the thread that reads, and `moving` the change to a second socket.
//!
//! The owner of a channel keeps a [`Driver`] and hands it commands, readiness and timers. The driver does what
//! concerns the channel alone. Its [`Outcome`] says what is left to the owner.

mod lending;
mod moving;
mod reading;

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use super::{
    CORKED_FOR, Channel, ChannelCommand, ChannelEvent, Extent, FlushStatus, Inbox, MEMORY_KEPT, Maintenance,
};
use crate::error::Error;
use crate::reactor::{Context, Interest, Registration};
#[cfg(test)]
pub use lending::BUSY_AFTER;
use lending::Lending;
pub use reading::{Protocol, Reading, Recipient};

/// How long a channel rests when the machine has too many descriptors in flight.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(10);

/// What a timer of a channel is for. The owner passes it to [`Driver::on_timer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelTimer {
    /// Write again: fewer descriptors may be in flight.
    Flush,
    /// Lend the channel to JavaScript if it has been quiet.
    Offer,
    /// Look whether JavaScript reads what it was lent.
    CheckLent,
    /// Write what was corked.
    Uncork,
    /// Give back memory that has not been used.
    MaintainMemory,
}

/// The events of a channel.
pub trait Emit {
    /// Passes an event on to JavaScript.
    fn emit(&mut self, event: ChannelEvent);
}

/// The owner of a channel, as its driver sees it.
pub trait Owner: Emit {
    /// What a timer of the reactor is for.
    type Timer;
    /// What a descriptor of the reactor is.
    type Source;

    /// The timer of this channel.
    fn timer(&self, timer: ChannelTimer) -> Self::Timer;
    /// The socket that is read.
    fn source(&self) -> Self::Source;
    /// Reads the channel at the end of this turn, with [`Extent::ToEnd`]: the reactor reports the peer's end once,
    /// and may have done so.
    fn read_at_turn_end(&mut self);
}

type ContextOf<O> = Context<<O as Owner>::Timer, <O as Owner>::Source>;

/// What is left to the owner.
#[derive(Debug)]
#[must_use]
pub enum Outcome {
    /// Nothing.
    Done,
    /// The channel is to be read.
    Read(Extent),
    /// The channel is to be closed. The error says why, unless the peer has ended or this side has.
    Over(Option<Error>),
}

impl From<Result<Outcome, Error>> for Outcome {
    fn from(result: Result<Outcome, Error>) -> Self {
        result.unwrap_or_else(|error| Outcome::Over(Some(error)))
    }
}

/// Whether this side has closed the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Messages go both ways.
    Open,
    /// What waits is written, then the stream ends. The channel is read until the peer's end.
    HalfClosed,
    /// The channel ends when what waits is written and descriptors have arrived. What the peer sends is
    /// dropped.
    Finishing,
}

/// Whether the peer reads what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    Reads,
    /// Writing has failed. What it left behind is to be read, and its end.
    Gone,
    /// The same, and what it left behind has been read.
    Drained,
}

/// A channel on its reactor.
#[derive(Debug)]
pub struct Driver {
    /// Shared with the JavaScript thread, which sends on it.
    pub channel: Arc<Channel>,
    /// The receiving half. It is not here while it is read or lent.
    inbox: Option<Inbox>,
    lending: Lending,
    /// Of the socket that is read.
    registration: Registration,
    /// Of the socket that the channel moves to, until that one is read.
    second: Option<Registration>,
    state: State,
    peer: Peer,
    /// A timer runs for what could not be written.
    flush_deferred: bool,
    /// The program wants no more for now.
    is_paused: bool,
    /// There was something to read when no more could be delivered.
    is_behind: bool,
    /// The owner reads at the end of this turn.
    is_unread: bool,
}

impl Driver {
    /// For a channel that is registered for reading.
    pub fn new(channel: Arc<Channel>, inbox: Inbox, registration: Registration) -> Self {
        Driver {
            channel,
            inbox: Some(inbox),
            lending: Lending::default(),
            registration,
            second: None,
            state: State::Open,
            peer: Peer::Reads,
            flush_deferred: false,
            is_paused: false,
            is_behind: false,
            is_unread: false,
        }
    }

    /// Whether this side has not closed the channel and the peer reads, as far as is known.
    pub fn is_open(&self) -> bool {
        self.state == State::Open && self.peer == Peer::Reads
    }

    /// Keeps the channel on the reactor for now: something else than messages is expected.
    pub fn disturb(&mut self) {
        self.lending.disturb();
    }

    /// Does what JavaScript asks for.
    pub fn on_command<O: Owner>(
        &mut self,
        context: &mut ContextOf<O>,
        owner: &mut O,
        command: ChannelCommand,
    ) -> Outcome {
        match command {
            ChannelCommand::Flush => self.flush(context, owner),
            ChannelCommand::StartCorkTimer => {
                context.set_timer(CORKED_FOR, owner.timer(ChannelTimer::Uncork));
                Outcome::Done
            }
            ChannelCommand::MaintainMemory => self.maintain_memory(context, owner),
            ChannelCommand::Resume => self.resume(),
            ChannelCommand::TakeBack => match self.take_back(context, owner) {
                Outcome::Done => self.resume(),
                outcome => outcome,
            },
            ChannelCommand::Destroy(error) => Outcome::Over(Some(error)),
        }
    }

    /// A timer has run out.
    pub fn on_timer<O: Owner>(
        &mut self,
        context: &mut ContextOf<O>,
        owner: &mut O,
        timer: ChannelTimer,
    ) -> Outcome {
        match timer {
            ChannelTimer::Flush => {
                self.flush_deferred = false;
                self.flush(context, owner)
            }
            // If the turn in which messages were corked is not over, they go out now.
            ChannelTimer::Uncork if self.channel.on_cork_timer() => self.flush(context, owner),
            ChannelTimer::Uncork => Outcome::Done,
            ChannelTimer::MaintainMemory => self.maintain_memory(context, owner),
            ChannelTimer::Offer => {
                self.offer_if_quiet(owner);
                Outcome::Done
            }
            ChannelTimer::CheckLent => self.check_lent(context, owner).into(),
        }
    }

    /// JavaScript has taken messages: continues where reading had stopped.
    fn resume(&mut self) -> Outcome {
        match std::mem::take(&mut self.is_behind) {
            true => Outcome::Read(Extent::ToEnd),
            false => Outcome::Done,
        }
    }

    /// Reads no more until [`Driver::unpause`]. The peer's end is not seen either.
    pub fn pause<O: Owner>(&mut self, context: &mut ContextOf<O>, owner: &mut O) -> Outcome {
        self.is_paused = true;
        self.take_back(context, owner)
    }

    /// Ends [`Driver::pause`].
    pub fn unpause(&mut self) -> Outcome {
        self.is_paused = false;
        self.resume()
    }

    /// Writes what waits, and arranges to continue if that is not everything.
    pub fn flush<O: Owner>(&mut self, context: &mut ContextOf<O>, owner: &mut O) -> Outcome {
        self.try_flush(context, owner).into()
    }

    fn try_flush<O: Owner>(&mut self, context: &mut ContextOf<O>, owner: &mut O) -> Result<Outcome, Error> {
        if self.lending.is_lent() && !self.channel.is_idle() {
            // The callbacks of what is written here come before the peer's answers to it.
            self.read_on_reactor(context, owner)?;
        }
        let mut completed = Vec::new();
        let status = self.channel.flush(&mut completed);
        for completion in completed {
            owner.emit(ChannelEvent::Written(completion));
        }
        let interest = match status {
            FlushStatus::Blocked => Interest::ReadWrite,
            FlushStatus::Exhausted => {
                if !std::mem::replace(&mut self.flush_deferred, true) {
                    context.set_timer(EXHAUSTED_PAUSE, owner.timer(ChannelTimer::Flush));
                }
                Interest::Read
            }
            FlushStatus::Failed(_) if self.state == State::Finishing => return Ok(Outcome::Over(None)),
            FlushStatus::Failed(_) => {
                self.peer_is_gone(owner);
                Interest::Read
            }
            FlushStatus::Idle if self.state == State::Finishing && self.channel.is_idle() => {
                return Ok(Outcome::Over(None));
            }
            FlushStatus::Idle | FlushStatus::AwaitsAcknowledgement => Interest::Read,
        };
        self.wait_for(context, owner, interest)?;
        Ok(Outcome::Done)
    }

    /// Writing has failed: the peer's end is about to be read.
    pub fn peer_is_gone<O: Owner>(&mut self, owner: &mut O) {
        if self.peer == Peer::Reads {
            self.peer = Peer::Gone;
        }
        if std::mem::take(&mut self.is_behind) {
            self.read_at_turn_end(owner);
        }
    }

    /// Waits for what is to be read, and for room where that is needed.
    fn wait_for<O: Owner>(
        &mut self,
        context: &mut ContextOf<O>,
        owner: &mut O,
        mut interest: Interest,
    ) -> Result<(), Error> {
        if let (Some(second), Some(socket)) = (&mut self.second, self.channel.second_socket()) {
            let is_on_first = !self.channel.has_moved_sending();
            second.wait_for(context, socket, if is_on_first { Interest::Read } else { interest })?;
            interest = if is_on_first { interest } else { Interest::Read };
        }
        if self.registration.interest() != interest {
            // Another thread filled the socket a moment ago. A muted registration cannot be changed, so the
            // channel is taken back.
            self.read_on_reactor(context, owner)?;
            self.registration.wait_for(context, self.channel.as_fd(), interest)?;
        }
        Ok(())
    }

    /// Makes shared memory for large messages, or gives back what is not used.
    fn maintain_memory<O: Owner>(&mut self, context: &mut ContextOf<O>, owner: &mut O) -> Outcome {
        match self.channel.maintain_memory() {
            Maintenance::Offered(_) => return self.flush(context, owner),
            Maintenance::Later => {
                context.set_timer(MEMORY_KEPT, owner.timer(ChannelTimer::MaintainMemory));
            }
            Maintenance::Nothing => {}
        }
        Outcome::Done
    }

    /// Closes the sending half: what waits is written, then the stream ends. The channel is read until the
    /// peer's end.
    pub fn half_close<O: Owner>(&mut self, context: &mut ContextOf<O>, owner: &mut O) -> Outcome {
        self.state = State::HalfClosed;
        self.channel.close_after_flush();
        match self.take_back(context, owner) {
            Outcome::Done => self.flush(context, owner),
            outcome => outcome,
        }
    }

    /// Closes the channel once everything that waits is written and descriptors have arrived. JavaScript sends
    /// nothing more on it.
    pub fn finish<O: Owner>(&mut self, context: &mut ContextOf<O>, owner: &mut O) -> Outcome {
        self.state = State::Finishing;
        match self.flush(context, owner) {
            // What the peer sends meanwhile is read and dropped, so that its end is seen.
            Outcome::Done => Outcome::Read(Extent::ToEnd),
            outcome => outcome,
        }
    }

    /// Ends the channel at once.
    pub fn close<O: Owner>(self, context: &mut ContextOf<O>, owner: &mut O, cause: Option<Error>) {
        self.registration.end(context, self.channel.as_fd());
        if let (Some(second), Some(socket)) = (&self.second, self.channel.second_socket()) {
            second.end(context, socket);
        }
        self.abandon(owner, cause);
    }

    /// As [`Driver::close`], when the reactor itself has ended.
    pub fn abandon<O: Owner>(self, owner: &mut O, cause: Option<Error>) {
        // JavaScript delivers nothing behind the end.
        self.channel.take_back();
        for unwritten in self.channel.abort() {
            owner.emit(ChannelEvent::Unwritten(unwritten));
        }
        owner.emit(ChannelEvent::Closed(cause));
    }
}
