//! The engine on both stores: what outlives a process, what is not done twice, and a store that fails.

use std::cell::Cell;
use std::rc::Rc;

use super::*;
use crate::protocol::{Message, Settings, Stats};
use crate::store::memory::MemoryStore;
use crate::store::sqlite::SqliteStore;
use crate::store::{ClientRow, Loaded, QueueRow};

pub(super) const ONE: ClientId = [1; 16];
pub(super) const OTHER: ClientId = [2; 16];

pub(super) fn name(text: &str) -> Name {
    Name { space: Space::Queue, name: Arc::from(text) }
}

pub(super) fn message(queue: &str, body: &str) -> Message {
    Message {
        queue: name(queue),
        priority: 0,
        delay: 0,
        expires: FOREVER,
        group: Arc::from(""),
        id: Arc::from(""),
        deduplicate: 1_000,
        envelope: Arc::from(body.as_bytes()),
    }
}

pub(super) fn send(queue: &str, body: &str) -> Request {
    Request::Op(Op::Send(message(queue, body)))
}

pub(super) fn receive(queue: &str, wait: u64) -> Request {
    Request::Receive { queue: name(queue), count: 10, wait, visibility: 0 }
}

fn ack(receipts: &[Receipt]) -> Request {
    Request::Op(Op::Ack { queue: name("q"), receipts: receipts.to_vec() })
}

/// What a reply says, for comparing.
fn show(reply: &Reply) -> String {
    match reply {
        Reply::Messages(messages) => {
            let texts: Vec<_> = messages
                .iter()
                .map(|one| format!("{}:{}", String::from_utf8_lossy(&one.envelope), one.receipt.delivery))
                .collect();
            texts.join(" ")
        }
        Reply::Failed(fault) => fault.code.to_owned(),
        Reply::Done => "done".to_owned(),
        Reply::Duplicate => "duplicate".to_owned(),
        Reply::Welcome { .. } => "welcome".to_owned(),
        other => format!("{other:?}"),
    }
}

pub(super) fn shown(outputs: &[Output]) -> Vec<(u64, String)> {
    outputs
        .iter()
        .map(|output| match output {
            Output::Reply { sequence, reply, .. } => (*sequence, show(reply)),
            Output::Publish { topic, .. } => (0, format!("publish {topic}")),
        })
        .collect()
}

pub(super) fn receipts(outputs: &[Output]) -> Vec<Receipt> {
    outputs
        .iter()
        .flat_map(|output| match output {
            Output::Reply { reply: Reply::Messages(messages), .. } => {
                messages.iter().map(|one| one.receipt).collect()
            }
            _ => Vec::new(),
        })
        .collect()
}

/// One request, kept and answered.
pub(super) fn call(
    engine: &mut Engine,
    connection: usize,
    sequence: u64,
    request: Request,
    now: u64,
) -> Vec<Output> {
    engine.request(connection, sequence, request, now);
    engine.commit(now)
}

pub(super) fn answer(
    engine: &mut Engine,
    connection: usize,
    sequence: u64,
    request: Request,
    now: u64,
) -> String {
    let outputs = call(engine, connection, sequence, request, now);
    let texts: Vec<_> = shown(&outputs).into_iter().map(|(_, text)| text).collect();
    texts.join("; ")
}

pub(super) fn greet(engine: &mut Engine, connection: usize, client: ClientId, held: &[Receipt], now: u64) {
    engine.hello(connection, client, Durability::Process, held, now);
    engine.commit(now);
}

pub(super) struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    pub(super) fn new() -> Place {
        Place { directory: tempfile::tempdir().unwrap() }
    }

    /// A process that takes over.
    pub(super) fn open(&self, now: u64) -> (Engine, u64) {
        let store = SqliteStore::open(&self.directory.path().join("bus.db")).unwrap();
        Engine::new(Box::new(store), now).unwrap()
    }
}

