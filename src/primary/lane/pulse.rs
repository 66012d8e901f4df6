//! A worker's pulse as its primary reads it: whether it is idle, how much it can be given ahead, and what it has
//! received without having said so on its lane.

use std::cell::Cell;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;

use super::{Lane, LaneState};
use crate::error::Error;
use crate::ids::{ServerId, WorkerId};
use crate::os;
use crate::primary::config::{AHEAD, LANE_WINDOW};
use crate::primary::connection::{Decision, InFlight};
use crate::primary::main_thread::MainThread;
use crate::primary::stats::WorkerStats;
use crate::primary::{Context, Event, Primary};
use crate::proto::{LaneSeq, ToLane};
use crate::pulse::{CLAIMS_KEPT, Claims, Pulse, Reading, SharedClaim};
use crate::reactor::EventSink;
use crate::sched::Open;

/// How much a new measurement counts in the mean cost of a connection: one in so many.
const WEIGHT: u64 = 4;

/// A worker whose connections cost so many nanoseconds, or less, and whose loop turns counts as idle, whatever it does at this
/// moment: to ask the kernel would cost as much.
const LIGHT: u64 = 100_000;

/// For how many microseconds a loop that was found not to wait is not looked at again, if it has not turned since. One that is
/// kept from its processor on its way to waiting does not turn either.
const REMEMBERED: u64 = 400;

/// Over how many microseconds at least the utilization of a loop is taken.
const UTILIZATION_OVER: u64 = 50_000;

/// A number of connections that no worker has. What it says beyond that is nonsense.
const MAX_OPEN: u64 = 1 << 24;

/// The pulse of one worker.
#[derive(Debug)]
pub struct WorkerPulse {
    pub(super) pulse: Arc<Pulse>,
    /// None until the worker has said who it is, and where the kernel does not tell: what the worker itself says has to do then.
    event_loop: Option<MainThread>,
    is_identified: bool,
    /// Up to which number a report was read from the lane.
    reported: LaneSeq,
    /// How long the worker had been busy when its connections were counted last, in nanoseconds.
    busy: u64,
    /// What a connection keeps the worker busy for, in nanoseconds, lately.
    cost: Option<u64>,
    /// The turn of the loop in which it was found not to wait, and when.
    busy_in: Cell<(u64, u64)>,
    utilization: Cell<Utilization>,
    /// The worker has been asked to wake the primary, and has not.
    is_armed: bool,
    /// How many of its claims have been read.
    claims: u64,
}

/// How busy a loop has been lately.
#[derive(Clone, Copy, Debug, Default)]
struct Utilization {
    /// In thousandths.
    lately: u32,
    /// When that was found, in microseconds of the monotonic clock, and how long the loop had been busy by then, in nanoseconds.
    at: u64,
    busy: u64,
}

impl WorkerPulse {
    /// Of a worker that has been given the page just now.
    pub fn new(pulse: Arc<Pulse>) -> Self {
        WorkerPulse {
            pulse,
            event_loop: None,
            is_identified: false,
            reported: LaneSeq(0),
            busy: 0,
            cost: None,
            busy_in: Cell::new((0, 0)),
            utilization: Cell::default(),
            is_armed: false,
            claims: 0,
        }
    }

    /// Notes who the worker is, once it has said so.
    fn identify(&mut self, stats: &Arc<WorkerStats>) {
        if !self.is_identified
            && let Some((pid, poller)) = self.pulse.identity()
        {
            self.is_identified = true;
            *stats.pulse.lock() = Some(self.pulse.clone());
            self.event_loop = MainThread::of_claimed(stats, pid, poller);
        }
    }

    /// What the worker has received.
    pub fn received(&self) -> LaneSeq {
        self.pulse.read().received
    }

    /// Whether the worker has said who it is: it writes the page.
    pub fn is_identified(&self) -> bool {
        self.is_identified
    }

    /// A report up to this number has been read from the lane.
    pub fn on_report(&mut self, through: LaneSeq) {
        self.reported = self.reported.max(through);
    }

