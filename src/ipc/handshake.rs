//! The handshake, from a connection to a channel: credentials, permission, protocol version and
//! serialization.

use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;

use super::link::Link;
use super::side::Side;
use super::{Context, Event, Ipc, Source, Terms, Timer, Verdict};
use crate::channel::{Bounds, Channel, ChannelEvent, Extent};
use crate::error::Error;
use crate::ids::{ChannelId, ListenerId};
use crate::os::{self, AbstractNames, Credentials, Line};
use crate::proto::{Greeting, Hello, MAX_HELLO, Refusal};
use crate::reactor::{EventSink, Registration, TimerId};

/// How many questions about processes of other users may wait for JavaScript, for each listener. Beyond that
/// they are refused as if there were too many connections, since nothing else limits how often they connect.
const MAX_ASKED: usize = 256;

/// The delay before the next attempt to connect while the server's backlog is full. The kernel does not
/// report when it has room.
const CONNECT_PAUSE: Duration = Duration::from_millis(5);

/// A peer whose credentials the kernel does not give.
const UNKNOWN: Credentials = Credentials { pid: 0, uid: u32::MAX, gid: u32::MAX };

/// A pending handshake.
#[derive(Debug)]
pub struct Handshake {
    /// Which side this process is.
    pub side: Side,
    terms: Terms,
    /// Ends it when it takes too long.
    timeout: TimerId,
    stage: Stage,
}

/// What to connect to.
#[derive(Debug)]
struct Attempt {
    name: PathBuf,
    abstract_names: AbstractNames,
}

/// How far a handshake has come.
#[derive(Debug)]
enum Stage {
    /// The server's backlog is full; a timer runs for the next attempt.
    Connecting(Attempt),
    /// JavaScript decides whether the peer may have a channel.
    Asking(Connection),
    /// The peer's first line has not arrived.
    Greeting(Connection),
}

/// A connection, with whoever is at its other end.
#[derive(Debug)]
struct Connection {
    socket: OwnedFd,
    registration: Registration,
    peer: Credentials,
}

impl Handshake {
    /// The handshake of a connection that this process makes.
    fn connecting(attempt: Attempt, terms: Terms, timeout: TimerId) -> Self {
        Handshake { side: Side::Client, terms, timeout, stage: Stage::Connecting(attempt) }
    }

    /// What to connect to; None once there is a connection.
    fn attempt(&self) -> Option<&Attempt> {
        match &self.stage {
            Stage::Connecting(attempt) => Some(attempt),
            Stage::Asking(_) | Stage::Greeting(_) => None,
        }
    }

    fn connection(&self) -> Option<&Connection> {
        match &self.stage {
            Stage::Connecting(_) => None,
            Stage::Asking(connection) | Stage::Greeting(connection) => Some(connection),
        }
    }
}

/// The side that refuses.
#[derive(Clone, Copy)]
enum By {
    Us,
    ThePeer,
}

fn refusal_error(refusal: Refusal, by: By, peer: Credentials) -> Error {
    let reason = match (by, refusal) {
        (By::Us, Refusal::NotAGreeting) => "the peer does not begin as a corral channel does".into(),
        (By::Us, Refusal::Version(ours)) => format!("the peer speaks another version than {ours}"),
        (By::Us, Refusal::Serialization(ours)) => format!("the peer's serialization is not {ours}"),
        (By::Us, Refusal::NotAllowed) => {
            format!("the peer belongs to user {}, which is not allowed", peer.uid)
        }
        (By::Us, Refusal::TooManyConnections) => "the server has as many connections as it may".into(),
        (By::Us, Refusal::TimedOut) => "the peer did not begin in time".into(),
        (By::ThePeer, Refusal::NotAGreeting) => "refused: the server does not understand this client".into(),
        (By::ThePeer, Refusal::Version(theirs)) => format!("refused: the server speaks version {theirs}"),
        (By::ThePeer, Refusal::Serialization(theirs)) => {
            format!("refused: the server's serialization is {theirs}")
        }
        (By::ThePeer, Refusal::NotAllowed) => "refused: the server does not allow this user".into(),
        (By::ThePeer, Refusal::TooManyConnections) => {
            "refused: the server has as many connections as it may".into()
        }
        (By::ThePeer, Refusal::TimedOut) => "refused: the server did not wait any longer".into(),
    };
    Error::Refused { code: refusal.code(), reason }
}

