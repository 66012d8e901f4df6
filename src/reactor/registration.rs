//! A descriptor for whose readiness the reactor waits.

use std::os::fd::AsRawFd;

use super::context::{Context, Interest, Token};
use crate::error::Error;

/// A descriptor's registration with the reactor. The owner of both keeps the descriptor open until it has
/// called [`Registration::end`].
#[derive(Debug)]
pub struct Registration {
    token: Token,
    interest: Interest,
}

impl Registration {
    /// Waits for something to read from now on; the handler hears of it as `source`.
    ///
    /// Errors: `ENOMEM`, `ENOSPC`; `EPERM` for a descriptor that cannot be polled.
    pub fn new<T, S>(
        context: &mut Context<T, S>,
        fd: impl AsRawFd,
        source: S,
    ) -> Result<Registration, Error> {
        let interest = Interest::Read;
        Ok(Registration { token: context.register(fd, interest, source)?, interest })
    }

    /// For tests of its owners: the reactor knows nothing of it.
    #[cfg(test)]
    pub fn unknown() -> Registration {
        Registration { token: Token::WAKER, interest: Interest::Read }
    }

    /// What it waits for.
    pub fn interest(&self) -> Interest {
        self.interest
    }

    /// Changes what it waits for. Readiness that exists already is reported again.
    ///
    /// Errors: `ENOMEM`.
    pub fn wait_for<T, S>(
        &mut self,
        context: &mut Context<T, S>,
        fd: impl AsRawFd,
        interest: Interest,
    ) -> Result<(), Error> {
        if std::mem::replace(&mut self.interest, interest) == interest {
            return Ok(());
        }
        context.reregister(fd, self.token, interest)
    }

    /// The handler hears of it as `source` from now on.
    pub fn set_source<T, S>(&self, context: &mut Context<T, S>, source: S) {
        context.set_source(self.token, source);
    }

    /// Waits for nothing until [`Registration::resume`].
    pub fn pause<T, S>(&self, context: &mut Context<T, S>, fd: impl AsRawFd) {
        context.pause(fd);
    }

    /// Waits again for what it waited for. Readiness that exists already is reported.
    ///
    /// Errors: as [`Registration::new`].
    pub fn resume<T, S>(&self, context: &mut Context<T, S>, fd: impl AsRawFd) -> Result<(), Error> {
        context.resume(fd, self.token, self.interest)
    }

    /// Waits for nothing any more. Readiness that has been seen in this turn and not been handled is dropped.
    pub fn end<T, S>(&self, context: &mut Context<T, S>, fd: impl AsRawFd) {
        context.deregister(fd, self.token);
    }
}
