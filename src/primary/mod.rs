//! The primary of a cluster: listening sockets, workers, and every connection between accept and acknowledgement.
//!
//! [`Primary`] runs on the reactor thread and owns all of it. Other threads send it [`Command`]s and receive
//! [`Event`]s.
//!
//! - This file takes commands, readiness and timers, and ends a turn. `config` has settings and bounds, `event`
//!   the events.
//! - `kept` has the connections that a worker keeps between requests, `rebalance` gives them to other workers, `parked`
//!   has those that no worker has, `given` decides about those of which a worker does not know whether they are its own.
//! - `server` is a listening address, `policies` says which policy it has. `accept` takes connections off the kernel's
//!   backlog, `arrival` puts them into its queue, `dispatch` gives them to workers, `lane` does so on lanes. `connection` is one of them, `taken` is what JavaScript is told of
//!   those that workers have taken.
//! - `inherited` has sockets that another process has bound, for servers at their addresses. `handover` gets them from the primary before,
//!   and leaves them to the next.
//! - `siblings` has the sockets of a server whose workers accept by themselves, each from one of its own, `reuse_port` gives
//!   them to workers and accepts in the place of those that do not.
//! - `home` gives connections to the workers to which their clients belong, `first_bytes` looks for that at what they send
//!   first. `silent` has connections from whose clients the primary waits for bytes.
//! - `worker` is a worker. `owner` has its channel driven, `channel_move` has the channel change its socket.
//!   `idleness` says by what the primary knows that it is idle, `main_thread` is what the kernel shows of it.
//! - `stats` is what is counted, `snapshot` what it is at one moment.
//! - `protocol` answers what workers ask, `lifecycle` adds and removes workers and servers, `own_servers` counts
//!   servers that workers open themselves, `peers` gives workers sockets to each other.

mod accept;
mod arrival;
mod asked;
mod channel_move;
mod config;
mod connection;
mod dispatch;
mod event;
mod first_bytes;
mod given;
mod handover;
mod home;
mod idleness;
mod inherited;
mod kept;
mod lane;
mod lifecycle;
mod main_thread;
mod own_servers;
mod owner;
mod parked;
mod peers;
mod policies;
mod protocol;
mod rebalance;
mod reuse_port;
mod server;
mod siblings;
mod silent;
mod snapshot;
mod socket_path;
mod stats;
mod taken;
#[cfg(test)]
mod tests;
mod worker;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use asked::AskedConnections;
pub use config::{Config, IN_FLIGHT_PER_WORKER, LANE_WINDOW, RECALL_AFTER};
use event::ServerCount;
pub use event::{Connection, Event, Question};
pub use idleness::IdleBy;

use crate::channel::{Channel, ChannelCommand, ChannelTimer, Extent};
use crate::error::Error;
use crate::ids::{ServerId, WorkerId};
use crate::os::{InheritedSocket, SocketPair};
use crate::reactor::{Acceptor, EventSink, Exhaustion, Handler, Readiness, TimerId};
use first_bytes::FirstBytes;
use given::GivenConnections;
use handover::{Accepting, Heir, Predecessor};
pub use handover::{Estate, receive_estate};
use home::Homes;
use inherited::InheritedSockets;
pub use lane::LaneState;
use lane::SharedLane;
use owner::ChannelOwner;
use parked::{ParkedConnections, no_parked_connections};
use peers::PeerSockets;
pub use policies::{Policies, Servers};
use reuse_port::Queues;
use server::Server;
use siblings::SlotIndex;
pub use snapshot::{Loops, descriptions};
pub use stats::Stats;
#[cfg(test)]
use stats::{ServerCounters, WorkerCounters};
use taken::TakenConnections;
use worker::Worker;

