//! When a channel is lent to the JavaScript thread (see [`super::super::shared_read`]), and how the reactor
//! watches it meanwhile.
//!
//! A channel is lent when only messages have come for [`QUIET`], and taken back when anything else is about
//! to come or has come. While it is lent, the reactor goes on waiting for its readiness, in case JavaScript
//! is busy. It does not read then, but checks after [`BUSY_AFTER`] whether JavaScript has. A steady flow of
//! messages costs one check in that time, a silent channel none.

use std::os::fd::AsFd;
use std::time::Duration;

use super::{ChannelTimer, ContextOf, Driver, Outcome, Owner};
use crate::channel::{Channel, ChannelEvent, Extent, Inbox, LARGE_MESSAGE};
use crate::error::Error;
use crate::ids::Offer;
use crate::os;
use crate::reactor::{Context, Interest, Registration};

/// How long a channel must have carried nothing but messages before JavaScript reads it directly.
pub const QUIET: Duration = Duration::from_millis(50);

/// How long JavaScript may leave arrived data unread on a channel that it reads directly. After that it
/// counts as busy, and the reactor reads. The time is longer than a program takes for the small messages of
/// one read, and short for a peer that waits for an answer.
///
/// Tests read what they have just sent, and other processes may delay them in between.
pub const BUSY_AFTER: Duration = Duration::from_millis(if cfg!(test) { 500 } else { 10 });

/// A channel with more undelivered data is not lent: its peer sends more than JavaScript takes in a turn of
/// its event loop, and the other channels must have their turns.
const MAX_LENT: usize = 64 << 10;

/// What the reactor has seen of a channel, for deciding which thread reads it.
#[derive(Debug, Default)]
pub struct Lending {
    /// The receiving half is with the JavaScript thread.
    is_lent: bool,
    /// Messages have come since the channel was taken back.
    has_messages: bool,
    /// Anything else has come or gone since the timer was set.
    is_disturbed: bool,
    /// The timer of [`QUIET`] is running.
    waits_for_quiet: bool,
    /// While lent: the channel is not registered, and the timer of [`BUSY_AFTER`] is running.
    is_muted: bool,
    /// While muted: how often JavaScript had read when the timer was set.
    reads: u64,
}

/// The result of checking a lent channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LentState {
    /// The channel is not lent any more, or is registered.
    Nothing,
    /// JavaScript reads: check again after [`BUSY_AFTER`].
    Again,
    /// JavaScript is busy, and data waits: read it.
    TakeBack,
    /// Nothing waits: register the channel again.
    Unmute,
}

impl Lending {
    /// Whether the receiving half is with the JavaScript thread.
    pub fn is_lent(&self) -> bool {
        self.is_lent
    }

    /// Notes a message of the program.
    pub fn note_message(&mut self, length: usize) {
        self.has_messages = true;
        self.is_disturbed |= length > LARGE_MESSAGE;
    }

    /// Notes an event that only the reactor can handle.
    pub fn disturb(&mut self) {
        self.is_disturbed = true;
    }

    /// Returns whether to set a timer, after which the channel may be offered if only messages have come.
    pub fn waits_for_quiet(&mut self) -> bool {
        if !self.has_messages || self.waits_for_quiet {
            return false;
        }
        self.waits_for_quiet = true;
        self.is_disturbed = false;
        true
    }

    /// The timer has expired. Returns whether nothing but messages has come since it was set. If not, the
    /// next message sets it again.
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

    /// A lent channel is readable: it is not registered for a while. Returns whether to set a timer for a
    /// check.
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

    /// Checks whether JavaScript reads what arrives.
    pub fn check(&mut self, channel: &Channel) -> LentState {
        if !(self.is_lent && self.is_muted) {
            return LentState::Nothing;
        }
        let reads = channel.direct_reads();
        if std::mem::replace(&mut self.reads, reads) != reads {
            LentState::Again
        } else if os::has_arrived(channel.as_fd()) {
            LentState::TakeBack
        } else {
            // The registration reports data that arrives after the check.
            LentState::Unmute
        }
    }

    /// Registers the channel again. If that fails, the channel must be closed.
    pub fn unmute<T, S>(
        &mut self,
        context: &mut Context<T, S>,
        channel: &Channel,
        registration: &Registration,
    ) -> Result<(), Error> {
        self.is_muted = false;
        registration.resume(context, channel.as_fd())
    }

    /// Takes the inbox back if it is lent. If registering the channel again fails, the channel must be
    /// closed.
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
    /// The channel is readable, or has ended.
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

    /// From now on the reactor reads the channel, beginning with waiting data at the end of this turn.
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

    /// Takes the receiving half back if it is lent.
    pub(super) fn reclaim<T, S>(&mut self, context: &mut Context<T, S>) -> Result<(), Error> {
        self.lending.reclaim(context, &self.channel, &mut self.inbox, &self.registration)
    }

    /// Checks whether JavaScript reads what arrives.
    pub(super) fn check_lent<O: Owner>(
        &mut self,
        context: &mut ContextOf<O>,
        owner: &mut O,
    ) -> Result<Outcome, Error> {
        match self.lending.check(&self.channel) {
            LentState::Nothing => {}
            LentState::Again => {
                context.set_timer(BUSY_AFTER, owner.timer(ChannelTimer::CheckLent));
            }
            LentState::TakeBack => return Ok(Outcome::Read(Extent::ToEnd)),
            LentState::Unmute => self.lending.unmute(context, &self.channel, &self.registration)?,
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
            owner.emit(ChannelEvent::Offered(offer));
        }
    }
}
