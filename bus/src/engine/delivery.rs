//! Messages go out to consumers, and come back.

use std::sync::Arc;

use super::{Engine, FOREVER, GRACE, Lease, Receiver, Timer, after, has_expired, place_of};
use crate::error::Fault;
use crate::hash::QuickSet;
use crate::protocol::fields::cut;
use crate::protocol::{Dead, Delivered, MAX_NAME, Name, Receipt, Reply, Space};
use crate::store::{ClientId, Holder, State};

/// How many bytes of messages go into one reply, if it has more than one.
pub const MAX_REPLY: usize = 16 << 20;

/// How a message comes back to its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    /// Its consumer says so, and tries it again after so many milliseconds.
    Failed { delay: u64 },
    /// It was held for too long.
    Expired,
    /// Its consumer has ended.
    Lost,
    /// Nobody has looked at it.
    Unseen,
}

impl Engine {
    /// Answers a receiver, or has it wait.
    pub(super) fn receive(
        &mut self,
        number: u32,
        receiver: Receiver,
        waits: bool,
        now: u64,
    ) -> Result<(), Fault> {
        // Nobody is overtaken who has waited longer.
        self.serve(number, now)?;
        let Some(queue) = self.queues.get_mut(&number) else { return Ok(()) };
        if queue.receivers.is_empty() {
            let messages = self.take(number, receiver, now)?;
            if !messages.is_empty() || !waits {
                self.reply(receiver.connection, receiver.sequence, Reply::Messages(messages));
                return Ok(());
            }
        } else if !waits {
            self.reply(receiver.connection, receiver.sequence, Reply::Messages(Vec::new()));
            return Ok(());
        }
        if receiver.until != FOREVER {
            self.timers.insert((receiver.until, receiver.timer(number)));
        }
        if let Some(queue) = self.queues.get_mut(&number) {
            queue.receivers.push_back(receiver);
        }
        Ok(())
    }

    /// Gives what has come to those who wait for it, and tells those who wait for the end.
    pub(super) fn deliver(&mut self, now: u64) -> Result<(), Fault> {
        while let Some(number) = self.stirred.pop_first() {
            self.schedule(number);
            self.serve(number, now)?;
            if let Some(queue) = self.queues.get_mut(&number)
                && queue.is_empty()
            {
                for (connection, sequence) in std::mem::take(&mut queue.drains) {
                    self.reply(connection, sequence, Reply::Done);
                }
            }
        }
        Ok(())
    }

    /// Gives what is in a queue to those who wait for it.
    fn serve(&mut self, number: u32, now: u64) -> Result<(), Fault> {
        while let Some(queue) = self.queues.get_mut(&number) {
            if !queue.has_ready() {
                break;
            }
            let Some(receiver) = queue.receivers.front().copied() else { break };
            let messages = self.take(number, receiver, now)?;
            if messages.is_empty() {
                break;
            }
            self.receiver_gone(number, receiver);
            self.reply(receiver.connection, receiver.sequence, Reply::Messages(messages));
        }
        Ok(())
    }

    fn receiver_gone(&mut self, number: u32, receiver: Receiver) {
        self.timers.remove(&(receiver.until, receiver.timer(number)));
        if let Some(queue) = self.queues.get_mut(&number) {
            queue.receivers.retain(|one| *one != receiver);
        }
    }

