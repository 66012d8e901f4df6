//! The primary as JavaScript sees it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use napi::bindgen_prelude::{Array, Function, Unknown};
use napi::{Env, Result};
use napi_derive::napi;
use serde_json::json;

use super::channels::FollowUp;
use super::direct_read::DirectReading;
use super::event_kind::EventKind;
use super::events::EventWriter;
use super::handover::Succession;
use super::observation::{self, OwnLoop};
use super::policies::{NativePolicy, NativeServerPolicy, Tables, policies};
use super::reactor::Reactor;
use super::service::{NativeInherited, inherited};
use super::stats::NativeStats;
use super::writer::NativeWriter;
use super::{coded, napi_failure};
use crate::address;
use crate::channel::{self, ChannelCommand};
use crate::error::Error;
use crate::ids::WorkerId;
use crate::os::{self, AbstractNames, SocketPair};
use crate::primary::{Command, Config, Connection, Event, Loops, Primary, Question, Stats};
use crate::proto::Serialization;

/// The settings of the primary.
#[napi(object, object_to_js = false)]
pub struct NativeSettings {
    /// Who accepts the connections of a server, and which worker gets them; by default that of `Config`.
    pub policy: Option<NativePolicy>,
    /// The same for some servers. The first that has a server decides.
    pub server_policies: Option<Vec<NativeServerPolicy>>,
    /// Whether the connections that workers keep go to other workers when these are idle.
    pub balance_kept: Option<bool>,
    /// The most connections per server that were accepted and not taken; by default that of `Config`.
    pub max_pending_connections: Option<u32>,
    /// The largest frame that a worker may send, in bytes; by default that of `Config`.
    pub max_frame_size: Option<f64>,
    /// Whether this Node's libuv fills abstract names up with NUL bytes.
    pub padded_abstract_names: bool,
    /// Whether 'connection' events are wanted.
    pub emit_connections: bool,
    /// Whether events about workers that are blocked, and what is recalled from them, are wanted.
    pub emit_lanes: bool,
    /// Whether 'internalMessage' events are wanted.
    pub emit_internal: bool,
    /// Whether workers are to show what metrics are made of.
    pub observed: bool,
}

/// The sockets of a worker that is being spawned.
struct Starting {
    /// Its end of the channel.
    theirs: OwnedFd,
    /// Both ends of the lane.
    lane: Option<SocketPair>,
}

/// A primary: one reactor thread with its servers and workers. Belongs to the JavaScript thread that made it.
#[napi]
pub struct NativePrimary {
    reactor: Reactor<Command, Event>,
    stats: Arc<Stats>,
    /// Workers that have not been spawned yet.
    starting: HashMap<u32, Starting>,
    /// What programs assign.
    tables: Tables,
    /// What this thread's event loop shows, while somebody observes it.
    own_loop: OwnLoop,
    /// What another primary hands over, whose place this one takes.
    succession: Succession,
}

