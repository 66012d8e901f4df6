//! How much a channel takes from the program.

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

/// Why a channel does not take a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// The message is larger than the peer or this side allows.
    TooLarge,
    /// Too many bytes wait already.
    QueueFull,
}
