//! What the server is asked for, as arguments of the script, and what it answers. The script is in six files: `runs.lua` (what nearly
//! all batches are made of), `queues.lua` (the other rules of queues), `requests.lua` (what else may be asked for), `rsmq.lua` (what
//! `corral/rsmq` asks for), `ends.lua` (who is woken, and an answer that is asked for again), `batch.lua` (a batch is carried out once).

mod answers;

pub use answers::run_outcomes;

use std::sync::Arc;

use corral_bus::protocol::{Delivered, FOREVER, Message, Name, Op, Receipt, Reply, Settings, Space};
use redis::Cmd;

use crate::settings::Settings as Server;

/// All of the script.
pub const SCRIPT: &str = concat!(
    include_str!("runs.lua"),
    "\n",
    include_str!("queues.lua"),
    "\n",
    include_str!("requests.lua"),
    "\n",
    include_str!("rsmq.lua"),
    "\n",
    include_str!("ends.lua"),
    "\n",
    include_str!("batch.lua")
);

/// The most bytes of an envelope whose message may be part of a run (SMALL in `runs.lua`).
const SMALL: usize = 16 << 10;

/// The longest duration that the script knows, in milliseconds: numbers of Lua are exact up to there.
const LONGEST: u64 = 9_007_199_254_740_991;

/// A call that waits for messages, or that takes what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub sequence: u64,
    pub count: u32,
    /// In milliseconds; 0 for the queue's.
    pub visibility: u64,
}

/// How a session knows again what is handed to its calls that wait, and how often something was since it has asked last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registration {
    /// 0 if nothing is to be handed over.
    pub token: u64,
    pub handed: u32,
}

/// Whether calls wait, and what the server knows of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// The call takes what is there.
    No,
    /// They do, and the server does not know that any of this session does.
    Unknown,
    /// They do, and the server may know of some.
    Known,
}

impl Waits {
    fn name(self) -> &'static str {
        match self {
            Waits::No => "no",
            Waits::Unknown => "unknown",
            Waits::Known => "known",
        }
    }
}

/// A request to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    Op(Op),
    Transaction(Vec<Op>),
    Declare {
        queue: Arc<str>,
        settings: Settings,
    },
    /// All calls of this session that wait in a queue, or one that does not.
    Receive {
        queue: Arc<str>,
        wanted: Vec<Wanted>,
        waits: Waits,
        registration: Registration,
    },
    /// The same for a list; with each call the number that the value has from then on.
    Pop {
        list: Arc<str>,
        wanted: Vec<(Wanted, u64)>,
        waits: Waits,
    },
    Extend {
        queue: Arc<str>,
        receipt: Receipt,
        visibility: u64,
    },
    Peek {
        queue: Arc<str>,
        count: u32,
    },
    Stats(Name),
    Purge(Arc<str>),
    Delete(Arc<str>),
    Drain(Arc<str>),
    Queues,
    /// What `corral/rsmq` asks for.
    Rsmq {
        call: Arc<str>,
        arguments: Vec<Arc<[u8]>>,
    },
    /// What is due happens.
    Tend,
    /// A message of a session that ends goes back.
    Lost {
        queue: Name,
        receipt: Receipt,
    },
    Bye,
}

/// Many requests of one kind to one queue, or topic, which most are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// Small messages without options.
    Sends,
    /// Acknowledgements of one message each.
    Acks,
    /// What is published.
    Publishes,
}

impl Run {
    pub fn name(self) -> &'static str {
        match self {
            Run::Sends => "sends",
            Run::Acks => "acks",
            Run::Publishes => "publishes",
        }
    }
}

/// What has come of seeing to what is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tended {
    /// In how many queues something was.
    pub queues: u64,
    /// In how many milliseconds something is due next; 0 if more was due than was seen to.
    pub next: Option<u64>,
}

/// What has come of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Reply(Reply),
    /// For each call that was served, in their order, its messages.
    Received(Vec<Vec<Delivered>>),
    Tended(Tended),
    /// The queue of `Drain` is not empty yet.
    NotYet,
    /// The server has carried it out and does not know any more what came of it: it can be asked again.
    Again,
}

