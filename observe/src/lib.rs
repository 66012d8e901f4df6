//! corral-observe: what a cluster does, over HTTP, while every thread of its JavaScript may be blocked. An addon of its own,
//! which only `cluster.observe` loads.
//!
//! Imports point one way:
//!
//! ```text
//! binding -> server -> routes -> { metrics, health, stats, overview } -> view -> { process, activity, watch, blocks, bus, program } -> { core, exposition, events, admission, guard, negotiation, profiles }
//! ```
//!
//! - [`core`]: the core as this addon sees it: a table of functions, and what they answer.
//! - [`guard`], [`admission`]: who may ask, and how many at once. No I/O.
//! - [`negotiation`], [`exposition`]: which format a scraper wants, and both of them.
//! - [`process`]: what the kernel knows of a process.
//! - [`activity`]: what the main thread of a process does, in words.
//! - [`watch`]: what event loops do between two looks. No I/O.
//! - [`blocks`]: workers whose event loops do not turn. No I/O.
//! - [`bus`]: what is in the queues of buses. No I/O.
//! - [`profiles`]: who waits for which profile of a worker.
//! - [`program`]: the program's own metrics, of all workers together. No I/O.
//! - [`view`]: all that is known at one moment.
//! - [`metrics`], [`health`], [`stats`], [`overview`]: that as metrics, as a verdict, as `cluster.stats()` has it, and as the page draws it.
//! - [`events`]: events as they are sent to those who follow them.
//! - [`routes`]: requests and their answers.
//! - [`server`]: the thread, its connections and its clock.
//! - `binding`: the only module that knows Node-API (cargo feature `binding`), and the only one that calls the core.

pub mod activity;
pub mod admission;
pub mod blocks;
pub mod bus;
pub mod core;
pub mod events;
pub mod exposition;
pub mod guard;
pub mod health;
pub mod metrics;
pub mod negotiation;
pub mod overview;
pub mod process;
pub mod profiles;
pub mod program;
pub mod routes;
pub mod server;
pub mod stats;
pub mod view;
pub mod watch;

// In a test nothing registers what it exports.
#[cfg(all(feature = "binding", not(test)))]
mod binding;
