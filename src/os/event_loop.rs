//! Whether another process's main thread waits for events, as the kernel knows it.

use nix::errno::Errno;

/// The main thread of another process, seen through `/proc/<pid>/syscall`.
#[derive(Debug)]
pub struct EventLoop {
    #[cfg(target_os = "linux")]
    syscall: std::fs::File,
    /// The epoll instance that it waits at, in its own numbering.
    #[cfg(target_os = "linux")]
    poller: i32,
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use super::*;

    /// The calls by which an event loop waits (libuv: `uv__io_poll`), as numbers of this machine's system calls.
    const WAITS: &[i64] = &[
        #[cfg(target_arch = "x86_64")]
        libc::SYS_epoll_wait,
        libc::SYS_epoll_pwait,
        libc::SYS_epoll_pwait2,
    ];

    impl EventLoop {
        /// The main thread of the process `pid`, whose loop polls the epoll instance with the number `poller` there. The
        /// number of a process that ends and is used again names the new one nowhere here: the file stays the old one's.
        ///
        /// Errors: `ENOENT` where there is no such process or no procfs; `EACCES`, `EPERM` where this process may not know
        /// (another user's, or a sandbox).
        pub fn of(pid: u32, poller: i32) -> Result<Self, Errno> {
            let event_loop =
                EventLoop { syscall: File::open(format!("/proc/{pid}/syscall")).map_err(errno)?, poller };
            // What may not be read says so only here.
            event_loop.syscall.read_at(&mut [0; 32], 0).map_err(errno)?;
            Ok(event_loop)
        }

        /// Whether it sleeps until there is an event. Not while it runs, and not while it sleeps anywhere else: in a lock, a
        /// file, a child that it waits for. Costs 1 to 2 us.
        pub fn is_waiting(&self) -> bool {
            let mut line = [0; 256];
            // One that has ended waits for nothing.
            let Ok(length) = self.syscall.read_at(&mut line, 0) else { return false };
            is_wait(&line[..length], self.poller)
        }
    }

    /// `<call> <first argument> ...` with the call in decimal and arguments in hexadecimal, `running`, or `-1 ...`.
    pub(super) fn is_wait(line: &[u8], poller: i32) -> bool {
        let Ok(line) = std::str::from_utf8(line) else { return false };
        let mut words = line.split_ascii_whitespace();
        let call = words.next().and_then(|call| call.parse::<i64>().ok());
        let first =
            words.next().and_then(|argument| i64::from_str_radix(argument.strip_prefix("0x")?, 16).ok());
        call.is_some_and(|call| WAITS.contains(&call)) && first == Some(i64::from(poller))
    }

    fn errno(error: std::io::Error) -> Errno {
        Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

#[cfg(not(target_os = "linux"))]
impl EventLoop {
    /// Errors: `ENOSYS`: only Linux tells.
    pub fn of(_pid: u32, _poller: i32) -> Result<Self, Errno> {
        Err(Errno::ENOSYS)
    }

    /// There is none.
    pub fn is_waiting(&self) -> bool {
        false
    }
}

/// Microseconds on a clock that all processes of this machine share, and that never goes back.
pub fn monotonic_micros() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is live for the call, which with this clock cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1_000
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Command, Stdio};

    use super::linux::is_wait;
    use super::*;

    #[test]
    fn only_a_wait_at_this_very_epoll_instance_counts() {
        let wait = libc::SYS_epoll_pwait;
        assert!(is_wait(format!("{wait} 0xd 0x7ffd 0x400 0xffffffff 0x0 0x8 0x1 0x2\n").as_bytes(), 13));
        assert!(!is_wait(format!("{wait} 0xe 0x7ffd 0x400\n").as_bytes(), 13));
        assert!(!is_wait(b"202 0xd 0x7ffd\n", 13));
        for line in [&b"running\n"[..], b"-1 0x7ffd 0x1\n", b"", b"\xff\xfe", b"281\n"] {
            assert!(!is_wait(line, 13));
        }
    }

    #[test]
    fn a_process_that_reads_its_input_waits_for_no_events() {
        let mut child = Command::new("sh")
            .args(["-c", "echo ready; read line"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let event_loop = EventLoop::of(child.id(), 0).unwrap();
        assert!(!event_loop.is_waiting());
        child.stdin.take().unwrap().write_all(b"\n").unwrap();
        child.wait().unwrap();
        assert!(!event_loop.is_waiting());
    }
}