impl Work {
    /// What the keys begin with that it uses. In a cluster they decide on the slot: a list is in its own.
    pub fn base(&self, server: &Server) -> String {
        if let (true, Work::Rsmq { arguments, .. }) = (server.is_cluster, self) {
            // Its keys begin with the namespace, which has to say in braces which slot is theirs.
            return String::from_utf8_lossy(arguments.first().map_or(b"", |ns| &**ns)).into_owned();
        }
        let list = match self {
            Work::Op(op) => list_of(op),
            Work::Transaction(ops) => ops.iter().find_map(list_of),
            Work::Pop { list, .. } => Some(list),
            Work::Stats(name) | Work::Lost { queue: name, .. } => of_lists(name),
            _ => None,
        };
        match list {
            Some(list) if server.is_cluster && !server.is_beside_queues(list) => {
                format!("{}:", server.beside(list))
            }
            _ => server.base(),
        }
    }

    /// Whether a transaction is in more than one slot of a cluster.
    pub fn is_across(&self, server: &Server) -> bool {
        let Work::Transaction(ops) = self else { return false };
        let kept = ops.iter().filter(|op| !matches!(op, Op::Publish { .. }));
        let mut bases = kept.map(|op| Work::Op(op.clone()).base(server));
        bases.next().is_some_and(|first| bases.any(|base| base != first))
    }

    /// What it may be part of a run of: many requests of one kind to one queue.
    pub fn run(&self) -> Option<(Run, &Arc<str>)> {
        match self {
            Work::Op(Op::Send(Message {
                queue,
                priority: 0,
                delay: 0,
                expires: FOREVER,
                group,
                id,
                envelope,
                ..
            })) if queue.space == Space::Queue
                && group.is_empty()
                && id.is_empty()
                && envelope.len() <= SMALL =>
            {
                Some((Run::Sends, &queue.name))
            }
            Work::Op(Op::Ack { queue, receipts }) if queue.space == Space::Queue && receipts.len() == 1 => {
                Some((Run::Acks, &queue.name))
            }
            Work::Op(Op::Publish { topic, .. }) => Some((Run::Publishes, topic)),
            _ => None,
        }
    }

    /// Appends what it is in a run.
    pub fn write_in_run(&self, to: &mut Cmd) {
        match self {
            Work::Op(Op::Send(message)) => {
                to.arg(&*message.envelope);
            }
            Work::Op(Op::Ack { receipts, .. }) => {
                for receipt in receipts {
                    to.arg(receipt.message).arg(receipt.delivery);
                }
            }
            Work::Op(Op::Publish { body, .. }) => {
                to.arg(&**body);
            }
            _ => {}
        }
    }

    /// How many messages are sent, at most.
    pub fn sends(&self) -> usize {
        let is_send = |op: &Op| matches!(op, Op::Send(message) if message.queue.space == Space::Queue);
        match self {
            Work::Op(op) => usize::from(is_send(op)),
            Work::Transaction(ops) => ops.iter().filter(|op| is_send(op)).count(),
            _ => 0,
        }
    }

    /// How many bytes of messages, or of arguments, it has.
    pub fn bytes(&self) -> usize {
        let of = |op: &Op| match op {
            Op::Send(message) => message.envelope.len(),
            Op::Publish { body, .. } => body.len(),
            Op::Ack { .. } | Op::Nack { .. } => 0,
        };
        match self {
            Work::Op(op) => of(op),
            Work::Transaction(ops) => ops.iter().map(of).sum(),
            Work::Rsmq { arguments, .. } => arguments.iter().map(|argument| argument.len()).sum(),
            _ => 0,
        }
    }

