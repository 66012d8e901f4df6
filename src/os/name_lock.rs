//! One process at a time may start listening at a name: between `bind` and `listen` a socket looks like a
//! stale one.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::Uid;

use super::directory::OTHER_USERS;
use crate::error::{Error, errno_of};

/// A lock that a process holds while it binds a name or replaces a stale socket there. It locks a file beside
/// the socket that no other user can open. Locking the directory itself would not do: whoever can read a file
/// can lock it, so that any user could keep everybody from listening there. The file exists as long as the
/// lock. If the process dies, the file stays and the next process uses it again.
///
/// A user who may create files in the directory can take the lock's name, just as that user can take the
/// socket's.
#[derive(Debug)]
pub(super) struct NameLock {
    path: PathBuf,
    _lock: Flock<File>,
}

impl NameLock {
    /// Locks the name of `socket`.
    ///
    /// Errors: `EAGAIN` while another process holds the lock, to be tried again; [`Error::UnsafeDirectory`]
    /// when a file of that name exists that others could lock; the errors of creating a file.
    pub(super) fn take(socket: &Path) -> Result<Self, Error> {
        const DOING: &str = "locking the name of the socket";
        let again = Error::Sys { doing: DOING, errno: Errno::EAGAIN };
        let path = path_for(socket);
        let refuse = |reason| Error::UnsafeDirectory { path: path.display().to_string(), reason };
        let is_ours = |uid| uid == Uid::effective().as_raw();
        // A pipe in place of the file must not block, and a link must not be followed.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .mode(0o600)
            .custom_flags(flags)
            .open(&path);
        let file = opened.map_err(|error| match std::fs::symlink_metadata(&path) {
            Ok(metadata) if !is_ours(metadata.uid()) => refuse(OTHER_USERS),
            _ => Error::io(DOING)(error),
        })?;
        let metadata = file.metadata().map_err(Error::io(DOING))?;
        if !is_ours(metadata.uid()) {
            return Err(refuse(OTHER_USERS));
        }
        if !metadata.is_file() || metadata.mode() & 0o077 != 0 {
            return Err(refuse("can be opened by others"));
        }
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, errno)| Error::sys(DOING)(errno))?;
        // The previous holder may have removed the file before this process locked it.
        match std::fs::symlink_metadata(&path) {
            Ok(there) if (there.dev(), there.ino()) == (metadata.dev(), metadata.ino()) => {
                Ok(NameLock { path, _lock: lock })
            }
            Ok(_) => Err(again),
            Err(error) if errno_of(&error) == Errno::ENOENT => Err(again),
            Err(error) => Err(Error::io(DOING)(error)),
        }
    }
}

impl Drop for NameLock {
    fn drop(&mut self) {
        // The file is removed before the lock is released. A process that comes later makes a new file.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn path_for(socket: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(socket.file_name().unwrap_or_default());
    name.push(".corral-lock");
    socket.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    #[test]
    fn one_at_a_time_has_it_and_it_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        let lock = NameLock::take(&socket).unwrap();
        assert_eq!(NameLock::take(&socket).unwrap_err().code(), "EAGAIN");
        NameLock::take(&directory.path().join("other")).unwrap();
        drop(lock);
        drop(NameLock::take(&socket).unwrap());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        // The file of a process that died.
        File::create(path_for(&socket)).unwrap().set_permissions(Permissions::from_mode(0o600)).unwrap();
        drop(NameLock::take(&socket).unwrap());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_others_could_lock_is_no_lock() {
        const UNSAFE: &str = "ERR_CORRAL_UNSAFE_DIRECTORY";
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        let path = path_for(&socket);
        for mode in [0o640, 0o604, 0o620] {
            File::create(&path).unwrap().set_permissions(Permissions::from_mode(mode)).unwrap();
            assert_eq!(NameLock::take(&socket).unwrap_err().code(), UNSAFE, "{mode:o}");
        }
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        if Uid::effective().is_root() {
            chown(&path, Some(4321), None).unwrap();
            let error = NameLock::take(&socket).unwrap_err();
            assert_eq!(error.code(), UNSAFE);
            assert!(error.to_string().contains(".s.corral-lock belongs to another user"), "{error}");
        }
        std::fs::remove_file(&path).unwrap();
        let precious = directory.path().join("precious");
        std::fs::write(&precious, "").unwrap();
        symlink(&precious, &path).unwrap();
        assert!(NameLock::take(&socket).is_err());
        assert!(path.is_symlink() && precious.exists());
    }
}
