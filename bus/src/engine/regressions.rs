//! What went wrong once.

use std::cell::Cell;
use std::rc::Rc;

use super::tests::{
    Failing, ONE, OTHER, Place, answer, call, greet, message, name, receipts, receive, send, shown,
};
use super::*;
use crate::protocol::{Message, Settings, Stats};
use crate::store::memory::MemoryStore;
use crate::store::sqlite::SqliteStore;

fn memory() -> Engine {
    let (mut engine, _) = Engine::new(Box::new(MemoryStore::new()), 0).unwrap();
    greet(&mut engine, 0, ONE, &[], 0);
    greet(&mut engine, 1, OTHER, &[], 0);
    engine
}

fn rsmq(call: &str, arguments: &[&str]) -> Request {
    let arguments = arguments.iter().map(|text| Arc::from(text.as_bytes())).collect();
    Request::Rsmq { call: Arc::from(call), arguments }
}

/// The texts of an answer to a call of `corral/rsmq`.
fn values(outputs: &[Output]) -> Vec<String> {
    match outputs {
        [Output::Reply { reply: Reply::Values(values), .. }] => {
            values.iter().map(|value| String::from_utf8_lossy(value).into_owned()).collect()
        }
        other => vec![format!("{other:?}")],
    }
}

fn stats(engine: &mut Engine, connection: usize, queue: &str, now: u64) -> Stats {
    match &call(engine, connection, 0, Request::Stats { queue: name(queue) }, now)[..] {
        [Output::Reply { reply: Reply::Stats(stats), .. }] => *stats,
        other => panic!("{other:?}"),
    }
}

fn declare(queue: &str, settings: Settings) -> Request {
    Request::Declare { queue: name(queue), settings }
}

fn nack(queue: &str, receipt: Receipt) -> Request {
    Request::Op(Op::Nack { queue: name(queue), receipt, delay: 0, counts: true, error: String::new() })
}

fn ack_in(queue: &str, receipts: &[Receipt]) -> Request {
    Request::Op(Op::Ack { queue: name(queue), receipts: receipts.to_vec() })
}

#[test]
fn a_call_that_a_store_has_not_emptied_the_one_in_memory() {
    let mut engine = memory();
    call(&mut engine, 0, 1, send("q", "a"), 0);
    engine.request(1, 1, rsmq("list", &["ns:", ""]), 0);
    engine.request(0, 2, send("q", "b"), 0);
    let outputs = shown(&engine.commit(0));
    assert_eq!(outputs, [(1, "ERR_CORRAL_BUS_STORE".to_owned()), (2, "done".to_owned())]);
    assert_eq!(stats(&mut engine, 0, "q", 0).waiting, 2);
}

#[test]
fn a_call_that_there_is_not_was_a_fault_of_all_others() {
    let place = Place::new();
    let (mut engine, _) = place.open(0);
    greet(&mut engine, 0, ONE, &[], 0);
    engine.request(0, 1, rsmq("nonsense", &["ns:"]), 0);
    engine.request(
        0,
        2,
        Request::Rsmq { call: Arc::from("list"), arguments: vec![Arc::from(&b"\xff"[..])] },
        0,
    );
    engine.request(0, 3, send("q", "a"), 0);
    let texts: Vec<_> = shown(&engine.commit(0)).into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["ERR_CORRAL_BUS_PROTOCOL", "ERR_CORRAL_BUS_PROTOCOL", "done"]);
}

