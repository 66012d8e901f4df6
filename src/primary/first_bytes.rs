//! Looks at the first bytes of connections, where a server knows its clients by these.
//!
//! A client that sends slowly or nothing is waited for until the deadline, and is known by its address then. So is the one
//! that has been waited for longest when there are too many. No other client is kept waiting by that: those that are looked
//! at do not count among those that wait for a worker.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use super::connection::Pending;
use super::silent::SilentConnections;
use super::{Context, Event, Primary, Source, Timer};
use crate::ids::ServerId;
use crate::reactor::EventSink;
use crate::sched::{SessionMaker, StickyChoice};
use crate::seen::{self, Seen};

/// How many are looked at again in one turn.
const BUDGET: usize = 256;

/// How often a connection is looked at before its deadline. Each look goes through all that has arrived, and a client may
/// send every byte by itself.
pub const MAX_LOOKS: u32 = 64;

/// A connection whose first bytes are awaited.
#[derive(Debug)]
pub struct Awaited {
    connection: Pending,
    server: ServerId,
    looks: u32,
}

impl AsFd for Awaited {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.fd.as_fd()
    }
}

/// The connections whose first bytes are awaited, and the memory in which one after the other is looked at.
#[derive(Debug)]
pub struct FirstBytes {
    awaited: SilentConnections<Awaited>,
    buffer: Vec<u8>,
}

impl FirstBytes {
    /// None are awaited.
    pub fn new() -> Self {
        let awaited = SilentConnections::new(Source::FirstBytes, Timer::FirstBytesDeadline);
        FirstBytes { awaited, buffer: Vec::new() }
    }

    /// Whether a turn has left something to be looked at.
    pub fn is_ready(&self) -> bool {
        self.awaited.is_ready()
    }

    /// Looks at what has arrived on a connection.
    pub fn look(&mut self, connection: BorrowedFd<'_>, choice: &StickyChoice, maker: &SessionMaker) -> Seen {
        seen::look(&mut self.buffer, connection, choice, maker)
    }

    /// Closes those of a server that has gone.
    pub fn close_of(&mut self, server: ServerId) {
        drop(self.awaited.remove_all(|awaited| awaited.server == server));
    }
}

impl<S: EventSink<Event>> Primary<S> {
    /// A connection has come for a server that knows its clients by their first bytes.
    pub(super) fn look_first(
        &mut self,
        context: &mut Context,
        id: ServerId,
        connection: Pending,
        choice: &StickyChoice,
    ) {
        let fd = connection.fd.as_fd();
        let seen = self.first_bytes.look(fd, choice, &self.homes.maker);
        if seen != Seen::Incomplete {
            return self.on_seen(context, id, connection, seen);
        }
        if self.first_bytes.awaited.len() >= self.config.max_first_bytes
            && let Some(oldest) = self.first_bytes.awaited.take_first()
        {
            self.found(context, oldest, Seen::Late);
        }
        let awaited = Awaited { connection, server: id, looks: 1 };
        match self.first_bytes.awaited.add(context, awaited, Some(Instant::now() + choice.deadline)) {
            Ok(()) => {
                if let Some(server) = self.servers.get(&id) {
                    server.stats.counters.first_bytes_awaited.raise();
                }
            }
            Err((Awaited { connection, .. }, error)) => {
                self.sink.push(Event::Fault(error));
                self.on_seen(context, id, connection, Seen::Late);
            }
        }
    }

    fn found(&mut self, context: &mut Context, awaited: Awaited, seen: Seen) {
        let Awaited { connection, server: id, .. } = awaited;
        if let Some(server) = self.servers.get(&id) {
            server.stats.counters.first_bytes_awaited.lower();
        }
        self.on_seen(context, id, connection, seen);
    }

    /// Something has arrived on connections whose first bytes are awaited.
    pub(super) fn look_again(&mut self, context: &mut Context) {
        for number in self.first_bytes.awaited.ready(BUDGET) {
            let FirstBytes { awaited, buffer } = &mut self.first_bytes;
            let Some(one) = awaited.get_mut(number) else { continue };
            one.looks += 1;
            let seen = match self.servers.get(&one.server).and_then(|server| server.sticky()) {
                Some(_) if one.looks > MAX_LOOKS => Seen::Incomplete,
                Some(choice) => seen::look(buffer, one.as_fd(), choice, &self.homes.maker),
                // The policy has changed meanwhile.
                None => Seen::Nothing,
            };
            if seen != Seen::Incomplete
                && let Some(awaited) = awaited.remove(number)
            {
                self.found(context, awaited, seen);
            }
        }
    }

    /// Deadlines are over.
    pub(super) fn stop_looking_at_late(&mut self, context: &mut Context) {
        for awaited in self.first_bytes.awaited.take_expired(context) {
            let choice = self.servers.get(&awaited.server).and_then(|server| server.sticky());
            // Of a client that sends many small parts, not every one was looked at.
            let seen = choice.map(|choice| self.first_bytes.look(awaited.as_fd(), choice, &self.homes.maker));
            let seen = seen.filter(|seen| *seen != Seen::Incomplete);
            self.found(context, awaited, seen.unwrap_or(Seen::Late));
        }
    }
}
