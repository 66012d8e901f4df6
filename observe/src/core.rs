//! The core as this addon sees it.

use std::os::fd::OwnedFd;

#[path = "../../src/observation.rs"]
mod observation;

#[path = "../../src/link.rs"]
pub mod link;

pub use observation::{
    Description, Descriptions, Durations, Load, Loop, RUNTIME, Server, Snapshot, Source, TAG, Worker, Write,
};

/// What answers with what the core knows. The binding has the one that asks the core.
pub trait Core: Send {
    /// The [`Descriptions`] as JSON.
    fn describe(&self) -> Vec<u8>;

    /// A [`Snapshot`] as JSON.
    fn snapshot(&self) -> Vec<u8>;

    /// The socket to a worker on which packets of [`link`] travel, if there is a new one. It takes the place of the one before.
    fn take_link(&self, worker: u32) -> Option<OwnedFd>;
}

/// One of the numbers that a runtime shows of itself, by its name in [`RUNTIME`]; 0 if it shows no such number.
pub fn runtime_number(numbers: &[u64], name: &str) -> u64 {
    let place = RUNTIME.iter().position(|known| *known == name);
    place.and_then(|place| numbers.get(place)).copied().unwrap_or(0)
}
