//! Sockets that this process has got from another: from the service manager that has started it, or from the process that
//! it replaces.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{getsockopt, sockopt};
use socket2::SockRef;

use super::fd::set_nonblocking;
use super::own::{Purpose, purpose_of, share_socket};
use crate::error::errno_of;

/// The address to which a socket is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketName {
    /// Of the Internet.
    Ip {
        /// The address and the port.
        address: SocketAddr,
        /// An IPv6 socket takes no IPv4.
        is_v6_only: bool,
    },
    /// A path, or an abstract name behind a NUL byte.
    Unix(PathBuf),
}

/// What comes to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// Connections.
    Connections,
    /// Datagrams.
    Datagrams,
}

/// A socket to which clients come, and which another process has bound.
#[derive(Debug)]
pub struct InheritedSocket {
    /// Close-on-exec and non-blocking.
    pub socket: OwnedFd,
    /// Where it is bound.
    pub name: SocketName,
    /// What comes to it.
    pub carries: Carries,
    /// Whether it listens.
    pub listens: bool,
}

/// A share in the socket that this process has inherited under a number. The number stays open and becomes close-on-exec, so
/// that no child has it.
///
/// Errors: `EINVAL` for what is no socket to which clients come, `EEXIST` for a socket of corral's own; `EMFILE`.
pub fn inherited_socket(number: RawFd) -> Result<InheritedSocket, Errno> {
    let purposes = [Purpose::Listening, Purpose::Udp4, Purpose::Udp6];
    let mut refusal = Errno::EINVAL;
    for purpose in purposes {
        match share_socket(number, purpose) {
            Ok(socket) => {
                // SAFETY: the number was open when it was duplicated, and the call fails if it is not any more.
                let original = unsafe { BorrowedFd::borrow_raw(number) };
                fcntl(original, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
                let carries = match purpose {
                    Purpose::Listening => Carries::Connections,
                    Purpose::Udp4 | Purpose::Udp6 => Carries::Datagrams,
                };
                return describe(socket, carries);
            }
            Err(Errno::EINVAL) => {}
            Err(errno) => refusal = errno,
        }
    }
    Err(refusal)
}

/// The same for a socket that another process has sent.
///
/// Errors: `EINVAL` for what is no socket to which clients come.
pub fn received_socket(socket: OwnedFd) -> Result<InheritedSocket, Errno> {
    let carries = match purpose_of(socket.as_fd())?.ok_or(Errno::EINVAL)? {
        Purpose::Listening => Carries::Connections,
        Purpose::Udp4 | Purpose::Udp6 => Carries::Datagrams,
    };
    describe(socket, carries)
}

fn describe(socket: OwnedFd, carries: Carries) -> Result<InheritedSocket, Errno> {
    set_nonblocking(socket.as_fd())?;
    let name = name_of(socket.as_fd())?;
    let listens = getsockopt(&socket, sockopt::AcceptConn)?;
    Ok(InheritedSocket { socket, name, carries, listens })
}

/// Where a socket is bound.
///
/// Errors: `EINVAL` for one that has no address that corral knows.
pub fn name_of(socket: BorrowedFd<'_>) -> Result<SocketName, Errno> {
    let socket = SockRef::from(&socket);
    let address = socket.local_addr().map_err(|error| errno_of(&error))?;
    if let Some(ip) = address.as_socket() {
        let is_v6_only = ip.is_ipv6() && socket.only_v6().map_err(|error| errno_of(&error))?;
        return Ok(SocketName::Ip { address: ip, is_v6_only });
    }
    if let Some(path) = address.as_pathname() {
        return Ok(SocketName::Unix(path.to_owned()));
    }
    // libuv 1.46 fills abstract names up with NUL bytes, which are part of the name for the kernel.
    let name = address.as_abstract_namespace().ok_or(Errno::EINVAL)?;
    let length = name.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let with_nul = [b"\0", &name[..length]].concat();
    Ok(SocketName::Unix(PathBuf::from(OsStr::from_bytes(&with_nul))))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_socket_is_known_by_its_address_and_no_child_has_it() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        // As a service manager leaves it.
        fcntl(&tcp, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        let got = inherited_socket(tcp.as_raw_fd()).unwrap();
        let address = tcp.local_addr().unwrap();
        assert_eq!(got.name, SocketName::Ip { address, is_v6_only: false });
        assert_eq!((got.carries, got.listens), (Carries::Connections, true));
        for socket in [tcp.as_fd(), got.socket.as_fd()] {
            assert_eq!(fcntl(socket, FcntlArg::F_GETFD).unwrap() & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
        }
        let udp = UdpSocket::bind("[::1]:0").unwrap();
        let got = inherited_socket(udp.as_raw_fd()).unwrap();
        assert_eq!((got.carries, got.listens), (Carries::Datagrams, false));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let unix = UnixListener::bind(&path).unwrap();
        assert_eq!(inherited_socket(unix.as_raw_fd()).unwrap().name, SocketName::Unix(path));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_filling_of_an_abstract_name_is_no_part_of_it() {
        use std::path::Path;

        use crate::os::{AbstractNames, bind_unix};

        let name = format!("\0corral-inherited-{}", std::process::id());
        for filling in [AbstractNames::Exact, AbstractNames::Padded] {
            let bound = bind_unix(Path::new(&name), filling, false, false).unwrap();
            assert_eq!(name_of(bound.socket.as_fd()).unwrap(), SocketName::Unix(PathBuf::from(&name)));
        }
    }

    #[test]
    fn what_no_client_comes_to_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connection = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(inherited_socket(connection.as_raw_fd()).unwrap_err(), Errno::EINVAL);
        let file = tempfile::tempfile().unwrap();
        assert_eq!(inherited_socket(file.as_raw_fd()).unwrap_err(), Errno::EINVAL);
        assert_eq!(inherited_socket(1 << 20).unwrap_err(), Errno::EINVAL);
    }
}
