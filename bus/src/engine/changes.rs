//! What a client may ask for that changes something, alone or in a transaction.

use std::collections::HashSet;

use super::delivery::Return;
use super::{Engine, FOREVER, Output, Timer, after, place_of};
use crate::error::Fault;
use crate::protocol::{Message, Name, Op, Receipt, Reply};
use crate::store::{ClientId, State};

impl Engine {
    /// All of it, or nothing.
    pub(super) fn transaction(&mut self, client: ClientId, ops: Vec<Op>, now: u64) -> Result<Reply, Fault> {
        let mut settled = HashSet::new();
        for op in &ops {
            let (queue, receipts) = match op {
                Op::Ack { queue, receipts } => (queue, &receipts[..]),
                Op::Nack { queue, receipt, .. } => (queue, std::slice::from_ref(receipt)),
                Op::Send(_) | Op::Publish { .. } => continue,
            };
            let number = self.queue(queue);
            for receipt in receipts {
                if !settled.insert(receipt.message) || !self.can_settle(client, number, *receipt)? {
                    return Ok(Reply::Failed(Fault::not_held()));
                }
            }
        }
        if self.lacks_room(&ops) {
            return Ok(Reply::Failed(Fault::no_room()));
        }
        for op in ops {
            self.apply(client, op, now)?;
        }
        Ok(Reply::Done)
    }

    /// Whether there are new messages among what is to happen together, and no room for them. It is asked once, before anything of
    /// it has happened: later the disk may say something else.
    pub(super) fn lacks_room(&mut self, ops: &[Op]) -> bool {
        let new = ops.iter().filter_map(|op| match op {
            Op::Send(message) => Some(message.envelope.len()),
            Op::Ack { .. } | Op::Nack { .. } | Op::Publish { .. } => None,
        });
        new.reduce(|sum, bytes| sum + bytes).is_some_and(|bytes| !self.store.has_room(bytes))
    }

    pub(super) fn apply(&mut self, client: ClientId, op: Op, now: u64) -> Result<Reply, Fault> {
        match op {
            Op::Send(message) => self.send(message, now),
            Op::Ack { queue, receipts } => {
                let number = self.queue(&queue);
                let mut all = true;
                for receipt in receipts {
                    all &= self.acknowledge(client, number, receipt)?;
                }
                Ok(if all { Reply::Done } else { Reply::Failed(Fault::not_held()) })
            }
            Op::Nack { queue, receipt, delay, counts, error } => {
                let number = self.queue(&queue);
                if self.is_held(client, number, receipt) {
                    let how = if counts { Return::Failed { delay } } else { Return::Unseen };
                    self.give_back(receipt.message, how, &error, now)?;
                } else if self.unclaimed_in(number, receipt)?.is_none() {
                    // It is not back already either.
                    return Ok(Reply::Failed(Fault::not_held()));
                }
                Ok(Reply::Done)
            }
            Op::Publish { topic, body } => {
                self.outputs.push(Output::Publish { topic, body, asked: None });
                Ok(Reply::Done)
            }
        }
    }

    fn send(&mut self, message: Message, now: u64) -> Result<Reply, Fault> {
        let number = self.kept_queue(&message.queue)?;
        if !message.id.is_empty() {
            let known = self.store.remembered(number, &message.id)?;
            if known.is_some_and(|until| until > now) {
                return Ok(Reply::Duplicate);
            }
            self.store.remember(number, &message.id, after(now, message.deduplicate))?;
        }
        let id = self.next_message;
        self.next_message += 1;
        let state = State {
            queue: number,
            priority: message.priority,
            due: if message.delay == 0 { 0 } else { after(now, message.delay) },
            expires: after(now, message.expires),
            deliveries: 0,
            holder: None,
            group: message.group,
            dead: None,
        };
        self.store.insert(id, &state, &message.envelope)?;
        if state.expires != FOREVER {
            self.timers.insert((state.expires, Timer::Expires(id)));
        }
        let place = place_of(id, &state);
        if let Some(queue) = self.queues.get_mut(&number) {
            if state.due > 0 {
                queue.delay(state.due, place);
            } else {
                queue.add(place, &state.group);
            }
        }
        self.stirred.insert(number);
        Ok(Reply::Done)
    }

    /// Whether a client may say what becomes of a message: it holds it, or it has held it for too long, and nobody else has
    /// got it since.
    fn can_settle(&mut self, client: ClientId, number: u32, receipt: Receipt) -> Result<bool, Fault> {
        Ok(self.is_held(client, number, receipt) || self.unclaimed_in(number, receipt)?.is_some())
    }

    fn acknowledge(&mut self, client: ClientId, number: u32, receipt: Receipt) -> Result<bool, Fault> {
        if self.is_held(client, number, receipt) {
            if let Some(lease) = self.let_go(receipt.message) {
                self.timers.remove(&(lease.state.expires, Timer::Expires(receipt.message)));
                if let Some(queue) = self.queues.get_mut(&lease.state.queue) {
                    queue.settle(receipt.message, &lease.state.group);
                }
                self.stirred.insert(lease.state.queue);
                self.store.remove(receipt.message)?;
            }
            return Ok(true);
        }
        let Some(state) = self.unclaimed_in(number, receipt)? else { return Ok(false) };
        self.remove_waiting(receipt.message, &state)?;
        Ok(true)
    }

    /// Removes all that nobody holds: how many that were.
    pub(super) fn purge(&mut self, name: &Name) -> Result<u64, Fault> {
        let number = self.queue(name);
        let messages = self.queues.get_mut(&number).map(|queue| queue.clear()).unwrap_or_default();
        for message in &messages {
            if let Some(state) = self.store.state(*message)?
                && state.expires != FOREVER
            {
                self.timers.remove(&(state.expires, Timer::Expires(*message)));
            }
            self.store.remove(*message)?;
        }
        self.stirred.insert(number);
        Ok(messages.len() as u64)
    }

    /// Removes a queue with all that is in it. Who waits in it waits in a new one.
    pub(super) fn delete(&mut self, name: &Name) -> Result<(), Fault> {
        self.purge(name)?;
        let number = self.queue(name);
        let held: Vec<u64> = self
            .leases
            .iter()
            .filter(|(_, lease)| lease.state.queue == number)
            .map(|(message, _)| *message)
            .collect();
        for message in held {
            if let Some(lease) = self.let_go(message) {
                self.timers.remove(&(lease.state.expires, Timer::Expires(message)));
                if let Some(queue) = self.queues.get_mut(&number) {
                    queue.settle(message, &lease.state.group);
                }
            }
            self.store.remove(message)?;
        }
        if let Some(queue) = self.queues.get_mut(&number) {
            queue.row = super::Queue::plain(number, name.clone());
            queue.is_kept = false;
        }
        self.store.remove_queue(number)
    }
}
