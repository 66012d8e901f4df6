//! Round robin: every worker in rotation. A worker that cannot take a connection keeps its place and gets the
//! turns that it missed later, up to a limit. A worker that is ahead of one that is only too busy waits for
//! it, within limits. See docs/performance.md.

use std::cell::Cell;
use std::collections::VecDeque;
use std::time::Instant;

use super::fairness::Fairness;
use super::load::{Availability, Loads};
use super::policy::{Incoming, Policy};
use super::turns::{self, Member, TURN, Weight, Weights};
use crate::ids::WorkerId;

/// How many missed turns a worker gets later at most: as many as it misses in some 10 ms without a processor,
/// or blocked, at the highest rates. Further turns missed by a worker that was blocked for long are
/// forgotten.
const MAX_OWED: u64 = 128;

/// Where workers have different weights, one that has missed turns has so many times as many in a row as it would have otherwise.
const IN_A_ROW: u64 = 2;

/// How many turns a worker may be ahead of one that is full: as many as a worker takes between two of its
/// reports. With fewer it would wait for reports instead of workers.
const MAX_AHEAD: u64 = 8;

/// Workers in the order of their turns.
///
/// A worker without credit is skipped but keeps its place: it is the next one as soon as it can take
/// connections again. While an idle worker has had fewer turns than another, it gets two in a row, so that
/// the missed turns do not come all at once. That is not enough where every worker is busy: the first one
/// with credit would get the connection, and most often that is the worker with the largest share of the
/// processor. So no worker is more than [`MAX_AHEAD`] turns ahead of one that is full, as long as
/// [`Fairness`] lets idle workers wait.
#[derive(Debug, Default)]
pub struct RoundRobin {
    rotation: VecDeque<Member>,
    weights: Weights,
    /// The most turns that any worker has had.
    most: u64,
    /// The worker that had the last turn.
    last: Option<WorkerId>,
    /// How many it has had in a row.
    in_a_row: u64,
    /// Spent while a connection waits although a worker is idle.
    fairness: Fairness,
}

impl RoundRobin {
    fn has_to_wait(&self, member: &Member, loads: &dyn Loads) -> bool {
        let turns = self.still_counts(member.turns);
        self.rotation.iter().any(|other| {
            self.still_counts(other.turns) + MAX_AHEAD * TURN <= turns
                && loads.load(other.worker).availability == Availability::Full
        })
    }

    /// The number of a worker's turns, raised by those that are no longer owed.
    fn still_counts(&self, turns: u64) -> u64 {
        turns.max(self.most.saturating_sub(MAX_OWED * TURN))
    }

    /// The place of the first in turn that may take a connection, by weight.
    fn first_by_weight(&self, may_take: impl Fn(&Member) -> bool) -> Option<usize> {
        let takers = self.rotation.iter().enumerate().filter(|(_, member)| may_take(member));
        let takers: Vec<_> =
            takers.map(|(place, member)| (place, member, self.still_counts(member.turns))).collect();
        let mean = turns::mean(takers.iter().map(|(_, member, turns)| (member.weight, *turns)))?;
        let total: u64 = takers.iter().map(|(_, member, _)| u64::from(member.weight.get())).sum();
        // What it has missed comes between the turns of others, not all at once.
        let has_to_pause = |member: &Member| {
            let weight = u64::from(member.weight.get());
            let others = total - weight;
            self.last == Some(member.worker)
                && others > 0
                && self.in_a_row >= IN_A_ROW * weight.div_ceil(others)
        };
        let rank = |(_, member, turns): &&(usize, &Member, u64)| {
            let rank = turns::rank(*turns, self.weights.turn(member.weight), mean);
            (has_to_pause(member), rank)
        };
        takers.iter().min_by_key(rank).map(|(place, ..)| *place)
    }

    /// Takes a turn back from the worker, which has not used it.
    fn refund(&mut self, worker: WorkerId) {
        if let Some(member) = self.rotation.iter_mut().find(|member| member.worker == worker) {
            member.turns = member.turns.saturating_sub(self.weights.turn(member.weight));
        }
    }
}

impl Policy for RoundRobin {
    /// Adds the worker at the end of the rotation.
    fn add(&mut self, worker: WorkerId) {
        debug_assert!(self.rotation.iter().all(|member| member.worker != worker));
        self.rotation.push_back(Member { worker, weight: Weight::MIN, turns: self.most });
        self.weights = Weights::of(&self.rotation);
    }

