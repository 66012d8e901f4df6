//! What a worker and its primary know of each other without a system call: a page of memory that both have.
//!
//! The worker writes when its event loop begins to wait, what it has received from its lane, and how long it was busy; the
//! primary, what it wants to be woken for. Each side reads what the other writes as input from outside: a worker that writes
//! nonsense harms the choice of who gets connections, for itself, and nothing else.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;

use crate::histogram::{BUCKETS, Durations, bucket_of};
use crate::os::{self, Memory};
use crate::proto::LaneSeq;

/// The size of the page, in bytes.
const SIZE: usize = 4096;

// Offsets, in bytes. The worker's and the primary's words lie in cache lines of their own.

/// How often the worker's loop has begun to wait.
const TURNS: usize = 0;
/// When it did so last, in microseconds of the monotonic clock.
const POLLED_AT: usize = 8;
/// For how long the loop was busy altogether, in nanoseconds.
const BUSY: usize = 16;
/// Everything up to this number was received, or had been taken back.
const RECEIVED: usize = 24;
/// The number up to which a report on the lane went that had refusals in it.
const REFUSED: usize = 32;
/// The worker's process in the upper half, and its loop's epoll instance in the lower; 0 until it is known.
const IDENTITY: usize = 40;
/// How many claims it has made, in the upper 63 bits; in the lowest, whether it is about to make another.
const CLAIMS: usize = 48;
/// What it has received last from the shared lane, written before it is claimed.
const TAKING: usize = 56;

/// The worker wakes the primary when it has received this number...
const WAKE_AT: usize = 128;
/// ... and when it is about to wait, if this is not 0.
const WAKE_IDLE: usize = 136;

/// The worker wakes the primary when it claims this number on the shared lane, or a later one.
const WAKE_AT_CLAIM: usize = 144;

/// Whether the worker is to count the connections that it has open.
const COUNTS_OPEN: usize = 152;

/// Whether the worker is to write what follows.
const IS_OBSERVED: usize = 160;

/// How long its loop was busy in one go, as a histogram: the buckets, then the sum.
const BUSY_SPELLS: usize = 192;
/// How long after the primary had accepted connections the worker took them from a lane, likewise.
const TAKEN_AFTER: usize = 336;
/// Numbers of the runtime: see [`RUNTIME_NUMBERS`].
const RUNTIME: usize = 512;

/// How many numbers of the runtime the page has room for.
pub const RUNTIME_NUMBERS: usize = 32;

/// How many connections the worker has open, by server: see [`open_slot`].
const OPEN: usize = 2048;
/// How many servers it can tell apart.
const OPEN_SLOTS: usize = 256;

/// The last claims, each in the place of its number modulo [`CLAIMS_KEPT`].
const LAST_CLAIMS: usize = 1024;
/// How many claims the page has room for: as many as there can be between two looks of the primary.
pub const CLAIMS_KEPT: u64 = 64;

/// A [`WAKE_AT`] that never comes.
const NEVER: u64 = u64::MAX;

/// What the worker has written, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// How often its loop has begun to wait.
    pub turns: u64,
    /// When it did so last, in microseconds of the monotonic clock.
    pub polled_at: u64,
    /// For how long the loop was busy altogether, in nanoseconds.
    pub busy: u64,
    /// Up to which number it has sent a report on the lane, because there were refusals in it.
    pub refused: LaneSeq,
    /// What it has received.
    pub received: LaneSeq,
}

/// What a worker says of a connection that it has received from the shared lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedClaim {
    /// The connection's number on the shared lane.
    pub seq: LaneSeq,
    /// The worker does not serve it.
    pub is_refused: bool,
}

/// How far a worker is with its claims.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// How many it has made.
    pub count: u64,
    /// It is receiving from the shared lane just now, or has received and not claimed yet.
    pub is_receiving: bool,
}

