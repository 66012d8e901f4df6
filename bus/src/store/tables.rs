//! The file of a store: its tables, and how it is opened.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rusqlite::Connection;

use crate::error::Fault;

/// What SQLite's header has for files of ours: 'cBus'.
const APPLICATION_ID: i32 = 0x63_42_75_73;

/// The version of the tables. A file of a larger one is of a newer corral.
const FORMAT: i32 = 1;

/// After so many pages of the log they are written to their places: what was changed several times meanwhile is written once. It is
/// what may have to be read again after a kill, too.
pub const CHECKPOINT: i64 = 4_096;

/// The same while the disk has little room.
pub const SHORT_CHECKPOINT: i64 = 256;

const TABLES: &str = "
    CREATE TABLE queue (
        number INTEGER PRIMARY KEY, space INTEGER NOT NULL, name TEXT NOT NULL,
        visibility INTEGER NOT NULL, max_deliveries INTEGER NOT NULL, dead_letter TEXT,
        UNIQUE (space, name)
    );
    CREATE TABLE message (
        id INTEGER PRIMARY KEY, queue INTEGER NOT NULL, priority INTEGER NOT NULL, due INTEGER NOT NULL,
        expires INTEGER NOT NULL, deliveries INTEGER NOT NULL, client BLOB, until INTEGER NOT NULL,
        grp TEXT NOT NULL, dead_queue TEXT, dead_deliveries INTEGER, dead_reason TEXT, dead_error TEXT
    );
    CREATE TABLE body (id INTEGER PRIMARY KEY, envelope BLOB NOT NULL);
    CREATE TABLE seen (
        queue INTEGER NOT NULL, id TEXT NOT NULL, until INTEGER NOT NULL, PRIMARY KEY (queue, id)
    ) WITHOUT ROWID;
    CREATE INDEX seen_until ON seen (until);
    CREATE TABLE client (
        id BLOB PRIMARY KEY, last INTEGER NOT NULL, outcomes BLOB NOT NULL, changed INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE clock (id INTEGER PRIMARY KEY, now INTEGER NOT NULL, next_message INTEGER NOT NULL);
    INSERT INTO clock VALUES (0, 0, 1);
";

/// Opens a file, which is made if there is none.
///
/// # Errors
///
/// The file is of a newer version, is none of ours, is broken, or cannot be opened.
pub fn open(path: &Path) -> Result<Connection, Fault> {
    let fail = |error: rusqlite::Error| opening(path, &error);
    // What is in it is its user's alone, as its socket is. Whatever is wrong with it SQLite finds out, too.
    let _ = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let connection = Connection::open(path).map_err(fail)?;
    connection.set_prepared_statement_cache_capacity(64);
    // Before anything is read: nobody else is to have the file, and there is no shared memory then.
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE").map_err(fail)?;
    let version: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(fail)?;
    let application: i32 =
        connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(fail)?;
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0)).map_err(fail)?;
    let is_new = tables == 0 && version == 0 && application == 0;
    if !is_new && application != APPLICATION_ID {
        return Err(Fault::format(format!("{} is another program's file", path.display())));
    }
    if version > FORMAT {
        return Err(Fault::format(format!(
            "{} has format {version}, and this corral knows {FORMAT}: it was written by a newer one",
            path.display()
        )));
    }
    if is_new {
        connection.pragma_update(None, "page_size", 8192).map_err(fail)?;
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL").map_err(fail)?;
    }
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())).map_err(fail)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(fail)?;
    connection.pragma_update(None, "cache_size", -8192).map_err(fail)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20).map_err(fail)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT).map_err(fail)?;
    if is_new {
        // In one transaction, so that a file that was begun is one that is empty.
        connection
            .execute_batch(&format!(
                "BEGIN; {TABLES} PRAGMA application_id = {APPLICATION_ID}; \
                     PRAGMA user_version = {FORMAT}; COMMIT;"
            ))
            .map_err(fail)?;
    }
    Ok(connection)
}

/// Why a file cannot be opened: what makes it no store of ours is another error than what may be over soon.
fn opening(path: &Path, error: &rusqlite::Error) -> Fault {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    let message = format!("{}: {error}", path.display());
    match error.sqlite_error_code() {
        Some(NotADatabase | DatabaseCorrupt) => Fault::format(message),
        _ => Fault::store(message),
    }
}
