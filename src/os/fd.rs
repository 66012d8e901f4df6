//! Descriptors of any kind: their flags, their numbers in JavaScript, and the limit of the process.

use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};

use nix::errno::Errno;
#[cfg(target_os = "macos")]
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use socket2::SockRef;

use crate::error::errno_of;

/// Sets `O_NONBLOCK` on a descriptor that corral has not made.
///
/// Errors: `EBADF`.
pub fn set_nonblocking(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    SockRef::from(&socket).set_nonblocking(true).map_err(|error| errno_of(&error))
}

/// Sets close-on-exec, where macOS cannot set it at creation.
///
/// Errors: none that an open descriptor can cause.
#[cfg(target_os = "macos")]
pub(super) fn close_on_exec(fd: &OwnedFd) -> Result<(), Errno> {
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map(drop)
}

/// Duplicates a descriptor, close-on-exec. The number comes from JavaScript and may not be open.
///
/// Errors: `EMFILE`; `EBADF` for a number that is not open.
pub fn duplicate_raw(fd: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: fcntl looks the number up and touches no memory. The descriptor that it returns is new, and
    // nothing else owns it.
    let raw = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) };
    // SAFETY: as above. A negative result has become an error.
    Errno::result(raw).map(|raw| unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Takes ownership of a descriptor whose number JavaScript has owned since [`into_raw`]; None for a negative
/// number.
pub fn adopt(number: i32) -> Option<OwnedFd> {
    // SAFETY: the caller passes each number from `into_raw` once, and nothing else knows it.
    (number >= 0).then(|| unsafe { OwnedFd::from_raw_fd(number) })
}

/// Gives up ownership of a descriptor. JavaScript owns its number from here on.
pub fn into_raw(fd: OwnedFd) -> i32 {
    fd.into_raw_fd()
}

/// How many descriptors this process may have open (`RLIMIT_NOFILE`).
pub fn descriptor_limit() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is live for the call.
    let status = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    // The call cannot fail with these arguments. RLIM_INFINITY means no limit.
    if status == 0 { usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX) } else { usize::MAX }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_names_nothing_is_an_error() {
        assert_eq!(duplicate_raw(1 << 20).unwrap_err(), Errno::EBADF);
    }
}
