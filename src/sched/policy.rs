//! The seat of a policy: what it is told, what it is asked, and what it may rely on.

use std::fmt::Debug;
use std::time::Instant;

use super::load::Load;
use crate::address::Peer;
use crate::ids::WorkerId;

/// A connection that has been accepted and is to be given to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// Who connected.
    pub peer: Peer,
}

/// Chooses who gets the next connection of one server.
///
/// Each server at which the primary accepts has a policy of its own. It lives on the reactor thread, where all of these
/// functions are called, once or more for each connection: they neither block nor make system calls, and what they allocate
/// is for workers and not for connections.
///
/// For each connection `pick` is called until it names a worker. The connection is then sent there, and one of three things is
/// told of it: `taken`, `refused` or `recalled`. After the last two `pick` is called for it again. Nothing is told when the
/// connection could not be sent, or the worker's channel has closed before it answered: the worker's load says so, or its removal.
/// What is told may come late, and name a worker that has been removed since.
pub trait Policy: Debug + Send {
    /// A worker takes part from now on. It is not among those that do.
    fn add(&mut self, worker: WorkerId);

    /// A worker takes part no longer. It is among those that do.
    fn remove(&mut self, worker: WorkerId);

    /// The worker that gets `connection`, or None while it waits.
    ///
    /// `now` is the time of the call, and never before that of an earlier one. `loads` tells the load of a worker that takes part;
    /// each call looks it up, and it is the same for the whole of `pick`. A worker may be named only if its
    /// [`Availability::may_take`] holds, which it does not for one that has refused this very connection.
    ///
    /// With None the connection keeps its place, and those behind it wait too, unless somebody has refused it. `pick` is called
    /// again when something has changed: a worker has reported, come, left, or been found blocked.
    ///
    /// [`Availability::may_take`]: super::Availability::may_take
    fn pick(
        &mut self,
        now: Instant,
        connection: &Incoming,
        loads: &dyn Fn(WorkerId) -> Load,
    ) -> Option<WorkerId>;

    /// The worker has received the connection and serves it, or has died with it.
    #[expect(unused_variables, reason = "a policy need not care")]
    fn taken(&mut self, worker: WorkerId, connection: &Incoming) {}

    /// The worker has received the connection and does not want it.
    #[expect(unused_variables, reason = "a policy need not care")]
    fn refused(&mut self, worker: WorkerId, connection: &Incoming) {}

    /// The worker had not received the connection when it was taken back from it.
    #[expect(unused_variables, reason = "a policy need not care")]
    fn recalled(&mut self, worker: WorkerId, connection: &Incoming) {}
}
