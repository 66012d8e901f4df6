//! Taking connections off the kernel's backlog, never more than the bound.

use std::os::fd::AsFd;
use std::sync::Arc;

use nix::errno::Errno;

use super::config::{ACCEPT_BUDGET, ACCEPT_PAUSE};
use super::server::{Accepting, Pending};
use super::{Context, Event, Primary, Timer};
use crate::error::Error;
use crate::ids::ServerId;
use crate::os;
use crate::reactor::EventSink;

impl<S: EventSink<Event>> Primary<S> {
    /// Accepts while there is something to accept and room for it, handing out as it goes.
    pub(super) fn accept(&mut self, context: &mut Context, id: ServerId) {
        for _ in 0..ACCEPT_BUDGET {
            let Some(server) = self.servers.get_mut(&id) else { return };
            if server.accepting != Accepting::Ready {
                return;
            }
            if server.not_taken() >= self.config.max_pending {
                // At the bound the server stays ready; whoever makes room calls again.
                return self.await_reports(context, id);
            }
            match os::accept(server.socket.as_fd()) {
                Ok(accepted) => {
                    server.stats.accepted.count();
                    let fd = Arc::new(accepted.connection);
                    server.pending.push_back(Pending { fd, peer: accepted.peer, refused_by: Vec::new() });
                    self.dispatch(context, id);
                }
                Err(Errno::EAGAIN) => {
                    self.warned_of_exhaustion = false;
                    server.accepting = Accepting::Waiting;
                    return;
                }
                Err(errno @ (Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM)) => {
                    self.pause_accepting(context, id, errno);
                    return;
                }
                Err(errno @ (Errno::EINVAL | Errno::ENOTSOCK | Errno::EOPNOTSUPP | Errno::EBADF)) => {
                    // A descriptor that the program gave and that cannot be accepted from: nothing will ever come.
                    server.accepting = Accepting::Waiting;
                    self.sink.push(Event::Fault(Error::Sys { doing: "accepting a connection", errno }));
                    return;
                }
                // The client gave up, or its network failed: that was this connection, not the server.
                Err(_) => {}
            }
        }
        self.to_serve.insert(id);
    }

    fn pause_accepting(&mut self, context: &mut Context, id: ServerId, errno: Errno) {
        if let Some(server) = self.servers.get_mut(&id) {
            server.accepting = Accepting::Paused;
        }
        context.set_timer(ACCEPT_PAUSE, Timer::Accept(id));
        // Once, until everybody has been accepted who waited.
        if !std::mem::replace(&mut self.warned_of_exhaustion, true) {
            self.sink.push(Event::AcceptPaused(Error::Sys { doing: "accepting a connection", errno }));
        }
    }

    pub(super) fn resume_accepting(&mut self, id: ServerId) {
        if let Some(server) = self.servers.get_mut(&id)
            && server.accepting == Accepting::Paused
        {
            server.accepting = Accepting::Ready;
            self.to_serve.insert(id);
        }
    }
}
