//! Whether other users could replace a file in a directory.

use std::ffi::OsString;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::Uid;

use crate::error::{Error, errno_of};

/// How many symbolic links a path may contain: as many as Linux follows.
const MAX_LINKS: usize = 40;

/// The reason given for a file or directory of another user.
pub(super) const OTHER_USERS: &str = "belongs to another user";

/// Resolves a path to a directory without symbolic links, and checks that only root and this user can replace
/// what is in it. Any other user who can rename or remove an entry of the directory, of a directory above it
/// or of a link on the way could put a socket in place of ours. A checked directory stays safe, as only root
/// and this user can change it.
///
/// Errors: [`Error::UnsafeDirectory`]; `EACCES` for a directory that does not exist, as in libuv; `ENOTDIR`,
/// `ELOOP`.
pub(super) fn checked_directory(path: &Path) -> Result<PathBuf, Error> {
    let failed = |errno| Error::Sys { doing: "looking at the directory of the socket", errno };
    let missing = |error: std::io::Error| match errno_of(&error) {
        Errno::ENOENT => failed(Errno::EACCES),
        errno => failed(errno),
    };
    let mut ahead = Steps::default();
    ahead.follow(&std::path::absolute(path).map_err(missing)?);
    let mut links = 0;
    let mut reached = PathBuf::new();
    while let Some(step) = ahead.next() {
        let next = match step {
            Step::Root => PathBuf::from("/"),
            Step::Up => {
                // The path so far contains no links, so that its parent is the directory above.
                reached.pop();
                continue;
            }
            Step::Down(name) => reached.join(name),
        };
        let metadata = std::fs::symlink_metadata(&next).map_err(missing)?;
        if metadata.is_symlink() {
            links += 1;
            if links > MAX_LINKS {
                return Err(failed(Errno::ELOOP));
            }
            // A link's owner may replace it, even in a sticky directory.
            if belongs_to_another(&metadata) {
                return Err(Error::UnsafeDirectory { path: next.display().to_string(), reason: OTHER_USERS });
            }
            ahead.follow(&std::fs::read_link(&next).map_err(missing)?);
            continue;
        }
        if !metadata.is_dir() {
            return Err(failed(Errno::ENOTDIR));
        }
        if let Some(reason) = risk_in(&metadata) {
            return Err(Error::UnsafeDirectory { path: next.display().to_string(), reason });
        }
        reached = next;
    }
    Ok(reached)
}

/// A component of a path that is still to be resolved.
enum Step {
    Root,
    Up,
    Down(OsString),
}

/// The components still to be resolved, the next one last.
#[derive(Default)]
struct Steps(Vec<Step>);

impl Steps {
    /// Puts the components of `path` in front of the rest.
    fn follow(&mut self, path: &Path) {
        self.0.extend(path.components().rev().filter_map(|component| match component {
            Component::RootDir => Some(Step::Root),
            Component::ParentDir => Some(Step::Up),
            Component::Normal(name) => Some(Step::Down(name.to_owned())),
            Component::CurDir | Component::Prefix(_) => None,
        }));
    }

    fn next(&mut self) -> Option<Step> {
        self.0.pop()
    }
}

/// Whether the owner is neither root nor this user.
fn belongs_to_another(metadata: &Metadata) -> bool {
    metadata.uid() != 0 && metadata.uid() != Uid::effective().as_raw()
}

/// Why other users could replace what is in a directory; None if they cannot.
fn risk_in(directory: &Metadata) -> Option<&'static str> {
    const STICKY: u32 = 0o1000;
    let mode = directory.mode();
    if belongs_to_another(directory) {
        return Some(OTHER_USERS);
    }
    if mode & STICKY != 0 {
        return None;
    }
    if mode & 0o002 != 0 {
        return Some("can be written by everybody");
    }
    // The group does not matter, not even if it is this user's own: finding out whether anybody else is in it
    // means asking for every user. With an access control list these bits are the most that it grants to any
    // user or group.
    (mode & 0o020 != 0).then_some("can be written by its group (chmod g-w)")
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, lchown, symlink};

    use super::*;

    /// A directory that is safe whatever the umask.
    fn private() -> tempfile::TempDir {
        tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap()
    }

    fn directory(path: PathBuf, mode: u32) -> PathBuf {
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    fn code(path: &Path) -> &'static str {
        checked_directory(path).unwrap_err().code()
    }

    #[test]
    fn a_link_that_others_could_replace_does_not_lead_to_a_safe_directory() {
        const UNSAFE: &str = "ERR_CORRAL_UNSAFE_DIRECTORY";
        let base = private();
        let real = base.path().canonicalize().unwrap();
        let safe = directory(real.join("safe"), 0o755);
        let below = directory(safe.join("below"), 0o755);
        for (name, mode, is_safe) in
            [("open", 0o777, false), ("sticky", 0o1777, true), ("closed", 0o755, true)]
        {
            let shared = directory(real.join(name), mode);
            symlink(&safe, shared.join("absolute")).unwrap();
            symlink("../safe", shared.join("relative")).unwrap();
            symlink("absolute/below/..", shared.join("chain")).unwrap();
            // A link that is on the way, though no part of the result.
            symlink(shared.join("absolute"), real.join(format!("to-{name}"))).unwrap();
            for link in [
                shared.join("absolute"),
                shared.join("relative"),
                shared.join("chain"),
                shared.join("../safe"),
                real.join(format!("to-{name}")),
            ] {
                if is_safe {
                    assert_eq!(checked_directory(&link).unwrap(), safe, "{link:?}");
                    assert_eq!(checked_directory(&link.join("below")).unwrap(), below, "{link:?}");
                } else {
                    assert_eq!(code(&link), UNSAFE, "{link:?}");
                }
            }
            // Only root can give a file to another user.
            if Uid::effective().is_root() {
                lchown(shared.join("absolute"), Some(4321), None).unwrap();
                assert_eq!(code(&shared.join("absolute")), UNSAFE);
            }
        }
    }

    #[test]
    fn a_directory_that_the_own_group_could_write_was_safe() {
        let base = private();
        let real = base.path().canonicalize().unwrap();
        for (name, mode, is_safe) in [
            ("group", 0o770, false),
            ("set-group", 0o2775, false),
            ("sticky", 0o1770, true),
            ("read", 0o750, true),
        ] {
            let shared = directory(real.join(name), mode);
            let below = directory(shared.join("below"), 0o700);
            if is_safe {
                assert_eq!(checked_directory(&below).unwrap(), below);
                continue;
            }
            // The directory is refused even if it is only on the way.
            for path in [&shared, &below] {
                let error = checked_directory(path).unwrap_err();
                assert_eq!(error.code(), "ERR_CORRAL_UNSAFE_DIRECTORY");
                let text = error.to_string();
                assert!(
                    text.contains(&format!("{} can be written by its group", shared.display())),
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_directory_is_an_error() {
        let base = private();
        std::fs::write(base.path().join("file"), "").unwrap();
        symlink("loop", base.path().join("loop")).unwrap();
        assert_eq!(code(&base.path().join("none")), "EACCES");
        let errno = |name| checked_directory(&base.path().join(name)).unwrap_err().errno();
        assert_eq!(errno("file"), Some(-(Errno::ENOTDIR as i32)));
        assert_eq!(errno("loop"), Some(-(Errno::ELOOP as i32)));
    }
}
