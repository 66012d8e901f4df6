//! Counters and descriptions of servers and workers, for any thread to read.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};

use super::connection::Pending;
use super::idleness::IdleBy;
use super::lane::LaneState;
use crate::channel::Channel;
use crate::counters::{Counter, counters};
use crate::histogram::Histogram;
use crate::ids::{ServerId, WorkerId};
use crate::os;
use crate::pulse::{Pulse, open_slot};
use crate::sched::PolicyChoice;

counters! {
    /// What is counted of one server since it was opened.
    pub struct ServerCounters {
        /// Connections that wait in the primary now.
        pub pending: Gauge<Connections>,
        /// Connections that the primary has accepted; where workers accept themselves, in the place of some.
        pub accepted: Counter<Connections>,
        /// Connections that a worker has taken.
        pub dispatched: Counter<Connections>,
        /// How often a worker refused a connection.
        pub refused: Counter<Times>,
        /// How often a connection was taken back from a worker that did not receive it.
        pub recalled: Counter<Times>,
        /// How often a kept connection went to another worker with its next request.
        pub rebalanced: Counter<Times>,
        /// Connections whose first bytes are awaited now.
        pub first_bytes_awaited: Gauge<Connections>,
        /// Connections whose first bytes named their client: a session, or an address.
        pub sticky_by_key: Counter<Connections>,
        /// Connections whose client was known by the address from which it has connected.
        pub sticky_by_address: Counter<Connections>,
        /// The same, since it had not sent enough in time.
        pub sticky_by_deadline: Counter<Connections>,
        /// Connections that named no session, so that any worker could have them.
        pub sticky_without_session: Counter<Connections>,
        /// Connections that went to any worker, since too many waited for their own.
        pub strayed: Counter<Connections>,
        /// Connections for which a policy of the program's own had no answer by its deadline.
        pub unanswered: Counter<Connections>,
    }
}

counters! {
    /// What is counted of one worker since it was spawned.
    pub struct WorkerCounters {
        /// How often the worker received nothing, so that others got its connections. Only known of a lane, and of a socket of
        /// the worker's own.
        pub stalls: Counter<Times>,
        /// Connections that the worker has taken.
        pub dispatched: Counter<Connections>,
        /// Connections on their way to the worker now.
        pub in_flight: Gauge<Connections>,
        /// Connections that the worker has refused.
        pub refused: Counter<Connections>,
        /// Connections that the primary has accepted in the worker's place, from the worker's own socket.
        pub rescued: Counter<Connections>,
        /// Connections that were taken back from the worker.
        pub recalled: Counter<Connections>,
        /// Connections that the worker keeps between requests, and that may go to another with the next one.
        pub kept: Gauge<Connections>,
        /// How often a connection that the worker had kept went to another worker.
        pub rebalanced: Counter<Times>,
        /// How often the worker has said that a session is its own.
        pub sessions: Counter<Times>,
        /// How often a session of the worker was forgotten, since it has begun too many.
        pub sessions_forgotten: Counter<Times>,
    }
}

/// One server, since it was opened.
#[derive(Debug)]
pub struct ServerStats {
    /// Its key in the protocol.
    pub key: Arc<str>,
    /// The bound IP address, or the path.
    pub address: Arc<str>,
    /// None for a path.
    pub port: Option<u16>,
    /// The name of its policy.
    pub policy: Mutex<Arc<str>>,
    /// Why that is not the one that was asked for, or why it costs more than it should.
    pub policy_reason: Mutex<Option<Cow<'static, str>>>,
    /// How often its policy has chosen each worker that takes part, or the worker has come first.
    pub decisions: Mutex<BTreeMap<WorkerId, u64>>,
    /// Where workers count what they have open of it.
    pub open_slot: usize,
    /// Its workers, in the order in which they came.
    pub workers: Mutex<Vec<WorkerId>>,
    /// Its counters.
    pub counters: ServerCounters,
    /// How long after they were accepted connections were sent to a worker, or to the first that has time.
    pub handed_over_after: Histogram,
    /// Accepting pauses: the bound is reached, or there are no descriptors.
    pub paused: AtomicBool,
}

impl ServerStats {
    /// For a server that has just been opened.
    pub fn new(key: Arc<str>, address: Arc<str>, port: Option<u16>, policy: &PolicyChoice) -> Self {
        ServerStats {
            policy: Mutex::new(policy.name().into()),
            policy_reason: Mutex::default(),
            decisions: Mutex::default(),
            open_slot: open_slot(&key),
            key,
            address,
            port,
            workers: Mutex::default(),
            counters: ServerCounters::default(),
            handed_over_after: Histogram::default(),
            paused: AtomicBool::new(false),
        }
    }

    /// A connection has been sent to a worker. What is sent once more counts once.
    pub fn count_hand_over(&self, connection: &mut Pending) {
        if let Some(age) = connection.hand_over() {
            self.handed_over_after.record(age);
        }
    }