    /// Messages of a queue for a consumer, which holds them from then on.
    fn take(&mut self, number: u32, receiver: Receiver, now: u64) -> Result<Vec<Delivered>, Fault> {
        let mut messages = Vec::new();
        let Some(&client) = self.connections.get(&receiver.connection) else { return Ok(messages) };
        let mut bytes = 0;
        while messages.len() < receiver.count as usize && bytes < MAX_REPLY {
            let Some(queue) = self.queues.get_mut(&number) else { break };
            let Some(place) = queue.first() else { break };
            let message = place.message;
            let mut state = self.known_state(message)?;
            if has_expired(&state, now) {
                self.remove_waiting(message, &state)?;
                continue;
            }
            let Some(queue) = self.queues.get_mut(&number) else { break };
            queue.take(place, &state.group);
            let visibility =
                if receiver.visibility == 0 { queue.row.visibility } else { receiver.visibility };
            state.deliveries += 1;
            state.due = 0;
            let envelope = self.store.envelope(message)?;
            bytes += envelope.len();
            self.hold(message, state.clone(), client, after(now, visibility))?;
            messages.push(delivered(message, state, visibility, envelope));
        }
        self.answer_bytes += bytes;
        Ok(messages)
    }

    /// A client holds a message from now on.
    fn hold(&mut self, message: u64, mut state: State, client: ClientId, until: u64) -> Result<(), Fault> {
        state.holder = Some(Holder { client, until });
        self.store.update(message, &state)?;
        self.timers.insert((until, Timer::Held(message)));
        if let Some(session) = self.sessions.get_mut(&client) {
            session.held.insert(message);
        }
        self.leases.insert(message, Lease { state, client, until });
        Ok(())
    }

    /// Nobody holds a message any more.
    pub(super) fn let_go(&mut self, message: u64) -> Option<Lease> {
        let lease = self.leases.remove(&message)?;
        self.timers.remove(&(lease.until, Timer::Held(message)));
        if let Some(session) = self.sessions.get_mut(&lease.client) {
            session.held.remove(&message);
        }
        Some(lease)
    }

    /// A held message comes back to its queue, or goes to the dead letters.
    pub(super) fn give_back(
        &mut self,
        message: u64,
        how: Return,
        error: &str,
        now: u64,
    ) -> Result<(), Fault> {
        let Some(Lease { mut state, .. }) = self.let_go(message) else { return Ok(()) };
        let number = state.queue;
        self.stirred.insert(number);
        let Some(queue) = self.queues.get_mut(&number) else { return Ok(()) };
        state.holder = None;
        if how == Return::Unseen {
            state.deliveries = state.deliveries.saturating_sub(1);
        }
        if has_expired(&state, now) {
            queue.settle(message, &state.group);
            return self.store.remove(message);
        }
        let most = queue.row.max_deliveries;
        if how != Return::Unseen && most > 0 && state.deliveries >= most {
            queue.settle(message, &state.group);
            return self.bury(message, state, how, error);
        }
        let place = place_of(message, &state);
        match how {
            Return::Failed { delay } if delay > 0 => {
                state.due = after(now, delay);
                queue.postpone(state.due, place);
            }
            _ => {
                queue.settle(message, &state.group);
                queue.add(place, &state.group);
            }
        }
        self.store.update(message, &state)
    }

    /// A message becomes a dead letter.
    fn bury(&mut self, message: u64, mut state: State, how: Return, error: &str) -> Result<(), Fault> {
        let Some(queue) = self.queues.get(&state.queue) else { return Ok(()) };
        let from = Arc::clone(&queue.row.name.name);
        let name = queue.row.dead_letter.clone().unwrap_or_else(|| {
            const SUFFIX: &str = ".dead";
            Arc::from(format!("{}{SUFFIX}", cut(&from, MAX_NAME - SUFFIX.len())))
        });
        let reason = match how {
            Return::Failed { .. } => "failed",
            Return::Expired => "expired",
            Return::Lost | Return::Unseen => "lost",
        };
        state.dead = Some(Dead {
            queue: from,
            deliveries: state.deliveries,
            reason: Arc::from(reason),
            error: Arc::from(error),
        });
        state.queue = self.kept_queue(&Name { space: Space::Queue, name })?;
        state.deliveries = 0;
        state.due = 0;
        // It is kept until somebody has looked at it.
        self.timers.remove(&(state.expires, Timer::Expires(message)));
        state.expires = FOREVER;
        if let Some(queue) = self.queues.get_mut(&state.queue) {
            queue.add(place_of(message, &state), &state.group);
        }
        self.stirred.insert(state.queue);
        self.store.update(message, &state)
    }

