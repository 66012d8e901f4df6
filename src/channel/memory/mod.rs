//! Shared memory for large attachments between two corrals. The sender writes an attachment there, the frame
//! states its offset, and the bytes do not go through the socket.
//!
//! Each direction has memory of its own. The sender makes it, offers it with the first large attachment, and
//! allocates from it. Until the receiver has acknowledged the memory, and whenever none of it is free,
//! attachments travel behind their frames instead: nothing depends on the memory. An attachment belongs to
//! the receiver until the receiver releases it; a Buffer is released when it is garbage collected.
//!
//! Both processes may write anywhere in the memory at any time, and neither relies on what it reads there.
//! The sender keeps its own account of what is in use. The receiver checks the offset of every attachment. A
//! process that breaks the rules corrupts its own messages only.

mod ranges;

use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use parking_lot::Mutex;

use crate::os::{self, Memory};
use ranges::Ranges;

/// The unit of allocation, which is the size of the smallest attachments.
pub const BLOCK: usize = 16 << 10;
/// The number of blocks, 192 MiB. Buffers are released when JavaScript's garbage is collected, which V8 does
/// at 64 MiB or more of it. With only that much memory, half of the attachments would find none free.
const BLOCKS: usize = 12 << 10;
/// The size in bytes. The first block holds the state that both sides share.
pub const LENGTH: usize = (BLOCKS + 1) * BLOCK;
/// The offset of the number of bytes that the receiver's program has received, in eight bytes.
const READ_BYTES: usize = 0;
/// The offset of the number of released attachments, in four bytes, on a cache line of its own.
const RELEASED_ATTACHMENTS: usize = 64;
/// The offset of one byte for each block, which says whether the attachment that begins there has been
/// released.
const FLAGS: usize = 4096;
const _: () = assert!(FLAGS + BLOCKS <= BLOCK);

/// How many bytes may be undelivered to a busy program. Further messages wait as those without attachments
/// do, which have their own limit.
const MAX_UNREAD: usize = 32 << 20;

/// Memory that is unused for so long goes back to the system.
pub const MEMORY_KEPT: Duration = Duration::from_secs(5);
/// How long no memory is offered after a refusal.
const REFUSED_FOR: Duration = Duration::from_secs(10);

/// The offset of a block.
fn offset_of(block: usize) -> usize {
    (block + 1) * BLOCK
}

/// A reservation for an attachment, to be written and sent. Dropping it without sending frees it.
#[derive(Debug)]
pub struct Reservation {
    sharing: Arc<Sharing>,
    memory: Arc<Memory>,
    blocks: Range<usize>,
    is_sent: bool,
}

impl Reservation {
    /// Its offset, as the frame states it.
    pub fn offset(&self) -> usize {
        offset_of(self.blocks.start)
    }

    /// In bytes.
    pub fn capacity(&self) -> usize {
        self.blocks.len() * BLOCK
    }

    /// Where to write. The pointer is valid as long as the reservation.
    pub fn pointer(&self) -> *mut u8 {
        self.memory.part(self.offset()..self.offset() + self.capacity())
    }

    /// Writes from the beginning.
    ///
    /// Panics if the bytes do not fit.
    pub fn write(&self, bytes: &[u8]) {
        assert!(bytes.len() <= self.capacity());
        self.memory.write(self.offset(), bytes);
    }

    /// The frame with this attachment has been sent or queued: the bytes belong to the receiver.
    pub fn sent(mut self, bytes: usize) {
        self.is_sent = true;
        self.sharing.with_outgoing(|outgoing| outgoing.sent(self.blocks.clone(), bytes));
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.is_sent {
            self.sharing.with_outgoing(|outgoing| outgoing.free.add(self.blocks.clone()));
        }
    }
}

/// The sender's account of the memory.
#[derive(Debug)]
struct Outgoing {
    memory: Arc<Memory>,
    file: Arc<OwnedFd>,
    free: Ranges,
    /// Free blocks for which the system has allocated no memory.
    unreserved: Ranges,
    /// Sent, and not known to be released.
    sent: Vec<Range<usize>>,
    sent_bytes: u64,
    /// The number of released attachments when it was last read.
    released: u32,
    used_since_check: bool,
}

impl Outgoing {
    /// Errors: as [`Memory::create`] and [`os::reserve_memory`].
    fn create() -> Result<Self, Errno> {
        let (memory, file) = Memory::create(c"corral", LENGTH)?;
        os::reserve_memory(file.as_fd(), 0..BLOCK)?;
        let all = || Ranges::all(0..BLOCKS);
        Ok(Outgoing {
            memory: Arc::new(memory),
            file: Arc::new(file),
            free: all(),
            unreserved: all(),
            sent: Vec::new(),
            sent_bytes: 0,
            released: 0,
            used_since_check: false,
        })
    }

