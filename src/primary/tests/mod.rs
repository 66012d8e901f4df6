//! The primary against workers that speak the protocol by hand: what is told, offered, given back and closed.

mod asked;
mod floods;
#[cfg(target_os = "linux")]
mod given;
mod handover;
#[cfg(target_os = "linux")]
mod idleness;
mod inherited;
mod kept;
#[cfg(target_os = "linux")]
mod kept_schedules;
mod lane;
#[cfg(target_os = "linux")]
mod memory;
mod moving;
#[cfg(target_os = "linux")]
mod observed;
mod peers;
mod policy;
#[cfg(target_os = "linux")]
mod pulse;
mod reading;
#[cfg(target_os = "linux")]
mod reuse_port;
mod rig;
#[cfg(target_os = "linux")]
mod schedules;
mod shared;
mod side_by_side;
#[cfg(target_os = "linux")]
mod sticky;
mod weights;

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use super::config::{MAX_SERVER_DATA, MAX_SERVER_KEY};
use super::{Command, Config, Event, IN_FLIGHT_PER_WORKER};
use crate::channel::{ChannelEvent, Frames};
use crate::error::Error;
use crate::ids::Completion;
use crate::proto::Serialization;
use crate::sched::PolicyChoice;
use rig::{FakeWorker, PATIENCE, Rig, tcp};

fn connect(port: u16) -> TcpStream {
    connect_to("127.0.0.1", port)
}

/// Clients are known by their ports. The kernel gives two clients the same one if their servers differ, unless a port is bound first.
fn connect_to(address: &str, port: u16) -> TcpStream {
    let server = SocketAddr::new(address.parse().unwrap(), port);
    let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    client.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    client.connect(&server.into()).unwrap();
    let client = TcpStream::from(client);
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
}

fn port_of(client: &TcpStream) -> u16 {
    client.local_addr().unwrap().port()
}

fn wait_for_no_servers(rig: &Rig) {
    rig.wait_for(|event| match event {
        Event::Servers(changed) => (changed.take() == 0).then_some(()),
        _ => None,
    });
}

/// Two workers on one server.
fn pair(config: Config) -> (Rig, FakeWorker, FakeWorker, u16) {
    let mut rig = Rig::new(config);
    let (mut one, mut two) = (rig.fork(Serialization::Json), rig.fork(Serialization::Json));
    let port = one.listen();
    assert_eq!(two.listen(), port);
    (rig, one, two, port)
}

#[test]
fn connections_go_to_the_workers_in_turn() {
    for serialization in [Serialization::Json, Serialization::Advanced] {
        let mut rig = Rig::new(Config::default());
        let (mut one, mut two) = (rig.fork(serialization), rig.fork(serialization));
        let port = one.listen();
        assert_eq!(two.listen(), port);
        for _ in 0..3 {
            for worker in [&mut one, &mut two] {
                let mut client = connect(port);
                assert_eq!(worker.serve(), port_of(&client));
                let mut answer = Vec::new();
                client.read_to_end(&mut answer).unwrap();
                // The end comes only when the primary has let go of its copy as well.
                assert_eq!(answer, [worker.id.0 as u8]);
            }
        }
    }
}

#[test]
fn a_worker_has_a_bounded_number_of_connections_under_way() {
    let mut rig = Rig::new(Config::default());
    let mut worker = rig.fork(Serialization::Json);
    let port = worker.listen();
    let clients: Vec<TcpStream> = (0..IN_FLIGHT_PER_WORKER + 3).map(|_| connect(port)).collect();
    let offers: Vec<_> = (0..IN_FLIGHT_PER_WORKER).map(|_| worker.offer()).collect();
    rig.settle();
    assert!(!worker.has_mail());
    worker.decide(&offers[0], true);
    assert_eq!(worker.offer().client(), port_of(&clients[IN_FLIGHT_PER_WORKER]));
    rig.settle();
    assert!(!worker.has_mail());
}