    /// All that a client holds comes back.
    pub(super) fn give_back_all(&mut self, client: ClientId, now: u64) -> Result<(), Fault> {
        let held = self.sessions.get(&client).map(|session| session.held.clone()).unwrap_or_default();
        for message in held {
            self.give_back(message, Return::Lost, "", now)?;
        }
        Ok(())
    }

    /// A client is there again: of the messages that it had, it holds these still. The others have not reached it.
    pub(super) fn resume(&mut self, client: ClientId, held: &[Receipt], now: u64) -> Result<(), Fault> {
        for receipt in held {
            let is_its_own = self
                .leases
                .get(&receipt.message)
                .is_some_and(|lease| lease.client == client && lease.state.deliveries == receipt.delivery);
            if is_its_own {
                let until = self.leases.get(&receipt.message).map_or(now, |lease| lease.until);
                self.prolong(receipt.message, until.max(now + GRACE))?;
            } else {
                self.hold_again(client, *receipt, now + GRACE)?;
            }
        }
        let known = self.sessions.get(&client).map(|session| session.held.clone()).unwrap_or_default();
        let is_there: QuickSet<u64> = held.iter().map(|receipt| receipt.message).collect();
        for message in known {
            if !is_there.contains(&message) {
                self.give_back(message, Return::Unseen, "", now)?;
            }
        }
        Ok(())
    }

    /// A held message is held until then.
    fn prolong(&mut self, message: u64, until: u64) -> Result<(), Fault> {
        let Some(lease) = self.leases.get_mut(&message) else { return Ok(()) };
        self.timers.remove(&(lease.until, Timer::Held(message)));
        lease.until = until;
        lease.state.holder = Some(Holder { client: lease.client, until });
        self.timers.insert((until, Timer::Held(message)));
        self.store.update(message, &lease.state)
    }

    /// A message that a client had is there, and nobody has got it since: its state.
    fn unclaimed(&mut self, receipt: Receipt) -> Result<Option<State>, Fault> {
        if self.leases.contains_key(&receipt.message) {
            return Ok(None);
        }
        let state = self.store.state(receipt.message)?;
        Ok(state.filter(|state| state.deliveries == receipt.delivery && state.deliveries > 0))
    }

    /// The same in this queue: a message that has become a dead letter is another one.
    pub(super) fn unclaimed_in(&mut self, number: u32, receipt: Receipt) -> Result<Option<State>, Fault> {
        Ok(self.unclaimed(receipt)?.filter(|state| state.queue == number))
    }

    /// A client that was slow gets back a message that nobody has got meanwhile.
    fn hold_again(&mut self, client: ClientId, receipt: Receipt, until: u64) -> Result<bool, Fault> {
        let Some(mut state) = self.unclaimed(receipt)? else { return Ok(false) };
        let Some(queue) = self.queues.get_mut(&state.queue) else { return Ok(false) };
        let place = place_of(receipt.message, &state);
        // Of a group one is held at a time.
        if queue.is_behind_another(receipt.message, &state.group)
            || !queue.withdraw(place, state.due, &state.group)
        {
            return Ok(false);
        }
        queue.held += 1;
        queue.block(receipt.message, &state.group);
        self.stirred.insert(state.queue);
        state.due = 0;
        self.hold(receipt.message, state, client, until)?;
        Ok(true)
    }

    /// A message is held for so long from now on: false if it is not held.
    pub(super) fn extend(
        &mut self,
        client: ClientId,
        number: u32,
        receipt: Receipt,
        visibility: u64,
        now: u64,
    ) -> Result<bool, Fault> {
        let own = self.queues.get(&number).map_or(0, |queue| queue.row.visibility);
        let until = after(now, if visibility == 0 { own } else { visibility });
        if self.is_held(client, number, receipt) {
            self.prolong(receipt.message, until)?;
            return Ok(true);
        }
        if self.unclaimed_in(number, receipt)?.is_none() {
            return Ok(false);
        }
        self.hold_again(client, receipt, until)
    }

