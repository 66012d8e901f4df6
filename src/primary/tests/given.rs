//! The primary against workers that look at requests on kept connections before they read them, where clients belong to workers.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::Duration;

use super::lane::sleeps;
use super::rig::{FakeWorker, Rig, wait_until};
use super::{Command, Config, Event, connect, port_of};
use crate::channel::ChannelEvent;
use crate::error::Error;
use crate::ids::WorkerId;
use crate::kept::{Claim, SLOTS};
use crate::os;
use crate::primary::{LANE_WINDOW, ServerCounters};
use crate::proto::{FromWorker, KeyBy, MAX_SLOTS, Slot};
use crate::sched::{PolicyChoice, StickyChoice};
use crate::worker::{Connection, Decided};

/// Nobody is found blocked, and no client late.
fn sticky(by: KeyBy) -> Config {
    let never = Duration::from_secs(3600);
    let choice = StickyChoice { deadline: never, ..StickyChoice::new(by) };
    Config {
        policies: PolicyChoice::Sticky(Arc::new(choice)).into(),
        recall_after: never,
        recall_soon_after: never,
        recall_for_idle_after: never,
        ..Config::default()
    }
    .balance_kept()
}

fn by_user() -> KeyBy {
    KeyBy::Header("x-user".into())
}

fn of(user: &str) -> String {
    format!("GET / HTTP/1.1\r\nX-User: {user}\r\n\r\n")
}

/// A connection that a worker keeps.
struct Kept {
    connection: Connection,
    slot: Slot,
}

impl Kept {
    fn read(&self, request: &str) {
        read(&self.connection, request);
    }
}

/// Reads this request.
fn read(connection: &Connection, request: &str) {
    let mut stream = TcpStream::from(connection.handle.try_clone().unwrap());
    stream.set_nonblocking(false).unwrap();
    let mut bytes = vec![0; request.len()];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(String::from_utf8(bytes).unwrap(), request);
}

/// Workers on one server, and for each a user of its own.
struct Site {
    rig: Rig,
    workers: Vec<FakeWorker>,
    users: Vec<String>,
    port: u16,
}

impl Site {
    fn new(config: Config, count: usize) -> Site {
        let mut site = Site { rig: Rig::new(config), workers: Vec::new(), users: Vec::new(), port: 0 };
        for _ in 0..count {
            site.fork();
        }
        site.rig.settle();
        site
    }

    /// As `new`, with users, who are known by a header.
    fn with_users(config: Config, count: usize) -> Site {
        let mut site = Site::new(config, count);
        site.find_users();
        site
    }

    fn fork(&mut self) {
        let mut worker = self.rig.fork_with_pulse();
        self.port = worker.listen();
        assert!(worker.look_on_lane().is_none() && worker.lane().has_rest());
        self.workers.push(worker);
    }

    fn find_users(&mut self) {
        let mut users = vec![None; self.workers.len()];
        for name in (0..).map(|number: u32| number.to_string()) {
            let mut client = connect(self.port);
            client.write_all(of(&name).as_bytes()).unwrap();
            let (place, _) = self.next();
            users[place].get_or_insert(name);
            if users.iter().all(Option::is_some) {
                break;
            }
        }
        self.users = users.into_iter().flatten().collect();
    }

    /// Who is given a connection next, and the connection.
    fn next(&mut self) -> (usize, Connection) {
        let deadline = std::time::Instant::now() + super::rig::PATIENCE;
        loop {
            for (place, worker) in self.workers.iter_mut().enumerate() {
                if let Some(connection) = worker.look() {
                    worker.turn();
                    return (place, connection);
                }
            }
            assert!(std::time::Instant::now() < deadline, "nobody was given a connection");
            std::thread::yield_now();
        }
    }

    /// The next connection, which a worker keeps when it has read this request.
    fn keep(&mut self, request: &str) -> (usize, Kept) {
        let (place, connection) = self.next();
        (place, self.keep_as(place, connection, request))
    }

