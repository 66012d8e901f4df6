//! What the server answers, as what came of requests.

use std::sync::Arc;

use corral_bus::error::Fault;
use corral_bus::protocol::{Dead, Delivered, Name, Op, Receipt, Reply, Space, Stats};
use redis::Value;

use super::{Outcome, Run, Tended, Work};
use crate::fault::refused;

/// What the server says of a request that has failed.
fn failure(value: &Value) -> Option<Fault> {
    let Value::Array(parts) = value else { return None };
    let is_failure = parts.first().and_then(text) == Some("error");
    is_failure.then(|| refused(parts.get(1).and_then(text).unwrap_or_default()))
}

/// What came of each request of a run of so many.
pub fn run_outcomes(run: Run, value: Value, count: usize) -> Vec<Outcome> {
    let said = if run == Run::Publishes { Reply::Count } else { settled };
    let same = |reply: Reply| (0..count).map(|_| Outcome::Reply(reply.clone())).collect();
    if let Some(fault) = failure(&value) {
        return same(Reply::Failed(fault));
    }
    match value {
        Value::Int(0) => same(Reply::Done),
        Value::Array(parts) if parts.len() == count => {
            parts.iter().map(|part| Outcome::Reply(whole(part).map_or_else(malformed, said))).collect()
        }
        _ => same(malformed()),
    }
}

fn malformed() -> Reply {
    Reply::Failed(Fault::protocol("an answer that is none"))
}

/// What a number says of a message that was sent or settled.
fn settled(number: u64) -> Reply {
    match number {
        0 => Reply::Done,
        1 => Reply::Duplicate,
        _ => Reply::Failed(Fault::not_held()),
    }
}

impl Work {
    /// Reads what came of it.
    pub fn outcome(&self, value: Value) -> Outcome {
        if let Some(fault) = failure(&value) {
            return Outcome::Reply(Reply::Failed(fault));
        }
        if let Value::Array(parts) = &value
            && parts.first().and_then(text) == Some("again")
        {
            return Outcome::Again;
        }
        self.read(value).unwrap_or_else(|| Outcome::Reply(malformed()))
    }

    fn read(&self, value: Value) -> Option<Outcome> {
        let reply = match self {
            Work::Op(Op::Publish { .. }) | Work::Purge(_) => Reply::Count(whole(&value)?),
            Work::Op(_) | Work::Transaction(_) | Work::Extend { .. } | Work::Lost { .. } => {
                settled(whole(&value)?)
            }
            Work::Declare { .. } | Work::Delete(_) | Work::Bye => Reply::Done,
            Work::Tend => {
                let [queues, next] = <[Value; 2]>::try_from(array(value)?).ok()?;
                // Below 0 nothing is.
                return Some(Outcome::Tended(Tended { queues: whole(&queues)?, next: whole(&next) }));
            }
            Work::Drain(_) => match whole(&value)? {
                0 => Reply::Done,
                _ => return Some(Outcome::NotYet),
            },
            Work::Receive { .. } => {
                let served = array(value)?
                    .into_iter()
                    .skip(1)
                    .map(|found| found_messages(array(found)?))
                    .collect::<Option<_>>()?;
                return Some(Outcome::Received(served));
            }
            Work::Pop { wanted, .. } => {
                let values = array(value)?.into_iter().skip(1).zip(wanted);
                let served = values
                    .map(|(value, (one, number))| Some(vec![popped(bytes(value)?, *number, one.visibility)]));
                return Some(Outcome::Received(served.collect::<Option<_>>()?));
            }
            Work::Peek { .. } => {
                Reply::Messages(array(value)?.into_iter().map(delivered).collect::<Option<_>>()?)
            }
            Work::Stats(Name { space: Space::List, .. }) => {
                Reply::Stats(Stats { waiting: whole(&value)?, ..Stats::default() })
            }
            Work::Stats(_) => {
                let counts: Vec<u64> = array(value)?.iter().map(whole).collect::<Option<_>>()?;
                let [waiting, delayed, held, receivers] = counts[..].try_into().ok()?;
                Reply::Stats(Stats { waiting, delayed, held, receivers })
            }
            Work::Rsmq { .. } => {
                let values = array(value)?.into_iter().map(|value| bytes(value).map(Arc::from));
                Reply::Values(values.collect::<Option<_>>()?)
            }
            Work::Queues => Reply::Names(
                array(value)?.iter().skip(1).map(|name| text(name).map(Arc::from)).collect::<Option<_>>()?,
            ),
        };
        Some(Outcome::Reply(reply))
    }
}

fn whole(value: &Value) -> Option<u64> {
    match value {
        Value::Int(value) => u64::try_from(*value).ok(),
        _ => None,
    }
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}

fn array(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(values) => Some(values),
        _ => None,
    }
}

/// What a call has got: messages, or for how long those without options are held that were never received before, and then the number
/// and the envelope of each.
fn found_messages(found: Vec<Value>) -> Option<Vec<Delivered>> {
    let Some(Value::Int(_)) = found.first() else { return found.into_iter().map(delivered).collect() };
    let mut parts = found.into_iter();
    let visibility = whole(&parts.next()?)?;
    let group: Arc<str> = Arc::from("");
    let mut messages = Vec::with_capacity(parts.len() / 2);
    while let (Some(message), Some(envelope)) = (parts.next(), parts.next()) {
        let receipt = Receipt { message: whole(&message)?, delivery: 1 };
        let envelope = Arc::from(bytes(envelope)?);
        let group = Arc::clone(&group);
        messages.push(Delivered { receipt, visibility, priority: 0, group, dead: None, envelope });
    }
    Some(messages)
}

fn delivered(value: Value) -> Option<Delivered> {
    let mut parts = array(value)?;
    let envelope = bytes(parts.pop()?)?;
    if let [message, delivery, visibility] = &parts[..] {
        let receipt = Receipt { message: whole(message)?, delivery: u32::try_from(whole(delivery)?).ok()? };
        let visibility = whole(visibility)?;
        let (group, envelope) = (Arc::from(""), Arc::from(envelope));
        return Some(Delivered { receipt, visibility, priority: 0, group, dead: None, envelope });
    }
    let [message, delivery, visibility, priority, group, is_dead, queue, deliveries, reason, error] =
        &parts[..]
    else {
        return None;
    };
    let dead = if whole(is_dead)? == 0 {
        None
    } else {
        Some(Dead {
            queue: Arc::from(text(queue)?),
            deliveries: u32::try_from(whole(deliveries)?).ok()?,
            reason: Arc::from(text(reason)?),
            error: Arc::from(text(error)?),
        })
    };
    Some(Delivered {
        receipt: Receipt { message: whole(message)?, delivery: u32::try_from(whole(delivery)?).ok()? },
        visibility: whole(visibility)?,
        priority: u8::try_from(whole(priority)?).ok()?,
        group: Arc::from(text(group)?),
        dead,
        envelope: Arc::from(envelope),
    })
}

fn popped(value: Vec<u8>, number: u64, visibility: u64) -> Delivered {
    Delivered {
        receipt: Receipt { message: number, delivery: 1 },
        visibility,
        priority: 0,
        group: Arc::from(""),
        dead: None,
        envelope: Arc::from(value),
    }
}
