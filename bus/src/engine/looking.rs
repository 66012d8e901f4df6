//! What is there, which changes nothing.

use super::Engine;
use super::delivery::{MAX_REPLY, delivered};
use crate::error::Fault;
use crate::protocol::{Delivered, Name, Stats};

impl Engine {
    pub(super) fn stats(&self, name: &Name) -> Stats {
        let known = self.names.get(name).and_then(|number| self.queues.get(number));
        known.map_or(Stats::default(), |queue| Stats {
            waiting: queue.waiting(),
            delayed: queue.delayed(),
            held: queue.held,
            receivers: queue.receivers.len() as u64,
        })
    }

    pub(super) fn peek(&mut self, number: u32, count: u32) -> Result<Vec<Delivered>, Fault> {
        let first = self.queues.get(&number).map(|queue| queue.peek(count as usize)).unwrap_or_default();
        let mut messages = Vec::new();
        let mut bytes = 0;
        for message in first {
            if bytes >= MAX_REPLY {
                break;
            }
            let state = self.known_state(message)?;
            let envelope = self.store.envelope(message)?;
            bytes += envelope.len();
            messages.push(delivered(message, state, 0, envelope));
        }
        self.answer_bytes += bytes;
        Ok(messages)
    }
}
