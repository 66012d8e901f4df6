//! The queues and lists, as a state machine: requests go in, replies come out, and a [`Store`] keeps what is to outlive
//! it. No I/O of its own, no threads, and no clock: its caller says what time it is.
//!
//! All that happens between two calls of [`Engine::commit`] is kept together, and nothing of it is told before.
//!
//! | File | What it holds |
//! | --- | --- |
//! | `queue` | one queue: what waits in it, in which order |
//! | `session` | what is known of a client |
//! | `delivery` | messages go out, and come back |
//! | `changes` | what a client may ask for that changes something, alone or in a transaction |
//! | `rsmq` | what `corral/rsmq` asks for |
//! | `keeping` | what has happened is kept, or taken back; what was kept for long enough is forgotten |
//! | `regressions` | tests of what went wrong once |
//! | `looking` | what is there, which changes nothing |
//! | `loading` | the state of an engine from what its store has kept |

mod changes;
mod delivery;
mod keeping;
mod loading;
mod looking;
mod queue;
#[cfg(test)]
mod regressions;
mod rsmq;
mod session;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::error::Fault;
use crate::hash::QuickMap;
use crate::protocol::request::after;
use crate::protocol::{Durability, FOREVER, Name, Op, Receipt, Reply, Request, Space};
use crate::store::{ClientId, State, Store};

pub use delivery::MAX_REPLY;
use queue::{Place, Queue, Receiver};
use session::Session;

/// How long a client that is gone is remembered, in milliseconds: if it comes back, nothing that it asked for is done twice.
const REMEMBERED: u64 = 3_600_000;

/// How often what is remembered is looked through, in milliseconds.
const SWEEP: u64 = 60_000;

/// How long the messages of a client are kept for it after another process has taken over, in milliseconds.
const GRACE: u64 = 2_000;

/// How long a store that has failed is left alone by what is due, in milliseconds: it is read anew each time.
const REST: u64 = 500;

/// What comes out of an engine.
#[derive(Debug)]
pub enum Output {
    Reply {
        connection: usize,
        sequence: u64,
        reply: Reply,
    },
    /// A message on a topic; who has published it alone wants to know how many got it.
    Publish {
        topic: Arc<str>,
        body: Arc<[u8]>,
        asked: Option<(usize, u64)>,
    },
}

/// What happens at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// Delayed messages of a queue are due.
    Due(u32),
    /// A message has been held for too long.
    Held(u64),
    /// A message is not to be received any more.
    Expires(u64),
    /// A receiver has waited for long enough.
    Receiver {
        queue: u32,
        connection: usize,
        sequence: u64,
    },
    Sweep,
}

/// A message that somebody holds.
#[derive(Debug)]
struct Lease {
    state: State,
    client: ClientId,
    until: u64,
}

pub struct Engine {
    store: Box<dyn Store>,
    queues: QuickMap<u32, Queue>,
    names: HashMap<Name, u32>,
    /// The queue that was looked up last.
    last_queue: Option<(Name, u32)>,
    next_queue: u32,
    next_message: u64,
    leases: QuickMap<u64, Lease>,
    sessions: QuickMap<ClientId, Session>,
    connections: QuickMap<usize, ClientId>,
    timers: BTreeSet<(u64, Timer)>,
    /// Queues in which somebody may get something, or that may be empty now.
    stirred: BTreeSet<u32>,
    /// Clients whose rows are to be kept with the next commit.
    changed: BTreeSet<ClientId>,
    /// A failure of the store: nothing since the last commit counts.
    failure: Option<Fault>,
    outputs: Vec<Output>,
    /// How many bytes of messages are among them.
    answer_bytes: usize,
    /// After a failure nothing that is due happens before: whoever asks for something is told of the failure all the same.
    rests_until: u64,
}

