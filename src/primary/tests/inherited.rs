//! Servers on sockets that another process has bound.

use std::net::TcpListener;
use std::os::fd::AsRawFd;

use serde_json::json;

use super::super::{Command, Config};
use super::rig::Rig;
use super::{connect, port_of};
use crate::os::inherited_socket;
use crate::proto::Serialization;

#[test]
fn what_comes_while_no_worker_is_there_waits_for_the_next_and_so_does_what_the_last_one_has_not_taken() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut rig = Rig::new(Config::default());
    rig.reactor.call(Command::Inherit(inherited_socket(listener.as_raw_fd()).unwrap())).unwrap();
    let query = json!({"key": "k", "address": "127.0.0.1", "port": port, "addressType": 4, "fd": -1});
    let early = connect(port);
    let mut one = rig.fork(Serialization::Json);
    assert_eq!(one.query(query.clone()).0["sockname"]["port"], port);
    assert_eq!(one.serve(), port_of(&early));
    // More than it may have under way: some wait in the primary, and it takes none.
    let mut clients: Vec<u16> = Vec::new();
    let mut open = Vec::new();
    for _ in 0..8 {
        let client = connect(port);
        clients.push(port_of(&client));
        open.push(client);
    }
    let _offer = one.offer();
    drop(one);
    rig.settle();
    let late = connect(port);
    clients.push(port_of(&late));
    let mut two = rig.fork(Serialization::Json);
    assert_eq!(two.query(query).0["sockname"]["port"], port);
    let mut served: Vec<u16> = clients.iter().map(|_| two.serve()).collect();
    served.sort_unstable();
    clients.sort_unstable();
    assert_eq!(served, clients);
}
