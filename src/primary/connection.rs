//! A connection between accept and the answer of a worker.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::address::Peer;
use crate::ids::{ServerId, WorkerId};
use crate::os;
use crate::proto::ConnectionKind;
use crate::sched::{Incoming, Session};

/// A connection that the primary has accepted and no worker has taken.
#[derive(Debug)]
pub struct Pending {
    /// Shared with the frames that carry it. The last owner closes it.
    pub fd: Arc<OwnedFd>,
    /// Who connected.
    pub peer: Peer,
    /// The workers that did not want it.
    pub refused_by: Vec<WorkerId>,
    /// Where the primary has it from.
    pub origin: Origin,
    /// What ties it to others, as far as its server's policy has looked.
    pub session: Option<Session>,
    /// The worker that the program has chosen for it, where it was asked.
    pub chosen: Option<WorkerId>,
    /// When it was accepted, in microseconds of the monotonic clock. None if a worker had kept it.
    pub accepted_at: Option<u64>,
    /// It has been sent to a worker, or to the first that has time, at least once.
    was_handed_over: bool,
}

/// Where the primary has a connection from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From a client that has just connected.
    Accepted,
    /// From a worker that had kept it between requests.
    Kept,
}

impl Pending {
    /// One that no worker has refused.
    pub fn new(fd: Arc<OwnedFd>, peer: Peer, origin: Origin) -> Self {
        let accepted_at = (origin == Origin::Accepted).then(os::monotonic_micros);
        Pending {
            fd,
            peer,
            refused_by: Vec::new(),
            origin,
            session: None,
            chosen: None,
            accepted_at,
            was_handed_over: false,
        }
    }

    /// For how many microseconds it has been accepted; None if a worker had kept it.
    pub fn age(&self) -> Option<u64> {
        self.accepted_at.map(|at| os::monotonic_micros().saturating_sub(at))
    }

    /// It has been sent, to a worker or to the first that has time. Returns its [age](Self::age) if that is so for the first time.
    pub fn hand_over(&mut self) -> Option<u64> {
        if std::mem::replace(&mut self.was_handed_over, true) { None } else { self.age() }
    }

    /// The type of its socket.
    pub fn kind(&self) -> ConnectionKind {
        match self.peer {
            Peer::Ip(..) => ConnectionKind::Tcp,
            Peer::Unix => ConnectionKind::Pipe,
        }
    }

    /// The connection as a policy sees it.
    pub fn incoming(&self) -> Incoming {
        Incoming { peer: self.peer, chosen: self.chosen }
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
    /// The worker did not know the server yet, and does now.
    TooEarly,
}
