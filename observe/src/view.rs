//! All that is known at one moment: what the core counts, what event loops do, and what the kernel knows of the processes.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::time::Duration;

use crate::activity::activity;
use crate::blocks::{Blocks, Change, Count, Frame, Sight};
use crate::bus::Buses;
use crate::core::{Core, Descriptions, Snapshot, Worker};
use crate::process::{Processes, Role, Usage, began_at, unix_time};
use crate::program::Program;
use crate::watch::{Activity, Watch};

/// The key of the primary's own loop: no worker has this id.
const PRIMARY: u32 = 0;

/// Why and how a worker has ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exit {
    /// `disconnect`: it was asked to leave, or left by itself. `signal`, `exit`.
    pub reason: String,
    /// The code or the signal.
    pub status: String,
}

/// A process, beside what the core knows of it.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// What its event loop does; None if it does not show it.
    pub activity: Option<Activity>,
    /// None where the kernel does not tell.
    pub usage: Option<Usage>,
}

impl Process {
    /// Whether its event loop has been at the same turn for so long, as far as it is seen.
    pub fn is_blocked(&self, after: Duration) -> bool {
        self.blocked_for().is_some_and(|blocked| blocked >= after)
    }

    /// For how long its event loop has been at the same turn.
    pub fn blocked_for(&self) -> Option<Duration> {
        self.activity?.blocked_for.map(Duration::from_micros)
    }
}

/// What the core counts at one moment, and what event loops do.
#[derive(Clone, Debug)]
pub struct Look {
    /// What the core counts.
    pub snapshot: Snapshot,
    /// The primary's loop; None if it does not show it.
    pub primary: Option<Activity>,
    /// Those of the workers, as the snapshot has them.
    pub workers: Vec<Option<Activity>>,
}

/// What is known at one moment.
#[derive(Clone, Debug)]
pub struct View {
    /// What the core counts.
    pub snapshot: Snapshot,
    /// The primary's process.
    pub primary: Process,
    /// Those of the workers, as the snapshot has them.
    pub workers: Vec<Process>,
    /// How many workers have ended how.
    pub exits: BTreeMap<Exit, u64>,
    /// When the primary's process began, in seconds since 1970.
    pub began_at: Option<f64>,
    /// From when on a loop that does not turn counts as blocked.
    pub blocked_after: Duration,
    /// How often and for how long each frame has blocked a worker.
    pub block_counts: BTreeMap<String, Count>,
    /// Of workers: how often those before them in their places have ended, by how.
    pub restarts: HashMap<u32, Restarts>,
}

/// How often workers have ended, by how.
pub type Restarts = BTreeMap<String, u32>;

impl View {
    /// The workers with their processes.
    pub fn all_workers(&self) -> impl Iterator<Item = (&Worker, &Process)> + Clone {
        self.snapshot.workers.iter().zip(&self.workers)
    }
}

/// Looks at everything.
pub struct Viewer {
    core: Box<dyn Core>,
    descriptions: Descriptions,
    watch: Watch,
    processes: Processes,
    exits: BTreeMap<Exit, u64>,
    began_at: Option<f64>,
    blocks: Blocks,
    restarts: HashMap<u32, Restarts>,
    program: Program,
    /// When the last look was, in microseconds of the monotonic clock.
    looked_at: u64,
    /// The workers that were there, and the primary.
    ids: Vec<u32>,
    /// How long the metrics were that were written last, in bytes.
    pub written: usize,
    /// The buses that this process serves or uses.
    pub buses: Buses,
}

impl Viewer {
    /// Errors: what the core answers is not what this addon knows.
    pub fn new(core: Box<dyn Core>) -> Result<Self, String> {
        let descriptions = serde_json::from_slice(&core.describe()).map_err(|error| error.to_string())?;
        Ok(Viewer {
            core,
            descriptions,
            watch: Watch::default(),
            processes: Processes::default(),
            exits: BTreeMap::new(),
            began_at: began_at(),
            blocks: Blocks::default(),
            restarts: HashMap::new(),
            program: Program::default(),
            looked_at: 0,
            ids: Vec::new(),
            written: 0,
            buses: Buses::new(),
        })
    }

    /// A worker has published its program's own metrics.
    pub fn publish(&mut self, worker: u32, text: &[u8]) {
        // What it had before is kept already when a worker has gone. This would be counted beside it.
        if !self.ids.contains(&worker) {
            return;
        }
        self.program.publish(worker, self.looked_at, text);
    }

    /// What the numbers of a snapshot are, the program's own metrics, and the buses.
    pub fn published(&mut self) -> (&Descriptions, &mut Program, &Buses) {
        (&self.descriptions, &mut self.program, &self.buses)
    }

    /// When the last look was, in microseconds of the monotonic clock.
    pub fn looked_at(&self) -> u64 {
        self.looked_at
    }

