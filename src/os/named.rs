//! Unix sockets that unrelated processes meet at: listening under a name so that nobody's is taken away, connecting,
//! and who is at the other end.

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

/// Who may open the file of a listening socket. The owner may always.
const OWNER: u32 = 0o600;

/// A process at the other end of a Unix socket, as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Its process when it connected, or began to listen; it may have passed the socket on since. 0 for one of another
    /// PID namespace.
    pub pid: i32,
    /// Its effective user at that time.
    pub uid: u32,
    /// Its effective group at that time.
    pub gid: u32,
}

impl Credentials {
    /// Whether it may be trusted with what this process may: it runs as the same user, or as root.
    pub fn is_trusted(&self) -> bool {
        self.uid == 0 || self.uid == Uid::effective().as_raw()
    }
}

/// Listens under a path, or under an abstract name, that only this process's user can connect to; `readable_all` and
/// `writable_all` widen the file's mode as libuv's `uv_pipe_chmod` does.
///
/// A socket file that nobody listens at is replaced. Until the new one listens its name is locked, so that of several
/// processes that find the same stale file one gets its place and the others see that it is taken.
///
/// Errors: [`Error::UnsafeDirectory`]; `EAGAIN` while another process of this user's holds the lock, to be tried again;
/// `EADDRINUSE` when somebody listens there or the file is no socket; `EACCES`, also for a directory that does not
/// exist; `EINVAL` for a name that is too long.
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
    // What has been checked; as the program says it where that has no room in an address. That leads to the same place.
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
    // Before it listens: until then nobody can connect, whatever mode it was made with.
    std::fs::set_permissions(&path, Permissions::from_mode(OWNER | readable | writable))
        .map_err(Error::io("setting the mode of the socket"))?;
    let socket = OwnedFd::from(socket);
    // Before the lock is released: a socket that is bound and does not listen looks like a stale one.
    listen(socket.as_fd(), backlog).map_err(Error::sys("listening"))?;
    Bound::own(socket, Some(file)).map_err(Error::sys("listening"))
}

/// A stream socket, close-on-exec and non-blocking.
fn unix_socket() -> Result<Socket, Error> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(Error::io("making a socket"))?;
    socket.set_nonblocking(true).map_err(Error::io("making a socket"))?;
    Ok(socket)
}

/// Where a socket is to be, in a directory where nobody else can replace it.
fn checked_path(name: &Path) -> Result<PathBuf, Error> {
    let file = name.file_name().filter(|file| name.as_os_str().as_bytes().ends_with(file.as_bytes()));
    // One that ends in a slash or dots, for a directory. As libuv has it.
    let file = file.ok_or(Error::Sys { doing: "listening", errno: Errno::EACCES })?;
    let parent = name.parent().filter(|parent| !parent.as_os_str().is_empty());
    Ok(checked_directory(parent.unwrap_or(Path::new(".")))?.join(file))
}

/// Removes a socket file that nobody listens at.
fn remove_stale(path: &Path, address: &SockAddr) -> Result<(), Error> {
    let in_use = Error::Sys { doing: "listening", errno: Errno::EADDRINUSE };
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => {}
        Ok(_) => return Err(in_use),
        // Removed by now.
        Err(error) if errno_of(&error) == Errno::ENOENT => return Ok(()),
        Err(error) => return Err(Error::io("looking at a socket's file")(error)),
    }
    // Anything but a refusal comes from somebody who listens, if only with a full backlog or to another kind of socket.
    match connect_to(address) {
        Err(Error::Sys { errno: Errno::ECONNREFUSED, .. }) => {
            std::fs::remove_file(path).map_err(Error::io("removing a stale socket"))
        }
        _ => Err(in_use),
    }
}

/// Connects to a path or an abstract name.
///
/// Errors: `ECONNREFUSED` when nobody listens there, `ENOENT` without a file, `EACCES` when its mode forbids it,
/// `EPROTOTYPE` for another kind of socket; `EAGAIN` when the backlog is full, to be tried again.
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

/// Who is at the other end of a connected Unix socket (`SO_PEERCRED`).
///
/// Errors: `ENOTCONN`; none that a connected socket can cause.
#[cfg(target_os = "linux")]
pub fn credentials(socket: BorrowedFd<'_>) -> Result<Credentials, Errno> {
    let peer = getsockopt(&socket, sockopt::PeerCredentials)?;
    Ok(Credentials { pid: peer.pid(), uid: peer.uid(), gid: peer.gid() })
}

/// Who is at the other end of a connected Unix socket (`LOCAL_PEERCRED`, `LOCAL_PEERPID`).
///
/// Errors: `ENOTCONN`; none that a connected socket can cause.
#[cfg(target_os = "macos")]
pub fn credentials(socket: BorrowedFd<'_>) -> Result<Credentials, Errno> {
    let peer = getsockopt(&socket, sockopt::LocalPeerCred)?;
    let pid = getsockopt(&socket, sockopt::LocalPeerPid)?;
    // The first group is the effective one.
    Ok(Credentials { pid, uid: peer.uid(), gid: peer.groups()[0] })
}

