//! What event loops do between two looks at them. Nothing here reads or writes.

use std::collections::HashMap;

use crate::core::Loop;

/// Over how many microseconds at least a utilization is taken.
const UTILIZATION_OVER: u64 = 500_000;

/// What a loop does.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Activity {
    /// For how many microseconds it has been at the same turn, as far as it was seen; 0 if it waits. None where the kernel
    /// does not tell.
    pub blocked_for: Option<u64>,
    /// How much of the time it has been busy lately, from 0 to 1; None before it was seen for long enough.
    pub utilization: Option<f64>,
    /// For how many nanoseconds it was busy since the first look, with the turn that is under way.
    pub busy: u64,
}

/// What was seen of a loop before.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// For how long it had been busy at the first look.
    first_busy: u64,
    /// For how long it was said to have been busy since. What it was busy for and the turn are not read at once: so this never
    /// falls.
    said: u64,
    turns: u64,
    /// Since when it has not been found waiting in this turn.
    awake_since: Option<u64>,
    /// Where the utilization is counted from: the time, and for how long the loop had been busy.
    from: (u64, u64),
    utilization: Option<f64>,
}

/// The loops that are watched, by numbers of the caller's.
#[derive(Debug, Default)]
pub struct Watch(HashMap<u32, Seen>);

impl Watch {
    /// Looks at a loop, `now` in microseconds.
    pub fn look(&mut self, key: u32, now: u64, seen: &Loop) -> Activity {
        let first = Seen {
            first_busy: seen.busy,
            said: 0,
            turns: seen.turns,
            awake_since: None,
            from: (now, seen.busy),
            utilization: None,
        };
        let before = self.0.entry(key).or_insert(first);
        let is_same_turn = before.turns == seen.turns;
        before.turns = seen.turns;
        before.awake_since = match seen.is_waiting {
            // It may have begun long ago, or just now: what nobody has seen is not counted.
            Some(false) => before.awake_since.filter(|_| is_same_turn).or(Some(now)),
            Some(true) | None => None,
        };
        let awake_for = before.awake_since.map_or(0, |since| now.saturating_sub(since));
        let busy = seen.busy.saturating_add(awake_for.saturating_mul(1000));
        let (from, busy_then) = before.from;
        let passed = now.saturating_sub(from);
        if passed >= UTILIZATION_OVER {
            let used = busy.saturating_sub(busy_then) as f64 / (passed as f64 * 1000.0);
            before.utilization = Some(used.min(1.0));
            before.from = (now, busy);
        }
        before.said = before.said.max(busy.saturating_sub(before.first_busy));
        Activity {
            blocked_for: seen.is_waiting.map(|_| awake_for),
            utilization: before.utilization,
            busy: before.said,
        }
    }

    /// Forgets all loops but these.
    pub fn retain(&mut self, keys: &[u32]) {
        self.0.retain(|key, _| keys.contains(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_loop(turns: u64, busy_millis: u64, is_waiting: Option<bool>) -> Loop {
        let busy_spells = crate::core::Durations::default();
        Loop {
            turns,
            polled_at: 0,
            is_waiting,
            busy: busy_millis * 1_000_000,
            busy_spells,
            runtime: Vec::new(),
        }
    }

    #[test]
    fn a_loop_is_blocked_while_it_is_found_at_the_same_turn_and_never_waiting() {
        let mut watch = Watch::default();
        let mut blocked =
            |now, turns, is_waiting| watch.look(1, now, &a_loop(turns, 0, is_waiting)).blocked_for;
        assert_eq!(blocked(100, 5, Some(true)), Some(0));
        assert_eq!(blocked(200, 5, Some(false)), Some(0));
        assert_eq!(blocked(500, 5, Some(false)), Some(300));
        assert_eq!(blocked(900, 5, Some(false)), Some(700));
        // It has turned, and is busy again.
        assert_eq!(blocked(1000, 6, Some(false)), Some(0));
        assert_eq!(blocked(1200, 6, Some(true)), Some(0));
        assert_eq!(blocked(1300, 6, None), None);
        assert_eq!(blocked(1400, 6, Some(false)), Some(0));
    }

    #[test]
    fn the_turn_that_is_under_way_counts_for_the_utilization() {
        let mut watch = Watch::default();
        let second = 1_000_000;
        assert_eq!(watch.look(1, second, &a_loop(1, 100, Some(true))).utilization, None);
        let half = watch.look(1, 2 * second, &a_loop(50, 600, Some(true)));
        assert_eq!((half.utilization, half.busy), (Some(0.5), 500_000_000));
        // Nothing new within so short a time.
        assert_eq!(watch.look(1, 2 * second + 10, &a_loop(51, 600, Some(false))).utilization, Some(0.5));
        let all = watch.look(1, 3 * second + 10, &a_loop(51, 600, Some(false)));
        assert!(all.utilization > Some(0.99), "{all:?}");
        assert_eq!(all.busy, 1_500_000_000);
        // A worker may write anything.
        let mad = watch.look(1, 4 * second, &a_loop(52, u64::MAX / 1_000_000, Some(true)));
        assert_eq!(mad.utilization, Some(1.0));
    }

    #[test]
    fn how_long_a_loop_was_busy_never_falls() {
        let mut watch = Watch::default();
        watch.look(1, 1_000, &a_loop(1, 10, Some(false)));
        // Its turn is the old one, and what it was busy for the new one's.
        let both = watch.look(1, 5_000, &a_loop(1, 14, Some(false))).busy;
        assert_eq!(both, 8_000_000);
        assert_eq!(watch.look(1, 5_001, &a_loop(2, 14, Some(true))).busy, both);
        assert_eq!(watch.look(1, 9_000, &a_loop(3, 19, Some(true))).busy, 9_000_000);
    }

    #[test]
    fn what_has_gone_is_forgotten() {
        let mut watch = Watch::default();
        watch.look(1, 1, &a_loop(1, 0, None));
        watch.look(2, 1, &a_loop(1, 0, None));
        watch.retain(&[2]);
        assert_eq!(watch.0.len(), 1);
    }
}
