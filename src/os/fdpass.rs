//! Bytes and descriptors over a Unix stream socket (`unix(7)`, `SCM_RIGHTS`).

use std::io::IoSlice;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    ControlMessage, MsgFlags, Shutdown, SockType, getsockopt, recv, sendmsg, setsockopt, shutdown, sockopt,
};
use socket2::{Domain, Socket, Type};

use super::ancillary::{Ancillary, Message, receive_message};
use crate::error::errno_of;

/// The two ends of a channel. Both are close-on-exec: `spawn` duplicates the child's end into its slot
/// without the flag.
#[derive(Debug)]
pub struct SocketPair {
    /// This process's end. It is non-blocking.
    pub ours: OwnedFd,
    /// The child's end. It is blocking until the child changes that.
    pub theirs: OwnedFd,
}

/// Makes a pair of connected Unix stream sockets.
///
/// Errors: `EMFILE`, `ENFILE`, `ENOBUFS`.
pub fn socket_pair() -> Result<SocketPair, Errno> {
    // The child's end stays blocking, as in libuv: O_NONBLOCK belongs to the open file, and a child that is
    // not Node may not expect it.
    let (ours, theirs) = connected_pair(Type::STREAM)?;
    ours.set_nonblocking(true).map_err(|error| errno_of(&error))?;
    Ok(SocketPair { ours: ours.into(), theirs: theirs.into() })
}

/// Makes two connected Unix sockets, close-on-exec. Writing with [`SEND_FLAGS`] raises no SIGPIPE.
pub(super) fn connected_pair(kind: Type) -> Result<(Socket, Socket), Errno> {
    // socket2 sets SO_NOSIGPIPE where the system has it.
    Socket::pair(Domain::UNIX, kind, None).map_err(|error| errno_of(&error))
}

/// Writing never waits and never raises SIGPIPE.
#[cfg(target_os = "linux")]
pub(super) const SEND_FLAGS: MsgFlags = MsgFlags::MSG_NOSIGNAL.union(MsgFlags::MSG_DONTWAIT);
/// Writing never waits. SO_NOSIGPIPE, which is already set on the socket, prevents SIGPIPE.
#[cfg(target_os = "macos")]
pub(super) const SEND_FLAGS: MsgFlags = MsgFlags::MSG_DONTWAIT;

/// Sends `parts` in one call. `handle` travels with the first byte. Returns the number of bytes written,
/// which may be less than all. The call never raises `SIGPIPE`.
///
/// Errors: `EAGAIN` when the socket's buffer is full, `EPIPE` when the peer has gone, `ETOOMANYREFS` when too
/// many descriptors are in flight. After an error neither bytes nor the descriptor have been sent.
pub fn send(
    socket: BorrowedFd<'_>,
    parts: &[IoSlice<'_>],
    handle: Option<BorrowedFd<'_>>,
) -> Result<usize, Errno> {
    let raw = handle.map(|fd| [fd.as_raw_fd()]);
    let rights = raw.as_ref().map(|fds| ControlMessage::ScmRights(fds));
    let control = rights.as_slice();
    loop {
        match sendmsg::<()>(socket.as_raw_fd(), parts, control, SEND_FLAGS, None) {
            Err(Errno::EINTR) => continue,
            // The peer closes its end during the call with data unread. A moment later this is EPIPE.
            Err(Errno::ECONNRESET) => return Err(Errno::EPIPE),
            other => return other,
        }
    }
}

/// The result of one read.
#[derive(Debug)]
pub struct Received {
    /// The number of bytes. 0 is the end of the stream.
    pub bytes: usize,
    /// The descriptors that arrived, in the order in which they were sent. Node sends one at most.
    pub handles: Vec<OwnedFd>,
    /// `MSG_CTRUNC`: this process could not take all descriptors, for example because its table was full.
    pub handles_lost: bool,
}

/// Reads bytes and descriptors from a Unix stream socket. The bytes go into the spare capacity of `buffer`,
/// which must have some. The descriptors are close-on-exec.
///
/// Errors: `EAGAIN` when nothing is there, `ECONNRESET` when the peer died with unread data.
pub fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut Vec<u8>,
    ancillary: &mut Ancillary,
) -> Result<Received, Errno> {
    debug_assert!(buffer.capacity() > buffer.len());
    let spare = buffer.spare_capacity_mut();
    // SAFETY: the kernel writes into these bytes, and nobody reads them before it has.
    let spare = unsafe { std::slice::from_raw_parts_mut(spare.as_mut_ptr().cast::<u8>(), spare.len()) };
    let Message { bytes, handles, flags } = receive_message(socket, spare, Some(ancillary))?;
    // SAFETY: the kernel has just initialized so many bytes behind the length, within the capacity.
    unsafe { buffer.set_len(buffer.len() + bytes) };
    Ok(Received { bytes, handles, handles_lost: flags & libc::MSG_CTRUNC != 0 })
}

