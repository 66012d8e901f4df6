//! One read of a channel on the reactor: messages and handles go to the program, receipts to the outbox, and
//! frames of another protocol to the owner of the channel.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use serde_json::json;

use super::lending::{Lending, QUIET};
use super::{ChannelTimer, ContextOf, Driver, Emit, Outcome, Owner, Peer, State};
use crate::channel::{
    Batch, Channel, ChannelEvent, Extent, Format, Frame, Frames, HandleOrigin, Inbound, Inbox, ReadStatus,
    Retransmission,
};
use crate::error::Error;
use crate::proto::{self, HANDLE_ACK, HANDLE_NACK, Kind};
use crate::reactor::Context;

/// What is spoken on a channel besides messages and handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Node's cluster protocol and what corral adds to it.
    Cluster,
    /// Nothing: a frame that looks like one of the cluster protocol is a message of the program.
    None,
}

/// The owner of a channel while the channel is read. An error of its methods closes the channel, and nothing
/// more is taken from the peer.
pub trait Recipient: Emit {
    const PROTOCOL: Protocol;

    /// Handles a frame of [`Protocol::Cluster`].
    fn frame(&mut self, _kind: Kind, _bytes: &[u8]) -> Result<(), Error> {
        Ok(())
    }

    /// A descriptor of the owner has arrived.
    fn arrived(&mut self, _origin: HandleOrigin) -> Result<(), Error> {
        Ok(())
    }

    /// A descriptor of the owner did not arrive, however often it was sent.
    fn lost(&mut self, _origin: HandleOrigin) -> Result<(), Error> {
        Ok(())
    }

    /// Whether the program receives acknowledgements of descriptors that this channel has not sent.
    fn passes_on_stray_acks(&self) -> bool {
        false
    }
}

/// The receiving half of a channel, taken from its [`Driver`] for one read. The owner may use the driver
/// meanwhile.
#[derive(Debug)]
pub struct Reading {
    channel: Arc<Channel>,
    inbox: Inbox,
    extent: Extent,
    status: ReadStatus,
    found: Found,
}

/// What the frames of one read have shown.
#[derive(Debug)]
struct Found {
    lending: Lending,
    /// Small messages that have not been passed on yet.
    batch: Batch,
    /// This side has closed the channel: messages reach nobody.
    is_discarded: bool,
    /// The peer continues on the second socket.
    has_moved: bool,
    /// The peer broke the protocol, or does not read the answers to what it asks.
    fault: Option<Error>,
}

impl Driver {
    /// Reads, where the owner does not use the driver meanwhile.
    pub fn read<O: Owner + Recipient>(
        &mut self,
        context: &mut ContextOf<O>,
        owner: &mut O,
        extent: Extent,
        channels: usize,
    ) -> Outcome {
        match self.begin_read(context, extent, channels) {
            Ok(Some(mut reading)) => {
                reading.run(owner);
                self.end_read(context, owner, reading)
            }
            Ok(None) => Outcome::Done,
            Err(error) => Outcome::Over(Some(error)),
        }
    }

    /// Takes the receiving half for a read, as one of `channels` channels of the reactor; None if no more may
    /// be delivered for now.
    ///
    /// Errors: the channel could not be registered again, and must be closed.
    pub fn begin_read<T, S>(
        &mut self,
        context: &mut Context<T, S>,
        extent: Extent,
        channels: usize,
    ) -> Result<Option<Reading>, Error> {
        self.is_unread = false;
        self.reclaim(context)?;
        let Some(extent) = self.may_read(extent, channels) else {
            self.is_behind = true;
            return Ok(None);
        };
        let Some(inbox) = self.inbox.take() else { return Ok(None) };
        let found = Found {
            lending: std::mem::take(&mut self.lending),
            batch: Batch::new(channels),
            is_discarded: self.state != State::Open,
            has_moved: false,
            fault: None,
        };
        let channel = self.channel.clone();
        Ok(Some(Reading { channel, inbox, extent, status: ReadStatus::Drained, found }))
    }

    /// How much may be read.
    fn may_read(&mut self, extent: Extent, channels: usize) -> Option<Extent> {
        if extent == Extent::Left || self.state == State::Finishing {
            return Some(extent);
        }
        if self.is_paused {
            return None;
        }
        if self.channel.may_read(channels) {
            return Some(extent);
        }
        // What a peer that has gone left behind is no more than its socket holds. It is read once, as a peer
        // that only stops reading can go on writing.
        if self.peer == Peer::Gone {
            self.peer = Peer::Drained;
            return Some(Extent::Left);
        }
        None
    }

    /// Ends a read, then writes: acknowledgements make room, and what was asked is answered.
    pub fn end_read<O: Owner>(
        &mut self,
        context: &mut ContextOf<O>,
        owner: &mut O,
        reading: Reading,
    ) -> Outcome {
        let Reading { inbox, extent, status, found, .. } = reading;
        self.inbox = Some(inbox);
        self.lending = found.lending;
        if let Some(error) = found.fault {
            return Outcome::Over(Some(error));
        }
        let moves = match status {
            _ if found.has_moved => true,
            // It ended in the middle of its move.
            ReadStatus::Drained => self.second.is_some() && extent == Extent::Left,
            ReadStatus::Ended if self.second.is_some() => true,
            ReadStatus::BudgetSpent => {
                self.read_at_turn_end(owner);
                false
            }
            ReadStatus::Ended => return Outcome::Over(None),
            ReadStatus::Broken(error) => return Outcome::Over(Some(error)),
        };
        if moves && let Err(error) = self.finish_move(context, owner) {
            return Outcome::Over(Some(error));
        }
        let outcome = self.flush(context, owner);
        if self.is_open() && self.lending.waits_for_quiet() {
            context.set_timer(QUIET, owner.timer(ChannelTimer::Offer));
        }
        outcome
    }