    /// Whether there is a report with refusals in the lane.
    pub fn has_refused(&self, reading: &Reading) -> bool {
        reading.refused > self.reported
    }

    /// Whether the worker's loop has turned lately.
    fn turns(&self) -> bool {
        let polled_at = self.pulse.read().polled_at;
        Duration::from_micros(os::monotonic_micros().saturating_sub(polled_at)) <= AHEAD
    }

    /// Whether the worker waits for events, or will in no time, since connections cost it little.
    pub fn is_idle(&self) -> bool {
        (self.is_light() && self.turns()) || self.is_waiting()
    }

    /// Whether the worker waits for events, as the kernel knows it. True where the kernel does not tell.
    pub fn is_waiting(&self) -> bool {
        let Some(event_loop) = &self.event_loop else { return true };
        let turns = self.pulse.read().turns;
        let now = os::monotonic_micros();
        let (busy_in, at) = self.busy_in.get();
        if busy_in == turns && now.saturating_sub(at) < REMEMBERED {
            return false;
        }
        let is_waiting = event_loop.is_waiting().unwrap_or(true);
        if !is_waiting {
            self.busy_in.set((turns, now));
        }
        is_waiting
    }

    /// How often the worker's loop has turned.
    pub fn turned(&self) -> u64 {
        self.pulse.read().turns
    }

    /// See [`MainThread::had_processor`].
    pub fn had_processor(&self) -> Option<Duration> {
        self.event_loop.as_ref()?.had_processor()
    }

    /// How much of the time the loop has been busy lately, in thousandths.
    fn utilization(&self) -> u32 {
        let now = os::monotonic_micros();
        let Utilization { lately, at, busy } = self.utilization.get();
        let passed = now.saturating_sub(at);
        if passed < UTILIZATION_OVER {
            return lately;
        }
        let busy_now = self.pulse.read().busy;
        let used = if at == 0 { 0 } else { busy_now.saturating_sub(busy) / passed };
        let lately = u32::try_from(used).map_or(1000, |used| used.min(1000));
        self.utilization.set(Utilization { lately, at: now, busy: busy_now });
        lately
    }

    /// So many connections were received until `reading`.
    pub fn measure(&mut self, reading: &Reading, connections: usize) {
        let since = std::mem::replace(&mut self.busy, reading.busy);
        let (Some(busy), Ok(connections @ 1..)) =
            (reading.busy.checked_sub(since), u64::try_from(connections))
        else {
            return;
        };
        // The first has the time before it in it.
        let sample = busy / connections;
        self.cost = (since > 0).then(|| match self.cost {
            None => sample,
            Some(cost) => cost - cost / WEIGHT + sample / WEIGHT,
        });
    }

    /// How long one more connection would wait behind so many that are under way; None if that would be too long, or nobody
    /// knows.
    pub fn wait_behind(&self, under_way: usize) -> Option<Duration> {
        let wait = Duration::from_nanos(self.cost?.saturating_mul(under_way as u64 + 1));
        (under_way < LANE_WINDOW && wait <= AHEAD && self.turns()).then_some(wait)
    }

    /// Has the primary woken when the worker has received `through`, and when it is about to wait. Returns whether it was not so
    /// before: the worker may have done so meanwhile.
    pub fn arm(&mut self, through: Option<LaneSeq>) -> bool {
        let is_new = !std::mem::replace(&mut self.is_armed, true);
        if is_new {
            self.pulse.arm(through);
        }
        is_new
    }

    /// What it has claimed on the shared lane since the last call.
    ///
    /// Errors: `ERR_CORRAL_BAD_FRAME` for more than anybody can have claimed.
    pub fn take_claims(&mut self) -> Result<Vec<SharedClaim>, Error> {
        let count = self.pulse.claims().count;
        let seen = std::mem::replace(&mut self.claims, count);
        if count == seen {
            return Ok(Vec::new());
        }
        if count.checked_sub(seen).is_none_or(|new| new > CLAIMS_KEPT) {
            return Err(Error::BadFrame("claims of what was never sent on the shared lane".into()));
        }
        let claims: Vec<_> = (seen..count).map(|number| self.pulse.read_claim(number)).collect();
        self.measure(&self.pulse.read(), claims.len());
        Ok(claims)
    }

