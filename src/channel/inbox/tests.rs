use std::io::IoSlice;
use std::os::fd::AsFd;

use super::*;
#[cfg(target_os = "linux")]
use crate::os::testing::Gift;
use crate::os::{SocketPair, send, socket_pair};

const HANDLE: &[u8] = b"{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Native\",\"msg\":1}\n";

struct Rig {
    pair: SocketPair,
    inbox: Inbox,
}

impl Rig {
    fn new(limit: usize) -> Self {
        let pair = socket_pair().unwrap();
        Rig { inbox: Inbox::new(Serialization::Json, limit), pair }
    }

    fn peer_sends(&self, bytes: &[u8], with_handle: bool) {
        let handle = self.pair.ours.as_fd();
        let sent =
            send(self.pair.theirs.as_fd(), &[IoSlice::new(bytes)], with_handle.then_some(handle)).unwrap();
        assert_eq!(sent, bytes.len());
    }

    fn read(&mut self) -> (Vec<(String, bool)>, ReadStatus) {
        self.read_to(Extent::Ready)
    }

    fn read_to(&mut self, extent: Extent) -> (Vec<(String, bool)>, ReadStatus) {
        let mut frames = Vec::new();
        let status = self.inbox.read(self.pair.ours.as_fd(), extent, |frame| {
            frames.push((String::from_utf8_lossy(&frame.bytes).into_owned(), frame.handle.is_some()));
        });
        (frames, status)
    }
}

#[test]
fn a_descriptor_goes_to_its_frame_wherever_the_frame_is_split() {
    for split in 1..HANDLE.len() {
        let mut rig = Rig::new(1000);
        rig.peer_sends(b"\"before\"\n", false);
        rig.peer_sends(&HANDLE[..split], true);
        let (first, _) = rig.read();
        assert_eq!(first, [("\"before\"".to_owned(), false)]);
        rig.peer_sends(&HANDLE[split..], false);
        rig.peer_sends(b"\"after\"\n", false);
        let (second, status) = rig.read();
        assert_eq!(second.iter().map(|frame| frame.1).collect::<Vec<_>>(), [true, false], "split at {split}");
        assert!(matches!(status, ReadStatus::Drained));
    }
}

#[test]
fn a_frame_whose_descriptor_was_lost_has_none() {
    let mut rig = Rig::new(1000);
    rig.peer_sends(HANDLE, false);
    assert!(!rig.read().0[0].1);
}

#[test]
fn a_descriptor_without_its_frame_is_closed_and_not_kept_for_another() {
    let mut rig = Rig::new(1000);
    rig.peer_sends(b"\"plain\"\n", true);
    rig.read();
    assert!(rig.inbox.unclaimed.is_empty());
    rig.peer_sends(HANDLE, false);
    assert!(!rig.read().0[0].1);
}