    fn reserve(&mut self, bytes: usize) -> Option<Range<usize>> {
        let unread = self.unread();
        if unread > 0 && unread.saturating_add(bytes) > MAX_UNREAD {
            return None;
        }
        self.take_released();
        let blocks = self.free.take_first(bytes.div_ceil(BLOCK).max(1))?;
        let unreserved = self.unreserved.cut(&blocks);
        let reserved = unreserved.iter().try_for_each(|part| {
            os::reserve_memory(self.file.as_fd(), offset_of(part.start)..offset_of(part.end))
        });
        if reserved.is_err() {
            // The system has no memory left: the attachment goes through the socket instead, which reports
            // such an error.
            unreserved.into_iter().for_each(|part| self.unreserved.add(part));
            self.free.add(blocks);
            return None;
        }
        self.used_since_check = true;
        Some(blocks)
    }

    fn sent(&mut self, blocks: Range<usize>, bytes: usize) {
        self.sent_bytes += bytes as u64;
        // The frame may have gone out before this call. The receiver may have released the attachment since,
        // and the reactor may have reclaimed memory.
        if self.is_released(&blocks) {
            self.free.add(blocks);
        } else {
            self.sent.push(blocks);
        }
    }

    /// Whether an attachment has been released. Returns true once.
    fn is_released(&self, blocks: &Range<usize>) -> bool {
        self.memory.flag(FLAGS + blocks.start).swap(0, Ordering::AcqRel) != 0
    }

    fn take_released(&mut self) {
        let released = self.memory.count(RELEASED_ATTACHMENTS).load(Ordering::Acquire);
        if std::mem::replace(&mut self.released, released) == released {
            return;
        }
        let mut sent = std::mem::take(&mut self.sent);
        sent.retain(|blocks| {
            let is_released = self.is_released(blocks);
            if is_released {
                self.free.add(blocks.clone());
            }
            !is_released
        });
        self.sent = sent;
    }

    /// How many bytes the receiver's program has not received yet.
    fn unread(&self) -> usize {
        self.sent_bytes.saturating_sub(self.memory.sum(READ_BYTES).load(Ordering::Acquire)) as usize
    }

    /// Returns free memory to the system, if nothing was sent since the last call. Returns whether to call
    /// this again.
    fn reclaim(&mut self) -> bool {
        self.take_released();
        if std::mem::take(&mut self.used_since_check) {
            return true;
        }
        let mut unused = self.free.clone();
        self.unreserved.iter().for_each(|unreserved| drop(unused.cut(&unreserved)));
        for blocks in unused.iter() {
            // Memory that cannot be returned stays reserved and is used again.
            if os::release_memory(self.file.as_fd(), offset_of(blocks.start)..offset_of(blocks.end)).is_ok() {
                self.unreserved.add(blocks);
            }
        }
        !self.sent.is_empty()
    }
}

/// How far the memory of one direction is set up.
#[derive(Debug, Default)]
enum Stage {
    /// No large attachment has been sent.
    #[default]
    Unused,
    /// The reactor must make the memory and offer it.
    Wanted,
    /// The receiver has not answered yet.
    Offered(Outgoing),
    /// The receiver has mapped the memory. The second field says whether a timer for the next maintenance is
    /// running.
    Shared(Outgoing, bool),
    /// The memory could not be made, or the receiver could not map it. The next offer is made at this time.
    Refused(Instant),
}

/// What the reactor does after maintaining the memory.
#[derive(Debug)]
pub enum Maintenance {
    /// Offers this to the receiver.
    Offered(Arc<OwnedFd>),
    /// Maintains the memory again after [`MEMORY_KEPT`].
    Later,
    /// Nothing, until it is asked again.
    Nothing,
}

/// The sender's end of the memory.
#[derive(Debug, Default)]
pub(super) struct Sharing(Mutex<Stage>);

impl Sharing {
    /// Reserves memory for an attachment. The second value says that the reactor must maintain the memory.
    pub(super) fn reserve(self: &Arc<Self>, bytes: usize) -> (Option<Reservation>, bool) {
        let mut stage = self.0.lock();
        match &mut *stage {
            Stage::Shared(outgoing, has_timer) => {
                let reservation = outgoing.reserve(bytes).map(|blocks| {
                    let (sharing, memory) = (self.clone(), outgoing.memory.clone());
                    Reservation { sharing, memory, blocks, is_sent: false }
                });
                let needs_maintenance = reservation.is_some() && !std::mem::replace(has_timer, true);
                (reservation, needs_maintenance)
            }
            Stage::Unused => {
                *stage = Stage::Wanted;
                (None, true)
            }
            Stage::Refused(until) if Instant::now() >= *until => {
                *stage = Stage::Wanted;
                (None, true)
            }
            Stage::Wanted | Stage::Offered(_) | Stage::Refused(_) => (None, false),
        }
    }

