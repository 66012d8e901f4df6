//! Requests, from the bus to the engine.

use std::sync::Arc;

use super::fields::Reader;
use super::names::Names;
use super::{FOREVER, MAX_NAME, VERSION};
use crate::error::Fault;

/// Where a name belongs: queues and lists have names of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Space {
    Queue = 0,
    List = 1,
}

/// The name of a queue or a list.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    pub space: Space,
    pub name: Arc<str>,
}

/// One delivery of one message: what its consumer acknowledges. The numbers are the engine's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Receipt {
    pub message: u64,
    pub delivery: u32,
}

/// When a message counts as kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// The system has it: it survives the end of every process.
    Process = 0,
    /// The disk has it: it survives a loss of power.
    Disk = 1,
}

/// Options that a queue keeps; `None` leaves one as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// In milliseconds.
    pub visibility: Option<u64>,
    /// 0 for without end.
    pub max_deliveries: Option<u32>,
    pub dead_letter: Option<Arc<str>>,
}

/// A message to be kept. Durations are in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub queue: Name,
    pub priority: u8,
    pub delay: u64,
    /// `FOREVER` for never.
    pub expires: u64,
    /// Empty for none.
    pub group: Arc<str>,
    /// The id that is not to be kept twice; empty for none.
    pub id: Arc<str>,
    /// How long the id is remembered.
    pub deduplicate: u64,
    /// What the consumer gets: the bus's own format (`lib/bus/envelope.js`), or a list's plain value.
    pub envelope: Arc<[u8]>,
}

/// What a subscription that is full does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    DropOldest = 0,
    End = 1,
}

/// What changes something, and may be part of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Send(Message),
    Ack {
        queue: Name,
        receipts: Vec<Receipt>,
    },
    /// Gives a message back: nobody receives it for `delay` milliseconds. The delivery counts, or it does not: nobody has
    /// looked at the message.
    Nack {
        queue: Name,
        receipt: Receipt,
        delay: u64,
        counts: bool,
        error: String,
    },
    Publish {
        topic: Arc<str>,
        body: Arc<[u8]>,
    },
}

/// A request. Each is answered once, by a reply with its sequence number, but for `Cancel`, `Unsubscribe` and `Credit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The first one of a connection. `held` are the messages that the bus has received before it lost the connection
    /// that it had; requests that were not answered follow under their old numbers.
    Hello {
        client: [u8; 16],
        durability: Durability,
        held: Vec<Receipt>,
    },
    Declare {
        queue: Name,
        settings: Settings,
    },
    Op(Op),
    /// All of it, or nothing.
    Transaction(Vec<Op>),
    /// `wait` may be `FOREVER`; a `visibility` of 0 is the queue's.
    Receive {
        queue: Name,
        count: u32,
        wait: u64,
        visibility: u64,
    },
    /// Ends the wait of a request, which is answered with what there is.
    Cancel {
        target: u64,
    },
    /// A `visibility` of 0 is the queue's.
    Extend {
        queue: Name,
        receipt: Receipt,
        visibility: u64,
    },
    Peek {
        queue: Name,
        count: u32,
    },
    Stats {
        queue: Name,
    },
    Purge {
        queue: Name,
    },
    /// Answered when nothing is there any more.
    Drain {
        queue: Name,
    },
    Delete {
        queue: Name,
    },
    Queues,
    /// What `corral/rsmq` asks for: a name of its own, and what belongs to it (`lib/rsmq`).
    Rsmq {
        call: Arc<str>,
        arguments: Vec<Arc<[u8]>>,
    },
    /// The request's number is the subscription's. `buffer` messages may be unread on the way, and as many wait here.
    Subscribe {
        pattern: Arc<str>,
        buffer: u32,
        overflow: Overflow,
    },
    Unsubscribe {
        subscription: u64,
    },
    /// The subscriber has read so many messages.
    Credit {
        subscription: u64,
        count: u32,
    },
    /// What is held goes back; answered, and then the connection is ended.
    Bye,
}

impl Request {
    /// Whether it changes what is kept: a bus that lost its connection sends it again under the same number, and it must not
    /// be carried out twice.
    pub fn is_change(&self) -> bool {
        match self {
            Request::Op(Op::Send(_) | Op::Ack { .. } | Op::Nack { .. }) | Request::Transaction(_) => true,
            // A message that is received again has been received once more.
            Request::Rsmq { call, .. } => {
                matches!(&**call, "create" | "deleteQueue" | "set" | "send" | "delete" | "visibility")
            }
            _ => false,
        }
    }
}

/// Reads a frame: its sequence number and the request.
///
/// # Errors
///
/// It is none: the connection is to be ended, as nothing behind it can be trusted.
pub fn read(frame: &[u8], names: &mut Names) -> Result<(u64, Request), Fault> {
    let mut from = Reader::new(frame);

    let kind = from.u8()?;
    let sequence = from.u64()?;
    let request = match kind {
        1 => hello(&mut from)?,
        2 => Request::Declare { queue: name(&mut from, names)?, settings: settings(&mut from)? },
        3..=6 => Request::Op(op(kind, &mut from, names)?),
        7 => transaction(&mut from, names)?,
        8 => Request::Receive {
            queue: name(&mut from, names)?,
            count: from.u32()?,
            wait: from.u64()?,
            visibility: from.u64()?,
        },
        9 => Request::Cancel { target: from.u64()? },
        10 => Request::Extend {
            queue: name(&mut from, names)?,
            receipt: receipt(&mut from)?,
            visibility: from.u64()?,
        },
        11 => Request::Peek { queue: name(&mut from, names)?, count: from.u32()? },
        12 => Request::Stats { queue: name(&mut from, names)? },
        13 => Request::Purge { queue: name(&mut from, names)? },
        14 => Request::Drain { queue: name(&mut from, names)? },
        15 => Request::Delete { queue: name(&mut from, names)? },
        16 => Request::Queues,
        17 => Request::Subscribe {
            pattern: short(&mut from, names)?,
            buffer: match from.u32()? {
                0 => return Err(Fault::protocol("a subscription without room")),
                buffer => buffer,
            },
            overflow: match from.u8()? {
                0 => Overflow::DropOldest,
                1 => Overflow::End,
                other => return Err(unknown("policy", other)),
            },
        },
        18 => Request::Unsubscribe { subscription: from.u64()? },
        19 => Request::Credit { subscription: from.u64()?, count: from.u32()? },
        20 => Request::Bye,
        21 => Request::Rsmq { call: short(&mut from, names)?, arguments: arguments(&mut from)? },
        other => return Err(unknown("request", other)),
    };
    from.end()?;
    Ok((sequence, request))
}

