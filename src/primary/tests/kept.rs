//! The primary against workers that keep connections. In these tests nobody knows whether a worker waits for events: one whose
//! loop does not turn counts as busy.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};

use super::lane::sleeps;
use super::rig::{FakeWorker, Rig, wait_until};
use super::{Config, Event, connect, port_of};
use crate::channel::ChannelEvent;
use crate::error::Error;
use crate::ids::WorkerId;
use crate::kept::{Claim, SLOTS};
use crate::os;
use crate::primary::config::KEPT_TICK;
use crate::proto::{ConnectionKind, Generation, Keep, Slot};
use crate::worker::Connection;

pub(super) fn balanced() -> Config {
    let never = std::time::Duration::from_secs(3600);
    Config {
        recall_after: never,
        recall_soon_after: never,
        recall_for_idle_after: never,
        ..Config::default()
    }
    .one_queue()
    .balance_kept()
}

/// Workers that let connections rest, on one server.
pub(super) fn keepers<const COUNT: usize>(config: Config) -> (Rig, [FakeWorker; COUNT], u16) {
    let mut rig = Rig::new(config);
    let mut workers = std::array::from_fn(|_| rig.fork_with_pulse());
    let ports: Vec<u16> = workers.iter_mut().map(FakeWorker::listen).collect();
    assert!(ports.iter().all(|port| *port == ports[0]));
    workers.iter_mut().for_each(|worker| assert!(worker.lane().has_rest()));
    rig.settle();
    (rig, workers, ports[0])
}

/// A connection that a worker keeps.
pub(super) struct Kept {
    connection: Connection,
    slot: Slot,
}

impl Kept {
    fn stream(&self) -> TcpStream {
        let stream = TcpStream::from(self.connection.handle.try_clone().unwrap());
        stream.set_nonblocking(false).unwrap();
        stream
    }

    /// Reads a request of one byte and answers with the same.
    fn serve(&self) -> u8 {
        let mut request = [0];
        self.stream().read_exact(&mut request).unwrap();
        self.stream().write_all(&request).unwrap();
        request[0]
    }
}

/// Receives a connection, keeps it and lets it rest.
pub(super) fn rest(worker: &mut FakeWorker, timeout: u32) -> Kept {
    let connection = worker.receive_on_lane();
    worker.lane().report().unwrap();
    worker.poll();
    let (kind, key) = (connection.kind, connection.key.clone());
    let handle = connection.handle.as_fd();
    let slot = worker.lane().keep(handle, kind, &key, timeout, |_| true).unwrap().unwrap();
    Kept { connection, slot }
}

/// As `rest`, and begins to serve it.
fn keep(worker: &mut FakeWorker, timeout: u32) -> Kept {
    let kept = rest(worker, timeout);
    assert_eq!(worker.lane().claim(kept.slot), Claim::Ours);
    kept
}

fn held(rig: &Rig, id: WorkerId) -> u64 {
    rig.stats.workers.read()[&id].counters.kept.get()
}

fn rebalanced(rig: &Rig) -> u64 {
    rig.stats.servers.read().values().map(|server| server.counters.rebalanced.get()).sum()
}

fn ask(client: &mut TcpStream, request: u8) {
    client.write_all(&[request]).unwrap();
}

fn answer(client: &mut TcpStream) -> Option<u8> {
    let mut answer = [0];
    (client.read(&mut answer).unwrap() == 1).then_some(answer[0])
}