#[test]
fn what_a_dead_worker_had_not_taken_goes_to_another_in_order() {
    let (_rig, mut one, mut two, port) = pair(Config::default());
    let clients: Vec<TcpStream> = (0..6).map(|_| connect(port)).collect();
    let taken = one.offer();
    one.decide(&taken, true);
    let seen = one.offer();
    drop((seen, one));
    let mut order = Vec::new();
    for _ in 0..5 {
        order.push(two.serve());
    }
    // What was on its way to the dead worker, and what was not, each once.
    let mut expected: Vec<u16> = clients.iter().map(port_of).filter(|port| *port != taken.client()).collect();
    order.sort_unstable();
    expected.sort_unstable();
    assert_eq!(order, expected);
}

#[test]
fn a_refused_connection_goes_to_another_worker() {
    let (_rig, mut one, mut two, port) = pair(Config::default());
    let client = connect(port);
    let offer = one.offer();
    one.decide(&offer, false);
    assert_eq!(two.serve(), port_of(&client));
}

#[test]
fn a_connection_that_everybody_refuses_is_offered_again_later() {
    let (_rig, mut one, mut two, port) = pair(Config::default());
    let client = connect(port);
    for worker in [&mut one, &mut two] {
        let offer = worker.offer();
        worker.decide(&offer, false);
    }
    // Its turn is the first worker's again.
    assert_eq!(one.serve(), port_of(&client));
}

#[test]
fn accepting_stops_at_the_bound_and_goes_on_below_it() {
    let bound = IN_FLIGHT_PER_WORKER + 2;
    let mut rig = Rig::new(Config { max_pending: bound, emit_connections: true, ..Config::default() });
    let mut worker = rig.fork(Serialization::Json);
    let socket = crate::os::bind_tcp(Some("127.0.0.1"), 0, 0).unwrap().socket;
    let query = json!({"index": 0, "addressType": 4, "fd": socket.as_raw_fd()});
    let port = worker.query(query).0["sockname"]["port"].as_u64().unwrap() as u16;
    let clients: Vec<TcpStream> = (0..20).map(|_| connect(port)).collect();
    rig.settle();
    // The rest waits in the kernel.
    #[cfg(target_os = "linux")]
    assert_eq!(crate::os::testing::backlog(socket.as_fd()).1, 20 - bound as u32);
    let served: Vec<u16> = clients.iter().map(|_| worker.serve()).collect();
    let expected: Vec<u16> = clients.iter().map(port_of).collect();
    assert_eq!(served, expected);
    let told = (0..20).map(|_| {
        rig.wait_for(|event| match event {
            Event::Connection(connection) => connection.taken.peer(),
            _ => None,
        })
    });
    assert_eq!(told.count(), 20);
}

#[test]
fn room_that_a_leaving_worker_makes_is_used() {
    let (rig, mut one, mut two, port) = pair(Config { max_pending: 1, ..Config::default() });
    let _first = connect(port);
    let offer = one.offer();
    let second = connect(port);
    rig.settle();
    rig.reactor.call(Command::Disconnect(one.id)).unwrap();
    one.decide(&offer, true);
    assert_eq!(two.serve(), port_of(&second));
}

#[test]
fn a_connection_that_waits_for_a_busy_worker_does_not_hold_up_those_behind_it() {
    let (rig, mut one, mut two, port) = pair(Config::default());
    let mut clients: Vec<TcpStream> = Vec::new();
    let (mut of_one, mut of_two) = (Vec::new(), Vec::new());
    for _ in 0..IN_FLIGHT_PER_WORKER {
        clients.push(connect(port));
        of_one.push(one.offer());
        clients.push(connect(port));
        of_two.push(two.offer());
    }
    // Refused by the first, and the second has no credit: it waits. The next one is for the first worker.
    one.decide(&of_one[0], false);
    rig.settle();
    let next = connect(port);
    assert_eq!(one.offer().client(), port_of(&next));
    two.decide(&of_two[0], true);
    assert_eq!(two.offer().client(), of_one[0].client());
}

