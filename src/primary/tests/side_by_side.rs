//! Servers with policies of their own in one primary, and a change of policy.

use super::pulse::patient;
use super::rig::{FakeWorker, Rig, wait_until};
use super::{Command, Config, connect, connect_to, port_of};
use crate::primary::policies::{Policies, Servers};
use crate::proto::Serialization;
use crate::sched::PolicyChoice;
use serde_json::json;

/// One server in turns, and all others of which nobody knows who is idle.
fn mixed() -> Config {
    let in_turn = (Servers::At("127.0.0.2".parse().ok(), 0), PolicyChoice::RoundRobin);
    let policies = Policies { by_server: vec![in_turn], others: PolicyChoice::OneQueue };
    Config { policies, ..patient() }
}

/// The worker listens at that address, on any port.
fn listen_at(worker: &mut FakeWorker, address: &str) -> u16 {
    let (reply, _) = worker.query(json!({
        "index": 0, "address": address, "port": 0, "addressType": 4, "fd": -1, "flags": 0, "backlog": 511
    }));
    u16::try_from(reply["sockname"]["port"].as_u64().unwrap()).unwrap()
}

fn policies(rig: &Rig) -> Vec<String> {
    rig.stats.servers.read().values().map(|server| server.policy.lock().to_string()).collect()
}

#[test]
fn what_waits_for_whoever_is_idle_does_not_keep_those_of_another_server_from_their_turns() {
    let mut rig = Rig::new(mixed());
    let mut workers = [rig.fork_with_pulse(), rig.fork_with_pulse()];
    let [queue, turns] = ["127.0.0.1", "127.0.0.2"].map(|address| {
        let ports = workers.each_mut().map(|worker| listen_at(worker, address));
        assert_eq!(ports[0], ports[1]);
        ports[0]
    });
    assert_eq!(policies(&rig), ["one-queue", "round-robin"]);
    // Neither says that it has received what it was given first, so that the others wait for both of them.
    let clients: Vec<_> = (0..6).map(|_| connect(queue)).collect();
    let waiting =
        || rig.stats.servers.read().values().map(|server| server.counters.pending.get()).sum::<u64>();
    wait_until(|| waiting() == 4);
    let in_turn: Vec<_> = (0..4).map(|_| connect_to("127.0.0.2", turns)).collect();
    // Those in turn were given to the workers behind what they had, those of the queue wait.
    let accepted =
        || rig.stats.servers.read().values().map(|server| server.counters.accepted.get()).sum::<u64>();
    wait_until(|| accepted() == 10);
    assert_eq!(waiting(), 4);
    let mut served: Vec<u16> = Vec::new();
    while served.len() < 10 {
        for worker in &mut workers {
            let found = worker.look();
            worker.turn();
            served.extend(found.map(|connection| worker.answer(connection)));
        }
    }
    for client in clients.iter().chain(&in_turn) {
        assert_eq!(served.iter().filter(|port| **port == port_of(client)).count(), 1);
    }
}

#[test]
fn a_change_applies_to_open_servers_and_their_workers_stay() {
    let mut rig = Rig::new(Config { policies: PolicyChoice::RoundRobin.into(), ..patient() });
    let mut workers = [rig.fork(Serialization::Json), rig.fork(Serialization::Advanced)];
    let ports = workers.each_mut().map(|worker| listen_at(worker, "127.0.0.1"));
    for (choice, name) in [(PolicyChoice::OneQueue, "one-queue"), (PolicyChoice::RoundRobin, "round-robin")] {
        rig.reactor.call(Command::Configure(Config { policies: choice.into(), ..patient() })).unwrap();
        assert_eq!(policies(&rig), [name]);
        let clients = [connect(ports[0]), connect(ports[0])];
        let mut served = workers.each_mut().map(FakeWorker::serve);
        served.sort_unstable();
        let mut expected = clients.each_ref().map(port_of);
        expected.sort_unstable();
        assert_eq!(served, expected);
    }
    // The socket is the primary's: the workers cannot begin to accept.
    let none = Config { policies: PolicyChoice::None.into(), ..patient() };
    rig.reactor.call(Command::Configure(none)).unwrap();
    assert_eq!(policies(&rig), ["round-robin"]);
}

#[test]
fn a_new_policy_that_asks_what_workers_do_has_them_show_it() {
    let mut rig = Rig::new(Config { policies: PolicyChoice::RoundRobin.into(), ..patient() });
    let mut worker = rig.fork_with_lane();
    rig.settle();
    assert!(!worker.lane().can_introduce());
    rig.reactor.call(Command::Configure(patient())).unwrap();
    while !worker.lane().can_introduce() {
        worker.wait_on_lane();
        assert!(worker.look_on_lane().is_none());
    }
}
