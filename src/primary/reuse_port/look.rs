//! Looks at the queues of the workers' own listening sockets, for connections that nobody accepts.
//!
//! At rest nobody looks: the first connection on any of the sockets wakes the reactor, which then looks at intervals
//! until nothing has come for a while. So a connection costs the primary next to nothing, however many there are.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::unread::{Absence, Finding, Sign, Unread};
use crate::error::Error;
use crate::ids::{ServerId, WorkerId};
use crate::os;
use crate::primary::config::{ABSENT_TICK, QUEUE_TICK, QUIET_LOOKS};
use crate::primary::server::Mode;
use crate::primary::siblings::SlotIndex;
use crate::primary::worker::Worker;
use crate::primary::{Context, Event, Primary, Source, Timer};
use crate::reactor::{EventSink, Interest, ReadySet, Registration, TimerId};

/// A socket of a server.
pub type Place = (ServerId, SlotIndex);

/// The queues of all sockets that workers have, of all servers.
#[derive(Debug, Default)]
pub struct Queues {
    /// Those that workers read, made for the first one. It wakes the reactor while nobody looks.
    set: Option<(ReadySet, Registration)>,
    numbers: HashMap<Place, usize>,
    places: HashMap<usize, Place>,
    next: usize,
    /// Those in which connections were found.
    unread: BTreeMap<Place, Unread>,
    /// Those whose workers were found not to read them: the primary stands in.
    absent: BTreeMap<Place, Absence>,
    /// How many more looks are to find nothing before nobody looks.
    looks_left: u32,
    timer: Option<TimerId>,
}

impl Queues {
    /// Has a queue looked at. The owner keeps the socket open until it has removed it.
    ///
    /// Errors: `EMFILE`, `ENFILE`, `ENOMEM`.
    fn add(&mut self, context: &mut Context, place: Place, socket: BorrowedFd<'_>) -> Result<(), Error> {
        let set = match &self.set {
            Some((set, _)) => set,
            None => {
                let set = ReadySet::new()?;
                let registration = Registration::new(context, set.as_raw_fd(), Source::Queues)?;
                &self.set.insert((set, registration)).0
            }
        };
        set.add(socket, self.next)?;
        self.numbers.insert(place, self.next);
        self.places.insert(self.next, place);
        self.next += 1;
        Ok(())
    }

    /// No worker has the socket any more, or it is about to be closed. Returns how its worker was absent.
    pub fn remove(&mut self, place: Place, socket: BorrowedFd<'_>) -> Option<Absence> {
        self.unread.remove(&place);
        if let Some(number) = self.numbers.remove(&place) {
            self.places.remove(&number);
        }
        if let Some((set, _)) = &self.set {
            set.remove(socket);
        }
        self.absent.remove(&place)
    }

    /// The first connection on any of them wakes the reactor from now on, or does so no more.
    fn set_wake(&mut self, context: &mut Context, interest: Interest) -> Result<(), Error> {
        match &mut self.set {
            Some((set, registration)) => registration.wait_for(context, set.as_raw_fd(), interest),
            None => Ok(()),
        }
    }

    /// Those in which something has arrived.
    fn arrivals(&mut self) -> Vec<Place> {
        let mut arrivals = Vec::new();
        let Some((set, _)) = &mut self.set else { return arrivals };
        loop {
            let before = arrivals.len();
            let mut is_over = true;
            for number in set.ready() {
                is_over = false;
                arrivals.extend(self.places.get(&number));
            }
            // A full portion, of which more may be left.
            if is_over || arrivals.len() == before {
                return arrivals;
            }
        }
    }
}

impl<S: EventSink<Event>> Primary<S> {
    /// A worker has been given a socket: its queue is looked at.
    pub(super) fn watch_queue(
        &mut self,
        context: &mut Context,
        id: ServerId,
        slot: SlotIndex,
    ) -> Result<(), Error> {
        let Some(group) = self.group_mut(id) else { return Ok(()) };
        let socket = group.socket(slot).clone();
        // What waits there is reported now.
        self.queues.add(context, (id, slot), socket.as_fd())?;
        self.look_at_queues_soon(context);
        Ok(())
    }

