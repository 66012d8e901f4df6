//! The primary against workers that share a lane.

use std::net::TcpStream;

use super::pulse::{patient, pulses};
use super::rig::{FakeWorker, Rig, tcp, wait_until};
use super::{Command, Config, Event, connect, port_of};
use crate::channel::ChannelEvent;
use crate::error::Error;
use crate::primary::config::SHARED_WINDOW;
use crate::primary::lane::LaneState;
use crate::proto::LaneSeq;
use crate::pulse::{CLAIMS_KEPT, SharedClaim};
use crate::worker::Connection;

fn pending(rig: &Rig) -> u64 {
    rig.stats.servers.read().values().map(|server| server.counters.pending.get()).sum()
}

fn accepted(rig: &Rig) -> u64 {
    rig.stats.servers.read().values().map(|server| server.counters.accepted.get()).sum()
}

/// Whether there is a connection on a worker's own lane. It serves it, and does not report it.
fn receives_its_own(worker: &mut FakeWorker) -> bool {
    let received = worker.look_on_lane().map(|connection| worker.answer(connection));
    received.is_some()
}

fn client_of(connection: &Connection) -> u16 {
    let peer = socket2::SockRef::from(&connection.handle).peer_addr().unwrap();
    peer.as_socket().unwrap().port()
}

/// Two workers that have each received one connection, and say so never: neither is idle. Those behind wait on the shared lane.
struct Busy {
    rig: Rig,
    workers: [FakeWorker; 2],
    port: u16,
    clients: Vec<TcpStream>,
}

impl Busy {
    fn with_waiting(count: usize) -> Busy {
        let (rig, workers, port) = pulses::<2>(patient());
        Busy::of(rig, workers, port, count)
    }

    fn of(rig: Rig, workers: [FakeWorker; 2], port: u16, count: usize) -> Busy {
        let before = accepted(&rig);
        let mut busy = Busy { rig, workers, port, clients: Vec::new() };
        for _ in 0..2 {
            let _client = connect(port);
            while !busy.workers.iter_mut().any(receives_its_own) {
                std::thread::yield_now();
            }
        }
        busy.clients.extend((0..count).map(|_| connect(port)));
        wait_until(|| accepted(&busy.rig) == before + count as u64 + 2 && pending(&busy.rig) == count as u64);
        // The shared lane is offered on each one's own.
        busy.workers.iter_mut().for_each(|worker| assert!(!receives_its_own(worker)));
        busy
    }

    fn dispatched(&self) -> [u64; 2] {
        self.workers.each_ref().map(|worker| {
            self.rig.stats.workers.read().get(&worker.id).map_or(0, |stats| stats.counters.dispatched.get())
        })
    }

    fn ports(&self) -> Vec<u16> {
        self.clients.iter().map(port_of).collect()
    }
}

fn serve_shared(worker: &mut FakeWorker) -> u16 {
    let connection = worker.look_on_shared().expect("something waits");
    worker.claim(false);
    worker.answer(connection)
}

/// The clients of so many connections that the worker serves, smallest port first. The primary gives what waits to a worker that is
/// idle while this one reads, so that two may change places.
fn serve_either(worker: &mut FakeWorker, count: usize) -> Vec<u16> {
    sorted((0..count).map(|_| worker.serve_either()).collect())
}

fn sorted(mut ports: Vec<u16>) -> Vec<u16> {
    ports.sort_unstable();
    ports
}

/// Whether the end of a connection comes without an answer.
fn ends_unanswered(mut client: &TcpStream) -> bool {
    let mut answer = Vec::new();
    std::io::Read::read_to_end(&mut client, &mut answer).unwrap();
    answer.is_empty()
}

#[test]
fn while_nobody_is_idle_the_first_that_has_time_takes_the_oldest() {
    let mut busy = Busy::with_waiting(4);
    let ports = busy.ports();
    let [one, two] = &mut busy.workers;
    let served = [serve_shared(two), serve_shared(one), serve_shared(two), serve_shared(two)];
    assert_eq!(served[..], ports);
    assert!(one.look_on_shared().is_none());
    // The primary learns who has taken which, and lets go of its share.
    assert!(busy.clients.iter().all(|client| !ends_unanswered(client)));
    wait_until(|| busy.dispatched() == [1, 3]);
}

#[test]
fn nobody_overtakes_those_that_wait_on_the_shared_lane() {
    let mut busy = Busy::with_waiting(2);
    busy.clients.push(connect(busy.port));
    wait_until(|| accepted(&busy.rig) == 5);
    busy.rig.settle();
    let ports = busy.ports();
    let two = &mut busy.workers[1];
    assert_eq!([serve_shared(two), serve_shared(two), serve_shared(two)][..], ports);
}