#[test]
fn a_worker_is_told_to_leave_once() {
    let (rig, mut one, _two, _port) = pair(Config::default());
    for _ in 0..2 {
        rig.reactor.call(Command::Disconnect(one.id)).unwrap();
    }
    assert_eq!(one.receive().0["act"], "disconnect");
    rig.settle();
    assert!(!one.has_mail());
}

#[test]
fn without_workers_connections_and_the_server_are_closed() {
    let mut rig = Rig::new(Config::default());
    let mut worker = rig.fork(Serialization::Json);
    let port = worker.listen();
    let mut clients: Vec<TcpStream> = (0..IN_FLIGHT_PER_WORKER + 2).map(|_| connect(port)).collect();
    worker.offer();
    drop(worker);
    for client in &mut clients {
        // The end, or a reset: never silence.
        let _ = client.read(&mut [0; 8]);
    }
    wait_for_no_servers(&rig);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn a_lost_descriptor_is_sent_again_and_then_to_another_worker() {
    let (_rig, mut one, mut two, port) = pair(Config::default());
    let client = connect(port);
    for _ in 0..4 {
        assert_eq!(one.lose_handle()["act"], "newconn");
    }
    assert_eq!(two.serve(), port_of(&client));
}

#[test]
fn an_address_in_use_is_the_workers_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut rig = Rig::new(Config::default());
    let mut worker = rig.fork(Serialization::Json);
    let (reply, _) = worker.query(tcp(taken.local_addr().unwrap().port()));
    assert_eq!(reply["errno"], -libc::EADDRINUSE);
    drop(taken);
    assert_eq!(worker.query(tcp(0)).0["errno"], json!(null));
}

#[test]
fn servers_of_one_worker_on_port_0_are_told_apart() {
    let mut rig = Rig::new(Config::default());
    let (mut one, mut two) = (rig.fork(Serialization::Json), rig.fork(Serialization::Json));
    let mut second = tcp(0);
    second["index"] = 1.into();
    let ports: Vec<_> = [&mut one, &mut two]
        .into_iter()
        .map(|worker| [tcp(0), second.clone()].map(|query| worker.query(query).0["sockname"]["port"].clone()))
        .collect();
    assert_ne!(ports[0][0], ports[0][1]);
    assert_eq!(ports[0], ports[1]);
}

#[test]
fn the_first_workers_data_is_everybodys() {
    let (mut rig, _one, _two, _) = pair(Config::default());
    let (mut three, mut four) = (rig.fork(Serialization::Advanced), rig.fork(Serialization::Json));
    let with_data = |name: &str| {
        let mut query = tcp(0);
        query["index"] = 7.into();
        query["data"] = json!({ "ticketKeys": name });
        query
    };
    assert_eq!(three.query(with_data("first")).0["data"], json!({"ticketKeys": "first"}));
    assert_eq!(four.query(with_data("second")).0["data"], json!({"ticketKeys": "first"}));
}

#[test]
fn a_shared_server_is_sent_to_the_workers() {
    let mut rig = Rig::new(Config { policies: PolicyChoice::None.into(), ..Config::default() });
    let (mut one, mut two) = (rig.fork(Serialization::Json), rig.fork(Serialization::Advanced));
    let port = |fd: std::os::fd::OwnedFd| crate::os::local_address(fd.as_fd()).unwrap().unwrap().port;
    let (reply, socket) = one.query(tcp(0));
    assert_eq!(reply["errno"], 0);
    let first = port(socket.unwrap());
    assert_eq!(port(two.query(tcp(0)).1.unwrap()), first);
}

