//! Scheduling policies: plain structs that decide who gets the next connection.

mod round_robin;

pub use round_robin::RoundRobin;