#[test]
fn what_was_answered_outlives_the_process() {
    let place = Place::new();
    let (mut engine, _) = place.open(1_000);
    greet(&mut engine, 0, ONE, &[], 1_000);
    assert_eq!(answer(&mut engine, 0, 1, send("q", "a"), 1_000), "done");
    let mut delayed = message("q", "late");
    (delayed.delay, delayed.priority) = (5_000, 9);
    engine.request(0, 2, Request::Op(Op::Send(delayed)), 1_000);
    // Of what was not committed, nobody was told.
    engine.commit(1_000);
    engine.request(0, 3, send("q", "lost"), 1_000);
    drop(engine);

    let (mut engine, now) = place.open(2_000);
    greet(&mut engine, 0, OTHER, &[], now);
    assert_eq!(answer(&mut engine, 0, 1, receive("q", 0), now), "a:1");
    engine.tick(6_000);
    assert_eq!(answer(&mut engine, 0, 2, receive("q", 0), 6_000), "late:1");
}

#[test]
fn a_change_that_is_sent_again_is_not_carried_out_again() {
    let place = Place::new();
    let (mut engine, _) = place.open(0);
    greet(&mut engine, 0, ONE, &[], 0);
    let mut unique = message("q", "b");
    unique.id = Arc::from("id");
    engine.request(0, 1, send("q", "a"), 0);
    engine.request(0, 2, Request::Op(Op::Send(unique.clone())), 0);
    engine.request(0, 3, Request::Op(Op::Send(unique.clone())), 0);
    engine.request(0, 4, ack(&[Receipt { message: 99, delivery: 1 }]), 0);
    let expected = [(1, "done"), (2, "done"), (3, "duplicate"), (4, "ERR_CORRAL_BUS_NOT_HELD")];
    let expected = expected.map(|(sequence, text)| (sequence, text.to_owned()));
    assert_eq!(shown(&engine.commit(0)), expected);
    drop(engine);

    // The process was killed when it had kept them, and before it could say so.
    let (mut engine, now) = place.open(0);
    greet(&mut engine, 0, ONE, &[], now);
    engine.request(0, 1, send("q", "a"), now);
    engine.request(0, 2, Request::Op(Op::Send(unique.clone())), now);
    engine.request(0, 3, Request::Op(Op::Send(unique)), now);
    engine.request(0, 4, ack(&[Receipt { message: 99, delivery: 1 }]), now);
    engine.request(0, 5, send("q", "new"), now);
    let outputs = shown(&engine.commit(now));
    assert_eq!(outputs[..4], expected);
    assert_eq!(outputs[4], (5, "done".to_owned()));
    assert_eq!(answer(&mut engine, 0, 6, receive("q", 0), now), "a:1 b:1 new:1");
}

#[test]
fn a_consumer_that_comes_back_holds_what_it_has_and_nobody_else_gets_it() {
    let place = Place::new();
    let (mut engine, _) = place.open(0);
    greet(&mut engine, 0, ONE, &[], 0);
    for (sequence, body) in [(1, "seen"), (2, "unseen")] {
        engine.request(0, sequence, send("q", body), 0);
    }
    let held = receipts(&call(&mut engine, 0, 3, receive("q", 0), 0));
    assert_eq!(held.len(), 2);
    drop(engine);

    let (mut engine, now) = place.open(100);
    greet(&mut engine, 0, OTHER, &[], now);
    assert_eq!(answer(&mut engine, 0, 1, receive("q", 0), now), "", "its consumer may come back");
    assert_eq!(answer(&mut engine, 0, 2, receive("q", FOREVER), now), "");
    // The second message has not reached it: it is as if it had never gone out.
    engine.hello(1, ONE, Durability::Process, &held[..1], now);
    let outputs = engine.commit(now);
    assert!(shown(&outputs).contains(&(2, "unseen:1".to_owned())), "{:?}", shown(&outputs));
    assert_eq!(answer(&mut engine, 1, 4, ack(&held[..1]), now), "done");
}

#[test]
fn a_consumer_that_does_not_come_back_has_lost_its_messages() {
    let place = Place::new();
    let (mut engine, _) = place.open(0);
    greet(&mut engine, 0, ONE, &[], 0);
    engine.request(0, 1, send("q", "a"), 0);
    call(&mut engine, 0, 2, receive("q", 0), 0);
    drop(engine);

    let (mut engine, now) = place.open(10);
    greet(&mut engine, 0, OTHER, &[], now);
    assert_eq!(answer(&mut engine, 0, 1, receive("q", FOREVER), now), "");
    engine.tick(now + GRACE);
    assert_eq!(shown(&engine.commit(now + GRACE)), [(1, "a:2".to_owned())]);
}

