//! Every system call of the crate. Nothing above this module names a raw descriptor, `libc` or `unsafe`.
//!
//! The contract of each function here:
//! - it takes descriptors as [`BorrowedFd`](std::os::fd::BorrowedFd) and returns them as
//!   [`OwnedFd`](std::os::fd::OwnedFd), which owns them before the next call that can fail;
//! - every descriptor that it creates is close-on-exec from the start, so that a concurrent `fork` in another
//!   thread inherits nothing. macOS has no such flag: there a second call sets it;
//! - it retries `EINTR` itself and returns `EAGAIN` to the caller.
//!
//! | File | What it holds |
//! | --- | --- |
//! | `fd` | descriptors of any kind: their flags, their numbers in JavaScript, the limit of the process |
//! | `bind`, `accept` | listening sockets; taking connections off their backlog |
//! | `reuse_port` | listening sockets that share one port |
//! | `own` | which sockets are corral's own, and a share in one of the program's |
//! | `fdpass`, `ancillary` | bytes and descriptors over a Unix stream socket; receiving descriptors |
//! | `seqpacket` | packets with a descriptor, for lanes |
//! | `memfd` | memory that two processes share |
//! | `named`, `directory`, `name_lock` | sockets where unrelated processes meet; whether others could replace them; one process at a time |
//! | `event_loop` | whether another process's event loop waits, and the clock that it shares |
//! | `inherited` | sockets that another process has bound, and that this one has got from it |
//! | `service` | telling the service manager; children that are nobody else's |
//! | `schedule` | how the kernel schedules the reactor thread |

mod accept;
mod ancillary;
mod bind;
mod directory;
mod event_loop;
mod fd;
mod fdpass;
mod inherited;
mod memfd;
mod name_lock;
mod named;
mod own;
mod reuse_port;
mod schedule;
mod seqpacket;
mod service;

#[cfg(target_os = "macos")]
use fd::close_on_exec;

pub use accept::{Accepted, accept, accept_shared, has_backlog, is_tcp_connection, is_unix_connection, peer};
pub use ancillary::Ancillary;
pub use bind::{
    AbstractNames, Bound, DEFAULT_BACKLOG, SocketFile, bind_tcp, bind_udp, bind_unix, listen, local_address,
};
pub use event_loop::{EventLoop, Poller, monotonic_micros, processor_time};
pub use fd::{adopt, descriptor_limit, duplicate_raw, into_raw, set_nonblocking};
pub use fdpass::{
    Received, SocketPair, has_arrived, has_ended, has_hung_up, is_deserted, peek, receive, require_stream,
    send, send_buffer, set_send_buffer, shutdown_both, shutdown_write, socket_pair, unread, unread_by_peer,
    wait_readable,
};
pub use inherited::{Carries, InheritedSocket, SocketName, inherited_socket, name_of, received_socket};
pub use memfd::{Memory, release_memory, reserve_memory};
pub use named::{Credentials, Line, connect_named, credentials, listen_named, receive_line};
pub use own::{Mark, Purpose, share_socket};
pub use reuse_port::{Receivers, SHARES_PORTS, Share, bind_sibling, open_port_to_siblings, steer};
pub use schedule::schedule_in_batches;
pub use seqpacket::{
    Packet, Parcel, inherited_lane, packet_pair, receive_packet, receive_packet_bytes, receive_parcel,
    send_packet, send_parcel,
};
pub use service::{gets_orphans, notify, reap};

/// For tests that check what the kernel did.
#[cfg(all(test, target_os = "linux"))]
pub mod testing {
    use std::io::IoSlice;
    use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

    /// A descriptor to give away, and a way to see whether any copy of it is still open: `watched` is the
    /// other end of its pair.
    pub struct Gift {
        pub end: OwnedFd,
        watched: OwnedFd,
    }

    impl Default for Gift {
        fn default() -> Self {
            let pair = super::socket_pair().unwrap();
            Gift { end: pair.ours, watched: pair.theirs }
        }
    }

    impl Gift {
        /// Sends bytes with so many copies of the descriptor in one message, as no corral does.
        pub fn send(&self, socket: BorrowedFd<'_>, bytes: &[u8], copies: usize) {
            let numbers: Vec<RawFd> = vec![self.end.as_raw_fd(); copies];
            let rights = [ControlMessage::ScmRights(&numbers)];
            let sent = sendmsg::<()>(
                socket.as_raw_fd(),
                &[IoSlice::new(bytes)],
                &rights,
                MsgFlags::MSG_NOSIGNAL,
                None,
            );
            assert_eq!(sent, Ok(bytes.len()));
        }

        /// Whether every copy that others have got is closed.
        pub fn is_closed_everywhere(self) -> bool {
            let Gift { end, watched } = self;
            drop(end);
            super::has_hung_up(watched.as_raw_fd())
        }
    }

    /// Has the kernel refuse changes of a socket's filters from now on.
    pub fn lock_filters(socket: BorrowedFd<'_>) {
        let yes = 1;
        // SAFETY: the pointer is live for the call and is to as many bytes as it says.
        let status = unsafe {
            let value = (&raw const yes).cast();
            let length = size_of::<i32>() as libc::socklen_t;
            libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LOCK_FILTER, value, length)
        };
        assert_eq!(status, 0);
    }

    /// The backlog of a listening TCP socket, and how many connections wait in it.
    pub fn backlog(socket: BorrowedFd<'_>) -> (u32, u32) {
        // SAFETY: all-zero bytes are a valid tcp_info.
        let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
        let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
        // SAFETY: both pointers are live for the call, and `length` is the size of `info`.
        let status = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                (&raw mut info).cast(),
                &raw mut length,
            )
        };
        assert_eq!(status, 0);
        // The kernel puts the two numbers here for a listening socket (tcp_get_info).
        (info.tcpi_sacked, info.tcpi_unacked)
    }
}
