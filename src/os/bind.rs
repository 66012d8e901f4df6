//! Sockets bound to an address the way libuv binds them, so that errors and options are those that Node's
//! users know.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use super::own::Mark;
use crate::address::LocalAddress;
use crate::error::errno_of;

/// libuv's `UV_TCP_IPV6ONLY` and `UV_UDP_IPV6ONLY`: no IPv4 on this IPv6 socket.
const IPV6_ONLY: u32 = 1;
/// libuv's `UV_UDP_REUSEADDR`.
const UDP_REUSE_ADDRESS: u32 = 4;
/// libuv's `UV_UDP_REUSEPORT` (libuv 1.49 and newer).
const UDP_REUSE_PORT: u32 = 8;

/// The backlog when nobody asks for another (Node: `net.js`, 511).
pub const DEFAULT_BACKLOG: i32 = 511;

/// The size of `sun_path` in a `sockaddr_un`.
const SUN_PATH: usize = size_of::<libc::sockaddr_un>() - std::mem::offset_of!(libc::sockaddr_un, sun_path);

/// A bound socket.
#[derive(Debug)]
pub struct Bound {
    /// The file that binding created; None for IP and abstract names. The field precedes `socket` so that it
    /// is dropped first: while the socket still listens, no other process takes the file for a stale one and
    /// replaces it.
    pub file: Option<SocketFile>,
    /// Marks the socket as corral's own, so that no worker obtains it by its number. None for a socket of the
    /// program.
    pub mark: Option<Mark>,
    /// Close-on-exec, non-blocking, bound but not listening.
    pub socket: OwnedFd,
}

impl Bound {
    /// A socket that corral has made, and the file that binding it has created.
    ///
    /// Errors: none that an open socket can cause.
    pub(super) fn own(socket: impl Into<OwnedFd>, file: Option<SocketFile>) -> Result<Self, Errno> {
        let socket = socket.into();
        Ok(Bound { file, mark: Some(Mark::new(socket.as_fd())?), socket })
    }
}

/// The file of a Unix socket. Dropping this removes the file, unless another one has taken its place.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl SocketFile {
    /// For the file that binding has just created.
    ///
    /// Errors: `ENOENT` when it has already been removed.
    pub(super) fn new(path: &Path) -> Result<Self, Errno> {
        // The path must stay valid when the process changes its directory.
        let path = std::path::absolute(path).map_err(|error| errno_of(&error))?;
        let identity = Self::identity_of(&path).map_err(|error| errno_of(&error))?;
        Ok(SocketFile { path, identity })
    }

    fn identity_of(path: &Path) -> std::io::Result<(u64, u64)> {
        let metadata = std::fs::symlink_metadata(path)?;
        Ok((metadata.dev(), metadata.ino()))
    }
}

impl SocketFile {
    /// For a file that another process has made, and that is to be removed by this one from now on.
    ///
    /// Errors: `ENOENT` when it has already been removed.
    pub fn adopt(path: &Path) -> Result<Self, Errno> {
        Self::new(path)
    }