#[test]
fn calls_of_rsmq_that_are_sent_again_were_carried_out_again() {
    let place = Place::new();
    let calls: [(&str, &[&str]); 7] = [
        ("create", &["ns:", "q", "30", "0", "65536"]),
        ("create", &["ns:", "q", "30", "0", "65536"]),
        ("send", &["ns:", "q", "", "abcdefghijklmnopqrstuv", "5", "0", "hello"]),
        ("set", &["ns:", "q", "5", "", ""]),
        ("delete", &["ns:", "q", "none"]),
        ("create", &["ns:", "other", "30", "0", "65536"]),
        ("deleteQueue", &["ns:", "other"]),
    ];
    let mut first = Vec::new();
    for round in 0..2 {
        // The second process is asked by who has got no answer of the first.
        let (mut engine, _) = place.open(1_000);
        greet(&mut engine, 0, ONE, &[], 1_000);
        for (sequence, (name, arguments)) in (1..).zip(calls) {
            let answer = values(&call(&mut engine, 0, sequence, rsmq(name, arguments), 1_000));
            if round == 0 {
                first.push(answer)
            } else {
                assert_eq!(answer, first[sequence as usize - 1], "{name}")
            }
        }
        let known = values(&call(&mut engine, 0, 99, rsmq("attributes", &["ns:", "q"]), 1_000));
        assert_eq!((&*known[5], &*known[8]), ("1", "1"), "sent, and there");
    }
    let words: Vec<_> = first.iter().map(|answer| &*answer[0]).collect();
    assert_eq!(words, ["ok", "exists", "ok", "ok", "gone", "ok", "ok"]);
}

#[test]
fn a_number_without_end_ended_the_thread() {
    let place = Place::new();
    let (mut engine, _) = place.open(1_000);
    greet(&mut engine, 0, ONE, &[], 1_000);
    let huge = i64::MAX.to_string();
    call(&mut engine, 0, 1, rsmq("create", &["ns:", "q", &huge, &huge, "-1"]), 1_000);
    let sent = call(&mut engine, 0, 2, rsmq("send", &["ns:", "q", &huge, "a", "1", "0", "x"]), 1_000);
    assert_eq!(values(&sent)[0], "ok");
}

#[test]
fn who_waited_on_a_former_connection_kept_messages_from_all_others() {
    let mut engine = memory();
    call(&mut engine, 0, 1, receive("q", FOREVER), 0);
    // The same client comes on another one, before it is known that the first has ended.
    greet(&mut engine, 2, ONE, &[], 0);
    call(&mut engine, 1, 1, receive("q", FOREVER), 0);
    let outputs = shown(&call(&mut engine, 2, 2, send("q", "a"), 0));
    assert!(outputs.contains(&(1, "a:1".to_owned())), "{outputs:?}");
    engine.gone(0, 0);
    assert_eq!(stats(&mut engine, 1, "q", 0).receivers, 0);
}

#[test]
fn a_dead_letter_that_came_back_after_a_takeover_did_not_say_where_it_was() {
    let place = Place::new();
    let (mut engine, _) = place.open(0);
    greet(&mut engine, 0, ONE, &[], 0);
    let settings = Settings { max_deliveries: Some(1), ..Settings::default() };
    call(&mut engine, 0, 1, declare("q", settings), 0);
    call(&mut engine, 0, 2, send("q", "a"), 0);
    let held = receipts(&call(&mut engine, 0, 3, receive("q", 0), 0));
    call(&mut engine, 0, 4, nack("q", held[0]), 0);
    let held = receipts(&call(&mut engine, 0, 5, receive("q.dead", 0), 0));

    drop(engine);
    let (mut engine, _) = place.open(1);
    greet(&mut engine, 0, ONE, &held, 1);
    call(&mut engine, 0, 6, receive("q.dead", FOREVER), 1);
    let outputs = call(&mut engine, 0, 7, nack("q.dead", held[0]), 1);
    let dead: Vec<_> = outputs
        .iter()
        .filter_map(|output| match output {
            Output::Reply { reply: Reply::Messages(messages), .. } => messages[0].dead.clone(),
            _ => None,
        })
        .collect();
    assert_eq!(dead.len(), 1, "{outputs:?}");
    assert_eq!(&*dead[0].queue, "q");
}

