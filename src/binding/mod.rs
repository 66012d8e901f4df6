//! The addon as JavaScript sees it. The only module that knows Node-API; it converts and keeps no state of its own
//! but the channels that JavaScript sends on.

mod callback;
mod direct;
mod events;
mod lane;
mod stats;
mod text;
mod watch;

use std::borrow::Cow;
use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread::JoinHandle;

use napi::bindgen_prelude::{Array, BufferSlice, Function};
use napi::{Env, JsString, Result};
use napi_derive::napi;
use nix::errno::Errno;

use crate::channel::{self, Channel, Frame, HandleOrigin, SendStatus};
use crate::error::Error;
use crate::ids::{Completion, WorkerId};
use crate::os::{self, AbstractNames, SocketPair};
use crate::primary::{Command, Config, Policy, Primary, Stats};
use crate::proto::Serialization;
use crate::reactor::{self, Handle};
use callback::Callback;
use direct::DirectReading;
use events::{EventQueue, Sink};
use stats::{NativeStats, NativeWorkerStats};

/// An error whose `code` is corral's or Node's. (The macro of napi knows `Result` by its name only: no alias.)
fn coded(error: Error) -> napi::Error<String> {
    napi::Error::new(error.code().to_owned(), error.to_string())
}

/// What Node-API has refused.
fn refused(error: napi::Error) -> napi::Error<String> {
    napi::Error::new("ERR_CORRAL_NAPI".to_owned(), error.reason.clone())
}

/// What is kept of the memory for messages on their way out, in bytes.
const KEEP_SCRATCH: usize = 4 << 20;

/// A failed send, as JavaScript gets it: a negative errno.
fn failure(errno: Errno) -> f64 {
    -f64::from(errno as i32)
}

/// The settings of the primary.
#[napi(object)]
pub struct NativeSettings {
    /// SCHED_RR; otherwise SCHED_NONE.
    pub round_robin: bool,
    /// The bound of connections per server that were accepted and not taken; by default that of `Config`.
    pub max_pending_connections: Option<u32>,
    /// The largest frame that a worker may send, in bytes; by default that of `Config`.
    pub max_frame_size: Option<f64>,
    /// Whether this Node's libuv fills abstract names up with NUL bytes.
    pub padded_abstract_names: bool,
    /// Whether 'connection' events are wanted.
    pub tell_connections: bool,
    /// Whether 'internalMessage' events are wanted.
    pub tell_internal: bool,
}

struct Peer {
    channel: Arc<Channel>,
    untold: Arc<AtomicUsize>,
    /// The worker's end, until it has been inherited.
    theirs: Option<OwnedFd>,
    /// Both ends of the lane, until the worker has been spawned.
    lane: Option<SocketPair>,
}

/// A primary: one reactor thread with its servers and workers. Belongs to the JavaScript thread that made it.
#[napi]
pub struct NativePrimary {
    reactor: Handle<Command>,
    events: Arc<EventQueue>,
    stats: Arc<Stats>,
    peers: HashMap<u32, Peer>,
    /// Channels that this thread reads itself.
    direct: Rc<DirectReading>,
    /// Where messages become UTF-8 on their way out.
    scratch: Vec<u8>,
}

#[napi]
impl NativePrimary {
    /// Starts the reactor thread. `wake` is called on the JavaScript thread when there is something to take; it does
    /// not keep the process alive. `deliver` is called with messages when they are all there is to take: their
    /// `EventKind`, the worker, and the messages.
    #[napi(constructor)]
    pub fn new(
        env: Env,
        wake: Function<(), ()>,
        #[napi(ts_arg_type = "(kind: EventKind, worker: number, messages: string | Buffer) => void")]
        deliver: Function<(), ()>,
    ) -> Result<Self, String> {
        let dispatch = Callback::new(env, &wake).map_err(refused)?;
        let deliver = Callback::new(env, &deliver).map_err(refused)?;
        let wake = wake.build_threadsafe_function().weak::<true>().max_queue_size::<1>().build();
        let wake = wake.map_err(refused)?;
        let events = Arc::new(EventQueue::new(wake));
        let primary = Primary::new(Sink::new(events.clone()));
        let stats = primary.stats();
        let (reactor, thread) = reactor::spawn("corral", primary).map_err(coded)?;
        let direct = DirectReading::new(dispatch, deliver, events.clone(), reactor.clone());
        stop_with_environment(env, reactor.clone(), thread, direct.clone())?;
        Ok(NativePrimary { reactor, events, stats, peers: HashMap::new(), direct, scratch: Vec::new() })
    }

