//! Large pieces of messages between two corrals, in memory that both have: the sender writes a piece there, its frame says
//! where, and nothing of it goes through the socket.
//!
//! Each direction has memory of its own, which the sender makes, divides, and offers with the first large piece. Until the
//! receiver has acknowledged it, and whenever no room is left in it, pieces travel behind their frames instead: nothing depends
//! on it. A piece is the receiver's until the receiver releases it, for a Buffer when that is collected.
//!
//! Both processes may write everywhere in it at any time. Neither relies on what it finds there: the sender keeps its own account of
//! what is in use, the receiver checks where a piece is said to be. One that does not go by the rules spoils its own messages.

use std::collections::BTreeMap;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use parking_lot::Mutex;

use crate::os::{self, Memory};

/// Memory is given in blocks of this size: that of the smallest pieces.
const BLOCK: usize = 16 << 10;
/// How many blocks there are: 192 MiB. Released buffers come back when JavaScript's garbage is collected, for which V8 waits until there
/// are 64 MiB of it or more; with as much room as that, half of what is sent finds none.
const BLOCKS: usize = 12 << 10;
/// In front of them is one that belongs to both sides.
const LENGTH: usize = (BLOCKS + 1) * BLOCK;
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

/// Whole numbers in ranges that do not touch each other.
#[derive(Debug, Default)]
struct Ranges(BTreeMap<usize, usize>);

impl Ranges {
    /// Takes so many in a row out of it, the lowest: so that as little memory as possible is used, and that again and again.
    fn take_first(&mut self, count: usize) -> Option<Range<usize>> {
        let (start, end) =
            self.0.iter().map(|(start, end)| (*start, *end)).find(|(start, end)| end - start >= count)?;
        self.0.remove(&start);
        if start + count < end {
            self.0.insert(start + count, end);
        }
        Some(start..start + count)
    }

    /// Adds a range that does not overlap.
    fn add(&mut self, range: Range<usize>) {
        debug_assert!(!self.overlaps(&range), "{range:?} of {self:?}");
        let Range { mut start, mut end } = range;
        if let Some((before, before_end)) =
            self.0.range(..start).next_back().map(|(start, end)| (*start, *end))
            && before_end == start
        {
            self.0.remove(&before);
            start = before;
        }
        if let Some(behind_end) = self.0.remove(&end) {
            end = behind_end;
        }
        self.0.insert(start, end);
    }

    /// Takes out of it what is in a range.
    fn cut(&mut self, range: &Range<usize>) -> Vec<Range<usize>> {
        let touched: Vec<(usize, usize)> = self
            .0
            .range(..range.end)
            .rev()
            .map(|(start, end)| (*start, *end))
            .take_while(|(_, end)| *end > range.start)
            .collect();
        let mut taken = Vec::new();
        for (start, end) in touched {
            self.0.remove(&start);
            if start < range.start {
                self.0.insert(start, range.start);
            }
            if end > range.end {
                self.0.insert(range.end, end);
            }
            taken.push(start.max(range.start)..end.min(range.end));
        }
        taken
    }

