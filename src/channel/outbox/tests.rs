//! Which frames go out, in which order, and what is reported.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::*;
use crate::ids::Seq;
use crate::os::{Ancillary, SocketPair, receive, socket_pair};

struct Rig {
    sockets: Sockets,
    theirs: OwnedFd,
    outbox: Outbox,
    ancillary: Ancillary,
}

impl Rig {
    /// A rig whose socket keeps its buffer.
    fn new() -> Self {
        Rig { outbox: Outbox::with_fixed_buffer(), ..Rig::fitting() }
    }

    /// A rig whose socket gets a larger buffer for large frames.
    fn fitting() -> Self {
        let SocketPair { ours, theirs } = socket_pair().unwrap();
        Rig {
            sockets: Sockets::new(ours),
            theirs,
            outbox: Outbox::default(),
            ancillary: Ancillary::default(),
        }
    }

    fn send(&mut self, frame: Frame) -> SendStatus {
        self.outbox.send(&self.sockets, frame)
    }

    fn cork(&mut self, uncorked: Uncorked, bytes: &[u8]) -> Corked {
        self.outbox.cork(&self.sockets, uncorked, |corked| corked.extend(bytes))
    }

    fn flush(&mut self) -> (FlushStatus, Vec<Completion>) {
        let mut completed = Vec::new();
        (self.outbox.flush(&self.sockets, &mut completed), completed)
    }

    /// Reads and flushes in turns until nothing waits. Returns the bytes and the completions.
    fn flush_all(&mut self) -> (Vec<u8>, Vec<Completion>) {
        let (mut bytes, mut completed) = (Vec::new(), Vec::new());
        loop {
            bytes.extend(self.read_all().0);
            let (status, done) = self.flush();
            completed.extend(done);
            if status == FlushStatus::Idle {
                break;
            }
            assert_eq!(status, FlushStatus::Blocked);
        }
        bytes.extend(self.read_all().0);
        (bytes, completed)
    }

    /// Everything that can be read, and the number of descriptors in each read.
    fn read_all(&mut self) -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut handles) = (Vec::new(), Vec::new());
        let mut buffer = Vec::with_capacity(64 << 10);
        while let Ok(received) = receive(self.theirs.as_fd(), &mut buffer, &mut self.ancillary) {
            if received.bytes == 0 {
                break;
            }
            bytes.append(&mut buffer);
            handles.push(received.handles.len());
        }
        (bytes, handles)
    }
}

fn handle_frame(bytes: &[u8], seq: u64) -> Frame {
    let fd = Arc::new(socket_pair().unwrap().ours);
    Frame::with_handle(bytes.to_vec(), fd, HandleOrigin::Connection(Seq(seq)))
}

#[test]
fn short_writes_go_on_where_they_stopped_and_tell_the_callback() {
    let mut rig = Rig::new();
    let block: Vec<u8> = (0..3 << 20).map(|index| (index % 251) as u8).collect();
    let frame = Frame { bytes: block.clone(), handle: None, completion: Some(Completion(7)) };
    assert!(matches!(rig.send(frame), SendStatus::Queued { needs_flush: true, .. }));
    let behind = Frame { bytes: b"behind".to_vec(), handle: None, completion: Some(Completion(8)) };
    assert!(matches!(rig.send(behind), SendStatus::Queued { needs_flush: false, .. }));
    let (bytes, completed) = rig.flush_all();
    assert_eq!(bytes.len(), block.len() + 6);
    assert!(bytes.starts_with(&block) && bytes.ends_with(b"behind"));
    assert_eq!(completed, [Completion(7), Completion(8)]);
}

#[test]
fn of_what_is_given_up_it_is_told_how_much_was_written() {
    let mut rig = Rig::new();
    let bytes = vec![b'x'; 4 << 20];
    let status = rig.outbox.send_lent(&rig.sockets, &bytes, Completion(1));
    assert!(matches!(status, SendStatus::Queued { .. }));
    rig.send(Frame { bytes: b"behind".to_vec(), handle: None, completion: Some(Completion(2)) });
    let mut received = rig.read_all().0.len();
    // A part is written at once, and a part later.
    assert_eq!(rig.flush().0, FlushStatus::Blocked);
    received += rig.read_all().0.len();
    let given_up = rig.outbox.abort(&rig.sockets);
    let expected = [(Completion(1), received), (Completion(2), 0)];
    assert_eq!(given_up, expected.map(|(completion, written)| Unwritten { completion, written }));
}

