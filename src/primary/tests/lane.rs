//! The primary against workers that read their lanes, or do not.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read};
use std::net::TcpStream;

use super::super::LANE_WINDOW;
use super::rig::{FakeWorker, Rig, wait_until};
use super::{Command, Config, Event, connect, port_of};
use crate::channel::ChannelEvent;
use crate::error::Error;
use crate::os;
use crate::proto::{FromWorker, LaneSeq, Serialization};
use crate::worker::Connection;
use serde_json::json;
use std::os::fd::AsFd;

/// Nobody is found blocked, however long this test, or what it tests, is kept from running.
fn patient() -> Config {
    let never = std::time::Duration::from_secs(3600);
    Config {
        recall_after: never,
        recall_soon_after: never,
        recall_for_idle_after: never,
        ..Config::default()
    }
}

/// From now on workers are found blocked.
fn lose_patience(rig: &Rig) {
    rig.reactor.call(Command::Configure(Config::default())).unwrap();
}

/// From now on nobody else is. Those that were remain so until they go on.
fn be_patient(rig: &Rig) {
    rig.reactor.call(Command::Configure(patient())).unwrap();
}

/// Two workers with lanes on one server.
fn lanes(config: Config) -> (Rig, FakeWorker, FakeWorker, u16) {
    let mut rig = Rig::new(config);
    let (mut one, mut two) = (rig.fork_with_lane(), rig.fork_with_lane());
    let port = one.listen();
    assert_eq!(two.listen(), port);
    rig.settle();
    (rig, one, two, port)
}

/// Who answered a client; None when its connection was closed without an answer.
pub fn answer(client: &mut TcpStream) -> Option<u8> {
    let mut answer = Vec::new();
    match client.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the client hangs: {error}"),
    }
    assert!(answer.len() <= 1, "served twice: {answer:?}");
    answer.first().copied()
}

#[test]
fn connections_go_to_the_lanes_in_turn_and_each_client_sees_its_end() {
    let (_rig, mut one, mut two, port) = lanes(patient());
    for _ in 0..5 {
        for worker in [&mut one, &mut two] {
            let mut client = connect(port);
            assert_eq!(worker.serve_on_lane(), port_of(&client));
            // The end comes only when the primary has let go of its share as well.
            assert_eq!(answer(&mut client), Some(worker.id.0 as u8));
        }
    }
}

#[test]
fn a_lane_comes_into_use_when_the_worker_says_so_and_not_before() {
    let mut rig = Rig::new(Config::default());
    let mut worker = rig.fork_with_silent_lane();
    let port = worker.listen();
    let mut client = connect(port);
    assert_eq!(worker.serve(), port_of(&client));
    assert_eq!(answer(&mut client), Some(1));
    worker.announce();
    rig.settle();
    let client = connect(port);
    assert_eq!(worker.serve_on_lane(), port_of(&client));
    assert!(!worker.has_mail());
}

#[test]
fn a_worker_that_cannot_read_its_lane_or_speaks_another_language_keeps_the_channel() {
    for message in [&b"\x02no uv_poll_init"[..], b"\x01\x63"] {
        let mut rig = Rig::new(Config::default());
        let mut worker = rig.fork_with_silent_lane();
        let port = worker.listen();
        os::send_packet(worker.lane().as_fd(), message, None).unwrap();
        rig.settle();
        let client = connect(port);
        assert_eq!(worker.serve(), port_of(&client));
    }
}

#[test]
fn plain_workers_and_lanes_share_a_server_in_turn() {
    let mut rig = Rig::new(patient());
    let (mut plain, mut lane) = (rig.fork(Serialization::Json), rig.fork_with_lane());
    let port = plain.listen();
    assert_eq!(lane.listen(), port);
    rig.settle();
    for _ in 0..5 {
        let client = connect(port);
        assert_eq!(plain.serve(), port_of(&client));
        let client = connect(port);
        assert_eq!(lane.serve_on_lane(), port_of(&client));
    }
}

