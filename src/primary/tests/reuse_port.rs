//! Workers with listening sockets of their own: who accepts, and in whose place the primary does.

use std::io::Read;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::sys::stat::fstat;
use serde_json::json;

use super::super::config::Patience;
use super::rig::{Body, FakeWorker, NOBODY, Rig, tcp, wait_until};
use super::{Config, connect, port_of, wait_for_no_servers};
use crate::os::{self, AbstractNames};
use crate::primary::Command;
use crate::proto::Serialization;
use crate::sched::PolicyChoice;

fn config() -> Config {
    Config { policies: PolicyChoice::ReusePort.into(), ..Config::default() }
}

/// Nobody is found not to accept, however long this test is kept from running.
fn patient() -> Config {
    let never = Duration::from_secs(3600);
    Config { patience: Patience { unread: never, crowded: never }, ..config() }
}

/// Has a worker listen on 127.0.0.1, and say so; returns its socket and the port.
fn listen(rig: &Rig, worker: &mut FakeWorker) -> (OwnedFd, u16) {
    let (reply, socket) = worker.query(tcp(0));
    assert_eq!(reply["errno"], 0, "{reply}");
    let socket = socket.unwrap();
    let port = begin(rig, worker, &socket);
    (socket, port)
}

/// A worker that has been given a socket says that it listens; returns the port.
fn begin(rig: &Rig, worker: &mut FakeWorker, socket: &OwnedFd) -> u16 {
    let port = os::local_address(socket.as_fd()).unwrap().unwrap().port;
    worker.act("listening", json!({"address": "127.0.0.1", "port": port, "addressType": 4}));
    rig.settle();
    port
}

/// The clients of all connections that wait at a socket.
fn accept_all(socket: &OwnedFd) -> Vec<u16> {
    let accepted = std::iter::from_fn(|| os::accept(socket.as_fd()).ok());
    accepted
        .map(|accepted| match accepted.peer {
            crate::address::Peer::Ip(_, port) => port,
            crate::address::Peer::Unix => panic!("no path"),
        })
        .collect()
}

fn accepted(rig: &Rig) -> u64 {
    rig.stats.servers.read().values().map(|server| server.counters.accepted.get()).sum()
}

fn rescued(rig: &Rig, worker: &FakeWorker) -> u64 {
    rig.stats.workers.read()[&worker.id].counters.rescued.get()
}

fn is_absent(rig: &Rig, worker: &FakeWorker) -> bool {
    rig.stats.workers.read()[&worker.id].absent.load(Ordering::Relaxed) > 0
}

fn ports(clients: &[TcpStream]) -> Vec<u16> {
    let mut ports: Vec<u16> = clients.iter().map(port_of).collect();
    ports.sort_unstable();
    ports
}

/// Serves so many connections that the primary offers; returns their clients.
fn serve(worker: &mut FakeWorker, count: usize) -> Vec<u16> {
    (0..count).map(|_| worker.serve()).collect()
}

#[test]
fn each_worker_has_a_socket_and_the_primary_accepts_nothing() {
    let mut rig = Rig::new(patient());
    let mut workers =
        [rig.fork(Serialization::Json), rig.fork(Serialization::Advanced), rig.fork_with_pulse()];
    let listening = workers.each_mut().map(|worker| listen(&rig, worker));
    assert!(listening.iter().all(|(_, port)| *port == listening[0].1));
    let clients: Vec<TcpStream> = (0..60).map(|_| connect(listening[0].1)).collect();
    let shares = listening.each_ref().map(|(socket, _)| accept_all(socket));
    assert!(shares.iter().all(|share| share.len() > 3), "{shares:?}");
    let mut all = shares.concat();
    all.sort_unstable();
    assert_eq!(all, ports(&clients));
    rig.settle();
    assert_eq!(accepted(&rig), 0);
    let stats = rig.stats.servers.read();
    assert!(stats.values().all(|server| &**server.policy.lock() == "reuse-port"));
    assert!(stats.values().all(|server| server.policy_reason.lock().is_none()));
}

