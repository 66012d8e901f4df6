//! The memory from both ends, and what one end can do to the other.

use std::collections::{BTreeSet, VecDeque};

use proptest::prelude::*;

use super::ranges::first_of;
use super::*;
use crate::channel::{Channel, HandleOrigin, Retransmission};
use crate::proto::Serialization;

fn offered(sharing: &Arc<Sharing>) -> Arc<OwnedFd> {
    assert!(matches!(sharing.reserve(1), (None, true)));
    let Maintenance::Offered(file) = sharing.maintain() else { panic!("nothing was offered") };
    file
}

/// Memory that both ends have mapped, and its file.
fn shared() -> (Arc<Sharing>, Arc<Incoming>, Arc<OwnedFd>) {
    let sharing = Arc::new(Sharing::default());
    let file = offered(&sharing);
    let incoming = Incoming::map(file.as_fd()).unwrap();
    sharing.accepted();
    (sharing, incoming, file)
}

/// Memory of which only so many blocks can be used.
fn shared_blocks(count: usize) -> (Arc<Sharing>, Arc<Incoming>) {
    let (sharing, incoming, _) = shared();
    sharing.with_outgoing(|outgoing| drop(outgoing.free.cut(&(count..BLOCKS))));
    (sharing, incoming)
}

fn reserve(sharing: &Arc<Sharing>, bytes: usize) -> Reservation {
    sharing.reserve(bytes).0.expect("no reservation")
}

/// Sends an attachment of so many blocks, filled with a byte, and claims it.
fn send(sharing: &Arc<Sharing>, incoming: &Arc<Incoming>, blocks: usize, byte: u8) -> Segment {
    let reservation = reserve(sharing, blocks * BLOCK);
    reservation.write(&vec![byte; blocks * BLOCK]);
    let offset = reservation.offset();
    reservation.sent(blocks * BLOCK);
    incoming.claim(offset, blocks * BLOCK).unwrap()
}

impl Segment {
    pub fn content(&self) -> Vec<u8> {
        let start = offset_of(self.blocks.start);
        self.incoming.memory.read(start..start + self.length)
    }
}

#[test]
fn no_more_is_unread_than_the_bound_but_for_one_that_is_alone() {
    let (sharing, incoming, _file) = shared();
    let alone = send(&sharing, &incoming, MAX_UNREAD / BLOCK + 1, 1);
    assert!(sharing.reserve(1).0.is_none());
    drop(alone);
    let mut first = send(&sharing, &incoming, MAX_UNREAD / BLOCK / 2, 2);
    let _second = send(&sharing, &incoming, MAX_UNREAD / BLOCK / 2, 3);
    assert!(sharing.reserve(1).0.is_none());
    first.read();
    assert!(sharing.reserve(1).0.is_some());
}

#[test]
fn there_is_no_room_before_the_other_side_has_accepted() {
    let sharing = Arc::new(Sharing::default());
    assert!(matches!(sharing.maintain(), Maintenance::Nothing));
    let _file = offered(&sharing);
    assert!(matches!(sharing.reserve(1), (None, false)));
    assert!(matches!(sharing.maintain(), Maintenance::Nothing));
    sharing.accepted();
    assert!(matches!(sharing.reserve(1), (Some(_), true)));
    assert!(matches!(sharing.reserve(1), (Some(_), false)));
}

#[test]
fn who_accepts_what_was_not_offered_changes_nothing() {
    let sharing = Arc::new(Sharing::default());
    sharing.accepted();
    let _file = offered(&sharing);
    assert!(matches!(sharing.reserve(1), (None, false)));
}

#[test]
fn a_piece_is_read_as_it_was_written_and_its_place_is_used_again() {
    let (sharing, incoming, _file) = shared();
    let first = reserve(&sharing, BLOCK + 1);
    assert_eq!((first.offset(), first.capacity()), (BLOCK, 2 * BLOCK));
    let bytes: Vec<u8> = (0..=BLOCK).map(|index| index as u8).collect();
    first.write(&bytes);
    first.sent(bytes.len());
    let segment = incoming.claim(BLOCK, bytes.len()).unwrap();
    assert!(segment.content() == bytes);
    assert_eq!(reserve(&sharing, 1).offset(), 3 * BLOCK);
    drop(segment);
    assert_eq!(reserve(&sharing, 1).offset(), BLOCK);
}