#[napi]
impl NativePrimary {
    /// Starts the reactor thread. `wake` is called on the JavaScript thread when there are events to take; it
    /// does not keep the process alive. `deliver` is called with messages when there are no other events:
    /// their `EventKind`, the worker, and the messages.
    #[napi(constructor)]
    pub fn new(
        env: Env,
        wake: Function<(), ()>,
        #[napi(
            ts_arg_type = "(kind: EventKind, worker: number, messages: string | Buffer, attachments: any) => void"
        )]
        deliver: Function<(), ()>,
    ) -> Result<Self, String> {
        let (reactor, stats) = Reactor::start(env, "corral", wake, deliver, |sink| {
            let primary = Primary::new(sink);
            let stats = primary.stats();
            (primary, stats)
        })?;
        Ok(NativePrimary {
            reactor,
            own_loop: OwnLoop::new(env, stats.clone())?,
            stats,
            starting: HashMap::new(),
            tables: Tables::default(),
            succession: Succession::default(),
        })
    }

    /// Changes the settings.
    #[napi]
    pub fn configure(&self, settings: NativeSettings) -> Result<(), String> {
        let default = Config::default();
        let policies = policies(settings.policy, settings.server_policies.unwrap_or_default(), &self.tables)?;
        let config = Config {
            policies: policies.unwrap_or(default.policies),
            max_pending: settings
                .max_pending_connections
                .map_or(default.max_pending, |max| max.max(1) as usize),
            max_frame: settings.max_frame_size.map_or(default.max_frame, |max| max as usize),
            abstract_names: if settings.padded_abstract_names {
                AbstractNames::Padded
            } else {
                AbstractNames::Exact
            },
            emit_connections: settings.emit_connections,
            emit_lanes: settings.emit_lanes,
            emit_internal: settings.emit_internal,
            is_observed: settings.observed,
            ..default
        };
        let config = if settings.balance_kept == Some(true) { config.balance_kept() } else { config };
        self.reactor.send(Command::Configure(config))
    }

    /// Makes the channel for a worker and returns the number of the descriptor that the worker is to inherit.
    /// `spawned` closes that descriptor.
    #[napi]
    pub fn open_channel(&mut self, id: u32, advanced: bool) -> Result<i32, String> {
        let serialization = if advanced { Serialization::Advanced } else { Serialization::Json };
        let (channel, theirs) = channel::pair(serialization)
            .map_err(|errno| coded(Error::Sys { doing: "making a channel", errno }))?;
        let number = theirs.as_raw_fd();
        self.reactor.channels_mut().add(id, Arc::new(channel));
        self.starting.insert(id, Starting { theirs, lane: None });
        Ok(number)
    }

    /// Makes the lane for a worker that has a channel, and returns the number of the descriptor that the
    /// worker is to inherit.
    #[napi]
    pub fn open_lane(&mut self, id: u32) -> Result<i32, String> {
        let starting = self.starting.get_mut(&id).ok_or_else(|| coded(Error::NoSuchWorker(id)))?;
        let ends = os::packet_pair().map_err(|errno| coded(Error::Sys { doing: "making a lane", errno }))?;
        Ok(starting.lane.insert(ends).theirs.as_raw_fd())
    }

    /// The worker has been spawned, or could not be: closes its end here and begins to read this one.
    /// `no_lane` says why a worker has no lane, `pid` the
    /// number of its process.
    #[napi]
    pub fn spawned(&mut self, id: u32, no_lane: String, pid: Option<u32>) -> Result<(), String> {
        let Some(Starting { theirs, lane }) = self.starting.remove(&id) else {
            return Err(coded(Error::NoSuchWorker(id)));
        };
        drop(theirs);
        let channel = self.reactor.channels().get(id).cloned();
        let channel = channel.ok_or_else(|| coded(Error::NoSuchWorker(id)))?;
        let lane = lane.ok_or(Cow::Owned(no_lane));
        self.reactor.send(Command::AddWorker { id: WorkerId(id), channel, lane, pid })
    }

    /// The worker could not be spawned at all: closes both ends, without an event.
    #[napi]
    pub fn abandon_channel(&mut self, id: u32) {
        self.reactor.channels_mut().remove(id);
        self.starting.remove(&id);
    }

    /// For sending on the workers' channels.
    #[napi]
    pub fn writer(&self) -> NativeWriter {
        self.reactor.writer()
    }

    /// Makes a table for a policy and returns its number.
    #[napi]
    pub fn make_table(&mut self) -> u32 {
        self.tables.push(Arc::default());
        (self.tables.len() - 1) as u32
    }

    /// The connections of the client at that address are for that worker from now on; for nobody without one. Costs the
    /// reactor nothing.
    #[napi]
    pub fn assign(&self, table: u32, address: String, worker: Option<u32>) {
        if let (Some(table), Ok(address)) = (self.tables.get(table as usize), address.parse()) {
            table.assign(address, worker.map(WorkerId));
        }
    }

    /// Says whose a connection is, of which `Asked` was the question; nobody's without a worker.
    #[napi]
    pub fn answer(&self, question: f64, worker: Option<u32>) -> Result<(), String> {
        self.reactor.send(Command::Answer { question: question as u64, worker: worker.map(WorkerId) })
    }

    /// `worker.weight`: how many connections the worker gets in comparison with others; 0 for none.
    #[napi]
    pub fn weigh(&self, id: u32, weight: u32) -> Result<(), String> {
        self.reactor.send(Command::Weigh(WorkerId(id), weight))
    }

    /// Takes a share in a listening socket, or one for datagrams, that the process has inherited under this number. Servers that are
    /// opened at its address get it.
    #[napi]
    pub fn inherit(&self, number: i32) -> Result<NativeInherited, String> {
        let socket = inherited(number)?;
        let about = NativeInherited::from(&socket);
        self.reactor.call(Command::Inherit(socket))?;
        Ok(about)
    }

    /// Another primary is about to hand over its sockets: returns the number of the descriptor that it is to get for that, which
    /// JavaScript owns.
    #[napi]
    pub fn begin_succession(&mut self) -> Result<i32, String> {
        self.succession.begin().map(os::into_raw).map_err(coded)
    }

    /// What it has handed over, once all has come: servers get these sockets. Nothing is accepted from then on before
    /// `begin_accepting`.
    #[napi]
    pub fn receive_succession(&mut self) -> Result<Option<Vec<NativeInherited>>, String> {
        let Some((socket, estate)) = self.succession.receive().map_err(coded)? else { return Ok(None) };
        let about = estate.iter().map(|(handed, socket)| NativeInherited {
            is_served: handed.asked.is_some(),
            ..NativeInherited::from(socket)
        });
        let about = about.collect();
        self.reactor.call(Command::Succeed(socket, estate))?;
        Ok(Some(about))
    }

    /// Accepts from now on.
    #[napi]
    pub fn begin_accepting(&self) -> Result<(), String> {
        self.reactor.call(Command::Begin)
    }

    /// Hands over all sockets to another primary, on the descriptor of this number, which is the core's from now on.
    #[napi]
    pub fn hand_over(&self, number: i32) -> Result<(), String> {
        let socket = os::adopt(number).ok_or_else(|| coded(Error::ChannelClosed))?;
        self.reactor.call(Command::HandOver(socket))
    }

    /// The other primary accepts: this one does so no more, and leaves it what no worker takes.
    #[napi]
    pub fn yield_to_heir(&self) -> Result<(), String> {
        self.reactor.call(Command::Yield)
    }

    /// No other primary takes this one's place after all.
    #[napi]
    pub fn disinherit(&self) -> Result<(), String> {
        self.reactor.call(Command::Disinherit)
    }

    /// How many messages wait to be sent to the other primary.
    #[napi]
    pub fn unsent_to_heir(&self) -> u32 {
        self.stats.unsent.load(Ordering::Relaxed) as u32
    }

    /// `worker.disconnect()`. The worker is a member of no server when this returns.
    #[napi]
    pub fn disconnect_worker(&self, id: u32) -> Result<(), String> {
        self.reactor.call(Command::Disconnect(WorkerId(id)))
    }

    /// Closes the channel after sending the bytes that wait.
    #[napi]
    pub fn close_channel(&self, id: u32) -> Result<(), String> {
        self.reactor.call(Command::CloseChannel(WorkerId(id)))
    }

    /// Closes the channel at once with `ERR_CORRAL_BAD_FRAME`. `reason` says what is wrong with a message of
    /// the worker.
    #[napi]
    pub fn destroy(&self, id: u32, reason: String) -> Result<(), String> {
        self.reactor.send(Command::Channel(WorkerId(id), ChannelCommand::Destroy(Error::BadFrame(reason))))
    }

    /// The worker's process has ended: delivers everything that it had sent, and then the end of its channel.
    #[napi]
    pub fn exited(&self, id: u32) -> Result<(), String> {
        self.reactor.send(Command::Exited(WorkerId(id)))
    }

    /// What has been counted so far. Costs the reactor nothing.
    #[napi]
    pub fn stats(&self) -> NativeStats {
        let mut snapshot = self.stats.snapshot(&mut Loops::default());
        let channels = self.reactor.channels();
        // Those that JavaScript has heard of, and whose end it has not heard of.
        snapshot.workers.retain(|worker| channels.get(worker.id).is_some());
        snapshot.into()
    }

    /// What corral-observe is given to see this primary. Each call makes another value for it.
    #[napi(ts_return_type = "object")]
    pub fn observation<'env>(&self, env: &'env Env) -> Result<Unknown<'env>, String> {
        observation::external(env, self.stats.clone()).map_err(napi_failure)
    }

    /// This thread's event loop shows what it does. Returns why it cannot, or nothing.
    #[napi]
    pub fn show_loop(&self, env: Env) -> Option<String> {
        self.own_loop.watch(env).err()
    }

    /// It does so no more.
    #[napi]
    pub fn hide_loop(&self) {
        self.own_loop.forget();
    }

    /// What this process's runtime knows of itself, as `runtimeNumbers` has it. Returns whether anybody sees it.
    #[napi]
    pub fn show_runtime(&self, numbers: &[f64]) -> bool {
        self.own_loop.show_runtime(numbers)
    }

    /// Stops reading a worker's channel until `resume`.
    #[napi]
    pub fn pause(&self, id: u32) {
        if let Some(channel) = self.reactor.channels().get(id) {
            channel.undelivered().hold();
            // The JavaScript thread may be reading it.
            self.reactor.follow([FollowUp(id, ChannelCommand::TakeBack)]);
        }
    }

    /// Goes on reading.
    #[napi]
    pub fn resume(&self, id: u32) {
        let is_waited_for =
            self.reactor.channels().get(id).is_some_and(|channel| channel.undelivered().release());
        self.reactor.follow(is_waited_for.then_some(FollowUp(id, ChannelCommand::Resume)));
    }

    /// Closes a descriptor that came with an event and has no use.
    #[napi]
    pub fn close_handle(&self, number: i32) {
        drop(os::adopt(number));
    }

    /// The number of this side's descriptor of a channel; -1 when the channel is closed.
    #[napi]
    pub fn channel_descriptor(&self, id: u32) -> i32 {
        self.reactor.channels().descriptor(id)
    }

    /// Takes a portion of the events: a flat array of four values per event, the first of them its
    /// `EventKind`. One turn of the event loop takes a limited number: `turnEnded` is to be called in the
    /// next one.
    #[napi]
    pub fn take_events<'env>(&self, env: &'env Env) -> Result<Array<'env>> {
        self.reactor.take_events(env, write_event)
    }

    /// What was taken has been passed on. Returns whether another portion may be taken in this turn.
    #[napi]
    pub fn may_take_more(&self) -> bool {
        self.reactor.may_take_more()
    }

    /// The events that were taken are delivered, and the event loop has had a turn. `wake` is called if there
    /// are more, unless they are to rest: then this returns for how many milliseconds, and 0 otherwise.
    #[napi]
    pub fn turn_ended(&self) -> u32 {
        self.reactor.turn_ended()
    }
}

