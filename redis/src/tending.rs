//! When a session sees to what is due. It knows itself of what it has sent and holds, and hears from the server what is due
//! next when it has seen to the last. Others do the same: who finds nothing to do leaves it to them, more and more.

use std::time::{Duration, Instant};

use crate::script::Tended;

/// How often at least, whatever is known: what was left behind by others is seen to, and queues that are to be drained.
const LONGEST: Duration = Duration::from_secs(5);

/// How soon at most for what the server has named, so that many messages that are due one after the other cost few calls.
const SHORTEST: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub struct Tending {
    at: Instant,
    /// How long it is left to others.
    rest: Duration,
}

impl Tending {
    pub fn new(now: Instant) -> Tending {
        Tending { at: now + LONGEST, rest: SHORTEST }
    }

    /// When the next time is.
    pub fn at(&self) -> Instant {
        self.at
    }

    /// Whether it is time now, which it then is not again before something else is known.
    pub fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.at <= now;
        if is_due {
            self.at = now + LONGEST;
        }
        is_due
    }

    /// The session knows of something that is due in so many milliseconds.
    pub fn due_in(&mut self, milliseconds: u64, now: Instant) {
        // One more, as the server's are cut off.
        let time = now.checked_add(Duration::from_millis(milliseconds.saturating_add(1)));
        self.at = self.at.min(time.unwrap_or(self.at));
    }

    /// The server has seen to it.
    pub fn tended(&mut self, tended: Tended, now: Instant) {
        self.rest = if tended.queues > 0 { SHORTEST } else { (2 * self.rest).min(LONGEST) };
        let Some(next) = tended.next else { return };
        if next == 0 {
            self.at = now;
        } else {
            let rest = u64::try_from(self.rest.as_millis()).unwrap_or(u64::MAX);
            self.due_in(next.max(rest), now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(now: Instant, milliseconds: u64) -> Option<Instant> {
        now.checked_add(Duration::from_millis(milliseconds))
    }

    /// Of several delays the first was kept in time, and the others only when five seconds had passed.
    #[test]
    fn what_was_due_behind_something_else_was_late() {
        let start = Instant::now();
        let mut tending = Tending::new(start);
        for delay in [300, 100, 200] {
            tending.due_in(delay, start);
        }
        let mut now = start;
        for (due, next) in [(101, Some(100)), (202, Some(100)), (303, None)] {
            assert_eq!(Some(tending.at()), after(start, due));
            now = tending.at();
            assert!(tending.is_due(now) && !tending.is_due(now));
            tending.tended(Tended { queues: 1, next }, now);
        }
        assert_eq!(tending.at(), now + LONGEST);
    }

    #[test]
    fn what_is_due_already_does_not_wait() {
        let now = Instant::now();
        let mut tending = Tending::new(now);
        tending.tended(Tended { queues: 500, next: Some(0) }, now);
        assert!(tending.is_due(now));
    }

    #[test]
    fn what_is_due_each_millisecond_is_seen_to_together() {
        let now = Instant::now();
        let mut tending = Tending::new(now);
        tending.tended(Tended { queues: 1, next: Some(1) }, now);
        assert_eq!(tending.at(), now + SHORTEST + Duration::from_millis(1));
    }

    #[test]
    fn who_finds_nothing_leaves_it_to_others_until_it_knows_of_something() {
        let now = Instant::now();
        let mut tending = Tending::new(now);
        let mut rests = Vec::new();
        for _ in 0..12 {
            tending.at = now + LONGEST;
            tending.tended(Tended { queues: 0, next: Some(1) }, now);
            rests.push(tending.at() - now);
        }
        assert!(rests.is_sorted() && rests[0] > SHORTEST && rests[11] == LONGEST);
        tending.due_in(3, now);
        assert_eq!(Some(tending.at()), after(now, 4));
        tending.tended(Tended { queues: 1, next: None }, now);
        assert_eq!(tending.rest, SHORTEST);
    }
}