    fn keep_as(&mut self, place: usize, connection: Connection, request: &str) -> Kept {
        read(&connection, request);
        let (kind, key, handle) = (connection.kind, connection.key.clone(), connection.handle.as_fd());
        let slot = self.workers[place].lane().keep(handle, kind, &key, 0, |_| true).unwrap().unwrap();
        Kept { connection, slot }
    }

    /// A client whose connection the first worker keeps: it is its user's.
    fn client(&mut self) -> (TcpStream, Kept) {
        let mut client = connect(self.port);
        let request = of(&self.users[0]);
        client.write_all(request.as_bytes()).unwrap();
        let (place, kept) = self.keep(&request);
        assert_eq!(place, 0);
        let held = self.held();
        wait_until(|| self.held() >= held.max(1));
        (client, kept)
    }

    fn held(&self) -> u64 {
        self.count(0, |worker| worker.kept.get())
    }

    fn count(&self, place: usize, counter: impl Fn(&crate::primary::WorkerCounters) -> u64) -> u64 {
        counter(&self.rig.stats.workers.read()[&self.workers[place].id].counters)
    }

    fn sum(&self, counter: impl Fn(&ServerCounters) -> u64) -> u64 {
        self.rig.stats.servers.read().values().map(|server| counter(&server.counters)).sum()
    }

    /// A client asks on a connection that a worker keeps, and which looks at that: whether it reads it.
    fn ask(&mut self, place: usize, client: &mut TcpStream, kept: &Kept, request: &str) -> Claim {
        // The primary may think that it is busy, and would be quicker.
        assert_eq!(self.workers[place].lane().claim(kept.slot), Claim::Ours);
        client.write_all(request.as_bytes()).unwrap();
        self.look(place, kept)
    }

    fn look(&mut self, place: usize, kept: &Kept) -> Claim {
        wait_until(|| os::has_arrived(kept.connection.handle.as_fd()));
        let handle = kept.connection.handle.as_fd();
        self.workers[place].lane().claim_next(kept.slot, || Some(handle))
    }

    /// As `ask`, of a request that the worker gives: what the primary decides.
    fn ask_and_decide(
        &mut self,
        place: usize,
        client: &mut TcpStream,
        kept: &Kept,
        request: &str,
    ) -> Decided {
        assert_eq!(self.ask(place, client, kept, request), Claim::Given);
        assert_eq!(self.workers[place].lane().tell_given(), []);
        self.decided(place)
    }

    fn decided(&mut self, place: usize) -> Decided {
        let worker = &mut self.workers[place];
        loop {
            assert!(worker.look_on_lane().is_none());
            let decided = worker.lane().decided();
            if decided != Decided::default() {
                return decided;
            }
            worker.wait_on_lane();
        }
    }

    /// A worker says that it has given these, whatever it has.
    fn say_given(&mut self, place: usize, slots: Vec<Slot>) {
        let mut bytes = Vec::new();
        FromWorker::Give(slots).encode(&mut bytes);
        let lane = self.workers[place].lane();
        os::send_packet(lane.as_fd(), &bytes, None).unwrap();
        wait_until(|| os::unread_by_peer(lane.as_fd()) == 0);
        self.rig.settle();
    }

    fn closed(&self) -> Vec<(WorkerId, bool)> {
        let events = self.rig.events().into_iter();
        events
            .filter_map(|event| match event {
                Event::Channel(id, ChannelEvent::Closed(cause)) => {
                    Some((id, matches!(cause, Some(Error::BadFrame(_)))))
                }
                _ => None,
            })
            .collect()
    }
}

fn moved(slot: Slot) -> Decided {
    Decided { moved: vec![slot], ours: vec![] }
}

fn ours(slot: Slot) -> Decided {
    Decided { moved: vec![], ours: vec![slot] }
}

