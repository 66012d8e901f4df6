//! Sends connections on lanes, and takes the reports of workers.

use std::borrow::Cow;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use nix::errno::Errno;

use super::LaneState;
use crate::error::Error;
use crate::ids::{ServerId, WorkerId};
use crate::primary::config::LANE_BUDGET;
use crate::primary::connection::{Decision, InFlight};
use crate::primary::{Context, Event, Primary, Source};
use crate::proto::{FromWorker, LANE_VERSION, ToLane};
use crate::reactor::{EventSink, Registration};

impl<S: EventSink<Event>> Primary<S> {
    /// Sends a connection on a worker's lane. If the kernel does not take it, it goes back to its server.
    pub(in crate::primary) fn hand_over_lane(
        &mut self,
        context: &mut Context,
        id: WorkerId,
        mut in_flight: InFlight,
    ) {
        let Some(server) = self.servers.get(&in_flight.server) else { return };
        let Some(lane) = self.workers.get_mut(&id).and_then(|worker| worker.lane.as_mut()) else { return };
        let kind = in_flight.connection.kind();
        let seq = lane.next_seq();
        let accepted_at = in_flight.connection.accepted_at.unwrap_or(0);
        let message = ToLane::Connection { seq, kind, accepted_at, key: &server.key };
        match lane.send(&message, Some(&in_flight.connection)) {
            Ok(()) => {
                server.stats.count_hand_over(&mut in_flight.connection);
                lane.waiting_since.get_or_insert_with(Instant::now);
                lane.in_flight.push_back((seq, in_flight));
                lane.stats.counters.in_flight.raise();
                if !lane.has_pulse() && lane.wants_wake() {
                    self.collect(context, id);
                }
            }
            Err(errno) => {
                match errno {
                    Errno::EAGAIN | Errno::ETOOMANYREFS | Errno::ENOBUFS | Errno::ENOMEM => lane.rests = true,
                    errno => self.abandon_lane(context, id, format!("sending failed: {errno}").into()),
                }
                self.give_back(in_flight);
            }
        }
        self.look_later(context);
    }

    /// Takes what a worker reports about its connections, within a budget.
    pub(in crate::primary) fn collect(&mut self, context: &mut Context, id: WorkerId) {
        let mut is_everything_read = false;
        for _ in 0..LANE_BUDGET {
            let Some(lane) = self.lane_mut(id) else { return };
            let reported = match lane.receive() {
                Ok(Some(FromWorker::Report { through, refused })) => lane.on_report(through, &refused),
                Ok(Some(message)) => {
                    let attached = lane.attached.take();
                    if let Err(error) = self.on_announcement(context, id, message, attached) {
                        return self.close_worker(context, id, Some(error));
                    }
                    continue;
                }
                Ok(None) => {
                    is_everything_read = true;
                    break;
                }
                Err(error) => Err(error),
            };
            match reported {
                Ok(decisions) => {
                    is_everything_read = lane.has_nothing_to_report();
                    self.apply(id, decisions);
                }
                // Neither the lane nor the channel is trusted any more.
                Err(error) => return self.close_worker(context, id, Some(error)),
            }
            if is_everything_read {
                break;
            }
        }
        if !is_everything_read {
            self.uncollected.insert(id);
        }
        if self.settle_by_pulse(context, id).is_some() {
            self.watch_lane(context, id);
            self.serve_soon(id);
        }
    }

