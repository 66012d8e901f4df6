//! The primary against workers that show what they do on a page.

use std::net::TcpStream;

use super::rig::{FakeWorker, Rig, wait_until};
use super::{Config, Event, connect, port_of};
use crate::channel::ChannelEvent;
use crate::error::Error;
use crate::proto::LaneSeq;

/// Nobody is found blocked, however long this test, or what it tests, is kept from running.
pub fn patient() -> Config {
    let never = std::time::Duration::from_secs(3600);
    Config {
        recall_after: never,
        recall_soon_after: never,
        recall_for_idle_after: never,
        ..Config::default()
    }
    .one_queue()
}

/// Workers with pulses on one server.
pub fn pulses<const COUNT: usize>(config: Config) -> (Rig, [FakeWorker; COUNT], u16) {
    let mut rig = Rig::new(config);
    let mut workers = std::array::from_fn(|_| rig.fork_with_pulse());
    let ports: Vec<u16> = workers.iter_mut().map(FakeWorker::listen).collect();
    assert!(ports.iter().all(|port| *port == ports[0]));
    rig.settle();
    (rig, workers, ports[0])
}

#[test]
fn idle_workers_take_turns_and_each_client_sees_its_end() {
    let (_rig, mut workers, port) = pulses::<2>(patient());
    for _ in 0..5 {
        for worker in &mut workers {
            let mut client = connect(port);
            assert_eq!(worker.serve_on_lane(), port_of(&client));
            worker.poll();
            let mut answer = Vec::new();
            // The end comes only when the primary has let go of its share as well.
            std::io::Read::read_to_end(&mut client, &mut answer).unwrap();
            assert_eq!(answer, [worker.id.0 as u8]);
        }
    }
}

#[test]
fn what_waits_in_the_lane_of_a_worker_that_does_not_receive_goes_to_the_idle() {
    let recall_for_idle_after = Config::default().recall_for_idle_after;
    let (_rig, [mut one, mut two], port) = pulses::<2>(Config { recall_for_idle_after, ..patient() });
    let clients = [connect(port), connect(port)];
    // The first may be taken back before the second has come.
    let mut served = [0; 2];
    for port in &mut served {
        *port = two.serve_on_lane();
        two.poll();
    }
    served.sort_unstable();
    let mut ports = clients.each_ref().map(port_of);
    ports.sort_unstable();
    assert_eq!(served, ports);
    assert!(one.look_on_lane().is_none());
    // It has seen the probe, and is sent connections again.
    one.lane().report().unwrap();
    one.poll();
    let client = connect(port);
    assert_eq!(one.serve_on_lane(), port_of(&client));
}

#[test]
fn what_a_worker_with_a_pulse_refuses_goes_to_another() {
    let (rig, [mut one, mut two], port) = pulses::<2>(patient());
    let client = connect(port);
    let connection = one.receive_on_lane();
    one.lane().refuse(connection.seq);
    drop(connection);
    one.lane().report().unwrap();
    assert_eq!(two.serve_on_lane(), port_of(&client));
    wait_until(|| rig.stats.workers.read()[&one.id].counters.refused.get() == 1);
    assert_eq!(rig.stats.workers.read()[&one.id].counters.dispatched.get(), 0);
}

#[test]
fn a_pulse_that_cannot_be_ends_its_worker_and_nobody_else() {
    let (rig, [mut bad, mut good], port) = pulses::<2>(patient());
    bad.lane().pulse().receive(LaneSeq(1 << 40));
    let clients = [connect(port), connect(port)];
    let cause = rig.wait_for(|event| match event {
        Event::Channel(worker, ChannelEvent::Closed(cause)) if worker == bad.id => Some(cause),
        _ => None,
    });
    assert!(matches!(cause, Some(Error::BadFrame(_))), "{cause:?}");
    let mut served: Vec<u16> = clients.iter().map(|_| good.serve_on_lane()).collect();
    served.sort_unstable();
    let mut ports = clients.map(|client| port_of(&client));
    ports.sort_unstable();
    assert_eq!(served, ports);
}

#[test]
fn a_worker_that_promises_a_report_which_never_comes_keeps_what_it_has_received() {
    let (rig, [mut bad, mut good], port) = pulses::<2>(patient());
    bad.lane().pulse().refuse(LaneSeq(u64::MAX));
    let clients: Vec<TcpStream> = (0..6).map(|_| connect(port)).collect();
    let mut served = 0;
    let mut kept = Vec::new();
    while served + kept.len() < clients.len() {
        kept.extend(bad.look_on_lane());
        bad.lane().report().unwrap();
        bad.poll();
        if let Some(connection) = good.look_on_lane() {
            good.answer(connection);
            served += 1;
        }
        good.lane().report().unwrap();
        good.poll();
    }
    assert_eq!(rig.stats.workers.read()[&bad.id].counters.dispatched.get(), 0);
    // They end with it.
    drop((kept, bad));
}

#[test]
fn a_pulse_that_was_recalled_before_it_was_received_is_offered_again() {
    let recall_for_idle_after = Config::default().recall_for_idle_after;
    let mut rig = Rig::new(Config { recall_for_idle_after, ..patient() });
    let (mut one, mut two) = (rig.fork_with_lane(), rig.fork_with_pulse());
    let port = one.listen();
    assert_eq!(two.listen(), port);
    let client = connect(port);
    assert_eq!(two.serve_on_lane(), port_of(&client));
    while !one.lane().can_introduce() {
        assert!(one.look_on_lane().is_none());
        one.lane().report().unwrap();
        std::thread::yield_now();
    }
}
