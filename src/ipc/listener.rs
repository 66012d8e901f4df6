//! Listening sockets and the connections that they accept.

use std::os::fd::AsFd;
use std::time::Duration;

use super::side::Side;
use super::untaken::{Refusals, Tickets, WINDOW};
use super::{Context, Event, Ipc, Source, Terms, Timer};
use crate::error::Error;
use crate::ids::{ChannelId, ListenerId};
use crate::os::{self, Bound, Credentials};
use crate::reactor::{ACCEPT_BUDGET, Acceptor, EventSink, Next};

/// So many channels of one listener JavaScript need not have heard of before no more are accepted: who connects, and leaves, is not to
/// fill this process while it is busy.
const MAX_UNMET: usize = 512;
/// Each has a descriptor, also when it has left: no more than one of so many that this process may have is theirs.
const UNMET_SHARE: usize = 8;
/// How long accepting pauses then. JavaScript takes what there is without telling.
const UNMET_PAUSE: Duration = Duration::from_millis(10);

/// A socket that this process listens at.
#[derive(Debug)]
pub struct Listener {
    bound: Bound,
    acceptor: Acceptor,
    /// What its channels are like.
    pub terms: Terms,
    /// How many connections there may be.
    pub max_connections: usize,
    /// How many there are, those that have not been greeted among them.
    pub connections: usize,
    /// Those that got no channel.
    pub refusals: Refusals,
    /// Channels that JavaScript has not heard of.
    pub unmet: Tickets,
    /// How many processes of other users JavaScript has been asked about and has not decided on.
    pub asking: usize,
}

/// How many channels of one listener JavaScript need not have heard of, in a process that may have so many descriptors.
pub fn max_unmet(descriptors: usize) -> usize {
    (descriptors / UNMET_SHARE).clamp(1, MAX_UNMET)
}

impl<S: EventSink<Event>> Ipc<S> {
    pub(super) fn listen(
        &mut self,
        context: &mut Context,
        id: ListenerId,
        bound: Bound,
        terms: Terms,
        max_connections: usize,
    ) {
        match Acceptor::new(context, bound.socket.as_fd(), Source::Listener(id)) {
            Ok(acceptor) => {
                let listener = Listener {
                    bound,
                    acceptor,
                    terms,
                    max_connections,
                    connections: 0,
                    refusals: Refusals::default(),
                    unmet: Tickets::default(),
                    asking: 0,
                };
                self.listeners.insert(id, listener);
            }
            Err(error) => self.sink.push(Event::Fault(error)),
        }
    }

    /// Closes the socket. Who has connected and was not greeted yet is sent away.
    pub(super) fn close_listener(&mut self, context: &mut Context, id: ListenerId) {
        let Some(listener) = self.listeners.remove(&id) else { return };
        listener.acceptor.end(context, listener.bound.socket.as_fd());
        let guests: Vec<ChannelId> = self
            .guests
            .iter()
            .filter(|(_, guest)| guest.side == Side::Server(id))
            .map(|(channel, _)| *channel)
            .collect();
        for guest in guests {
            self.abandon(context, guest, None);
        }
    }

    /// Accepts while there is something to accept, unless JavaScript is behind.
    pub(super) fn accept(&mut self, context: &mut Context, id: ListenerId) {
        let max_unmet = max_unmet(os::descriptor_limit());
        for _ in 0..ACCEPT_BUDGET {
            let Some(listener) = self.listeners.get_mut(&id) else { return };
            if listener.unmet.outstanding() >= max_unmet {
                // JavaScript is busy. The kernel's backlog takes over.
                return listener.acceptor.pause(context, UNMET_PAUSE, Timer::Accept(id));
            }
            let socket = listener.bound.socket.as_fd();
            match listener.acceptor.next(context, socket, Timer::Accept(id), &mut self.exhaustion) {
                Next::Connection(accepted) => {
                    let channel = self.next_accepted();
                    self.welcome(context, channel, Side::Server(id), accepted.connection);
                }
                Next::GaveUp => {}
                Next::Nothing => return,
                Next::Exhausted(error) => return self.sink.push(Event::AcceptPaused(error)),
                Next::Failed(error) => return self.sink.push(Event::Fault(error)),
            }
        }
        self.to_accept.insert(id);
    }

    /// Accepts at the end of this turn, if what has happened makes a listener ready for that.
    pub(super) fn accept_soon(&mut self, id: ListenerId, becomes_ready: impl FnOnce(&mut Acceptor) -> bool) {
        if self.listeners.get_mut(&id).is_some_and(|listener| becomes_ready(&mut listener.acceptor)) {
            self.to_accept.insert(id);
        }
    }

    /// Tells that somebody got no channel; together with others, when there are many.
    pub(super) fn refuse(&mut self, context: &mut Context, id: ListenerId, peer: Credentials, error: Error) {
        let Some(listener) = self.listeners.get_mut(&id) else { return };
        if let Some(refused) = listener.refusals.add(peer, error) {
            self.sink.push(Event::Refused { listener: id, refused });
        }
        if listener.refusals.begins_window() {
            context.set_timer(WINDOW, Timer::TellRefusals(id));
        }
    }

    /// Tells those that were only counted.
    pub(super) fn tell_refusals(&mut self, context: &mut Context, id: ListenerId) {
        let Some(listener) = self.listeners.get_mut(&id) else { return };
        for refused in listener.refusals.end_window() {
            self.sink.push(Event::Refused { listener: id, refused });
        }
        if listener.refusals.begins_window() {
            context.set_timer(WINDOW, Timer::TellRefusals(id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_and_goes_used_up_the_descriptors_of_a_process_that_may_have_few() {
        assert_eq!(max_unmet(200), 25);
        assert_eq!(max_unmet(1), 1);
        assert_eq!(max_unmet(1 << 20), MAX_UNMET);
    }
}