    /// The worker says whether it reads its lane, or has something to show.
    ///
    /// Errors: `ERR_CORRAL_BAD_FRAME` for what no worker says.
    fn on_announcement(
        &mut self,
        context: &mut Context,
        id: WorkerId,
        message: FromWorker,
        attached: Option<OwnedFd>,
    ) -> Result<(), Error> {
        let Some(lane) = self.lane_mut(id) else { return Ok(()) };
        match message {
            FromWorker::Ready { version: LANE_VERSION } => {
                lane.set_state(LaneState::Open);
                self.ask_for_pulse(id);
                self.offer_rest(context, id);
                self.tell_of_clients(context, id);
                // If this process had no room for the socket, messages stay where they are.
                match attached {
                    Some(socket) => self.begin_move(context, id, socket),
                    None => self.reject_waiters_for_plain(context, id),
                }
            }
            FromWorker::Ready { version } => {
                let reason = format!("the worker's corral speaks version {version} of the lane");
                self.abandon_lane(context, id, reason.into());
            }
            FromWorker::Unusable { reason } => self.abandon_lane(context, id, reason.into()),
            FromWorker::Wake => {
                if let Some(pulse) = &mut lane.pulse {
                    pulse.on_wake();
                }
                self.has_taker_for_kept = true;
            }
            FromWorker::Keep(keep) => self.on_keep(context, id, keep, attached)?,
            FromWorker::Released(slots) => self.on_released(id, &slots),
            FromWorker::NoRest { reason } => lane.no_rest(context, reason.into()),
            FromWorker::Session(session) => self.on_session(id, &session)?,
            FromWorker::Give(slots) => self.on_give(id, &slots)?,
            FromWorker::Report { .. } => {}
        }
        Ok(())
    }

    /// From now on connections travel on the channel. What waits on the lane is handed out again.
    fn abandon_lane(&mut self, context: &mut Context, id: WorkerId, reason: Cow<'static, str>) {
        let Some(lane) = self.lane_mut(id) else { return };
        lane.set_state(LaneState::Unused(reason));
        let (recalled, status) = lane.recall();
        self.watch_plain(id);
        self.reject_waiters_for_plain(context, id);
        self.return_recalled(id, recalled);
        match status {
            // Reports of earlier connections may still come.
            Ok(()) => self.watch_lane(context, id),
            Err(error) => self.close_worker(context, id, Some(error)),
        }
    }

    /// Applies what a worker has reported. Refused connections go back to the front of their queues, in their
    /// order.
    pub(super) fn apply(&mut self, id: WorkerId, decisions: Vec<(InFlight, Decision)>) {
        let (taken, refused): (Vec<_>, Vec<_>) =
            decisions.into_iter().partition(|(_, decision)| *decision == Decision::Taken);
        for (in_flight, decision) in taken.into_iter().chain(refused.into_iter().rev()) {
            self.decided(id, in_flight, decision);
        }
    }

    /// A server is at its bound: it must learn at once, and not at the next look, what its workers have
    /// taken.
    pub(in crate::primary) fn await_reports(&mut self, context: &mut Context, id: ServerId) {
        let Some(server) = self.servers.get(&id) else { return };
        for id in server.members().to_vec() {
            let Some(lane) = self.lane_mut(id) else {
                continue;
            };
            if lane.state == LaneState::Open && !lane.in_flight.is_empty() {
                lane.is_awaited = true;
                self.watch_lane(context, id);
            }
        }
    }

    /// Registers a lane if its next report must wake the reactor, and otherwise ends its registration.
    pub(in crate::primary) fn watch_lane(&mut self, context: &mut Context, id: WorkerId) {
        let Some(lane) = self.lane_mut(id) else { return };
        if lane.awaits_report() && lane.arm() {
            // It may have happened just now.
            self.uncollected.insert(id);
        }
        let Some(lane) = self.lane_mut(id) else { return };
        let ours = lane.ends.ours.as_fd();
        match (lane.wants_wake(), &lane.registration) {
            (true, None) => match Registration::new(context, ours, Source::Lane(id)) {
                Ok(registration) => lane.registration = Some(registration),
                Err(error) => self.close_worker(context, id, Some(error)),
            },
            (false, Some(registration)) => {
                registration.end(context, ours);
                lane.registration = None;
            }
            (true, Some(_)) | (false, None) => {}
        }
    }
}
