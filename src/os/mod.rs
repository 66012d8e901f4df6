//! Every system call of the crate. Nothing above this module names a raw descriptor, `libc` or `unsafe`.
//!
//! The contract of each function here:
//! - it takes descriptors as [`BorrowedFd`](std::os::fd::BorrowedFd) and returns them as
//!   [`OwnedFd`](std::os::fd::OwnedFd), owned before the next call that can fail;
//! - what it creates is close-on-exec from the start, so that a concurrent `fork` in another thread inherits nothing;
//! - it retries `EINTR` itself and returns `EAGAIN` to the caller, who knows what to wait for.

mod accept;
mod bind;
mod fdpass;

pub use accept::{Accepted, accept};
pub use bind::{
    Bound, SocketFile, adopt, bind_tcp, bind_udp, bind_unix, duplicate, duplicate_raw, into_raw, listen,
    local_address, set_nonblocking,
};
pub use fdpass::{Ancillary, Received, SocketPair, receive, send, shutdown_write, socket_pair};