#[test]
fn two_users_on_one_connection_are_each_served_by_their_own_worker_though_all_are_idle() {
    let mut site = Site::with_users(sticky(by_user()), 2);
    let (mut client, mut kept) = site.client();
    for round in 0..6 {
        let (from, to) = (round % 2, (round + 1) % 2);
        let request = of(&site.users[to]);
        assert_eq!(site.ask_and_decide(from, &mut client, &kept, &request), moved(kept.slot));
        site.workers[from].lane().release(kept.slot);
        let next = site.keep(&request);
        assert_eq!((next.0, next.1.connection.peer_port()), (to, port_of(&client)));
        kept = next.1;
    }
    wait_until(|| site.count(0, |worker| worker.rebalanced.get()) == 3);
    assert_eq!(site.count(1, |worker| worker.rebalanced.get()), 3);
}

#[test]
fn a_worker_asks_about_a_client_once_until_clients_may_have_moved() {
    let mut site = Site::with_users(sticky(by_user()), 2);
    let (mut client, kept) = site.client();
    let request = of(&site.users[0]);
    let mut ask = |site: &mut Site| {
        let claim = site.ask(0, &mut client, &kept, &request);
        if claim == Claim::Given {
            assert_eq!(site.workers[0].lane().tell_given(), []);
            assert_eq!(site.decided(0), ours(kept.slot));
            assert_eq!(site.workers[0].lane().claim(kept.slot), Claim::Ours);
        }
        kept.read(&request);
        site.workers[0].lane().rest(kept.slot);
        claim
    };
    assert_eq!(ask(&mut site), Claim::Given);
    (0..3).for_each(|_| assert_eq!(ask(&mut site), Claim::Ours));
    let id = site.workers[0].id;
    for weight in [2, 1] {
        site.rig.reactor.call(Command::Weigh(id, weight)).unwrap();
        assert_eq!(ask(&mut site), Claim::Given);
        assert_eq!(ask(&mut site), Claim::Ours);
    }
    // Another worker begins what was nobody's.
    let user = site.users[0].clone();
    assert!(site.workers[1].lane().sessions.begin(user.as_bytes()));
    site.workers[1].lane().tell_of_sessions().unwrap();
    let other = site.workers[1].id;
    wait_until(|| site.rig.stats.workers.read()[&other].counters.sessions.get() == 1);
    assert_eq!(site.ask_and_decide(0, &mut client, &kept, &request), moved(kept.slot));
    assert_eq!(site.next().0, 1);
}

#[test]
fn what_names_nobody_or_is_the_end_of_a_client_its_worker_reads_unasked() {
    let mut site = Site::with_users(sticky(by_user()), 2);
    let (mut client, kept) = site.client();
    let nobody = "GET / HTTP/1.1\r\n\r\n";
    assert_eq!(site.ask(0, &mut client, &kept, nobody), Claim::Ours);
    kept.read(nobody);
    site.workers[0].lane().rest(kept.slot);
    assert_eq!(site.workers[0].lane().claim(kept.slot), Claim::Ours);
    drop(client);
    wait_until(|| os::has_ended(kept.connection.handle.as_fd()));
    assert_eq!(site.look(0, &kept), Claim::Ours);
}

#[test]
fn half_a_head_is_waited_for_by_the_primary() {
    let mut site = Site::with_users(sticky(by_user()), 2);
    let (mut client, kept) = site.client();
    client.set_nodelay(true).unwrap();
    let request = of(&site.users[1]);
    assert_eq!(site.ask_and_decide(0, &mut client, &kept, &request[..10]), moved(kept.slot));
    wait_until(|| site.sum(|counters| counters.first_bytes_awaited.get()) == 1);
    client.write_all(&request.as_bytes()[10..]).unwrap();
    assert_eq!(site.keep(&request).0, 1);
}

