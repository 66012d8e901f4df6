//! Messages and handles on the channels that there are.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::side::Side;
use super::{Context, Event, Ipc, Source, Terms, Timer};
use crate::channel::{
    BUSY_AFTER, Batch, Channel, ChannelEvent, Extent, FlushStatus, Format, Frame, Frames, HandleOrigin,
    Inbound, Inbox, Lending, Look, MAX_LENT, QUIET, ReadStatus, Retransmission,
};
use crate::error::Error;
use crate::ids::ChannelId;
use crate::proto::{self, HANDLE_ACK, HANDLE_NACK, Kind};
use crate::reactor::{EventSink, Interest, Registration};

/// How long a channel rests when the machine has too many descriptors under way.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(10);

/// Where a channel is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Messages go both ways.
    Open,
    /// This side has closed it; what waits is still written. Nobody wants to hear the other side any more.
    Closing,
    /// Writing has failed: its end is about to be read.
    Unreachable,
}

/// A channel and its receiving half.
#[derive(Debug)]
pub struct Link {
    /// Shared with the JavaScript thread, which sends on it.
    pub channel: Arc<Channel>,
    /// Set when a send did not get through and a timer runs.
    pub flush_deferred: bool,
    /// The receiving half; not here while it is lent.
    inbox: Option<Inbox>,
    lending: Lending,
    batch: Batch,
    /// None for one that was adopted: its two ends were made together.
    side: Option<Side>,
    registration: Registration,
    phase: Phase,
    /// JavaScript does not want to hear more for now.
    is_paused: bool,
    /// There was something to read when it could not be told.
    is_behind: bool,
}

impl Link {
    /// For a channel that is registered for reading.
    pub fn new(channel: Channel, side: Side, registration: Registration, terms: Terms) -> Self {
        let inbox = Inbox::new(terms.serialization, terms.max_message);
        Link::of(Arc::new(channel), inbox, Some(side), registration)
    }

    fn of(channel: Arc<Channel>, inbox: Inbox, side: Option<Side>, registration: Registration) -> Self {
        Link {
            channel,
            flush_deferred: false,
            inbox: Some(inbox),
            lending: Lending::default(),
            batch: Batch::default(),
            side,
            registration,
            phase: Phase::Open,
            is_paused: false,
            is_behind: false,
        }
    }

    /// Whether more may be told, being one of so many channels.
    fn may_read(&self, channels: usize) -> bool {
        self.phase == Phase::Closing || !self.is_paused && self.channel.may_read(channels)
    }
}

impl<S: EventSink<Event>> Ipc<S> {
    /// Reads what has arrived.
    pub(super) fn read(&mut self, context: &mut Context, id: ChannelId, extent: Extent) {
        if !self.reclaim(context, id) {
            return;
        }
        let channels = self.links.len();
        let Some(link) = self.links.get_mut(&id) else { return };
        if extent != Extent::Left && !link.may_read(channels) {
            link.is_behind = true;
            return;
        }
        let Link { channel, inbox: Some(inbox), lending, batch, phase, side, .. } = link else {
            return;
        };
        let (phase, side, sink) = (*phase, *side, &mut self.sink);
        let mut teller = Teller { id, channel, lending, batch, side, phase, fault: None, sink };
        let status = inbox.read(channel.as_fd(), extent, |frame| teller.frame(frame));
        teller.tell_batch();
        if let Some(fault) = teller.fault {
            return self.close_link(context, id, Some(fault));
        }
        match status {
            ReadStatus::Drained => {}
            ReadStatus::BudgetSpent => self.unread.push(id),
            ReadStatus::Ended => return self.close_link(context, id, None),
            ReadStatus::Broken(error) => return self.close_link(context, id, Some(error)),
        }
        // Acknowledgements make room, and what could not be taken is answered.
        self.flush(context, id);
        self.offer_later(context, id);
    }

