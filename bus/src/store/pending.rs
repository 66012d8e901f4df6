//! What has been changed since the last commit and is not in the file yet: of each message only what it has become is written.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::State;

/// From so many bytes of envelopes on all of it is written before its commit.
const MAX_BYTES: usize = 4 << 20;

/// What has become of a message.
#[derive(Debug)]
pub enum Change {
    /// The file does not have it.
    New(State, Arc<[u8]>),
    /// The file has it in another state.
    Changed(State),
    /// The file has it still.
    Removed,
}

#[derive(Debug, Default)]
pub struct Pending {
    /// By the numbers of the messages, in the order of which they are written.
    changes: BTreeMap<u64, Change>,
    bytes: usize,
}

impl Pending {
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// How many bytes of envelopes it has.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether it is time to write it.
    pub fn is_large(&self) -> bool {
        self.bytes > MAX_BYTES
    }

    pub fn insert(&mut self, message: u64, state: &State, envelope: &Arc<[u8]>) {
        self.bytes += envelope.len();
        self.changes.insert(message, Change::New(state.clone(), Arc::clone(envelope)));
    }

    pub fn update(&mut self, message: u64, state: &State) {
        match self.changes.get_mut(&message) {
            Some(Change::New(former, _) | Change::Changed(former)) => former.clone_from(state),
            Some(Change::Removed) | None => {
                self.changes.insert(message, Change::Changed(state.clone()));
            }
        }
    }

    pub fn remove(&mut self, message: u64) {
        match self.changes.insert(message, Change::Removed) {
            // Nobody will have seen it in the file.
            Some(Change::New(_, envelope)) => {
                self.bytes -= envelope.len();
                self.changes.remove(&message);
            }
            Some(Change::Changed(_) | Change::Removed) | None => {}
        }
    }

    pub fn get(&self, message: u64) -> Option<&Change> {
        self.changes.get(&message)
    }

    /// All of it, which is not pending any more.
    pub fn take(&mut self) -> BTreeMap<u64, Change> {
        self.bytes = 0;
        std::mem::take(&mut self.changes)
    }
}

/// Puts numbers that follow one another together. They come in their order.
pub fn runs(numbers: impl Iterator<Item = u64>) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => runs.push((number, number)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_a_row_are_one_run() {
        assert_eq!(runs([1, 2, 3, 5, 7, 8].into_iter()), [(1, 3), (5, 5), (7, 8)]);
        assert_eq!(runs(std::iter::empty()), []);
    }
}