/// What is at the front of a stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A line, without its newline.
    Complete(Vec<u8>),
    /// The beginning of one, or nothing yet. It stays where it is.
    Partial(Vec<u8>),
    /// No line of the expected length: what there is.
    Overlong(Vec<u8>),
    /// The end, with half a line before it or none.
    Ended,
}

/// Takes one line of at most `limit` bytes from a stream and nothing of what is behind it. Descriptors that came with
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
mod tests {
    use std::fs::File;
    use std::io::Write;
    use std::os::unix::fs::DirBuilderExt;
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

    use nix::fcntl::{Flock, FlockArg};
    use nix::unistd::Gid;

    use super::*;

    fn listen_at(path: &Path) -> Result<Bound, Error> {
        listen_named(path, AbstractNames::Exact, false, false, 5)
    }

    fn errno(result: Result<Bound, Error>) -> Errno {
        match result {
            Err(Error::Sys { errno, .. }) => errno,
            other => panic!("{other:?}"),
        }
    }

    fn private_directory() -> tempfile::TempDir {
        tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap()
    }

    fn make_private(path: &Path) {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).unwrap();
    }

    #[test]
    fn the_file_is_its_owners_alone_unless_widened() {
        let directory = private_directory();
        for (readable, writable, mode) in
            [(false, false, 0o600), (true, false, 0o644), (false, true, 0o622), (true, true, 0o666)]
        {
            let path = directory.path().join("s");
            let bound = listen_named(&path, AbstractNames::Exact, readable, writable, 5).unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, mode);
            connect_named(&path, AbstractNames::Exact).unwrap();
            drop(bound);
            assert!(!path.exists());
        }
    }

    #[test]
    fn a_stale_socket_is_replaced() {
        let directory = private_directory();
        let path = directory.path().join("s");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let _bound = listen_at(&path).unwrap();
        connect_named(&path, AbstractNames::Exact).unwrap();
    }

    #[test]
    fn of_many_that_find_a_stale_socket_one_gets_its_place() {
        let directory = private_directory();
        let path = directory.path().join("s");
        for _ in 0..20 {
            drop(UnixListener::bind(&path).unwrap());
            let path = &path;
            let bound: Vec<Bound> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4)
                    .map(|_| {
                        scope.spawn(move || {
                            loop {
                                match listen_at(path) {
                                    Err(Error::Sys { errno: Errno::EAGAIN, .. }) => std::thread::yield_now(),
                                    Err(error) => {
                                        assert_eq!(error.code(), "EADDRINUSE");
                                        return None;
                                    }
                                    Ok(bound) => return Some(bound),
                                }
                            }
                        })
                    })
                    .collect();
                threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(bound.len(), 1);
            connect_named(path, AbstractNames::Exact).unwrap();
        }
    }

    #[test]
    fn who_begins_while_another_ends_keeps_its_file() {
        let directory = private_directory();
        let path = &directory.path().join("s");
        let listened: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(move || {
                        let mut listened = 0;
                        for _ in 0..500 {
                            let Ok(bound) = listen_at(path) else { continue };
                            listened += 1;
                            // The others, who look whether anybody listens, may have filled the backlog.
                            match connect_named(path, AbstractNames::Exact) {
                                Ok(_) | Err(Error::Sys { errno: Errno::EAGAIN, .. }) => {}
                                Err(error) => panic!("its file has gone: {error}"),
                            }
                            drop(bound);
                        }
                        listened
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert!(listened > 0);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_somebody_listens_at_and_what_is_no_socket_stay() {
        let directory = private_directory();
        let live = directory.path().join("live");
        let _listener = UnixListener::bind(&live).unwrap();
        assert_eq!(errno(listen_at(&live)), Errno::EADDRINUSE);
        UnixStream::connect(&live).unwrap();

        let datagrams = directory.path().join("datagrams");
        let _receiver = UnixDatagram::bind(&datagrams).unwrap();
        assert_eq!(errno(listen_at(&datagrams)), Errno::EADDRINUSE);
        assert!(datagrams.exists());

        let file = directory.path().join("file");
        std::fs::write(&file, "precious").unwrap();
        assert_eq!(errno(listen_at(&file)), Errno::EADDRINUSE);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");

        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(errno(listen_at(&link)), Errno::EADDRINUSE);
        assert!(link.is_symlink());
    }

    #[test]
    fn a_server_whose_file_was_replaced_leaves_the_new_one() {
        let directory = private_directory();
        let path = directory.path().join("s");
        let first = listen_at(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let _second = listen_at(&path).unwrap();
        drop(first);
        connect_named(&path, AbstractNames::Exact).unwrap();
    }

    #[test]
    fn a_directory_that_others_can_write_is_refused() {
        let directory = private_directory();
        let path = directory.path().join("shared/below/s");
        make_private(path.parent().unwrap());
        let shared = directory.path().join("shared");
        for (mode, is_safe) in [(0o777, false), (0o757, false), (0o1777, true), (0o755, true)] {
            std::fs::set_permissions(&shared, Permissions::from_mode(mode)).unwrap();
            match listen_at(&path) {
                Ok(_) => assert!(is_safe, "{mode:o}"),
                Err(error) => {
                    assert_eq!(error.code(), "ERR_CORRAL_UNSAFE_DIRECTORY", "{mode:o}: {error}");
                    assert!(!is_safe, "{mode:o}");
                }
            }
        }
        assert_eq!(errno(listen_at(Path::new("/no/such/directory/s"))), Errno::EACCES);
        assert_eq!(errno(listen_at(&directory.path().join("x".repeat(200)))), Errno::EINVAL);
    }

    #[test]
    fn who_locks_a_directory_keeps_nobody_from_listening_in_it() {
        let directory = private_directory();
        let path = directory.path().join("s");
        // Reading it is enough for that.
        let opened = File::open(directory.path()).unwrap();
        let _lock = Flock::lock(opened, FlockArg::LockExclusiveNonblock).unwrap();
        listen_at(&path).unwrap();
        drop(UnixListener::bind(&path).unwrap());
        listen_at(&path).unwrap();
    }

    #[test]
    fn a_name_that_somebody_just_begins_to_listen_at_is_tried_again_later() {
        let directory = private_directory();
        let path = directory.path().join("s");
        let lock = NameLock::take(&path).unwrap();
        assert_eq!(errno(listen_at(&path)), Errno::EAGAIN);
        listen_at(&directory.path().join("other")).unwrap();
        drop(lock);
        listen_at(&path).unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_link_in_a_directory_that_others_can_write_is_not_followed() {
        let directory = private_directory();
        let safe = directory.path().join("safe");
        let shared = directory.path().join("shared");
        make_private(&safe);
        std::fs::create_dir(&shared).unwrap();
        std::fs::set_permissions(&shared, Permissions::from_mode(0o777)).unwrap();
        std::os::unix::fs::symlink(&safe, shared.join("link")).unwrap();
        let error = listen_at(&shared.join("link/s")).unwrap_err();
        assert_eq!(error.code(), "ERR_CORRAL_UNSAFE_DIRECTORY");
        assert_eq!(std::fs::read_dir(&safe).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_too_long_for_an_address_is_reached_by_a_link() {
        let directory = private_directory();
        let long = directory.path().join("x".repeat(200));
        make_private(&long);
        assert_eq!(errno(listen_at(&long.join("s"))), Errno::EINVAL);
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&long, &link).unwrap();
        let path = link.join("s");
        drop(UnixListener::bind(&path).unwrap());
        let bound = listen_at(&path).unwrap();
        connect_named(&path, AbstractNames::Exact).unwrap();
        assert_eq!(errno(listen_at(&path)), Errno::EADDRINUSE);
        drop(bound);
        assert_eq!(std::fs::read_dir(&long).unwrap().count(), 0);
    }

    #[test]
    fn a_name_for_a_directory_is_no_name_for_a_socket() {
        let directory = private_directory();
        for name in ["s/", "s/.", "..", "s/.."] {
            assert_eq!(errno(listen_at(&directory.path().join(name))), Errno::EACCES, "{name}");
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn both_ends_know_who_the_other_is() {
        let directory = private_directory();
        let path = directory.path().join("s");
        let bound = listen_at(&path).unwrap();
        let client = connect_named(&path, AbstractNames::Exact).unwrap();
        let accepted = crate::os::accept(bound.socket.as_fd()).unwrap().connection;
        let me = Credentials {
            pid: std::process::id() as i32,
            uid: Uid::effective().as_raw(),
            gid: Gid::effective().as_raw(),
        };
        assert_eq!(credentials(client.as_fd()).unwrap(), me);
        assert_eq!(credentials(accepted.as_fd()).unwrap(), me);
        assert!(me.is_trusted());
        assert!(!Credentials { uid: 4321, ..me }.is_trusted());
    }

    #[test]
    fn a_line_is_taken_and_nothing_behind_it() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let line = || receive_line(theirs.as_fd(), 10).unwrap();
        assert_eq!(line(), Line::Partial(b"".into()));
        ours.write_all(b"hel").unwrap();
        assert_eq!(line(), Line::Partial(b"hel".into()));
        ours.write_all(b"lo\n\nrest").unwrap();
        assert_eq!(line(), Line::Complete(b"hello".into()));
        assert_eq!(line(), Line::Complete(b"".into()));
        assert_eq!(line(), Line::Partial(b"rest".into()));
        ours.write_all(b" without end").unwrap();
        assert_eq!(line(), Line::Overlong(b"rest withou".into()));
        drop(ours);
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(ours);
        assert_eq!(receive_line(theirs.as_fd(), 10).unwrap(), Line::Ended);
    }
}
