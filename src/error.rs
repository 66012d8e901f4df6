//! The one error type of the crate, and the `code` under which JavaScript sees each cause.

use std::sync::LazyLock;

use nix::errno::Errno;

/// Why something failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed. `doing` names the call and what it was for.
    #[error("{doing}: {errno}")]
    Sys {
        /// The call, and what it was for.
        doing: &'static str,
        /// The kernel's answer.
        errno: Errno,
    },
    /// A peer sent bytes that are no frame of the agreed serialization.
    #[error("malformed frame: {0}")]
    BadFrame(String),
    /// A peer announced or sent a frame beyond the limit.
    #[error("frame larger than the limit of {limit} bytes")]
    FrameTooLarge {
        /// The limit in force, in bytes.
        limit: usize,
    },
    /// The handshake at a named socket failed.
    #[error("{reason}")]
    Refused {
        /// Its code in JavaScript.
        code: &'static str,
        /// Which side refuses the other, and why.
        reason: String,
    },
    /// The channel is closed, or closing, and takes no more frames.
    #[error("channel closed")]
    ChannelClosed,
    /// The reactor thread has ended and takes no commands.
    #[error("the reactor thread has ended")]
    ReactorGone,
    /// Others could put a socket of their own in place of one in this directory.
    #[error("{path} {reason}: a socket there would not be safe")]
    UnsafeDirectory {
        /// The directory.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The caller named a worker that does not exist, or no longer exists.
    #[error("no worker with the id {0}")]
    NoSuchWorker(u32),
}

impl Error {
    /// The error's `code` property in JavaScript: Node's own where it has one, `ERR_CORRAL_*` otherwise.
    pub fn code(&self) -> &'static str {
        match self {
            Error::Sys { errno, .. } => errno_name(*errno),
            Error::BadFrame(_) => "ERR_CORRAL_BAD_FRAME",
            Error::FrameTooLarge { .. } => "ERR_CORRAL_FRAME_TOO_LARGE",
            Error::Refused { code, .. } => code,
            Error::ChannelClosed => "ERR_IPC_CHANNEL_CLOSED",
            Error::ReactorGone => "ERR_CORRAL_REACTOR_GONE",
            Error::UnsafeDirectory { .. } => "ERR_CORRAL_UNSAFE_DIRECTORY",
            Error::NoSuchWorker(_) => "ERR_CORRAL_NO_SUCH_WORKER",
        }
    }

    /// The negative libuv errno, where the cause is one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Error::Sys { errno, .. } => Some(-(*errno as i32)),
            _ => None,
        }
    }

    /// Wraps a failed system call.
    pub fn sys(doing: &'static str) -> impl FnOnce(Errno) -> Error {
        move |errno| Error::Sys { doing, errno }
    }

    /// Wraps a failed call of the standard library or socket2.
    pub fn io(doing: &'static str) -> impl FnOnce(std::io::Error) -> Error {
        move |error| Error::Sys { doing, errno: errno_of(&error) }
    }
}

/// The errno inside an [`std::io::Error`]; `EIO` where it carries none.
pub fn errno_of(error: &std::io::Error) -> Errno {
    match error.raw_os_error() {
        Some(raw) => Errno::from_raw(raw),
        None if error.kind() == std::io::ErrorKind::InvalidInput => Errno::EINVAL,
        None => Errno::EIO,
    }
}

/// The system's own name for an errno as libuv spells it, and so Node: `EADDRINUSE`.
fn errno_name(errno: Errno) -> &'static str {
    /// By their numbers, of which no system has one above.
    static NAMES: LazyLock<Vec<String>> =
        LazyLock::new(|| (0..256).map(Errno::from_raw).map(spell).collect());

    fn spell(errno: Errno) -> String {
        match errno {
            Errno::UnknownErrno => "ERR_CORRAL_SYSTEM".to_owned(),
            // Linux has one number for the two names.
            Errno::EOPNOTSUPP => "ENOTSUP".to_owned(),
            named => format!("{named:?}"),
        }
    }

    NAMES.get(errno as usize).map_or("ERR_CORRAL_SYSTEM", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_system_call_has_the_name_of_its_errno() {
        let named = [Errno::ENOTDIR, Errno::ELOOP, Errno::ENOTSOCK, Errno::EWOULDBLOCK, Errno::ENOTSUP];
        let codes = named.map(|errno| Error::Sys { doing: "a test", errno }.code());
        assert_eq!(codes, ["ENOTDIR", "ELOOP", "ENOTSOCK", "EAGAIN", "ENOTSUP"]);
        let unknown = Error::Sys { doing: "a test", errno: Errno::from_raw(250) };
        assert_eq!(unknown.code(), "ERR_CORRAL_SYSTEM");
    }
}
