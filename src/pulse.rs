//! What a worker and its primary know of each other without a system call: a page of memory that both have.
//!
//! The worker writes when its event loop begins to wait, what it has received from its lane, and how long it was busy; the
//! primary, what it wants to be woken for. Each side reads what the other writes as input from outside: a worker that writes
//! nonsense harms the choice of who gets connections, for itself, and nothing else.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;

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

/// The worker wakes the primary when it has received this number...
const WAKE_AT: usize = 128;
/// ... and when it is about to wait, if this is not 0.
const WAKE_IDLE: usize = 136;

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

/// The page, from either side.
#[derive(Debug)]
pub struct Pulse(Memory);

impl Pulse {
    /// Makes a page, and the descriptor by which the other side can have it.
    ///
    /// Errors: `EMFILE`, `ENFILE`, `ENOMEM`, `ENOSPC`; `ENOSYS`, `EPERM` where there is no such memory.
    pub fn create() -> Result<(Self, OwnedFd), Errno> {
        use std::os::fd::AsFd;
        let (memory, file) = Memory::create(SIZE)?;
        os::reserve_memory(file.as_fd(), 0..SIZE)?;
        let pulse = Pulse(memory);
        pulse.word(WAKE_AT).store(NEVER, Ordering::Relaxed);
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

    /// The worker: the primary has been woken.
    pub fn disarm(&self) {
        self.word(WAKE_AT).store(NEVER, Ordering::Relaxed);
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
