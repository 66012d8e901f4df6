//! Workers, and others who have a worker's end of its channel, that write without end or do not read what they ask for.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::LazyLock;
use std::thread::{self, JoinHandle};

use nix::errno::Errno;
use nix::sys::socket::{Shutdown, shutdown};
use serde_json::json;

use super::super::config::LANE_BUDGET;
use super::super::{Command, Config, Event};
use super::rig::{FakeWorker, Rig, tcp, wait_until};
use super::{connect, port_of};
use crate::channel::ChannelEvent;
use crate::os;
use crate::proto::{FromWorker, LaneSeq, Serialization};

/// As much as is written of a flood at most, in bytes.
const MOST: usize = 256 << 20;

/// Writes without end. Returns whether somebody has put an end to it.
fn flood(
    end: OwnedFd,
    bytes: Vec<u8>,
    send: fn(&OwnedFd, &[u8]) -> Result<usize, Errno>,
) -> JoinHandle<bool> {
    thread::spawn(move || {
        let mut written = 0;
        while written < MOST {
            match send(&end, &bytes) {
                Ok(count) => written += count,
                Err(Errno::EAGAIN) => thread::yield_now(),
                Err(_) => return true,
            }
        }
        false
    })
}

fn flood_channel(end: OwnedFd) -> JoinHandle<bool> {
    flood(end, b"\"flood\"\n".repeat(8192), |end, bytes| os::send(end.as_fd(), &[IoSlice::new(bytes)], None))
}

/// Reports of nothing, each with a descriptor: to take it costs the reader more than to send it.
fn flood_lane(end: OwnedFd) -> JoinHandle<bool> {
    let mut bytes = Vec::new();
    FromWorker::Report { through: LaneSeq(0), refused: Vec::new() }.encode(&mut bytes);
    os::set_send_buffer(end.as_fd(), 4 << 20);
    flood(end, bytes, |end, bytes| {
        static GIFT: LazyLock<std::fs::File> = LazyLock::new(|| std::fs::File::open("/dev/null").unwrap());
        match os::send_packet(end.as_fd(), bytes, Some(GIFT.as_fd())) {
            // What a packet costs is more than its bytes.
            Ok(()) => Ok(1024),
            // As many descriptors are under way as may be.
            Err(Errno::ETOOMANYREFS) => Err(Errno::EAGAIN),
            Err(errno) => Err(errno),
        }
    })
}

fn exit(rig: &Rig, worker: FakeWorker) {
    let id = worker.id;
    drop(worker);
    rig.reactor.call(Command::Exited(id)).unwrap();
}

#[test]
fn what_is_written_by_who_has_the_channel_of_a_dead_worker_is_not_waited_for() {
    let mut rig = Rig::new(Config::default());
    let worker = rig.fork(Serialization::Json);
    let floods: Vec<_> = (0..2).flat_map(|_| worker.heirs()).map(flood_channel).collect();
    exit(&rig, worker);
    for flood in floods {
        assert!(flood.join().unwrap(), "all that was written was read");
    }
}

#[test]
fn what_is_written_by_who_has_the_lane_of_a_dead_worker_is_not_waited_for() {
    let mut rig = Rig::new(Config::default());
    let worker = rig.fork_with_lane();
    let floods: Vec<_> = (0..2).flat_map(|_| worker.heirs().into_iter().skip(1)).map(flood_lane).collect();
    exit(&rig, worker);
    for flood in floods {
        assert!(flood.join().unwrap(), "all that was written was read");
    }
}

#[test]
fn a_worker_that_reports_without_end_does_not_keep_others_waiting() {
    let mut rig = Rig::new(Config::default());
    let (hostile, mut other) = (rig.fork_with_lane(), rig.fork_with_lane());
    let floods: Vec<_> = (0..2).flat_map(|_| hostile.heirs().into_iter().skip(1)).map(flood_lane).collect();
    for _ in 0..60 {
        other.listen();
    }
    assert!(floods.iter().all(|flood| !flood.is_finished()), "the flood has been waited for");
    exit(&rig, hostile);
    floods.into_iter().for_each(|flood| drop(flood.join()));
}