    /// Takes over one end of a channel whose other end may send frames of so many bytes, and reads what has come by now.
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
                self.links.insert(id, Link::of(channel, inbox, None, registration));
            }
            Err(error) => self.emit(id, ChannelEvent::Closed(Some(error))),
        }
    }

    /// The peer is known to have gone: all that it has left behind is told, however much is untold.
    pub(super) fn read_all(&mut self, context: &mut Context, id: ChannelId) {
        self.read(context, id, Extent::Left);
        self.close_link(context, id, None);
    }

    /// A channel has something to read, or the end.
    pub(super) fn on_readable(&mut self, context: &mut Context, id: ChannelId, ended: bool) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if !link.lending.is_lent() || ended {
            return self.read(context, id, if ended { Extent::ToEnd } else { Extent::Ready });
        }
        if link.lending.mute(context, &link.channel, &link.registration) {
            context.set_timer(BUSY_AFTER, Timer::CheckLent(id));
        }
    }

    /// Looks whether JavaScript reads what arrives.
    pub(super) fn check_lent(&mut self, context: &mut Context, id: ChannelId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        match link.lending.look(&link.channel) {
            Look::Nothing => {}
            Look::Again => {
                context.set_timer(BUSY_AFTER, Timer::CheckLent(id));
            }
            Look::TakeBack => self.read(context, id, Extent::ToEnd),
            Look::Unmute => {
                let unmuted = link.lending.unmute(context, &link.channel, &link.registration);
                if let Err(error) = unmuted {
                    self.close_link(context, id, Some(error));
                }
            }
        }
    }

    /// Sees to it that the inbox is here. Returns false if the channel is not.
    fn reclaim(&mut self, context: &mut Context, id: ChannelId) -> bool {
        let Some(link) = self.links.get_mut(&id) else { return false };
        let (channel, registration) = (&link.channel, &link.registration);
        match link.lending.reclaim(context, channel, &mut link.inbox, registration) {
            Ok(()) => true,
            Err(error) => {
                self.close_link(context, id, Some(error));
                false
            }
        }
    }

    /// The reactor is to read the channel from now on. What is there is read at the end of this turn.
    pub(super) fn take_back(&mut self, context: &mut Context, id: ChannelId) {
        if self.links.get(&id).is_some_and(|link| link.lending.is_lent()) && self.reclaim(context, id) {
            self.unread.push(id);
        }
    }

    /// If messages come, the channel may be offered after a while.
    fn offer_later(&mut self, context: &mut Context, id: ChannelId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.phase == Phase::Open && link.lending.waits_for_quiet() {
            context.set_timer(QUIET, Timer::Offer(id));
        }
    }

    /// Offers the channel to JavaScript if nothing but messages has come since the timer was set.
    pub(super) fn offer_if_quiet(&mut self, id: ChannelId) {
        let channels = self.links.len();
        let Some(link) = self.links.get_mut(&id) else { return };
        let is_quiet = link.lending.was_quiet()
            && link.phase == Phase::Open
            && link.registration.interest() == Interest::Read
            && link.may_read(channels)
            && link.channel.undelivered().cost() <= MAX_LENT
            && !link.is_behind
            && !self.unread.contains(&id)
            && link.channel.is_idle();
        if is_quiet && let Some(offer) = link.lending.lend(&link.channel, &mut link.inbox) {
            self.emit(id, ChannelEvent::Offered(offer));
        }
    }

    /// JavaScript has taken messages: go on where reading had stopped.
    pub(super) fn resume(&mut self, context: &mut Context, id: ChannelId) {
        let channels = self.links.len();
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.may_read(channels) && std::mem::take(&mut link.is_behind) {
            // Whether the end came meanwhile was told and forgotten: read until it can be seen.
            self.read(context, id, Extent::ToEnd);
        }
    }

    pub(super) fn pause(&mut self, context: &mut Context, id: ChannelId) {
        self.take_back(context, id);
        if let Some(link) = self.links.get_mut(&id) {
            link.is_paused = true;
        }
    }

    pub(super) fn unpause(&mut self, context: &mut Context, id: ChannelId) {
        if let Some(link) = self.links.get_mut(&id) {
            link.is_paused = false;
        }
        self.resume(context, id);
    }

    /// Writes what waits, and arranges to go on if that is not all.
    pub(super) fn flush(&mut self, context: &mut Context, id: ChannelId) {
        if self.links.get(&id).is_some_and(|link| link.lending.is_lent() && !link.channel.is_idle()) {
            // What is written here is told before what the peer answers to it.
            self.take_back(context, id);
        }
        let Some(link) = self.links.get_mut(&id) else { return };
        let mut completed = Vec::new();
        let status = link.channel.flush(&mut completed);
        for completion in completed {
            self.sink.push(Event::Channel(id, ChannelEvent::Written(completion)));
        }
        let interest = match status {
            FlushStatus::Blocked => Interest::ReadWrite,
            FlushStatus::Exhausted => {
                if !std::mem::replace(&mut link.flush_deferred, true) {
                    context.set_timer(EXHAUSTED_PAUSE, Timer::Flush(id));
                }
                Interest::Read
            }
            FlushStatus::Failed(_) => {
                if link.phase == Phase::Closing {
                    return self.close_link(context, id, None);
                }
                link.phase = Phase::Unreachable;
                Interest::Read
            }
            FlushStatus::Idle if link.phase == Phase::Closing && link.channel.is_idle() => {
                return self.close_link(context, id, None);
            }
            FlushStatus::Idle | FlushStatus::AwaitsAcknowledgement => Interest::Read,
        };
        if self.links.get(&id).is_some_and(|link| link.registration.interest() != interest) {
            // Filled up by another thread a moment ago. It may not be registered now, so that it is taken back.
            self.take_back(context, id);
            let Some(link) = self.links.get_mut(&id) else { return };
            if let Err(error) = link.registration.wait_for(context, link.channel.as_fd(), interest) {
                self.close_link(context, id, Some(error));
            }
        }
    }

    /// Closes a channel once everything that waits has been written and handles have arrived. The JavaScript thread
    /// sends nothing more on it.
    pub(super) fn close_channel(&mut self, context: &mut Context, id: ChannelId) {
        self.take_back(context, id);
        let Some(link) = self.links.get_mut(&id) else { return };
        link.phase = Phase::Closing;
        self.flush(context, id);
        // What comes meanwhile is read and dropped, so that the end of the other side is seen.
        self.read(context, id, Extent::ToEnd);
    }

    /// Forgets a channel.
    pub(super) fn close_link(&mut self, context: &mut Context, id: ChannelId, cause: Option<Error>) {
        let Some(link) = self.links.remove(&id) else { return };
        // Nothing is told behind its end.
        link.channel.take_back();
        link.registration.end(context, link.channel.as_fd());
        if let Some(side) = link.side {
            self.release(side);
        }
        for unwritten in link.channel.abort() {
            self.emit(id, ChannelEvent::Unwritten(unwritten));
        }
        self.emit(id, ChannelEvent::Closed(cause));
    }
}

