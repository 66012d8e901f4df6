//! Messages on a lane, one per packet. Both ends are corral's, but perhaps of different versions. The first
//! byte of every message, and all of [`FromWorker::Ready`] and [`FromWorker::Unusable`], are the same in
//! every version.

/// The version of the messages after [`FromWorker::Ready`].
pub const LANE_VERSION: u8 = 9;

/// The longest message in bytes. Keys are addresses and paths.
pub const MAX_LANE_MESSAGE: usize = 4096;

/// The type of a connection's socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionKind {
    Tcp,
    /// A Unix stream socket, which libuv calls a pipe.
    Pipe,
}

/// The number of a message from the primary on a lane, counting from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LaneSeq(pub u64);

/// The place of a kept connection in the memory that says who reads it. Used again when the connection has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

/// Which connection of a [`Slot`] is meant. Never used twice by a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation(pub u64);

/// A message from the primary to a worker.
#[derive(Debug, PartialEq, Eq)]
pub enum ToLane<'a> {
    /// A connection. Its descriptor travels with the message.
    Connection {
        seq: LaneSeq,
        kind: ConnectionKind,
        /// When the primary accepted it, in microseconds of the monotonic clock; 0 if it did not just now: a worker had
        /// kept it.
        accepted_at: u64,
        /// The key of the server that the client connected to.
        key: &'a str,
    },
    /// A number to report: a worker that reports it has received everything before it.
    Probe(LaneSeq),
    /// The page of the worker's pulse, whose descriptor comes with it.
    Pulse,
    /// The memory that says who reads kept connections, whose descriptor comes with it. The worker lets its
    /// connections rest from now on.
    Kept,
    /// The receiving end of the lane that several workers share, whose descriptor comes with it. It takes the place of an
    /// earlier one. [`ToLane::Connection`] travels on it, and nothing else.
    Shared,
    /// What names sessions in requests, one a line: `query NAME`, `cookie NAME` or `header NAME`. The worker says from now on
    /// which sessions it begins. It takes the place of an earlier one.
    Sessions(&'a str),
    /// By what a server knows its clients. The worker looks at the next request of a connection of it that it keeps before it
    /// reads it. It takes the place of an earlier one of the same server.
    Clients {
        /// How many bytes are looked at, at most.
        max_head: u32,
        /// As [`KeyBy::to_text`](super::KeyBy::to_text) has it; empty if nothing has to be looked at any more.
        by: &'a str,
        /// The key of the server.
        key: &'a str,
    },
    /// Connections that the worker has given have been decided about: the memory that says who reads them says how.
    Decided,
    /// The worker shows from now on what its runtime knows of itself, for metrics, until its page says otherwise. A socket comes
    /// with it for what [`link`](crate::link) describes, and takes the place of an earlier one.
    Observe,
}

/// A connection that a worker keeps, and that will rest between its requests.
#[derive(Debug, PartialEq, Eq)]
pub struct Keep {
    /// Its place in the memory that says who reads it.
    pub slot: Slot,
    /// What tells it from others that have had the slot.
    pub generation: Generation,
    /// For how long the client may say nothing, in milliseconds; 0 for ever.
    pub timeout: u32,
    /// The type of its socket.
    pub kind: ConnectionKind,
    /// The key of its server.
    pub key: String,
}

/// A message from a worker to the primary.
#[derive(Debug, PartialEq, Eq)]
pub enum FromWorker {
    /// The worker reads its lane from now on. The message carries one end of a socket pair, to which the
    /// worker's channel moves (see [`CHANNEL_MOVE`](super::CHANNEL_MOVE)). The worker keeps the other end.
    Ready {
        /// The worker's [`LANE_VERSION`].
        version: u8,
    },
    /// The worker has loaded corral and cannot read its lane.
    Unusable { reason: String },
    /// Every message up to a number has arrived at the worker or was recalled.
    Report {
        /// This number is included.
        through: LaneSeq,
        /// The connections among them that the worker did not take.
        refused: Vec<LaneSeq>,
    },
    /// What the primary wanted to be woken for has happened: the pulse says what.
    Wake,
    /// A connection that the worker keeps. A copy of its descriptor comes with the message.
    Keep(Keep),
    /// Kept connections that have gone.
    Released(Vec<Slot>),
    /// The worker lets no connection rest.
    NoRest { reason: String },
    /// The worker has begun the session of this id, of at most [`MAX_SESSION_ID`] bytes. The message is sent before the client
    /// learns the id.
    Session(Vec<u8>),
    /// Kept connections whose next requests may be another worker's. The worker has looked at them and has not read them, and
    /// reads nothing before the primary has decided.
    Give(Vec<Slot>),
}

