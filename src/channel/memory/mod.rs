//! Large pieces of messages between two corrals, in memory that both have: the sender writes a piece there, its frame says
//! where, and nothing of it goes through the socket.
//!
//! Each direction has memory of its own, which the sender makes, divides, and offers with the first large piece. Until the
//! receiver has acknowledged it, and whenever no room is left in it, pieces travel behind their frames instead: nothing depends
//! on it. A piece is the receiver's until the receiver releases it, for a Buffer when that is collected.
//!
//! Both processes may write everywhere in it at any time. Neither relies on what it finds there: the sender keeps its own account of
//! what is in use, the receiver checks where a piece is said to be. One that does not go by the rules spoils its own messages.

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

/// Memory is given in blocks of this size: that of the smallest pieces.
const BLOCK: usize = 16 << 10;
/// How many blocks there are: 192 MiB. Released buffers come back when JavaScript's garbage is collected, for which V8 waits until there
/// are 64 MiB of it or more; with as much room as that, half of what is sent finds none.
const BLOCKS: usize = 12 << 10;
/// In front of them is one that belongs to both sides.
pub const LENGTH: usize = (BLOCKS + 1) * BLOCK;
/// There: how many bytes the receiver's program has got, in eight bytes.
const READ_BYTES: usize = 0;
/// How many pieces have been released, in four; on a cache line of its own.
const RELEASED_PIECES: usize = 64;
/// For each block, whether the piece that begins there has been released.
const FLAGS: usize = 4096;
const _: () = assert!(FLAGS + BLOCKS <= BLOCK);

/// So much of it may be on its way to a program that is busy. More waits as messages do that bring nothing along, which has a bound of its own.
const MOST_UNREAD: usize = 32 << 20;

/// What was not used for so long is given back to the system.
pub const MEMORY_KEPT: Duration = Duration::from_secs(5);
/// After a refusal nothing is offered for so long.
const REFUSED_FOR: Duration = Duration::from_secs(10);

/// Where in the memory a block is.
fn place_of(block: usize) -> usize {
    (block + 1) * BLOCK
}

/// Room for a piece, to be written and then to be sent. What is not sent is put back.
#[derive(Debug)]
pub struct Room {
    sharing: Arc<Sharing>,
    memory: Arc<Memory>,
    blocks: Range<usize>,
    is_sent: bool,
}

impl Room {
    /// Where it is, as the frame says it.
    pub fn offset(&self) -> usize {
        place_of(self.blocks.start)
    }

    /// How many bytes there are.
    pub fn capacity(&self) -> usize {
        self.blocks.len() * BLOCK
    }

    /// Where to write; for no longer than this lives.
    pub fn pointer(&self) -> *mut u8 {
        self.memory.part(self.offset()..self.offset() + self.capacity())
    }

    /// Writes from the beginning.
    ///
    /// Panics if there is not so much room.
    pub fn write(&self, bytes: &[u8]) {
        assert!(bytes.len() <= self.capacity());
        self.memory.write(self.offset(), bytes);
    }

    /// The frame that says that so many bytes are here has been sent, or queued: they are the receiver's.
    pub fn sent(mut self, bytes: usize) {
        self.is_sent = true;
        self.sharing.with_outgoing(|outgoing| outgoing.sent(self.blocks.clone(), bytes));
    }
}

impl Drop for Room {
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
    /// For these the system has given no memory yet.
    bare: Ranges,
    /// Sent, and not known to be released.
    sent: Vec<Range<usize>>,
    sent_bytes: u64,
    /// How many pieces had been released when that was looked after.
    released: u32,
    used_since_look: bool,
}

impl Outgoing {
    /// Errors: as [`Memory::create`] and [`os::reserve_memory`].
    fn create() -> Result<Self, Errno> {
        let (memory, file) = Memory::create(LENGTH)?;
        os::reserve_memory(file.as_fd(), 0..BLOCK)?;
        let all = || Ranges::all(0..BLOCKS);
        Ok(Outgoing {
            memory: Arc::new(memory),
            file: Arc::new(file),
            free: all(),
            bare: all(),
            sent: Vec::new(),
            sent_bytes: 0,
            released: 0,
            used_since_look: false,
        })
    }

    fn room(&mut self, bytes: usize) -> Option<Range<usize>> {
        let unread = self.unread();
        if unread > 0 && unread.saturating_add(bytes) > MOST_UNREAD {
            return None;
        }
        self.take_released();
        let blocks = self.free.take_first(bytes.div_ceil(BLOCK).max(1))?;
        let bare = self.bare.cut(&blocks);
        let reserved = bare.iter().try_for_each(|part| {
            os::reserve_memory(self.file.as_fd(), place_of(part.start)..place_of(part.end))
        });
        if reserved.is_err() {
            // The system has none left: the piece goes through the socket, where whoever has no memory is told so.
            bare.into_iter().for_each(|part| self.bare.add(part));
            self.free.add(blocks);
            return None;
        }
        self.used_since_look = true;
        Some(blocks)
    }

    fn sent(&mut self, blocks: Range<usize>, bytes: usize) {
        self.sent_bytes += bytes as u64;
        // Its frame may have gone out before this, and the other side, and then the reactor's look, may have been quicker.
        if self.is_released(&blocks) {
            self.free.add(blocks);
        } else {
            self.sent.push(blocks);
        }
    }

    /// Whether a piece has been released. It is said once.
    fn is_released(&self, blocks: &Range<usize>) -> bool {
        self.memory.flag(FLAGS + blocks.start).swap(0, Ordering::AcqRel) != 0
    }

