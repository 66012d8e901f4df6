//! Workers whose event loops do not turn: since when, and what their JavaScript does meanwhile. Nothing here reads or writes.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::activity::{Doing, NATIVE_CODE};

/// How many blocks are remembered that are over.
pub const MAX_PAST: usize = 100;

/// How many different frames are counted apart; those beyond are counted together.
pub const MAX_FRAMES: usize = 100;

/// For how many microseconds a stack is waited for before a block is told without one.
pub const STACK_WAIT: u64 = 150_000;

/// Who has had a processor for so much of that time, in microseconds, does not wait, whatever it is found in: V8 waits for threads of
/// its own while it collects garbage.
const RUNS: u64 = STACK_WAIT / 10;

/// How frames are counted for which there is no more room.
const OTHER: &str = "other";

/// How blocks are counted in which V8 could not be interrupted. A stack that comes late blames whoever is called afterwards.
const NATIVE: &str = "native code";

/// A frame of a stack.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Frame {
    /// The function's name; empty of one that has none.
    pub function: String,
    /// Its file, or its URL; empty where V8 knows none.
    pub file: String,
    /// From 1 on.
    pub line: u32,
    /// From 1 on.
    pub column: u32,
}

impl Frame {
    /// As a stack trace of JavaScript's has it.
    pub fn to_text(&self) -> String {
        let Frame { function, file, line, column } = self;
        match (function.as_str(), file.as_str()) {
            ("", "") => "anonymous function".to_owned(),
            (function, "") => function.to_owned(),
            ("", file) => format!("{file}:{line}:{column}"),
            (function, file) => format!("{function} ({file}:{line}:{column})"),
        }
    }

    fn is_nodes(&self) -> bool {
        self.file.starts_with("node:")
    }
}

/// The frame that says most about whose code blocks: the innermost that is not Node's own, or else the innermost.
fn top(stack: &[Frame]) -> Option<&Frame> {
    stack.iter().find(|frame| !frame.is_nodes()).or(stack.first())
}

/// One time that a loop did not turn.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Block {
    /// The worker.
    pub worker: u32,
    /// Its process.
    pub pid: Option<u32>,
    /// Which block it is.
    pub id: u64,
    /// Since when, in milliseconds since 1970.
    pub since: u64,
    /// For how long, in milliseconds; None while it lasts.
    pub duration: Option<u64>,
    /// The frames, the innermost first; None where V8 could not be interrupted.
    pub stack: Option<Vec<Frame>>,
    /// The stack is that of the moment when V8 could be interrupted again, after the call of native code that blocked.
    pub is_late: bool,
    /// What the thread does, in words.
    pub activity: String,
    #[serde(skip)]
    began: u64,
    #[serde(skip)]
    asked: u64,
    /// For how many microseconds the thread had had a processor by then.
    #[serde(skip)]
    processor: u64,
    #[serde(skip)]
    is_told: bool,
    #[serde(skip)]
    frame: Option<String>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// The worker is to be asked for its stack, under this number.
    Ask { worker: u32, id: u64 },
    /// A block is to be told of.
    Blocked(Block),
    /// One is over.
    Unblocked(Block),
}

/// How often, and for how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub times: u64,
    /// In milliseconds, of those that are over.
    pub duration: u64,
}

/// What was seen of one worker's loop.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    pub worker: u32,
    pub pid: Option<u32>,
    /// For how many microseconds its loop has been at the same turn; None where the kernel does not tell.
    pub blocked_for: Option<u64>,
}

/// All blocks.
#[derive(Debug, Default)]
pub struct Blocks {
    current: HashMap<u32, Block>,
    past: VecDeque<Block>,
    counts: BTreeMap<String, Count>,
    last_id: u64,
}

