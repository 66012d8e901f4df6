//! The primary of a cluster: listening sockets, workers, and every connection between accept and acknowledgement.
//!
//! [`Primary`] runs on the reactor thread and owns all of it; other threads reach it by [`Command`]s and are told by
//! [`Event`]s. Its parts: this file takes commands and readiness; `accept` takes connections off the kernel's
//! backlog; `dispatch` gives them to workers, `lane` on their lanes; `reading` says who reads a channel; `moving` has it
//! change its socket; `peers` gives workers sockets to each other; `protocol` answers what workers say; `lifecycle` adds and removes workers and servers.

mod accept;
mod config;
mod dispatch;
mod event;
mod lane;
mod lifecycle;
mod moving;
mod own_servers;
mod peers;
mod protocol;
mod reading;
mod server;
mod stats;
#[cfg(test)]
mod tests;
mod worker;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

pub use config::{AcceptMode, Config, IN_FLIGHT_PER_WORKER, LANE_WINDOW, RECALL_AFTER};
use event::ServerCount;
pub use event::{Connection, Event};

use crate::channel::{
    Batch, CORKED_FOR, Channel, ChannelCommand, ChannelEvent, Extent, FlushStatus, MEMORY_KEPT, Maintenance,
};
use crate::error::Error;
use crate::ids::{ServerId, WorkerId};
use crate::os::SocketPair;
use crate::reactor::{Acceptor, EventSink, Exhaustion, Handler, Interest, Readiness, TimerId};
pub use lane::LaneState;
use peers::Acquaintance;
use server::Server;
pub use stats::{ServerCounters, ServerStats, Stats, WorkerCounters, WorkerStats};
use worker::Worker;

/// What other threads ask of the primary.
#[derive(Debug)]
pub enum Command {
    /// New settings.
    Configure(Config),
    /// A worker is about to be spawned with the other end of this channel.
    AddWorker {
        /// Its id.
        id: WorkerId,
        /// The channel, of which the caller keeps a share for sending.
        channel: Arc<Channel>,
        /// Both ends of its lane, or why it has none.
        lane: Result<SocketPair, Cow<'static, str>>,
    },
    /// Do something for a channel that is common to all of them.
    Channel(WorkerId, ChannelCommand),
    /// Tell the worker to leave (`worker.disconnect()`); it takes part in no server any more.
    Disconnect(WorkerId),
    /// Close the channel after what waits has been sent (`subprocess.disconnect()`).
    CloseChannel(WorkerId),
    /// The process has ended: read what it left behind and close. Somebody else may hold its end of the channel.
    Exited(WorkerId),
}

/// What a registered descriptor is.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    /// A worker's channel.
    Worker(WorkerId),
    /// The socket that a worker's channel moves over to, while it does not read that yet.
    WorkerToBe(WorkerId),
    /// A worker's lane.
    Lane(WorkerId),
    /// The listening socket of a server.
    Server(ServerId),
}

/// What to do when a timer runs out.
#[derive(Clone, Copy, Debug)]
pub enum Timer {
    /// Accept again: there may be descriptors.
    Accept(ServerId),
    /// Offer the connections again that every worker has refused.
    RetryRefused(ServerId),
    /// Write again: fewer descriptors may be under way.
    Flush(WorkerId),
    /// Look for workers that do not read their lanes.
    LookAtLanes,
    /// Lend the channel to JavaScript if it has been quiet.
    Offer(WorkerId),
    /// Look whether JavaScript reads what it was lent.
    CheckLent(WorkerId),
    /// Write what was corked.
    Uncork(WorkerId),
    /// Give back memory that has not been used.
    MaintainMemory(WorkerId),
    /// Give the first worker another socket to the second, if it still wants one.
    Acquaint(WorkerId, WorkerId),
}

/// The reactor as the primary sees it.
type Context = crate::reactor::Context<Timer, Source>;