    /// Whether a client holds a message of a queue, by this delivery of it.
    pub(super) fn is_held(&self, client: ClientId, number: u32, receipt: Receipt) -> bool {
        self.leases.get(&receipt.message).is_some_and(|lease| {
            lease.client == client
                && lease.state.queue == number
                && lease.state.deliveries == receipt.delivery
        })
    }

    pub(super) fn held_too_long(&mut self, message: u64, now: u64) -> Result<(), Fault> {
        // Another process had given it out, and its consumer has not come back.
        let is_lost = self
            .leases
            .get(&message)
            .and_then(|lease| self.sessions.get(&lease.client))
            .is_none_or(|session| session.connection.is_none());
        let how = if is_lost { Return::Lost } else { Return::Expired };
        self.give_back(message, how, "", now)
    }

    /// Delayed messages that are due wait from now on.
    pub(super) fn ripen(&mut self, number: u32, now: u64) -> Result<(), Fault> {
        while let Some(queue) = self.queues.get_mut(&number) {
            queue.wake = None;
            let Some((due, place)) = queue.next_due() else { break };
            if due > now {
                break;
            }
            let state = self.known_state(place.message)?;
            if let Some(queue) = self.queues.get_mut(&number) {
                queue.ripen(due, place, &state.group);
            }
        }
        self.stirred.insert(number);
        Ok(())
    }

    pub(super) fn expire(&mut self, message: u64) -> Result<(), Fault> {
        // Who holds it may finish.
        if self.leases.contains_key(&message) {
            return Ok(());
        }
        match self.store.state(message)? {
            Some(state) => self.remove_waiting(message, &state),
            None => Ok(()),
        }
    }

    /// Removes a message that nobody holds.
    pub(super) fn remove_waiting(&mut self, message: u64, state: &State) -> Result<(), Fault> {
        if let Some(queue) = self.queues.get_mut(&state.queue) {
            queue.withdraw(place_of(message, state), state.due, &state.group);
        }
        self.stirred.insert(state.queue);
        self.timers.remove(&(state.expires, Timer::Expires(message)));
        self.store.remove(message)
    }

    /// The state of a message that the queues say is there.
    pub(super) fn known_state(&mut self, message: u64) -> Result<State, Fault> {
        let state = self.store.state(message)?;
        state.ok_or_else(|| Fault::store(format!("message {message} is not in the store")))
    }

    pub(super) fn receiver_ends(&mut self, number: u32, connection: usize, sequence: u64) {
        if let Some(queue) = self.queues.get_mut(&number) {
            queue.receivers.retain(|one| one.connection != connection || one.sequence != sequence);
        }
        self.reply(connection, sequence, Reply::Messages(Vec::new()));
    }

    /// A request is not waited for any more.
    pub(super) fn cancel(&mut self, connection: usize, target: u64) {
        let mut found = None;
        for queue in self.queues.values_mut() {
            queue.drains.retain(|one| *one != (connection, target));
            let is_it = |one: &&Receiver| one.connection == connection && one.sequence == target;
            if let Some(receiver) = queue.receivers.iter().find(is_it) {
                found = Some((queue.row.number, *receiver));
            }
        }
        if let Some((number, receiver)) = found {
            self.receiver_gone(number, receiver);
            self.reply(connection, target, Reply::Messages(Vec::new()));
        }
    }
}

pub(super) fn delivered(message: u64, state: State, visibility: u64, envelope: Arc<[u8]>) -> Delivered {
    Delivered {
        receipt: Receipt { message, delivery: state.deliveries },
        visibility,
        priority: state.priority,
        group: state.group,
        dead: state.dead,
        envelope,
    }
}
