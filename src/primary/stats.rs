//! Counters and descriptions of servers and workers, for any thread to read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::{Mutex, RwLock};

use super::lane::LaneState;
use crate::counters::counters;
use crate::ids::{ServerId, WorkerId};

counters! {
    /// What is counted of one server since it was opened.
    pub struct ServerCounters {
        /// Connections that wait in the primary now.
        pub pending: Gauge<Connections>,
        /// Connections that the primary has accepted; 0 where workers accept themselves.
        pub accepted: Counter<Connections>,
        /// Connections that a worker has taken.
        pub dispatched: Counter<Connections>,
        /// How often a worker refused a connection.
        pub refused: Counter<Times>,
        /// How often a connection was taken back from a worker that did not receive it.
        pub recalled: Counter<Times>,
    }
}

counters! {
    /// What is counted of one worker since it was spawned.
    pub struct WorkerCounters {
        /// How often the worker received nothing, so that others got its connections. Only known of a lane.
        pub stalls: Counter<Times>,
        /// Connections that the worker has taken.
        pub dispatched: Counter<Connections>,
        /// Connections on their way to the worker now.
        pub in_flight: Gauge<Connections>,
        /// Connections that the worker has refused.
        pub refused: Counter<Connections>,
        /// Connections that were taken back from the worker.
        pub recalled: Counter<Connections>,
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
    /// Its workers, in the order in which they came.
    pub workers: Mutex<Vec<WorkerId>>,
    /// Its counters.
    pub counters: ServerCounters,
    /// Accepting pauses: the bound is reached, or there are no descriptors.
    pub paused: AtomicBool,
}

impl ServerStats {
    /// For a server that has just been opened.
    pub fn new(key: Arc<str>, address: Arc<str>, port: Option<u16>) -> Self {
        ServerStats {
            key,
            address,
            port,
            workers: Mutex::default(),
            counters: ServerCounters::default(),
            paused: AtomicBool::new(false),
        }
    }
}

/// One worker, since it was spawned.
#[derive(Debug)]
pub struct WorkerStats {
    /// How connections travel to it.
    pub lane: Mutex<LaneState>,
    /// Its counters.
    pub counters: WorkerCounters,
}

impl WorkerStats {
    /// For a worker that has just been spawned.
    pub fn new(lane: LaneState) -> Self {
        WorkerStats { lane: Mutex::new(lane), counters: WorkerCounters::default() }
    }
}

/// All statistics, shared by the reactor and its readers.
#[derive(Debug, Default)]
pub struct Stats {
    /// The servers that are open.
    pub servers: RwLock<BTreeMap<ServerId, Arc<ServerStats>>>,
    /// The workers that have not closed.
    pub workers: RwLock<BTreeMap<WorkerId, Arc<WorkerStats>>>,
}
