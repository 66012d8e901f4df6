//! What holds for several policies, as pure structs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{Availability, Incoming, Load, Loads, Policy, PolicyChoice, Weight};
use crate::address::Peer;
use crate::ids::WorkerId;

const CONNECTION: Incoming = Incoming { peer: Peer::Unix, chosen: None };

/// Policies that keep to weights while workers are idle.
const WEIGHTED: [PolicyChoice; 3] = [PolicyChoice::OneQueue, PolicyChoice::RoundRobin, PolicyChoice::Least];

/// Workers of which each is idle, or nobody's choice.
struct Idle<F>(F);

impl<F: Fn(WorkerId) -> bool> Loads for Idle<F> {
    fn load(&self, worker: WorkerId) -> Load {
        match self.0(worker) {
            true => Load { availability: Availability::Idle, in_flight: 0 },
            false => Load::AWAY,
        }
    }
}

/// A policy whose workers have these weights, the first of them called 0.
fn weighted(choice: &PolicyChoice, weights: &[u32]) -> Box<dyn Policy> {
    let mut policy = choice.policy();
    for (worker, weight) in (0..).zip(weights) {
        policy.add(WorkerId(worker));
        weigh(&mut policy, worker, *weight);
    }
    policy
}

fn weigh(policy: &mut Box<dyn Policy>, worker: u32, weight: u32) {
    policy.set_weight(WorkerId(worker), Weight::new(weight).unwrap());
}

/// Who gets the next connections while these are idle.
fn picks(policy: &mut Box<dyn Policy>, count: usize, is_idle: impl Fn(WorkerId) -> bool) -> Vec<u32> {
    let loads = Idle(is_idle);
    let now = Instant::now();
    (0..count).map(|_| policy.pick(now, &CONNECTION, &loads).unwrap().0).collect()
}

fn shares(picks: &[u32]) -> BTreeMap<u32, u64> {
    let mut shares = BTreeMap::new();
    picks.iter().for_each(|worker| *shares.entry(*worker).or_default() += 1);
    shares
}

/// Each worker has what its weight entitles it to, give or take as much.
fn assert_shares(picks: &[u32], weights: &[u32], slack: f64) {
    let total: u32 = weights.iter().sum();
    let shares = shares(picks);
    for (worker, weight) in (0u32..).zip(weights) {
        let share = shares.get(&worker).copied().unwrap_or_default() as f64;
        let expected = picks.len() as f64 * f64::from(*weight) / f64::from(total);
        assert!((share - expected).abs() <= slack, "{worker} has {share} instead of {expected}: {weights:?}");
    }
}

#[test]
fn shares_are_by_weight_to_the_connection() {
    for choice in WEIGHTED {
        let picked = picks(&mut weighted(&choice, &[3, 1, 1]), 10_000, |_| true);
        assert_shares(&picked, &[3, 1, 1], 1.0);
    }
}

#[test]
fn turns_of_the_heavier_lie_between_those_of_the_others() {
    for choice in WEIGHTED {
        let picked = picks(&mut weighted(&choice, &[3, 1, 1]), 10, |_| true);
        assert_eq!(picked, [0, 1, 0, 2, 0, 0, 1, 0, 2, 0], "{choice:?}");
    }
}

#[test]
fn a_weight_that_changes_counts_from_the_next_connection_on() {
    for choice in WEIGHTED {
        let mut policy = weighted(&choice, &[1, 1, 1]);
        assert_shares(&picks(&mut policy, 300, |_| true), &[1, 1, 1], 1.0);
        weigh(&mut policy, 1, 8);
        assert_shares(&picks(&mut policy, 1000, |_| true), &[1, 8, 1], 2.0);
        weigh(&mut policy, 1, 1);
        assert_shares(&picks(&mut policy, 300, |_| true), &[1, 1, 1], 2.0);
    }
}

#[test]
fn equal_weights_are_no_weights() {
    for choice in WEIGHTED {
        let mut sevens = weighted(&choice, &[7, 7, 7]);
        let mut ones = weighted(&choice, &[1, 1, 1]);
        for absent in [3, 0, 1, 2, 3] {
            let [seven, one] = [&mut sevens, &mut ones].map(|policy| picks(policy, 20, |id| id.0 != absent));
            assert_eq!(seven, one);
        }
    }
}

