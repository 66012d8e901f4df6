//! A store in a file, in SQLite. Its write-ahead log makes a commit one sequential write, which is flushed to the disk or is not;
//! a process that is killed loses nothing of it, as the system has it.
//!
//! The envelope of a message is in another table than what the engine needs of all messages at its start, so that a start
//! does not read the envelopes.

use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};

use super::pending::{Change, Pending, runs};
use super::recent::Recent;
use super::room::Room;
use super::rows::{dead_in, holder_of, number_of, outcomes_in, signed, state_in, unsigned, whole_in};
use super::tables;
use super::{ClientId, ClientRow, Loaded, QueueRow, State, Store, Whole};
use crate::error::Fault;
use crate::protocol::{Durability, Name, Space};

/// How far the clock may be behind in the file, in milliseconds.
const CLOCK_STEP: u64 = 1_000;

/// From so many free pages on the file is made smaller, and by so many at a time.
const MANY_FREE: i64 = 2_048;
const VACUUM_STEP: u32 = 256;

/// How many numbers are reserved at a time: no number is given twice, also if its message is gone, as a late receipt would
/// be another message's.
const RESERVE: u64 = 10_000;

/// How many messages are read together, and up to how many bytes.
const READ_AHEAD: usize = 64;
const READ_AHEAD_BYTES: usize = 256 << 10;

/// How many messages are loaded at a time: all of them would be much memory at a takeover.
const LOADED: i64 = 10_000;

pub struct SqliteStore {
    connection: Connection,
    room: Room,
    recent: Recent,
    pending: Pending,
    is_open: bool,
    /// What its commits wait for.
    durability: Durability,
    /// The clock in the file.
    clock: u64,
    /// Messages get numbers below this one until the file says otherwise.
    reserved: u64,
    is_clock_due: bool,
}

impl SqliteStore {
    /// Opens a file, which is made if there is none. The caller has made sure that nobody else has it.
    ///
    /// # Errors
    ///
    /// The file is of a newer version, is none of ours, is broken, or cannot be opened.
    pub fn open(path: &Path) -> Result<SqliteStore, Fault> {
        let connection = tables::open(path)?;
        Ok(SqliteStore {
            connection,
            room: Room::beside(path),
            recent: Recent::default(),
            pending: Pending::default(),
            is_open: false,
            durability: Durability::Disk,
            clock: 0,
            reserved: 1,
            is_clock_due: false,
        })
    }

    fn begin(&mut self) -> Result<(), Fault> {
        if !self.is_open {
            self.connection.execute_batch("BEGIN IMMEDIATE").map_err(Fault::store)?;
            self.is_open = true;
        }
        Ok(())
    }

    /// Carries out one statement of a transaction, which begins if there is none.
    fn change(&mut self, sql: &str, values: impl rusqlite::Params) -> Result<(), Fault> {
        self.begin()?;
        let mut statement = self.connection.prepare_cached(sql).map_err(Fault::store)?;
        statement.execute(values).map_err(Fault::store)?;
        Ok(())
    }

