//! What the primary tells JavaScript.

use std::sync::Arc;

use crate::address::Peer;
use crate::channel::{ChannelEvent, EVENT_COST};
use crate::error::Error;
use crate::ids::WorkerId;

/// Something happened that JavaScript may want to know, in the order in which it happened.
#[derive(Debug)]
pub enum Event {
    /// Something has happened on a worker's channel.
    Channel(WorkerId, ChannelEvent),
    /// An internal message that the primary has handled already, for listeners of 'internalMessage'.
    Internal {
        /// The sender.
        worker: WorkerId,
        /// The frame, without newline or length.
        bytes: Vec<u8>,
    },
    /// The worker has started.
    Online(WorkerId),
    /// A server in the worker listens.
    Listening {
        /// The worker.
        worker: WorkerId,
        /// JSON of addressType, address, port and fd, as far as they were sent.
        info: String,
    },
    /// The worker leaves of its own will.
    ExitedAfterDisconnect(WorkerId),
    /// A worker has taken a connection.
    Connection(Box<Connection>),
    /// The number of servers that the primary holds open has changed: while there is one it keeps the process alive.
    Servers(usize),
    /// Accepting pauses because this process, or the machine, has no file descriptors or memory left.
    AcceptPaused(Error),
    /// The reactor cannot go on.
    Fault(Error),
}

impl Event {
    /// The worker that has brought it about, and what it counts for while it is undelivered, see [`crate::channel::Undelivered`].
    pub fn cost(&self) -> Option<(WorkerId, usize)> {
        match self {
            Event::Channel(id, event) => Some((*id, event.cost())),
            Event::Internal { worker, bytes } => Some((*worker, bytes.len() + EVENT_COST)),
            Event::Listening { worker, info } => Some((*worker, info.len() + EVENT_COST)),
            Event::Online(worker) | Event::ExitedAfterDisconnect(worker) => Some((*worker, EVENT_COST)),
            Event::Connection(_) | Event::Servers(_) | Event::AcceptPaused(_) | Event::Fault(_) => None,
        }
    }
}

/// The 'connection' event.
#[derive(Debug)]
pub struct Connection {
    /// Who took it.
    pub worker: WorkerId,
    /// The server's key.
    pub key: Arc<str>,
    /// Who connected.
    pub peer: Peer,
    /// What the server is bound to: an IP address or a path.
    pub address: Arc<str>,
    /// The server's port; None for a path.
    pub port: Option<u16>,
}
