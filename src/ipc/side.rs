//! The two sides of a channel.

use crate::ids::ListenerId;

/// Which side of a channel this process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It listens, and the other side connected there.
    Server(ListenerId),
    /// It has connected.
    Client,
}

impl Side {
    /// Where the other side connected.
    pub fn listener(self) -> Option<ListenerId> {
        match self {
            Side::Server(id) => Some(id),
            Side::Client => None,
        }
    }
}
