//! For how long idle workers may be kept waiting for busy ones.

use std::time::{Duration, Instant};

/// The most patience that there can be: for as long as a worker may be kept from its processor when everybody is busy,
/// and be behind. See docs/performance.md.
const MAX_PATIENCE: Duration = Duration::from_millis(50);

/// How much longer it takes to gain patience than to lose it: a worker that is slower than others for good keeps them waiting
/// for a quarter of the time at most.
const GAINED_IN: i64 = 3;

/// Is lost while it is tried, and gained again while it is not.
#[derive(Debug, Default)]
pub struct Patience {
    /// Nanoseconds; below zero when it was tried for longer than it lasted, as nobody came to look.
    left: i64,
    looked: Option<Instant>,
    is_tried: bool,
}

impl Patience {
    /// Whether somebody may be kept waiting at this moment.
    pub fn lasts(&mut self, now: Instant) -> bool {
        let most = as_nanos(MAX_PATIENCE);
        let passed =
            self.looked.map_or(0, |looked| as_nanos(now.saturating_duration_since(looked)).min(most));
        self.left = if self.is_tried { self.left - passed } else { most.min(self.left + passed / GAINED_IN) };
        self.looked = Some(now);
        self.left > 0
    }

    /// From now on somebody is kept waiting, or nobody is.
    pub fn set_tried(&mut self, is_tried: bool) {
        self.is_tried = is_tried;
    }
}

fn as_nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_gained_in_three_times_the_time_in_which_it_is_lost_and_there_is_a_most_of_it() {
        let mut patience = Patience::default();
        let mut now = Instant::now();
        assert!(!patience.lasts(now));
        let mut pass = |patience: &mut Patience, milliseconds| {
            now += Duration::from_millis(milliseconds);
            patience.lasts(now)
        };
        (0..400).for_each(|_| assert!(pass(&mut patience, 1)));
        patience.set_tried(true);
        (0..49).for_each(|_| assert!(pass(&mut patience, 1)));
        assert!(!pass(&mut patience, 1));
        assert!(!pass(&mut patience, 5));
        patience.set_tried(false);
        (0..3).for_each(|_| assert!(!pass(&mut patience, 5)));
        assert!(pass(&mut patience, 3));
        patience.set_tried(true);
        assert!(!pass(&mut patience, 1));
    }

    #[test]
    fn a_long_time_without_a_look_costs_no_more_than_there_can_be() {
        let mut patience = Patience::default();
        let now = Instant::now();
        patience.lasts(now);
        patience.set_tried(true);
        assert!(!patience.lasts(now + Duration::from_secs(3600)));
        patience.set_tried(false);
        let mut later = now + Duration::from_secs(3600);
        // As much again, and one more to have some.
        for _ in 0..GAINED_IN {
            assert!(!patience.lasts(later));
            later += MAX_PATIENCE;
        }
        patience.lasts(later);
        assert!(patience.lasts(later + Duration::from_millis(1)));
    }
}
