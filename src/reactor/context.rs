//! What a handler may ask of its reactor: registrations, timers, another turn without waiting.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use mio::Registry;
use mio::unix::SourceFd;

use super::timers::{TimerId, Timers};
use crate::error::Error;

/// Names a registered descriptor. Never used twice, so that readiness that was told for a descriptor which has been
/// closed meanwhile cannot be taken for another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(usize);

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
    /// The peer sends no more. Told together with the last bytes, and not again: reading goes on until the end.
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
    /// Also room to write. Asked for only while something waits for it: a Unix socket tells of room at every read of
    /// its peer.
    ReadWrite,
}

impl From<Interest> for mio::Interest {
    fn from(interest: Interest) -> Self {
        match interest {
            Interest::Read => mio::Interest::READABLE,
            Interest::ReadWrite => mio::Interest::READABLE | mio::Interest::WRITABLE,
        }
    }
}

/// The reactor as its handler sees it.
#[derive(Debug)]
pub struct Context {
    registry: Registry,
    timers: Timers,
    next_token: usize,
    again: bool,
}

impl Context {
    pub(super) const WAKER: Token = Token(0);

    pub(super) fn new(registry: Registry) -> Self {
        Context { registry, timers: Timers::default(), next_token: 1, again: false }
    }

    /// Waits for a descriptor from now on. The caller keeps it and calls [`Context::deregister`] before closing it.
    ///
    /// Errors: `ENOMEM`, `ENOSPC`; `EPERM` for a descriptor that cannot be polled.
    pub fn register(&mut self, fd: BorrowedFd<'_>, interest: Interest) -> Result<Token, Error> {
        let token = Token(self.next_token);
        self.next_token += 1;
        self.register_again(fd, token, interest)?;
        Ok(token)
    }

    /// As [`Context::register`], under the name that the descriptor had before it was deregistered.
    pub fn register_again(
        &mut self,
        fd: BorrowedFd<'_>,
        token: Token,
        interest: Interest,
    ) -> Result<(), Error> {
        self.registry
            .register(&mut SourceFd(&fd.as_raw_fd()), token.into(), interest.into())
            .map_err(Error::io("registering a descriptor"))
    }

    /// Changes what is waited for; readiness that exists already is told again.
    ///
    /// Errors: `ENOMEM`.
    pub fn reregister(&mut self, fd: BorrowedFd<'_>, token: Token, interest: Interest) -> Result<(), Error> {
        self.registry
            .reregister(&mut SourceFd(&fd.as_raw_fd()), token.into(), interest.into())
            .map_err(Error::io("registering a descriptor again"))
    }

    /// Stops waiting for a descriptor.
    pub fn deregister(&mut self, fd: BorrowedFd<'_>) {
        // The one failure there is, a descriptor that is not registered, is what the caller wants.
        let _ = self.registry.deregister(&mut SourceFd(&fd.as_raw_fd()));
    }

    /// Calls [`Handler::on_timer`](super::Handler::on_timer) once, `after` this long.
    pub fn set_timer(&mut self, after: Duration) -> TimerId {
        self.timers.set(Instant::now() + after)
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

    pub(super) fn next_expired(&mut self, now: Instant) -> Option<TimerId> {
        self.timers.next_expired(now)
    }
}
