//! Least load: a connection goes to the worker with the fewest open connections of its server, for its weight, that is not
//! blocked. It is for connections that last: who has many is busy with them later, whoever is idle now.
//!
//! All workers are looked at, and not two of them at random: the primary knows at once what it has given to whom, so that
//! nobody is flooded for having looked empty. See docs/policies.md for what both come to.

use std::time::{Duration, Instant};

use super::load::{Loads, Open};
use super::policy::{Incoming, Policy};
use super::turns::{self, Member, TURN, Weight, Weights};
use crate::ids::WorkerId;

/// How many turns that a worker has missed it gets later at most, among those with equal loads.
const MAX_OWED: u64 = 16;

/// More connections than any worker has.
const MOST: u64 = 1 << 40;

/// Who has time for a connection within so long counts as free.
const SOON: Duration = Duration::from_millis(2);

/// Workers in the order in which they had their last turns.
#[derive(Debug, Default)]
pub struct Least {
    members: Vec<Member>,
    weights: Weights,
    /// The candidates of a pick, kept for their memory.
    candidates: Vec<Candidate>,
}

#[derive(Debug)]
struct Candidate {
    place: usize,
    turns: u64,
    open: Option<Open>,
    /// Connections by weight, and whether its loop has no time left.
    load: (u64, bool),
}

/// The utilization, in thousandths, from which on a worker comes last among those with as many connections.
const SATURATED: u32 = 750;

impl Least {
    /// Those that may take a connection, the one with the least load first; of several, in turn.
    fn set_candidates(&mut self, loads: &dyn Loads) {
        let Least { members, weights, candidates } = self;
        let most = members.iter().map(|member| member.turns).max().unwrap_or_default();
        candidates.clear();
        for (place, member) in members.iter().enumerate() {
            if loads.load(member.worker).availability.may_take() {
                let open = loads.open(member.worker);
                let turns = member.turns.max(most.saturating_sub(MAX_OWED * TURN));
                candidates.push(Candidate { place, turns, open, load: (0, false) });
            }
        }
        let known = candidates.iter().filter_map(|candidate| candidate.open);
        let (sum, count) = known.fold((0, 0), |(sum, count), open| (sum + open.connections, count + 1));
        let weight = |candidate: &Candidate| members[candidate.place].weight;
        let mean = turns::mean(candidates.iter().map(|candidate| (weight(candidate), candidate.turns)));
        let mean = mean.unwrap_or_default();
        for candidate in candidates.iter_mut() {
            // Whose load nobody tells has as much as others, as far as is known.
            let Open { connections, utilization } = candidate
                .open
                .unwrap_or(Open { connections: sum.checked_div(count).unwrap_or_default(), utilization: 0 });
            let by_weight = (connections.min(MOST) << 20) / u64::from(members[candidate.place].weight.get());
            candidate.load = (by_weight, utilization >= SATURATED);
        }
        candidates.sort_by_key(|candidate| {
            let rank = turns::rank(candidate.turns, weights.turn(members[candidate.place].weight), mean);
            (candidate.load, rank)
        });
    }

    fn weigh_all(&mut self) {
        self.weights = Weights::of(&self.members);
    }
}

impl Policy for Least {
    fn add(&mut self, worker: WorkerId) {
        let turns = self.members.iter().map(|member| member.turns).max().unwrap_or_default();
        self.members.push(Member { worker, weight: Weight::MIN, turns });
        self.weigh_all();
    }

    fn remove(&mut self, worker: WorkerId) {
        self.members.retain(|member| member.worker != worker);
        self.weigh_all();
    }

    fn set_weight(&mut self, worker: WorkerId, weight: Weight) {
        if let Some(member) = self.members.iter_mut().find(|member| member.worker == worker) {
            member.weight = weight;
            self.weigh_all();
        }
    }

