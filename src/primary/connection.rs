//! A connection between accept and the answer of a worker.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::address::Peer;
use crate::ids::{ServerId, WorkerId};
use crate::sched::Incoming;

/// A connection that the primary has accepted and no worker has taken.
#[derive(Debug)]
pub struct Pending {
    /// Shared with the frames that carry it. The last owner closes it.
    pub fd: Arc<OwnedFd>,
    /// Who connected.
    pub peer: Peer,
    /// The workers that did not want it.
    pub refused_by: Vec<WorkerId>,
}

impl Pending {
    /// The connection as a policy sees it.
    pub fn incoming(&self) -> Incoming {
        Incoming { peer: self.peer }
    }
}

/// A connection on its way to a worker, on its channel or its lane. It is kept until the worker has taken it.
#[derive(Debug)]
pub struct InFlight {
    pub connection: Pending,
    /// The server that it came from.
    pub server: ServerId,
}

/// What a worker has decided about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The worker serves it.
    Taken,
    /// The worker does not want it. Another one may.
    Refused,
}