#[test]
fn a_given_connection_of_a_worker_that_dies_goes_to_whom_it_belongs() {
    let mut site = Site::with_users(sticky(by_user()), 3);
    for tells in [false, true] {
        let (mut client, kept) = site.client();
        let request = of(&site.users[1]);
        assert_eq!(site.ask(0, &mut client, &kept, &request), Claim::Given);
        if tells {
            assert_eq!(site.workers[0].lane().tell_given(), []);
        }
        let dead = site.workers.remove(0);
        let id = dead.id;
        drop((dead, kept));
        site.rig.reactor.call(Command::Exited(id)).unwrap();
        site.users.remove(0);
        let (place, kept) = site.keep(&request);
        assert_eq!(
            (site.users[place].clone(), kept.connection.peer_port()),
            (request_user(&request), port_of(&client))
        );
        site.workers.insert(0, site.rig.fork_with_pulse());
        site.port = site.workers[0].listen();
        assert!(site.workers[0].look_on_lane().is_none());
        site.find_users();
    }
}

fn request_user(request: &str) -> String {
    request.split("X-User: ").nth(1).unwrap().trim().to_owned()
}

#[test]
fn a_given_connection_of_a_worker_that_is_asked_to_leave_goes_to_whom_it_belongs() {
    let mut site = Site::with_users(sticky(by_user()), 2);
    let (mut client, kept) = site.client();
    let request = of(&site.users[1]);
    assert_eq!(site.ask(0, &mut client, &kept, &request), Claim::Given);
    let id = site.workers[0].id;
    site.rig.reactor.call(Command::Disconnect(id)).unwrap();
    assert_eq!(site.workers[0].lane().moved(), [kept.slot]);
    site.workers[0].lane().leave(kept.slot);
    drop(kept);
    assert_eq!(site.keep(&request).0, 1);
}

#[test]
fn a_connection_of_which_the_primary_has_no_copy_is_its_workers_for_good() {
    let mut site = Site::with_users(Config { max_kept: 0, ..sticky(by_user()) }, 2);
    let mut client = connect(site.port);
    let (first, request) = (of(&site.users[0]), of(&site.users[1]));
    client.write_all(first.as_bytes()).unwrap();
    let (_, kept) = site.keep(&first);
    assert_eq!(site.ask_and_decide(0, &mut client, &kept, &request), ours(kept.slot));
    kept.read(&request);
    site.workers[0].lane().rest(kept.slot);
    assert_eq!(site.ask(0, &mut client, &kept, &request), Claim::Ours);
}

#[test]
fn what_a_worker_gives_that_it_has_not_kept_or_not_given_or_released_changes_nothing() {
    let mut site = Site::with_users(sticky(by_user()), 2);
    let (mut client, kept) = site.client();
    let slot = kept.slot;
    let request = of(&site.users[1]);
    // Another worker's, none's, and its own which rests, or which it reads.
    site.say_given(1, vec![slot, Slot(SLOTS - 1)]);
    site.say_given(0, vec![slot, slot, Slot(SLOTS - 1)]);
    assert_eq!(site.workers[0].lane().claim(slot), Claim::Ours);
    site.say_given(0, vec![slot]);
    client.write_all(request.as_bytes()).unwrap();
    site.say_given(0, vec![slot]);
    kept.read(&request);
    site.workers[0].lane().rest(slot);
    assert_eq!((site.held(), site.closed()), (1, vec![]));
    // Once for all that it says of one that is given.
    assert_eq!(site.ask(0, &mut client, &kept, &request), Claim::Given);
    site.say_given(0, vec![slot; MAX_SLOTS]);
    site.say_given(0, vec![slot]);
    assert_eq!(site.decided(0), moved(slot));
    let (place, again) = site.keep(&request);
    assert_eq!(place, 1);
    assert!(site.workers.iter_mut().all(|worker| worker.look().is_none()));
    // After it has released it.
    site.workers[0].lane().release(slot);
    site.workers[0].poll();
    site.say_given(0, vec![slot]);
    let back = of(&site.users[0]);
    assert_eq!(site.ask(1, &mut client, &again, &back), Claim::Given);
    site.workers[1].lane().release(again.slot);
    site.workers[1].poll();
    site.say_given(1, vec![again.slot]);
    wait_until(|| site.count(1, |worker| worker.kept.get()) == 0);
    assert!(site.workers.iter_mut().all(|worker| worker.look().is_none()));
    assert_eq!(site.closed(), []);
    drop(again);
    drop(kept);
    // Its last copy has gone.
    assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
}