impl Blocks {
    /// The loops of all workers were looked at: at `now`, in microseconds of the monotonic clock, which is `unix` in milliseconds
    /// since 1970. `activity` says what the main thread of a process does.
    pub fn look(
        &mut self,
        sights: &[Sight],
        (now, unix): (u64, u64),
        after: u64,
        activity: impl Fn(Option<u32>, bool) -> Doing,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut over: Vec<u32> = self.current.keys().copied().collect();
        for sight in sights {
            let blocked_for = sight.blocked_for.unwrap_or(0);
            if blocked_for < after {
                continue;
            }
            // The clock that both are taken from is the same.
            let began = now.saturating_sub(blocked_for);
            if let Some(block) = self.current.get_mut(&sight.worker).filter(|block| block.began == began) {
                over.retain(|worker| *worker != sight.worker);
                if !block.is_told && now.saturating_sub(block.asked) >= STACK_WAIT {
                    let Doing { words, waits_for_thread, processor } = activity(sight.pid, false);
                    let has_run = processor.saturating_sub(block.processor) >= RUNS;
                    block.activity = if waits_for_thread && has_run { NATIVE_CODE.to_owned() } else { words };
                    block.is_told = true;
                    changes.push(Change::Blocked(block.clone()));
                }
                continue;
            }
            self.end(sight.worker, now, &mut changes);
            over.retain(|worker| *worker != sight.worker);
            self.last_id += 1;
            let Doing { words, processor, .. } = activity(sight.pid, false);
            let block = Block {
                worker: sight.worker,
                pid: sight.pid,
                id: self.last_id,
                since: unix.saturating_sub(blocked_for / 1000),
                duration: None,
                stack: None,
                is_late: false,
                activity: words,
                began,
                asked: now,
                processor,
                is_told: false,
                frame: None,
            };
            changes.push(Change::Ask { worker: sight.worker, id: block.id });
            self.current.insert(sight.worker, block);
        }
        over.into_iter().for_each(|worker| self.end(worker, now, &mut changes));
        changes
    }

    /// A worker has answered with its stack.
    pub fn answer(
        &mut self,
        worker: u32,
        id: u64,
        stack: Vec<Frame>,
        activity: impl Fn(Option<u32>, bool) -> Doing,
    ) -> Option<Change> {
        let frame = top(&stack).map(Frame::to_text);
        if let Some(block) = self.current.get_mut(&worker).filter(|block| block.id == id) {
            block.stack = Some(stack);
            block.is_late = block.is_told;
            if block.is_told {
                return None;
            }
            block.frame = frame;
            block.is_told = true;
            block.activity = activity(block.pid, true).words;
            return Some(Change::Blocked(block.clone()));
        }
        if let Some(block) = self.past.iter_mut().find(|block| block.id == id && block.worker == worker) {
            block.stack = Some(stack);
            block.is_late = true;
        }
        None
    }

    fn end(&mut self, worker: u32, now: u64, changes: &mut Vec<Change>) {
        let Some(mut block) = self.current.remove(&worker) else { return };
        if !block.is_told {
            block.is_told = true;
            changes.push(Change::Blocked(block.clone()));
        }
        let duration = now.saturating_sub(block.began) / 1000;
        block.duration = Some(duration);
        let frame = block.frame.clone().unwrap_or_else(|| NATIVE.to_owned());
        let has_room = self.counts.len() < MAX_FRAMES || self.counts.contains_key(&frame);
        let count = self.counts.entry(if has_room { frame } else { OTHER.to_owned() }).or_default();
        count.times += 1;
        count.duration += duration;
        changes.push(Change::Unblocked(block.clone()));
        self.past.push_front(block);
        self.past.truncate(MAX_PAST);
    }

    /// Those that last, and those that are over, the latest first.
    pub fn all(&self) -> impl Iterator<Item = &Block> {
        self.current.values().chain(&self.past)
    }

