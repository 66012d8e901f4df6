//! The primary while somebody observes it: what workers show, and how long connections wait.

use std::os::fd::AsFd;

use serde_json::{Value, json};

use super::pulse::{patient, pulses};
use super::rig::{FakeWorker, Rig, wait_until};
use super::{Config, connect, pair, port_of};
use crate::observation::{Server, Snapshot, Worker};
use crate::primary::{Command, Loops};
use crate::proto::Serialization;
use crate::sched::PolicyChoice;

fn observed(config: Config) -> Config {
    Config { is_observed: true, ..config }
}

fn count(durations: &crate::observation::Durations) -> u64 {
    durations.buckets.iter().sum()
}

fn only_server(snapshot: Snapshot) -> Server {
    snapshot.servers.into_iter().next().unwrap()
}

fn worker_of(rig: &Rig, worker: &FakeWorker) -> Worker {
    rig.stats.snapshot(&mut Loops::default()).workers.into_iter().find(|one| one.id == worker.id.0).unwrap()
}

#[test]
fn on_lanes_each_connection_is_timed_once_by_the_primary_and_once_by_its_worker() {
    let (rig, mut workers, port) = pulses::<2>(observed(patient()));
    for _ in 0..3 {
        for worker in &mut workers {
            let client = connect(port);
            assert_eq!(worker.serve_on_lane(), port_of(&client));
            worker.poll();
        }
    }
    wait_until(|| only_server(rig.stats.snapshot(&mut Loops::default())).counters[2] == 6);
    assert_eq!(count(&only_server(rig.stats.snapshot(&mut Loops::default())).handed_over_after), 6);
    for worker in &workers {
        assert_eq!(count(&worker_of(&rig, worker).taken_after), 3);
    }
}

#[test]
fn on_channels_the_primary_times_both() {
    let (rig, mut one, mut two, port) = pair(Config::default());
    let clients: Vec<_> = (0..4).map(|_| connect(port)).collect();
    for _ in 0..2 {
        one.serve();
        two.serve();
    }
    drop(clients);
    wait_until(|| only_server(rig.stats.snapshot(&mut Loops::default())).counters[2] == 4);
    assert_eq!(count(&only_server(rig.stats.snapshot(&mut Loops::default())).handed_over_after), 4);
    assert_eq!([one, two].map(|worker| count(&worker_of(&rig, &worker).taken_after)), [2, 2]);
}

#[test]
fn a_connection_that_is_refused_and_sent_again_is_timed_once() {
    let (rig, mut one, mut two, port) = pair(Config::default());
    let client = connect(port);
    let offer = one.offer();
    one.decide(&offer, false);
    assert_eq!(two.serve(), port_of(&client));
    wait_until(|| only_server(rig.stats.snapshot(&mut Loops::default())).counters[2] == 1);
    assert_eq!(count(&only_server(rig.stats.snapshot(&mut Loops::default())).handed_over_after), 1);
    assert_eq!([one, two].map(|worker| count(&worker_of(&rig, &worker).taken_after)), [0, 1]);
}

#[test]
fn workers_are_asked_when_somebody_observes_and_told_by_their_pages_when_nobody_does() {
    let (rig, [mut worker], _) = pulses::<1>(patient());
    assert!(!worker.lane().is_to_be_observed && !worker.lane().show_runtime([1].into_iter()));
    rig.reactor.call(Command::Configure(observed(patient()))).unwrap();
    while !worker.lane().is_to_be_observed {
        worker.wait_on_lane();
        assert!(worker.look_on_lane().is_none());
    }
    assert!(worker.lane().show_runtime([7, 8, 9].into_iter()));
    let ours = rig.stats.workers.read()[&worker.id].link.lock().take().unwrap();
    let theirs = worker.lane().link.take().unwrap();
    crate::os::send_packet(ours.as_fd(), b"asked", None).unwrap();
    let mut buffer = [0; 8];
    assert_eq!(crate::os::receive_packet_bytes(theirs.as_fd(), &mut buffer).unwrap().length, 5);
    let event_loop = worker_of(&rig, &worker).event_loop.unwrap();
    assert_eq!(event_loop.runtime[..4], [7, 8, 9, 0]);
    rig.reactor.call(Command::Configure(patient())).unwrap();
    assert!(!worker.lane().show_runtime([1].into_iter()));
}

#[test]
fn a_worker_shows_what_it_does_under_a_policy_that_does_not_ask() {
    let turns = Config { policies: PolicyChoice::RoundRobin.into(), ..observed(patient()) };
    let (rig, [worker], _) = pulses::<1>(turns);
    assert!(worker_of(&rig, &worker).event_loop.is_some());
}

#[test]
fn what_a_worker_was_asked_is_asked_again_if_it_was_recalled_before() {
    let recall_for_idle_after = Config::default().recall_for_idle_after;
    let mut rig = Rig::new(Config { recall_for_idle_after, ..observed(patient()) });
    let (mut one, mut two) = (rig.fork_with_lane(), rig.fork_with_pulse());
    let port = one.listen();
    assert_eq!(two.listen(), port);
    let client = connect(port);
    assert_eq!(two.serve_on_lane(), port_of(&client));
    while !one.lane().is_to_be_observed {
        assert!(one.look_on_lane().is_none());
        one.lane().report().unwrap();
        std::thread::yield_now();
    }
}

#[test]
fn a_worker_that_has_a_page_is_asked_again_if_only_that_was_recalled() {
    let recall_for_idle_after = Config::default().recall_for_idle_after;
    let soon = Config { recall_for_idle_after, ..patient() };
    let (rig, [mut one, mut two], port) = pulses::<2>(soon.clone());
    rig.reactor.call(Command::Configure(observed(soon))).unwrap();
    // Neither reads its lane but for what it serves: one of the two does not, and is found so.
    let clients = [connect(port), connect(port)];
    let mut served = 0;
    while served < clients.len() {
        two.wait_on_lane();
        if let Some(connection) = two.look_on_lane() {
            two.answer(connection);
            served += 1;
        }
        two.lane().report().unwrap();
        two.poll();
    }
    while !one.lane().is_to_be_observed {
        one.wait_on_lane();
        assert!(one.look_on_lane().is_none());
        one.lane().report().unwrap();
        one.poll();
    }
}

#[test]
fn the_life_of_a_worker_is_timed_once() {
    let mut rig = Rig::new(Config::default());
    let mut worker = rig.fork(Serialization::Json);
    assert_eq!(worker_of(&rig, &worker).state(), "none");
    for _ in 0..2 {
        worker.send(&json!({ "cmd": "NODE_CLUSTER", "act": "online", "seq": 1 }));
    }
    wait_until(|| worker_of(&rig, &worker).state() == "online");
    worker.listen();
    let listening: Value = json!({ "cmd": "NODE_CLUSTER", "act": "listening", "seq": 2, "port": 80 });
    worker.send(&listening);
    worker.send(&listening);
    wait_until(|| worker_of(&rig, &worker).state() == "listening");
    rig.settle();
    let snapshot = rig.stats.snapshot(&mut Loops::default());
    assert_eq!((count(&snapshot.online_after), count(&snapshot.listening_after)), (1, 1));
    assert_eq!(snapshot.spawned, 1);
    assert!(!snapshot.has_ended);
}
