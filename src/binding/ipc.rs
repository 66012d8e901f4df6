//! Channels over named sockets as JavaScript sees them.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use napi::bindgen_prelude::{Array, Function};
use napi::{Env, Result};
use napi_derive::napi;
use nix::errno::Errno;
use serde_json::{Value, json};

use super::channels::FollowUp;
use super::coded;
use super::direct_read::DirectReading;
use super::event_kind::EventKind;
use super::events::EventWriter;
use super::reactor::Reactor;
use super::writer::NativeWriter;
use crate::channel::{Channel, ChannelCommand};
use crate::error::Error;
use crate::ids::{ChannelId, ListenerId};
use crate::ipc::{ChannelIds, Command, Event, Ipc, Refused, Terms, Verdict};
use crate::os::{self, AbstractNames, Credentials};
use crate::proto::Serialization;

/// The options of a side's channels; see `ChannelOptions` of net.d.ts.
#[napi(object)]
pub struct NativeTerms {
    pub advanced: bool,
    /// The largest message that this side accepts, in bytes on the wire.
    pub max_message_size: f64,
    /// How many bytes may wait to be written.
    pub max_queued_bytes: f64,
    /// How long the handshake may take, in milliseconds.
    pub handshake_timeout: u32,
    /// Whether JavaScript decides on processes of other users. Otherwise they are refused.
    pub asks: bool,
    /// Whether this Node's libuv fills abstract names up with NUL bytes.
    pub padded_abstract_names: bool,
}

impl NativeTerms {
    fn abstract_names(&self) -> AbstractNames {
        if self.padded_abstract_names { AbstractNames::Padded } else { AbstractNames::Exact }
    }
}

impl From<&NativeTerms> for Terms {
    fn from(terms: &NativeTerms) -> Self {
        Terms {
            serialization: if terms.advanced { Serialization::Advanced } else { Serialization::Json },
            max_message: terms.max_message_size as usize,
            max_queued: terms.max_queued_bytes as usize,
            handshake_timeout: Duration::from_millis(terms.handshake_timeout.into()),
            asks: terms.asks,
        }
    }
}

/// All channels of this process over named sockets, and one reactor thread for them. Belongs to the
/// JavaScript thread that made it.
#[napi]
pub struct NativeIpc {
    reactor: Reactor<Command, Event>,
    ids: ChannelIds,
    listeners: u32,
}

