//! corral-redis: the engine of `corral/bus` that is in Redis or Valkey. An addon of its own, which only a bus with such a URL
//! loads.
//!
//! Imports point one way:
//!
//! ```text
//! binding -> runtime -> session -> { batch, waiting, tending, blocking, topics, envelopes, news, wire } -> { script, link } -> { settings, fault }
//! ```
//!
//! - `settings`: where the server is, and what keys begin with.
//! - `script`: what the server is asked for, and what it answers.
//! - `link`: connections to the server.
//! - `batch`: requests that are asked for together.
//! - `envelopes`: those that the script leaves to the session.
//! - `news`: what the script publishes to a session.
//! - `wire`: the socket between a bus and its session.
//! - `fault`: what goes wrong.
//! - `waiting`: calls that wait for messages.
//! - `tending`: when a session sees to what is due.
//! - `blocking`: waits for what others push into lists.
//! - `topics`: subscriptions.
//! - `session`: one bus: its requests go to the server in batches, and what comes goes back.
//! - `runtime`: the thread that all buses of a process share.
//! - `binding`: the only module that knows Node-API (cargo feature `binding`).

pub mod batch;
pub mod blocking;
pub mod envelopes;
pub mod fault;
pub mod link;
pub mod news;
pub mod runtime;
pub mod script;
pub mod session;
pub mod settings;
pub mod tending;
pub mod topics;
pub mod waiting;
pub mod wire;

// In a test nothing registers what it exports.
#[cfg(all(feature = "binding", not(test)))]
mod binding;
