//! One primary takes the place of another.

use std::net::TcpStream;
use std::os::fd::AsFd;

use serde_json::json;

use super::super::{Command, Config, Estate, receive_estate};
#[cfg(target_os = "linux")]
use super::kept::{balanced, keepers, rest};
use super::rig::{FakeWorker, Rig, tcp};
use super::{connect, pair, port_of};
use crate::os::{self, SocketPair};
use crate::proto::Serialization;
use crate::sched::PolicyChoice;

/// Hands over all sockets of `old`, and returns the new primary, which has not begun.
fn succeed(old: &Rig, config: Config) -> Rig {
    let new = Rig::new(config);
    let SocketPair { ours, theirs } = os::packet_pair().unwrap();
    old.reactor.call(Command::HandOver(theirs)).unwrap();
    let mut estate = Estate::new();
    assert!(receive_estate(&ours, &mut estate).unwrap());
    new.reactor.call(Command::Succeed(ours, estate)).unwrap();
    new
}

fn begin(old: &Rig, new: &Rig) {
    new.reactor.call(Command::Begin).unwrap();
    old.reactor.call(Command::Yield).unwrap();
}

#[cfg(target_os = "linux")]
fn port_at(socket: std::os::fd::BorrowedFd<'_>) -> u16 {
    os::local_address(socket).unwrap().unwrap().port
}

fn sorted(mut ports: Vec<u16>) -> Vec<u16> {
    ports.sort_unstable();
    ports
}

#[test]
fn the_new_one_listens_at_the_same_ports_and_accepts_when_it_begins() {
    let (old, mut one, _two, port) = pair(Config::default());
    let mut new = succeed(&old, Config::default());
    let mut worker = new.fork(Serialization::Json);
    // Any port was asked for, and it is the same one.
    assert_eq!(worker.listen(), port);
    let client = connect(port);
    assert_eq!(one.serve(), port_of(&client));
    new.settle();
    assert!(!worker.has_mail());
    begin(&old, &new);
    let client = connect(port);
    assert_eq!(worker.serve(), port_of(&client));
    assert!(!one.has_mail());
}

#[test]
fn an_old_primary_whose_heir_has_gone_is_as_before() {
    let (old, mut one, _two, port) = pair(Config::default());
    let new = succeed(&old, Config::default());
    drop(new);
    old.settle();
    let client = connect(port);
    assert_eq!(one.serve(), port_of(&client));
    // And another one may come.
    let mut new = succeed(&old, Config::default());
    assert_eq!(new.fork(Serialization::Json).listen(), port);
}

#[test]
fn what_no_worker_of_the_old_one_takes_goes_to_the_new_one() {
    let (old, one, two, port) = pair(Config::default());
    let mut new = succeed(&old, Config::default());
    let mut worker = new.fork(Serialization::Json);
    worker.listen();
    // More than the workers may have under way: some wait in the primary.
    let clients: Vec<TcpStream> = (0..20).map(|_| connect(port)).collect();
    old.settle();
    begin(&old, &new);
    drop((one, two));
    let served = clients.iter().map(|_| worker.serve()).collect();
    assert_eq!(sorted(served), sorted(clients.iter().map(port_of).collect()));
}

#[test]
#[cfg(target_os = "linux")]
fn connections_that_rest_go_along_with_their_next_request() {
    use std::io::Write;

    let (old, [mut one], port) = keepers(balanced());
    let mut new = succeed(&old, balanced());
    let mut worker = new.fork(Serialization::Json);
    assert_eq!(worker.listen(), port);
    let mut client = connect(port);
    let _kept = rest(&mut one, 60_000);
    old.settle();
    begin(&old, &new);
    old.reactor.call(Command::Disconnect(one.id)).unwrap();
    new.settle();
    assert!(!worker.has_mail());
    client.write_all(b"?").unwrap();
    assert_eq!(worker.serve(), port_of(&client));
}

#[test]
#[cfg(target_os = "linux")]
fn sockets_that_share_a_port_go_together_and_so_does_what_waits_in_them() {
    let config = || Config { policies: PolicyChoice::ReusePort.into(), ..Config::default() };
    let mut old = Rig::new(config());
    let mut workers: Vec<FakeWorker> = (0..3).map(|_| old.fork(Serialization::Json)).collect();
    let sockets = workers.iter_mut().map(|worker| worker.query(tcp(0)).1.unwrap());
    let ports: Vec<u16> = sockets.map(|socket| port_at(socket.as_fd())).collect();
    let port = ports[0];
    let mut new = succeed(&old, config());
    let mut worker = new.fork(Serialization::Json);
    let (_, socket) = worker.query(tcp(0));
    assert_eq!(port_at(socket.unwrap().as_fd()), port);
    begin(&old, &new);
    // No worker of the old one accepts: each of its sockets has some, and the new primary stands in.
    let clients: Vec<TcpStream> = (0..40).map(|_| connect(port)).collect();
    drop(workers);
    let served = clients.iter().map(|_| worker.serve()).collect();
    assert_eq!(sorted(served), sorted(clients.iter().map(port_of).collect()));
}

#[test]
fn the_file_of_a_path_is_the_new_ones_once_it_has_begun_and_the_old_ones_before() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let query = json!({
        "key": "k", "address": path.to_str(), "port": -1, "addressType": -1, "index": 0, "data": null,
    });
    let mut old = Rig::new(Config::default());
    let mut one = old.fork(Serialization::Json);
    one.query(query.clone());
    // One that has not begun leaves it where it is.
    let mut failing = succeed(&old, Config::default());
    failing.fork(Serialization::Json).query(query.clone());
    drop(failing);
    old.settle();
    assert!(path.exists());
    let mut new = succeed(&old, Config::default());
    let mut worker = new.fork(Serialization::Json);
    worker.query(query);
    begin(&old, &new);
    old.reactor.call(Command::Exited(one.id)).unwrap();
    old.settle();
    assert!(path.exists(), "the old one has left it");
    new.reactor.call(Command::Exited(worker.id)).unwrap();
    new.settle();
    assert!(!path.exists());
}

#[test]
fn what_no_server_of_the_new_one_has_is_closed_when_it_begins() {
    let (old, one, two, port) = pair(Config::default());
    let new = succeed(&old, Config::default());
    begin(&old, &new);
    drop((one, two, old));
    super::rig::wait_until(|| TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn a_stranger_at_the_other_end_is_an_error() {
    for bytes in [&b"{}"[..], b"\"end\" and more", br#"{"sockets":[{}]}"#] {
        let SocketPair { ours, theirs } = os::packet_pair().unwrap();
        os::send_packet(theirs.as_fd(), bytes, None).unwrap();
        assert_eq!(receive_estate(&ours, &mut Estate::new()).unwrap_err().code(), "ERR_CORRAL_BAD_FRAME");
    }
    let SocketPair { ours, theirs } = os::packet_pair().unwrap();
    assert!(!receive_estate(&ours, &mut Estate::new()).unwrap());
    drop(theirs);
    assert_eq!(receive_estate(&ours, &mut Estate::new()).unwrap_err().code(), "ECONNRESET");
}
