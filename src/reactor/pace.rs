//! How often a source whose events take long has its turn, while others have events that do not; no I/O.
//!
//! A large message is one piece: nobody has a turn while it is converted and parsed, and its bytes do not say
//! how long that takes. A string of 500 KB takes less than 1 ms, as many brackets take 30. So the time is
//! measured, and after a long piece all sources of long pieces rest together: many that take turns must not
//! have more of the loop than one.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Nobody minds a piece that takes less.
const LONG: Duration = Duration::from_millis(1);

/// The rest after a piece, in times of that piece, is one for each millisecond of it, up to so many. A piece
/// of 2 ms has a third of the loop at most, one of 9 ms or more a tenth.
const MOST_RESTS: u32 = 9;

/// Nobody is spared by a rest when no other source has had an event for so long.
const LULL: Duration = Duration::from_millis(20);

/// What the large events of each source take, and until when those that take long rest.
#[derive(Debug)]
pub struct Pace<S> {
    /// For sources that have had any.
    costs: HashMap<S, Duration>,
    rests_until: Option<Instant>,
    /// When the last event was taken that is not one of these.
    last_short: Option<Instant>,
}

impl<S> Default for Pace<S> {
    fn default() -> Self {
        Pace { costs: HashMap::new(), rests_until: None, last_short: None }
    }
}

impl<S: Copy + Eq + Hash> Pace<S> {
    /// Whether a large event of this source is to be expected to take long. Nothing is known of a new source:
    /// it must not be worth while to come again and again as one.
    pub fn is_long(&self, source: S) -> bool {
        self.costs.get(&source).is_none_or(|cost| *cost >= LONG)
    }

    /// Whether so much time is more than nobody minds.
    pub fn is_long_time(&self, time: Duration) -> bool {
        time >= LONG
    }

    /// A large event has taken so long. One that is short changes little for a source that has had a long one.
    pub fn measured(&mut self, source: S, cost: Duration, now: Instant) {
        let known = self.costs.entry(source).or_default();
        *known = cost.max(*known * 3 / 4);
        if cost >= LONG {
            let times = (cost.as_millis() as u32).min(MOST_RESTS);
            self.rests_until = Some(now + cost * times);
        }
    }

    /// An event was taken that does not take long. Those of a source that also has long ones are behind
    /// these, and served by no rest.
    pub fn short(&mut self, source: S, now: Instant) {
        if self.costs.get(&source).is_none_or(|cost| *cost < LONG) {
            self.last_short = Some(now);
        }
    }

    /// For how long those that take long are to rest.
    pub fn rest(&self, now: Instant) -> Duration {
        let rest = self.rests_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        let lull =
            self.last_short.map_or(Duration::ZERO, |last| (last + LULL).saturating_duration_since(now));
        rest.min(lull)
    }

    /// There will be nothing more of a source.
    pub fn forget(&mut self, source: S) {
        self.costs.remove(&source);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_rest_is_the_longer_the_longer_the_piece_and_a_tenth_of_the_loop_is_always_left() {
        for (cost, rest) in [(ms(1), ms(1)), (ms(2), ms(4)), (ms(9), ms(81)), (ms(20), ms(180))] {
            let (mut pace, now) = (Pace::default(), Instant::now());
            pace.measured(1, cost, now);
            // Others have events all the time.
            pace.short(2, now + rest);
            assert_eq!(pace.rest(now), rest, "{cost:?}");
            assert_eq!(pace.rest(now + rest), Duration::ZERO);
        }
    }

    #[test]
    fn nobody_rests_for_others_that_have_nothing_to_do_or_for_oneself() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        pace.measured(1, ms(50), now);
        pace.short(1, now);
        assert_eq!(pace.rest(now), Duration::ZERO);
        pace.short(2, now);
        assert_eq!(pace.rest(now), LULL);
        assert_eq!(pace.rest(now + LULL), Duration::ZERO);
    }

    #[test]
    fn short_pieces_need_no_rest_and_a_long_one_is_remembered_for_a_while() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        assert!(pace.is_long(1));
        pace.measured(1, ms(0), now);
        assert!(!pace.is_long(1) && pace.is_long(2));
        pace.short(2, now);
        assert_eq!(pace.rest(now), Duration::ZERO);
        pace.measured(1, ms(10), now);
        pace.measured(1, ms(0), now);
        assert!(pace.is_long(1));
        for _ in 0..10 {
            pace.measured(1, ms(0), now);
        }
        assert!(!pace.is_long(1));
        pace.forget(1);
        assert!(pace.is_long(1));
    }
}
