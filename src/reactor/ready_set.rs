//! Descriptors whose readiness is asked for now and then, instead of waking the thread.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::error::Error;

/// How many are reported at once at most.
const AT_ONCE: usize = 64;

/// A set of descriptors, each with a number by which its readiness is reported: once for each arrival, and only if it is
/// still to be read when that is asked for. What a question costs depends on how many have become ready, not on how many
/// there are.
#[derive(Debug)]
pub struct ReadySet {
    poll: Poll,
    events: Events,
}

impl ReadySet {
    /// Errors: `EMFILE`, `ENFILE`, `ENOMEM`.
    pub fn new() -> Result<Self, Error> {
        let poll = Poll::new().map_err(Error::io("making a poller"))?;
        Ok(ReadySet { poll, events: Events::with_capacity(AT_ONCE) })
    }

    /// Adds a descriptor, which its owner keeps open until it has removed it.
    ///
    /// Errors: `ENOMEM`, `ENOSPC`; `EPERM` for a descriptor that cannot be polled.
    pub fn add(&self, fd: BorrowedFd<'_>, number: usize) -> Result<(), Error> {
        self.poll
            .registry()
            .register(&mut SourceFd(&fd.as_raw_fd()), Token(number), Interest::READABLE)
            .map_err(Error::io("registering a descriptor"))
    }

    /// Removes a descriptor.
    pub fn remove(&self, fd: BorrowedFd<'_>) {
        // The one failure there is, a descriptor that is not in it, is what the caller wants.
        let _ = self.poll.registry().deregister(&mut SourceFd(&fd.as_raw_fd()));
    }

    /// The numbers of some that have become readable, or whose peers have gone. Empty if there are no more.
    pub fn ready(&mut self) -> impl Iterator<Item = usize> {
        if self.poll.poll(&mut self.events, Some(Duration::ZERO)).is_err() {
            // EINTR: nothing has been reported, and is the next time.
            self.events.clear();
        }
        self.events.iter().map(|event| event.token().0)
    }
}

impl AsRawFd for ReadySet {
    fn as_raw_fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn ready(set: &mut ReadySet) -> Vec<usize> {
        set.ready().collect()
    }

    #[test]
    fn readiness_is_reported_once_for_each_arrival_and_not_if_somebody_else_has_read() {
        let mut set = ReadySet::new().unwrap();
        let (mut client, mut server) = UnixStream::pair().unwrap();
        set.add(server.as_fd(), 5).unwrap();
        assert!(ready(&mut set).is_empty());
        client.write_all(b"1").unwrap();
        assert_eq!(ready(&mut set), [5]);
        assert!(ready(&mut set).is_empty());
        client.write_all(b"2").unwrap();
        server.read_exact(&mut [0; 2]).unwrap();
        assert!(ready(&mut set).is_empty());
        drop(client);
        assert_eq!(ready(&mut set), [5]);
        set.remove(server.as_fd());
    }
}
