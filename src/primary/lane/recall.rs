//! Finds workers that do not receive, and recalls what waits on their lanes for others.

use std::os::fd::AsFd;
use std::time::Instant;

use super::{Lane, LaneState};
use crate::error::Error;
use crate::ids::{ServerId, WorkerId};
use crate::primary::config::{
    LANE_LAST_WORDS, LANE_LOOK, LANE_TICK, PULSE_LOOK, PULSE_TICK, RECALL_FOR_IDLE,
};
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
                if self.config.has_pulses { (PULSE_TICK, PULSE_LOOK) } else { (LANE_TICK, LANE_LOOK) };
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
            let Some(waiting) = lane.waiting_since.map(|since| since.elapsed()) else { continue };
            let is_open = lane.state == LaneState::Open;
            if is_open
                && (waiting >= self.config.recall_after
                    || (waiting >= RECALL_FOR_IDLE && self.has_idle_taker(id))
                    || (waiting >= self.config.recall_soon_after && self.has_taker_that_keeps_up(id)))
            {
                self.stall(context, id);
            } else {
                self.look_later(context);
            }
        }
        // A worker may be idle that was only on its way to it when it was looked at.
        self.to_serve.append(&mut self.awaiting_idle);
    }

    /// Whether a worker that could take the oldest connection on this lane has nothing to do.
    fn has_idle_taker(&self, id: WorkerId) -> bool {
        let oldest = self.lane(id).and_then(|lane| lane.in_flight.front());
        oldest.is_some_and(|(_, in_flight)| self.has_taker(id, in_flight.server, Worker::is_waiting))
    }

    /// Whether a worker that could take what waits on this lane has little to do.
    fn has_taker_that_keeps_up(&self, id: WorkerId) -> bool {
        let Some(lane) = self.lane(id) else { return false };
        lane.in_flight.iter().any(|(_, in_flight)| self.has_taker(id, in_flight.server, Worker::keeps_up))
    }

    /// Whether another worker of a server than this one is fit to be handed a connection.
    fn has_taker(&self, id: WorkerId, server: ServerId, is_fit: fn(&Worker) -> bool) -> bool {
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
        self.watch_lane(context, id);
    }

    /// Recalls what waits for stalled workers, where another worker could take it now.
    pub(in crate::primary) fn relieve_stalled(&mut self, context: &mut Context) {
        for id in std::mem::take(&mut self.stalled) {
            let Some(lane) = self.lane(id).filter(|lane| matches!(lane.state, LaneState::Stalled(_))) else {
                continue;
            };
            let is_wanted = !lane.is_recalled
                && lane
                    .in_flight
                    .iter()
                    .any(|(_, in_flight)| self.has_taker(id, in_flight.server, Worker::has_credit));
            self.stalled.insert(id);
            if is_wanted {
                self.recall(context, id);
            }
        }
    }

    fn recall(&mut self, context: &mut Context, id: WorkerId) {
        let Some(lane) = self.lane_mut(id) else { return };
        lane.is_recalled = true;
        let (recalled, status) = lane.recall();
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
        for in_flight in recalled.into_iter().rev() {
            if let Some(server) = self.servers.get_mut(&in_flight.server) {
                server.stats.counters.recalled.count();
                server.policy.recalled(id, &in_flight.connection.incoming());
            }
            self.give_back(in_flight);
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
    ) -> Result<(), Error> {
        if let Some(registration) = lane.registration.take() {
            registration.end(context, lane.ends.ours.as_fd());
        }
        // Its last reports. Invalid ones no longer matter, nor does what another process with its end sends.
        for _ in 0..LANE_LAST_WORDS {
            let decisions = match lane.receive() {
                Ok(Some(FromWorker::Report { through, refused })) => lane.on_report(through, &refused),
                Ok(Some(FromWorker::Wake)) => continue,
                _ => break,
            };
            let Ok(decisions) = decisions else { break };
            self.apply(id, decisions);
        }
        if let Ok(Some(decisions)) = lane.settle_by_pulse() {
            self.apply(id, decisions);
        }
        let (recalled, status) = lane.recall();
        for (_, in_flight) in lane.in_flight.drain(..) {
            self.decided(id, in_flight, Decision::Taken);
        }
        self.return_recalled(id, recalled);
        status
    }
}