    /// The blocks that there were.
    pub fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    /// A worker has answered with its stack.
    pub fn answer(&mut self, worker: u32, id: u64, stack: Vec<Frame>) -> Option<Change> {
        self.blocks.answer(worker, id, stack, activity)
    }

    /// The new socket to a worker, if there is one.
    pub fn take_link(&self, worker: u32) -> Option<OwnedFd> {
        self.core.take_link(worker)
    }

    /// What a look says of blocks, if a loop counts as blocked from `after` on.
    pub fn find_blocks(&mut self, look: &Look, after: Duration) -> Vec<Change> {
        let sights: Vec<_> = look
            .snapshot
            .workers
            .iter()
            .zip(&look.workers)
            .map(|(worker, activity)| Sight {
                worker: worker.id,
                pid: worker.pid,
                blocked_for: activity.and_then(|activity| activity.blocked_for),
            })
            .collect();
        let now = (look.snapshot.now, (unix_time() * 1000.0) as u64);
        self.blocks.look(&sights, now, after.as_micros() as u64, activity)
    }

    /// What the numbers of a snapshot are.
    pub fn descriptions(&self) -> &Descriptions {
        &self.descriptions
    }

    /// A worker has ended.
    pub fn count_exit(&mut self, exit: Exit) {
        *self.exits.entry(exit).or_default() += 1;
    }

    /// Those before a worker in its place have ended so often; none when it has ended itself.
    pub fn set_restarts(&mut self, worker: u32, restarts: Option<Restarts>) {
        match restarts {
            Some(restarts) => self.restarts.insert(worker, restarts),
            None => self.restarts.remove(&worker),
        };
    }

    /// Another core answers from now on.
    #[cfg(test)]
    pub fn set_core(&mut self, core: Box<dyn Core>) {
        self.core = core;
    }

    /// What the core counts, and what the loops do. To be called often enough to see how long loops are blocked.
    ///
    /// Errors: as [`Viewer::new`].
    pub fn look(&mut self) -> Result<Look, String> {
        let snapshot: Snapshot =
            serde_json::from_slice(&self.core.snapshot()).map_err(|error| error.to_string())?;
        let now = snapshot.now;
        self.looked_at = now;
        let watch = &mut self.watch;
        let primary = snapshot.primary.as_ref().map(|seen| watch.look(PRIMARY, now, seen));
        let workers = snapshot
            .workers
            .iter()
            .map(|worker| worker.event_loop.as_ref().map(|seen| watch.look(worker.id, now, seen)))
            .collect();
        self.ids = snapshot.workers.iter().map(|worker| worker.id).chain([PRIMARY]).collect();
        self.watch.retain(&self.ids);
        self.program.retain(|worker| self.ids.contains(&worker));
        Ok(Look { snapshot, primary, workers })
    }

    /// Finds out what takes long, a little at a time.
    pub fn weigh(&mut self, snapshot: &Snapshot) {
        let workers = snapshot.workers.iter().filter_map(|worker| worker.pid);
        let pids: Vec<_> = workers.chain([std::process::id()]).collect();
        self.processes.retain(&pids);
        self.processes.weigh(snapshot.now, &pids);
    }

    /// Everything.
    ///
    /// Errors: as [`Viewer::new`].
    pub fn view(&mut self, blocked_after: Duration) -> Result<View, String> {
        let Look { snapshot, primary: activity, workers: activities } = self.look()?;
        let processes = &mut self.processes;
        let primary = Process { activity, usage: processes.usage(std::process::id(), Role::Primary) };
        let usages = snapshot
            .workers
            .iter()
            .map(|worker| worker.pid.and_then(|pid| processes.usage(pid, Role::Worker)));
        let workers =
            activities.into_iter().zip(usages).map(|(activity, usage)| Process { activity, usage }).collect();
        Ok(View {
            snapshot,
            primary,
            workers,
            exits: self.exits.clone(),
            began_at: self.began_at,
            blocked_after,
            block_counts: self.blocks.counts().clone(),
            restarts: self.restarts.clone(),
        })
    }
}

impl std::fmt::Debug for Viewer {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Viewer").finish_non_exhaustive()
    }
}

/// A core for tests: two workers, of which the second one shows nothing.
#[cfg(test)]
pub mod example {
    use super::*;
    use crate::core::{Description, Durations, Load, Loop, Server};

    /// Answers with the same each time.
    pub struct Example(pub Snapshot);

    impl Core for Example {
        fn describe(&self) -> Vec<u8> {
            let describe = |name: &str, is_counter, unit: Option<&str>| Description {
                name: name.into(),
                is_counter,
                unit: unit.map(Into::into),
                help: format!("What {name} is."),
            };
            let descriptions = Descriptions {
                server: vec![
                    describe("pending", false, Some("connections")),
                    describe("refused", true, None),
                ],
                worker: vec![describe("in_flight", false, Some("connections"))],
                channel: vec![
                    describe("messages_sent", true, Some("messages")),
                    describe("queued_bytes", false, Some("bytes")),
                ],
                bounds: vec![1000],
            };
            serde_json::to_vec(&descriptions).unwrap()
        }

