//! What can be set, and the constants behind the bounds and pauses.

use std::time::Duration;

use crate::os::AbstractNames;
use crate::proto::{DEFAULT_MAX_FRAME, MAX_LANE_MESSAGE};
use crate::sched::{Policy, RoundRobin};

/// Who accepts connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AcceptMode {
    /// The primary, which gives them to workers (SCHED_RR).
    #[default]
    Primary,
    /// The workers, from a shared socket (SCHED_NONE).
    Workers,
}

/// The settings of a primary. A change applies to what is created afterwards, but for the bound, which applies at once.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Fixed when the first worker is forked.
    pub accept_mode: AcceptMode,
    /// Makes the policy of a server: who is chosen where the primary accepts.
    pub policy: fn() -> Box<dyn Policy>,
    /// How many connections per server may be accepted and not yet taken by a worker. At the bound accepting stops
    /// and the kernel's backlog takes over.
    pub max_pending: usize,
    /// The largest frame that a worker may send, in bytes.
    pub max_frame: usize,
    /// How the libuv of this process's Node writes abstract names.
    pub abstract_names: AbstractNames,
    /// How long a worker may leave its lane unread before what waits there is given to others.
    pub recall_after: Duration,
    /// The same while another worker of the server keeps up with what it is sent.
    pub recall_soon_after: Duration,
    /// Whether anybody listens for 'connection'.
    pub emit_connections: bool,
    /// Whether anybody listens for 'internalMessage'.
    pub emit_internal: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            accept_mode: AcceptMode::Primary,
            policy: || Box::new(RoundRobin::default()),
            max_pending: 1024,
            max_frame: DEFAULT_MAX_FRAME,
            abstract_names: AbstractNames::default(),
            recall_after: RECALL_AFTER,
            recall_soon_after: RECALL_SOON_AFTER,
            emit_connections: false,
            emit_internal: false,
        }
    }
}

/// How many connections a worker may have been sent and not yet acknowledged.
///
/// One makes the worker wait for a round trip between connections; every further one may have to wait in a worker
/// that blocks. Measured, see docs/performance.md: with 2 a tenth fewer connections per second, with 16 the time that one
/// worker blocks for is in the p99 of all.
pub const IN_FLIGHT_PER_WORKER: usize = 4;

/// How many connections may be under way on a worker's lane: sent, and not reported as received.
///
/// Unlike those on a channel they can be taken back, so that a large number only delays those that wait behind a slow
/// worker, by [`RECALL_AFTER`] at most; a small one makes the primary wait for reports. See docs/performance.md.
pub const LANE_WINDOW: usize = 64;

/// The default of [`Config::recall_after`]: longer than a turn of an event loop takes when everybody has much to do. See
/// docs/performance.md.
pub const RECALL_AFTER: Duration = Duration::from_millis(20);

/// The default of [`Config::recall_soon_after`].
pub const RECALL_SOON_AFTER: Duration = Duration::from_millis(8);

/// How long after the last look lanes with something under way are looked at again, for reports and for workers that
/// have stopped receiving, when the reactor is awake anyway...
pub const LANE_LOOK: Duration = Duration::from_millis(2);

/// ... and when it is not.
pub const LANE_TICK: Duration = Duration::from_millis(4);

/// How many messages of a worker are taken off its lane before others get their turn; more than it has connections to report on.
pub const LANE_BUDGET: usize = 2 * LANE_WINDOW;

/// How many that a worker has left on its lane are taken when it has gone, though somebody else may go on writing: more than the
/// lane holds, where each takes some 700 bytes of what the socket's buffer has.
pub const LANE_LAST_WORDS: usize = 1024;

/// How long a connection rests that every worker has refused. Workers refuse at their maxConnections and do not tell
/// when they have room again.
pub const REFUSAL_PAUSE: Duration = Duration::from_millis(20);

/// One of so many of this process's descriptors may be for all servers together: the rest is for connections, channels and the
/// program. A worker may ask for as many servers as it likes.
pub const SERVERS_SHARE: usize = 2;

/// The same, for the servers of one worker.
pub const WORKERS_SHARE: usize = 4;

/// So many servers a worker may have however many descriptors there are: it may have them all looked through with each of its messages.
pub const MAX_SERVERS_OF_WORKER: usize = 4096;

/// The longest key of a server, in bytes. It has an address in it, or a path, and goes with each connection on a lane.
pub const MAX_SERVER_KEY: usize = MAX_LANE_MESSAGE / 2;

/// How much of a worker's `data` is kept for a server, in bytes of JSON. Node's are a TLS server's ticket keys.
pub const MAX_SERVER_DATA: usize = 64 << 10;

/// So many servers that a worker has opened by itself are counted.
pub const MAX_OWN_SERVERS: usize = 256;

/// How long two workers wait for the next socket to each other, at least. It costs the other one something, too, and who has just lost
/// one seldom loses the next.
pub const PEER_PAUSE: Duration = Duration::from_millis(10);
