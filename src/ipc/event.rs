//! What is told to JavaScript.

use std::sync::Arc;

use super::untaken::{Refused, Ticket};
use crate::channel::{Channel, ChannelEvent};
use crate::error::Error;
use crate::ids::{ChannelId, ListenerId};
use crate::os::Credentials;

/// Something has happened, in the order in which it happened.
#[derive(Debug)]
pub enum Event {
    /// On a channel. For one that never came about the only event is its end, with the cause.
    Channel(ChannelId, ChannelEvent),
    /// A process of another user wants a channel, or is who was connected to: may it?
    /// [`Command::Decide`](super::Command::Decide) answers.
    Asked {
        /// What will be the channel.
        channel: ChannelId,
        /// Where it connected; None for a server that this process has connected to.
        listener: Option<ListenerId>,
        /// Who it is.
        peer: Credentials,
    },
    /// The two ends have greeted each other: there is a channel from here on.
    Connected {
        /// Its name.
        id: ChannelId,
        /// Where it connected; None for one that this process has made.
        listener: Option<ListenerId>,
        /// Who is at the other end.
        peer: Credentials,
        /// The sending half, shared.
        channel: Arc<Channel>,
        /// Counts it until it is taken; None for one that this process has made.
        ticket: Option<Ticket>,
    },
    /// Somebody connected and there is no channel, because of one side or the other. Or several did, for the same reason.
    Refused {
        /// Where.
        listener: ListenerId,
        /// Who, why, and how many.
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