#[test]
fn what_waits_at_the_socket_of_a_worker_that_dies_goes_to_another_and_new_ones_do_not_come_there() {
    let mut rig = Rig::new(patient());
    let (mut one, mut two) = (rig.fork(Serialization::Json), rig.fork(Serialization::Json));
    let ((first, port), (second, _)) = (listen(&rig, &mut one), listen(&rig, &mut two));
    let before: Vec<TcpStream> = (0..40).map(|_| connect(port)).collect();
    let mut served = accept_all(&second);
    let left = before.len() - served.len();
    assert!(left > 0);
    drop((one, first));
    served.extend(serve(&mut two, left));
    served.sort_unstable();
    assert_eq!(served, ports(&before));
    assert_eq!(accepted(&rig), left as u64);
    let after: Vec<TcpStream> = (0..40).map(|_| connect(port)).collect();
    assert_eq!(accept_all(&second).len(), after.len());
    assert_eq!(accepted(&rig), left as u64);
    // Nobody was reset.
    for client in &before {
        client.set_nonblocking(true).unwrap();
        let end = (&*client).read(&mut [0; 2]);
        assert!(
            end.as_ref().map_or_else(|error| error.kind() == std::io::ErrorKind::WouldBlock, |_| true),
            "{end:?}"
        );
    }
}

#[test]
fn who_comes_next_takes_over_the_socket_of_one_that_has_gone() {
    let mut rig = Rig::new(patient());
    let mut workers = [rig.fork(Serialization::Json), rig.fork(Serialization::Json)];
    let [(first, port), (second, _)] = workers.each_mut().map(|worker| listen(&rig, worker));
    let inode = |socket: &OwnedFd| fstat(socket).unwrap().st_ino;
    let of_first = inode(&first);
    let [one, two] = workers;
    drop((one, first));
    // The primary knows.
    wait_until(|| rig.stats.workers.read().len() == 1);
    let mut three = rig.fork(Serialization::Json);
    let (third, _) = listen(&rig, &mut three);
    assert_eq!(inode(&third), of_first);
    let mut four = rig.fork(Serialization::Json);
    let (fourth, _) = listen(&rig, &mut four);
    assert!(![of_first, inode(&second)].contains(&inode(&fourth)));
    let clients: Vec<TcpStream> = (0..60).map(|_| connect(port)).collect();
    let shares = [&second, &third, &fourth].map(accept_all);
    assert!(shares.iter().all(|share| share.len() > 3), "{shares:?}");
    assert_eq!(shares.concat().len(), clients.len());
    assert_eq!(accepted(&rig), 0);
    drop(two);
}

#[test]
fn until_a_worker_says_that_it_listens_others_get_what_comes_to_its_socket() {
    let mut rig = Rig::new(patient());
    let (mut one, mut two) = (rig.fork(Serialization::Json), rig.fork(Serialization::Json));
    let (first, port) = listen(&rig, &mut one);
    let (_, second) = two.query(tcp(0));
    let second = second.unwrap();
    let clients: Vec<TcpStream> = (0..40).map(|_| connect(port)).collect();
    assert_eq!(accept_all(&first).len(), clients.len());
    assert!(!two.has_mail());
    begin(&rig, &mut two, &second);
    let clients: Vec<TcpStream> = (0..40).map(|_| connect(port)).collect();
    let shares = [&first, &second].map(|socket| accept_all(socket).len());
    assert!(shares.iter().all(|share| *share > 3) && shares[0] + shares[1] == clients.len(), "{shares:?}");
    assert!(rig.stats.workers.read().values().all(|worker| worker.counters.stalls.get() == 0));
}

#[test]
fn what_comes_before_any_worker_listens_waits_in_the_primary() {
    let mut rig = Rig::new(patient());
    let mut worker = rig.fork(Serialization::Json);
    let (_, socket) = worker.query(tcp(0));
    let socket = socket.unwrap();
    let port = os::local_address(socket.as_fd()).unwrap().unwrap().port;
    let client = connect(port);
    wait_until(|| accepted(&rig) == 1);
    assert!(!worker.has_mail());
    begin(&rig, &mut worker, &socket);
    assert_eq!(worker.serve(), port_of(&client));
}