impl<S: EventSink<Event>> Ipc<S> {
    pub(super) fn connect(
        &mut self,
        context: &mut Context,
        id: ChannelId,
        name: PathBuf,
        abstract_names: AbstractNames,
        terms: Terms,
    ) {
        let timeout = context.set_timer(terms.handshake_timeout, Timer::HandshakeTimeout(id));
        self.handshakes.insert(id, Handshake::connecting(Attempt { name, abstract_names }, terms, timeout));
        self.try_to_connect(context, id);
    }

    pub(super) fn try_to_connect(&mut self, context: &mut Context, id: ChannelId) {
        let Some(attempt) = self.handshakes.get(&id).and_then(Handshake::attempt) else { return };
        match os::connect_named(&attempt.name, attempt.abstract_names) {
            Ok(socket) => self.begin_handshake(context, id, Side::Client, socket),
            Err(Error::Sys { errno: Errno::EAGAIN, .. }) => {
                context.set_timer(CONNECT_PAUSE, Timer::Connect(id));
            }
            Err(error) => self.abandon(context, id, Some(error)),
        }
    }

    /// Begins the handshake of a connection that was accepted, or made.
    pub(super) fn begin_handshake(
        &mut self,
        context: &mut Context,
        id: ChannelId,
        side: Side,
        socket: OwnedFd,
    ) {
        let (terms, has_room, may_ask) = match side {
            Side::Server(listener) => {
                let Some(listener) = self.listeners.get_mut(&listener) else { return };
                listener.connections += 1;
                let has_room = listener.connections <= listener.max_connections;
                (listener.terms, has_room, listener.asking < MAX_ASKED)
            }
            Side::Client => match self.handshakes.get(&id) {
                Some(handshake) => (handshake.terms, true, true),
                None => return,
            },
        };
        let registered = os::credentials(socket.as_fd())
            .map_err(Error::sys("asking who connected"))
            .and_then(|peer| Ok((peer, Registration::new(context, socket.as_fd(), Source::Handshake(id))?)));
        let (peer, registration) = match registered {
            Ok(registered) => registered,
            Err(error) => {
                self.release(side);
                return match side {
                    Side::Server(listener) => self.report_refusal(context, listener, UNKNOWN, error),
                    Side::Client => self.abandon(context, id, Some(error)),
                };
            }
        };
        let timeout = match self.handshakes.remove(&id) {
            Some(handshake) => handshake.timeout,
            None => context.set_timer(terms.handshake_timeout, Timer::HandshakeTimeout(id)),
        };
        let connection = Connection { socket, registration, peer };
        let wants_to_ask = has_room && !peer.is_trusted() && terms.asks;
        let stage = if wants_to_ask && may_ask {
            if let Side::Server(listener) = side {
                self.asked.insert(id, listener);
                self.count_asked(listener, 1);
            }
            self.sink.push(Event::Asked { channel: id, listener: side.listener(), peer });
            Stage::Asking(connection)
        } else {
            Stage::Greeting(connection)
        };
        let is_asked = matches!(stage, Stage::Asking(_));
        self.handshakes.insert(id, Handshake { side, terms, timeout, stage });
        if !has_room || wants_to_ask && !may_ask {
            self.reject(context, id, Refusal::TooManyConnections);
        } else if !is_asked && !peer.is_trusted() {
            self.reject(context, id, Refusal::NotAllowed);
        } else if !is_asked {
            self.exchange_greetings(context, id);
        }
    }

    /// JavaScript has decided about a process of another user.
    pub(super) fn decide(&mut self, context: &mut Context, id: ChannelId, verdict: Verdict) {
        if let Some(listener) = self.asked.remove(&id) {
            self.count_asked(listener, -1);
        }
        let Some(handshake) = self.handshakes.remove(&id) else { return };
        let stage = match handshake.stage {
            Stage::Asking(connection) => Stage::Greeting(connection),
            other => other,
        };
        self.handshakes.insert(id, Handshake { stage, ..handshake });
        match verdict {
            Verdict::Allowed => self.exchange_greetings(context, id),
            Verdict::Refused => self.reject(context, id, Refusal::NotAllowed),
        }
    }

