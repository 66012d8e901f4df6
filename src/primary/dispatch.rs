//! Gives connections to workers. A connection belongs to the primary until a worker has reported that it took
//! it.

use std::cell::Cell;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::connection::{Decision, InFlight, Origin, Pending};
use super::event::Connection;
use super::worker::Worker;
use super::{ChannelOwner, Context, Event, Primary, Timer};
use crate::channel::{Frame, HandleOrigin, SendStatus};
use crate::ids::{Seq, ServerId, WorkerId};
use crate::proto;
use crate::reactor::EventSink;
use crate::sched::{Availability, Load, Loads, Open};

/// Workers as a policy sees them for one connection.
struct Seen<'a> {
    workers: &'a HashMap<WorkerId, Worker>,
    refused_by: &'a [WorkerId],
    /// Those that do not accept from sockets of their own.
    absent: &'a [WorkerId],
    /// What nobody is idle for waits on the shared lane.
    shares: bool,
    /// Where they count what they have open of the server.
    open_slot: usize,
    /// So many wait for workers of their own that this one may not.
    is_crowded: bool,
    /// It would have waited otherwise.
    strays: Cell<bool>,
}

impl Loads for Seen<'_> {
    fn load(&self, id: WorkerId) -> Load {
        let mut load = self.workers.get(&id).map_or(Load::AWAY, Worker::load);
        if self.refused_by.contains(&id) || self.absent.contains(&id) {
            load.availability = Availability::Away;
        }
        load
    }

    fn is_idle(&self, id: WorkerId) -> bool {
        self.workers.get(&id).is_some_and(Worker::is_idle)
    }

    fn will_take(&self, id: WorkerId) -> bool {
        let is_wanted = |worker: &Worker| worker.is_serving() && worker.is_wanted();
        let will = self.workers.get(&id).is_some_and(is_wanted) && !self.refused_by.contains(&id);
        self.strays.set(will && self.is_crowded);
        will && !self.is_crowded
    }

    fn open(&self, id: WorkerId) -> Option<Open> {
        self.workers.get(&id)?.open(self.open_slot)
    }

    fn wait(&self, id: WorkerId) -> Option<Duration> {
        let worker = self.workers.get(&id)?;
        if !self.shares || worker.is_light() {
            worker.wait()
        } else if self.refused_by.is_empty() {
            // Whoever is given one ahead may turn out to be the last to have time for it.
            None
        } else {
            // It cannot wait on the shared lane. Here it is received before those that do.
            worker.has_nothing_ahead().then_some(Duration::ZERO)
        }
    }
}

impl<S: EventSink<Event>> Primary<S> {
    /// Hands out the connections that wait at a server, as far as its workers have credit.
    pub(super) fn dispatch(&mut self, context: &mut Context, id: ServerId) {
        self.send_waiting_home(context, id);
        let mut place = 0;
        let shares = self.shares(id);
        let absent = self.absent_members(id);
        let max_waiting = self.config.max_waiting_for_their_own();
        if shares && self.shared.has_waiting() {
            // A worker that has joined is one of those for whom they wait.
            self.share_with_all(id);
        }
        while !self.servers.is_empty() {
            if self.send_pending_home(context, id, place) {
                continue;
            }
            let Some(server) = self.servers.get_mut(&id) else { return };
            let Some(connection) = server.pending.get(place) else {
                // Those that were passed over wait for workers that are busy.
                if place > 0 && self.await_idle(context, id) {
                    place = 0;
                    continue;
                }
                return;
            };
            let wanted = |worker: &WorkerId| !connection.refused_by.contains(worker);
            let workers = &self.workers;
            let may_share = shares && connection.refused_by.is_empty();
            // Nobody overtakes those that wait there.
            let (refused_by, open_slot) = (&connection.refused_by, server.stats.open_slot);
            let (is_crowded, strays) = (place >= max_waiting, Cell::new(false));
            let loads = Seen { workers, refused_by, absent: &absent, shares, open_slot, is_crowded, strays };
            let picked = if may_share && self.shared.has_waiting() {
                None
            } else {
                server.policy.pick(Instant::now(), &connection.incoming(), &loads)
            };
            let strays = loads.strays.get();
            // A worker that has refused it would return it at once, without end.
            let taker = picked.filter(|id| wanted(id) && workers.get(id).is_some_and(Worker::has_credit));
            debug_assert_eq!(picked.is_some(), taker.is_some(), "a policy has picked one that may not take");
            let waits_in_order = connection.refused_by.is_empty() && !server.policy.lets_overtake();
            let is_taker = |id: &&WorkerId| workers.get(id).is_some_and(Worker::is_wanted);
            // One that does not accept does not take it either, before it is known when.
            let may_want = |worker: &WorkerId| wanted(worker) && !absent.contains(worker);
            let is_wanted = taker.is_none() && server.members().iter().filter(is_taker).any(may_want);
            if let Some(worker) = taker {
                let Some(connection) = server.pending.remove(place) else { return };
                server.in_flight += 1;
                server.stats.count_decision(worker);
                if strays {
                    server.stats.counters.strayed.count();
                }
                self.hand_to(context, worker, InFlight { connection, server: id });
            } else if may_share && self.share_with_all(id) {
                if !self.shared.has_room() {
                    return self.await_claims(context, id);
                }
                let Some(server) = self.servers.get_mut(&id) else { return };
                let Some(connection) = server.pending.remove(place) else { return };
                server.in_flight += 1;
                if !self.hand_over_shared(context, InFlight { connection, server: id }) {
                    return;
                }
            } else if waits_in_order {
                // No worker has credit, or the policy waits for one that has none.
                if self.await_idle(context, id) {
                    continue;
                }
                return;
            } else if is_wanted {
                // The workers left for this connection are busy. Later ones may be luckier.
                place += 1;
            } else if let Some(server) = self.servers.get_mut(&id)
                && let Some(connection) = server.pending.remove(place)
            {
                // No worker wants it now. It pauses, so that it does not go round and round.
                if server.refused.is_empty() {
                    context.set_timer(self.config.refusal_pause, Timer::RetryRefused(id));
                }
                server.refused.push(connection);
            }
        }
    }

