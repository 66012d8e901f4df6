//! The main threads of workers, as the kernel shows them to a primary that has to know who is idle.

use std::borrow::Cow;
use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Primary;
use super::idleness::IdleBy;
use super::stats::WorkerStats;
use crate::ids::WorkerId;
use crate::os::{self, EventLoop, Poller};

/// Why a worker that reads its lane shows nothing, at first.
const NOT_SHOWN: &str = "the worker has not shown what it does yet";

/// For how long one that is stopped is busy, as far as anybody knows: longer than all that are not.
const STOPPED_FOR: Duration = Duration::from_secs(365 * 24 * 3600);

/// The main thread of a worker, as the kernel shows it.
#[derive(Debug)]
pub struct MainThread {
    event_loop: EventLoop,
    /// Whether the process is the worker's: as the worker says so itself, or as it was found waiting for events once.
    is_known: Cell<bool>,
    /// When it was last found waiting, or the worker answered: it has not been busy for longer.
    seen_at: Cell<Instant>,
    known_as: IdleBy,
    stats: Arc<WorkerStats>,
}

impl MainThread {
    /// Of the process that was spawned for a worker that shows nothing itself, for this reason. None where the kernel does
    /// not tell; the worker's statistics say why.
    pub fn of_spawned(stats: &Arc<WorkerStats>, why: Cow<'static, str>) -> Option<Self> {
        let Some(pid) = stats.pid else {
            *stats.idle_by.lock() = IdleBy::InFlight("the number of its process is not known".into());
            return None;
        };
        Self::of(stats, pid, Poller::Any, false, IdleBy::Kernel(why))
    }

    /// Of the process that a worker says is its own, and the epoll instance that its loop waits at. If that is not the process
    /// that was spawned, it may have the number in another namespace than this one.
    pub fn of_claimed(stats: &Arc<WorkerStats>, pid: u32, poller: i32) -> Option<Self> {
        Self::of(stats, pid, Poller::Numbered(poller), stats.pid == Some(pid), IdleBy::Pulse)
    }

    fn of(
        stats: &Arc<WorkerStats>,
        pid: u32,
        poller: Poller,
        is_known: bool,
        known_as: IdleBy,
    ) -> Option<Self> {
        let opened = EventLoop::of(pid, poller);
        *stats.idle_by.lock() = match &opened {
            Ok(_) if is_known => known_as.clone(),
            Ok(_) => IdleBy::NOT_SEEN,
            Err(errno) => IdleBy::untold(pid, *errno),
        };
        opened.ok().map(|event_loop| MainThread {
            event_loop,
            is_known: Cell::new(is_known),
            seen_at: Cell::new(Instant::now()),
            known_as,
            stats: stats.clone(),
        })
    }

    /// It is not blocked: the worker has answered, for example.
    pub fn on_sign(&self) {
        self.seen_at.set(Instant::now());
    }

    /// For how long it may have been busy with one thing, and so may be again. Longer than anybody else if it is stopped: nothing
    /// takes back what it is sent on its channel.
    pub fn may_be_busy_for(&self) -> Duration {
        if self.is_stopped() { STOPPED_FOR } else { self.seen_at.get().elapsed() }
    }

    /// Its worker shows nothing itself for another reason than before.
    pub fn set_why(&mut self, why: Cow<'static, str>) {
        self.known_as = IdleBy::Kernel(why);
    }

    /// Whether it was found waiting for events once, or the worker has said that it is its own.
    pub fn is_known(&self) -> bool {
        self.is_known.get()
    }

    /// How often it has read and written so far; None where nobody counts.
    pub fn calls(&self) -> Option<u64> {
        self.event_loop.calls()
    }

    /// For how long its process has had a processor, if this thread has one or waits for one.
    pub fn had_processor(&self) -> Option<Duration> {
        self.stats.pid.filter(|_| self.event_loop.is_runnable()).and_then(os::processor_time)
    }

    /// Whether its process is stopped, which keeps it from everything. Not asked where the worker shows what it does.
    pub fn is_stopped(&self) -> bool {
        self.event_loop.is_stopped()
    }

    /// Whether it waits for events; None if it has never been found to do so, and may be another's. Costs a system call, or two
    /// where the worker shows nothing: one that is stopped seems to wait, and nothing takes back what it is sent on its channel.
    pub fn is_waiting(&self) -> Option<bool> {
        let is_waiting = self.event_loop.is_waiting() && !self.event_loop.is_stopped();
        if is_waiting {
            self.on_sign();
        }
        if is_waiting && !self.is_known.replace(true) {
            *self.stats.idle_by.lock() = self.known_as.clone();
        }
        self.is_known.get().then_some(is_waiting)
    }
}

impl<S> Primary<S> {
    /// A worker without a lane in use takes connections: the policy may ask whether it is idle.
    pub(super) fn watch_plain(&mut self, id: WorkerId) {
        let has_pulses = self.config.has_pulses();
        let Some(worker) = self.workers.get_mut(&id).filter(|_| has_pulses) else { return };
        let why = worker.stats.lane.lock().why_unused().cloned();
        if let Some(why) = why {
            worker.watch_main_thread(why);
        }
    }

    /// A policy that asks what workers do is new.
    pub(super) fn ask_what_it_does(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get(&id) else { return };
        match worker.used_lane() {
            Some(lane) if lane.has_page() => {}
            Some(_) => self.ask_for_pulse(id),
            None if worker.servers.is_empty() => {}
            None => self.watch_plain(id),
        }
    }

    /// A worker reads its lane: it is asked to show what it does, if the policy needs to know.
    pub(super) fn ask_for_pulse(&mut self, id: WorkerId) {
        let has_pulses = self.config.has_pulses();
        let counts_open = self.config.policies.count_open();
        let is_observed = self.config.is_observed;
        if let Some(worker) = self.workers.get_mut(&id).filter(|_| has_pulses)
            && let Some(lane) = &mut worker.lane
        {
            self.shared.open();
            let why = match lane.offer_pulse() {
                Ok(()) => NOT_SHOWN.into(),
                Err(errno) => format!("there is no memory to show in what it does: {errno}").into(),
            };
            lane.set_counts_open(counts_open);
            if is_observed {
                lane.set_observed(true);
            }
            worker.watch_main_thread(why);
        }
    }
}