const CONNECTION: u8 = 1;
const PROBE: u8 = 2;
const PULSE: u8 = 3;
const KEPT: u8 = 4;
const SHARED: u8 = 5;
const SESSIONS: u8 = 6;
const CLIENTS: u8 = 7;
const DECIDED: u8 = 8;
const OBSERVE: u8 = 9;
const READY: u8 = 1;
const UNUSABLE: u8 = 2;
const REPORT: u8 = 3;
const WAKE: u8 = 4;
const KEEP: u8 = 5;
const RELEASED: u8 = 6;
const NO_REST: u8 = 7;
const SESSION: u8 = 8;
const GIVE: u8 = 9;

/// How many slots one [`FromWorker::Released`] or [`FromWorker::Give`] may have.
pub const MAX_SLOTS: usize = (MAX_LANE_MESSAGE - 1) / size_of::<u32>();

/// The longest id of a session, in bytes.
pub const MAX_SESSION_ID: usize = 256;

const TCP: u8 = 0;
const PIPE: u8 = 1;

impl ConnectionKind {
    fn code(self) -> u8 {
        match self {
            ConnectionKind::Tcp => TCP,
            ConnectionKind::Pipe => PIPE,
        }
    }

    fn of(code: u8) -> Result<Self, String> {
        match code {
            TCP => Ok(ConnectionKind::Tcp),
            PIPE => Ok(ConnectionKind::Pipe),
            code => Err(format!("a connection of kind {code}")),
        }
    }
}

impl<'a> ToLane<'a> {
    /// Encodes the message, replacing the contents of `buffer`.
    pub fn encode(&self, buffer: &mut Vec<u8>) {
        buffer.clear();
        match self {
            ToLane::Connection { seq, kind, accepted_at, key } => {
                buffer.push(CONNECTION);
                buffer.extend(seq.0.to_le_bytes());
                buffer.push(kind.code());
                buffer.extend(accepted_at.to_le_bytes());
                buffer.extend(key.as_bytes());
            }
            ToLane::Probe(seq) => {
                buffer.push(PROBE);
                buffer.extend(seq.0.to_le_bytes());
            }
            ToLane::Pulse => buffer.push(PULSE),
            ToLane::Kept => buffer.push(KEPT),
            ToLane::Shared => buffer.push(SHARED),
            ToLane::Sessions(names) => {
                buffer.push(SESSIONS);
                buffer.extend(names.as_bytes());
            }
            ToLane::Clients { max_head, by, key } => {
                buffer.push(CLIENTS);
                buffer.extend(max_head.to_le_bytes());
                buffer.extend((by.len() as u32).to_le_bytes());
                buffer.extend(by.as_bytes());
                buffer.extend(key.as_bytes());
            }
            ToLane::Decided => buffer.push(DECIDED),
            ToLane::Observe => buffer.push(OBSERVE),
        }
    }

    /// Errors: a description of what is wrong.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, String> {
        let (&tag, rest) = bytes.split_first().ok_or("an empty message")?;
        match (tag, rest) {
            (PULSE, []) => return Ok(ToLane::Pulse),
            (KEPT, []) => return Ok(ToLane::Kept),
            (SHARED, []) => return Ok(ToLane::Shared),
            (OBSERVE, []) => return Ok(ToLane::Observe),
            (SESSIONS, names) => return text(names).map(ToLane::Sessions),
            (CLIENTS, rest) => {
                let (max_head, rest) = take_u32(rest)?;
                let (length, rest) = take_u32(rest)?;
                let (by, key) =
                    rest.split_at_checked(length as usize).ok_or("a message that is too short")?;
                return Ok(ToLane::Clients { max_head, by: text(by)?, key: text(key)? });
            }
            (DECIDED, []) => return Ok(ToLane::Decided),
            _ => {}
        }
        let (seq, rest) = take_seq(rest)?;
        match (tag, rest) {
            (CONNECTION, [kind, rest @ ..]) => {
                let (accepted_at, key) = take_u64(rest)?;
                Ok(ToLane::Connection { seq, kind: ConnectionKind::of(*kind)?, accepted_at, key: text(key)? })
            }
            (PROBE, []) => Ok(ToLane::Probe(seq)),
            _ => Err(format!("a message of kind {tag} with {} bytes", bytes.len())),
        }
    }
}

