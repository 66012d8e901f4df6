//! What the primary counts. The reactor writes, whoever asks reads: atomics, so that asking costs the reactor nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use super::lane::LaneState;
use crate::ids::{ServerId, WorkerId};

/// A number that one thread changes and any thread reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one more.
    pub fn count(&self) {
        self.add(1);
    }

    /// Counts several more.
    pub fn add(&self, more: usize) {
        self.0.fetch_add(more as u64, Ordering::Relaxed);
    }

    /// Counts one less, of what goes up and down.
    pub fn uncount(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// For what goes up and down.
    pub fn set(&self, value: usize) {
        self.0.store(value as u64, Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Of one server, since it was opened.
#[derive(Debug)]
pub struct ServerStats {
    /// Its key in the protocol.
    pub key: Arc<str>,
    /// What it is bound to: an IP address or a path.
    pub address: Arc<str>,
    /// None for a path.
    pub port: Option<u16>,
    /// Who takes part, in the order in which they came.
    pub workers: Mutex<Vec<WorkerId>>,
    /// Connections that wait in the primary now.
    pub pending: Counter,
    /// Connections that the primary has accepted.
    pub accepted: Counter,
    /// Of these, those that a worker has taken.
    pub dispatched: Counter,
    /// How often a worker has refused one.
    pub refused: Counter,
    /// How often one was taken back from a worker that did not receive it.
    pub recalled: Counter,
    /// Nothing is accepted at present: the bound is reached, or there are no descriptors.
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
            pending: Counter::default(),
            accepted: Counter::default(),
            dispatched: Counter::default(),
            refused: Counter::default(),
            recalled: Counter::default(),
            paused: AtomicBool::new(false),
        }
    }
}

/// Of one worker, since it was spawned.
#[derive(Debug)]
pub struct WorkerStats {
    /// How connections travel to it.
    pub lane: Mutex<LaneState>,
    /// Connections that it has taken.
    pub dispatched: Counter,
    /// Connections on their way to it now.
    pub in_flight: Counter,
    /// Connections that it has refused.
    pub refused: Counter,
    /// Connections that were taken back from it.
    pub recalled: Counter,
    /// How often it was found not to receive what is sent to it.
    pub stalls: Counter,
}

impl WorkerStats {
    /// For a worker that has just been spawned.
    pub fn new(lane: LaneState) -> Self {
        WorkerStats {
            lane: Mutex::new(lane),
            dispatched: Counter::default(),
            in_flight: Counter::default(),
            refused: Counter::default(),
            recalled: Counter::default(),
            stalls: Counter::default(),
        }
    }
}

/// Everything that is counted, shared by the reactor and whoever asks.
#[derive(Debug, Default)]
pub struct Stats {
    /// The servers that are open.
    pub servers: RwLock<BTreeMap<ServerId, Arc<ServerStats>>>,
    /// The workers that have not closed.
    pub workers: RwLock<BTreeMap<WorkerId, Arc<WorkerStats>>>,
}