/// Commands from other threads to the primary.
#[derive(Debug)]
pub enum Command {
    /// New settings.
    Configure(Config),
    /// A worker has been spawned, or could not be, with the other end of this channel.
    AddWorker {
        /// Its id.
        id: WorkerId,
        /// The channel, of which the caller keeps a share for sending.
        channel: Arc<Channel>,
        /// Both ends of its lane, or why it has none.
        lane: Result<SocketPair, Cow<'static, str>>,
        /// The number of its process.
        pid: Option<u32>,
    },
    /// A command that is the same for all channels.
    Channel(WorkerId, ChannelCommand),
    /// A socket that another process has bound. Servers that are opened at its address get it.
    Inherit(InheritedSocket),
    /// This primary takes another one's place: what that one has handed over, and the socket on which it says more. It accepts
    /// nothing before `Begin`.
    Succeed(OwnedFd, Estate),
    /// The primary accepts from now on.
    Begin,
    /// Another primary takes this one's place: hand over all sockets on this one. This primary goes on.
    HandOver(OwnedFd),
    /// The other one has begun: accept nothing more, and leave it what no worker takes.
    Yield,
    /// No other one takes this one's place after all.
    Disinherit,
    /// How many connections the worker gets in comparison with others (`worker.weight`).
    Weigh(WorkerId, u32),
    /// What the program says of a connection of which it was asked.
    Answer {
        /// The number of the question.
        question: u64,
        /// None if it does not know.
        worker: Option<WorkerId>,
    },
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
    /// The kept connections of a worker, while nobody looks at them.
    Kept(WorkerId),
    /// The connections that no worker has.
    Parked,
    /// The connections whose first bytes are awaited.
    FirstBytes,
    /// The listening socket of a server.
    Server(ServerId),
    /// A socket of a worker's own, in whose place the primary accepts.
    Sibling(ServerId, SlotIndex),
    /// The queues of the workers' own sockets, while nobody looks at them.
    Queues,
    /// The primary that takes this one's place.
    Heir,
    /// The primary whose place this one takes.
    Predecessor,
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
    /// Look for workers that do not accept from sockets of their own.
    LookAtQueues,
    /// Look for requests on kept connections whose workers are busy.
    LookAtKept,
    /// The program has not said whose a connection is.
    Unanswered(u64),
    /// Close parked connections whose clients have said nothing for too long.
    CloseParked,
    /// Wait no longer for first bytes that have not come.
    FirstBytesDeadline,
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
    /// What JavaScript is told of connections.
    taken: TakenConnections,
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
    /// The lane that several workers share.
    shared: SharedLane,
    /// Workers that do not read their lanes.
    stalled: BTreeSet<WorkerId>,
    /// The timer for the next look at the lanes, and when that look may be at the earliest.
    next_look: Option<(TimerId, Instant)>,
    /// The same for the kept connections. None while all workers wait: the first request wakes the reactor.
    next_kept_look: Option<(TimerId, Instant)>,
    /// A worker has become idle that may take requests on the kept connections of others.
    has_taker_for_kept: bool,
    /// The queues of the workers' own sockets.
    queues: Queues,
    /// Connections that no worker has.
    parked: ParkedConnections,
    /// Connections that workers have given, about which nothing is decided.
    given: GivenConnections,
    /// Connections whose first bytes are awaited.
    first_bytes: FirstBytes,
    /// Which clients belong to which workers.
    homes: Homes,
    /// Connections of which the program is asked whose they are.
    asked: AskedConnections,
    /// Workers that do not read the answers to what they ask. They may be in use when that is found. Their
    /// channels are closed when they have been read, or at the end of the turn.
    unanswerable: BTreeMap<WorkerId, Error>,
    /// The sockets to the second worker that the first has been given. Each direction has its own count, as
    /// one worker may have lost what the other has received.
    peer_sockets: HashMap<(WorkerId, WorkerId), PeerSockets>,
    /// Sockets that other processes have bound.
    inherited: InheritedSockets,
    accepting: Accepting,
    /// Who takes this one's place.
    heir: Option<Heir>,
    /// Whose place this one takes.
    predecessor: Option<Predecessor>,
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
            taken: TakenConnections::default(),
            own_servers: HashMap::new(),
            unread: Vec::new(),
            uncollected: BTreeSet::new(),
            to_serve: BTreeSet::new(),
            awaiting_idle: BTreeSet::new(),
            shared: SharedLane::default(),
            stalled: BTreeSet::new(),
            next_look: None,
            next_kept_look: None,
            has_taker_for_kept: false,
            queues: Queues::default(),
            parked: no_parked_connections(),
            given: GivenConnections::default(),
            first_bytes: FirstBytes::new(),
            homes: Homes::default(),
            asked: AskedConnections::default(),
            unanswerable: BTreeMap::new(),
            peer_sockets: HashMap::new(),
            inherited: InheritedSockets::default(),
            accepting: Accepting::default(),
            heir: None,
            predecessor: None,
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
            Command::Configure(config) => self.configure(context, config),
            Command::AddWorker { id, channel, lane, pid } => {
                self.add_worker(context, id, channel, lane, pid);
            }
            Command::Channel(id, command) => self.on_channel_command(context, id, command),
            Command::Answer { question, worker } => self.on_answer(context, question, worker),
            Command::Inherit(socket) => self.inherited.add(socket),
            Command::Succeed(socket, estate) => self.succeed(context, socket, estate),
            Command::Begin => self.begin(),
            Command::HandOver(socket) => self.hand_over(context, socket),
            Command::Yield => self.yield_to_heir(context),
            Command::Disinherit => self.disinherit(context),
            Command::Weigh(id, weight) => self.weigh(context, id, weight),
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
            Source::Kept(_) => self.begin_looking(context),
            Source::Parked => self.serve_parked(context),
            Source::FirstBytes => self.look_again(context),
            Source::Server(id) => {
                self.accept_soon(id, Acceptor::on_ready);
            }
            Source::Sibling(id, slot) => self.accept_sibling_soon(id, slot),
            Source::Queues => self.look_at_queues_soon(context),
            Source::Heir => self.on_heir(context, readiness),
            Source::Predecessor => self.on_predecessor(context),
        }
    }

    fn on_timer(&mut self, context: &mut Context, what: Timer) {
        match what {
            Timer::Accept(id) => self.accept_soon(id, Acceptor::on_pause_end),
            Timer::RetryRefused(id) => self.retry_refused(id),
            Timer::Channel(id, timer) => self.on_channel_timer(context, id, timer),
            Timer::ConnectPeers(one, other) => self.connect_waiting_peers(context, one, other),
            Timer::LookAtLanes => self.look_at_lanes(context),
            Timer::LookAtQueues => self.look_at_queues(context),
            Timer::LookAtKept => self.look_at_kept(context),
            Timer::CloseParked => drop(self.parked.take_expired(context)),
            Timer::FirstBytesDeadline => self.stop_looking_at_late(context),
            Timer::Unanswered(number) => self.unanswered(number),
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
        self.settle_shared(context);
        self.look_if_due(context);
        self.relieve_stalled(context);
        self.look_at_kept_if_due(context);
        self.decide_given(context);
        if self.parked.is_ready() {
            self.serve_parked(context);
        }
        if self.first_bytes.is_ready() {
            self.look_again(context);
        }
        for id in std::mem::take(&mut self.to_serve) {
            self.dispatch_and_accept(context, id);
        }
        self.send_to_heir(context);
        let is_done = self.unread.is_empty() && self.uncollected.is_empty() && self.to_serve.is_empty();
        if !is_done || self.parked.is_ready() || self.first_bytes.is_ready() || self.given.is_ready() {
            context.poll_again();
        }
        self.sink.flush();
    }

    fn on_fatal(&mut self, error: Error) {
        self.stats.has_ended.store(true, Ordering::Relaxed);
        self.sink.push(Event::Fault(error));
        // Nothing else will end these.
        for (id, worker) in self.workers.drain() {
            let mut owner = ChannelOwner { id, sink: &mut self.sink, unread: &mut self.unread };
            worker.driver.abandon(&mut owner, None);
        }
        self.sink.flush();
    }
}
