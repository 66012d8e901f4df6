//! Before there is a channel: who is there, may he, and does he speak as we do.

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

/// How many processes of other users JavaScript is asked about at a time, for each listener. Until it has decided further ones are
/// refused as if there were too many connections: they come as often as they like.
const MAX_ASKED: usize = 256;

/// How long connecting rests when the server's backlog is full, which the kernel does not tell the end of.
const CONNECT_PAUSE: Duration = Duration::from_millis(5);

/// Somebody of whom the kernel does not say who it is.
const UNKNOWN: Credentials = Credentials { pid: 0, uid: u32::MAX, gid: u32::MAX };

/// A connection that is no channel yet.
#[derive(Debug)]
pub struct Guest {
    /// Which side this process is.
    pub side: Side,
    terms: Terms,
    /// The timer for when it has taken too long.
    patience: TimerId,
    stage: Stage,
}

/// A connection that could not be made at once.
#[derive(Debug)]
struct Attempt {
    name: PathBuf,
    abstract_names: AbstractNames,
}

/// How far it has come.
#[derive(Debug)]
enum Stage {
    /// The server's backlog is full.
    Connecting(Attempt),
    /// JavaScript is asked about the other end.
    Asking(Visitor),
    /// The other end's first line is to come.
    Greeting(Visitor),
}

/// The other end.
#[derive(Debug)]
struct Visitor {
    socket: OwnedFd,
    registration: Registration,
    peer: Credentials,
}

impl Guest {
    /// One whose connection is to be made.
    fn connecting(attempt: Attempt, terms: Terms, patience: TimerId) -> Self {
        Guest { side: Side::Client, terms, patience, stage: Stage::Connecting(attempt) }
    }

    /// What is to be connected to; None once it is.
    fn attempt(&self) -> Option<&Attempt> {
        match &self.stage {
            Stage::Connecting(attempt) => Some(attempt),
            Stage::Asking(_) | Stage::Greeting(_) => None,
        }
    }

    fn visitor(&self) -> Option<&Visitor> {
        match &self.stage {
            Stage::Connecting(_) => None,
            Stage::Asking(visitor) | Stage::Greeting(visitor) => Some(visitor),
        }
    }
}

/// Who says it.
#[derive(Clone, Copy)]
enum By {
    Us,
    ThePeer,
}

