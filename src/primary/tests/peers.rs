//! Workers that want to talk to each other.

use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};

use serde_json::{Value, json};

use super::super::{Config, Event};
use super::rig::{FakeWorker, Rig};
use crate::channel::ChannelEvent;
use crate::error::Error;
use crate::os;
use crate::proto::Serialization;

fn connect(worker: &mut FakeWorker, to: u32, after: u32) {
    worker.send(&json!({"cmd": "NODE_CORRAL_CONNECT", "to": to, "after": after}));
}

/// The socket to another worker that comes next.
fn socket_to(worker: &mut FakeWorker, peer: u32) -> OwnedFd {
    let (message, handle) = worker.receive();
    assert_eq!(
        message,
        json!({"cmd": "NODE_CORRAL_PEER", "id": peer, "advanced": false, "maxFrame": Config::default().max_frame})
    );
    handle.unwrap()
}

fn refusal(worker: &mut FakeWorker) -> (Value, String) {
    let (message, handle) = worker.receive();
    assert_eq!((message["cmd"].as_str(), handle.is_some()), (Some("NODE_CORRAL_PEER"), false));
    (message["id"].clone(), message["reason"].as_str().unwrap().to_owned())
}

fn assert_connected(one: &OwnedFd, other: &OwnedFd) {
    assert_eq!(os::send(one.as_fd(), &[IoSlice::new(b"hello")], None), Ok(5));
    assert!(os::has_arrived(other.as_fd()));
}

#[test]
fn two_workers_are_given_the_ends_of_one_socket_whoever_asks_and_once() {
    let mut rig = Rig::new(Config::default());
    let (mut one, mut two) = (rig.fork_with_lane(), rig.fork_with_lane());
    connect(&mut one, 2, 0);
    // At the same time, before it has got what the other has asked for.
    connect(&mut two, 1, 0);
    let (first, second) = (socket_to(&mut one, 2), socket_to(&mut two, 1));
    assert_connected(&first, &second);
    rig.settle();
    assert!(!one.has_mail() && !two.has_mail());
}

#[test]
fn who_has_lost_its_socket_is_given_another() {
    let mut rig = Rig::new(Config::default());
    let (mut one, mut two) = (rig.fork_with_lane(), rig.fork_with_lane());
    connect(&mut one, 2, 0);
    drop((socket_to(&mut one, 2), socket_to(&mut two, 1)));
    connect(&mut one, 2, 1);
    assert_connected(&socket_to(&mut one, 2), &socket_to(&mut two, 1));
}

/// A worker has no room for a descriptor, however often it is sent.
fn lose(worker: &mut FakeWorker, peer: u32) {
    for _ in 0..4 {
        assert_eq!(worker.lose_handle()["id"], peer);
    }
    assert_eq!(refusal(worker).0, peer);
}

#[test]
fn two_workers_that_both_had_no_room_for_their_first_socket_are_given_another() {
    let mut rig = Rig::new(Config::default());
    let (mut one, mut two) = (rig.fork_with_lane(), rig.fork_with_lane());
    connect(&mut one, 2, 0);
    lose(&mut one, 2);
    lose(&mut two, 1);
    connect(&mut one, 2, 0);
    assert_connected(&socket_to(&mut one, 2), &socket_to(&mut two, 1));
    // And nothing more is due to either.
    connect(&mut two, 1, 0);
    rig.settle();
    assert!(!one.has_mail() && !two.has_mail());
}

#[test]
fn what_one_worker_had_no_room_for_does_not_count_against_the_other() {
    let mut rig = Rig::new(Config::default());
    let (mut one, mut two) = (rig.fork_with_lane(), rig.fork_with_lane());
    connect(&mut one, 2, 0);
    lose(&mut one, 2);
    drop(socket_to(&mut two, 1));
    // Both try again at the same time: the one has got none so far, the other one.
    connect(&mut one, 2, 0);
    rig.settle();
    connect(&mut two, 1, 1);
    assert_connected(&socket_to(&mut one, 2), &socket_to(&mut two, 1));
    rig.settle();
    assert!(!one.has_mail() && !two.has_mail());
}

