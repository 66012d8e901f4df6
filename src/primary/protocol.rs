//! Messages of workers in the cluster protocol, and the answers.

use std::borrow::Cow;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::errno::Errno;

use super::config::{MAX_SERVER_DATA, MAX_SERVER_KEY, MAX_SERVERS_OF_WORKER, SERVERS_SHARE, WORKERS_SHARE};
use super::connection::Decision;
use super::policies::Place;
use super::reuse_port;
use super::server::{Mode, Opened, Server};
use super::worker::Phase;
use super::{Context, Event, Primary};
use crate::channel::{Frame, HandleOrigin, SendStatus};
use crate::error::Error;
use crate::ids::{Seq, ServerId, WorkerId};
use crate::os;
use crate::proto::{self, ClusterMessage, HandleKind, QueryServer, ToWorker};
use crate::reactor::EventSink;

impl<S: EventSink<Event>> Primary<S> {
    /// Emits an event that a worker has caused. It counts as undelivered until JavaScript has dealt with it.
    fn emit(&mut self, event: Event) {
        if let Some((id, cost)) = event.cost()
            && let Some(worker) = self.workers.get(&id)
        {
            worker.channel().undelivered().add(cost);
        }
        self.sink.push(event);
    }

    /// Errors: the frame is not a message of the cluster protocol.
    pub(super) fn on_cluster_frame(
        &mut self,
        context: &mut Context,
        id: WorkerId,
        bytes: &[u8],
    ) -> Result<(), Error> {
        let Some(worker) = self.workers.get_mut(&id) else { return Ok(()) };
        let (message, seq) =
            proto::parse(worker.channel().serialization(), bytes).map_err(Error::BadFrame)?;
        if self.config.emit_internal {
            self.emit(Event::Internal { worker: id, bytes: bytes.to_vec() });
        }
        let Some(worker) = self.workers.get_mut(&id) else { return Ok(()) };
        match message {
            ClusterMessage::Ack { ack, accepted: true } => self.on_decision(id, ack, Decision::Taken),
            ClusterMessage::Ack { ack, accepted: false } => self.on_decision(id, ack, Decision::Refused),
            ClusterMessage::Online => {
                self.stats.note_online(&worker.stats);
                self.emit(Event::Online(id));
            }
            ClusterMessage::Listening(info) => {
                self.stats.note_listening(&worker.stats);
                if let Some(own) = info.own {
                    self.note_own_server(id, own);
                }
                if let Some(port) = info.port {
                    self.worker_listens(context, id, port);
                }
                self.retry_refused_by(id);
                self.emit(Event::Listening { worker: id, info: info.address_json });
            }
            ClusterMessage::QueryServer(query) => self.on_query_server(context, id, seq, &query),
            ClusterMessage::Close { key } => {
                let has_key = |id: &&ServerId| self.servers.get(id).is_some_and(|server| *server.key == *key);
                match worker.servers.iter().rfind(has_key).copied() {
                    Some(server) => self.leave_server(context, id, server),
                    None => self.forget_own_server(id, &key),
                }
            }
            ClusterMessage::ExitedAfterDisconnect => {
                worker.phase = Phase::Leaving;
                self.park_all(context, id);
                self.emit(Event::ExitedAfterDisconnect(id));
                self.answer_message(context, id, &ToWorker::Ack(seq), None);
            }
            ClusterMessage::Unknown => {}
        }
        Ok(())
    }

