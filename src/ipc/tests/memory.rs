//! Large pieces of messages between two corrals, in memory that both have.

use std::os::fd::{BorrowedFd, OwnedFd};

use super::*;
use crate::channel::{ChannelCommand, Maintenance, Multipart, Part};
use crate::proto::{Attachment, AttachmentKind, HANDLE_ACK, HANDLE_NACK, MEMORY, write_header};

struct End {
    id: ChannelId,
    channel: Arc<Channel>,
}

/// How a large piece went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Memory,
    Socket,
}

impl Rig {
    fn adopt(&self, socket: OwnedFd) -> End {
        os::set_nonblocking(socket.as_fd()).unwrap();
        let (id, channel) =
            (self.ids.next(), Arc::new(Channel::between_corrals(socket, Serialization::Json)));
        self.reactor.call(Command::Adopt { id, channel: channel.clone(), max_frame: usize::MAX }).unwrap();
        End { id, channel }
    }

    /// A channel whose ends are both the reactor's.
    fn ends(&self) -> [End; 2] {
        let pair = os::socket_pair().unwrap();
        [self.adopt(pair.ours), self.adopt(pair.theirs)]
    }

    /// A channel whose other end is this test.
    fn end_of_peer(&self) -> (End, Peer) {
        let pair = os::socket_pair().unwrap();
        let stream = UnixStream::from(pair.theirs);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        (self.adopt(pair.ours), Peer(BufReader::new(stream)))
    }

    /// Sends a message with a large piece, in memory if there is any.
    fn send(&self, end: &End, piece: &[u8]) -> Way {
        let (reservation, needs_maintenance) = end.channel.reserve(piece.len());
        if needs_maintenance {
            self.reactor.call(Command::Channel(end.id, ChannelCommand::MaintainMemory)).unwrap();
        }
        let mut bytes = Vec::new();
        let way = match reservation {
            Some(reservation) => {
                reservation.write(piece);
                let offset = Some(reservation.offset());
                write_header(
                    &[Attachment { offset, ..Attachment::behind(AttachmentKind::Latin1, piece.len()) }],
                    0,
                    &mut bytes,
                );
                bytes.extend(b"0\n");
                end.channel.send(Frame::plain(bytes));
                reservation.sent(piece.len());
                Way::Memory
            }
            None => {
                write_header(&[Attachment::behind(AttachmentKind::Latin1, piece.len())], 2, &mut bytes);
                bytes.extend(b"0\n");
                bytes.extend(piece);
                bytes.resize(bytes.len().next_multiple_of(proto::ALIGNMENT), 0);
                end.channel.send(Frame::plain(bytes));
                Way::Socket
            }
        };
        self.reactor.call(Command::Channel(end.id, ChannelCommand::Flush)).unwrap();
        way
    }

    /// The next message with a piece: how it came, and what it is.
    fn piece(&self, id: ChannelId) -> (Way, Vec<u8>) {
        let Multipart { bytes, mut attachments, .. } = self.bundle(id);
        match attachments.remove(0).1 {
            Part::Behind(range) => (Way::Socket, bytes[range].to_vec()),
            Part::Shared(segment) => (Way::Memory, segment.content()),
        }
    }

    fn bundle(&self, id: ChannelId) -> Multipart {
        self.wait_for(|event| match event {
            Event::Channel(other, ChannelEvent::Messages(Frames::Multipart(bundle))) if other == id => {
                Some(bundle)
            }
            _ => None,
        })
    }

    /// Sends and receives until the other side has taken what it was offered.
    fn share(&self, from: &End, to: ChannelId) {
        while self.send(from, b"x") == Way::Socket {
            self.piece(to);
        }
        self.piece(to);
    }
}

/// One that speaks by hand.
struct Peer(BufReader<UnixStream>);

impl Peer {
    fn says(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
    }

    fn answers(&mut self, command: &str) {
        self.says(&format!("{{\"cmd\":\"{command}\"}}\n"));
    }

    fn offers(&mut self, file: BorrowedFd<'_>) {
        let frame = format!("{{\"cmd\":\"{MEMORY}\"}}\n");
        os::send(self.0.get_ref().as_fd(), &[IoSlice::new(frame.as_bytes())], Some(file)).unwrap();
    }

