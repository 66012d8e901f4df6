//! The primary's side of the lanes: handing over, what workers report, and taking back what waits in the lane of a
//! worker that is blocked or gone. The primary holds the receiving end of every lane as well; of two that receive, the
//! kernel gives each message to one, so that nothing is served twice.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use nix::errno::Errno;

use super::config::{LANE_BUDGET, LANE_LAST_WORDS, LANE_LOOK, LANE_TICK, LANE_WINDOW};
use super::connection::{Decision, InFlight, Pending};
use super::stats::WorkerStats;
use super::{Context, Event, Primary, Source, Timer};
use crate::error::Error;
use crate::ids::{ServerId, WorkerId};
use crate::os::{self, Ancillary, SocketPair};
use crate::proto::{ConnectionKind, FromWorker, LANE_VERSION, LaneSeq, MAX_LANE_MESSAGE, ToLane};
use crate::reactor::{EventSink, Registration};

/// Whether connections travel on a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LaneState {
    /// They travel on the channel, for this reason.
    Unused(Cow<'static, str>),
    /// They do.
    Open,
    /// They did until the worker stopped receiving, and will again when it has reported this number.
    Stalled(LaneSeq),
}

impl LaneState {
    /// Why connections do not travel on a lane whose worker has said nothing.
    pub const NOT_LOADED: &str = "the worker has not loaded corral";
}

/// One worker's lane.
#[derive(Debug)]
pub struct Lane {
    ends: SocketPair,
    state: LaneState,
    /// Registered while the next report is waited for; otherwise reports are looked for when the lane's tick comes, so
    /// that they do not wake the reactor.
    registration: Option<Registration>,
    last_seq: LaneSeq,
    /// Connections that were sent and of which the worker has not reported.
    in_flight: VecDeque<(LaneSeq, InFlight)>,
    /// Since when the oldest in flight waits without the worker having reported anything.
    waiting_since: Option<Instant>,
    /// A server is at its bound and waits for what is in flight here.
    is_awaited: bool,
    /// The kernel had no room; cleared by the next look.
    rests: bool,
    /// Everything that could be taken back has been, since the worker stalled.
    is_recalled: bool,
    outgoing: Vec<u8>,
    ancillary: Ancillary,
    /// The socket that the worker has brought for its channel.
    channel: Option<OwnedFd>,
    stats: Arc<WorkerStats>,
}

impl Lane {
    /// A lane whose worker has not been heard of.
    pub fn new(ends: SocketPair, stats: Arc<WorkerStats>) -> Self {
        Lane {
            ends,
            state: LaneState::Unused(Cow::Borrowed(LaneState::NOT_LOADED)),
            registration: None,
            last_seq: LaneSeq(0),
            in_flight: VecDeque::new(),
            waiting_since: None,
            is_awaited: false,
            rests: false,
            is_recalled: false,
            outgoing: Vec::new(),
            ancillary: Ancillary::default(),
            channel: None,
            stats,
        }
    }

    /// A lane that stands like this, for tests of those who look at it.
    #[cfg(test)]
    pub fn with_under_way(mut self, state: LaneState, count: usize) -> Self {
        self.state = state;
        self.in_flight = (0..count)
            .map(|seq| {
                let fd = Arc::new(self.ends.ours.try_clone().unwrap());
                let connection = Pending { fd, peer: crate::address::Peer::Unix, refused_by: Vec::new() };
                (LaneSeq(seq as u64), InFlight { connection, server: ServerId(0) })
            })
            .collect();
        self.waiting_since = (count > 0).then(Instant::now);
        self
    }

    fn set_state(&mut self, state: LaneState) {
        self.stats.lane.lock().clone_from(&state);
        self.state = state;
    }

    /// Whether the worker has said nothing yet, neither that it reads it nor that it cannot.
    pub fn is_unheard_of(&self) -> bool {
        self.state == LaneState::Unused(Cow::Borrowed(LaneState::NOT_LOADED))
    }

    /// Connections travel on it, or wait until they can again.
    pub fn is_used(&self) -> bool {
        !matches!(self.state, LaneState::Unused(_))
    }

    /// Whether the worker may be sent one more.
    pub fn has_credit(&self) -> bool {
        self.state == LaneState::Open && !self.rests && self.in_flight.len() < LANE_WINDOW
    }

    /// How many connections were sent on it of which the worker has not reported.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether as many are under way as may be, and nothing is known to keep the worker from them.
    pub fn is_full(&self) -> bool {
        self.state == LaneState::Open && !self.rests && self.in_flight.len() >= LANE_WINDOW
    }