#[test]
fn what_a_worker_reports_behind_more_than_a_turn_takes_counts() {
    let mut rig = Rig::new(Config::default());
    let (mut one, mut two) = (rig.fork_with_lane(), rig.fork_with_lane());
    let port = one.listen();
    two.listen();
    let client = connect(port);
    let connection = one.receive_on_lane();
    let end = one.heirs().remove(1);
    let mut bytes = Vec::new();
    FromWorker::Report { through: LaneSeq(0), refused: Vec::new() }.encode(&mut bytes);
    for _ in 0..2 * LANE_BUDGET {
        os::send_packet(end.as_fd(), &bytes, None).unwrap();
    }
    one.lane().refuse(connection.seq);
    drop(connection);
    one.lane().report().unwrap();
    assert_eq!(two.serve_on_lane(), port_of(&client));
}

/// What a worker asks, and is answered.
const QUESTIONS: [&str; 5] = [
    // A handle that did not come.
    r#"{"cmd":"NODE_HANDLE"}"#,
    r#"{"cmd":"NODE_CLUSTER","act":"queryServer","addressType":4,"address":"no address","port":1,"seq":1}"#,
    r#"{"cmd":"NODE_CLUSTER","act":"exitedAfterDisconnect","seq":1}"#,
    r#"{"cmd":"NODE_CORRAL_CONNECT","to":77}"#,
    r#"{"cmd":"NODE_CORRAL_CONNECT","to":0}"#,
];

#[test]
fn who_asks_and_does_not_read_the_answers_is_sent_away_whatever_it_asks() {
    for question in QUESTIONS {
        let mut rig = Rig::new(Config::default());
        let worker = rig.fork(Serialization::Json);
        let questions = format!("{question}\n").repeat(100).into_bytes();
        let end = worker.heirs().remove(0);
        let asking = flood(end, questions, |end, bytes| os::send(end.as_fd(), &[IoSlice::new(bytes)], None));
        let error = rig.wait_for(|event| match event {
            Event::Channel(_, ChannelEvent::Closed(cause)) => Some(cause),
            _ => None,
        });
        let error = error.expect("the worker went by itself");
        assert_eq!(error.code(), "ERR_CORRAL_BAD_FRAME");
        assert!(error.to_string().contains("answers not read"), "{question}: {error}");
        drop(worker);
        assert!(asking.join().unwrap(), "{question}");
    }
}

#[test]
fn a_worker_that_cannot_be_written_to_was_read_whatever_it_wrote() {
    let mut rig = Rig::new(Config::default());
    let mut worker = rig.fork(Serialization::Json);
    let port = worker.listen();
    let end = worker.heirs().remove(0);
    shutdown(end.as_raw_fd(), Shutdown::Read).unwrap();
    // The worker cannot be sent it.
    let _client = connect(port);
    wait_until(|| rig.stats.servers.read().values().all(|server| server.counters.accepted.get() == 1));
    let bytes = format!("\"{}\"\n", "flood".repeat(200)).repeat(64).into_bytes();
    assert!(has_to_wait(&rig, &end, &bytes), "all that was written was read");
}

/// Whether who writes has to wait some time, while JavaScript takes nothing.
fn has_to_wait(rig: &Rig, end: &OwnedFd, bytes: &[u8]) -> bool {
    let (mut written, mut full) = (0, 0);
    while written < 32 << 20 {
        // What is cut off goes on where it was.
        let from = written % bytes.len();
        match os::send(end.as_fd(), &[IoSlice::new(&bytes[from..])], None) {
            Ok(count) => (written, full) = (written + count, 0),
            // The reactor has had its turns and has not made room.
            Err(Errno::EAGAIN) if full == 10 => return true,
            Err(errno) => {
                assert_eq!(errno, Errno::EAGAIN);
                full += 1;
                rig.settle();
            }
        }
    }
    false
}

