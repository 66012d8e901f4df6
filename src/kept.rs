//! Who reads the next request of a kept connection: the worker that has served the last one, or another. Both the worker
//! and the primary hold the connection's socket, and a word of shared memory decides.
//!
//! Between two requests a connection *rests*: nobody reads it. When it is readable, whoever changes the word first may
//! read: the worker, which then serves the request, or the primary, which gives the connection to another worker. So a
//! request waits for no worker that is busy with something else, and no request is read by two.
//!
//! Where clients belong to workers, an idle worker looks at a request before it reads it, and *gives* the connection if the
//! request may be another worker's. Nobody reads then before the primary has decided.
//!
//! The worker names its connections by slots of this memory and says what they are on its lane. What it writes is input
//! from outside: nonsense harms its own connections.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;

use crate::os::{self, Memory};
use crate::proto::{Generation, Slot};

/// How many connections of one worker may rest at the same time. Others stay where they are.
pub const SLOTS: u32 = 1 << 17;

/// How many connections the primary has taken from the worker altogether.
const TAKEN: usize = 0;
/// When the worker began its last request on a kept connection, in microseconds of the monotonic clock. In a cache line
/// of its own, as the worker writes it.
const BEGUN_AT: usize = 64;
/// How often it has changed to which workers clients belong.
const HOMES: usize = 128;
/// Where the words of the connections begin.
const WORDS: usize = 4096;
const SIZE: usize = WORDS + SLOTS as usize * size_of::<u64>();

// What a word says in its lowest bits. The generation is above them.

/// The worker has it, and reads.
const SERVED: u64 = 1;
/// Nobody reads.
const RESTING: u64 = 2;
/// The primary has taken it from the worker.
const MOVED: u64 = 3;
/// The worker has given it, and the primary decides.
const GIVEN: u64 = 4;
/// The primary has decided that its next request belongs to the worker, which has not heard of that...
const AT_HOME: u64 = 5;
/// ... or that the worker reads it, whosever it is.
const HERE: u64 = 6;
/// The primary has no copy of it: it is the worker's for good.
const ALONE: u64 = 7;
const BITS: u32 = 3;
const STATE: u64 = (1 << BITS) - 1;

fn word(generation: Generation, state: u64) -> u64 {
    generation.0 << BITS | state
}

/// The outcome of a worker's attempt to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The connection is the worker's: it reads.
    Ours,
    /// The primary has taken the connection. The worker closes its copy.
    Moved,
    /// The worker has given the connection, and has not heard of a decision.
    Given,
}

/// What has been decided about a connection that a worker has given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The primary has taken the connection. The worker closes its copy.
    Moved,
    /// The request belongs to the worker, which reads it.
    AtHome,
    /// The worker reads this request, to whomever the next one of the same client belongs.
    Here,
    /// The worker reads all requests of this connection: the primary has no copy of it.
    Alone,
}

/// The memory, from either side.
#[derive(Debug)]
pub struct KeptTable(Memory);

impl KeptTable {
    /// Makes the memory, and the descriptor by which the worker can have it. It takes up room only for slots that
    /// are used.
    ///
    /// Errors: `EMFILE`, `ENFILE`, `ENOMEM`; `ENOSYS`, `EPERM` where there is no such memory.
    pub fn create() -> Result<(Self, OwnedFd), Errno> {
        let (memory, file) = Memory::create(c"corral kept", SIZE)?;
        Ok((KeptTable(memory), file))
    }

    /// Maps the memory that the other side has made.
    ///
    /// Errors: `EINVAL` for anything else; `ENOMEM`.
    pub fn map(file: BorrowedFd<'_>) -> Result<Self, Errno> {
        Memory::map(file, SIZE).map(KeptTable)
    }

    /// Panics for a slot that does not exist.
    fn word(&self, Slot(slot): Slot) -> &AtomicU64 {
        assert!(slot < SLOTS);
        self.0.sum(WORDS + slot as usize * size_of::<u64>())
    }