    pub(super) fn read_at_turn_end<O: Owner>(&mut self, owner: &mut O) {
        if !std::mem::replace(&mut self.is_unread, true) {
            owner.read_at_turn_end();
        }
    }
}

impl Reading {
    /// Reads what has arrived. [`Driver::end_read`] follows.
    pub fn run<R: Recipient>(&mut self, recipient: &mut R) {
        let Reading { channel, inbox, extent, status, found } = self;
        let mut receiver = Receiver { channel, found, recipient };
        *status = inbox.read(channel.as_fd(), *extent, |frame| receiver.take(frame));
        receiver.pass_on_batch();
    }
}

/// Takes the frames of one read.
struct Receiver<'a, R> {
    channel: &'a Channel,
    found: &'a mut Found,
    recipient: &'a mut R,
}

impl<R: Recipient> Receiver<'_, R> {
    fn take(&mut self, frame: Inbound<'_>) {
        if self.found.fault.is_some() || self.found.has_moved {
            return;
        }
        let length = frame.length();
        let Inbound { kind, bytes, segments, handle } = frame;
        let is_message = match kind {
            Kind::User => true,
            Kind::Cluster | Kind::Move | Kind::Connect => R::PROTOCOL == Protocol::None,
            Kind::Handle | Kind::HandleAck | Kind::HandleNack | Kind::Memory => false,
        };
        if is_message {
            self.channel.traffic().received(length);
            self.found.lending.note_message(bytes.len());
            let mut batch = std::mem::take(&mut self.found.batch);
            let serialization = self.channel.serialization();
            batch.add(serialization, bytes, segments, |frames| self.pass_on(ChannelEvent::Messages(frames)));
            self.found.batch = batch;
            return;
        }
        self.found.lending.disturb();
        self.pass_on_batch();
        if let Err(error) = self.take_other(kind, bytes, handle, length) {
            self.found.fault = Some(error);
        }
    }

    /// Takes a frame that is not a message of the program, or has a handle beside it.
    fn take_other(
        &mut self,
        kind: Kind,
        bytes: proto::Frame<'_>,
        handle: Option<OwnedFd>,
        length: usize,
    ) -> Result<(), Error> {
        // The frame of a handle contains a message of the program, which may be large.
        if kind != Kind::Handle {
            proto::check_size(&bytes).map_err(Error::BadFrame)?;
        }
        match (kind, handle) {
            (Kind::Handle, Some(handle)) => {
                self.channel.traffic().received(length);
                if !self.found.is_discarded && !self.channel.undelivered().add_handle() {
                    return Err(Error::BadFrame("more handles than may be under way".into()));
                }
                // JavaScript acknowledges it when it takes it. Node's sender has one handle in flight.
                self.pass_on(ChannelEvent::HandleMessage { bytes: bytes.into_bytes(), handle });
            }
            (Kind::Handle | Kind::Memory, None) => self.reply(HANDLE_NACK)?,
            (Kind::Memory, Some(_)) => self.reply(HANDLE_ACK)?,
            (Kind::HandleAck, _) => match self.channel.acknowledge() {
                Some(HandleOrigin::User) => self.recipient.emit(ChannelEvent::HandleArrived),
                Some(HandleOrigin::Memory) => {}
                Some(origin) => self.recipient.arrived(origin)?,
                None if self.recipient.passes_on_stray_acks() => {
                    let format = Format::of(self.channel.serialization(), &bytes);
                    self.pass_on(ChannelEvent::Messages(Frames::One(format, bytes.into_bytes())));
                }
                None => {}
            },
            (Kind::HandleNack, _) => match self.channel.retransmit() {
                Retransmission::GivenUp(HandleOrigin::User) => self.recipient.emit(ChannelEvent::HandleLost),
                Retransmission::GivenUp(HandleOrigin::Memory) => {}
                Retransmission::GivenUp(origin) => self.recipient.lost(origin)?,
                Retransmission::SentAgain | Retransmission::Nothing => {}
            },
            (Kind::Move, _) => self.found.has_moved = true,
            (Kind::User | Kind::Cluster | Kind::Connect, _) => self.recipient.frame(kind, &bytes)?,
        }
        Ok(())
    }

    /// Sends a message of the channel's own, which is nothing but a name. What the socket does not take at
    /// once is written by the flush that follows the read.
    ///
    /// Errors: as [`Channel::send_receipt`].
    fn reply(&mut self, command: &str) -> Result<(), Error> {
        let serialization = self.channel.serialization();
        let bytes = proto::encode(serialization, &json!({ "cmd": command })).map_err(Error::BadFrame)?;
        self.channel.send_receipt(Frame::plain(bytes)).map(drop)
    }

    fn pass_on_batch(&mut self) {
        if let Some(frames) = self.found.batch.take() {
            self.pass_on(ChannelEvent::Messages(frames));
        }
    }

    /// Passes messages on to JavaScript, unless this side has disconnected (Node: `if (!target.channel)
    /// return`). They count as undelivered until JavaScript has dealt with them.
    fn pass_on(&mut self, event: ChannelEvent) {
        if !self.found.is_discarded {
            self.channel.undelivered().add(event.cost());
            self.recipient.emit(event);
        }
    }
}
