//! A turn of the broker's thread: requests are read and carried out, what they change is kept, and only then they are
//! answered.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mio::net::{UnixListener, UnixStream};
use mio::{Events, Interest, Poll, Token};

use super::connection::Connection;
use super::{Command, Inbox, WAKER};
use crate::engine::{Engine, Output};
use crate::error::Fault;
use crate::protocol::{Names, Progress, Reply, Request, request};
use crate::store::Store;
use crate::topics::Topics;

const LISTENER: Token = Token(usize::MAX - 1);

/// How many connections are taken in one turn.
const ACCEPT_BUDGET: usize = 64;

/// How long accepting pauses when there are no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// After so long without anything to do, the store is tidied up.
const IDLE: Duration = Duration::from_millis(500);

/// After so many bytes of messages the next request of a connection waits for the next turn, when they are written: how many
/// there are is not known before.
const ANSWERS: usize = 4 << 20;

/// How many connections there may be.
const MAX_CONNECTIONS: usize = 10_000;

pub struct Serving {
    poll: Poll,
    inbox: Arc<Inbox>,
    listener: Option<UnixListener>,
    accept_again: Option<Instant>,
    connections: BTreeMap<usize, Connection>,
    next_connection: usize,
    /// Those that may be read without being waited for.
    readable: BTreeSet<usize>,
    /// Those that have something to be written.
    unwritten: BTreeSet<usize>,
    /// Without one, nothing but its fault is told to anybody.
    engine: Option<Engine>,
    fault: Option<Fault>,
    topics: Topics,
    names: Names,
    /// The engine's clock is `base` at `origin`: it runs as this machine's does, and never jumps.
    base: u64,
    origin: Instant,
    needs_care: bool,
}

impl Serving {
    pub fn new(
        poll: Poll,
        inbox: Arc<Inbox>,
        store: Option<Box<dyn Store>>,
        fault: Option<Fault>,
    ) -> Serving {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let mut serving = Serving {
            poll,
            inbox,
            listener: None,
            accept_again: None,
            connections: BTreeMap::new(),
            next_connection: 0,
            readable: BTreeSet::new(),
            unwritten: BTreeSet::new(),
            engine: None,
            fault,
            topics: Topics::default(),
            names: Names::default(),
            base: u64::try_from(wall).unwrap_or(0),
            origin: Instant::now(),
            needs_care: true,
        };
        if let Some(store) = store {
            match Engine::new(store, serving.base) {
                Ok((engine, clock)) => {
                    serving.base = clock;
                    serving.origin = Instant::now();
                    serving.engine = Some(engine);
                }
                Err(fault) => serving.fault = Some(fault),
            }
        }
        serving
    }

    fn now(&self) -> u64 {
        let passed = u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.base.saturating_add(passed)
    }