/// Where on the page the connections of a server are counted. Two servers of one slot count together, in all workers alike.
pub fn open_slot(key: &str) -> usize {
    // FNV-1a: both sides must have the same.
    let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash ^ hash >> 32) as usize % OPEN_SLOTS
}

/// The page, from either side.
#[derive(Debug)]
pub struct Pulse(Memory);

impl Pulse {
    /// Makes a page, and the descriptor by which the other side can have it.
    ///
    /// Errors: `EMFILE`, `ENFILE`, `ENOMEM`, `ENOSPC`; `ENOSYS`, `EPERM` where there is no such memory.
    pub fn create() -> Result<(Self, OwnedFd), Errno> {
        use std::os::fd::AsFd;
        let (memory, file) = Memory::create(c"corral pulse", SIZE)?;
        os::reserve_memory(file.as_fd(), 0..SIZE)?;
        let pulse = Pulse(memory);
        pulse.disarm();
        Ok((pulse, file))
    }

    /// Maps a page that the other side has made.
    ///
    /// Errors: `EINVAL` for anything else; `ENOMEM`.
    pub fn map(file: BorrowedFd<'_>) -> Result<Self, Errno> {
        Memory::map(file, SIZE).map(Pulse)
    }

    fn word(&self, offset: usize) -> &AtomicU64 {
        self.0.sum(offset)
    }

    /// The worker: who it is.
    pub fn introduce(&self, pid: u32, poller: i32) {
        let poller = u64::from(poller.cast_unsigned());
        self.word(IDENTITY).store(u64::from(pid) << 32 | poller, Ordering::Release);
    }

    /// The worker: its loop looks for events, at this time of the monotonic clock, after having been busy for so long altogether,
    /// both in nanoseconds. Returns whether the primary is to be woken if the loop waits for them.
    pub fn poll(&self, now: u64, busy: u64) -> bool {
        if self.is_observed() {
            let before = self.word(BUSY).load(Ordering::Relaxed);
            // The first one would have the time in it that nobody has observed.
            if before != 0 {
                self.record(BUSY_SPELLS, busy.saturating_sub(before) / 1000);
            }
        }
        self.word(POLLED_AT).store(now / 1000, Ordering::Relaxed);
        self.word(BUSY).store(busy, Ordering::Relaxed);
        self.word(TURNS).fetch_add(1, Ordering::SeqCst);
        self.word(WAKE_IDLE).load(Ordering::SeqCst) != 0
    }

    /// The worker: it has received everything up to a number, of which refusals were reported on the lane before. Returns
    /// whether the primary is to be woken.
    pub fn receive(&self, through: LaneSeq) -> bool {
        self.word(RECEIVED).store(through.0, Ordering::SeqCst);
        through.0 >= self.word(WAKE_AT).load(Ordering::SeqCst)
    }

    /// The worker: a report with refusals, up to this number, is in the lane.
    pub fn refuse(&self, through: LaneSeq) {
        self.word(REFUSED).store(through.0, Ordering::Release);
    }

    /// The worker: it is about to receive from the shared lane. [`Pulse::claim`] or [`Pulse::claim_nothing`] follows.
    pub fn begin_claim(&self) {
        self.word(CLAIMS).fetch_or(1, Ordering::SeqCst);
    }

    /// The worker: it has received this, and has not said yet whether it serves it.
    pub fn take(&self, seq: LaneSeq) {
        self.word(TAKING).store(seq.0, Ordering::SeqCst);
    }

    /// The worker: nothing was there.
    pub fn claim_nothing(&self) {
        self.word(CLAIMS).fetch_and(!1, Ordering::SeqCst);
    }

    /// The worker: it has received this, and serves it or does not. Returns whether the primary is to be woken.
    pub fn claim(&self, claim: SharedClaim) -> bool {
        let count = self.word(CLAIMS).load(Ordering::Relaxed) >> 1;
        self.last_claim(count).store(claim.seq.0 << 1 | u64::from(claim.is_refused), Ordering::Relaxed);
        self.word(CLAIMS).store((count + 1) << 1, Ordering::SeqCst);
        claim.is_refused || claim.seq.0 >= self.word(WAKE_AT_CLAIM).load(Ordering::SeqCst)
    }

