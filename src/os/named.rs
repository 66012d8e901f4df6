//! Unix sockets where unrelated processes meet: listening at a name without taking it from another process,
//! connecting, and the peer's credentials.

use std::fs::Permissions;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, getsockopt, recv, sockopt};
use nix::unistd::Uid;
use socket2::{Domain, SockAddr, Socket, Type};

use super::bind::{AbstractNames, Bound, SocketFile, is_abstract, listen, unix_address};
use super::directory::checked_directory;
use super::name_lock::NameLock;
use crate::error::{Error, errno_of};

/// The mode of a listening socket's file: its owner may connect.
const OWNER: u32 = 0o600;

/// The process at the other end of a Unix socket, as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The process that connected or began to listen. It may have passed the socket on since. 0 for a process
    /// of another PID namespace.
    pub pid: i32,
    /// Its effective user id at that time.
    pub uid: u32,
    /// Its effective group id at that time.
    pub gid: u32,
}

impl Credentials {
    /// Whether the peer may do what this process may: it runs as the same user, or as root.
    pub fn is_trusted(&self) -> bool {
        self.uid == 0 || self.uid == Uid::effective().as_raw()
    }
}

/// Listens at a path or at an abstract name. Only this process's user can connect to it, unless
/// `readable_all` and `writable_all` widen the file's mode as libuv's `uv_pipe_chmod` does.
///
/// A stale socket file is replaced. The name stays locked until the new socket listens. If several processes
/// find the same stale file, one of them gets its place, and the others see that it is taken.
///
/// Errors: [`Error::UnsafeDirectory`]; `EAGAIN` while another process of this user holds the lock, to be
/// tried again; `EADDRINUSE` when another process listens there or the file is not a socket; `EACCES`, also
/// for a directory that does not exist; `EINVAL` for a name that is too long.
pub fn listen_named(
    name: &Path,
    abstract_names: AbstractNames,
    readable_all: bool,
    writable_all: bool,
    backlog: i32,
) -> Result<Bound, Error> {
    let socket = unix_socket()?;
    let address = unix_address(name, abstract_names).map_err(Error::sys("listening"))?;
    if is_abstract(name) {
        socket.bind(&address).map_err(Error::io("listening"))?;
        let socket = OwnedFd::from(socket);
        listen(socket.as_fd(), backlog).map_err(Error::sys("listening"))?;
        return Bound::own(socket, None).map_err(Error::sys("listening"));
    }
    let path = checked_path(name)?;
    // The checked path may be too long for an address. The program's own spelling leads to the same place.
    let address = unix_address(&path, abstract_names).unwrap_or(address);
    let _lock = NameLock::take(&path)?;
    match socket.bind(&address) {
        Err(error) if errno_of(&error) == Errno::EADDRINUSE => {
            remove_stale(&path, &address)?;
            socket.bind(&address).map_err(Error::io("listening"))?;
        }
        other => other.map_err(Error::io("listening"))?,
    }
    let file = SocketFile::new(&path).map_err(Error::sys("listening"))?;
    let readable = if readable_all { 0o444 } else { 0 };
    let writable = if writable_all { 0o222 } else { 0 };
    // The mode is set before the socket listens: until then nobody can connect, whatever mode the file was
    // made with.
    std::fs::set_permissions(&path, Permissions::from_mode(OWNER | readable | writable))
        .map_err(Error::io("setting the mode of the socket"))?;
    let socket = OwnedFd::from(socket);
    // The socket listens before the lock is released: a bound socket that does not listen looks stale.
    listen(socket.as_fd(), backlog).map_err(Error::sys("listening"))?;
    Bound::own(socket, Some(file)).map_err(Error::sys("listening"))
}

/// A stream socket, close-on-exec and non-blocking.
fn unix_socket() -> Result<Socket, Error> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(Error::io("making a socket"))?;
    socket.set_nonblocking(true).map_err(Error::io("making a socket"))?;
    Ok(socket)
}

/// The path of a socket in a directory where no other user can replace it.
fn checked_path(name: &Path) -> Result<PathBuf, Error> {
    let file = name.file_name().filter(|file| name.as_os_str().as_bytes().ends_with(file.as_bytes()));
    // A name that ends in a slash or in dots is a directory's. libuv reports EACCES.
    let file = file.ok_or(Error::Sys { doing: "listening", errno: Errno::EACCES })?;
    let parent = name.parent().filter(|parent| !parent.as_os_str().is_empty());
    Ok(checked_directory(parent.unwrap_or(Path::new(".")))?.join(file))
}

