//! Taking connections off a listening socket.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{getsockopt, sockopt};
use socket2::{SockAddr, SockRef, Type};

use crate::address::Peer;
use crate::error::errno_of;

/// A connection from the backlog.
#[derive(Debug)]
pub struct Accepted {
    /// Close-on-exec and non-blocking, as the worker's libuv needs it.
    pub connection: OwnedFd,
    /// The client's address.
    pub peer: Peer,
}

/// Takes one connection off the backlog (`accept(2)`).
///
/// Errors: `EAGAIN` when there is none, `EMFILE` and `ENFILE` without descriptors left, `ECONNABORTED` for a
/// client that has already given up. The network errors that `accept(2)` lists mean the same and are returned
/// unchanged.
pub fn accept(listener: BorrowedFd<'_>) -> Result<Accepted, Errno> {
    // SAFETY: all-zero bytes are a valid sockaddr_storage (family AF_UNSPEC).
    let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    loop {
        match accept_once(listener, &mut storage) {
            Ok(connection) => return Ok(Accepted { connection, peer: peer_of(&storage) }),
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno),
        }
    }
}

#[cfg(target_os = "linux")]
fn accept_once(listener: BorrowedFd<'_>, peer: &mut libc::sockaddr_storage) -> Result<OwnedFd, Errno> {
    let mut length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: `peer` and `length` are live for the call and `length` is the size of `peer`.
    let raw = unsafe {
        libc::accept4(
            listener.as_raw_fd(),
            std::ptr::from_mut(peer).cast(),
            &raw mut length,
            libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
        )
    };
    // SAFETY: accept4 has just made this descriptor. Nothing else owns it.
    Errno::result(raw).map(|raw| unsafe { OwnedFd::from_raw_fd(raw) })
}

/// macOS has no accept4: a child that is forked between the two calls inherits the connection, as it does
/// with libuv.
#[cfg(target_os = "macos")]
fn accept_once(listener: BorrowedFd<'_>, peer: &mut libc::sockaddr_storage) -> Result<OwnedFd, Errno> {
    use std::os::fd::AsFd;

    let mut length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: `peer` and `length` are live for the call and `length` is the size of `peer`.
    let raw = unsafe { libc::accept(listener.as_raw_fd(), std::ptr::from_mut(peer).cast(), &raw mut length) };
    // SAFETY: accept has just made this descriptor. Nothing else owns it.
    let connection = Errno::result(raw).map(|raw| unsafe { OwnedFd::from_raw_fd(raw) })?;
    super::close_on_exec(&connection)?;
    super::set_nonblocking(connection.as_fd())?;
    Ok(connection)
}

/// As [`accept`], from a socket that another process has, too, and may have made blocking: it must not keep this one waiting.
///
/// Errors: as [`accept`].
pub fn accept_shared(listener: BorrowedFd<'_>) -> Result<Accepted, Errno> {
    // Without anything to accept it would be waited for, and with something the other process may be quicker.
    if look_at(listener) == 0 {
        return Err(Errno::EAGAIN);
    }
    super::set_nonblocking(listener)?;
    accept(listener)
}

/// Whether connections wait at a listening socket.
pub fn has_backlog(listener: BorrowedFd<'_>) -> bool {
    look_at(listener) & libc::POLLIN != 0
}

/// What there is at a socket: connections (`POLLIN`), or its end.
fn look_at(listener: BorrowedFd<'_>) -> i16 {
    let mut look = libc::pollfd { fd: listener.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: the pointer is live for the call and is to one pollfd. Without a timeout it does not wait, and EINTR is not
    // among its errors then.
    let ready = unsafe { libc::poll(&raw mut look, 1, 0) };
    if ready > 0 { look.revents } else { 0 }
}

/// Who is at the other end of a connection.
///
/// Errors: `ENOTCONN` when nobody is any more.
pub fn peer(connection: BorrowedFd<'_>) -> Result<Peer, Errno> {
    let address = SockRef::from(&connection).peer_addr().map_err(|error| errno_of(&error))?;
    Ok(address.as_socket().map_or(Peer::Unix, Peer::from))
}

/// Whether a descriptor that another process has sent is a TCP socket that does not listen.
pub fn is_tcp_connection(fd: BorrowedFd<'_>) -> bool {
    is_connection(fd, |address| address.is_ipv4() || address.is_ipv6())
}

/// Whether a descriptor that another process has sent is a Unix stream socket that does not listen.
pub fn is_unix_connection(fd: BorrowedFd<'_>) -> bool {
    is_connection(fd, SockAddr::is_unix)
}

fn is_connection(fd: BorrowedFd<'_>, has_family: impl FnOnce(&SockAddr) -> bool) -> bool {
    let socket = SockRef::from(&fd);
    let is_stream = socket.r#type().is_ok_and(|kind| kind == Type::STREAM);
    let listens = getsockopt(&fd, sockopt::AcceptConn).unwrap_or(true);
    is_stream && !listens && socket.local_addr().is_ok_and(|address| has_family(&address))
}

fn peer_of(storage: &libc::sockaddr_storage) -> Peer {
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that the kernel wrote a sockaddr_in, which is smaller than the storage.
            let v4 = unsafe { &*std::ptr::from_ref(storage).cast::<libc::sockaddr_in>() };
            Peer::Ip(IpAddr::from(u32::from_be(v4.sin_addr.s_addr).to_be_bytes()), u16::from_be(v4.sin_port))
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that the kernel wrote a sockaddr_in6, which is smaller than the storage.
            let v6 = unsafe { &*std::ptr::from_ref(storage).cast::<libc::sockaddr_in6>() };
            Peer::Ip(IpAddr::from(v6.sin6_addr.s6_addr), u16::from_be(v6.sin6_port))
        }
        _ => Peer::Unix,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    #[test]
    fn the_peer_is_the_clients_own_address() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let accepted = accept(listener.as_fd()).unwrap();
            assert_eq!(accepted.peer, Peer::from(client.local_addr().unwrap()));
        }
    }

    #[test]
    fn nothing_to_accept_is_eagain() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        assert_eq!(accept(listener.as_fd()).unwrap_err(), Errno::EAGAIN);
        assert!(!has_backlog(listener.as_fd()));
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(has_backlog(listener.as_fd()));
        accept(listener.as_fd()).unwrap();
        assert!(!has_backlog(listener.as_fd()));
    }
}