    /// Sends a connection to a worker, on its lane or its channel.
    pub(super) fn hand_to(&mut self, context: &mut Context, id: WorkerId, in_flight: InFlight) {
        if self.workers.get(&id).is_some_and(|worker| worker.used_lane().is_some()) {
            self.hand_over_lane(context, id, in_flight);
        } else {
            self.hand_off(context, id, in_flight);
        }
    }

    fn hand_off(&mut self, context: &mut Context, worker_id: WorkerId, in_flight: InFlight) {
        // The reactor reads the worker's answer, however busy JavaScript is.
        self.take_back(context, worker_id);
        let (Some(server), Some(worker)) =
            (self.servers.get(&in_flight.server), self.workers.get_mut(&worker_id))
        else {
            // Its channel could not be taken back.
            return self.give_back(in_flight);
        };
        let seq = worker.next_seq();
        worker.stats.counters.in_flight.raise();
        let fd = in_flight.connection.fd.clone();
        worker.in_flight.insert(seq, in_flight);
        let status = match proto::newconn_frame(worker.channel().serialization(), &server.key, seq) {
            Ok(bytes) => worker.channel().send(Frame::with_handle(bytes, fd, HandleOrigin::Connection(seq))),
            // Only data can be unserializable, and this frame has none.
            Err(_) => SendStatus::Closed,
        };
        match status {
            SendStatus::Written | SendStatus::Queued { .. } => {
                if let Some(in_flight) = worker.in_flight.get_mut(&seq) {
                    server.stats.count_hand_over(&mut in_flight.connection);
                }
                if matches!(status, SendStatus::Queued { needs_flush: true, .. }) {
                    self.flush(context, worker_id);
                }
            }
            SendStatus::Failed(_) | SendStatus::Closed => {
                // Until its end is read, it gets no more connections.
                let mut owner =
                    ChannelOwner { id: worker_id, sink: &mut self.sink, unread: &mut self.unread };
                worker.driver.peer_is_gone(&mut owner);
                worker.stats.counters.in_flight.lower();
                if let Some(in_flight) = worker.in_flight.remove(&seq) {
                    self.give_back(in_flight);
                }
            }
        }
    }

    /// Returns a connection to the front of its server's queue, to be handed out at the end of this turn.
    pub(super) fn give_back(&mut self, InFlight { connection, server: id }: InFlight) {
        if let Some(server) = self.servers.get_mut(&id) {
            server.in_flight -= 1;
            server.pending.push_front(connection);
            self.to_serve.insert(id);
        } else {
            self.leave(id, connection);
        }
    }

