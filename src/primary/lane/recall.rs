//! Finds workers that do not receive, and recalls what waits on their lanes for others.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::time::Instant;

use super::{Lane, LaneState, WorkerPulse};
use crate::error::Error;
use crate::ids::{ServerId, WorkerId};
use crate::primary::config::{LANE_LAST_WORDS, LANE_LOOK, LANE_TICK, PULSE_LOOK, PULSE_TICK};
use crate::primary::connection::{Decision, InFlight};
use crate::primary::worker::Worker;
use crate::primary::{Context, Event, Primary, Timer};
use crate::proto::{FromWorker, ToLane};
use crate::reactor::EventSink;

impl<S: EventSink<Event>> Primary<S> {
    /// Sets the timer for the next look at the lanes.
    pub(super) fn look_later(&mut self, context: &mut Context) {
        if self.next_look.is_none() {
            let (tick, look) =
                if self.config.has_pulses() { (PULSE_TICK, PULSE_LOOK) } else { (LANE_TICK, LANE_LOOK) };
            let timer = context.set_timer(tick, Timer::LookAtLanes);
            self.next_look = Some((timer, Instant::now() + look));
        }
    }

    /// Looks at the lanes if it is time to: the reactor is awake, and a timer need not wake it later.
    pub(in crate::primary) fn look_if_due(&mut self, context: &mut Context) {
        if let Some((timer, at)) = self.next_look
            && Instant::now() >= at
        {
            context.cancel_timer(timer);
            self.look_at_lanes(context);
        }
    }

    /// Takes the reports of lanes that do not wake the reactor, and finds the workers that have stopped
    /// receiving.
    pub(in crate::primary) fn look_at_lanes(&mut self, context: &mut Context) {
        self.next_look = None;
        let wants_look =
            |lane: &Lane| lane.rests || (lane.state == LaneState::Open && !lane.in_flight.is_empty());
        let visited = self.workers.iter().filter(|(_, worker)| worker.lane.as_ref().is_some_and(wants_look));
        let mut to_visit: Vec<WorkerId> = visited.map(|(id, _)| *id).collect();
        // In a fixed order, so that turns do not depend on a hash.
        to_visit.sort_unstable();
        for id in to_visit {
            self.look(context, id);
            let Some(lane) = self.lane_mut(id) else {
                continue;
            };
            lane.rests = false;
            self.tell_again(context, id);
            let Some(lane) = self.lane(id) else { continue };
            let Some(waiting) = lane.waiting_since.map(|since| since.elapsed()) else { continue };
            let is_open = lane.state == LaneState::Open;
            if is_open
                && (waiting >= self.config.recall_after
                    || (waiting >= self.config.recall_for_idle_after && self.has_idle_taker(id))
                    || (waiting >= self.config.recall_soon_after && self.has_taker_that_keeps_up(id)))
            {
                self.stall(context, id);
            } else {
                self.look_later(context);
            }
        }
        self.look_at_shared(context);
        // A worker may be idle that was only on its way to it when it was looked at.
        self.to_serve.append(&mut self.awaiting_idle);
    }

    /// Whether a worker that could take the oldest connection on this lane has nothing to do.
    fn has_idle_taker(&self, id: WorkerId) -> bool {
        let in_flight =
            self.lane(id).into_iter().flat_map(|lane| &lane.in_flight).map(|(_, in_flight)| in_flight);
        let oldest = in_flight.into_iter().find(|in_flight| !self.is_at_home(in_flight));
        oldest.is_some_and(|in_flight| self.has_taker(id, in_flight.server, Worker::is_waiting))
    }

    /// Whether a worker that could take what waits on this lane has little to do.
    fn has_taker_that_keeps_up(&self, id: WorkerId) -> bool {
        let Some(lane) = self.lane(id) else { return false };
        lane.in_flight.iter().any(|(_, in_flight)| {
            !self.is_at_home(in_flight) && self.has_taker(id, in_flight.server, Worker::keeps_up)
        })
    }

    /// Whether another worker of a server than this one is fit to be handed a connection.
    pub(in crate::primary) fn has_taker(
        &self,
        id: WorkerId,
        server: ServerId,
        is_fit: fn(&Worker) -> bool,
    ) -> bool {
        let Some(server) = self.servers.get(&server) else { return false };
        let mut others = server.members().iter().filter(|other| **other != id);
        others.any(|other| self.workers.get(other).is_some_and(is_fit))
    }

    /// The worker does not receive. It gets nothing more until it reports the probe, which lies behind
    /// everything else.
    fn stall(&mut self, context: &mut Context, id: WorkerId) {
        let Some(lane) = self.lane_mut(id) else { return };
        let probe = lane.next_seq();
        // If there is no room for the probe, the lane is full: its worker reports something else first, and
        // is asked then.
        if lane.send(&ToLane::Probe(probe), None).is_err() {
            lane.waiting_since = Some(Instant::now());
            return self.look_later(context);
        }
        lane.set_state(LaneState::Stalled(probe));
        lane.stats.counters.stalls.count();
        lane.is_recalled = false;
        self.stalled.insert(id);
        if self.config.emit_lanes {
            self.sink.push(Event::Blocked(id));
        }
        self.watch_lane(context, id);
    }

