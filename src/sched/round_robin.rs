//! Round robin: everybody in turn. Whoever cannot take one now keeps its place, and gets the turns that it missed later, up
//! to a bound.

use std::collections::VecDeque;

use crate::ids::WorkerId;

/// How many missed turns a worker gets later at most: a few times as many as may be under way to it, as many as it misses
/// when it is kept from its processor, or found blocked, a few times within a second. See docs/performance.md.
const MAX_OWED: u64 = 64;

/// Workers in the order of their turns.
///
/// A worker without credit is passed over but not moved back: as soon as it can take connections again it is the
/// next one. While it has had fewer turns than another and is idle enough, it has two in a row. So the shares of workers
/// that keep up on the whole stay equal, and what one missed does not come over it all at once.
#[derive(Debug, Default)]
pub struct RoundRobin {
    turns: VecDeque<Turn>,
    /// The most turns that anybody has had.
    most: u64,
    /// Whose turn was the last.
    last: Option<WorkerId>,
}

#[derive(Debug)]
struct Turn {
    worker: WorkerId,
    /// How many turns it has had, and those before its time or too long ago to be owed.
    had: u64,
}

impl RoundRobin {
    /// Adds a worker at the end. Adding it twice is a mistake of the caller's.
    pub fn add(&mut self, worker: WorkerId) {
        debug_assert!(!self.contains(worker));
        self.turns.push_back(Turn { worker, had: self.most });
    }

    /// Removes a worker; false when it was not there.
    pub fn remove(&mut self, worker: WorkerId) -> bool {
        let before = self.turns.len();
        self.turns.retain(|turn| turn.worker != worker);
        self.turns.len() < before
    }