impl Engine {
    /// An engine, and what its clock says: `wall` of the system's clock, or more, if that has gone back since the store was
    /// used last.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub fn new(store: Box<dyn Store>, wall: u64) -> Result<(Engine, u64), Fault> {
        let mut engine = Engine {
            store,
            queues: QuickMap::default(),
            names: HashMap::new(),
            last_queue: None,
            next_queue: 1,
            next_message: 1,
            leases: QuickMap::default(),
            sessions: QuickMap::default(),
            connections: QuickMap::default(),
            timers: BTreeSet::new(),
            stirred: BTreeSet::new(),
            changed: BTreeSet::new(),
            failure: None,
            outputs: Vec::new(),
            answer_bytes: 0,
            rests_until: 0,
        };
        let now = engine.load(wall)?;
        engine.timers.insert((now + SWEEP, Timer::Sweep));
        Ok((engine, now))
    }

    pub fn name(&self) -> &'static str {
        self.store.name()
    }

    /// Whether `commit` would have something to tell that nobody has asked for just now.
    pub fn is_stirred(&self) -> bool {
        !self.stirred.is_empty()
    }

    /// When `tick` is to be called.
    pub fn next_time(&self) -> Option<u64> {
        self.timers.first().map(|(time, _)| (*time).max(self.rests_until))
    }

    /// How many bytes of messages have been given out since the last `commit`.
    pub fn answer_bytes(&self) -> usize {
        self.answer_bytes
    }

    /// Called while nothing else is to be done: true if there is more to be done of that kind.
    pub fn maintain(&mut self) -> bool {
        self.store.maintain().unwrap_or(false)
    }

    /// A client greets: the messages that it holds are its own still, and all others that it had go back.
    pub fn hello(
        &mut self,
        connection: usize,
        client: ClientId,
        durability: Durability,
        held: &[Receipt],
        now: u64,
    ) {
        let session = self.sessions.entry(client).or_default();
        let former = session.connection.replace(connection);
        session.durability = durability;
        if let Some(former) = former {
            self.connections.remove(&former);
            self.forget_waits(former);
        }
        self.connections.insert(connection, client);
        let result = self.resume(client, held, now);
        self.note(result);
        self.reply(connection, 0, Reply::Welcome { engine: self.store.name() });
    }

    /// A connection has ended: its messages go back at once.
    pub fn gone(&mut self, connection: usize, now: u64) {
        let Some(client) = self.connections.remove(&connection) else { return };
        self.forget_waits(connection);
        let result = self.give_back_all(client, now);
        self.note(result);
        if let Some(session) = self.sessions.get_mut(&client) {
            session.connection = None;
            session.row.changed = now;
        }
    }

    /// Whoever waits on this connection waits no more.
    fn forget_waits(&mut self, connection: usize) {
        for queue in self.queues.values_mut() {
            queue.drains.retain(|(one, _)| *one != connection);
            let number = queue.row.number;
            for receiver in queue.receivers.iter().filter(|one| one.connection == connection) {
                self.timers.remove(&(receiver.until, receiver.timer(number)));
            }
            queue.receivers.retain(|one| one.connection != connection);
        }
    }

    /// Carries out a request of a client that has greeted.
    pub fn request(&mut self, connection: usize, sequence: u64, request: Request, now: u64) {
        let Some(&client) = self.connections.get(&connection) else { return };
        if request.is_change() {
            let known = self.sessions.get(&client).and_then(|session| session.known(sequence));
            let reply = match known {
                Some(outcome) => self.told_again(outcome, request, now),
                None => self.change(client, sequence, request, now),
            };
            self.reply(connection, sequence, reply);
            return;
        }
        let result = self.ask(connection, client, sequence, request, now);
        self.note(result);
    }

    /// Carries out a change, and remembers that it was.
    fn change(&mut self, client: ClientId, sequence: u64, request: Request, now: u64) -> Reply {
        let result = match request {
            Request::Op(op) if self.lacks_room(std::slice::from_ref(&op)) => {
                Ok(Reply::Failed(Fault::no_room()))
            }
            Request::Op(op) => self.apply(client, op, now),
            Request::Transaction(ops) => self.transaction(client, ops, now),
            Request::Rsmq { call, arguments } => self.rsmq(&call, &arguments, now),
            _ => Ok(Reply::Done),
        };
        let reply = match result {
            Ok(reply) => reply,
            Err(fault) => {
                self.failure = Some(fault);
                return Reply::Done;
            }
        };
        if let Some(session) = self.sessions.get_mut(&client) {
            session.carried_out(sequence, &reply, now);
            self.changed.insert(client);
        }
        reply
    }

    /// Carries out a request that changes nothing that must not happen twice.
    fn ask(
        &mut self,
        connection: usize,
        client: ClientId,
        sequence: u64,
        request: Request,
        now: u64,
    ) -> Result<(), Fault> {
        let reply = match request {
            Request::Declare { queue, settings } => {
                let number = self.kept_queue(&queue)?;
                if let Some(queue) = self.queues.get_mut(&number) {
                    queue.set(settings);
                    self.store.put_queue(&queue.row)?;
                }
                Reply::Done
            }
            Request::Op(Op::Publish { topic, body }) => {
                self.outputs.push(Output::Publish { topic, body, asked: Some((connection, sequence)) });
                return Ok(());
            }
            Request::Receive { queue, count, wait, visibility } => {
                let number = self.queue(&queue);
                let count = count.max(1);
                let until = after(now, wait);
                let receiver = Receiver { connection, sequence, count, visibility, until };
                return self.receive(number, receiver, wait > 0, now);
            }
            Request::Cancel { target } => {
                self.cancel(connection, target);
                return Ok(());
            }
            Request::Extend { queue, receipt, visibility } => {
                let number = self.queue(&queue);
                if self.extend(client, number, receipt, visibility, now)? {
                    Reply::Done
                } else {
                    Reply::Failed(Fault::not_held())
                }
            }
            Request::Peek { queue, count } => {
                let number = self.queue(&queue);
                Reply::Messages(self.peek(number, count)?)
            }
            Request::Stats { queue } => Reply::Stats(self.stats(&queue)),
            Request::Purge { queue } => Reply::Count(self.purge(&queue)?),
            Request::Delete { queue } => {
                self.delete(&queue)?;
                Reply::Done
            }
            Request::Drain { queue } => {
                let number = self.queue(&queue);
                if let Some(queue) = self.queues.get_mut(&number) {
                    queue.drains.push((connection, sequence));
                }
                self.stirred.insert(number);
                return Ok(());
            }
            Request::Queues => Reply::Names(
                self.queues
                    .values()
                    .filter(|queue| queue.is_kept && queue.row.name.space == Space::Queue)
                    .map(|queue| Arc::clone(&queue.row.name.name))
                    .collect(),
            ),
            Request::Rsmq { call, arguments } => self.rsmq(&call, &arguments, now)?,
            Request::Bye => {
                self.forget_waits(connection);
                self.give_back_all(client, now)?;
                self.connections.remove(&connection);
                self.sessions.remove(&client);
                self.changed.remove(&client);
                self.store.remove_client(&client)?;
                Reply::Done
            }
            Request::Hello { .. }
            | Request::Op(_)
            | Request::Transaction(_)
            | Request::Subscribe { .. }
            | Request::Unsubscribe { .. }
            | Request::Credit { .. } => return Ok(()),
        };
        self.reply(connection, sequence, reply);
        Ok(())
    }

    /// Does what is due.
    pub fn tick(&mut self, now: u64) {
        while let Some(&(time, timer)) = self.timers.first() {
            if time.max(self.rests_until) > now || self.failure.is_some() {
                break;
            }
            self.timers.pop_first();
            let result = match timer {
                Timer::Due(queue) => self.ripen(queue, now),
                Timer::Held(message) => self.held_too_long(message, now),
                Timer::Expires(message) => self.expire(message),
                Timer::Receiver { queue, connection, sequence } => {
                    self.receiver_ends(queue, connection, sequence);
                    Ok(())
                }
                Timer::Sweep => self.sweep(now),
            };
            self.note(result);
        }
    }

    fn reply(&mut self, connection: usize, sequence: u64, reply: Reply) {
        self.outputs.push(Output::Reply { connection, sequence, reply });
    }

    /// A failure of the store counts for all since the last commit.
    fn note(&mut self, result: Result<(), Fault>) {
        if let Err(fault) = result {
            self.failure.get_or_insert(fault);
        }
    }

    /// The number of a queue, which is known from then on.
    fn queue(&mut self, name: &Name) -> u32 {
        if let Some((last, number)) = &self.last_queue
            && last.space == name.space
            && Arc::ptr_eq(&last.name, &name.name)
        {
            return *number;
        }
        let number = self.look_up(name);
        self.last_queue = Some((name.clone(), number));
        number
    }

    fn look_up(&mut self, name: &Name) -> u32 {
        if let Some(number) = self.names.get(name) {
            return *number;
        }
        let number = self.next_queue;
        self.next_queue += 1;
        self.names.insert(name.clone(), number);
        self.queues.insert(number, Queue::new(Queue::plain(number, name.clone()), false));
        number
    }

    /// The number of a queue that the store has from then on.
    fn kept_queue(&mut self, name: &Name) -> Result<u32, Fault> {
        let number = self.queue(name);
        if let Some(queue) = self.queues.get_mut(&number)
            && !queue.is_kept
        {
            self.store.put_queue(&queue.row)?;
            queue.is_kept = true;
        }
        Ok(number)
    }

    /// Sees to it that delayed messages of a queue come in time.
    fn schedule(&mut self, number: u32) {
        let Some(queue) = self.queues.get_mut(&number) else { return };
        let next = queue.next_due().map(|(due, _)| due);
        if queue.wake != next {
            if let Some(time) = queue.wake {
                self.timers.remove(&(time, Timer::Due(number)));
            }
            if let Some(time) = next {
                self.timers.insert((time, Timer::Due(number)));
            }
            queue.wake = next;
        }
    }
}

/// The place of a message with this state.
fn place_of(message: u64, state: &State) -> Place {
    Place::new(state.priority, message)
}

impl Receiver {
    fn timer(&self, queue: u32) -> Timer {
        Timer::Receiver { queue, connection: self.connection, sequence: self.sequence }
    }
}

/// Whether a message is not to be received any more.
fn has_expired(state: &State, now: u64) -> bool {
    state.expires != FOREVER && state.expires <= now
}