#[test]
fn a_slot_that_does_not_exist_ends_the_worker_that_gives_it() {
    let mut site = Site::with_users(sticky(by_user()), 2);
    site.say_given(0, vec![Slot(0), Slot(SLOTS)]);
    assert_eq!(site.closed(), [(site.workers[0].id, true)]);
}

#[test]
fn of_more_than_may_wait_for_a_worker_the_rest_is_served_where_it_is() {
    let config = Config { max_pending: 8, ..sticky(by_user()) };
    let mut site = Site::with_users(config, 2);
    let count = LANE_WINDOW + 8;
    let mut all: Vec<_> = (0..count).map(|_| site.client()).collect();
    let request = of(&site.users[1]);
    for (client, kept) in &mut all {
        assert_eq!(site.ask(0, client, kept, &request), Claim::Given);
    }
    assert_eq!(site.workers[0].lane().tell_given(), []);
    let (mut moved, mut ours) = (Vec::new(), Vec::new());
    while moved.len() + ours.len() < count {
        let decided = site.decided(0);
        moved.extend(decided.moved);
        ours.extend(decided.ours);
    }
    assert_eq!((moved.len(), ours.len()), (LANE_WINDOW + 4, 4));
    assert_eq!(site.sum(|counters| counters.strayed.get()), 4);
    // These are asked about again.
    let (client, kept) = all.iter_mut().find(|(_, kept)| ours.contains(&kept.slot)).unwrap();
    kept.read(&request);
    site.workers[0].lane().rest(kept.slot);
    assert_eq!(site.ask(0, client, kept, &request), Claim::Given);
}

#[test]
fn many_that_are_given_at_once_are_all_decided_about() {
    let mut site = Site::with_users(sticky(by_user()), 2);
    let count = 300;
    let mut all: Vec<_> = (0..count).map(|_| site.client()).collect();
    let request = of(&site.users[0]);
    for (client, kept) in &mut all {
        assert_eq!(site.ask(0, client, kept, &request), Claim::Given);
    }
    assert_eq!(site.workers[0].lane().tell_given(), []);
    let mut ours = Vec::new();
    while ours.len() < count {
        ours.extend(site.decided(0).ours);
    }
    ours.sort_unstable();
    let mut slots: Vec<_> = all.iter().map(|(_, kept)| kept.slot).collect();
    slots.sort_unstable();
    assert_eq!(ours, slots);
}

#[test]
fn a_worker_reads_what_it_cannot_tell_the_primary_of() {
    let mut site = Site::with_users(sticky(by_user()), 2);
    let (mut client, kept) = site.client();
    let request = of(&site.users[1]);
    assert_eq!(site.ask(0, &mut client, &kept, &request), Claim::Given);
    site.rig.reactor.stop();
    let lane = site.workers[0].lane().as_fd().as_raw_fd();
    wait_until(|| os::is_deserted(lane));
    assert_eq!(site.workers[0].lane().tell_given(), [kept.slot]);
    assert_eq!(site.workers[0].lane().claim(kept.slot), Claim::Ours);
}

