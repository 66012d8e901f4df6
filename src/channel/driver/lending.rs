//! When a channel is lent to the JavaScript thread (see [`super::super::shared_read`]), and how the reactor watches
//! it meanwhile.
//!
//! A channel is lent when messages came on it and for [`QUIET`] nothing else; it is taken back when something else is about to
//! come or has come. While it is lent, the reactor goes on waiting for its readiness, in case JavaScript is busy: it does not
//! read, but looks after [`BUSY_AFTER`] whether JavaScript has. A steady flow of messages costs it one look in that time, a
//! channel at rest none.

use std::os::fd::AsFd;
use std::time::Duration;

use super::{ChannelTimer, ContextOf, Driver, Outcome, Owner};
use crate::channel::{Channel, ChannelEvent, Extent, Inbox, LARGE_MESSAGE};
use crate::error::Error;
use crate::ids::Offer;
use crate::os;
use crate::reactor::{Context, Interest, Registration};

/// For how long a channel must have carried nothing but messages before JavaScript reads it directly.
pub const QUIET: Duration = Duration::from_millis(50);

/// For how long JavaScript may leave unread what has arrived on a channel that it reads directly; then it counts as
/// busy, and the reactor reads. That is longer than a program takes for the small messages of one read, and short for
/// a peer that waits for an answer.
///
/// Tests read what they have just sent, and may be kept from running in between.
pub const BUSY_AFTER: Duration = Duration::from_millis(if cfg!(test) { 500 } else { 10 });

/// A channel with more undelivered is not lent: its peer sends more than JavaScript takes in a turn of its event loop, and those who
/// share that are to be served in turn.
const MAX_LENT: usize = 64 << 10;

/// What its owner has seen of a channel, for deciding who is to read it.
#[derive(Debug, Default)]
pub struct Lending {
    /// The receiving half is with the JavaScript thread.
    is_lent: bool,
    /// Messages have come since the channel was taken back.
    has_messages: bool,
    /// Something else has come, or gone, since the timer was set.
    is_disturbed: bool,
    /// A timer runs until it has been quiet.
    waits_for_quiet: bool,
    /// While lent: the channel is not registered and a timer runs for the next look.
    is_muted: bool,
    /// While muted: how often JavaScript had read by then.
    reads: u64,
}

/// What a look at a lent channel has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// It is not lent any more, or registered.
    Nothing,
    /// JavaScript reads: look again after [`BUSY_AFTER`].
    Again,
    /// JavaScript is busy, and something waits: read it.
    TakeBack,
    /// Nothing waits: register the channel again.
    Unmute,
}

impl Lending {
    /// Whether the receiving half is with the JavaScript thread.
    pub fn is_lent(&self) -> bool {
        self.is_lent
    }

    /// A message of the program's has come.
    pub fn note_message(&mut self, length: usize) {
        self.has_messages = true;
        self.is_disturbed |= length > LARGE_MESSAGE;
    }

    /// Something came or went that the reactor must see.
    pub fn disturb(&mut self) {
        self.is_disturbed = true;
    }

    /// If messages come, the channel may be offered after [`QUIET`]. Returns whether a timer is to be set for that.
    pub fn waits_for_quiet(&mut self) -> bool {
        if !self.has_messages || self.waits_for_quiet {
            return false;
        }
        self.waits_for_quiet = true;
        self.is_disturbed = false;
        true
    }

    /// The timer has run out. Returns whether nothing but messages has come since it was set. If not, the next message
    /// sets it again.
    pub fn was_quiet(&mut self) -> bool {
        self.waits_for_quiet = false;
        self.has_messages = false;
        !self.is_disturbed
    }

    /// Offers the channel to JavaScript, if it takes offers.
    pub fn lend(&mut self, channel: &Channel, inbox: &mut Option<Inbox>) -> Option<Offer> {
        let offer = channel.offer(inbox)?;
        self.is_lent = true;
        self.is_muted = false;
        Some(offer)
    }

    /// A lent channel is readable: it is not registered for a while. Returns whether a timer is to be set for a look.
    pub fn mute<T, S>(
        &mut self,
        context: &mut Context<T, S>,
        channel: &Channel,
        registration: &Registration,
    ) -> bool {
        if self.is_muted {
            return false;
        }
        self.is_muted = true;
        self.reads = channel.direct_reads();
        registration.pause(context, channel.as_fd());
        true
    }

