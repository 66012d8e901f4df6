//! One queue: a connection waits until a worker is idle, or will be so soon. Among those that are idle, the one that has had the
//! fewest turns gets it, so that connections that come one by one are shared equally.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::load::Loads;
use super::policy::{Incoming, Policy};
use super::turns::{self, Member, TURN, Weight, Weights};
use crate::ids::WorkerId;

/// How many turns that a worker has missed, being busy, it gets later at most.
const MAX_OWED: u64 = 16;

/// Workers with the fewest turns first, by their weights; of several that have had as many, the one whose last turn is longest ago.
#[derive(Debug, Default)]
pub struct OneQueue {
    members: VecDeque<Member>,
    weights: Weights,
    /// The order of a pick, kept for its memory.
    order: Vec<usize>,
}

impl OneQueue {
    /// Behind all that have had no more turns.
    fn insert(&mut self, member: Member) {
        let place = self.members.partition_point(|other| other.turns <= member.turns);
        self.members.insert(place, member);
    }

    /// The worker at this place has had a turn.
    fn take_turn(&mut self, place: usize) -> Option<WorkerId> {
        let owed_from = self.most().saturating_sub(MAX_OWED * TURN);
        let member = self.members.remove(place)?;
        let turns = member.turns.max(owed_from) + self.weights.turn(member.weight);
        let worker = member.worker;
        self.insert(Member { turns, ..member });
        Some(worker)
    }

    /// The places of the members in the order of their turns; by weight only of those that may take a connection.
    fn set_order(&mut self, loads: &dyn Loads) {
        let OneQueue { members, weights, order } = self;
        order.clear();
        order.extend(0..members.len());
        if weights.are_equal {
            return;
        }
        let owed_from = members.back().map_or(0, |member| member.turns.saturating_sub(MAX_OWED * TURN));
        let turns = |place: usize| members[place].turns.max(owed_from);
        order.retain(|place| loads.load(members[*place].worker).availability.may_take());
        let takers = order.iter().map(|place| (members[*place].weight, turns(*place)));
        if let Some(mean) = turns::mean(takers) {
            let turn = |place: usize| weights.turn(members[place].weight);
            order.sort_by_key(|place| turns::rank(turns(*place), turn(*place), mean));
        }
    }

    fn place_of(&self, worker: WorkerId) -> Option<usize> {
        self.members.iter().position(|member| member.worker == worker)
    }

    fn most(&self) -> u64 {
        self.members.back().map_or(0, |member| member.turns)
    }
}

impl Policy for OneQueue {
    fn add(&mut self, worker: WorkerId) {
        self.insert(Member { worker, weight: Weight::MIN, turns: self.most() });
        self.weights = Weights::of(&self.members);
    }

    fn remove(&mut self, worker: WorkerId) {
        self.members.retain(|member| member.worker != worker);
        self.weights = Weights::of(&self.members);
    }

    fn set_weight(&mut self, worker: WorkerId, weight: Weight) {
        if let Some(place) = self.place_of(worker) {
            self.members[place].weight = weight;
            self.weights = Weights::of(&self.members);
        }
    }

    /// Picks the first idle worker; otherwise the one at which the connection would wait least, if that is not long.
    fn pick(&mut self, _now: Instant, _connection: &Incoming, loads: &dyn Loads) -> Option<WorkerId> {
        // How long the connection would wait at the best of those that are not idle, behind how many others.
        let mut least = (Duration::MAX, usize::MAX);
        let (mut idle, mut ahead) = (None, None);
        self.set_order(loads);
        for &place in &self.order {
            let member = &self.members[place];
            let load = loads.load(member.worker);
            if !load.availability.may_take() {
                continue;
            }
            if loads.is_idle(member.worker) {
                idle = Some(place);
                break;
            }
            if let Some(wait) = loads.wait(member.worker)
                && (wait, load.in_flight) < least
            {
                least = (wait, load.in_flight);
                ahead = Some(place);
            }
        }
        self.take_turn(idle.or(ahead)?)
    }

    fn takes_first_come(&self) -> bool {
        true
    }

    fn came_first(&mut self, worker: WorkerId) {
        if let Some(place) = self.place_of(worker) {
            self.take_turn(place);
        }
    }

