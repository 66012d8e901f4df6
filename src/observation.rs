//! What corral-observe, an addon of its own, sees of the core. This file is part of both: types without a state.
//!
//! The core gives the addon a [`Source`] once. From then on the addon's thread reads what the core counts, without a call
//! into JavaScript and without a lock that a thread holds for long. What is read travels as JSON, so that no layout of
//! Rust's has to be the same in two binaries.

use std::ffi::c_void;

use serde::{Deserialize, Serialize};

/// Takes a part of an answer. The bytes are the caller's again when it returns.
pub type Write = unsafe extern "C" fn(sink: *mut c_void, bytes: *const u8, length: usize);

/// Answers by calling `write` with `sink`, any number of times, before it returns.
pub type Answer = unsafe extern "C" fn(core: *const c_void, sink: *mut c_void, write: Write);

/// What marks a value of JavaScript's that holds a [`Source`], so that no other is taken for one.
pub const TAG: (u64, u64) = (0x6f62_7365_7276_6174, 0x696f_6e00_636f_7261);

/// The core, for another addon of this process. All functions may be called on any thread.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Source {
    /// What the functions are called with. It stays there until each `retain`, and the value of JavaScript's, has had
    /// its `release`.
    pub core: *const c_void,
    /// Somebody else has it as well.
    pub retain: unsafe extern "C" fn(core: *const c_void),
    /// One has it no more.
    pub release: unsafe extern "C" fn(core: *const c_void),
    /// Answers with the [`Descriptions`], which never change.
    pub describe: Answer,
    /// Answers with a [`Snapshot`].
    pub snapshot: Answer,
    /// Gives away the socket to a worker on which packets of `link` travel: its descriptor, which is non-blocking and the
    /// caller's; -1 if there is no new one.
    pub take_link: unsafe extern "C" fn(core: *const c_void, worker: u32) -> i32,
}

/// What the numbers in a [`Snapshot`] are, in their order.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Descriptions {
    /// Of each server.
    pub server: Vec<Description>,
    /// Of each worker.
    pub worker: Vec<Description>,
    /// Of each worker's channel.
    pub channel: Vec<Description>,
    /// The upper bounds of the buckets of [`Durations`], in microseconds.
    pub bounds: Vec<u64>,
}

/// What a number is.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Description {
    /// Its name, in words with underscores between them.
    pub name: String,
    /// It never falls.
    pub is_counter: bool,
    /// What it is of; None for times that something happened.
    pub unit: Option<String>,
    /// What it says, in one sentence.
    pub help: String,
}

/// How often something took how long.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Durations {
    /// How many durations each bucket has; the last is for those above all bounds.
    pub buckets: Vec<u64>,
    /// The sum of all durations, in microseconds.
    pub sum: u64,
}

/// What the primary knows at one moment. All times are in microseconds of the monotonic clock.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Snapshot {
    /// When this was.
    pub now: u64,
    /// The reactor has ended: nothing is served any more.
    pub has_ended: bool,
    /// The servers that are open.
    pub servers: Vec<Server>,
    /// The workers whose channels are open.
    pub workers: Vec<Worker>,
    /// The primary's own event loop, where it can be seen.
    pub primary: Option<Loop>,
    /// How many workers have been spawned.
    pub spawned: u64,
    /// How long workers took until they said that they run.
    pub online_after: Durations,
    /// How long workers took until they had a server.
    pub listening_after: Durations,
}

/// One server.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Server {
    /// Its key in the protocol.
    pub key: String,
    /// The bound IP address, or the path.
    pub address: String,
    /// None for a path.
    pub port: Option<u16>,
    /// The name of its policy.
    pub policy: String,
    /// Why that is not the one that was asked for.
    pub policy_reason: Option<String>,
    /// What its workers have of it, in the order in which they came.
    pub load: Vec<Load>,
    /// Its counters.
    pub counters: Vec<u64>,
    /// Accepting pauses.
    pub paused: bool,
    /// How long after they were accepted connections were sent to a worker, or to the first that has time.
    pub handed_over_after: Durations,
}

/// What a worker has of a server.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Load {
    /// The worker's id.
    pub worker: u32,
    /// How many connections it has open, where it counts them.
    pub open: Option<u64>,
    /// How often it was chosen, or has come first.
    pub decisions: u64,
}

/// One worker.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Worker {
    /// Its id.
    pub id: u32,
    /// The number of its process.
    pub pid: Option<u32>,
    /// How many connections it gets in comparison with others.
    pub weight: u32,
    /// Whether connections travel on its lane.
    pub has_lane: bool,
    /// Why they do not.
    pub lane_reason: Option<String>,
    /// By what the primary knows that it is idle: `pulse`, `kernel` or `in-flight`.
    pub idle_by: String,
    /// Why not by its pulse.
    pub idle_reason: Option<String>,
    /// Why its kept connections stay with it.
    pub keep_alive_reason: Option<String>,
    /// Its channel has moved to a socket between two corrals.
    pub moved: bool,
    /// It receives nothing at present.
    pub stalled: bool,
    /// How often its event loop has looked for events, where it shows that.
    pub turns: Option<u64>,
    /// When it was spawned.
    pub spawned_at: u64,
    /// When it said that it runs.
    pub online_at: Option<u64>,
    /// When it said first that it has a server.
    pub listening_at: Option<u64>,
    /// Its counters.
    pub counters: Vec<u64>,
    /// Those of its channel.
    pub traffic: Vec<u64>,
    /// How long after they were accepted it took connections.
    pub taken_after: Durations,
    /// Its event loop, where it shows it.
    pub event_loop: Option<Loop>,
}

impl Worker {
    /// Its `state` in JavaScript.
    pub fn state(&self) -> &'static str {
        match (self.online_at, self.listening_at) {
            (_, Some(_)) => "listening",
            (Some(_), None) => "online",
            (None, None) => "none",
        }
    }
}

/// An event loop.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Loop {
    /// How often it has looked for events.
    pub turns: u64,
    /// When it did so last.
    pub polled_at: u64,
    /// Whether it waits for events now; None where the kernel does not tell.
    pub is_waiting: Option<bool>,
    /// For how long it was busy until then altogether, in nanoseconds.
    pub busy: u64,
    /// How long it was busy in one go, each time since it is observed.
    pub busy_spells: Durations,
    /// What the runtime knows of itself: [`RUNTIME`].
    pub runtime: Vec<u64>,
}

/// The names of what a runtime knows of itself, in the order in which it is shown. Sizes are in bytes, times in nanoseconds;
/// `shownAt` is in milliseconds since 1970, and 0 before the first time.
pub const RUNTIME: [&str; 14] = [
    "shownAt",
    "heapUsed",
    "heapTotal",
    "heapLimit",
    "external",
    "arrayBuffers",
    "minorCollections",
    "minorTime",
    "majorCollections",
    "majorTime",
    "incrementalCollections",
    "incrementalTime",
    "weakCollections",
    "weakTime",
];
