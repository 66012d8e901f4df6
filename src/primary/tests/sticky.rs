//! The primary with clients that belong to workers: by address, by what they say first, and by sessions that workers begin.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use super::rig::{FakeWorker, PATIENCE, Rig, wait_until};
use super::{Command, Config, Event, connect, port_of};
use crate::channel::ChannelEvent;
use crate::error::Error;
use crate::ids::WorkerId;
use crate::kept::Claim;
use crate::os;
use crate::primary::ServerCounters;
use crate::proto::{FromWorker, KeyBy, MAX_SESSION_ID, Serialization};
use crate::sched::{PolicyChoice, StickyChoice};
use std::os::fd::AsFd;

/// Nobody is found blocked, and no client late.
fn sticky(by: KeyBy) -> Config {
    let never = Duration::from_secs(3600);
    with(StickyChoice { by, max_head: 8192, deadline: never })
}

fn with(choice: StickyChoice) -> Config {
    let never = Duration::from_secs(3600);
    Config {
        policies: PolicyChoice::Sticky(Arc::new(choice)).into(),
        recall_after: never,
        recall_soon_after: never,
        recall_for_idle_after: never,
        ..Config::default()
    }
}

/// Late as soon as somebody looks.
fn impatient(by: KeyBy) -> Config {
    with(StickyChoice { by, max_head: 8192, deadline: Duration::ZERO })
}

fn by_header() -> KeyBy {
    KeyBy::Header("x-user".into())
}

fn by_query() -> KeyBy {
    KeyBy::Query("sid".into())
}

/// Workers on one server.
struct Site {
    rig: Rig,
    workers: Vec<FakeWorker>,
    port: u16,
}

impl Site {
    fn with_lanes(config: Config, count: usize) -> Site {
        let mut site = Site { rig: Rig::new(config), workers: Vec::new(), port: 0 };
        for _ in 0..count {
            site.fork();
        }
        site
    }

    fn plain(config: Config, count: usize) -> Site {
        let mut rig = Rig::new(config);
        let mut workers: Vec<_> = (0..count).map(|_| rig.fork(Serialization::Json)).collect();
        let port = workers.iter_mut().map(FakeWorker::listen).last().unwrap();
        Site { rig, workers, port }
    }

    /// A client that asks within a session.
    fn ask(&self, sid: &str) -> TcpStream {
        let mut client = connect(self.port);
        client.write_all(poll(sid).as_bytes()).unwrap();
        client
    }

    /// So many clients that have asked within a session, and whose requests have been seen in this order: one that has come
    /// before another may be seen later, if its bytes come later.
    fn ask_often(&self, sid: &str, count: usize) -> Vec<TcpStream> {
        let seen = || self.sum(|counters| counters.sticky_by_key.get());
        let before = seen();
        let after_this = |number: usize| {
            let client = self.ask(sid);
            wait_until(|| seen() == before + number as u64);
            client
        };
        (1..=count).map(after_this).collect()
    }

    /// One more worker with a lane.
    fn fork(&mut self) -> WorkerId {
        let mut worker = self.rig.fork_with_lane();
        self.port = worker.listen();
        let id = worker.id;
        self.workers.push(worker);
        self.rig.settle();
        id
    }

    fn end(&mut self, id: WorkerId) {
        self.workers.retain(|worker| worker.id != id);
        self.rig.reactor.call(Command::Exited(id)).unwrap();
    }

    /// Waits for whoever is given a connection next; it reads all that its client has sent, which is `sent`.
    fn next(&mut self, sent: &str) -> (WorkerId, u16) {
        let start = std::time::Instant::now();
        loop {
            for worker in &mut self.workers {
                if let Some(connection) = worker.look() {
                    worker.turn();
                    let id = worker.id;
                    let mut stream = TcpStream::from(connection.handle);
                    stream.set_nonblocking(false).unwrap();
                    let mut bytes = vec![0; sent.len()];
                    stream.read_exact(&mut bytes).unwrap();
                    assert_eq!(String::from_utf8(bytes).unwrap(), sent);
                    return (id, stream.peer_addr().unwrap().port());
                }
            }
            assert!(start.elapsed() < PATIENCE, "nobody was given a connection");
            std::thread::yield_now();
        }
    }

