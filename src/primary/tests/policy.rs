//! The seat of policies: a server follows one that is not round robin, and tells it what became of its picks.

use std::net::TcpStream;
use std::time::Instant;

use parking_lot::Mutex;

use super::rig::{FakeWorker, Rig, wait_until};
use super::{Config, connect, port_of};
use crate::address::Peer;
use crate::ids::WorkerId;
use crate::proto::Serialization;
use crate::sched::{Incoming, Loads, Made, Policy, PolicyChoice};

/// How many connections the policy of these tests lets be under way to a worker: fewer than the primary does.
const LIMIT: usize = 2;

/// What a policy was told of a connection, by the port of its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Taken(WorkerId, u16),
    Refused(WorkerId, u16),
    Recalled(WorkerId, u16),
}

/// Each client has a home, which its port says. Somebody else has it only if its home cannot.
#[derive(Debug)]
struct Homes {
    members: Vec<WorkerId>,
    /// What it is told; a test has one of its own.
    told: &'static Mutex<Vec<Told>>,
}

impl Homes {
    fn told(told: &'static Mutex<Vec<Told>>) -> Box<dyn Policy> {
        Box::new(Homes { members: Vec::new(), told })
    }
}

/// The place of a client's home among two. The kernel has odd ports for some, even ones for others.
fn home_of(port: u16) -> usize {
    usize::from(port / 2 % 2)
}

fn port_seen(connection: &Incoming) -> u16 {
    match connection.peer {
        Peer::Ip(_, port) => port,
        Peer::Unix => panic!("there are only TCP clients here"),
    }
}

impl Policy for Homes {
    fn add(&mut self, worker: WorkerId) {
        self.members.push(worker);
    }

    fn remove(&mut self, worker: WorkerId) {
        self.members.retain(|member| *member != worker);
    }

    fn pick(&mut self, _now: Instant, connection: &Incoming, loads: &dyn Loads) -> Option<WorkerId> {
        let home = self.members.get(home_of(port_seen(connection)));
        home.into_iter().chain(&self.members).copied().find(|worker| {
            let load = loads.load(*worker);
            load.availability.may_take() && load.in_flight < LIMIT
        })
    }

    fn taken(&mut self, worker: WorkerId, connection: &Incoming) {
        self.told.lock().push(Told::Taken(worker, port_seen(connection)));
    }

    fn refused(&mut self, worker: WorkerId, connection: &Incoming) {
        self.told.lock().push(Told::Refused(worker, port_seen(connection)));
    }

    fn recalled(&mut self, worker: WorkerId, connection: &Incoming) {
        self.told.lock().push(Told::Recalled(worker, port_seen(connection)));
    }
}

/// A client whose home is the worker at that place.
fn client_of(rig: &Rig, place: usize, port: u16, workers: &mut [FakeWorker; 2]) -> TcpStream {
    for _ in 0..1000 {
        // Whatever has been decided is known before the next comes, as the policy looks at what is under way.
        rig.settle();
        let client = connect(port);
        if home_of(port_of(&client)) == place {
            return client;
        }
        // The other's, which has it at once.
        assert_eq!(workers[1 - place].serve(), port_of(&client));
    }
    panic!("no client has that home");
}

fn two_workers(policy: fn() -> Box<dyn Policy>) -> (Rig, [FakeWorker; 2], u16) {
    let mut rig = Rig::new(Config { policies: PolicyChoice::Test(Made(policy)).into(), ..Config::default() });
    let mut workers = [rig.fork(Serialization::Json), rig.fork(Serialization::Advanced)];
    let port = workers[0].listen();
    assert_eq!(workers[1].listen(), port);
    (rig, workers, port)
}