    /// How often and for how long each frame has blocked, of the blocks that are over.
    pub fn counts(&self) -> &BTreeMap<String, Count> {
        &self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: u64 = 1_000_000;

    fn frame(function: &str, file: &str) -> Frame {
        Frame { function: function.into(), file: file.into(), line: 7, column: 3 }
    }

    fn does(_: Option<u32>, has_stack: bool) -> Doing {
        let words = if has_stack { "runs JavaScript" } else { NATIVE_CODE }.to_owned();
        Doing { words, waits_for_thread: false, processor: 0 }
    }

    fn look(blocks: &mut Blocks, now: u64, blocked_for: u64) -> Vec<Change> {
        let sight = Sight { worker: 1, pid: Some(9), blocked_for: Some(blocked_for) };
        blocks.look(&[sight], (now, now / 1000 + 5000), AFTER, does)
    }

    #[test]
    fn a_block_is_told_with_its_stack_and_once_more_when_it_is_over() {
        let mut blocks = Blocks::default();
        assert_eq!(look(&mut blocks, 10_000_000, AFTER - 1), []);
        assert_eq!(look(&mut blocks, 10_000_001, AFTER), [Change::Ask { worker: 1, id: 1 }]);
        assert_eq!(look(&mut blocks, 10_000_011, AFTER + 10), []);
        let stack = vec![frame("readSync", "node:fs"), frame("hash", "/app.js")];
        let Some(Change::Blocked(block)) = blocks.answer(1, 1, stack.clone(), does) else { panic!() };
        assert_eq!((block.since, block.duration, block.is_late), (14_000, None, false));
        assert_eq!((block.stack, block.activity.as_str()), (Some(stack), "runs JavaScript"));
        assert_eq!(look(&mut blocks, 11_000_001, 2 * AFTER), []);
        let over = look(&mut blocks, 12_000_001, 0);
        let [Change::Unblocked(block)] = over.as_slice() else { panic!("{over:?}") };
        assert_eq!(block.duration, Some(3000));
        let counts: Vec<_> = blocks.counts().iter().collect();
        assert_eq!(counts, [(&"hash (/app.js:7:3)".to_owned(), &Count { times: 1, duration: 3000 })]);
        assert_eq!(blocks.all().count(), 1);
    }

    #[test]
    fn native_code_is_told_without_a_stack_which_comes_late() {
        let mut blocks = Blocks::default();
        look(&mut blocks, 10_000_000, AFTER);
        let told = look(&mut blocks, 10_000_000 + STACK_WAIT, AFTER + STACK_WAIT);
        let [Change::Blocked(block)] = told.as_slice() else { panic!("{told:?}") };
        assert_eq!((&block.stack, block.activity.as_str()), (&None, "runs native code"));
        assert_eq!(blocks.answer(1, 1, vec![frame("load", "/app.js")], does), None);
        let over = look(&mut blocks, 13_000_000, 0);
        let [Change::Unblocked(block)] = over.as_slice() else { panic!("{over:?}") };
        assert!(block.is_late && block.stack.is_some());
        // One that comes still later.
        look(&mut blocks, 20_000_000, AFTER);
        look(&mut blocks, 21_000_000, 0);
        assert_eq!(blocks.answer(1, 2, vec![frame("late", "/app.js")], does), None);
        assert!(blocks.all().next().unwrap().is_late);
        assert_eq!(blocks.counts()[NATIVE].times, 2);
    }

    #[test]
    fn native_code_that_was_found_in_a_garbage_collection_was_told_to_wait_for_a_lock() {
        for (ran, words) in [(RUNS, NATIVE_CODE), (RUNS - 1, "waits in futex")] {
            let mut blocks = Blocks::default();
            let waits = |processor| {
                move |_, _| Doing { words: "waits in futex".into(), waits_for_thread: true, processor }
            };
            let mut look = |now, processor| {
                let sight = Sight { worker: 1, pid: Some(9), blocked_for: Some(AFTER + now) };
                blocks.look(&[sight], (10_000_000 + now, 0), AFTER, waits(processor))
            };
            assert!(matches!(look(0, 1_000)[..], [Change::Ask { .. }]));
            let told = look(STACK_WAIT, 1_000 + ran);
            let [Change::Blocked(block)] = told.as_slice() else { panic!("{told:?}") };
            assert_eq!(block.activity, words);
        }
    }

    #[test]
    fn a_worker_that_blocks_again_or_has_gone_has_another_block() {
        let mut blocks = Blocks::default();
        look(&mut blocks, 10_000_000, AFTER);
        // It has turned in between, unseen.
        let changes = look(&mut blocks, 12_000_000, AFTER);
        assert!(matches!(
            changes.as_slice(),
            [Change::Blocked(_), Change::Unblocked(_), Change::Ask { worker: 1, id: 2 }]
        ));
        assert_eq!(blocks.answer(1, 77, vec![], does), None);
        let gone = blocks.look(&[], (13_000_000, 0), AFTER, does);
        assert!(matches!(gone.as_slice(), [Change::Blocked(_), Change::Unblocked(_)]));
        // Where the kernel does not tell there are none.
        let silent = Sight { worker: 1, pid: None, blocked_for: None };
        assert_eq!(blocks.look(&[silent], (14_000_000, 0), AFTER, does), []);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut blocks = Blocks::default();
        for count in 1..=2 * MAX_FRAMES as u64 {
            let now = count * 10 * AFTER;
            look(&mut blocks, now, AFTER);
            blocks.answer(1, count, vec![frame(&count.to_string(), "")], does);
            look(&mut blocks, now + 1, 0);
        }
        assert_eq!((blocks.all().count(), blocks.counts().len()), (MAX_PAST, MAX_FRAMES + 1));
        assert_eq!(blocks.counts()[OTHER].times, MAX_FRAMES as u64);
    }

    #[test]
    fn frames_are_written_as_stack_traces_have_them() {
        let text = |function, file| frame(function, file).to_text();
        assert_eq!(text("f", "/a.js"), "f (/a.js:7:3)");
        assert_eq!(text("", "/a.js"), "/a.js:7:3");
        assert_eq!(text("f", ""), "f");
        assert_eq!(text("", ""), "anonymous function");
    }
}
