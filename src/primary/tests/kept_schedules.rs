//! Whatever happens to workers that keep connections, in whatever order: every request is answered once, and only what a
//! worker had begun ends with it. Where clients belong to workers, each is served by its own as long as none comes or goes.
//!
//! `CORRAL_SCHEDULES` says how many schedules are tried (`npm run schedules`: ten thousand).

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use proptest::prelude::*;

use super::rig::{FakeWorker, PATIENCE, Rig};
use super::{Command, Config, connect, port_of};
use crate::ids::WorkerId;
use crate::kept::Claim;
use crate::os;
use crate::proto::{ConnectionKind, KeyBy, Slot};
use crate::sched::{PolicyChoice, StickyChoice};
use crate::worker::WorkerLane;

/// As many as a run of all tests has time for.
const SCHEDULES: u32 = 128;

/// What may happen to three clients and two workers.
#[derive(Clone, Copy, Debug)]
enum Action {
    /// A client sends a request of this user; it connects if it has not.
    Ask(usize, u8),
    /// A client goes.
    Close(usize),
    /// A worker has a turn: it answers what it has begun, and reads what there is.
    Turn(usize),
    /// The same, and it leaves the requests that it reads unanswered until its next turn.
    Begin(usize),
    /// It dies, and another comes.
    Replace(usize),
    /// It is asked to leave, answers what it has begun, and goes; another comes.
    Leave(usize),
    /// Long enough for the primary to think that who does not turn is busy.
    Wait,
}

fn action() -> impl Strategy<Value = Action> {
    let worker = 0..2usize;
    prop_oneof![
        8 => (0..3usize, 0..3u8).prop_map(|(client, user)| Action::Ask(client, user)),
        1 => (0..3usize).prop_map(Action::Close),
        6 => worker.clone().prop_map(Action::Turn),
        2 => worker.clone().prop_map(Action::Begin),
        1 => worker.clone().prop_map(Action::Replace),
        1 => worker.prop_map(Action::Leave),
        3 => Just(Action::Wait),
    ]
}

/// The request of a user with this number, which is answered with the number.
fn request(user: u8, number: u8) -> String {
    format!("GET / HTTP/1.1\r\nX-User: {user}\r\nX-Number: {number:03}\r\n\r\n")
}

/// The user and the number of a request.
fn parsed(request: &str) -> (u8, u8) {
    let value = |name: &str| request.lines().find_map(|line| line.strip_prefix(name)?.parse().ok()).unwrap();
    (value("X-User: "), value("X-Number: "))
}

/// A connection at a worker.
struct Held {
    stream: TcpStream,
    /// None for one that stays with the worker.
    slot: Option<Slot>,
    client: u16,
    /// The request that was read and not answered.
    begun: Option<u8>,
    has_served: bool,
}

struct Actor {
    worker: FakeWorker,
    held: Vec<Held>,
    /// The users of the requests that it has read.
    users: Vec<u8>,
}

impl Actor {
    fn new(rig: &mut Rig) -> (Self, u16) {
        let mut worker = rig.fork_with_pulse();
        let port = worker.listen();
        (Actor { worker, held: Vec::new(), users: Vec::new() }, port)
    }

    /// A turn of its event loop. Returns whether the primary is to decide about a connection.
    fn turn(&mut self, answers: bool) -> bool {
        while let Some(connection) = self.worker.look() {
            let (kind, key) = (ConnectionKind::Tcp, connection.key.clone());
            let slot = self.worker.lane().keep(connection.handle.as_fd(), kind, &key, 0, |_| true);
            let client = connection.peer_port();
            let stream = TcpStream::from(connection.handle);
            self.held.push(Held { stream, slot: slot.unwrap(), client, begun: None, has_served: false });
        }
        self.worker.claim(false);
        let lane = self.worker.lane.as_mut().unwrap();
        lane.report().unwrap();
        let mut moved = lane.decided().moved;
        moved.extend(lane.moved());
        let mut is_given = false;
        self.held.retain_mut(|held| {
            let release = |lane: &mut WorkerLane| {
                held.slot.into_iter().for_each(|slot| lane.release(slot));
                false
            };
            if held.slot.is_some_and(|slot| moved.contains(&slot)) {
                return release(lane);
            }
            let rest = |lane: &mut WorkerLane| held.slot.into_iter().for_each(|slot| lane.rest(slot));
            if let Some(request) = held.begun.take() {
                // A client that has gone reads nothing.
                let _ = held.stream.write_all(&[request]);
                rest(lane);
            }
            if !os::has_arrived(held.stream.as_fd()) {
                return true;
            }
            if let Some(slot) = held.slot {
                // The first is its own: the primary has said so by giving it the connection.
                let claim = match held.has_served {
                    true => lane.claim_next(slot, || Some(held.stream.as_fd())),
                    false => lane.claim(slot),
                };
                match claim {
                    Claim::Ours => {}
                    Claim::Moved => return release(lane),
                    Claim::Given => {
                        is_given = true;
                        return true;
                    }
                }
            }
            let mut bytes = request(0, 0).into_bytes();
            match held.stream.read(&mut bytes) {
                Ok(length) if length == bytes.len() => {
                    let (user, number) = parsed(std::str::from_utf8(&bytes).unwrap());
                    self.users.push(user);
                    held.has_served = true;
                    held.begun = Some(number);
                }
                _ => return release(lane),
            }
            if answers && let Some(number) = held.begun.take() {
                let _ = held.stream.write_all(&[number]);
                rest(lane);
            }
            true
        });
        assert!(lane.tell_given().is_empty());
        self.worker.poll();
        is_given
    }

