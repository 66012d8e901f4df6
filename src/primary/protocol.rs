//! What workers say, and the answers.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use serde_json::json;

use super::config::{MAX_SERVER_DATA, MAX_SERVER_KEY, MAX_SERVERS_OF_WORKER, SERVERS_SHARE, WORKERS_SHARE};
use super::server::{Mode, Opened, Server};
use super::worker::Phase;
use super::{Context, Event, Primary, Source};
use crate::channel::{
    ChannelEvent, Extent, Frame, HandleOrigin, Inbound, ReadStatus, Retransmission, Segment, SendStatus,
};
use crate::error::Error;
use crate::ids::{Seq, ServerId, WorkerId};
use crate::os;
use crate::proto::{self, ClusterMessage, HANDLE_ACK, HANDLE_NACK, HandleKind, Kind, QueryServer, ToWorker};
use crate::reactor::{Acceptor, EventSink};

impl<S: EventSink<Event>> Primary<S> {
    /// Reads what a worker has sent.
    pub(super) fn read(&mut self, context: &mut Context, id: WorkerId, extent: Extent) {
        if !self.reclaim(context, id) {
            return;
        }
        let workers = self.workers.len();
        let Some(worker) = self.workers.get_mut(&id) else { return };
        // What is left of who has gone is no more than its socket holds.
        let is_bounded = extent == Extent::Left || worker.phase == Phase::Unreachable;
        if !is_bounded && !worker.channel.may_read(workers) {
            worker.reading_paused = true;
            return;
        }
        let Some(mut inbox) = worker.inbox.take() else { return };
        let channel = worker.channel.clone();
        let status = inbox.read(channel.as_fd(), extent, |frame| self.on_frame(context, id, frame));
        self.tell_batch(id);
        // Taken in any case: it is this worker's, and not the next one's to be read.
        let malformed = self.malformed.take().or(self.unanswerable.remove(&id));
        let has_moved = std::mem::take(&mut self.has_moved);
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.inbox = Some(inbox);
        if let Some(error) = malformed {
            return self.close_worker(context, id, Some(error));
        }
        let is_moving = worker.next.is_some();
        match status {
            _ if has_moved => self.finish_move(context, id),
            // It ended in the middle of its move.
            ReadStatus::Drained if is_moving && extent == Extent::Left => self.finish_move(context, id),
            ReadStatus::Drained => {}
            ReadStatus::BudgetSpent => self.unread.push(id),
            ReadStatus::Ended if is_moving => self.finish_move(context, id),
            ReadStatus::Ended => return self.close_worker(context, id, None),
            ReadStatus::Broken(error) => return self.close_worker(context, id, Some(error)),
        }
        // Acknowledgements make room: first for frames that waited for them, then for connections.
        self.flush(context, id);
        self.serve_soon(id);
        self.offer_later(context, id);
    }

