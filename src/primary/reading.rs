//! Who reads a worker's channel: the reactor, or the JavaScript thread (see [`crate::channel`]).
//!
//! A channel is lent to the JavaScript thread when messages came on it and for [`QUIET`] nothing else; it is taken back
//! when something else is about to come or has come. While it is lent, the reactor goes on waiting for its readiness,
//! in case JavaScript is busy: it does not read, but looks after [`BUSY_AFTER`] whether JavaScript has. A steady flow of
//! messages costs it one look in that time, a channel at rest none.

use std::os::fd::AsFd;

use super::config::{BUSY_AFTER, QUIET};
use super::worker::Phase;
use super::{Deferred, Event, Primary};
use crate::channel::{ChannelEvent, LARGE_MESSAGE};
use crate::ids::WorkerId;
use crate::os;
use crate::reactor::{Context, EventSink, Interest};

/// What the reactor has seen of a channel, for deciding who is to read it.
#[derive(Debug, Default)]
pub struct Lending {
    /// Messages have come since the channel was taken back.
    has_messages: bool,
    /// Something else has come, or gone, since the timer was set.
    is_disturbed: bool,
    /// A timer runs: [`Deferred::Offer`].
    waits_for_quiet: bool,
    /// While lent: the channel is not registered and a timer runs, [`Deferred::CheckLent`].
    is_muted: bool,
    /// While muted: how often JavaScript had read by then.
    reads: u64,
}

impl Lending {
    /// A message of the program's has come.
    pub fn note_message(&mut self, length: usize) {
        self.has_messages = true;
        self.is_disturbed |= length > LARGE_MESSAGE;
    }

    /// Something came or went that the reactor must see.
    pub fn disturb(&mut self) {
        self.is_disturbed = true;
    }
}

impl<S: EventSink<Event>> Primary<S> {
    /// A channel has something to read, or the end.
    pub(super) fn on_readable(&mut self, context: &mut Context, id: WorkerId, ended: bool) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if !worker.is_lent || ended {
            return self.read(context, id, ended);
        }
        if !worker.lending.is_muted {
            worker.lending.is_muted = true;
            worker.lending.reads = worker.channel.direct_reads();
            context.deregister(worker.channel.as_fd());
            let timer = context.set_timer(BUSY_AFTER);
            self.deferred.insert(timer, Deferred::CheckLent(id));
        }
    }

    /// Looks whether JavaScript reads what arrives.
    pub(super) fn check_lent(&mut self, context: &mut Context, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if !(worker.is_lent && worker.lending.is_muted) {
            return;
        }
        let reads = worker.channel.direct_reads();
        if std::mem::replace(&mut worker.lending.reads, reads) != reads {
            let timer = context.set_timer(BUSY_AFTER);
            self.deferred.insert(timer, Deferred::CheckLent(id));
        } else if os::has_arrived(worker.channel.as_fd()) {
            self.read(context, id, true);
        } else {
            // What arrives between the look and this is told.
            self.unmute(context, id);
        }
    }

    /// Registers a channel again. Returns false when that failed, which is the end of the channel.
    fn unmute(&mut self, context: &mut Context, id: WorkerId) -> bool {
        let Some(worker) = self.workers.get_mut(&id) else { return false };
        worker.lending.is_muted = false;
        match context.register_again(worker.channel.as_fd(), worker.token, worker.interest) {
            Ok(()) => true,
            Err(error) => {
                self.close_worker(context, id, Some(error));
                false
            }
        }
    }

    /// Sees to it that the inbox is here. Returns false if the worker is not.
    pub(super) fn reclaim(&mut self, context: &mut Context, id: WorkerId) -> bool {
        let Some(worker) = self.workers.get_mut(&id) else { return false };
        if !std::mem::take(&mut worker.is_lent) {
            return true;
        }
        worker.inbox = worker.channel.take_back();
        worker.lending.has_messages = false;
        !worker.lending.is_muted || self.unmute(context, id)
    }

    /// The reactor is to read the channel from now on. What is there is read at the end of this turn.
    pub(super) fn take_back(&mut self, context: &mut Context, id: WorkerId) {
        if self.workers.get(&id).is_some_and(|worker| worker.is_lent) && self.reclaim(context, id) {
            self.unread.push(id);
        }
    }

    /// If messages come, the channel may be offered after a while.
    pub(super) fn offer_later(&mut self, context: &mut Context, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if worker.lending.has_messages && !worker.lending.waits_for_quiet && worker.phase == Phase::Serving {
            worker.lending.waits_for_quiet = true;
            worker.lending.is_disturbed = false;
            let timer = context.set_timer(QUIET);
            self.deferred.insert(timer, Deferred::Offer(id));
        }
    }

    /// Offers the channel to JavaScript if nothing but messages has come since the timer was set. If not, the next
    /// message sets it again.
    pub(super) fn offer_if_quiet(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.lending.waits_for_quiet = false;
        worker.lending.has_messages = false;
        let is_quiet = !worker.lending.is_disturbed
            && worker.phase == Phase::Serving
            && worker.in_flight.is_empty()
            && worker.interest == Interest::Read
            && !worker.reading_paused
            && !self.unread.contains(&id)
            && worker.channel.is_idle();
        if !is_quiet {
            return;
        }
        if let Some(offer) = worker.channel.offer(&mut worker.inbox) {
            worker.is_lent = true;
            worker.lending.is_muted = false;
            self.sink.push(Event::Channel(id, ChannelEvent::Offered(offer)));
        }
    }
}