#[test]
fn room_for_nothing_is_a_block() {
    let (sharing, _incoming, _file) = shared();
    assert_eq!(reserve(&sharing, 0).capacity(), BLOCK);
}

#[test]
fn room_that_was_not_used_is_put_back() {
    let (sharing, _incoming) = shared_blocks(4);
    drop(reserve(&sharing, 4 * BLOCK));
    let (one, other) = (reserve(&sharing, BLOCK), reserve(&sharing, BLOCK));
    drop(one);
    drop(other);
    assert_eq!(reserve(&sharing, 4 * BLOCK).offset(), BLOCK);
}

#[test]
fn when_all_is_held_there_is_no_room_until_a_piece_is_released() {
    let (sharing, incoming) = shared_blocks(4);
    let mut held: Vec<Segment> = (0..4).map(|byte| send(&sharing, &incoming, 1, byte)).collect();
    assert!(sharing.reserve(1).0.is_none());
    drop(held.remove(1));
    assert!(sharing.reserve(BLOCK + 1).0.is_none());
    drop(held.remove(1));
    assert_eq!(reserve(&sharing, 2 * BLOCK).offset(), 2 * BLOCK);
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
    assert!(incoming.held.lock().iter().next().is_none());
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

/// For how many blocks the system has allocated memory.
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
    assert!(matches!(sharing.maintain(), Maintenance::Later));
    assert_eq!(taken(&file), 1 + 3 + 2);
    assert!(matches!(sharing.maintain(), Maintenance::Later));
    assert_eq!(taken(&file), 1 + 3);
    assert!(held.content() == vec![7; 3 * BLOCK]);

    // A timer is running already.
    let (again, needs_maintenance) = sharing.reserve(4 * BLOCK);
    assert!(!needs_maintenance);
    assert_eq!(again.unwrap().offset(), 4 * BLOCK);
    assert_eq!(taken(&file), 1 + 3 + 4);
    drop(held);
    assert!(matches!(sharing.maintain(), Maintenance::Later));
    assert!(matches!(sharing.maintain(), Maintenance::Nothing));
    assert_eq!(taken(&file), 1);
    // No timer is running any more.
    assert!(matches!(sharing.reserve(1), (Some(_), true)));
    assert_eq!(taken(&file), 2);
}

#[test]
fn what_was_refused_is_offered_again_later() {
    let sharing = Arc::new(Sharing::default());
    let _file = offered(&sharing);
    sharing.refused();
    assert!(matches!(&*sharing.0.lock(), Stage::Refused(until) if *until > Instant::now()));
    assert!(matches!(sharing.reserve(1), (None, false)));
    assert!(matches!(sharing.maintain(), Maintenance::Nothing));
    // The answer to the first offer comes late.
    sharing.accepted();
    assert!(matches!(sharing.reserve(1), (None, false)));
    *sharing.0.lock() = Stage::Refused(Instant::now());
    let _file = offered(&sharing);
    sharing.accepted();
    assert!(sharing.reserve(1).0.is_some());
}

#[test]
fn memory_that_is_given_up_is_kept_by_nobody() {
    let pair = os::socket_pair().unwrap();
    let channel = Channel::between_corrals(pair.ours, Serialization::Json);
    channel.reserve(1);
    let Maintenance::Offered(file) = channel.maintain_memory() else { panic!("nothing was offered") };
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
    memory.count(RELEASED_ATTACHMENTS).store(u32::MAX, Ordering::Release);
    assert_eq!(reserve(&sharing, 4 * BLOCK).offset(), BLOCK);
    // The sender has no more memory than before.
    let _all = reserve(&sharing, 4 * BLOCK);
    assert!(sharing.reserve(1).0.is_none());
    drop(held);
    assert!(sharing.reserve(1).0.is_none());
}

