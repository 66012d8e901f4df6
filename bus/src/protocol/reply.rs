//! Replies and events, from the engine to the bus.

use std::sync::Arc;

use super::VERSION;
use super::fields::Writer;
use super::request::Receipt;
use crate::error::Fault;

/// Why a message is in a dead-letter queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dead {
    pub queue: Arc<str>,
    pub deliveries: u32,
    /// `failed`, `expired` or `lost`.
    pub reason: Arc<str>,
    pub error: Arc<str>,
}

/// A message on its way to a consumer, or one that is only looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    pub receipt: Receipt,
    /// How long it is held, in milliseconds; 0 if it is only looked at.
    pub visibility: u64,
    pub priority: u8,
    /// Empty for none.
    pub group: Arc<str>,
    pub dead: Option<Dead>,
    pub envelope: Arc<[u8]>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub waiting: u64,
    pub delayed: u64,
    pub held: u64,
    pub receivers: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To `Hello`.
    Welcome {
        engine: &'static str,
    },
    Done,
    /// To `Send`: a message with that id was there.
    Duplicate,
    Failed(Fault),
    /// To `Receive` and `Peek`.
    Messages(Vec<Delivered>),
    Stats(Stats),
    /// To `Publish` and `Purge`.
    Count(u64),
    Names(Vec<Arc<str>>),
    /// To `Rsmq`.
    Values(Vec<Arc<[u8]>>),
    /// The sequence number is the subscription's. `dropped` counts all that were dropped since it began.
    Event {
        dropped: u64,
        topic: Arc<str>,
        body: Arc<[u8]>,
    },
    /// The subscription of this number has ended.
    Ended(Fault),
    /// The connection is about to be ended. No sequence number belongs to it.
    Fatal(Fault),
    /// The engine has lost its server, and will carry out what is asked for when that is back. No sequence number belongs to it.
    Down(Fault),
    /// The server is back. No sequence number belongs to it.
    Up,
}

impl Reply {
    /// Appends the frame to a buffer.
    pub fn write(&self, buffer: &mut Vec<u8>, sequence: u64) {
        let mut to = Writer::new(buffer, self.kind(), sequence);
        match self {
            Reply::Welcome { engine } => {
                to.u32(VERSION).text(engine);
            }
            Reply::Done | Reply::Duplicate | Reply::Up => {}
            Reply::Failed(fault) | Reply::Ended(fault) | Reply::Fatal(fault) | Reply::Down(fault) => {
                to.text(fault.code).text(&fault.message);
            }
            Reply::Messages(messages) => {
                to.u32(messages.len() as u32);
                for message in messages {
                    message.write(&mut to);
                }
            }
            Reply::Stats(stats) => {
                to.u64(stats.waiting).u64(stats.delayed).u64(stats.held).u64(stats.receivers);
            }
            Reply::Count(count) => {
                to.u64(*count);
            }
            Reply::Names(names) => {
                to.u32(names.len() as u32);
                for name in names {
                    to.text(name);
                }
            }
            Reply::Values(values) => {
                to.u32(values.len() as u32);
                for value in values {
                    to.bytes(value);
                }
            }
            Reply::Event { dropped, topic, body } => {
                to.u64(*dropped).text(topic).bytes(body);
            }
        }
        to.end();
    }

    fn kind(&self) -> u8 {
        match self {
            Reply::Welcome { .. } => 101,
            Reply::Done => 102,
            Reply::Duplicate => 103,
            Reply::Failed(_) => 104,
            Reply::Messages(_) => 105,
            Reply::Stats(_) => 106,
            Reply::Count(_) => 107,
            Reply::Names(_) => 108,
            Reply::Event { .. } => 109,
            Reply::Ended(_) => 110,
            Reply::Fatal(_) => 111,
            Reply::Down(_) => 112,
            Reply::Up => 113,
            Reply::Values(_) => 114,
        }
    }
}

impl Delivered {
    fn write(&self, to: &mut Writer<'_>) {
        to.u64(self.receipt.message).u32(self.receipt.delivery).u64(self.visibility);
        to.u8(self.priority).text(&self.group);
        match &self.dead {
            None => {
                to.u8(0);
            }
            Some(dead) => {
                to.u8(1).text(&dead.queue).u32(dead.deliveries).text(&dead.reason).text(&dead.error);
            }
        }
        to.bytes(&self.envelope);
    }
}