    /// Writes what is pending, in the transaction of the next commit.
    fn write_pending(&mut self) -> Result<(), Fault> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let changes = self.pending.take();
        let removed = changes.iter().filter(|(_, change)| matches!(change, Change::Removed));
        for (first, last) in runs(removed.map(|(message, _)| *message)) {
            let run = [signed(first), signed(last)];
            self.change("DELETE FROM message WHERE id BETWEEN ? AND ?", run)?;
            self.change("DELETE FROM body WHERE id BETWEEN ? AND ?", run)?;
        }
        for (message, change) in &changes {
            match change {
                Change::New(state, envelope) => self.write_new(*message, state, envelope)?,
                Change::Changed(state) => self.write_state(*message, state)?,
                Change::Removed => {}
            }
        }
        Ok(())
    }

    fn write_new(&mut self, message: u64, state: &State, envelope: &Arc<[u8]>) -> Result<(), Fault> {
        let (client, until) = holder_of(state);
        self.change(
            "INSERT INTO message (id, queue, priority, due, expires, deliveries, client, until, grp) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            params![
                signed(message),
                state.queue,
                state.priority,
                signed(state.due),
                signed(state.expires),
                state.deliveries,
                client,
                until,
                state.group
            ],
        )?;
        self.change("INSERT INTO body VALUES (?, ?)", params![signed(message), envelope])?;
        self.write_dead(message, state)
    }

    fn write_state(&mut self, message: u64, state: &State) -> Result<(), Fault> {
        let (client, until) = holder_of(state);
        self.change(
            "UPDATE message SET queue = ?, due = ?, expires = ?, deliveries = ?, client = ?, until = ? WHERE id = ?",
            params![
                state.queue,
                signed(state.due),
                signed(state.expires),
                state.deliveries,
                client,
                until,
                signed(message)
            ],
        )?;
        self.write_dead(message, state)
    }

    /// What only dead letters have, which are few.
    fn write_dead(&mut self, message: u64, state: &State) -> Result<(), Fault> {
        let Some(dead) = &state.dead else { return Ok(()) };
        self.change(
            "UPDATE message SET dead_queue = ?, dead_deliveries = ?, dead_reason = ?, dead_error = ? WHERE id = ?",
            params![dead.queue, dead.deliveries, dead.reason, dead.error, signed(message)],
        )
    }

    /// Reads a message that is not among the recent ones, and with it some of those that follow: they are wanted next, as a rule.
    fn read(&mut self, message: u64) -> Result<Option<Whole>, Fault> {
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT id, queue, priority, due, expires, deliveries, client, until, grp, dead_queue, \
                 dead_deliveries, dead_reason, dead_error, envelope FROM message JOIN body USING (id) \
                 WHERE id >= ? ORDER BY id",
            )
            .map_err(Fault::store)?;
        let mut rows = statement.query([signed(message)]).map_err(Fault::store)?;
        let (mut wanted, mut count, mut bytes) = (None, 0, 0);
        while count < READ_AHEAD
            && bytes < READ_AHEAD_BYTES
            && let Some(row) = rows.next().map_err(Fault::store)?
        {
            let (number, state, envelope) = whole_in(row).map_err(Fault::store)?;
            if count == 0 {
                if number != message {
                    break;
                }
                wanted = Some((state.clone(), Arc::clone(&envelope)));
            }
            count += 1;
            bytes += envelope.len();
            // What is known already may be newer.
            if self.pending.get(number).is_none() && self.recent.get(number).is_none() {
                self.recent.put(number, &state, &envelope);
            }
        }
        Ok(wanted)
    }
}