    fn last_claim(&self, number: u64) -> &AtomicU64 {
        self.word(LAST_CLAIMS + (number % CLAIMS_KEPT) as usize * size_of::<u64>())
    }

    /// The worker: whether it is to count its open connections.
    pub fn counts_open(&self) -> bool {
        self.word(COUNTS_OPEN).load(Ordering::Relaxed) != 0
    }

    /// The worker: a connection that is counted at this [slot](open_slot) has come, or has been closed.
    pub fn count_open(&self, slot: usize, has_come: bool) {
        let word = self.word(OPEN + slot % OPEN_SLOTS * size_of::<u64>());
        let count = word.load(Ordering::Relaxed);
        word.store(if has_come { count + 1 } else { count.saturating_sub(1) }, Ordering::Relaxed);
    }

    /// The primary: whether the worker is to count its open connections.
    pub fn set_counts_open(&self, counts: bool) {
        self.word(COUNTS_OPEN).store(u64::from(counts), Ordering::Relaxed);
    }

    /// The primary: how many connections the worker says it has open at this [slot](open_slot).
    pub fn open(&self, slot: usize) -> u64 {
        self.word(OPEN + slot % OPEN_SLOTS * size_of::<u64>()).load(Ordering::Relaxed)
    }

    /// The worker: whether it is to write what metrics are made of.
    pub fn is_observed(&self) -> bool {
        self.word(IS_OBSERVED).load(Ordering::Relaxed) != 0
    }

    /// The worker: it takes a connection from a lane, so many microseconds after the primary has accepted it.
    pub fn take_after(&self, micros: u64) {
        self.record(TAKEN_AFTER, micros);
    }

    /// The worker: numbers of the runtime, which mean what the reader thinks they do. Those beyond
    /// [`RUNTIME_NUMBERS`] have no room.
    pub fn show_runtime(&self, numbers: impl Iterator<Item = u64>) {
        for (place, number) in numbers.take(RUNTIME_NUMBERS).enumerate() {
            self.word(RUNTIME + place * size_of::<u64>()).store(number, Ordering::Relaxed);
        }
    }

