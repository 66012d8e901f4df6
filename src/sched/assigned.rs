//! Policies of the program's own: it has said which worker a connection is for, by a table of clients or for this very
//! connection. What it has said nothing of goes by another policy.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use super::load::Loads;
use super::policy::{Incoming, Policy};
use super::turns::Weight;
use crate::address::Peer;
use crate::ids::WorkerId;

/// Which worker the connections of a client are for. Any thread may change it; nobody holds its lock for longer than a look or a
/// change takes.
#[derive(Debug, Default)]
pub struct Table(Mutex<BTreeMap<IpAddr, WorkerId>>);

impl Table {
    /// The connections of the client at that address are for that worker; for nobody with None.
    pub fn assign(&self, address: IpAddr, worker: Option<WorkerId>) {
        let mut table = self.0.lock();
        match worker {
            Some(worker) => table.insert(address.to_canonical(), worker),
            None => table.remove(&address.to_canonical()),
        };
    }

    fn get(&self, peer: Peer) -> Option<WorkerId> {
        match peer {
            Peer::Ip(address, _) => self.0.lock().get(&address.to_canonical()).copied(),
            Peer::Unix => None,
        }
    }
}

/// A table is itself, whatever is in it.
impl PartialEq for Table {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

/// By what the program has said; by another policy where it has said nothing, or has named a worker that does not take the connection.
#[derive(Debug)]
pub struct Assigned {
    /// None if the program says it of each connection.
    table: Option<Arc<Table>>,
    members: Vec<WorkerId>,
    fallback: Box<dyn Policy>,
}

impl Assigned {
    /// Follows this table, or without one what was said of each connection.
    pub fn new(table: Option<Arc<Table>>, fallback: Box<dyn Policy>) -> Self {
        Assigned { table, members: Vec::new(), fallback }
    }

    fn assigned(&self, connection: &Incoming) -> Option<WorkerId> {
        let worker = match &self.table {
            Some(table) => table.get(connection.peer),
            None => connection.chosen,
        };
        worker.filter(|worker| self.members.contains(worker))
    }
}

impl Policy for Assigned {
    fn add(&mut self, worker: WorkerId) {
        self.members.push(worker);
        self.fallback.add(worker);
    }

    fn remove(&mut self, worker: WorkerId) {
        self.members.retain(|member| *member != worker);
        self.fallback.remove(worker);
    }

    fn set_weight(&mut self, worker: WorkerId, weight: Weight) {
        self.fallback.set_weight(worker, weight);
    }

    /// Picks the worker that the program has named, and waits for it while it is busy.
    fn pick(&mut self, now: Instant, connection: &Incoming, loads: &dyn Loads) -> Option<WorkerId> {
        match self.assigned(connection) {
            Some(worker) if loads.load(worker).availability.may_take() => Some(worker),
            Some(worker) if loads.will_take(worker) => None,
            _ => self.fallback.pick(now, connection, loads),
        }
    }

    /// Those of others need not wait for a worker that one of them is for.
    fn lets_overtake(&self) -> bool {
        true
    }

    fn taken(&mut self, worker: WorkerId, connection: &Incoming) {
        self.fallback.taken(worker, connection);
    }

    fn refused(&mut self, worker: WorkerId, connection: &Incoming) {
        self.fallback.refused(worker, connection);
    }

