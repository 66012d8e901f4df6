//! The primary of a cluster: listening sockets, workers, and every connection between accept and acknowledgement.
//!
//! [`Primary`] runs on the reactor thread and owns all of it. Other threads send it [`Command`]s and receive
//! [`Event`]s.
//!
//! - This file takes commands, readiness and timers, and ends a turn. `config` has settings and bounds, `event`
//!   the events, `stats` what is counted.
//! - `server` is a listening address. `accept` takes connections off the kernel's backlog, `dispatch` gives them
//!   to workers, `lane` does so on lanes. `connection` is one of them.
//! - `worker` is a worker. `owner` has its channel driven, `channel_move` has the channel change its socket.
//! - `protocol` answers what workers ask, `lifecycle` adds and removes workers and servers, `own_servers` counts
//!   servers that workers open themselves, `peers` gives workers sockets to each other.

mod accept;
mod channel_move;
mod config;
mod connection;
mod dispatch;
mod event;
mod lane;
mod lifecycle;
mod own_servers;
mod owner;
mod peers;
mod protocol;
mod server;
mod stats;
#[cfg(test)]
mod tests;
mod worker;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

pub use config::{AcceptMode, Config, IN_FLIGHT_PER_WORKER, LANE_WINDOW, RECALL_AFTER};
use event::ServerCount;
pub use event::{Connection, Event};

use crate::channel::{Channel, ChannelCommand, ChannelTimer, Extent};
use crate::error::Error;
use crate::ids::{ServerId, WorkerId};
use crate::os::SocketPair;
use crate::reactor::{Acceptor, EventSink, Exhaustion, Handler, Readiness, TimerId};
pub use lane::LaneState;
use owner::ChannelOwner;
use peers::PeerSockets;
use server::Server;
pub use stats::{ServerCounters, ServerStats, Stats, WorkerCounters, WorkerStats};
use worker::Worker;

/// Commands from other threads to the primary.
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
    /// A command that is the same for all channels.
    Channel(WorkerId, ChannelCommand),
    /// Ask the worker to leave (`worker.disconnect()`). It leaves all servers.
    Disconnect(WorkerId),
    /// Close the channel after what waits has been sent (`subprocess.disconnect()`).
    CloseChannel(WorkerId),
    /// The process has ended: read what it left behind and close. Another process may hold its end of the
    /// channel.
    Exited(WorkerId),
}

/// What a registered descriptor is.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    /// A worker's channel.
    Worker(WorkerId),
    /// The socket to which a worker's channel moves, while the primary still reads the first one.
    SecondSocket(WorkerId),
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
    /// For the driver of a worker's channel.
    Channel(WorkerId, ChannelTimer),
    /// Look for workers that do not read their lanes.
    LookAtLanes,
    /// Give the first worker another socket to the second, if it still wants one.
    ConnectPeers(WorkerId, WorkerId),
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
    /// The servers that workers have asked for with a key, oldest first. There are several if one worker
    /// asked twice.
    by_key: HashMap<Arc<str>, Vec<ServerId>>,
    /// Servers that workers have opened by themselves, by their keys.
    own_servers: HashMap<Arc<str>, ServerId>,
    /// Workers with more to read, whose turn is over. They are read again in the next turn.
    unread: Vec<WorkerId>,
    /// Workers with more on their lanes, whose turn is over.
    uncollected: BTreeSet<WorkerId>,
    /// Servers with something to accept or to hand out. They are served after everything that came in this
    /// turn has been read: with all acknowledgements known, the turns are fair.
    to_serve: BTreeSet<ServerId>,
    /// Servers whose connections wait until a worker with a pulse is idle. They are served at the next look.
    awaiting_idle: BTreeSet<ServerId>,
    /// Workers that do not read their lanes.
    stalled: BTreeSet<WorkerId>,
    /// The timer for the next look at the lanes, and when that look may be at the earliest.
    next_look: Option<(TimerId, Instant)>,
    /// Workers that do not read the answers to what they ask. They may be in use when that is found. Their
    /// channels are closed when they have been read, or at the end of the turn.
    unanswerable: BTreeMap<WorkerId, Error>,
    /// The sockets to the second worker that the first has been given. Each direction has its own count, as
    /// one worker may have lost what the other has received.
    peer_sockets: HashMap<(WorkerId, WorkerId), PeerSockets>,
    next_server: u64,
    exhaustion: Exhaustion,
}

impl<S: EventSink<Event>> Primary<S> {
    /// A primary without workers. Its events go to `sink`.
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
            awaiting_idle: BTreeSet::new(),
            stalled: BTreeSet::new(),
            next_look: None,
            unanswerable: BTreeMap::new(),
            peer_sockets: HashMap::new(),
            next_server: 0,
            exhaustion: Exhaustion::default(),
        }
    }

    /// Its counters, for other threads.
    pub fn stats(&self) -> Arc<Stats> {
        self.stats.clone()
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
            Source::Worker(id) => self.on_channel_ready(context, id, readiness),
            Source::SecondSocket(id) => {
                // What has arrived is read after everything on the first socket.
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
            Timer::Channel(id, timer) => self.on_channel_timer(context, id, timer),
            Timer::ConnectPeers(one, other) => self.connect_waiting_peers(context, one, other),
            Timer::LookAtLanes => self.look_at_lanes(context),
        }
    }

    fn on_turn_end(&mut self, context: &mut Context) {
        for id in std::mem::take(&mut self.unread) {
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
        // Nothing else will end these.
        for (id, worker) in self.workers.drain() {
            let mut owner = ChannelOwner { id, sink: &mut self.sink, unread: &mut self.unread };
            worker.driver.abandon(&mut owner, None);
        }
        self.sink.flush();
    }
}
