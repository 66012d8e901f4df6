//! Gives connections to workers. A connection belongs to the primary until a worker has reported that it took
//! it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::config::REFUSAL_PAUSE;
use super::connection::{Decision, InFlight};
use super::event::Connection;
use super::worker::Worker;
use super::{ChannelOwner, Context, Event, Primary, Timer};
use crate::channel::{Frame, HandleOrigin, SendStatus};
use crate::ids::{Seq, ServerId, WorkerId};
use crate::proto;
use crate::reactor::EventSink;
use crate::sched::{Availability, Load, Loads};

/// Workers as a policy sees them for one connection.
struct Seen<'a> {
    workers: &'a HashMap<WorkerId, Worker>,
    refused_by: &'a [WorkerId],
}

impl Loads for Seen<'_> {
    fn load(&self, id: WorkerId) -> Load {
        let mut load = self.workers.get(&id).map_or(Load::AWAY, Worker::load);
        if self.refused_by.contains(&id) {
            load.availability = Availability::Away;
        }
        load
    }

    fn is_idle(&self, id: WorkerId) -> bool {
        self.workers.get(&id).is_some_and(Worker::is_idle)
    }

    fn wait(&self, id: WorkerId) -> Option<Duration> {
        self.workers.get(&id)?.wait()
    }
}

impl<S: EventSink<Event>> Primary<S> {
    /// Hands out the connections that wait at a server, as far as its workers have credit.
    pub(super) fn dispatch(&mut self, context: &mut Context, id: ServerId) {
        let mut place = 0;
        while let Some(server) = self.servers.get_mut(&id) {
            let Some(connection) = server.pending.get(place) else { return };
            let wanted = |worker: &WorkerId| !connection.refused_by.contains(worker);
            let workers = &self.workers;
            let loads = Seen { workers, refused_by: &connection.refused_by };
            let picked = server.policy.pick(Instant::now(), &connection.incoming(), &loads);
            // A worker that has refused it would return it at once, without end.
            let taker = picked.and_then(|id| {
                let worker = workers.get(&id).filter(|worker| wanted(&id) && worker.has_credit())?;
                Some((id, worker.used_lane().is_some()))
            });
            debug_assert_eq!(picked.is_some(), taker.is_some(), "a policy has picked one that may not take");
            if let Some((worker, has_lane)) = taker {
                let Some(connection) = server.pending.remove(place) else { return };
                server.in_flight += 1;
                let connection = InFlight { connection, server: id };
                if has_lane {
                    self.hand_over_lane(context, worker, connection);
                } else {
                    self.hand_off(context, worker, connection);
                }
            } else if connection.refused_by.is_empty() {
                // No worker has credit, or the policy waits for one that has none.
                if self.await_idle(context, id) {
                    continue;
                }
                return;
            } else if server.members().iter().any(wanted) {
                // The workers left for this connection are busy. Later ones may be luckier.
                place += 1;
            } else if let Some(connection) = server.pending.remove(place) {
                // No worker wants it now. It pauses, so that it does not go round and round.
                if server.refused.is_empty() {
                    context.set_timer(REFUSAL_PAUSE, Timer::RetryRefused(id));
                }
                server.refused.push(connection);
            }
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
            SendStatus::Written | SendStatus::Queued { needs_flush: false, .. } => {}
            SendStatus::Queued { needs_flush: true, .. } => self.flush(context, worker_id),
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
        }
    }

    /// The worker has decided about a connection. The caller arranges that its servers are served afterwards.
    pub(super) fn on_decision(&mut self, worker_id: WorkerId, seq: Seq, decision: Decision) {
        let Some(worker) = self.workers.get_mut(&worker_id) else { return };
        // This may be a reply to something else, or one that comes twice.
        let Some(in_flight) = worker.in_flight.remove(&seq) else { return };
        self.decided(worker_id, in_flight, decision);
    }

    /// A connection is no longer on its way to a worker.
    pub(super) fn decided(&mut self, worker_id: WorkerId, mut in_flight: InFlight, decision: Decision) {
        let stats = self.workers.get(&worker_id).map(|worker| &worker.stats);
        if let Some(stats) = stats {
            stats.counters.in_flight.lower();
        }
        let InFlight { connection, server } = &mut in_flight;
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
        if let Some(stats) = stats {
            stats.counters.dispatched.count();
        }
        // There is room below the bound again, even if the worker itself has left the server.
        self.to_serve.insert(*server);
        let Some(server) = self.servers.get_mut(server) else { return };
        server.in_flight -= 1;
        server.stats.counters.dispatched.count();
        server.policy.taken(worker_id, &connection.incoming());
        if self.config.emit_connections {
            self.sink.push(Event::Connection(Box::new(Connection {
                worker: worker_id,
                key: server.key.clone(),
                peer: connection.peer,
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

    pub(super) fn retry_refused(&mut self, id: ServerId) {
        let Some(server) = self.servers.get_mut(&id) else { return };
        for mut connection in server.refused.drain(..).rev() {
            connection.refused_by.clear();
            server.pending.push_front(connection);
        }
        self.to_serve.insert(id);
    }
}