#[test]
fn a_worker_that_leaves_is_replaced_by_the_primary_until_it_has_gone() {
    let mut rig = Rig::new(patient());
    let mut workers = [rig.fork(Serialization::Json), rig.fork(Serialization::Json)];
    let [(first, port), (second, _)] = workers.each_mut().map(|worker| listen(&rig, worker));
    let [mut one, mut two] = workers;
    let clients: Vec<TcpStream> = (0..40).map(|_| connect(port)).collect();
    let left = clients.len() - accept_all(&second).len();
    rig.reactor.call(Command::Disconnect(one.id)).unwrap();
    assert_eq!(one.receive().0["act"], "disconnect");
    assert_eq!(serve(&mut two, left).len(), left);
    assert!(accept_all(&first).is_empty());
}

#[test]
fn a_worker_that_closes_its_server_goes_and_the_last_one_frees_the_port() {
    let mut rig = Rig::new(patient());
    let mut workers = [rig.fork(Serialization::Json), rig.fork(Serialization::Json)];
    let [(first, port), (second, _)] = workers.each_mut().map(|worker| listen(&rig, worker));
    let [mut one, mut two] = workers;
    let key = rig.stats.servers.read().values().next().unwrap().key.to_string();
    let clients: Vec<TcpStream> = (0..40).map(|_| connect(port)).collect();
    let left = clients.len() - accept_all(&second).len();
    one.act("close", json!({ "key": key }));
    drop(first);
    assert_eq!(serve(&mut two, left).len(), left);
    two.act("close", json!({ "key": key }));
    drop(second);
    wait_for_no_servers(&rig);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    // And it may be had again, by anybody.
    let (reply, _again) = one.query(tcp(port));
    assert_eq!(reply["errno"], 0);
}

#[test]
fn a_port_that_somebody_else_has_is_refused_whatever_its_socket_allows() {
    let theirs = os::bind_tcp(Some("127.0.0.1"), 0, 0).unwrap();
    os::listen(theirs.socket.as_fd(), 5).unwrap();
    os::open_port_to_siblings(theirs.socket.as_fd()).unwrap();
    let port = os::local_address(theirs.socket.as_fd()).unwrap().unwrap().port;
    let mut rig = Rig::new(patient());
    let mut worker = rig.fork(Serialization::Json);
    assert_eq!(worker.query(tcp(port)).0["errno"], -libc::EADDRINUSE);
    let (_socket, port) = listen(&rig, &mut worker);
    let ours = std::net::TcpListener::bind(("127.0.0.1", port));
    assert_eq!(ours.unwrap_err().raw_os_error(), Some(libc::EADDRINUSE));
    // Another primary of this policy.
    let mut other = Rig::new(patient());
    assert_eq!(other.fork(Serialization::Json).query(tcp(port)).0["errno"], -libc::EADDRINUSE);
}

/// Two workers, of which the kernel shows the main threads.
fn with_bodies(rig: &mut Rig) -> ([Body; 2], [FakeWorker; 2], [(OwnedFd, u16); 2]) {
    let bodies = [Body::new(), Body::new()];
    let mut workers = bodies.each_ref().map(|body| rig.fork_process(body.id));
    let listening = workers.each_mut().map(|worker| listen(rig, worker));
    (bodies, workers, listening)
}

/// From now on nobody is found not to accept, and those are not any more who were only kept from it, like this test.
fn be_patient(rig: &Rig, present: &FakeWorker) {
    rig.reactor.call(Command::Configure(patient())).unwrap();
    wait_until(|| !is_absent(rig, present));
}

fn stalls(rig: &Rig, worker: &FakeWorker) -> u64 {
    rig.stats.workers.read()[&worker.id].counters.stalls.get()
}

/// Connects until the worker has something in its queue.
fn fill(port: u16, socket: &OwnedFd, clients: &mut Vec<TcpStream>) {
    while !os::has_backlog(socket.as_fd()) {
        clients.push(connect(port));
    }
}

