//! The primary as JavaScript sees it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use napi::bindgen_prelude::{Array, Function};
use napi::{Env, Result};
use napi_derive::napi;
use serde_json::json;

use super::channels::FollowUp;
use super::coded;
use super::direct_read::DirectReading;
use super::event_kind::EventKind;
use super::events::EventWriter;
use super::reactor::Reactor;
use super::stats::{NativeStats, NativeWorkerStats};
use super::writer::NativeWriter;
use crate::address;
use crate::channel::{self, ChannelCommand};
use crate::error::Error;
use crate::ids::WorkerId;
use crate::os::{self, AbstractNames, SocketPair};
use crate::primary::{AcceptMode, Command, Config, Event, Primary, Stats};
use crate::proto::Serialization;

/// The settings of the primary.
#[napi(object)]
pub struct NativeSettings {
    /// SCHED_RR; otherwise SCHED_NONE.
    pub round_robin: bool,
    /// Whether connections wait for the first worker that is idle, instead of going to workers in turn.
    pub one_queue: Option<bool>,
    /// The most connections per server that were accepted and not taken; by default that of `Config`.
    pub max_pending_connections: Option<u32>,
    /// The largest frame that a worker may send, in bytes; by default that of `Config`.
    pub max_frame_size: Option<f64>,
    /// Whether this Node's libuv fills abstract names up with NUL bytes.
    pub padded_abstract_names: bool,
    /// Whether 'connection' events are wanted.
    pub emit_connections: bool,
    /// Whether 'internalMessage' events are wanted.
    pub emit_internal: bool,
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
        Ok(NativePrimary { reactor, stats, starting: HashMap::new() })
    }

    /// Changes the settings.
    #[napi]
    pub fn configure(&self, settings: NativeSettings) -> Result<(), String> {
        let default = Config::default();
        let config = Config {
            accept_mode: if settings.round_robin { AcceptMode::Primary } else { AcceptMode::Workers },
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
            emit_internal: settings.emit_internal,
            ..default
        };
        let config = if settings.one_queue == Some(true) { config.one_queue() } else { config };
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
    /// `no_lane` says why a worker has no lane.
    #[napi]
    pub fn spawned(&mut self, id: u32, no_lane: String) -> Result<(), String> {
        let Some(Starting { theirs, lane }) = self.starting.remove(&id) else {
            return Err(coded(Error::NoSuchWorker(id)));
        };
        drop(theirs);
        let channel = self.reactor.channels().get(id).cloned();
        let channel = channel.ok_or_else(|| coded(Error::NoSuchWorker(id)))?;
        let lane = lane.ok_or(Cow::Owned(no_lane));
        self.reactor.send(Command::AddWorker { id: WorkerId(id), channel, lane })
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
        let servers = self.stats.servers.read().values().map(|stats| (&**stats).into()).collect();
        let (workers, channels) = (self.stats.workers.read(), self.reactor.channels());
        let workers = workers
            .iter()
            .filter_map(|(id, stats)| Some(NativeWorkerStats::new(*id, stats, channels.get(id.0)?)))
            .collect();
        NativeStats { servers, workers }
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

    /// Whether another portion may be taken in this turn.
    #[napi]
    pub fn may_take_more(&self) -> bool {
        self.reactor.may_take_more()
    }

    /// The events that were taken are delivered, and the event loop has had a turn. `wake` is called if there
    /// are more.
    #[napi]
    pub fn turn_ended(&self) {
        self.reactor.turn_ended();
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
            let (family, remote_address, remote_port) = match connection.peer {
                address::Peer::Ip(ip, port) => {
                    let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
                    (Some(family), Some(ip.to_string()), Some(port))
                }
                address::Peer::Unix => (None, None, None),
            };
            let info = json!({
                "key": *connection.key, "address": *connection.address, "port": connection.port,
                "family": family, "remoteAddress": remote_address, "remotePort": remote_port,
            });
            writer.text(EventKind::Connection, connection.worker.0, info.to_string())
        }
        Event::Servers(changed) => writer.plain(EventKind::Servers, changed.take() as u32),
        Event::AcceptPaused(error) => writer.failure(EventKind::AcceptPaused, 0, &error),
        Event::Fault(error) => writer.failure(EventKind::Fault, 0, &error),
    }
}
