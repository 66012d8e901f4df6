//! What the server answers.

use std::sync::Arc;
use std::time::Instant;

use corral_bus::error::Fault;
use corral_bus::protocol::{Delivered, FOREVER, Name, Op, Receipt, Reply, Space};
use redis::{ErrorKind, RedisResult, ServerErrorKind, Value};

use super::Session;
use crate::batch::{Held, Item};
use crate::fault::{self, Verdict};
use crate::script::{Outcome, Waits, Work};
use crate::waiting::Handed;

impl Session {
    pub(super) fn on_answer(&mut self, result: RedisResult<Value>) {
        self.asking = None;
        match result {
            Ok(Value::Array(rows)) => {
                let Some(flight) = self.flight.take() else { return };
                let outcomes = flight.outcomes(rows);
                for (item, outcome) in flight.items.into_iter().zip(outcomes) {
                    self.on_outcome(item, outcome);
                }
            }
            Ok(_) => self.lost("the server has answered what is no answer"),
            // The server does not know the script: it was started anew, or has never seen it.
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => self.in_full = true,
            Err(error) if fault::verdict(&error) == Verdict::Refused => {
                let Some(flight) = self.flight.take() else { return };
                for item in flight.items {
                    self.on_outcome(item, Outcome::Reply(Reply::Failed(fault::of(&error))));
                }
            }
            Err(error) => self.lost(&error.to_string()),
        }
    }

    pub(super) fn on_outcome(&mut self, item: Item, outcome: Outcome) {
        let Item { sequence, work } = item;
        match (&work, outcome) {
            (_, Outcome::Again) => self.pending.push(Item { sequence, work }),
            (Work::Receive { queue, waits, .. }, outcome) => {
                let name = Name { space: Space::Queue, name: Arc::clone(queue) };
                self.on_received(&name, sequence, *waits != Waits::No, outcome);
            }
            (Work::Pop { list, waits, .. }, outcome) => {
                let name = Name { space: Space::List, name: Arc::clone(list) };
                self.on_received(&name, sequence, *waits != Waits::No, outcome);
            }
            (Work::Drain(queue), Outcome::NotYet) => {
                if self.bye.is_none() {
                    self.drains.entry(Arc::clone(queue)).or_default().push(sequence);
                }
            }
            (_, Outcome::Reply(reply)) => {
                self.settle(&work, &reply);
                if sequence > 0 {
                    self.wire.send(sequence, &reply);
                }
            }
            (_, Outcome::Tended(tended)) => self.tending.tended(tended, Instant::now()),
            (_, Outcome::NotYet | Outcome::Received(_)) => {}
        }
    }

    /// What was settled is not held any more.
    pub(super) fn settle(&mut self, work: &Work, reply: &Reply) {
        let ops = match work {
            Work::Op(op) => std::slice::from_ref(op),
            Work::Transaction(ops) => ops,
            Work::Extend { receipt, visibility, .. } => {
                let own = self.held.get(&receipt.message).map_or(0, |held| held.visibility);
                return self.due_in(if *visibility == 0 { own } else { *visibility });
            }
            _ => return,
        };
        let is_settled = match reply {
            Reply::Failed(fault) => *fault == Fault::not_held() && matches!(work, Work::Op(_)),
            _ => true,
        };
        if !is_settled {
            return;
        }
        for op in ops {
            match op {
                Op::Ack { receipts, .. } => self.forget(receipts),
                Op::Nack { receipt, delay, .. } => {
                    self.forget(std::slice::from_ref(receipt));
                    if *delay > 0 {
                        self.due_in(*delay);
                    }
                }
                Op::Send(message) => {
                    for duration in [message.delay, message.expires] {
                        if duration > 0 && duration < FOREVER {
                            self.due_in(duration);
                        }
                    }
                }
                Op::Publish { .. } => {}
            }
        }
    }

    pub(super) fn forget(&mut self, receipts: &[Receipt]) {
        for receipt in receipts {
            self.held.remove(&receipt.message);
        }
    }

    pub(super) fn on_received(&mut self, name: &Name, sequence: u64, waits: bool, outcome: Outcome) {
        let now = Instant::now();
        let served = match outcome {
            Outcome::Received(served) => served,
            Outcome::Reply(reply) => {
                let refused = if waits { self.waiting.refused(name) } else { vec![sequence] };
                for sequence in refused {
                    self.wire.send(sequence, &reply);
                }
                return;
            }
            Outcome::Tended(_) | Outcome::NotYet | Outcome::Again => return,
        };
        for messages in &served {
            self.hold(name, messages);
        }
        if !waits {
            let messages = served.into_iter().next().unwrap_or_default();
            self.wire.send(sequence, &Reply::Messages(messages));
            return;
        }
        let answered = self.waiting.answered(name, served.len(), now);
        for (sequence, messages) in answered.served.into_iter().zip(served) {
            self.wire.send(sequence, &Reply::Messages(messages));
        }
        for handed in answered.handed {
            self.hand_over(name, handed);
        }
        for sequence in answered.ended {
            self.wire.send(sequence, &Reply::Messages(Vec::new()));
        }
        if answered.waits && name.space == Space::List {
            self.blocking.watch(&name.name);
        }
    }

    /// The bus holds these from now on.
    fn hold(&mut self, name: &Name, messages: &[Delivered]) {
        for Delivered { receipt, visibility, .. } in messages {
            let held = Held { queue: name.clone(), delivery: receipt.delivery, visibility: *visibility };
            self.held.insert(receipt.message, held);
            self.due_in(*visibility);
        }
    }

    /// The server has handed over messages with the news of them.
    pub(super) fn on_handed(&mut self, queue: Arc<str>, token: u64, messages: Vec<Delivered>) {
        // Who waits no more has asked for what it has not got, and it goes back.
        if self.bye.is_some() {
            return;
        }
        let name = Name { space: Space::Queue, name: queue };
        let handed = self.waiting.handed(&name, token, messages);
        self.hand_over(&name, handed);
    }

    fn hand_over(&mut self, name: &Name, handed: Handed) {
        match handed {
            Handed::To(sequence, messages) => {
                self.hold(name, &messages);
                self.wire.send(sequence, &Reply::Messages(messages));
            }
            Handed::ToNobody(messages) => {
                for Delivered { receipt, .. } in messages {
                    // Otherwise it has come in an answer.
                    if !self.held.contains_key(&receipt.message) {
                        let work = Work::Op(Op::Nack {
                            queue: name.clone(),
                            receipt,
                            delay: 0,
                            counts: false,
                            error: String::new(),
                        });
                        self.pending.push(Item { sequence: 0, work });
                    }
                }
            }
            Handed::Later => {}
        }
    }
}