#[test]
fn a_request_for_a_worker_that_does_not_turn_goes_to_an_idle_one_and_the_first_reads_nothing() {
    let (rig, [mut busy, mut idle], port) = keepers::<2>(balanced());
    let mut client = connect(port);
    let kept = rest(&mut busy, 0);
    wait_until(|| held(&rig, busy.id) == 1);
    ask(&mut client, b'a');
    let there = Kept { connection: idle.receive_on_lane(), slot: Slot(0) };
    idle.lane().report().unwrap();
    idle.poll();
    assert_eq!(there.serve(), b'a');
    assert_eq!(answer(&mut client), Some(b'a'));
    assert_eq!(busy.lane().claim(kept.slot), Claim::Moved);
    assert_eq!(busy.lane().moved(), [kept.slot]);
    wait_until(|| rebalanced(&rig) == 1 && held(&rig, busy.id) == 0);
    // It was dispatched once, and the client sees its end when both have closed it.
    let dispatched = |id| rig.stats.workers.read()[&id].counters.dispatched.get();
    assert_eq!((dispatched(busy.id), dispatched(idle.id)), (1, 0));
    busy.lane().release(kept.slot);
    drop((kept, there));
    assert_eq!(answer(&mut client), None);
}

#[test]
fn the_request_that_had_waited_longest_waited_on_if_its_worker_was_the_last_of_them() {
    let (rig, [mut first, mut second, mut third], port) = keepers::<3>(balanced());
    let mut clients = [connect(port), connect(port)];
    let kept = [rest(&mut first, 0), rest(&mut second, 0)];
    wait_until(|| held(&rig, first.id) == 1 && held(&rig, second.id) == 1);
    // Each has a connection to receive, so that nobody is idle.
    let others: [_; 3] = std::array::from_fn(|_| connect(port));
    let in_flight = |id| rig.stats.workers.read()[&id].counters.in_flight.get();
    wait_until(|| [first.id, second.id, third.id].into_iter().all(|id| in_flight(id) == 1));
    for client in clients.iter_mut().rev() {
        ask(client, b'a');
        // Long enough for two looks, of which the latter is at the end of one of these turns: it waits from then on.
        for _ in 0..2 {
            std::thread::sleep(KEPT_TICK * 2);
            rig.settle();
        }
    }
    drop(third.receive_on_lane());
    third.lane().report().unwrap();
    third.poll();
    assert_eq!(third.receive_on_lane().peer_port(), port_of(&clients[1]));
    drop((kept, others));
}

#[test]
fn a_request_that_its_worker_has_begun_to_read_stays_there() {
    let (rig, [mut one, mut two], port) = keepers::<2>(balanced());
    let (mut first, mut second) = (connect(port), connect(port));
    let kept = rest(&mut one, 0);
    let other = keep(&mut two, 0);
    assert_eq!(one.lane().claim(kept.slot), Claim::Ours);
    ask(&mut first, b'a');
    ask(&mut second, b'b');
    // The second is looked at after the first.
    two.lane().rest(other.slot);
    ask(&mut second, b'c');
    let moved = one.receive_on_lane();
    assert_eq!(moved.peer_port(), port_of(&second));
    assert_eq!((kept.serve(), rebalanced(&rig)), (b'a', 0));
    assert!(two.look_on_lane().is_none());
}

#[test]
fn a_connection_may_go_to_and_fro() {
    let (_rig, [mut one, mut two], port) = keepers::<2>(balanced());
    let mut client = connect(port);
    let mut kept = rest(&mut one, 0);
    for request in b'a'..b'g' {
        std::mem::swap(&mut one, &mut two);
        ask(&mut client, request);
        let next = keep(&mut one, 0);
        assert_eq!(next.serve(), request);
        assert_eq!(answer(&mut client), Some(request));
        assert_eq!(two.lane().moved(), [kept.slot]);
        two.lane().release(kept.slot);
        one.lane().rest(next.slot);
        kept = next;
    }
}

#[test]
fn what_a_worker_has_released_is_closed_here_too() {
    let (rig, [mut worker], port) = keepers::<1>(balanced());
    let mut client = connect(port);
    let kept = rest(&mut worker, 0);
    wait_until(|| held(&rig, worker.id) == 1);
    worker.lane().release(kept.slot);
    drop(kept);
    worker.poll();
    assert_eq!(answer(&mut client), None);
    wait_until(|| held(&rig, worker.id) == 0);
}

