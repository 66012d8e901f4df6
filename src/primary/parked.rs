//! Connections between requests that no worker has, because the one that kept them has left or died. The next request
//! goes to whoever is idle.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connection::{Origin, Pending};
use super::silent::SilentConnections;
use super::{Context, Event, Primary, Source, Timer};
use crate::error::Error;
use crate::ids::ServerId;
use crate::os;
use crate::reactor::EventSink;

/// How many that have become readable are handed out in one turn.
const BUDGET: usize = 256;

/// The connections that no worker has.
pub type ParkedConnections = SilentConnections<ParkedConnection>;

/// One of them.
#[derive(Debug)]
pub struct ParkedConnection {
    fd: OwnedFd,
    server: ServerId,
}

impl AsFd for ParkedConnection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// None yet.
pub fn no_parked_connections() -> ParkedConnections {
    SilentConnections::new(Source::Parked, Timer::CloseParked)
}

impl ParkedConnections {
    /// Holds a connection until its client sends something, closes it, or has said nothing for `timeout`.
    ///
    /// Errors: `EMFILE`, `ENOMEM`; the connection is closed.
    pub fn park(
        &mut self,
        context: &mut Context,
        fd: OwnedFd,
        server: ServerId,
        timeout: Option<Duration>,
    ) -> Result<(), Error> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        self.add(context, ParkedConnection { fd, server }, deadline).map_err(|(_, error)| error)
    }

    /// Holds none any longer: all, with their servers.
    pub fn take_all(&mut self) -> impl Iterator<Item = (ServerId, OwnedFd)> + use<> {
        self.remove_all(|_| true).into_iter().map(|ParkedConnection { fd, server }| (server, fd))
    }

    /// Closes those of a server that has gone.
    pub fn close_of(&mut self, server: ServerId) {
        drop(self.remove_all(|connection| connection.server == server));
    }
}

impl<S: EventSink<Event>> Primary<S> {
    /// Requests have arrived on connections that no worker has.
    pub(super) fn serve_parked(&mut self, context: &mut Context) {
        for number in self.parked.ready(BUDGET) {
            let Some(ParkedConnection { fd, server: id }) = self.parked.remove(number) else { continue };
            let Ok(peer) = os::peer(fd.as_fd()) else { continue };
            if os::has_ended(fd.as_fd()) {
                continue;
            }
            let fd = Arc::new(fd);
            self.arrive(context, id, Pending::new(fd, peer, Origin::Kept));
        }
    }
}
