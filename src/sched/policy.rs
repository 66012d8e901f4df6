//! The trait of a policy: its inputs, its decision, and its guarantees.

use std::fmt::Debug;
use std::time::Instant;

use super::load::Loads;
use super::turns::Weight;
use crate::address::Peer;
use crate::ids::WorkerId;

/// A connection that has been accepted and waits for a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// The client's address.
    pub peer: Peer,
    /// The worker that the program has chosen for it, where it was asked.
    pub chosen: Option<WorkerId>,
}

/// A hash of what connections have in common that belong to one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Session(pub u64);

/// Chooses the worker for each connection of one server.
///
/// Each server at which the primary accepts has a policy of its own. The reactor thread calls all of these
/// functions, once or more for each connection. They neither block nor make system calls, and they allocate
/// for workers, not for connections.
///
/// `pick` is called for each connection until it names a worker. The connection is then sent there, and one
/// of three calls follows: `taken`, `refused` or `recalled`. After the last two, `pick` is called for it
/// again. No call follows if the connection could not be sent, or if the worker's channel has closed before
/// it answered: the worker's load or its removal shows that. A call may come late, and name a worker that has
/// been removed since.
pub trait Policy: Debug + Send {
    /// A worker takes part from now on. It did not before.
    fn add(&mut self, worker: WorkerId);

    /// A worker no longer takes part. It did before.
    fn remove(&mut self, worker: WorkerId);

    /// A worker that takes part gets connections by this weight from now on. Each begins with 1. A worker of weight 0 has not
    /// got that here: it may not take any connection.
    #[expect(unused_variables, reason = "a policy need not care")]
    fn set_weight(&mut self, worker: WorkerId, weight: Weight) {}

    /// The worker that gets `connection`, or None while it waits.
    ///
    /// `now` is the time of the call. It never goes backwards. `loads` returns the load of a worker that
    /// takes part. Each call looks it up, and the load stays the same during `pick`. The policy may only name
    /// a worker whose [`Availability::may_take`] holds. It does not hold for a worker that has refused this
    /// very connection.
    ///
    /// With None the connection keeps its place, and those behind it wait too, unless a worker has refused
    /// it, or the policy [lets them overtake](Policy::lets_overtake). `pick` is called again when something has changed: a worker has reported, joined, left, or been
    /// found blocked.
    ///
    /// [`Availability::may_take`]: super::Availability::may_take
    fn pick(&mut self, now: Instant, connection: &Incoming, loads: &dyn Loads) -> Option<WorkerId>;

    /// Whether those behind a connection for which `pick` names nobody may go to workers before it.
    fn lets_overtake(&self) -> bool {
        false
    }

    /// Whether a connection for which `pick` names nobody may go to the first worker that has time for it, without being asked
    /// about again.
    fn takes_first_come(&self) -> bool {
        false
    }

    /// A worker has received a connection as the first that had time for it. `taken` or `refused` follows.
    #[expect(unused_variables, reason = "a policy need not care")]
    fn came_first(&mut self, worker: WorkerId) {}

    /// The worker has received the connection and serves it, or has died with it.
    #[expect(unused_variables, reason = "a policy need not care")]
    fn taken(&mut self, worker: WorkerId, connection: &Incoming) {}

    /// The worker has received the connection and has refused it.
    #[expect(unused_variables, reason = "a policy need not care")]
    fn refused(&mut self, worker: WorkerId, connection: &Incoming) {}

    /// The connection was recalled before the worker had received it.
    #[expect(unused_variables, reason = "a policy need not care")]
    fn recalled(&mut self, worker: WorkerId, connection: &Incoming) {}
}
