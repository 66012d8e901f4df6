//! Whether another process's main thread waits for events, as the kernel knows it.

use nix::errno::Errno;

/// Where a main thread waits for events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poller {
    /// At the epoll instance that has this number in its process.
    Numbered(i32),
    /// At any epoll instance.
    Any,
}

/// The main thread of another process, seen through `/proc/<pid>/syscall`.
#[derive(Debug)]
pub struct EventLoop {
    #[cfg(target_os = "linux")]
    syscall: std::fs::File,
    #[cfg(target_os = "linux")]
    pid: u32,
    /// `/proc/<pid>/task/<pid>/io`, opened when it is asked for; None where the kernel does not count.
    #[cfg(target_os = "linux")]
    io: std::cell::OnceCell<Option<std::fs::File>>,
    /// `/proc/<pid>/stat`; None where nobody asks whether the process is stopped, at a numbered poller.
    #[cfg(target_os = "linux")]
    stat: Option<std::fs::File>,
    #[cfg(target_os = "linux")]
    poller: Poller,
}

#[cfg(target_os = "linux")]
mod linux {
    use std::cell::OnceCell;
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
        /// The main thread of the process `pid`, whose loop waits at `poller`. The number of a process that ends and is used again names the new one nowhere here: the file stays the old one's.
        ///
        /// Errors: `ENOENT` where there is no such process or no procfs; `EACCES`, `EPERM` where this process may not know
        /// (another user's, or a sandbox).
        pub fn of(pid: u32, poller: Poller) -> Result<Self, Errno> {
            let stat = || File::open(format!("/proc/{pid}/stat")).map_err(errno);
            let event_loop = EventLoop {
                syscall: File::open(format!("/proc/{pid}/syscall")).map_err(errno)?,
                pid,
                io: OnceCell::new(),
                stat: (poller == Poller::Any).then(stat).transpose()?,
                poller,
            };
            // What may not be read says so only here.
            event_loop.syscall.read_at(&mut [0; 32], 0).map_err(errno)?;
            Ok(event_loop)
        }