#[test]
fn datagram_sockets_are_shared_under_round_robin_too() {
    let mut rig = Rig::new(Config::default());
    let mut worker = rig.fork(Serialization::Json);
    let query = json!({"index": 0, "address": "127.0.0.1", "port": 0, "addressType": "udp4", "flags": 0});
    let (_, socket) = worker.query(query);
    assert_eq!(socket2::SockRef::from(&socket.unwrap()).r#type().unwrap(), socket2::Type::DGRAM);
}

/// A UDP port that may be bound again and again.
fn reusable(port: u16) -> serde_json::Value {
    json!({"index": 0, "address": "127.0.0.1", "port": port, "addressType": "udp4", "fd": -1, "flags": 4})
}

#[test]
fn what_one_worker_asks_for_twice_has_two_names() {
    let mut rig = Rig::new(Config::default());
    let (mut one, mut two) = (rig.fork(Serialization::Json), rig.fork(Serialization::Json));
    let probe = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = probe.local_addr().unwrap().port();
    drop(probe);
    let ask = |worker: &mut FakeWorker| worker.query(reusable(port)).0["key"].clone();
    let (first, second) = (ask(&mut one), ask(&mut one));
    assert_ne!(first, second);
    // The second of one worker is the second of all.
    assert_eq!([ask(&mut two), ask(&mut two)], [first.clone(), second.clone()]);
    let members = |rig: &Rig| {
        let stats = rig.stats.servers.read();
        stats.values().map(|server| (server.key.to_string(), server.workers.lock().len())).collect::<Vec<_>>()
    };
    let named = |key: &serde_json::Value, count| (key.as_str().unwrap().to_owned(), count);
    assert_eq!(members(&rig), [named(&first, 2), named(&second, 2)]);
    // It closes the one that it means.
    one.act("close", json!({ "key": first }));
    two.act("close", json!({ "key": first }));
    two.act("close", json!({ "key": second }));
    rig.settle();
    assert_eq!(members(&rig), [named(&second, 1)]);
    // The first name is free again.
    assert_eq!(one.query(reusable(port)).0["key"], first);
    assert_eq!(two.query(reusable(port)).0["key"], second);
}

/// The answer about a descriptor of this process, as an errno; 0 if it is the worker's by now.
fn errno_of(worker: &mut FakeWorker, fd: &impl AsRawFd, address_type: Value) -> i64 {
    let query =
        json!({"index": 0, "address": null, "port": -1, "addressType": address_type, "fd": fd.as_raw_fd()});
    let (reply, socket) = worker.query(query);
    let errno = reply["errno"].as_i64().unwrap_or(0);
    assert!(errno == 0 || socket.is_none(), "{reply}");
    errno
}

#[test]
fn no_socket_of_the_primarys_is_had_by_a_number_that_is_not_what_the_query_says() {
    let directory = tempfile::tempdir().unwrap();
    let [invalid, exists, no_socket] =
        [Errno::EINVAL, Errno::EEXIST, Errno::ENOTSOCK].map(|errno| -i64::from(errno as i32));
    let own = crate::os::bind_tcp(Some("127.0.0.1"), 0, 0).unwrap();
    crate::os::listen(own.socket.as_fd(), 5).unwrap();
    let names = crate::os::AbstractNames::Exact;
    let named = crate::os::listen_named(&directory.path().join("s"), names, false, false, 5).unwrap();
    for choice in [PolicyChoice::RoundRobin, PolicyChoice::None] {
        let mut rig = Rig::new(Config { policies: choice.into(), ..Config::default() });
        let (mut worker, mut other) = (rig.fork(Serialization::Json), rig.fork_with_silent_lane());
        // Private: a connection, another worker's channel.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let accepted = listener.accept().unwrap().0;
        let channel = other.channel.as_fd().as_raw_fd();
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for kind in [json!("udp4"), json!("udp6"), json!(4), json!(6), json!(-1), Value::Null] {
            for private in [client.as_raw_fd(), accepted.as_raw_fd(), channel, other.socket.as_raw_fd()] {
                assert_eq!(errno_of(&mut worker, &private, kind.clone()), invalid, "{kind}");
            }
            for own in [own.socket.as_raw_fd(), named.socket.as_raw_fd()] {
                assert_eq!(errno_of(&mut worker, &own, kind.clone()), exists, "{kind}");
            }
            let expected = if kind == "udp4" { 0 } else { invalid };
            assert_eq!(errno_of(&mut worker, &udp, kind.clone()), expected, "{kind}");
            let expected = if kind.is_string() { invalid } else { 0 };
            assert_eq!(errno_of(&mut worker, &listener, kind.clone()), expected, "{kind}");
            let (pipe, _writer) = std::io::pipe().unwrap();
            let expected = if kind.is_string() { invalid } else { no_socket };
            assert_eq!(errno_of(&mut worker, &pipe, kind.clone()), expected, "{kind}");
        }
        // What the primary has made for another worker.
        let query = json!({"index": 0, "address": "127.0.0.1", "port": 0, "addressType": "udp4", "flags": 0});
        let socket = other.query(query).1.unwrap();
        assert_eq!(errno_of(&mut worker, &socket, json!("udp4")), exists);
    }
}

#[test]
fn little_is_kept_of_what_a_worker_says_of_a_server() {
    let mut rig = Rig::new(Config::default());
    let mut worker = rig.fork(Serialization::Json);
    for (field, value) in [("index", "x".repeat(MAX_SERVER_KEY)), ("data", "x".repeat(MAX_SERVER_DATA))] {
        let mut query = tcp(0);
        query[field] = value.into();
        assert_eq!(worker.query(query).0["errno"], -(Errno::EINVAL as i32), "{field}");
    }
}

#[test]
fn servers_that_workers_have_opened_themselves_are_counted_while_they_listen() {
    let mut rig = Rig::new(Config::default());
    let (mut one, mut two) = (rig.fork(Serialization::Json), rig.fork(Serialization::Advanced));
    let own = |key: &str| json!({"key": key, "address": null, "port": 80, "addressType": 4, "flags": 2});
    let counted = |rig: &Rig| {
        rig.settle();
        let stats = rig.stats.servers.read();
        stats
            .values()
            .map(|server| (server.key.to_string(), server.port, server.workers.lock().len()))
            .collect::<Vec<_>>()
    };
    for worker in [&mut one, &mut two] {
        worker.act("listening", own("a"));
        let told = rig.wait_for(|event| match event {
            Event::Listening { info, .. } => Some(info),
            _ => None,
        });
        assert_eq!(told, r#"{"address":null,"port":80,"addressType":4}"#);
    }
    one.act("listening", own("b"));
    assert_eq!(counted(&rig), [("a".to_owned(), Some(80), 2), ("b".to_owned(), Some(80), 1)]);
    one.act("close", json!({"key": "a"}));
    two.act("close", json!({"key": "b"}));
    assert_eq!(counted(&rig), [("a".to_owned(), Some(80), 1), ("b".to_owned(), Some(80), 1)]);
    let gone = one.id;
    drop(one);
    rig.wait_for(|event| {
        matches!(event, Event::Channel(id, ChannelEvent::Closed(_)) if id == gone).then_some(())
    });
    assert_eq!(counted(&rig), [("a".to_owned(), Some(80), 1)]);
    // Who claims without end is heard, and not counted any more.
    for number in 0..2 * super::config::MAX_OWN_SERVERS {
        two.act("listening", own(&number.to_string()));
        rig.wait_for(|event| matches!(event, Event::Listening { .. }).then_some(()));
    }
    assert_eq!(counted(&rig).len(), super::config::MAX_OWN_SERVERS);
}

#[test]
fn the_file_of_a_unix_socket_goes_with_its_last_worker() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let query = json!({"index": 0, "address": path, "port": -1, "addressType": -1});
    let mut rig = Rig::new(Config::default());
    let (mut one, mut two) = (rig.fork(Serialization::Json), rig.fork(Serialization::Json));
    let key = one.query(query.clone()).0["key"].clone();
    two.query(query);
    one.act("close", json!({ "key": key }));
    rig.settle();
    assert!(path.exists());
    let _client = std::os::unix::net::UnixStream::connect(&path).unwrap();
    two.offer();
    two.act("close", json!({ "key": key }));
    wait_for_no_servers(&rig);
    assert!(!path.exists());
}

#[test]
#[cfg(target_os = "linux")]
fn the_largest_backlog_that_a_worker_asks_for_is_in_force() {
    // A socket of the program's own, so that it can be asked about what the primary has made of it.
    let socket = crate::os::bind_tcp(Some("127.0.0.1"), 0, 0).unwrap().socket;
    let backlog = || crate::os::testing::backlog(socket.as_fd()).0;
    let mut rig = Rig::new(Config::default());
    let mut workers = Vec::new();
    for (asked, expected) in [(Some(3), 3), (Some(40), 40), (Some(5), 40), (None, 511)] {
        let query = json!({"index": 0, "addressType": 4, "fd": socket.as_raw_fd(), "backlog": asked});
        let mut worker = rig.fork(Serialization::Json);
        worker.query(query);
        workers.push(worker);
        assert_eq!(backlog(), expected);
    }
}

#[test]
fn everything_a_worker_said_comes_before_its_end() {
    let mut rig = Rig::new(Config::default());
    for serialization in [Serialization::Json, Serialization::Advanced] {
        let mut worker = rig.fork(serialization);
        let id = worker.id;
        worker.act("online", json!({}));
        for number in 0..100 {
            worker.send(&json!({ "number": number }));
        }
        // Half a frame, in whichever serialization.
        worker.send_raw(&[0, 0, 1, 0, b'x']);
        drop(worker);
        let mut order = Vec::new();
        rig.wait_for(|event| {
            match &event {
                Event::Online(_) => order.push("online"),
                Event::Channel(
                    _,
                    ChannelEvent::Messages(Frames::One(_, bytes) | Frames::Many(_, bytes, _)),
                ) => {
                    // The end of an object, as JSON and as V8 write it.
                    let end = if serialization == Serialization::Json { b'}' } else { b'{' };
                    order.extend(bytes.iter().filter(|byte| **byte == end).map(|_| "message"));
                }
                // When this test has been kept from running: the end takes it back.
                Event::Channel(_, ChannelEvent::Offered(_)) => {}
                Event::Channel(worker, ChannelEvent::Closed(None)) if *worker == id => return Some(()),
                other => panic!("{other:?}"),
            }
            None
        });
        assert_eq!(order.len(), 101);
        assert_eq!(order[0], "online");
    }
}

#[test]
fn a_malformed_protocol_message_ends_its_channel_only() {
    let (rig, mut one, mut two, port) = pair(Config::default());
    one.send_raw(b"{\"cmd\":\"NODE_CLUSTER\",\"act\":\n");
    let cause = rig.wait_for(|event| match event {
        Event::Channel(worker, ChannelEvent::Closed(cause)) if worker == one.id => Some(cause),
        _ => None,
    });
    assert!(matches!(cause, Some(Error::BadFrame(_))), "{cause:?}");
    assert!(one.receive_frame().is_none());
    let client = connect(port);
    assert_eq!(two.serve(), port_of(&client));
}

#[test]
fn what_was_wrong_with_a_worker_is_told_though_it_has_exited_and_nothing_behind_it_is() {
    let mut rig = Rig::new(Config::default());
    let mut worker = rig.fork(Serialization::Json);
    // In one piece with the command, so that both are handled in one turn.
    worker.send_raw(b"{\"cmd\":\"NODE_CLUSTER\",\"act\":\n\"behind\"\n");
    rig.reactor.call(Command::Exited(worker.id)).unwrap();
    let events = rig.events();
    assert!(
        matches!(&events[..], [Event::Channel(_, ChannelEvent::Closed(Some(Error::BadFrame(_))))]),
        "{events:?}"
    );
}

#[test]
fn a_frame_beyond_the_limit_ends_its_channel() {
    let mut rig = Rig::new(Config { max_frame: 1000, ..Config::default() });
    let mut worker = rig.fork(Serialization::Advanced);
    worker.send_raw(&(64u32 << 20).to_be_bytes());
    let cause = rig.wait_for(|event| match event {
        Event::Channel(_, ChannelEvent::Closed(cause)) => Some(cause),
        _ => None,
    });
    assert!(matches!(cause, Some(Error::FrameTooLarge { limit: 1000 })), "{cause:?}");
}

#[test]
fn a_handle_frame_without_its_descriptor_is_answered_with_nack() {
    let mut rig = Rig::new(Config::default());
    let mut worker = rig.fork(Serialization::Json);
    worker.send(&json!({"cmd": "NODE_HANDLE", "type": "net.Native", "msg": {}}));
    assert_eq!(worker.receive_frame().unwrap(), json!({"cmd": "NODE_HANDLE_NACK"}));
    assert!(
        rig.events()
            .iter()
            .all(|event| !matches!(event, Event::Channel(_, ChannelEvent::HandleMessage { .. })))
    );
}

#[test]
fn a_leaving_worker_keeps_what_it_was_offered_and_gets_nothing_new() {
    let (rig, mut one, mut two, port) = pair(Config::default());
    let client = connect(port);
    rig.settle();
    rig.reactor.call(Command::Disconnect(one.id)).unwrap();
    assert_eq!(one.serve(), port_of(&client));
    assert_eq!(one.receive().0["act"], "disconnect");
    for _ in 0..3 {
        let client = connect(port);
        assert_eq!(two.serve(), port_of(&client));
    }
    one.act("queryServer", tcp(0));
    rig.settle();
    assert!(!one.has_mail());
}

#[test]
fn a_closed_channel_still_hears_the_decisions_about_what_was_offered() {
    let (rig, mut one, mut two, port) = pair(Config::default());
    let clients = [connect(port), connect(port), connect(port)];
    let (first, third) = (one.offer(), one.offer());
    assert_eq!(two.serve(), port_of(&clients[1]));
    rig.reactor.call(Command::CloseChannel(one.id)).unwrap();
    one.decide(&first, true);
    assert!(one.receive_frame().is_none());
    drop(one);
    // Only the one that was not taken.
    assert_eq!(two.serve(), third.client());
    rig.settle();
    assert!(!two.has_mail());
}

#[test]
fn the_process_has_ended_though_somebody_holds_its_end_of_the_channel() {
    let (rig, mut one, mut two, port) = pair(Config::default());
    let client = connect(port);
    rig.settle();
    one.send(&json!("last words"));
    rig.reactor.call(Command::Exited(one.id)).unwrap();
    let events = rig.events();
    let said = events
        .iter()
        .position(|event| matches!(event, Event::Channel(_, ChannelEvent::Messages(_))))
        .unwrap();
    let closed =
        events.iter().position(|event| matches!(event, Event::Channel(_, ChannelEvent::Closed(_)))).unwrap();
    assert!(said < closed);
    assert_eq!(two.serve(), port_of(&client));
}

#[test]
fn callbacks_of_what_cannot_be_written_any_more_are_told() {
    let mut rig = Rig::new(Config::default());
    let worker = rig.fork(Serialization::Json);
    let frame =
        crate::channel::Frame { bytes: vec![b'x'; 8 << 20], handle: None, completion: Some(Completion(5)) };
    worker.channel.send(frame);
    drop(worker);
    let completion = rig.wait_for(|event| match event {
        Event::Channel(_, ChannelEvent::Unwritten(unwritten)) => Some(unwritten.completion),
        _ => None,
    });
    assert_eq!(completion, Completion(5));
}

#[test]
fn shares_are_equal_under_load() {
    let (rig, mut one, mut two, port) = pair(Config::default());
    let mut shares = BTreeMap::new();
    for _ in 0..50 {
        // Until all that was decided is known.
        rig.settle();
        let clients: Vec<TcpStream> = (0..4).map(|_| connect(port)).collect();
        for worker in [&mut one, &mut two] {
            for _ in 0..2 {
                worker.serve();
                *shares.entry(worker.id).or_insert(0) += 1;
            }
        }
        drop(clients);
    }
    assert!(shares.values().all(|share| *share == 100), "{shares:?}");
}
