//! Messages on a lane, one per packet. Both ends are corral's, but perhaps of different versions. The first
//! byte of every message, and all of [`FromWorker::Ready`] and [`FromWorker::Unusable`], are the same in
//! every version.

/// The version of the messages after [`FromWorker::Ready`].
pub const LANE_VERSION: u8 = 4;

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

/// A message from the primary to a worker.
#[derive(Debug, PartialEq, Eq)]
pub enum ToLane<'a> {
    /// A connection. Its descriptor travels with the message.
    Connection {
        seq: LaneSeq,
        kind: ConnectionKind,
        /// The key of the server that the client connected to.
        key: &'a str,
    },
    /// A number to report: a worker that reports it has received everything before it.
    Probe(LaneSeq),
    /// The page of the worker's pulse, whose descriptor comes with it.
    Pulse,
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
}

const CONNECTION: u8 = 1;
const PROBE: u8 = 2;
const PULSE: u8 = 3;
const READY: u8 = 1;
const UNUSABLE: u8 = 2;
const REPORT: u8 = 3;
const WAKE: u8 = 4;

const TCP: u8 = 0;
const PIPE: u8 = 1;

impl<'a> ToLane<'a> {
    /// Encodes the message, replacing the contents of `buffer`.
    pub fn encode(&self, buffer: &mut Vec<u8>) {
        buffer.clear();
        match self {
            ToLane::Connection { seq, kind, key } => {
                buffer.push(CONNECTION);
                buffer.extend(seq.0.to_le_bytes());
                buffer.push(match kind {
                    ConnectionKind::Tcp => TCP,
                    ConnectionKind::Pipe => PIPE,
                });
                buffer.extend(key.as_bytes());
            }
            ToLane::Probe(seq) => {
                buffer.push(PROBE);
                buffer.extend(seq.0.to_le_bytes());
            }
            ToLane::Pulse => buffer.push(PULSE),
        }
    }

    /// Errors: a description of what is wrong.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, String> {
        let (&tag, rest) = bytes.split_first().ok_or("an empty message")?;
        if (tag, rest) == (PULSE, &[]) {
            return Ok(ToLane::Pulse);
        }
        let (seq, rest) = take_seq(rest)?;
        match (tag, rest) {
            (CONNECTION, [kind, key @ ..]) => Ok(ToLane::Connection {
                seq,
                kind: match *kind {
                    TCP => ConnectionKind::Tcp,
                    PIPE => ConnectionKind::Pipe,
                    kind => return Err(format!("a connection of kind {kind}")),
                },
                key: std::str::from_utf8(key).map_err(|error| error.to_string())?,
            }),
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
            _ => Err(format!("a message of kind {tag} with {} bytes", bytes.len())),
        }
    }
}

fn take_seq(bytes: &[u8]) -> Result<(LaneSeq, &[u8]), String> {
    let (number, rest) = bytes.split_first_chunk().ok_or("a message that is too short")?;
    Ok((LaneSeq(u64::from_le_bytes(*number)), rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_the_primary_writes_the_worker_reads() {
        let mut buffer = Vec::new();
        for message in [
            ToLane::Connection { seq: LaneSeq(7), kind: ConnectionKind::Tcp, key: "127.0.0.1:80:4::0" },
            ToLane::Connection { seq: LaneSeq(u64::MAX), kind: ConnectionKind::Pipe, key: "" },
            ToLane::Probe(LaneSeq(8)),
            ToLane::Pulse,
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
        fn garbage_is_an_error_and_nothing_else(bytes: Vec<u8>) {
            let _ = ToLane::decode(&bytes);
            let _ = FromWorker::decode(&bytes);
        }
    }
}