#[test]
fn a_dead_worker_takes_only_the_requests_with_it_that_it_had_begun() {
    let (rig, [mut dead, mut other], port) = keepers::<2>(balanced());
    let mut clients = [connect(port), connect(port), connect(port)];
    let resting = rest(&mut dead, 0);
    drop(other.receive_on_lane());
    other.lane().report().unwrap();
    other.poll();
    let begun = keep(&mut dead, 0);
    wait_until(|| held(&rig, dead.id) == 2);
    drop((dead, resting, begun));
    assert_eq!(answer(&mut clients[2]), None);
    ask(&mut clients[0], b'a');
    let there = Kept { connection: other.receive_on_lane(), slot: Slot(0) };
    assert_eq!(there.connection.peer_port(), port_of(&clients[0]));
    assert_eq!(there.serve(), b'a');
    assert_eq!(answer(&mut clients[0]), Some(b'a'));
}

#[test]
fn a_connection_that_no_worker_has_ends_when_its_client_says_nothing_for_too_long() {
    let (rig, [mut dead, _other], port) = keepers::<2>(balanced());
    let mut client = connect(port);
    let kept = rest(&mut dead, 20);
    wait_until(|| held(&rig, dead.id) == 1);
    drop((dead, kept));
    assert_eq!(answer(&mut client), None);
}

#[test]
fn a_connection_that_no_worker_has_ends_with_the_last_worker_of_its_server() {
    let (rig, [mut dead, other], port) = keepers::<2>(balanced());
    let mut client = connect(port);
    let kept = rest(&mut dead, 0);
    wait_until(|| held(&rig, dead.id) == 1);
    let id = dead.id;
    drop((dead, kept));
    wait_until(|| !rig.stats.workers.read().contains_key(&id));
    drop(other);
    assert_eq!(answer(&mut client), None);
}

#[test]
fn a_worker_that_is_asked_to_leave_leaves_what_rests_to_the_others() {
    let (rig, [mut leaving, mut other], port) = keepers::<2>(balanced());
    let mut client = connect(port);
    let kept = rest(&mut leaving, 0);
    wait_until(|| held(&rig, leaving.id) == 1);
    rig.reactor.call(super::Command::Disconnect(leaving.id)).unwrap();
    assert_eq!(leaving.lane().moved(), [kept.slot]);
    leaving.lane().release(kept.slot);
    drop(kept);
    ask(&mut client, b'a');
    let there = Kept { connection: other.receive_on_lane(), slot: Slot(0) };
    assert_eq!(there.serve(), b'a');
    assert_eq!(answer(&mut client), Some(b'a'));
}

#[test]
fn while_nobody_asks_anything_the_reactor_sleeps() {
    let (rig, [mut one, mut two], port) = keepers::<2>(balanced());
    let clients = [connect(port), connect(port)];
    let kept = [rest(&mut one, 0), rest(&mut two, 0)];
    wait_until(|| held(&rig, one.id) + held(&rig, two.id) == 2);
    rig.settle();
    // A look that finds nothing is the last.
    std::thread::sleep(std::time::Duration::from_millis(20));
    let before = sleeps(&rig);
    std::thread::sleep(std::time::Duration::from_millis(100));
    let slept = sleeps(&rig) - before;
    assert!(slept < 8, "woken {slept} times");
    drop((clients, kept));
}

/// A worker says that it keeps this, and what becomes of its channel: None if it stays open.
fn told(rig: &Rig, worker: &mut FakeWorker, keep: Keep, fd: OwnedFd) -> Option<Option<Error>> {
    let id = worker.id;
    worker.lane().send_keep(keep, fd.as_fd());
    drop(fd);
    let lane = worker.lane();
    wait_until(|| os::unread_by_peer(lane.as_fd()) == 0);
    rig.settle();
    rig.events().into_iter().find_map(|event| match event {
        Event::Channel(worker, ChannelEvent::Closed(cause)) if worker == id => Some(cause),
        _ => None,
    })
}

fn a_keep(slot: Slot, key: &str) -> Keep {
    Keep { slot, generation: Generation(1), timeout: 0, kind: ConnectionKind::Tcp, key: key.into() }
}

