//! Channels between processes that have nothing in common but the name of a socket: servers that accept them,
//! and clients that make them.
//!
//! [`Ipc`] runs on a reactor thread and owns all of it; other threads send it [`Command`]s and receive
//! [`Event`]s.
//!
//! - This file takes commands, readiness and timers, and ends a turn.
//! - `listener` accepts connections, as many as JavaScript keeps up with; `refusals` reports those that do
//!   not become channels.
//! - `handshake` makes connections, and decides which connections become channels.
//! - `link` moves messages on channels.
//! - `side` is which end of a channel this process is.
//! - `event` has the events.

mod event;
mod handshake;
mod link;
mod listener;
mod refusals;
mod side;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub use event::Event;
pub use refusals::Refused;

use crate::channel::{Channel, ChannelCommand, ChannelEvent, ChannelTimer, Extent};
use crate::error::Error;
use crate::ids::{ChannelId, ListenerId};
use crate::os::{AbstractNames, Bound};
use crate::proto::Serialization;
use crate::reactor::{Acceptor, EventSink, Exhaustion, Handler, Readiness};
use handshake::Handshake;
use link::{Link, LinkOwner};
use listener::Listener;
use side::Side;

/// The options of a listener, or of a client, for its channels.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// How messages are written.
    pub serialization: Serialization,
    /// The largest message that it takes, in bytes as they travel.
    pub max_message: usize,
    /// How many bytes of its own may wait to be written, on each channel.
    pub max_queued: usize,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
    /// Whether JavaScript is asked about processes of other users. If not, they are refused.
    pub asks: bool,
}

/// What other threads may ask of it.
#[derive(Debug)]
pub enum Command {
    /// Accept connections of a listening socket.
    Listen {
        id: ListenerId,
        /// The socket and its file.
        bound: Bound,
        terms: Terms,
        max_connections: usize,
    },
    /// How many connections a listener may have, from now on.
    SetMaxConnections(ListenerId, usize),
    /// Accept no more, close the socket and remove its file. Channels stay.
    CloseListener(ListenerId),
    /// Make a channel.
    Connect {
        id: ChannelId,
        /// A path, or an abstract name, which begins with a NUL byte.
        name: PathBuf,
        /// How the libuv of this process's Node writes abstract names.
        abstract_names: AbstractNames,
        terms: Terms,
    },
    /// Take over one end of a channel without a handshake: its two ends were made together.
    Adopt {
        id: ChannelId,
        /// The channel, of which the caller keeps a share for sending.
        channel: Arc<Channel>,
        /// The longest frame that the other end may send, in bytes.
        max_frame: usize,
    },
    /// Read everything that has been sent on a channel, however much of it is undelivered.
    ReadAll(ChannelId),
    /// The answer to [`Event::Asked`].
    Decide(ChannelId, Verdict),
    /// For the driver of a channel.
    Channel(ChannelId, ChannelCommand),
    /// Do not read a channel until [`Command::Unpause`]. Its end is not seen either.
    Pause(ChannelId),
    /// Read a channel again.
    Unpause(ChannelId),
    /// Close a channel when everything that waits has been sent, or end its handshake.
    CloseChannel(ChannelId),
    /// Close a channel at once, whatever waits, or end its handshake.
    Destroy(ChannelId),
}

/// Whether a process of another user may have a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    Refused,
}

/// What a registered descriptor is.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    /// The socket of a listener.
    Listener(ListenerId),
    /// A pending handshake.
    Handshake(ChannelId),
    /// A channel.
    Link(ChannelId),
}

/// What to do when a timer runs out.
#[derive(Clone, Copy, Debug)]
pub enum Timer {
    /// Accept again: there may be descriptors, or JavaScript has caught up.
    Accept(ListenerId),
    /// Connect again: the backlog may have room.
    Connect(ChannelId),
    /// The handshake has taken too long.
    HandshakeTimeout(ChannelId),
    /// For the driver of a channel.
    Link(ChannelId, ChannelTimer),
    /// Report the refusals that were only counted.
    ReportRefusals(ListenerId),
}

/// The reactor as [`Ipc`] sees it.
type Context = crate::reactor::Context<Timer, Source>;

/// Ids for the channels that this process makes. Channels that it accepts have others, so that clients cannot
/// use these up.
#[derive(Clone, Debug, Default)]
pub struct ChannelIds(Arc<AtomicU32>);

/// The first of them.
const FIRST_MADE: u32 = 1 << 31;

