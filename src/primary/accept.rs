//! Accepting connections at the servers of the primary, never more than the bound.

use std::sync::Arc;

use super::connection::{Origin, Pending};
use super::handover::Accepting;
use super::siblings::SlotIndex;
use super::{Context, Event, Primary};
use crate::ids::ServerId;
use crate::reactor::{ACCEPT_BUDGET, Acceptor, EventSink, Next};

impl<S: EventSink<Event>> Primary<S> {
    /// Accepts while there is something to accept and room for it, and hands out connections as it goes.
    pub(super) fn accept(&mut self, context: &mut Context, id: ServerId) {
        if self.accepting != Accepting::Now {
            return;
        }
        for _ in 0..ACCEPT_BUDGET {
            let Some(server) = self.servers.get_mut(&id) else { return };
            let has_room = server.not_taken() < self.config.max_pending;
            if !has_room {
                // At the bound the server stays ready. Whatever makes room calls this again.
                return self.await_reports(context, id);
            }
            let (next, in_place_of) = server.accept(context, id, &mut self.exhaustion);
            match next {
                Next::Connection(accepted) => {
                    server.stats.counters.accepted.count();
                    if let Some(worker) = in_place_of.and_then(|worker| self.workers.get(&worker)) {
                        worker.stats.counters.rescued.count();
                    }
                    let fd = Arc::new(accepted.connection);
                    self.arrive(context, id, Pending::new(fd, accepted.peer, Origin::Accepted));
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
    pub(super) fn accept_soon(&mut self, id: ServerId, becomes_ready: fn(&mut Acceptor) -> bool) {
        let Some(server) = self.servers.get_mut(&id) else { return };
        let acceptors = server.mode.acceptors_mut();
        if acceptors.map(becomes_ready).fold(false, |any, ready| any | ready) {
            self.to_serve.insert(id);
        }
    }

    /// The same where the primary accepts in the place of a worker.
    pub(super) fn accept_sibling_soon(&mut self, id: ServerId, slot: SlotIndex) {
        let Some(server) = self.servers.get_mut(&id) else { return };
        if server.mode.sibling_mut(slot).is_some_and(Acceptor::on_ready) {
            self.to_serve.insert(id);
        }
    }
}