    fn overlaps(&self, range: &Range<usize>) -> bool {
        self.0.range(..range.end).next_back().is_some_and(|(_, end)| *end > range.start)
    }
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
        let all = || Ranges(BTreeMap::from([(0, BLOCKS)]));
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
        let mut unused = Ranges(self.free.0.clone());
        for (start, end) in &self.bare.0 {
            unused.cut(&(*start..*end));
        }
        for (start, end) in unused.0 {
            // What cannot be given back stays, and is used again.
            if os::give_memory_back(self.file.as_fd(), place_of(start)..place_of(end)).is_ok() {
                self.bare.add(start..end);
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
mod tests {
    use std::collections::{BTreeSet, VecDeque};

    use proptest::prelude::*;

    use super::*;
    use crate::channel::{Channel, HandleOrigin, Retransmission};
    use crate::proto::Serialization;

    #[derive(Clone, Debug)]
    enum Change {
        TakeFirst(usize),
        Add(Range<usize>),
        Cut(Range<usize>),
        Look(Range<usize>),
    }

    fn any_change() -> impl Strategy<Value = Change> {
        let range = || (0usize..40, 1usize..8).prop_map(|(start, length)| start..start + length);
        prop_oneof![
            (1usize..6).prop_map(Change::TakeFirst),
            range().prop_map(Change::Add),
            range().prop_map(Change::Cut),
            range().prop_map(Change::Look),
        ]
    }

    /// Numbers in the ranges that they make.
    fn joined(numbers: &BTreeSet<usize>) -> BTreeMap<usize, usize> {
        let starts = numbers.iter().filter(|number| **number == 0 || !numbers.contains(&(**number - 1)));
        starts.map(|start| (*start, (*start..).find(|number| !numbers.contains(number)).unwrap())).collect()
    }

    /// Where so many in a row begin, the lowest.
    fn first(numbers: &BTreeSet<usize>, count: usize) -> Option<usize> {
        numbers.iter().copied().find(|start| (*start..start + count).all(|number| numbers.contains(&number)))
    }

    proptest! {
        #[test]
        fn ranges_are_a_set_of_numbers(changes in prop::collection::vec(any_change(), 0..60)) {
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for change in changes {
                match change {
                    Change::TakeFirst(count) => {
                        let expected = first(&set, count).map(|start| start..start + count);
                        prop_assert_eq!(ranges.take_first(count), expected.clone());
                        set.retain(|number| !expected.iter().any(|taken| taken.contains(number)));
                    }
                    Change::Add(range) => {
                        if set.is_disjoint(&range.clone().collect()) {
                            ranges.add(range.clone());
                            set.extend(range);
                        }
                    }
                    Change::Cut(range) => {
                        let taken: Vec<usize> = ranges.cut(&range).into_iter().rev().flatten().collect();
                        prop_assert_eq!(taken, set.range(range.clone()).copied().collect::<Vec<_>>());
                        set.retain(|number| !range.contains(number));
                    }
                    Change::Look(range) => {
                        prop_assert_eq!(ranges.overlaps(&range), set.range(range).next().is_some());
                    }
                }
                prop_assert_eq!(&ranges.0, &joined(&set));
            }
        }
    }

    fn offered(sharing: &Arc<Sharing>) -> Arc<OwnedFd> {
        assert!(matches!(sharing.room(1), (None, true)));
        let Tending::Offered(file) = sharing.tend() else { panic!("nothing was offered") };
        file
    }

    /// Memory that both sides have, and its file.
    fn shared() -> (Arc<Sharing>, Arc<Incoming>, Arc<OwnedFd>) {
        let sharing = Arc::new(Sharing::default());
        let file = offered(&sharing);
        let incoming = Incoming::map(file.as_fd()).unwrap();
        sharing.accepted();
        (sharing, incoming, file)
    }

    /// Memory of which no more than so many blocks can be used.
    fn shared_blocks(count: usize) -> (Arc<Sharing>, Arc<Incoming>) {
        let (sharing, incoming, _) = shared();
        sharing.with_outgoing(|outgoing| drop(outgoing.free.cut(&(count..BLOCKS))));
        (sharing, incoming)
    }

    fn room(sharing: &Arc<Sharing>, bytes: usize) -> Room {
        sharing.room(bytes).0.expect("no room")
    }

    /// Sends a piece of so many blocks, filled with a byte, and claims it.
    fn send(sharing: &Arc<Sharing>, incoming: &Arc<Incoming>, blocks: usize, byte: u8) -> Segment {
        let room = room(sharing, blocks * BLOCK);
        room.write(&vec![byte; blocks * BLOCK]);
        let offset = room.offset();
        room.sent(blocks * BLOCK);
        incoming.claim(offset, blocks * BLOCK).unwrap()
    }

    impl Segment {
        /// What is there.
        pub fn content(&self) -> Vec<u8> {
            let start = place_of(self.blocks.start);
            self.incoming.memory.read(start..start + self.length)
        }
    }

    #[test]
    fn no_more_is_unread_than_the_bound_but_for_one_that_is_alone() {
        let (sharing, incoming, _file) = shared();
        let alone = send(&sharing, &incoming, MOST_UNREAD / BLOCK + 1, 1);
        assert!(sharing.room(1).0.is_none());
        drop(alone);
        let mut first = send(&sharing, &incoming, MOST_UNREAD / BLOCK / 2, 2);
        let _second = send(&sharing, &incoming, MOST_UNREAD / BLOCK / 2, 3);
        assert!(sharing.room(1).0.is_none());
        first.read();
        assert!(sharing.room(1).0.is_some());
    }

    #[test]
    fn there_is_no_room_before_the_other_side_has_accepted() {
        let sharing = Arc::new(Sharing::default());
        assert!(matches!(sharing.tend(), Tending::Nothing));
        let _file = offered(&sharing);
        assert!(matches!(sharing.room(1), (None, false)));
        assert!(matches!(sharing.tend(), Tending::Nothing));
        sharing.accepted();
        assert!(matches!(sharing.room(1), (Some(_), true)));
        assert!(matches!(sharing.room(1), (Some(_), false)));
    }

    #[test]
    fn who_accepts_what_was_not_offered_changes_nothing() {
        let sharing = Arc::new(Sharing::default());
        sharing.accepted();
        let _file = offered(&sharing);
        assert!(matches!(sharing.room(1), (None, false)));
    }

    #[test]
    fn a_piece_is_read_as_it_was_written_and_its_place_is_used_again() {
        let (sharing, incoming, _file) = shared();
        let first = room(&sharing, BLOCK + 1);
        assert_eq!((first.offset(), first.capacity()), (BLOCK, 2 * BLOCK));
        let bytes: Vec<u8> = (0..=BLOCK).map(|index| index as u8).collect();
        first.write(&bytes);
        first.sent(bytes.len());
        let segment = incoming.claim(BLOCK, bytes.len()).unwrap();
        assert!(segment.content() == bytes);
        assert_eq!(room(&sharing, 1).offset(), 3 * BLOCK);
        drop(segment);
        assert_eq!(room(&sharing, 1).offset(), BLOCK);
    }

    #[test]
    fn room_for_nothing_is_a_block() {
        let (sharing, _incoming, _file) = shared();
        assert_eq!(room(&sharing, 0).capacity(), BLOCK);
    }

    #[test]
    fn room_that_was_not_used_is_put_back() {
        let (sharing, _incoming) = shared_blocks(4);
        drop(room(&sharing, 4 * BLOCK));
        let (one, other) = (room(&sharing, BLOCK), room(&sharing, BLOCK));
        drop(one);
        drop(other);
        assert_eq!(room(&sharing, 4 * BLOCK).offset(), BLOCK);
    }

    #[test]
    fn when_all_is_held_there_is_no_room_until_a_piece_is_released() {
        let (sharing, incoming) = shared_blocks(4);
        let mut held: Vec<Segment> = (0..4).map(|byte| send(&sharing, &incoming, 1, byte)).collect();
        assert!(sharing.room(1).0.is_none());
        drop(held.remove(1));
        assert!(sharing.room(BLOCK + 1).0.is_none());
        drop(held.remove(1));
        assert_eq!(room(&sharing, 2 * BLOCK).offset(), 2 * BLOCK);
    }

    #[test]
    fn a_piece_is_not_claimed_where_none_can_be() {
        let (_sharing, incoming, _file) = shared();
        for (offset, length) in [
            (0, 1),
            (0, 2 * BLOCK),
            (BLOCK, 0),
            (BLOCK + 8, 1),
            (LENGTH, 1),
            (LENGTH - BLOCK, BLOCK + 1),
            (BLOCK, LENGTH),
            (BLOCK, usize::MAX),
            (usize::MAX, 1),
            (usize::MAX - BLOCK + 1, BLOCK),
        ] {
            assert!(incoming.claim(offset, length).is_none(), "{length} at {offset}");
        }
        assert!(incoming.held.lock().0.is_empty());
        assert!(incoming.claim(LENGTH - BLOCK, BLOCK).is_some());
        assert!(incoming.claim(BLOCK, LENGTH - BLOCK).is_some());
    }

    #[test]
    fn a_piece_that_is_held_is_claimed_by_nobody_else() {
        let (_sharing, incoming, _file) = shared();
        let held = incoming.claim(3 * BLOCK, BLOCK + 1).unwrap();
        for (offset, length) in [(3, 1), (3, 2 * BLOCK), (4, 1), (2, BLOCK + 1), (2, 9 * BLOCK)] {
            assert!(incoming.claim(offset * BLOCK, length).is_none(), "{length} at {offset}");
        }
        let _neighbours =
            [(2, BLOCK), (5, BLOCK)].map(|(offset, length)| incoming.claim(offset * BLOCK, length).unwrap());
        drop(held);
        assert!(incoming.claim(3 * BLOCK, 2 * BLOCK).is_some());
    }

    #[test]
    fn what_has_been_read_is_counted_once() {
        let (sharing, incoming, _file) = shared();
        assert_eq!(sharing.unread(), 0);
        let [mut read, released] = [1, 2].map(|blocks| send(&sharing, &incoming, blocks, 0));
        assert_eq!(sharing.unread(), 3 * BLOCK);
        read.read();
        read.read();
        assert_eq!(sharing.unread(), 2 * BLOCK);
        drop(read);
        assert_eq!(sharing.unread(), 2 * BLOCK);
        drop(released);
        assert_eq!(sharing.unread(), 0);
    }

    /// How many blocks of ours the system has given memory for.
    fn taken(file: &OwnedFd) -> usize {
        nix::sys::stat::fstat(file).unwrap().st_blocks as usize * 512 / BLOCK
    }

    #[test]
    fn what_is_not_used_is_given_back_and_what_is_held_stays() {
        let (sharing, incoming, file) = shared();
        assert_eq!(taken(&file), 1);
        let held = send(&sharing, &incoming, 3, 7);
        drop(send(&sharing, &incoming, 2, 0));
        assert_eq!(taken(&file), 1 + 3 + 2);
        assert!(matches!(sharing.tend(), Tending::Later));
        assert_eq!(taken(&file), 1 + 3 + 2);
        assert!(matches!(sharing.tend(), Tending::Later));
        assert_eq!(taken(&file), 1 + 3);
        assert!(held.content() == vec![7; 3 * BLOCK]);

        // Somebody looks after it already.
        let (again, needs_tending) = sharing.room(4 * BLOCK);
        assert!(!needs_tending);
        assert_eq!(again.unwrap().offset(), 4 * BLOCK);
        assert_eq!(taken(&file), 1 + 3 + 4);
        drop(held);
        assert!(matches!(sharing.tend(), Tending::Later));
        assert!(matches!(sharing.tend(), Tending::Nothing));
        assert_eq!(taken(&file), 1);
        // Nobody does any more.
        assert!(matches!(sharing.room(1), (Some(_), true)));
        assert_eq!(taken(&file), 2);
    }

    #[test]
    fn what_was_refused_is_offered_again_later() {
        let sharing = Arc::new(Sharing::default());
        let _file = offered(&sharing);
        sharing.refused();
        assert!(matches!(&*sharing.0.lock(), Stage::Refused(until) if *until > Instant::now()));
        assert!(matches!(sharing.room(1), (None, false)));
        assert!(matches!(sharing.tend(), Tending::Nothing));
        // An answer that comes late.
        sharing.accepted();
        assert!(matches!(sharing.room(1), (None, false)));
        *sharing.0.lock() = Stage::Refused(Instant::now());
        let _file = offered(&sharing);
        sharing.accepted();
        assert!(sharing.room(1).0.is_some());
    }

    #[test]
    fn memory_that_is_given_up_is_kept_by_nobody() {
        let pair = os::socket_pair().unwrap();
        let channel = Channel::between_corrals(pair.ours, Serialization::Json);
        channel.room(1);
        let Tending::Offered(file) = channel.tend_memory() else { panic!("nothing was offered") };
        for _ in 0..3 {
            assert_eq!(channel.retransmit(), Retransmission::SentAgain);
            channel.flush(&mut Vec::new());
        }
        assert_eq!(channel.retransmit(), Retransmission::GivenUp(HandleOrigin::Memory));
        assert!(matches!(&*channel.sharing.0.lock(), Stage::Refused(_)));
        assert_eq!(Arc::strong_count(&file), 1);
    }

    #[test]
    fn what_the_other_side_writes_over_the_account_spoils_no_more_than_messages() {
        let (sharing, incoming) = shared_blocks(4);
        let held = send(&sharing, &incoming, 2, 0);
        let memory = &incoming.memory;
        memory.sum(READ_BYTES).store(u64::MAX, Ordering::Release);
        assert_eq!(sharing.unread(), 0);
        (0..BLOCKS).for_each(|block| memory.flag(FLAGS + block).store(255, Ordering::Release));
        memory.count(RELEASED_PIECES).store(u32::MAX, Ordering::Release);
        assert_eq!(room(&sharing, 4 * BLOCK).offset(), BLOCK);
        // There is no more of it than there was.
        let _all = room(&sharing, 4 * BLOCK);
        assert!(sharing.room(1).0.is_none());
        drop(held);
        assert!(sharing.room(1).0.is_none());
    }

    #[test]
    fn a_piece_that_comes_back_before_it_is_known_to_be_sent_is_used_again() {
        let (sharing, incoming) = shared_blocks(1);
        let room = room(&sharing, BLOCK);
        // Its frame has gone out: the other side is quicker than this one, and the reactor looks meanwhile.
        drop(incoming.claim(room.offset(), BLOCK).unwrap());
        sharing.tend();
        room.sent(BLOCK);
        assert!(sharing.room(1).0.is_some());
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// The sender asks for room for so many bytes.
        Ask(usize),
        /// The sender does not use room that it has.
        Drop(usize),
        /// The frame of a piece goes out.
        Announce(usize),
        /// The sender knows that a frame has gone out.
        Sent(usize),
        Tend,
        /// The receiver comes to the next frame.
        Claim,
        Read(usize),
        Release(usize),
        /// A frame says that a piece is where one is held.
        Overlap(usize),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        let which = 0usize..8;
        prop_oneof![
            6 => (1..4 * BLOCK).prop_map(Step::Ask),
            1 => which.clone().prop_map(Step::Drop),
            5 => which.clone().prop_map(Step::Announce),
            5 => which.clone().prop_map(Step::Sent),
            1 => Just(Step::Tend),
            5 => Just(Step::Claim),
            1 => which.clone().prop_map(Step::Read),
            4 => which.clone().prop_map(Step::Release),
            1 => which.prop_map(Step::Overlap),
        ]
    }

    /// So many blocks the model has.
    const FEW: usize = 16;

    struct Held {
        segment: Segment,
        is_read: bool,
    }

    /// Both sides, and which blocks the sender may use.
    struct Model {
        sharing: Arc<Sharing>,
        incoming: Arc<Incoming>,
        free: BTreeSet<usize>,
        /// Whether the sender knows that the piece has been sent, and whether it has been released.
        pieces: Vec<(Range<usize>, bool, bool)>,
        rooms: Vec<(Room, usize)>,
        announced: Vec<(Room, usize)>,
        frames: VecDeque<(usize, usize)>,
        held: Vec<Held>,
        bytes: [u8; FEW],
        next_byte: u8,
        /// What the sender counts, and what the receiver does.
        counted: [usize; 2],
    }

    /// One of several, if there are any.
    fn pick<T>(list: &mut Vec<T>, which: usize) -> Option<T> {
        (!list.is_empty()).then(|| list.swap_remove(which % list.len()))
    }

    impl Model {
        fn new() -> Self {
            let (sharing, incoming) = shared_blocks(FEW);
            Model {
                sharing,
                incoming,
                free: (0..FEW).collect(),
                pieces: Vec::new(),
                rooms: Vec::new(),
                announced: Vec::new(),
                frames: VecDeque::new(),
                held: Vec::new(),
                bytes: [0; FEW],
                next_byte: 0,
                counted: [0; 2],
            }
        }

        fn step(&mut self, step: Step) {
            match step {
                Step::Ask(bytes) => self.ask(bytes),
                Step::Drop(which) => {
                    if let Some((room, _)) = pick(&mut self.rooms, which) {
                        self.free.extend(room.blocks.clone());
                    }
                }
                Step::Announce(which) => {
                    if let Some((room, bytes)) = pick(&mut self.rooms, which) {
                        self.frames.push_back((room.offset(), bytes));
                        self.pieces.push((room.blocks.clone(), false, false));
                        self.announced.push((room, bytes));
                    }
                }
                Step::Sent(which) => self.sent(which),
                Step::Tend => drop(self.sharing.tend()),
                Step::Claim => self.claim(),
                Step::Read(which) => {
                    if let Some(mut held) = pick(&mut self.held, which) {
                        held.segment.read();
                        self.counted[1] += if held.is_read { 0 } else { held.segment.len() };
                        held.is_read = true;
                        self.held.push(held);
                    }
                }
                Step::Release(which) => self.release(which),
                Step::Overlap(which) => {
                    if let Some(Held { segment, .. }) = self.held.get(which) {
                        let block = place_of(segment.blocks.end - 1);
                        assert!(self.incoming.claim(block, 1).is_none());
                    }
                }
            }
            assert_eq!(self.sharing.unread(), self.counted[0].saturating_sub(self.counted[1]));
        }

        fn ask(&mut self, bytes: usize) {
            let room = self.sharing.room(bytes).0;
            let blocks = bytes.div_ceil(BLOCK);
            let expected = first(&self.free, blocks);
            assert_eq!(room.as_ref().map(Room::offset), expected.map(place_of));
            let Some(room) = room else { return };
            self.next_byte = self.next_byte.wrapping_add(1);
            room.write(&vec![self.next_byte; bytes]);
            for block in room.blocks.clone() {
                self.free.remove(&block);
                self.bytes[block] = self.next_byte;
            }
            self.rooms.push((room, bytes));
        }

        fn sent(&mut self, which: usize) {
            let Some((room, bytes)) = pick(&mut self.announced, which) else { return };
            let blocks = room.blocks.clone();
            room.sent(bytes);
            self.counted[0] += bytes;
            self.change(&blocks, |(_, is_sent, _)| *is_sent = true);
        }

        fn claim(&mut self) {
            let Some((offset, bytes)) = self.frames.pop_front() else { return };
            let segment = self.incoming.claim(offset, bytes).expect("the piece is there");
            self.held.push(Held { segment, is_read: false });
        }

        fn release(&mut self, which: usize) {
            let Some(Held { segment, is_read }) = pick(&mut self.held, which) else { return };
            self.check(&segment);
            self.counted[1] += if is_read { 0 } else { segment.len() };
            let blocks = segment.blocks.clone();
            drop(segment);
            self.change(&blocks, |(_, _, is_released)| *is_released = true);
        }

        /// What is sent and released is the sender's again.
        fn change(&mut self, blocks: &Range<usize>, change: impl FnOnce(&mut (Range<usize>, bool, bool))) {
            let index = self.pieces.iter().position(|(piece, ..)| piece == blocks).unwrap();
            change(&mut self.pieces[index]);
            if let (_, true, true) = self.pieces[index] {
                self.free.extend(self.pieces.swap_remove(index).0);
            }
        }

        fn check(&self, segment: &Segment) {
            let byte = self.bytes[segment.blocks.start];
            assert!(segment.content().iter().all(|found| *found == byte));
        }

        /// Everything comes back.
        fn finish(&mut self) {
            self.held.iter().for_each(|held| self.check(&held.segment));
            while !(self.rooms.is_empty() && self.announced.is_empty()) {
                self.step(Step::Announce(0));
                self.step(Step::Sent(0));
            }
            while !(self.frames.is_empty() && self.held.is_empty()) {
                self.step(Step::Claim);
                self.step(Step::Release(0));
            }
            assert_eq!(self.sharing.unread(), 0);
            self.ask(FEW * BLOCK);
            assert_eq!(self.rooms.len(), 1);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_piece_stays_as_it_was_written_for_as_long_as_it_is_held(
            steps in prop::collection::vec(any_step(), 0..100),
        ) {
            let mut model = Model::new();
            for step in steps {
                model.step(step);
            }
            model.finish();
        }
    }
}
