//! Taking connections off a listening socket.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

use crate::address::Peer;

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
    }
}
