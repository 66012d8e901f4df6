//! Descriptors of whatever kind: their flags, their numbers in JavaScript, how many there may be.

use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};

use nix::errno::Errno;
#[cfg(target_os = "macos")]
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use socket2::SockRef;

use crate::error::errno_of;

/// Sets `O_NONBLOCK`, for a descriptor that came from elsewhere.
///
/// Errors: `EBADF`.
pub fn set_nonblocking(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    SockRef::from(&socket).set_nonblocking(true).map_err(|error| errno_of(&error))
}

/// Sets close-on-exec, for what macOS cannot make with it.
///
/// Errors: none that a live descriptor can cause.
#[cfg(target_os = "macos")]
pub(super) fn close_on_exec(fd: &OwnedFd) -> Result<(), Errno> {
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map(drop)
}

/// A second descriptor for the same open file, close-on-exec. The number came from JavaScript and may name nothing.
///
/// Errors: `EMFILE`; `EBADF` for a number that names nothing.
pub fn duplicate_raw(fd: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: fcntl looks the number up and touches no memory; what it returns is new and belongs to nobody else.
    let raw = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) };
    // SAFETY: see above; a negative answer was turned into an error.
    Errno::result(raw).map(|raw| unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Takes over a descriptor whose number JavaScript has owned since [`into_raw`]; None for a number that names nothing.
pub fn adopt(number: i32) -> Option<OwnedFd> {
    // SAFETY: the caller passes a number from `into_raw` once, and nothing else has been told of it.
    (number >= 0).then(|| unsafe { OwnedFd::from_raw_fd(number) })
}

/// Lets go of a descriptor whose number JavaScript owns from here on.
pub fn into_raw(fd: OwnedFd) -> i32 {
    fd.into_raw_fd()
}

/// How many descriptors this process may have (`RLIMIT_NOFILE`).
pub fn descriptor_limit() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is live for the call.
    let status = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    // It cannot fail with these arguments; without a limit there is none.
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