#[test]
fn the_connections_of_a_plain_worker_that_is_blocked_go_to_others_until_it_waits_for_events_again() {
    let mut rig = Rig::new(patient());
    let (bodies, [busy, mut other], [(first, port), (second, _)]) = with_bodies(&mut rig);
    // It is known: it was seen to wait.
    wait_until(|| {
        let mut clients = Vec::new();
        fill(port, &first, &mut clients);
        accept_all(&first);
        accept_all(&second);
        rig.stats.workers.read()[&busy.id].idle_by.lock().clone() != super::super::IdleBy::NOT_SEEN
    });
    bodies[0].block();
    rig.reactor.call(Command::Configure(config())).unwrap();
    let mut clients = Vec::new();
    let deadline = std::time::Instant::now() + super::PATIENCE;
    while !is_absent(&rig, &busy) {
        clients.push(connect(port));
        accept_all(&second);
        while other.has_mail() {
            other.serve();
        }
        assert!(std::time::Instant::now() < deadline, "it was never found blocked");
        std::thread::sleep(Duration::from_millis(1));
    }
    be_patient(&rig, &other);
    wait_until(|| rescued(&rig, &busy) > 0 && !os::has_backlog(first.as_fd()));
    assert_eq!(stalls(&rig, &busy), 1);
    // What comes now comes to the other's socket.
    rig.settle();
    let before = rescued(&rig, &busy);
    while other.has_mail() {
        other.serve();
    }
    accept_all(&second);
    let after: Vec<TcpStream> = (0..30).map(|_| connect(port)).collect();
    assert_eq!(accept_all(&second).len(), after.len());
    assert_eq!(rescued(&rig, &busy), before);
    bodies[0].unblock();
    wait_until(|| !is_absent(&rig, &busy));
    // It has its share again.
    fill(port, &first, &mut clients);
    assert!(!accept_all(&first).is_empty());
}

#[test]
fn the_connections_of_a_worker_whose_pulse_stands_still_go_to_others_until_it_turns() {
    let mut rig = Rig::new(config());
    let (mut still, mut other) = (rig.fork_with_pulse(), rig.fork(Serialization::Json));
    let ((first, port), (second, _)) = (listen(&rig, &mut still), listen(&rig, &mut other));
    let mut clients = Vec::new();
    fill(port, &first, &mut clients);
    wait_until(|| rescued(&rig, &still) > 0 && !os::has_backlog(first.as_fd()));
    assert!(is_absent(&rig, &still));
    accept_all(&second);
    let taken = rescued(&rig, &still) as usize;
    assert_eq!(serve(&mut other, taken).len(), taken);
    still.poll();
    be_patient(&rig, &still);
    fill(port, &first, &mut clients);
    assert!(!accept_all(&first).is_empty());
}

#[test]
fn a_worker_of_which_nobody_tells_gets_its_socket_back_to_see_whether_it_accepts() {
    let mut rig = Rig::new(config());
    let (mut unknown, mut other) = (rig.fork_process(NOBODY), rig.fork(Serialization::Json));
    let ((first, port), (second, _)) = (listen(&rig, &mut unknown), listen(&rig, &mut other));
    let mut clients = Vec::new();
    for count in 1..3 {
        // It was not absent, or has its socket back.
        while stalls(&rig, &unknown) < count {
            clients.push(connect(port));
            accept_all(&second);
            wait_until(|| !os::has_backlog(first.as_fd()));
        }
        wait_until(|| !is_absent(&rig, &unknown));
    }
    // What was accepted in its place waits for whoever has time, or was offered.
    wait_until(|| rescued(&rig, &unknown) > 1);
    wait_until(|| unknown.has_mail() || other.has_mail());
}