    /// Leaves the file to another process, which removes it.
    pub fn leave(mut self) {
        // No file has this identity.
        self.identity = (0, 0);
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // The file may already be gone, alone or together with its directory. Nobody replaces it between the
        // two calls while its socket listens.
        if Self::identity_of(&self.path).is_ok_and(|identity| identity == self.identity) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Binds a TCP socket. Without an address it binds `::`, which also serves IPv4, or `0.0.0.0` on a machine
/// without IPv6 (Node: `net.js`, `setupListenHandle`). `flags` are libuv's.
///
/// Errors: `EADDRINUSE`, `EADDRNOTAVAIL`, `EACCES`; `EINVAL` for an address that is not numeric.
pub fn bind_tcp(address: Option<&str>, port: u16, flags: u32) -> Result<Bound, Errno> {
    bind_ip(address, port, flags, Type::STREAM)
}

/// Binds a UDP socket of the given family (Node: `dgram`'s `_createSocketHandle`). Without an address it
/// binds the family's wildcard. `flags` are libuv's.
///
/// Errors: as for [`bind_tcp`].
pub fn bind_udp(address: Option<&str>, port: u16, ipv6: bool, flags: u32) -> Result<Bound, Errno> {
    let wildcard = if ipv6 { "::" } else { "0.0.0.0" };
    bind_ip(Some(address.unwrap_or(wildcard)), port, flags, Type::DGRAM)
}

fn bind_ip(address: Option<&str>, port: u16, flags: u32, kind: Type) -> Result<Bound, Errno> {
    let Some(address) = address.filter(|address| !address.is_empty()) else {
        let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        return match bind_address(v6, flags, kind) {
            // Only a machine without IPv6 falls back. libuv reports a port in use at listen(), and Node does
            // not retry.
            Err(errno) if errno != Errno::EADDRINUSE && errno != Errno::EACCES => {
                bind_address(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), flags & !IPV6_ONLY, kind)
            }
            other => other,
        };
    };
    bind_address(parse_address(address, port)?, flags, kind)
}

/// Reads `127.0.0.1`, `::1` or `fe80::1%eth0`.
fn parse_address(address: &str, port: u16) -> Result<SocketAddr, Errno> {
    let (host, zone) = match address.split_once('%') {
        Some((host, zone)) => (host, Some(zone)),
        None => (address, None),
    };
    match (host.parse::<IpAddr>().map_err(|_| Errno::EINVAL)?, zone) {
        (IpAddr::V6(v6), Some(zone)) => {
            let scope = zone.parse().or_else(|_| nix::net::if_::if_nametoindex(zone))?;
            Ok(SocketAddr::V6(SocketAddrV6::new(v6, port, 0, scope)))
        }
        (ip, _) => Ok(SocketAddr::new(ip, port)),
    }
}

fn bind_address(address: SocketAddr, flags: u32, kind: Type) -> Result<Bound, Errno> {
    let errno = |error: std::io::Error| errno_of(&error);
    let protocol = if kind == Type::STREAM { Protocol::TCP } else { Protocol::UDP };
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol)).map_err(errno)?;
    socket.set_nonblocking(true).map_err(errno)?;
    if kind == Type::STREAM {
        socket.set_reuse_address(true).map_err(errno)?;
    } else {
        set_udp_reuse(&socket, flags)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(flags & IPV6_ONLY != 0).map_err(errno)?;
    }
    socket.bind(&SockAddr::from(address)).map_err(|error| match errno_of(&error) {
        // libuv reports an address of another family than the socket's as invalid.
        Errno::EAFNOSUPPORT => Errno::EINVAL,
        errno => errno,
    })?;
    Bound::own(socket, None)
}

#[cfg(target_os = "linux")]
fn set_udp_reuse(socket: &Socket, flags: u32) -> Result<(), Errno> {
    if flags & UDP_REUSE_ADDRESS != 0 {
        socket.set_reuse_address(true).map_err(|error| errno_of(&error))?;
    }
    if flags & UDP_REUSE_PORT != 0 {
        socket.set_reuse_port(true).map_err(|error| errno_of(&error))?;
    }
    Ok(())
}

/// SO_REUSEPORT on the BSDs is what SO_REUSEADDR is on Linux (libuv: `uv__set_reuse`). macOS has nothing like
/// Linux's SO_REUSEPORT.
#[cfg(target_os = "macos")]
fn set_udp_reuse(socket: &Socket, flags: u32) -> Result<(), Errno> {
    if flags & UDP_REUSE_PORT != 0 {
        return Err(Errno::ENOTSUP);
    }
    if flags & UDP_REUSE_ADDRESS != 0 {
        socket.set_reuse_port(true).map_err(|error| errno_of(&error))?;
    }
    Ok(())
}

/// How an abstract name is written into its address. Both ends must agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AbstractNames {
    /// With its own length (libuv after 1.46).
    #[default]
    Exact,
    /// Padded with NUL bytes to the size of `sun_path` (libuv 1.46, Node 20).
    Padded,
}