    /// A connection has come to a worker's socket while nobody looked.
    pub(in crate::primary) fn look_at_queues_soon(&mut self, context: &mut Context) {
        self.note_arrivals();
        self.keep_looking(context);
        self.next_look_at_queues(context);
    }

    /// Until nothing has come for a while, looks find what comes, and it wakes nobody.
    fn keep_looking(&mut self, context: &mut Context) {
        self.queues.looks_left = QUIET_LOOKS;
        self.set_wake(context, Interest::Nothing);
    }

    fn set_wake(&mut self, context: &mut Context, interest: Interest) {
        if let Err(error) = self.queues.set_wake(context, interest) {
            self.sink.push(Event::Fault(error));
        }
    }

    fn next_look_at_queues(&mut self, context: &mut Context) {
        if let Some(timer) = self.queues.timer.take() {
            context.cancel_timer(timer);
        }
        let tick = if self.queues.looks_left > 0 {
            QUEUE_TICK
        } else if self.queues.absent.is_empty() {
            return;
        } else {
            ABSENT_TICK
        };
        self.queues.timer = Some(context.set_timer(tick, Timer::LookAtQueues));
    }

    /// Finds workers that do not read their queues, and those that do again.
    pub(in crate::primary) fn look_at_queues(&mut self, context: &mut Context) {
        self.queues.timer = None;
        self.learn_who_waits();
        self.find_returned(context);
        let unread = std::mem::take(&mut self.queues.unread);
        let mut is_quiet = unread.is_empty();
        for (place, mut unread) in unread {
            let Some((worker, true)) = self.worker_and_backlog(place) else { continue };
            let sign = self.sign(worker, Asked::Unread);
            let finding = unread.look(Instant::now(), sign, self.had_processor(worker), self.config.patience);
            let is_absent = match finding {
                Finding::Read => false,
                Finding::Crowded => self.has_taker(worker, place.0, Worker::is_waiting),
                Finding::Unread => true,
            };
            if is_absent {
                self.worker_is_absent(context, place, worker, sign);
            } else {
                self.queues.unread.insert(place, unread);
            }
        }
        is_quiet &= !self.note_arrivals();
        if !is_quiet {
            self.keep_looking(context);
        } else if self.queues.looks_left > 0 {
            self.queues.looks_left -= 1;
            if self.queues.looks_left == 0 {
                self.set_wake(context, Interest::Read);
            }
        }
        self.next_look_at_queues(context);
    }

    /// Whether a process is the worker's is known once it has been found to wait for events. To ask when the worker is blocked is
    /// too late.
    fn learn_who_waits(&self) {
        let threads = self.workers.values().filter_map(|worker| worker.main_thread.as_ref());
        for thread in threads.filter(|thread| !thread.is_known()) {
            let _ = thread.is_waiting();
        }
    }

    /// Notes the queues in which something has arrived. Returns whether there are any.
    fn note_arrivals(&mut self) -> bool {
        let arrivals = self.queues.arrivals();
        for place in &arrivals {
            self.note_queue(*place);
        }
        !arrivals.is_empty()
    }

    fn note_queue(&mut self, place: Place) {
        if !self.queues.unread.contains_key(&place)
            && !self.queues.absent.contains_key(&place)
            && let Some((worker, true)) = self.worker_and_backlog(place)
        {
            let sign = self.sign(worker, Asked::Unread);
            let unread = Unread::new(Instant::now(), sign, self.had_processor(worker));
            self.queues.unread.insert(place, unread);
        }
    }

    /// The worker that has a socket, and whether connections wait in its queue.
    fn worker_and_backlog(&mut self, (id, slot): Place) -> Option<(WorkerId, bool)> {
        let group = self.group_mut(id)?;
        let worker = group.worker(slot)?;
        Some((worker, os::has_backlog(group.socket(slot).as_fd())))
    }

    /// A worker has been given a socket. Until it says that it listens the primary accepts in its place.
    pub(super) fn await_start(&mut self, context: &mut Context, id: ServerId, slot: SlotIndex) {
        self.queues.absent.insert((id, slot), Absence::new(Instant::now(), Sign::Starting));
        self.stand_in(context, id, slot);
    }

