//! A worker's side of the cluster: its end of the lane.

mod lane;

pub use lane::{Connection, Received, WorkerLane};