    /// The worker has decided about a connection. The caller arranges that its servers are served afterwards.
    pub(super) fn on_decision(&mut self, worker_id: WorkerId, seq: Seq, decision: Decision) {
        let Some(worker) = self.workers.get_mut(&worker_id) else { return };
        // This may be a reply to something else, or one that comes twice.
        let Some(in_flight) = worker.in_flight.remove(&seq) else { return };
        if let Some(main_thread) = &worker.main_thread {
            main_thread.on_sign();
        }
        if decision == Decision::Taken
            && let Some(age) = in_flight.connection.age()
        {
            worker.stats.taken_after.record(age);
        }
        self.decided(worker_id, in_flight, decision);
    }

    /// A connection is no longer on its way to a worker.
    pub(super) fn decided(&mut self, worker_id: WorkerId, mut in_flight: InFlight, decision: Decision) {
        let stats = self.workers.get(&worker_id).map(|worker| &worker.stats);
        if let Some(stats) = stats {
            stats.counters.in_flight.lower();
        }
        let InFlight { connection, server } = &mut in_flight;
        if decision == Decision::TooEarly {
            return self.give_back(in_flight);
        }
        if decision == Decision::Refused {
            connection.refused_by.push(worker_id);
            if let Some(stats) = stats {
                stats.counters.refused.count();
            }
            if let Some(server) = self.servers.get_mut(server) {
                server.stats.counters.refused.count();
                server.policy.refused(worker_id, &connection.incoming());
            }
            self.give_back(in_flight);
            return;
        }
        let is_new = connection.origin == Origin::Accepted;
        if is_new && let Some(stats) = stats {
            stats.counters.dispatched.count();
        }
        // There is room below the bound again, even if the worker itself has left the server.
        let id = *server;
        self.to_serve.insert(id);
        let Some(server) = self.servers.get_mut(server) else { return };
        server.in_flight -= 1;
        if is_new {
            server.stats.counters.dispatched.count();
        } else {
            server.stats.counters.rebalanced.count();
        }
        server.policy.taken(worker_id, &connection.incoming());
        if is_new
            && self.config.emit_connections
            && let Some(taken) = self.taken.add(worker_id, id, connection.peer)
        {
            self.sink.push(Event::Connection(Box::new(Connection {
                worker: worker_id,
                key: server.key.clone(),
                taken,
                address: server.address.clone(),
                port: server.local.as_ref().map(|local| local.port),
            })));
        }
    }

    /// The descriptor of a connection was lost on the way to the worker too often. Another worker may have
    /// it.
    pub(super) fn on_connection_lost(&mut self, worker: WorkerId, seq: Seq) {
        self.on_decision(worker, seq, Decision::Refused);
    }

    /// A worker may have credit again: its servers are served at the end of this turn.
    pub(super) fn serve_soon(&mut self, worker: WorkerId) {
        if let Some(worker) = self.workers.get(&worker) {
            self.to_serve.extend(&worker.servers);
        }
    }

    pub(super) fn dispatch_and_accept(&mut self, context: &mut Context, id: ServerId) {
        self.dispatch(context, id);
        if self.servers.get(&id).is_some_and(|server| server.may_accept()) {
            self.accept(context, id);
        }
        if let Some(server) = self.servers.get(&id) {
            server.update_stats(self.config.max_pending);
        }
    }

    /// A worker listens. What it has refused before may have reached it on its lane while the answer to its question for
    /// the server was still on its channel: now it knows the server.
    pub(super) fn retry_refused_by(&mut self, worker: WorkerId) {
        let Some(of) = self.workers.get_mut(&worker) else { return };
        if let Some(lane) = &mut of.lane {
            lane.worker_listens();
        }
        for id in &of.servers {
            let Some(server) = self.servers.get_mut(id) else { continue };
            for connection in &mut server.pending {
                connection.refused_by.retain(|other| *other != worker);
            }
            let is_its = |connection: &Pending| connection.refused_by.contains(&worker);
            let (again, others): (Vec<_>, _) = server.refused.drain(..).partition(is_its);
            server.refused = others;
            for mut connection in again.into_iter().rev() {
                connection.refused_by.retain(|other| *other != worker);
                server.pending.push_front(connection);
            }
            self.to_serve.insert(*id);
        }
    }

    pub(super) fn retry_refused(&mut self, id: ServerId) {
        let Some(server) = self.servers.get_mut(&id) else { return };
        for mut connection in server.refused.drain(..).rev() {
            connection.refused_by.clear();
            server.pending.push_front(connection);
        }
        self.to_serve.insert(id);
    }
}