    fn on_frame(&mut self, context: &mut Context, id: WorkerId, frame: Inbound<'_>) {
        let length = frame.length();
        let Inbound { kind, bytes, segments, handle } = frame;
        if self.malformed.is_some() || self.has_moved || self.unanswerable.contains_key(&id) {
            return;
        }
        if matches!(kind, Kind::User | Kind::Handle)
            && let Some(worker) = self.workers.get(&id)
        {
            worker.channel.traffic().received(length);
        }
        if kind == Kind::User {
            return self.on_message(id, bytes, segments);
        }
        // A handle's has a message of the program's in it.
        if kind != Kind::Handle
            && let Err(reason) = proto::check_size(&bytes)
        {
            self.malformed = Some(Error::BadFrame(reason));
            return;
        }
        self.tell_batch(id);
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.lending.disturb();
        }
        match kind {
            Kind::User => {}
            Kind::Move => self.has_moved = true,
            Kind::Connect => self.on_connect(context, id, &bytes),
            Kind::Cluster => {
                self.on_cluster_frame(context, id, &bytes);
            }
            Kind::Handle => {
                // Acknowledged when JavaScript takes it: Node's sender has one handle under way, and so no more of
                // them than there are workers wait here.
                match handle {
                    Some(handle) => {
                        let bytes = bytes.into_bytes();
                        self.tell_message(id, ChannelEvent::HandleMessage { bytes, handle });
                    }
                    None => self.answer_command(context, id, HANDLE_NACK),
                }
            }
            Kind::Memory => {
                let answer = if handle.is_some() { HANDLE_ACK } else { HANDLE_NACK };
                self.answer_command(context, id, answer);
            }
            Kind::HandleAck => {
                let Some(worker) = self.workers.get(&id) else { return };
                match worker.channel.acknowledge() {
                    Some(HandleOrigin::User) => {
                        self.sink.push(Event::Channel(id, ChannelEvent::HandleArrived))
                    }
                    Some(HandleOrigin::Peer(peer)) => self.on_peer_arrived(context, id, peer),
                    Some(HandleOrigin::Connection(_) | HandleOrigin::Reply | HandleOrigin::Memory) | None => {
                    }
                }
            }
            Kind::HandleNack => {
                let Some(worker) = self.workers.get(&id) else { return };
                match worker.channel.retransmit() {
                    Retransmission::GivenUp(HandleOrigin::User) => {
                        self.sink.push(Event::Channel(id, ChannelEvent::HandleLost))
                    }
                    Retransmission::GivenUp(HandleOrigin::Connection(seq)) => {
                        self.on_connection_lost(id, seq)
                    }
                    Retransmission::GivenUp(HandleOrigin::Peer(peer)) => self.on_peer_lost(context, id, peer),
                    Retransmission::GivenUp(HandleOrigin::Reply | HandleOrigin::Memory)
                    | Retransmission::SentAgain
                    | Retransmission::Nothing => {}
                }
            }
        }
    }

    fn on_message(&mut self, id: WorkerId, frame: proto::Frame<'_>, segments: Vec<Segment>) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.lending.note_message(frame.len());
        let serialization = worker.channel.serialization();
        let mut batch = std::mem::take(&mut self.batch);
        batch.add(serialization, frame, segments, |frames| {
            self.tell_message(id, ChannelEvent::Messages(frames))
        });
        self.batch = batch;
    }

    /// Tells the messages of the worker that is being read, before anything else of it is told.
    fn tell_batch(&mut self, id: WorkerId) {
        if let Some(frames) = self.batch.take() {
            self.tell_message(id, ChannelEvent::Messages(frames));
        }
    }

    /// Tells of messages, unless this side has disconnected: they reach nobody then (Node: `if (!target.channel) return`).
    fn tell_message(&mut self, id: WorkerId, event: ChannelEvent) {
        if self.workers.get(&id).is_some_and(|worker| worker.phase != Phase::Closing) {
            self.tell(Event::Channel(id, event));
        }
    }

    /// Tells of something that a worker has brought about: it counts until JavaScript has dealt with it.
    fn tell(&mut self, event: Event) {
        if let Some((id, cost)) = event.cost()
            && let Some(worker) = self.workers.get(&id)
        {
            worker.channel.undelivered().add(cost);
        }
        self.sink.push(event);
    }

    fn on_cluster_frame(&mut self, context: &mut Context, id: WorkerId, bytes: &[u8]) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let (message, seq) = match proto::parse(worker.channel.serialization(), bytes) {
            Ok(parsed) => parsed,
            Err(reason) => {
                // Closing waits until the inbox is back in its place; what follows in it is not believed.
                self.malformed = Some(Error::BadFrame(reason));
                return;
            }
        };
        if self.config.tell_internal {
            self.tell(Event::Internal { worker: id, bytes: bytes.to_vec() });
        }
        let Some(worker) = self.workers.get_mut(&id) else { return };
        match message {
            ClusterMessage::Ack { ack, accepted } => self.on_decision(id, ack, accepted),
            ClusterMessage::Online => self.tell(Event::Online(id)),
            ClusterMessage::Listening(info) => {
                if let Some(own) = info.own {
                    self.note_own_server(id, own);
                }
                self.tell(Event::Listening { worker: id, info: info.address_json });
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
                if worker.phase == Phase::Serving {
                    worker.phase = Phase::Leaving;
                }
                self.tell(Event::ExitedAfterDisconnect(id));
                self.answer_message(context, id, &ToWorker::Ack(seq), None);
            }
            ClusterMessage::Unknown => {}
        }
    }

    fn on_query_server(&mut self, context: &mut Context, id: WorkerId, seq: Seq, query: &QueryServer) {
        let Some(worker) = self.workers.get(&id) else { return };
        if worker.phase != Phase::Serving {
            // Node does not answer a worker that is on its way out.
            return;
        }
        // A worker that asks twice with one key gets a server of its own (Node 22.23, 26.10). The oldest that it does not
        // take part in: the second of one worker is the second of all, as with the index that Node 20 has in every key.
        let known = self.by_key.get(query.key.as_str()).into_iter().flatten().copied();
        let shared = known
            .into_iter()
            .find(|server| self.servers.get(server).is_some_and(|server| !server.members().contains(&id)));
        let server = has_bounds(query).map_err(Error::sys("opening a server")).and_then(|()| match shared {
            Some(server) => Ok(server),
            None => self.open_server(context, id, query),
        });
        match server {
            Ok(server) => self.join_server(context, id, seq, server, query),
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
        let opened = Opened::open(query, &self.config).map_err(Error::sys("opening a server"))?;
        let id = ServerId(self.next_server);
        self.next_server += 1;
        let mode = match opened.shared() {
            Some(kind) => Mode::Workers(kind),
            None => Mode::Primary(Acceptor::new(context, opened.socket().as_fd(), Source::Server(id))?),
        };
        let policy = (self.config.policy)();
        let server = Server::new(query, self.name_for(query, id), opened, mode, policy);
        self.stats.servers.write().insert(id, server.stats.clone());
        self.by_key.entry(server.query_key.clone()).or_default().push(id);
        self.servers.insert(id, server);
        self.tell_servers();
        Ok(id)
    }

    /// What a new server is called in messages: the key that it was asked for with, unless that is another's. A worker
    /// knows its servers by their names, and ends when two of them have the same (nodejs/node#64869).
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
    ) {
        let (Some(worker), Some(server)) = (self.workers.get_mut(&id), self.servers.get_mut(&server_id))
        else {
            return;
        };
        server.data = server.data.take().or_else(|| query.data.clone());
        server.raise_backlog(query);
        server.add_member(id);
        worker.servers.push(server_id);
        let (key, data) = (server.key.clone(), server.data.clone());
        let (errno, sockname, handle) = match server.mode {
            Mode::Primary(_) => (None, server.local.clone(), None),
            Mode::Workers(kind) => (Some(0), None, Some((kind, server.socket.clone()))),
        };
        let reply = ToWorker::ServerReply {
            ack: seq,
            key: &key,
            errno,
            data: data.as_ref(),
            sockname: sockname.as_ref(),
        };
        self.answer_message(context, id, &reply, handle);
        self.to_serve.insert(server_id);
    }

    /// Tells a worker to leave.
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
        match message.frame(worker.channel.serialization(), seq, handle.as_ref().map(|(kind, _)| *kind)) {
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

    /// Answers with one of the channel's own messages, which have nothing but a name.
    fn answer_command(&mut self, context: &mut Context, id: WorkerId, command: &str) {
        let Some(worker) = self.workers.get(&id) else { return };
        match proto::encode(worker.channel.serialization(), &json!({ "cmd": command })) {
            Ok(bytes) => {
                let Some(worker) = self.workers.get(&id) else { return };
                let status = worker.channel.send_receipt(Frame::plain(bytes));
                self.answered(context, id, status);
            }
            Err(reason) => self.sink.push(Event::Fault(Error::BadFrame(reason))),
        }
    }

    pub(super) fn send_frame(&mut self, context: &mut Context, id: WorkerId, frame: Frame) {
        let Some(worker) = self.workers.get(&id) else { return };
        match worker.channel.send(frame) {
            SendStatus::Queued { needs_flush: true, .. } => self.flush(context, id),
            // A worker that has gone reads no answer; its end is about to be read here.
            SendStatus::Written | SendStatus::Queued { .. } | SendStatus::Failed(_) | SendStatus::Closed => {}
        }
    }

    /// Sends what a worker has asked for. One that asks and does not read is not answered without end: its channel ends.
    pub(super) fn answer_frame(&mut self, context: &mut Context, id: WorkerId, frame: Frame) {
        let Some(worker) = self.workers.get(&id) else { return };
        let status = worker.channel.answer(frame);
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

/// Errors: `EINVAL` for more that is to be kept of a server than any needs.
fn has_bounds(query: &QueryServer) -> Result<(), Errno> {
    let data = query.data.as_ref().map_or(0, |data| data.to_string().len());
    if query.key.len() > MAX_SERVER_KEY || data > MAX_SERVER_DATA { Err(Errno::EINVAL) } else { Ok(()) }
}