    fn hears(&mut self, command: &str) {
        assert_eq!(line(&mut self.0), json!({ "cmd": command }));
    }

    /// Offers memory, which is taken.
    fn shares(&mut self) {
        self.offers(some_memory().as_fd());
        self.hears(HANDLE_ACK);
    }
}

fn some_memory() -> Arc<OwnedFd> {
    let channel = Channel::between_corrals(os::socket_pair().unwrap().ours, Serialization::Json);
    channel.reserve(1);
    let Maintenance::Offered(file) = channel.maintain_memory() else { panic!("no memory") };
    file
}

fn wants_memory(rig: &Rig, end: &End) {
    assert!(matches!(end.channel.reserve(1), (None, true)));
    rig.reactor.call(Command::Channel(end.id, ChannelCommand::MaintainMemory)).unwrap();
}

#[test]
fn large_pieces_are_in_memory_once_the_other_side_has_taken_it_both_ways() {
    let rig = Rig::new();
    let [one, other] = rig.ends();
    let piece = |seed: usize| (0..100_000).map(|index| (index / 7 + seed) as u8).collect::<Vec<_>>();
    assert_eq!(rig.send(&one, &piece(0)), Way::Socket);
    assert!(rig.piece(other.id) == (Way::Socket, piece(0)));
    rig.share(&one, other.id);
    rig.share(&other, one.id);
    for seed in 1..20 {
        for (from, to) in [(&one, &other), (&other, &one)] {
            assert_eq!(rig.send(from, &piece(seed)), Way::Memory);
            from.channel.send(text("1"));
            assert!(rig.piece(to.id) == (Way::Memory, piece(seed)));
            assert_eq!(rig.messages(to.id, 1), ["1"]);
        }
    }
}

/// The program gets what a message has brought along.
fn take(bundle: &mut Multipart) {
    for (_, part) in &mut bundle.attachments {
        if let Part::Shared(segment) = part {
            segment.read();
        }
    }
}

#[test]
fn who_keeps_all_pieces_gets_the_next_ones_through_the_socket() {
    const HALF: usize = 96 << 20;

    let rig = Rig::new();
    let [one, other] = rig.ends();
    rig.share(&one, other.id);
    assert_eq!(rig.send(&one, &vec![1; HALF]), Way::Memory);
    let mut kept = rig.bundle(other.id);
    // What is kept has been read only when the program has got it.
    assert!(one.channel.backlog() > HALF / 2);
    take(&mut kept);
    assert_eq!(rig.send(&one, &vec![2; HALF]), Way::Memory);
    let mut last = rig.bundle(other.id);
    take(&mut last);
    assert_eq!(rig.send(&one, b"x"), Way::Socket);
    assert_eq!(rig.piece(other.id), (Way::Socket, b"x".to_vec()));
    drop(last);
    assert_eq!(rig.send(&one, b"y"), Way::Memory);
    assert_eq!(rig.piece(other.id), (Way::Memory, b"y".to_vec()));
    let Part::Shared(segment) = &kept.attachments[0].1 else { panic!("not in memory") };
    assert!(segment.content().iter().all(|byte| *byte == 1));
}

#[test]
fn an_offer_that_does_not_arrive_is_made_again_and_then_given_up() {
    let rig = Rig::new();
    let (end, mut peer) = rig.end_of_peer();
    wants_memory(&rig, &end);
    for _ in 0..4 {
        peer.hears(MEMORY);
        peer.answers(HANDLE_NACK);
    }
    peer.says("\"still there\"\n");
    assert_eq!(rig.messages(end.id, 1), ["\"still there\""]);
    assert_eq!(rig.send(&end, b"a piece"), Way::Socket);
    end.channel.send(text("\"end\""));
    let mut rest = String::new();
    while !rest.ends_with("\"end\"\n") {
        peer.0.read_line(&mut rest).unwrap();
    }
    assert!(rest.contains("a piece") && !rest.contains(MEMORY), "{rest:?}");
}

