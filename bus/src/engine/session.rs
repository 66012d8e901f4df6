//! What is known of a client, so that nothing is done twice for it.

use crate::error::Fault;
use crate::hash::QuickSet;
use crate::protocol::{Durability, Reply};
use crate::store::{ClientRow, Outcome, Word};

/// How many outcomes are remembered that are not plain success: they are rare, and wanted only by who loses a connection.
const MAX_OUTCOMES: usize = 256;

#[derive(Debug)]
pub struct Session {
    pub connection: Option<usize>,
    pub durability: Durability,
    pub row: ClientRow,
    /// The messages that it holds.
    pub held: QuickSet<u64>,
}

impl Default for Session {
    fn default() -> Session {
        Session {
            connection: None,
            durability: Durability::Disk,
            row: ClientRow::default(),
            held: QuickSet::default(),
        }
    }
}

impl Session {
    /// What has become of a change that was carried out, if it did not simply succeed; the outer `None` if it was not.
    pub fn known(&self, sequence: u64) -> Option<Option<Outcome>> {
        if sequence > self.row.last {
            return None;
        }
        let known = self.row.outcomes.iter().find(|(one, _)| *one == sequence);
        Some(known.map(|(_, outcome)| *outcome))
    }

    pub fn carried_out(&mut self, sequence: u64, reply: &Reply, now: u64) {
        self.row.last = sequence;
        self.row.changed = now;
        let outcome = match reply {
            Reply::Duplicate => Outcome::Duplicate,
            Reply::Failed(fault) if *fault == Fault::no_room() => Outcome::NoRoom,
            Reply::Failed(_) => Outcome::NotHeld,
            Reply::Values(values) => match values.first().and_then(|word| Word::of(word)) {
                Some(word) => Outcome::Word(word),
                None => return,
            },
            _ => return,
        };
        if self.row.outcomes.len() == MAX_OUTCOMES {
            self.row.outcomes.remove(0);
        }
        self.row.outcomes.push((sequence, outcome));
    }
}