    /// Who is given a client that sends this.
    fn home_of(&mut self, sent: &str) -> WorkerId {
        let mut client = connect(self.port);
        client.write_all(sent.as_bytes()).unwrap();
        let (id, port) = self.next(sent);
        assert_eq!(port, port_of(&client));
        id
    }

    fn sum(&self, counter: impl Fn(&ServerCounters) -> u64) -> u64 {
        self.rig.stats.servers.read().values().map(|server| counter(&server.counters)).sum()
    }

    fn awaited(&self) -> u64 {
        self.sum(|counters| counters.first_bytes_awaited.get())
    }
}

/// The worker has begun a session.
fn begin(worker: &mut FakeWorker, id: &[u8]) {
    assert!(worker.lane().sessions.begin(id));
    worker.lane().tell_of_sessions().unwrap();
}

fn user(name: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\nX-User: {name}\r\n\r\n")
}

fn poll(sid: &str) -> String {
    let sid = if sid.is_empty() { String::new() } else { format!("&sid={sid}") };
    format!("GET /socket.io/?EIO=4&transport=polling{sid} HTTP/1.1\r\nHost: a\r\n\r\n")
}

#[test]
fn an_address_has_one_worker_until_that_ends_and_its_replacement_gets_it_back() {
    let mut site = Site::with_lanes(sticky(KeyBy::Address), 3);
    let home = site.home_of("");
    (0..5).for_each(|_| assert_eq!(site.home_of(""), home));
    site.end(home);
    let other = site.home_of("");
    assert_ne!(other, home);
    (0..5).for_each(|_| assert_eq!(site.home_of(""), other));
    let replacement = site.fork();
    (0..5).for_each(|_| assert_eq!(site.home_of(""), replacement));
    assert_eq!(site.sum(|counters| counters.sticky_by_address.get()), 17);
}

#[test]
fn plain_workers_get_their_clients_as_well() {
    let mut site = Site::plain(sticky(KeyBy::Address), 3);
    let first = connect(site.port);
    wait_until(|| site.sum(|counters| counters.sticky_by_address.get()) == 1);
    site.rig.settle();
    let home = site.workers.iter().position(FakeWorker::has_mail).unwrap();
    assert_eq!(site.workers[home].serve(), port_of(&first));
    for _ in 0..5 {
        let client = connect(site.port);
        assert_eq!(site.workers[home].serve(), port_of(&client));
    }
}

#[test]
fn a_client_is_known_by_a_header_however_its_head_is_split() {
    let mut site = Site::with_lanes(sticky(by_header()), 3);
    let homes: Vec<_> = (0..12).map(|name| site.home_of(&user(&name.to_string()))).collect();
    assert!(homes.iter().any(|home| *home != homes[0]), "all are on one worker");
    for (name, home) in homes.iter().enumerate() {
        let head = user(&name.to_string());
        let split = 3 + name * 3;
        let mut client = connect(site.port);
        client.set_nodelay(true).unwrap();
        client.write_all(&head.as_bytes()[..split]).unwrap();
        wait_until(|| site.awaited() == 1);
        client.write_all(&head.as_bytes()[split..]).unwrap();
        assert_eq!(site.next(&head), (*home, port_of(&client)));
        assert_eq!(site.awaited(), 0);
    }
    assert_eq!(site.sum(|counters| counters.sticky_by_key.get()), 24);
}

#[test]
fn the_end_of_a_worker_moves_its_clients_only() {
    let mut site = Site::with_lanes(sticky(by_header()), 3);
    let names: Vec<_> = (0..20).map(|name| user(&name.to_string())).collect();
    let homes: Vec<_> = names.iter().map(|name| site.home_of(name)).collect();
    let ended = homes[0];
    site.end(ended);
    for (name, home) in names.iter().zip(&homes) {
        let now = site.home_of(name);
        assert!(if *home == ended { now != ended } else { now == *home });
    }
    let replacement = site.fork();
    for (name, home) in names.iter().zip(&homes) {
        assert_eq!(site.home_of(name), if *home == ended { replacement } else { *home });
    }
}