    /// A worker says that it listens on a port.
    pub(in crate::primary) fn worker_listens(&mut self, context: &mut Context, worker: WorkerId, port: u16) {
        let starts = self.queues.absent.iter().filter(|(_, absence)| absence.is_start());
        for place in starts.map(|(place, _)| *place).collect::<Vec<_>>() {
            let local = self.servers.get(&place.0).and_then(|server| server.local.as_ref());
            if local.is_some_and(|local| local.port == port)
                && self.group_mut(place.0).and_then(|group| group.worker(place.1)) == Some(worker)
            {
                self.is_back(context, place);
            }
        }
    }

    /// A worker does not read its queue. The primary does.
    fn worker_is_absent(&mut self, context: &mut Context, (id, slot): Place, worker: WorkerId, sign: Sign) {
        self.queues.absent.insert((id, slot), Absence::new(Instant::now(), sign));
        if let Some(worker) = self.workers.get(&worker) {
            worker.stats.counters.stalls.count();
            worker.stats.absent.fetch_add(1, Ordering::Relaxed);
        }
        self.stand_in(context, id, slot);
    }

    /// Finds workers that were absent and have come back.
    fn find_returned(&mut self, context: &mut Context) {
        let now = Instant::now();
        let absent: Vec<_> = self.queues.absent.iter().map(|(place, absence)| (*place, *absence)).collect();
        for (place, absence) in absent {
            let worker = self.group_mut(place.0).and_then(|group| group.worker(place.1));
            if worker.is_none_or(|worker| absence.is_over(now, self.sign(worker, Asked::Absent))) {
                self.is_back(context, place);
            }
        }
    }

    /// A worker reads its queue, as far as is known.
    fn is_back(&mut self, context: &mut Context, place: Place) {
        let absence = self.queues.absent.remove(&place);
        let worker = self.group_mut(place.0).and_then(|group| group.worker(place.1));
        if let (Some(absence), Some(worker)) = (absence, worker) {
            self.no_longer_absent(worker, absence);
        }
        self.end_standing_in(context, place.0, place.1);
        // It may have time for what waits here.
        self.to_serve.insert(place.0);
        self.note_queue(place);
    }

    /// A worker is absent from one server less.
    pub(super) fn no_longer_absent(&self, worker: WorkerId, absence: Absence) {
        if let Some(worker) = self.workers.get(&worker).filter(|_| !absence.is_start()) {
            worker.stats.absent.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// What can be seen of a worker now.
    fn sign(&self, id: WorkerId, asked: Asked) -> Sign {
        let Some(worker) = self.workers.get(&id) else { return Sign::Unknown };
        if let Some(turns) = worker.used_lane().and_then(|lane| lane.turns()) {
            return Sign::Turns(turns);
        }
        let Some(main_thread) = &worker.main_thread else { return Sign::Unknown };
        match main_thread.is_waiting() {
            Some(true) => Sign::Waits,
            Some(false) if main_thread.is_stopped() => Sign::Stopped,
            Some(false) if asked == Asked::Absent => Sign::Busy(None),
            Some(false) => Sign::Busy(main_thread.calls()),
            None => Sign::Unknown,
        }
    }

    /// For how long a worker's process has had a processor, if its main thread has one or waits for one.
    fn had_processor(&self, id: WorkerId) -> Option<Duration> {
        let worker = self.workers.get(&id)?;
        match worker.used_lane() {
            Some(lane) if lane.turns().is_some() => lane.had_processor(),
            _ => worker.main_thread.as_ref()?.had_processor(),
        }
    }

    /// The workers of a server that were found not to read their queues, and have shown nothing since.
    pub(in crate::primary) fn absent_members(&self, id: ServerId) -> Vec<WorkerId> {
        let Some(Mode::Siblings(group)) = self.servers.get(&id).map(|server| &server.mode) else {
            return Vec::new();
        };
        let of_server = self.queues.absent.iter().filter(|((server, _), _)| *server == id);
        of_server
            .filter_map(|((_, slot), absence)| Some((group.worker(*slot)?, absence)))
            .filter(|(worker, absence)| absence.lasts(self.turns(*worker)))
            .map(|(worker, _)| worker)
            .collect()
    }

    fn turns(&self, id: WorkerId) -> Option<u64> {
        self.workers.get(&id)?.used_lane()?.turns()
    }
}

/// For what a sign is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// Whether the worker does anything.
    Unread,
    /// Whether it has time: whatever else it does says nothing.
    Absent,
}