impl Store for SqliteStore {
    fn name(&self) -> &'static str {
        "file"
    }

    fn load(&mut self) -> Result<Loaded, Fault> {
        self.recent.clear();
        let load = || -> rusqlite::Result<Loaded> {
            let mut loaded = Loaded::default();
            let mut queues = self.connection.prepare("SELECT * FROM queue ORDER BY number")?;
            let rows = queues.query_map([], |row| {
                let space =
                    if row.get::<_, i64>(1)? == Space::List as i64 { Space::List } else { Space::Queue };
                Ok(QueueRow {
                    number: row.get(0)?,
                    name: Name { space, name: row.get(2)? },
                    visibility: unsigned(row.get(3)?),
                    max_deliveries: row.get(4)?,
                    dead_letter: row.get(5)?,
                })
            })?;
            loaded.queues = rows.collect::<rusqlite::Result<_>>()?;
            let mut clients = self.connection.prepare("SELECT * FROM client")?;
            let rows = clients.query_map([], |row| {
                let outcomes: Vec<u8> = row.get(2)?;
                let (last, changed) = (unsigned(row.get(1)?), unsigned(row.get(3)?));
                Ok((row.get(0)?, ClientRow { last, outcomes: outcomes_in(&outcomes), changed }))
            })?;
            loaded.clients = rows.collect::<rusqlite::Result<_>>()?;
            let clock = self.connection.query_row("SELECT now, next_message FROM clock", [], |row| {
                Ok((unsigned(row.get(0)?), unsigned(row.get(1)?)))
            })?;
            (loaded.clock, loaded.next_message) = clock;
            Ok(loaded)
        };
        let loaded = load().map_err(Fault::store)?;
        (self.clock, self.reserved) = (loaded.clock, loaded.next_message);
        self.is_clock_due = false;
        Ok(loaded)
    }

    fn messages(&mut self, first: u64) -> Result<Vec<(u64, State)>, Fault> {
        let read = || -> rusqlite::Result<Vec<(u64, State)>> {
            let mut messages =
                self.connection.prepare_cached("SELECT * FROM message WHERE id >= ? ORDER BY id LIMIT ?")?;
            let rows = messages.query_map(params![signed(first), LOADED], |row| {
                let mut state = state_in(row)?;
                if state.holder.is_some() {
                    state.dead = dead_in(row)?;
                }
                Ok((unsigned(row.get(0)?), state))
            })?;
            rows.collect()
        };
        read().map_err(Fault::store)
    }

    fn has_room(&mut self, bytes: usize) -> bool {
        let more = (self.pending.bytes() + bytes) as u64;
        self.room.is_enough(&self.connection, more)
    }

    fn insert(&mut self, message: u64, state: &State, envelope: &Arc<[u8]>) -> Result<(), Fault> {
        if message >= self.reserved {
            self.reserved = message + RESERVE;
            self.is_clock_due = true;
        }
        self.pending.insert(message, state, envelope);
        self.recent.put(message, state, envelope);
        if self.pending.is_large() { self.write_pending() } else { Ok(()) }
    }

    fn update(&mut self, message: u64, state: &State) -> Result<(), Fault> {
        self.pending.update(message, state);
        self.recent.update(message, state);
        Ok(())
    }

    fn remove(&mut self, message: u64) -> Result<(), Fault> {
        self.pending.remove(message);
        self.recent.remove(message);
        Ok(())
    }

    fn state(&mut self, message: u64) -> Result<Option<State>, Fault> {
        match self.pending.get(message) {
            Some(Change::New(state, _) | Change::Changed(state)) => return Ok(Some(state.clone())),
            Some(Change::Removed) => return Ok(None),
            None => {}
        }
        if let Some((state, _)) = self.recent.get(message) {
            return Ok(Some(state.clone()));
        }
        // Its envelope is wanted next, as a rule, and is among the recent ones then.
        Ok(self.read(message)?.map(|(state, _)| state))
    }

    fn envelope(&mut self, message: u64) -> Result<Arc<[u8]>, Fault> {
        if let Some(Change::New(_, envelope)) = self.pending.get(message) {
            return Ok(Arc::clone(envelope));
        }
        if let Some((_, envelope)) = self.recent.get(message) {
            return Ok(Arc::clone(envelope));
        }
        match self.read(message)? {
            Some((_, envelope)) => Ok(envelope),
            None => Err(Fault::store(format!("message {message} is not in the file"))),
        }
    }

    fn put_queue(&mut self, queue: &QueueRow) -> Result<(), Fault> {
        self.change(
            "INSERT OR REPLACE INTO queue VALUES (?, ?, ?, ?, ?, ?)",
            params![
                queue.number,
                queue.name.space as i64,
                queue.name.name,
                signed(queue.visibility),
                queue.max_deliveries,
                queue.dead_letter
            ],
        )
    }

    fn remove_queue(&mut self, number: u32) -> Result<(), Fault> {
        self.change("DELETE FROM queue WHERE number = ?", [number])?;
        self.change("DELETE FROM seen WHERE queue = ?", [number])
    }

    fn remember(&mut self, queue: u32, id: &Arc<str>, until: u64) -> Result<(), Fault> {
        self.change("INSERT OR REPLACE INTO seen VALUES (?, ?, ?)", params![queue, id, signed(until)])
    }

    fn remembered(&mut self, queue: u32, id: &Arc<str>) -> Result<Option<u64>, Fault> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT until FROM seen WHERE queue = ? AND id = ?")
            .map_err(Fault::store)?;
        let found = statement.query_row(params![queue, id], |row| row.get::<_, i64>(0)).optional();
        Ok(found.map_err(Fault::store)?.map(unsigned))
    }

    fn forget(&mut self, until: u64) -> Result<(), Fault> {
        self.change("DELETE FROM seen WHERE until <= ?", [signed(until)])
    }

    fn put_client(&mut self, client: &ClientId, row: &ClientRow) -> Result<(), Fault> {
        let outcomes: Vec<u8> = row
            .outcomes
            .iter()
            .flat_map(|(sequence, outcome)| [&sequence.to_le_bytes()[..], &[number_of(*outcome)]].concat())
            .collect();
        self.change(
            "INSERT OR REPLACE INTO client VALUES (?, ?, ?, ?)",
            params![&client[..], signed(row.last), outcomes, signed(row.changed)],
        )
    }

    fn remove_client(&mut self, client: &ClientId) -> Result<(), Fault> {
        self.change("DELETE FROM client WHERE id = ?", [&client[..]])
    }

    fn rsmq(
        &mut self,
        call: &str,
        arguments: &[Arc<[u8]>],
        now: u64,
    ) -> Result<Result<super::rsmq::Answer, Fault>, Fault> {
        // Its message is the last one.
        if call == "send" && !self.has_room(arguments.last().map_or(0, |message| message.len())) {
            return Ok(Err(Fault::no_room()));
        }
        self.begin()?;
        super::rsmq::carry_out(&self.connection, call, arguments, now)
    }

    fn has_changes(&self) -> bool {
        self.is_open || !self.pending.is_empty()
    }

    fn set_durability(&mut self, durability: Durability) -> Result<(), Fault> {
        if durability != self.durability {
            let mode = if durability == Durability::Disk { "FULL" } else { "NORMAL" };
            self.connection.pragma_update(None, "synchronous", mode).map_err(Fault::store)?;
            self.durability = durability;
        }
        Ok(())
    }

    fn commit(&mut self, now: u64) -> Result<(), Fault> {
        self.write_pending()?;
        if !self.is_open {
            return Ok(());
        }
        self.room.fit_log(&self.connection)?;
        if self.is_clock_due || now >= self.clock + CLOCK_STEP {
            self.change(
                "UPDATE clock SET now = ?, next_message = ?",
                params![signed(now.max(self.clock)), signed(self.reserved)],
            )?;
        }
        let mut statement = self.connection.prepare_cached("COMMIT").map_err(Fault::store)?;
        statement.execute([]).map_err(Fault::store)?;
        drop(statement);
        self.is_open = false;
        if self.is_clock_due || now >= self.clock + CLOCK_STEP {
            self.clock = now.max(self.clock);
            self.is_clock_due = false;
        }
        Ok(())
    }

    fn rollback(&mut self) {
        self.recent.clear();
        self.pending = Pending::default();
        // A failure may have ended the transaction already.
        if !self.connection.is_autocommit() {
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        self.is_open = false;
        self.room.shrink_log(&self.connection);
    }

    fn maintain(&mut self) -> Result<bool, Fault> {
        let free: i64 = self
            .connection
            .pragma_query_value(None, "freelist_count", |row| row.get(0))
            .map_err(Fault::store)?;
        if free < MANY_FREE {
            return Ok(false);
        }
        self.connection
            .execute_batch(&format!("PRAGMA incremental_vacuum({VACUUM_STEP})"))
            .map_err(Fault::store)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Dead, FOREVER};
    use crate::store::Holder;

    fn state() -> State {
        State {
            queue: 1,
            priority: 3,
            due: 7,
            expires: FOREVER,
            deliveries: 0,
            holder: None,
            group: Arc::from("g"),
            dead: None,
        }
    }

    fn open(directory: &tempfile::TempDir) -> SqliteStore {
        SqliteStore::open(&directory.path().join("bus.db")).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = open(&directory);
        store.load().unwrap();
        assert_eq!(store.messages(0).unwrap(), []);
        let envelope: Arc<[u8]> = Arc::from(&b"envelope"[..]);
        store.insert(5, &state(), &envelope).unwrap();
        let mut changed = state();
        changed.holder = Some(Holder { client: [9; 16], until: 1 << 40 });
        changed.dead = Some(Dead {
            queue: Arc::from("from"),
            deliveries: 3,
            reason: Arc::from("failed"),
            error: Arc::from("why"),
        });
        store.update(5, &changed).unwrap();
        store.commit(10_000).unwrap();
        // Also when it is read from the file.
        for _ in 0..2 {
            assert_eq!(store.state(5).unwrap(), Some(changed.clone()));
            assert_eq!(store.envelope(5).unwrap(), envelope);
            store.recent.clear();
        }
        assert_eq!(store.state(6).unwrap(), None);
        drop(store);
        let mut store = open(&directory);
        let loaded = store.load().unwrap();
        assert_eq!(store.messages(0).unwrap(), [(5, changed)]);
        assert_eq!(store.messages(6).unwrap(), []);
        assert!(loaded.next_message > 5 && loaded.clock == 10_000);
    }

    #[test]
    fn a_full_disk_is_a_fault_and_what_was_kept_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = open(&directory);
        let envelope: Arc<[u8]> = Arc::from(vec![1; 100_000]);
        store.insert(1, &state(), &envelope).unwrap();
        store.commit(0).unwrap();
        let pages: i64 = store.connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        store.connection.pragma_update(None, "max_page_count", pages + 5).unwrap();
        for message in 2..10 {
            store.insert(message, &state(), &envelope).unwrap();
        }
        let fault = store.commit(0).expect_err("it does not fit");
        assert_eq!(fault.code, "ERR_CORRAL_BUS_STORE");
        assert!(fault.message.contains("full"), "{fault}");
        store.rollback();
        assert_eq!(store.envelope(1).unwrap(), envelope);
        // There is room again.
        store.connection.pragma_update(None, "max_page_count", 1_000_000).unwrap();
        store.insert(2, &state(), &envelope).unwrap();
        store.commit(0).unwrap();
        assert_eq!(store.messages(0).unwrap().len(), 2);
    }

    #[test]
    fn what_is_not_committed_is_read_as_it_has_become() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = open(&directory);
        let envelope: Arc<[u8]> = Arc::from(&b"envelope"[..]);
        for message in 1..=6 {
            store.insert(message, &state(), &envelope).unwrap();
        }
        store.commit(0).unwrap();
        let changed = State { deliveries: 9, ..state() };
        // One that was there, one that is new; those of which nothing stays, and those around them.
        store.update(1, &changed).unwrap();
        store.insert(7, &state(), &envelope).unwrap();
        store.update(7, &changed).unwrap();
        store.insert(8, &state(), &envelope).unwrap();
        store.update(3, &changed).unwrap();
        for message in [2, 3, 5, 8] {
            store.remove(message).unwrap();
        }
        for _ in 0..2 {
            let deliveries: Vec<_> =
                (1..=8).map(|message| store.state(message).unwrap().map(|one| one.deliveries)).collect();
            assert_eq!(deliveries, [Some(9), None, None, Some(0), None, Some(0), Some(9), None]);
            assert_eq!(store.envelope(7).unwrap(), envelope);
            store.commit(0).unwrap();
            store.recent.clear();
        }
        store.remove(4).unwrap();
        store.rollback();
        assert_eq!(store.state(4).unwrap(), Some(state()));
    }

    #[test]
    fn what_is_read_ahead_is_not_older_than_what_is_known() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = open(&directory);
        let envelope: Arc<[u8]> = Arc::from(&b"envelope"[..]);
        for message in 1..=200 {
            store.insert(message, &state(), &envelope).unwrap();
        }
        store.commit(0).unwrap();
        store.recent.clear();
        let changed = State { deliveries: 9, ..state() };
        store.update(3, &changed).unwrap();
        store.remove(4).unwrap();
        assert_eq!(store.state(2).unwrap(), Some(state()));
        // Some are read along, but neither all nor those that have become something else.
        assert!(store.recent.get(5).is_some() && store.recent.get(150).is_none());
        assert!(store.recent.get(3).is_none() && store.recent.get(4).is_none());
        store.commit(0).unwrap();
        assert_eq!(store.state(3).unwrap().map(|state| state.deliveries), Some(9));
        assert_eq!(store.state(4).unwrap(), None);
        // A change of one that was read along.
        store.update(6, &changed).unwrap();
        store.commit(0).unwrap();
        assert_eq!(store.state(6).unwrap(), Some(changed));
    }

    #[test]
    fn many_bytes_are_not_kept_back() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = open(&directory);
        let envelope: Arc<[u8]> = Arc::from(vec![1; 1 << 20]);
        for message in 1..=9 {
            store.insert(message, &state(), &envelope).unwrap();
            assert!(!store.pending.is_large());
        }
        assert!(store.is_open);
        store.rollback();
        assert_eq!(store.state(1).unwrap(), None);
    }

    #[test]
    fn a_file_gets_smaller_when_it_is_empty() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = open(&directory);
        let envelope: Arc<[u8]> = Arc::from(vec![1; 1 << 20]);
        for message in 1..=40 {
            store.insert(message, &state(), &envelope).unwrap();
        }
        store.commit(0).unwrap();
        for message in 1..=40 {
            store.remove(message).unwrap();
        }
        store.commit(0).unwrap();
        let pages = |store: &SqliteStore| -> i64 {
            store.connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap()
        };
        let before = pages(&store);
        while store.maintain().unwrap() {}
        assert!(pages(&store) < before / 2);
    }
}
