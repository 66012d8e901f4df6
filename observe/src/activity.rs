//! What the main thread of a process does, in words, as the kernel knows it.

/// What the main thread of a process does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doing {
    /// In words.
    pub words: String,
    /// It waits for another thread.
    pub waits_for_thread: bool,
    /// For how many microseconds it has had a processor so far; 0 where nobody tells.
    pub processor: u64,
}

/// What a thread does that is in no system call, where V8 cannot be interrupted.
pub const NATIVE_CODE: &str = "runs native code";

/// What it does. `has_stack`: it runs JavaScript, or what JavaScript can be interrupted in.
pub fn activity(pid: Option<u32>, has_stack: bool) -> Doing {
    let seen = pid.and_then(platform::seen);
    let waits_for_thread = matches!(seen, Some(Seen::WaitsForThread(_)));
    let words = match seen {
        None | Some(Seen::Runs) if has_stack => "runs JavaScript".to_owned(),
        None => "unknown".to_owned(),
        Some(Seen::Runs) => NATIVE_CODE.to_owned(),
        Some(Seen::Stopped) => "is stopped, by a signal or a debugger".to_owned(),
        Some(Seen::Waits(what) | Seen::WaitsForThread(what)) => what,
    };
    Doing { words, waits_for_thread, processor: pid.and_then(platform::processor).unwrap_or(0) }
}

/// What the kernel says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Runs,
    Stopped,
    /// In a system call, which is described.
    Waits(String),
    /// In one that waits for another thread.
    WaitsForThread(String),
}

#[cfg(target_os = "linux")]
mod platform {
    use std::fs;

    use super::Seen;

    pub fn seen(pid: u32) -> Option<Seen> {
        let stat = fs::read_to_string(format!("/proc/{pid}/task/{pid}/stat")).ok()?;
        // The name before it may have anything in it.
        let state = stat.rsplit_once(") ")?.1.chars().next()?;
        let call = fs::read_to_string(format!("/proc/{pid}/task/{pid}/syscall")).unwrap_or_default();
        Some(match state {
            'R' => Seen::Runs,
            'T' | 't' => Seen::Stopped,
            state => waits(pid, state, &call),
        })
    }

    /// For how many microseconds the thread has had a processor.
    pub fn processor(pid: u32) -> Option<u64> {
        let times = fs::read_to_string(format!("/proc/{pid}/task/{pid}/schedstat")).ok()?;
        Some(times.split_ascii_whitespace().next()?.parse::<u64>().ok()? / 1000)
    }

    fn waits(pid: u32, state: char, call: &str) -> Seen {
        let mut words = call.split_ascii_whitespace();
        let number: Option<i64> = words.next().and_then(|word| word.parse().ok());
        let argument =
            words.next().and_then(|word| i64::from_str_radix(word.trim_start_matches("0x"), 16).ok());
        let Some((name, kind)) = number.and_then(name) else {
            let how = if state == 'D' { "waits for a device" } else { "waits in the kernel" };
            return Seen::Waits(match number {
                Some(number) if number >= 0 => format!("{how} (system call {number})"),
                _ => how.to_owned(),
            });
        };
        Seen::Waits(match (kind, argument) {
            (Kind::File, Some(fd)) => format!("waits in {name} of {}", file(pid, fd)),
            (Kind::Memory, _) => {
                return Seen::WaitsForThread(format!("waits in {name}: for a lock, or in Atomics.wait"));
            }
            (Kind::Child, _) => format!("waits in {name} for a child process"),
            (Kind::Events, _) => format!("waits in {name} for events: of a child process, for example"),
            _ => format!("waits in {name}"),
        })
    }

    /// What a descriptor of a process is: a path, or `pipe:[1234]`.
    fn file(pid: u32, fd: i64) -> String {
        let target = fs::read_link(format!("/proc/{pid}/fd/{fd}"));
        target.map_or_else(|_| format!("descriptor {fd}"), |target| target.to_string_lossy().into_owned())
    }

    #[derive(Clone, Copy)]
    enum Kind {
        File,
        Memory,
        Child,
        Events,
        Other,
    }