    fn change(&self, slot: Slot, from: u64, to: u64) -> bool {
        self.word(slot).compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// The worker: a connection has this slot from now on, and is being served.
    pub fn begin(&self, slot: Slot, generation: Generation) {
        self.word(slot).store(word(generation, SERVED), Ordering::SeqCst);
    }

    /// The worker: the connection rests, unless the primary has taken it.
    pub fn rest(&self, slot: Slot, generation: Generation) {
        self.change(slot, word(generation, SERVED), word(generation, RESTING));
    }

    /// The worker wants to read.
    pub fn claim(&self, slot: Slot, generation: Generation) -> Claim {
        if self.change(slot, word(generation, RESTING), word(generation, SERVED)) {
            self.0.sum(BEGUN_AT).store(os::monotonic_micros(), Ordering::Relaxed);
            return Claim::Ours;
        }
        match self.state(slot, generation) {
            Some(MOVED) => Claim::Moved,
            Some(GIVEN | AT_HOME | HERE) => Claim::Given,
            _ => Claim::Ours,
        }
    }

    fn state(&self, slot: Slot, generation: Generation) -> Option<u64> {
        let word = self.word(slot).load(Ordering::SeqCst);
        (word >> BITS == generation.0).then_some(word & STATE)
    }

    /// The worker has not read what it has claimed, and leaves it to the primary. Returns whether it could.
    pub fn give(&self, slot: Slot, generation: Generation) -> bool {
        self.change(slot, word(generation, SERVED), word(generation, GIVEN))
    }

    /// The worker does not wait for the primary's decision, which cannot be told or has no maker any more. Returns whether it had
    /// given the connection, and reads it now.
    pub fn take_back(&self, slot: Slot, generation: Generation) -> bool {
        let mut states = [GIVEN, AT_HOME, HERE].into_iter();
        states.any(|state| self.change(slot, word(generation, state), word(generation, SERVED)))
    }

    /// The worker: what the primary has decided about a connection that was given. None if it has not yet.
    pub fn decision(&self, slot: Slot, generation: Generation) -> Option<Decision> {
        for (state, decision) in [(AT_HOME, Decision::AtHome), (HERE, Decision::Here)] {
            if self.change(slot, word(generation, state), word(generation, SERVED)) {
                return Some(decision);
            }
        }
        match self.state(slot, generation)? {
            GIVEN => None,
            MOVED => Some(Decision::Moved),
            _ => Some(Decision::Alone),
        }
    }

    /// Whether the primary has taken the connection.
    pub fn is_moved(&self, slot: Slot, generation: Generation) -> bool {
        self.state(slot, generation) == Some(MOVED)
    }

    /// The worker: the connection has gone, and its slot is free. Returns whether it was the worker's until now.
    pub fn release(&self, slot: Slot, generation: Generation) -> Claim {
        if self.word(slot).swap(0, Ordering::SeqCst) == word(generation, MOVED) {
            Claim::Moved
        } else {
            Claim::Ours
        }
    }

    /// Whether nobody reads the connection, so that it is the primary's when the worker closes its copy.
    pub fn is_unread(&self, slot: Slot, generation: Generation) -> bool {
        matches!(self.state(slot, generation), Some(RESTING | GIVEN | AT_HOME | HERE))
    }

    /// Whether the connection rests.
    pub fn is_resting(&self, slot: Slot, generation: Generation) -> bool {
        self.state(slot, generation) == Some(RESTING)
    }

    /// Whether the worker has given the connection, and the primary has not decided.
    pub fn is_given(&self, slot: Slot, generation: Generation) -> bool {
        self.state(slot, generation) == Some(GIVEN)
    }

    /// The primary takes the connection, if nobody reads it. Returns whether it has.
    pub fn take(&self, slot: Slot, generation: Generation) -> bool {
        let is_taken = [RESTING, GIVEN, AT_HOME, HERE]
            .into_iter()
            .any(|state| self.change(slot, word(generation, state), word(generation, MOVED)));
        if is_taken {
            self.0.sum(TAKEN).fetch_add(1, Ordering::SeqCst);
        }
        is_taken
    }

    /// The primary decides about a connection that was given, and tells the worker next. Returns whether it still was.
    pub fn decide(&self, slot: Slot, generation: Generation, decision: Decision) -> bool {
        let state = match decision {
            Decision::Moved => MOVED,
            Decision::AtHome => AT_HOME,
            Decision::Here => HERE,
            Decision::Alone => ALONE,
        };
        self.change(slot, word(generation, GIVEN), word(generation, state))
    }

    /// As [`KeptTable::decide`], of a connection of which the primary has no copy.
    pub fn leave_alone(&self, slot: Slot) {
        let word = self.word(slot).load(Ordering::SeqCst);
        self.decide(slot, Generation(word >> BITS), Decision::Alone);
    }

    /// How many connections the primary has taken altogether.
    pub fn taken(&self) -> u64 {
        self.0.sum(TAKEN).load(Ordering::SeqCst)
    }

    /// When the worker began its last request on a kept connection, in microseconds of the monotonic clock.
    pub fn begun_at(&self) -> u64 {
        self.0.sum(BEGUN_AT).load(Ordering::Relaxed)
    }

    /// The primary: clients may belong to other workers than before. What a worker has learnt of them counts no more.
    pub fn change_homes(&self) {
        self.0.sum(HOMES).fetch_add(1, Ordering::SeqCst);
    }

    /// How often that was so.
    pub fn homes(&self) -> u64 {
        self.0.sum(HOMES).load(Ordering::SeqCst)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::fd::AsFd;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    const SLOT: Slot = Slot(7);
    const ONE: Generation = Generation(1);

    #[test]
    fn a_connection_at_rest_is_for_whoever_comes_first() {
        let (primary, file) = KeptTable::create().unwrap();
        let worker = KeptTable::map(file.as_fd()).unwrap();
        worker.begin(SLOT, ONE);
        assert!(!primary.take(SLOT, ONE));
        worker.rest(SLOT, ONE);
        assert!(primary.is_resting(SLOT, ONE));
        assert_eq!(worker.claim(SLOT, ONE), Claim::Ours);
        assert!(!primary.take(SLOT, ONE));
        worker.rest(SLOT, ONE);
        assert!(primary.take(SLOT, ONE));
        assert_eq!((worker.claim(SLOT, ONE), worker.taken()), (Claim::Moved, 1));
        // Nothing brings it back.
        worker.rest(SLOT, ONE);
        assert_eq!(worker.claim(SLOT, ONE), Claim::Moved);
        assert_eq!(worker.release(SLOT, ONE), Claim::Moved);
    }

    #[test]
    fn the_next_connection_of_a_slot_is_not_taken_for_the_last() {
        let (table, _file) = KeptTable::create().unwrap();
        table.begin(SLOT, ONE);
        table.rest(SLOT, ONE);
        assert_eq!(table.release(SLOT, ONE), Claim::Ours);
        table.begin(SLOT, Generation(2));
        table.rest(SLOT, Generation(2));
        assert!(!table.take(SLOT, ONE));
        assert_eq!(table.claim(SLOT, Generation(2)), Claim::Ours);
    }

    #[test]
    fn what_a_worker_has_given_nobody_reads_before_the_primary_has_decided() {
        let (primary, file) = KeptTable::create().unwrap();
        let worker = KeptTable::map(file.as_fd()).unwrap();
        worker.begin(SLOT, ONE);
        for decision in [Decision::Here, Decision::AtHome, Decision::Moved] {
            // Only what it has claimed.
            worker.rest(SLOT, ONE);
            assert!(!worker.give(SLOT, ONE));
            assert!(!primary.decide(SLOT, ONE, Decision::Moved));
            assert_eq!(worker.claim(SLOT, ONE), Claim::Ours);
            assert!(worker.give(SLOT, ONE) && primary.is_given(SLOT, ONE));
            worker.rest(SLOT, ONE);
            assert_eq!((worker.claim(SLOT, ONE), worker.decision(SLOT, ONE)), (Claim::Given, None));
            assert!(primary.decide(SLOT, ONE, decision) && !primary.decide(SLOT, ONE, Decision::Here));
            assert_eq!(worker.decision(SLOT, ONE), Some(decision));
            let claim = if decision == Decision::Moved { Claim::Moved } else { Claim::Ours };
            assert_eq!(worker.claim(SLOT, ONE), claim);
        }
        assert_eq!((worker.release(SLOT, ONE), worker.taken()), (Claim::Moved, 0));
    }

    #[test]
    fn what_is_decided_is_the_primarys_until_the_worker_has_heard_of_it() {
        let (table, _file) = KeptTable::create().unwrap();
        for (generation, decision) in [(1, Decision::Here), (2, Decision::AtHome)] {
            let generation = Generation(generation);
            for hears in [true, false] {
                table.begin(SLOT, generation);
                assert!(table.give(SLOT, generation) && table.decide(SLOT, generation, decision));
                if hears {
                    assert_eq!(table.decision(SLOT, generation), Some(decision));
                }
                assert_eq!(table.take(SLOT, generation), !hears);
            }
            assert_eq!(table.decision(SLOT, generation), Some(Decision::Moved));
        }
    }

    #[test]
    fn of_what_a_worker_has_given_and_released_or_taken_back_nothing_is_decided() {
        let (table, _file) = KeptTable::create().unwrap();
        table.begin(SLOT, ONE);
        assert!(table.give(SLOT, ONE));
        table.take_back(SLOT, ONE);
        assert!(!table.decide(SLOT, ONE, Decision::Moved));
        assert!(table.give(SLOT, ONE));
        assert_eq!(table.release(SLOT, ONE), Claim::Ours);
        table.leave_alone(SLOT);
        assert!(!table.decide(SLOT, ONE, Decision::Moved) && !table.take(SLOT, ONE));
        table.begin(SLOT, Generation(2));
        table.leave_alone(SLOT);
        assert!(!table.decide(SLOT, ONE, Decision::Moved));
        assert!(table.give(SLOT, Generation(2)));
        table.leave_alone(SLOT);
        assert_eq!(table.decision(SLOT, Generation(2)), Some(Decision::Alone));
        // It does not rest any more.
        table.rest(SLOT, Generation(2));
        assert!(!table.take(SLOT, Generation(2)));
        assert_eq!(table.claim(SLOT, Generation(2)), Claim::Ours);
    }

    #[test]
    fn what_a_worker_has_given_is_the_primarys_when_it_takes_all() {
        let (table, _file) = KeptTable::create().unwrap();
        table.begin(SLOT, ONE);
        assert!(table.give(SLOT, ONE) && table.take(SLOT, ONE));
        assert_eq!((table.claim(SLOT, ONE), table.taken()), (Claim::Moved, 1));
    }

    #[test]
    fn each_rest_has_one_reader() {
        const ROUNDS: u64 = 20_000;
        let (table, _file) = KeptTable::create().unwrap();
        let taken = AtomicUsize::new(0);
        let is_over = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut generation = 0;
                while is_over.load(Ordering::SeqCst) == 0 {
                    while table.take(SLOT, Generation(generation)) {
                        taken.fetch_add(1, Ordering::SeqCst);
                    }
                    generation = (generation + 1) % (ROUNDS + 1);
                    // As a look that comes late: mostly at what is there now.
                    let now = table.word(SLOT).load(Ordering::SeqCst) >> BITS;
                    if now != 0 {
                        generation = now;
                    }
                }
            });
            let mut moved = 0;
            for generation in (1..=ROUNDS).map(Generation) {
                table.begin(SLOT, generation);
                table.rest(SLOT, generation);
                let claim = table.claim(SLOT, generation);
                assert_eq!(table.release(SLOT, generation), claim);
                moved += usize::from(claim == Claim::Moved);
            }
            is_over.store(1, Ordering::SeqCst);
            // Counted by the other side at the latest when it has seen the end.
            while taken.load(Ordering::SeqCst) != moved {
                std::thread::yield_now();
            }
        });
        assert_eq!(table.taken() as usize, taken.load(Ordering::SeqCst));
    }
}
