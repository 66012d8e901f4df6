//! corral-bus: topics and work queues. An addon of its own, which only `corral/bus` loads.
//!
//! Imports point one way:
//!
//! ```text
//! binding -> { broker, place } -> { engine, topics } -> { store, pattern } -> protocol -> { error, json, slots -> hash }
//! ```
//!
//! - [`protocol`]: what a bus and its engine say to each other, as bytes.
//! - [`hash`]: hashing of numbers.
//! - [`json`]: which texts are in JSON as they are.
//! - [`slots`]: a map from numbers in a row.
//! - [`store`]: what is kept, in memory or in a file.
//! - [`engine`]: queues and lists, as a state machine over a store.
//! - [`topics`], [`pattern`]: who has subscribed to what.
//! - [`broker`]: the thread that serves them.
//! - [`place`]: where the processes of one file meet.
//! - `binding`: the only module that knows Node-API (cargo feature `binding`).

pub mod broker;
pub mod engine;
pub mod error;
pub mod hash;
pub mod json;
pub mod pattern;
pub mod place;
pub mod protocol;
pub mod slots;
pub mod store;
pub mod topics;

// In a test nothing registers what it exports.
#[cfg(all(feature = "binding", not(test)))]
mod binding;
