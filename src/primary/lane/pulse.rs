//! A worker's pulse as its primary reads it: whether it is idle, how much it can be given ahead, and what it has
//! received without having said so on its lane.

use std::cell::Cell;
use std::os::fd::AsFd;
use std::time::Duration;

use super::{Lane, LaneState};
use crate::error::Error;
use crate::ids::{ServerId, WorkerId};
use crate::os::{self, EventLoop};
use crate::primary::config::{AHEAD, LANE_WINDOW};
use crate::primary::connection::{Decision, InFlight};
use crate::primary::{Context, Event, Primary};
use crate::proto::{LaneSeq, ToLane};
use crate::pulse::{Pulse, Reading};
use crate::reactor::EventSink;

/// How much a new measurement counts in the mean cost of a connection: one in so many.
const WEIGHT: u64 = 4;

/// A worker whose connections cost so many nanoseconds, or less, and whose loop turns counts as idle, whatever it does at this
/// moment: to ask the kernel would cost as much.
const LIGHT: u64 = 100_000;

/// For how many microseconds a loop that was found not to wait is not looked at again, if it has not turned since. One that is
/// kept from its processor on its way to waiting does not turn either.
const REMEMBERED: u64 = 400;

/// The pulse of one worker.
#[derive(Debug)]
pub struct WorkerPulse {
    pulse: Pulse,
    /// None until the worker has said who it is, and where the kernel does not tell.
    event_loop: Option<EventLoop>,
    is_identified: bool,
    /// Up to which number a report was read from the lane.
    reported: LaneSeq,
    /// How long the worker had been busy when its connections were counted last, in nanoseconds.
    busy: u64,
    /// What a connection keeps the worker busy for, in nanoseconds, lately.
    cost: Option<u64>,
    /// The turn of the loop in which it was found not to wait, and when.
    busy_in: Cell<(u64, u64)>,
    /// The worker has been asked to wake the primary, and has not.
    is_armed: bool,
}

impl WorkerPulse {
    /// Of a worker that has been given the page just now.
    pub fn new(pulse: Pulse) -> Self {
        WorkerPulse {
            pulse,
            event_loop: None,
            is_identified: false,
            reported: LaneSeq(0),
            busy: 0,
            cost: None,
            busy_in: Cell::new((0, 0)),
            is_armed: false,
        }
    }

    /// What the worker has written.
    pub fn read(&mut self) -> Reading {
        if !self.is_identified
            && let Some((pid, poller)) = self.pulse.identity()
        {
            self.is_identified = true;
            // Where the kernel does not tell, what the worker itself says has to do.
            self.event_loop = EventLoop::of(pid, poller).ok();
        }
        self.pulse.read()
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
        (self.cost.is_some_and(|cost| cost <= LIGHT) && self.turns()) || self.is_waiting()
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
        let is_waiting = event_loop.is_waiting();
        if !is_waiting {
            self.busy_in.set((turns, now));
        }
        is_waiting
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

    /// How long another connection would wait for the worker; None if that is long, or not known.
    pub fn wait(&self) -> Option<Duration> {
        let pulse = self.shown()?;
        pulse.wait_behind(self.unreceived(pulse))
    }

    /// Gives the worker a page for its pulse. Where that cannot be, the worker reports on the lane.
    pub(super) fn offer_pulse(&mut self) {
        let Ok((pulse, file)) = Pulse::create() else { return };
        ToLane::Pulse.encode(&mut self.outgoing);
        if os::send_packet(self.ends.ours.as_fd(), &self.outgoing, Some(file.as_fd())).is_ok() {
            self.pulse = Some(WorkerPulse::new(pulse));
        }
    }

    /// What the worker has received, as its pulse shows. None if the lane says more: before the worker writes the
    /// pulse, and while a report is in the lane that says what the worker has refused.
    ///
    /// Errors: `ERR_CORRAL_BAD_FRAME` for what was never sent.
    pub(super) fn settle_by_pulse(&mut self) -> Result<Option<Vec<(InFlight, Decision)>>, Error> {
        let Some(pulse) = &mut self.pulse else { return Ok(None) };
        let reading = pulse.read();
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
        match self.lane_mut(id)?.settle_by_pulse() {
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