#[test]
fn a_lane_has_a_bounded_number_of_connections_under_way() {
    let mut rig = Rig::new(patient());
    let mut worker = rig.fork_with_lane();
    let port = worker.listen();
    rig.settle();
    let clients: Vec<TcpStream> = (0..LANE_WINDOW + 3).map(|_| connect(port)).collect();
    let received: Vec<_> = (0..LANE_WINDOW).map(|_| worker.receive_on_lane()).collect();
    rig.settle();
    assert!(worker.look_on_lane().is_none());
    worker.lane().report().unwrap();
    for client in &clients[LANE_WINDOW..] {
        assert_eq!(worker.serve_on_lane(), port_of(client));
    }
    drop(received);
}

#[test]
fn who_is_blocked_and_what_is_taken_back_is_told_if_that_is_wanted() {
    let (rig, mut blocked, mut other, port) = lanes(patient());
    let _clients: Vec<TcpStream> = (0..10).map(|_| connect(port)).collect();
    let held = [blocked.receive_on_lane(), blocked.receive_on_lane()];
    rig.settle();
    let config = Config { emit_lanes: true, ..Config::default() };
    rig.reactor.call(Command::Configure(config)).unwrap();
    for _ in 0..8 {
        other.serve_on_lane();
    }
    // In the order in which it happens, and for all that was its turn and not received.
    rig.wait_for(|event| matches!(event, Event::Blocked(id) if id == blocked.id).then_some(()));
    let count = rig.wait_for(|event| match event {
        Event::Recalled { worker, count, .. } if worker == blocked.id => Some(count),
        _ => None,
    });
    assert_eq!(count, 3);
    drop(held);
}

#[test]
fn what_a_blocked_worker_leaves_in_its_lane_goes_to_another_once() {
    let (rig, mut blocked, mut other, port) = lanes(patient());
    let mut clients: Vec<TcpStream> = (0..10).map(|_| connect(port)).collect();
    // It blocks on its second connection.
    let held = [blocked.receive_on_lane(), blocked.receive_on_lane()];
    rig.settle();
    lose_patience(&rig);
    for _ in 0..8 {
        other.serve_on_lane();
    }
    be_patient(&rig);
    // While it is blocked it gets nothing more.
    for _ in 0..4 {
        let client = connect(port);
        assert_eq!(other.serve_on_lane(), port_of(&client));
    }
    assert!(blocked.look_on_lane().is_none());
    for connection in held {
        blocked.answer(connection);
    }
    // Having looked, it has seen the probe, and reports that it goes on.
    blocked.lane().report().unwrap();
    rig.settle();
    let mut answers = BTreeMap::<u8, usize>::new();
    for client in &mut clients {
        *answers.entry(answer(client).expect("nothing is lost")).or_default() += 1;
    }
    assert_eq!(answers, BTreeMap::from([(1, 2), (2, 8)]));
    let stats = rig.stats.workers.read()[&blocked.id].clone();
    // Three of the five that were its turn.
    assert_eq!(
        (stats.counters.dispatched.get(), stats.counters.in_flight.get(), stats.counters.recalled.get()),
        (2, 0, 3)
    );
    assert!(stats.counters.stalls.get() >= 1);
    let client = connect(port);
    assert_eq!(blocked.serve_on_lane(), port_of(&client));
}

#[test]
fn what_was_taken_back_from_a_worker_is_made_up_for() {
    let (rig, mut blocked, mut other, port) = lanes(patient());
    let mut clients: Vec<TcpStream> = (0..10).map(|_| connect(port)).collect();
    lose_patience(&rig);
    for _ in 0..clients.len() {
        other.serve_on_lane();
    }
    be_patient(&rig);
    // It goes on, and gets two in a row when it has reported all and the primary has seen it.
    let (mut ahead, deadline) = (clients.len(), std::time::Instant::now() + super::PATIENCE);
    while ahead > 0 {
        assert!(std::time::Instant::now() < deadline, "{ahead} ahead");
        clients.push(connect(port));
        let mut waiting = true;
        while waiting {
            for worker in [&mut blocked, &mut other] {
                let connection = worker.look_on_lane();
                worker.lane().report().unwrap();
                let Some(connection) = connection else { continue };
                worker.answer(connection);
                waiting = false;
                ahead = if worker.id.0 == 1 { ahead - 1 } else { ahead + 1 };
            }
        }
    }
}

/// Two workers of which the first has received all that it may be sent, and has reported none of it.
struct OneFull {
    rig: Rig,
    full: FakeWorker,
    other: FakeWorker,
    port: u16,
    clients: Vec<TcpStream>,
    held: Vec<Connection>,
}