    fn name(number: i64) -> Option<(&'static str, Kind)> {
        macro_rules! calls {
            ($($name:ident = $number:ident $kind:ident;)*) => {
                &[$((libc::$number, stringify!($name), Kind::$kind)),*]
            };
        }
        let all: &[(i64, &str, Kind)] = calls! {
            read = SYS_read File; pread = SYS_pread64 File; readv = SYS_readv File; preadv = SYS_preadv File;
            write = SYS_write File; pwrite = SYS_pwrite64 File; writev = SYS_writev File;
            fsync = SYS_fsync File; fdatasync = SYS_fdatasync File; flock = SYS_flock File;
            fcntl = SYS_fcntl File; ftruncate = SYS_ftruncate File; getdents = SYS_getdents64 File;
            recvfrom = SYS_recvfrom File; recvmsg = SYS_recvmsg File; sendto = SYS_sendto File;
            sendmsg = SYS_sendmsg File; connect = SYS_connect File; accept4 = SYS_accept4 File;
            futex = SYS_futex Memory;
            wait4 = SYS_wait4 Child; waitid = SYS_waitid Child;
            epoll_pwait = SYS_epoll_pwait Events; ppoll = SYS_ppoll Events;
            openat = SYS_openat Other; nanosleep = SYS_nanosleep Other; clock_nanosleep = SYS_clock_nanosleep Other;
            statx = SYS_statx Other; unlinkat = SYS_unlinkat Other;
        };
        #[cfg(target_arch = "x86_64")]
        let old: &[(i64, &str, Kind)] = calls! {
            epoll_wait = SYS_epoll_wait Events; poll = SYS_poll Events; open = SYS_open Other; stat = SYS_stat Other;
        };
        #[cfg(not(target_arch = "x86_64"))]
        let old: &[(i64, &str, Kind)] = &[];
        let found = all.iter().chain(old).find(|(one, _, _)| *one == number);
        found.map(|(_, name, kind)| (*name, *kind))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn system_calls_are_described_by_what_they_wait_for() {
            let own = std::process::id();
            let seen = |state, call: &str| match waits(own, state, call) {
                Seen::Waits(words) | Seen::WaitsForThread(words) => words,
                other => panic!("{other:?}"),
            };
            let call = |number: i64, first: &str| seen('S', &format!("{number} {first} 0x0 0x0"));
            let null = std::fs::File::open("/dev/null").unwrap();
            let fd = std::os::fd::AsRawFd::as_raw_fd(&null);
            assert_eq!(call(libc::SYS_read, &format!("0x{fd:x}")), "waits in read of /dev/null");
            assert_eq!(call(libc::SYS_read, "0xfffff"), "waits in read of descriptor 1048575");
            assert_eq!(call(libc::SYS_futex, "0x7f00"), "waits in futex: for a lock, or in Atomics.wait");
            assert_eq!(call(libc::SYS_wait4, "0x0"), "waits in wait4 for a child process");
            assert_eq!(call(9999, "0x0"), "waits in the kernel (system call 9999)");
            assert_eq!(seen('D', ""), "waits for a device");
            let futex = format!("{} 0x7f00 0x0", libc::SYS_futex);
            assert!(matches!(waits(own, 'S', &futex), Seen::WaitsForThread(_)));
        }

        #[test]
        fn a_process_that_waits_is_seen_to_wait() {
            use std::process::{Command, Stdio};
            let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
            while !matches!(seen(child.id()), Some(Seen::Waits(what)) if what.starts_with("waits in read of pipe:"))
            {
                std::thread::yield_now();
            }
            drop(child.stdin.take());
            child.wait().unwrap();
            assert_eq!(seen(child.id()), None);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use super::Seen;

    pub fn seen(_pid: u32) -> Option<Seen> {
        None
    }

    pub fn processor(_pid: u32) -> Option<u64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nothing_is_known_the_stack_decides() {
        assert_eq!(activity(None, true).words, "runs JavaScript");
        assert_eq!(activity(None, false).words, "unknown");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_the_main_thread_has_run_for_is_known() {
        assert!(activity(Some(std::process::id()), false).processor > 0);
    }
}
