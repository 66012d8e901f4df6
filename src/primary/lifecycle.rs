//! Adds and removes workers, and the servers that they keep open.

use std::borrow::Cow;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::handover::Accepting;
use super::idleness::IdleBy;
use super::lane::{Lane, LaneState};
use super::server::Mode;
use super::stats::WorkerStats;
use super::worker::{Phase, Worker};
use super::{ChannelOwner, Config, Context, Event, Primary, Source};
use crate::channel::{Channel, ChannelEvent, Extent, Inbox};
use crate::error::Error;
use crate::ids::{ServerId, WorkerId};
use crate::os::SocketPair;
use crate::reactor::{EventSink, Registration};
use crate::sched::WorkerSlot;

impl<S: EventSink<Event>> Primary<S> {
    pub(super) fn configure(&mut self, context: &mut Context, config: Config) {
        let before = std::mem::replace(&mut self.config, config);
        for server in self.servers.values_mut() {
            let weight = |id| self.workers.get(&id).map_or(1, |worker| worker.weight);
            server.follow(self.config.policies.of(&server.place), weight);
        }
        let counts_open = self.config.policies.count_open();
        for lane in self.workers.values().filter_map(|worker| worker.lane.as_ref()) {
            lane.set_counts_open(counts_open);
        }
        if self.config.has_pulses() && !before.has_pulses() {
            for id in self.workers.keys().copied().collect::<Vec<_>>() {
                self.ask_what_it_does(id);
            }
        }
        if self.config.is_observed != before.is_observed {
            self.workers.values_mut().filter_map(|worker| worker.lane.as_mut()).for_each(|lane| {
                lane.set_observed(self.config.is_observed);
            });
        }
        self.change_homes();
        // Their servers may know clients in another way.
        for id in self.workers.keys().copied().collect::<Vec<_>>() {
            self.tell_of_clients(context, id);
        }
        // The bound may have been raised.
        self.to_serve.extend(self.servers.keys());
    }

    pub(super) fn add_worker(
        &mut self,
        context: &mut Context,
        id: WorkerId,
        channel: Arc<Channel>,
        lane: Result<SocketPair, Cow<'static, str>>,
        pid: Option<u32>,
    ) {
        let inbox = Inbox::new(channel.serialization(), self.config.max_frame);
        match Registration::new(context, channel.as_fd(), Source::Worker(id)) {
            Ok(registration) => {
                let (reason, lane) = match lane {
                    Ok(ends) => (Cow::Borrowed(LaneState::NOT_LOADED), Some(ends)),
                    Err(reason) => (reason, None),
                };
                let idle_by = match self.config.policies.accept_in_primary() {
                    false => IdleBy::WORKERS_ACCEPT,
                    true if self.config.has_pulses() => IdleBy::NO_SERVER,
                    true => IdleBy::NOT_ASKED,
                };
                let state = LaneState::Unused(reason);
                let stats = Arc::new(WorkerStats::new(pid, state, idle_by, Arc::downgrade(&channel)));
                self.stats.add_worker(id, stats.clone());
                let there = self.workers.values().filter(|worker| worker.phase == Phase::Serving);
                let slot = WorkerSlot::lowest_free(there.map(|worker| worker.slot));
                let mut worker = Worker::new(channel, inbox, registration, slot, stats.clone());
                worker.lane = lane.map(|ends| Lane::new(ends, stats));
                self.workers.insert(id, worker);
                self.watch_lane(context, id);
            }
            Err(error) => self.sink.push(Event::Channel(id, ChannelEvent::Closed(Some(error)))),
        }
    }