    /// Those whose requests end with the worker.
    fn begun(&self) -> impl Iterator<Item = u16> {
        let stays = |held: &&Held| held.slot.is_none() || held.begun.is_some();
        self.held.iter().filter(stays).map(|held| held.client)
    }
}

/// A client with one request at a time.
struct Client {
    stream: TcpStream,
    asked: Option<u8>,
    next: u8,
}

impl Client {
    fn new(port: u16) -> Self {
        let stream = connect(port);
        stream.set_nonblocking(true).unwrap();
        Client { stream, asked: None, next: 0 }
    }

    /// Reads an answer, if there is one. Returns false at the end of the connection.
    fn read(&mut self) -> bool {
        let mut answer = [0; 2];
        match self.stream.read(&mut answer) {
            Ok(0) => false,
            Ok(length) => {
                assert_eq!(
                    (length, Some(answer[0])),
                    (1, self.asked.take()),
                    "an answer that nobody waits for"
                );
                true
            }
            Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
        }
    }

    fn ask(&mut self, user: u8) {
        self.next = self.next.wrapping_add(1);
        if self.asked.is_none() && self.stream.write_all(request(user, self.next).as_bytes()).is_ok() {
            self.asked = Some(self.next);
        }
    }
}

fn schedule(policy: PolicyChoice, actions: &[Action]) {
    let is_sticky = policy.sticky().is_some();
    let recall_after = Config::default().recall_soon_after;
    let config = Config { recall_after, policies: policy.into(), ..Config::default() };
    let mut rig = Rig::new(config.balance_kept());
    let (first, port) = Actor::new(&mut rig);
    let mut actors = [first, Actor::new(&mut rig).0];
    let mut clients: [Option<Client>; 3] = [const { None }; 3];
    // Clients whose connections may end.
    let mut ended: Vec<u16> = Vec::new();
    let replace = |rig: &mut Rig, actors: &mut [Actor; 2], which: usize| {
        std::mem::replace(&mut actors[which], Actor::new(rig).0)
    };
    for action in actions {
        match *action {
            Action::Ask(which, user) => {
                let client = clients[which].get_or_insert_with(|| Client::new(port));
                if client.read() {
                    client.ask(user);
                }
            }
            Action::Close(which) => clients[which] = None,
            Action::Turn(which) => {
                actors[which].turn(true);
            }
            Action::Begin(which) => {
                actors[which].turn(false);
            }
            Action::Replace(which) => {
                let dead = replace(&mut rig, &mut actors, which);
                ended.extend(dead.begun());
            }
            Action::Leave(which) => {
                let mut leaving = replace(&mut rig, &mut actors, which);
                let known: Vec<_> = leaving.held.iter().filter_map(|held| held.slot).collect();
                rig.reactor.call(Command::Disconnect(leaving.worker.id)).unwrap();
                while leaving.turn(true) {}
                // What it receives as the last thing is its own.
                let is_own = |held: &&Held| held.slot.is_none_or(|slot| !known.contains(&slot));
                let own = leaving.held.iter().filter(is_own).map(|held| held.client);
                ended.extend(own);
            }
            Action::Wait => std::thread::sleep(std::time::Duration::from_millis(3)),
        }
    }
    let deadline = Instant::now() + PATIENCE;
    for client in clients.iter_mut().flatten() {
        while client.read() && client.asked.is_some() {
            assert!(Instant::now() < deadline, "a request was never answered");
            for actor in &mut actors {
                actor.turn(true);
            }
        }
        let is_open = client.read();
        assert!(is_open || ended.contains(&port_of(&client.stream)), "a connection has ended");
    }
    let all_stay = !actions.iter().any(|action| matches!(action, Action::Replace(_) | Action::Leave(_)));
    if is_sticky && all_stay {
        let mut homes = BTreeMap::<u8, WorkerId>::new();
        for actor in &actors {
            for user in &actor.users {
                let home = *homes.entry(*user).or_insert(actor.worker.id);
                assert_eq!(home, actor.worker.id, "user {user} was served by two workers");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("CORRAL_SCHEDULES").map_or(SCHEDULES, |count| count.parse().unwrap()),
        ..ProptestConfig::default()
    })]

    #[test]
    fn nothing_is_lost_and_nothing_is_served_twice_on_kept_connections(
        actions in proptest::collection::vec(action(), 1..60)
    ) {
        schedule(PolicyChoice::OneQueue, &actions);
    }

    #[test]
    fn nor_are_they_where_clients_belong_to_workers(actions in proptest::collection::vec(action(), 1..60)) {
        let choice = StickyChoice::new(KeyBy::Header("x-user".into()));
        schedule(PolicyChoice::Sticky(Arc::new(choice)), &actions);
    }
}