fn arguments(from: &mut Reader<'_>) -> Result<Vec<Arc<[u8]>>, Fault> {
    let count = from.count(4)?;
    (0..count).map(|_| Ok(Arc::from(from.bytes()?))).collect()
}

fn unknown(what: &str, number: u8) -> Fault {
    Fault::protocol(format!("a {what} of kind {number}"))
}

fn hello(from: &mut Reader<'_>) -> Result<Request, Fault> {
    let version = from.u32()?;
    if version != VERSION {
        return Err(Fault::protocol(format!(
            "this bus speaks version {version} of the protocol, and its engine version {VERSION}: \
             all processes need the same version of corral"
        )));
    }
    let client = from.id()?;
    let durability = match from.u8()? {
        0 => Durability::Process,
        1 => Durability::Disk,
        other => return Err(unknown("durability", other)),
    };
    let held = receipts(from)?;
    Ok(Request::Hello { client, durability, held })
}

fn settings(from: &mut Reader<'_>) -> Result<Settings, Fault> {
    let given = from.u8()?;
    let visibility = from.u64()?;
    let max_deliveries = from.u32()?;
    let dead_letter = from.text()?;
    if dead_letter.len() > MAX_NAME {
        return Err(Fault::protocol("a name that is too long"));
    }
    Ok(Settings {
        visibility: (given & 1 != 0).then_some(visibility),
        max_deliveries: (given & 2 != 0).then_some(max_deliveries),
        dead_letter: (given & 4 != 0).then(|| Arc::from(dead_letter)),
    })
}

fn op(kind: u8, from: &mut Reader<'_>, names: &mut Names) -> Result<Op, Fault> {
    Ok(match kind {
        3 => Op::Send(Message {
            queue: name(from, names)?,
            priority: from.u8()?,
            delay: from.u64()?,
            expires: from.u64()?,
            group: optional(from, names)?,
            id: unique(from, names)?,
            deduplicate: from.u64()?,
            envelope: Arc::from(from.bytes()?),
        }),
        4 => Op::Ack { queue: name(from, names)?, receipts: receipts(from)? },
        5 => Op::Nack {
            queue: name(from, names)?,
            receipt: receipt(from)?,
            delay: from.u64()?,
            counts: from.u8()? != 0,
            error: from.text()?.to_owned(),
        },
        6 => Op::Publish { topic: short(from, names)?, body: Arc::from(from.bytes()?) },
        other => return Err(unknown("change", other)),
    })
}

fn transaction(from: &mut Reader<'_>, names: &mut Names) -> Result<Request, Fault> {
    let count = from.count(1)?;
    let mut ops = Vec::with_capacity(count);
    for _ in 0..count {
        let kind = from.u8()?;
        ops.push(op(kind, from, names)?);
    }
    Ok(Request::Transaction(ops))
}

fn receipt(from: &mut Reader<'_>) -> Result<Receipt, Fault> {
    Ok(Receipt { message: from.u64()?, delivery: from.u32()? })
}

fn receipts(from: &mut Reader<'_>) -> Result<Vec<Receipt>, Fault> {
    let count = from.count(12)?;
    (0..count).map(|_| receipt(from)).collect()
}

fn name(from: &mut Reader<'_>, names: &mut Names) -> Result<Name, Fault> {
    let space = match from.u8()? {
        0 => Space::Queue,
        1 => Space::List,
        other => return Err(unknown("space", other)),
    };
    Ok(Name { space, name: short(from, names)? })
}

/// A name: neither empty nor long.
fn short(from: &mut Reader<'_>, names: &mut Names) -> Result<Arc<str>, Fault> {
    let text = optional(from, names)?;
    if text.is_empty() { Err(Fault::protocol("a name that is empty")) } else { Ok(text) }
}

fn optional(from: &mut Reader<'_>, names: &mut Names) -> Result<Arc<str>, Fault> {
    let text = from.text()?;
    if text.len() > MAX_NAME {
        return Err(Fault::protocol("a name that is too long"));
    }
    Ok(names.get(text))
}

/// An id, of which there are as many as messages.
fn unique(from: &mut Reader<'_>, names: &mut Names) -> Result<Arc<str>, Fault> {
    let text = from.text()?;
    if text.len() > MAX_NAME {
        return Err(Fault::protocol("a name that is too long"));
    }
    Ok(if text.is_empty() { names.get(text) } else { Arc::from(text) })
}

/// How long `duration` milliseconds from `now` last: for ever, if they are.
pub fn after(now: u64, duration: u64) -> u64 {
    if duration == FOREVER { FOREVER } else { now.saturating_add(duration) }
}