#[test]
fn a_group_is_as_it_was_after_another_process_has_taken_over() {
    let place = Place::new();
    let (mut engine, _) = place.open(0);
    greet(&mut engine, 0, ONE, &[], 0);
    for (sequence, body) in [(1, "a"), (2, "b"), (3, "c")] {
        let mut one = message("q", body);
        one.group = Arc::from("g");
        engine.request(0, sequence, Request::Op(Op::Send(one)), 0);
    }
    let held = receipts(&call(&mut engine, 0, 4, receive("q", 0), 0));
    let nack =
        Op::Nack { queue: name("q"), receipt: held[0], delay: 5_000, counts: true, error: String::new() };
    call(&mut engine, 0, 5, Request::Op(nack), 0);
    drop(engine);

    let (mut engine, now) = place.open(100);
    greet(&mut engine, 0, OTHER, &[], now);
    assert_eq!(answer(&mut engine, 0, 1, receive("q", 0), now), "", "it waits for the one that failed");
    engine.tick(6_000);
    assert_eq!(answer(&mut engine, 0, 2, receive("q", 0), 6_000), "a:2");
    drop(engine);
    let (mut engine, now) = place.open(6_100);
    greet(&mut engine, 0, ONE, &[], now);
    assert_eq!(answer(&mut engine, 0, 1, receive("q", 0), now), "", "it is held");
}

#[test]
fn the_clock_never_goes_back() {
    let place = Place::new();
    let (mut engine, now) = place.open(1_000_000);
    assert_eq!(now, 1_000_000);
    greet(&mut engine, 0, ONE, &[], now);
    let mut delayed = message("q", "late");
    delayed.delay = 5_000;
    call(&mut engine, 0, 1, Request::Op(Op::Send(delayed)), now);
    drop(engine);
    // The system's clock says another year.
    let (mut engine, now) = place.open(10);
    assert_eq!(now, 1_000_000);
    greet(&mut engine, 0, ONE, &[], now);
    engine.tick(now + 4_999);
    assert_eq!(answer(&mut engine, 0, 2, receive("q", 0), now + 4_999), "");
    engine.tick(now + 5_000);
    assert_eq!(answer(&mut engine, 0, 3, receive("q", 0), now + 5_000), "late:1");
}

#[test]
fn no_number_is_given_twice() {
    let place = Place::new();
    let (mut engine, _) = place.open(0);
    greet(&mut engine, 0, ONE, &[], 0);
    engine.request(0, 1, send("q", "a"), 0);
    let held = receipts(&call(&mut engine, 0, 2, receive("q", 0), 0));
    call(&mut engine, 0, 3, ack(&held), 0);
    drop(engine);
    let (mut engine, now) = place.open(0);
    greet(&mut engine, 0, OTHER, &[], now);
    engine.request(0, 1, send("q", "b"), now);
    let others = receipts(&call(&mut engine, 0, 2, receive("q", 0), now));
    assert!(others[0].message > held[0].message);
}

#[test]
fn ids_and_clients_are_forgotten_in_time() {
    for store in [Box::new(MemoryStore::new()) as Box<dyn Store>, {
        let directory = tempfile::tempdir().unwrap();
        Box::new(SqliteStore::open(&directory.path().join("bus.db")).unwrap())
    }] {
        let (mut engine, _) = Engine::new(store, 0).unwrap();
        greet(&mut engine, 0, ONE, &[], 0);
        let mut one = message("q", "a");
        one.id = Arc::from("id");
        let again = Request::Op(Op::Send(one));
        assert_eq!(answer(&mut engine, 0, 1, again.clone(), 0), "done");
        assert_eq!(answer(&mut engine, 0, 2, again.clone(), 999), "duplicate");
        assert_eq!(answer(&mut engine, 0, 3, again.clone(), 1_000), "done");
        engine.gone(0, 1_000);
        engine.tick(1_000 + REMEMBERED + 2 * SWEEP);
        engine.commit(1_000 + REMEMBERED + 2 * SWEEP);
        assert!(engine.sessions.is_empty());
        greet(&mut engine, 1, OTHER, &[], 1_000 + REMEMBERED);
        assert_eq!(answer(&mut engine, 1, 1, again, 1_000 + REMEMBERED), "done");
    }
}

