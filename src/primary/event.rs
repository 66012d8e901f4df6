//! Events from the primary to JavaScript.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::taken::Taken;
use crate::address::Peer;
use crate::channel::{ChannelEvent, EVENT_COST};
use crate::error::Error;
use crate::ids::WorkerId;

/// Events are delivered in the order in which they happened.
#[derive(Debug)]
pub enum Event {
    /// An event on a worker's channel.
    Channel(WorkerId, ChannelEvent),
    /// An internal message that the primary has handled, for listeners of 'internalMessage'.
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
    /// The worker leaves of its own accord.
    ExitedAfterDisconnect(WorkerId),
    /// A worker has taken a connection, or several.
    Connection(Box<Connection>),
    /// A worker does not receive what waits in its lane: others get its connections until it goes on.
    Blocked(WorkerId),
    /// Connections that a worker had not received were taken back from its lane.
    Recalled {
        /// The worker.
        worker: WorkerId,
        /// The key of their server.
        key: Arc<str>,
        /// How many.
        count: u32,
    },
    /// Whose is this connection? The policy is the program's.
    Asked(Box<Question>),
    /// The number of servers that the primary holds open has changed. While there is one, it keeps the
    /// process alive. At most one such event waits, however often workers open and close servers meanwhile.
    Servers(ServersChanged),
    /// Accepting pauses because this process, or the machine, has no file descriptors or memory left.
    AcceptPaused(Error),
    /// The reactor cannot go on.
    Fault(Error),
}

impl Event {
    /// The worker that has caused it, and its cost while it is undelivered, see
    /// [`crate::channel::Undelivered`].
    pub fn cost(&self) -> Option<(WorkerId, usize)> {
        match self {
            Event::Channel(id, event) => Some((*id, event.cost())),
            Event::Internal { worker, bytes } => Some((*worker, bytes.len() + EVENT_COST)),
            Event::Listening { worker, info } => Some((*worker, info.len() + EVENT_COST)),
            Event::Online(worker)
            | Event::ExitedAfterDisconnect(worker)
            | Event::Blocked(worker)
            | Event::Recalled { worker, .. } => Some((*worker, EVENT_COST)),
            Event::Connection(_)
            | Event::Asked(_)
            | Event::Servers(_)
            | Event::AcceptPaused(_)
            | Event::Fault(_) => None,
        }
    }
}

/// How many servers there are.
#[derive(Debug, Default)]
pub struct ServerCount(Arc<Counted>);

#[derive(Debug, Default)]
struct Counted {
    count: AtomicUsize,
    /// An event waits whose receiver will read the count.
    is_told: AtomicBool,
}

impl ServerCount {
    /// Sets the number. Returns the event to emit, unless one waits already.
    pub fn set(&self, count: usize) -> Option<ServersChanged> {
        self.0.count.store(count, Ordering::SeqCst);
        let is_told = self.0.is_told.swap(true, Ordering::SeqCst);
        (!is_told).then(|| ServersChanged(self.0.clone()))
    }
}

/// The number of servers has changed.
#[derive(Debug)]
pub struct ServersChanged(Arc<Counted>);

impl ServersChanged {
    /// How many there are now. A later change emits another event.
    pub fn take(self) -> usize {
        let counted = self.0.clone();
        // In this order: a change after the read emits another event.
        drop(self);
        counted.count.load(Ordering::SeqCst)
    }
}

impl Drop for ServersChanged {
    fn drop(&mut self) {
        self.0.is_told.store(false, Ordering::SeqCst);
    }
}

/// The 'connection' event, of one connection or several.
#[derive(Debug)]
pub struct Connection {
    /// The worker that took it.
    pub worker: WorkerId,
    /// The server's key.
    pub key: Arc<str>,
    /// The client, or how many.
    pub taken: Taken,
    /// The address of the server: an IP address or a path.
    pub address: Arc<str>,
    /// The server's port; None for a path.
    pub port: Option<u16>,
}

/// What the program is asked.
#[derive(Debug)]
pub struct Question {
    /// The policy's number.
    pub policy: u32,
    /// To be named in the answer. Never used twice.
    pub number: u64,
    /// Who connected.
    pub peer: Peer,
    /// The key, the address and the port of the server; the address is the path if there is no port.
    pub key: Arc<str>,
    pub address: Arc<str>,
    pub port: Option<u16>,
    /// Those that may be named.
    pub workers: Vec<WorkerId>,
}