#[test]
fn a_piece_that_comes_back_before_it_is_known_to_be_sent_is_used_again() {
    let (sharing, incoming) = shared_blocks(1);
    let reservation = reserve(&sharing, BLOCK);
    // The frame has gone out. The receiver is quicker than this end, and the reactor reclaims meanwhile.
    drop(incoming.claim(reservation.offset(), BLOCK).unwrap());
    sharing.maintain();
    reservation.sent(BLOCK);
    assert!(sharing.reserve(1).0.is_some());
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The sender reserves so many bytes.
    Ask(usize),
    /// The sender drops a reservation.
    Drop(usize),
    /// The frame of an attachment goes out.
    Announce(usize),
    /// The sender notes that a frame has gone out.
    Sent(usize),
    Tend,
    /// The receiver claims the attachment of the next frame.
    Claim,
    Read(usize),
    Release(usize),
    /// A frame states the place of an attachment in use.
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

/// The number of blocks in the model.
const FEW: usize = 16;

struct Held {
    segment: Segment,
    is_read: bool,
}

/// Both ends, and the blocks that the sender may use.
struct Model {
    sharing: Arc<Sharing>,
    incoming: Arc<Incoming>,
    free: BTreeSet<usize>,
    /// Whether the sender knows that the attachment has been sent, and whether it has been released.
    pieces: Vec<(Range<usize>, bool, bool)>,
    reservations: Vec<(Reservation, usize)>,
    announced: Vec<(Reservation, usize)>,
    frames: VecDeque<(usize, usize)>,
    held: Vec<Held>,
    bytes: [u8; FEW],
    next_byte: u8,
    /// The sender's count of undelivered bytes, and the receiver's.
    counted: [usize; 2],
}

/// Removes one element, if there is any.
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
            reservations: Vec::new(),
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
                if let Some((reservation, _)) = pick(&mut self.reservations, which) {
                    self.free.extend(reservation.blocks.clone());
                }
            }
            Step::Announce(which) => {
                if let Some((reservation, bytes)) = pick(&mut self.reservations, which) {
                    self.frames.push_back((reservation.offset(), bytes));
                    self.pieces.push((reservation.blocks.clone(), false, false));
                    self.announced.push((reservation, bytes));
                }
            }
            Step::Sent(which) => self.sent(which),
            Step::Tend => drop(self.sharing.maintain()),
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
                    let block = offset_of(segment.blocks.end - 1);
                    assert!(self.incoming.claim(block, 1).is_none());
                }
            }
        }
        assert_eq!(self.sharing.unread(), self.counted[0].saturating_sub(self.counted[1]));
    }

    fn ask(&mut self, bytes: usize) {
        let reservation = self.sharing.reserve(bytes).0;
        let blocks = bytes.div_ceil(BLOCK);
        let expected = first_of(&self.free, blocks);
        assert_eq!(reservation.as_ref().map(Reservation::offset), expected.map(offset_of));
        let Some(reservation) = reservation else { return };
        self.next_byte = self.next_byte.wrapping_add(1);
        reservation.write(&vec![self.next_byte; bytes]);
        for block in reservation.blocks.clone() {
            self.free.remove(&block);
            self.bytes[block] = self.next_byte;
        }
        self.reservations.push((reservation, bytes));
    }

    fn sent(&mut self, which: usize) {
        let Some((reservation, bytes)) = pick(&mut self.announced, which) else { return };
        let blocks = reservation.blocks.clone();
        reservation.sent(bytes);
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

    /// Blocks that are sent and released belong to the sender again.
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

    /// Every attachment is released.
    fn finish(&mut self) {
        self.held.iter().for_each(|held| self.check(&held.segment));
        while !(self.reservations.is_empty() && self.announced.is_empty()) {
            self.step(Step::Announce(0));
            self.step(Step::Sent(0));
        }
        while !(self.frames.is_empty() && self.held.is_empty()) {
            self.step(Step::Claim);
            self.step(Step::Release(0));
        }
        assert_eq!(self.sharing.unread(), 0);
        self.ask(FEW * BLOCK);
        assert_eq!(self.reservations.len(), 1);
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