impl FromWorker {
    /// Encodes the message, replacing the contents of `buffer`.
    pub fn encode(&self, buffer: &mut Vec<u8>) {
        buffer.clear();
        match self {
            FromWorker::Ready { version } => buffer.extend([READY, *version]),
            FromWorker::Unusable { reason } => {
                buffer.push(UNUSABLE);
                buffer.extend(reason.bytes().take(MAX_LANE_MESSAGE - 1));
            }
            FromWorker::Report { through, refused } => {
                buffer.push(REPORT);
                buffer.extend(through.0.to_le_bytes());
                buffer.extend(refused.iter().flat_map(|seq| seq.0.to_le_bytes()));
            }
            FromWorker::Wake => buffer.push(WAKE),
            FromWorker::Keep(Keep { slot, generation, timeout, kind, key }) => {
                buffer.push(KEEP);
                buffer.extend(slot.0.to_le_bytes());
                buffer.extend(generation.0.to_le_bytes());
                buffer.extend(timeout.to_le_bytes());
                buffer.push(kind.code());
                buffer.extend(key.as_bytes());
            }
            FromWorker::Released(slots) => encode_slots(RELEASED, slots, buffer),
            FromWorker::Give(slots) => encode_slots(GIVE, slots, buffer),
            FromWorker::NoRest { reason } => {
                buffer.push(NO_REST);
                buffer.extend(reason.bytes().take(MAX_LANE_MESSAGE - 1));
            }
            FromWorker::Session(id) => {
                buffer.push(SESSION);
                buffer.extend(id);
            }
        }
    }

    /// Errors: a description of what is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let (&tag, mut rest) = bytes.split_first().ok_or("an empty message")?;
        match (tag, rest) {
            (READY, [version]) => Ok(FromWorker::Ready { version: *version }),
            (UNUSABLE, reason) => {
                Ok(FromWorker::Unusable { reason: String::from_utf8_lossy(reason).into_owned() })
            }
            (REPORT, _) => {
                let through;
                (through, rest) = take_seq(rest)?;
                let mut refused = Vec::new();
                while !rest.is_empty() {
                    let seq;
                    (seq, rest) = take_seq(rest)?;
                    refused.push(seq);
                }
                Ok(FromWorker::Report { through, refused })
            }
            (WAKE, []) => Ok(FromWorker::Wake),
            (KEEP, _) => {
                let (slot, rest) = take_u32(rest)?;
                let (generation, rest) = take_u64(rest)?;
                let (timeout, rest) = take_u32(rest)?;
                let (kind, key) = rest.split_first().ok_or("a message that is too short")?;
                Ok(FromWorker::Keep(Keep {
                    slot: Slot(slot),
                    generation: Generation(generation),
                    timeout,
                    kind: ConnectionKind::of(*kind)?,
                    key: text(key)?.to_owned(),
                }))
            }
            (RELEASED, _) => take_slots(rest).map(FromWorker::Released),
            (GIVE, _) => take_slots(rest).map(FromWorker::Give),
            (NO_REST, reason) => {
                Ok(FromWorker::NoRest { reason: String::from_utf8_lossy(reason).into_owned() })
            }
            (SESSION, id) => Ok(FromWorker::Session(id.to_vec())),
            _ => Err(format!("a message of kind {tag} with {} bytes", bytes.len())),
        }
    }
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|error| error.to_string())
}