#[test]
fn many_descriptors_may_be_under_way_each_read_by_itself() {
    let mut rig = Rig::new();
    for seq in 0..16 {
        assert_eq!(rig.send(handle_frame(b"frame\n", seq)), SendStatus::Written);
    }
    assert_eq!(rig.read_all().1, [1; 16]);
    for seq in 0..16 {
        assert_eq!(rig.outbox.acknowledge(), Some(HandleOrigin::Connection(Seq(seq))));
    }
    assert_eq!(rig.outbox.acknowledge(), None);
}

#[test]
fn a_second_descriptor_waits_while_more_than_a_read_is_unacknowledged() {
    let mut rig = Rig::new();
    assert_eq!(rig.send(Frame::plain(vec![b'x'; 100_000])), SendStatus::Written);
    assert_eq!(rig.send(handle_frame(b"first", 1)), SendStatus::Written);
    assert!(matches!(rig.send(handle_frame(b"second", 2)), SendStatus::Queued { needs_flush: false, .. }));
    assert!(matches!(rig.send(Frame::plain(b"third".to_vec())), SendStatus::Queued { .. }));
    assert_eq!(rig.read_all().0.len(), 100_005);
    assert_eq!(rig.flush().0, FlushStatus::AwaitsAcknowledgement);
    assert_eq!(rig.outbox.acknowledge(), Some(HandleOrigin::Connection(Seq(1))));
    assert_eq!(rig.flush().0, FlushStatus::Idle);
    assert_eq!(rig.read_all().0, b"secondthird");
}

#[test]
fn a_long_frame_with_a_descriptor_travels_alone() {
    let mut rig = Rig::new();
    let long = vec![b'x'; 40_000];
    rig.send(handle_frame(&long, 1));
    assert!(matches!(rig.send(handle_frame(b"short", 2)), SendStatus::Queued { needs_flush: false, .. }));
    assert_eq!(rig.read_all().0, long);
    rig.outbox.acknowledge();
    rig.flush();
    assert_eq!(rig.read_all(), (b"short".to_vec(), vec![1]));
}

#[test]
fn what_is_said_of_the_peers_descriptors_overtakes_ours_that_wait_for_the_same() {
    let mut rig = Rig::new();
    // A long frame may travel in any number of segments: the next descriptor waits, and so would everything
    // behind it.
    rig.send(handle_frame(&[b'1'; 20_000], 1));
    rig.send(handle_frame(b"2", 2));
    rig.send(Frame::plain(b"3".to_vec()));
    for receipt in [b"a", b"b"] {
        assert_eq!(
            rig.outbox.send_receipt(&rig.sockets, Frame::plain(receipt.to_vec())),
            SendStatus::Written
        );
    }
    assert!(rig.read_all().0.ends_with(b"1ab"));
    rig.outbox.acknowledge();
    assert_eq!(rig.flush_all().0, b"23");
    assert_eq!((rig.outbox.queued_bytes(), rig.outbox.answers()), (0, 0));
}

#[test]
fn what_is_said_of_the_peers_descriptors_keeps_its_order_and_breaks_into_nothing() {
    let mut rig = Rig::new();
    let large = vec![b'x'; 1 << 20];
    assert!(matches!(rig.send(Frame::plain(large.clone())), SendStatus::Queued { .. }));
    rig.send(Frame::plain(b"behind".to_vec()));
    for receipt in [b"a", b"b", b"c"] {
        let status = rig.outbox.send_receipt(&rig.sockets, Frame::plain(receipt.to_vec()));
        assert!(matches!(status, SendStatus::Queued { needs_flush: false, .. }));
    }
    let (bytes, _) = rig.flush_all();
    assert_eq!(bytes, [&large[..], b"abcbehind"].concat());
    assert_eq!((rig.outbox.queued_bytes(), rig.outbox.answers()), (0, 0));
}