    fn take_released(&mut self) {
        let released = self.memory.count(RELEASED_PIECES).load(Ordering::Acquire);
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

    /// How many bytes the receiver has not come to yet.
    fn unread(&self) -> usize {
        self.sent_bytes.saturating_sub(self.memory.sum(READ_BYTES).load(Ordering::Acquire)) as usize
    }

    /// Gives back to the system what is free, if nothing has been sent since this was called last. Returns whether it is to be
    /// called again.
    fn tidy(&mut self) -> bool {
        self.take_released();
        if std::mem::take(&mut self.used_since_look) {
            return true;
        }
        let mut unused = self.free.clone();
        self.bare.iter().for_each(|bare| drop(unused.cut(&bare)));
        for blocks in unused.iter() {
            // What cannot be given back stays, and is used again.
            if os::release_memory(self.file.as_fd(), place_of(blocks.start)..place_of(blocks.end)).is_ok() {
                self.bare.add(blocks);
            }
        }
        !self.sent.is_empty()
    }
}

/// How far the two sides are with the memory of one direction.
#[derive(Debug, Default)]
enum Stage {
    /// Nothing large has been sent.
    #[default]
    Unused,
    /// The reactor is to make memory and to offer it.
    Wanted,
    /// It is on its way to the other side.
    Offered(Outgoing),
    /// The other side has it. A timer runs for the next look at it, or not.
    Shared(Outgoing, bool),
    /// There is none, or the other side could not map it.
    Refused(Instant),
}

/// What the reactor is to do about the memory.
#[derive(Debug)]
pub enum Tending {
    /// This is offered to the other side.
    Offered(Arc<OwnedFd>),
    /// Call again after [`MEMORY_KEPT`].
    Later,
    /// Nothing, until asked again.
    Nothing,
}

/// The sending side of the memory, from the first large piece on.
#[derive(Debug, Default)]
pub(super) struct Sharing(Mutex<Stage>);

impl Sharing {
    /// Room for a piece of so many bytes. The second value says that the reactor is to tend.
    pub(super) fn room(self: &Arc<Self>, bytes: usize) -> (Option<Room>, bool) {
        let mut stage = self.0.lock();
        match &mut *stage {
            Stage::Shared(outgoing, is_tended) => {
                let room = outgoing.room(bytes).map(|blocks| {
                    let (sharing, memory) = (self.clone(), outgoing.memory.clone());
                    Room { sharing, memory, blocks, is_sent: false }
                });
                let needs_tending = room.is_some() && !std::mem::replace(is_tended, true);
                (room, needs_tending)
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

    /// How many bytes the receiver has not come to yet.
    pub(super) fn unread(&self) -> usize {
        match &*self.0.lock() {
            Stage::Shared(outgoing, _) => outgoing.unread(),
            _ => 0,
        }
    }

    pub(super) fn tend(&self) -> Tending {
        let mut stage = self.0.lock();
        match &mut *stage {
            Stage::Wanted => match Outgoing::create() {
                Ok(outgoing) => {
                    let file = outgoing.file.clone();
                    *stage = Stage::Offered(outgoing);
                    Tending::Offered(file)
                }
                Err(_) => {
                    *stage = Stage::Refused(Instant::now() + REFUSED_FOR);
                    Tending::Nothing
                }
            },
            Stage::Shared(outgoing, is_tended) => {
                *is_tended = outgoing.tidy();
                if *is_tended { Tending::Later } else { Tending::Nothing }
            }
            Stage::Unused | Stage::Offered(_) | Stage::Refused(_) => Tending::Nothing,
        }
    }

    /// The other side has mapped what it was offered.
    pub(super) fn accepted(&self) {
        let mut stage = self.0.lock();
        *stage = match std::mem::take(&mut *stage) {
            Stage::Offered(outgoing) => Stage::Shared(outgoing, false),
            other => other,
        };
    }

    /// The other side cannot have it.
    pub(super) fn refused(&self) {
        *self.0.lock() = Stage::Refused(Instant::now() + REFUSED_FOR);
    }
}

/// The receiver's end of the memory.
#[derive(Debug)]
pub struct Incoming {
    memory: Memory,
    /// The pieces that this side has.
    held: Mutex<Ranges>,
}

impl Incoming {
    /// Errors: as [`Memory::map`].
    pub fn map(file: BorrowedFd<'_>) -> Result<Arc<Self>, Errno> {
        Ok(Arc::new(Incoming { memory: Memory::map(file, LENGTH)?, held: Mutex::default() }))
    }

    /// Whether somebody has a piece of it. Only who gets pieces out of it may rely on the answer.
    pub fn is_held(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) > 1
    }

    /// The piece that a frame says is there. None if it cannot be: it is not within, or overlaps one that has not been released.
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

/// A piece in memory that this side has, until it drops this: then it is the sender's again.
#[derive(Debug)]
pub struct Segment {
    incoming: Arc<Incoming>,
    blocks: Range<usize>,
    length: usize,
    is_read: bool,
}

impl Segment {
    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.length
    }

    /// False: there is at least one.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The program has them: the sender need not wait for that any more. It goes without saying when they are released.
    pub fn read(&mut self) {
        if !std::mem::replace(&mut self.is_read, true) {
            self.incoming.memory.sum(READ_BYTES).fetch_add(self.length as u64, Ordering::AcqRel);
        }
    }

    /// Where they are, for as long as this lives.
    pub fn pointer(&self) -> *mut u8 {
        let start = place_of(self.blocks.start);
        self.incoming.memory.part(start..start + self.length)
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        self.read();
        // In this order: the sender may give it to the next piece at once.
        self.incoming.held.lock().cut(&self.blocks);
        let memory = &self.incoming.memory;
        memory.flag(FLAGS + self.blocks.start).store(1, Ordering::Release);
        memory.count(RELEASED_PIECES).fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