#[test]
fn the_proxy_protocol_and_forwarded_addresses_name_clients() {
    let forwarded =
        |address: &str| format!("GET / HTTP/1.1\r\nX-Forwarded-For: {address}, 192.0.2.1\r\n\r\n");
    let proxied = |address: &str| format!("PROXY TCP4 {address} 192.0.2.1 1 2\r\n");
    let clients: Vec<_> = (0..12).map(|host| format!("198.51.100.{host}")).collect();
    for (by, head) in [(KeyBy::Proxy, &proxied as &dyn Fn(&str) -> String), (KeyBy::Forwarded(2), &forwarded)]
    {
        let mut site = Site::with_lanes(sticky(by), 3);
        let homes: Vec<_> = clients.iter().map(|client| site.home_of(&head(client))).collect();
        assert!(homes.iter().any(|home| *home != homes[0]), "all are on one worker");
        for (client, home) in clients.iter().zip(&homes) {
            assert_eq!(site.home_of(&head(client)), *home);
        }
        assert_eq!(site.sum(|counters| counters.sticky_by_key.get()), 24);
    }
}

#[test]
fn what_is_no_request_or_too_long_is_known_by_its_address() {
    let choice = StickyChoice { by: by_header(), max_head: 100, deadline: Duration::from_secs(3600) };
    let mut site = Site::with_lanes(with(choice), 3);
    let home = site.home_of("\u{16}\u{3}\u{1}");
    assert_eq!(site.sum(|counters| counters.sticky_by_address.get()), 1);
    let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(100));
    assert_eq!(site.home_of(&long), home);
    assert_eq!(site.sum(|counters| counters.sticky_by_deadline.get()), 1);
}

#[test]
fn who_sends_nothing_or_too_slowly_is_known_by_the_address_at_the_deadline() {
    let mut site = Site::with_lanes(impatient(by_header()), 3);
    let home = site.home_of("");
    for part in ["G", "GET / HTTP/1.1\r\nX-User: u"] {
        assert_eq!(site.home_of(part), home);
    }
    wait_until(|| site.sum(|counters| counters.sticky_by_deadline.get()) == 3);
    assert_eq!(site.awaited(), 0);
}

#[test]
fn who_hangs_up_is_not_waited_for() {
    let mut site = Site::with_lanes(sticky(by_header()), 2);
    for part in ["", "GET / HTTP"] {
        let mut client = connect(site.port);
        client.write_all(part.as_bytes()).unwrap();
        wait_until(|| site.awaited() == 1);
        client.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(site.next(part).1, port_of(&client));
    }
    wait_until(|| site.sum(|counters| counters.sticky_by_address.get()) == 2);
}

#[test]
fn of_too_many_silent_clients_the_first_is_waited_for_no_longer_and_others_are_served_meanwhile() {
    let config = Config { max_first_bytes: 3, max_pending: 2, ..sticky(by_header()) };
    let mut site = Site::with_lanes(config, 2);
    let mut silent: Vec<_> = (0..3).map(|_| connect(site.port)).collect();
    wait_until(|| site.awaited() == 3);
    for place in 0..2 {
        silent.push(connect(site.port));
        assert_eq!(site.next("").1, port_of(&silent[place]));
        // The worker may have the first before the new one is counted.
        wait_until(|| site.awaited() == 3);
    }
    assert_eq!(site.sum(|counters| counters.sticky_by_deadline.get()), 2);
    silent[4].write_all(user("somebody").as_bytes()).unwrap();
    assert_eq!(site.next(&user("somebody")).1, port_of(&silent[4]));
    // As many as may wait for a worker are looked at, and that keeps nobody waiting.
    for _ in 0..5 {
        site.home_of(&user("somebody"));
    }
    assert_eq!(site.awaited(), 2);
}

#[test]
fn a_client_that_sends_every_byte_by_itself_is_looked_at_a_bounded_number_of_times_and_named_at_the_deadline()
{
    let head = user(&"u".repeat(200));
    let choice = StickyChoice { by: by_header(), max_head: 8192, deadline: Duration::from_secs(2) };
    let mut site = Site::with_lanes(with(choice), 3);
    let home = site.home_of(&head);
    let mut client = connect(site.port);
    client.set_nodelay(true).unwrap();
    for byte in head.as_bytes() {
        client.write_all(&[*byte]).unwrap();
    }
    assert_eq!(site.next(&head), (home, port_of(&client)));
    wait_until(|| site.sum(|counters| counters.sticky_by_key.get()) == 2);
}