#[test]
fn what_cannot_share_a_port_has_the_default_policy_and_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let own = os::bind_unix(&directory.path().join("own"), AbstractNames::Exact, false, false).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut rig = Rig::new(config());
    let mut worker = rig.fork(Serialization::Json);
    let mut second = rig.fork(Serialization::Json);
    let queries = [
        (
            json!({"index": 0, "address": path, "port": -1, "addressType": -1}),
            "one-queue",
            "a path has one socket",
        ),
        (
            json!({"index": 0, "address": null, "port": -1, "addressType": 4, "fd": listener.as_raw_fd()}),
            "one-queue",
            "the socket is one that the program has opened",
        ),
        (
            json!({"index": 0, "address": "127.0.0.1", "port": 0, "addressType": "udp4", "flags": 0}),
            "none",
            "workers read datagrams from one socket",
        ),
    ];
    for (query, policy, reason) in queries {
        let (_, socket) = worker.query(query.clone());
        assert_eq!(second.query(query).1.is_some(), socket.is_some());
        assert_eq!(socket.is_some(), policy == "none");
        let stats = rig.stats.servers.read();
        let newest = stats.values().last().unwrap();
        assert_eq!((&**newest.policy.lock(), newest.policy_reason.lock().as_deref()), (policy, Some(reason)));
    }
    drop(own);
    // The same worker has a socket of its own beside them.
    listen(&rig, &mut worker);
}

#[test]
fn ipv6_only_and_all_addresses_hold_for_each_socket() {
    for (address, flags, is_dual) in [(json!("::"), 1, false), (json!(null), 0, true)] {
        let mut rig = Rig::new(patient());
        let mut workers = [rig.fork(Serialization::Json), rig.fork(Serialization::Json)];
        let query =
            json!({"index": 0, "address": address, "port": 0, "addressType": 6, "fd": -1, "flags": flags});
        let sockets = workers.each_mut().map(|worker| {
            let socket = worker.query(query.clone()).1.unwrap();
            begin(&rig, worker, &socket);
            socket
        });
        let port = os::local_address(sockets[0].as_fd()).unwrap().unwrap().port;
        let only_v6 = |socket: &OwnedFd| socket2::SockRef::from(socket).only_v6().unwrap();
        assert!(sockets.iter().all(|socket| only_v6(socket) != is_dual));
        let clients: Vec<_> = (0..40).map(|_| TcpStream::connect(("::1", port)).unwrap()).collect();
        let shares = sockets.each_ref().map(|socket| accept_all(socket).len());
        assert!(shares.iter().all(|share| *share > 3), "{shares:?}");
        assert_eq!(shares.iter().sum::<usize>(), clients.len());
    }
}

#[test]
fn at_rest_nobody_looks() {
    let mut rig = Rig::new(config());
    let mut worker = rig.fork_process(NOBODY);
    let (socket, port) = listen(&rig, &mut worker);
    let turns = || {
        let mut tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|entry| entry.unwrap().path());
        let named = |path: &std::path::PathBuf| {
            std::fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim_end() == rig.thread)
        };
        let status = std::fs::read_to_string(tasks.find(named).unwrap().join("status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let rests = || {
        wait_until(|| {
            let before = turns();
            std::thread::sleep(Duration::from_millis(100));
            turns() == before
        });
    };
    rests();
    let before = turns();
    let _client = connect(port);
    wait_until(|| turns() > before);
    accept_all(&socket);
    rests();
}

#[test]
fn the_kernel_shares_connections_by_weight_and_a_worker_of_weight_0_gets_none() {
    let mut rig = Rig::new(patient());
    let mut workers = [(); 3].map(|()| rig.fork(Serialization::Json));
    let listening = workers.each_mut().map(|worker| listen(&rig, worker));
    let shares = |clients: usize| {
        let clients: Vec<TcpStream> = (0..clients).map(|_| connect(listening[0].1)).collect();
        let shares = listening.each_ref().map(|(socket, _)| accept_all(socket).len());
        assert_eq!(shares.iter().sum::<usize>(), clients.len());
        shares
    };
    rig.reactor.call(Command::Weigh(workers[0].id, 3)).unwrap();
    rig.reactor.call(Command::Weigh(workers[2].id, 0)).unwrap();
    let [three, one, none] = shares(90);
    // One in four of 90, give or take five standard deviations.
    assert!(none == 0 && (3..=43).contains(&one), "{three} {one} {none}");
    for worker in &workers {
        rig.reactor.call(Command::Weigh(worker.id, 1)).unwrap();
    }
    assert!(shares(90).iter().all(|share| *share > 5));
    assert_eq!(accepted(&rig), 0);
}

