//! Who reads a worker's channel: the reactor, or the JavaScript thread (see [`crate::channel::Lending`]).

use super::worker::Phase;
use super::{Context, Event, Primary, Timer};
use crate::channel::{BUSY_AFTER, ChannelEvent, Extent, Look, MAX_LENT, QUIET};
use crate::ids::WorkerId;
use crate::reactor::{EventSink, Interest};

impl<S: EventSink<Event>> Primary<S> {
    /// A channel has something to read, or the end.
    pub(super) fn on_readable(&mut self, context: &mut Context, id: WorkerId, ended: bool) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if !worker.lending.is_lent() || ended {
            return self.read(context, id, if ended { Extent::ToEnd } else { Extent::Ready });
        }
        if worker.lending.mute(context, &worker.channel, &worker.registration) {
            context.set_timer(BUSY_AFTER, Timer::CheckLent(id));
        }
    }

    /// Looks whether JavaScript reads what arrives.
    pub(super) fn check_lent(&mut self, context: &mut Context, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        match worker.lending.look(&worker.channel) {
            Look::Nothing => {}
            Look::Again => {
                context.set_timer(BUSY_AFTER, Timer::CheckLent(id));
            }
            Look::TakeBack => self.read(context, id, Extent::ToEnd),
            Look::Unmute => {
                let unmuted = worker.lending.unmute(context, &worker.channel, &worker.registration);
                if let Err(error) = unmuted {
                    self.close_worker(context, id, Some(error));
                }
            }
        }
    }

    /// Sees to it that the inbox is here. Returns false if the worker is not.
    pub(super) fn reclaim(&mut self, context: &mut Context, id: WorkerId) -> bool {
        let Some(worker) = self.workers.get_mut(&id) else { return false };
        let (channel, registration) = (&worker.channel, &worker.registration);
        match worker.lending.reclaim(context, channel, &mut worker.inbox, registration) {
            Ok(()) => true,
            Err(error) => {
                self.close_worker(context, id, Some(error));
                false
            }
        }
    }

    /// The reactor is to read the channel from now on. What is there is read at the end of this turn.
    pub(super) fn take_back(&mut self, context: &mut Context, id: WorkerId) {
        if self.workers.get(&id).is_some_and(|worker| worker.lending.is_lent()) && self.reclaim(context, id) {
            self.unread.push(id);
        }
    }

    /// If messages come, the channel may be offered after a while.
    pub(super) fn offer_later(&mut self, context: &mut Context, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if worker.phase == Phase::Serving && worker.lending.waits_for_quiet() {
            context.set_timer(QUIET, Timer::Offer(id));
        }
    }

    /// Offers the channel to JavaScript if nothing but messages has come since the timer was set.
    pub(super) fn offer_if_quiet(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let is_quiet = worker.lending.was_quiet()
            && worker.phase == Phase::Serving
            && worker.in_flight.is_empty()
            && worker.registration.interest() == Interest::Read
            && worker.next.is_none()
            && !worker.reading_paused
            && worker.channel.undelivered().cost() <= MAX_LENT
            && !self.unread.contains(&id)
            && worker.channel.is_idle();
        if is_quiet && let Some(offer) = worker.lending.lend(&worker.channel, &mut worker.inbox) {
            self.sink.push(Event::Channel(id, ChannelEvent::Offered(offer)));
        }
    }
}