    /// Sends the greeting of a client, which speaks first, and reads what the peer has sent by now.
    fn exchange_greetings(&mut self, context: &mut Context, id: ChannelId) {
        let Some(handshake) = self.handshakes.get(&id) else { return };
        let mut has_ended = false;
        if handshake.side == Side::Client
            && let Some(connection) = handshake.connection()
        {
            match say(connection, Hello::Greeting(greeting(&handshake.terms))) {
                Ok(()) => {}
                // A server that closes at once has sent its reason before.
                Err(Error::Sys { errno: Errno::EPIPE | Errno::ECONNRESET, .. }) => has_ended = true,
                Err(error) => return self.abandon(context, id, Some(error)),
            }
        }
        self.on_handshake_readable(context, id, has_ended);
    }

    /// The peer has sent something, or closed.
    pub(super) fn on_handshake_readable(&mut self, context: &mut Context, id: ChannelId, ended: bool) {
        let Some(handshake) = self.handshakes.get(&id) else { return };
        let connection = match &handshake.stage {
            Stage::Connecting(_) => return,
            Stage::Asking(_) if ended => return self.on_early_eof(context, id),
            Stage::Asking(_) => return,
            Stage::Greeting(connection) => connection,
        };
        match os::receive_line(connection.socket.as_fd(), MAX_HELLO) {
            Ok(Line::Complete(line)) => self.on_hello(context, id, &line),
            Ok(Line::Partial(begun)) if begun.is_empty() && ended => self.on_eof(context, id),
            Ok(Line::Partial(begun)) if ended || begun.first().is_some_and(|byte| *byte != b'{') => {
                self.reject(context, id, Refusal::NotAGreeting)
            }
            Ok(Line::Partial(_)) => {}
            Ok(Line::Overlong(_)) => self.reject(context, id, Refusal::NotAGreeting),
            // A client that only looked whether there is a server, or died.
            Ok(Line::Ended) | Err(_) => self.on_eof(context, id),
        }
    }

    fn on_hello(&mut self, context: &mut Context, id: ChannelId, line: &[u8]) {
        let Some(handshake) = self.handshakes.get(&id) else { return };
        let Some(connection) = handshake.connection() else { return };
        let (ours, peer) = (handshake.terms.serialization, connection.peer);
        match (Hello::parse(line), handshake.side) {
            (Err(refusal), _) => self.reject(context, id, refusal),
            (Ok(Hello::Refused(refusal)), Side::Client) => {
                self.abandon(context, id, Some(refusal_error(refusal, By::ThePeer, peer)))
            }
            (Ok(Hello::Refused(_)), Side::Server(_)) => self.reject(context, id, Refusal::NotAGreeting),
            (Ok(Hello::Greeting(theirs)), _) if theirs.serialization != ours => {
                self.reject(context, id, Refusal::Serialization(ours))
            }
            (Ok(Hello::Greeting(theirs)), side) => {
                if let Side::Server(_) = side
                    && let Err(error) = say(connection, Hello::Greeting(greeting(&handshake.terms)))
                {
                    return self.abandon(context, id, Some(error));
                }
                self.open_channel(context, id, theirs);
            }
        }
    }

    /// Both sides have greeted: the connection becomes a channel.
    fn open_channel(&mut self, context: &mut Context, id: ChannelId, theirs: Greeting) {
        let Some(Handshake { side, terms, timeout, stage }) = self.handshakes.remove(&id) else { return };
        context.cancel_timer(timeout);
        let Stage::Greeting(Connection { socket, registration, peer }) = stage else { return };
        let bounds = Bounds {
            max_message: usize::try_from(theirs.max_message).unwrap_or(usize::MAX),
            max_queued: terms.max_queued,
        };
        registration.set_source(context, Source::Link(id));
        let link =
            Link::new(Channel::bounded(socket, terms.serialization, bounds), side, registration, terms);
        let ticket = side.listener().and_then(|id| Some(self.listeners.get(&id)?.undelivered.issue()));
        self.sink.push(Event::Connected {
            id,
            listener: side.listener(),
            peer,
            channel: link.driver.channel.clone(),
            ticket,
        });
        self.links.insert(id, link);
        // There may be messages right behind the greeting, or the end.
        self.read(context, id, Extent::ToEnd);
    }

