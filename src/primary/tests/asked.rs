//! A policy of the program's that is asked of each connection.

use std::io::Read;
use std::time::Duration;

use super::rig::{FakeWorker, PATIENCE, Rig, wait_until};
use super::{Command, Config, Event, connect, port_of};
use crate::ids::WorkerId;
use crate::primary::Question;
use crate::proto::{KeyBy, Serialization};
use crate::sched::{AskedProgram, Fallback, PolicyChoice, StickyChoice};

/// A program that has so long for an answer.
fn asking(deadline: Duration) -> Config {
    let program = AskedProgram { name: "mine".into(), number: 7, deadline, fallback: Fallback::RoundRobin };
    Config { policies: PolicyChoice::Program(program).into(), ..Config::default() }
}

fn pair(deadline: Duration) -> (Rig, [FakeWorker; 2], u16) {
    let mut rig = Rig::new(asking(deadline));
    let mut workers = [rig.fork(Serialization::Json), rig.fork(Serialization::Advanced)];
    let port = workers[0].listen();
    assert_eq!(workers[1].listen(), port);
    (rig, workers, port)
}

fn question(rig: &Rig) -> Question {
    rig.wait_for(|event| match event {
        Event::Asked(question) => Some(*question),
        _ => None,
    })
}

fn answer(rig: &Rig, question: &Question, worker: Option<WorkerId>) {
    rig.reactor.call(Command::Answer { question: question.number, worker }).unwrap();
}

fn unanswered(rig: &Rig) -> u64 {
    rig.stats.servers.read().values().map(|server| server.counters.unanswered.get()).sum()
}

#[test]
fn a_connection_is_held_until_the_program_has_said_whose_it_is() {
    let (rig, mut workers, port) = pair(2 * PATIENCE);
    let clients = [connect(port), connect(port)];
    let questions = [question(&rig), question(&rig)];
    assert!(workers.iter().all(|worker| !worker.has_mail()));
    assert_eq!(questions[0].workers, workers.each_ref().map(|worker| worker.id));
    assert_eq!((questions[0].policy, questions[0].port), (7, Some(port)));
    // In any order, and as often as one likes.
    for question in [&questions[1], &questions[0], &questions[1]] {
        answer(&rig, question, Some(workers[1].id));
    }
    assert_eq!(workers[1].serve(), port_of(&clients[1]));
    assert_eq!(workers[1].serve(), port_of(&clients[0]));
    // A question that was never asked.
    rig.reactor.call(Command::Answer { question: 99, worker: Some(workers[0].id) }).unwrap();
    assert!(!workers[0].has_mail());
    assert_eq!(unanswered(&rig), 0);
}

#[test]
fn without_an_answer_or_with_one_that_is_none_the_other_policy_decides() {
    let (rig, mut workers, port) = pair(2 * PATIENCE);
    for (place, named) in [(0, None), (1, Some(WorkerId(77))), (0, None)] {
        let client = connect(port);
        answer(&rig, &question(&rig), named);
        assert_eq!(workers[place].serve(), port_of(&client));
    }
    rig.reactor.call(Command::Configure(asking(Duration::from_millis(1)))).unwrap();
    let client = connect(port);
    assert_eq!(serve_any(&mut workers), port_of(&client));
    assert_eq!(unanswered(&rig), 1);
    // It comes too late.
    answer(&rig, &question(&rig), Some(workers[0].id));
}

#[test]
fn what_is_held_counts_for_the_bound_and_is_closed_with_its_server() {
    let (rig, mut workers, port) = pair(2 * PATIENCE);
    rig.reactor.call(Command::Configure(Config { max_pending: 1, ..asking(2 * PATIENCE) })).unwrap();
    let (mut first, _second) = (connect(port), connect(port));
    let held = question(&rig);
    wait_until(|| rig.stats.servers.read().values().all(|server| server.counters.pending.get() == 1));
    assert!(rig.events().iter().all(|event| !matches!(event, Event::Asked(_))));
    let key = held.key.to_string();
    for worker in &mut workers {
        worker.act("close", serde_json::json!({ "key": key }));
    }
    assert!(matches!(first.read(&mut [0]), Ok(0) | Err(_)));
    answer(&rig, &held, Some(workers[0].id));
    rig.settle();
    assert!(rig.stats.servers.read().is_empty());
}

#[test]
fn what_was_asked_stays_asked_when_the_policy_changes() {
    let (rig, mut workers, port) = pair(2 * PATIENCE);
    let client = connect(port);
    let held = question(&rig);
    rig.reactor.call(Command::Configure(Config::default())).unwrap();
    let other = connect(port);
    assert_eq!(serve_any(&mut workers), port_of(&other));
    answer(&rig, &held, None);
    assert_eq!(serve_any(&mut workers), port_of(&client));
}

#[test]
fn what_is_asked_is_counted_once_however_often_the_policy_changes() {
    let (rig, mut workers, port) = pair(2 * PATIENCE);
    let client = connect(port);
    let held = question(&rig);
    let sticky = PolicyChoice::Sticky(StickyChoice::new(KeyBy::Address).into());
    for policy in [sticky, PolicyChoice::OneQueue] {
        rig.reactor
            .call(Command::Configure(Config { policies: policy.into(), ..Config::default() }))
            .unwrap();
    }
    answer(&rig, &held, None);
    assert_eq!(serve_any(&mut workers), port_of(&client));
    wait_until(|| rig.stats.servers.read().values().all(|server| server.counters.pending.get() == 0));
}

/// Whoever is given a connection serves it; returns the client's port.
fn serve_any(workers: &mut [FakeWorker; 2]) -> u16 {
    wait_until(|| workers.iter().any(FakeWorker::has_mail));
    let taker = usize::from(workers[1].has_mail());
    workers[taker].serve()
}

#[test]
fn too_many_that_wait_for_one_worker_keep_nobody_else_out() {
    let (rig, mut workers, port) = pair(2 * PATIENCE);
    rig.reactor.call(Command::Configure(Config { max_pending: 16, ..asking(2 * PATIENCE) })).unwrap();
    let strayed =
        || rig.stats.servers.read().values().map(|server| server.counters.strayed.get()).sum::<u64>();
    let mut clients = Vec::new();
    let mut come = |place: usize| {
        clients.push(connect(port));
        answer(&rig, &question(&rig), Some(workers[place].id));
        rig.settle();
        port_of(clients.last().unwrap())
    };
    // Until as many wait for it as may.
    while pending(&rig) < 8 {
        come(0);
    }
    assert_eq!(strayed(), 0);
    let stray = come(0);
    assert_eq!(workers[1].serve(), stray);
    assert_eq!(strayed(), 1);
}

fn pending(rig: &Rig) -> u64 {
    rig.stats.servers.read().values().map(|server| server.counters.pending.get()).sum()
}
