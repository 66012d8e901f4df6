//! The lane that a worker shares with others, as its event loop reads it.

use std::os::fd::AsRawFd;
use std::rc::{Rc, Weak};

use super::Watched;
use crate::binding::uv::Watch;
use crate::pulse::SharedClaim;
use crate::worker::{Connection, Received};

impl Watched {
    /// Receives one connection from the shared lane, if nobody else was faster. The next is for whoever is idle first, which is
    /// this worker if it has nothing to do in its next turn.
    pub(super) fn receive_shared(self: &Rc<Self>) {
        if self.watch_shared.borrow().is_none() {
            return;
        }
        let received = self.lane.borrow_mut().receive_shared();
        match received {
            Ok(Received::Connection(connection)) => self.serve_shared(connection),
            Ok(Received::Nothing) => {}
            // The primary has made another, or has gone.
            Ok(Received::Ended) | Err(_) => drop(self.watch_shared.take()),
        }
    }

    pub(super) fn serve_shared(self: &Rc<Self>, connection: Connection) {
        let seq = connection.seq;
        let is_refused = !self.serve(connection);
        // If the primary has gone there is nobody to tell.
        let _ = self.lane.borrow_mut().claim_shared(SharedClaim { seq, is_refused });
    }

    /// Begins to read a shared lane that the primary has offered.
    pub(super) fn read_shared_soon(self: &Rc<Self>) {
        if self.watch.borrow().is_none() || !self.lane.borrow().has_offer() {
            return;
        }
        // Before its descriptor is closed.
        drop(self.watch_shared.take());
        let Some(fd) = self.lane.borrow_mut().accept_offer().map(|shared| shared.as_raw_fd()) else { return };
        let weak = Rc::downgrade(self);
        let on_readable = move || {
            if let Some(watched) = Weak::upgrade(&weak) {
                watched.on_shared_readable();
            }
        };
        // Without a watch, what the others do not take is given to this worker on its own lane.
        if let Ok(watch) = Watch::new(&self.env, fd, on_readable) {
            watch.start();
            *self.watch_shared.borrow_mut() = Some(watch);
        }
    }
}
