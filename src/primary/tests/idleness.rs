//! Who is idle, by whose word: the worker's own, the kernel's, or nobody's.

use std::net::TcpStream;
use std::time::Duration;

use super::super::{IN_FLIGHT_PER_WORKER, IdleBy};
use super::rig::{Body, FakeWorker, NOBODY, Rig, wait_until};
use super::{Config, connect, port_of};
use crate::proto::Serialization;

/// Nobody is found blocked, however long this test, or what it tests, is kept from running.
fn patient() -> Config {
    let never = Duration::from_secs(3600);
    Config {
        recall_after: never,
        recall_soon_after: never,
        recall_for_idle_after: never,
        ..Config::default()
    }
    .one_queue()
}

fn listen(workers: &mut [FakeWorker]) -> u16 {
    let ports: Vec<u16> = workers.iter_mut().map(FakeWorker::listen).collect();
    assert!(ports.iter().all(|port| *port == ports[0]));
    ports[0]
}

fn idle_by(rig: &Rig, worker: &FakeWorker) -> IdleBy {
    rig.stats.workers.read()[&worker.id].idle_by.lock().clone()
}

fn in_flight(rig: &Rig, worker: &FakeWorker) -> u64 {
    rig.stats.workers.read()[&worker.id].counters.in_flight.get()
}

/// A connection that is served by the worker, wherever else it could have gone.
fn served_by(rig: &Rig, worker: &mut FakeWorker, port: u16) {
    let client = connect(port);
    assert_eq!(worker.serve(), port_of(&client));
    rig.settle();
}

/// Two workers that show nothing, which the kernel knows.
fn plain() -> (Rig, [Body; 2], [FakeWorker; 2], u16) {
    let mut rig = Rig::new(patient());
    let bodies = [Body::new(), Body::new()];
    let mut workers = bodies.each_ref().map(|body| rig.fork_process(body.id));
    let port = listen(&mut workers);
    for worker in &mut workers {
        assert_eq!(idle_by(&rig, worker), IdleBy::NOT_SEEN);
        served_by(&rig, worker, port);
        assert_eq!(idle_by(&rig, worker), IdleBy::Kernel("none in this test".into()));
    }
    (rig, bodies, workers, port)
}

#[test]
fn a_plain_worker_that_is_busy_gets_nothing_while_another_is_idle() {
    let (rig, bodies, [mut busy, mut idle], port) = plain();
    bodies[0].block();
    for _ in 0..2 * IN_FLIGHT_PER_WORKER {
        served_by(&rig, &mut idle, port);
    }
    assert!(!busy.has_mail());
    bodies[0].unblock();
    served_by(&rig, &mut busy, port);
}

#[test]
fn while_all_plain_workers_are_busy_each_is_given_a_few_connections_ahead() {
    let (rig, bodies, mut workers, port) = plain();
    bodies.iter().for_each(Body::block);
    let clients: Vec<TcpStream> = (0..2 * IN_FLIGHT_PER_WORKER + 3).map(|_| connect(port)).collect();
    let is_pending =
        |count| rig.stats.servers.read().values().all(|server| server.counters.pending.get() == count);
    wait_until(|| is_pending(3));
    assert_eq!(workers.each_ref().map(|worker| in_flight(&rig, worker)), [IN_FLIGHT_PER_WORKER as u64; 2]);
    // Those that wait go to whoever answers first.
    let served: Vec<u16> = (0..IN_FLIGHT_PER_WORKER + 3).map(|_| workers[1].serve()).collect();
    assert!(clients[2 * IN_FLIGHT_PER_WORKER..].iter().all(|client| served.contains(&port_of(client))));
}

#[test]
fn among_plain_workers_that_are_busy_the_one_that_has_answered_last_is_the_first_choice() {
    let (rig, bodies, [blocked, mut other], port) = plain();
    bodies[0].block();
    // More than a connection is thought to cost.
    std::thread::sleep(Duration::from_millis(20));
    served_by(&rig, &mut other, port);
    bodies[1].block();
    for _ in 0..2 * IN_FLIGHT_PER_WORKER {
        served_by(&rig, &mut other, port);
    }
    assert!(!blocked.has_mail());
}

#[test]
fn a_plain_worker_that_nobody_knows_is_idle_when_it_has_answered() {
    let mut rig = Rig::new(patient());
    let mut workers = [rig.fork(Serialization::Json), rig.fork_process(NOBODY)];
    let port = listen(&mut workers);
    let reasons = workers.each_ref().map(|worker| match idle_by(&rig, worker) {
        IdleBy::InFlight(reason) => reason.into_owned(),
        other => panic!("{other:?}"),
    });
    assert_eq!(reasons[0], "the number of its process is not known");
    assert!(reasons[1].starts_with("/proc/4294967295/syscall cannot be read: ENOENT"), "{reasons:?}");
    let [one, other] = &mut workers;
    let client = connect(port);
    let offer = one.offer();
    assert_eq!(offer.client(), port_of(&client));
    for _ in 0..2 * IN_FLIGHT_PER_WORKER {
        served_by(&rig, other, port);
    }
    one.decide(&offer, true);
    rig.settle();
    served_by(&rig, one, port);
}

