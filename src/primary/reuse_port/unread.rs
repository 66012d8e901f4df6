//! When a worker is found not to read the queue of its listening socket.

use std::time::{Duration, Instant};

use crate::primary::config::Patience;

/// What can be seen of a worker at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// Its loop has turned so often, as it shows itself.
    Turns(u64),
    /// Its main thread waits for events, as the kernel shows.
    Waits,
    /// Its process is stopped.
    Stopped,
    /// Its main thread is busy, and has read and written so often.
    Busy(Option<u64>),
    /// Nobody tells.
    Unknown,
    /// It has been given its socket, and has not said that it listens.
    Starting,
}

/// A queue in which connections were found, at each look since.
#[derive(Debug)]
pub struct Unread {
    /// When the worker was last seen to do something else, or the queue was first seen not to be empty.
    since: Instant,
    /// When the queue was first seen not to be empty, or the worker was last seen to have time.
    crowded_since: Instant,
    sign: Sign,
    /// When that was seen.
    seen_at: Instant,
    /// For how long the worker had had a processor by then, if it was waiting for one or had it.
    had: Option<Duration>,
    /// How often in a row the worker was found to wait, with something to accept.
    waits: u32,
}

/// A worker that waits for events is woken by a connection at once, so that a look finds both now and then. So many in a row do
/// not: it does not wait for connections.
const WAITS: u32 = 8;

/// What a look has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The worker reads its queue, or may be about to.
    Read,
    /// It does other things, and the queue has not been empty for a while; or it does not read its queue, and may be kept from its
    /// processor. Others may have time.
    Crowded,
    /// It does not read its queue, whoever has time.
    Unread,
}

impl Unread {
    /// The queue is not empty.
    pub fn new(now: Instant, sign: Sign, had: Option<Duration>) -> Self {
        let waits = u32::from(sign == Sign::Waits);
        Unread { since: now, crowded_since: now, sign, seen_at: now, had, waits }
    }

    /// The queue is still not empty, or not again. `had` says for how long the worker has had a processor altogether, if it has one or
    /// waits for one. A worker that is kept from its processor is not blocked.
    pub fn look(&mut self, now: Instant, sign: Sign, had: Option<Duration>, patience: Patience) -> Finding {
        let before = std::mem::replace(&mut self.sign, sign);
        let passed = now.saturating_duration_since(std::mem::replace(&mut self.seen_at, now));
        if let (Some(before), Some(after)) = (std::mem::replace(&mut self.had, had), had) {
            self.since += passed.saturating_sub(after.saturating_sub(before));
        }
        self.waits = if sign == Sign::Waits { self.waits + 1 } else { 0 };
        let does_something = match (before, sign) {
            (Sign::Busy(before), Sign::Busy(after)) => before != after,
            (Sign::Turns(before), Sign::Turns(after)) => before != after,
            _ => false,
        };
        let has_time = sign == Sign::Waits && self.waits <= WAITS;
        if has_time {
            self.crowded_since = now;
        }
        if has_time || does_something {
            self.since = now;
        }
        let for_longer = |since: Instant, than: Duration| now.saturating_duration_since(since) >= than;
        if for_longer(self.since, patience.crowded) {
            Finding::Unread
        } else if for_longer(self.since, patience.unread) || for_longer(self.crowded_since, patience.crowded)
        {
            Finding::Crowded
        } else {
            Finding::Read
        }
    }
}

/// How a worker looked when it was found not to read its queue, by which it is seen to have come back.
#[derive(Clone, Copy, Debug)]
pub struct Absence {
    since: Instant,
    sign: Sign,
}

/// For how long a worker of which nobody tells anything is not given its queue again.
const UNKNOWN_PAUSE: Duration = Duration::from_millis(100);

/// How long a worker may take to say that it listens, before it is thought to do so.
const START_PATIENCE: Duration = Duration::from_secs(1);

impl Absence {
    /// It was found just now.
    pub fn new(now: Instant, sign: Sign) -> Self {
        Absence { since: now, sign }
    }

    /// Whether the worker has not begun to accept at all.
    pub fn is_start(&self) -> bool {
        self.sign == Sign::Starting
    }

    /// Whether nothing has been seen of it since. `turns` are those of its loop, if it shows them.
    pub fn lasts(&self, turns: Option<u64>) -> bool {
        match (self.sign, turns) {
            (Sign::Turns(before), Some(after)) => before == after,
            _ => true,
        }
    }