#[test]
fn a_session_is_the_workers_that_has_begun_it_however_late_the_primary_reads_that() {
    let mut site = Site::with_lanes(sticky(by_query()), 3);
    let ids: Vec<_> = site.workers.iter().map(|worker| worker.id).collect();
    for (place, id) in ids.iter().enumerate() {
        assert!(site.workers[place].look_on_lane().is_none());
        assert_eq!(site.workers[place].lane().sessions.names.take().as_deref(), Some("query sid"));
        for number in 0..8 {
            let sid = format!("{place}-{number}");
            // Whoever is idle gets the first request. The answer comes behind this.
            site.home_of(&poll(""));
            begin(&mut site.workers[place], sid.as_bytes());
            assert_eq!(site.home_of(&poll(&sid)), *id);
            assert_eq!(site.home_of(&poll(&sid)), *id);
        }
    }
    assert_eq!(site.sum(|counters| counters.sticky_without_session.get()), 24);
    // No worker takes another's.
    begin(&mut site.workers[1], b"0-0");
    assert_eq!(site.home_of(&poll("0-0")), ids[0]);
    site.end(ids[0]);
    let now = site.home_of(&poll("0-0"));
    assert_ne!(now, ids[0]);
    let sessions = |id: WorkerId| site.rig.stats.workers.read()[&id].counters.sessions.get();
    assert_eq!((sessions(ids[1]), sessions(ids[2])), (8, 8));
}

#[test]
fn who_names_no_session_is_known_by_the_address_where_workers_do_not_say_what_they_begin() {
    let mut site = Site::plain(sticky(by_query()), 3);
    let mut home = None;
    for count in 1..=6 {
        let mut client = connect(site.port);
        client.write_all(poll("").as_bytes()).unwrap();
        wait_until(|| site.sum(|counters| counters.sticky_by_address.get()) == count);
        site.rig.settle();
        let place = site.workers.iter().position(FakeWorker::has_mail).unwrap();
        assert_eq!(site.workers[place].serve(), port_of(&client));
        assert_eq!(*home.get_or_insert(place), place);
    }
}

#[test]
fn who_waits_for_a_worker_keeps_nobody_else_waiting_and_strays_if_too_many_do() {
    let config = Config { max_pending: 200, ..sticky(by_query()) };
    let mut site = Site::with_lanes(config, 2);
    let ids: Vec<_> = site.workers.iter().map(|worker| worker.id).collect();
    for (place, sid) in ["one", "two"].into_iter().enumerate() {
        begin(&mut site.workers[place], sid.as_bytes());
    }
    // As many as its lane may have, and as many as may wait for it.
    let window = crate::primary::LANE_WINDOW;
    let waiting = site.ask_often("one", window + 100);
    wait_until(|| site.sum(|counters| counters.pending.get()) == 100);
    let mut blocked = site.workers.remove(0);
    for _ in 0..5 {
        assert_eq!(site.home_of(&poll("two")), ids[1]);
    }
    assert_eq!(site.sum(|counters| counters.strayed.get()), 0);
    let stray = site.ask("one");
    assert_eq!(site.next(&poll("one")), (ids[1], port_of(&stray)));
    assert_eq!(site.sum(|counters| counters.strayed.get()), 1);
    // In their order, once it has time.
    for client in &waiting {
        assert_eq!(blocked.serve_on_lane(), port_of(client));
    }
}

#[test]
fn what_waits_for_a_worker_goes_to_others_when_it_ends() {
    let mut site = Site::with_lanes(sticky(by_query()), 2);
    let ids: Vec<_> = site.workers.iter().map(|worker| worker.id).collect();
    begin(&mut site.workers[0], b"one");
    let count = crate::primary::LANE_WINDOW + 10;
    let waiting = site.ask_often("one", count);
    site.end(ids[0]);
    let mut served: Vec<_> = waiting.iter().map(|_| site.next(&poll("one")).1).collect();
    let mut expected: Vec<_> = waiting.iter().map(port_of).collect();
    served.sort_unstable();
    expected.sort_unstable();
    assert_eq!(served, expected);
}

#[test]
fn a_worker_that_refuses_its_client_is_passed_over_for_this_connection() {
    let mut site = Site::plain(sticky(KeyBy::Address), 2);
    let client = connect(site.port);
    wait_until(|| site.workers.iter().any(FakeWorker::has_mail));
    let home = site.workers.iter().position(FakeWorker::has_mail).unwrap();
    let offer = site.workers[home].offer();
    site.workers[home].decide(&offer, false);
    assert_eq!(site.workers[1 - home].serve(), port_of(&client));
    let next = connect(site.port);
    assert_eq!(site.workers[home].serve(), port_of(&next));
}

