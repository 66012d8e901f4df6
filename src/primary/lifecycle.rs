//! Adds and removes workers, and the servers that they keep open.

use std::borrow::Cow;
use std::os::fd::AsFd;
use std::sync::Arc;

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

impl<S: EventSink<Event>> Primary<S> {
    pub(super) fn configure(&mut self, config: Config) {
        self.config = config;
        // The bound may have been raised.
        self.to_serve.extend(self.servers.keys());
    }

    pub(super) fn add_worker(
        &mut self,
        context: &mut Context,
        id: WorkerId,
        channel: Arc<Channel>,
        lane: Result<SocketPair, Cow<'static, str>>,
    ) {
        let inbox = Inbox::new(channel.serialization(), self.config.max_frame);
        match Registration::new(context, channel.as_fd(), Source::Worker(id)) {
            Ok(registration) => {
                let (reason, lane) = match lane {
                    Ok(ends) => (Cow::Borrowed(LaneState::NOT_LOADED), Some(ends)),
                    Err(reason) => (reason, None),
                };
                let stats = Arc::new(WorkerStats::new(LaneState::Unused(reason)));
                self.stats.workers.write().insert(id, stats.clone());
                let mut worker = Worker::new(channel, inbox, registration, stats.clone());
                worker.lane = lane.map(|ends| Lane::new(ends, stats));
                self.workers.insert(id, worker);
                self.watch_lane(context, id);
            }
            Err(error) => self.sink.push(Event::Channel(id, ChannelEvent::Closed(Some(error)))),
        }
    }

    /// `worker.disconnect()`: the worker closes its servers and then its channel.
    pub(super) fn disconnect(&mut self, context: &mut Context, id: WorkerId) {
        self.take_back(context, id);
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
        while let Some((_, in_flight)) = worker.in_flight.pop_last() {
            self.give_back(in_flight);
        }
        if let Some(lane) = worker.lane.take()
            && let Err(error) = self.close_lane(context, id, lane)
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
        let Some(server) = self.servers.get_mut(&id) else { return };
        server.remove_member(worker);
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

    /// No worker is left to take connections. Those that wait are closed with the server.
    fn close_server(&mut self, context: &mut Context, id: ServerId) {
        let Some(server) = self.servers.remove(&id) else { return };
        self.stats.servers.write().remove(&id);
        if let Mode::Primary(acceptor) = &server.mode {
            acceptor.end(context, server.socket.as_fd());
        }
        if let Some(same) = self.by_key.get_mut(&server.query_key) {
            same.retain(|other| *other != id);
            if same.is_empty() {
                self.by_key.remove(&server.query_key);
            }
        }
        drop(server);
        self.emit_servers();
    }
}