impl From<FollowUp> for Command {
    fn from(FollowUp(id, command): FollowUp) -> Self {
        Command::Channel(WorkerId(id), command)
    }
}

/// Converts an event for JavaScript, or handles it here.
fn write_event(
    writer: &mut EventWriter<'_, '_>,
    event: Event,
    direct: &Rc<DirectReading<Event>>,
) -> Result<()> {
    match event {
        Event::Channel(id, event) => direct.write_event(writer, id.0, event),
        Event::Internal { worker, bytes } => {
            let frame = writer.frame(worker.0, bytes)?;
            writer.head(EventKind::Internal, worker.0)?;
            writer.put(frame)?;
            writer.skip(1)
        }
        Event::Online(worker) => writer.plain(EventKind::Online, worker.0),
        Event::Listening { worker, info } => writer.text(EventKind::Listening, worker.0, info),
        Event::ExitedAfterDisconnect(worker) => writer.plain(EventKind::ExitedAfterDisconnect, worker.0),
        Event::Connection(connection) => {
            let Connection { worker, key, taken, address, port } = *connection;
            let (family, remote_address, remote_port) = match taken.peer() {
                Some(address::Peer::Ip(ip, port)) => {
                    let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
                    (Some(family), Some(ip.to_string()), Some(port))
                }
                Some(address::Peer::Unix) | None => (None, None, None),
            };
            let info = json!({
                "key": *key, "address": *address, "port": port, "count": taken.take(),
                "family": family, "remoteAddress": remote_address, "remotePort": remote_port,
            });
            writer.text(EventKind::Connection, worker.0, info.to_string())
        }
        Event::Blocked(worker) => writer.plain(EventKind::Blocked, worker.0),
        Event::Recalled { worker, key, count } => {
            let info = json!({ "key": *key, "count": count });
            writer.text(EventKind::Recalled, worker.0, info.to_string())
        }
        Event::Asked(question) => {
            let Question { policy, number, peer, key, address, port, workers } = *question;
            let (remote_address, remote_port) = match peer {
                address::Peer::Ip(ip, port) => (Some(ip.to_string()), Some(port)),
                address::Peer::Unix => (None, None),
            };
            let workers: Vec<u32> = workers.into_iter().map(|id| id.0).collect();
            let text = json!({
                "number": number, "workers": workers, "key": *key, "address": *address, "port": port,
                "remoteAddress": remote_address, "remotePort": remote_port,
            });
            writer.text(EventKind::PolicyAsked, policy, text.to_string())
        }
        Event::Servers(changed) => writer.plain(EventKind::Servers, changed.take() as u32),
        Event::AcceptPaused(error) => writer.failure(EventKind::AcceptPaused, 0, &error),
        Event::Fault(error) => writer.failure(EventKind::Fault, 0, &error),
    }
}