    fn on_query_server(&mut self, context: &mut Context, id: WorkerId, seq: Seq, query: &QueryServer) {
        let Some(worker) = self.workers.get(&id) else { return };
        if !worker.is_serving() {
            // Node does not answer a worker that is on its way out, either.
            return;
        }
        // A worker that asks twice with one key gets a server of its own (Node 22.23, 26.10). This finds the
        // oldest server that the worker does not share: the second of one worker is the second of all, as
        // with the index that Node 20 has in every key.
        let known = self.by_key.get(query.key.as_str()).into_iter().flatten().copied();
        let shared = known
            .into_iter()
            .find(|server| self.servers.get(server).is_some_and(|server| !server.members().contains(&id)));
        let server = has_bounds(query).map_err(Error::sys("opening a server")).and_then(|()| match shared {
            Some(server) => Ok(server),
            None => self.open_server(context, id, query),
        });
        let joined = server.and_then(|server| {
            let socket = self.take_socket(context, server, id);
            // One that has just been opened is nobody's.
            self.close_if_empty(context, server, &socket);
            Ok((server, socket?))
        });
        match joined {
            Ok((server, socket)) => self.join_server(context, id, seq, server, query, socket),
            Err(error) => {
                let errno = error.errno().or(Some(-(Errno::EINVAL as i32)));
                let data = query.data.as_ref();
                let reply = ToWorker::ServerReply { ack: seq, key: &query.key, errno, data, sockname: None };
                self.answer_message(context, id, &reply, None);
            }
        }
    }

    fn open_server(
        &mut self,
        context: &mut Context,
        worker: WorkerId,
        query: &QueryServer,
    ) -> Result<ServerId, Error> {
        self.has_room_for_server(worker).map_err(Error::sys("opening a server"))?;
        let wanted = self.config.policies.of(&Place::of(query)).clone();
        let inherited = self.inherited.find(query);
        let is_single = inherited.as_ref().is_some_and(|inheritance| !inheritance.is_group());
        let (choice, reason) = reuse_port::possible(wanted, query, is_single);
        let opened = match &inherited {
            Some(socket) => Opened::inherited(query, &choice, socket),
            None => Opened::open(query, &choice, &self.config),
        };
        let opened = opened.map_err(Error::sys("opening a server"))?;
        let id = ServerId(self.next_server);
        self.next_server += 1;
        let mode = opened.mode(context, id)?;
        let mut server = Server::new(query, self.name_for(query, id), opened, mode, choice);
        if let Some(socket) = &inherited {
            server.pending = self.inherited.take(socket, id);
        }
        *server.stats.policy_reason.lock() = reason.map(Cow::Borrowed);
        self.stats.servers.write().insert(id, server.stats.clone());
        self.by_key.entry(server.query_key.clone()).or_default().push(id);
        self.servers.insert(id, server);
        if inherited.is_some_and(|inheritance| inheritance.is_group()) {
            self.stand_in_for_all(context, id);
        }
        self.emit_servers();
        Ok(id)
    }

    /// The name of a new server in messages: the key of the query, unless another server has it. A worker
    /// identifies its servers by their names, and ends when two have the same (nodejs/node#64869).
    fn name_for(&self, query: &QueryServer, id: ServerId) -> Arc<str> {
        let mut same = self.by_key.get(query.key.as_str()).into_iter().flatten();
        let is_taken = same.any(|id| self.servers.get(id).is_some_and(|server| *server.key == *query.key));
        if is_taken { format!("{}:{}", query.key, id.0).into() } else { query.key.as_str().into() }
    }

    /// Errors: `EMFILE` when the worker, or all of them, have as many servers as they may.
    fn has_room_for_server(&self, worker: WorkerId) -> Result<(), Errno> {
        let own = self.workers.get(&worker).map_or(0, |worker| worker.servers.len());
        let limit = os::descriptor_limit();
        let is_full = own >= (limit / WORKERS_SHARE).min(MAX_SERVERS_OF_WORKER)
            || self.servers.len() >= limit / SERVERS_SHARE;
        if is_full { Err(Errno::EMFILE) } else { Ok(()) }
    }