fn encode_slots(tag: u8, slots: &[Slot], buffer: &mut Vec<u8>) {
    buffer.push(tag);
    buffer.extend(slots.iter().flat_map(|slot| slot.0.to_le_bytes()));
}

fn take_slots(mut bytes: &[u8]) -> Result<Vec<Slot>, String> {
    let mut slots = Vec::with_capacity(bytes.len() / size_of::<u32>());
    while !bytes.is_empty() {
        let slot;
        (slot, bytes) = take_u32(bytes)?;
        slots.push(Slot(slot));
    }
    Ok(slots)
}

fn take_seq(bytes: &[u8]) -> Result<(LaneSeq, &[u8]), String> {
    take_u64(bytes).map(|(number, rest)| (LaneSeq(number), rest))
}

fn take_u64(bytes: &[u8]) -> Result<(u64, &[u8]), String> {
    let (number, rest) = bytes.split_first_chunk().ok_or("a message that is too short")?;
    Ok((u64::from_le_bytes(*number), rest))
}

fn take_u32(bytes: &[u8]) -> Result<(u32, &[u8]), String> {
    let (number, rest) = bytes.split_first_chunk().ok_or("a message that is too short")?;
    Ok((u32::from_le_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_the_primary_writes_the_worker_reads() {
        let mut buffer = Vec::new();
        for message in [
            ToLane::Connection {
                seq: LaneSeq(7),
                kind: ConnectionKind::Tcp,
                accepted_at: 0,
                key: "127.0.0.1:80:4::0",
            },
            ToLane::Connection {
                seq: LaneSeq(u64::MAX),
                kind: ConnectionKind::Pipe,
                accepted_at: u64::MAX,
                key: "",
            },
            ToLane::Probe(LaneSeq(8)),
            ToLane::Pulse,
            ToLane::Kept,
            ToLane::Shared,
            ToLane::Sessions("query sid\ncookie io"),
            ToLane::Sessions(""),
            ToLane::Clients { max_head: 8192, by: "cookie io", key: "127.0.0.1:80:4::0" },
            ToLane::Clients { max_head: 0, by: "", key: "" },
            ToLane::Decided,
            ToLane::Observe,
        ] {
            message.encode(&mut buffer);
            assert_eq!(ToLane::decode(&buffer).unwrap(), message);
        }
    }

    #[test]
    fn a_long_reason_is_cut_to_what_a_message_may_have() {
        let mut buffer = Vec::new();
        FromWorker::Unusable { reason: "x".repeat(10_000) }.encode(&mut buffer);
        assert_eq!(buffer.len(), MAX_LANE_MESSAGE);
        assert!(FromWorker::decode(&buffer).is_ok());
    }

    proptest! {
        #[test]
        fn what_the_worker_writes_the_primary_reads(through: u64, refused: Vec<u64>) {
            let message = FromWorker::Report {
                through: LaneSeq(through),
                refused: refused.into_iter().map(LaneSeq).collect(),
            };
            let mut buffer = Vec::new();
            message.encode(&mut buffer);
            prop_assert_eq!(FromWorker::decode(&buffer).unwrap(), message);
        }

        #[test]
        fn what_the_worker_says_of_kept_connections_arrives(
            slots: Vec<u32>, generation: u64, timeout: u32, key: String, reason: String
        ) {
            let slot = Slot(slots.first().copied().unwrap_or(7));
            let generation = Generation(generation);
            for message in [
                FromWorker::Keep(Keep { slot, generation, timeout, kind: ConnectionKind::Tcp, key }),
                FromWorker::Give(slots.iter().copied().map(Slot).collect()),
                FromWorker::Released(slots.into_iter().map(Slot).collect()),
                FromWorker::Session(reason.clone().into_bytes()),
                FromWorker::NoRest { reason },
            ] {
                let mut buffer = Vec::new();
                message.encode(&mut buffer);
                prop_assert_eq!(FromWorker::decode(&buffer).unwrap(), message);
            }
        }

        #[test]
        fn garbage_is_an_error_and_nothing_else(bytes: Vec<u8>) {
            let _ = ToLane::decode(&bytes);
            let _ = FromWorker::decode(&bytes);
        }
    }
}