#[test]
fn an_offer_that_arrives_the_second_time_is_taken() {
    let rig = Rig::new();
    let (end, mut peer) = rig.end_of_peer();
    wants_memory(&rig, &end);
    peer.hears(MEMORY);
    assert!(end.channel.reserve(1).0.is_none());
    peer.answers(HANDLE_NACK);
    peer.hears(MEMORY);
    peer.answers(HANDLE_ACK);
    peer.says("1\n");
    rig.messages(end.id, 1);
    assert!(end.channel.reserve(1).0.is_some());
}

#[test]
fn an_offer_that_has_to_wait_for_room_in_the_socket_is_made() {
    let rig = Rig::new();
    let (end, mut peer) = rig.end_of_peer();
    while os::send(end.channel.as_fd(), &[IoSlice::new(b"0\n")], None).is_ok() {}
    wants_memory(&rig, &end);
    while line(&mut peer.0) != json!({ "cmd": MEMORY }) {}
}

#[test]
fn what_is_no_memory_is_answered_with_nack_and_the_channel_goes_on() {
    let rig = Rig::new();
    let (end, mut peer) = rig.end_of_peer();
    let gift = os::socket_pair().unwrap();
    peer.offers(gift.ours.as_fd());
    peer.hears(HANDLE_NACK);
    peer.answers(MEMORY);
    peer.hears(HANDLE_NACK);
    peer.says("1\n");
    assert_eq!(rig.messages(end.id, 1), ["1"]);
    peer.shares();
    peer.says("\u{1}l5@16384;0\n");
    assert_eq!(rig.piece(end.id), (Way::Memory, vec![0; 5]));
}

#[test]
fn a_piece_that_cannot_be_where_it_is_said_to_be_ends_the_channel() {
    for (nowhere, is_shared) in
        [("l1@16384;", false), ("l1@0;", true), ("l1@999999999999;", true), ("l1@16384l1@16384;", true)]
    {
        let rig = Rig::new();
        let (end, mut peer) = rig.end_of_peer();
        if is_shared {
            peer.shares();
        }
        peer.says(&format!("1\n\u{1}{nowhere}0\n2\n"));
        assert_eq!(rig.messages(end.id, 1), ["1"]);
        assert_eq!(rig.closed(end.id).unwrap().code(), "ERR_CORRAL_BAD_FRAME", "{nowhere}");
    }
}

#[test]
fn a_piece_where_one_is_held_ends_the_channel() {
    let rig = Rig::new();
    let (end, mut peer) = rig.end_of_peer();
    peer.shares();
    peer.says("\u{1}l20000@16384;0\n");
    let held = rig.bundle(end.id);
    peer.says("\u{1}l1@32768;0\n");
    assert_eq!(rig.closed(end.id).unwrap().code(), "ERR_CORRAL_BAD_FRAME");
    // It outlives the channel.
    let Part::Shared(segment) = &held.attachments[0].1 else { panic!("not in memory") };
    assert_eq!(segment.content(), [0; 20_000]);
}

#[test]
fn who_reads_directly_leaves_a_piece_that_cannot_be_to_the_reactor() {
    let rig = Rig::new();
    let (end, mut peer) = rig.end_of_peer();
    peer.shares();
    lend(&rig, &mut peer.0, end.id, &end.channel);
    peer.says("\u{1}l20000@16384;0\n");
    let mut lengths = Vec::new();
    let read = end.channel.read_directly(usize::MAX, |frames| {
        if let Frames::Multipart(Multipart { attachments, .. }) = frames {
            match &attachments[0].1 {
                Part::Shared(segment) => lengths.push(segment.len()),
                Part::Behind(_) => unreachable!(),
            }
        }
    });
    assert_eq!((read, &lengths[..]), (DirectRead::Delivered, &[20_000][..]));
    peer.says("\u{1}l20000@16385;0\n");
    assert_eq!(end.channel.read_directly(usize::MAX, |_| unreachable!()), DirectRead::Returned);
    rig.reactor.call(Command::Channel(end.id, ChannelCommand::TakeBack)).unwrap();
    assert_eq!(rig.closed(end.id).unwrap().code(), "ERR_CORRAL_BAD_FRAME");
}
