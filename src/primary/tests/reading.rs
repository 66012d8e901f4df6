//! Channels that are lent to the JavaScript thread, which here is the test.

use std::os::fd::AsFd;
use std::thread;

use serde_json::json;

use super::rig::{FakeWorker, Rig, tcp};
use super::{Command, Config, Event, connect, pair, port_of};
use crate::channel::{BUSY_AFTER, ChannelCommand, ChannelEvent, DirectRead, Frame, Frames};
use crate::ids::{Completion, WorkerId};
use crate::proto::Serialization;

/// Makes the reactor offer a worker's channel, and accepts.
fn lend(rig: &Rig, worker: &mut FakeWorker) {
    worker.send(&json!("lend"));
    let offer = rig.wait_for(|event| match event {
        Event::Channel(id, ChannelEvent::Offered(offer)) if id == worker.id => Some(offer),
        _ => None,
    });
    assert!(worker.channel.accept(offer));
}

fn lines(frames: &Frames) -> Vec<String> {
    let (Frames::One(_, bytes) | Frames::Many(_, bytes, _)) = frames else { unreachable!() };
    String::from_utf8_lossy(bytes).trim_end().split('\n').map(str::to_owned).collect()
}

/// Reads on the JavaScript thread.
fn read_directly(worker: &FakeWorker) -> (Vec<String>, DirectRead) {
    let mut read = Vec::new();
    let outcome = worker.channel.read_directly(usize::MAX, |frames| read.extend(lines(&frames)));
    (read, outcome)
}

/// The worker's messages that the reactor tells, up to the event for which `pick` has an answer.
fn messages_until<T>(rig: &Rig, id: WorkerId, mut pick: impl FnMut(&Event) -> Option<T>) -> (Vec<String>, T) {
    let mut messages = Vec::new();
    let found = rig.wait_for(|event| {
        match &event {
            Event::Channel(worker, ChannelEvent::Messages(frames)) if *worker == id => {
                messages.extend(lines(frames))
            }
            _ => {}
        }
        pick(&event)
    });
    (messages, found)
}

#[test]
fn a_channel_of_messages_is_read_directly_and_by_nobody_else() {
    let mut rig = Rig::new(Config::default());
    let mut worker = rig.fork(Serialization::Json);
    lend(&rig, &mut worker);
    for number in 0..20 {
        worker.send(&json!(number));
        rig.settle();
        assert_eq!(read_directly(&worker), (vec![number.to_string()], DirectRead::Delivered));
    }
    assert!(rig.events().is_empty());
}

