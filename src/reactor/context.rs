//! What a handler may ask of its reactor: timers, another turn without waiting, and registrations
//! ([`Registration`](super::Registration)).

use std::collections::HashMap;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mio::Registry;
use mio::unix::SourceFd;

use super::timers::{TimerId, Timers};
use crate::error::Error;

/// Names a registered descriptor. Never used twice, so that readiness of a descriptor that was closed in this
/// turn is not taken for another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Token(usize);

impl Token {
    pub(super) const WAKER: Token = Token(0);
}

impl From<mio::Token> for Token {
    fn from(token: mio::Token) -> Self {
        Token(token.0)
    }
}

impl From<Token> for mio::Token {
    fn from(token: Token) -> Self {
        mio::Token(token.0)
    }
}

/// What a descriptor is ready for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// There is something to read, or the end.
    pub readable: bool,
    /// There is room to write, or nobody left to read it.
    pub writable: bool,
    /// The peer sends no more. Reported together with the last bytes, and not again: reading goes on until
    /// the end.
    pub ended: bool,
}

impl From<&mio::event::Event> for Readiness {
    fn from(event: &mio::event::Event) -> Self {
        Readiness {
            readable: event.is_readable() || event.is_read_closed() || event.is_error(),
            writable: event.is_writable() || event.is_write_closed() || event.is_error(),
            ended: event.is_read_closed() || event.is_error(),
        }
    }
}

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Bytes, connections, or the end.
    Read,
    /// Also room to write. Only for a time in which something waits to be written: a Unix socket reports room
    /// at every read of its peer.
    ReadWrite,
    /// Nothing at all. Only for a [`ReadySet`](super::ReadySet), which nobody can write.
    Nothing,
}

impl From<Interest> for mio::Interest {
    fn from(interest: Interest) -> Self {
        match interest {
            Interest::Read => mio::Interest::READABLE,
            Interest::ReadWrite => mio::Interest::READABLE | mio::Interest::WRITABLE,
            Interest::Nothing => mio::Interest::WRITABLE,
        }
    }
}

/// The reactor as its handler sees it: `T` says what a timer is for, `S` what a registered descriptor is.
#[derive(Debug)]
pub struct Context<T, S> {
    registry: Registry,
    timers: Timers<T>,
    /// Of every [`Registration`](super::Registration).
    sources: HashMap<Token, S>,
    next_token: usize,
    again: bool,
}

impl<T, S> Context<T, S> {
    pub(crate) fn new(registry: Registry) -> Self {
        Context { registry, timers: Timers::new(), sources: HashMap::new(), next_token: 1, again: false }
    }

    pub(super) fn register(
        &mut self,
        fd: impl AsRawFd,
        interest: Interest,
        source: S,
    ) -> Result<Token, Error> {
        let token = Token(self.next_token);
        self.next_token += 1;
        self.resume(fd, token, interest)?;
        self.sources.insert(token, source);
        Ok(token)
    }

    pub(super) fn reregister(
        &mut self,
        fd: impl AsRawFd,
        token: Token,
        interest: Interest,
    ) -> Result<(), Error> {
        self.registry
            .reregister(&mut SourceFd(&fd.as_raw_fd()), token.into(), interest.into())
            .map_err(Error::io("registering a descriptor again"))
    }

    pub(super) fn set_source(&mut self, token: Token, source: S) {
        self.sources.insert(token, source);
    }

    pub(super) fn pause(&mut self, fd: impl AsRawFd) {
        // The one failure there is, a descriptor that is not registered, is what the caller wants.
        let _ = self.registry.deregister(&mut SourceFd(&fd.as_raw_fd()));
    }

    pub(super) fn resume(&mut self, fd: impl AsRawFd, token: Token, interest: Interest) -> Result<(), Error> {
        self.registry
            .register(&mut SourceFd(&fd.as_raw_fd()), token.into(), interest.into())
            .map_err(Error::io("registering a descriptor"))
    }

    pub(super) fn deregister(&mut self, fd: impl AsRawFd, token: Token) {
        self.pause(fd);
        self.sources.remove(&token);
    }

    /// Calls [`Handler::on_timer`](super::Handler::on_timer) with `what` once, `after` this long.
    pub fn set_timer(&mut self, after: Duration, what: T) -> TimerId {
        self.timers.set(Instant::now() + after, what)
    }

    /// Takes a timer back before it has run out.
    pub fn cancel_timer(&mut self, timer: TimerId) {
        self.timers.cancel(timer);
    }

    /// The next turn begins at once: there is work left that needs no readiness.
    pub fn poll_again(&mut self) {
        self.again = true;
    }

    pub(super) fn begin_turn(&mut self) {
        self.again = false;
    }

    pub(super) fn timeout(&self, now: Instant) -> Option<Duration> {
        if self.again { Some(Duration::ZERO) } else { self.timers.until_next(now) }
    }

    pub(super) fn next_expired(&mut self, now: Instant) -> Option<T> {
        self.timers.next_expired(now)
    }

    /// The source of a descriptor; None if it was deregistered in this turn.
    pub(super) fn source(&self, token: Token) -> Option<S>
    where
        S: Copy,
    {
        self.sources.get(&token).copied()
    }
}
