//! Large pieces of messages between the primary and a worker, in memory that both have.

use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use serde_json::json;

use super::super::Config;
use super::rig::{FakeWorker, Rig};
use super::{Command, Event, Frames};
use crate::channel::{Channel, ChannelCommand, ChannelEvent, Frame, Maintenance, Part};
use crate::os;
use crate::proto::{HANDLE_ACK, HANDLE_NACK, MEMORY, Serialization};

fn some_memory() -> Arc<OwnedFd> {
    let channel = Channel::between_corrals(os::socket_pair().unwrap().ours, Serialization::Json);
    channel.reserve(1);
    let Maintenance::Offered(file) = channel.maintain_memory() else { panic!("no memory") };
    file
}

fn offer(worker: &FakeWorker, file: &OwnedFd) {
    let frame = format!("{{\"cmd\":\"{MEMORY}\"}}\n");
    os::send(worker.socket.as_fd(), &[IoSlice::new(frame.as_bytes())], Some(file.as_fd())).unwrap();
}

fn assert_hears(worker: &mut FakeWorker, command: &str) {
    assert_eq!(worker.receive_frame().unwrap(), json!({ "cmd": command }));
}

/// The next thing that JavaScript is told of a worker's messages.
fn told(rig: &Rig) -> Frames {
    rig.wait_for(|event| match event {
        Event::Channel(_, ChannelEvent::Messages(frames)) => Some(frames),
        _ => None,
    })
}

fn text(frames: &Frames) -> &str {
    let (Frames::One(_, bytes) | Frames::Many(_, bytes, _)) = frames else { panic!("{frames:?}") };
    std::str::from_utf8(bytes).unwrap().trim_end()
}

fn end(rig: &Rig) -> Option<&'static str> {
    rig.wait_for(|event| match event {
        Event::Channel(_, ChannelEvent::Closed(cause)) => Some(cause.map(|error| error.code())),
        _ => None,
    })
}

#[test]
fn a_piece_in_memory_that_a_worker_has_offered_is_told() {
    let mut rig = Rig::new(Config::default());
    let mut worker = rig.fork_with_lane();
    offer(&worker, &some_memory());
    assert_hears(&mut worker, HANDLE_ACK);
    worker.send_raw(b"\x01b20000@16384;0\n");
    let Frames::Multipart(bundle) = told(&rig) else { panic!("no piece") };
    assert!(matches!(&bundle.attachments[0].1, Part::Shared(segment) if segment.content() == [0; 20_000]));
    // It is held.
    worker.send_raw(b"\x01b1@16384;0\n");
    assert_eq!(end(&rig), Some("ERR_CORRAL_BAD_FRAME"));
}

#[test]
fn what_a_worker_offers_and_is_no_memory_is_answered_with_nack() {
    let mut rig = Rig::new(Config::default());
    let mut worker = rig.fork_with_lane();
    offer(&worker, &os::socket_pair().unwrap().ours);
    assert_hears(&mut worker, HANDLE_NACK);
    worker.send(&json!(1));
    assert_eq!(text(&told(&rig)), "1");
    worker.send_raw(b"\x01b20000@16384;0\n");
    assert_eq!(end(&rig), Some("ERR_CORRAL_BAD_FRAME"));
}

#[test]
fn a_plain_worker_that_offers_memory_has_sent_a_message() {
    let mut rig = Rig::new(Config::default());
    let worker = rig.fork(Serialization::Json);
    offer(&worker, &some_memory());
    assert_eq!(text(&told(&rig)), format!("{{\"cmd\":\"{MEMORY}\"}}"));
    assert!(!worker.has_mail());
    assert!(matches!(worker.channel.reserve(1), (None, false)));
}

#[test]
fn memory_that_a_worker_cannot_have_is_offered_again_and_then_no_more() {
    let mut rig = Rig::new(Config::default());
    let mut worker = rig.fork_with_lane();
    assert!(matches!(worker.channel.reserve(1), (None, true)));
    rig.reactor.call(Command::Channel(worker.id, ChannelCommand::MaintainMemory)).unwrap();
    for _ in 0..4 {
        assert_hears(&mut worker, MEMORY);
        worker.send(&json!({ "cmd": HANDLE_NACK }));
    }
    worker.send(&json!(1));
    assert_eq!(text(&told(&rig)), "1");
    assert!(matches!(worker.channel.reserve(1), (None, false)));
    worker.channel.send(Frame::plain(b"2\n".to_vec()));
    assert_eq!(worker.receive_frame().unwrap(), json!(2));
}

#[test]
fn an_offer_that_has_to_wait_for_room_in_the_socket_is_made() {
    let mut rig = Rig::new(Config::default());
    let mut worker = rig.fork_with_lane();
    // The channel has moved both ways.
    rig.settle();
    while os::send(worker.channel.as_fd(), &[IoSlice::new(b"0\n")], None).is_ok() {}
    assert!(matches!(worker.channel.reserve(1), (None, true)));
    rig.reactor.call(Command::Channel(worker.id, ChannelCommand::MaintainMemory)).unwrap();
    assert_eq!(worker.receive_frame().unwrap(), json!(0));
    while worker.receive_frame().unwrap() != json!({ "cmd": MEMORY }) {}
}

#[test]
fn memory_that_a_worker_has_taken_is_used() {
    let mut rig = Rig::new(Config::default());
    let mut worker = rig.fork_with_lane();
    assert!(matches!(worker.channel.reserve(1), (None, true)));
    rig.reactor.call(Command::Channel(worker.id, ChannelCommand::MaintainMemory)).unwrap();
    assert_hears(&mut worker, MEMORY);
    assert!(matches!(worker.channel.reserve(1), (None, false)));
    worker.send(&json!({ "cmd": HANDLE_ACK }));
    worker.send(&json!(1));
    told(&rig);
    assert!(matches!(worker.channel.reserve(1), (Some(_), true)));
}
