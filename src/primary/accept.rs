//! Accepting connections at the servers of the primary, never more than the bound.

use std::os::fd::AsFd;
use std::sync::Arc;

use super::connection::Pending;
use super::server::{Mode, Server};
use super::{Context, Event, Primary, Timer};
use crate::ids::ServerId;
use crate::reactor::{ACCEPT_BUDGET, Acceptor, EventSink, Next};

impl<S: EventSink<Event>> Primary<S> {
    /// Accepts while there is something to accept and room for it, and hands out connections as it goes.
    pub(super) fn accept(&mut self, context: &mut Context, id: ServerId) {
        for _ in 0..ACCEPT_BUDGET {
            let Some(server) = self.servers.get_mut(&id) else { return };
            let has_room = server.not_taken() < self.config.max_pending;
            let Mode::Primary(acceptor) = &mut server.mode else { return };
            if !has_room {
                // At the bound the server stays ready. Whatever makes room calls this again.
                return self.await_reports(context, id);
            }
            let socket = server.socket.as_fd();
            match acceptor.next(context, socket, Timer::Accept(id), &mut self.exhaustion) {
                Next::Connection(accepted) => {
                    server.stats.counters.accepted.count();
                    let fd = Arc::new(accepted.connection);
                    server.pending.push_back(Pending { fd, peer: accepted.peer, refused_by: Vec::new() });
                    self.dispatch(context, id);
                }
                Next::GaveUp => {}
                Next::Nothing => return,
                Next::Exhausted(error) => return self.sink.push(Event::AcceptPaused(error)),
                Next::Failed(error) => return self.sink.push(Event::Fault(error)),
            }
        }
        self.to_serve.insert(id);
    }

    /// Accepts at the end of this turn, if an event makes a server ready.
    pub(super) fn accept_soon(&mut self, id: ServerId, becomes_ready: impl FnOnce(&mut Acceptor) -> bool) {
        if let Some(Server { mode: Mode::Primary(acceptor), .. }) = self.servers.get_mut(&id)
            && becomes_ready(acceptor)
        {
            self.to_serve.insert(id);
        }
    }
}
