//! What the kernel knows of a process.

use std::collections::HashMap;

/// What a process uses. Times are in seconds, sizes in bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage {
    /// Processor time outside of the kernel.
    pub user: f64,
    /// Processor time in the kernel.
    pub system: f64,
    /// Processor time of some threads, by their names in metrics, and of all others together.
    pub threads: Vec<(&'static str, f64)>,
    /// How many threads there are.
    pub thread_count: u64,
    /// Memory that is in use, with what others have as well.
    pub resident: u64,
    /// The same with each page divided by how many processes have it, as [`Processes::weigh`] has found it last.
    pub proportional: Option<u64>,
    /// How many descriptors are open.
    pub open_descriptors: Option<u64>,
    /// How many may be open; None without a limit.
    pub max_descriptors: Option<u64>,
}

/// The name of the core's thread, as the kernel has it.
const REACTOR: &str = "corral";
/// The same of this addon's thread.
pub const OBSERVER: &str = "corral-observe";

/// For how long a weight is good enough, in microseconds.
const WEIGHED_EVERY: u64 = 10_000_000;

/// Of how many processes the files in `/proc` stay open, which costs two descriptors each. Those of others are opened each time.
pub const MAX_OPEN: usize = 64;

/// Which process: the primary's own or a worker's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Primary,
    Worker,
}

/// What was found out about processes, by their numbers, where asking each time would cost too much.
#[derive(Debug, Default)]
pub struct Processes {
    weights: HashMap<u32, Weight>,
    /// What threads without names have used, which is what is left: it must not fall, although the parts are not read at once.
    rest: HashMap<u32, f64>,
    files: HashMap<u32, platform::Files>,
    /// What is read, whatever it is.
    buffer: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Weight {
    at: u64,
    proportional: Option<u64>,
}

impl Processes {
    /// Forgets all but these.
    pub fn retain(&mut self, pids: &[u32]) {
        self.weights.retain(|pid, _| pids.contains(pid));
        self.rest.retain(|pid, _| pids.contains(pid));
        self.files.retain(|pid, _| pids.contains(pid));
    }

    /// Finds out, for the one whose turn it is, what its proportional share of memory is: the kernel walks through all of its
    /// memory for that. Nobody waits for the answer.
    pub fn weigh(&mut self, now: u64, pids: &[u32]) {
        let age = |pid: &u32| self.weights.get(pid).map_or(u64::MAX, |weight| now.saturating_sub(weight.at));
        if let Some(pid) =
            pids.iter().copied().max_by_key(|pid| age(pid)).filter(|pid| age(pid) >= WEIGHED_EVERY)
        {
            self.weights.insert(pid, Weight { at: now, proportional: platform::proportional(pid) });
            // It may have got another limit, and threads of other names.
            self.files.remove(&pid);
        }
    }

    /// What a process uses; None when it has ended, and where the kernel does not tell.
    pub fn usage(&mut self, pid: u32, role: Role) -> Option<Usage> {
        let known = self.files.get(&pid).and_then(|files| files.usage(&mut self.buffer));
        // Another process may have got the number.
        let mut usage = known.or_else(|| self.open(pid, role))?;
        let named = usage.threads.iter().map(|(_, time)| time).sum::<f64>();
        let rest = self.rest.entry(pid).or_default();
        // As exact as the kernel counts.
        *rest = rest.max(((usage.user + usage.system - named) * 1000.0).round() / 1000.0);
        usage.threads.push(("other", *rest));
        usage.proportional = self.weights.get(&pid).and_then(|weight| weight.proportional);
        Some(usage)
    }

    fn open(&mut self, pid: u32, role: Role) -> Option<Usage> {
        self.files.remove(&pid);
        let wanted: &[_] =
            if role == Role::Primary { &[("reactor", REACTOR), ("observer", OBSERVER)] } else { &[] };
        let files = platform::Files::open(pid, wanted)?;
        let usage = files.usage(&mut self.buffer)?;
        if self.files.len() < MAX_OPEN {
            self.files.insert(pid, files);
        }
        Some(usage)
    }
}

/// When this process began, in seconds since 1970; None where the kernel does not tell.
pub fn began_at() -> Option<f64> {
    platform::age(std::process::id()).map(|age| unix_time() - age)
}

/// Seconds since 1970.
pub fn unix_time() -> f64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(target_os = "linux")]
mod platform {
    use std::fs::{self, File};
    use std::os::unix::fs::FileExt;

    use procfs::process::{LimitValue, Process, Stat};
    use procfs::{Current, FromRead, Uptime};

    use super::Usage;

    /// How long a `stat` may be, in bytes: some fifty numbers of at most twenty digits.
    const MAX_STAT: usize = 1 << 11;