    /// Only the worker writes there.
    fn record(&self, histogram: usize, micros: u64) {
        let add = |place: usize, more: u64| {
            let word = self.word(histogram + place * size_of::<u64>());
            word.store(word.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
        };
        add(bucket_of(micros), 1);
        add(BUCKETS, micros);
    }

    fn durations(&self, histogram: usize) -> Durations {
        let read = |place: usize| self.word(histogram + place * size_of::<u64>()).load(Ordering::Relaxed);
        Durations { buckets: std::array::from_fn(read), sum: read(BUCKETS) }
    }

    /// The primary: whether the worker is to write what metrics are made of.
    pub fn set_observed(&self, is_observed: bool) {
        self.word(IS_OBSERVED).store(u64::from(is_observed), Ordering::Relaxed);
    }

    /// The primary: how long the worker's loop was busy in one go, each time since it is observed.
    pub fn busy_spells(&self) -> Durations {
        self.durations(BUSY_SPELLS)
    }

    /// The primary: how long after they were accepted the worker took connections from its lanes.
    pub fn taken_after(&self) -> Durations {
        self.durations(TAKEN_AFTER)
    }

    /// The primary: what the worker has shown with [`Pulse::show_runtime`].
    pub fn runtime(&self) -> [u64; RUNTIME_NUMBERS] {
        std::array::from_fn(|place| self.word(RUNTIME + place * size_of::<u64>()).load(Ordering::Relaxed))
    }

    /// The primary: how far the worker is with its claims.
    pub fn claims(&self) -> Claims {
        let word = self.word(CLAIMS).load(Ordering::SeqCst);
        Claims { count: word >> 1, is_receiving: word & 1 == 1 }
    }

    /// The primary: what a worker that has ended had received and not claimed, if it had come to write that.
    pub fn taken_and_unclaimed(&self) -> Option<LaneSeq> {
        self.claims().is_receiving.then(|| LaneSeq(self.word(TAKING).load(Ordering::SeqCst)))
    }

    /// The primary: one of the last [`CLAIMS_KEPT`] claims, counting from 0.
    pub fn read_claim(&self, number: u64) -> SharedClaim {
        let claim = self.last_claim(number).load(Ordering::Relaxed);
        SharedClaim { seq: LaneSeq(claim >> 1), is_refused: claim & 1 == 1 }
    }

    /// The primary: wants to be woken when the worker claims `through`, or a later number. What has happened by then is not
    /// told.
    pub fn wake_at_claim(&self, through: LaneSeq) {
        self.word(WAKE_AT_CLAIM).store(through.0, Ordering::SeqCst);
    }

    /// The worker: the primary has been woken.
    pub fn disarm(&self) {
        self.word(WAKE_AT).store(NEVER, Ordering::Relaxed);
        self.word(WAKE_AT_CLAIM).store(NEVER, Ordering::Relaxed);
        self.word(WAKE_IDLE).store(0, Ordering::Relaxed);
    }

    /// The primary: what the worker's process and epoll instance are, once it has said so.
    pub fn identity(&self) -> Option<(u32, i32)> {
        let word = self.word(IDENTITY).load(Ordering::Acquire);
        (word != 0).then_some(((word >> 32) as u32, (word as u32).cast_signed()))
    }

    /// The primary: what the worker has written.
    pub fn read(&self) -> Reading {
        // In this order: what was refused of what has been received is in the lane by then.
        let received = LaneSeq(self.word(RECEIVED).load(Ordering::SeqCst));
        let refused = LaneSeq(self.word(REFUSED).load(Ordering::Acquire));
        let turns = self.word(TURNS).load(Ordering::SeqCst);
        Reading {
            turns,
            polled_at: self.word(POLLED_AT).load(Ordering::Relaxed),
            busy: self.word(BUSY).load(Ordering::Relaxed),
            refused,
            received,
        }
    }

    /// The primary: wants to be woken when the worker has received `through`, and when it begins to wait. What has happened by
    /// then is not told: the caller reads once more.
    pub fn arm(&self, through: Option<LaneSeq>) {
        self.word(WAKE_AT).store(through.map_or(NEVER, |through| through.0), Ordering::SeqCst);
        self.word(WAKE_IDLE).store(1, Ordering::SeqCst);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn spells_are_counted_while_somebody_observes_and_the_first_is_not() {
        let (pulse, _file) = Pulse::create().unwrap();
        pulse.poll(1_000, 5_000_000);
        assert_eq!(pulse.busy_spells(), Durations::default());
        pulse.set_observed(true);
        pulse.poll(2_000, 5_200_000);
        pulse.poll(3_000, 5_200_000);
        // A worker may write anything.
        pulse.poll(4_000, 0);
        pulse.poll(5_000, 9_000_000);
        let spells = pulse.busy_spells();
        assert_eq!((spells.buckets[0], spells.buckets[1], spells.sum), (2, 1, 200));
    }

    #[test]
    fn what_is_shown_beside_each_other_stays_apart() {
        let (pulse, _file) = Pulse::create().unwrap();
        pulse.set_observed(true);
        for _ in 0..3 {
            pulse.take_after(u64::MAX / 4);
        }
        pulse.show_runtime((1..100).map(|number| number * 1_000));
        assert_eq!(pulse.runtime()[RUNTIME_NUMBERS - 1], 32_000);
        assert_eq!((pulse.taken_after().buckets[16], pulse.busy_spells()), (3, Durations::default()));
        assert_eq!((pulse.open(0), pulse.read_claim(0).seq), (0, LaneSeq(0)));
        assert!(pulse.is_observed() && !pulse.counts_open());
    }
}
