//! Bytes and descriptors over a Unix stream socket (`unix(7)`, `SCM_RIGHTS`).

use std::io::IoSlice;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessage, MsgFlags, Shutdown, getsockopt, recv, sendmsg, setsockopt, shutdown, sockopt,
};
use socket2::{Domain, Socket, Type};

use super::ancillary::{Ancillary, Message, receive_message};
use crate::error::errno_of;

/// The two ends of a channel. Both are close-on-exec: the child's end is put into its slot by `spawn`, which clears
/// the flag there.
#[derive(Debug)]
pub struct SocketPair {
    /// This process's end, non-blocking.
    pub ours: OwnedFd,
    /// The end for the child, blocking until the child decides otherwise.
    pub theirs: OwnedFd,
}

/// Makes a pair of connected Unix stream sockets.
///
/// Errors: `EMFILE`, `ENFILE`, `ENOBUFS`.
pub fn socket_pair() -> Result<SocketPair, Errno> {
    // The child's end stays blocking, as the one that libuv makes: O_NONBLOCK belongs to the open file, and a child
    // that is not Node may not expect it.
    let (ours, theirs) = connected_pair(Type::STREAM)?;
    ours.set_nonblocking(true).map_err(|error| errno_of(&error))?;
    Ok(SocketPair { ours: ours.into(), theirs: theirs.into() })
}

/// Two Unix sockets, close-on-exec, that raise no SIGPIPE when they are written with [`SEND_FLAGS`].
pub(super) fn connected_pair(kind: Type) -> Result<(Socket, Socket), Errno> {
    // Where there is SO_NOSIGPIPE, socket2 sets it.
    Socket::pair(Domain::UNIX, kind, None).map_err(|error| errno_of(&error))
}

/// Writing never waits and never raises SIGPIPE.
#[cfg(target_os = "linux")]
pub(super) const SEND_FLAGS: MsgFlags = MsgFlags::MSG_NOSIGNAL.union(MsgFlags::MSG_DONTWAIT);
/// Writing never waits. That it raises no SIGPIPE is an option of the socket here.
#[cfg(target_os = "macos")]
pub(super) const SEND_FLAGS: MsgFlags = MsgFlags::MSG_DONTWAIT;

/// Sends `parts` in one call; `handle`, if any, rides on the first byte. Returns the number of bytes written, which
/// may be short. `SIGPIPE` is never raised.
///
/// Errors: `EAGAIN` when the socket's buffer is full, `EPIPE` when the peer has gone, `ETOOMANYREFS` when too many
/// descriptors are under way. With an error nothing was sent, the descriptor neither.
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
            // The peer goes in the very moment of the call, with something unread: a moment later it is EPIPE.
            Err(Errno::ECONNRESET) => return Err(Errno::EPIPE),
            other => return other,
        }
    }
}

/// What one read of a channel brought.
#[derive(Debug)]
pub struct Received {
    /// The number of bytes; 0 is the end of the stream.
    pub bytes: usize,
    /// The descriptors that came with them, in the order in which they were sent. Node sends one at most.
    pub handles: Vec<OwnedFd>,
    /// `MSG_CTRUNC`: descriptors were sent that this process could not take, e.g. with its table full.
    pub handles_lost: bool,
}

/// Reads bytes into the spare capacity of `buffer`, which must have some, and descriptors, close-on-exec, from a Unix
/// stream socket.
///
/// Errors: `EAGAIN` when nothing is there, `ECONNRESET` when the peer died with unread data.
pub fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut Vec<u8>,
    ancillary: &mut Ancillary,
) -> Result<Received, Errno> {
    debug_assert!(buffer.capacity() > buffer.len());
    let spare = buffer.spare_capacity_mut();
    // SAFETY: the kernel writes into these bytes and nobody reads them before it has.
    let spare = unsafe { std::slice::from_raw_parts_mut(spare.as_mut_ptr().cast::<u8>(), spare.len()) };
    let Message { bytes, handles, flags } = receive_message(socket, spare, Some(ancillary))?;
    // SAFETY: the kernel has just initialized so many bytes behind the length, within the capacity.
    unsafe { buffer.set_len(buffer.len() + bytes) };
    Ok(Received { bytes, handles, handles_lost: flags & libc::MSG_CTRUNC != 0 })
}

