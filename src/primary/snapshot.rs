//! What the primary counts, as it is at one moment: for `cluster.stats()` and for metrics. Any thread may ask.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::idleness::IdleBy;
use super::lane::LaneState;
use super::stats::{ServerCounters, ServerStats, Stats, WorkerCounters, WorkerStats};
use crate::channel::Traffic;
use crate::counters::{self, Kind, Unit};
use crate::histogram::{BOUNDS, Durations};
use crate::ids::WorkerId;
use crate::observation::{self as seen, Descriptions, RUNTIME, Snapshot};
use crate::os::{self, EventLoop, Poller};
use crate::pulse::{Pulse, RUNTIME_NUMBERS};

const _: () = assert!(RUNTIME.len() <= RUNTIME_NUMBERS);

/// What the numbers of a [`Snapshot`] are.
pub fn descriptions() -> Descriptions {
    let list = |descriptions: &[counters::Description]| descriptions.iter().map(description).collect();
    Descriptions {
        server: list(ServerCounters::DESCRIPTIONS),
        worker: list(WorkerCounters::DESCRIPTIONS),
        channel: list(Traffic::DESCRIPTIONS),
        bounds: BOUNDS.to_vec(),
    }
}

fn description(description: &counters::Description) -> seen::Description {
    seen::Description {
        name: description.name.to_owned(),
        is_counter: description.kind == Kind::Counter,
        unit: match description.unit {
            Unit::Bytes => Some("bytes".to_owned()),
            Unit::Connections => Some("connections".to_owned()),
            Unit::Messages => Some("messages".to_owned()),
            Unit::Times => None,
        },
        help: description.help.to_owned(),
    }
}

/// Of how many processes the loops stay open, which costs a descriptor each. Those of others are opened each time.
const MAX_OPEN: usize = 64;

/// The event loops of processes as the kernel shows them, for whoever looks again and again: workers by their ids.
#[derive(Debug, Default)]
pub struct Loops(HashMap<Option<WorkerId>, EventLoop>);

impl Loops {
    /// Whether the loop of this process waits for events at this number; None where the kernel does not tell.
    fn is_waiting(&mut self, worker: Option<WorkerId>, pid: u32, poller: i32) -> Option<bool> {
        if let Some(known) = self.0.get(&worker).filter(|known| known.is_of(pid, poller)) {
            return Some(known.is_waiting());
        }
        let opened = EventLoop::of(pid, Poller::Numbered(poller)).ok()?;
        let is_waiting = opened.is_waiting();
        if self.0.len() < MAX_OPEN || self.0.contains_key(&worker) {
            self.0.insert(worker, opened);
        }
        Some(is_waiting)
    }
}

impl Stats {
    /// What is counted now. Costs the reactor nothing.
    pub fn snapshot(&self, loops: &mut Loops) -> Snapshot {
        let workers = self.workers.read();
        let servers = self.servers.read();
        loops.0.retain(|id, _| id.is_none_or(|id| workers.contains_key(&id)));
        Snapshot {
            now: os::monotonic_micros(),
            has_ended: self.has_ended.load(Ordering::Relaxed),
            servers: servers.values().map(|stats| server(stats, &workers)).collect(),
            workers: workers.iter().filter_map(|(id, stats)| worker(*id, stats, loops)).collect(),
            primary: self
                .pulse
                .lock()
                .as_deref()
                .and_then(|pulse| event_loop(pulse, None, Some(std::process::id()), loops)),
            spawned: self.spawned.get(),
            online_after: durations(self.online_after.read()),
            listening_after: durations(self.listening_after.read()),
        }
    }
}

fn server(stats: &ServerStats, workers: &BTreeMap<WorkerId, Arc<WorkerStats>>) -> seen::Server {
    let members = stats.workers.lock().clone();
    let decisions = stats.decisions.lock();
    let load = |id: &WorkerId| {
        let pulse = workers.get(id).and_then(|worker| worker.pulse.lock().clone());
        let open = pulse.filter(|pulse| pulse.counts_open()).map(|pulse| pulse.open(stats.open_slot));
        seen::Load { worker: id.0, open, decisions: decisions.get(id).copied().unwrap_or_default() }
    };
    seen::Server {
        load: members.iter().map(load).collect(),
        key: stats.key.to_string(),
        address: stats.address.to_string(),
        port: stats.port,
        policy: stats.policy.lock().to_string(),
        policy_reason: stats.policy_reason.lock().as_ref().map(ToString::to_string),
        counters: stats.counters.values(),
        paused: stats.paused.load(Ordering::Relaxed),
        handed_over_after: durations(stats.handed_over_after.read()),
    }
}