#[test]
fn a_worker_that_does_nothing_and_does_not_read_the_shared_lane_is_given_what_waits_there() {
    let mut busy = Busy::with_waiting(3);
    let ports = busy.ports();
    for port in ports {
        busy.workers[0].turn();
        assert_eq!(busy.workers[0].serve_on_lane(), port);
    }
}

#[test]
fn who_is_stopped_or_blocked_keeps_nobody_waiting_on_the_shared_lane() {
    let mut busy = Busy::with_waiting(20);
    let ports = busy.ports();
    // The other does nothing any more.
    assert_eq!(serve_either(&mut busy.workers[1], ports.len()), sorted(ports));
}

#[test]
fn what_a_worker_refuses_of_the_shared_lane_goes_to_another() {
    let mut busy = Busy::with_waiting(3);
    let ports = busy.ports();
    let [one, two] = &mut busy.workers;
    drop(one.look_on_shared());
    one.claim(true);
    wait_until(|| busy.rig.stats.workers.read()[&one.id].counters.refused.get() == 1);
    assert_eq!(serve_either(two, ports.len()), sorted(ports));
    assert_eq!(busy.rig.stats.workers.read()[&one.id].counters.dispatched.get(), 0);
}

#[test]
fn a_worker_that_dies_takes_with_it_what_it_had_received_from_the_shared_lane_and_nothing_else() {
    for has_claimed in [false, true] {
        let mut busy = Busy::with_waiting(4);
        let mut ports = busy.ports();
        let [mut one, mut two] = busy.workers;
        assert_eq!(client_of(&one.look_on_shared().unwrap()), ports.remove(0));
        assert_eq!(serve_shared(&mut two), ports.remove(0));
        if has_claimed {
            one.claim(false);
        }
        drop(one);
        assert!(ends_unanswered(&busy.clients[0]));
        assert_eq!(serve_either(&mut two, 2), sorted(ports));
        assert!(busy.clients.drain(1..).all(|client| !ends_unanswered(&client)));
    }
}

/// It was killed between two instructions: its client got an end, and nobody was told who had had it.
#[test]
fn what_a_worker_had_received_and_not_begun_when_it_died_is_served_by_another() {
    let mut busy = Busy::with_waiting(3);
    let ports = busy.ports();
    let [mut one, mut two] = busy.workers;
    drop(one.look_on_shared());
    // It dies before it has written which one it has received.
    one.lane().pulse().take(LaneSeq(0));
    drop(one);
    assert_eq!(serve_either(&mut two, 3), sorted(ports));
    assert!(busy.clients.drain(..).all(|client| !ends_unanswered(&client)));
    assert_eq!(pending(&busy.rig), 0);
}

#[test]
fn what_a_dead_worker_had_received_ends_though_another_never_says_what_it_has() {
    let mut busy = Busy::with_waiting(3);
    let [mut one, mut two] = busy.workers;
    drop(one.look_on_shared());
    // It dies before it has written which one it has received.
    one.lane().pulse().take(LaneSeq(0));
    let held = two.look_on_shared();
    drop(one);
    assert!(ends_unanswered(&busy.clients[0]));
    // What it says late changes nothing: its client was not given to anybody else.
    two.claim(true);
    drop(held);
    assert!(ends_unanswered(&busy.clients[1]));
    assert_eq!(two.serve_either(), port_of(&busy.clients.pop().unwrap()));
}

#[test]
fn what_was_recalled_of_a_worker_before_it_had_the_shared_lane_is_offered_again() {
    let recall_for_idle_after = Config::default().recall_for_idle_after;
    let (rig, [mut one, mut two], port) = pulses::<2>(Config { recall_for_idle_after, ..patient() });
    // Everything in its lane is recalled for the other, which is idle.
    let client = connect(port);
    assert_eq!(two.serve_either(), port_of(&client));
    while rig.stats.workers.read()[&one.id].lane.lock().clone() != LaneState::Open {
        assert!(one.look_on_lane().is_none());
        one.turn();
    }
    rig.reactor.call(Command::Configure(patient())).unwrap();
    let mut busy = Busy::of(rig, [one, two], port, 2);
    let ports = busy.ports();
    let [one, two] = &mut busy.workers;
    assert_eq!([serve_shared(one), serve_shared(two)][..], ports);
}

#[test]
fn connections_beyond_the_shared_lane_wait_in_the_primary_and_follow() {
    let mut busy = Busy::with_waiting(SHARED_WINDOW);
    busy.clients.extend((0..10).map(|_| connect(busy.port)));
    wait_until(|| pending(&busy.rig) == SHARED_WINDOW as u64 + 10);
    let ports = busy.ports();
    let mut served = Vec::new();
    while served.len() < ports.len() {
        for worker in &mut busy.workers {
            if let Some(connection) = worker.look_on_shared() {
                worker.claim(false);
                served.push(worker.answer(connection));
            }
        }
        std::thread::yield_now();
    }
    assert_eq!(served, ports);
}