#[test]
fn a_policy_sees_who_connects_and_what_workers_have_and_its_picks_are_followed() {
    static TOLD: Mutex<Vec<Told>> = Mutex::new(Vec::new());
    let (rig, mut workers, port) = two_workers(|| Homes::told(&TOLD));
    let ids = workers.each_ref().map(|worker| worker.id);
    // No turns: each client has its own worker, however often it is the same.
    for place in [0, 0, 0, 1, 1, 0] {
        let client = client_of(&rig, place, port, &mut workers);
        assert_eq!(workers[place].serve(), port_of(&client));
    }
    // One has as many as it may, so that its next client goes to the other; the next after that is its own again.
    let clients: Vec<_> = (0..LIMIT).map(|_| client_of(&rig, 0, port, &mut workers)).collect();
    let offers: Vec<_> = clients.iter().map(|_| workers[0].offer()).collect();
    let guest = client_of(&rig, 0, port, &mut workers);
    assert_eq!(workers[1].serve(), port_of(&guest));
    offers.iter().for_each(|offer| workers[0].decide(offer, true));
    let client = client_of(&rig, 0, port, &mut workers);
    assert_eq!(workers[0].serve(), port_of(&client));
    rig.settle();
    let told = TOLD.lock();
    for (worker, client) in [(ids[1], &guest), (ids[0], &client), (ids[0], &clients[0])] {
        let outcomes =
            told.iter().filter(|told| matches!(told, Told::Taken(_, port) if *port == port_of(client)));
        assert_eq!(outcomes.collect::<Vec<_>>(), [&Told::Taken(worker, port_of(client))]);
    }
}

#[test]
fn a_policy_is_told_what_was_refused_and_asked_again() {
    static TOLD: Mutex<Vec<Told>> = Mutex::new(Vec::new());
    let (rig, mut workers, port) = two_workers(|| Homes::told(&TOLD));
    let ids = workers.each_ref().map(|worker| worker.id);
    let client = client_of(&rig, 0, port, &mut workers);
    let offer = workers[0].offer();
    workers[0].decide(&offer, false);
    assert_eq!(workers[1].serve(), port_of(&client));
    rig.settle();
    let told = TOLD.lock();
    let [.., refused, taken] = told[..] else { panic!("{told:?}") };
    assert_eq!(refused, Told::Refused(ids[0], port_of(&client)));
    assert_eq!(taken, Told::Taken(ids[1], port_of(&client)));
}

#[test]
fn a_policy_is_told_what_was_taken_back_from_a_lane_and_asked_again() {
    static TOLD: Mutex<Vec<Told>> = Mutex::new(Vec::new());
    let mut rig = Rig::new(Config {
        policies: PolicyChoice::Test(Made(|| Homes::told(&TOLD))).into(),
        ..Config::default()
    });
    let (mut one, mut two) = (rig.fork_with_lane(), rig.fork_with_lane());
    let port = one.listen();
    assert_eq!(two.listen(), port);
    rig.settle();
    // Whose home it is does not look at its lane.
    let client = connect(port);
    let (home, mut other) = if home_of(port_of(&client)) == 0 { (one, two) } else { (two, one) };
    assert_eq!(other.serve_on_lane(), port_of(&client));
    let taken = Told::Taken(other.id, port_of(&client));
    wait_until(|| TOLD.lock().last() == Some(&taken));
    // The other may have been kept from its processor so long that it was found blocked as well.
    assert_eq!(TOLD.lock().first(), Some(&Told::Recalled(home.id, port_of(&client))));
}

#[test]
fn a_policy_that_loses_a_worker_gives_its_clients_to_others() {
    static TOLD: Mutex<Vec<Told>> = Mutex::new(Vec::new());
    let (rig, mut workers, port) = two_workers(|| Homes::told(&TOLD));
    let key = rig.stats.servers.read().values().next().unwrap().key.to_string();
    let id = workers[1].id;
    workers[0].act("close", serde_json::json!({ "key": key }));
    rig.settle();
    assert_eq!(*rig.stats.servers.read().values().next().unwrap().workers.lock(), [id]);
    for _ in 0..4 {
        let client = connect(port);
        assert_eq!(workers[1].serve(), port_of(&client));
    }
}
