//! A worker's side of the cluster: its end of the lane.

mod clients;
mod kept;
mod lane;
mod sessions;

pub use kept::Ended;
pub use lane::{Connection, Decided, Received, WorkerLane};