    /// The files of a process that are read again and again. Each is the process's that it was opened for, also when its number has
    /// become another's: nothing can be read of it then.
    #[derive(Debug)]
    pub struct Files {
        stat: File,
        /// Of threads, by what they are called in metrics.
        threads: Vec<(&'static str, Thread)>,
        /// The directory of its descriptors.
        descriptors: String,
        max_descriptors: Option<u64>,
    }

    /// Where the kernel says for how long a thread has had a processor.
    #[derive(Debug)]
    enum Thread {
        /// `schedstat`: in nanoseconds, and cheaper.
        Exact(File),
        /// `stat`, where the kernel does not count that.
        Ticks(File),
    }

    impl Thread {
        fn open(pid: u32, thread: u32) -> Option<Self> {
            let open = |name: &str| File::open(format!("/proc/{pid}/task/{thread}/{name}")).ok();
            let exact = open("schedstat").map(Thread::Exact);
            // One that has run for no time at all is one of which nothing is known.
            let counts = |exact: &Thread| exact.busy(&mut Vec::new()).is_some_and(|busy| busy > 0.0);
            exact.filter(counts).or_else(|| open("stat").map(Thread::Ticks))
        }

        /// In seconds; None when it has ended.
        fn busy(&self, buffer: &mut Vec<u8>) -> Option<f64> {
            match self {
                Thread::Ticks(file) => {
                    let stat = read(file, buffer)?;
                    Some(seconds(stat.utime + stat.stime))
                }
                Thread::Exact(file) => {
                    let text = std::str::from_utf8(read_text(file, buffer)?).ok()?;
                    let nanos: u64 = text.split(' ').next()?.parse().ok()?;
                    Some(nanos as f64 / 1e9)
                }
            }
        }
    }

    fn open(pid: u32) -> Option<Process> {
        Process::new(i32::try_from(pid).ok()?).ok()
    }

    fn seconds(ticks: u64) -> f64 {
        ticks as f64 / procfs::ticks_per_second() as f64
    }

    fn read_text<'a>(file: &File, buffer: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        buffer.resize(MAX_STAT, 0);
        let length = file.read_at(buffer, 0).ok()?;
        buffer.get(..length)
    }

    fn read(file: &File, buffer: &mut Vec<u8>) -> Option<Stat> {
        Stat::from_read(read_text(file, buffer)?).ok()
    }

