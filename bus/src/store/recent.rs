//! Messages that were written or read a moment ago: as a rule a message is received right after it was sent.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{State, Whole};
use crate::slots::Slots;

/// How many bytes of envelopes are kept.
const MAX_BYTES: usize = 16 << 20;

/// What else a message takes, in bytes.
const COST: usize = 256;

#[derive(Default)]
pub struct Recent {
    messages: Slots<Whole>,
    /// The oldest first; some of them are gone already.
    order: VecDeque<u64>,
    bytes: usize,
}

impl Recent {
    pub fn put(&mut self, message: u64, state: &State, envelope: &Arc<[u8]>) {
        if envelope.len() > MAX_BYTES / 4 {
            return;
        }
        if let Some((_, old)) = self.messages.insert(message, (state.clone(), Arc::clone(envelope))) {
            self.bytes -= old.len() + COST;
        } else {
            self.order.push_back(message);
        }
        self.bytes += envelope.len() + COST;
        // What is gone stands in the order still: that is bounded as well.
        while self.bytes > MAX_BYTES || self.order.len() > 2 * MAX_BYTES / COST {
            let Some(oldest) = self.order.pop_front() else { break };
            self.remove(oldest);
        }
    }

    pub fn get(&self, message: u64) -> Option<&Whole> {
        self.messages.get(message)
    }

    pub fn update(&mut self, message: u64, state: &State) {
        if let Some((old, _)) = self.messages.get_mut(message) {
            *old = state.clone();
        }
    }

    pub fn remove(&mut self, message: u64) {
        if let Some((_, envelope)) = self.messages.remove(message) {
            self.bytes -= envelope.len() + COST;
        }
        if self.messages.is_empty() {
            self.order.clear();
        }
    }

    pub fn clear(&mut self) {
        *self = Recent::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::FOREVER;

    fn state(deliveries: u32) -> State {
        State {
            queue: 1,
            priority: 0,
            due: 0,
            expires: FOREVER,
            deliveries,
            holder: None,
            group: Arc::from(""),
            dead: None,
        }
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many_bytes() {
        let mut recent = Recent::default();
        let envelope: Arc<[u8]> = Arc::from(vec![0; MAX_BYTES / 4]);
        for message in 0..5 {
            recent.put(message, &state(0), &envelope);
        }
        assert!(recent.get(0).is_none() && recent.get(1).is_none());
        assert!(recent.get(2).is_some() && recent.get(4).is_some());
        recent.update(4, &state(3));
        assert_eq!(recent.get(4).map(|(state, _)| state.deliveries), Some(3));
        for message in 0..5 {
            recent.remove(message);
        }
        assert_eq!((recent.bytes, recent.order.len()), (0, 0));
    }

    #[test]
    fn the_order_is_bounded_while_one_message_stays() {
        let mut recent = Recent::default();
        let envelope: Arc<[u8]> = Arc::from(&b"x"[..]);
        recent.put(0, &state(0), &envelope);
        for message in 1..500_000 {
            recent.put(message, &state(0), &envelope);
            recent.remove(message);
        }
        assert!(recent.order.len() <= 2 * MAX_BYTES / COST + 1);
    }
}
