//! The primary's side of the lanes. The primary holds the receiving end of every lane, too. The kernel gives each
//! message to one of two receivers, so that nothing is served twice.
//!
//! This file has one worker's lane, `state` whether connections travel on it. `reports` sends connections and takes
//! what workers report, `pulse` reads what they show without a report, `recall` finds workers that do not receive and
//! takes back what waits for them. `clients` is what workers are told of clients that belong to them. `observed` asks workers for what metrics
//! are made of. `shared` is the lane that several workers read.

mod clients;
mod kept;
mod observed;
mod pulse;
mod recall;
mod reports;
mod shared;
mod state;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use nix::errno::Errno;

use super::Primary;
use super::config::{LANE_TICK, LANE_WINDOW};
use super::connection::{Decision, InFlight, Pending};
use super::kept::Kept;
use super::stats::WorkerStats;
use crate::error::Error;
use crate::ids::WorkerId;
use crate::os::{self, Ancillary, SocketPair};
use crate::proto::{FromWorker, LaneSeq, MAX_LANE_MESSAGE, ToLane};
use crate::reactor::Registration;
use clients::Told;
use pulse::WorkerPulse;
pub use shared::SharedLane;
pub use state::LaneState;

/// One worker's lane.
#[derive(Debug)]
pub struct Lane {
    ends: SocketPair,
    state: LaneState,
    /// Registered while the next report is awaited. At other times the lane's tick looks for reports, so that
    /// they do not wake the reactor.
    registration: Option<Registration>,
    last_seq: LaneSeq,
    /// The last that was sent before the worker said that it listens.
    last_before_listening: LaneSeq,
    /// Connections that were sent and that the worker has not reported.
    in_flight: VecDeque<(LaneSeq, InFlight)>,
    /// Since when the oldest one waits without any report of the worker.
    waiting_since: Option<Instant>,
    /// A server at its bound waits for what is in flight here.
    is_awaited: bool,
    /// The kernel had no room. The next look clears it.
    rests: bool,
    /// Everything that could be recalled has been, since the worker stalled.
    is_recalled: bool,
    outgoing: Vec<u8>,
    ancillary: Ancillary,
    /// What the worker shows without a report. None before it has reported that it reads the lane, and where
    /// there is no shared memory.
    pulse: Option<WorkerPulse>,
    /// The connections that the worker keeps, and of which the primary has copies. None where they stay with the worker.
    pub(super) kept: Option<Kept>,
    /// The descriptor that came with the last message.
    attached: Option<OwnedFd>,
    /// The worker was offered a shared lane, and the offer was recalled before it was received.
    is_offer_lost: bool,
    /// The same of the memory for kept connections.
    is_rest_lost: bool,
    /// What the worker knows of clients.
    told: Told,
    /// The same of asking the worker to be observed.
    is_observe_lost: bool,
    stats: Arc<WorkerStats>,
}

impl Lane {
    /// A lane whose worker has announced nothing yet.
    pub fn new(ends: SocketPair, stats: Arc<WorkerStats>) -> Self {
        Lane {
            ends,
            state: LaneState::Unused(Cow::Borrowed(LaneState::NOT_LOADED)),
            registration: None,
            last_seq: LaneSeq(0),
            last_before_listening: LaneSeq(0),
            in_flight: VecDeque::new(),
            waiting_since: None,
            is_awaited: false,
            rests: false,
            is_recalled: false,
            outgoing: Vec::new(),
            ancillary: Ancillary::default(),
            pulse: None,
            kept: None,
            attached: None,
            is_offer_lost: false,
            is_rest_lost: false,
            told: Told::default(),
            is_observe_lost: false,
            stats,
        }
    }

    /// A lane in this state, for tests of its readers.
    #[cfg(test)]
    pub fn with_under_way(mut self, state: LaneState, count: usize) -> Self {
        self.state = state;
        self.in_flight = (0..count)
            .map(|seq| {
                let fd = Arc::new(self.ends.ours.try_clone().unwrap());
                let origin = super::connection::Origin::Accepted;
                let connection = Pending::new(fd, crate::address::Peer::Unix, origin);
                (LaneSeq(seq as u64), InFlight { connection, server: crate::ids::ServerId(0) })
            })
            .collect();
        self.waiting_since = (count > 0).then(Instant::now);
        self
    }

    fn set_state(&mut self, state: LaneState) {
        self.stats.lane.lock().clone_from(&state);
        self.state = state;
    }

    /// Whether the worker has announced neither that it reads the lane nor that it cannot.
    pub fn is_unannounced(&self) -> bool {
        self.state == LaneState::Unused(Cow::Borrowed(LaneState::NOT_LOADED))
    }

    /// Whether connections travel on it, or wait until they can again.
    pub fn is_used(&self) -> bool {
        !matches!(self.state, LaneState::Unused(_))
    }

    /// Whether the worker may be sent one more.
    pub fn has_credit(&self) -> bool {
        self.state == LaneState::Open && !self.rests && self.in_flight.len() < LANE_WINDOW
    }

    /// How many connections were sent on it that the worker has not reported.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether as many as allowed are in flight, and nothing is known to keep the worker from them.
    pub fn is_full(&self) -> bool {
        self.state == LaneState::Open && !self.rests && self.in_flight.len() >= LANE_WINDOW
    }

    /// Whether the worker may be sent one, has little in flight, and has reported recently.
    pub fn keeps_up(&self) -> bool {
        self.has_credit()
            && self.in_flight.len() <= LANE_WINDOW / 4
            && self.waiting_since.is_none_or(|since| since.elapsed() <= LANE_TICK)
    }