    /// Changes the settings.
    #[napi]
    pub fn configure(&self, settings: NativeSettings) -> Result<(), String> {
        let default = Config::default();
        let config = Config {
            policy: if settings.round_robin { Policy::RoundRobin } else { Policy::Shared },
            max_pending: settings
                .max_pending_connections
                .map_or(default.max_pending, |max| max.max(1) as usize),
            max_frame: settings.max_frame_size.map_or(default.max_frame, |max| max as usize),
            abstract_names: if settings.padded_abstract_names {
                AbstractNames::Padded
            } else {
                AbstractNames::Exact
            },
            tell_connections: settings.tell_connections,
            tell_internal: settings.tell_internal,
        };
        self.reactor.send(Command::Configure(config)).map_err(coded)
    }

    /// Makes the channel for a worker and returns the number of the descriptor that the worker is to inherit. It is
    /// closed by `spawned`.
    #[napi]
    pub fn open_channel(&mut self, id: u32, advanced: bool) -> Result<i32, String> {
        let serialization = if advanced { Serialization::Advanced } else { Serialization::Json };
        let (channel, theirs) = channel::pair(serialization)
            .map_err(|errno| coded(Error::Sys { doing: "making a channel", errno }))?;
        let number = theirs.as_raw_fd();
        let peer =
            Peer { channel: Arc::new(channel), untold: Arc::default(), theirs: Some(theirs), lane: None };
        self.peers.insert(id, peer);
        Ok(number)
    }

    /// Makes the lane for a worker that has a channel, and returns the number of the descriptor that the worker is to
    /// inherit.
    #[napi]
    pub fn open_lane(&mut self, id: u32) -> Result<i32, String> {
        let peer = self.peers.get_mut(&id).ok_or_else(|| coded(Error::NoSuchWorker(id)))?;
        let ends = os::packet_pair().map_err(|errno| coded(Error::Sys { doing: "making a lane", errno }))?;
        Ok(peer.lane.insert(ends).theirs.as_raw_fd())
    }

    /// The worker has been spawned, or could not be: closes its end here and begins to read ours. A worker without a
    /// lane has none for the `no_lane` reason.
    #[napi]
    pub fn spawned(&mut self, id: u32, no_lane: String) -> Result<(), String> {
        let peer = self.peers.get_mut(&id).ok_or_else(|| coded(Error::NoSuchWorker(id)))?;
        drop(peer.theirs.take());
        let (channel, untold, lane) = (peer.channel.clone(), peer.untold.clone(), peer.lane.take());
        let lane = lane.ok_or(Cow::Owned(no_lane));
        self.reactor.send(Command::AddWorker { id: WorkerId(id), channel, untold, lane }).map_err(coded)
    }

    /// The worker could not be spawned at all: both ends are closed and no event will tell of it.
    #[napi]
    pub fn abandon_channel(&mut self, id: u32) {
        self.peers.remove(&id);
    }

    /// Sends JSON text, without its newline. `handle` is the number of a descriptor to send along, or -1; it is
    /// duplicated. `completion` names the callback for when the frame has to wait.
    ///
    /// Returns 0 when everything was written, the number of bytes that wait when not, a negative errno on failure.
    #[napi]
    pub fn send_text(&mut self, id: u32, text: JsString, handle: i32, completion: u32) -> Result<f64> {
        let mut bytes = std::mem::take(&mut self.scratch);
        text::append_utf8(&text, &mut bytes)?;
        bytes.push(b'\n');
        let status = self.send(id, &bytes, handle, completion);
        if bytes.capacity() <= KEEP_SCRATCH {
            bytes.clear();
            self.scratch = bytes;
        }
        Ok(status)
    }

    /// As `sendText`, for a message that begins with four bytes for its length and is V8-serialized behind them.
    #[napi]
    pub fn send_bytes(&self, id: u32, mut message: BufferSlice, handle: i32, completion: u32) -> f64 {
        let bytes: &mut [u8] = &mut message;
        let Some((length, body)) = bytes.split_first_chunk_mut::<4>() else { return failure(Errno::EINVAL) };
        let Ok(size) = u32::try_from(body.len()) else { return failure(Errno::EMSGSIZE) };
        *length = size.to_be_bytes();
        self.send(id, bytes, handle, completion)
    }

