//! What is kept, behind one trait: the engine decides, a store remembers. Everything between two commits happens together or
//! not at all.
//!
//! | File | What it holds |
//! | --- | --- |
//! | `memory` | nothing outlives the process |
//! | `sqlite` | a file, in SQLite |
//! | `rsmq` | queues of `corral/rsmq`, in SQLite |
//! | `rows` | rows of these as values |
//! | `tables` | its tables, and how it is opened |
//! | `pending` | what is written with the next commit |
//! | `room` | how much the disk has |
//! | `recent` | messages that were written or read a moment ago, so that they are not read again |

pub mod memory;
mod pending;
mod recent;
mod room;
mod rows;
pub mod rsmq;
pub mod sqlite;
mod tables;

use std::sync::Arc;

use crate::error::Fault;
use crate::protocol::{Dead, Durability, Name};

/// Who a client is, as it says itself; it is random.
pub type ClientId = [u8; 16];

/// Who holds a message, and until when by the engine's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    pub client: ClientId,
    pub until: u64,
}

/// All of a message but its envelope. Times are of the engine's clock, in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The number of its queue.
    pub queue: u32,
    pub priority: u8,
    /// Nobody receives it before; 0 for at once.
    pub due: u64,
    /// Nobody receives it from then on; `FOREVER` for never.
    pub expires: u64,
    /// How often it has been delivered.
    pub deliveries: u32,
    pub holder: Option<Holder>,
    /// Empty for none.
    pub group: Arc<str>,
    pub dead: Option<Dead>,
}

/// A message, with its envelope.
pub type Whole = (State, Arc<[u8]>);

/// A queue or a list, and its options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueRow {
    pub number: u32,
    pub name: Name,
    /// In milliseconds.
    pub visibility: u64,
    pub max_deliveries: u32,
    pub dead_letter: Option<Arc<str>>,
}

/// How a change has ended that did not simply succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Duplicate,
    NotHeld,
    /// There was no room for a new message.
    NoRoom,
    /// A call of `corral/rsmq`.
    Word(Word),
}

/// What such a call answers that has changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    Exists,
    None,
    Long,
    Gone,
}

impl Word {
    const ALL: [Word; 4] = [Word::Exists, Word::None, Word::Long, Word::Gone];

    pub fn as_bytes(self) -> &'static [u8] {
        match self {
            Word::Exists => b"exists",
            Word::None => b"none",
            Word::Long => b"long",
            Word::Gone => b"gone",
        }
    }

    pub fn of(word: &[u8]) -> Option<Word> {
        Word::ALL.into_iter().find(|one| one.as_bytes() == word)
    }
}

/// What is known of the changes of a client, so that none is carried out twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientRow {
    /// The last change that was carried out, by its sequence number; so were all before it.
    pub last: u64,
    /// The latest of them that did not simply succeed.
    pub outcomes: Vec<(u64, Outcome)>,
    /// When that was.
    pub changed: u64,
}

/// What a store had kept, but for the messages.
#[derive(Debug, Default)]
pub struct Loaded {
    pub queues: Vec<QueueRow>,
    pub clients: Vec<(ClientId, ClientRow)>,
    /// No message has a number as large as this one.
    pub next_message: u64,
    /// The engine's clock was there already.
    pub clock: u64,
}

/// A place for messages. An error means that nothing since the last commit may count: `rollback` is called next.
pub trait Store {
    /// What `bus.engine` says.
    fn name(&self) -> &'static str;

    /// Everything that is kept but the messages.
    fn load(&mut self) -> Result<Loaded, Fault>;
    /// Messages that are kept, some at a time, in the order of their numbers from `first` on: none if there are no more. What is
    /// known only of dead letters is missing, unless somebody holds them.
    fn messages(&mut self, first: u64) -> Result<Vec<(u64, State)>, Fault>;

    /// Whether there is room for a new message of so many bytes. What makes room is never asked.
    fn has_room(&mut self, bytes: usize) -> bool;
    fn insert(&mut self, message: u64, state: &State, envelope: &Arc<[u8]>) -> Result<(), Fault>;
    fn update(&mut self, message: u64, state: &State) -> Result<(), Fault>;
    fn remove(&mut self, message: u64) -> Result<(), Fault>;
    fn state(&mut self, message: u64) -> Result<Option<State>, Fault>;
    fn envelope(&mut self, message: u64) -> Result<Arc<[u8]>, Fault>;

    fn put_queue(&mut self, queue: &QueueRow) -> Result<(), Fault>;
    /// Its remembered ids go with it.
    fn remove_queue(&mut self, number: u32) -> Result<(), Fault>;

    /// Remembers an id of a queue until a time.
    fn remember(&mut self, queue: u32, id: &Arc<str>, until: u64) -> Result<(), Fault>;
    /// Until when an id is remembered.
    fn remembered(&mut self, queue: u32, id: &Arc<str>) -> Result<Option<u64>, Fault>;
    /// Forgets what was to be remembered until then at most.
    fn forget(&mut self, until: u64) -> Result<(), Fault>;

    fn put_client(&mut self, client: &ClientId, row: &ClientRow) -> Result<(), Fault>;
    fn remove_client(&mut self, client: &ClientId) -> Result<(), Fault>;

    /// Carries out what `corral/rsmq` asks for. `now` is the engine's clock. What is refused is no failure of the store.
    fn rsmq(
        &mut self,
        call: &str,
        arguments: &[Arc<[u8]>],
        now: u64,
    ) -> Result<Result<rsmq::Answer, Fault>, Fault>;

    /// Whether there is anything to commit.
    fn has_changes(&self) -> bool;
    /// What commits wait for from now on. Not between a change and its commit.
    fn set_durability(&mut self, durability: Durability) -> Result<(), Fault>;
    /// Keeps all changes. `now` is kept with them, so that the clock never goes back.
    fn commit(&mut self, now: u64) -> Result<(), Fault>;
    /// Takes back all changes since the last commit.
    fn rollback(&mut self);
    /// Called while nothing else is to be done: true if there is more to be done of that kind.
    fn maintain(&mut self) -> Result<bool, Fault>;
}