    fn with_outgoing(&self, work: impl FnOnce(&mut Outgoing)) {
        if let Stage::Shared(outgoing, _) = &mut *self.0.lock() {
            work(outgoing);
        }
    }

    /// How many bytes the receiver's program has not received yet.
    pub(super) fn unread(&self) -> usize {
        match &*self.0.lock() {
            Stage::Shared(outgoing, _) => outgoing.unread(),
            _ => 0,
        }
    }

    pub(super) fn maintain(&self) -> Maintenance {
        let mut stage = self.0.lock();
        match &mut *stage {
            Stage::Wanted => match Outgoing::create() {
                Ok(outgoing) => {
                    let file = outgoing.file.clone();
                    *stage = Stage::Offered(outgoing);
                    Maintenance::Offered(file)
                }
                Err(_) => {
                    *stage = Stage::Refused(Instant::now() + REFUSED_FOR);
                    Maintenance::Nothing
                }
            },
            Stage::Shared(outgoing, has_timer) => {
                *has_timer = outgoing.reclaim();
                if *has_timer { Maintenance::Later } else { Maintenance::Nothing }
            }
            Stage::Unused | Stage::Offered(_) | Stage::Refused(_) => Maintenance::Nothing,
        }
    }

    /// The receiver has mapped the memory.
    pub(super) fn accepted(&self) {
        let mut stage = self.0.lock();
        *stage = match std::mem::take(&mut *stage) {
            Stage::Offered(outgoing) => Stage::Shared(outgoing, false),
            other => other,
        };
    }

    /// The receiver could not map the memory.
    pub(super) fn refused(&self) {
        *self.0.lock() = Stage::Refused(Instant::now() + REFUSED_FOR);
    }
}

/// The receiver's end of the memory.
#[derive(Debug)]
pub struct Incoming {
    memory: Memory,
    /// The blocks of attachments that are in use here.
    held: Mutex<Ranges>,
}

impl Incoming {
    /// Errors: as [`Memory::map`].
    pub fn map(file: BorrowedFd<'_>) -> Result<Arc<Self>, Errno> {
        Ok(Arc::new(Incoming { memory: Memory::map(file, LENGTH)?, held: Mutex::default() }))
    }

    /// Whether any attachment is in use. Only the thread that claims attachments may rely on the answer.
    pub fn is_held(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) > 1
    }

    /// Claims the attachment at the place that a frame states. None if it cannot be there: the place is out
    /// of bounds, or overlaps an attachment in use.
    pub fn claim(self: &Arc<Self>, offset: usize, length: usize) -> Option<Segment> {
        let end = offset.checked_add(length)?;
        if length == 0 || offset < BLOCK || !offset.is_multiple_of(BLOCK) || end > LENGTH {
            return None;
        }
        let blocks = offset / BLOCK - 1..end.div_ceil(BLOCK) - 1;
        let mut held = self.held.lock();
        if held.overlaps(&blocks) {
            return None;
        }
        held.add(blocks.clone());
        Some(Segment { incoming: self.clone(), blocks, length, is_read: false })
    }
}

/// An attachment in shared memory. Dropping this releases it to the sender.
#[derive(Debug)]
pub struct Segment {
    incoming: Arc<Incoming>,
    blocks: Range<usize>,
    length: usize,
    is_read: bool,
}

impl Segment {
    /// In bytes.
    pub fn len(&self) -> usize {
        self.length
    }

    /// False: every attachment has at least one byte.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The program has received the attachment, so that the sender no longer counts it as undelivered.
    /// Releasing it implies this.
    pub fn read(&mut self) {
        if !std::mem::replace(&mut self.is_read, true) {
            self.incoming.memory.sum(READ_BYTES).fetch_add(self.length as u64, Ordering::AcqRel);
        }
    }

    /// The beginning of the attachment. The pointer is valid as long as this lives.
    pub fn pointer(&self) -> *mut u8 {
        let start = offset_of(self.blocks.start);
        self.incoming.memory.part(start..start + self.length)
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        self.read();
        // The order matters: the sender may use the blocks again as soon as the flag is set.
        self.incoming.held.lock().cut(&self.blocks);
        let memory = &self.incoming.memory;
        memory.flag(FLAGS + self.blocks.start).store(1, Ordering::Release);
        memory.count(RELEASED_ATTACHMENTS).fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