#[test]
fn a_turn_that_was_recalled_comes_again() {
    for choice in WEIGHTED {
        let mut policy = weighted(&choice, &[3, 1, 1]);
        let lost = picks(&mut policy, 50, |_| true);
        (0..6).for_each(|_| policy.recalled(WorkerId(0), &CONNECTION));
        let mut kept = picks(&mut policy, 206, |_| true);
        kept.extend(lost);
        for _ in 0..6 {
            let place = kept.iter().position(|worker| *worker == 0).unwrap();
            kept.remove(place);
        }
        assert_shares(&kept, &[3, 1, 1], 1.0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn shares_are_by_weight_whatever_was_missed(
        weights in proptest::collection::vec(1u32..20, 2..6),
        absences in proptest::collection::vec((0u32..6, 0usize..60), 0..8),
    ) {
        for choice in WEIGHTED {
            let mut policy = weighted(&choice, &weights);
            for (absent, rounds) in &absences {
                let picked = picks(&mut policy, *rounds, |id| id.0 != *absent);
                prop_assert!(!picked.contains(absent));
            }
            // What may be owed to all, with a turn of the heaviest for each of the lightest.
            let total: u32 = weights.iter().sum();
            picks(&mut policy, 300 * total as usize, |_| true);
            let picked = picks(&mut policy, 40 * total as usize, |_| true);
            assert_shares(&picked, &weights, weights.len() as f64);
        }
    }

    /// What was missed comes between the turns of others.
    #[test]
    fn in_turns_nobody_is_flooded_with_what_he_has_missed(
        weights in proptest::collection::vec(1u32..5, 3),
        missed in 0usize..500,
    ) {
        let mut policy = weighted(&PolicyChoice::RoundRobin, &weights);
        picks(&mut policy, missed, |id| id.0 != 0);
        let picked = picks(&mut policy, 1000, |_| true);
        let longest = picked.chunk_by(|one, other| one == other).map(<[u32]>::len).max().unwrap();
        let natural = weights[0].div_ceil(weights[1] + weights[2]);
        let of_others = weights[1].max(weights[2]) as usize;
        prop_assert!(longest <= (2 * natural as usize).max(2 * of_others), "{weights:?}: {longest}");
    }

    /// No worker waits for longer than twice as long as it would if turns were spread evenly.
    #[test]
    fn turns_are_spread(weights in proptest::collection::vec(1u32..20, 2..6)) {
        let total: u32 = weights.iter().sum();
        for choice in WEIGHTED {
            let picked = picks(&mut weighted(&choice, &weights), 6 * total as usize, |_| true);
            for (worker, weight) in (0u32..).zip(&weights) {
                let places: Vec<_> = picked.iter().enumerate().filter(|(_, id)| **id == worker).map(|(at, _)| at).collect();
                let longest = places.windows(2).map(|two| two[1] - two[0]).max().unwrap();
                prop_assert!(longest as u32 <= 2 * total.div_ceil(*weight), "{worker} of {weights:?}: {longest}");
            }
        }
    }
}

#[test]
fn time_does_not_matter_to_idle_workers() {
    for choice in WEIGHTED {
        let (mut one, mut two) = (weighted(&choice, &[2, 1]), weighted(&choice, &[2, 1]));
        let now = Instant::now();
        for round in 0..30 {
            let later = now + Duration::from_secs(round);
            let idle = Idle(|_| true);
            assert_eq!(one.pick(now, &CONNECTION, &idle), two.pick(later, &CONNECTION, &idle));
        }
    }
}

/// The example of docs/policies.md, which prints it whole.
mod example {
    use super::super::FewestWorkers;
    use super::*;

    #[test]
    fn the_document_prints_what_is_compiled_here() {
        let document = include_str!("../../docs/policies.md");
        assert!(document.contains(include_str!("example.rs").trim_end()));
    }

    #[test]
    fn the_first_worker_has_connections_until_many_are_on_their_way() {
        let mut policy = FewestWorkers::default();
        (0..3).for_each(|worker| policy.add(WorkerId(worker)));
        let mut pick = |in_flight: [usize; 3]| {
            let load = |worker: WorkerId| Load {
                availability: Availability::Busy,
                in_flight: in_flight[worker.0 as usize],
            };
            policy.pick(Instant::now(), &CONNECTION, &load).map(|worker| worker.0)
        };
        assert_eq!(pick([0, 0, 0]), Some(0));
        assert_eq!(pick([3, 0, 0]), Some(0));
        assert_eq!(pick([4, 0, 0]), Some(1));
        assert_eq!(pick([4, 4, 4]), None);
        policy.remove(WorkerId(0));
        assert_eq!(Some(1), policy.pick(Instant::now(), &CONNECTION, &Idle(|_| true)).map(|worker| worker.0));
    }
}