    /// `worker.disconnect()`. When it returns, the worker takes part in no server any more.
    #[napi]
    pub fn disconnect_worker(&self, id: u32) -> Result<(), String> {
        self.reactor.call(Command::Disconnect(WorkerId(id))).map_err(coded)
    }

    /// Closes the channel after what waits has been sent.
    #[napi]
    pub fn close_channel(&self, id: u32) -> Result<(), String> {
        self.reactor.call(Command::CloseChannel(WorkerId(id))).map_err(coded)
    }

    /// A message of the worker's could not be parsed: closes its channel with `ERR_CORRAL_BAD_FRAME`.
    #[napi]
    pub fn condemn(&self, id: u32, reason: String) -> Result<(), String> {
        self.reactor.send(Command::Condemn(WorkerId(id), Error::BadFrame(reason))).map_err(coded)
    }

    /// The worker's process has ended. When it returns, everything that the worker had sent, and its end, can be
    /// taken.
    #[napi]
    pub fn exited(&self, id: u32) -> Result<(), String> {
        self.reactor.call(Command::Exited(WorkerId(id))).map_err(coded)
    }

    /// What has been counted so far. Disturbs nobody.
    #[napi]
    pub fn stats(&self) -> NativeStats {
        let servers = self.stats.servers.read().values().map(|stats| (&**stats).into()).collect();
        let workers = self.stats.workers.read();
        let workers = workers
            .iter()
            .filter_map(|(id, stats)| Some(NativeWorkerStats::new(*id, stats, self.peers.get(&id.0)?)))
            .collect();
        NativeStats { servers, workers }
    }

    /// Closes a descriptor that came with an event and that nobody wants.
    #[napi]
    pub fn close_handle(&self, number: i32) {
        drop(os::adopt(number));
    }

    /// The number of this side's descriptor of a channel; -1 when the channel is closed.
    #[napi]
    pub fn channel_descriptor(&self, id: u32) -> i32 {
        self.peers.get(&id).map_or(-1, |peer| peer.channel.as_fd().as_raw_fd())
    }

    /// Takes what has happened: a flat array of four values per event, the first of them its `EventKind`.
    #[napi]
    pub fn take_events<'env>(&'env mut self, env: &'env Env) -> Result<Array<'env>> {
        let taken = self.events.take();
        let mut follow_up = Vec::new();
        let array = events::to_array(env, taken, &mut self.peers, &self.direct, &mut follow_up)?;
        for command in follow_up {
            // Without a reactor nothing is left to follow up.
            let _ = self.reactor.send(command);
        }
        Ok(array)
    }
}

impl NativePrimary {
    fn send(&self, id: u32, bytes: &[u8], handle: i32, completion: u32) -> f64 {
        let Some(peer) = self.peers.get(&id) else { return failure(Errno::EPIPE) };
        let completion = Completion(completion);
        let status = if handle < 0 {
            peer.channel.send_lent(bytes, completion)
        } else {
            match os::duplicate_raw(handle) {
                Ok(fd) => peer.channel.send(Frame {
                    bytes: bytes.to_vec(),
                    handle: Some((Arc::new(fd), HandleOrigin::User)),
                    completion: Some(completion),
                }),
                Err(errno) => return failure(errno),
            }
        };
        if matches!(status, SendStatus::Written | SendStatus::Queued { .. }) {
            peer.channel.traffic().sent(bytes.len());
        }
        match status {
            SendStatus::Written => 0.0,
            SendStatus::Queued { bytes, needs_flush } => {
                if needs_flush && self.reactor.send(Command::Flush(WorkerId(id))).is_err() {
                    return failure(Errno::EPIPE);
                }
                bytes as f64
            }
            SendStatus::Failed(errno) => failure(errno),
            SendStatus::Closed => failure(Errno::EPIPE),
        }
    }
}

/// Ends the reactor thread before the environment goes: its servers remove their socket files, and nothing of it runs
/// while Node tears itself down. Nor does the event loop watch anything of it: Node closes its loop and wants it empty.
fn stop_with_environment(
    env: Env,
    reactor: Handle<Command>,
    thread: JoinHandle<()>,
    direct: Rc<DirectReading>,
) -> Result<(), String> {
    env.add_env_cleanup_hook((reactor, thread, direct), |(reactor, thread, direct)| {
        direct.forget_all();
        reactor.stop();
        // A thread that panicked has told so by an event; there is nobody left to tell again.
        let _ = thread.join();
    })
    .map_err(refused)?;
    Ok(())
}