/// Tells what is read of one channel.
struct Teller<'a, S> {
    id: ChannelId,
    channel: &'a Channel,
    lending: &'a mut Lending,
    batch: &'a mut Batch,
    side: Option<Side>,
    phase: Phase,
    /// What is wrong with the peer: nothing more is taken of it.
    fault: Option<Error>,
    sink: &'a mut S,
}

impl<S: EventSink<Event>> Teller<'_, S> {
    fn frame(&mut self, frame: Inbound<'_>) {
        if self.fault.is_some() {
            // This is the end of the channel.
            return;
        }
        let length = frame.length();
        let Inbound { kind, bytes, segments, handle } = frame;
        match kind {
            // Here the cluster's protocol is a message like any other.
            Kind::User | Kind::Cluster | Kind::Move | Kind::Connect => {
                self.channel.traffic().received(length);
                self.lending.note_message(bytes.len());
                let mut batch = std::mem::take(self.batch);
                batch.add(self.channel.serialization(), bytes, segments, |frames| self.tell(frames));
                *self.batch = batch;
                return;
            }
            Kind::Handle | Kind::HandleAck | Kind::HandleNack | Kind::Memory => {
                self.lending.disturb();
                self.tell_batch();
            }
        }
        // A handle's has a message of the program's in it.
        if kind != Kind::Handle
            && let Err(reason) = proto::check_size(&bytes)
        {
            self.fault = Some(Error::BadFrame(reason));
            return;
        }
        match (kind, handle) {
            (Kind::Handle, Some(handle)) => {
                self.channel.traffic().received(bytes.len());
                // Acknowledged when JavaScript takes it.
                self.tell_message(ChannelEvent::HandleMessage { bytes: bytes.into_bytes(), handle });
            }
            (Kind::Handle | Kind::Memory, None) => self.reply(HANDLE_NACK),
            (Kind::Memory, Some(_)) => self.reply(HANDLE_ACK),
            (Kind::HandleAck, _) => match self.channel.acknowledge() {
                Some(HandleOrigin::Memory) => {}
                Some(_) => self.push(ChannelEvent::HandleArrived),
                // Of a handle that Node itself has sent on the socket that the channel began with.
                None if self.side.is_none() => self
                    .tell(Frames::One(Format::of(self.channel.serialization(), &bytes), bytes.into_bytes())),
                None => {}
            },
            (Kind::HandleNack, _) => match self.channel.retransmit() {
                Retransmission::GivenUp(HandleOrigin::Memory) => {}
                Retransmission::GivenUp(_) => self.push(ChannelEvent::HandleLost),
                Retransmission::SentAgain | Retransmission::Nothing => {}
            },
            (Kind::User | Kind::Cluster | Kind::Move | Kind::Connect, _) => {}
        }
    }

    /// Written at once or by the flush that follows reading.
    fn reply(&mut self, command: &str) {
        if let Ok(bytes) = proto::encode(self.channel.serialization(), &json!({ "cmd": command })) {
            // To a peer that has gone there is nothing to say.
            self.fault = self.channel.send_receipt(Frame::plain(bytes)).err();
        }
    }

    fn tell_batch(&mut self) {
        if let Some(frames) = self.batch.take() {
            self.tell(frames);
        }
    }

    fn tell(&mut self, frames: Frames) {
        self.tell_message(ChannelEvent::Messages(frames));
    }

    /// Tells of messages, unless nobody wants them any more. They count until JavaScript has dealt with them.
    fn tell_message(&mut self, event: ChannelEvent) {
        if self.phase != Phase::Closing {
            self.channel.undelivered().add(event.cost());
            self.push(event);
        }
    }

    fn push(&mut self, event: ChannelEvent) {
        self.sink.push(Event::Channel(self.id, event));
    }
}
