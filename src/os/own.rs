//! Which sockets are corral's own, and a share in one of the program's sockets for a worker that names it by
//! its number. A worker may name any number.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{getsockopt, sockopt};
use nix::sys::stat::{SFlag, fstat};
use parking_lot::Mutex;
use socket2::{SockRef, Type};

use super::fd::duplicate_raw;
use crate::error::errno_of;

/// The inodes of the sockets that corral has bound, each as long as its [`Mark`] lives.
static OWN: Mutex<BTreeSet<u64>> = Mutex::new(BTreeSet::new());

/// Marks a socket as corral's own as long as this lives.
#[derive(Debug)]
pub struct Mark(u64);

impl Mark {
    /// Errors: none that an open socket can cause.
    pub fn new(socket: BorrowedFd<'_>) -> Result<Self, Errno> {
        let inode = inode_of(socket)?;
        OWN.lock().insert(inode);
        Ok(Mark(inode))
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        OWN.lock().remove(&self.0);
    }
}

fn inode_of(socket: BorrowedFd<'_>) -> Result<u64, Errno> {
    Ok(fstat(socket)?.st_ino)
}

/// The use for which a worker wants a descriptor of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Accepting connections over TCP or at a path.
    Listening,
    /// Datagrams over IPv4.
    Udp4,
    /// Datagrams over IPv6.
    Udp6,
}

/// Duplicates a descriptor of the program, close-on-exec, if it is a socket that fits the purpose: a stream
/// socket that is bound or listens, or a UDP socket of the family. A socket with a peer is a private
/// connection and is refused.
///
/// Errors, as the built-in cluster reports them: `EEXIST` for a socket of corral's own, like the built-in for
/// every descriptor on the event loop; `ENOTSOCK` for a pipe to listen on; `EINVAL` for every other
/// descriptor that does not fit and for a number that is not open; `EMFILE`.
pub fn share_socket(number: RawFd, purpose: Purpose) -> Result<OwnedFd, Errno> {
    let invalid = |errno| if errno == Errno::EBADF { Errno::EINVAL } else { errno };
    // The duplicate comes first: the number may be reused for another file, the duplicate cannot.
    let file = duplicate_raw(number).map_err(invalid)?;
    let kind = SFlag::from_bits_truncate(fstat(&file)?.st_mode) & SFlag::S_IFMT;
    if kind == SFlag::S_IFIFO && purpose == Purpose::Listening {
        return Err(Errno::ENOTSOCK);
    }
    if kind != SFlag::S_IFSOCK {
        return Err(Errno::EINVAL);
    }
    if OWN.lock().contains(&inode_of(file.as_fd())?) {
        return Err(Errno::EEXIST);
    }
    let is_good = match purpose {
        Purpose::Listening => may_listen(file.as_fd())?,
        Purpose::Udp4 => is_free_datagram(file.as_fd(), Family::V4)?,
        Purpose::Udp6 => is_free_datagram(file.as_fd(), Family::V6)?,
    };
    if is_good { Ok(file) } else { Err(Errno::EINVAL) }
}

/// What a socket is good for; None if it is for none of that.
///
/// Errors: `ENOTSOCK`; none that a socket can cause.
pub(super) fn purpose_of(socket: BorrowedFd<'_>) -> Result<Option<Purpose>, Errno> {
    if may_listen(socket)? {
        return Ok(Some(Purpose::Listening));
    }
    if is_free_datagram(socket, Family::V4)? {
        return Ok(Some(Purpose::Udp4));
    }
    Ok(is_free_datagram(socket, Family::V6)?.then_some(Purpose::Udp6))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

fn is_free_datagram(file: BorrowedFd<'_>, family: Family) -> Result<bool, Errno> {
    let socket = SockRef::from(&file);
    let address = socket.local_addr().map_err(|error| errno_of(&error))?;
    let has_family = match family {
        Family::V4 => address.is_ipv4(),
        Family::V6 => address.is_ipv6(),
    };
    let kind = socket.r#type().map_err(|error| errno_of(&error))?;
    Ok(has_family && kind == Type::DGRAM && socket.peer_addr().is_err())
}

fn may_listen(file: BorrowedFd<'_>) -> Result<bool, Errno> {
    let socket = SockRef::from(&file);
    let address = socket.local_addr().map_err(|error| errno_of(&error))?;
    let has_name = match address.as_socket() {
        Some(ip) => ip.port() != 0,
        None => address.is_unix() && !address.is_unnamed(),
    };
    let kind = socket.r#type().map_err(|error| errno_of(&error))?;
    let is_free = || socket.peer_addr().is_err() && !is_connecting(file);
    Ok(has_name && kind == Type::STREAM && (getsockopt(&file, sockopt::AcceptConn)? || is_free()))
}

/// Whether a TCP socket that does not listen is connecting, or was connected before. Such a socket has an
/// address and no peer.
#[cfg(target_os = "linux")]
fn is_connecting(socket: BorrowedFd<'_>) -> bool {
    use std::os::fd::AsRawFd;

    /// `TCP_CLOSE`, the initial state of a socket.
    const CLOSED: u8 = 7;
    let (mut state, mut length) = (CLOSED, size_of::<u8>() as libc::socklen_t);
    // SAFETY: both pointers are live for the call. `length` is the size of `state`, the first field of a
    // tcp_info, and the kernel writes no more than that.
    let status = unsafe {
        let place = (&raw mut state).cast();
        libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, place, &raw mut length)
    };
    // A Unix socket has no such state.
    status == 0 && state != CLOSED
}