#[test]
fn a_steady_flow_stays_where_it_is() {
    let mut rig = Rig::new(Config::default());
    let mut worker = rig.fork(Serialization::Json);
    lend(&rig, &mut worker);
    // Over several of the reactor's looks. It may take the channel back when this test is kept from running; then the
    // messages are told by it, in their order.
    let mut read = Vec::new();
    for number in 0..60 {
        worker.send(&json!(number));
        read.extend(read_directly(&worker).0);
        thread::sleep(BUSY_AFTER / 20);
    }
    worker.act("online", json!({}));
    let (told, ()) = messages_until(&rig, worker.id, |event| matches!(event, Event::Online(_)).then_some(()));
    read.extend(told);
    assert_eq!(read, (0..60).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[test]
fn the_protocol_is_answered_though_nobody_reads_directly() {
    let mut rig = Rig::new(Config::default());
    let mut worker = rig.fork(Serialization::Json);
    lend(&rig, &mut worker);
    worker.send(&json!("before"));
    let port = worker.query(tcp(0)).0["sockname"]["port"].as_u64().unwrap() as u16;
    assert_eq!(read_directly(&worker), (vec![], DirectRead::NotHere));
    let client = connect(port);
    assert_eq!(worker.serve(), port_of(&client));
    let (messages, ()) = messages_until(&rig, worker.id, |event| {
        matches!(event, Event::Channel(_, ChannelEvent::Messages(_))).then_some(())
    });
    assert_eq!(messages, ["\"before\""]);
}

#[test]
fn protocol_among_messages_is_told_between_them() {
    let mut rig = Rig::new(Config::default());
    let mut worker = rig.fork(Serialization::Json);
    lend(&rig, &mut worker);
    let listening = "{\"cmd\":\"NODE_CLUSTER\",\"act\":\"listening\",\"port\":1,\"addressType\":4,\"seq\":1}";
    worker.send_raw(format!("1\n2\n{listening}\n3\n").as_bytes());
    assert_eq!(read_directly(&worker), (vec!["1".into(), "2".into()], DirectRead::Returned));
    rig.reactor.call(Command::Channel(worker.id, ChannelCommand::TakeBack)).unwrap();
    let (before, ()) =
        messages_until(&rig, worker.id, |event| matches!(event, Event::Listening { .. }).then_some(()));
    assert!(before.is_empty());
    let (after, ()) = messages_until(&rig, worker.id, |event| {
        matches!(event, Event::Channel(_, ChannelEvent::Messages(_))).then_some(())
    });
    assert_eq!(after, ["3"]);
    // And lent again when it has been quiet.
    lend(&rig, &mut worker);
}

#[test]
fn a_descriptor_that_was_read_directly_goes_with_its_frame() {
    let mut rig = Rig::new(Config::default());
    let mut worker = rig.fork(Serialization::Json);
    lend(&rig, &mut worker);
    worker.send(&json!("before"));
    let frame = b"{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Native\",\"msg\":1}\n";
    let gift = crate::os::socket_pair().unwrap();
    let parts = [std::io::IoSlice::new(frame)];
    crate::os::send(worker.socket.as_fd(), &parts, Some(gift.ours.as_fd())).unwrap();
    assert_eq!(read_directly(&worker), (vec!["\"before\"".into()], DirectRead::Returned));
    rig.reactor.call(Command::Channel(worker.id, ChannelCommand::TakeBack)).unwrap();
    rig.wait_for(|event| {
        matches!(event, Event::Channel(_, ChannelEvent::HandleMessage { .. })).then_some(())
    });
}

#[test]
fn a_lent_channel_is_taken_back_before_a_connection_is_sent() {
    let (rig, mut one, mut two, port) = pair(Config { emit_connections: true, ..Config::default() });
    for worker in [&mut one, &mut two] {
        lend(&rig, worker);
    }
    one.send(&json!("before"));
    rig.settle();
    let client = connect(port);
    let offer = one.offer();
    assert_eq!(read_directly(&one), (vec![], DirectRead::NotHere));
    // Nobody reads directly, and the answer counts all the same.
    one.decide(&offer, true);
    let (messages, peer) = messages_until(&rig, one.id, |event| match event {
        Event::Connection(connection) => connection.taken.peer(),
        _ => None,
    });
    assert_eq!(messages, ["\"before\""]);
    assert!(matches!(peer, crate::address::Peer::Ip(_, peer_port) if peer_port == port_of(&client)));
    // The other one was not asked for anything.
    two.send(&json!("still lent"));
    assert_eq!(read_directly(&two).0, ["\"still lent\""]);
}

#[test]
fn the_end_of_a_lent_channel_is_told_behind_its_messages() {
    let mut rig = Rig::new(Config::default());
    let mut worker = rig.fork(Serialization::Json);
    lend(&rig, &mut worker);
    let (id, channel) = (worker.id, worker.channel.clone());
    worker.send(&json!("last words"));
    drop(worker);
    let (messages, ()) = messages_until(&rig, id, |event| {
        matches!(event, Event::Channel(_, ChannelEvent::Closed(None))).then_some(())
    });
    assert_eq!(messages, ["\"last words\""]);
    assert_eq!(channel.read_directly(usize::MAX, |_| unreachable!()), DirectRead::NotHere);
}

#[test]
fn what_an_exited_worker_left_in_a_lent_channel_is_told() {
    let mut rig = Rig::new(Config::default());
    let mut worker = rig.fork(Serialization::Json);
    lend(&rig, &mut worker);
    worker.send(&json!("last words"));
    // The worker's end stays open: somebody else holds it.
    rig.reactor.call(Command::Exited(worker.id)).unwrap();
    let is_end = |event: &Event| matches!(event, Event::Channel(_, ChannelEvent::Closed(None))).then_some(());
    assert_eq!(messages_until(&rig, worker.id, is_end).0, ["\"last words\""]);
    assert_eq!(read_directly(&worker), (vec![], DirectRead::NotHere));
}

#[test]
fn what_a_condemned_worker_still_sends_is_not_read_directly() {
    let mut rig = Rig::new(Config::default());
    let mut worker = rig.fork(Serialization::Json);
    lend(&rig, &mut worker);
    let error = crate::error::Error::BadFrame("test".into());
    rig.reactor.call(Command::Channel(worker.id, ChannelCommand::Destroy(error))).unwrap();
    assert_eq!(read_directly(&worker), (vec![], DirectRead::NotHere));
    rig.wait_for(|event| matches!(event, Event::Channel(_, ChannelEvent::Closed(Some(_)))).then_some(()));
}

#[test]
fn a_callback_is_told_before_the_answer_to_what_was_written() {
    let mut rig = Rig::new(Config::default());
    let mut worker = rig.fork(Serialization::Json);
    lend(&rig, &mut worker);
    let text = format!("\"{}\"\n", "x".repeat(8 << 20));
    worker.channel.send(Frame { bytes: text.into_bytes(), handle: None, completion: Some(Completion(7)) });
    rig.reactor.call(Command::Channel(worker.id, ChannelCommand::Flush)).unwrap();
    assert_eq!(read_directly(&worker), (vec![], DirectRead::NotHere));
    assert!(worker.receive_frame().unwrap().is_string());
    worker.send(&json!("answer"));
    let mut is_written = false;
    rig.wait_for(|event| match event {
        Event::Channel(_, ChannelEvent::Written(Completion(7))) => {
            is_written = true;
            None
        }
        Event::Channel(_, ChannelEvent::Messages(_)) => Some(()),
        _ => None,
    });
    assert!(is_written);
}

#[test]
fn a_leaving_worker_is_read_by_the_reactor() {
    let mut rig = Rig::new(Config::default());
    let mut worker = rig.fork(Serialization::Json);
    lend(&rig, &mut worker);
    rig.reactor.call(Command::Disconnect(worker.id)).unwrap();
    assert_eq!(read_directly(&worker), (vec![], DirectRead::NotHere));
    assert_eq!(worker.receive().0["act"], "disconnect");
    worker.act("exitedAfterDisconnect", json!({}));
    assert!(worker.receive().0["ack"].is_u64());
}
