//! Messages with descriptors over a pair of `SOCK_SEQPACKET` Unix sockets. Each message arrives whole at
//! exactly one of the readers.

use std::io::IoSlice;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{ControlMessage, sendmsg};
use nix::sys::stat::fstat;
use socket2::Type;

use super::ancillary::{Ancillary, Message, receive_message};
use super::fdpass::{SEND_FLAGS, SocketPair, connected_pair};
use crate::error::errno_of;

/// Makes the two ends of a lane, close-on-exec and non-blocking.
///
/// Errors: `EMFILE`, `ENFILE`, `ENOBUFS`; `EPROTONOSUPPORT` where the system has no such sockets.
pub fn packet_pair() -> Result<SocketPair, Errno> {
    let (ours, theirs) = connected_pair(Type::SEQPACKET)?;
    for end in [&ours, &theirs] {
        end.set_nonblocking(true).map_err(|error| errno_of(&error))?;
    }
    Ok(SocketPair { ours: ours.into(), theirs: theirs.into() })
}

/// Takes ownership of the lane's end that this process has inherited, and makes it close-on-exec. The parent
/// has passed its number and inode in the environment.
///
/// Errors: `EBADF` when the number is another file or is not open: the environment has been inherited by a
/// process for which it was not meant.
pub fn inherited_lane(number: RawFd, inode: u64) -> Result<OwnedFd, Errno> {
    if number < 0 {
        return Err(Errno::EBADF);
    }
    // SAFETY: the borrow lasts for two calls, which fail for a number that is not open.
    let socket = unsafe { BorrowedFd::borrow_raw(number) };
    let status = fstat(socket)?;
    if status.st_mode & libc::S_IFMT != libc::S_IFSOCK || status.st_ino != inode {
        return Err(Errno::EBADF);
    }
    fcntl(socket, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    // SAFETY: it is the socket that was made for this process, and nothing else here owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Sends one message, whole or not at all, and a descriptor with it. The call never raises `SIGPIPE`.
///
/// Errors: `EAGAIN` when the socket's buffer is full, `EPIPE` when every copy of the other end is closed,
/// `ETOOMANYREFS` when too many descriptors are in flight.
pub fn send_packet(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    handle: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    let raw = handle.map(|fd| [fd.as_raw_fd()]);
    let rights = raw.as_ref().map(|fds| ControlMessage::ScmRights(fds));
    send_with(socket, bytes, rights.as_slice())
}

fn send_with(socket: BorrowedFd<'_>, bytes: &[u8], rights: &[ControlMessage<'_>]) -> Result<(), Errno> {
    let parts = [IoSlice::new(bytes)];
    loop {
        match sendmsg::<()>(socket.as_raw_fd(), &parts, rights, SEND_FLAGS, None) {
            Err(Errno::EINTR) => continue,
            // The other end was closed with messages unread. Linux reports this once in place of EPIPE.
            Err(Errno::ECONNRESET) => return Err(Errno::EPIPE),
            other => return other.map(drop),
        }
    }
}

/// Sends one message with several descriptors, 253 at most on Linux. As [`send_packet`] in all else.
///
/// Errors: as [`send_packet`]; `EINVAL` for more descriptors, `EMSGSIZE` for a longer message than the buffer takes.
pub fn send_parcel(socket: BorrowedFd<'_>, bytes: &[u8], handles: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let raw: Vec<RawFd> = handles.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = (!raw.is_empty()).then_some(ControlMessage::ScmRights(&raw));
    send_with(socket, bytes, rights.as_slice())
}

/// A received message with all its descriptors.
#[derive(Debug)]
pub struct Parcel {
    /// Its length in bytes; 0 when every copy of the other end is closed.
    pub length: usize,
    /// Close-on-exec, in the order in which they were sent.
    pub handles: Vec<OwnedFd>,
    /// Whether the message was longer than the buffer, or this process could not take all descriptors.
    pub is_truncated: bool,
}

/// Receives one message and all its descriptors.
///
/// Errors: as [`receive_packet`].
pub fn receive_parcel(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    ancillary: &mut Ancillary,
) -> Result<Parcel, Errno> {
    let Message { bytes, handles, flags } = receive_whole(socket, buffer, Some(ancillary))?;
    let is_truncated = flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0;
    Ok(Parcel { length: bytes, handles, is_truncated })
}

/// A received message.
#[derive(Debug)]
pub struct Packet {
    /// Its length in bytes; 0 when every copy of the other end is closed.
    pub length: usize,
    /// Its descriptor, close-on-exec. None when there was none, or when this process could not take it.
    pub handle: Option<OwnedFd>,
    /// Whether the message was longer than the buffer.
    pub is_truncated: bool,
}

/// Receives one message and its descriptor.
///
/// Errors: `EAGAIN` when nothing is there.
pub fn receive_packet(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    ancillary: &mut Ancillary,
) -> Result<Packet, Errno> {
    receive_into(socket, buffer, Some(ancillary))
}

/// Receives one message without its descriptor, which the kernel closes. It is for a reader that has a copy
/// of its own.
///
/// Errors: as [`receive_packet`].
pub fn receive_packet_bytes(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Packet, Errno> {
    receive_into(socket, buffer, None)
}

fn receive_whole(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    mut ancillary: Option<&mut Ancillary>,
) -> Result<Message, Errno> {
    let mut attempt = || receive_message(socket, buffer, ancillary.as_deref_mut());
    match attempt() {
        // The other end was closed with messages unread. Linux reports that once, before the messages that
        // are still there and the end. For the caller the end alone matters, so that the next attempt tells
        // enough.
        Err(Errno::ECONNRESET) => attempt(),
        other => other,
    }
}

fn receive_into(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    ancillary: Option<&mut Ancillary>,
) -> Result<Packet, Errno> {
    let Message { bytes, mut handles, flags } = receive_whole(socket, buffer, ancillary)?;
    Ok(Packet { length: bytes, handle: handles.pop(), is_truncated: flags & libc::MSG_TRUNC != 0 })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    fn receive_text(socket: BorrowedFd<'_>) -> (String, bool) {
        let mut buffer = [0; 64];
        let packet = receive_packet(socket, &mut buffer, &mut Ancillary::default()).unwrap();
        (String::from_utf8_lossy(&buffer[..packet.length]).into_owned(), packet.handle.is_some())
    }

    #[test]
    fn each_message_is_received_whole_with_its_own_descriptor() {
        let lane = packet_pair().unwrap();
        let gift = packet_pair().unwrap();
        send_packet(lane.ours.as_fd(), b"one", Some(gift.ours.as_fd())).unwrap();
        send_packet(lane.ours.as_fd(), b"two", None).unwrap();
        send_packet(lane.ours.as_fd(), b"three", Some(gift.ours.as_fd())).unwrap();
        assert_eq!(receive_text(lane.theirs.as_fd()), ("one".into(), true));
        assert_eq!(receive_text(lane.theirs.as_fd()), ("two".into(), false));
        assert_eq!(receive_text(lane.theirs.as_fd()), ("three".into(), true));
        assert_eq!(
            receive_packet(lane.theirs.as_fd(), &mut [0; 8], &mut Ancillary::default()).unwrap_err(),
            Errno::EAGAIN
        );
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn of_several_descriptors_one_is_taken_and_the_others_are_closed() {
        for copies in [2, 3, 253] {
            let lane = packet_pair().unwrap();
            let gift = crate::os::testing::Gift::default();
            gift.send(lane.ours.as_fd(), b"several", copies);
            let packet = receive_packet(lane.theirs.as_fd(), &mut [0; 8], &mut Ancillary::default()).unwrap();
            assert!(packet.handle.is_some());
            drop(packet);
            assert!(gift.is_closed_everywhere(), "{copies}");
        }
    }

    #[test]
    fn who_receives_without_the_descriptor_makes_none() {
        let lane = packet_pair().unwrap();
        let gift = packet_pair().unwrap();
        send_packet(lane.ours.as_fd(), b"one", Some(gift.ours.as_fd())).unwrap();
        drop(gift.ours);
        let mut buffer = [0; 8];
        let packet = receive_packet_bytes(lane.theirs.as_fd(), &mut buffer).unwrap();
        assert_eq!((packet.length, packet.handle.is_some()), (3, false));
        // The copy in flight is closed: nothing else holds the other end of the gift.
        let end = receive_packet(gift.theirs.as_fd(), &mut buffer, &mut Ancillary::default()).unwrap();
        assert_eq!(end.length, 0);
    }

    #[test]
    fn what_was_sent_before_an_end_that_left_messages_unread_is_received_before_the_end() {
        let lane = packet_pair().unwrap();
        let gift = packet_pair().unwrap();
        send_packet(lane.theirs.as_fd(), b"unread", None).unwrap();
        for text in [&b"one"[..], b"two"] {
            send_packet(lane.ours.as_fd(), text, Some(gift.ours.as_fd())).unwrap();
        }
        drop(lane.ours);
        assert_eq!(receive_text(lane.theirs.as_fd()), ("one".into(), true));
        assert_eq!(receive_text(lane.theirs.as_fd()), ("two".into(), true));
        assert_eq!(receive_text(lane.theirs.as_fd()), (String::new(), false));
    }

    #[test]
    fn who_sends_to_an_end_that_left_messages_unread_is_told_that_it_is_closed_and_receives_what_is_there() {
        let lane = packet_pair().unwrap();
        send_packet(lane.theirs.as_fd(), b"unread", None).unwrap();
        send_packet(lane.ours.as_fd(), b"one", None).unwrap();
        drop(lane.ours);
        for _ in 0..2 {
            assert_eq!(send_packet(lane.theirs.as_fd(), b"?", None), Err(Errno::EPIPE));
        }
        assert_eq!(receive_text(lane.theirs.as_fd()), ("one".into(), false));
    }

    #[test]
    fn the_end_is_told_when_every_copy_of_the_other_end_is_closed() {
        let lane = packet_pair().unwrap();
        let copy = lane.ours.try_clone().unwrap();
        drop(lane.ours);
        assert_eq!(
            receive_packet(lane.theirs.as_fd(), &mut [0; 8], &mut Ancillary::default()).unwrap_err(),
            Errno::EAGAIN
        );
        drop(copy);
        assert_eq!(
            receive_packet(lane.theirs.as_fd(), &mut [0; 8], &mut Ancillary::default()).unwrap().length,
            0
        );
        assert_eq!(send_packet(lane.theirs.as_fd(), b"?", None), Err(Errno::EPIPE));
    }
}
