//! How busy a worker is, as far as its primary can see.

use std::time::Duration;

use crate::ids::WorkerId;

/// Whether a worker can take a connection, and how busy it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// It may get the connection, and has little else to do.
    Idle,
    /// It may get the connection.
    Busy,
    /// It has its maximum of connections and is working on them. Other workers may wait for it.
    Full,
    /// It has refused this connection, is blocked, or shows no sign of work. Nobody waits for it.
    Away,
}

impl Availability {
    /// Whether the worker may be given the connection.
    pub fn may_take(self) -> bool {
        matches!(self, Availability::Idle | Availability::Busy)
    }
}

/// The load of a worker at the moment of a pick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Whether it can take this connection.
    pub availability: Availability,
    /// How many connections of all its servers were sent to it and neither taken nor refused.
    pub in_flight: usize,
}

/// What a worker has open of one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// Connections that are open, and those on their way to it.
    pub connections: u64,
    /// How much of the time its event loop has been busy lately, in thousandths.
    pub utilization: u32,
}

/// What a policy can learn of workers.
pub trait Loads {
    /// The load of a worker.
    fn load(&self, worker: WorkerId) -> Load;

    /// Whether the worker waits for something to do. That may cost a system call.
    fn is_idle(&self, worker: WorkerId) -> bool {
        self.load(worker).availability == Availability::Idle
    }

    /// Whether it makes sense to wait for the worker: it is to get connections, and has not refused this one.
    fn will_take(&self, worker: WorkerId) -> bool {
        self.load(worker).availability.may_take()
    }

    /// What the worker has of the policy's server, and how busy it is; None where nobody tells.
    fn open(&self, _worker: WorkerId) -> Option<Open> {
        None
    }

    /// How long a connection would wait for the worker, if it is given ahead; None if that is long, or not
    /// known.
    fn wait(&self, _worker: WorkerId) -> Option<Duration> {
        None
    }
}

impl<F: Fn(WorkerId) -> Load> Loads for F {
    fn load(&self, worker: WorkerId) -> Load {
        self(worker)
    }
}

impl Load {
    /// The load of a worker that has gone.
    pub const AWAY: Load = Load { availability: Availability::Away, in_flight: 0 };
}