    /// A connection goes to that worker.
    pub fn count_decision(&self, worker: WorkerId) {
        *self.decisions.lock().entry(worker).or_default() += 1;
    }
}

/// One worker, since it was spawned.
#[derive(Debug)]
pub struct WorkerStats {
    /// The number of the process that was spawned for it.
    pub pid: Option<u32>,
    /// How connections travel to it.
    pub lane: Mutex<LaneState>,
    /// By what the primary knows that it is idle.
    pub idle_by: Mutex<IdleBy>,
    /// What it shows, once it does.
    pub pulse: Mutex<Option<Arc<Pulse>>>,
    /// Why the connections that it keeps stay with it, where they should not.
    pub no_rest: Mutex<Option<Cow<'static, str>>>,
    /// Of how many servers it was found not to accept connections from its own socket: the primary does.
    pub absent: AtomicUsize,
    /// Its counters.
    pub counters: WorkerCounters,
    /// How long after they were accepted it took connections that came on its channel. Those on lanes count in its
    /// pulse.
    pub taken_after: Histogram,
    /// Where it is in its life.
    pub life: Life,
    /// How many connections it gets in comparison with others.
    pub weight: AtomicU32,
    /// The socket to it for whoever observes, until it is taken.
    pub link: Mutex<Option<OwnedFd>>,
    /// Its channel, for what is counted there.
    pub channel: Weak<Channel>,
}

/// When a worker was spawned, and what it has said since; in microseconds of the monotonic clock.
#[derive(Debug)]
pub struct Life {
    /// When it was added.
    pub spawned_at: u64,
    /// 0 until it has said that it runs.
    online_at: AtomicU64,
    /// 0 until it has said that it has a server.
    listening_at: AtomicU64,
}

impl Life {
    fn begin() -> Self {
        Life {
            spawned_at: os::monotonic_micros(),
            online_at: AtomicU64::new(0),
            listening_at: AtomicU64::new(0),
        }
    }

    /// When it has said that it runs.
    pub fn online_at(&self) -> Option<u64> {
        Some(self.online_at.load(Ordering::Relaxed)).filter(|at| *at != 0)
    }

    /// When it has said for the first time that it has a server.
    pub fn listening_at(&self) -> Option<u64> {
        Some(self.listening_at.load(Ordering::Relaxed)).filter(|at| *at != 0)
    }

    /// Returns for how many microseconds it has been there, if this is the first time.
    fn note(&self, at: &AtomicU64) -> Option<u64> {
        let now = os::monotonic_micros();
        let is_first = at.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        is_first.then(|| now.saturating_sub(self.spawned_at))
    }
}

impl WorkerStats {
    /// For a worker that has just been spawned.
    pub fn new(pid: Option<u32>, lane: LaneState, idle_by: IdleBy, channel: Weak<Channel>) -> Self {
        let counters = WorkerCounters::default();
        WorkerStats {
            pid,
            lane: Mutex::new(lane),
            idle_by: Mutex::new(idle_by),
            pulse: Mutex::default(),
            no_rest: Mutex::default(),
            absent: AtomicUsize::new(0),
            counters,
            taken_after: Histogram::default(),
            life: Life::begin(),
            weight: AtomicU32::new(1),
            link: Mutex::default(),
            channel,
        }
    }
}

/// All statistics, shared by the reactor and its readers.
#[derive(Debug, Default)]
pub struct Stats {
    /// The servers that are open.
    pub servers: RwLock<BTreeMap<ServerId, Arc<ServerStats>>>,
    /// The workers that have not closed.
    pub workers: RwLock<BTreeMap<WorkerId, Arc<WorkerStats>>>,
    /// How many workers have been spawned.
    pub spawned: Counter,
    /// How long workers took until they said that they run.
    pub online_after: Histogram,
    /// How long workers took until they had a server.
    pub listening_after: Histogram,
    /// What the primary's own event loop shows, while somebody observes it.
    pub pulse: Mutex<Option<Arc<Pulse>>>,
    /// How many messages wait to be sent to the primary that takes this one's place.
    pub unsent: AtomicUsize,
    /// The reactor has ended. Nothing is served any more.
    pub has_ended: AtomicBool,
}

impl Stats {
    /// A worker has been spawned.
    pub fn add_worker(&self, id: WorkerId, stats: Arc<WorkerStats>) {
        self.spawned.count();
        self.workers.write().insert(id, stats);
    }

    /// A worker has said that it runs.
    pub fn note_online(&self, worker: &WorkerStats) {
        if let Some(after) = worker.life.note(&worker.life.online_at) {
            self.online_after.record(after);
        }
    }

    /// A worker has said that it has a server.
    pub fn note_listening(&self, worker: &WorkerStats) {
        if let Some(after) = worker.life.note(&worker.life.listening_at) {
            self.listening_after.record(after);
        }
    }
}
