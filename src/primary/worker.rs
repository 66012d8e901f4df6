//! A worker as its primary sees it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::config::IN_FLIGHT_PER_WORKER;
use super::connection::InFlight;
use super::lane::Lane;
use super::main_thread::MainThread;
use super::stats::WorkerStats;
use crate::channel::{Channel, Driver, Inbox};
use crate::ids::{Seq, ServerId, WorkerId};
use crate::reactor::Registration;
use crate::sched::{Availability, Load, Open, WorkerSlot};

/// The state of a worker, as far as connections are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It may ask for servers and take connections.
    Serving,
    /// It was asked to leave, or has announced it. It gets no servers any more, and finishes what it has.
    Leaving,
}

/// What a connection is thought to cost a worker that does not show it.
const GUESSED_COST: Duration = Duration::from_millis(1);

/// A worker and its channel.
#[derive(Debug)]
pub struct Worker {
    /// Its channel.
    pub driver: Driver,
    /// Where it is in its life.
    pub phase: Phase,
    /// Its place: the one of a worker that has gone, if there is one.
    pub slot: WorkerSlot,
    /// The servers of which it is a worker.
    pub servers: Vec<ServerId>,
    /// The keys of the servers that it has opened by itself.
    pub own_servers: Vec<Arc<str>>,
    /// Connections that it was sent on its channel and has not acknowledged, in their order.
    pub in_flight: BTreeMap<Seq, InFlight>,
    /// Its counters.
    pub stats: Arc<WorkerStats>,
    /// Connections travel on it once the worker reads it.
    pub lane: Option<Lane>,
    /// What the kernel shows of it, while the policy asks and the worker does not show it itself.
    pub main_thread: Option<MainThread>,
    /// Workers that wait for a connection to it until it has loaded corral.
    pub waiters: BTreeSet<WorkerId>,
    /// How many connections it gets in comparison with others; 0 for none.
    pub weight: u32,
    /// It wants a connection to every worker that there is, or will be.
    pub wants_all: bool,
    next_seq: u64,
}

impl Worker {
    /// A worker that has just been spawned.
    pub fn new(
        channel: Arc<Channel>,
        inbox: Inbox,
        registration: Registration,
        slot: WorkerSlot,
        stats: Arc<WorkerStats>,
    ) -> Self {
        Worker {
            driver: Driver::new(channel, inbox, registration),
            phase: Phase::Serving,
            slot,
            servers: Vec::new(),
            own_servers: Vec::new(),
            in_flight: BTreeMap::new(),
            stats,
            lane: None,
            main_thread: None,
            waiters: BTreeSet::new(),
            weight: 1,
            wants_all: false,
            next_seq: 0,
        }
    }

    /// Its channel, which the JavaScript thread shares for sending.
    pub fn channel(&self) -> &Channel {
        &self.driver.channel
    }

    /// Whether it may ask for servers and be sent connections.
    pub fn is_serving(&self) -> bool {
        self.phase == Phase::Serving && self.driver.is_open()
    }

    /// Whether it is to get connections: its weight is not 0.
    pub fn is_wanted(&self) -> bool {
        self.weight > 0
    }

    /// The `seq` for the next message.
    pub fn next_seq(&mut self) -> Seq {
        let seq = Seq(self.next_seq);
        self.next_seq += 1;
        seq
    }

    /// The lane, if connections travel on it.
    pub fn used_lane(&self) -> Option<&Lane> {
        self.lane.as_ref().filter(|lane| lane.is_used())
    }

    /// Whether it may be sent a connection now and keeps up with what it is sent.
    pub fn keeps_up(&self) -> bool {
        self.has_credit() && self.in_flight.is_empty() && self.used_lane().is_none_or(Lane::keeps_up)
    }

    /// Whether it may be sent a connection now.
    pub fn has_credit(&self) -> bool {
        self.is_wanted() && self.has_room()
    }

    /// The same of a connection that belongs to it, whatever its weight is.
    pub fn has_room(&self) -> bool {
        self.is_serving()
            && match self.used_lane() {
                Some(lane) => lane.has_credit(),
                None => self.in_flight.len() < IN_FLIGHT_PER_WORKER,
            }
    }

    /// Its load, for the policy. Only a lane shows whether a worker that is full works on what it has.
    pub fn load(&self) -> Load {
        let availability = if self.keeps_up() {
            Availability::Idle
        } else if self.has_credit() {
            Availability::Busy
        } else if self.is_serving() && self.is_wanted() && self.used_lane().is_some_and(Lane::is_full) {
            Availability::Full
        } else {
            Availability::Away
        };
        let on_lane = self.lane.as_ref().map_or(0, Lane::in_flight);
        Load { availability, in_flight: self.in_flight.len() + on_lane }
    }