    /// Whether the worker could be sent one, has little under way, and has reported just now.
    pub fn keeps_up(&self) -> bool {
        self.has_credit()
            && self.in_flight.len() <= LANE_WINDOW / 4
            && self.waiting_since.is_none_or(|since| since.elapsed() <= LANE_TICK)
    }

    /// Whether the next report is waited for.
    fn wants_wake(&self) -> bool {
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

    /// Receives the next that the worker says; None when it has said nothing more.
    fn receive(&mut self) -> Result<Option<FromWorker>, Error> {
        let mut buffer = [0; MAX_LANE_MESSAGE];
        match os::receive_packet(self.ends.ours.as_fd(), &mut buffer, &mut self.ancillary) {
            Ok(packet) if packet.is_truncated => Err(Error::BadFrame("a long message on the lane".into())),
            Ok(packet) => {
                self.channel = packet.handle.or(self.channel.take());
                FromWorker::decode(&buffer[..packet.length]).map(Some).map_err(Error::BadFrame)
            }
            Err(Errno::EAGAIN) => Ok(None),
            Err(errno) => Err(Error::Sys { doing: "reading a lane", errno }),
        }
    }

    /// The worker has received everything up to `through`, or it was taken back before.
    fn settle(&mut self, through: LaneSeq, refused: &[LaneSeq]) -> Result<Vec<(InFlight, Decision)>, Error> {
        if through > self.last_seq {
            return Err(Error::BadFrame("a report of what was never sent on the lane".into()));
        }
        let mut decisions = Vec::new();
        while self.in_flight.front().is_some_and(|(seq, _)| *seq <= through) {
            let Some((seq, in_flight)) = self.in_flight.pop_front() else { break };
            let decision = if refused.contains(&seq) { Decision::Refused } else { Decision::Taken };
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

    /// Takes back what the worker has not received, oldest first. With an error of `recvmsg(2)` there may be more.
    fn recall(&mut self) -> (Vec<InFlight>, Result<(), Error>) {
        let mut buffer = [0; MAX_LANE_MESSAGE];
        let mut recalled = Vec::new();
        loop {
            // Without its descriptor, of which `in_flight` has a share.
            let packet = match os::receive_packet_bytes(self.ends.theirs.as_fd(), &mut buffer) {
                Ok(packet) if packet.length > 0 => packet,
                Ok(_) | Err(Errno::EAGAIN) => return (recalled, Ok(())),
                Err(errno) => {
                    return (recalled, Err(Error::Sys { doing: "taking back from a lane", errno }));
                }
            };
            if let Ok(ToLane::Connection { seq, .. }) = ToLane::decode(&buffer[..packet.length])
                && let Ok(place) = self.in_flight.binary_search_by_key(&seq, |(seq, _)| *seq)
            {
                recalled.extend(self.in_flight.remove(place).map(|(_, in_flight)| in_flight));
                self.stats.counters.recalled.count();
                self.stats.counters.in_flight.lower();
            }
        }
    }
}

impl<S: EventSink<Event>> Primary<S> {
    /// Sends a connection on a worker's lane; gives it back when the kernel does not take it.
    pub(super) fn hand_over_lane(&mut self, context: &mut Context, id: WorkerId, in_flight: InFlight) {
        let Some(server) = self.servers.get(&in_flight.server) else { return };
        let Some(lane) = self.workers.get_mut(&id).and_then(|worker| worker.lane.as_mut()) else { return };
        let kind = match in_flight.connection.peer {
            crate::address::Peer::Ip(..) => ConnectionKind::Tcp,
            crate::address::Peer::Unix => ConnectionKind::Pipe,
        };
        let seq = lane.next_seq();
        let message = ToLane::Connection { seq, kind, key: &server.key };
        match lane.send(&message, Some(&in_flight.connection)) {
            Ok(()) => {
                lane.waiting_since.get_or_insert_with(Instant::now);
                lane.in_flight.push_back((seq, in_flight));
                lane.stats.counters.in_flight.raise();
                if lane.wants_wake() {
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
    pub(super) fn collect(&mut self, context: &mut Context, id: WorkerId) {
        for budget in (0..=LANE_BUDGET).rev() {
            if budget == 0 {
                self.uncollected.insert(id);
                break;
            }
            let Some(lane) = self.workers.get_mut(&id).and_then(|worker| worker.lane.as_mut()) else {
                return;
            };
            let handled = match lane.receive() {
                Ok(None) => break,
                Ok(Some(FromWorker::Ready { version: LANE_VERSION })) => {
                    lane.set_state(LaneState::Open);
                    // If this process had no room for it, messages stay where they are.
                    match lane.channel.take() {
                        Some(socket) => self.begin_move(context, id, socket),
                        None => self.disappoint_plainly(context, id),
                    }
                    Ok(Vec::new())
                }
                Ok(Some(FromWorker::Ready { version })) => {
                    let reason = format!("the worker's corral speaks version {version} of the lane");
                    self.abandon_lane(context, id, reason.into());
                    Ok(Vec::new())
                }
                Ok(Some(FromWorker::Unusable { reason })) => {
                    self.abandon_lane(context, id, reason.into());
                    Ok(Vec::new())
                }
                Ok(Some(FromWorker::Report { through, refused })) => lane.settle(through, &refused),
                Err(error) => Err(error),
            };
            match handled {
                Ok(decisions) => {
                    self.apply(id, decisions);
                    if self.has_nothing_to_say(id) {
                        break;
                    }
                }
                // It is not believed any further, and neither is its channel.
                Err(error) => return self.close_worker(context, id, Some(error)),
            }
        }
        self.watch_lane(context, id);
        self.serve_soon(id);
    }

    /// Whether the worker has reported all that it was sent, so that reading on would find nothing.
    fn has_nothing_to_say(&self, id: WorkerId) -> bool {
        let lane = self.workers.get(&id).and_then(|worker| worker.lane.as_ref());
        // A lane that is registered is read until nothing is left, as readiness is told once.
        lane.is_some_and(|lane| {
            lane.state == LaneState::Open && lane.in_flight.is_empty() && lane.registration.is_none()
        })
    }

    /// Connections travel on the channel from now on; what is in the lane is handed out again.
    fn abandon_lane(&mut self, context: &mut Context, id: WorkerId, reason: Cow<'static, str>) {
        let Some(lane) = self.workers.get_mut(&id).and_then(|worker| worker.lane.as_mut()) else { return };
        lane.set_state(LaneState::Unused(reason));
        self.disappoint_plainly(context, id);
        let Some(lane) = self.workers.get_mut(&id).and_then(|worker| worker.lane.as_mut()) else { return };
        let (recalled, status) = lane.recall();
        self.return_recalled(id, recalled);
        match status {
            // Reports of what was received before may still come.
            Ok(()) => self.watch_lane(context, id),
            Err(error) => self.close_worker(context, id, Some(error)),
        }
    }

    /// Books what a worker has reported. Refused ones go back to the front of their queues, in their order.
    fn apply(&mut self, id: WorkerId, decisions: Vec<(InFlight, Decision)>) {
        let (taken, refused): (Vec<_>, Vec<_>) =
            decisions.into_iter().partition(|(_, decision)| *decision == Decision::Taken);
        for (in_flight, decision) in taken.into_iter().chain(refused.into_iter().rev()) {
            self.decided(id, in_flight, decision);
        }
    }

    /// A server is at its bound: what its workers have taken is to be known at once, and not at the next look.
    pub(super) fn await_reports(&mut self, context: &mut Context, id: ServerId) {
        let Some(server) = self.servers.get(&id) else { return };
        for id in server.members().to_vec() {
            let Some(lane) = self.workers.get_mut(&id).and_then(|worker| worker.lane.as_mut()) else {
                continue;
            };
            if lane.state == LaneState::Open && !lane.in_flight.is_empty() {
                lane.is_awaited = true;
                self.watch_lane(context, id);
            }
        }
    }

    /// Registers a lane while its next report is waited for, and only then.
    pub(super) fn watch_lane(&mut self, context: &mut Context, id: WorkerId) {
        let Some(lane) = self.workers.get_mut(&id).and_then(|worker| worker.lane.as_mut()) else { return };
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

    /// Arranges for the next look at the lanes, while there is anything to be seen.
    fn look_later(&mut self, context: &mut Context) {
        if self.next_look.is_none() {
            let timer = context.set_timer(LANE_TICK, Timer::LookAtLanes);
            self.next_look = Some((timer, Instant::now() + LANE_LOOK));
        }
    }

    /// Looks at the lanes if it is time to: the reactor is awake, and need not be woken for it later.
    pub(super) fn look_if_due(&mut self, context: &mut Context) {
        if let Some((timer, at)) = self.next_look
            && Instant::now() >= at
        {
            context.cancel_timer(timer);
            self.look_at_lanes(context);
        }
    }

    /// Takes the reports of lanes that are not waited for, and finds the workers that have stopped receiving.
    pub(super) fn look_at_lanes(&mut self, context: &mut Context) {
        self.next_look = None;
        let open = |id: &WorkerId| {
            let lane = self.workers.get(id).and_then(|worker| worker.lane.as_ref());
            lane.is_some_and(|lane| {
                lane.rests || (lane.state == LaneState::Open && !lane.in_flight.is_empty())
            })
        };
        let mut to_visit: Vec<WorkerId> = self.workers.keys().copied().filter(open).collect();
        // In a fixed order, so that turns do not depend on a hash.
        to_visit.sort_unstable();
        for id in to_visit {
            self.collect(context, id);
            let Some(lane) = self.workers.get_mut(&id).and_then(|worker| worker.lane.as_mut()) else {
                continue;
            };
            lane.rests = false;
            let Some(waiting) = lane.waiting_since.map(|since| since.elapsed()) else { continue };
            let is_open = lane.state == LaneState::Open;
            if is_open
                && (waiting >= self.config.recall_after
                    || (waiting >= self.config.recall_soon_after && self.has_taker_that_keeps_up(id)))
            {
                self.stall(context, id);
            } else {
                self.look_later(context);
            }
        }
    }

    /// Whether somebody who could take what waits in a worker's lane has little to do.
    fn has_taker_that_keeps_up(&self, id: WorkerId) -> bool {
        let Some(lane) = self.workers.get(&id).and_then(|worker| worker.lane.as_ref()) else { return false };
        let mut servers =
            lane.in_flight.iter().filter_map(|(_, in_flight)| self.servers.get(&in_flight.server));
        servers.any(|server| {
            server.members().iter().any(|id| self.workers.get(id).is_some_and(|worker| worker.keeps_up()))
        })
    }

    /// The worker does not receive. It gets nothing more until it reports the probe, which lies behind all the rest.
    fn stall(&mut self, context: &mut Context, id: WorkerId) {
        let Some(lane) = self.workers.get_mut(&id).and_then(|worker| worker.lane.as_mut()) else { return };
        let probe = lane.next_seq();
        // Without room for the probe the lane is full: its worker reports something else first, and is asked then.
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

    /// Takes back what waits for stalled workers, where another worker could take it now.
    pub(super) fn relieve_stalled(&mut self, context: &mut Context) {
        for id in std::mem::take(&mut self.stalled) {
            let Some(lane) = self.workers.get(&id).and_then(|worker| worker.lane.as_ref()) else { continue };
            if !matches!(lane.state, LaneState::Stalled(_)) {
                continue;
            }
            self.stalled.insert(id);
            if !lane.is_recalled
                && lane.in_flight.iter().any(|(_, in_flight)| self.has_taker(in_flight.server))
            {
                self.recall(context, id);
            }
        }
    }

    /// Whether some worker of a server could be handed a connection.
    fn has_taker(&self, server: ServerId) -> bool {
        let Some(server) = self.servers.get(&server) else { return false };
        server.members().iter().any(|id| self.workers.get(id).is_some_and(|worker| worker.has_credit()))
    }

    fn recall(&mut self, context: &mut Context, id: WorkerId) {
        let Some(lane) = self.workers.get_mut(&id).and_then(|worker| worker.lane.as_mut()) else { return };
        lane.is_recalled = true;
        let (recalled, status) = lane.recall();
        // The old probe may have been taken back with the rest.
        let probe = lane.next_seq();
        let asked = lane.send(&ToLane::Probe(probe), None);
        lane.set_state(LaneState::Stalled(probe));
        self.return_recalled(id, recalled);
        if let Err(error) = status {
            return self.close_worker(context, id, Some(error));
        }
        if let Err(errno) = asked {
            self.close_worker(context, id, Some(Error::Sys { doing: "probing a lane", errno }));
        }
    }

    fn return_recalled(&mut self, id: WorkerId, recalled: Vec<InFlight>) {
        for in_flight in recalled.into_iter().rev() {
            if let Some(server) = self.servers.get_mut(&in_flight.server) {
                server.stats.counters.recalled.count();
                server.policy.recalled(id, &in_flight.connection.incoming());
            }
            self.give_back(in_flight);
        }
    }

    /// The worker has gone. What it refused or had not received goes to others; what it had received has ended with it.
    ///
    /// Errors: those of `recvmsg(2)`; what had been taken back by then has gone to others all the same.
    pub(super) fn close_lane(
        &mut self,
        context: &mut Context,
        id: WorkerId,
        mut lane: Lane,
    ) -> Result<(), Error> {
        if let Some(registration) = lane.registration.take() {
            registration.end(context, lane.ends.ours.as_fd());
        }
        // Its last words. Nonsense among them is nobody's concern any more, nor is what somebody else says that has its end.
        for _ in 0..LANE_LAST_WORDS {
            let Ok(Some(FromWorker::Report { through, refused })) = lane.receive() else { break };
            let Ok(decisions) = lane.settle(through, &refused) else { break };
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