#[test]
fn a_lost_descriptor_is_sent_three_times_more_and_then_given_up() {
    let mut rig = Rig::new();
    rig.send(handle_frame(b"frame", 5));
    for _ in 0..3 {
        rig.read_all();
        assert_eq!(rig.outbox.retransmit(), Retransmission::SentAgain);
        assert_eq!(rig.flush().0, FlushStatus::Idle);
    }
    assert_eq!(rig.read_all(), (b"frame".to_vec(), vec![1]));
    assert_eq!(rig.outbox.retransmit(), Retransmission::GivenUp(HandleOrigin::Connection(Seq(5))));
    assert_eq!(rig.outbox.retransmit(), Retransmission::Nothing);
}

#[test]
fn a_retransmission_does_not_break_into_a_half_written_frame() {
    let mut rig = Rig::new();
    rig.send(handle_frame(b"HANDLE", 1));
    let block = vec![b'x'; 1 << 20];
    assert!(matches!(rig.send(Frame::plain(block.clone())), SendStatus::Queued { .. }));
    assert_eq!(rig.outbox.retransmit(), Retransmission::SentAgain);
    let mut bytes = Vec::new();
    while rig.flush().0 != FlushStatus::Idle {
        bytes.extend(rig.read_all().0);
    }
    bytes.extend(rig.read_all().0);
    assert_eq!(bytes, [b"HANDLE", &block[..], b"HANDLE"].concat());
}

#[test]
fn lent_bytes_are_queued_from_where_the_socket_stopped() {
    let mut rig = Rig::new();
    let block: Vec<u8> = (0..1 << 20).map(|index| (index % 251) as u8).collect();
    rig.send(handle_frame(b"HANDLE", 1));
    let status = rig.outbox.send_lent(&rig.sockets, &block, Completion(3));
    assert!(matches!(status, SendStatus::Queued { needs_flush: true, .. }));
    let status = rig.outbox.send_lent(&rig.sockets, b"behind", Completion(4));
    assert!(matches!(status, SendStatus::Queued { needs_flush: false, .. }));
    // Nothing may come between the two halves of the block.
    assert_eq!(rig.outbox.retransmit(), Retransmission::SentAgain);
    let (bytes, completed) = rig.flush_all();
    assert_eq!(bytes, [b"HANDLE", &block[..], b"HANDLE", b"behind"].concat());
    assert_eq!(completed, [Completion(3), Completion(4)]);
}

#[test]
fn what_is_sent_behind_the_farewell_goes_out_on_the_other_socket_in_its_order() {
    let mut rig = Rig::new();
    let second = socket_pair().unwrap();
    rig.sockets.prepare(second.ours);
    let block = vec![b'x'; 1 << 20];
    assert!(matches!(rig.send(Frame::plain(block.clone())), SendStatus::Queued { .. }));
    assert!(rig.outbox.push_half_close(&rig.sockets, b"marker".to_vec()));
    rig.send(Frame::plain(b"one ".to_vec()));
    let status = rig.outbox.send_lent(&rig.sockets, b"two ", Completion(1));
    assert!(matches!(status, SendStatus::Queued { .. }));
    rig.send(handle_frame(b"three", 1));
    let mut first = Vec::new();
    loop {
        first.extend(rig.read_all().0);
        if rig.flush().0 == FlushStatus::Idle {
            break;
        }
        assert!(!rig.sockets.has_moved_sending());
    }
    first.extend(rig.read_all().0);
    assert_eq!(first, [&block[..], b"marker"].concat());
    assert!(rig.sockets.has_moved_sending());
    rig.theirs = second.theirs;
    os::set_nonblocking(rig.theirs.as_fd()).unwrap();
    assert_eq!(rig.read_all(), (b"one two three".to_vec(), vec![1]));
    assert_eq!(rig.outbox.acknowledge(), Some(HandleOrigin::Connection(Seq(1))));
}

#[test]
fn closing_sends_what_waits_and_then_the_end() {
    let mut rig = Rig::new();
    rig.send(Frame::plain(vec![b'x'; 1 << 20]));
    rig.outbox.close_after_flush(&rig.sockets);
    assert_eq!(rig.send(Frame::plain(b"late".to_vec())), SendStatus::Closed);
    let mut count = 0;
    while rig.flush().0 != FlushStatus::Idle {
        count += rig.read_all().0.len();
    }
    count += rig.read_all().0.len();
    assert_eq!(count, 1 << 20);
    let end = receive(rig.theirs.as_fd(), &mut Vec::with_capacity(8), &mut rig.ancillary).unwrap();
    assert_eq!(end.bytes, 0);
}