/// A store whose commits fail while it is told so.
pub(super) struct Failing {
    pub(super) store: SqliteStore,
    pub(super) fails: Rc<Cell<bool>>,
    pub(super) loads_fail: Rc<Cell<bool>>,
    /// How often there is room still.
    pub(super) room: Rc<Cell<usize>>,
}

impl Failing {
    /// One that does not fail.
    pub(super) fn of(store: SqliteStore) -> Failing {
        Failing {
            store,
            fails: Rc::default(),
            loads_fail: Rc::default(),
            room: Rc::new(Cell::new(usize::MAX)),
        }
    }
}

impl Store for Failing {
    fn name(&self) -> &'static str {
        self.store.name()
    }
    fn load(&mut self) -> Result<Loaded, Fault> {
        self.store.load()
    }
    fn messages(&mut self, first: u64) -> Result<Vec<(u64, State)>, Fault> {
        if self.loads_fail.get() && first > 0 {
            return Err(Fault::store("the disk is broken"));
        }
        self.store.messages(first)
    }
    fn has_room(&mut self, bytes: usize) -> bool {
        let left = self.room.get();
        self.room.set(left.saturating_sub(1));
        left > 0 && self.store.has_room(bytes)
    }
    fn insert(&mut self, message: u64, state: &State, envelope: &Arc<[u8]>) -> Result<(), Fault> {
        self.store.insert(message, state, envelope)
    }
    fn update(&mut self, message: u64, state: &State) -> Result<(), Fault> {
        self.store.update(message, state)
    }
    fn remove(&mut self, message: u64) -> Result<(), Fault> {
        self.store.remove(message)
    }
    fn state(&mut self, message: u64) -> Result<Option<State>, Fault> {
        self.store.state(message)
    }
    fn envelope(&mut self, message: u64) -> Result<Arc<[u8]>, Fault> {
        self.store.envelope(message)
    }
    fn put_queue(&mut self, queue: &QueueRow) -> Result<(), Fault> {
        self.store.put_queue(queue)
    }
    fn remove_queue(&mut self, number: u32) -> Result<(), Fault> {
        self.store.remove_queue(number)
    }
    fn remember(&mut self, queue: u32, id: &Arc<str>, until: u64) -> Result<(), Fault> {
        self.store.remember(queue, id, until)
    }
    fn remembered(&mut self, queue: u32, id: &Arc<str>) -> Result<Option<u64>, Fault> {
        self.store.remembered(queue, id)
    }
    fn forget(&mut self, until: u64) -> Result<(), Fault> {
        self.store.forget(until)
    }
    fn put_client(&mut self, client: &ClientId, row: &ClientRow) -> Result<(), Fault> {
        self.store.put_client(client, row)
    }
    fn remove_client(&mut self, client: &ClientId) -> Result<(), Fault> {
        self.store.remove_client(client)
    }
    fn rsmq(
        &mut self,
        call: &str,
        arguments: &[Arc<[u8]>],
        now: u64,
    ) -> Result<Result<crate::store::rsmq::Answer, Fault>, Fault> {
        self.store.rsmq(call, arguments, now)
    }

    fn has_changes(&self) -> bool {
        self.store.has_changes()
    }
    fn set_durability(&mut self, durability: Durability) -> Result<(), Fault> {
        self.store.set_durability(durability)
    }
    fn commit(&mut self, now: u64) -> Result<(), Fault> {
        if self.fails.get() && self.has_changes() {
            return Err(Fault::store("the disk is full"));
        }
        self.store.commit(now)
    }
    fn rollback(&mut self) {
        self.store.rollback();
    }
    fn maintain(&mut self) -> Result<bool, Fault> {
        self.store.maintain()
    }
}