/// None of one whose channel has just closed.
fn worker(id: WorkerId, stats: &WorkerStats, loops: &mut Loops) -> Option<seen::Worker> {
    let channel = stats.channel.upgrade()?;
    let (lane_reason, has_stalled) = match &*stats.lane.lock() {
        LaneState::Unused(reason) => (Some(reason.to_string()), false),
        LaneState::Open => (None, false),
        LaneState::Stalled(_) => (None, true),
    };
    let (idle_by, idle_reason) = match &*stats.idle_by.lock() {
        IdleBy::Pulse => ("pulse", None),
        IdleBy::Kernel(reason) => ("kernel", Some(reason.to_string())),
        IdleBy::InFlight(reason) => ("in-flight", Some(reason.to_string())),
    };
    let pulse = stats.pulse.lock().clone();
    let on_lanes = pulse.as_deref().map(Pulse::taken_after).unwrap_or_default();
    Some(seen::Worker {
        id: id.0,
        pid: stats.pid,
        weight: stats.weight.load(Ordering::Relaxed),
        has_lane: lane_reason.is_none(),
        lane_reason,
        idle_by: idle_by.to_owned(),
        idle_reason,
        keep_alive_reason: stats.no_rest.lock().as_ref().map(ToString::to_string),
        moved: channel.has_moved_reading(),
        stalled: has_stalled || stats.absent.load(Ordering::Relaxed) > 0,
        turns: pulse.as_deref().map(|pulse| pulse.read().turns),
        spawned_at: stats.life.spawned_at,
        online_at: stats.life.online_at(),
        listening_at: stats.life.listening_at(),
        counters: stats.counters.values(),
        traffic: channel.traffic().values(),
        taken_after: durations(stats.taken_after.read().and(on_lanes)),
        event_loop: pulse.as_deref().and_then(|pulse| event_loop(pulse, Some(id), stats.pid, loops)),
    })
}

/// The loop of the process that is known to have this number. None until it has said who it is, and has turned.
fn event_loop(
    pulse: &Pulse,
    worker: Option<WorkerId>,
    known_as: Option<u32>,
    loops: &mut Loops,
) -> Option<seen::Loop> {
    let (pid, poller) = pulse.identity()?;
    // What it says is its number may be one of another namespace, or anything.
    let is_known = known_as == Some(pid);
    // Before it is read: a loop that goes on meanwhile has turned.
    let is_waiting = if is_known { loops.is_waiting(worker, pid, poller) } else { None };
    let reading = pulse.read();
    (reading.turns > 0).then(|| seen::Loop {
        is_waiting,
        turns: reading.turns,
        polled_at: reading.polled_at,
        busy: reading.busy,
        busy_spells: durations(pulse.busy_spells()),
        runtime: pulse.runtime()[..RUNTIME.len()].to_vec(),
    })
}

fn durations(Durations { buckets, sum }: Durations) -> seen::Durations {
    seen::Durations { buckets: buckets.to_vec(), sum }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_loop_is_opened_once_and_a_worker_s_next_process_is_another() {
        let mut loops = Loops::default();
        let spawn = || Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let (mut one, mut other) = (spawn(), spawn());
        let id = Some(WorkerId(1));
        for (pid, poller) in [(one.id(), 7), (one.id(), 7), (one.id(), 8), (other.id(), 8)] {
            // It waits, but not there.
            assert_eq!(loops.is_waiting(id, pid, poller), Some(false));
            assert!(loops.0.len() == 1 && loops.0[&id].is_of(pid, poller));
        }
        for child in [&mut one, &mut other] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert_eq!(loops.is_waiting(id, one.id(), 8), None);
        for number in 0..2 * MAX_OPEN as u32 {
            assert!(loops.is_waiting(Some(WorkerId(number)), std::process::id(), 9).is_some());
        }
        assert_eq!(loops.0.len(), MAX_OPEN);
    }
}