        /// Whether it is that of this process, at this epoll instance.
        pub fn is_of(&self, pid: u32, poller: i32) -> bool {
            (self.pid, self.poller) == (pid, Poller::Numbered(poller))
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

    impl EventLoop {
        /// Whether the thread has something to do, and its processor or not.
        pub fn is_runnable(&self) -> bool {
            let mut text = [0; 16];
            let length = self.syscall.read_at(&mut text, 0).unwrap_or(0);
            text[..length].starts_with(b"running")
        }

        /// How often the thread has read and written so far; None where nobody counts.
        pub fn calls(&self) -> Option<u64> {
            let pid = self.pid;
            let io = self.io.get_or_init(|| File::open(format!("/proc/{pid}/task/{pid}/io")).ok());
            let mut text = [0; 512];
            let length = io.as_ref()?.read_at(&mut text, 0).ok()?;
            io_calls(&text[..length])
        }

        /// Whether the process is stopped, by a signal or a debugger. Until it goes on it may seem to wait for events. False at
        /// a numbered poller. Costs 1 us.
        pub fn is_stopped(&self) -> bool {
            let mut text = [0; 128];
            let length = self.stat.as_ref().and_then(|stat| stat.read_at(&mut text, 0).ok());
            length.is_some_and(|length| is_stop(&text[..length]))
        }
    }

    /// `rchar: 1\nwchar: 2\nsyscr: 3\nsyscw: 4\n...`.
    pub(super) fn io_calls(text: &[u8]) -> Option<u64> {
        let text = std::str::from_utf8(text).ok()?;
        let of =
            |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        Some(of("syscr:")? + of("syscw:")?)
    }

    /// `<pid> (<name>) <state> ...`. The name may have any bytes in it, at most 15.
    pub(super) fn is_stop(text: &[u8]) -> bool {
        let end = text.iter().rposition(|byte| *byte == b')');
        end.and_then(|end| text.get(end + 2)).is_some_and(|state| matches!(state, b'T' | b't'))
    }

    /// `<call> <first argument> ...` with the call in decimal and arguments in hexadecimal, `running`, or `-1 ...`.
    pub(super) fn is_wait(line: &[u8], poller: Poller) -> bool {
        let Ok(line) = std::str::from_utf8(line) else { return false };
        let mut words = line.split_ascii_whitespace();
        let call = words.next().and_then(|call| call.parse::<i64>().ok());
        let first =
            words.next().and_then(|argument| i64::from_str_radix(argument.strip_prefix("0x")?, 16).ok());
        let is_there = match poller {
            Poller::Numbered(number) => first == Some(i64::from(number)),
            Poller::Any => true,
        };
        call.is_some_and(|call| WAITS.contains(&call)) && is_there
    }

    fn errno(error: std::io::Error) -> Errno {
        Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

#[cfg(not(target_os = "linux"))]
impl EventLoop {
    /// Errors: `ENOSYS`: only Linux tells.
    pub fn of(_pid: u32, _poller: Poller) -> Result<Self, Errno> {
        Err(Errno::ENOSYS)
    }

    /// There is none.
    pub fn is_of(&self, _pid: u32, _poller: i32) -> bool {
        false
    }

    /// There is none.
    pub fn is_waiting(&self) -> bool {
        false
    }

    /// There is none.
    pub fn is_runnable(&self) -> bool {
        false
    }

    /// There is none.
    pub fn calls(&self) -> Option<u64> {
        None
    }

    /// There is none.
    pub fn is_stopped(&self) -> bool {
        false
    }
}

/// For how long the threads of another process have had a processor, altogether; None where nobody tells, or when the process has
/// ended.
#[cfg(target_os = "linux")]
pub fn processor_time(pid: u32) -> Option<std::time::Duration> {
    let pid = libc::pid_t::try_from(pid).ok()?;
    let mut clock = 0;
    // SAFETY: the pointer is live for the call.
    if unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) } != 0 {
        return None;
    }
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is live for the call.
    let status = unsafe { libc::clock_gettime(clock, &raw mut time) };
    (status == 0).then(|| std::time::Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

/// None: only Linux tells.
#[cfg(not(target_os = "linux"))]
pub fn processor_time(_pid: u32) -> Option<std::time::Duration> {
    None
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

    use super::linux::{io_calls, is_stop, is_wait};
    use super::*;

    #[test]
    fn only_a_wait_at_this_very_epoll_instance_counts() {
        let (wait, poller) = (libc::SYS_epoll_pwait, Poller::Numbered(13));
        assert!(is_wait(format!("{wait} 0xd 0x7ffd 0x400 0xffffffff 0x0 0x8 0x1 0x2\n").as_bytes(), poller));
        assert!(!is_wait(format!("{wait} 0xe 0x7ffd 0x400\n").as_bytes(), poller));
        assert!(is_wait(format!("{wait} 0xe 0x7ffd 0x400\n").as_bytes(), Poller::Any));
        for poller in [poller, Poller::Any] {
            for line in
                [&b"202 0xd 0x7ffd\n"[..], b"running\n", b"-1 0x7ffd 0x1\n", b"", b"\xff\xfe", b"0 0xd\n"]
            {
                assert!(!is_wait(line, poller));
            }
        }
    }

    #[test]
    fn calls_and_stops_are_read_whatever_the_process_is_called() {
        assert_eq!(io_calls(b"rchar: 9\nwchar: 8\nsyscr: 3\nsyscw: 4\nread_bytes: 1\n"), Some(7));
        for text in [&b""[..], b"syscr: 3\n", b"syscr: x\nsyscw: 4\n", b"\xff"] {
            assert_eq!(io_calls(text), None);
        }
        assert!(is_stop(b"12 (node) T 1 12") && is_stop(b"12 (a) S) b) t 1 12"));
        for text in [&b""[..], b"12 (node) S 1 12", b"12 (T) R 1", b"12 (node)", b"no process"] {
            assert!(!is_stop(text));
        }
    }

    #[test]
    fn a_process_that_is_stopped_is_seen_to_be() {
        use nix::sys::signal::{Signal, kill};
        use nix::sys::wait::{WaitPidFlag, waitpid};
        let mut child = Command::new("sleep").arg("100").stdin(Stdio::null()).spawn().unwrap();
        let event_loop = EventLoop::of(child.id(), Poller::Any).unwrap();
        assert!(!event_loop.is_stopped());
        let pid = nix::unistd::Pid::from_raw(child.id() as i32);
        kill(pid, Signal::SIGSTOP).unwrap();
        waitpid(pid, Some(WaitPidFlag::WUNTRACED)).unwrap();
        assert!(event_loop.is_stopped() && event_loop.calls().is_some());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!event_loop.is_stopped() && event_loop.calls().is_none());
    }

    #[test]
    fn a_process_that_computes_is_runnable_and_takes_processor_time() {
        let mut child = Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let event_loop = EventLoop::of(child.id(), Poller::Any).unwrap();
        let start = processor_time(child.id()).unwrap();
        while !event_loop.is_runnable() || processor_time(child.id()).unwrap() == start {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!((event_loop.is_runnable(), processor_time(child.id())), (false, None));
        let mut sleeper = Command::new("sleep").arg("100").spawn().unwrap();
        let event_loop = EventLoop::of(sleeper.id(), Poller::Any).unwrap();
        while event_loop.is_runnable() {
            std::thread::yield_now();
        }
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
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
        let event_loop = EventLoop::of(child.id(), Poller::Any).unwrap();
        assert!(!event_loop.is_waiting());
        child.stdin.take().unwrap().write_all(b"\n").unwrap();
        child.wait().unwrap();
        assert!(!event_loop.is_waiting());
    }
}
