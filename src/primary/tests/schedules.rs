//! Whatever happens to workers with lanes, in whatever order: no connection is lost, and none is served twice.
//!
//! `CORRAL_SCHEDULES` says how many schedules are tried (`npm run schedules`: ten thousand).

use std::net::TcpStream;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::lane::answer;
use super::rig::{Body, FakeWorker, PATIENCE, Rig};
use super::{Command, Config, connect};
use crate::worker::Connection;

/// As many as a run of all tests has time for.
const SCHEDULES: u32 = 256;

/// Workers are found blocked much sooner than they are in use, so that a schedule takes a few milliseconds.
const RECALL_AFTER: Duration = Duration::from_millis(2);

/// What workers show, and so which policy there is.
#[derive(Clone, Copy, Debug)]
enum Shown {
    /// What they report; round robin.
    Reports,
    /// What they do, and the kernel tells nothing; one queue.
    Pulse,
    /// What they do, and the kernel whether they wait; one queue.
    Kernel,
}

/// What may happen to two workers on a server.
#[derive(Clone, Copy, Debug)]
enum Action {
    Connect,
    /// Worker, how many.
    Receive(usize, usize),
    RefuseNext(usize),
    /// It reports, and begins to wait.
    Report(usize),
    /// It does nothing until it goes on, and the kernel sees that it does not wait for events.
    Block(usize),
    /// It does nothing until it goes on, and the kernel sees nothing of that.
    Stop(usize),
    GoOn(usize),
    /// It dies, and another comes.
    Replace(usize),
    /// It is disconnected and serves what it has received, and another comes.
    Leave(usize),
    /// Long enough for the primary to think that whoever does not receive is blocked.
    Wait,
}

fn action() -> impl Strategy<Value = Action> {
    let worker = 0..2usize;
    prop_oneof![
        8 => Just(Action::Connect),
        5 => (0..2usize, 1..4usize).prop_map(|(worker, count)| Action::Receive(worker, count)),
        1 => worker.clone().prop_map(Action::RefuseNext),
        4 => worker.clone().prop_map(Action::Report),
        2 => worker.clone().prop_map(Action::Block),
        1 => worker.clone().prop_map(Action::Stop),
        2 => worker.clone().prop_map(Action::GoOn),
        1 => worker.clone().prop_map(Action::Replace),
        1 => worker.prop_map(Action::Leave),
        1 => Just(Action::Wait),
    ]
}

/// A worker of these schedules.
struct Actor {
    worker: FakeWorker,
    body: Option<Body>,
    /// Neither blocked nor stopped.
    is_running: bool,
    is_blocked: bool,
    held: Vec<Connection>,
}

impl Actor {
    fn new(rig: &mut Rig, shown: Shown) -> Self {
        let body = matches!(shown, Shown::Kernel).then(Body::new);
        let mut worker = match (shown, &body) {
            (Shown::Reports, _) => rig.fork_with_lane(),
            (_, None) => rig.fork_with_pulse(),
            (_, Some(body)) => rig.fork_with_body(body),
        };
        worker.listen();
        Actor { worker, body, is_running: true, is_blocked: false, held: Vec::new() }
    }

    fn report(&mut self) {
        self.worker.turn();
    }

    fn block(&mut self) {
        if let Some(body) = self.body.as_ref().filter(|_| !self.is_blocked) {
            body.block();
            self.is_blocked = true;
        }
        self.is_running = false;
    }

    fn go_on(&mut self) {
        if let Some(body) = self.body.as_ref().filter(|_| self.is_blocked) {
            body.unblock();
        }
        (self.is_blocked, self.is_running) = (false, true);
    }

    /// Serves what it has received; how many these are.
    fn serve_held(&mut self) -> usize {
        let held = std::mem::take(&mut self.held);
        let count = held.len();
        for connection in held {
            self.worker.answer(connection);
        }
        count
    }
}

/// How many clients were served, and how many had been received by a worker that died.
#[derive(Default)]
struct Fates {
    served: usize,
    received_by_dead: usize,
}