impl ChannelIds {
    /// An id that has not been used.
    pub fn next(&self) -> ChannelId {
        ChannelId(FIRST_MADE + self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// All state of listeners, handshakes and channels. It lives on the reactor thread.
#[derive(Debug)]
pub struct Ipc<S> {
    sink: S,
    ids: ChannelIds,
    /// The id of the last channel that was accepted.
    last_accepted: u32,
    listeners: HashMap<ListenerId, Listener>,
    handshakes: HashMap<ChannelId, Handshake>,
    /// Handshakes, pending or over, about which JavaScript has been asked and has not decided.
    asked: HashMap<ChannelId, ListenerId>,
    links: HashMap<ChannelId, Link>,
    /// Channels with more to read that gave way to others. The next turn goes on with them.
    unread: Vec<ChannelId>,
    /// Listeners with something to accept.
    to_accept: BTreeSet<ListenerId>,
    exhaustion: Exhaustion,
}

impl<S: EventSink<Event>> Ipc<S> {
    /// Without listeners or channels. Its events go to `sink`.
    pub fn new(sink: S) -> Self {
        Ipc {
            sink,
            ids: ChannelIds::default(),
            last_accepted: 0,
            listeners: HashMap::new(),
            handshakes: HashMap::new(),
            asked: HashMap::new(),
            links: HashMap::new(),
            unread: Vec::new(),
            to_accept: BTreeSet::new(),
            exhaustion: Exhaustion::default(),
        }
    }

    /// For another thread that makes channels.
    pub fn ids(&self) -> ChannelIds {
        self.ids.clone()
    }

    /// An id for a channel that is accepted. Clients that connect and leave can go through all ids in a day:
    /// one that is in use is passed over.
    fn next_accepted(&mut self) -> ChannelId {
        loop {
            self.last_accepted = (self.last_accepted + 1) % FIRST_MADE;
            let id = ChannelId(self.last_accepted);
            let is_used = self.links.contains_key(&id)
                || self.handshakes.contains_key(&id)
                || self.asked.contains_key(&id);
            if id.0 != 0 && !is_used {
                return id;
            }
        }
    }

    fn emit(&mut self, id: ChannelId, event: ChannelEvent) {
        self.sink.push(Event::Channel(id, event));
    }
}

impl<S: EventSink<Event>> Handler for Ipc<S> {
    type Command = Command;
    type Timer = Timer;
    type Source = Source;

    fn on_command(&mut self, context: &mut Context, command: Command) {
        match command {
            Command::Listen { id, bound, terms, max_connections } => {
                self.listen(context, id, bound, terms, max_connections)
            }
            Command::SetMaxConnections(id, max) => {
                if let Some(listener) = self.listeners.get_mut(&id) {
                    listener.max_connections = max;
                }
            }
            Command::CloseListener(id) => self.close_listener(context, id),
            Command::Connect { id, name, abstract_names, terms } => {
                self.connect(context, id, name, abstract_names, terms)
            }
            Command::Adopt { id, channel, max_frame } => self.adopt(context, id, channel, max_frame),
            Command::ReadAll(id) => self.read_all(context, id),
            Command::Decide(id, verdict) => self.decide(context, id, verdict),
            Command::Channel(id, command) => {
                self.drive(context, id, |driver, context, owner| driver.on_command(context, owner, command))
            }
            Command::Pause(id) => {
                self.drive(context, id, |driver, context, owner| driver.pause(context, owner))
            }
            Command::Unpause(id) => self.drive(context, id, |driver, _, _| driver.unpause()),
            Command::CloseChannel(id) | Command::Destroy(id) if self.handshakes.contains_key(&id) => {
                self.abandon(context, id, None)
            }
            Command::CloseChannel(id) => {
                self.drive(context, id, |driver, context, owner| driver.finish(context, owner))
            }
            Command::Destroy(id) => self.close_link(context, id, None),
        }
    }

    fn on_ready(&mut self, context: &mut Context, source: Source, readiness: Readiness) {
        match source {
            Source::Listener(id) => {
                self.accept_soon(id, Acceptor::on_ready);
            }
            Source::Handshake(id) => self.on_handshake_readable(context, id, readiness.ended),
            Source::Link(id) => {
                if readiness.readable {
                    self.drive(context, id, |driver, context, owner| {
                        driver.on_readable(context, owner, readiness.ended)
                    });
                }
                if readiness.writable {
                    self.drive(context, id, |driver, context, owner| driver.flush(context, owner));
                }
            }
        }
    }

    fn on_timer(&mut self, context: &mut Context, what: Timer) {
        match what {
            Timer::Accept(id) => self.accept_soon(id, Acceptor::on_pause_end),
            Timer::Connect(id) => self.try_to_connect(context, id),
            Timer::HandshakeTimeout(id) => self.on_handshake_timeout(context, id),
            Timer::Link(id, timer) => {
                self.drive(context, id, |driver, context, owner| driver.on_timer(context, owner, timer))
            }
            Timer::ReportRefusals(id) => self.report_counted_refusals(context, id),
        }
    }

    fn on_turn_end(&mut self, context: &mut Context) {
        for id in std::mem::take(&mut self.unread) {
            self.read(context, id, Extent::ToEnd);
        }
        for id in std::mem::take(&mut self.to_accept) {
            self.accept(context, id);
        }
        if !(self.unread.is_empty() && self.to_accept.is_empty()) {
            context.poll_again();
        }
        self.sink.flush();
    }

    fn on_fatal(&mut self, error: Error) {
        self.sink.push(Event::Fault(error));
        // Nothing else will end these.
        for (id, link) in std::mem::take(&mut self.links) {
            let (sink, unread) = (&mut self.sink, &mut self.unread);
            link.driver.abandon(&mut LinkOwner { id, side: None, sink, unread }, None);
        }
        for (id, handshake) in std::mem::take(&mut self.handshakes) {
            // JavaScript does not know of those that clients began.
            if handshake.side == Side::Client {
                self.emit(id, ChannelEvent::Closed(None));
            }
        }
        self.sink.flush();
    }
}