    fn remove(&mut self, worker: WorkerId) {
        self.rotation.retain(|member| member.worker != worker);
        self.weights = Weights::of(&self.rotation);
    }

    fn set_weight(&mut self, worker: WorkerId, weight: Weight) {
        if let Some(member) = self.rotation.iter_mut().find(|member| member.worker == worker) {
            member.weight = weight;
            self.weights = Weights::of(&self.rotation);
        }
    }

    /// Picks the first worker in turn that may take a connection and need not wait for another. That worker
    /// goes to the end of the rotation, unless it is idle and owed another turn.
    ///
    /// Returns None also while every worker that could take it waits for one that is full.
    fn pick(&mut self, now: Instant, _connection: &Incoming, loads: &dyn Loads) -> Option<WorkerId> {
        let may_wait = self.fairness.may_wait(now);
        let (taker, is_idle_waiting) = (Cell::new(Availability::Away), Cell::new(false));
        let may_take = |member: &Member| {
            taker.set(loads.load(member.worker).availability);
            let waits = taker.get().may_take() && may_wait && self.has_to_wait(member, loads);
            is_idle_waiting.set(is_idle_waiting.get() || (waits && taker.get() == Availability::Idle));
            taker.get().may_take() && !waits
        };
        let place = match self.weights.are_equal {
            true => self.rotation.iter().position(may_take),
            false => self.first_by_weight(may_take),
        };
        self.fairness.set_waiting(place.is_none() && is_idle_waiting.get());
        let member = self.rotation.remove(place?)?;
        let worker = member.worker;
        let turns = self.still_counts(member.turns) + self.weights.turn(member.weight);
        self.most = self.most.max(turns);
        let is_owed = turns < self.most && self.last != Some(worker) && taker.get() == Availability::Idle;
        if is_owed && self.weights.are_equal {
            self.rotation.push_front(Member { turns, ..member });
        } else {
            self.rotation.push_back(Member { turns, ..member });
        }
        self.in_a_row = if self.last == Some(worker) { self.in_a_row + 1 } else { 1 };
        self.last = Some(worker);
        Some(worker)
    }