/// All state of the primary, on the reactor thread.
#[derive(Debug)]
pub struct Primary<S> {
    config: Config,
    sink: S,
    stats: Arc<Stats>,
    workers: HashMap<WorkerId, Worker>,
    servers: HashMap<ServerId, Server>,
    server_count: ServerCount,
    /// The servers that workers have asked for with a key, oldest first. More than one where one worker asked again.
    by_key: HashMap<Arc<str>, Vec<ServerId>>,
    /// Servers that workers have opened by themselves, by their keys.
    own_servers: HashMap<Arc<str>, ServerId>,
    /// Workers that have more to be read and gave way to others; continued next turn.
    unread: Vec<WorkerId>,
    /// Workers with more on their lanes that gave way to others; continued next turn.
    uncollected: BTreeSet<WorkerId>,
    /// Servers with something to accept or to hand out. They are served when everything that came in this turn has
    /// been read: with all acknowledgements known, the turns come out fair.
    to_serve: BTreeSet<ServerId>,
    /// Workers that do not read their lanes.
    stalled: BTreeSet<WorkerId>,
    /// A timer runs for the next look at the lanes, and when that may be at the earliest.
    next_look: Option<(TimerId, Instant)>,
    /// What is wrong with the frames of the worker that is being read.
    malformed: Option<Error>,
    /// Workers that do not read the answers to what they ask. They may be in use where that is found; their channels are closed when
    /// they have been read, or at the end of the turn.
    unanswerable: BTreeMap<WorkerId, Error>,
    /// Small messages of the worker that is being read, not told yet.
    batch: Batch,
    /// The worker that is being read has said that it goes on on another socket.
    has_moved: bool,
    /// How many sockets to the second worker the first has been given that were not lost on the way. Each has its own count:
    /// what one had no room for may have arrived at the other.
    acquainted: HashMap<(WorkerId, WorkerId), Acquaintance>,
    next_server: u64,
    exhaustion: Exhaustion,
}

impl<S: EventSink<Event>> Primary<S> {
    /// A primary without workers that tells its events to `sink`.
    pub fn new(sink: S) -> Self {
        Primary {
            config: Config::default(),
            sink,
            stats: Arc::default(),
            workers: HashMap::new(),
            servers: HashMap::new(),
            server_count: ServerCount::default(),
            by_key: HashMap::new(),
            own_servers: HashMap::new(),
            unread: Vec::new(),
            uncollected: BTreeSet::new(),
            to_serve: BTreeSet::new(),
            stalled: BTreeSet::new(),
            next_look: None,
            malformed: None,
            unanswerable: BTreeMap::new(),
            batch: Batch::default(),
            has_moved: false,
            acquainted: HashMap::new(),
            next_server: 0,
            exhaustion: Exhaustion::default(),
        }
    }

    /// What it counts, for other threads.
    pub fn stats(&self) -> Arc<Stats> {
        self.stats.clone()
    }

    /// Messages were corked a while ago: if the turn in which that was is not over, they go out now.
    fn uncork(&mut self, context: &mut Context, id: WorkerId) {
        if self.workers.get(&id).is_some_and(|worker| worker.channel.on_cork_timer()) {
            self.flush(context, id);
        }
    }

    /// Makes memory for large messages, or gives back what is not used.
    fn maintain_memory(&mut self, context: &mut Context, id: WorkerId) {
        let Some(worker) = self.workers.get(&id) else { return };
        match worker.channel.maintain_memory() {
            Maintenance::Offered(_) => self.flush(context, id),
            Maintenance::Later => {
                context.set_timer(MEMORY_KEPT, Timer::MaintainMemory(id));
            }
            Maintenance::Nothing => {}
        }
    }

    /// Writes what waits for a worker, and arranges to go on if that is not all.
    fn flush(&mut self, context: &mut Context, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if worker.lending.is_lent() && !worker.channel.is_idle() {
            // What is written here is told before what the worker answers to it.
            self.take_back(context, id);
        }
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let mut completed = Vec::new();
        let status = worker.channel.flush(&mut completed);
        for completion in completed {
            self.sink.push(Event::Channel(id, ChannelEvent::Written(completion)));
        }
        let interest = match status {
            FlushStatus::Blocked => Interest::ReadWrite,
            FlushStatus::Exhausted => {
                if !std::mem::replace(&mut worker.flush_deferred, true) {
                    context.set_timer(config::EXHAUSTED_PAUSE, Timer::Flush(id));
                }
                Interest::Read
            }
            FlushStatus::Failed(_) => {
                worker.phase = worker::Phase::Unreachable;
                if std::mem::take(&mut worker.reading_paused) {
                    self.unread.push(id);
                }
                Interest::Read
            }
            FlushStatus::Idle | FlushStatus::AwaitsAcknowledgement => Interest::Read,
        };
        self.wait_for(context, id, interest);
    }

