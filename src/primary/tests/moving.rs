//! Workers whose channel changes its socket.

use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};

use serde_json::json;

use super::super::Config;
use super::rig::{FakeWorker, Rig};
use super::{Event, Frames};
use crate::channel::ChannelEvent;
use crate::os;
use crate::proto::{CHANNEL_MOVE, FromWorker, LANE_VERSION};

/// What the worker says in the end, as JavaScript is told.
fn told(rig: &Rig) -> Vec<String> {
    let mut told = Vec::new();
    loop {
        match rig.wait_for(|event| match event {
            Event::Channel(_, event) => Some(event),
            _ => None,
        }) {
            ChannelEvent::Messages(Frames::One(_, bytes) | Frames::Many(_, bytes, _)) => {
                told.extend(String::from_utf8(bytes).unwrap().split_terminator('\n').map(str::to_owned));
            }
            ChannelEvent::Closed(None) => return told,
            _ => {}
        }
    }
}

fn write(socket: &OwnedFd, text: &[u8]) {
    assert_eq!(os::send(socket.as_fd(), &[IoSlice::new(text)], None), Ok(text.len()));
}

/// A worker that has brought its second socket and got the primary's farewell.
fn moving(rig: &mut Rig) -> (FakeWorker, OwnedFd) {
    let mut worker = rig.fork_with_silent_lane();
    let second = worker.lane().announce().unwrap();
    assert_eq!(worker.receive_frame().unwrap()["cmd"], CHANNEL_MOVE);
    (worker, second)
}

#[test]
fn what_comes_on_the_second_socket_waits_for_the_farewell_on_the_first() {
    let mut rig = Rig::new(Config::default());
    let (mut worker, second) = moving(&mut rig);
    write(&second, b"2\n");
    rig.settle();
    worker.send_raw(b"1\n");
    worker.send(&json!({ "cmd": CHANNEL_MOVE }));
    write(&second, b"3\n");
    drop((worker, second));
    assert_eq!(told(&rig), ["1", "2", "3"]);
}

#[test]
fn a_worker_that_dies_before_its_farewell_has_said_what_is_on_both_sockets() {
    let mut rig = Rig::new(Config::default());
    let (mut worker, second) = moving(&mut rig);
    worker.send_raw(b"1\n");
    write(&second, b"2\n");
    drop((second, worker));
    assert_eq!(told(&rig), ["1", "2"]);
}

#[test]
fn a_worker_that_says_farewell_and_has_brought_no_socket_ends_its_channel() {
    let mut rig = Rig::new(Config::default());
    let mut worker = rig.fork_with_silent_lane();
    worker.send(&json!({ "cmd": CHANNEL_MOVE }));
    let code = rig.wait_for(|event| match event {
        Event::Channel(_, ChannelEvent::Closed(cause)) => Some(cause.map(|error| error.code())),
        _ => None,
    });
    assert_eq!(code, Some("ERR_CORRAL_BAD_FRAME"));
}

#[test]
fn a_worker_that_brings_something_other_than_a_socket_ends_its_channel_with_the_code_for_that() {
    let things: [OwnedFd; 2] = [tempfile::tempfile().unwrap().into(), nix::unistd::pipe().unwrap().1];
    for thing in things {
        let mut rig = Rig::new(Config::default());
        let mut worker = rig.fork_with_silent_lane();
        let mut ready = Vec::new();
        FromWorker::Ready { version: LANE_VERSION }.encode(&mut ready);
        os::send_packet(worker.lane().as_fd(), &ready, Some(thing.as_fd())).unwrap();
        let code = rig.wait_for(|event| match event {
            Event::Channel(_, ChannelEvent::Closed(cause)) => Some(cause.map(|error| error.code())),
            _ => None,
        });
        assert_eq!(code, Some("ENOTSOCK"));
    }
}