    /// Whether the worker has reported everything that it was sent, so that reading on would find nothing. A lane
    /// that is registered is read until nothing is left, as readiness is told once.
    fn has_nothing_to_report(&self) -> bool {
        self.state == LaneState::Open && self.in_flight.is_empty() && self.registration.is_none()
    }

    /// Whether messages on the lane wake the reactor. A worker with a pulse sends few.
    fn wants_wake(&self) -> bool {
        self.pulse.is_some() || self.awaits_report()
    }

    /// Whether the next report is waited for.
    fn awaits_report(&self) -> bool {
        match self.state {
            LaneState::Unused(_) | LaneState::Stalled(_) => true,
            LaneState::Open => self.is_awaited || self.in_flight.len() >= LANE_WINDOW,
        }
    }

    fn send(&mut self, message: &ToLane<'_>, connection: Option<&Pending>) -> Result<(), Errno> {
        message.encode(&mut self.outgoing);
        let handle = connection.map(|connection| connection.fd.as_fd());
        os::send_packet(self.ends.ours.as_fd(), &self.outgoing, handle)
    }

    fn next_seq(&mut self) -> LaneSeq {
        self.last_seq = LaneSeq(self.last_seq.0 + 1);
        self.last_seq
    }

    /// Receives the next message of the worker; None if there is none.
    fn receive(&mut self) -> Result<Option<FromWorker>, Error> {
        let mut buffer = [0; MAX_LANE_MESSAGE];
        match os::receive_packet(self.ends.ours.as_fd(), &mut buffer, &mut self.ancillary) {
            Ok(packet) if packet.is_truncated => Err(Error::BadFrame("a long message on the lane".into())),
            Ok(packet) => {
                self.attached = packet.handle;
                FromWorker::decode(&buffer[..packet.length]).map(Some).map_err(Error::BadFrame)
            }
            Err(Errno::EAGAIN) => Ok(None),
            Err(errno) => Err(Error::Sys { doing: "reading a lane", errno }),
        }
    }

    /// The worker listens. What is on its way may have reached it before the answer to its question for the server, which is
    /// on its channel.
    pub(super) fn worker_listens(&mut self) {
        self.last_before_listening = self.last_seq;
    }

    /// The worker has reported on the lane.
    fn on_report(
        &mut self,
        through: LaneSeq,
        refused: &[LaneSeq],
    ) -> Result<Vec<(InFlight, Decision)>, Error> {
        if let Some(pulse) = &mut self.pulse {
            pulse.on_report(through);
        }
        self.settle(through, refused)
    }

    /// The worker has received everything up to `through` that was not recalled before.
    fn settle(&mut self, through: LaneSeq, refused: &[LaneSeq]) -> Result<Vec<(InFlight, Decision)>, Error> {
        if through > self.last_seq {
            return Err(Error::BadFrame("a report of what was never sent on the lane".into()));
        }
        let mut decisions = Vec::new();
        while self.in_flight.front().is_some_and(|(seq, _)| *seq <= through) {
            let Some((seq, in_flight)) = self.in_flight.pop_front() else { break };
            let decision = if !refused.contains(&seq) {
                Decision::Taken
            } else if seq <= self.last_before_listening {
                Decision::TooEarly
            } else {
                Decision::Refused
            };
            decisions.push((in_flight, decision));
        }
        self.waiting_since = (!self.in_flight.is_empty()).then(Instant::now);
        self.is_awaited = false;
        if let LaneState::Stalled(probe) = self.state
            && through >= probe
        {
            self.set_state(LaneState::Open);
        }
        Ok(decisions)
    }

    /// Recalls what the worker has not received, oldest first. After an error of `recvmsg(2)` there may be
    /// more.
    fn recall(&mut self) -> (Vec<InFlight>, Result<(), Error>) {
        let mut buffer = [0; MAX_LANE_MESSAGE];
        let mut recalled = Vec::new();
        loop {
            // The descriptor is not needed, as `in_flight` shares it.
            let packet = match os::receive_packet_bytes(self.ends.theirs.as_fd(), &mut buffer) {
                Ok(packet) if packet.length > 0 => packet,
                Ok(_) | Err(Errno::EAGAIN) => return (recalled, Ok(())),
                Err(errno) => {
                    return (recalled, Err(Error::Sys { doing: "taking back from a lane", errno }));
                }
            };
            match ToLane::decode(&buffer[..packet.length]) {
                Ok(ToLane::Connection { seq, .. }) => {
                    if let Ok(place) = self.in_flight.binary_search_by_key(&seq, |(seq, _)| *seq) {
                        recalled.extend(self.in_flight.remove(place).map(|(_, in_flight)| in_flight));
                        self.stats.counters.recalled.count();
                        self.stats.counters.in_flight.lower();
                    }
                }
                Ok(ToLane::Pulse) => self.pulse = None,
                Ok(ToLane::Shared) => self.is_offer_lost = true,
                Ok(ToLane::Kept) => self.is_rest_lost = true,
                Ok(ToLane::Sessions(_) | ToLane::Clients { .. }) => self.told.lose(),
                Ok(ToLane::Decided) => self.told.lose_decision(),
                Ok(ToLane::Observe) => self.is_observe_lost = true,
                Ok(ToLane::Probe(_)) | Err(_) => {}
            }
        }
    }
}

impl<S> Primary<S> {
    fn lane(&self, id: WorkerId) -> Option<&Lane> {
        self.workers.get(&id)?.lane.as_ref()
    }

    fn lane_mut(&mut self, id: WorkerId) -> Option<&mut Lane> {
        self.workers.get_mut(&id)?.lane.as_mut()
    }
}
