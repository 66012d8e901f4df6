//! Topics: who has subscribed to what, and what waits for whom. Nothing of it is kept.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use crate::error::Fault;
use crate::pattern::{is_pattern, matches};
use crate::protocol::{Overflow, Reply};

/// How many bytes wait for one subscriber at most, whatever its `buffer` is.
const MAX_BYTES: usize = 64 << 20;

/// How many of them are sent at once to a connection that has caught up.
const RESUMED: usize = 4 << 20;

/// A subscription: its connection, and its number there.
pub type SubscriberId = (usize, u64);

struct Subscriber {
    pattern: Arc<str>,
    /// How many messages may be on the way without having been read.
    credit: u64,
    buffer: usize,
    overflow: Overflow,
    waiting: VecDeque<(Arc<str>, Arc<[u8]>)>,
    bytes: usize,
    dropped: u64,
}

#[derive(Default)]
pub struct Topics {
    subscribers: BTreeMap<SubscriberId, Subscriber>,
    /// By the topic, of those that are no patterns.
    named: HashMap<Arc<str>, Vec<SubscriberId>>,
    patterns: Vec<SubscriberId>,
    /// Connections that do not read what they have got: nothing is sent to them, whatever their credit is.
    paused: BTreeSet<usize>,
    /// What is to be sent.
    pub outbox: Vec<(SubscriberId, Reply)>,
}

impl Topics {
    pub fn subscribe(&mut self, id: SubscriberId, pattern: Arc<str>, buffer: u32, overflow: Overflow) {
        self.unsubscribe(id);
        if is_pattern(&pattern) {
            self.patterns.push(id);
        } else {
            self.named.entry(Arc::clone(&pattern)).or_default().push(id);
        }
        let subscriber = Subscriber {
            pattern,
            credit: u64::from(buffer),
            buffer: buffer as usize,
            overflow,
            waiting: VecDeque::new(),
            bytes: 0,
            dropped: 0,
        };
        self.subscribers.insert(id, subscriber);
    }

    pub fn unsubscribe(&mut self, id: SubscriberId) {
        let Some(subscriber) = self.subscribers.remove(&id) else { return };
        if is_pattern(&subscriber.pattern) {
            self.patterns.retain(|other| *other != id);
        } else if let Some(ids) = self.named.get_mut(&subscriber.pattern) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.named.remove(&subscriber.pattern);
            }
        }
    }

    /// A connection has ended.
    pub fn gone(&mut self, connection: usize) {
        let range = (connection, 0)..=(connection, u64::MAX);
        let ids: Vec<_> = self.subscribers.range(range).map(|(id, _)| *id).collect();
        for id in ids {
            self.unsubscribe(id);
        }
        self.paused.remove(&connection);
    }

    /// A connection does not read what it has got: what is published from now on waits, within the bounds.
    pub fn pause(&mut self, connection: usize) {
        self.paused.insert(connection);
    }

    /// A connection has caught up: true if something is to be sent to it, after which it may be behind again.
    pub fn resume(&mut self, connection: usize) -> bool {
        if !self.paused.remove(&connection) {
            return false;
        }
        let (mut left, before) = (RESUMED, self.outbox.len());
        for (id, subscriber) in self.subscribers.range_mut((connection, 0)..=(connection, u64::MAX)) {
            while left > 0
                && let Some(reply) = subscriber.next()
            {
                if let Reply::Event { body, .. } = &reply {
                    left = left.saturating_sub(body.len());
                }
                self.outbox.push((*id, reply));
            }
        }
        if left == 0 {
            self.paused.insert(connection);
        }
        self.outbox.len() > before
    }

    /// Gives a message to all who have subscribed to its topic.
    pub fn publish(&mut self, topic: &Arc<str>, body: &Arc<[u8]>) -> u64 {
        let subscribers = &self.subscribers;
        let by_pattern = self
            .patterns
            .iter()
            .filter(|id| subscribers.get(id).is_some_and(|one| matches(&one.pattern, topic)));
        let ids: Vec<_> = self.named.get(topic).into_iter().flatten().chain(by_pattern).copied().collect();
        self.give(&ids, topic, body)
    }

    /// Gives a message to those who have subscribed to this very pattern: who else has gets it apart.
    pub fn hand_out(&mut self, pattern: &str, topic: &Arc<str>, body: &Arc<[u8]>) -> u64 {
        let subscribers = &self.subscribers;
        let is_its_own = |id: &&SubscriberId| subscribers.get(id).is_some_and(|one| &*one.pattern == pattern);
        let by_pattern = self.patterns.iter().filter(is_its_own);
        let ids: Vec<_> = self.named.get(pattern).into_iter().flatten().chain(by_pattern).copied().collect();
        self.give(&ids, topic, body)
    }

    /// How many have got it.
    fn give(&mut self, ids: &[SubscriberId], topic: &Arc<str>, body: &Arc<[u8]>) -> u64 {
        let mut count = 0;
        let mut slow = Vec::new();
        for &id in ids {
            let Some(subscriber) = self.subscribers.get_mut(&id) else { continue };
            count += 1;
            if subscriber.credit > 0 && subscriber.waiting.is_empty() && !self.paused.contains(&id.0) {
                subscriber.credit -= 1;
                let event = Reply::Event {
                    dropped: subscriber.dropped,
                    topic: Arc::clone(topic),
                    body: Arc::clone(body),
                };
                self.outbox.push((id, event));
            } else if !subscriber.keep(topic, body) {
                slow.push(id);
            }
        }
        for id in slow {
            if let Some(subscriber) = self.subscribers.get(&id) {
                let fault = Fault::slow(subscriber.waiting.len());
                self.unsubscribe(id);
                self.outbox.push((id, Reply::Ended(fault)));
            }
        }
        count
    }

    /// The subscriber has read so many.
    pub fn credit(&mut self, id: SubscriberId, count: u32) {
        let Some(subscriber) = self.subscribers.get_mut(&id) else { return };
        subscriber.credit = subscriber.credit.saturating_add(u64::from(count)).min(subscriber.buffer as u64);
        if self.paused.contains(&id.0) {
            return;
        }
        while let Some(reply) = subscriber.next() {
            self.outbox.push((id, reply));
        }
    }
}