fn one_full() -> OneFull {
    let (rig, mut full, other, port) = lanes(patient());
    let clients = (0..2 * LANE_WINDOW).map(|_| connect(port)).collect();
    let held = (0..LANE_WINDOW).map(|_| full.receive_on_lane()).collect();
    OneFull { rig, full, other, port, clients, held }
}

#[test]
fn whoever_is_ahead_of_a_full_worker_goes_on_when_that_is_found_blocked() {
    // What it was sent cannot be taken back: nothing but its being blocked sets the others free.
    let OneFull { rig, full: mut blocked, mut other, port, mut clients, held } = one_full();
    // So many that the other is far ahead of the one that is full.
    clients.extend((0..LANE_WINDOW).map(|_| connect(port)));
    lose_patience(&rig);
    for _ in 0..2 * LANE_WINDOW {
        other.serve_on_lane();
    }
    let stats = rig.stats.workers.read()[&blocked.id].clone();
    wait_until(|| stats.counters.stalls.get() > 0);
    for connection in held {
        blocked.answer(connection);
    }
    blocked.lane().report().unwrap();
    rig.settle();
    let answers: Vec<_> = clients.iter_mut().map(answer).collect();
    assert_eq!(answers.iter().filter(|answer| **answer == Some(2)).count(), 2 * LANE_WINDOW);
    assert_eq!(stats.counters.recalled.get(), 0);
}

#[test]
fn when_all_are_blocked_connections_wait_for_the_first_who_is_not() {
    let (_rig, mut one, mut two, port) = lanes(Config::default());
    let mut clients: Vec<TcpStream> = (0..2 * LANE_WINDOW + 10).map(|_| connect(port)).collect();
    // Neither reads until the primary has found both to be blocked: this waits for no event, as none is told, but
    // what follows holds at any moment.
    std::thread::sleep(super::super::RECALL_AFTER * 4);
    for _ in 0..clients.len() {
        two.serve_on_lane();
    }
    assert!(one.look_on_lane().is_none());
    for client in &mut clients {
        assert_eq!(answer(client), Some(2));
    }
}

/// How often the reactor's thread has gone to sleep.
#[cfg(target_os = "linux")]
pub fn sleeps(rig: &Rig) -> u64 {
    let threads = std::fs::read_dir("/proc/self/task").unwrap().map(|thread| thread.unwrap().path());
    let is_reactor = |path: &std::path::PathBuf| {
        std::fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim_end() == rig.thread)
    };
    let mut reactors = threads.filter(is_reactor);
    let status = std::fs::read_to_string(reactors.next().unwrap().join("status")).unwrap();
    let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
    count.trim().parse().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn while_all_are_blocked_and_connections_wait_the_reactor_sleeps() {
    let (rig, one, two, port) = lanes(Config::default());
    let clients: Vec<TcpStream> = (0..2 * LANE_WINDOW + 10).map(|_| connect(port)).collect();
    let stalls = || [&one, &two].map(|worker| rig.stats.workers.read()[&worker.id].counters.stalls.get());
    wait_until(|| stalls().iter().all(|stalls| *stalls > 0));
    rig.settle();
    let before = sleeps(&rig);
    // A look at the lanes every 4 ms would be 25 of them.
    std::thread::sleep(std::time::Duration::from_millis(100));
    let slept = sleeps(&rig) - before;
    assert!(slept < 8, "woken {slept} times");
    drop(clients);
}

#[test]
fn what_a_dead_worker_had_not_received_goes_to_another_and_the_rest_ends_with_it() {
    let (_rig, mut dead, mut other, port) = lanes(patient());
    let mut clients: Vec<TcpStream> = (0..10).map(|_| connect(port)).collect();
    let received = [dead.receive_on_lane(), dead.receive_on_lane()];
    drop((received, dead));
    for _ in 0..8 {
        other.serve_on_lane();
    }
    let answers: Vec<_> = clients.iter_mut().map(answer).collect();
    assert_eq!(answers.iter().filter(|answer| **answer == Some(2)).count(), 8);
    assert_eq!(answers.iter().filter(|answer| answer.is_none()).count(), 2);
}

