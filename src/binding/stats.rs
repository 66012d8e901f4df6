//! The primary's counts as JavaScript sees them, and what they are.

#![cfg_attr(test, allow(dead_code, reason = "a build for tests registers nothing with Node-API"))]

use std::sync::atomic::Ordering;

use napi_derive::napi;

use crate::channel::{Channel, Traffic};
use crate::counters::{Description, Kind, Unit};
use crate::ids::WorkerId;
use crate::primary::{LaneState, ServerCounters, ServerStats, WorkerCounters, WorkerStats};

/// What a number is.
#[napi(object, object_from_js = false)]
pub struct NativeDescription {
    pub name: String,
    #[napi(ts_type = "'counter' | 'gauge'")]
    pub kind: &'static str,
    #[napi(ts_type = "'bytes' | 'connections' | 'messages' | 'times'")]
    pub unit: &'static str,
    /// What it says, in one sentence.
    pub help: &'static str,
}

impl From<&Description> for NativeDescription {
    fn from(description: &Description) -> Self {
        NativeDescription {
            name: camel_case(description.name),
            kind: match description.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
            },
            unit: match description.unit {
                Unit::Bytes => "bytes",
                Unit::Connections => "connections",
                Unit::Messages => "messages",
                Unit::Times => "times",
            },
            help: description.help,
        }
    }
}

fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |camel, word| camel + &word[..1].to_uppercase() + &word[1..])
}

/// What is counted of each server, and of each worker and its channel.
#[napi(object, object_from_js = false)]
pub struct NativeDescriptions {
    pub server: Vec<NativeDescription>,
    pub worker: Vec<NativeDescription>,
    pub channel: Vec<NativeDescription>,
}

/// What the numbers of `stats()` are, in their order.
#[napi]
pub fn describe_counters() -> NativeDescriptions {
    let list = |descriptions: &[Description]| descriptions.iter().map(Into::into).collect();
    NativeDescriptions {
        server: list(ServerCounters::DESCRIPTIONS),
        worker: list(WorkerCounters::DESCRIPTIONS),
        channel: list(Traffic::DESCRIPTIONS),
    }
}

/// One server; see `ServerStats` of index.d.ts.
#[napi(object, object_from_js = false)]
pub struct NativeServerStats {
    pub key: String,
    pub address: String,
    pub port: Option<u16>,
    pub workers: Vec<u32>,
    /// As `describeCounters().server` says.
    pub counters: Vec<f64>,
    pub paused: bool,
}

impl From<&ServerStats> for NativeServerStats {
    fn from(stats: &ServerStats) -> Self {
        NativeServerStats {
            key: stats.key.to_string(),
            address: stats.address.to_string(),
            port: stats.port,
            workers: stats.workers.lock().iter().map(|id| id.0).collect(),
            counters: numbers(stats.counters.values()),
            paused: stats.paused.load(Ordering::Relaxed),
        }
    }
}

/// One worker; see `WorkerStats` of index.d.ts.
#[napi(object, object_from_js = false)]
pub struct NativeWorkerStats {
    pub id: u32,
    #[napi(ts_type = "'lane' | 'channel'")]
    pub lane: &'static str,
    pub lane_reason: Option<String>,
    /// Whether its channel has moved.
    pub moved: bool,
    pub stalled: bool,
    /// As `describeCounters().worker` says.
    pub counters: Vec<f64>,
    /// As `describeCounters().channel` says.
    pub traffic: Vec<f64>,
}

impl NativeWorkerStats {
    pub(super) fn new(id: WorkerId, stats: &WorkerStats, channel: &Channel) -> Self {
        let (lane, lane_reason, stalled) = match &*stats.lane.lock() {
            LaneState::Unused(reason) => ("channel", Some(reason.to_string()), false),
            LaneState::Open => ("lane", None, false),
            LaneState::Stalled(_) => ("lane", None, true),
        };
        NativeWorkerStats {
            id: id.0,
            lane,
            lane_reason,
            moved: channel.has_moved_reading(),
            stalled,
            counters: numbers(stats.counters.values()),
            traffic: numbers(channel.traffic().values()),
        }
    }
}

/// As JavaScript has them: whole up to 2^53.
fn numbers(values: Vec<u64>) -> Vec<f64> {
    values.into_iter().map(|value| value as f64).collect()
}

/// Everything that the primary counts.
#[napi(object, object_from_js = false)]
pub struct NativeStats {
    pub servers: Vec<NativeServerStats>,
    pub workers: Vec<NativeWorkerStats>,
}
