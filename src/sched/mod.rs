//! Policies as plain structs: who gets the next connection, and what is worth a word.

mod alarm;
mod round_robin;

pub use alarm::Alarm;
pub use round_robin::RoundRobin;