#[test]
fn a_server_that_not_all_readers_have_has_nothing_on_the_shared_lane() {
    let mut busy = Busy::with_waiting(2);
    let mut fields = tcp(0);
    fields["index"] = 1.into();
    let (reply, _) = busy.workers[0].query(fields);
    let other = reply["sockname"]["port"].as_u64().unwrap() as u16;
    let client = connect(other);
    wait_until(|| accepted(&busy.rig) == 5);
    let ports = busy.ports();
    let [one, two] = &mut busy.workers;
    assert_eq!([serve_shared(two), serve_shared(two)][..], ports);
    assert!(two.look_on_shared().is_none());
    assert_eq!(one.serve_either(), port_of(&client));
}

#[test]
fn a_worker_that_joins_takes_from_the_shared_lane_as_well() {
    let mut busy = Busy::with_waiting(3);
    let mut third = busy.rig.fork_with_pulse();
    assert_eq!(third.listen(), busy.port);
    assert_eq!(serve_either(&mut third, 3), sorted(busy.ports()));
}

#[test]
fn who_has_left_a_server_takes_no_more_of_its_connections_from_the_shared_lane() {
    let mut busy = Busy::with_waiting(3);
    let ports = busy.ports();
    let [one, two] = &mut busy.workers;
    assert_eq!(serve_shared(one), ports[0]);
    let key = busy.rig.stats.servers.read().values().next().unwrap().key.to_string();
    one.act("close", serde_json::json!({ "key": key }));
    wait_until(|| busy.rig.stats.servers.read().values().all(|server| server.workers.lock().len() == 1));
    assert!(one.look_on_shared().is_none());
    assert_eq!(serve_either(two, 2), sorted(ports[1..].to_vec()));
}

fn ends_with_a_bad_frame(rig: &Rig, bad: &FakeWorker) {
    let cause = rig.wait_for(|event| match event {
        Event::Channel(worker, ChannelEvent::Closed(cause)) if worker == bad.id => Some(cause),
        _ => None,
    });
    assert!(matches!(cause, Some(Error::BadFrame(_))), "{cause:?}");
}

#[test]
fn claims_that_cannot_be_end_their_worker_and_nobody_else() {
    // More than there can be; and a refusal of what others may still receive.
    let too_many = |lane: &mut crate::worker::WorkerLane| {
        for seq in 0..=CLAIMS_KEPT {
            lane.pulse().claim(SharedClaim { seq: LaneSeq(1000 + seq), is_refused: false });
        }
    };
    let not_received = |lane: &mut crate::worker::WorkerLane| {
        lane.claim_shared(SharedClaim { seq: LaneSeq(2), is_refused: true }).unwrap();
    };
    for lie in [too_many as fn(&mut crate::worker::WorkerLane), not_received] {
        let mut busy = Busy::with_waiting(3);
        let ports = busy.ports();
        let [bad, good] = &mut busy.workers;
        lie(bad.lane());
        ends_with_a_bad_frame(&busy.rig, bad);
        assert_eq!(serve_either(good, ports.len()), sorted(ports));
    }
}

#[test]
fn what_a_worker_claims_falsely_is_served_by_who_receives_it() {
    let mut busy = Busy::with_waiting(4);
    let ports = busy.ports();
    let [bad, good] = &mut busy.workers;
    // All that waits, what was never sent, and everything twice.
    for seq in [1, 2, 3, 4, 9, 1, 2, u64::MAX >> 1] {
        bad.lane().claim_shared(SharedClaim { seq: LaneSeq(seq), is_refused: false }).unwrap();
    }
    let served: Vec<u16> = ports.iter().map(|_| serve_shared(good)).collect();
    assert_eq!(served, ports);
    let client = connect(busy.port);
    assert_eq!(good.serve_either(), port_of(&client));
}

#[test]
fn a_worker_that_shuts_the_shared_lane_down_ends_nothing_but_its_use() {
    let mut busy = Busy::with_waiting(0);
    let client = connect(busy.port);
    wait_until(|| accepted(&busy.rig) == 3);
    busy.rig.settle();
    let [bad, good] = &mut busy.workers;
    let shared = loop {
        assert!(bad.look_on_lane().is_none());
        if bad.lane().has_offer() {
            break bad.lane().accept_offer().unwrap().try_clone_to_owned().unwrap();
        }
    };
    socket2::SockRef::from(&shared).shutdown(std::net::Shutdown::Both).unwrap();
    let others: Vec<_> = (0..3).map(|_| connect(busy.port)).collect();
    let ports = std::iter::once(&client).chain(&others).map(port_of).collect();
    assert_eq!(serve_either(good, 4), sorted(ports));
}