    /// What the worker, which has ended, had received from the shared lane and not claimed.
    pub fn last_taken(&self) -> Option<SharedClaim> {
        self.pulse.taken_and_unclaimed().map(|seq| SharedClaim { seq, is_refused: false })
    }

    /// Whether it is about to claim something, or has done so since the last call of [`WorkerPulse::take_claims`].
    pub fn is_claiming(&self) -> bool {
        self.pulse.claims() != Claims { count: self.claims, is_receiving: false }
    }

    /// Has the primary woken when the worker claims `through` on the shared lane, or a later number.
    pub fn wake_at_claim(&self, through: LaneSeq) {
        self.pulse.wake_at_claim(through);
    }

    /// Whether connections cost the worker so little that it is not asked whether it waits for them.
    pub fn is_light(&self) -> bool {
        self.cost.is_some_and(|cost| cost <= LIGHT)
    }

    /// The worker has woken the primary.
    pub fn on_wake(&mut self) {
        self.is_armed = false;
    }
}

impl Lane {
    /// How many connections the worker has not received.
    fn unreceived(&self, pulse: &WorkerPulse) -> usize {
        let received = pulse.received();
        self.in_flight.len() - self.in_flight.partition_point(|(seq, _)| *seq <= received)
    }

    /// The pulse, once the worker writes it.
    fn shown(&self) -> Option<&WorkerPulse> {
        self.pulse.as_ref().filter(|pulse| pulse.is_identified())
    }

    /// Whether the worker has been given a page for its pulse.
    pub fn has_page(&self) -> bool {
        self.pulse.is_some()
    }

    /// Whether the worker shows what it does.
    pub fn has_pulse(&self) -> bool {
        self.shown().is_some()
    }

    /// Whether the worker waits for something to do; None if it has no pulse.
    pub fn is_idle(&self) -> Option<bool> {
        let pulse = self.shown()?;
        Some(self.state == LaneState::Open && self.unreceived(pulse) == 0 && pulse.is_idle())
    }

    /// As [`Lane::is_idle`], but not of a worker that is only about to be idle; nor of one without a pulse.
    pub fn is_waiting(&self) -> bool {
        let is_waiting = |pulse: &WorkerPulse| self.unreceived(pulse) == 0 && pulse.is_waiting();
        self.state == LaneState::Open && self.shown().is_some_and(is_waiting)
    }

    /// See [`MainThread::had_processor`].
    pub fn had_processor(&self) -> Option<Duration> {
        self.pulse.as_ref()?.had_processor()
    }

    /// How often the worker's loop has turned; None until it shows that.
    pub fn turns(&self) -> Option<u64> {
        let turns = self.pulse.as_ref()?.pulse.read().turns;
        (turns > 0).then_some(turns)
    }

    /// Whether connections are light work for the worker, as far as it shows.
    pub fn is_light(&self) -> bool {
        self.shown().is_some_and(WorkerPulse::is_light)
    }

    /// Whether the worker shows that it has received everything.
    pub fn has_nothing_ahead(&self) -> bool {
        self.shown().is_some_and(|pulse| self.unreceived(pulse) == 0)
    }

    /// What the worker has open of the server that is counted in this slot; None if it does not show that.
    pub fn open(&self, slot: usize) -> Option<Open> {
        let pulse = self.shown()?;
        let connections = pulse.pulse.open(slot).min(MAX_OPEN) + self.unreceived(pulse) as u64;
        Some(Open { connections, utilization: pulse.utilization() })
    }

    /// Whether the worker is to count what it has open.
    pub fn set_counts_open(&self, counts: bool) {
        if let Some(pulse) = &self.pulse {
            pulse.pulse.set_counts_open(counts);
        }
    }

    /// How long another connection would wait for the worker; None if that is long, or not known.
    pub fn wait(&self) -> Option<Duration> {
        let pulse = self.shown()?;
        pulse.wait_behind(self.unreceived(pulse))
    }

