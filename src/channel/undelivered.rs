//! How much a peer has sent that the program has not received yet, and the limit on that.
//!
//! The measure is the cost in this process, not the bytes on the wire: a message of one byte becomes an
//! object, a tick and an entry in two queues. The reactor adds what it reads. The JavaScript thread subtracts
//! delivered messages at the end of its turn, so that messages which are converted but not delivered still
//! count.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::window::MAX_UNDER_WAY;

/// The cost of an event besides its bytes, in bytes: about what Node needs for a small object and its tick.
pub const EVENT_COST: usize = 256;

/// The limit for all channels of a reactor together, unless their least shares exceed it.
const MAX_TOTAL: usize = 64 << 20;

/// The share of every channel, however many there are: as much as its peer's socket holds.
const LEAST_SHARE: usize = 256 << 10;

/// A cost that exceeds every share, for a channel that must not be read.
const HELD: usize = usize::MAX / 2;

/// The value of [`Undelivered::resume_below`] while the channel is read.
const IS_READ: usize = 0;

/// The cost of undelivered events on one channel.
#[derive(Debug, Default)]
pub struct Undelivered {
    cost: AtomicUsize,
    /// The reactor does not read. [`Undelivered::remove`] reports when the cost falls below this.
    resume_below: AtomicUsize,
    /// How many handles JavaScript has not taken.
    handles: AtomicUsize,
}

impl Undelivered {
    /// The share of one of `channels` channels. `most` is its limit if it were alone.
    pub fn share(most: usize, channels: usize) -> usize {
        most.min((MAX_TOTAL / channels.max(1)).max(LEAST_SHARE))
    }

    pub fn cost(&self) -> usize {
        self.cost.load(Ordering::SeqCst)
    }

    /// Adds the cost of an event. Called on the reactor's thread.
    pub fn add(&self, cost: usize) {
        self.cost.fetch_add(cost, Ordering::SeqCst);
    }

    /// Adds a handle, unless so many wait already that the peer must have sent it without waiting for
    /// acknowledgements. Returns whether it was added. Called on the reactor's thread.
    ///
    /// The cost does not bound them: what a peer that has gone left behind is read however much waits.
    pub fn add_handle(&self) -> bool {
        let has_room = self.handles.load(Ordering::SeqCst) < MAX_UNDER_WAY;
        if has_room {
            self.handles.fetch_add(1, Ordering::SeqCst);
        }
        has_room
    }

    /// JavaScript has taken a handle, which is about to be acknowledged. Called on the JavaScript thread.
    pub fn handle_taken(&self) {
        self.handles.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether a peer with this share may be read. If not, [`Undelivered::remove`] reports when it may.
    /// Called on the reactor's thread.
    pub fn may_read(&self, share: usize) -> bool {
        if self.cost() <= share {
            return true;
        }
        let resume_below = share / 2 + 1;
        self.resume_below.store(resume_below, Ordering::SeqCst);
        // The JavaScript thread may have delivered events just before the store. Then it does not see the new
        // value.
        self.cost() < resume_below && self.resume_below.swap(IS_READ, Ordering::SeqCst) != IS_READ
    }

    /// Stops reading until [`Undelivered::release`]. Must not be called twice. Called on the JavaScript
    /// thread.
    pub fn hold(&self) {
        self.add(HELD);
    }

    /// Ends [`Undelivered::hold`]. Returns what [`Undelivered::remove`] returns. Called on the JavaScript
    /// thread.
    pub fn release(&self) -> bool {
        self.remove(HELD)
    }

    /// Subtracts the cost of delivered events. Returns whether the reactor waits for that and must be asked
    /// to resume. Called on the JavaScript thread.
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
        // The reactor is asked once.
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
        // Other channels have gone. The cost is below the new share and was above the old one.
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