    /// Appends the arguments.
    pub fn write(&self, to: &mut Cmd, server: &Server, session: &str) {
        match self {
            Work::Op(op) => write_op(to, op, server, session),
            Work::Transaction(ops) => {
                let steps: usize = ops
                    .iter()
                    .map(|op| {
                        if let Op::Ack { queue, receipts } = op
                            && queue.space == Space::List
                        {
                            receipts.len()
                        } else {
                            1
                        }
                    })
                    .sum();
                to.arg("transaction").arg(steps);
                for op in ops {
                    write_op(to, op, server, session);
                }
            }
            Work::Declare { queue, settings } => {
                to.arg("declare").arg(&**queue);
                to.arg(settings.visibility.map_or(String::new(), |value| value.min(LONGEST).to_string()));
                to.arg(settings.max_deliveries.map_or(String::new(), |value| value.to_string()));
                to.arg(settings.dead_letter.as_deref().unwrap_or_default());
            }
            Work::Receive { queue, wanted, waits, registration } => {
                // What is published in a cluster may be lost on its way to the node that the session hears.
                let token = if server.is_cluster { 0 } else { registration.token };
                to.arg("receive").arg(&**queue).arg(waits.name()).arg(token).arg(registration.handed);
                to.arg(wanted.len());
                for one in wanted {
                    to.arg(one.count).arg(one.visibility.min(LONGEST));
                }
            }
            Work::Pop { list, wanted, .. } => {
                to.arg("pop").arg(&**list).arg(server.beside(list)).arg(wanted.len());
                for (one, number) in wanted {
                    to.arg(value_id(session, *number)).arg(one.visibility.min(LONGEST));
                }
            }
            Work::Extend { queue, receipt, visibility } => {
                to.arg("extend").arg(&**queue).arg(receipt.message).arg(receipt.delivery);
                to.arg((*visibility).min(LONGEST));
            }
            Work::Peek { queue, count } => {
                to.arg("peek").arg(&**queue).arg(*count);
            }
            Work::Stats(Name { space: Space::Queue, name }) => {
                to.arg("stats").arg(&**name);
            }
            Work::Stats(Name { space: Space::List, name }) => {
                to.arg("length").arg(&**name);
            }
            Work::Purge(queue) => {
                to.arg("purge").arg(&**queue);
            }
            Work::Delete(queue) => {
                to.arg("delete").arg(&**queue);
            }
            Work::Drain(queue) => {
                to.arg("drain").arg(&**queue);
            }
            Work::Queues => {
                to.arg("queues");
            }
            Work::Lost { queue: Name { space: Space::Queue, name }, receipt } => {
                write_nack(to, name, *receipt, "lost", 0, "");
            }
            Work::Lost { queue: Name { space: Space::List, name }, receipt } => {
                to.arg("popped")
                    .arg(server.beside(name))
                    .arg(value_id(session, receipt.message))
                    .arg(&**name);
            }
            Work::Rsmq { call, arguments } => {
                to.arg("rsmq").arg(&**call).arg(arguments.len());
                for argument in arguments {
                    to.arg(&**argument);
                }
            }
            Work::Tend => {
                to.arg("tend");
            }
            Work::Bye => {
                to.arg("bye");
            }
        }
    }
}

fn of_lists(name: &Name) -> Option<&Arc<str>> {
    (name.space == Space::List).then_some(&name.name)
}

fn list_of(op: &Op) -> Option<&Arc<str>> {
    match op {
        Op::Send(message) => of_lists(&message.queue),
        Op::Ack { queue, .. } | Op::Nack { queue, .. } => of_lists(queue),
        Op::Publish { .. } => None,
    }
}

/// What was taken off a list is known by the session and a number of its own.
fn value_id(session: &str, number: u64) -> String {
    format!("{session}:{number}")
}

fn write_op(to: &mut Cmd, op: &Op, server: &Server, session: &str) {
    match op {
        Op::Send(Message { queue: Name { space: Space::List, name }, envelope, .. }) => {
            to.arg("push").arg(&**name).arg(&**envelope);
        }
        Op::Send(message) => {
            to.arg("send").arg(&*message.queue.name).arg(message.priority).arg(message.delay.min(LONGEST));
            to.arg(if message.expires == FOREVER { 0 } else { message.expires.min(LONGEST) });
            to.arg(&*message.group)
                .arg(&*message.id)
                .arg(message.deduplicate.min(LONGEST))
                .arg(&*message.envelope);
        }
        Op::Ack { queue: Name { space: Space::List, name }, receipts } => {
            for receipt in receipts {
                to.arg("popped").arg(server.beside(name)).arg(value_id(session, receipt.message)).arg("");
            }
        }
        Op::Ack { queue, receipts } => {
            to.arg("ack").arg(&*queue.name).arg(receipts.len());
            for receipt in receipts {
                to.arg(receipt.message).arg(receipt.delivery);
            }
        }
        Op::Nack { queue: Name { space: Space::List, name }, receipt, .. } => {
            to.arg("popped").arg(server.beside(name)).arg(value_id(session, receipt.message)).arg(&**name);
        }
        Op::Nack { queue, receipt, delay, counts, error } => {
            let how = if *counts { "failed" } else { "unseen" };
            write_nack(to, &queue.name, *receipt, how, *delay, error);
        }
        Op::Publish { topic, body } => {
            to.arg("publish").arg(&**topic).arg(&**body);
        }
    }
}

fn write_nack(to: &mut Cmd, queue: &str, receipt: Receipt, how: &str, delay: u64, error: &str) {
    to.arg("nack").arg(queue).arg(receipt.message).arg(receipt.delivery);
    to.arg(how).arg(delay.min(LONGEST)).arg(error);
}
