//! Subscriptions of one session: what the server is asked for, once for each pattern, and who gets what it sends.

use std::collections::HashMap;
use std::sync::Arc;

use corral_bus::pattern::is_pattern;
use corral_bus::protocol::{Overflow, Reply};
use corral_bus::topics::Topics;
use redis::aio::PubSubSink;
use redis::{Msg, RedisResult};

/// All subscriptions are of one connection.
const ONLY: usize = 0;

#[derive(Default)]
pub struct Subscriptions {
    topics: Topics,
    patterns: HashMap<u64, Arc<str>>,
}

impl Subscriptions {
    /// # Errors
    ///
    /// The connection is lost; the subscription is there when another one is.
    pub async fn add(
        &mut self,
        sink: Option<&mut PubSubSink>,
        number: u64,
        pattern: &Arc<str>,
        buffer: u32,
        overflow: Overflow,
    ) -> RedisResult<()> {
        let is_new = !self.has(pattern);
        self.topics.subscribe((ONLY, number), Arc::clone(pattern), buffer, overflow);
        self.patterns.insert(number, Arc::clone(pattern));
        match sink {
            Some(sink) if is_new => subscribe(sink, pattern).await,
            _ => Ok(()),
        }
    }

    /// # Errors
    ///
    /// The connection is lost, and with it all that was subscribed to on it.
    pub async fn remove(&mut self, sink: Option<&mut PubSubSink>, number: u64) -> RedisResult<()> {
        self.topics.unsubscribe((ONLY, number));
        let Some(pattern) = self.patterns.remove(&number) else { return Ok(()) };
        match sink {
            Some(sink) if !self.has(&pattern) && is_pattern(&pattern) => sink.punsubscribe(&*pattern).await,
            Some(sink) if !self.has(&pattern) => sink.unsubscribe(&*pattern).await,
            _ => Ok(()),
        }
    }

    fn has(&self, pattern: &str) -> bool {
        self.patterns.values().any(|one| &**one == pattern)
    }

    /// Subscribes to all of it on another connection.
    ///
    /// # Errors
    ///
    /// That one is lost, too.
    pub async fn again(&self, sink: &mut PubSubSink) -> RedisResult<()> {
        let mut patterns: Vec<&Arc<str>> = self.patterns.values().collect();
        patterns.sort();
        patterns.dedup();
        for pattern in patterns {
            subscribe(sink, pattern).await?;
        }
        Ok(())
    }

    /// Something was published: who has subscribed to just that gets it, as others are sent it apart.
    pub fn on_message(&mut self, message: &Msg) {
        let topic = Arc::from(message.get_channel_name());
        let pattern: Option<String> = if message.from_pattern() { message.get_pattern().ok() } else { None };
        let body = Arc::from(message.get_payload_bytes());
        self.topics.hand_out(pattern.as_deref().unwrap_or(&topic), &topic, &body);
    }

    pub fn credit(&mut self, number: u64, count: u32) {
        self.topics.credit((ONLY, number), count);
    }

    /// The bus does not read what it has got: what comes from now on waits, within the bounds of each subscription.
    pub fn pause(&mut self) {
        self.topics.pause(ONLY);
    }

    /// The bus has caught up: true if something is to be sent to it, after which it may be behind again.
    pub fn resume(&mut self) -> bool {
        self.topics.resume(ONLY)
    }

    /// What is to be sent to the bus; the numbers of subscriptions that have ended are to be removed.
    pub fn outbox(&mut self) -> impl Iterator<Item = (u64, Reply)> {
        self.topics.outbox.drain(..).map(|((_, number), reply)| (number, reply))
    }
}

async fn subscribe(sink: &mut PubSubSink, pattern: &str) -> RedisResult<()> {
    if is_pattern(pattern) { sink.psubscribe(pattern).await } else { sink.subscribe(pattern).await }
}
