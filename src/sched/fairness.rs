//! How long connections may be kept from idle workers, so that busy ones get their share.

use std::time::{Duration, Instant};

/// The longest wait at a stretch: as long as a worker on a loaded machine may be without a processor, and
/// fall behind. See docs/performance.md.
const MAX_WAIT: Duration = Duration::from_millis(50);

/// Earning a wait takes so many times as long as spending it: a worker that is permanently slower keeps the
/// others waiting for at most a quarter of the time.
const EARNED_IN: i64 = 3;

/// A budget of time. It is spent while an idle worker is kept waiting, and earned again while none is.
#[derive(Debug, Default)]
pub struct Fairness {
    /// Nanoseconds. Negative when a wait took longer than the budget, because nothing checked it in between.
    left: i64,
    looked: Option<Instant>,
    is_waiting: bool,
}

impl Fairness {
    /// Whether an idle worker may be kept waiting at this moment.
    pub fn may_wait(&mut self, now: Instant) -> bool {
        let most = as_nanos(MAX_WAIT);
        let passed =
            self.looked.map_or(0, |looked| as_nanos(now.saturating_duration_since(looked)).min(most));
        self.left =
            if self.is_waiting { self.left - passed } else { most.min(self.left + passed / EARNED_IN) };
        self.looked = Some(now);
        self.left > 0
    }

    /// Notes whether an idle worker is kept waiting from now on.
    pub fn set_waiting(&mut self, is_waiting: bool) {
        self.is_waiting = is_waiting;
    }
}

fn as_nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_earned_in_three_times_the_time_in_which_it_is_spent_and_there_is_a_most_of_it() {
        let mut fairness = Fairness::default();
        let mut now = Instant::now();
        assert!(!fairness.may_wait(now));
        let mut pass = |fairness: &mut Fairness, milliseconds| {
            now += Duration::from_millis(milliseconds);
            fairness.may_wait(now)
        };
        (0..400).for_each(|_| assert!(pass(&mut fairness, 1)));
        fairness.set_waiting(true);
        (0..49).for_each(|_| assert!(pass(&mut fairness, 1)));
        assert!(!pass(&mut fairness, 1));
        assert!(!pass(&mut fairness, 5));
        fairness.set_waiting(false);
        (0..3).for_each(|_| assert!(!pass(&mut fairness, 5)));
        assert!(pass(&mut fairness, 3));
        fairness.set_waiting(true);
        assert!(!pass(&mut fairness, 1));
    }

    #[test]
    fn a_long_time_without_a_look_costs_no_more_than_there_can_be() {
        let mut fairness = Fairness::default();
        let now = Instant::now();
        fairness.may_wait(now);
        fairness.set_waiting(true);
        assert!(!fairness.may_wait(now + Duration::from_secs(3600)));
        fairness.set_waiting(false);
        let mut later = now + Duration::from_secs(3600);
        // As much again, and one more to have some.
        for _ in 0..EARNED_IN {
            assert!(!fairness.may_wait(later));
            later += MAX_WAIT;
        }
        fairness.may_wait(later);
        assert!(fairness.may_wait(later + Duration::from_millis(1)));
    }
}