        fn snapshot(&self) -> Vec<u8> {
            serde_json::to_vec(&self.0).unwrap()
        }

        fn take_link(&self, _worker: u32) -> Option<OwnedFd> {
            None
        }
    }

    pub fn a_loop(is_waiting: Option<bool>) -> Loop {
        let mut runtime = vec![0; crate::core::RUNTIME.len()];
        (runtime[0], runtime[1], runtime[6], runtime[7]) = (1_700_000_000_000, 4096, 3, 2_000_000_000);
        Loop { turns: 9, polled_at: 1, is_waiting, busy: 5_000_000_000, busy_spells: durations(), runtime }
    }

    fn durations() -> Durations {
        Durations { buckets: vec![2, 1], sum: 3_000_000 }
    }

    pub fn worker(id: u32) -> Worker {
        Worker {
            id,
            pid: None,
            weight: 1,
            has_lane: true,
            lane_reason: None,
            idle_by: "pulse".into(),
            idle_reason: None,
            keep_alive_reason: None,
            moved: true,
            stalled: false,
            turns: Some(9),
            spawned_at: 1,
            online_at: Some(2),
            listening_at: Some(3),
            counters: vec![4],
            traffic: vec![5, 6],
            taken_after: durations(),
            event_loop: Some(a_loop(Some(true))),
        }
    }

    pub fn server() -> Server {
        Server {
            key: "127.0.0.1:80:4::0".into(),
            address: "127.0.0.1".into(),
            port: Some(80),
            policy: "one-queue".into(),
            policy_reason: None,
            load: vec![
                Load { worker: 1, open: Some(7), decisions: 8 },
                Load { worker: 2, open: None, decisions: 0 },
            ],
            counters: vec![1, 2],
            paused: false,
            handed_over_after: durations(),
        }
    }

    pub fn snapshot() -> Snapshot {
        let silent =
            Worker { event_loop: None, listening_at: None, lane_reason: Some("none".into()), ..worker(2) };
        Snapshot {
            now: 10_000_000,
            has_ended: false,
            servers: vec![server()],
            workers: vec![worker(1), silent],
            primary: Some(a_loop(Some(true))),
            spawned: 3,
            online_after: durations(),
            listening_after: durations(),
        }
    }

    pub fn viewer(snapshot: Snapshot) -> Viewer {
        Viewer::new(Box::new(Example(snapshot))).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::example::*;
    use super::*;

    #[test]
    fn what_is_seen_of_each_worker_is_beside_it() {
        let mut viewer = viewer(snapshot());
        viewer.count_exit(Exit { reason: "signal".into(), status: "SIGKILL".into() });
        viewer.count_exit(Exit { reason: "signal".into(), status: "SIGKILL".into() });
        let view = viewer.view(Duration::from_secs(1)).unwrap();
        let shows: Vec<_> =
            view.all_workers().map(|(worker, process)| (worker.id, process.activity.is_some())).collect();
        assert_eq!(shows, [(1, true), (2, false)]);
        assert!(view.primary.activity.is_some());
        assert_eq!(view.exits.values().collect::<Vec<_>>(), [&2]);
        assert_eq!(view.primary.blocked_for(), Some(Duration::ZERO));
    }

    #[test]
    fn what_a_worker_publishes_when_it_has_gone_was_counted_twice() {
        let mut viewer = viewer(snapshot());
        let sum = |viewer: &mut Viewer| {
            let mut text = String::new();
            viewer.published().1.write(&mut text, crate::negotiation::Format::Text);
            text.lines().find(|line| !line.starts_with('#')).map(ToOwned::to_owned)
        };
        let text = br#"{"families":[{"name":"c","type":"counter","values":[{"value":5}]}],"texts":[]}"#;
        viewer.look().unwrap();
        viewer.publish(1, text);
        assert_eq!(sum(&mut viewer).as_deref(), Some("c 5"));
        viewer.set_core(Box::new(Example(Snapshot { workers: vec![], ..snapshot() })));
        // Its channel has been closed, and its process and its socket are still there.
        for _ in 0..3 {
            viewer.look().unwrap();
            viewer.publish(1, text);
        }
        assert_eq!(sum(&mut viewer).as_deref(), Some("c 5"));
    }

    #[test]
    fn an_answer_that_is_not_understood_is_an_error() {
        struct Strange;
        impl Core for Strange {
            fn describe(&self) -> Vec<u8> {
                b"{}".to_vec()
            }
            fn snapshot(&self) -> Vec<u8> {
                Vec::new()
            }
            fn take_link(&self, _worker: u32) -> Option<OwnedFd> {
                None
            }
        }
        assert!(Viewer::new(Box::new(Strange)).unwrap_err().contains("server"));
    }
}
