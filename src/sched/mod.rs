//! Scheduling policies: plain structs that decide who gets the next connection.
//!
//! `policy` is the trait of a policy, and `load` what a policy sees of a worker. Each policy has a file of
//! its own: `round_robin`, with `fairness` for how long idle workers wait for busy ones.

mod fairness;
mod load;
mod policy;
mod round_robin;

pub use load::{Availability, Load};
pub use policy::{Incoming, Policy};
pub use round_robin::RoundRobin;
