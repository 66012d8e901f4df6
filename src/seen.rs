//! What clients say first, as a look at it shows. Nothing is read: whoever serves the connection finds every byte. Nothing is kept
//! either, as the bytes stay in the kernel: the next look sees them again.
//!
//! The primary looks at connections that have come, and a worker at the next requests of those that it keeps, so both find the
//! same.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

use crate::os;
use crate::proto::Said;
use crate::sched::{Session, SessionMaker, StickyChoice};

/// What the first bytes have shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The client's address, as somebody in front of this program says.
    Address(Session),
    /// A session that a worker, or somebody else, has begun.
    Session(Session),
    /// It is a request that names no session.
    NoSession,
    /// Nothing that is understood: the client is known by its address only.
    Nothing,
    /// The same, as it has not said enough in time, or within the bytes that are looked at.
    Late,
    /// More has to come.
    Incomplete,
    /// The client has said nothing more, and has gone.
    Ended,
}

/// Looks at what has arrived on a connection. `buffer` is memory that one look after the other uses.
pub fn look(
    buffer: &mut Vec<u8>,
    connection: BorrowedFd<'_>,
    choice: &StickyChoice,
    maker: &SessionMaker,
) -> Seen {
    if buffer.len() < choice.max_head {
        buffer.resize(choice.max_head, 0);
    }
    let buffer = &mut buffer[..choice.max_head];
    let length = match os::peek(connection, buffer) {
        Ok(0) | Err(Errno::ECONNRESET) => return Seen::Ended,
        Ok(length) => length,
        Err(Errno::EAGAIN) => return Seen::Incomplete,
        Err(_) => return Seen::Nothing,
    };
    match choice.by.read(&buffer[..length]) {
        Said::Address(address) => Seen::Address(maker.of_address(address)),
        Said::Session(id) => Seen::Session(maker.of_id(&id)),
        Said::NoSession => Seen::NoSession,
        Said::Nothing => Seen::Nothing,
        Said::Incomplete if length == choice.max_head => Seen::Late,
        Said::Incomplete if os::has_hung_up(connection.as_raw_fd()) => Seen::Nothing,
        Said::Incomplete => Seen::Incomplete,
    }
}