    /// Waits for what is to be read, and for room where that is needed.
    fn wait_for(&mut self, context: &mut Context, id: WorkerId, interest: Interest) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let is_on_next = worker.next.is_some() && worker.channel.has_moved_sending();
        if let Some(next) = &mut worker.next
            && let Some(socket) = worker.channel.second_socket()
            && let Err(error) =
                next.wait_for(context, socket, if is_on_next { interest } else { Interest::Read })
        {
            return self.close_worker(context, id, Some(error));
        }
        let interest = if is_on_next { Interest::Read } else { interest };
        if worker.registration.interest() == interest {
            return;
        }
        // Filled up by another thread a moment ago. It may not be registered now, so that it is taken back.
        self.take_back(context, id);
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if let Err(error) = worker.registration.wait_for(context, worker.channel.as_fd(), interest) {
            self.close_worker(context, id, Some(error));
        }
    }

    fn on_channel_command(&mut self, context: &mut Context, id: WorkerId, command: ChannelCommand) {
        match command {
            ChannelCommand::Flush => self.flush(context, id),
            ChannelCommand::StartCorkTimer => {
                context.set_timer(CORKED_FOR, Timer::Uncork(id));
            }
            ChannelCommand::MaintainMemory => self.maintain_memory(context, id),
            ChannelCommand::Resume => self.resume(context, id),
            ChannelCommand::TakeBack => {
                self.take_back(context, id);
                self.resume(context, id);
            }
            ChannelCommand::Destroy(error) => self.close_worker(context, id, Some(error)),
        }
    }
}

impl<S: EventSink<Event>> Handler for Primary<S> {
    type Command = Command;
    type Timer = Timer;
    type Source = Source;

    fn on_command(&mut self, context: &mut Context, command: Command) {
        match command {
            Command::Configure(config) => self.configure(config),
            Command::AddWorker { id, channel, lane } => self.add_worker(context, id, channel, lane),
            Command::Channel(id, command) => self.on_channel_command(context, id, command),
            Command::Disconnect(id) => self.disconnect(context, id),
            Command::CloseChannel(id) => self.close_channel(context, id),
            Command::Exited(id) => self.exited(context, id),
        }
    }

    fn on_ready(&mut self, context: &mut Context, source: Source, readiness: Readiness) {
        match source {
            Source::Worker(id) => {
                if readiness.readable {
                    self.on_readable(context, id, readiness.ended);
                }
                if readiness.writable {
                    self.flush(context, id);
                }
            }
            Source::WorkerToBe(id) => {
                // What has come is read when everything on the first socket has been.
                if readiness.writable {
                    self.flush(context, id);
                }
            }
            Source::Lane(id) => {
                self.collect(context, id);
            }
            Source::Server(id) => {
                self.accept_soon(id, Acceptor::on_ready);
            }
        }
    }

    fn on_timer(&mut self, context: &mut Context, what: Timer) {
        match what {
            Timer::Accept(id) => self.accept_soon(id, Acceptor::on_pause_end),
            Timer::RetryRefused(id) => self.retry_refused(id),
            Timer::Flush(id) => {
                if let Some(worker) = self.workers.get_mut(&id) {
                    worker.flush_deferred = false;
                }
                self.flush(context, id);
            }
            Timer::Uncork(id) => self.uncork(context, id),
            Timer::MaintainMemory(id) => self.maintain_memory(context, id),
            Timer::Acquaint(one, other) => self.acquaint_again(context, one, other),
            Timer::LookAtLanes => self.look_at_lanes(context),
            Timer::Offer(id) => self.offer_if_quiet(id),
            Timer::CheckLent(id) => self.check_lent(context, id),
        }
    }

    fn on_turn_end(&mut self, context: &mut Context) {
        for id in std::mem::take(&mut self.unread) {
            // Whether the end is near was told once and is not known any more.
            self.read(context, id, Extent::ToEnd);
        }
        for id in std::mem::take(&mut self.uncollected) {
            self.collect(context, id);
        }
        while let Some((id, error)) = self.unanswerable.pop_first() {
            self.close_worker(context, id, Some(error));
        }
        self.look_if_due(context);
        self.relieve_stalled(context);
        for id in std::mem::take(&mut self.to_serve) {
            self.dispatch_and_accept(context, id);
        }
        if !(self.unread.is_empty() && self.uncollected.is_empty() && self.to_serve.is_empty()) {
            context.poll_again();
        }
        self.sink.flush();
    }

    fn on_fatal(&mut self, error: Error) {
        self.sink.push(Event::Fault(error));
        // Nobody will hear of these any more.
        for (id, worker) in self.workers.drain() {
            // JavaScript tells nothing behind its end.
            worker.channel.take_back();
            for unwritten in worker.channel.abort() {
                self.sink.push(Event::Channel(id, ChannelEvent::Unwritten(unwritten)));
            }
            self.sink.push(Event::Channel(id, ChannelEvent::Closed(None)));
        }
        self.sink.flush();
    }
}
