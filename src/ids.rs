//! Newtypes for the numbers that name things, so that none is passed for another.

use std::fmt;

/// A worker's id as JavaScript knows it: `worker.id`, the child's `NODE_UNIQUE_ID`. Starts at 1, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(pub u32);

/// A listening address in the primary. Never used twice, unlike its key: the same address may be closed and
/// opened again while messages about the first one are still under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub u64);

/// A channel between this process and one that it met at a named socket. Counted from 1 by whoever begins, never used
/// twice in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(pub u32);

/// A named socket that this process listens at. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerId(pub u32);

/// The `seq` of an internal message; a reply names it in `ack`. Counted per sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

/// JavaScript's name for the callback of one `send` that could not be written at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Completion(pub u32);

/// One offer of a channel to the JavaScript thread. Never used twice for one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Offer(pub u64);

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
