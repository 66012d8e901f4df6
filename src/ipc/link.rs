//! Channels: what their drivers leave to [`Ipc`].

use std::os::fd::AsFd;
use std::sync::Arc;

use super::side::Side;
use super::{Context, Event, Ipc, Source, Terms, Timer};
use crate::channel::{
    Channel, ChannelEvent, ChannelTimer, Driver, Emit, Extent, Inbox, Outcome, Owner, Protocol, Recipient,
};
use crate::error::Error;
use crate::ids::ChannelId;
use crate::reactor::{EventSink, Registration};

/// A channel after its handshake.
#[derive(Debug)]
pub struct Link {
    pub driver: Driver,
    /// None if it was adopted, see [`super::Command::Adopt`].
    side: Option<Side>,
}

impl Link {
    /// For a channel that is registered for reading.
    pub fn new(channel: Channel, side: Side, registration: Registration, terms: Terms) -> Self {
        let inbox = Inbox::new(terms.serialization, terms.max_message);
        Link { driver: Driver::new(Arc::new(channel), inbox, registration), side: Some(side) }
    }
}

/// The owner of one channel, while its driver is in use.
pub(super) struct LinkOwner<'a, S> {
    pub id: ChannelId,
    pub side: Option<Side>,
    pub sink: &'a mut S,
    pub unread: &'a mut Vec<ChannelId>,
}

impl<S: EventSink<Event>> Emit for LinkOwner<'_, S> {
    fn emit(&mut self, event: ChannelEvent) {
        self.sink.push(Event::Channel(self.id, event));
    }
}

impl<S: EventSink<Event>> Owner for LinkOwner<'_, S> {
    type Timer = Timer;
    type Source = Source;

    fn timer(&self, timer: ChannelTimer) -> Timer {
        Timer::Link(self.id, timer)
    }

    fn source(&self) -> Source {
        Source::Link(self.id)
    }

    fn read_at_turn_end(&mut self) {
        self.unread.push(self.id);
    }
}

impl<S: EventSink<Event>> Recipient for LinkOwner<'_, S> {
    const PROTOCOL: Protocol = Protocol::None;

    /// On an adopted channel, Node itself has sent handles on the socket with which it began, and waits for
    /// these.
    fn passes_on_stray_acks(&self) -> bool {
        self.side.is_none()
    }
}

impl<S: EventSink<Event>> Ipc<S> {
    /// Has the driver of a channel do something, and does what that leaves to the owner.
    pub(super) fn drive(
        &mut self,
        context: &mut Context,
        id: ChannelId,
        work: impl FnOnce(&mut Driver, &mut Context, &mut LinkOwner<'_, S>) -> Outcome,
    ) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let (sink, unread) = (&mut self.sink, &mut self.unread);
        match work(&mut link.driver, context, &mut LinkOwner { id, side: link.side, sink, unread }) {
            Outcome::Done => {}
            Outcome::Read(extent) => self.read(context, id, extent),
            Outcome::Over(cause) => self.close_link(context, id, cause),
        }
    }

    /// Reads what has arrived.
    pub(super) fn read(&mut self, context: &mut Context, id: ChannelId, extent: Extent) {
        let channels = self.links.len();
        self.drive(context, id, |driver, context, owner| driver.read(context, owner, extent, channels));
    }

    /// Takes over one end of a channel. `max_frame` is the longest frame that the other end may send.
    pub(super) fn adopt(
        &mut self,
        context: &mut Context,
        id: ChannelId,
        channel: Arc<Channel>,
        max_frame: usize,
    ) {
        match Registration::new(context, channel.as_fd(), Source::Link(id)) {
            Ok(registration) => {
                let mut inbox = Inbox::new(channel.serialization(), max_frame);
                inbox.accept_attachments();
                let driver = Driver::new(channel, inbox, registration);
                self.links.insert(id, Link { driver, side: None });
            }
            Err(error) => self.emit(id, ChannelEvent::Closed(Some(error))),
        }
    }

    /// The peer is known to have gone: reads all that it has left behind, however much is undelivered.
    pub(super) fn read_all(&mut self, context: &mut Context, id: ChannelId) {
        self.read(context, id, Extent::Left);
        self.close_link(context, id, None);
    }

    /// Forgets a channel.
    pub(super) fn close_link(&mut self, context: &mut Context, id: ChannelId, cause: Option<Error>) {
        let Some(Link { driver, side }) = self.links.remove(&id) else { return };
        if let Some(side) = side {
            self.release(side);
        }
        let (sink, unread) = (&mut self.sink, &mut self.unread);
        driver.close(context, &mut LinkOwner { id, side, sink, unread }, cause);
    }
}