    pub fn run(mut self) {
        let mut events = Events::with_capacity(256);
        loop {
            let timeout = self.timeout();
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                // Nothing can be served without it; whoever is connected finds another process.
                Err(_) => return,
                Ok(()) => {}
            }
            let is_idle = events.is_empty() && self.readable.is_empty();
            for event in &events {
                match event.token() {
                    WAKER => {}
                    LISTENER => self.accept_again = Some(Instant::now()),
                    Token(number) => self.on_event(number, event.is_readable(), event.is_read_closed()),
                }
            }
            if !self.obey() {
                return;
            }
            self.accept();
            self.turn();
            if is_idle && self.needs_care {
                self.needs_care = self.engine.as_mut().is_some_and(Engine::maintain);
            }
        }
    }

    /// How long there is nothing to do unless something comes.
    fn timeout(&self) -> Option<Duration> {
        if !self.readable.is_empty() {
            return Some(Duration::ZERO);
        }
        let next = self.engine.as_ref().and_then(Engine::next_time).map(|time| {
            // One more, as the clock's milliseconds are cut off.
            Duration::from_millis(time.saturating_sub(self.now()).saturating_add(1))
        });
        let accept = self.accept_again.map(|time| time.saturating_duration_since(Instant::now()));
        let care = self.needs_care.then_some(IDLE);
        [next, accept, care].into_iter().flatten().min()
    }

    fn on_event(&mut self, number: usize, is_readable: bool, is_closed: bool) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        connection.may_have_ended |= is_closed;
        if is_readable || is_closed {
            connection.is_readable = true;
            self.readable.insert(number);
        }
        // The other cause is that it can be written.
        self.unwritten.insert(number);
    }

    /// Does what this process asks for: false if it is to end.
    fn obey(&mut self) -> bool {
        for command in self.inbox.take() {
            match command {
                Command::Stop => return false,
                Command::Attach(stream) => self.add(UnixStream::from_std(stream)),
                Command::Listen(listener) => {
                    let mut listener = UnixListener::from_std(listener);
                    let registry = self.poll.registry();
                    if registry.register(&mut listener, LISTENER, Interest::READABLE).is_ok() {
                        self.listener = Some(listener);
                        self.accept_again = Some(Instant::now());
                    }
                }
            }
        }
        true
    }

    fn accept(&mut self) {
        if self.accept_again.is_none_or(|time| time > Instant::now()) {
            return;
        }
        self.accept_again = None;
        for _ in 0..ACCEPT_BUDGET {
            let Some(listener) = &self.listener else { return };
            match listener.accept() {
                Ok((stream, _)) => {
                    if self.connections.len() < MAX_CONNECTIONS && is_of_this_user(&stream) {
                        self.add(stream);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_exhausted(&error) => {
                    self.accept_again = Some(Instant::now() + ACCEPT_PAUSE);
                    return;
                }
                // The client has gone meanwhile.
                Err(_) => {}
            }
        }
        self.accept_again = Some(Instant::now());
    }

    fn add(&mut self, mut stream: UnixStream) {
        let number = self.next_connection;
        self.next_connection += 1;
        let interest = Interest::READABLE | Interest::WRITABLE;
        if self.poll.registry().register(&mut stream, Token(number), interest).is_ok() {
            self.connections.insert(number, Connection::new(stream));
            self.readable.insert(number);
        }
    }

    fn turn(&mut self) {
        let now = self.now();
        let readable: Vec<usize> = self.readable.iter().copied().collect();
        for number in readable {
            self.read(number, now);
        }
        if let Some(engine) = &mut self.engine {
            engine.tick(now);
        }
        self.answer(now);
        self.publish();
        self.write(now);
    }

    /// Reads from a connection, and carries out what came.
    fn read(&mut self, number: usize, now: u64) {
        let Some(connection) = self.connections.get_mut(&number) else {
            self.readable.remove(&number);
            return;
        };
        if connection.is_closing || connection.output.is_behind() {
            self.readable.remove(&number);
            return;
        }
        if connection.is_readable {
            match connection.read() {
                Progress::More => {}
                Progress::Dry => connection.is_readable = false,
                Progress::Ended => {
                    connection.is_readable = false;
                    connection.has_ended = true;
                }
            }
        }
        let is_done = self.carry_out(number, now);
        let Some(connection) = self.connections.get_mut(&number) else { return };
        connection.has_more = !is_done;
        if is_done && !connection.is_readable {
            self.readable.remove(&number);
        }
        if is_done && connection.has_ended {
            self.end(number, now);
        }
    }

    /// Carries out the requests that have come: false if some are left for another turn.
    fn carry_out(&mut self, number: usize, now: u64) -> bool {
        let given = |engine: &Option<Engine>| engine.as_ref().map_or(0, Engine::answer_bytes);
        let before = given(&self.engine);
        loop {
            if given(&self.engine) - before >= ANSWERS {
                return false;
            }
            let Some(connection) = self.connections.get_mut(&number) else { return true };
            let (has_greeted, fault) = (connection.has_greeted, &self.fault);
            let read = match connection.next_frame() {
                Ok(None) => return true,
                Ok(Some(_)) if fault.is_some() => Err(fault.clone().unwrap_or_else(|| Fault::store(""))),
                Ok(Some(frame)) => request::read(frame, &mut self.names),
                Err(fault) => Err(fault),
            };
            match read {
                Ok((_, Request::Hello { client, durability, held })) if !has_greeted => {
                    connection.has_greeted = true;
                    if let Some(engine) = &mut self.engine {
                        engine.hello(number, client, durability, &held, now);
                    }
                    // What it wants to be kept in its way comes after the commit that makes it so.
                    return false;
                }
                Ok((sequence, request)) if has_greeted => {
                    let is_last = request == Request::Bye;
                    self.request(number, sequence, request, now);
                    if is_last {
                        self.close(number);
                        return true;
                    }
                }
                Ok(_) => {
                    self.refuse(number, &Fault::protocol("a connection begins with one greeting"), now);
                    return true;
                }
                Err(fault) => {
                    self.refuse(number, &fault, now);
                    return true;
                }
            }
        }
    }

    fn request(&mut self, number: usize, sequence: u64, request: Request, now: u64) {
        match request {
            Request::Subscribe { pattern, buffer, overflow } => {
                self.topics.subscribe((number, sequence), pattern, buffer, overflow);
                self.send(number, sequence, &Reply::Done);
            }
            Request::Unsubscribe { subscription } => self.topics.unsubscribe((number, subscription)),
            Request::Credit { subscription, count } => self.topics.credit((number, subscription), count),
            other => {
                if let Request::Cancel { target } = other {
                    self.topics.unsubscribe((number, target));
                }
                if let Some(engine) = &mut self.engine {
                    engine.request(number, sequence, other, now);
                }
            }
        }
    }

    /// Has a connection end when it has got its answers.
    fn close(&mut self, number: usize) {
        self.topics.gone(number);
        if let Some(connection) = self.connections.get_mut(&number) {
            connection.is_closing = true;
            self.unwritten.insert(number);
        }
    }

    /// Ends a connection whose peer cannot be served, and says why.
    fn refuse(&mut self, number: usize, fault: &Fault, now: u64) {
        self.send(number, 0, &Reply::Fatal(fault.clone()));
        if let Some(engine) = &mut self.engine {
            engine.gone(number, now);
        }
        self.close(number);
    }

    fn send(&mut self, number: usize, sequence: u64, reply: &Reply) {
        if let Some(connection) = self.connections.get_mut(&number) {
            reply.write(&mut connection.output.bytes, sequence);
            if connection.output.is_behind() {
                self.topics.pause(number);
            }
            self.unwritten.insert(number);
        }
    }

    /// Keeps what was changed, and then says so.
    fn answer(&mut self, now: u64) {
        let Some(engine) = &mut self.engine else { return };
        let outputs = engine.commit(now);
        self.needs_care |= !outputs.is_empty();
        for output in outputs {
            match output {
                Output::Reply { connection, sequence, reply } => self.send(connection, sequence, &reply),
                Output::Publish { topic, body, asked } => {
                    let count = self.topics.publish(&topic, &body);
                    if let Some((connection, sequence)) = asked {
                        self.send(connection, sequence, &Reply::Count(count));
                    }
                }
            }
        }
    }

    fn publish(&mut self) {
        for ((number, subscription), reply) in std::mem::take(&mut self.topics.outbox) {
            self.send(number, subscription, &reply);
        }
    }

    fn write(&mut self, now: u64) {
        while let Some(number) = self.unwritten.pop_first() {
            let Some(connection) = self.connections.get_mut(&number) else { continue };
            let has_failed = connection.write().is_err();
            if has_failed || (connection.is_closing && connection.output.is_written()) {
                self.end(number, now);
            } else if connection.output.has_caught_up() {
                if connection.is_readable || connection.has_more {
                    self.readable.insert(number);
                }
                if self.topics.resume(number) {
                    self.publish();
                }
            }
            // What somebody held who is gone is for others now, before the next event comes.
            if self.unwritten.is_empty() && self.engine.as_ref().is_some_and(Engine::is_stirred) {
                self.answer(now);
                self.publish();
            }
        }
    }

    /// A connection is there no more.
    fn end(&mut self, number: usize, now: u64) {
        self.readable.remove(&number);
        self.topics.gone(number);
        if let Some(mut connection) = self.connections.remove(&number) {
            let _ = self.poll.registry().deregister(&mut connection.stream);
        }
        if let Some(engine) = &mut self.engine {
            engine.gone(number, now);
        }
    }
}

/// Whether there are no descriptors, or no memory, for another connection.
fn is_exhausted(error: &io::Error) -> bool {
    use nix::errno::Errno::{EMFILE, ENFILE, ENOBUFS, ENOMEM};
    let exhausted = [EMFILE, ENFILE, ENOBUFS, ENOMEM];
    error.raw_os_error().is_some_and(|code| exhausted.iter().any(|errno| *errno as i32 == code))
}

/// Whether a peer is of this process's user, or root. The socket's file says so as well, but not on every system.
fn is_of_this_user(stream: &UnixStream) -> bool {
    #[cfg(target_os = "linux")]
    {
        use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
        let own = nix::unistd::geteuid().as_raw();
        getsockopt(&stream.as_fd(), PeerCredentials).is_ok_and(|peer| [own, 0].contains(&peer.uid()))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = stream.as_fd();
        true
    }
}
