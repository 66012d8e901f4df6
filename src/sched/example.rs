//! Fewest workers: as few as possible have connections, so that the others can sleep.

use std::time::Instant;

use super::load::Loads;
use super::policy::{Incoming, Policy};
use crate::ids::WorkerId;

/// How many connections may be on their way to a worker before the next one gets some.
const FEW: usize = 4;

/// Workers in the order in which they came.
#[derive(Debug, Default)]
pub struct FewestWorkers {
    members: Vec<WorkerId>,
}

impl Policy for FewestWorkers {
    fn add(&mut self, worker: WorkerId) {
        self.members.push(worker);
    }

    fn remove(&mut self, worker: WorkerId) {
        self.members.retain(|member| *member != worker);
    }

    fn pick(&mut self, _now: Instant, _connection: &Incoming, loads: &dyn Loads) -> Option<WorkerId> {
        let has_room = |worker: &WorkerId| {
            let load = loads.load(*worker);
            load.availability.may_take() && load.in_flight < FEW
        };
        self.members.iter().copied().find(has_room)
    }
}
