//! Requests that wait to be asked for, and those that are asked for together.

use std::collections::{HashMap, VecDeque};
use std::sync::LazyLock;

use corral_bus::protocol::{Name, Receipt};
use redis::{Cmd, Value};

use crate::script::{Outcome, SCRIPT, Work, run_outcomes};
use crate::settings::Settings;

/// How many requests, and how many bytes of messages, one batch has: the server does nothing else meanwhile.
const MAX_ITEMS: usize = 1_000;
const MAX_BYTES: usize = 1 << 20;

/// From so many requests, or bytes, on nothing is read from the bus.
const FULL: usize = 20_000;
const FULL_BYTES: usize = 16 << 20;

static DIGEST: LazyLock<String> = LazyLock::new(|| sha1_smol::Sha1::from(SCRIPT).digest().to_string());

/// A request, and the number under which the bus waits for it: 0 if it does not.
#[derive(Debug)]
pub struct Item {
    pub sequence: u64,
    pub work: Work,
}

/// A message that the bus holds.
#[derive(Debug)]
pub struct Held {
    pub queue: Name,
    pub delivery: u32,
    /// In milliseconds.
    pub visibility: u64,
}

#[derive(Debug)]
pub struct Batch {
    number: u64,
    /// What its keys begin with.
    base: String,
    pub items: Vec<Item>,
}

pub struct Pending {
    items: VecDeque<Item>,
    bytes: usize,
    last_batch: u64,
}

impl Pending {
    /// Batches have numbers behind one that no session of the same bus has had.
    pub fn new(first: u64) -> Pending {
        Pending { items: VecDeque::new(), bytes: 0, last_batch: first }
    }

    pub fn push(&mut self, item: Item) {
        self.bytes += item.work.bytes();
        self.items.push_back(item);
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether the goodbye alone is left.
    pub fn is_last(&self) -> bool {
        self.items.len() == 1 && matches!(self.items[0].work, Work::Bye)
    }

    pub fn is_full(&self) -> bool {
        self.items.len() >= FULL || self.bytes >= FULL_BYTES
    }

    /// Takes out a request that nobody waits for any more.
    pub fn cancel(&mut self, sequence: u64) {
        let Some(index) = self.items.iter().position(|item| item.sequence == sequence) else { return };
        if let Some(item) = self.items.remove(index) {
            self.bytes -= item.work.bytes();
        }
    }

    /// Messages go back before the goodbye.
    pub fn give_back(&mut self, held: HashMap<u64, Held>) {
        for (message, Held { queue, delivery, .. }) in held {
            let work = Work::Lost { queue, receipt: Receipt { message, delivery } };
            self.items.push_front(Item { sequence: 0, work });
        }
    }

    /// The next batch, if there is anything. In a cluster all of it is in one slot.
    pub fn batch(&mut self, settings: &Settings) -> Option<Batch> {
        let (mut items, mut bytes) = (Vec::new(), 0);
        let base = self.items.front()?.work.base(settings);
        while items.len() < MAX_ITEMS && bytes < MAX_BYTES {
            let Some(item) = self.items.pop_front() else { break };
            let is_apart =
                item.work == Work::Bye || (settings.is_cluster && item.work.base(settings) != base);
            if is_apart && !items.is_empty() {
                // What comes of the others may have to go back before the goodbye.
                self.items.push_front(item);
                break;
            }
            bytes += item.work.bytes();
            items.push(item);
        }
        self.bytes -= bytes;
        self.last_batch += 1;
        Some(Batch { number: self.last_batch, base, items })
    }
}

impl Batch {
    /// The call of the script: by its digest, or in full. `again` if it may have been carried out.
    pub fn call(&self, settings: &Settings, session: &str, again: bool, in_full: bool) -> Cmd {
        let mut cmd = Cmd::new();
        if in_full {
            cmd.arg("EVAL").arg(SCRIPT);
        } else {
            cmd.arg("EVALSHA").arg(&*DIGEST);
        }
        let sends: usize = self.items.iter().map(|item| item.work.sends()).sum();
        cmd.arg(1).arg(&self.base).arg(session).arg(self.number).arg(u8::from(again)).arg(sends);
        for run in self.runs() {
            match run[0].work.run() {
                Some((kind, queue)) => {
                    cmd.arg(kind.name()).arg(&**queue).arg(run.len());
                    for item in run {
                        item.work.write_in_run(&mut cmd);
                    }
                }
                None => run[0].work.write(&mut cmd, settings, session),
            }
        }
        cmd
    }

    /// Its requests, those together that are one run.
    fn runs(&self) -> impl Iterator<Item = &[Item]> {
        self.items.chunk_by(|one, next| is_run(&one.work, &next.work))
    }

    /// What came of each request.
    pub fn outcomes(&self, answers: Vec<Value>) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(self.items.len());
        for (run, answer) in self.runs().zip(answers) {
            match run[0].work.run() {
                Some((kind, _)) => outcomes.extend(run_outcomes(kind, answer, run.len())),
                None => outcomes.push(run[0].work.outcome(answer)),
            }
        }
        outcomes
    }
}

/// Whether the second request goes on with the run that the first one is part of.
fn is_run(one: &Work, next: &Work) -> bool {
    one.run().is_some_and(|run| next.run() == Some(run))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn what_rsmq_is_sent_counts_for_the_size_of_a_batch() {
        let mut pending = Pending::new(0);
        for sequence in 1..=16 {
            let arguments = vec![Arc::from(vec![0; MAX_BYTES])];
            pending.push(Item { sequence, work: Work::Rsmq { call: Arc::from("send"), arguments } });
        }
        assert!(pending.is_full());
        let batch = pending.batch(&Settings::default()).unwrap();
        assert_eq!(batch.items.len(), 1);
        assert!(!pending.is_full());
    }
}