    /// Picks the one with the least load that is free. While nobody is, the one at which the connection would wait least, if
    /// that is known.
    fn pick(&mut self, _now: Instant, _connection: &Incoming, loads: &dyn Loads) -> Option<WorkerId> {
        self.set_candidates(loads);
        let mut least: Option<(Duration, usize)> = None;
        let mut free = None;
        for candidate in &self.candidates {
            let worker = self.members[candidate.place].worker;
            let wait = loads.wait(worker);
            if wait.is_some_and(|wait| wait <= SOON) || loads.is_idle(worker) {
                free = Some(candidate);
                break;
            }
            if let Some(wait) = wait
                && least.is_none_or(|(shortest, _)| wait < shortest)
            {
                least = Some((wait, candidate.place));
            }
        }
        let (place, turns) = match (free, least) {
            (Some(candidate), _) => (candidate.place, candidate.turns),
            (None, Some((_, place))) => (place, self.members[place].turns),
            (None, None) => return None,
        };
        let member = self.members.remove(place);
        let worker = member.worker;
        let turns = turns + self.weights.turn(member.weight);
        self.members.push(Member { turns, ..member });
        Some(worker)
    }

    fn recalled(&mut self, worker: WorkerId, _connection: &Incoming) {
        if let Some(member) = self.members.iter_mut().find(|member| member.worker == worker) {
            member.turns = member.turns.saturating_sub(self.weights.turn(member.weight));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::load::{Availability, Load};
    use super::*;
    use crate::address::Peer;

    const CONNECTION: Incoming = Incoming { peer: Peer::Unix, chosen: None };

    /// A worker of these tests.
    #[derive(Clone, Copy, Debug)]
    struct Seen {
        open: Option<u64>,
        utilization: u32,
        is_free: bool,
        is_away: bool,
    }

    impl Seen {
        fn with(open: u64) -> Self {
            Seen { open: Some(open), utilization: 0, is_free: true, is_away: false }
        }

        fn blocked(self) -> Self {
            Seen { is_free: false, ..self }
        }

        fn busy(self, utilization: u32) -> Self {
            Seen { utilization, ..self }
        }
    }

    impl Loads for &[Seen] {
        fn load(&self, worker: WorkerId) -> Load {
            match self[worker.0 as usize].is_away {
                true => Load::AWAY,
                false => Load { availability: Availability::Busy, in_flight: 0 },
            }
        }

        fn is_idle(&self, worker: WorkerId) -> bool {
            self[worker.0 as usize].is_free
        }

        fn open(&self, worker: WorkerId) -> Option<Open> {
            let Seen { open, utilization, .. } = self[worker.0 as usize];
            open.map(|connections| Open { connections, utilization })
        }
    }

    fn least(weights: &[u32]) -> Least {
        let mut least = Least::default();
        for (worker, weight) in (0..).map(WorkerId).zip(weights) {
            least.add(worker);
            least.set_weight(worker, Weight::new(*weight).unwrap());
        }
        least
    }

    fn pick(least: &mut Least, workers: &[Seen]) -> Option<u32> {
        least.pick(Instant::now(), &CONNECTION, &workers).map(|worker| worker.0)
    }

    /// Opens that many connections that last.
    fn open(least: &mut Least, workers: &mut [Seen], count: usize) {
        for _ in 0..count {
            let worker = pick(least, workers).unwrap();
            let open = &mut workers[worker as usize].open;
            *open = open.map(|open| open + 1);
        }
    }

    #[test]
    fn the_one_with_the_fewest_gets_the_next_until_all_have_as_many() {
        let mut workers = [7, 2, 4].map(Seen::with);
        open(&mut least(&[1, 1, 1]), &mut workers, 8);
        assert_eq!(workers.map(|worker| worker.open), [Some(7); 3]);
    }

    #[test]
    fn numbers_are_by_weight() {
        let mut workers = [0, 0, 9].map(Seen::with);
        open(&mut least(&[3, 1, 1]), &mut workers, 36);
        assert_eq!(workers.map(|worker| worker.open), [Some(27), Some(9), Some(9)]);
    }

    #[test]
    fn a_blocked_one_is_passed_over_whatever_the_others_have_and_nobody_waits_there() {
        let mut policy = least(&[1, 1, 1]);
        assert_eq!(pick(&mut policy, &[Seen::with(0).blocked(), Seen::with(90), Seen::with(80)]), Some(2));
        assert_eq!(pick(&mut policy, &[0, 90, 80].map(|open| Seen::with(open).blocked())), None);
    }

    #[test]
    fn of_two_with_as_many_the_one_gets_it_that_has_time_left() {
        let mut policy = least(&[1, 1]);
        assert_eq!(pick(&mut policy, &[Seen::with(5).busy(900), Seen::with(5).busy(100)]), Some(1));
        assert_eq!(pick(&mut policy, &[Seen::with(5).busy(900), Seen::with(6).busy(100)]), Some(0));
    }

    #[test]
    fn one_of_which_nobody_knows_counts_as_one_of_the_others() {
        let unknown = Seen { open: None, ..Seen::with(0) };
        let mut policy = least(&[1, 1, 1]);
        assert_eq!(pick(&mut policy, &[Seen::with(9), unknown, Seen::with(3)]), Some(2));
        assert_eq!(pick(&mut policy, &[Seen::with(9), unknown, Seen::with(3).blocked()]), Some(1));
        let turns: Vec<_> = (0..6).filter_map(|_| pick(&mut policy, &[unknown; 3])).collect();
        assert_eq!(turns[..3], turns[3..]);
    }

    #[test]
    fn connections_that_do_not_last_go_round() {
        let mut policy = least(&[1, 1, 1]);
        let turns: Vec<_> = (0..6).filter_map(|_| pick(&mut policy, &[0; 3].map(Seen::with))).collect();
        assert_eq!(turns, [0, 1, 2, 0, 1, 2]);
        let mut weighted = least(&[3, 1, 1]);
        let turns: Vec<_> = (0..5).filter_map(|_| pick(&mut weighted, &[0; 3].map(Seen::with))).collect();
        assert_eq!(turns, [0, 1, 0, 2, 0]);
    }

    /// What other ways of choosing make of connections that last: how many more the fullest of the workers has than the mean.
    fn excess(workers: usize, count: usize, mut choose: impl FnMut(&[Seen]) -> usize) -> u64 {
        let mut seen = vec![Seen::with(0); workers];
        for _ in 0..count {
            let chosen = choose(&seen);
            seen[chosen].open = seen[chosen].open.map(|open| open + 1);
        }
        seen.iter().filter_map(|worker| worker.open).max().unwrap() - (count / workers) as u64
    }

    /// The measurement by which all are looked at, and not two at random.
    #[test]
    fn looking_at_all_is_more_even_than_two_choices() {
        let mut random = 1u64;
        let mut next = move |below: usize| {
            // xorshift64
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random >> 11) as usize % below
        };
        for workers in [4, 16, 64] {
            let mut policy = least(&vec![1; workers]);
            let all = excess(workers, workers * 100, |seen| pick(&mut policy, seen).unwrap() as usize);
            let two = excess(workers, workers * 100, |seen| {
                let (one, other) = (next(workers), next(workers));
                if seen[one].open <= seen[other].open { one } else { other }
            });
            println!("{workers} workers: {all} above the mean by a look at all, {two} by two choices");
            assert_eq!(all, 0);
            assert!(two > 0);
        }
    }

    proptest! {
        #[test]
        fn never_a_blocked_one_while_another_is_free(
            rounds in proptest::collection::vec(
                proptest::collection::vec((proptest::option::of(0u64..50), 0u32..1000, any::<bool>(), any::<bool>()), 5),
                1..60,
            ),
            weights in proptest::collection::vec(1u32..9, 5),
        ) {
            let mut policy = least(&weights);
            for round in rounds {
                let workers: Vec<Seen> = round
                    .into_iter()
                    .map(|(open, utilization, is_free, is_away)| Seen { open, utilization, is_free, is_away })
                    .collect();
                let is_fit = |worker: &Seen| worker.is_free && !worker.is_away;
                let picked = pick(&mut policy, &workers).map(|worker| worker as usize);
                prop_assert_eq!(picked.is_some(), workers.iter().any(is_fit));
                if let Some(picked) = picked {
                    prop_assert!(is_fit(&workers[picked]));
                    // Nobody who is free and known has less, for his weight.
                    if let Some(open) = workers[picked].open {
                        for (place, other) in workers.iter().enumerate().filter(|(_, other)| is_fit(other)) {
                            let has_less = |less| less * u64::from(weights[picked]) < open * u64::from(weights[place]);
                            prop_assert!(!other.open.is_some_and(has_less));
                        }
                    }
                }
            }
        }
    }
}