#[test]
fn a_process_that_was_never_found_waiting_may_not_be_the_workers() {
    let mut rig = Rig::new(patient());
    let (shell, body) = (Body::new(), Body::new());
    shell.block();
    let mut workers = [rig.fork_process(shell.id), rig.fork_process(body.id)];
    let port = listen(&mut workers);
    // As if the kernel told nothing of it.
    for _ in 0..3 {
        for worker in &mut workers {
            served_by(&rig, worker, port);
        }
    }
    assert_eq!(idle_by(&rig, &workers[0]), IdleBy::NOT_SEEN);
}

#[test]
fn a_worker_that_names_a_process_of_which_nothing_is_known_is_idle_when_it_has_received_all() {
    let mut rig = Rig::new(patient());
    let stranger = Body::new();
    stranger.block();
    let mut workers = [rig.fork_with_lane(), rig.fork_with_pulse()];
    // Its number in a namespace of its own is another's here.
    rig.introduce(&mut workers[0], stranger.id, stranger.poller);
    let port = listen(&mut workers);
    rig.settle();
    for _ in 0..3 {
        for worker in &mut workers {
            let client = connect(port);
            assert_eq!(worker.serve_on_lane(), port_of(&client));
            worker.poll();
        }
    }
    assert_eq!(idle_by(&rig, &workers[0]), IdleBy::NOT_SEEN);
    let IdleBy::InFlight(reason) = idle_by(&rig, &workers[1]) else { panic!("the kernel knows it") };
    assert!(reason.starts_with("/proc/4294967295/syscall cannot be read: ENOENT"), "{reason}");
}

#[test]
fn a_worker_whose_loop_the_kernel_shows_gets_nothing_while_it_is_busy_and_another_is_idle() {
    let mut rig = Rig::new(patient());
    let bodies = [Body::new(), Body::new()];
    let mut workers = bodies.each_ref().map(|body| rig.fork_with_body(body));
    let port = listen(&mut workers);
    rig.settle();
    for worker in &mut workers {
        assert_eq!(idle_by(&rig, worker), IdleBy::Pulse);
    }
    bodies[0].block();
    let [busy, idle] = &mut workers;
    for _ in 0..5 {
        let client = connect(port);
        assert_eq!(idle.serve_on_lane(), port_of(&client));
        idle.poll();
    }
    assert!(busy.look_on_lane().is_none());
}

#[test]
fn a_connection_that_the_idle_refuse_is_given_to_the_busy_once_they_are_idle() {
    let mut rig = Rig::new(patient());
    let bodies = [Body::new(), Body::new()];
    let mut workers = bodies.each_ref().map(|body| rig.fork_with_body(body));
    let port = listen(&mut workers);
    rig.settle();
    let [full, busy] = &mut workers;
    bodies[1].block();
    let client = connect(port);
    let connection = full.receive_on_lane();
    full.lane().refuse(connection.seq);
    drop(connection);
    full.lane().report().unwrap();
    full.poll();
    wait_until(|| rig.stats.workers.read()[&full.id].counters.refused.get() == 1);
    rig.settle();
    bodies[1].unblock();
    busy.poll();
    assert_eq!(busy.serve_on_lane(), port_of(&client));
}

#[test]
fn what_waits_in_the_lane_of_a_busy_worker_goes_to_a_plain_one_that_is_idle() {
    let recall_for_idle_after = Config::default().recall_for_idle_after;
    let mut rig = Rig::new(Config { recall_for_idle_after, ..patient() });
    let bodies = [Body::new(), Body::new()];
    let mut busy = rig.fork_with_body(&bodies[0]);
    let mut idle = rig.fork_process(bodies[1].id);
    let port = busy.listen();
    assert_eq!(idle.listen(), port);
    rig.settle();
    // The first in turn is given it before it blocks, and does not receive it.
    let first = connect(port);
    let given = || {
        let servers = rig.stats.servers.read();
        servers.values().filter_map(|server| server.decisions.lock().get(&busy.id).copied()).sum::<u64>()
    };
    // It may have been recalled by now.
    wait_until(|| given() == 1);
    bodies[0].block();
    let second = connect(port);
    let mut served = [idle.serve(), idle.serve()];
    served.sort_unstable();
    let mut clients = [port_of(&first), port_of(&second)];
    clients.sort_unstable();
    assert_eq!(served, clients);
    assert!(busy.look_on_lane().is_none());
}

#[test]
fn where_the_policy_does_not_ask_nobody_is_watched() {
    let mut rig = Rig::new(Config::default());
    let body = Body::new();
    let mut worker = rig.fork_process(body.id);
    worker.listen();
    assert_eq!(idle_by(&rig, &worker), IdleBy::NOT_ASKED);
}
