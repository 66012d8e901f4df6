//! By what the primary knows whether a worker is idle. It asks only where the policy does.

use std::borrow::Cow;

use nix::errno::Errno;

/// By what the primary knows that a worker is idle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdleBy {
    /// The worker shows what it does, and the kernel whether its event loop waits.
    Pulse,
    /// The kernel shows whether its main thread waits for events. It shows nothing itself, for this reason.
    Kernel(Cow<'static, str>),
    /// It counts as idle while nothing is on its way to it, as nobody tells more, for this reason.
    InFlight(Cow<'static, str>),
}

impl IdleBy {
    /// Where the policy gives connections to workers in turn, busy or not.
    pub const NOT_ASKED: IdleBy = IdleBy::InFlight(Cow::Borrowed("the scheduling policy does not ask"));
    /// Where the primary gives no connections to workers.
    pub const WORKERS_ACCEPT: IdleBy =
        IdleBy::InFlight(Cow::Borrowed("the workers accept connections themselves"));
    /// Before a worker takes part in a server.
    pub const NO_SERVER: IdleBy = IdleBy::InFlight(Cow::Borrowed("the worker has had no server yet"));
    /// A process that may not be the worker's, but a shell's, say, that waits for it.
    pub const NOT_SEEN: IdleBy =
        IdleBy::InFlight(Cow::Borrowed("its process has not been found waiting for events yet"));

    /// Where the kernel does not tell of the process with that number.
    pub fn untold(pid: u32, errno: Errno) -> Self {
        IdleBy::InFlight(format!("/proc/{pid}/syscall cannot be read: {errno}").into())
    }
}
