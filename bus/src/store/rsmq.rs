//! Queues of `corral/rsmq` in a file. They are rsmq's, and not the bus's: a message is acknowledged by its id, by whoever
//! knows it, and is held by nobody.
//!
//! Arguments and answers are texts; the first two arguments are always the namespace and the queue. `redis/src/script/rsmq.lua`
//! does the same on rsmq's own keys.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};

use crate::error::Fault;

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS rsmq_queue (
        ns TEXT NOT NULL, name TEXT NOT NULL, vt INTEGER NOT NULL, delay INTEGER NOT NULL, maxsize INTEGER NOT NULL,
        totalrecv INTEGER NOT NULL DEFAULT 0, totalsent INTEGER NOT NULL DEFAULT 0,
        created INTEGER NOT NULL, modified INTEGER NOT NULL, PRIMARY KEY (ns, name)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS rsmq_message (
        ns TEXT NOT NULL, name TEXT NOT NULL, id TEXT NOT NULL, at INTEGER NOT NULL,
        rc INTEGER NOT NULL DEFAULT 0, fr INTEGER NOT NULL DEFAULT 0, body BLOB NOT NULL, PRIMARY KEY (ns, name, id)
    );
    CREATE INDEX IF NOT EXISTS rsmq_message_at ON rsmq_message (ns, name, at, id);
";

/// The time of the last message of these.
const LAST_ID: &str =
    "SELECT max(substr(id, 1, 10)) FROM rsmq_message WHERE ns = ? AND name = ? AND id >= ? AND id < ?";

/// What has come of a call.
#[derive(Debug, Default)]
pub struct Answer {
    /// A word that says how it went, and what belongs to it.
    pub values: Vec<Arc<[u8]>>,
    /// What those who listen are told.
    pub publishes: Option<(Arc<str>, Arc<[u8]>)>,
}

impl Answer {
    fn word(word: &str) -> Answer {
        Answer::texts(vec![word.to_owned()])
    }

    fn texts(texts: Vec<String>) -> Answer {
        Answer {
            values: texts.into_iter().map(|text| Arc::from(text.into_bytes())).collect(),
            publishes: None,
        }
    }
}

struct Call<'a> {
    connection: &'a Connection,
    arguments: Vec<&'a str>,
    /// In milliseconds.
    now: i64,
}

/// Carries out a call, in the transaction that is open. A call that there is not is refused.
///
/// # Errors
///
/// The file cannot be written or read.
pub fn carry_out(
    connection: &Connection,
    call: &str,
    arguments: &[Arc<[u8]>],
    now: u64,
) -> Result<Result<Answer, Fault>, Fault> {
    let texts = arguments.iter().map(|argument| std::str::from_utf8(argument));
    let Ok(arguments) = texts.collect::<Result<_, _>>() else {
        return Ok(Err(Fault::protocol("a text that is no UTF-8")));
    };
    let call_ = Call { connection, arguments, now: i64::try_from(now).unwrap_or(i64::MAX) };
    connection.execute_batch(TABLES).map_err(Fault::store)?;
    let result = match call {
        "create" => call_.create(),
        "deleteQueue" => call_.delete_queue(),
        "list" => call_.list(),
        "attributes" => call_.attributes(),
        "set" => call_.set(),
        "send" => call_.send(),
        "receive" => call_.receive(),
        "delete" => call_.delete(),
        "visibility" => call_.visibility(),
        "sent" => call_.sent(),
        _ => return Ok(Err(Fault::protocol(format!("no call {call}")))),
    };
    result.map(Ok).map_err(Fault::store)
}