impl Subscriber {
    /// What it gets next, if it has read enough.
    fn next(&mut self) -> Option<Reply> {
        if self.credit == 0 {
            return None;
        }
        let (topic, body) = self.waiting.pop_front()?;
        self.credit -= 1;
        self.bytes -= body.len();
        Some(Reply::Event { dropped: self.dropped, topic, body })
    }

    /// Keeps a message until the subscriber reads: false if it is to be ended because there are too many.
    fn keep(&mut self, topic: &Arc<str>, body: &Arc<[u8]>) -> bool {
        let is_full = |one: &Subscriber| {
            one.waiting.len() >= one.buffer || (!one.waiting.is_empty() && one.bytes + body.len() > MAX_BYTES)
        };
        while is_full(self) {
            if self.overflow == Overflow::End {
                return false;
            }
            if let Some((_, oldest)) = self.waiting.pop_front() {
                self.bytes -= oldest.len();
                self.dropped += 1;
            }
        }
        self.bytes += body.len();
        self.waiting.push_back((Arc::clone(topic), Arc::clone(body)));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &str) -> Arc<[u8]> {
        Arc::from(text.as_bytes())
    }

    fn texts(topics: &mut Topics) -> Vec<(u64, String, u64)> {
        topics
            .outbox
            .drain(..)
            .map(|((_, number), reply)| match reply {
                Reply::Event { dropped, body, .. } => {
                    (number, String::from_utf8_lossy(&body).into_owned(), dropped)
                }
                other => (number, format!("{other:?}"), 0),
            })
            .collect()
    }

    #[test]
    fn a_full_subscriber_loses_the_oldest() {
        let mut topics = Topics::default();
        topics.subscribe((1, 5), Arc::from("a"), 2, Overflow::DropOldest);
        for text in ["1", "2", "3", "4", "5"] {
            assert_eq!(topics.publish(&Arc::from("a"), &body(text)), 1);
        }
        assert_eq!(texts(&mut topics), [(5, "1".into(), 0), (5, "2".into(), 0)]);
        topics.credit((1, 5), 100);
        assert_eq!(texts(&mut topics), [(5, "4".into(), 1), (5, "5".into(), 1)]);
    }

    #[test]
    fn a_full_subscriber_is_ended() {
        let mut topics = Topics::default();
        topics.subscribe((1, 5), Arc::from("a*"), 1, Overflow::End);
        for text in ["1", "2", "3"] {
            topics.publish(&Arc::from("ab"), &body(text));
        }
        assert_eq!(topics.publish(&Arc::from("ab"), &body("4")), 0);
        let seen = texts(&mut topics);
        assert_eq!(seen.len(), 2);
        assert!(seen[1].1.contains("ERR_CORRAL_BUS_SLOW"));
        assert!(topics.patterns.is_empty());
    }

    #[test]
    fn what_waits_for_a_connection_that_does_not_read_is_bounded() {
        let mut topics = Topics::default();
        topics.subscribe((1, 5), Arc::from("a"), 1_000, Overflow::DropOldest);
        topics.pause(1);
        let large: Arc<[u8]> = Arc::from(vec![0; 1 << 20]);
        for _ in 0..100 {
            topics.publish(&Arc::from("a"), &large);
        }
        assert!(topics.outbox.is_empty());
        let mut came = 0;
        while topics.resume(1) {
            assert!(topics.outbox.len() <= RESUMED >> 20);
            came += topics.outbox.len();
            topics.outbox.clear();
        }
        assert_eq!(came, MAX_BYTES >> 20);
        // It goes on, and in order.
        topics.publish(&Arc::from("a"), &body("next"));
        assert_eq!(texts(&mut topics), [(5, "next".into(), 100 - 64)]);
    }

    #[test]
    fn who_is_gone_gets_nothing() {
        let mut topics = Topics::default();
        topics.subscribe((1, 5), Arc::from("a"), 1, Overflow::End);
        topics.subscribe((2, 5), Arc::from("a"), 1, Overflow::End);
        topics.gone(1);
        assert_eq!(topics.publish(&Arc::from("a"), &body("1")), 1);
        topics.gone(2);
        assert!(topics.named.is_empty() && topics.subscribers.is_empty());
    }
}