    /// How long another connection would wait for it; None if that is long, or not known.
    ///
    /// Without a pulse there is no better guess than this: who has been busy for some time will be for as much longer,
    /// and each connection before this one costs a millisecond. It may be sent one while there is credit, as nothing tells
    /// when it is idle.
    pub fn wait(&self) -> Option<Duration> {
        match self.used_lane() {
            Some(lane) if lane.has_pulse() => lane.wait(),
            _ => self.has_credit().then(|| {
                let busy_for = self.main_thread.as_ref().map_or(Duration::ZERO, MainThread::may_be_busy_for);
                busy_for + GUESSED_COST * self.load().in_flight as u32
            }),
        }
    }

    /// What it has open of the server that is counted in this slot; None if it does not show that.
    pub fn open(&self, slot: usize) -> Option<Open> {
        self.used_lane()?.open(slot)
    }

    /// Whether connections are light work for it, as far as can be seen.
    pub fn is_light(&self) -> bool {
        self.used_lane().is_some_and(Lane::is_light)
    }

    /// Whether it may be sent a connection now, and has received every one that it was sent on its lane.
    pub fn has_nothing_ahead(&self) -> bool {
        self.has_credit() && self.used_lane().is_some_and(Lane::has_nothing_ahead)
    }

    /// Whether it may be sent a connection now, and its pulse or the kernel show that it waits for events.
    pub fn is_waiting(&self) -> bool {
        self.has_credit()
            && match self.used_lane() {
                Some(lane) if lane.has_pulse() => lane.is_waiting(),
                _ => self.load().in_flight == 0 && self.main_thread_waits() == Some(true),
            }
    }

    /// Whether it waits for something to do, as far as can be seen.
    pub fn is_idle(&self) -> bool {
        self.has_credit()
            && match self.used_lane() {
                Some(lane) => lane.is_idle().unwrap_or_else(|| lane.keeps_up() && self.may_be_waiting()),
                None => self.in_flight.is_empty() && self.may_be_waiting(),
            }
    }

    /// The kernel is to tell whether its main thread waits for events, as it shows nothing itself, for this reason.
    pub fn watch_main_thread(&mut self, why: Cow<'static, str>) {
        match &mut self.main_thread {
            Some(main_thread) => main_thread.set_why(why),
            None => self.main_thread = MainThread::of_spawned(&self.stats, why),
        }
    }

    /// Whether its main thread waits for events; None if nobody tells, or the worker shows it itself.
    fn main_thread_waits(&self) -> Option<bool> {
        self.main_thread.as_ref()?.is_waiting()
    }

    /// Whether the kernel does not say that it is busy.
    fn may_be_waiting(&self) -> bool {
        self.main_thread_waits() != Some(false)
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::LANE_WINDOW;
    use super::super::connection::Pending;
    use super::super::idleness::IdleBy;
    use super::super::lane::LaneState;
    use std::sync::Weak;

    use super::*;
    use crate::channel;
    use crate::os::packet_pair;
    use crate::proto::{LaneSeq, Serialization};

    fn worker() -> Worker {
        let (channel, _) = channel::pair(Serialization::Json).unwrap();
        let inbox = Inbox::new(Serialization::Json, 1 << 20);
        let stats = WorkerStats::new(None, LaneState::Open, IdleBy::NO_SERVER, Weak::new());
        let stats = Arc::new(stats);
        Worker::new(Arc::new(channel), inbox, Registration::unknown(), WorkerSlot(0), stats)
    }

    fn on_lane(state: LaneState, under_way: usize) -> Worker {
        let mut worker = worker();
        let lane = Lane::new(packet_pair().unwrap(), worker.stats.clone());
        worker.lane = Some(lane.with_under_way(state, under_way));
        worker
    }

    #[test]
    fn others_wait_only_for_a_worker_whose_lane_is_full_and_being_read() {
        for (under_way, availability) in [
            (0, Availability::Idle),
            (LANE_WINDOW - 1, Availability::Busy),
            (LANE_WINDOW, Availability::Full),
        ] {
            let load = on_lane(LaneState::Open, under_way).load();
            assert_eq!((load.availability, load.in_flight), (availability, under_way));
        }
        assert_eq!(
            on_lane(LaneState::Stalled(LaneSeq(99)), LANE_WINDOW).load().availability,
            Availability::Away
        );
        let mut leaving = on_lane(LaneState::Open, LANE_WINDOW);
        leaving.phase = Phase::Leaving;
        assert_eq!(leaving.load().availability, Availability::Away);
        // A channel does not show whether a worker works or is blocked.
        let unused = LaneState::Unused(LaneState::NOT_LOADED.into());
        let mut plain = on_lane(unused, 0);
        assert_eq!(plain.load().availability, Availability::Idle);
        for _ in 0..IN_FLIGHT_PER_WORKER {
            let fd = Arc::new(packet_pair().unwrap().ours);
            let origin = super::super::connection::Origin::Accepted;
            let connection = Pending::new(fd, crate::address::Peer::Unix, origin);
            let seq = plain.next_seq();
            plain.in_flight.insert(seq, InFlight { connection, server: crate::ids::ServerId(0) });
        }
        assert_eq!(plain.load().availability, Availability::Away);
    }
}