#[test]
fn connections_are_closed_when_the_last_worker_has_died() {
    let mut rig = Rig::new(Config::default());
    let mut worker = rig.fork_with_lane();
    let port = worker.listen();
    rig.settle();
    let mut clients: Vec<TcpStream> = (0..LANE_WINDOW + 5).map(|_| connect(port)).collect();
    drop(worker.receive_on_lane());
    drop(worker);
    for client in &mut clients {
        assert_eq!(answer(client), None);
    }
}

#[test]
fn what_a_worker_refuses_goes_to_another() {
    let (_rig, mut one, mut two, port) = lanes(patient());
    let client = connect(port);
    let connection = one.receive_on_lane();
    one.lane().refuse(connection.seq);
    one.lane().report().unwrap();
    assert_eq!(two.serve_on_lane(), port_of(&client));
}

/// Refuses so many connections, in one report.
fn refuse(worker: &mut FakeWorker, count: usize) {
    for _ in 0..count {
        let connection = worker.receive_on_lane();
        worker.lane().refuse(connection.seq);
    }
    worker.lane().report().unwrap();
}

#[test]
fn what_came_before_a_worker_knew_its_server_waited_for_a_pause() {
    let never = std::time::Duration::from_secs(3600);
    // The report is read before the worker says that it listens, or after that.
    for is_read_first in [true, false] {
        let mut rig = Rig::new(Config { refusal_pause: never, ..patient() });
        let mut worker = rig.fork_with_lane();
        let port = worker.listen();
        let clients: Vec<TcpStream> = (0..3).map(|_| connect(port)).collect();
        rig.settle();
        if is_read_first {
            refuse(&mut worker, 3);
            wait_until(|| rig.stats.workers.read()[&worker.id].counters.refused.get() == 3);
        }
        worker.act("listening", json!({"port": port, "address": "127.0.0.1", "addressType": 4}));
        rig.settle();
        if !is_read_first {
            refuse(&mut worker, 3);
        }
        let served: BTreeSet<u16> = clients.iter().map(|_| worker.serve_on_lane()).collect();
        assert_eq!(served, clients.iter().map(port_of).collect());
    }
}

#[test]
fn the_last_words_of_a_worker_about_its_connections_count() {
    let (_rig, mut one, mut two, port) = lanes(patient());
    let mut client = connect(port);
    let refused = one.receive_on_lane();
    one.lane().refuse(refused.seq);
    one.lane().report().unwrap();
    drop((refused, one));
    assert_eq!(two.serve_on_lane(), port_of(&client));
    assert_eq!(answer(&mut client), Some(2));
}

#[test]
fn nonsense_among_the_last_words_of_a_worker_costs_nobody_a_connection() {
    // With a bound of four, a single one that stayed in the books would show.
    let (_rig, mut dead, mut other, port) = lanes(Config { max_pending: 4, ..patient() });
    let mut clients: Vec<TcpStream> = (0..4).map(|_| connect(port)).collect();
    // Two are in its lane, and it has received none of them.
    other.receive_on_lane();
    other.receive_on_lane();
    other.lane().report().unwrap();
    let mut report = Vec::new();
    FromWorker::Report { through: LaneSeq(1 << 40), refused: vec![] }.encode(&mut report);
    os::send_packet(dead.lane().as_fd(), &report, None).unwrap();
    drop(dead);
    clients.extend((0..8).map(|_| connect(port)));
    for _ in 0..10 {
        other.serve_on_lane();
    }
    let answers: Vec<_> = clients.iter_mut().map(answer).collect();
    assert_eq!(answers.iter().filter(|answer| **answer == Some(2)).count(), 10);
}

#[test]
fn nonsense_on_a_lane_ends_its_worker_and_nobody_else() {
    for nonsense in [&b"?"[..], b"", &[3; 9], &[7; 5000]] {
        let (rig, mut bad, mut good, port) = lanes(Config::default());
        os::send_packet(bad.lane().as_fd(), nonsense, None).unwrap();
        let client = connect(port);
        let cause = rig.wait_for(|event| match event {
            Event::Channel(worker, ChannelEvent::Closed(cause)) if worker == bad.id => Some(cause),
            _ => None,
        });
        assert!(matches!(cause, Some(Error::BadFrame(_))), "{cause:?}");
        assert_eq!(good.serve_on_lane(), port_of(&client));
    }
}