#[test]
fn who_was_late_settled_a_dead_letter_that_another_one_held() {
    let mut engine = memory();
    let settings = Settings { max_deliveries: Some(1), visibility: Some(10), ..Settings::default() };
    call(&mut engine, 0, 1, declare("q", settings), 0);
    call(&mut engine, 0, 2, send("q", "a"), 0);
    let late = receipts(&call(&mut engine, 0, 3, receive("q", 0), 0));
    engine.tick(10);
    engine.commit(10);
    // Of the same client, and for the first time as well.
    assert_eq!(receipts(&call(&mut engine, 0, 4, receive("q.dead", 0), 10)), late);
    let change = ack_in("q", &late);
    assert_eq!(answer(&mut engine, 0, 5, change, 10), "ERR_CORRAL_BUS_NOT_HELD");
    let change = Request::Transaction(vec![Op::Ack { queue: name("q"), receipts: late.clone() }]);
    assert_eq!(answer(&mut engine, 0, 6, change, 10), "ERR_CORRAL_BUS_NOT_HELD");
    assert_eq!(answer(&mut engine, 0, 7, nack("q", late[0]), 10), "ERR_CORRAL_BUS_NOT_HELD");
    assert_eq!(stats(&mut engine, 0, "q.dead", 10).held, 1);
    assert_eq!(answer(&mut engine, 0, 8, ack_in("q.dead", &late), 10), "done");
}

#[test]
fn two_of_a_group_were_held_when_one_was_late() {
    let mut engine = memory();
    let grouped = |body: &str, priority| {
        Request::Op(Op::Send(Message { group: Arc::from("g"), priority, ..message("q", body) }))
    };
    call(&mut engine, 0, 1, grouped("a", 0), 0);
    let visible =
        |sequence| (sequence, Request::Receive { queue: name("q"), count: 1, wait: 0, visibility: 10 });
    let (sequence, request) = visible(2);
    let late = receipts(&call(&mut engine, 0, sequence, request, 0));
    engine.tick(10);
    call(&mut engine, 0, 3, grouped("b", 5), 10);
    let first = receipts(&call(&mut engine, 1, 1, receive("q", 0), 10));
    assert_ne!(first, late);
    let extend = Request::Extend { queue: name("q"), receipt: late[0], visibility: 10 };
    assert_eq!(answer(&mut engine, 0, 4, extend, 11), "ERR_CORRAL_BUS_NOT_HELD");
    assert_eq!(stats(&mut engine, 0, "q", 11).held, 1);
    call(&mut engine, 1, 2, ack_in("q", &first), 11);
    assert_eq!(answer(&mut engine, 1, 3, receive("q", 0), 11), "a:2");
}

#[test]
fn who_did_not_wait_got_nothing_although_there_was_enough() {
    let mut engine = memory();
    call(&mut engine, 1, 1, Request::Receive { queue: name("q"), count: 1, wait: 100, visibility: 0 }, 0);
    for sequence in 1..=3 {
        engine.request(0, sequence, send("q", "a"), 1);
    }
    engine.request(0, 4, receive("q", 0), 1);
    let outputs = shown(&engine.commit(1));
    assert!(outputs.contains(&(4, "a:1 a:1".to_owned())), "{outputs:?}");
}

#[test]
fn who_waits_waits_still_when_the_store_could_be_read_in_part_only() {
    let directory = tempfile::tempdir().unwrap();
    let (fails, loads_fail) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(false)));
    let store = SqliteStore::open(&directory.path().join("bus.db")).unwrap();
    let failing =
        Failing { fails: Rc::clone(&fails), loads_fail: Rc::clone(&loads_fail), ..Failing::of(store) };
    let (mut engine, _) = Engine::new(Box::new(failing), 0).unwrap();
    greet(&mut engine, 0, ONE, &[], 0);
    call(&mut engine, 0, 1, send("q", "a"), 0);
    call(&mut engine, 0, 2, receive("other", FOREVER), 0);
    for cell in [&fails, &loads_fail] {
        cell.set(true);
    }
    for sequence in [3, 4] {
        assert_eq!(answer(&mut engine, 0, sequence, send("q", "b"), 0), "ERR_CORRAL_BUS_STORE");
    }
    fails.set(false);
    // It is read anew behind the next failure.
    loads_fail.set(false);
    assert_eq!(answer(&mut engine, 0, 5, send("q", "c"), 0), "ERR_CORRAL_BUS_STORE");
    let outputs = shown(&call(&mut engine, 0, 6, send("other", "d"), 0));
    assert!(outputs.contains(&(2, "d:1".to_owned())), "{outputs:?}");
    assert_eq!(stats(&mut engine, 0, "q", 0).waiting, 1);
}

