//! corral: the primary side of a Node.js cluster on Rust threads. The crate is no library: its only users are the binding,
//! the tests and `fuzz/`.
//!
//! Imports point one way:
//!
//! ```text
//! binding -> { { primary, ipc } -> channel, worker } -> { pulse, kept, seen } -> { reactor, sched, proto, os } -> { error, ids, address, counters, histogram, observation, link, buffer_pool }
//! ```
//!
//! - [`proto`]: frames and messages as bytes. No file descriptors, no threads.
//! - [`sched`]: who gets the next connection. Plain structs.
//! - [`os`]: every system call, and every `unsafe` block outside the binding.
//! - [`reactor`]: the I/O thread: poll, commands from other threads, timers.
//! - [`pulse`]: a page of memory in which a worker shows its primary what it does.
//! - [`kept`]: memory in which a worker and its primary decide who reads the next request of a kept connection.
//! - [`seen`]: what clients say first, as a look at it shows.
//! - [`channel`]: one Unix stream socket that carries frames and descriptors.
//! - [`primary`]: servers, workers and the connections between them.
//! - [`ipc`]: channels between processes that meet at a named socket.
//! - [`worker`]: a worker's end of its lane.
//! - `counters`: what is counted, described where it is counted.
//! - [`histogram`]: how often something took how long.
//! - [`observation`]: what corral-observe, an addon of its own, sees of the core.
//! - [`link`]: what a worker and corral-observe say to each other.
//! - `binding`: the only module that knows Node-API (cargo feature `binding`).

pub mod address;
mod buffer_pool;
pub mod channel;
mod counters;
pub mod error;
pub mod histogram;
pub mod ids;
pub mod ipc;
pub mod kept;
pub mod link;
pub mod observation;
pub mod os;
pub mod primary;
pub mod proto;
pub mod pulse;
pub mod reactor;
pub mod sched;
pub mod seen;
pub mod worker;

#[cfg(feature = "binding")]
mod binding;
