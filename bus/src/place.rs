//! Where the processes of one file meet: a lock that one of them has, which serves, and a socket by which the others reach it.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// The longest path that a socket's address has room for on every system.
const MAX_ADDRESS: usize = 100;

/// A file beside the store's own.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Takes the lock of a file: `None` if another process has it. It is given back by the system when the process ends, however
/// that happens.
///
/// # Errors
///
/// The lock's file cannot be made or opened.
pub fn lock(path: &Path) -> io::Result<Option<Flock<File>>> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(beside(path, ".lock"))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(errno.into()),
    }
}

/// Listens on a file's socket. Only whoever has the lock may: what is there is of a process that has ended.
///
/// # Errors
///
/// The socket cannot be made.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    let socket = beside(path, ".sock");
    match fs::remove_file(&socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = with_address(&socket, |address| UnixListener::bind(address))?;
    // On systems where nobody says who connects, the file decides.
    fs::set_permissions(&socket, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Connects to a file's socket.
///
/// # Errors
///
/// Nobody listens there now, or not so many can wait.
pub fn connect(path: &Path) -> io::Result<OwnedFd> {
    let socket = beside(path, ".sock");
    with_address(&socket, |address| mio::net::UnixStream::connect(address)).map(OwnedFd::from)
}

/// Calls `use_it` with a path of the socket that fits into an address.
fn with_address<T>(socket: &Path, use_it: impl Fn(&Path) -> io::Result<T>) -> io::Result<T> {
    if socket.as_os_str().len() <= MAX_ADDRESS {
        return use_it(socket);
    }
    if cfg!(not(target_os = "linux")) {
        return Err(Errno::ENAMETOOLONG.into());
    }
    let (Some(directory), Some(name)) = (socket.parent(), socket.file_name()) else {
        return Err(Errno::EINVAL.into());
    };
    // Its directory has a short name as an open file of this process.
    let directory = File::open(directory)?;
    let short = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
    if short.as_os_str().len() > MAX_ADDRESS {
        return Err(Errno::ENAMETOOLONG.into());
    }
    use_it(&short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_the_lock_and_the_others_reach_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bus.db");
        let lock_of_one = lock(&path).unwrap().unwrap();
        assert!(lock(&path).unwrap().is_none());
        assert!(connect(&path).is_err());
        let listener = listen(&path).unwrap();
        connect(&path).unwrap();
        listener.accept().unwrap();
        drop((listener, lock_of_one));
        assert!(connect(&path).is_err());
        let _lock = lock(&path).unwrap().unwrap();
        let _listener = listen(&path).unwrap();
        connect(&path).unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_long_path_is_no_obstacle() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("x".repeat(120));
        fs::create_dir(&deep).unwrap();
        let path = deep.join("bus.db");
        let _listener = listen(&path).unwrap();
        connect(&path).unwrap();
        let long = directory.path().join("y".repeat(120));
        assert_eq!(listen(&long).unwrap_err().raw_os_error(), Some(Errno::ENAMETOOLONG as i32));
    }
}
