//! Settings, and the constants behind bounds and pauses.

use std::time::Duration;

use super::policies::Policies;
use crate::os::{AbstractNames, descriptor_limit};
use crate::proto::{DEFAULT_MAX_FRAME, MAX_LANE_MESSAGE};
use crate::sched::PolicyChoice;

/// How long a worker may leave connections in its queue.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// While it does nothing, and another worker of the server is idle.
    pub unread: Duration,
    /// While it does something else, and another worker is idle; or while it does nothing, and nobody is.
    pub crowded: Duration,
}

/// The settings of a primary. A change applies to what is created afterwards. Only the bound and the policies apply at once.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who accepts the connections of a server, and which worker gets them. Servers that are open follow a change as long as the
    /// primary accepts before and after it.
    pub policies: Policies,
    /// Whether the connections that workers keep go to other workers when these are idle.
    pub balances_kept: bool,
    /// How many connections that workers keep may be held here, each with a descriptor.
    pub max_kept: usize,
    /// Of how many connections the first bytes may be awaited at the same time.
    pub max_first_bytes: usize,
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
    /// The same while another worker of the server is idle, as its pulse and the kernel show.
    pub recall_for_idle_after: Duration,
    /// How long connections may wait in the queue of a worker that accepts from a socket of its own.
    pub patience: Patience,
    /// The pause of a connection that every worker has refused.
    pub refusal_pause: Duration,
    /// Whether the program listens for 'connection'.
    pub emit_connections: bool,
    /// Whether the program wants to know which workers are blocked, and what is taken back from them.
    pub emit_lanes: bool,
    /// Whether the program listens for 'internalMessage'.
    pub emit_internal: bool,
    /// Whether somebody observes the cluster: workers show what metrics are made of.
    pub is_observed: bool,
}

impl Config {
    /// A request on a kept connection goes to a worker that is idle, whoever served the last one.
    pub fn balance_kept(self) -> Self {
        Config { balances_kept: true, ..self }
    }

    /// Connections wait for the first worker that is idle: what `setupPrimary` sets unless it is told otherwise.
    pub fn one_queue(self) -> Self {
        Config { policies: PolicyChoice::OneQueue.into(), ..self }
    }

    /// How many connections of a server may wait for a certain worker each, while others have time. The others that may be
    /// pending are for clients of workers that have time.
    pub fn max_waiting_for_their_own(&self) -> usize {
        (self.max_pending / 2).max(1)
    }

    /// Whether workers show what they do, in a page of shared memory, and whether the kernel is asked about them.
    pub fn has_pulses(&self) -> bool {
        self.balances_kept || self.is_observed || self.policies.need_pulses()
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            policies: PolicyChoice::RoundRobin.into(),
            balances_kept: false,
            max_kept: descriptor_limit() / KEPT_SHARE,
            max_first_bytes: (descriptor_limit() / FIRST_BYTES_SHARE).min(MAX_FIRST_BYTES),
            max_pending: 1024,
            max_frame: DEFAULT_MAX_FRAME,
            abstract_names: AbstractNames::default(),
            recall_after: RECALL_AFTER,
            recall_soon_after: RECALL_SOON_AFTER,
            recall_for_idle_after: RECALL_FOR_IDLE,
            patience: Patience { unread: UNREAD_AFTER, crowded: CROWDED_AFTER },
            refusal_pause: REFUSAL_PAUSE,
            emit_connections: false,
            emit_lanes: false,
            emit_internal: false,
            is_observed: false,
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

/// The delay between two looks at kept connections, while any worker is busy.
pub const KEPT_TICK: Duration = Duration::from_millis(1);

/// A worker that has been busy with one request for so long is not expected to read the next one soon. A move costs as
/// much as a short request.
pub const BLOCKED_AFTER: Duration = Duration::from_micros(1000);

/// Connections whose first bytes are awaited may have one in this many of the process's descriptors...
pub const FIRST_BYTES_SHARE: usize = 4;

/// ... and be so many.
pub const MAX_FIRST_BYTES: usize = 4096;

/// Kept connections may have one in this many of the process's descriptors.
pub const KEPT_SHARE: usize = 2;

/// The delay between two looks at the queues of workers' own listening sockets (SCHED_REUSEPORT), while connections come...
pub const QUEUE_TICK: Duration = Duration::from_millis(4);

/// ... and while none come, but a worker is away that may come back.
pub const ABSENT_TICK: Duration = Duration::from_millis(20);

/// How many looks have to find nothing before nobody looks, and the next connection wakes the reactor.
pub const QUIET_LOOKS: u32 = 8;

/// How long connections may wait in the queue of a worker that does nothing, while another worker of the server is idle: from one
/// look to the next.
pub const UNREAD_AFTER: Duration = Duration::from_millis(3);

/// How long a queue may never be found empty while another worker of the server is idle, or the worker does nothing: longer than one
/// that is kept from its processor usually waits for it.
pub const CROWDED_AFTER: Duration = Duration::from_millis(7);

/// How many connections wait on the shared lane, or are being taken from it, at most: as many as the workers take until the
/// primary looks again.
pub const SHARED_WINDOW: usize = 32;

/// How long a worker may be about to claim a connection that it has received from the shared lane, while another's claim is
/// waited for that may never come.
pub const HELD_PATIENCE: Duration = Duration::from_secs(1);

/// How many messages are taken off one lane before the other lanes get their turn: more than there are
/// connections to report on.
pub const LANE_BUDGET: usize = 2 * LANE_WINDOW;

/// How many messages are taken off the lane of a worker that has gone, as another process may go on writing.
/// It is more than the lane holds: each takes some 700 bytes of the socket's buffer.
pub const LANE_LAST_WORDS: usize = 1024;

/// The default of [`Config::refusal_pause`]. Workers refuse at their maxConnections and do not
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
