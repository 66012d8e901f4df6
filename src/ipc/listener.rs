//! Listening sockets and the connections that they accept.

use std::os::fd::AsFd;
use std::time::Duration;

use super::refusals::{Refusals, WINDOW};
use super::side::Side;
use super::{Context, Event, Ipc, Source, Terms, Timer};
use crate::error::Error;
use crate::ids::{ChannelId, ListenerId};
use crate::os::{self, Bound, Credentials};
use crate::reactor::{ACCEPT_BUDGET, Acceptor, EventSink, Next, Tickets};

/// How many channels of one listener may wait for JavaScript before accepting pauses: clients that connect
/// and leave do not fill a busy process.
const MAX_UNDELIVERED: usize = 512;
/// They may have one of so many of this process's descriptors. Each has one, also after its client has left.
const UNDELIVERED_SHARE: usize = 8;
/// How long accepting pauses then. JavaScript does not report when it has taken them.
const UNDELIVERED_PAUSE: Duration = Duration::from_millis(10);

/// A socket that this process listens at.
#[derive(Debug)]
pub struct Listener {
    bound: Bound,
    acceptor: Acceptor,
    /// What its channels are like.
    pub terms: Terms,
    /// How many connections there may be.
    pub max_connections: usize,
    /// How many there are, pending handshakes included.
    pub connections: usize,
    /// Connections that did not become channels.
    pub refusals: Refusals,
    /// Channels whose event JavaScript has not taken.
    pub undelivered: Tickets,
    /// How many questions about processes of other users wait for JavaScript.
    pub asking: usize,
}

/// How many channels of one listener may wait for JavaScript, in a process that may have so many descriptors.
pub fn max_undelivered(descriptors: usize) -> usize {
    (descriptors / UNDELIVERED_SHARE).clamp(1, MAX_UNDELIVERED)
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
                    undelivered: Tickets::default(),
                    asking: 0,
                };
                self.listeners.insert(id, listener);
            }
            Err(error) => self.sink.push(Event::Fault(error)),
        }
    }

    /// Closes the socket and ends the pending handshakes. Channels stay.
    pub(super) fn close_listener(&mut self, context: &mut Context, id: ListenerId) {
        let Some(listener) = self.listeners.remove(&id) else { return };
        listener.acceptor.end(context, listener.bound.socket.as_fd());
        let pending = self.handshakes.iter().filter(|(_, handshake)| handshake.side == Side::Server(id));
        for channel in pending.map(|(channel, _)| *channel).collect::<Vec<ChannelId>>() {
            self.abandon(context, channel, None);
        }
    }

    /// Accepts while there is something to accept, unless JavaScript is behind.
    pub(super) fn accept(&mut self, context: &mut Context, id: ListenerId) {
        let max_undelivered = max_undelivered(os::descriptor_limit());
        for _ in 0..ACCEPT_BUDGET {
            let Some(listener) = self.listeners.get_mut(&id) else { return };
            if listener.undelivered.outstanding() >= max_undelivered {
                // JavaScript is busy. The kernel's backlog takes over.
                return listener.acceptor.pause(context, UNDELIVERED_PAUSE, Timer::Accept(id));
            }
            let socket = listener.bound.socket.as_fd();
            match listener.acceptor.next(context, socket, Timer::Accept(id), &mut self.exhaustion) {
                Next::Nothing => return,
                Next::GaveUp => {}
                Next::Connection(accepted) => {
                    let channel = self.next_accepted();
                    self.begin_handshake(context, channel, Side::Server(id), accepted.connection);
                }
                Next::Exhausted(error) => return self.sink.push(Event::AcceptPaused(error)),
                Next::Failed(error) => return self.sink.push(Event::Fault(error)),
            }
        }
        self.to_accept.insert(id);
    }

    /// Accepts at the end of this turn, if an event makes a listener ready.
    pub(super) fn accept_soon(&mut self, id: ListenerId, becomes_ready: impl FnOnce(&mut Acceptor) -> bool) {
        if self.listeners.get_mut(&id).is_some_and(|listener| becomes_ready(&mut listener.acceptor)) {
            self.to_accept.insert(id);
        }
    }

    /// Reports a connection that did not become a channel; together with others, when there are many.
    pub(super) fn report_refusal(
        &mut self,
        context: &mut Context,
        id: ListenerId,
        peer: Credentials,
        error: Error,
    ) {
        let Some(listener) = self.listeners.get_mut(&id) else { return };
        if let Some(refused) = listener.refusals.add(peer, error) {
            self.sink.push(Event::Refused { listener: id, refused });
        }
        if listener.refusals.begins_window() {
            context.set_timer(WINDOW, Timer::ReportRefusals(id));
        }
    }

    /// Reports those that were only counted.
    pub(super) fn report_counted_refusals(&mut self, context: &mut Context, id: ListenerId) {
        let Some(listener) = self.listeners.get_mut(&id) else { return };
        for refused in listener.refusals.end_window() {
            self.sink.push(Event::Refused { listener: id, refused });
        }
        if listener.refusals.begins_window() {
            context.set_timer(WINDOW, Timer::ReportRefusals(id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_and_goes_used_up_the_descriptors_of_a_process_that_may_have_few() {
        assert_eq!(max_undelivered(200), 25);
        assert_eq!(max_undelivered(1), 1);
        assert_eq!(max_undelivered(1 << 20), MAX_UNDELIVERED);
    }
}
