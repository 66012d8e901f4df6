//! The state of an engine from what its store has kept: at its start, and after what could not be kept.

use std::collections::HashMap;

use super::queue::Queue;
use super::{Engine, FOREVER, GRACE, Lease, Timer, place_of};
use crate::error::Fault;
use crate::protocol::Name;
use crate::store::{ClientRow, Loaded, QueueRow, State};

impl Engine {
    /// Connections stay, and who waits on them; everything else is as the store has it. Returns what the clock says: `now`, or
    /// more.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub(super) fn load(&mut self, now: u64) -> Result<u64, Fault> {
        let loaded = self.store.load()?;
        let now = now.max(loaded.clock);
        let former = std::mem::take(&mut self.queues);
        self.leases.clear();
        self.stirred.clear();
        self.changed.clear();
        self.timers.retain(|(_, timer)| matches!(timer, Timer::Receiver { .. } | Timer::Sweep));
        // Memory has kept none of them.
        self.next_message = self.next_message.max(loaded.next_message);
        self.restore_sessions(&loaded);
        self.restore_queues(loaded.queues);
        let result = self.restore_messages(now);
        for (_, queue) in former {
            self.restore_waits(queue);
        }
        self.stirred.extend(self.queues.keys());
        result.map(|()| now)
    }

    fn restore_messages(&mut self, now: u64) -> Result<(), Fault> {
        let mut first = 0;
        loop {
            let messages = self.store.messages(first)?;
            let Some((last, _)) = messages.last() else { return Ok(()) };
            let Some(next) = last.checked_add(1) else { return Ok(()) };
            first = next;
            for (message, state) in messages {
                self.restore(message, state, now);
            }
        }
    }

    fn restore_sessions(&mut self, loaded: &Loaded) {
        for session in self.sessions.values_mut() {
            session.row = ClientRow::default();
            session.held.clear();
        }
        self.sessions.retain(|_, session| session.connection.is_some());
        for (client, row) in &loaded.clients {
            self.sessions.entry(*client).or_default().row = row.clone();
        }
    }

    fn restore_queues(&mut self, rows: Vec<QueueRow>) {
        self.names = HashMap::new();
        self.last_queue = None;
        for row in rows {
            self.next_queue = self.next_queue.max(row.number + 1);
            self.names.insert(row.name.clone(), row.number);
            self.queues.insert(row.number, Queue::new(row, true));
        }
    }

    fn restore(&mut self, message: u64, state: State, now: u64) {
        // A queue that is gone has taken its messages along.
        let Some(queue) = self.queues.get_mut(&state.queue) else { return };
        let place = place_of(message, &state);
        if state.expires != FOREVER {
            self.timers.insert((state.expires, Timer::Expires(message)));
        }
        if let Some(holder) = state.holder {
            queue.held += 1;
            queue.block(message, &state.group);
            let session = self.sessions.entry(holder.client).or_default();
            session.held.insert(message);
            // It is its client's if that comes back soon.
            let until =
                if session.connection.is_some() { holder.until } else { holder.until.min(now + GRACE) };
            self.timers.insert((until, Timer::Held(message)));
            self.leases.insert(message, Lease { state, client: holder.client, until });
        } else if state.due > now {
            queue.delay(state.due, place);
            if state.deliveries > 0 {
                queue.block(message, &state.group);
            }
        } else {
            queue.add(place, &state.group);
        }
    }

    /// Who has waited in a queue waits in it still, by its name.
    fn restore_waits(&mut self, former: Queue) {
        if former.receivers.is_empty() && former.drains.is_empty() {
            return;
        }
        let name: &Name = &former.row.name;
        let number = self.queue(name);
        for receiver in &former.receivers {
            let was = (receiver.until, receiver.timer(former.row.number));
            if self.timers.remove(&was) {
                self.timers.insert((receiver.until, receiver.timer(number)));
            }
        }
        if let Some(queue) = self.queues.get_mut(&number) {
            queue.receivers.extend(former.receivers);
            queue.drains.extend(former.drains);
        }
    }
}
