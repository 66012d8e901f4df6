//! Which worker a client belongs to: rendezvous hashing over slots. A worker has a slot while it takes part, and who takes
//! its place when it has gone has the same one. So a worker's end moves its own clients and nobody else's, and its
//! replacement gets them back.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use super::policy::Session;
use crate::ids::WorkerId;
use crate::proto::KeyBy;

/// The first 64 bits of an IPv6 address are a network, whose hosts choose the others as they like.
const NETWORK: u32 = 64;

/// The default of [`StickyChoice::max_head`].
const DEFAULT_HEAD: usize = 8 << 10;

/// The default of [`StickyChoice::deadline`].
const DEFAULT_DEADLINE: Duration = Duration::from_secs(2);

/// The place of a worker, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WorkerSlot(pub u32);

impl WorkerSlot {
    /// The lowest that is none of these.
    pub fn lowest_free(used: impl Iterator<Item = WorkerSlot>) -> WorkerSlot {
        let mut used: Vec<_> = used.collect();
        used.sort_unstable();
        used.dedup();
        let first_gap = (0..).zip(&used).find(|(number, slot)| *number != slot.0);
        WorkerSlot(first_gap.map_or(used.len() as u32, |(number, _)| number))
    }
}

/// By what a server knows its clients, and how long it looks for that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StickyChoice {
    /// By what.
    pub by: KeyBy,
    /// How many bytes are looked at, at most.
    pub max_head: usize,
    /// For how long they are waited for.
    pub deadline: Duration,
}

impl StickyChoice {
    /// With the bounds that hold unless the program says otherwise.
    pub fn new(by: KeyBy) -> Self {
        StickyChoice { by, max_head: DEFAULT_HEAD, deadline: DEFAULT_DEADLINE }
    }
}

/// Makes sessions. Two makers make different ones of the same client, so that no client can choose its worker.
#[derive(Clone, Debug, Default)]
pub struct SessionMaker(RandomState);

impl SessionMaker {
    /// The session of an address: of its network of 64 bits if it is IPv6. An IPv4 address is itself however it is written.
    pub fn of_address(&self, address: IpAddr) -> Session {
        let number = match address.to_canonical() {
            IpAddr::V4(address) => u64::from(address.to_bits()),
            IpAddr::V6(address) => (address.to_bits() >> NETWORK) as u64,
        };
        Session(self.0.hash_one((address.to_canonical().is_ipv4(), number)))
    }

    /// The session of this id.
    pub fn of_id(&self, id: &[u8]) -> Session {
        Session(self.0.hash_one(id))
    }
}

/// The workers of a server by their slots.
#[derive(Debug, Default)]
pub struct Slots {
    members: Vec<(WorkerSlot, WorkerId)>,
}

impl Slots {
    /// A worker takes part from now on.
    pub fn add(&mut self, worker: WorkerId, slot: WorkerSlot) {
        self.members.push((slot, worker));
    }

    /// A worker no longer takes part.
    pub fn remove(&mut self, worker: WorkerId) {
        self.members.retain(|(_, member)| *member != worker);
    }

    /// Whether a worker takes part.
    pub fn has(&self, worker: WorkerId) -> bool {
        self.members.iter().any(|(_, member)| *member == worker)
    }

    /// The worker to which a session belongs, among those with a weight above 0. Shares are in proportion to weights.
    pub fn owner(&self, session: Session, weight: impl Fn(WorkerId) -> f64) -> Option<WorkerId> {
        let weighted = self.members.iter().map(|(slot, worker)| (*slot, *worker, weight(*worker)));
        let costs = weighted
            .filter(|(.., weight)| *weight > 0.0)
            .map(|(slot, worker, weight)| (-share(session, slot).ln() / weight, slot, worker));
        let least = costs
            .min_by(|(one, slot, _), (other, of_other, _)| one.total_cmp(other).then(slot.cmp(of_other)));
        least.map(|(.., worker)| worker)
    }
}