/// Binds a Unix stream socket to a path, or to an abstract name if it begins with a NUL byte. `readable_all`
/// and `writable_all` widen the file's mode as libuv's `uv_pipe_chmod` does.
///
/// Errors: `EADDRINUSE` when the file exists; `EACCES` also for a directory that does not exist, as in libuv;
/// `EINVAL` for a name that does not fit into `sun_path`, and for an abstract name where the system has none
/// (macOS).
pub fn bind_unix(
    name: &Path,
    abstract_names: AbstractNames,
    readable_all: bool,
    writable_all: bool,
) -> Result<Bound, Errno> {
    let errno = |error: std::io::Error| errno_of(&error);
    let address = unix_address(name, abstract_names)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(errno)?;
    socket.set_nonblocking(true).map_err(errno)?;
    socket.bind(&address).map_err(|error| match errno_of(&error) {
        Errno::ENOENT => Errno::EACCES,
        errno => errno,
    })?;
    if is_abstract(name) {
        return Bound::own(socket, None);
    }
    let bound = Bound::own(socket, Some(SocketFile::new(name)?))?;
    if readable_all || writable_all {
        widen_mode(name, readable_all, writable_all).map_err(errno)?;
    }
    Ok(bound)
}

/// Whether a name is abstract, without a file.
pub(super) fn is_abstract(name: &Path) -> bool {
    name.as_os_str().as_bytes().first() == Some(&0)
}

/// The address of a path or of an abstract name.
///
/// Errors: `EINVAL` for a name that does not fit into `sun_path`, and for an abstract name where the system
/// has none (macOS).
pub(super) fn unix_address(name: &Path, abstract_names: AbstractNames) -> Result<SockAddr, Errno> {
    let mut bytes = name.as_os_str().as_bytes().to_vec();
    if is_abstract(name) {
        if cfg!(not(target_os = "linux")) {
            return Err(Errno::EINVAL);
        }
        if abstract_names == AbstractNames::Padded && bytes.len() < SUN_PATH {
            bytes.resize(SUN_PATH, 0);
        }
    }
    SockAddr::unix(OsStr::from_bytes(&bytes)).map_err(|_| Errno::EINVAL)
}

fn widen_mode(path: &Path, readable_all: bool, writable_all: bool) -> std::io::Result<()> {
    let mut permissions = std::fs::metadata(path)?.permissions();
    let readable = if readable_all { 0o444 } else { 0 };
    let writable = if writable_all { 0o222 } else { 0 };
    permissions.set_mode(permissions.mode() | readable | writable);
    std::fs::set_permissions(path, permissions)
}

/// Makes the socket listen with the given backlog. A second call changes the backlog.
///
/// Errors: `EADDRINUSE` when another socket listens on the same address.
pub fn listen(socket: BorrowedFd<'_>, backlog: i32) -> Result<(), Errno> {
    SockRef::from(&socket).listen(backlog).map_err(|error| errno_of(&error))
}