/// Copies what has arrived, as much as fits, and leaves it to be read. 0 at the end of the stream.
///
/// Errors: `EAGAIN` if nothing has arrived; `ECONNRESET`.
pub fn peek(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, Errno> {
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    loop {
        match recv(socket.as_raw_fd(), buffer, flags) {
            Err(Errno::EINTR) => continue,
            outcome => return outcome,
        }
    }
}

/// Whether a read would return bytes, the end of the stream or an error. Nothing is consumed.
pub fn has_arrived(socket: BorrowedFd<'_>) -> bool {
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    loop {
        match recv(socket.as_raw_fd(), &mut [0], flags) {
            Err(Errno::EINTR) => continue,
            Err(Errno::EAGAIN) => return false,
            Ok(_) | Err(_) => return true,
        }
    }
}

/// Whether the other end is closed and everything it had sent has been read.
pub fn has_ended(socket: BorrowedFd<'_>) -> bool {
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    loop {
        match recv(socket.as_raw_fd(), &mut [0], flags) {
            Err(Errno::EINTR) => continue,
            outcome => return matches!(outcome, Ok(0) | Err(Errno::ECONNRESET)),
        }
    }
}

/// How many bytes, as the kernel counts their memory, the other end has not read yet; 0 where the system does
/// not say.
pub fn unread_by_peer(socket: BorrowedFd<'_>) -> usize {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the call writes one integer.
    let status = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if status == 0 { usize::try_from(bytes).unwrap_or(0) } else { 0 }
}

/// How many bytes can be read from a Unix socket now; 0 where the system does not say.
pub fn unread(socket: BorrowedFd<'_>) -> usize {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the call writes one integer.
    let status = unsafe { libc::ioctl(socket.as_raw_fd(), libc::FIONREAD, &raw mut bytes) };
    if status == 0 { usize::try_from(bytes).unwrap_or(0) } else { 0 }
}

/// Checks a descriptor that another process has sent.
///
/// Errors: `ENOTSOCK` when it is no socket, `EPROTOTYPE` when it is no stream socket.
pub fn require_stream(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    match getsockopt(&fd, sockopt::SockType)? {
        SockType::Stream => Ok(()),
        _ => Err(Errno::EPROTOTYPE),
    }
}

/// The size of a Unix socket's send buffer in bytes, as [`set_send_buffer`] takes it.
///
/// Errors: as `getsockopt(2)`.
pub fn send_buffer(socket: BorrowedFd<'_>) -> Result<usize, Errno> {
    getsockopt(&socket, sockopt::SndBuf).map(|bytes| bytes / SEND_BUFFER_FACTOR)
}

/// Linux doubles the value that is set, for its own bookkeeping, and returns the doubled one.
#[cfg(target_os = "linux")]
const SEND_BUFFER_FACTOR: usize = 2;
#[cfg(target_os = "macos")]
const SEND_BUFFER_FACTOR: usize = 1;

/// Sets the size of a Unix socket's send buffer, as far as the system allows it to this process.
pub fn set_send_buffer(socket: BorrowedFd<'_>, bytes: usize) {
    // A privileged process may exceed the system's limit.
    #[cfg(target_os = "linux")]
    if setsockopt(&socket, sockopt::SndBufForce, &bytes).is_ok() {
        return;
    }
    // A failure only makes the channel slower.
    let _ = setsockopt(&socket, sockopt::SndBuf, &bytes);
}

/// Whether the other end of a Unix socket is closed or has shut down its sending half, even if data is still
/// unread. The number may be anything: one that is not open has no other end.
pub fn has_hung_up(number: RawFd) -> bool {
    ready_for(number, HANG_UP) & (HANG_UP | libc::POLLHUP) != 0
}

/// As [`has_hung_up`], but only for an other end that is closed, not for one that has shut down its sending
/// half.
pub fn is_deserted(number: RawFd) -> bool {
    ready_for(number, 0) & libc::POLLHUP != 0
}

fn ready_for(number: RawFd, events: i16) -> i16 {
    let mut poll = libc::pollfd { fd: number, events, revents: 0 };
    // SAFETY: the array has one entry, which is live for the call. The call does not wait.
    let count = unsafe { libc::poll(&raw mut poll, 1, 0) };
    if count > 0 { poll.revents } else { 0 }
}

#[cfg(target_os = "linux")]
const HANG_UP: i16 = libc::POLLRDHUP;
#[cfg(target_os = "macos")]
const HANG_UP: i16 = libc::POLLHUP;

/// Ends the stream for the peer. Receiving goes on. A peer that has already gone is no error.
pub fn shutdown_write(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    match shutdown(socket.as_raw_fd(), Shutdown::Write) {
        Err(Errno::ENOTCONN) => Ok(()),
        other => other,
    }
}

/// Ends both directions, for every process that has a copy of this end: whoever waits to read it sees the end.
pub fn shutdown_both(socket: BorrowedFd<'_>) {
    // There is no failure but for a peer that has already gone.
    let _ = shutdown(socket.as_raw_fd(), Shutdown::Both);
}

/// Waits until there is something to read, or the end.
///
/// Errors: `ENOMEM`.
pub fn wait_readable(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut fds = [PollFd::new(socket, PollFlags::POLLIN)];
    loop {
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            other => return other.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_descriptor_arrives_with_the_first_byte_of_its_message() {
        let pair = socket_pair().unwrap();
        let gift = socket_pair().unwrap();
        send(pair.ours.as_fd(), &[IoSlice::new(b"plain")], None).unwrap();
        send(pair.ours.as_fd(), &[IoSlice::new(b"with "), IoSlice::new(b"one")], Some(gift.ours.as_fd()))
            .unwrap();
        send(pair.ours.as_fd(), &[IoSlice::new(b"after")], None).unwrap();

        let mut buffer = Vec::with_capacity(64);
        let mut ancillary = Ancillary::default();
        let first = receive(pair.theirs.as_fd(), &mut buffer, &mut ancillary).unwrap();
        // The kernel ends a read behind the message that carries descriptors, never in front of it.
        assert_eq!(buffer, b"plainwith one");
        assert_eq!(first.handles.len(), 1);
        let second = receive(pair.theirs.as_fd(), &mut buffer, &mut ancillary).unwrap();
        assert_eq!((&buffer[13..], second.bytes), (&b"after"[..], 5));
        assert!(second.handles.is_empty());
        let nothing = receive(pair.theirs.as_fd(), &mut buffer, &mut ancillary);
        assert_eq!(nothing.unwrap_err(), Errno::EAGAIN);
    }

    #[test]
    fn a_vanished_peer_is_epipe_for_the_sender_and_the_end_for_the_receiver() {
        let pair = socket_pair().unwrap();
        send(pair.ours.as_fd(), &[IoSlice::new(b"last words")], None).unwrap();
        drop(pair.ours);
        let mut buffer = Vec::with_capacity(64);
        let mut ancillary = Ancillary::default();
        assert_eq!(receive(pair.theirs.as_fd(), &mut buffer, &mut ancillary).unwrap().bytes, 10);
        assert_eq!(receive(pair.theirs.as_fd(), &mut buffer, &mut ancillary).unwrap().bytes, 0);
        assert_eq!(send(pair.theirs.as_fd(), &[IoSlice::new(b"?")], None), Err(Errno::EPIPE));
    }

    #[test]
    fn looking_whether_something_has_arrived_takes_nothing() {
        let pair = socket_pair().unwrap();
        let gift = socket_pair().unwrap();
        assert!(!has_arrived(pair.theirs.as_fd()));
        send(pair.ours.as_fd(), &[IoSlice::new(b"x")], Some(gift.ours.as_fd())).unwrap();
        assert!(has_arrived(pair.theirs.as_fd()));
        let mut buffer = Vec::with_capacity(8);
        let received = receive(pair.theirs.as_fd(), &mut buffer, &mut Ancillary::default()).unwrap();
        assert_eq!((received.bytes, received.handles.len()), (1, 1));
        assert!(!has_arrived(pair.theirs.as_fd()));
        drop(pair.ours);
        assert!(has_arrived(pair.theirs.as_fd()));
    }

    #[test]
    fn an_end_that_sends_no_more_has_hung_up_and_only_one_that_is_closed_has_left_the_other_deserted() {
        let pair = socket_pair().unwrap();
        let look = || (has_hung_up(pair.theirs.as_raw_fd()), is_deserted(pair.theirs.as_raw_fd()));
        assert_eq!(look(), (false, false));
        shutdown_write(pair.ours.as_fd()).unwrap();
        assert_eq!(look(), (true, false));
        drop(pair.ours);
        assert_eq!(look(), (true, true));
        assert_eq!((has_hung_up(-1), is_deserted(-1)), (false, false));
    }

    #[test]
    fn what_there_is_to_be_read_is_known_before_it_is() {
        let pair = socket_pair().unwrap();
        assert_eq!(unread(pair.ours.as_fd()), 0);
        for (text, all) in [(&b"one"[..], 3), (b"and another", 14)] {
            send(pair.theirs.as_fd(), &[IoSlice::new(text)], None).unwrap();
            assert_eq!(unread(pair.ours.as_fd()), all);
        }
        drop(pair.theirs);
        assert!(!has_ended(pair.ours.as_fd()));
        receive(pair.ours.as_fd(), &mut Vec::with_capacity(14), &mut Ancillary::default()).unwrap();
        assert!(has_ended(pair.ours.as_fd()));
    }

    #[test]
    fn a_full_buffer_is_a_short_write_and_then_eagain() {
        let pair = socket_pair().unwrap();
        let block = vec![7; 4 << 20];
        let written = send(pair.ours.as_fd(), &[IoSlice::new(&block)], None).unwrap();
        assert!(written < block.len());
        assert_eq!(send(pair.ours.as_fd(), &[IoSlice::new(&block)], None), Err(Errno::EAGAIN));
    }
}
