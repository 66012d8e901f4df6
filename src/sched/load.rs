//! How busy a worker is, as far as its primary can see.

/// Whether a worker can take a connection, and what it has to do meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// It may have the connection, and has little else to do.
    Idle,
    /// It may have the connection.
    Busy,
    /// It has as many as it may have, and works on them: others may wait for it.
    Full,
    /// It does not take this one, is blocked, or cannot be seen to work. Nobody waits for it.
    Away,
}

impl Availability {
    /// Whether the worker may be given the connection.
    pub fn may_take(self) -> bool {
        matches!(self, Availability::Idle | Availability::Busy)
    }
}

/// The load of a worker at the moment at which a connection is to be given to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Whether it can take this connection.
    pub availability: Availability,
    /// How many connections, of all its servers, were sent to it that it has neither taken nor refused.
    pub in_flight: usize,
}

impl Load {
    /// Of a worker that is not there.
    pub const AWAY: Load = Load { availability: Availability::Away, in_flight: 0 };
}
