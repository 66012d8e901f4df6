//! Settings, and the constants behind bounds and pauses.

use std::time::Duration;

use crate::os::AbstractNames;
use crate::proto::{DEFAULT_MAX_FRAME, MAX_LANE_MESSAGE};
use crate::sched::{OneQueue, Policy, RoundRobin};

/// Who accepts connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AcceptMode {
    /// The primary, which gives them to workers (SCHED_RR).
    #[default]
    Primary,
    /// The workers, from a shared socket (SCHED_NONE).
    Workers,
}

/// The settings of a primary. A change applies to what is created afterwards. Only the bound applies at once.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Fixed when the first worker is forked.
    pub accept_mode: AcceptMode,
    /// Makes the policy of a server, which chooses workers where the primary accepts.
    pub policy: fn() -> Box<dyn Policy>,
    /// Whether workers show what they do, in a page of shared memory. The policy [`OneQueue`] needs it.
    pub has_pulses: bool,
    /// How many connections per server may be accepted and not yet taken by a worker. At the bound accepting stops
    /// and the kernel's backlog takes over.
    pub max_pending: usize,
    /// The largest frame that a worker may send, in bytes.
    pub max_frame: usize,
    /// How the libuv of this process's Node writes abstract names.
    pub abstract_names: AbstractNames,
    /// After how long a worker that does not read its lane loses the connections there to others.
    pub recall_after: Duration,
    /// The same while another worker of the server keeps up with what it is sent.
    pub recall_soon_after: Duration,
    /// Whether the program listens for 'connection'.
    pub emit_connections: bool,
    /// Whether the program listens for 'internalMessage'.
    pub emit_internal: bool,
}

impl Config {
    /// Connections wait for the first worker that is idle.
    pub fn one_queue(self) -> Self {
        Config { policy: || Box::new(OneQueue::default()), has_pulses: true, ..self }
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            accept_mode: AcceptMode::Primary,
            policy: || Box::new(RoundRobin::default()),
            has_pulses: false,
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

/// How many connections a worker may have been sent on its channel and not yet acknowledged.
///
/// With one, the worker waits for a round trip between connections. Every further one may have to wait in a
/// worker that blocks. Measured, see docs/performance.md: with 2, there are a tenth fewer connections per
/// second; with 16, the time for which one worker blocks is in the p99 of all.
pub const IN_FLIGHT_PER_WORKER: usize = 4;

/// How many connections may be in flight on a worker's lane: sent, and not reported as received.
///
/// Unlike those on a channel, they can be recalled. So a large number only delays the connections behind a
/// slow worker, by [`RECALL_AFTER`] at most. A small number makes the primary wait for reports. See
/// docs/performance.md.
pub const LANE_WINDOW: usize = 64;

/// The default of [`Config::recall_after`]: longer than a turn of a busy event loop. See docs/performance.md.
pub const RECALL_AFTER: Duration = Duration::from_millis(20);

/// The default of [`Config::recall_soon_after`].
pub const RECALL_SOON_AFTER: Duration = Duration::from_millis(8);

/// The delay between two looks at lanes with connections in flight, for reports and for workers that have
/// stopped receiving, when the reactor is awake anyway...
pub const LANE_LOOK: Duration = Duration::from_millis(2);

/// ... and when it is not.
pub const LANE_TICK: Duration = Duration::from_millis(4);

/// What a worker may be given ahead: connections that keep it busy for so long. Enough that it does not run dry before the
/// primary, once woken, has given it more.
pub const AHEAD: Duration = Duration::from_millis(2);

/// As [`LANE_LOOK`], for workers that have a pulse...
pub const PULSE_LOOK: Duration = Duration::from_millis(1);

/// ... and as [`LANE_TICK`].
pub const PULSE_TICK: Duration = Duration::from_millis(2);

/// How long a connection may wait in a lane while another worker of its server is idle.
pub const RECALL_FOR_IDLE: Duration = Duration::from_millis(1);

/// How many messages are taken off one lane before the other lanes get their turn: more than there are
/// connections to report on.
pub const LANE_BUDGET: usize = 2 * LANE_WINDOW;

/// How many messages are taken off the lane of a worker that has gone, as another process may go on writing.
/// It is more than the lane holds: each takes some 700 bytes of the socket's buffer.
pub const LANE_LAST_WORDS: usize = 1024;

/// The pause of a connection that every worker has refused. Workers refuse at their maxConnections and do not
/// report when they have room again.
pub const REFUSAL_PAUSE: Duration = Duration::from_millis(20);

/// All servers together may have one in this many of the process's descriptors. The rest is for connections,
/// channels and the program, as a worker may ask for any number of servers.
pub const SERVERS_SHARE: usize = 2;

/// The servers of one worker may have one in this many.
pub const WORKERS_SHARE: usize = 4;

/// The most servers of one worker, however many descriptors there are: each of its messages may search them
/// all.
pub const MAX_SERVERS_OF_WORKER: usize = 4096;

/// The longest key of a server, in bytes. It contains an address or a path, and travels with each connection
/// on a lane.
pub const MAX_SERVER_KEY: usize = MAX_LANE_MESSAGE / 2;

/// How much of a worker's `data` is kept for a server, in bytes of JSON. Node's are a TLS server's ticket keys.
pub const MAX_SERVER_DATA: usize = 64 << 10;

/// The most servers of one worker that are counted although the worker has opened them itself.
pub const MAX_OWN_SERVERS: usize = 256;

/// The least delay between two sockets for the same two workers. A socket costs the other worker something,
/// too, and a worker that has just lost one seldom loses the next.
pub const PEER_PAUSE: Duration = Duration::from_millis(10);