#[test]
fn a_worker_of_weight_0_keeps_the_sessions_that_it_has_begun_and_gets_no_other_clients() {
    let mut site = Site::with_lanes(sticky(by_query()), 2);
    let ids: Vec<_> = site.workers.iter().map(|worker| worker.id).collect();
    begin(&mut site.workers[0], b"one");
    site.rig.reactor.call(Command::Weigh(ids[0], 0)).unwrap();
    assert_eq!(site.home_of(&poll("one")), ids[0]);
    for sid in ["", "a", "b", "c", "d", "e", "f"] {
        assert_eq!(site.home_of(&poll(sid)), ids[1]);
    }
}

#[test]
fn a_request_on_a_kept_connection_waits_for_its_own_worker_and_that_of_another_session_goes_to_its() {
    let mut site = Site { rig: Rig::new(sticky(by_query()).balance_kept()), workers: Vec::new(), port: 0 };
    for _ in 0..2 {
        let mut worker = site.rig.fork_with_pulse();
        site.port = worker.listen();
        site.workers.push(worker);
    }
    site.rig.settle();
    let ids: Vec<_> = site.workers.iter().map(|worker| worker.id).collect();
    for (place, sid) in ["one", "two"].into_iter().enumerate() {
        begin(&mut site.workers[place], sid.as_bytes());
    }
    // Two that the first worker keeps, and that rest.
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut client = connect(site.port);
        client.write_all(poll("one").as_bytes()).unwrap();
        let worker = &mut site.workers[0];
        let connection = worker.receive_on_lane();
        worker.turn();
        let stream = TcpStream::from(connection.handle.try_clone().unwrap());
        stream.set_nonblocking(false).unwrap();
        (&stream).read_exact(&mut vec![0; poll("one").len()]).unwrap();
        let handle = connection.handle.as_fd();
        let slot =
            worker.lane().keep(handle, connection.kind, &connection.key, 0, |_| true).unwrap().unwrap();
        kept.push((client, connection, slot));
    }
    let held = |id: WorkerId| site.rig.stats.workers.read()[&id].counters.kept.get();
    wait_until(|| held(ids[0]) == 2);
    // The worker does not turn any more. The other, which is idle, gets what is its own.
    kept[0].0.write_all(poll("one").as_bytes()).unwrap();
    kept[1].0.write_all(poll("two").as_bytes()).unwrap();
    let own = site.workers.remove(0);
    assert_eq!(site.next(&poll("two")), (ids[1], port_of(&kept[1].0)));
    site.workers.insert(0, own);
    let lane = site.workers[0].lane();
    assert_eq!((lane.claim(kept[0].2), lane.claim(kept[1].2)), (Claim::Ours, Claim::Moved));
}

#[test]
fn a_session_without_an_id_or_with_a_long_one_ends_the_worker_that_says_so() {
    for id in [Vec::new(), vec![b'x'; MAX_SESSION_ID + 1]] {
        let mut site = Site::with_lanes(sticky(by_query()), 1);
        let mut bytes = Vec::new();
        FromWorker::Session(id).encode(&mut bytes);
        os::send_packet(site.workers[0].lane().as_fd(), &bytes, None).unwrap();
        site.rig.wait_for(|event| match event {
            Event::Channel(_, ChannelEvent::Closed(cause)) => {
                assert!(matches!(cause, Some(Error::BadFrame(_))), "{cause:?}");
                Some(())
            }
            _ => None,
        });
    }
}

#[test]
fn a_change_of_the_policy_gives_what_is_looked_at_and_what_waits_to_anybody() {
    let mut site = Site::with_lanes(sticky(by_query()), 2);
    let mut silent = connect(site.port);
    wait_until(|| site.awaited() == 1);
    begin(&mut site.workers[0], b"one");
    let count = crate::primary::LANE_WINDOW + 1;
    let waiting = site.ask_often("one", count);
    let blocked = site.workers.remove(0);
    let policies = PolicyChoice::RoundRobin.into();
    site.rig.reactor.call(Command::Configure(Config { policies, ..sticky(by_query()) })).unwrap();
    assert_eq!(site.next(&poll("one")).1, port_of(waiting.last().unwrap()));
    silent.write_all(b"G").unwrap();
    assert_eq!(site.next("G").1, port_of(&silent));
    drop(blocked);
}
