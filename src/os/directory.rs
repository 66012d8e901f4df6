//! Whether others could put something of their own in place of what lies in a directory.

use std::ffi::OsString;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::Uid;

use crate::error::{Error, errno_of};

/// How many links may be on the way; as many as Linux follows.
const MAX_LINKS: usize = 40;

/// Why something cannot be relied on that is another user's.
pub(super) const ANOTHERS: &str = "belongs to another user";

/// The directory that a path leads to, without links on the way. Who can rename or remove what is in it, or a directory
/// or link on the way to it, can put a socket of his own in place of ours; so that nobody but root and this user may be
/// able to. What has been checked stays as it is, but for those two.
///
/// Errors: [`Error::UnsafeDirectory`]; `EACCES` for a directory that does not exist, as libuv has it; `ENOTDIR`, `ELOOP`.
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
                // Without links on the way it is the directory above.
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
            // Its own user may replace it, even in a sticky directory.
            if is_anothers(&metadata) {
                return Err(Error::UnsafeDirectory { path: next.display().to_string(), reason: ANOTHERS });
            }
            ahead.follow(&std::fs::read_link(&next).map_err(missing)?);
            continue;
        }
        if !metadata.is_dir() {
            return Err(failed(Errno::ENOTDIR));
        }
        if let Some(reason) = danger_in(&metadata) {
            return Err(Error::UnsafeDirectory { path: next.display().to_string(), reason });
        }
        reached = next;
    }
    Ok(reached)
}

/// A component of a path, to be taken.
enum Step {
    Root,
    Up,
    Down(OsString),
}

/// What is left of the way, the next step last.
#[derive(Default)]
struct Steps(Vec<Step>);

impl Steps {
    /// In front of what is left.
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

/// Whether something belongs to neither root nor this user.
fn is_anothers(metadata: &Metadata) -> bool {
    metadata.uid() != 0 && metadata.uid() != Uid::effective().as_raw()
}

/// Why others could replace what is in a directory; None if they cannot.
fn danger_in(directory: &Metadata) -> Option<&'static str> {
    const STICKY: u32 = 0o1000;
    let mode = directory.mode();
    if is_anothers(directory) {
        return Some(ANOTHERS);
    }
    if mode & STICKY != 0 {
        return None;
    }
    if mode & 0o002 != 0 {
        return Some("can be written by everybody");
    }
    // Whichever group it is, this user's as well: that nobody else is in it cannot be known without asking for all users.
    // Where there is an access control list, these bits are the most that it lets any user or group do.
    (mode & 0o020 != 0).then_some("can be written by its group (chmod g-w)")
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, lchown, symlink};

    use super::*;

    /// Safe whatever the umask.
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
            // On the way, though none of it is left in the result.
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
            // Only root can give it to another.
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
            // Also if it is only on the way.
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