fn refused(refusal: Refusal, by: By, peer: Credentials) -> Error {
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
        let patience = context.set_timer(terms.patience, Timer::GiveUp(id));
        self.guests.insert(id, Guest::connecting(Attempt { name, abstract_names }, terms, patience));
        self.try_to_connect(context, id);
    }

    pub(super) fn try_to_connect(&mut self, context: &mut Context, id: ChannelId) {
        let Some(attempt) = self.guests.get(&id).and_then(Guest::attempt) else { return };
        match os::connect_named(&attempt.name, attempt.abstract_names) {
            Ok(socket) => self.welcome(context, id, Side::Client, socket),
            Err(Error::Sys { errno: Errno::EAGAIN, .. }) => {
                context.set_timer(CONNECT_PAUSE, Timer::Connect(id));
            }
            Err(error) => self.abandon(context, id, Some(error)),
        }
    }

    /// A connection has been made, in one direction or the other.
    pub(super) fn welcome(&mut self, context: &mut Context, id: ChannelId, side: Side, socket: OwnedFd) {
        let (terms, has_room, may_ask) = match side {
            Side::Server(listener) => {
                let Some(listener) = self.listeners.get_mut(&listener) else { return };
                listener.connections += 1;
                let has_room = listener.connections <= listener.max_connections;
                (listener.terms, has_room, listener.asking < MAX_ASKED)
            }
            Side::Client => match self.guests.get(&id) {
                Some(guest) => (guest.terms, true, true),
                None => return,
            },
        };
        let registered = os::credentials(socket.as_fd())
            .map_err(Error::sys("asking who connected"))
            .and_then(|peer| Ok((peer, Registration::new(context, socket.as_fd(), Source::Guest(id))?)));
        let (peer, registration) = match registered {
            Ok(registered) => registered,
            Err(error) => {
                self.leave(side);
                return match side {
                    Side::Server(listener) => self.refuse(context, listener, UNKNOWN, error),
                    Side::Client => self.abandon(context, id, Some(error)),
                };
            }
        };
        let patience = match self.guests.remove(&id) {
            Some(guest) => guest.patience,
            None => context.set_timer(terms.patience, Timer::GiveUp(id)),
        };
        let visitor = Visitor { socket, registration, peer };
        let wants_to_ask = has_room && !peer.is_trusted() && terms.asks;
        let stage = if wants_to_ask && may_ask {
            if let Side::Server(listener) = side {
                self.asked.insert(id, listener);
                self.count_asked(listener, 1);
            }
            self.sink.push(Event::Asked { channel: id, listener: side.listener(), peer });
            Stage::Asking(visitor)
        } else {
            Stage::Greeting(visitor)
        };
        let is_asked = matches!(stage, Stage::Asking(_));
        self.guests.insert(id, Guest { side, terms, patience, stage });
        if !has_room || wants_to_ask && !may_ask {
            self.turn_away(context, id, Refusal::TooManyConnections);
        } else if !is_asked && !peer.is_trusted() {
            self.turn_away(context, id, Refusal::NotAllowed);
        } else if !is_asked {
            self.begin(context, id);
        }
    }

    /// JavaScript has decided about a process of another user.
    pub(super) fn decide(&mut self, context: &mut Context, id: ChannelId, verdict: Verdict) {
        if let Some(listener) = self.asked.remove(&id) {
            self.count_asked(listener, -1);
        }
        let Some(guest) = self.guests.remove(&id) else { return };
        let stage = match guest.stage {
            Stage::Asking(visitor) => Stage::Greeting(visitor),
            other => other,
        };
        self.guests.insert(id, Guest { stage, ..guest });
        match verdict {
            Verdict::Allowed => self.begin(context, id),
            Verdict::Refused => self.turn_away(context, id, Refusal::NotAllowed),
        }
    }

    /// The client speaks first. What the other end has said already is read.
    fn begin(&mut self, context: &mut Context, id: ChannelId) {
        let Some(guest) = self.guests.get(&id) else { return };
        let mut has_ended = false;
        if guest.side == Side::Client
            && let Some(visitor) = guest.visitor()
        {
            match say(visitor, Hello::Greeting(greeting(&guest.terms))) {
                Ok(()) => {}
                // A server that does not want to hear anything has said why.
                Err(Error::Sys { errno: Errno::EPIPE | Errno::ECONNRESET, .. }) => has_ended = true,
                Err(error) => return self.abandon(context, id, Some(error)),
            }
        }
        self.greet(context, id, has_ended);
    }

    /// The other end has said something, or gone.
    pub(super) fn greet(&mut self, context: &mut Context, id: ChannelId, ended: bool) {
        let Some(guest) = self.guests.get(&id) else { return };
        let visitor = match &guest.stage {
            Stage::Connecting(_) => return,
            Stage::Asking(_) if ended => return self.lose_early(context, id),
            Stage::Asking(_) => return,
            Stage::Greeting(visitor) => visitor,
        };
        match os::receive_line(visitor.socket.as_fd(), MAX_HELLO) {
            Ok(Line::Complete(line)) => self.on_hello(context, id, &line),
            Ok(Line::Partial(begun)) if begun.is_empty() && ended => self.lose(context, id),
            Ok(Line::Partial(begun)) if ended || begun.first().is_some_and(|byte| *byte != b'{') => {
                self.turn_away(context, id, Refusal::NotAGreeting)
            }
            Ok(Line::Partial(_)) => {}
            Ok(Line::Overlong(_)) => self.turn_away(context, id, Refusal::NotAGreeting),
            // Somebody who only looked whether anybody listens, or died.
            Ok(Line::Ended) | Err(_) => self.lose(context, id),
        }
    }

    fn on_hello(&mut self, context: &mut Context, id: ChannelId, line: &[u8]) {
        let Some(guest) = self.guests.get(&id) else { return };
        let Some(visitor) = guest.visitor() else { return };
        let (ours, peer) = (guest.terms.serialization, visitor.peer);
        match (Hello::parse(line), guest.side) {
            (Err(refusal), _) => self.turn_away(context, id, refusal),
            (Ok(Hello::Refused(refusal)), Side::Client) => {
                self.abandon(context, id, Some(refused(refusal, By::ThePeer, peer)))
            }
            (Ok(Hello::Refused(_)), Side::Server(_)) => self.turn_away(context, id, Refusal::NotAGreeting),
            (Ok(Hello::Greeting(theirs)), _) if theirs.serialization != ours => {
                self.turn_away(context, id, Refusal::Serialization(ours))
            }
            (Ok(Hello::Greeting(theirs)), side) => {
                if let Side::Server(_) = side
                    && let Err(error) = say(visitor, Hello::Greeting(greeting(&guest.terms)))
                {
                    return self.abandon(context, id, Some(error));
                }
                self.open(context, id, theirs);
            }
        }
    }

    /// Both ends have greeted.
    fn open(&mut self, context: &mut Context, id: ChannelId, theirs: Greeting) {
        let Some(Guest { side, terms, patience, stage }) = self.guests.remove(&id) else { return };
        context.cancel_timer(patience);
        let Stage::Greeting(Visitor { socket, registration, peer }) = stage else { return };
        let bounds = Bounds {
            max_message: usize::try_from(theirs.max_message).unwrap_or(usize::MAX),
            max_queued: terms.max_queued,
        };
        registration.set_source(context, Source::Link(id));
        let link =
            Link::new(Channel::bounded(socket, terms.serialization, bounds), side, registration, terms);
        let ticket = side.listener().and_then(|id| Some(self.listeners.get(&id)?.unmet.issue()));
        self.sink.push(Event::Connected {
            id,
            listener: side.listener(),
            peer,
            channel: link.channel.clone(),
            ticket,
        });
        self.links.insert(id, link);
        // Something may have come right behind the greeting, the end even.
        self.read(context, id, Extent::ToEnd);
    }

    pub(super) fn give_up(&mut self, context: &mut Context, id: ChannelId) {
        self.turn_away(context, id, Refusal::TimedOut);
    }

    /// The other end has gone while JavaScript was asked about it. A client wants to know why, which may be there to be
    /// read; of a server that may not be trusted nothing else counts.
    fn lose_early(&mut self, context: &mut Context, id: ChannelId) {
        let Some(guest) = self.guests.get(&id) else { return };
        let Some(visitor) = guest.visitor() else { return };
        if guest.side != Side::Client {
            return self.abandon(context, id, None);
        }
        let hello = match os::receive_line(visitor.socket.as_fd(), MAX_HELLO) {
            Ok(Line::Complete(line)) => Hello::parse(&line).ok(),
            _ => None,
        };
        match hello {
            Some(Hello::Refused(refusal)) => {
                let error = refused(refusal, By::ThePeer, visitor.peer);
                self.abandon(context, id, Some(error));
            }
            _ => self.lose(context, id),
        }
    }

    /// The other end has gone without a word.
    fn lose(&mut self, context: &mut Context, id: ChannelId) {
        let cause = Error::Refused {
            code: Refusal::NotAGreeting.code(),
            reason: "the server closed the connection before it became a channel".into(),
        };
        self.abandon(context, id, Some(cause));
    }

    /// There will be no channel, and this side says why.
    fn turn_away(&mut self, context: &mut Context, id: ChannelId, refusal: Refusal) {
        let Some(guest) = self.guests.get(&id) else { return };
        let (side, visitor) = (guest.side, guest.visitor());
        let nobody = Credentials { pid: 0, uid: 0, gid: 0 };
        let peer = visitor.map_or(nobody, |visitor| visitor.peer);
        let error = refused(refusal, By::Us, peer);
        match side {
            Side::Server(listener) => {
                if let Some(visitor) = visitor {
                    // One that does not wait for the answer does not need it.
                    let _ = say(visitor, Hello::Refused(refusal));
                }
                self.refuse(context, listener, peer, error);
                self.abandon(context, id, None);
            }
            Side::Client => self.abandon(context, id, Some(error)),
        }
    }

    /// Forgets a connection that is no channel. A client hears of it.
    pub(super) fn abandon(&mut self, context: &mut Context, id: ChannelId, cause: Option<Error>) {
        let Some(guest) = self.guests.remove(&id) else { return };
        context.cancel_timer(guest.patience);
        if let Some(visitor) = guest.visitor() {
            visitor.registration.end(context, visitor.socket.as_fd());
            self.leave(guest.side);
        }
        if guest.side == Side::Client {
            self.tell(id, ChannelEvent::Closed(cause));
        }
    }

    fn count_asked(&mut self, listener: ListenerId, more: isize) {
        if let Some(listener) = self.listeners.get_mut(&listener) {
            listener.asking = listener.asking.saturating_add_signed(more);
        }
    }

    /// A listener has room for one more.
    pub(super) fn leave(&mut self, side: Side) {
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
fn say(visitor: &Visitor, hello: Hello) -> Result<(), Error> {
    let line = hello.encode();
    match os::send(visitor.socket.as_fd(), &[IoSlice::new(&line)], None) {
        Ok(count) if count == line.len() => Ok(()),
        Ok(_) => Err(Error::Sys { doing: "greeting", errno: Errno::EAGAIN }),
        Err(errno) => Err(Error::Sys { doing: "greeting", errno }),
    }
}