impl Call<'_> {
    fn text(&self, index: usize) -> &str {
        self.arguments.get(index).copied().unwrap_or_default()
    }

    /// `None` if it is not given.
    fn number(&self, index: usize) -> Option<i64> {
        self.text(index).parse().ok()
    }

    fn key(&self) -> (&str, &str) {
        (self.text(0), self.text(1))
    }

    /// In so many seconds, in milliseconds.
    fn after(&self, seconds: i64) -> i64 {
        self.now.saturating_add(seconds.saturating_mul(1_000))
    }

    fn seconds(&self) -> i64 {
        self.now / 1_000
    }

    /// `vt`, `delay` and `maxsize` of the queue.
    fn queue(&self) -> rusqlite::Result<Option<(i64, i64, i64)>> {
        self.connection
            .prepare_cached("SELECT vt, delay, maxsize FROM rsmq_queue WHERE ns = ? AND name = ?")?
            .query_row(self.key(), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()
    }

    fn create(&self) -> rusqlite::Result<Answer> {
        let (ns, name) = self.key();
        let made = self.connection.execute(
            "INSERT OR IGNORE INTO rsmq_queue (ns, name, vt, delay, maxsize, created, modified)
             VALUES (?, ?, ?, ?, ?, ?6, ?6)",
            params![ns, name, self.number(2), self.number(3), self.number(4), self.seconds()],
        )?;
        Ok(Answer::word(if made == 1 { "ok" } else { "exists" }))
    }

    fn delete_queue(&self) -> rusqlite::Result<Answer> {
        self.connection.execute("DELETE FROM rsmq_message WHERE ns = ? AND name = ?", self.key())?;
        let gone = self.connection.execute("DELETE FROM rsmq_queue WHERE ns = ? AND name = ?", self.key())?;
        Ok(Answer::word(if gone == 1 { "ok" } else { "none" }))
    }

    fn list(&self) -> rusqlite::Result<Answer> {
        let mut statement = self.connection.prepare_cached("SELECT name FROM rsmq_queue WHERE ns = ?")?;
        let names = statement.query_map([self.text(0)], |row| row.get(0))?;
        let mut texts = vec!["ok".to_owned()];
        for name in names {
            texts.push(name?);
        }
        Ok(Answer::texts(texts))
    }

    fn attributes(&self) -> rusqlite::Result<Answer> {
        let (ns, name) = self.key();
        let found = self
            .connection
            .prepare_cached(
                "SELECT vt, delay, maxsize, totalrecv, totalsent, created, modified,
                 (SELECT count(*) FROM rsmq_message m WHERE m.ns = ?1 AND m.name = ?2),
                 (SELECT count(*) FROM rsmq_message m WHERE m.ns = ?1 AND m.name = ?2 AND m.at > ?3)
                 FROM rsmq_queue WHERE ns = ?1 AND name = ?2",
            )?
            .query_row(params![ns, name, self.now], |row| {
                let mut texts = vec!["ok".to_owned()];
                for column in 0..9 {
                    texts.push(row.get::<_, i64>(column)?.to_string());
                }
                Ok(texts)
            })
            .optional()?;
        Ok(found.map_or_else(|| Answer::word("none"), Answer::texts))
    }

    fn set(&self) -> rusqlite::Result<Answer> {
        let (ns, name) = self.key();
        self.connection.execute(
            "UPDATE rsmq_queue SET modified = ?1, vt = coalesce(?2, vt), delay = coalesce(?3, delay),
             maxsize = coalesce(?4, maxsize) WHERE ns = ?5 AND name = ?6",
            params![self.seconds(), self.number(2), self.number(3), self.number(4), ns, name],
        )?;
        self.attributes()
    }

    /// Delay, the random part of the id, the length in JavaScript's units, whether others are told, the message.
    fn send(&self) -> rusqlite::Result<Answer> {
        let Some((_, delay, most)) = self.queue()? else { return Ok(Answer::word("none")) };
        if most != -1 && self.number(4).unwrap_or(0) > most {
            return Ok(Answer::word("long"));
        }
        let (ns, name) = self.key();
        let at = self.after(self.number(2).unwrap_or(delay));
        let id = format!("{}{}", base36(self.next_microsecond()?), self.text(3));
        self.connection
            .prepare_cached(
                "INSERT OR IGNORE INTO rsmq_message (ns, name, id, at, body) VALUES (?, ?, ?, ?, ?)",
            )?
            .execute(params![ns, name, id, at, self.text(6)])?;
        self.connection
            .prepare_cached("UPDATE rsmq_queue SET totalsent = totalsent + 1 WHERE ns = ? AND name = ?")?
            .execute(self.key())?;
        let mut answer = Answer::texts(vec!["ok".to_owned(), id]);
        if self.text(5) == "1" {
            let count: i64 = self
                .connection
                .prepare_cached("SELECT count(*) FROM rsmq_message WHERE ns = ? AND name = ?")?
                .query_row(self.key(), |row| row.get(0))?;
            let topic = Arc::from(format!("{ns}rt:{name}"));
            answer.publishes = Some((topic, Arc::from(count.to_string().into_bytes())));
        }
        Ok(answer)
    }

    /// The same arguments: the id of a message that was sent. If it is gone already, its time is not known any more.
    fn sent(&self) -> rusqlite::Result<Answer> {
        let (ns, name) = self.key();
        let random = self.text(3);
        let id: Option<String> = self
            .connection
            .prepare_cached(
                "SELECT id FROM rsmq_message WHERE ns = ? AND name = ? AND substr(id, -length(?3)) = ?3",
            )?
            .query_row(params![ns, name, random], |row| row.get(0))
            .optional()?;
        let id = id.unwrap_or_else(|| format!("{}{random}", base36(1_000 * self.now.unsigned_abs())));
        Ok(Answer::texts(vec!["ok".to_owned(), id]))
    }

    /// The time that an id begins with: messages of one millisecond stay in their order.
    fn next_microsecond(&self) -> rusqlite::Result<u64> {
        let (ns, name) = self.key();
        let now = base36(1_000 * self.now.unsigned_abs());
        let first = now.get(..7).unwrap_or_default();
        let last: Option<String> = self
            .connection
            .prepare_cached(LAST_ID)?
            // What an id has is before '~'.
            .query_row(params![ns, name, first, format!("{first}~")], |row| row.get(0))?;
        let last = last.and_then(|text| u64::from_str_radix(&text, 36).ok()).unwrap_or(0);
        Ok((last + 1).max(1_000 * self.now.unsigned_abs()))
    }

    /// The visibility in seconds.
    fn receive(&self) -> rusqlite::Result<Answer> {
        let Some((vt, _, _)) = self.queue()? else { return Ok(Answer::word("none")) };
        let (ns, name) = self.key();
        let found: Option<(String, i64, i64, Vec<u8>)> = self
            .connection
            .prepare_cached(
                "SELECT id, rc, fr, body FROM rsmq_message WHERE ns = ? AND name = ? AND at <= ? ORDER BY at, id LIMIT 1",
            )?
            .query_row(params![ns, name, self.now], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, text_or_bytes(row, 3)?))
            })
            .optional()?;
        let Some((id, rc, fr, body)) = found else { return Ok(Answer::word("empty")) };
        let fr = if rc == 0 { self.now } else { fr };
        let at = self.after(self.number(2).unwrap_or(vt));
        self.connection
            .prepare_cached(
                "UPDATE rsmq_message SET at = ?, rc = rc + 1, fr = ? WHERE ns = ? AND name = ? AND id = ?",
            )?
            .execute(params![at, fr, ns, name, id])?;
        self.connection
            .prepare_cached("UPDATE rsmq_queue SET totalrecv = totalrecv + 1 WHERE ns = ? AND name = ?")?
            .execute(self.key())?;
        let mut answer = Answer::texts(vec!["ok".to_owned(), id, (rc + 1).to_string(), fr.to_string()]);
        answer.values.push(Arc::from(body));
        Ok(answer)
    }

    fn delete(&self) -> rusqlite::Result<Answer> {
        let (ns, name) = self.key();
        let gone = self
            .connection
            .prepare_cached("DELETE FROM rsmq_message WHERE ns = ? AND name = ? AND id = ?")?
            .execute(params![ns, name, self.text(2)])?;
        Ok(Answer::word(if gone == 1 { "ok" } else { "gone" }))
    }

    fn visibility(&self) -> rusqlite::Result<Answer> {
        if self.queue()?.is_none() {
            return Ok(Answer::word("none"));
        }
        let (ns, name) = self.key();
        let at = self.after(self.number(3).unwrap_or(0));
        let changed = self
            .connection
            .prepare_cached("UPDATE rsmq_message SET at = ? WHERE ns = ? AND name = ? AND id = ?")?
            .execute(params![at, ns, name, self.text(2)])?;
        Ok(Answer::word(if changed == 1 { "ok" } else { "gone" }))
    }
}

