//! Requests on kept connections whose workers are busy go to workers that are idle.
//!
//! While all workers wait for events nobody looks: the first request on any kept connection wakes the reactor, which then
//! looks at intervals until all wait again. So a request costs the primary nothing while its worker serves it at once.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use super::config::KEPT_TICK;
use super::connection::{InFlight, Origin, Pending};
use super::home::Home;
use super::kept::{Activity, Kept, Rested, Waiting};
use super::server::Server;
use super::worker::Worker;
use super::{Context, Event, Primary, Timer};
use crate::address::Peer;
use crate::error::Error;
use crate::ids::{ServerId, WorkerId};
use crate::kept::SLOTS;
use crate::os;
use crate::proto::{ConnectionKind, Keep, Slot};
use crate::reactor::EventSink;
use crate::sched::{Incoming, Load, Loads, Open};

/// Workers as a policy sees them for a request that waits: those that could begin at once.
struct OnlyIdle<'a> {
    workers: &'a HashMap<WorkerId, Worker>,
    except: WorkerId,
    /// Where they count what they have open of the server.
    open_slot: usize,
}

impl Loads for OnlyIdle<'_> {
    fn load(&self, id: WorkerId) -> Load {
        let worker = self.workers.get(&id).filter(|worker| id != self.except && worker.is_idle());
        worker.map_or(Load::AWAY, Worker::load)
    }

    fn is_idle(&self, id: WorkerId) -> bool {
        id != self.except && self.workers.get(&id).is_some_and(Worker::is_idle)
    }

    /// Who has it serves it, unless another may.
    fn will_take(&self, id: WorkerId) -> bool {
        id == self.except || self.is_idle(id)
    }

    fn open(&self, id: WorkerId) -> Option<Open> {
        self.workers.get(&id)?.open(self.open_slot)
    }
}

impl<S: EventSink<Event>> Primary<S> {
    pub(super) fn kept_mut(&mut self, id: WorkerId) -> Option<&mut Kept> {
        self.workers.get_mut(&id)?.lane.as_mut()?.kept.as_mut()
    }

    /// How many connections are held for workers, or for none.
    fn kept_count(&self) -> usize {
        let of_workers = self.workers.values().filter_map(|worker| worker.lane.as_ref()?.kept.as_ref());
        of_workers.map(Kept::len).sum::<usize>() + self.parked.len()
    }

    /// A worker keeps a connection, and has sent a copy.
    ///
    /// Errors: `ERR_CORRAL_BAD_FRAME` for what no worker sends.
    pub(super) fn on_keep(
        &mut self,
        context: &mut Context,
        id: WorkerId,
        keep: Keep,
        fd: Option<OwnedFd>,
    ) -> Result<(), Error> {
        let Some(worker) = self.workers.get(&id) else { return Ok(()) };
        let kept = worker.lane.as_ref().and_then(|lane| lane.kept.as_ref());
        let of_worker = kept.map_or(0, Kept::len);
        let Some((fd, server)) = self.admit(&worker.servers, of_worker, &keep, fd)? else { return Ok(()) };
        let Some(kept) = self.kept_mut(id) else { return Ok(()) };
        kept.add(keep, fd, server)?;
        self.count_kept(id);
        self.begin_looking(context);
        Ok(())
    }

    /// Whether a worker with these servers, for which so many are held, may have the primary hold a copy of a connection.
    /// No worker may have more than are left for the others. Without room the connection stays the worker's alone, and
    /// so does one of a server that is being closed.
    ///
    /// Errors: `ERR_CORRAL_BAD_FRAME` for what no worker sends.
    pub(super) fn admit(
        &self,
        servers: &[ServerId],
        of_worker: usize,
        keep: &Keep,
        fd: Option<OwnedFd>,
    ) -> Result<Option<(OwnedFd, ServerId)>, Error> {
        if keep.slot.0 >= SLOTS {
            return Err(Error::BadFrame("a kept connection with a slot that does not exist".into()));
        }
        let Some(fd) = fd else { return Ok(None) };
        let is_good = match keep.kind {
            ConnectionKind::Tcp => os::is_tcp_connection(fd.as_fd()),
            ConnectionKind::Pipe => os::is_unix_connection(fd.as_fd()),
        };
        if !is_good {
            return Err(Error::BadFrame("a kept connection that is none".into()));
        }
        let of_key = |id: &&ServerId| self.servers.get(id).is_some_and(|server| *server.key == *keep.key);
        let left = self.config.max_kept.saturating_sub(self.kept_count());
        let has_room = of_worker < left;
        Ok(servers.iter().find(of_key).filter(|_| has_room).map(|server| (fd, *server)))
    }