    /// Looks whether JavaScript reads what arrives.
    pub fn look(&mut self, channel: &Channel) -> Look {
        if !(self.is_lent && self.is_muted) {
            return Look::Nothing;
        }
        let reads = channel.direct_reads();
        if std::mem::replace(&mut self.reads, reads) != reads {
            Look::Again
        } else if os::has_arrived(channel.as_fd()) {
            Look::TakeBack
        } else {
            // What arrives between the look and the registration is told.
            Look::Unmute
        }
    }

    /// Registers the channel again. When that fails, it is the end of the channel.
    pub fn unmute<T, S>(
        &mut self,
        context: &mut Context<T, S>,
        channel: &Channel,
        registration: &Registration,
    ) -> Result<(), Error> {
        self.is_muted = false;
        registration.resume(context, channel.as_fd())
    }

    /// Sees to it that the inbox is here. When registering the channel again fails, it is the end of the channel.
    pub fn reclaim<T, S>(
        &mut self,
        context: &mut Context<T, S>,
        channel: &Channel,
        inbox: &mut Option<Inbox>,
        registration: &Registration,
    ) -> Result<(), Error> {
        if !std::mem::take(&mut self.is_lent) {
            return Ok(());
        }
        *inbox = channel.take_back();
        self.has_messages = false;
        if self.is_muted { self.unmute(context, channel, registration) } else { Ok(()) }
    }
}

impl Driver {
    /// There is something to read, or the end.
    pub fn on_readable<O: Owner>(
        &mut self,
        context: &mut ContextOf<O>,
        owner: &mut O,
        ended: bool,
    ) -> Outcome {
        if ended {
            return Outcome::Read(Extent::ToEnd);
        }
        if !self.lending.is_lent() {
            return Outcome::Read(Extent::Ready);
        }
        if self.lending.mute(context, &self.channel, &self.registration) {
            context.set_timer(BUSY_AFTER, owner.timer(ChannelTimer::CheckLent));
        }
        Outcome::Done
    }

    /// From now on the reactor reads the channel: what has arrived, at the end of this turn.
    pub fn take_back<O: Owner>(&mut self, context: &mut ContextOf<O>, owner: &mut O) -> Outcome {
        self.read_on_reactor(context, owner).map(|()| Outcome::Done).into()
    }

    pub(super) fn read_on_reactor<O: Owner>(
        &mut self,
        context: &mut ContextOf<O>,
        owner: &mut O,
    ) -> Result<(), Error> {
        if self.lending.is_lent() {
            self.reclaim(context)?;
            self.read_at_turn_end(owner);
        }
        Ok(())
    }

    /// Sees to it that the receiving half is not lent.
    pub(super) fn reclaim<T, S>(&mut self, context: &mut Context<T, S>) -> Result<(), Error> {
        self.lending.reclaim(context, &self.channel, &mut self.inbox, &self.registration)
    }

    /// Looks whether JavaScript reads what arrives.
    pub(super) fn check_lent<O: Owner>(
        &mut self,
        context: &mut ContextOf<O>,
        owner: &mut O,
    ) -> Result<Outcome, Error> {
        match self.lending.look(&self.channel) {
            Look::Nothing => {}
            Look::Again => {
                context.set_timer(BUSY_AFTER, owner.timer(ChannelTimer::CheckLent));
            }
            Look::TakeBack => return Ok(Outcome::Read(Extent::ToEnd)),
            Look::Unmute => self.lending.unmute(context, &self.channel, &self.registration)?,
        }
        Ok(Outcome::Done)
    }

    /// Offers the channel to JavaScript if nothing but messages has come since the timer was set.
    pub(super) fn offer_if_quiet<O: Owner>(&mut self, owner: &mut O) {
        let is_quiet = self.lending.was_quiet()
            && self.is_open()
            && self.registration.interest() == Interest::Read
            && self.second.is_none()
            && !(self.is_paused || self.is_behind || self.is_unread)
            && self.channel.undelivered().cost() <= MAX_LENT
            && self.channel.is_idle();
        if is_quiet && let Some(offer) = self.lending.lend(&self.channel, &mut self.inbox) {
            owner.tell(ChannelEvent::Offered(offer));
        }
    }
}