#[napi]
impl NativeIpc {
    /// Starts the reactor thread. `wake` is called on the JavaScript thread when there are events to take; it
    /// does not keep the process alive. `deliver` is called with messages when there are no other events:
    /// their `EventKind`, the channel, and the messages.
    #[napi(constructor)]
    pub fn new(
        env: Env,
        wake: Function<(), ()>,
        #[napi(
            ts_arg_type = "(kind: EventKind, channel: number, messages: string | Buffer, attachments: any) => void"
        )]
        deliver: Function<(), ()>,
    ) -> Result<Self, String> {
        let (reactor, ids) = Reactor::start(env, "corral-ipc", wake, deliver, |sink| {
            let ipc = Ipc::new(sink);
            let ids = ipc.ids();
            (ipc, ids)
        })?;
        Ok(NativeIpc { reactor, ids, listeners: 0 })
    }

    /// Listens at a path, or at an abstract name, which begins with a NUL character. Returns the listener's
    /// number, or a negative errno. `EAGAIN` means that another process holds the lock of the path: try
    /// again.
    #[napi]
    pub fn listen(
        &mut self,
        name: String,
        readable_all: bool,
        writable_all: bool,
        backlog: Option<i32>,
        terms: NativeTerms,
        max_connections: f64,
    ) -> Result<i32, String> {
        let names = terms.abstract_names();
        let backlog = backlog.unwrap_or(os::DEFAULT_BACKLOG);
        let bound = match os::listen_named(&PathBuf::from(name), names, readable_all, writable_all, backlog) {
            Ok(bound) => bound,
            Err(Error::Sys { errno, .. }) => return Ok(-(errno as i32)),
            Err(error) => return Err(coded(error)),
        };
        self.listeners += 1;
        let id = ListenerId(self.listeners);
        // A number beyond usize's is as good as its largest.
        let max_connections = max_connections as usize;
        let command = Command::Listen { id, bound, terms: (&terms).into(), max_connections };
        self.reactor.send(command)?;
        i32::try_from(id.0).map_err(|_| coded(Error::Sys { doing: "listening", errno: Errno::ENFILE }))
    }

    /// Sets how many connections the listener may have from now on.
    #[napi]
    pub fn set_max_connections(&self, listener: u32, max: f64) -> Result<(), String> {
        self.reactor.send(Command::SetMaxConnections(ListenerId(listener), max as usize))
    }

    /// Closes a listener. The socket's file is gone when this returns; channels stay open.
    #[napi]
    pub fn close_listener(&self, listener: u32) -> Result<(), String> {
        self.reactor.call(Command::CloseListener(ListenerId(listener)))
    }

    /// Begins to connect, and returns the channel's number. An event tells the outcome.
    #[napi]
    pub fn connect(&self, name: String, terms: NativeTerms) -> Result<u32, String> {
        let id = self.ids.next();
        let abstract_names = terms.abstract_names();
        let command = Command::Connect { id, name: name.into(), abstract_names, terms: (&terms).into() };
        self.reactor.send(command)?;
        Ok(id.0)
    }

    /// Takes over this process's end of a channel to its primary and returns the channel's number. The
    /// descriptor is the channel's from now on. The other end may send frames of up to `max_frame` bytes, of
    /// any length by default, as a primary may on Node's own channel.
    #[napi]
    pub fn adopt(&mut self, descriptor: i32, advanced: bool, max_frame: Option<f64>) -> Result<u32, String> {
        let serialization = if advanced { Serialization::Advanced } else { Serialization::Json };
        let socket = os::adopt(descriptor)
            .ok_or_else(|| coded(Error::Sys { doing: "taking over a channel", errno: Errno::EBADF }))?;
        let channel = Arc::new(Channel::between_corrals(socket, serialization));
        let id = self.ids.next();
        let max_frame = max_frame.map_or(usize::MAX, |max| max as usize);
        self.reactor.channels_mut().add(id.0, channel.clone());
        self.reactor.send(Command::Adopt { id, channel, max_frame })?;
        Ok(id.0)
    }

    /// The other end has gone: delivers everything that it had sent, and then the end of the channel.
    #[napi]
    pub fn read_all(&self, id: u32) -> Result<(), String> {
        self.reactor.send(Command::ReadAll(ChannelId(id)))
    }

    /// Whether the other end of a socket is closed, even if there are bytes to read.
    #[napi]
    pub fn has_ended(&self, descriptor: i32) -> bool {
        os::has_hung_up(descriptor)
    }

    /// The answer to `Asked`.
    #[napi]
    pub fn decide(&self, channel: u32, allowed: bool) -> Result<(), String> {
        let verdict = if allowed { Verdict::Allowed } else { Verdict::Refused };
        self.reactor.send(Command::Decide(ChannelId(channel), verdict))
    }

    /// For sending on the channels.
    #[napi]
    pub fn writer(&self) -> NativeWriter {
        self.reactor.writer()
    }

    /// Stops reading a channel until `resume`. Its end is not noticed either.
    #[napi]
    pub fn pause(&self, id: u32) -> Result<(), String> {
        self.reactor.send(Command::Pause(ChannelId(id)))
    }

    /// Goes on reading.
    #[napi]
    pub fn resume(&self, id: u32) -> Result<(), String> {
        self.reactor.send(Command::Unpause(ChannelId(id)))
    }

    /// Closes the channel after sending the bytes that wait, or stops connecting.
    #[napi]
    pub fn close_channel(&self, id: u32) -> Result<(), String> {
        self.reactor.send(Command::CloseChannel(ChannelId(id)))
    }

    /// Closes the channel at once, without sending the bytes that wait; with `ERR_CORRAL_BAD_FRAME` if there
    /// is a reason, which says what is wrong with a message of the peer.
    #[napi]
    pub fn destroy(&self, id: u32, reason: Option<String>) -> Result<(), String> {
        let id = ChannelId(id);
        self.reactor.send(match reason {
            Some(reason) => Command::Channel(id, ChannelCommand::Destroy(Error::BadFrame(reason))),
            None => Command::Destroy(id),
        })
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
        Command::Channel(ChannelId(id), command)
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
        Event::Asked { channel, listener, peer } => {
            writer.text(EventKind::Asked, channel.0, about(listener, peer).to_string())
        }
        Event::Connected { id, listener, peer, channel, ticket: _ } => {
            let mut info = about(listener, peer);
            info["maxMessageSize"] = channel.max_message().into();
            writer.channels().add(id.0, channel);
            writer.text(EventKind::Connected, id.0, info.to_string())
        }
        Event::Refused { listener, refused: Refused { peer, error, count, ticket: _ } } => {
            let mut info = about(None, peer);
            info["code"] = error.code().into();
            info["message"] = error.to_string().into();
            info["count"] = count.into();
            writer.text(EventKind::Refused, listener.0, info.to_string())
        }
        Event::AcceptPaused(error) => writer.failure(EventKind::AcceptPaused, 0, &error),
        Event::Fault(error) => writer.failure(EventKind::Fault, 0, &error),
    }
}

fn about(listener: Option<ListenerId>, peer: Credentials) -> Value {
    json!({
        "listener": listener.map(|id| id.0),
        "peer": { "pid": peer.pid, "uid": peer.uid, "gid": peer.gid },
    })
}
