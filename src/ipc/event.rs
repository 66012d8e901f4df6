//! Events for JavaScript.

use std::sync::Arc;

use super::refusals::Refused;
use crate::channel::{Channel, ChannelEvent};
use crate::error::Error;
use crate::ids::{ChannelId, ListenerId};
use crate::os::Credentials;
use crate::reactor::Ticket;

/// Something has happened, in the order in which it happened.
#[derive(Debug)]
pub enum Event {
    /// On a channel. If its handshake fails its only event is its end, with the cause.
    Channel(ChannelId, ChannelEvent),
    /// May this process of another user have a channel? It has connected, or is the server to which this
    /// process has. [`Command::Decide`](super::Command::Decide) answers.
    Asked {
        /// The channel, if it may.
        channel: ChannelId,
        /// Where it connected; None for a server that this process has connected to.
        listener: Option<ListenerId>,
        /// The process.
        peer: Credentials,
    },
    /// A handshake has succeeded: there is a channel.
    Connected {
        /// Its id.
        id: ChannelId,
        /// Where it connected; None for one that this process has made.
        listener: Option<ListenerId>,
        /// The process at the other end.
        peer: Credentials,
        /// The sending half, shared.
        channel: Arc<Channel>,
        /// Counts it until it is taken; None for one that this process has made.
        ticket: Option<Ticket>,
    },
    /// A handshake of a client's has failed, or several have for the same reason.
    Refused {
        /// Where.
        listener: ListenerId,
        /// Which client, why, and how many.
        refused: Refused,
    },
    /// Accepting pauses because this process, or the machine, has no file descriptors or memory left.
    AcceptPaused(Error),
    /// The reactor cannot go on.
    Fault(Error),
}

impl Event {
    /// The channel whose peer has brought it about, and what it counts for while it is undelivered, see
    /// [`crate::channel::Undelivered`].
    pub fn cost(&self) -> Option<(ChannelId, usize)> {
        match self {
            Event::Channel(id, event) => Some((*id, event.cost())),
            _ => None,
        }
    }
}