#[test]
fn a_vanished_peer_fails_the_frame_and_keeps_nothing() {
    let mut rig = Rig::new();
    drop(std::mem::replace(&mut rig.theirs, socket_pair().unwrap().ours));
    assert_eq!(rig.send(Frame::plain(b"?".to_vec())), SendStatus::Failed(Errno::EPIPE));
    assert_eq!(rig.outbox.queued_bytes(), 0);
    assert!(rig.outbox.queue.is_empty());
}

#[test]
fn what_is_corked_goes_out_at_the_end_of_the_turn_or_in_front_of_what_follows() {
    let mut rig = Rig::new();
    rig.cork(Uncorked::AtTurnEnd, b"one ");
    rig.cork(Uncorked::AtTurnEnd, b"two ");
    assert_eq!(rig.read_all().0, b"");
    rig.send(Frame::plain(b"three ".to_vec()));
    assert_eq!(rig.read_all().0, b"one two three ");
    rig.cork(Uncorked::AtTurnEnd, b"four");
    assert_eq!(rig.outbox.uncork(&rig.sockets, Completion(1)), SendStatus::Written);
    assert_eq!(rig.read_all().0, b"four");
}

#[test]
fn a_turn_that_may_be_long_is_looked_after_once_and_one_that_ends_next_is_not() {
    let mut rig = Rig::new();
    assert!(!rig.cork(Uncorked::Next, b"x").needs_timer);
    assert!(rig.cork(Uncorked::AtTurnEnd, b"x").needs_timer);
    assert!(!rig.cork(Uncorked::AtTurnEnd, b"x").needs_timer);
    assert!(rig.outbox.on_cork_timer());
    rig.outbox.uncork(&rig.sockets, Completion(1));
    assert!(!rig.outbox.on_cork_timer());
    assert!(rig.cork(Uncorked::AtTurnEnd, b"x").needs_timer);
}

/// How many small frames go out before one has to wait.
fn small_frames_until_full(rig: &mut Rig) -> usize {
    (0..100_000).find(|_| rig.send(Frame::plain(b"small".to_vec())) != SendStatus::Written).unwrap()
}

#[test]
fn a_large_frame_goes_out_at_once_and_small_ones_find_the_buffer_as_it_was() {
    let usual = small_frames_until_full(&mut Rig::new());
    let mut rig = Rig::fitting();
    let large = vec![b'x'; 300_000];
    // The usual buffer is smaller, and must be enlarged for the second frame.
    for _ in 0..2 {
        let status = rig.outbox.send_lent(&rig.sockets, &large, Completion(1));
        assert_eq!((status, rig.read_all().0.len()), (SendStatus::Written, large.len()));
    }
    assert_eq!(small_frames_until_full(&mut rig), usual);
    rig.flush_all();
    assert_eq!(small_frames_until_full(&mut rig), usual);
}

#[test]
fn the_rest_of_a_large_frame_finds_the_larger_buffer_too() {
    let mut rig = Rig::fitting();
    let (limit, large) = (os::send_buffer(rig.sockets.sending()).unwrap(), vec![b'x'; 16 << 20]);
    assert!(matches!(rig.outbox.send_lent(&rig.sockets, &large, Completion(1)), SendStatus::Queued { .. }));
    rig.send(Frame::plain(b"small".to_vec()));
    let written = rig.read_all().0.len();
    assert_eq!(rig.flush(), (FlushStatus::Blocked, vec![]));
    let more = rig.read_all().0.len();
    assert!(written > limit && more > limit, "{written} and {more} of {limit}");
    let (rest, completed) = rig.flush_all();
    assert_eq!((written + more + rest.len(), completed), (large.len() + 5, vec![Completion(1)]));
    rig.send(Frame::plain(b"small".to_vec()));
    assert_eq!(os::send_buffer(rig.sockets.sending()), Ok(limit));
}