    /// True when nobody is left.
    pub fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// Everybody, in the order of their turns.
    pub fn workers(&self) -> impl Iterator<Item = WorkerId> + '_ {
        self.turns.iter().map(|turn| turn.worker)
    }

    /// True when this worker takes part.
    pub fn contains(&self, worker: WorkerId) -> bool {
        self.workers().any(|other| other == worker)
    }

    /// The first in turn that `may_take` a connection. It then goes to the end of the line, unless it is owed another and
    /// `is_idle`.
    pub fn next(
        &mut self,
        mut may_take: impl FnMut(WorkerId) -> bool,
        is_idle: impl FnOnce(WorkerId) -> bool,
    ) -> Option<WorkerId> {
        let place = self.turns.iter().position(|turn| may_take(turn.worker))?;
        let Turn { worker, had } = self.turns.remove(place)?;
        let had = had.max(self.most.saturating_sub(MAX_OWED)) + 1;
        self.most = self.most.max(had);
        if had < self.most && self.last != Some(worker) && is_idle(worker) {
            self.turns.push_front(Turn { worker, had });
        } else {
            self.turns.push_back(Turn { worker, had });
        }
        self.last = Some(worker);
        Some(worker)
    }

    /// What the worker was given last has been taken back from it: it has not had that turn.
    pub fn undo(&mut self, worker: WorkerId) {
        if let Some(turn) = self.turns.iter_mut().find(|turn| turn.worker == worker) {
            turn.had = turn.had.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(count: u32) -> RoundRobin {
        let mut line = RoundRobin::default();
        (1..=count).for_each(|id| line.add(WorkerId(id)));
        line
    }

    #[test]
    fn everybody_in_turn() {
        let mut line = line(3);
        let order: Vec<u32> = (0..7).map(|_| line.next(|_| true, |_| true).unwrap().0).collect();
        assert_eq!(order, [1, 2, 3, 1, 2, 3, 1]);
    }

    #[test]
    fn a_busy_worker_is_passed_over_and_comes_next_when_it_is_free() {
        let mut line = line(3);
        assert_eq!(line.next(|worker| worker.0 != 1, |_| true), Some(WorkerId(2)));
        assert_eq!(line.next(|worker| worker.0 != 1, |_| true), Some(WorkerId(3)));
        assert_eq!(line.next(|_| true, |_| true), Some(WorkerId(1)));
        assert_eq!(line.next(|_| false, |_| true), None);
        assert_eq!(line.next(|_| true, |_| true), Some(WorkerId(2)));
    }

    /// How many of the next `count` connections each of three workers gets.
    fn shares(line: &mut RoundRobin, count: usize, may_take: impl Fn(WorkerId) -> bool) -> [u64; 3] {
        let mut shares = [0; 3];
        for _ in 0..count {
            shares[line.next(&may_take, |_| true).unwrap().0 as usize - 1] += 1;
        }
        shares
    }

    #[test]
    fn a_worker_that_missed_a_few_turns_gets_them_back_and_has_two_in_a_row_at_most() {
        let mut line = line(3);
        assert_eq!(shares(&mut line, 10, |worker| worker.0 != 1), [0, 5, 5]);
        let order: Vec<u32> = (0..12).map(|_| line.next(|_| true, |_| true).unwrap().0).collect();
        assert_eq!(order, [1, 1, 2, 3, 1, 1, 2, 3, 1, 1, 2, 3]);
        shares(&mut line, 30, |_| true);
        assert_eq!(shares(&mut line, 300, |_| true), [100, 100, 100]);
    }

    #[test]
    fn a_worker_that_has_enough_to_do_waits_for_what_it_missed() {
        let mut line = line(3);
        shares(&mut line, 10, |worker| worker.0 != 1);
        let order: Vec<u32> = (0..6).map(|_| line.next(|_| true, |_| false).unwrap().0).collect();
        assert_eq!(order, [1, 2, 3, 1, 2, 3]);
        let order: Vec<u32> = (0..4).map(|_| line.next(|_| true, |_| true).unwrap().0).collect();
        assert_eq!(order, [1, 1, 2, 3]);
    }

    #[test]
    fn a_worker_that_was_away_for_long_is_owed_no_more_than_a_few() {
        let mut line = line(3);
        shares(&mut line, 10_000, |worker| worker.0 != 1);
        let [one, _, _] = shares(&mut line, 3_000, |_| true);
        assert!((1_000..=1_000 + MAX_OWED).contains(&one), "{one}");
    }

    #[test]
    fn what_was_taken_back_is_made_up_for() {
        let mut line = line(3);
        assert_eq!(shares(&mut line, 30, |_| true), [10, 10, 10]);
        (0..6).for_each(|_| line.undo(WorkerId(1)));
        // Six for those that were taken back, and a third of the rest.
        assert_eq!(shares(&mut line, 306, |_| true), [106, 100, 100]);
    }

    #[test]
    fn a_new_worker_is_owed_nothing() {
        let mut line = line(2);
        assert!((0..100).all(|_| line.next(|_| true, |_| true).is_some()));
        line.add(WorkerId(3));
        assert_eq!(shares(&mut line, 30, |_| true), [10, 10, 10]);
    }

    proptest! {
        #[test]
        fn shares_differ_by_one_at_most_among_the_willing(workers in 1u32..8, rounds in 1usize..200) {
            let mut line = line(workers);
            let mut shares = vec![0usize; workers as usize];
            for _ in 0..rounds {
                shares[line.next(|_| true, |_| true).unwrap().0 as usize - 1] += 1;
            }
            let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
            prop_assert!(most - least <= 1);
        }

        #[test]
        fn whatever_was_missed_shares_are_equal_again_and_nobody_is_kept_waiting(
            workers in 2u32..6,
            absences in proptest::collection::vec((0u32..6, 0usize..40), 0..12),
        ) {
            let mut line = line(workers);
            for (absent, rounds) in absences {
                for _ in 0..rounds {
                    prop_assert!(line.next(|worker| worker.0 != absent, |_| true).is_some());
                }
            }
            let mut last = vec![0usize; workers as usize];
            let settled = 4 * MAX_OWED as usize * workers as usize;
            for round in 1..=settled {
                let worker = line.next(|_| true, |_| true).unwrap().0 as usize - 1;
                last[worker] = round;
                // Those that are owed something are served in between, everybody else goes on in turn.
                let longest = last.iter().map(|last| round - last).max().unwrap();
                prop_assert!(longest <= 4 * MAX_OWED as usize * workers as usize / 2, "{longest}");
            }
            let mut shares = vec![0usize; workers as usize];
            for _ in 0..10 * workers {
                shares[line.next(|_| true, |_| true).unwrap().0 as usize - 1] += 1;
            }
            prop_assert!(shares.iter().all(|share| *share == 10), "{shares:?}");
        }
    }
}