#[test]
fn what_a_worker_says_of_itself_waits_while_javascript_is_busy() {
    let mut rig = Rig::new(Config::default());
    let worker = rig.fork(Serialization::Json);
    let end = worker.heirs().remove(0);
    let online = "{\"cmd\":\"NODE_CLUSTER\",\"act\":\"online\"}\n".repeat(1000).into_bytes();
    assert!(has_to_wait(&rig, &end, &online), "all that was written was read");
}

#[test]
fn handles_that_javascript_has_not_taken_are_few() {
    let mut rig = Rig::new(Config::default());
    let worker = rig.fork(Serialization::Json);
    let end = worker.heirs().remove(0);
    let gift = os::socket_pair().unwrap();
    let frame = b"{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Native\",\"msg\":1}\n";
    for _ in 0..200 {
        match os::send(end.as_fd(), &[IoSlice::new(frame)], Some(gift.ours.as_fd())) {
            Ok(_) => {}
            Err(errno) => assert!(matches!(errno, Errno::EAGAIN | Errno::ETOOMANYREFS), "{errno}"),
        }
        rig.settle();
    }
    let told = rig.events().into_iter();
    let handles = told.filter(|event| matches!(event, Event::Channel(_, ChannelEvent::HandleMessage { .. })));
    assert!(handles.count() < 40);
}

#[test]
fn all_handles_in_the_socket_of_a_dead_worker_were_taken_at_once() {
    let mut rig = Rig::new(Config::default());
    let worker = rig.fork(Serialization::Json);
    let end = worker.heirs().remove(0);
    let gift = os::socket_pair().unwrap();
    let frame = b"{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Native\",\"msg\":1}\n";
    // The reactor stops reading, then the socket fills.
    let sent =
        (0..300).filter(|_| os::send(end.as_fd(), &[IoSlice::new(frame)], Some(gift.ours.as_fd())).is_ok());
    assert!(sent.count() > 150);
    exit(&rig, worker);
    let (mut handles, mut is_refused) = (0, false);
    for event in rig.events() {
        match event {
            Event::Channel(_, ChannelEvent::HandleMessage { .. }) => handles += 1,
            Event::Channel(_, ChannelEvent::Closed(cause)) => is_refused = cause.is_some(),
            _ => {}
        }
    }
    // As many as a worker of ours may have under way.
    assert_eq!((handles, is_refused), (32, true));
}

#[test]
fn who_reads_the_answers_may_ask_for_ever() {
    let mut rig = Rig::new(Config::default());
    for question in QUESTIONS {
        let mut worker = rig.fork(Serialization::Json);
        let questions = format!("{question}\n").repeat(100).into_bytes();
        // More answers than may wait, and fewer events than that, as nobody takes them here.
        for _ in 0..75 {
            worker.send_raw(&questions);
            for _ in 0..100 {
                worker.receive_frame().unwrap();
            }
        }
        worker.send(&json!("still"));
        rig.wait_for(|event| matches!(event, Event::Channel(_, ChannelEvent::Messages(_))).then_some(()));
    }
}

#[test]
fn who_opens_and_closes_servers_while_javascript_is_busy_is_told_of_once() {
    let mut rig = Rig::new(Config::default());
    let mut worker = rig.fork(Serialization::Json);
    for _ in 0..1000 {
        let (reply, _) = worker.query(tcp(0));
        worker.act("close", json!({"key": reply["key"]}));
    }
    rig.settle();
    let mut told = rig.events().into_iter().filter_map(|event| match event {
        Event::Servers(changed) => Some(changed),
        _ => None,
    });
    assert_eq!(told.next().map(|changed| changed.take()), Some(0));
    assert!(told.next().is_none());
    worker.query(tcp(0));
    let count = rig.wait_for(|event| match event {
        Event::Servers(changed) => Some(changed.take()),
        _ => None,
    });
    assert_eq!(count, 1);
}