    pub(super) fn on_handshake_timeout(&mut self, context: &mut Context, id: ChannelId) {
        self.reject(context, id, Refusal::TimedOut);
    }

    /// The peer has closed before JavaScript has decided about it. A client reads the server's reason, if
    /// there is one; nothing else that such a server sends is believed.
    fn on_early_eof(&mut self, context: &mut Context, id: ChannelId) {
        let Some(handshake) = self.handshakes.get(&id) else { return };
        let Some(connection) = handshake.connection() else { return };
        if handshake.side != Side::Client {
            return self.abandon(context, id, None);
        }
        let hello = match os::receive_line(connection.socket.as_fd(), MAX_HELLO) {
            Ok(Line::Complete(line)) => Hello::parse(&line).ok(),
            _ => None,
        };
        match hello {
            Some(Hello::Refused(refusal)) => {
                let error = refusal_error(refusal, By::ThePeer, connection.peer);
                self.abandon(context, id, Some(error));
            }
            _ => self.on_eof(context, id),
        }
    }

    /// The peer has closed without a reason.
    fn on_eof(&mut self, context: &mut Context, id: ChannelId) {
        let cause = Error::Refused {
            code: Refusal::NotAGreeting.code(),
            reason: "the server closed the connection before it became a channel".into(),
        };
        self.abandon(context, id, Some(cause));
    }

    /// Ends a handshake from this side, and tells a client why.
    fn reject(&mut self, context: &mut Context, id: ChannelId, refusal: Refusal) {
        let Some(handshake) = self.handshakes.get(&id) else { return };
        let (side, connection) = (handshake.side, handshake.connection());
        let nobody = Credentials { pid: 0, uid: 0, gid: 0 };
        let peer = connection.map_or(nobody, |connection| connection.peer);
        let error = refusal_error(refusal, By::Us, peer);
        match side {
            Side::Server(listener) => {
                if let Some(connection) = connection {
                    // A client that has gone does not need the reason.
                    let _ = say(connection, Hello::Refused(refusal));
                }
                self.report_refusal(context, listener, peer, error);
                self.abandon(context, id, None);
            }
            Side::Client => self.abandon(context, id, Some(error)),
        }
    }

    /// Ends a handshake. On a client's side the channel's only event is its end.
    pub(super) fn abandon(&mut self, context: &mut Context, id: ChannelId, cause: Option<Error>) {
        let Some(handshake) = self.handshakes.remove(&id) else { return };
        context.cancel_timer(handshake.timeout);
        if let Some(connection) = handshake.connection() {
            connection.registration.end(context, connection.socket.as_fd());
            self.release(handshake.side);
        }
        if handshake.side == Side::Client {
            self.emit(id, ChannelEvent::Closed(cause));
        }
    }

    fn count_asked(&mut self, listener: ListenerId, more: isize) {
        if let Some(listener) = self.listeners.get_mut(&listener) {
            listener.asking = listener.asking.saturating_add_signed(more);
        }
    }

    /// A connection is gone: its listener has room for another one.
    pub(super) fn release(&mut self, side: Side) {
        if let Side::Server(id) = side
            && let Some(listener) = self.listeners.get_mut(&id)
        {
            listener.connections -= 1;
        }
    }
}

fn greeting(terms: &Terms) -> Greeting {
    Greeting { serialization: terms.serialization, max_message: terms.max_message as u64 }
}

/// Writes a first line, for which a new socket has room.
fn say(connection: &Connection, hello: Hello) -> Result<(), Error> {
    let line = hello.encode();
    match os::send(connection.socket.as_fd(), &[IoSlice::new(&line)], None) {
        Ok(count) if count == line.len() => Ok(()),
        Ok(_) => Err(Error::Sys { doing: "greeting", errno: Errno::EAGAIN }),
        Err(errno) => Err(Error::Sys { doing: "greeting", errno }),
    }
}