fn text_or_bytes(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Vec<u8>> {
    Ok(row.get_ref(column)?.as_bytes()?.to_vec())
}

/// A number as JavaScript's `toString(36)` writes it.
fn base36(mut number: u64) -> String {
    let mut digits = Vec::new();
    loop {
        let digit = (number % 36) as u32;
        digits.push(char::from_digit(digit, 36).unwrap_or('0'));
        number /= 36;
        if number == 0 {
            return digits.into_iter().rev().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All messages of a queue were looked at for each one that was sent.
    #[test]
    fn the_last_id_is_found_by_an_index() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(TABLES).unwrap();
        let plan: String = connection
            .query_row(&format!("EXPLAIN QUERY PLAN {LAST_ID}"), params!["", "", "", ""], |row| row.get(3))
            .unwrap();
        assert!(plan.contains("id>? AND id<?"), "{plan}");
    }

    #[test]
    fn messages_of_one_millisecond_have_ids_in_their_order() {
        let connection = Connection::open_in_memory().unwrap();
        let call = |name: &str, texts: &[&str]| {
            let arguments: Vec<Arc<[u8]>> = texts.iter().map(|text| Arc::from(text.as_bytes())).collect();
            carry_out(&connection, name, &arguments, 1_795_948_199_422).unwrap().unwrap().values
        };
        call("create", &["ns:", "q", "30", "0", "65536"]);
        let ids: Vec<_> = ["z", "y", "x"]
            .map(|random| call("send", &["ns:", "q", "0", random, "1", "0", "m"])[1].to_vec())
            .to_vec();
        assert!(ids.is_sorted() && ids[0] != ids[1], "{ids:?}");
    }

    #[test]
    fn ids_begin_with_their_time() {
        assert_eq!(base36(0), "0");
        assert_eq!(u64::from_str_radix(&base36(1_795_948_199_422_817), 36), Ok(1_795_948_199_422_817));
    }
}
