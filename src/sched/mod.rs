//! Scheduling policies: plain structs that decide who gets the next connection.

mod fairness;
mod round_robin;

pub use round_robin::{RoundRobin, Standing};