    fn join_server(
        &mut self,
        context: &mut Context,
        id: WorkerId,
        seq: Seq,
        server_id: ServerId,
        query: &QueryServer,
        own_socket: Option<Arc<OwnedFd>>,
    ) {
        let (Some(worker), Some(server)) = (self.workers.get_mut(&id), self.servers.get_mut(&server_id))
        else {
            return;
        };
        server.data = server.data.take().or_else(|| query.data.clone());
        server.raise_backlog(query);
        server.add_member(id, worker.slot, worker.weight);
        worker.servers.push(server_id);
        let (key, data) = (server.key.clone(), server.data.clone());
        let is_given_connections = !matches!(server.mode, Mode::Workers(_));
        let (errno, sockname, handle) = match &server.mode {
            Mode::Primary(_) => (None, server.local.clone(), None),
            Mode::Workers(kind) => (Some(0), None, Some((*kind, server.socket.clone()))),
            Mode::Siblings(_) => (Some(0), None, own_socket.map(|socket| (HandleKind::Stream, socket))),
        };
        let reply = ToWorker::ServerReply {
            ack: seq,
            key: &key,
            errno,
            data: data.as_ref(),
            sockname: sockname.as_ref(),
        };
        // Before the worker hears of it, so that whoever waits for 'listening' finds it done.
        if is_given_connections {
            self.watch_plain(id);
        }
        self.change_homes();
        self.tell_of_clients(context, id);
        self.answer_message(context, id, &reply, handle);
        self.to_serve.insert(server_id);
    }

    /// Asks a worker to leave.
    pub(super) fn send_disconnect(&mut self, context: &mut Context, id: WorkerId) {
        if let Some(frame) = self.message_frame(id, &ToWorker::Disconnect, None) {
            self.send_frame(context, id, frame);
        }
    }

    /// Answers with a message of the cluster protocol, with a listening socket or without.
    fn answer_message(
        &mut self,
        context: &mut Context,
        id: WorkerId,
        message: &ToWorker<'_>,
        handle: Option<(HandleKind, Arc<OwnedFd>)>,
    ) {
        if let Some(frame) = self.message_frame(id, message, handle) {
            self.answer_frame(context, id, frame);
        }
    }

    fn message_frame(
        &mut self,
        id: WorkerId,
        message: &ToWorker<'_>,
        handle: Option<(HandleKind, Arc<OwnedFd>)>,
    ) -> Option<Frame> {
        let worker = self.workers.get_mut(&id)?;
        let seq = worker.next_seq();
        match message.frame(worker.channel().serialization(), seq, handle.as_ref().map(|(kind, _)| *kind)) {
            Ok(bytes) => Some(match handle {
                Some((_, socket)) => Frame::with_handle(bytes, socket, HandleOrigin::Reply),
                None => Frame::plain(bytes),
            }),
            Err(reason) => {
                self.sink.push(Event::Fault(Error::BadFrame(reason)));
                None
            }
        }
    }

    pub(super) fn send_frame(&mut self, context: &mut Context, id: WorkerId, frame: Frame) {
        let Some(worker) = self.workers.get(&id) else { return };
        match worker.channel().send(frame) {
            SendStatus::Queued { needs_flush: true, .. } => self.flush(context, id),
            // A worker that has gone reads no answer. Its end is about to be read here.
            SendStatus::Written | SendStatus::Queued { .. } | SendStatus::Failed(_) | SendStatus::Closed => {}
        }
    }

    /// Sends what a worker has asked for. If a worker asks and does not read the answers, its channel is
    /// closed.
    pub(super) fn answer_frame(&mut self, context: &mut Context, id: WorkerId, frame: Frame) {
        let Some(worker) = self.workers.get(&id) else { return };
        let status = worker.channel().answer(frame);
        self.answered(context, id, status);
    }

    fn answered(&mut self, context: &mut Context, id: WorkerId, status: Result<SendStatus, Error>) {
        match status {
            Ok(SendStatus::Queued { needs_flush: true, .. }) => self.flush(context, id),
            // As in `send_frame`.
            Ok(_) => {}
            Err(error) => drop(self.unanswerable.insert(id, error)),
        }
    }
}

/// Errors: `EINVAL` if a key or `data` is larger than any server needs.
fn has_bounds(query: &QueryServer) -> Result<(), Errno> {
    let data = query.data.as_ref().map_or(0, |data| data.to_string().len());
    if query.key.len() > MAX_SERVER_KEY || data > MAX_SERVER_DATA { Err(Errno::EINVAL) } else { Ok(()) }
}
