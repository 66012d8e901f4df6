//! What the primary tells JavaScript.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::address::Peer;
use crate::channel::Frames;
use crate::error::Error;
use crate::ids::{Completion, Offer, WorkerId};

/// Something happened that JavaScript may want to know, in the order in which it happened.
#[derive(Debug)]
pub enum Event {
    /// Messages of a worker's, still serialized, for the program.
    Messages {
        /// The sender.
        worker: WorkerId,
        /// One frame, without newline or length, or several small ones, each with it.
        frames: Frames,
    },
    /// A message with a handle: a NODE_HANDLE frame, with the message proper inside.
    HandleMessage {
        /// The sender.
        worker: WorkerId,
        /// The frame, without newline or length.
        bytes: Vec<u8>,
        /// Owned by whoever takes the event.
        handle: OwnedFd,
    },
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
    /// The handle that the program sent last has arrived.
    HandleArrived(WorkerId),
    /// The handle that the program sent last did not arrive, however often it was sent.
    HandleLost(WorkerId),
    /// A frame that could not be written at once has been written.
    Written {
        /// The receiver.
        worker: WorkerId,
        /// The name that `send` got for the callback.
        completion: Completion,
    },
    /// A frame that could not be written at once never will be.
    Unwritten {
        /// The receiver.
        worker: WorkerId,
        /// The name that `send` got for the callback.
        completion: Completion,
    },
    /// The channel has carried nothing but messages for a while: whoever takes the events may read it directly. Handled
    /// where events are taken, unknown to the program.
    Offered {
        /// The worker.
        worker: WorkerId,
        /// Which offer it is.
        offer: Offer,
    },
    /// The worker's end of the channel is closed; everything that it sent has been told before. The last event of
    /// the worker.
    Closed {
        /// The worker.
        worker: WorkerId,
        /// Why, if not because the worker closed it or ended.
        cause: Option<Error>,
    },
    /// A worker has taken a connection.
    Connection(Box<Connection>),
    /// The number of servers that the primary holds open has changed: while there is one it keeps the process alive.
    Servers(usize),
    /// Accepting pauses because this process, or the machine, has no file descriptors or memory left.
    AcceptPaused(Error),
    /// The reactor cannot go on.
    Fault(Error),
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

/// Where events go; called on the reactor thread, never blocks.
pub trait EventSink: Send + 'static {
    /// Keeps an event.
    fn push(&mut self, event: Event);
    /// Makes sure that what was kept will be seen.
    fn flush(&mut self);
}