#[test]
fn a_worker_that_ends_its_socket_harms_nobody_else() {
    let mut rig = Rig::new(patient());
    let mut workers = [(); 3].map(|()| rig.fork(Serialization::Json));
    let listening = workers.each_mut().map(|worker| listen(&rig, worker));
    let port = listening[0].1;
    let [(first, _), (second, _), (third, _)] = &listening;
    nix::sys::socket::shutdown(first.as_raw_fd(), nix::sys::socket::Shutdown::Both).unwrap();
    let clients: Vec<TcpStream> = (0..60).map(|_| connect(port)).collect();
    let shares = [second, third].map(|socket| accept_all(socket).len());
    assert!(shares.iter().all(|share| *share > 5), "{shares:?}");
    assert_eq!(shares.iter().sum::<usize>(), clients.len());
    // It goes. Nobody is told that something was wrong, and nobody gets that socket.
    let [ending, mut leaving, staying] = workers;
    drop(ending);
    wait_until(|| rig.stats.workers.read().len() == 2);
    let mut next = rig.fork(Serialization::Json);
    let (fourth, _) = listen(&rig, &mut next);
    assert_ne!(fstat(&fourth).unwrap().st_ino, fstat(first).unwrap().st_ino);
    // The kernel has numbered the others anew, and so has the primary.
    let key = rig.stats.servers.read().values().next().unwrap().key.to_string();
    leaving.act("close", json!({ "key": key }));
    rig.settle();
    let clients: Vec<TcpStream> = (0..60).map(|_| connect(port)).collect();
    let shares = [third, &fourth].map(|socket| accept_all(socket).len());
    assert!(shares.iter().all(|share| *share > 5), "{shares:?}");
    assert_eq!(shares.iter().sum::<usize>(), clients.len());
    assert_eq!(accepted(&rig), 0);
    assert!(!rig.events().iter().any(|event| matches!(event, crate::primary::Event::Fault(_))));
    drop(staying);
}

#[test]
fn a_worker_that_made_its_socket_blocking_stopped_the_primary_that_accepted_there() {
    let mut rig = Rig::new(patient());
    let (mut one, mut two) = (rig.fork(Serialization::Json), rig.fork(Serialization::Json));
    let ((first, port), (second, _)) = (listen(&rig, &mut one), listen(&rig, &mut two));
    let clients: Vec<TcpStream> = (0..40).map(|_| connect(port)).collect();
    let left = clients.len() - accept_all(&second).len();
    socket2::SockRef::from(&first).set_nonblocking(false).unwrap();
    // The primary has the same open socket, and accepts until there is nothing more.
    drop((one, first));
    assert_eq!(serve(&mut two, left).len(), left);
    rig.settle();
    assert_eq!(accepted(&rig), left as u64);
}

#[test]
fn where_the_kernel_cannot_be_told_who_accepts_the_primary_does_and_says_why() {
    let mut rig = Rig::new(patient());
    let mut workers = [rig.fork(Serialization::Json), rig.fork(Serialization::Json)];
    let [(first, port), (second, _)] = workers.each_mut().map(|worker| listen(&rig, worker));
    os::testing::lock_filters(first.as_fd());
    let [mut one, two] = workers;
    drop((two, second));
    wait_until(|| rig.stats.workers.read().len() == 1);
    let clients: Vec<TcpStream> = (0..40).map(|_| connect(port)).collect();
    let own = accept_all(&first).len();
    assert!(own > 3 && own < clients.len());
    assert_eq!(serve(&mut one, clients.len() - own).len(), clients.len() - own);
    let stats = rig.stats.servers.read();
    let reason = stats.values().next().unwrap().policy_reason.lock().clone();
    assert_eq!(
        reason.as_deref(),
        Some("the kernel cannot be told which workers accept: EPERM: Operation not permitted")
    );
}