#[test]
fn what_is_no_connection_ends_the_worker_that_sends_it() {
    let (rig, [mut one, mut two, mut three], port) = keepers::<3>(balanced());
    let client = connect(port);
    let connection = one.receive_on_lane();
    let key = connection.key.to_string();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let is_bad = |closed: &Option<Option<Error>>| matches!(closed, Some(Some(Error::BadFrame(_))));
    let closed = told(&rig, &mut one, a_keep(Slot(0), &key), listener.into());
    assert!(is_bad(&closed), "{closed:?}");
    let unix = os::socket_pair().unwrap().ours;
    let closed = told(&rig, &mut two, a_keep(Slot(0), &key), unix);
    assert!(is_bad(&closed), "{closed:?}");
    let closed = told(&rig, &mut three, a_keep(Slot(SLOTS), &key), client.into());
    assert!(is_bad(&closed), "{closed:?}");
}

#[test]
fn a_connection_of_a_server_that_the_worker_has_not_stays_the_workers() {
    let (rig, [mut worker], port) = keepers::<1>(balanced());
    let _client = connect(port);
    let connection = worker.receive_on_lane();
    let copy = connection.handle.try_clone().unwrap();
    assert!(told(&rig, &mut worker, a_keep(Slot(0), "another"), copy).is_none());
    assert_eq!(held(&rig, worker.id), 0);
}

#[test]
fn connections_for_which_there_are_no_descriptors_stay_with_their_workers() {
    let (rig, [mut worker], port) = keepers::<1>(Config { max_kept: 2, ..balanced() });
    let clients = [connect(port), connect(port)];
    let kept = [rest(&mut worker, 0), rest(&mut worker, 0)];
    wait_until(|| held(&rig, worker.id) == 1);
    worker.lane().release(kept[0].slot);
    worker.poll();
    wait_until(|| held(&rig, worker.id) == 0);
    drop((clients, kept));
}

#[test]
fn a_request_that_its_new_worker_does_not_receive_may_go_back_to_the_first() {
    let recall_soon_after = Config::default().recall_soon_after;
    let config = Config { recall_after: recall_soon_after, ..balanced() };
    let (rig, [mut one, two], port) = keepers::<2>(config);
    let mut client = connect(port);
    let kept = rest(&mut one, 0);
    ask(&mut client, b'a');
    // It is in the lane of the second, which does not receive.
    wait_until(|| rig.stats.workers.read()[&one.id].counters.rebalanced.get() == 1);
    assert_eq!(one.lane().moved(), [kept.slot]);
    one.lane().release(kept.slot);
    one.poll();
    // On its own lane, or on the shared one if it did not look idle at that moment.
    let deadline = std::time::Instant::now() + super::rig::PATIENCE;
    let connection = loop {
        if let Some(connection) = one.look() {
            break connection;
        }
        assert!(std::time::Instant::now() < deadline, "nothing came");
        one.turn();
        std::thread::yield_now();
    };
    let again = Kept { connection, slot: Slot(0) };
    assert_eq!(again.serve(), b'a');
    assert_eq!(answer(&mut client), Some(b'a'));
    drop(two);
}

#[test]
fn a_worker_that_stalls_before_it_has_read_that_connections_are_to_rest_is_told_again() {
    let soon = Config::default().recall_soon_after;
    let mut rig = Rig::new(Config { recall_after: soon, ..balanced() });
    let mut slow = rig.fork_with_silent_lane();
    let mut other = rig.fork_with_pulse();
    let port = slow.listen();
    assert_eq!(other.listen(), port);
    slow.announce();
    // It reads nothing of its lane until what was there has gone to the other.
    let clients: Vec<TcpStream> = (0..4).map(|_| connect(port)).collect();
    for _ in &clients {
        other.serve_either();
    }
    let recalled = || rig.stats.workers.read()[&slow.id].counters.recalled.get();
    if recalled() > 0 {
        while !slow.lane().has_rest() {
            assert!(slow.look_on_lane().is_none());
        }
    }
}