#[test]
fn a_policy_that_becomes_sticky_tells_workers_of_sessions_and_one_that_is_so_no_more_takes_that_back() {
    let quiet = Config { policies: PolicyChoice::OneQueue.into(), ..sticky(by_user()) };
    let mut site = Site::new(quiet.clone(), 2);
    let names = |site: &mut Site, place: usize| {
        site.rig.settle();
        assert!(site.workers[place].look_on_lane().is_none());
        site.workers[place].lane().sessions.names.take()
    };
    assert_eq!(names(&mut site, 0), None);
    let configure = |site: &Site, config: Config| site.rig.reactor.call(Command::Configure(config)).unwrap();
    configure(&site, sticky(KeyBy::Cookie("io".into())));
    assert_eq!(names(&mut site, 0).as_deref(), Some("cookie io"));
    assert_eq!(names(&mut site, 1).as_deref(), Some("cookie io"));
    // What it knows it is not told again.
    configure(&site, sticky(KeyBy::Cookie("io".into())));
    assert_eq!(names(&mut site, 0), None);
    configure(&site, sticky(by_user()));
    assert_eq!(names(&mut site, 0).as_deref(), Some("header x-user"));
    assert_eq!(names(&mut site, 1).as_deref(), Some("header x-user"));
    site.find_users();
    let (mut client, kept) = site.client();
    let request = of(&site.users[1]);
    assert_eq!(site.ask(0, &mut client, &kept, &request), Claim::Given);
    configure(&site, quiet);
    // Decided when clients belong to nobody any more.
    assert_eq!(site.workers[0].lane().tell_given(), []);
    assert_eq!(site.decided(0), ours(kept.slot));
    assert_eq!(names(&mut site, 0).as_deref(), Some(""));
    kept.read(&request);
    site.workers[0].lane().rest(kept.slot);
    assert_eq!(site.ask(0, &mut client, &kept, &request), Claim::Ours);
}

#[test]
fn a_worker_that_stalls_before_it_has_read_what_names_clients_is_told_again() {
    let soon = Config::default().recall_soon_after;
    let mut rig = Rig::new(Config { recall_after: soon, ..sticky(by_user()) });
    let mut slow = rig.fork_with_silent_lane();
    let mut other = rig.fork_with_pulse();
    let port = slow.listen();
    assert_eq!(other.listen(), port);
    slow.announce();
    // It reads nothing of its lane until what was there has gone to the other.
    let clients: Vec<TcpStream> = (0..4)
        .map(|_| {
            let mut client = connect(port);
            client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
            client
        })
        .collect();
    for _ in &clients {
        other.serve_either();
    }
    while slow.lane().sessions.names.is_none() {
        assert!(slow.look_on_lane().is_none());
    }
}

#[test]
fn a_slot_that_is_used_again_at_once_is_not_released_with_the_connection_before() {
    let mut site = Site::with_users(sticky(by_user()), 2);
    let (first, kept) = site.client();
    let mut second = connect(site.port);
    let request = of(&site.users[0]);
    second.write_all(request.as_bytes()).unwrap();
    let (_, connection) = site.next();
    // Within one turn of its loop: the end of one connection, and the first rest of another.
    site.workers[0].lane().release(kept.slot);
    let next = site.keep_as(0, connection, &request);
    site.workers[0].poll();
    site.rig.settle();
    wait_until(|| site.held() == 1);
    let request = of(&site.users[1]);
    assert_eq!(site.ask_and_decide(0, &mut second, &next, &request), moved(next.slot));
    drop(first);
}

#[test]
fn nobody_is_woken_by_connections_that_were_given_and_decided_about() {
    let mut site = Site::with_users(sticky(by_user()), 2);
    let (mut client, kept) = site.client();
    let request = of(&site.users[0]);
    assert_eq!(site.ask_and_decide(0, &mut client, &kept, &request), ours(kept.slot));
    kept.read(&request);
    site.workers[0].lane().rest(kept.slot);
    site.workers.iter_mut().for_each(FakeWorker::poll);
    site.rig.settle();
    std::thread::sleep(Duration::from_millis(20));
    let before = sleeps(&site.rig);
    std::thread::sleep(Duration::from_millis(100));
    let slept = sleeps(&site.rig) - before;
    assert!(slept < 8, "woken {slept} times");
}