    /// Whether the worker has come back.
    pub fn is_over(&self, now: Instant, sign: Sign) -> bool {
        let is_longer_ago = |than| now.saturating_duration_since(self.since) >= than;
        match (self.sign, sign) {
            (Sign::Starting, _) => is_longer_ago(START_PATIENCE),
            (Sign::Turns(before), Sign::Turns(after)) => before != after,
            (_, Sign::Waits) => true,
            (_, Sign::Busy(_) | Sign::Stopped) => false,
            _ => is_longer_ago(UNKNOWN_PAUSE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primary::config::{CROWDED_AFTER, QUEUE_TICK, UNREAD_AFTER};

    /// What is found at the last of these looks, from the one that first finds connections.
    fn findings(signs: &[Sign]) -> Vec<Finding> {
        let start = Instant::now();
        let mut unread = Unread::new(start, signs[0], None);
        let patience = Patience { unread: UNREAD_AFTER, crowded: CROWDED_AFTER };
        let looks = (1..).zip(&signs[1..]);
        looks.map(|(look, sign)| unread.look(start + QUEUE_TICK * look, *sign, None, patience)).collect()
    }

    #[test]
    fn who_does_nothing_for_a_tick_may_lose_its_connections_to_others_and_for_two_it_does() {
        for sign in [Sign::Turns(7), Sign::Busy(Some(7)), Sign::Busy(None), Sign::Stopped, Sign::Unknown] {
            assert_eq!(findings(&[sign; 3]), [Finding::Crowded, Finding::Unread], "{sign:?}");
        }
    }

    #[test]
    fn who_is_kept_from_a_processor_is_not_blocked_and_who_has_it_is() {
        let start = Instant::now();
        let patience = Patience { unread: UNREAD_AFTER, crowded: CROWDED_AFTER };
        let findings = |had: fn(u32) -> Option<Duration>| {
            let mut unread = Unread::new(start, Sign::Turns(7), had(0));
            [1, 2, 3].map(|look| unread.look(start + QUEUE_TICK * look, Sign::Turns(7), had(look), patience))
        };
        assert_eq!(findings(|look| Some(QUEUE_TICK * look)), findings(|_| None));
        assert_eq!(findings(|_| Some(Duration::ZERO)), [Finding::Read, Finding::Crowded, Finding::Crowded]);
    }

    #[test]
    fn who_turns_reads_and_may_have_too_much_to_do() {
        let turning = |turns: u64| (0..turns).map(Sign::Turns).collect::<Vec<_>>();
        assert_eq!(findings(&turning(3)), [Finding::Read, Finding::Crowded]);
        let calling = |calls: u64| (0..calls).map(|call| Sign::Busy(Some(call))).collect::<Vec<_>>();
        assert_eq!(findings(&calling(3)), [Finding::Read, Finding::Crowded]);
    }

    #[test]
    fn who_is_found_waiting_now_and_then_has_time_and_who_always_is_waits_for_something_else() {
        let busy = Sign::Busy(Some(1));
        assert_eq!(findings(&[busy, Sign::Waits, Sign::Waits]), [Finding::Read; 2]);
        let waiting = findings(&[Sign::Waits; WAITS as usize + 1]);
        assert_eq!(waiting.iter().filter(|finding| **finding != Finding::Read).count(), 1);
        assert_eq!(waiting.last(), Some(&Finding::Crowded));
    }

    #[test]
    fn an_absence_ends_with_a_turn_or_with_a_wait() {
        let now = Instant::now();
        let is_over = |before, after| Absence::new(now, before).is_over(now, after);
        assert!(is_over(Sign::Turns(1), Sign::Turns(2)));
        assert!(!is_over(Sign::Turns(1), Sign::Turns(1)));
        assert!(is_over(Sign::Busy(None), Sign::Waits));
        assert!(!is_over(Sign::Busy(None), Sign::Stopped));
        assert!(!is_over(Sign::Busy(Some(1)), Sign::Busy(Some(9))));
        assert!(!is_over(Sign::Unknown, Sign::Unknown));
        assert!(Absence::new(now, Sign::Unknown).is_over(now + UNKNOWN_PAUSE, Sign::Unknown));
        assert!(!is_over(Sign::Starting, Sign::Waits));
        assert!(Absence::new(now, Sign::Starting).is_over(now + START_PATIENCE, Sign::Waits));
    }
}