fn act(
    rig: &mut Rig,
    port: u16,
    shown: Shown,
    actors: &mut [Actor; 2],
    action: Action,
    fates: &mut Fates,
    clients: &mut Vec<TcpStream>,
) {
    match action {
        Action::Connect => clients.push(connect(port)),
        Action::Wait => std::thread::sleep(RECALL_AFTER * 2),
        Action::Receive(place, count) if actors[place].is_running => {
            let actor = &mut actors[place];
            for _ in 0..count {
                actor.held.extend(actor.worker.look());
            }
        }
        Action::RefuseNext(place) if actors[place].is_running => {
            let worker = &mut actors[place].worker;
            if let Some(connection) = worker.look_on_lane() {
                worker.lane().refuse(connection.seq);
            } else if worker.look_on_shared().is_some() {
                worker.claim(true);
            }
        }
        Action::Report(place) if actors[place].is_running => actors[place].report(),
        Action::Receive(..) | Action::RefuseNext(_) | Action::Report(_) => {}
        Action::Block(place) => actors[place].block(),
        Action::Stop(place) => actors[place].is_running = false,
        Action::GoOn(place) => actors[place].go_on(),
        Action::Replace(place) => {
            let next = Actor::new(rig, shown);
            let mut dead = std::mem::replace(&mut actors[place], next);
            // What it has received and refused, but not reported, ends with it as well.
            fates.received_by_dead += dead.held.len() + dead.worker.lane().unreported_refusals();
            dead.go_on();
        }
        Action::Leave(place) => {
            let next = Actor::new(rig, shown);
            let mut leaving = std::mem::replace(&mut actors[place], next);
            rig.reactor.call(Command::Disconnect(leaving.worker.id)).unwrap();
            leaving.go_on();
            fates.served += leaving.serve_held();
            leaving.report();
        }
    }
}

fn schedules() -> u32 {
    std::env::var("CORRAL_SCHEDULES")
        .map_or(SCHEDULES, |count| count.parse().expect("CORRAL_SCHEDULES is a number"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: schedules(), ..ProptestConfig::default() })]

    /// Every client is served once, or was received by a worker that died.
    #[test]
    fn nothing_is_lost_and_nothing_is_served_twice(
        actions in prop::collection::vec(action(), 1..80),
        shown in prop_oneof![Just(Shown::Reports), Just(Shown::Pulse), Just(Shown::Kernel)],
    ) {
        let config = Config { recall_after: RECALL_AFTER, recall_soon_after: RECALL_AFTER / 2, ..Config::default() };
        let mut rig = Rig::new(if matches!(shown, Shown::Reports) { config } else { config.one_queue() });
        let mut actors: [Actor; 2] = std::array::from_fn(|_| Actor::new(&mut rig, shown));
        let port = rig.stats.servers.read().values().next().and_then(|server| server.port).unwrap();
        rig.settle();
        let (mut clients, mut fates) = (Vec::new(), Fates::default());
        for action in actions {
            act(&mut rig, port, shown, &mut actors, action, &mut fates, &mut clients);
        }
        // From here on both work.
        for actor in &mut actors {
            actor.go_on();
            fates.served += actor.serve_held();
            actor.report();
        }
        let deadline = Instant::now() + PATIENCE;
        while fates.served + fates.received_by_dead < clients.len() {
            prop_assert!(Instant::now() < deadline, "{} served, {} dead of {}", fates.served, fates.received_by_dead, clients.len());
            for actor in &mut actors {
                while let Some(connection) = actor.worker.look() {
                    actor.worker.answer(connection);
                    fates.served += 1;
                }
                actor.report();
            }
            std::thread::yield_now();
        }
        prop_assert_eq!(fates.served + fates.received_by_dead, clients.len());
        let answered = clients.iter_mut().map(answer).filter(Option::is_some).count();
        prop_assert_eq!(answered, fates.served);
    }
}
