//! Scheduling policies: plain structs that decide who gets the next connection.
//!
//! `policy` is what every policy is to a server, `load` what it sees of the workers. Each policy is a file of its own:
//! `round_robin`, for which `fairness` says how long the idle wait for the busy.

mod fairness;
mod load;
mod policy;
mod round_robin;

pub use load::{Availability, Load};
pub use policy::{Incoming, Policy};
pub use round_robin::RoundRobin;
