//! Scheduling policies: plain structs that decide who gets the next connection.
//!
//! | File | What it holds |
//! | --- | --- |
//! | `policy` | the trait of a policy: its inputs, its decision, its guarantees |
//! | `load` | what a policy sees of a worker |
//! | `one_queue` | the default: a connection waits for the first worker that is idle |
//! | `round_robin` | the policy that gives connections to all workers in rotation |
//! | `fairness` | how long idle workers wait for busy ones |

mod fairness;
mod load;
mod one_queue;
mod policy;
mod round_robin;

pub use load::{Availability, Load, Loads};
pub use one_queue::OneQueue;
pub use policy::{Incoming, Policy};
pub use round_robin::RoundRobin;