/// Whether there is something to be read, the end or a failure among it. It stays there.
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

/// Whether all that there ever was to be read from a socket has been, as its other end is closed.
pub fn has_ended(socket: BorrowedFd<'_>) -> bool {
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    loop {
        match recv(socket.as_raw_fd(), &mut [0], flags) {
            Err(Errno::EINTR) => continue,
            outcome => return matches!(outcome, Ok(0) | Err(Errno::ECONNRESET)),
        }
    }
}

/// How many bytes of memory wait in a Unix socket for the other end to read them; 0 where the system does not tell.
pub fn unread_by_peer(socket: BorrowedFd<'_>) -> usize {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the call writes one integer.
    let status = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if status == 0 { usize::try_from(bytes).unwrap_or(0) } else { 0 }
}

/// How many bytes there are to be read from a Unix socket now; 0 where the system does not tell.
pub fn unread(socket: BorrowedFd<'_>) -> usize {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the call writes one integer.
    let status = unsafe { libc::ioctl(socket.as_raw_fd(), libc::FIONREAD, &raw mut bytes) };
    if status == 0 { usize::try_from(bytes).unwrap_or(0) } else { 0 }
}

/// How many bytes may wait in a Unix socket for the other end to read them, what the system takes for itself included.
///
/// Errors: as `getsockopt(2)`.
pub fn send_buffer(socket: BorrowedFd<'_>) -> Result<usize, Errno> {
    getsockopt(&socket, sockopt::SndBuf).map(|bytes| bytes / SEND_BUFFER_FACTOR)
}

/// Linux doubles what it is given, and tells the double.
#[cfg(target_os = "linux")]
const SEND_BUFFER_FACTOR: usize = 2;
#[cfg(target_os = "macos")]
const SEND_BUFFER_FACTOR: usize = 1;

/// Lets so many bytes wait in a Unix socket, or as many as the system allows to whom this process is.
pub fn set_send_buffer(socket: BorrowedFd<'_>, bytes: usize) {
    // What a privileged process may exceed is a limit for the others.
    #[cfg(target_os = "linux")]
    if setsockopt(&socket, sockopt::SndBufForce, &bytes).is_ok() {
        return;
    }
    // Without it the channel is slower, and that is all.
    let _ = setsockopt(&socket, sockopt::SndBuf, &bytes);
}

/// Whether the other end of a Unix socket is closed, or sends no more, whatever there is still to be read. The number may be
/// anything: what is no open descriptor has no other end.
pub fn has_hung_up(number: RawFd) -> bool {
    ready_for(number, HANG_UP) & (HANG_UP | libc::POLLHUP) != 0
}

/// As [`has_hung_up`], and not true of another end that only sends no more: nobody is there any more.
pub fn is_deserted(number: RawFd) -> bool {
    ready_for(number, 0) & libc::POLLHUP != 0
}

fn ready_for(number: RawFd, events: i16) -> i16 {
    let mut poll = libc::pollfd { fd: number, events, revents: 0 };
    // SAFETY: one entry, live for the call, which does not wait.
    let count = unsafe { libc::poll(&raw mut poll, 1, 0) };
    if count > 0 { poll.revents } else { 0 }
}

#[cfg(target_os = "linux")]
const HANG_UP: i16 = libc::POLLRDHUP;
#[cfg(target_os = "macos")]
const HANG_UP: i16 = libc::POLLHUP;

/// Tells the peer that no more bytes come, and goes on receiving. A peer that has gone already is no error.
pub fn shutdown_write(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    match shutdown(socket.as_raw_fd(), Shutdown::Write) {
        Err(Errno::ENOTCONN) => Ok(()),
        other => other,
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
        // The kernel ends a read behind the message that carried descriptors, never before its first byte.
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