/// The address that the socket is bound to; None for a Unix socket.
///
/// Errors: `EBADF`, `ENOTSOCK`.
pub fn local_address(socket: BorrowedFd<'_>) -> Result<Option<LocalAddress>, Errno> {
    let address = SockRef::from(&socket).local_addr().map_err(|error| errno_of(&error))?;
    Ok(address.as_socket().map(|address| LocalAddress {
        address: match address {
            SocketAddr::V6(v6) if v6.scope_id() != 0 => format!("{}%{}", v6.ip(), v6.scope_id()),
            _ => address.ip().to_string(),
        },
        family: if address.is_ipv4() { "IPv4" } else { "IPv6" },
        port: address.port(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn port_of(bound: &Bound) -> u16 {
        local_address(bound.socket.as_fd()).unwrap().unwrap().port
    }

    #[test]
    fn without_an_address_both_families_are_served() {
        let bound = bind_tcp(None, 0, 0).unwrap();
        listen(bound.socket.as_fd(), 5).unwrap();
        let port = port_of(&bound);
        std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        std::net::TcpStream::connect(("::1", port)).unwrap();
    }

    #[test]
    fn ipv6_only_leaves_ipv4_alone() {
        let bound = bind_tcp(Some("::"), 0, IPV6_ONLY).unwrap();
        listen(bound.socket.as_fd(), 5).unwrap();
        let port = port_of(&bound);
        // That port of IPv4 may be another process's, so that who is connected says nothing. Who has come here does.
        let _other = std::net::TcpStream::connect(("127.0.0.1", port));
        let client = std::net::TcpStream::connect(("::1", port)).unwrap();
        let listener = std::net::TcpListener::from(bound.socket.try_clone().unwrap());
        listener.set_nonblocking(false).unwrap();
        assert_eq!(listener.accept().unwrap().1, client.local_addr().unwrap());
    }

    #[test]
    fn errors_are_the_ones_that_node_reports() {
        let taken = bind_tcp(Some("127.0.0.1"), 0, 0).unwrap();
        listen(taken.socket.as_fd(), 5).unwrap();
        assert_eq!(bind_tcp(Some("127.0.0.1"), port_of(&taken), 0).unwrap_err(), Errno::EADDRINUSE);
        assert_eq!(bind_tcp(Some("192.0.2.1"), 0, 0).unwrap_err(), Errno::EADDRNOTAVAIL);
        assert_eq!(bind_tcp(Some("no address"), 0, 0).unwrap_err(), Errno::EINVAL);
        assert_eq!(
            bind_unix(Path::new("/no/such/directory/s"), AbstractNames::Exact, false, false).unwrap_err(),
            Errno::EACCES
        );
        assert_eq!(
            bind_unix(Path::new(&"x".repeat(200)), AbstractNames::Exact, false, false).unwrap_err(),
            Errno::EINVAL
        );
    }

    #[test]
    fn the_mode_of_a_unix_socket_follows_the_options() {
        let directory = tempfile::tempdir().unwrap();
        for (name, readable, writable, expected) in [("r", true, false, 0o444), ("w", false, true, 0o222)] {
            let path = directory.path().join(name);
            let bound = bind_unix(&path, AbstractNames::Exact, readable, writable).unwrap();
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & expected, expected);
            assert_eq!(bind_unix(&path, AbstractNames::Exact, false, false).unwrap_err(), Errno::EADDRINUSE);
            drop(bound);
            assert!(!path.exists());
        }
    }

    #[test]
    fn a_socket_that_is_closed_has_no_file_that_looks_stale() {
        const ROUNDS: usize = 2000;
        let directory = tempfile::tempdir().unwrap();
        let path = |round: usize| directory.path().join(round.to_string());
        let round = AtomicUsize::new(0);
        let stale = std::thread::scope(|scope| {
            let client = scope.spawn(|| {
                let mut stale = 0;
                loop {
                    let path = match round.load(Ordering::Acquire) {
                        ROUNDS => return stale,
                        round => path(round),
                    };
                    if let Err(error) = UnixStream::connect(&path)
                        && error.kind() == std::io::ErrorKind::ConnectionRefused
                    {
                        stale += usize::from(path.exists());
                    }
                }
            });
            for number in 1..=ROUNDS {
                // The file lies at its final name while the socket listens, so that a connection is refused
                // only at its end.
                let new = path(ROUNDS + number);
                let mut bound = bind_unix(&new, AbstractNames::Exact, false, false).unwrap();
                listen(bound.socket.as_fd(), 5).unwrap();
                std::fs::rename(new, path(number)).unwrap();
                bound.file = Some(SocketFile::new(&path(number)).unwrap());
                round.store(number, Ordering::Release);
            }
            client.join().unwrap()
        });
        assert_eq!(stale, 0);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn an_abstract_name_leaves_no_file() {
        let name = format!("\0corral-test-{}", std::process::id());
        for names in [AbstractNames::Exact, AbstractNames::Padded] {
            let bound = bind_unix(Path::new(&name), names, false, false).unwrap();
            assert!(bound.file.is_none());
            assert_eq!(bind_unix(Path::new(&name), names, false, false).unwrap_err(), Errno::EADDRINUSE);
        }
    }
}