    /// Recalls what waits for stalled workers, where another worker could take it now.
    pub(in crate::primary) fn relieve_stalled(&mut self, context: &mut Context) {
        for id in std::mem::take(&mut self.stalled) {
            let Some(lane) = self.lane(id).filter(|lane| matches!(lane.state, LaneState::Stalled(_))) else {
                continue;
            };
            let is_wanted = !lane.is_recalled
                && lane.in_flight.iter().any(|(_, in_flight)| {
                    !self.is_at_home(in_flight) && self.has_taker(id, in_flight.server, Worker::has_credit)
                });
            self.stalled.insert(id);
            if is_wanted {
                self.recall(context, id);
            }
        }
    }

    fn recall(&mut self, context: &mut Context, id: WorkerId) {
        let Some(lane) = self.lane_mut(id) else { return };
        lane.is_recalled = true;
        let had_pulse = lane.pulse.is_some();
        let (recalled, status) = lane.recall();
        let has_lost_pulse = had_pulse && lane.pulse.is_none();
        let has_lost_rest = std::mem::take(&mut lane.is_rest_lost);
        let has_lost_observe = std::mem::take(&mut lane.is_observe_lost);
        if std::mem::take(&mut lane.is_offer_lost) {
            // It is offered again with the next connection that is to wait there.
            self.shared.forget(id);
        }
        let is_observed = self.config.is_observed;
        if has_lost_pulse {
            self.ask_for_pulse(id);
        } else if has_lost_observe && let Some(lane) = self.lane_mut(id) {
            lane.set_observed(is_observed);
        }
        if has_lost_rest {
            self.offer_rest(context, id);
        }
        self.tell_again(context, id);
        let Some(lane) = self.lane_mut(id) else { return };
        // The old probe may have been recalled with the rest.
        let probe = lane.next_seq();
        let asked = lane.send(&ToLane::Probe(probe), None);
        lane.set_state(LaneState::Stalled(probe));
        self.watch_lane(context, id);
        self.return_recalled(id, recalled);
        if let Err(error) = status {
            return self.close_worker(context, id, Some(error));
        }
        if let Err(errno) = asked {
            self.close_worker(context, id, Some(Error::Sys { doing: "probing a lane", errno }));
        }
    }

    pub(super) fn return_recalled(&mut self, id: WorkerId, recalled: Vec<InFlight>) {
        if self.config.emit_lanes {
            self.tell_recalled(id, &recalled);
        }
        for in_flight in recalled.into_iter().rev() {
            if let Some(server) = self.servers.get_mut(&in_flight.server) {
                server.stats.counters.recalled.count();
                server.policy.recalled(id, &in_flight.connection.incoming());
            }
            self.give_back(in_flight);
        }
    }

    /// Tells the program what was taken back from a worker, of each server together.
    fn tell_recalled(&mut self, worker: WorkerId, recalled: &[InFlight]) {
        let mut counts = BTreeMap::<ServerId, u32>::new();
        for in_flight in recalled {
            *counts.entry(in_flight.server).or_default() += 1;
        }
        for (server, count) in counts {
            if let Some(server) = self.servers.get(&server) {
                self.sink.push(Event::Recalled { worker, key: server.key.clone(), count });
            }
        }
    }

    /// The worker has gone. What it refused or had not received goes to others. What it had received has
    /// ended with it.
    ///
    /// Errors: those of `recvmsg(2)`. What had been recalled by then has gone to others all the same.
    pub(in crate::primary) fn close_lane(
        &mut self,
        context: &mut Context,
        id: WorkerId,
        mut lane: Lane,
        servers: &[ServerId],
    ) -> Result<(), Error> {
        if let Some(registration) = lane.registration.take() {
            registration.end(context, lane.ends.ours.as_fd());
        }
        // Its last reports. Invalid ones no longer matter, nor does what another process with its end sends.
        for _ in 0..LANE_LAST_WORDS {
            let decisions = match lane.receive() {
                Ok(Some(FromWorker::Report { through, refused })) => lane.on_report(through, &refused),
                Ok(Some(FromWorker::Released(slots))) => {
                    if let Some(kept) = &mut lane.kept {
                        kept.release(&slots);
                    }
                    continue;
                }
                Ok(Some(FromWorker::Keep(keep))) => {
                    let attached = lane.attached.take();
                    if let Some(kept) = &mut lane.kept
                        && let Ok(Some((fd, server))) = self.admit(servers, kept.len(), &keep, attached)
                        && let Err(error) = kept.add(keep, fd, server)
                    {
                        self.sink.push(Event::Fault(error));
                    }
                    continue;
                }
                // What nobody reads is taken below, given or not.
                Ok(Some(FromWorker::Wake | FromWorker::NoRest { .. } | FromWorker::Give(_))) => continue,
                _ => break,
            };
            let Ok(decisions) = decisions else { break };
            self.apply(id, decisions);
        }
        if let Ok(Some(decisions)) = lane.settle_by_pulse() {
            self.apply(id, decisions);
        }
        let claims = lane.pulse.as_mut().map_or(Ok(Vec::new()), WorkerPulse::take_claims);
        let last = lane.pulse.as_ref().and_then(WorkerPulse::last_taken);
        for claim in claims.unwrap_or_default().into_iter().chain(last) {
            // Nothing that it said matters any more but what others are to have.
            let _ = self.on_claim(id, claim);
        }
        self.leave_shared(context, id);
        if let Some(mut kept) = lane.kept.take() {
            kept.end(context);
            self.park(context, id, kept.take_all());
        }
        let (recalled, status) = lane.recall();
        for (_, in_flight) in lane.in_flight.drain(..) {
            self.decided(id, in_flight, Decision::Taken);
        }
        self.return_recalled(id, recalled);
        status
    }
}