/// The system does not say.
#[cfg(not(target_os = "linux"))]
fn is_connecting(_socket: BorrowedFd<'_>) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
    use std::path::Path;

    use socket2::{Domain, SockAddr, Socket};

    use super::*;
    use crate::os::{AbstractNames, bind_tcp, bind_udp, bind_unix, listen, listen_named, packet_pair};

    const ALL: [Purpose; 3] = [Purpose::Listening, Purpose::Udp4, Purpose::Udp6];

    /// The result for each purpose.
    fn answers(file: &impl AsFd) -> [Result<(), Errno>; 3] {
        ALL.map(|purpose| share_socket(file.as_fd().as_raw_fd(), purpose).map(drop))
    }

    const NO: Result<(), Errno> = Err(Errno::EINVAL);
    const OWN: Result<(), Errno> = Err(Errno::EEXIST);

    #[test]
    fn a_socket_is_shared_for_what_it_is_good_for() {
        let directory = tempfile::tempdir().unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let unix = UnixListener::bind(directory.path().join("unix")).unwrap();
        let bound = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        bound.bind(&SockAddr::from(std::net::SocketAddr::from(([127, 0, 0, 1], 0)))).unwrap();
        for listener in [tcp.as_fd(), unix.as_fd(), bound.as_fd()] {
            assert_eq!(answers(&listener), [Ok(()), NO, NO]);
        }
        assert_eq!(answers(&UdpSocket::bind("127.0.0.1:0").unwrap()), [NO, Ok(()), NO]);
        assert_eq!(answers(&UdpSocket::bind("[::1]:0").unwrap()), [NO, NO, Ok(())]);
    }

    #[test]
    fn a_private_connection_is_shared_with_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("unix");
        let (tcp, unix) = (TcpListener::bind("127.0.0.1:0").unwrap(), UnixListener::bind(&path).unwrap());
        let client = TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
        let accepted = tcp.accept().unwrap().0;
        let unix_client = UnixStream::connect(&path).unwrap();
        let unix_accepted = unix.accept().unwrap().0;
        let pair = UnixStream::pair().unwrap();
        let lane = packet_pair().unwrap();
        let sockets = [
            client.as_fd(),
            accepted.as_fd(),
            unix_client.as_fd(),
            unix_accepted.as_fd(),
            pair.0.as_fd(),
            lane.ours.as_fd(),
        ];
        for socket in sockets {
            assert_eq!(answers(&socket), [NO; 3]);
        }
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        udp.connect("127.0.0.1:9").unwrap();
        assert_eq!(answers(&udp), [NO; 3]);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_connection_that_is_being_made_is_shared_with_nobody() {
        // Nobody accepts and the backlog is full: the next connection stays unanswered.
        let full = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        full.bind(&SockAddr::from(std::net::SocketAddr::from(([127, 0, 0, 1], 0)))).unwrap();
        full.listen(0).unwrap();
        let address = full.local_addr().unwrap();
        let connections: Vec<Socket> = (0..3)
            .map(|_| {
                let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
                socket.set_nonblocking(true).unwrap();
                let _ = socket.connect(&address);
                socket
            })
            .collect();
        assert!(is_connecting(connections[2].as_fd()) && connections[2].peer_addr().is_err());
        for socket in &connections {
            assert_eq!(answers(socket), [NO; 3]);
        }
    }

    #[test]
    fn what_is_no_socket_of_a_server_is_an_error_as_with_the_built_in() {
        let directory = tempfile::tempdir().unwrap();
        let file = std::fs::File::create(directory.path().join("file")).unwrap();
        let unbound = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let unnamed = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        let datagram = UnixDatagram::bind(directory.path().join("datagram")).unwrap();
        for other in [file.as_fd(), unbound.as_fd(), unnamed.as_fd(), datagram.as_fd()] {
            assert_eq!(answers(&other), [NO; 3]);
        }
        let (reader, writer) = std::io::pipe().unwrap();
        for end in [reader.as_fd(), writer.as_fd()] {
            assert_eq!(answers(&end), [Err(Errno::ENOTSOCK), NO, NO]);
        }
        for number in [-1, 1 << 20, i32::MAX, i32::MIN] {
            assert_eq!(ALL.map(|purpose| share_socket(number, purpose).map(drop)), [NO; 3]);
        }
    }

    #[test]
    fn corrals_own_sockets_are_shared_by_no_number_until_they_are_closed() {
        let directory = tempfile::tempdir().unwrap();
        // No other user may write there.
        let path = |name: &str| directory.path().join(name);
        let tcp = bind_tcp(Some("127.0.0.1"), 0, 0).unwrap();
        listen(tcp.socket.as_fd(), 5).unwrap();
        let bound = [
            tcp,
            bind_udp(Some("127.0.0.1"), 0, false, 0).unwrap(),
            bind_unix(&path("bound"), AbstractNames::Exact, false, false).unwrap(),
            listen_named(&path("named"), AbstractNames::Exact, false, false, 5).unwrap(),
            #[cfg(target_os = "linux")]
            {
                let name = format!("\0corral-own-{}", std::process::id());
                listen_named(Path::new(&name), AbstractNames::Exact, false, false, 5).unwrap()
            },
        ];
        for own in bound {
            let copy = own.socket.try_clone().unwrap();
            assert_eq!(answers(&own.socket), [OWN; 3]);
            assert_eq!(answers(&copy), [OWN; 3]);
            drop(own);
            assert!(!answers(&copy).contains(&OWN));
        }
    }
}
