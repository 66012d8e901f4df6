//! What a peer has sent and the program has not been given yet, and how much of that there may be.
//!
//! It is counted by what it costs here, not by its bytes on the wire: a message of one byte becomes an object, a tick and an entry of
//! two queues. The reactor adds what it reads; the JavaScript thread takes off what has been delivered, at the end of the turn of its
//! event loop, so that what is converted and not delivered still counts.

use std::sync::atomic::{AtomicUsize, Ordering};

/// What an event costs beside its bytes, in bytes: about what Node needs for a small object and its tick.
pub const EVENT_COST: usize = 256;

/// How much may be undelivered on all channels of a reactor together, at the least shares below.
const MAX_TOTAL: usize = 64 << 20;

/// What every channel may have undelivered, however many there are: as much as its peer's socket holds.
const LEAST_SHARE: usize = 256 << 10;

/// What keeps a channel from being read, whatever its share.
const HELD: usize = usize::MAX / 2;

/// [`Undelivered::resume_below`] of a channel that is read.
const IS_READ: usize = 0;

/// The cost of what is undelivered on one channel.
#[derive(Debug, Default)]
pub struct Undelivered {
    cost: AtomicUsize,
    /// The reactor does not read, and is to be told when the cost has fallen below this.
    resume_below: AtomicUsize,
}

impl Undelivered {
    /// How much of it one of so many channels may have, of `most` if it were alone.
    pub fn share(most: usize, channels: usize) -> usize {
        most.min((MAX_TOTAL / channels.max(1)).max(LEAST_SHARE))
    }

    /// What there is now.
    pub fn cost(&self) -> usize {
        self.cost.load(Ordering::SeqCst)
    }

    /// On the reactor's thread: something has been read.
    pub fn add(&self, cost: usize) {
        self.cost.fetch_add(cost, Ordering::SeqCst);
    }

    /// On the reactor's thread: whether more may be read, of a peer that may have so much undelivered. If not,
    /// [`Undelivered::remove`] tells when it may.
    pub fn may_read(&self, share: usize) -> bool {
        if self.cost() <= share {
            return true;
        }
        let resume_below = share / 2 + 1;
        self.resume_below.store(resume_below, Ordering::SeqCst);
        // Delivered just before that was stored: nobody else would tell.
        self.cost() < resume_below && self.resume_below.swap(IS_READ, Ordering::SeqCst) != IS_READ
    }

    /// On the JavaScript thread: nothing more is to be read until [`Undelivered::release`]. Not twice.
    pub fn hold(&self) {
        self.add(HELD);
    }

    /// On the JavaScript thread: what was held is read again. Returns as [`Undelivered::remove`].
    pub fn release(&self) -> bool {
        self.remove(HELD)
    }

    /// On the JavaScript thread: something has been delivered. Returns whether the reactor waits for that, and is to be told.
    pub fn remove(&self, cost: usize) -> bool {
        let left = self.cost.fetch_sub(cost, Ordering::SeqCst).saturating_sub(cost);
        left < self.resume_below.load(Ordering::SeqCst)
            && self.resume_below.swap(IS_READ, Ordering::SeqCst) != IS_READ
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_rests_above_the_share_and_goes_on_below_half_of_it() {
        let undelivered = Undelivered::default();
        undelivered.add(100);
        assert!(undelivered.may_read(100));
        undelivered.add(1);
        assert!(!undelivered.may_read(100));
        assert!(!undelivered.remove(50));
        assert!(undelivered.remove(1));
        // Told once.
        assert!(!undelivered.remove(50));
        assert!(undelivered.may_read(100));
    }

    #[test]
    fn who_is_read_is_not_told_to_be_read() {
        let undelivered = Undelivered::default();
        undelivered.add(300);
        assert!(!undelivered.remove(300));
    }

    #[test]
    fn who_is_held_is_not_read_whatever_is_delivered() {
        let undelivered = Undelivered::default();
        undelivered.add(10);
        undelivered.hold();
        assert!(!undelivered.may_read(100));
        assert!(!undelivered.remove(10));
        assert!(undelivered.release());
        assert!(undelivered.may_read(100));
    }

    #[test]
    fn a_share_that_has_grown_meanwhile_is_not_waited_for() {
        let undelivered = Undelivered::default();
        undelivered.add(300);
        assert!(!undelivered.may_read(100));
        // The others have gone; the cost is below the new share, and was above the old one.
        assert!(undelivered.may_read(400));
        assert!(undelivered.remove(300));
    }

    #[test]
    fn many_channels_have_less_each_and_never_nothing() {
        assert_eq!(Undelivered::share(8 << 20, 1), 8 << 20);
        assert_eq!(Undelivered::share(8 << 20, 16), 4 << 20);
        assert_eq!(Undelivered::share(8 << 20, 100_000), LEAST_SHARE);
        assert_eq!(Undelivered::share(1 << 10, 100_000), 1 << 10);
    }
}
