//! Workers with weights.

use super::pulse::{patient, pulses};
use super::rig::{FakeWorker, Rig, wait_until};
use super::{Command, Config, connect, pair, port_of};
use crate::ids::WorkerId;
use crate::proto::Serialization;
use crate::sched::PolicyChoice;

fn weigh(rig: &Rig, id: WorkerId, weight: u32) {
    rig.reactor.call(Command::Weigh(id, weight)).unwrap();
}

fn pending(rig: &Rig) -> u64 {
    rig.stats.servers.read().values().map(|server| server.counters.pending.get()).sum()
}

/// Who of them serves the next client.
fn next(workers: &mut [FakeWorker], port: u16) -> WorkerId {
    let client = connect(port);
    loop {
        for worker in workers.iter_mut() {
            if worker.has_mail() {
                assert_eq!(worker.serve(), port_of(&client));
                return worker.id;
            }
        }
        std::thread::yield_now();
    }
}

#[test]
fn workers_get_connections_by_their_weights_and_a_new_weight_applies_at_once() {
    for choice in [PolicyChoice::RoundRobin, PolicyChoice::OneQueue] {
        let mut rig = Rig::new(Config { policies: choice.into(), ..patient() });
        let mut workers = [rig.fork(Serialization::Json), rig.fork(Serialization::Json)];
        // One before it has a server, one afterwards.
        weigh(&rig, workers[0].id, 3);
        let port = workers[0].listen();
        assert_eq!(workers[1].listen(), port);
        let heavier = |workers: &mut [FakeWorker; 2], rig: &Rig| {
            let ids: Vec<_> = (0..8)
                .map(|_| {
                    rig.settle();
                    next(workers, port)
                })
                .collect();
            ids.iter().filter(|id| **id == workers[0].id).count()
        };
        assert_eq!(heavier(&mut workers, &rig), 6);
        weigh(&rig, workers[1].id, 3);
        assert_eq!(heavier(&mut workers, &rig), 4);
        weigh(&rig, workers[0].id, 1);
        assert_eq!(heavier(&mut workers, &rig), 2);
        weigh(&rig, workers[0].id, 0);
        assert_eq!(heavier(&mut workers, &rig), 0);
        // A policy that comes later has the weights, too.
        weigh(&rig, workers[0].id, 9);
        let other = match rig.stats.servers.read().values().next().unwrap().policy.lock().as_ref() {
            "one-queue" => PolicyChoice::RoundRobin,
            _ => PolicyChoice::OneQueue,
        };
        rig.reactor.call(Command::Configure(Config { policies: other.into(), ..patient() })).unwrap();
        assert_eq!(heavier(&mut workers, &rig), 6);
    }
}

#[test]
fn connections_wait_while_nobody_is_to_have_any() {
    let (rig, one, mut two, port) = pair(Config::default());
    weigh(&rig, one.id, 0);
    weigh(&rig, two.id, 0);
    let clients = [connect(port), connect(port)];
    wait_until(|| pending(&rig) == 2);
    assert!(!one.has_mail() && !two.has_mail());
    weigh(&rig, two.id, 1);
    for client in &clients {
        assert_eq!(two.serve(), port_of(client));
    }
    assert!(!one.has_mail());
}

#[test]
fn what_the_others_have_refused_waits_and_does_not_go_to_one_of_no_weight() {
    let (rig, one, mut two, port) = pair(Config::default());
    weigh(&rig, one.id, 0);
    let client = connect(port);
    for _ in 0..3 {
        let offer = two.offer();
        two.decide(&offer, false);
    }
    assert_eq!(two.serve(), port_of(&client));
    assert!(!one.has_mail());
}

#[test]
fn one_of_no_weight_takes_nothing_from_the_shared_lane() {
    let (rig, [mut drained, mut other], port) = pulses::<2>(patient());
    // Each has one that it does not report, and the others wait on the lane that both read.
    let clients: Vec<_> = (0..6).map(|_| connect(port)).collect();
    wait_until(|| pending(&rig) == 4);
    let mut served: Vec<u16> = Vec::new();
    weigh(&rig, drained.id, 0);
    // Its own, which it had before.
    served.push(drained.serve_either());
    while served.len() < 6 {
        served.push(other.serve_either());
        assert!(drained.look().is_none());
        drained.turn();
    }
    let mut expected: Vec<_> = clients.iter().map(port_of).collect();
    expected.sort_unstable();
    served.sort_unstable();
    assert_eq!(served, expected);
    // It is one of those who share again when it has a weight.
    weigh(&rig, drained.id, 1);
    let _clients: Vec<_> = (0..6).map(|_| connect(port)).collect();
    let mut shares = [0; 2];
    while shares.iter().sum::<usize>() < 6 {
        for (worker, share) in [&mut drained, &mut other].into_iter().zip(&mut shares) {
            let found = worker.look();
            worker.turn();
            *share += found.map(|connection| worker.answer(connection)).into_iter().count();
        }
    }
    assert!(shares.iter().all(|share| *share > 0), "{shares:?}");
}