#[test]
#[cfg(target_os = "linux")]
fn descriptors_that_no_frame_has_asked_for_are_closed_however_many_come_at_once() {
    for copies in [1, 2, 3, MAX_UNCLAIMED, 253] {
        for (bytes, taken) in [(HANDLE, 1), (b"\"plain\"\n", 0), (b"\"half a mess", 0)] {
            let mut rig = Rig::new(1000);
            let gift = Gift::default();
            gift.send(rig.pair.theirs.as_fd(), bytes, copies);
            let mut handles = Vec::new();
            let status = rig.inbox.read(rig.pair.ours.as_fd(), Extent::Ready, |frame| {
                handles.extend(frame.handle);
            });
            assert_eq!(handles.len(), taken, "{copies}");
            // Descriptors that may belong to the rest of a frame are closed with the channel.
            if !matches!(status, ReadStatus::Drained) || !bytes.ends_with(b"\n") {
                drop(rig);
            }
            drop(handles);
            assert!(gift.is_closed_everywhere(), "{copies} with {}", bytes.escape_ascii());
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn descriptors_that_come_with_messages_are_closed_whoever_reads() {
    let mut rig = Rig::new(1000);
    let gift = Gift::default();
    gift.send(rig.pair.theirs.as_fd(), b"1\n", 2);
    let status = rig.inbox.read_messages(rig.pair.ours.as_fd(), 10, |_, _| {});
    assert_eq!(status, MessagesRead::SomethingElse);
    rig.read();
    assert!(gift.is_closed_everywhere());
}

#[test]
fn a_flood_of_descriptors_breaks_the_channel() {
    let mut rig = Rig::new(1 << 20);
    for _ in 0..=MAX_UNCLAIMED {
        rig.peer_sends(b"x", true);
    }
    let (frames, status) = rig.read();
    assert!(frames.is_empty());
    assert!(matches!(status, ReadStatus::Broken(Error::BadFrame(_))));
}

#[test]
fn an_endless_frame_breaks_the_channel() {
    let mut rig = Rig::new(1000);
    rig.peer_sends(&[b'x'; 1001], false);
    assert!(matches!(rig.read().1, ReadStatus::Broken(Error::FrameTooLarge { limit: 1000 })));
}

#[test]
fn what_a_peer_sent_before_it_died_arrives_before_the_end() {
    let mut rig = Rig::new(1000);
    rig.peer_sends(b"\"last\"\n\"half", false);
    drop(std::mem::replace(&mut rig.pair.theirs, socket_pair().unwrap().ours));
    let (frames, status) = rig.read_to(Extent::ToEnd);
    assert_eq!(frames, [("\"last\"".to_owned(), false)]);
    assert!(matches!(status, ReadStatus::Ended));
}

#[test]
fn what_comes_while_it_is_read_what_a_dead_peer_left_is_not_waited_for() {
    let Rig { pair, mut inbox } = Rig::new(1000);
    let write = || send(pair.theirs.as_fd(), &[IoSlice::new(b"1\n")], None).unwrap();
    for _ in 0..3 {
        write();
    }
    let mut delivered = 0;
    // Another process that has the peer's end writes one message for each that is read.
    let status = inbox.read(pair.ours.as_fd(), Extent::Left, |_| {
        write();
        delivered += 1;
    });
    assert!(matches!(status, ReadStatus::Drained), "{status:?}");
    assert_eq!(delivered, 3);
}

#[test]
fn what_a_dead_peer_left_is_read_however_much_and_its_end() {
    let mut rig = Rig::new(1 << 20);
    os::set_send_buffer(rig.pair.theirs.as_fd(), 4 << 20);
    let text = [&[b'1'; 99_999][..], b"\n"].concat();
    let mut count = 0;
    while send(rig.pair.theirs.as_fd(), &[IoSlice::new(&text)], None) == Ok(text.len()) {
        count += 1;
        if count * text.len() > 3 * READ_BUDGET / 2 {
            break;
        }
    }
    drop(std::mem::replace(&mut rig.pair.theirs, socket_pair().unwrap().ours));
    let (frames, status) = rig.read_to(Extent::Left);
    assert_eq!(frames.len(), count);
    assert!(matches!(status, ReadStatus::Ended), "{status:?}");
}

#[test]
fn frames_that_are_acted_upon_take_more_of_a_turn_than_their_bytes() {
    let mut rig = Rig::new(1000);
    let all = 3 * READ_BUDGET / INTERNAL_COST / 2;
    rig.peer_sends(&b"{\"cmd\":\"NODE_HANDLE_ACK\"}\n".repeat(all), false);
    let (first, status) = rig.read();
    assert!(matches!(status, ReadStatus::BudgetSpent), "{status:?}");
    assert!(first.len() <= READ_BUDGET / INTERNAL_COST, "{}", first.len());
    let (second, status) = rig.read();
    assert!(matches!(status, ReadStatus::Drained), "{status:?}");
    assert_eq!(first.len() + second.len(), all);
}

#[test]
fn messages_of_a_byte_took_a_turn_of_half_a_million() {
    let mut rig = Rig::new(1000);
    os::set_send_buffer(rig.pair.theirs.as_fd(), 1 << 20);
    let all = 3 * READ_BUDGET / MESSAGE_COST / 2;
    rig.peer_sends(&b"1\n".repeat(all), false);
    let (first, status) = rig.read();
    assert!(matches!(status, ReadStatus::BudgetSpent), "{status:?}");
    assert!(first.len() <= READ_BUDGET / MESSAGE_COST, "{}", first.len());
    assert_eq!(first.len() + rig.read().0.len(), all);
}

#[test]
fn handles_that_are_taken_in_a_turn_are_few() {
    let mut rig = Rig::new(1000);
    let all = 2 * READ_BUDGET / HANDLE_COST;
    (0..all).for_each(|_| rig.peer_sends(HANDLE, true));
    let (first, status) = rig.read();
    assert!(matches!(status, ReadStatus::BudgetSpent), "{status:?}");
    assert!(first.len() <= READ_BUDGET / HANDLE_COST, "{}", first.len());
    let (second, _) = rig.read();
    assert_eq!(first.len() + second.len() + rig.read().0.len(), all);
}

#[test]
fn reads_of_a_few_bytes_with_a_descriptor_each_are_not_more_than_a_turns() {
    let mut rig = Rig::new(1000);
    os::set_send_buffer(rig.pair.theirs.as_fd(), 1 << 20);
    // This is the most that may be in flight.
    let all = 3 * READ_BUDGET / READ_COST / 2;
    (0..all).for_each(|_| rig.peer_sends(b"1\n", true));
    let (first, status) = rig.read();
    assert!(matches!(status, ReadStatus::BudgetSpent), "{status:?}");
    assert_eq!(first.len(), READ_BUDGET.div_ceil(READ_COST + MESSAGE_COST));
    assert_eq!(rig.read().0.len(), all - first.len());
}

/// A peer that has offered memory with attachments in it.
#[cfg(target_os = "linux")]
mod memory {
    use nix::sys::memfd::{MFdFlags, memfd_create};

    use super::*;
    use crate::channel::Maintenance;
    use crate::channel::memory::Sharing;

    const MEMORY: &[u8] = b"{\"cmd\":\"NODE_CORRAL_MEMORY\"}\n";
    const BLOCK: usize = 16 << 10;

    /// The frames that were read: their kind, whether they have a handle, and their attachments, which are
    /// held.
    type Seen = Vec<(Kind, bool, Vec<Segment>)>;

    impl Rig {
        fn between_corrals() -> Self {
            let mut rig = Rig::new(1 << 30);
            rig.inbox.accept_attachments();
            rig
        }

        fn peer_gives(&self, file: BorrowedFd<'_>) {
            send(self.pair.theirs.as_fd(), &[IoSlice::new(MEMORY)], Some(file)).unwrap();
        }

        /// The peer offers memory, and it is mapped.
        fn peer_offers_memory(&mut self) {
            self.peer_gives(some_memory().as_fd());
            let (seen, _) = self.see();
            assert!(matches!(seen[..], [(Kind::Memory, true, _)]), "{seen:?}");
        }

        fn see(&mut self) -> (Seen, ReadStatus) {
            let mut seen = Vec::new();
            let status = self.inbox.read(self.pair.ours.as_fd(), Extent::Ready, |frame| {
                seen.push((frame.kind, frame.handle.is_some(), frame.segments));
            });
            (seen, status)
        }

        /// Reads as the JavaScript thread does.
        fn see_messages(&mut self) -> (Vec<usize>, MessagesRead) {
            let mut seen = Vec::new();
            let status = self.inbox.read_messages(self.pair.ours.as_fd(), usize::MAX, |_, segments| {
                seen.push(segments.iter().map(Segment::len).sum());
            });
            (seen, status)
        }
    }

    fn some_memory() -> Arc<OwnedFd> {
        let sharing = Arc::new(Sharing::default());
        sharing.reserve(1);
        let Maintenance::Offered(file) = sharing.maintain() else { panic!("no memory") };
        file
    }

    #[test]
    fn a_frame_has_its_pieces_in_memory_that_was_offered() {
        let mut rig = Rig::between_corrals();
        rig.peer_offers_memory();
        rig.peer_sends(b"\x01b70000@16384l1@114688;0\n1\n", false);
        let (seen, _) = rig.see();
        let [(Kind::User, false, pieces), (Kind::User, false, none)] = &seen[..] else { panic!("{seen:?}") };
        assert_eq!(pieces.iter().map(Segment::len).collect::<Vec<_>>(), [70_000, 1]);
        assert!(none.is_empty());
    }

    #[test]
    fn other_memory_may_be_offered_when_nothing_of_the_first_is_held() {
        let mut rig = Rig::between_corrals();
        rig.peer_offers_memory();
        rig.peer_sends(b"\x01b70000@16384;0\n", false);
        drop(rig.see());
        rig.peer_offers_memory();
        // An offer without memory leaves the existing memory in place.
        rig.peer_gives(rig.pair.ours.as_fd());
        rig.peer_sends(b"\x01b70000@16384;0\n", false);
        let (seen, _) = rig.see();
        assert!(
            matches!(&seen[..], [(Kind::Memory, false, _), (Kind::User, _, pieces)] if pieces.len() == 1)
        );
    }

    #[test]
    fn memory_that_is_offered_again_and_again_is_mapped_once_as_long_as_something_of_it_is_held() {
        let mut rig = Rig::between_corrals();
        rig.peer_offers_memory();
        let mut held = Vec::new();
        for block in 1..=100 {
            rig.peer_sends(format!("\x01b1@{};0\n", block * BLOCK).as_bytes(), false);
            let (seen, _) = rig.see();
            let [(Kind::User, false, pieces)] = &seen[..] else { panic!("{seen:?}") };
            // The attachment is in the first memory, not in the one that has been offered since.
            assert_eq!(pieces.len(), 1);
            held.extend(seen);
            rig.peer_gives(some_memory().as_fd());
            assert!(matches!(rig.see().0[..], [(Kind::Memory, false, _)]));
        }
        drop(held);
        rig.peer_offers_memory();
    }

    #[test]
    fn what_is_no_sealed_memory_is_not_taken() {
        let unsealed = memfd_create(c"test", MFdFlags::MFD_ALLOW_SEALING).unwrap();
        let length = nix::sys::stat::fstat(some_memory()).unwrap().st_size;
        nix::unistd::ftruncate(&unsealed, length).unwrap();
        let mut rig = Rig::between_corrals();
        rig.peer_gives(unsealed.as_fd());
        rig.peer_gives(rig.pair.theirs.as_fd());
        rig.peer_sends(MEMORY, false);
        let (seen, _) = rig.see();
        assert!(seen.iter().all(|(kind, is_mapped, _)| (*kind, *is_mapped) == (Kind::Memory, false)));
        assert_eq!(seen.len(), 3);
        rig.peer_sends(b"\x01b1@16384;0\n", false);
        assert!(matches!(rig.see().1, ReadStatus::Broken(Error::BadFrame(_))));
    }

    #[test]
    fn to_a_plain_peer_memory_is_a_message_like_any_other() {
        let mut rig = Rig::new(1000);
        rig.peer_gives(some_memory().as_fd());
        assert!(matches!(rig.see().0[..], [(Kind::User, false, _)]));
        assert!(rig.inbox.unclaimed.is_empty());
        // Its frames have no attachments, either.
        rig.peer_sends(b"\x01b1@16384;0\n", false);
        assert!(matches!(&rig.see().0[..], [(Kind::User, false, pieces)] if pieces.is_empty()));
    }

    /// Frames with an attachment where none can be. The first memory block is in use.
    const NOWHERE: [&str; 7] = [
        "b1@0;",
        "b1@16385;",
        "b0@32768;",
        "b1@999999999999;",
        "b99999999@201310208;",
        "b1@16384;",
        "b1@32768b1@32768;",
    ];

    #[test]
    fn a_piece_that_cannot_be_where_it_is_said_to_be_breaks_the_channel_whoever_reads() {
        for nowhere in NOWHERE {
            let mut rig = Rig::between_corrals();
            rig.peer_offers_memory();
            rig.peer_sends(format!("\x01b{BLOCK}@{BLOCK};0\n").as_bytes(), false);
            let (held, _) = rig.see();
            assert_eq!(held.len(), 1);
            rig.peer_sends(format!("1\n\x01{nowhere}2\n3\n").as_bytes(), false);
            assert_eq!(rig.see_messages(), (vec![0], MessagesRead::SomethingElse), "{nowhere}");
            let (seen, status) = rig.see();
            assert!(seen.is_empty(), "{nowhere}");
            assert!(matches!(status, ReadStatus::Broken(Error::BadFrame(_))), "{nowhere}: {status:?}");
        }
    }

    #[test]
    fn a_piece_in_memory_that_was_never_offered_breaks_the_channel() {
        let mut rig = Rig::between_corrals();
        rig.peer_sends(b"\x01b1@16384;0\n", false);
        assert_eq!(rig.see_messages(), (vec![], MessagesRead::SomethingElse));
        assert!(matches!(rig.see().1, ReadStatus::Broken(Error::BadFrame(_))));
    }

    #[test]
    fn pieces_in_memory_are_read_directly_and_an_offer_is_left_to_the_reactor() {
        let mut rig = Rig::between_corrals();
        rig.peer_offers_memory();
        rig.peer_sends(b"1\n\x01b70000@16384b5@98304;0\n2\n", false);
        assert_eq!(rig.see_messages(), (vec![0, 70_005, 0], MessagesRead::All));
        // The attachments have been released by now.
        rig.peer_sends(b"\x01b70000@16384;0\n", false);
        rig.peer_gives(some_memory().as_fd());
        assert_eq!(rig.see_messages(), (vec![70_000], MessagesRead::SomethingElse));
        assert!(matches!(rig.see().0[..], [(Kind::Memory, true, _)]));
    }
}