/// A number above 0 and up to 1, the same for the same session and slot, and as if by chance for another.
fn share(Session(key): Session, WorkerSlot(slot): WorkerSlot) -> f64 {
    // The golden ratio keeps neighbours apart; what follows has every bit of the input reach every one of the output
    // (the finalizer of SplitMix64).
    let mut bits = key ^ u64::from(slot + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^= bits >> 31;
    ((bits >> 11) + 1) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    /// Worker 1 has slot 0, and so on.
    fn slots(count: u32) -> Slots {
        let mut slots = Slots::default();
        (0..count).for_each(|slot| slots.add(WorkerId(slot + 1), WorkerSlot(slot)));
        slots
    }

    fn owner(slots: &Slots, session: Session) -> WorkerId {
        slots.owner(session, |_| 1.0).unwrap()
    }

    fn keys(count: u64) -> impl Iterator<Item = Session> {
        // As a maker spreads them, but the same in every run.
        (0..count).map(|number| Session(number.wrapping_mul(0xd134_2543_de82_ef95) ^ number << 7))
    }

    #[test]
    fn ten_thousand_addresses_are_shared_within_five_percent_of_even() {
        for workers in [2, 3, 4] {
            let slots = slots(workers);
            let mut shares = BTreeMap::<WorkerId, u32>::new();
            keys(10_000).for_each(|session| *shares.entry(owner(&slots, session)).or_default() += 1);
            let even = 10_000 / workers;
            assert_eq!(shares.len(), workers as usize);
            assert!(shares.values().all(|share| share.abs_diff(even) * 20 <= even), "{shares:?}");
        }
    }

    #[test]
    fn shares_are_in_proportion_to_weights_and_nobody_has_any_with_0() {
        let slots = slots(4);
        let weight = |WorkerId(id): WorkerId| [3.0, 1.0, 1.0, 0.0][id as usize - 1];
        let mut shares = BTreeMap::<u32, u32>::new();
        for session in keys(50_000) {
            *shares.entry(slots.owner(session, weight).unwrap().0).or_default() += 1;
        }
        assert!(shares[&1].abs_diff(30_000) < 600, "{shares:?}");
        assert!(shares[&2].abs_diff(10_000) < 400 && shares[&3].abs_diff(10_000) < 400, "{shares:?}");
        assert_eq!(shares.get(&4), None);
        assert_eq!(slots.owner(Session(7), |_| 0.0), None);
        assert_eq!(Slots::default().owner(Session(7), |_| 1.0), None);
    }

    #[test]
    fn an_address_is_the_same_however_it_is_written_and_a_network_of_64_bits_is_one_client() {
        let maker = SessionMaker::default();
        let of = |text: &str| maker.of_address(text.parse().unwrap());
        assert_eq!(of("::ffff:192.0.2.7"), of("192.0.2.7"));
        assert_ne!(of("192.0.2.7"), of("192.0.2.8"));
        assert_eq!(of("2001:db8:1:2::3"), of("2001:db8:1:2:ffff::"));
        assert_ne!(of("2001:db8:1:2::3"), of("2001:db8:1:3::3"));
        assert_ne!(of("::"), of("0.0.0.0"));
        let other = SessionMaker::default();
        assert_ne!(other.of_address(Ipv4Addr::LOCALHOST.into()), of("127.0.0.1"));
        assert_ne!(maker.of_id(b"one"), maker.of_id(b"other"));
    }

    proptest! {
        #[test]
        fn the_end_of_a_worker_moves_its_own_clients_only_and_its_replacement_gets_them_back(
            workers in 2u32..12, ended in 0u32..12, numbers in proptest::collection::vec(any::<u64>(), 1..200),
        ) {
            let ended = ended % workers;
            let mut slots = slots(workers);
            let homes: Vec<_> = numbers.iter().map(|number| owner(&slots, Session(*number))).collect();
            slots.remove(WorkerId(ended + 1));
            for (number, home) in numbers.iter().zip(&homes) {
                let now = owner(&slots, Session(*number));
                prop_assert_eq!(now == *home, home.0 != ended + 1);
            }
            let used = (0..workers).filter(|slot| *slot != ended).map(WorkerSlot);
            slots.add(WorkerId(99), WorkerSlot::lowest_free(used));
            for (number, home) in numbers.iter().zip(&homes) {
                let now = owner(&slots, Session(*number));
                prop_assert_eq!(now, if home.0 == ended + 1 { WorkerId(99) } else { *home });
            }
        }

        #[test]
        fn one_more_worker_takes_clients_from_all_and_moves_none_between_others(
            workers in 1u32..12, number: u64,
        ) {
            let mut slots = slots(workers);
            let before = owner(&slots, Session(number));
            slots.add(WorkerId(99), WorkerSlot(workers));
            let after = owner(&slots, Session(number));
            prop_assert!(after == before || after == WorkerId(99));
        }

        #[test]
        fn the_lowest_free_slot_is_not_used_and_all_below_are(used in proptest::collection::vec(0u32..20, 0..20)) {
            let free = WorkerSlot::lowest_free(used.iter().copied().map(WorkerSlot));
            prop_assert!(!used.contains(&free.0));
            prop_assert!((0..free.0).all(|slot| used.contains(&slot)));
        }

        #[test]
        fn hosts_of_a_network_are_one_client(network: u64, host: u64, other: u64) {
            let maker = SessionMaker::default();
            let address = |host: u64| Ipv6Addr::from_bits(u128::from(network) << 64 | u128::from(host));
            prop_assume!(network != 0);
            prop_assert_eq!(maker.of_address(address(host).into()), maker.of_address(address(other).into()));
        }
    }
}
