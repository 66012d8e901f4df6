//! How much a channel takes from the program.

/// From so many bytes of backlog on the sender is told to wait ([`super::Channel::backlog`]).
pub const MUCH_BACKLOG: usize = 128 << 10;

/// From so many bytes on that its peer has not read the sender is told, on a channel without bounds.
pub(super) const MUCH_UNREAD: usize = 256 << 10;

/// So many bytes may be unread by a peer before any count as backlog.
pub(super) const UNCOUNTED: usize = MUCH_UNREAD - MUCH_BACKLOG;

#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The largest message, in bytes as they travel.
    pub max_message: usize,
    /// How many bytes may wait to be written. A message always fits when nothing waits.
    pub max_queued: usize,
}

impl Default for Bounds {
    /// No bounds, as for Node's own channels.
    fn default() -> Self {
        Bounds { max_message: usize::MAX, max_queued: usize::MAX }
    }
}

impl Bounds {
    pub fn is_unlimited(&self) -> bool {
        self.max_queued == usize::MAX
    }
}

/// Why a channel does not take a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// The message is larger than the peer or this side allows.
    TooLarge,
    /// Too many bytes wait already.
    QueueFull,
}