    /// Gives the worker a page for its pulse. Until it writes there, it reports on the lane.
    ///
    /// Errors: those of [`Pulse::create`] and of `sendmsg(2)`.
    pub(in crate::primary) fn offer_pulse(&mut self) -> Result<(), Errno> {
        let (pulse, file) = Pulse::create()?;
        ToLane::Pulse.encode(&mut self.outgoing);
        os::send_packet(self.ends.ours.as_fd(), &self.outgoing, Some(file.as_fd()))?;
        self.pulse = Some(WorkerPulse::new(Arc::new(pulse)));
        Ok(())
    }

    /// What the worker has received, as its pulse shows. None if the lane says more: before the worker writes the
    /// pulse, and while a report is in the lane that says what the worker has refused.
    ///
    /// Errors: `ERR_CORRAL_BAD_FRAME` for what was never sent.
    pub(super) fn settle_by_pulse(&mut self) -> Result<Option<Vec<(InFlight, Decision)>>, Error> {
        let Some(pulse) = &mut self.pulse else { return Ok(None) };
        pulse.identify(&self.stats);
        let reading = pulse.pulse.read();
        if !pulse.is_identified() || pulse.has_refused(&reading) {
            return Ok(None);
        }
        let is_next = self.in_flight.front().is_some_and(|(oldest, _)| *oldest <= reading.received);
        let is_probed = matches!(self.state, LaneState::Stalled(probe) if probe <= reading.received);
        if !(is_next || is_probed || reading.received > self.last_seq) {
            return Ok(Some(Vec::new()));
        }
        let decisions = self.settle(reading.received, &[])?;
        if let Some(pulse) = &mut self.pulse {
            pulse.measure(&reading, decisions.len());
        }
        Ok(Some(decisions))
    }

    /// Has the primary woken when the worker is about to wait, and before it runs dry. Returns whether it was not so before.
    pub(super) fn arm(&mut self) -> bool {
        let Some(pulse) = self.pulse.as_mut().filter(|pulse| pulse.is_identified()) else { return false };
        let half = self.in_flight.get(self.in_flight.len() / 2).map(|(seq, _)| *seq);
        let through = match self.state {
            LaneState::Stalled(probe) => Some(probe),
            _ => half.filter(|_| pulse.wait_behind(0).is_some()),
        };
        pulse.arm(through)
    }
}

impl<S: EventSink<Event>> Primary<S> {
    /// Books what a worker has received: as its pulse shows, or as it reports on the lane.
    pub(super) fn look(&mut self, context: &mut Context, id: WorkerId) {
        match self.settle_by_pulse(context, id) {
            Some(true) => self.serve_soon(id),
            Some(false) => self.collect(context, id),
            None => {}
        }
    }

    /// Books what a worker's pulse shows. Returns whether that is everything; None if the worker has gone.
    pub(super) fn settle_by_pulse(&mut self, context: &mut Context, id: WorkerId) -> Option<bool> {
        let worker = self.workers.get_mut(&id)?;
        let lane = worker.lane.as_mut()?;
        let settled = lane.settle_by_pulse();
        if lane.has_pulse() {
            worker.main_thread = None;
        }
        match settled {
            Ok(decisions) => {
                let is_everything = decisions.is_some();
                self.apply(id, decisions.unwrap_or_default());
                Some(is_everything)
            }
            Err(error) => {
                self.close_worker(context, id, Some(error));
                None
            }
        }
    }

    /// Connections of a server wait: the first of its workers with a pulse that is about to be idle wakes the
    /// primary. Returns whether one may have become idle meanwhile.
    pub(in crate::primary) fn await_idle(&mut self, context: &mut Context, id: ServerId) -> bool {
        let Some(server) = self.servers.get(&id) else { return false };
        let (mut has_pulses, mut is_new) = (false, false);
        for id in server.members() {
            let Some(lane) = self.workers.get_mut(id).and_then(|worker| worker.lane.as_mut()) else {
                continue;
            };
            has_pulses |= lane.has_pulse();
            is_new |= lane.arm();
        }
        if has_pulses {
            self.awaiting_idle.insert(id);
            self.look_later(context);
        }
        is_new
    }
}