    fn recalled(&mut self, worker: WorkerId, _connection: &Incoming) {
        if let Some(place) = self.place_of(worker)
            && let Some(member) = self.members.remove(place)
        {
            let turn = self.weights.turn(member.weight);
            self.insert(Member { turns: member.turns.saturating_sub(turn), ..member });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::load::{Availability, Load};
    use super::*;
    use crate::address::Peer;

    const CONNECTION: Incoming = Incoming { peer: Peer::Unix, chosen: None };

    /// What a worker of these tests is about.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Worker {
        Idle,
        /// Busy for so many milliseconds, as far as is known.
        Busy(Option<u64>),
        Away,
    }

    struct Workers(Vec<Worker>);

    impl Loads for Workers {
        fn load(&self, worker: WorkerId) -> Load {
            let availability = match self.0[worker.0 as usize] {
                Worker::Idle => Availability::Idle,
                Worker::Busy(_) => Availability::Busy,
                Worker::Away => Availability::Away,
            };
            Load { availability, in_flight: 0 }
        }

        fn wait(&self, worker: WorkerId) -> Option<Duration> {
            match self.0[worker.0 as usize] {
                Worker::Busy(wait) => wait.map(Duration::from_millis),
                Worker::Idle | Worker::Away => None,
            }
        }

        fn is_idle(&self, worker: WorkerId) -> bool {
            self.0[worker.0 as usize] == Worker::Idle
        }
    }

    fn queue(count: u32) -> OneQueue {
        let mut queue = OneQueue::default();
        (0..count).for_each(|worker| queue.add(WorkerId(worker)));
        queue
    }

    fn pick(queue: &mut OneQueue, workers: &Workers) -> Option<u32> {
        queue.pick(Instant::now(), &CONNECTION, workers).map(|worker| worker.0)
    }

    fn states() -> impl Strategy<Value = Vec<Worker>> {
        let worker = prop_oneof![
            Just(Worker::Idle),
            proptest::option::of(0..9u64).prop_map(Worker::Busy),
            Just(Worker::Away),
        ];
        proptest::collection::vec(worker, 5)
    }

    #[test]
    fn while_all_are_idle_they_take_turns() {
        let mut queue = queue(3);
        let idle = Workers(vec![Worker::Idle; 4]);
        let picked: Vec<_> = (0..6).filter_map(|_| pick(&mut queue, &idle)).collect();
        assert_eq!(picked, [0, 1, 2, 0, 1, 2]);
        // One that comes later is owed nothing.
        queue.add(WorkerId(3));
        let picked: Vec<_> = (0..8).filter_map(|_| pick(&mut queue, &idle)).collect();
        assert_eq!(picked, [0, 1, 2, 3, 0, 1, 2, 3]);
    }

    #[test]
    fn a_worker_that_was_busy_in_its_turn_has_it_later() {
        let mut queue = queue(2);
        let busy = Workers(vec![Worker::Busy(None), Worker::Idle]);
        let idle = Workers(vec![Worker::Idle; 2]);
        assert_eq!((0..3).map(|_| pick(&mut queue, &busy)).collect::<Vec<_>>(), [Some(1); 3]);
        let picked: Vec<_> = (0..5).filter_map(|_| pick(&mut queue, &idle)).collect();
        assert_eq!(picked, [0, 0, 0, 1, 0]);
    }

    #[test]
    fn a_worker_that_was_busy_for_long_is_not_flooded_afterwards() {
        let mut queue = queue(2);
        let busy = Workers(vec![Worker::Busy(None), Worker::Idle]);
        let idle = Workers(vec![Worker::Idle; 2]);
        (0..1000).for_each(|_| assert_eq!(pick(&mut queue, &busy), Some(1)));
        let in_a_row = (0..).take_while(|_| pick(&mut queue, &idle) == Some(0)).count();
        assert_eq!(in_a_row as u64, MAX_OWED);
    }

    #[test]
    fn a_turn_that_was_recalled_was_none() {
        let mut queue = queue(2);
        let idle = Workers(vec![Worker::Idle; 2]);
        assert_eq!(pick(&mut queue, &idle), Some(0));
        queue.recalled(WorkerId(0), &CONNECTION);
        assert_eq!(pick(&mut queue, &idle), Some(1));
        assert_eq!(pick(&mut queue, &idle), Some(0));
    }

    #[test]
    fn a_connection_is_given_ahead_only_where_it_waits_least_and_not_long() {
        let mut queue = queue(3);
        let busy = |waits: [Option<u64>; 3]| Workers(waits.map(Worker::Busy).to_vec());
        assert_eq!(pick(&mut queue, &busy([None; 3])), None);
        assert_eq!(pick(&mut queue, &busy([Some(3), None, Some(2)])), Some(2));
    }

    proptest! {
        #[test]
        fn nobody_waits_while_somebody_is_idle(rounds in proptest::collection::vec(states(), 1..100)) {
            let mut queue = queue(5);
            for states in rounds {
                let workers = Workers(states.clone());
                let picked = pick(&mut queue, &workers).map(|worker| states[worker as usize]);
                if states.contains(&Worker::Idle) {
                    prop_assert_eq!(picked, Some(Worker::Idle));
                } else {
                    let waits = states.iter().filter_map(|state| match state {
                        Worker::Busy(Some(wait)) => Some(*wait),
                        _ => None,
                    });
                    prop_assert_eq!(picked, waits.min().map(|wait| Worker::Busy(Some(wait))));
                }
            }
        }

        #[test]
        fn shares_are_equal_again_soon_after_all_are_idle(rounds in proptest::collection::vec(states(), 1..100)) {
            let mut queue = queue(5);
            for states in rounds {
                pick(&mut queue, &Workers(states));
            }
            let idle = Workers(vec![Worker::Idle; 5]);
            // All that may be owed, to all but one.
            (0..MAX_OWED * 4 + 5).for_each(|_| assert!(pick(&mut queue, &idle).is_some()));
            let mut shares = BTreeMap::<_, usize>::new();
            (0..50).filter_map(|_| pick(&mut queue, &idle)).for_each(|worker| *shares.entry(worker).or_default() += 1);
            prop_assert_eq!(shares.into_values().collect::<Vec<_>>(), vec![10; 5]);
        }
    }
}
