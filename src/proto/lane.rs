//! Messages on a lane, one per packet. Both ends are corral's, though perhaps not of the same version: the first byte
//! of all and the whole of [`FromWorker::Ready`] and [`FromWorker::Unusable`] are the same in every version.

/// The version of what follows [`FromWorker::Ready`].
pub const LANE_VERSION: u8 = 3;

/// The longest message; keys are addresses and paths.
pub const MAX_LANE_MESSAGE: usize = 4096;

/// What the descriptor of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionKind {
    /// A TCP socket.
    Tcp,
    /// A Unix stream socket, which libuv calls a pipe.
    Pipe,
}

/// Names what the primary sends on a lane, counted up from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LaneSeq(pub u64);

/// Primary to worker.
#[derive(Debug, PartialEq, Eq)]
pub enum ToLane<'a> {
    /// A connection, whose descriptor comes with it.
    Connection {
        /// Its name.
        seq: LaneSeq,
        /// What its descriptor is.
        kind: ConnectionKind,
        /// The server that it came to.
        key: &'a str,
    },
    /// Nothing but a number to be reported: whoever reports it has received everything before it.
    Probe(LaneSeq),
}

/// Worker to primary.
#[derive(Debug, PartialEq, Eq)]
pub enum FromWorker {
    /// The worker reads its lane from now on. With it comes a socket, the other end of which the worker has: its channel
    /// moves over to that (see [`CHANNEL_MOVE`](super::CHANNEL_MOVE)).
    Ready {
        /// What it speaks.
        version: u8,
    },
    /// The worker has loaded corral and cannot read its lane.
    Unusable {
        /// Why, in words.
        reason: String,
    },
    /// Everything up to a number has been received here or was recalled.
    Report {
        /// The number, included.
        through: LaneSeq,
        /// Which of them the worker did not take.
        refused: Vec<LaneSeq>,
    },
}

const CONNECTION: u8 = 1;
const PROBE: u8 = 2;
const READY: u8 = 1;
const UNUSABLE: u8 = 2;
const REPORT: u8 = 3;

const TCP: u8 = 0;
const PIPE: u8 = 1;

impl<'a> ToLane<'a> {
    /// Writes the message over what `buffer` holds.
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
        }
    }

    /// Errors: what is wrong, in words.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, String> {
        let (&tag, rest) = bytes.split_first().ok_or("an empty message")?;
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
    /// Writes the message over what `buffer` holds.
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
        }
    }

    /// Errors: what is wrong, in words.
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