#[test]
fn a_store_that_failed_was_read_anew_without_a_pause() {
    let directory = tempfile::tempdir().unwrap();
    let fails = Rc::new(Cell::new(false));
    let store = SqliteStore::open(&directory.path().join("bus.db")).unwrap();
    let (mut engine, _) =
        Engine::new(Box::new(Failing { fails: Rc::clone(&fails), ..Failing::of(store) }), 0).unwrap();
    greet(&mut engine, 0, ONE, &[], 0);
    call(&mut engine, 0, 1, send("q", "a"), 0);
    call(&mut engine, 0, 2, Request::Receive { queue: name("q"), count: 1, wait: 0, visibility: 10 }, 0);
    fails.set(true);
    engine.tick(10);
    engine.commit(10);
    assert_eq!(engine.next_time(), Some(10 + REST));
    // Whoever asks is answered all the same.
    assert_eq!(answer(&mut engine, 0, 3, send("q", "b"), 11), "ERR_CORRAL_BUS_STORE");
    fails.set(false);
    assert_eq!(answer(&mut engine, 0, 3, send("q", "b"), 12), "done");
    let now = engine.next_time().unwrap();
    engine.tick(now);
    engine.commit(now);
    assert_eq!(stats(&mut engine, 0, "q", now).waiting, 2);
}

#[test]
fn a_full_disk_kept_those_from_making_room_who_had_done_their_work() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&directory.path().join("bus.db")).unwrap();
    let failing = Failing::of(store);
    let room = Rc::clone(&failing.room);
    let (mut engine, _) = Engine::new(Box::new(failing), 0).unwrap();
    greet(&mut engine, 0, ONE, &[], 0);
    for sequence in 1..=3 {
        call(&mut engine, 0, sequence, send("q", "a"), 0);
    }
    let held = receipts(&call(&mut engine, 0, 4, receive("q", 0), 0));
    room.set(0);
    let Request::Op(more) = send("q", "b") else { panic!() };
    let Request::Op(done) = ack_in("q", &held) else { panic!() };
    let transaction = Request::Transaction(vec![done.clone(), more]);
    let new = [send("q", "b"), transaction];
    // What comes in the same turn is not refused with them, and nor is a transaction that makes room alone.
    for (sequence, request) in (5..).zip(new.clone()) {
        engine.request(0, sequence, request, 0);
    }
    engine.request(0, 7, Request::Transaction(vec![done]), 0);
    let refused = [5, 6].map(|sequence| (sequence, "ERR_CORRAL_BUS_STORE".to_owned()));
    assert_eq!(shown(&engine.commit(0)), [&refused[..], &[(7, "done".to_owned())]].concat());
    let left = stats(&mut engine, 0, "q", 0);
    assert_eq!((left.waiting, left.held), (0, 0));
    // Whoever asks again has had its answer, also when there is room.
    room.set(usize::MAX);
    for (sequence, request) in (5..).zip(new) {
        engine.request(0, sequence, request, 0);
    }
    assert_eq!(shown(&engine.commit(0)), refused);
    assert_eq!(stats(&mut engine, 0, "q", 0).waiting, 0);
    assert_eq!(answer(&mut engine, 0, 8, send("q", "b"), 0), "done");
}

#[test]
fn a_disk_that_was_full_in_the_midst_of_a_transaction_took_a_part_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let failing = Failing::of(SqliteStore::open(&directory.path().join("bus.db")).unwrap());
    let room = Rc::clone(&failing.room);
    let (mut engine, _) = Engine::new(Box::new(failing), 0).unwrap();
    greet(&mut engine, 0, ONE, &[], 0);
    room.set(1);
    let ops = ["a", "b"].map(|body| Op::Send(message("q", body)));
    assert_eq!(answer(&mut engine, 0, 1, Request::Transaction(ops.to_vec()), 0), "done");
    assert_eq!(stats(&mut engine, 0, "q", 0).waiting, 2);
}