    /// `worker.weight`: how many connections the worker gets in comparison with others. With 0 it gets no new ones.
    pub(super) fn weigh(&mut self, context: &mut Context, id: WorkerId, weight: u32) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.weight = weight;
        worker.stats.weight.store(weight, Ordering::Relaxed);
        let servers = worker.servers.clone();
        if weight == 0 {
            self.leave_shared(context, id);
        }
        for server in &servers {
            if let Some(server) = self.servers.get_mut(server) {
                server.weigh(id, weight);
            }
        }
        for server in &servers {
            self.weigh_socket(*server, id, weight);
        }
        self.change_homes();
        self.to_serve.extend(servers);
    }

    /// `worker.disconnect()`: the worker closes its servers and then its channel.
    pub(super) fn disconnect(&mut self, context: &mut Context, id: WorkerId) {
        self.take_back(context, id);
        self.park_all(context, id);
        let Some(worker) = self.workers.get_mut(&id) else { return };
        // Once: Node's worker ends with ERR_IPC_DISCONNECTED when it receives a second one on its way out.
        if worker.is_serving() {
            worker.phase = Phase::Leaving;
            self.send_disconnect(context, id);
        }
        self.leave_all_servers(context, id);
    }

    /// `subprocess.disconnect()`: what waits is sent, then the worker sees the end and closes its side. Until
    /// then its decisions about connections in flight count.
    pub(super) fn close_channel(&mut self, context: &mut Context, id: WorkerId) {
        self.leave_all_servers(context, id);
        self.drive(context, id, |driver, context, owner| driver.half_close(context, owner));
    }

    /// The process has ended. What it had sent is in the socket and is read first, however much is
    /// undelivered. What another process that holds its end sends meanwhile is not, as the JavaScript thread
    /// waits for this.
    pub(super) fn exited(&mut self, context: &mut Context, id: WorkerId) {
        self.read(context, id, Extent::Left);
        if self.unread.pop_if(|unread| *unread == id).is_some() {
            // The channel was moving, and this was its first socket.
            self.read(context, id, Extent::Left);
        }
        self.unread.retain(|unread| *unread != id);
        self.close_worker(context, id, None);
    }

    /// Removes a worker. The connections that it had not taken go to others, in their order.
    pub(super) fn close_worker(&mut self, context: &mut Context, id: WorkerId, cause: Option<Error>) {
        let Some(mut worker) = self.workers.remove(&id) else { return };
        self.stats.workers.write().remove(&id);
        self.homes.sessions.remove(id);
        while let Some((_, in_flight)) = worker.in_flight.pop_last() {
            self.give_back(in_flight);
        }
        if let Some(lane) = worker.lane.take()
            && let Err(error) = self.close_lane(context, id, lane, &worker.servers)
        {
            self.sink.push(Event::Fault(error));
        }
        self.remove_from_servers(context, id, worker.servers);
        for key in worker.own_servers {
            self.leave_own_server(id, &key);
        }
        let mut owner = ChannelOwner { id, sink: &mut self.sink, unread: &mut self.unread };
        worker.driver.close(context, &mut owner, cause);
        self.reject_waiters(context, id, worker.waiters);
    }

    fn leave_all_servers(&mut self, context: &mut Context, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let servers = std::mem::take(&mut worker.servers);
        self.remove_from_servers(context, id, servers);
    }

    fn remove_from_servers(&mut self, context: &mut Context, id: WorkerId, servers: Vec<ServerId>) {
        for server in servers {
            self.remove_from_server(context, id, server);
        }
    }

    /// The worker has closed a server. The others keep it.
    pub(super) fn leave_server(&mut self, context: &mut Context, id: WorkerId, server: ServerId) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.servers.retain(|other| *other != server);
        }
        self.remove_from_server(context, id, server);
    }

    fn remove_from_server(&mut self, context: &mut Context, worker: WorkerId, id: ServerId) {
        self.leave_shared(context, worker);
        self.leave_socket(context, id, worker);
        let Some(server) = self.servers.get_mut(&id) else { return };
        server.remove_member(worker);
        self.change_homes();
        let Some(server) = self.servers.get(&id) else { return };
        if server.members().is_empty() {
            self.close_server(context, id);
        } else {
            self.to_serve.insert(id);
        }
    }

    /// Emits the number of servers, unless an event about it waits already.
    pub(super) fn emit_servers(&mut self) {
        if let Some(changed) = self.server_count.set(self.servers.len()) {
            self.sink.push(Event::Servers(changed));
        }
    }

    /// Closes a server of which nobody is a worker, as its first one could not get a socket.
    pub(super) fn close_if_empty<T, E>(
        &mut self,
        context: &mut Context,
        id: ServerId,
        joined: &Result<T, E>,
    ) {
        if joined.is_err() && self.servers.get(&id).is_some_and(|server| server.members().is_empty()) {
            self.close_server(context, id);
        }
    }

    /// No worker is left to take connections. Those that wait are closed with the server, unless its socket is inherited.
    fn close_server(&mut self, context: &mut Context, id: ServerId) {
        let Some(mut server) = self.servers.remove(&id) else { return };
        self.stats.servers.write().remove(&id);
        match &mut server.mode {
            Mode::Primary(acceptor) => acceptor.end(context, server.socket.as_fd()),
            Mode::Siblings(group) => self.close_group(context, id, group),
            Mode::Workers(_) => {}
        }
        if let Some(same) = self.by_key.get_mut(&server.query_key) {
            same.retain(|other| *other != id);
            if same.is_empty() {
                self.by_key.remove(&server.query_key);
            }
        }
        self.inherited.leave(id);
        for connection in server.end() {
            self.leave(id, connection);
        }
        if self.accepting == Accepting::Now {
            self.inherited.forget(id);
        }
        self.parked.close_of(id);
        self.first_bytes.close_of(id);
        self.asked.close_of(context, id);
        self.emit_servers();
    }
}
