//! The primary's counts as JavaScript sees them.

use std::sync::atomic::Ordering;

use napi_derive::napi;

use crate::channel::Channel;
use crate::ids::WorkerId;
use crate::primary::{LaneState, ServerStats, WorkerStats};

/// One server's counts; see `ServerStats` of index.d.ts.
#[napi(object)]
pub struct NativeServerStats {
    pub key: String,
    pub address: String,
    pub port: Option<u16>,
    pub workers: Vec<u32>,
    pub pending: f64,
    pub accepted: f64,
    pub dispatched: f64,
    pub refused: f64,
    pub recalled: f64,
    pub paused: bool,
}

impl From<&ServerStats> for NativeServerStats {
    fn from(stats: &ServerStats) -> Self {
        NativeServerStats {
            key: stats.key.to_string(),
            address: stats.address.to_string(),
            port: stats.port,
            workers: stats.workers.lock().iter().map(|id| id.0).collect(),
            pending: stats.pending.get() as f64,
            accepted: stats.accepted.get() as f64,
            dispatched: stats.dispatched.get() as f64,
            refused: stats.refused.get() as f64,
            recalled: stats.recalled.get() as f64,
            paused: stats.paused.load(Ordering::Relaxed),
        }
    }
}

/// One worker's counts; see `WorkerStats` of index.d.ts.
#[napi(object)]
pub struct NativeWorkerStats {
    pub id: u32,
    #[napi(ts_type = "'lane' | 'channel'")]
    pub lane: String,
    pub lane_reason: Option<String>,
    /// Whether its channel has moved.
    pub moved: bool,
    pub stalled: bool,
    pub dispatched: f64,
    pub in_flight: f64,
    pub refused: f64,
    pub recalled: f64,
    pub stalls: f64,
    pub messages_sent: f64,
    pub bytes_sent: f64,
    pub messages_received: f64,
    pub bytes_received: f64,
    pub queued_bytes: f64,
}

impl NativeWorkerStats {
    pub(super) fn new(id: WorkerId, stats: &WorkerStats, channel: &Channel) -> Self {
        let (lane, lane_reason) = match &*stats.lane.lock() {
            LaneState::Unused(reason) => ("channel", Some(reason.to_string())),
            LaneState::Open | LaneState::Stalled(_) => ("lane", None),
        };
        let traffic = channel.traffic();
        let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed) as f64;
        NativeWorkerStats {
            id: id.0,
            lane: lane.to_owned(),
            lane_reason,
            moved: channel.has_moved_reading(),
            stalled: matches!(*stats.lane.lock(), LaneState::Stalled(_)),
            dispatched: stats.dispatched.get() as f64,
            in_flight: stats.in_flight.get() as f64,
            refused: stats.refused.get() as f64,
            recalled: stats.recalled.get() as f64,
            stalls: stats.stalls.get() as f64,
            messages_sent: load(&traffic.messages_sent),
            bytes_sent: load(&traffic.bytes_sent),
            messages_received: load(&traffic.messages_received),
            bytes_received: load(&traffic.bytes_received),
            queued_bytes: load(&traffic.bytes_queued),
        }
    }
}

/// Everything that the primary counts.
#[napi(object)]
pub struct NativeStats {
    pub servers: Vec<NativeServerStats>,
    pub workers: Vec<NativeWorkerStats>,
}