    fn recalled(&mut self, worker: WorkerId, _connection: &Incoming) {
        self.refund(worker);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::load::Load;
    use super::*;
    use crate::address::Peer;

    /// A rotation in which time passes only where a test says so.
    struct Line {
        rotation: RoundRobin,
        now: Instant,
    }

    impl Line {
        fn pass(&mut self, time: Duration) {
            self.now += time;
            self.rotation.fairness.may_wait(self.now);
        }

        fn next(&mut self, availability: impl Fn(WorkerId) -> Availability) -> Option<WorkerId> {
            let load = |worker| Load { availability: availability(worker), in_flight: 0 };
            self.rotation.pick(self.now, &Incoming { peer: Peer::Unix, chosen: None }, &load)
        }
    }

    /// A rotation whose workers may wait as long as the budget allows at most.
    fn line(count: u32) -> Line {
        let mut line = Line { rotation: RoundRobin::default(), now: Instant::now() };
        (1..=count).for_each(|id| line.rotation.add(WorkerId(id)));
        (0..10).for_each(|_| line.pass(Duration::from_millis(10)));
        line
    }

    /// Every worker is idle but this one.
    fn all_idle_but(one: u32, availability: Availability) -> impl Fn(WorkerId) -> Availability {
        move |worker| if worker.0 == one { availability } else { Availability::Idle }
    }

    fn all_idle(_: WorkerId) -> Availability {
        Availability::Idle
    }

    fn order(line: &mut Line, count: usize, availability: impl Fn(WorkerId) -> Availability) -> Vec<u32> {
        (0..count).map(|_| line.next(&availability).unwrap().0).collect()
    }

    /// How many of the next `count` connections each of three workers gets.
    fn shares(line: &mut Line, count: usize, availability: impl Fn(WorkerId) -> Availability) -> [u64; 3] {
        let mut shares = [0; 3];
        order(line, count, availability).into_iter().for_each(|worker| shares[worker as usize - 1] += 1);
        shares
    }

    #[test]
    fn everybody_in_turn() {
        assert_eq!(order(&mut line(3), 7, all_idle), [1, 2, 3, 1, 2, 3, 1]);
        assert_eq!(order(&mut line(3), 7, |_| Availability::Busy), [1, 2, 3, 1, 2, 3, 1]);
    }

    #[test]
    fn a_busy_worker_is_passed_over_and_comes_next_when_it_is_free() {
        for availability in [Availability::Full, Availability::Away] {
            let mut line = line(3);
            assert_eq!(order(&mut line, 2, all_idle_but(1, availability)), [2, 3]);
            assert_eq!(line.next(all_idle), Some(WorkerId(1)));
            assert_eq!(line.next(|_| availability), None);
            assert_eq!(line.next(all_idle), Some(WorkerId(2)));
        }
    }

    #[test]
    fn a_worker_that_missed_a_few_turns_gets_them_back_and_has_two_in_a_row_at_most() {
        let mut line = line(3);
        assert_eq!(shares(&mut line, 10, all_idle_but(1, Availability::Away)), [0, 5, 5]);
        assert_eq!(order(&mut line, 12, all_idle), [1, 1, 2, 3, 1, 1, 2, 3, 1, 1, 2, 3]);
        shares(&mut line, 30, all_idle);
        assert_eq!(shares(&mut line, 300, all_idle), [100, 100, 100]);
    }

    #[test]
    fn what_was_missed_within_some_10_ms_is_made_up_for_to_the_last() {
        // At 10,000 connections per second.
        let mut line = line(3);
        let [_, two, three] = shares(&mut line, 200, all_idle_but(1, Availability::Away));
        let [one, more_two, more_three] = shares(&mut line, 700, all_idle);
        assert_eq!([one, two + more_two, three + more_three], [300; 3]);
    }

    #[test]
    fn a_worker_that_has_enough_to_do_waits_for_what_it_missed() {
        let mut line = line(3);
        shares(&mut line, 10, all_idle_but(1, Availability::Away));
        assert_eq!(order(&mut line, 6, |_| Availability::Busy), [1, 2, 3, 1, 2, 3]);
        assert_eq!(order(&mut line, 4, all_idle), [1, 1, 2, 3]);
    }

    #[test]
    fn a_worker_that_was_away_for_long_is_owed_no_more_than_a_few() {
        let mut line = line(3);
        shares(&mut line, 10_000, all_idle_but(1, Availability::Away));
        let [one, _, _] = shares(&mut line, 3_000, all_idle);
        assert!((1_000..=1_000 + MAX_OWED).contains(&one), "{one}");
    }

    #[test]
    fn what_was_taken_back_is_made_up_for() {
        let mut line = line(3);
        assert_eq!(shares(&mut line, 30, all_idle), [10, 10, 10]);
        (0..6).for_each(|_| line.rotation.refund(WorkerId(1)));
        // Six turns for the recalled connections, and a third of the others.
        assert_eq!(shares(&mut line, 306, all_idle), [106, 100, 100]);
    }

    #[test]
    fn a_new_worker_is_owed_nothing() {
        let mut line = line(2);
        order(&mut line, 100, all_idle);
        line.rotation.add(WorkerId(3));
        assert_eq!(shares(&mut line, 30, all_idle), [10, 10, 10]);
    }

    #[test]
    fn who_is_ahead_of_a_full_worker_waits_for_it_and_goes_on_when_it_is_away() {
        let mut line = line(2);
        order(&mut line, 20, all_idle);
        let ahead = MAX_AHEAD as usize;
        assert_eq!(order(&mut line, ahead, all_idle_but(1, Availability::Full)), vec![2; ahead]);
        assert_eq!(line.next(all_idle_but(1, Availability::Full)), None);
        assert_eq!(line.next(all_idle), Some(WorkerId(1)));
        assert_eq!(order(&mut line, 1, all_idle_but(1, Availability::Full)), [2]);
        assert_eq!(line.next(all_idle_but(1, Availability::Full)), None);
        assert_eq!(order(&mut line, 20, all_idle_but(1, Availability::Away)), [2; 20]);
    }

    #[test]
    fn who_is_not_ahead_does_not_wait() {
        let mut line = line(3);
        order(&mut line, 30, all_idle);
        let three = |worker: WorkerId| if worker.0 == 3 { Availability::Idle } else { Availability::Full };
        order(&mut line, MAX_AHEAD as usize, three);
        assert_eq!(line.next(three), None);
        assert_eq!(order(&mut line, 3, all_idle_but(1, Availability::Full)), [2, 2, 2]);
    }

    /// Workers that get more connections than they can serve. A moment is a millisecond.
    struct Saturated {
        line: Line,
        under_way: Vec<u64>,
        done: Vec<u64>,
        waiting: u64,
    }

    impl Saturated {
        fn new(workers: usize, clients: u64) -> Self {
            let (under_way, done) = (vec![0; workers], vec![0; workers]);
            Saturated { line: line(workers as u32), under_way, done, waiting: clients }
        }

        /// Each worker serves as many connections as its speed, and each client that was served connects
        /// again.
        fn pass_moment(&mut self, speeds: &[u64]) {
            self.line.pass(Duration::from_millis(1));
            for (worker, speed) in speeds.iter().enumerate() {
                let done = self.under_way[worker].min(*speed);
                self.under_way[worker] -= done;
                self.done[worker] += done;
                self.waiting += done;
            }
            while self.waiting > 0 {
                let under_way = &self.under_way;
                let availability = |worker: WorkerId| match under_way[worker.0 as usize - 1] {
                    0..=4 => Availability::Idle,
                    5..=15 => Availability::Busy,
                    _ => Availability::Full,
                };
                let Some(worker) = self.line.next(availability) else { return };
                self.under_way[worker.0 as usize - 1] += 1;
                self.waiting -= 1;
            }
        }
    }

    #[test]
    fn workers_of_which_each_is_slower_for_a_while_have_equal_shares() {
        for workers in [2, 4] {
            let mut site = Saturated::new(workers, 64);
            for moment in 0.. {
                // So long that a worker misses more turns than it may be owed.
                let slow = moment / 150 % workers;
                let speeds: Vec<u64> =
                    (0..workers).map(|worker| if worker == slow { 6 } else { 8 }).collect();
                site.pass_moment(&speeds);
                if site.done.iter().sum::<u64>() >= 10_000 {
                    break;
                }
            }
            let (least, most) = (site.done.iter().min().unwrap(), site.done.iter().max().unwrap());
            assert!((most - least) * workers as u64 <= 100, "{:?}", site.done);
        }
    }

    #[test]
    fn a_worker_that_is_much_slower_for_good_does_not_keep_the_others_waiting() {
        let mut site = Saturated::new(2, 64);
        (0..10_000).for_each(|_| site.pass_moment(&[8, 1]));
        assert!(site.done[0] >= 10_000 * 8 * 7 / 10, "{:?}", site.done);
        assert!(site.done[1] >= 10_000 - 16, "{:?}", site.done);
    }

    proptest! {
        #[test]
        fn shares_differ_by_one_at_most_among_the_willing(workers in 1u32..8, rounds in 1usize..200) {
            let mut shares = vec![0usize; workers as usize];
            for worker in order(&mut line(workers), rounds, all_idle) {
                shares[worker as usize - 1] += 1;
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
                    prop_assert!(line.next(all_idle_but(absent, Availability::Away)).is_some());
                }
            }
            let mut last = vec![0usize; workers as usize];
            let settled = 4 * MAX_OWED as usize * workers as usize;
            for round in 1..=settled {
                let worker = line.next(all_idle).unwrap().0 as usize - 1;
                last[worker] = round;
                // Workers that are owed turns get them in between, and the rotation of the others goes on.
                let longest = last.iter().map(|last| round - last).max().unwrap();
                prop_assert!(longest <= 4 * MAX_OWED as usize * workers as usize / 2, "{longest}");
            }
            let mut shares = vec![0usize; workers as usize];
            for _ in 0..10 * workers {
                shares[line.next(all_idle).unwrap().0 as usize - 1] += 1;
            }
            prop_assert!(shares.iter().all(|share| *share == 10), "{shares:?}");
        }

        /// Whatever the workers do, a connection goes to a worker that may take it, and waits only for one
        /// that is full.
        #[test]
        fn nobody_waits_for_a_worker_that_is_not_full(
            moments in proptest::collection::vec(proptest::collection::vec(0..4usize, 4), 1..400),
        ) {
            let mut line = line(4);
            for moment in moments {
                let availability = |worker: WorkerId| {
                    [Availability::Idle, Availability::Busy, Availability::Full, Availability::Away][moment[worker.0 as usize - 1]]
                };
                let ours = || line.rotation.rotation.iter().map(|member| availability(member.worker)).collect::<Vec<_>>();
                let is_due = ours().iter().any(|availability| availability.may_take());
                let is_full = ours().contains(&Availability::Full);
                match line.next(availability) {
                    Some(worker) => prop_assert!(availability(worker).may_take()),
                    None => prop_assert!(!is_due || is_full),
                }
            }
        }
    }
}
