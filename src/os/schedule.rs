//! How the kernel schedules the calling thread.

use nix::errno::Errno;

/// Lets the calling thread wait, when it wakes, until a core is free or its turn comes, instead of interrupting who runs
/// (`SCHED_BATCH`, sched(7)). On a machine with cores to spare nothing changes. On a busy one a thread that wakes for
/// every connection would interrupt the very workers that it feeds; this way it finds several at once.
///
/// Errors: `EPERM` where a sandbox forbids it; `ENOSYS` on other systems than Linux.
pub fn schedule_in_batches() -> Result<(), Errno> {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: all-zero bytes are a valid sched_param, and the only one that this policy allows.
        let parameters: libc::sched_param = unsafe { std::mem::zeroed() };
        // SAFETY: 0 names the calling thread; the pointer is live for the call.
        let status = unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const parameters) };
        Errno::result(status).map(drop)
    }
    #[cfg(not(target_os = "linux"))]
    Err(Errno::ENOSYS)
}
