//! The primary's counts as JavaScript sees them, and what they are.

#![cfg_attr(test, allow(dead_code, reason = "a build for tests registers nothing with Node-API"))]

use napi_derive::napi;

use crate::observation::{Description, Descriptions, Load, Server, Snapshot, Worker};
use crate::primary::descriptions;

/// What a number is.
#[napi(object, object_from_js = false)]
pub struct NativeDescription {
    pub name: String,
    #[napi(ts_type = "'counter' | 'gauge'")]
    pub kind: &'static str,
    #[napi(ts_type = "'bytes' | 'connections' | 'messages' | 'times'")]
    pub unit: String,
    /// What it says, in one sentence.
    pub help: String,
}

impl From<Description> for NativeDescription {
    fn from(description: Description) -> Self {
        NativeDescription {
            name: camel_case(&description.name),
            kind: if description.is_counter { "counter" } else { "gauge" },
            unit: description.unit.unwrap_or("times".to_owned()),
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
    let list = |descriptions: Vec<Description>| descriptions.into_iter().map(Into::into).collect();
    let Descriptions { server, worker, channel, .. } = descriptions();
    NativeDescriptions { server: list(server), worker: list(worker), channel: list(channel) }
}

/// A worker's part of a server; see `ServerLoad` of index.d.ts.
#[napi(object, object_from_js = false)]
pub struct NativeLoad {
    pub worker: u32,
    pub open: Option<f64>,
    pub decisions: f64,
}

/// One server; see `ServerStats` of index.d.ts.
#[napi(object, object_from_js = false)]
pub struct NativeServerStats {
    pub key: String,
    pub address: String,
    pub port: Option<u16>,
    pub policy: String,
    pub policy_reason: Option<String>,
    pub workers: Vec<u32>,
    pub load: Vec<NativeLoad>,
    /// As `describeCounters().server` says.
    pub counters: Vec<f64>,
    pub paused: bool,
}

impl From<Server> for NativeServerStats {
    fn from(server: Server) -> Self {
        let load = |load: &Load| NativeLoad {
            worker: load.worker,
            open: load.open.map(|open| open as f64),
            decisions: load.decisions as f64,
        };
        NativeServerStats {
            workers: server.load.iter().map(|load| load.worker).collect(),
            load: server.load.iter().map(load).collect(),
            key: server.key,
            address: server.address,
            port: server.port,
            policy: server.policy,
            policy_reason: server.policy_reason,
            counters: numbers(server.counters),
            paused: server.paused,
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
    #[napi(ts_type = "'pulse' | 'kernel' | 'in-flight'")]
    pub idle_by: String,
    pub idle_reason: Option<String>,
    pub keep_alive_reason: Option<String>,
    /// Whether its channel has moved.
    pub moved: bool,
    pub stalled: bool,
    /// How often its event loop has begun to wait, if it shows that.
    pub turns: Option<f64>,
    /// As `describeCounters().worker` says.
    pub counters: Vec<f64>,
    /// As `describeCounters().channel` says.
    pub traffic: Vec<f64>,
}

impl From<Worker> for NativeWorkerStats {
    fn from(worker: Worker) -> Self {
        NativeWorkerStats {
            id: worker.id,
            lane: if worker.has_lane { "lane" } else { "channel" },
            lane_reason: worker.lane_reason,
            idle_by: worker.idle_by,
            idle_reason: worker.idle_reason,
            keep_alive_reason: worker.keep_alive_reason,
            moved: worker.moved,
            stalled: worker.stalled,
            turns: worker.turns.map(|turns| turns as f64),
            counters: numbers(worker.counters),
            traffic: numbers(worker.traffic),
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

impl From<Snapshot> for NativeStats {
    fn from(snapshot: Snapshot) -> Self {
        NativeStats {
            servers: snapshot.servers.into_iter().map(Into::into).collect(),
            workers: snapshot.workers.into_iter().map(Into::into).collect(),
        }
    }
}