    /// Kept connections have gone.
    pub(super) fn on_released(&mut self, id: WorkerId, slots: &[Slot]) {
        if let Some(kept) = self.kept_mut(id) {
            kept.release(slots);
            self.count_kept(id);
        }
    }

    /// A worker reads its lane: its kept connections rest, if the program wants that.
    pub(super) fn offer_rest(&mut self, context: &mut Context, id: WorkerId) {
        if self.config.balances_kept
            && let Some(lane) = self.workers.get_mut(&id).and_then(|worker| worker.lane.as_mut())
        {
            lane.offer_kept(context, id);
        }
    }

    fn count_kept(&self, id: WorkerId) {
        if let Some(worker) = self.workers.get(&id)
            && let Some(kept) = worker.lane.as_ref().and_then(|lane| lane.kept.as_ref())
        {
            worker.stats.counters.kept.set(kept.len() as u64);
        }
    }

    /// A request has arrived on a kept connection while all workers waited.
    pub(super) fn begin_looking(&mut self, context: &mut Context) {
        if self.next_kept_look.is_some() {
            return;
        }
        self.each_kept(context, Kept::wake_for_nothing);
        self.look_at_kept_later(context);
    }

    fn look_at_kept_later(&mut self, context: &mut Context) {
        let timer = context.set_timer(KEPT_TICK, Timer::LookAtKept);
        self.next_kept_look = Some((timer, Instant::now() + KEPT_TICK));
    }

    /// Looks at the kept connections if it is time to: the reactor is awake, and the timer need not wake it later.
    pub(super) fn look_at_kept_if_due(&mut self, context: &mut Context) {
        let has_taker = std::mem::take(&mut self.has_taker_for_kept);
        match self.next_kept_look {
            Some((timer, at)) if Instant::now() >= at => {
                context.cancel_timer(timer);
                self.look_at_kept(context);
            }
            Some(_) if has_taker => {
                self.find_waiting();
                self.move_waiting(context);
            }
            _ => {}
        }
    }

    /// Finds the requests that wait for a worker which is busy with something else, and moves what it can.
    pub(super) fn look_at_kept(&mut self, context: &mut Context) {
        self.next_kept_look = None;
        match self.find_waiting() {
            Activity::Busy => self.look_at_kept_later(context),
            Activity::Quiet => self.stop_looking(context),
        }
        self.move_waiting(context);
    }

    fn find_waiting(&mut self) -> Activity {
        let mut activity = Activity::Quiet;
        for worker in self.workers.values_mut() {
            if let Some(lane) = &mut worker.lane
                && lane.look_at_kept() == Activity::Busy
            {
                activity = Activity::Busy;
            }
        }
        activity
    }

    /// The next request on any kept connection wakes the reactor.
    fn stop_looking(&mut self, context: &mut Context) {
        self.each_kept(context, Kept::wake_for_requests);
    }

    /// What cannot be is told, and not tried again before the next time.
    fn each_kept(&mut self, context: &mut Context, change: fn(&mut Kept, &mut Context) -> Result<(), Error>) {
        for worker in self.workers.values_mut() {
            if let Some(kept) = worker.lane.as_mut().and_then(|lane| lane.kept.as_mut())
                && let Err(error) = change(kept, context)
            {
                self.sink.push(Event::Fault(error));
            }
        }
    }

    /// Gives the requests that wait to workers that are idle, as long as there are any: first the one that has waited longest,
    /// whichever worker it waits for.
    fn move_waiting(&mut self, context: &mut Context) {
        let has_waiting = |worker: &Worker| {
            worker.lane.as_ref().and_then(|lane| lane.kept.as_ref()).is_some_and(Kept::has_waiting)
        };
        let waited_for = self.workers.iter().filter(|(_, worker)| has_waiting(worker));
        let mut ids: Vec<WorkerId> = waited_for.map(|(id, _)| *id).collect();
        // Those of one look are not in the order of a hash.
        ids.sort_unstable();
        while let Some((id, next)) = self.oldest_waiting(&ids) {
            if !self.move_one(context, id, next) {
                ids.retain(|other| *other != id);
            }
        }
    }

    /// The request that has waited longest for one of these workers.
    fn oldest_waiting(&mut self, ids: &[WorkerId]) -> Option<(WorkerId, Waiting)> {
        let waiting = ids.iter().filter_map(|id| Some((*id, self.kept_mut(*id)?.next_waiting()?)));
        waiting.min_by_key(|(_, next)| next.since)
    }

