//! Round robin: everybody in turn, whoever cannot take one now keeps the turn's place for later.

use std::collections::VecDeque;

use crate::ids::WorkerId;

/// Workers in the order of their turns.
///
/// A worker without credit is passed over but not moved back: as soon as it can take connections again it is the
/// next one, so that over time the shares stay equal among workers that keep up.
#[derive(Debug, Default)]
pub struct RoundRobin {
    turns: VecDeque<WorkerId>,
}

impl RoundRobin {
    /// Adds a worker at the end. Adding it twice is a mistake of the caller's.
    pub fn add(&mut self, worker: WorkerId) {
        debug_assert!(!self.turns.contains(&worker));
        self.turns.push_back(worker);
    }

    /// Removes a worker; false when it was not there.
    pub fn remove(&mut self, worker: WorkerId) -> bool {
        let before = self.turns.len();
        self.turns.retain(|other| *other != worker);
        self.turns.len() < before
    }

    /// True when nobody is left.
    pub fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// Everybody, in the order of their turns.
    pub fn workers(&self) -> impl Iterator<Item = WorkerId> + '_ {
        self.turns.iter().copied()
    }

    /// True when this worker takes part.
    pub fn contains(&self, worker: WorkerId) -> bool {
        self.turns.contains(&worker)
    }

    /// The first in turn that `may_take` a connection, who then goes to the end of the line.
    pub fn next(&mut self, mut may_take: impl FnMut(WorkerId) -> bool) -> Option<WorkerId> {
        let place = self.turns.iter().position(|worker| may_take(*worker))?;
        let worker = self.turns.remove(place)?;
        self.turns.push_back(worker);
        Some(worker)
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
        let order: Vec<u32> = (0..7).map(|_| line.next(|_| true).unwrap().0).collect();
        assert_eq!(order, [1, 2, 3, 1, 2, 3, 1]);
    }

    #[test]
    fn a_busy_worker_is_passed_over_and_comes_next_when_it_is_free() {
        let mut line = line(3);
        assert_eq!(line.next(|worker| worker.0 != 1), Some(WorkerId(2)));
        assert_eq!(line.next(|worker| worker.0 != 1), Some(WorkerId(3)));
        assert_eq!(line.next(|_| true), Some(WorkerId(1)));
        assert_eq!(line.next(|_| false), None);
        assert_eq!(line.next(|_| true), Some(WorkerId(2)));
    }

    proptest! {
        #[test]
        fn shares_differ_by_one_at_most_among_the_willing(workers in 1u32..8, rounds in 1usize..200) {
            let mut line = line(workers);
            let mut shares = vec![0usize; workers as usize];
            for _ in 0..rounds {
                shares[line.next(|_| true).unwrap().0 as usize - 1] += 1;
            }
            let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
            prop_assert!(most - least <= 1);
        }
    }
}
