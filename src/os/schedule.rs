//! How the kernel schedules the calling thread.

use nix::errno::Errno;

/// Makes the calling thread wait for a free core or its turn when it wakes, instead of preempting the running
/// thread (`SCHED_BATCH`, sched(7)). With idle cores nothing changes. On a busy machine a thread that wakes
/// for every connection would preempt the workers that it feeds. With this policy it finds several
/// connections at once.
///
/// Errors: `EPERM` where a sandbox forbids it; `ENOSYS` on other systems than Linux.
pub fn schedule_in_batches() -> Result<(), Errno> {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: all-zero bytes are a valid sched_param, and the only one that this policy allows.
        let parameters: libc::sched_param = unsafe { std::mem::zeroed() };
        // SAFETY: 0 names the calling thread, and the pointer is live for the call.
        let status = unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const parameters) };
        Errno::result(status).map(drop)
    }
    #[cfg(not(target_os = "linux"))]
    Err(Errno::ENOSYS)
}