#[test]
fn a_worker_that_may_load_corral_yet_is_waited_for_and_one_that_goes_instead_is_told_of() {
    let mut rig = Rig::new(Config::default());
    let mut one = rig.fork_with_lane();
    let (mut late, mortal) = (rig.fork_with_silent_lane(), rig.fork_with_silent_lane());
    connect(&mut one, 2, 0);
    connect(&mut one, 3, 0);
    rig.settle();
    assert!(!one.has_mail());
    drop(mortal);
    let (id, reason) = refusal(&mut one);
    assert_eq!((id, reason.contains("no such worker")), (json!(3), true));
    late.announce();
    assert_connected(&socket_to(&mut one, 2), &socket_to(&mut late, 1));
}

#[test]
fn who_asks_for_a_silent_worker_again_and_again_waits_for_it_once() {
    let mut rig = Rig::new(Config::default());
    let mut one = rig.fork_with_lane();
    let silent = rig.fork_with_silent_lane();
    for _ in 0..1000 {
        connect(&mut one, 2, 0);
        rig.settle();
    }
    drop(silent);
    assert_eq!(refusal(&mut one).0, json!(2));
    rig.settle();
    assert!(!one.has_mail());
}

#[test]
fn there_is_no_way_to_nobody_oneself_or_a_plain_worker_and_none_for_a_plain_one() {
    let mut rig = Rig::new(Config::default());
    let (mut one, mut plain) = (rig.fork_with_lane(), rig.fork(Serialization::Json));
    for other in [9, 1, 2] {
        connect(&mut one, other, 0);
        assert_eq!(refusal(&mut one).0, other);
    }
    for other in [0, 1] {
        connect(&mut plain, other, 0);
        assert_eq!(refusal(&mut plain).0, other);
    }
    rig.settle();
    assert!(!one.has_mail());
}

#[test]
fn who_wants_to_talk_to_all_is_told_of_all_and_of_those_that_come() {
    let mut rig = Rig::new(Config::default());
    let (mut one, mut two) = (rig.fork_with_lane(), rig.fork_with_lane());
    connect(&mut one, 0, 0);
    assert_connected(&socket_to(&mut one, 2), &socket_to(&mut two, 1));
    assert_eq!(one.receive().0, json!({"cmd": "NODE_CORRAL_ROSTER"}));
    let mut three = rig.fork_with_lane();
    assert_connected(&socket_to(&mut one, 3), &socket_to(&mut three, 1));
    rig.settle();
    assert!(!two.has_mail());
}

#[test]
fn a_worker_that_asks_for_another_without_end_and_reads_nothing_is_given_one_socket() {
    let mut rig = Rig::new(Config::default());
    let (mut one, mut two) = (rig.fork_with_lane(), rig.fork_with_lane());
    // Each time it says that it has got, and lost, what it has not read yet.
    for after in [0, 1].into_iter().chain([1; 1000]) {
        connect(&mut one, 2, after);
        rig.settle();
    }
    let second = socket_to(&mut two, 1);
    rig.settle();
    assert!(!two.has_mail());
    // When that has arrived at both, the next one is made, and no other.
    let first = socket_to(&mut one, 2);
    assert_connected(&first, &second);
    assert_connected(&socket_to(&mut one, 2), &socket_to(&mut two, 1));
    rig.settle();
    assert!(!one.has_mail() && !two.has_mail());
}

#[test]
fn who_asks_again_while_its_socket_is_under_way_to_the_other_is_given_the_next_when_that_has_come() {
    let mut rig = Rig::new(Config::default());
    let (mut one, mut two) = (rig.fork_with_lane(), rig.fork_with_lane());
    connect(&mut one, 2, 0);
    drop(socket_to(&mut one, 2));
    connect(&mut one, 2, 1);
    rig.settle();
    assert!(!one.has_mail());
    drop(socket_to(&mut two, 1));
    assert_connected(&socket_to(&mut one, 2), &socket_to(&mut two, 1));
    rig.settle();
    assert!(!one.has_mail() && !two.has_mail());
}

#[test]
fn a_worker_that_has_got_more_sockets_than_it_was_given_is_not_believed() {
    let mut rig = Rig::new(Config::default());
    let (mut one, two) = (rig.fork_with_lane(), rig.fork_with_lane());
    connect(&mut one, 2, 0);
    connect(&mut one, 2, 2);
    let cause = rig.wait_for(|event| match event {
        Event::Channel(id, ChannelEvent::Closed(cause)) if id == one.id => cause,
        _ => None,
    });
    assert!(matches!(cause, Error::BadFrame(_)), "{cause}");
    drop(two);
}