    /// Gives a connection that waits for `from` to an idle worker. Returns false if there is none.
    fn move_one(&mut self, context: &mut Context, from: WorkerId, next: Waiting) -> bool {
        let Some(id) = self.kept_mut(from).and_then(|kept| kept.server(next.slot)) else { return true };
        match self.home_of_waiting(context, from, id, next.slot) {
            Home::Nobodys => {}
            Home::Of(home, session) if home != from && self.has_room_at(id) => {
                let Some(peer) = self.kept_mut(from).and_then(|kept| kept.client(next.slot)) else {
                    // Its client has gone. The worker sees to that.
                    self.forget_waiting(from);
                    return true;
                };
                if let Some(mut connection) = self.take_waiting(from, next, peer) {
                    connection.session = Some(session);
                    self.send_home(context, id, home, connection);
                    self.to_serve.insert(id);
                }
                return true;
            }
            // Its own worker reads it when it has time. One that is not known may be when more of it arrives.
            Home::Of(..) | Home::Incomplete | Home::Unknown => {
                self.forget_waiting(from);
                return true;
            }
        }
        if !self.has_taker(from, id, Worker::is_idle) {
            self.await_idle(context, id);
            return false;
        }
        let peer = self.kept_mut(from).and_then(|kept| kept.client(next.slot));
        let (Some(server), Some(peer)) = (self.servers.get_mut(&id), peer) else {
            // Its client has gone. The worker sees to that.
            self.forget_waiting(from);
            return true;
        };
        let loads = OnlyIdle { workers: &self.workers, except: from, open_slot: server.stats.open_slot };
        let incoming = Incoming { peer, chosen: None };
        let Some(taker) = server.policy.pick(Instant::now(), &incoming, &loads) else {
            if server.policy.lets_overtake() {
                // It is for the worker that has it. Those behind it may be for any.
                self.forget_waiting(from);
                return true;
            }
            return false;
        };
        let taken = self.take_waiting(from, next, peer);
        let Some(server) = self.servers.get_mut(&id) else { return true };
        let Some(connection) = taken else {
            server.policy.recalled(taker, &incoming);
            return true;
        };
        server.in_flight += 1;
        server.stats.count_decision(taker);
        self.hand_to(context, taker, InFlight { connection, server: id });
        true
    }

    fn forget_waiting(&mut self, from: WorkerId) {
        if let Some(kept) = self.kept_mut(from) {
            kept.forget_waiting();
        }
    }

    /// Takes a connection that waits for `from`, of this client. None if `from` was quicker.
    fn take_waiting(&mut self, from: WorkerId, next: Waiting, peer: Peer) -> Option<Pending> {
        let rested = self.kept_mut(from)?.take_waiting(next)?;
        Some(self.rebalanced(from, rested, peer))
    }

    /// A connection has been taken from a worker, of this client.
    pub(super) fn rebalanced(&self, from: WorkerId, Rested { fd, .. }: Rested, peer: Peer) -> Pending {
        self.count_kept(from);
        if let Some(worker) = self.workers.get(&from) {
            worker.stats.counters.rebalanced.count();
        }
        Pending::new(Arc::new(fd), peer, Origin::Kept)
    }

    /// A worker leaves, or has gone: its connections that rest are the primary's, and their next requests other
    /// workers'.
    pub(super) fn park_all(&mut self, context: &mut Context, id: WorkerId) {
        // It may have said just now that it keeps one.
        self.collect(context, id);
        let rested = self.kept_mut(id).map(Kept::take_all).unwrap_or_default();
        self.park(context, id, rested);
        self.count_kept(id);
    }

    /// Nobody has these connections, which a worker had kept.
    pub(super) fn park(&mut self, context: &mut Context, id: WorkerId, rested: Vec<Rested>) {
        for Rested { fd, server, timeout } in rested {
            let fd = match self.leave_to_heir(server, Arc::new(fd), Some(timeout)).map(Arc::into_inner) {
                Some(Some(fd)) => fd,
                // It has gone there.
                None | Some(None) => continue,
            };
            let of_others = |server: &Server| server.members().iter().any(|member| *member != id);
            if self.servers.get(&server).is_some_and(of_others)
                && let Err(error) = self.parked.park(context, fd, server, timeout)
            {
                // The connection is closed.
                self.sink.push(Event::Fault(error));
            }
        }
    }
}