#[test]
fn what_cannot_be_kept_has_not_happened_and_everybody_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let fails = Rc::new(Cell::new(false));
    let store = SqliteStore::open(&directory.path().join("bus.db")).unwrap();
    let (mut engine, _) =
        Engine::new(Box::new(Failing { fails: Rc::clone(&fails), ..Failing::of(store) }), 0).unwrap();
    greet(&mut engine, 0, ONE, &[], 0);
    greet(&mut engine, 1, OTHER, &[], 0);
    engine.request(0, 1, send("q", "a"), 0);
    engine.request(0, 2, send("q", "b"), 0);
    let held = receipts(&call(&mut engine, 0, 3, receive("q", 0), 0));
    // Somebody waits in another queue.
    call(&mut engine, 1, 1, receive("other", FOREVER), 0);

    fails.set(true);
    engine.request(0, 4, ack(&held[..1]), 10);
    engine.request(0, 5, send("q", "c"), 10);
    engine.request(0, 6, Request::Stats { queue: name("q") }, 10);
    let outputs = shown(&engine.commit(10));
    assert!(outputs.iter().all(|(_, text)| text == "ERR_CORRAL_BUS_STORE"), "{outputs:?}");
    assert_eq!(outputs.len(), 3);

    fails.set(false);
    // Both are held still, and the same change can be made again under another number.
    let stats = Stats { waiting: 0, delayed: 0, held: 2, receivers: 0 };
    assert_eq!(
        answer(&mut engine, 0, 7, Request::Stats { queue: name("q") }, 20),
        format!("{:?}", Reply::Stats(stats))
    );
    assert_eq!(answer(&mut engine, 0, 8, ack(&held), 20), "done");
    engine.request(0, 9, send("other", "d"), 20);
    let outputs = shown(&engine.commit(20));
    assert!(outputs.contains(&(1, "d:1".to_owned())), "who waited waits still: {outputs:?}");
}

#[test]
fn a_receiver_is_not_overtaken_and_ends_in_time() {
    let (mut engine, _) = Engine::new(Box::new(MemoryStore::new()), 0).unwrap();
    greet(&mut engine, 0, ONE, &[], 0);
    for sequence in [1, 2] {
        assert_eq!(answer(&mut engine, 0, sequence, receive("q", 100), 0), "");
    }
    engine.request(0, 3, send("q", "a"), 1);
    // This one came after it, in the same turn.
    engine.request(0, 4, receive("q", 0), 1);
    let outputs = shown(&engine.commit(1));
    assert!(outputs.contains(&(1, "a:1".to_owned())), "{outputs:?}");
    assert!(outputs.contains(&(4, String::new())), "{outputs:?}");
    assert_eq!(engine.next_time(), Some(100));
    engine.tick(100);
    assert_eq!(shown(&engine.commit(100)), [(2, String::new())]);
}

#[test]
fn a_queue_that_nobody_uses_takes_no_memory() {
    let (mut engine, _) = Engine::new(Box::new(MemoryStore::new()), 0).unwrap();
    greet(&mut engine, 0, ONE, &[], 0);
    for number in 0..100 {
        call(&mut engine, 0, number, receive(&format!("q{number}"), 0), 0);
    }
    call(&mut engine, 0, 200, send("kept", "a"), 0);
    let settings = Settings { visibility: Some(5), ..Settings::default() };
    call(&mut engine, 0, 201, Request::Declare { queue: name("declared"), settings }, 0);
    engine.tick(SWEEP);
    engine.commit(SWEEP);
    assert_eq!(engine.queues.len(), 2);
}

#[test]
fn deliveries_of_one_reply_are_bounded_in_bytes() {
    let (mut engine, _) = Engine::new(Box::new(MemoryStore::new()), 0).unwrap();
    greet(&mut engine, 0, ONE, &[], 0);
    let large = "x".repeat(MAX_REPLY / 2 + 1);
    for sequence in 1..=3 {
        engine.request(0, sequence, send("q", &large), 0);
    }
    engine.commit(0);
    assert_eq!(receipts(&call(&mut engine, 0, 4, receive("q", 0), 0)).len(), 2);
    assert_eq!(receipts(&call(&mut engine, 0, 5, receive("q", 0), 0)).len(), 1);
}