    impl Files {
        /// Of a process, and of its main thread and those that have these names, each with what it is called in metrics.
        pub fn open(pid: u32, wanted: &[(&'static str, &str)]) -> Option<Self> {
            let stat = File::open(format!("/proc/{pid}/stat")).ok()?;
            let limits = open(pid)?.limits().ok();
            let named = if wanted.is_empty() { Vec::new() } else { self::threads(pid, wanted) };
            let threads = [("main", pid)].into_iter().chain(named);
            Some(Files {
                stat,
                threads: threads
                    .filter_map(|(name, thread)| Some((name, Thread::open(pid, thread)?)))
                    .collect(),
                descriptors: format!("/proc/{pid}/fd"),
                max_descriptors: match limits?.max_open_files.soft_limit {
                    LimitValue::Value(most) => Some(most),
                    LimitValue::Unlimited => None,
                },
            })
        }

        /// What the process uses now; None when it has ended.
        pub fn usage(&self, buffer: &mut Vec<u8>) -> Option<Usage> {
            let stat = read(&self.stat, buffer)?;
            let mut threads = Vec::with_capacity(self.threads.len() + 1);
            threads
                .extend(self.threads.iter().filter_map(|(called, file)| Some((*called, file.busy(buffer)?))));
            Some(Usage {
                user: seconds(stat.utime),
                system: seconds(stat.stime),
                threads,
                thread_count: u64::try_from(stat.num_threads).unwrap_or(0),
                resident: stat.rss * procfs::page_size(),
                proportional: None,
                open_descriptors: count(&self.descriptors),
                max_descriptors: self.max_descriptors,
            })
        }
    }

    /// How many descriptors are in a directory of them.
    fn count(descriptors: &str) -> Option<u64> {
        // Linux 6.2 and newer say so as its size, and older ones say nothing.
        match fs::metadata(descriptors).ok()?.len() {
            0 => Some(fs::read_dir(descriptors).ok()?.count() as u64),
            count => Some(count),
        }
    }

    /// The threads of these names, each with what it is called here.
    fn threads(pid: u32, wanted: &[(&'static str, &str)]) -> Vec<(&'static str, u32)> {
        let tasks = open(pid).and_then(|process| process.tasks().ok());
        let all =
            tasks.into_iter().flatten().flatten().filter_map(|task| Some((task.tid, task.stat().ok()?)));
        let named = |(tid, stat): (i32, Stat)| {
            let (called, _) = wanted.iter().find(|(_, name)| stat.comm == *name)?;
            Some((*called, u32::try_from(tid).ok()?))
        };
        let mut found: Vec<_> = all.filter_map(named).collect();
        // A process has one primary; other reactors of the same name have channels over named sockets.
        found.sort_unstable();
        found.dedup_by_key(|(called, _)| *called);
        found
    }

    pub fn proportional(pid: u32) -> Option<u64> {
        let rollup = open(pid)?.smaps_rollup().ok()?;
        rollup.memory_map_rollup.0.first()?.extension.map.get("Pss").copied()
    }

    /// For how many seconds a process has been there.
    pub fn age(pid: u32) -> Option<f64> {
        let stat = open(pid)?.stat().ok()?;
        Some(Uptime::current().ok()?.uptime - seconds(stat.starttime))
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use super::Usage;

    /// There are none.
    #[derive(Debug)]
    pub struct Files;

    impl Files {
        pub fn open(_pid: u32, _wanted: &[(&'static str, &str)]) -> Option<Self> {
            None
        }

        pub fn usage(&self, _buffer: &mut Vec<u8>) -> Option<Usage> {
            None
        }
    }

    pub fn proportional(_pid: u32) -> Option<u64> {
        None
    }

    pub fn age(_pid: u32) -> Option<f64> {
        None
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_this_process_uses_is_found() {
        let pid = std::process::id();
        let mut processes = Processes::default();
        processes.weigh(1, &[pid]);
        let usage = processes.usage(pid, Role::Worker).unwrap();
        assert!(usage.resident > 0 && usage.thread_count > 0 && usage.user >= 0.0);
        assert!(usage.open_descriptors > Some(2));
        assert!(usage.proportional.unwrap() <= usage.resident + (1 << 20));
        let names: Vec<_> = usage.threads.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["main", "other"]);
        assert!(began_at().unwrap() <= unix_time());
    }

    #[test]
    fn a_process_that_has_ended_uses_nothing() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        let mut processes = Processes::default();
        processes.weigh(1, &[pid]);
        assert_eq!(processes.usage(pid, Role::Worker), None);
        processes.retain(&[]);
        assert!(processes.weights.is_empty());
    }

    #[test]
    fn what_is_kept_open_is_given_up_with_its_process_and_is_bounded() {
        use std::process::{Command, Stdio};
        let children = (0..=MAX_OPEN).map(|_| Command::new("cat").stdin(Stdio::piped()).spawn().unwrap());
        let mut children: Vec<_> = children.collect();
        let mut processes = Processes::default();
        for child in &children {
            assert!(processes.usage(child.id(), Role::Worker).is_some());
        }
        assert_eq!(processes.files.len(), MAX_OPEN);
        // Those that are not kept, as well as those that are, are found again.
        for child in [&children[0], children.last().unwrap()] {
            assert!(processes.usage(child.id(), Role::Worker).unwrap().open_descriptors > Some(2));
        }
        for child in &mut children {
            drop(child.stdin.take());
            child.wait().unwrap();
            assert_eq!(processes.usage(child.id(), Role::Worker), None);
        }
        assert!(processes.files.is_empty());
    }

    #[test]
    fn one_process_is_weighed_at_a_time_and_none_too_often() {
        let pids = [std::process::id(), u32::MAX];
        let mut processes = Processes::default();
        processes.weigh(1, &pids);
        assert_eq!(processes.weights.len(), 1);
        processes.weigh(2, &pids);
        assert_eq!(processes.weights.len(), 2);
        processes.weigh(3, &pids);
        let oldest = processes.weights.values().map(|weight| weight.at).min();
        assert_eq!(oldest, Some(1));
        processes.weigh(WEIGHED_EVERY + 1, &pids);
        let oldest = processes.weights.values().map(|weight| weight.at).min();
        assert_eq!(oldest, Some(2));
    }

    #[test]
    fn threads_are_found_by_their_names() {
        let (end, wait) = std::sync::mpsc::channel::<()>();
        let (begin, begun) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new().name(OBSERVER.into()).spawn(move || {
            begin.send(()).unwrap();
            wait.recv().unwrap_err();
        });
        begun.recv().unwrap();
        let usage = Processes::default().usage(std::process::id(), Role::Primary).unwrap();
        assert!(usage.threads.iter().any(|(name, _)| *name == "observer"), "{:?}", usage.threads);
        drop(end);
        thread.unwrap().join().unwrap();
    }
}