/// Removes a socket file at which nobody listens.
fn remove_stale(path: &Path, address: &SockAddr) -> Result<(), Error> {
    let in_use = Error::Sys { doing: "listening", errno: Errno::EADDRINUSE };
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => {}
        Ok(_) => return Err(in_use),
        // Another process has removed it.
        Err(error) if errno_of(&error) == Errno::ENOENT => return Ok(()),
        Err(error) => return Err(Error::io("looking at a socket's file")(error)),
    }
    // ECONNREFUSED alone means a stale file. Any other result comes from a socket that listens, perhaps with
    // a full backlog or of another type.
    match connect_to(address) {
        Err(Error::Sys { errno: Errno::ECONNREFUSED, .. }) => {
            std::fs::remove_file(path).map_err(Error::io("removing a stale socket"))
        }
        _ => Err(in_use),
    }
}

/// Connects to a path or an abstract name.
///
/// Errors: `ECONNREFUSED` when nobody listens there, `ENOENT` without a file, `EACCES` when its mode forbids
/// it, `EPROTOTYPE` for another type of socket; `EAGAIN` when the backlog is full, to be tried again.
pub fn connect_named(name: &Path, abstract_names: AbstractNames) -> Result<OwnedFd, Error> {
    connect_to(&unix_address(name, abstract_names).map_err(Error::sys("connecting"))?)
}

fn connect_to(address: &SockAddr) -> Result<OwnedFd, Error> {
    let socket = unix_socket()?;
    loop {
        match socket.connect(address) {
            Err(error) if errno_of(&error) == Errno::EINTR => continue,
            other => return other.map(|()| OwnedFd::from(socket)).map_err(Error::io("connecting")),
        }
    }
}

/// The credentials of the other end of a connected Unix socket (`SO_PEERCRED`).
///
/// Errors: `ENOTCONN`; none that a connected socket can cause.
#[cfg(target_os = "linux")]
pub fn credentials(socket: BorrowedFd<'_>) -> Result<Credentials, Errno> {
    let peer = getsockopt(&socket, sockopt::PeerCredentials)?;
    Ok(Credentials { pid: peer.pid(), uid: peer.uid(), gid: peer.gid() })
}

/// The credentials of the other end of a connected Unix socket (`LOCAL_PEERCRED`, `LOCAL_PEERPID`).
///
/// Errors: `ENOTCONN`; none that a connected socket can cause.
#[cfg(target_os = "macos")]
pub fn credentials(socket: BorrowedFd<'_>) -> Result<Credentials, Errno> {
    let peer = getsockopt(&socket, sockopt::LocalPeerCred)?;
    let pid = getsockopt(&socket, sockopt::LocalPeerPid)?;
    // The first group is the effective one.
    Ok(Credentials { pid, uid: peer.uid(), gid: peer.groups()[0] })
}

/// The result of reading a line from a stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A line, without its newline.
    Complete(Vec<u8>),
    /// The beginning of a line, or nothing yet. It stays in the socket.
    Partial(Vec<u8>),
    /// The bytes so far, which are longer than a line may be.
    Overlong(Vec<u8>),
    /// The end of the stream, with half a line before it or none.
    Ended,
}

/// Takes one line of at most `limit` bytes off a stream, and nothing behind it. Descriptors that came with
/// the line are closed.
///
/// Errors: `ECONNRESET` and the like; never `EAGAIN`.
pub fn receive_line(socket: BorrowedFd<'_>, limit: usize) -> Result<Line, Errno> {
    let mut buffer = vec![0; limit + 1];
    let peek = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    let seen = match retry(|| recv(socket.as_raw_fd(), &mut buffer, peek)) {
        Ok(0) => return Ok(Line::Ended),
        Ok(seen) => seen,
        Err(Errno::EAGAIN) => return Ok(Line::Partial(Vec::new())),
        Err(errno) => return Err(errno),
    };
    let Some(length) = memchr::memchr(b'\n', &buffer[..seen]) else {
        buffer.truncate(seen);
        return Ok(if seen > limit { Line::Overlong(buffer) } else { Line::Partial(buffer) });
    };
    retry(|| recv(socket.as_raw_fd(), &mut buffer[..=length], MsgFlags::MSG_DONTWAIT))?;
    buffer.truncate(length);
    Ok(Line::Complete(buffer))
}

fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::EINTR) => continue,
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests;
