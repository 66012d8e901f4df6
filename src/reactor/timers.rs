//! One-shot timers in the order in which they run out, each with what it is for.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Names a timer. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerId {
    at: Instant,
    number: u64,
}

#[derive(Debug)]
pub(super) struct Timers<T> {
    pending: BTreeMap<TimerId, T>,
    next: u64,
}

impl<T> Timers<T> {
    pub(super) fn new() -> Self {
        Timers { pending: BTreeMap::new(), next: 0 }
    }

    pub(super) fn set(&mut self, at: Instant, what: T) -> TimerId {
        let id = TimerId { at, number: self.next };
        self.next += 1;
        self.pending.insert(id, what);
        id
    }

    /// Takes a timer back; one that has run out already is not there any more.
    pub(super) fn cancel(&mut self, timer: TimerId) {
        self.pending.remove(&timer);
    }

    pub(super) fn until_next(&self, now: Instant) -> Option<Duration> {
        self.pending.first_key_value().map(|(timer, _)| timer.at.saturating_duration_since(now))
    }

    pub(super) fn next_expired(&mut self, now: Instant) -> Option<T> {
        let first = self.pending.first_entry()?;
        (first.key().at <= now).then(|| first.remove())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_run_out_in_order_and_once() {
        let start = Instant::now();
        let mut timers = Timers::new();
        timers.set(start + Duration::from_millis(20), "late");
        timers.set(start + Duration::from_millis(10), "early");
        assert_eq!(timers.until_next(start), Some(Duration::from_millis(10)));
        assert_eq!(timers.next_expired(start), None);
        let end = start + Duration::from_millis(30);
        assert_eq!(timers.next_expired(end), Some("early"));
        assert_eq!(timers.next_expired(end), Some("late"));
        assert_eq!(timers.next_expired(end), None);
        assert_eq!(timers.until_next(end), None);
        let one = timers.set(start, "one");
        timers.set(start, "two");
        timers.cancel(one);
        assert_eq!(timers.next_expired(end), Some("two"));
        assert_eq!(timers.next_expired(end), None);
    }
}
