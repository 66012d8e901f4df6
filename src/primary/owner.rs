//! The primary as the owner of its workers' channels: what [`Driver`] leaves to it.

use super::worker::Phase;
use super::{Context, Event, Primary, Source, Timer};
use crate::channel::{
    ChannelCommand, ChannelEvent, ChannelTimer, Driver, Emit, Extent, HandleOrigin, Outcome, Owner, Protocol,
    Recipient,
};
use crate::error::Error;
use crate::ids::WorkerId;
use crate::proto::Kind;
use crate::reactor::{EventSink, Readiness};

/// The owner of one worker's channel, while its driver is in use.
pub(super) struct ChannelOwner<'a, S> {
    pub id: WorkerId,
    pub sink: &'a mut S,
    pub unread: &'a mut Vec<WorkerId>,
}

impl<S: EventSink<Event>> Emit for ChannelOwner<'_, S> {
    fn emit(&mut self, event: ChannelEvent) {
        self.sink.push(Event::Channel(self.id, event));
    }
}

impl<S: EventSink<Event>> Owner for ChannelOwner<'_, S> {
    type Timer = Timer;
    type Source = Source;

    fn timer(&self, timer: ChannelTimer) -> Timer {
        Timer::Channel(self.id, timer)
    }

    fn source(&self) -> Source {
        Source::Worker(self.id)
    }

    fn read_at_turn_end(&mut self) {
        self.unread.push(self.id);
    }
}

/// The primary while it reads a worker's channel.
struct Reader<'a, S> {
    primary: &'a mut Primary<S>,
    context: &'a mut Context,
    id: WorkerId,
}

impl<S: EventSink<Event>> Emit for Reader<'_, S> {
    fn emit(&mut self, event: ChannelEvent) {
        self.primary.sink.push(Event::Channel(self.id, event));
    }
}

impl<S: EventSink<Event>> Recipient for Reader<'_, S> {
    const PROTOCOL: Protocol = Protocol::Cluster;

    fn frame(&mut self, kind: Kind, bytes: &[u8]) -> Result<(), Error> {
        match kind {
            Kind::Connect => self.primary.on_connect(self.context, self.id, bytes)?,
            _ => self.primary.on_cluster_frame(self.context, self.id, bytes)?,
        }
        self.primary.reads_answers(self.id)
    }

    fn arrived(&mut self, origin: HandleOrigin) -> Result<(), Error> {
        if let HandleOrigin::Peer(peer) = origin {
            self.primary.on_peer_arrived(self.context, self.id, peer);
        }
        self.primary.reads_answers(self.id)
    }

    fn lost(&mut self, origin: HandleOrigin) -> Result<(), Error> {
        match origin {
            HandleOrigin::Connection(seq) => self.primary.on_connection_lost(self.id, seq),
            HandleOrigin::Peer(peer) => self.primary.on_peer_lost(self.context, self.id, peer),
            HandleOrigin::Reply | HandleOrigin::User | HandleOrigin::Memory => {}
        }
        self.primary.reads_answers(self.id)
    }
}

impl<S: EventSink<Event>> Primary<S> {
    /// Has the driver of a worker's channel do something, and does what that leaves to the primary.
    pub(super) fn drive(
        &mut self,
        context: &mut Context,
        id: WorkerId,
        work: impl FnOnce(&mut Driver, &mut Context, &mut ChannelOwner<'_, S>) -> Outcome,
    ) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let mut owner = ChannelOwner { id, sink: &mut self.sink, unread: &mut self.unread };
        match work(&mut worker.driver, context, &mut owner) {
            Outcome::Done => {}
            Outcome::Read(extent) => self.read(context, id, extent),
            Outcome::Over(cause) => self.close_worker(context, id, cause),
        }
    }

    /// Reads what a worker has sent.
    pub(super) fn read(&mut self, context: &mut Context, id: WorkerId, extent: Extent) {
        let workers = self.workers.len();
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let mut reading = match worker.driver.begin_read(context, extent, workers) {
            Ok(Some(reading)) => reading,
            Ok(None) => return,
            Err(error) => return self.close_worker(context, id, Some(error)),
        };
        reading.run(&mut Reader { primary: self, context, id });
        self.drive(context, id, |driver, context, owner| driver.end_read(context, owner, reading));
        // Acknowledgements have made room for connections, too.
        self.serve_soon(id);
    }

    /// Errors: the worker does not read the answers to what it asks.
    fn reads_answers(&mut self, id: WorkerId) -> Result<(), Error> {
        self.unanswerable.remove(&id).map_or(Ok(()), Err)
    }

    pub(super) fn on_channel_ready(&mut self, context: &mut Context, id: WorkerId, readiness: Readiness) {
        if readiness.readable {
            self.drive(context, id, |driver, context, owner| {
                driver.on_readable(context, owner, readiness.ended)
            });
        }
        if readiness.writable {
            self.flush(context, id);
        }
    }

    pub(super) fn on_channel_command(
        &mut self,
        context: &mut Context,
        id: WorkerId,
        command: ChannelCommand,
    ) {
        self.drive(context, id, |driver, context, owner| driver.on_command(context, owner, command));
    }

    pub(super) fn on_channel_timer(&mut self, context: &mut Context, id: WorkerId, timer: ChannelTimer) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if worker.phase == Phase::Leaving || !worker.in_flight.is_empty() {
            // It is about to say more than messages.
            worker.driver.disturb();
        }
        self.drive(context, id, |driver, context, owner| driver.on_timer(context, owner, timer));
    }

    /// Writes what waits for a worker.
    pub(super) fn flush(&mut self, context: &mut Context, id: WorkerId) {
        self.drive(context, id, |driver, context, owner| driver.flush(context, owner));
    }

    /// From now on the reactor reads the channel, however busy JavaScript is.
    pub(super) fn take_back(&mut self, context: &mut Context, id: WorkerId) {
        self.drive(context, id, |driver, context, owner| driver.take_back(context, owner));
    }
}
