//! Rows of the tables as values, and back.

use std::sync::Arc;

use rusqlite::Row;

use super::{ClientId, Holder, Outcome, State, Word};
use crate::protocol::{Dead, FOREVER};

/// SQLite has signed numbers: what is too large for ever is for ever.
pub fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub fn unsigned(value: i64) -> u64 {
    if value == i64::MAX { FOREVER } else { value.max(0) as u64 }
}

/// The first columns of a message: `id, queue, priority, due, expires, deliveries, client, until, grp`.
pub fn state_in(row: &Row<'_>) -> rusqlite::Result<State> {
    let client: Option<ClientId> = row.get(6)?;
    let until = unsigned(row.get(7)?);
    Ok(State {
        queue: row.get(1)?,
        priority: row.get(2)?,
        due: unsigned(row.get(3)?),
        expires: unsigned(row.get(4)?),
        deliveries: row.get(5)?,
        holder: client.map(|client| Holder { client, until }),
        group: row.get(8)?,
        dead: None,
    })
}

/// Where a dead letter was, from the columns behind these.
pub fn dead_in(row: &Row<'_>) -> rusqlite::Result<Option<Dead>> {
    let Some(queue) = row.get::<_, Option<Arc<str>>>(9)? else { return Ok(None) };
    let (deliveries, reason, error) = (row.get(10)?, row.get(11)?, row.get(12)?);
    Ok(Some(Dead { queue, deliveries, reason, error }))
}

/// The same, and `dead_queue, dead_deliveries, dead_reason, dead_error, envelope` behind them: the message's number, its state and its
/// envelope.
pub fn whole_in(row: &Row<'_>) -> rusqlite::Result<(u64, State, Arc<[u8]>)> {
    let mut state = state_in(row)?;
    state.dead = dead_in(row)?;
    Ok((unsigned(row.get(0)?), state, row.get(13)?))
}

/// Who holds a message, and until when, as the file has it.
pub fn holder_of(state: &State) -> (Option<&[u8]>, i64) {
    match &state.holder {
        Some(holder) => (Some(&holder.client[..]), signed(holder.until)),
        None => (None, 0),
    }
}

/// What has become of changes, as the file has it.
pub fn outcomes_in(bytes: &[u8]) -> Vec<(u64, Outcome)> {
    bytes
        .chunks_exact(9)
        .map(|chunk| {
            let mut sequence = [0; 8];
            sequence.copy_from_slice(&chunk[..8]);
            (u64::from_le_bytes(sequence), outcome_of(chunk[8]))
        })
        .collect()
}

fn outcome_of(number: u8) -> Outcome {
    match number {
        1 => Outcome::Duplicate,
        3 => Outcome::Word(Word::Exists),
        4 => Outcome::Word(Word::None),
        5 => Outcome::Word(Word::Long),
        6 => Outcome::Word(Word::Gone),
        7 => Outcome::NoRoom,
        _ => Outcome::NotHeld,
    }
}

pub fn number_of(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Duplicate => 1,
        Outcome::NotHeld => 2,
        Outcome::Word(Word::Exists) => 3,
        Outcome::Word(Word::None) => 4,
        Outcome::Word(Word::Long) => 5,
        Outcome::Word(Word::Gone) => 6,
        Outcome::NoRoom => 7,
    }
}