    fn recalled(&mut self, worker: WorkerId, connection: &Incoming) {
        // Of the other's turns it was none.
        if self.assigned(connection) != Some(worker) {
            self.fallback.recalled(worker, connection);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::{Availability, Load};
    use super::super::round_robin::RoundRobin;
    use super::*;

    /// Workers 0 to 2: whether each may take a connection now, and whether it will.
    struct Seen([(bool, bool); 3]);

    const ALL: Seen = Seen([(true, true); 3]);

    impl Loads for Seen {
        fn load(&self, worker: WorkerId) -> Load {
            match self.0[worker.0 as usize].0 {
                true => Load { availability: Availability::Idle, in_flight: 0 },
                false => Load::AWAY,
            }
        }

        fn will_take(&self, worker: WorkerId) -> bool {
            self.0[worker.0 as usize].1
        }
    }

    fn assigned(table: Option<&Arc<Table>>) -> Assigned {
        let mut policy = Assigned::new(table.cloned(), Box::new(RoundRobin::default()));
        (0..3).for_each(|worker| policy.add(WorkerId(worker)));
        policy
    }

    fn from(address: &str) -> Incoming {
        Incoming { peer: Peer::Ip(address.parse().unwrap(), 9), chosen: None }
    }

    fn pick(policy: &mut Assigned, connection: &Incoming, seen: &Seen) -> Option<u32> {
        policy.pick(Instant::now(), connection, seen).map(|worker| worker.0)
    }

    #[test]
    fn clients_of_the_table_have_their_workers_and_others_take_turns() {
        let table = Arc::default();
        let mut policy = assigned(Some(&table));
        table.assign("10.0.0.1".parse().unwrap(), Some(WorkerId(2)));
        let (ours, other) = (from("::ffff:10.0.0.1"), from("10.0.0.2"));
        let picks: Vec<_> =
            [&other, &ours, &other, &ours, &other].map(|client| pick(&mut policy, client, &ALL)).into();
        assert_eq!(picks, [Some(0), Some(2), Some(1), Some(2), Some(2)]);
        // A change counts at once.
        table.assign("10.0.0.1".parse().unwrap(), Some(WorkerId(1)));
        assert_eq!(pick(&mut policy, &ours, &ALL), Some(1));
        table.assign("10.0.0.1".parse().unwrap(), None);
        assert_eq!(pick(&mut policy, &ours, &ALL), Some(0));
        let unix = Incoming { peer: Peer::Unix, chosen: None };
        assert_eq!(pick(&mut policy, &unix, &ALL), Some(1));
    }

    #[test]
    fn a_busy_worker_is_waited_for_and_one_that_does_not_want_it_is_not() {
        let mut policy = assigned(None);
        let chosen = Incoming { chosen: Some(WorkerId(1)), ..from("10.0.0.1") };
        assert!(policy.lets_overtake());
        assert_eq!(pick(&mut policy, &chosen, &Seen([(true, true), (false, true), (true, true)])), None);
        assert_eq!(pick(&mut policy, &chosen, &Seen([(true, true), (false, false), (true, true)])), Some(0));
        assert_eq!(pick(&mut policy, &chosen, &ALL), Some(1));
    }

    #[test]
    fn a_worker_that_has_gone_or_never_was_is_no_choice() {
        let mut policy = assigned(None);
        policy.remove(WorkerId(1));
        for worker in [1, 77, u32::MAX] {
            let chosen = Incoming { chosen: Some(WorkerId(worker)), ..from("10.0.0.1") };
            assert!(matches!(pick(&mut policy, &chosen, &ALL), Some(0 | 2)));
        }
    }

    #[test]
    fn what_was_recalled_was_nobody_elses_turn() {
        let mut policy = assigned(None);
        let chosen = Incoming { chosen: Some(WorkerId(1)), ..from("10.0.0.1") };
        let other = from("10.0.0.2");
        assert_eq!(pick(&mut policy, &chosen, &ALL), Some(1));
        policy.recalled(WorkerId(1), &chosen);
        let turns: Vec<_> = (0..4).filter_map(|_| pick(&mut policy, &other, &ALL)).collect();
        assert_eq!(turns, [0, 1, 2, 0]);
        policy.recalled(WorkerId(0), &other);
        let turns: Vec<_> = (0..3).filter_map(|_| pick(&mut policy, &other, &ALL)).collect();
        assert_eq!(turns.iter().filter(|worker| **worker == 0).count(), 1);
    }
}
