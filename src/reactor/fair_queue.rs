//! Events that wait for another thread, which takes a bounded portion at a time; no I/O.
//!
//! Each source has a queue of its own and the queues take turns, so that one event of a quiet source does not
//! wait behind all of a busy one's. What the taker takes in one turn of its loop is bounded, however much is
//! sent: the rest of its program has its turn too. A large event is a portion by itself, whose time is
//! measured, and those that take long have turns of their own ([`Pace`]): one in each turn of the loop at
//! most, and rests while others have events.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

use super::pace::Pace;

/// How much work an event is for the taker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// How many calls into the program.
    pub calls: usize,
    /// How many bytes of values.
    pub bytes: usize,
}

/// How much is taken at most. A single event is taken however large it is.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// In one turn of the taker's loop.
    pub turn: Work,
    /// At a time; then the taker looks at the clock.
    pub portion: Work,
    /// A single call of more bytes is a large event.
    pub large: usize,
}

/// When the events of a source are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precedence {
    /// In front of all others.
    First,
    /// In its turn.
    InTurn,
}

/// What follows from a turn of the taker's loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnEnd {
    /// Nothing waits.
    Empty,
    /// The taker is to be woken for more.
    More,
    /// What waits is to rest for so long.
    Rest(Duration),
}

/// Events by their sources.
#[derive(Debug)]
pub struct FairQueue<S, E> {
    limits: Limits,
    /// None of them is empty.
    queues: HashMap<S, Queue<E>>,
    /// The order in which sources have their turns.
    rotation: VecDeque<S>,
    /// The same for sources whose next event may take long.
    long: VecDeque<S>,
    pace: Pace<S>,
    /// The large event that was taken last, until its time is known.
    large: Option<(S, Instant)>,
    /// What may still be taken in this turn of the taker's loop.
    left: Work,
    /// Whether an event of `rotation`, and one of `long`, was taken in this turn.
    had: Had,
    /// A turn ended in which one of `long` could have been taken: the next one begins with it.
    is_long_due: bool,
    /// A wake-up is on its way, or the taker is in a turn at whose end it looks for more. A wake-up in that
    /// turn would make the turn endless: Node empties its queue of calls before its loop goes on.
    is_awake: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Had {
    short: bool,
    long: bool,
}

#[derive(Debug)]
struct Queue<E> {
    precedence: Precedence,
    events: VecDeque<(E, Work)>,
}

impl<S: Copy + Eq + Hash, E> FairQueue<S, E> {
    /// An empty one.
    pub fn new(limits: Limits) -> Self {
        FairQueue {
            limits,
            queues: HashMap::new(),
            rotation: VecDeque::new(),
            long: VecDeque::new(),
            pace: Pace::default(),
            large: None,
            left: limits.turn,
            had: Had::default(),
            is_long_due: false,
            is_awake: false,
        }
    }

    /// Adds an event behind those of its source.
    pub fn push(&mut self, source: S, precedence: Precedence, event: E, work: Work) {
        match self.queues.entry(source) {
            Entry::Occupied(queue) => queue.into_mut().events.push_back((event, work)),
            Entry::Vacant(place) => {
                place.insert(Queue { precedence, events: VecDeque::from([(event, work)]) });
                self.queue_up(source);
            }
        }
    }

    /// Whether events of a source wait.
    pub fn has(&self, source: S) -> bool {
        self.queues.contains_key(&source)
    }

    /// Whether an event of this source may take long, and has to come by this queue.
    pub fn may_take_long(&self, source: S, work: Work) -> bool {
        self.is_large(work) && self.pace.is_long(source)
    }

    /// An event of this source has not come by this queue, and what followed from it took so long: more than
    /// is measured here, which is why it is only cause to measure the next one.
    pub fn taken_elsewhere(&mut self, source: S, work: Work, time: Duration) {
        if self.is_large(work) && self.pace.is_long_time(time) {
            self.pace.forget(source);
        }
    }

    /// There will be nothing more of a source.
    pub fn forget(&mut self, source: S) {
        self.pace.forget(source);
    }

    /// Whether to wake the taker for what has been pushed. True once, until it has taken everything.
    pub fn wants_waking(&mut self) -> bool {
        !std::mem::replace(&mut self.is_awake, true)
    }

    /// Takes a portion of what may be taken in this turn. [`FairQueue::portion_ended`] and
    /// [`FairQueue::end_turn`] have to follow.
    pub fn take(&mut self, now: Instant) -> Vec<E> {
        self.is_awake = true;
        if self.is_long_next(now)
            && let Some(source) = self.long.pop_front()
        {
            self.had.long = true;
            self.large = Some((source, now));
            return self.pop(source).into_iter().map(|(event, work)| self.count(event, work)).collect();
        }
        let (mut taken, mut portion) = (Vec::new(), self.limits.portion);
        while portion.calls > 0
            && portion.bytes > 0
            && self.left.has_some()
            && let Some(source) = self.rotation.front().copied()
        {
            let is_large = self.next_work(source).is_some_and(|work| self.is_large(work));
            if is_large && !taken.is_empty() {
                break;
            }
            self.rotation.pop_front();
            let Some((event, work)) = self.pop(source) else { continue };
            portion.subtract(work);
            taken.push(self.count(event, work));
            if is_large {
                self.large = Some((source, now));
                break;
            }
            self.had.short = true;
            self.pace.short(source, now);
        }
        taken
    }

    /// What was taken last has been passed on.
    pub fn portion_ended(&mut self, now: Instant) {
        let Some((source, began)) = self.large.take() else { return };
        self.pace.measured(source, now.saturating_duration_since(began), now);
        // More is known of what comes next than when it was put there.
        for rotation in [&mut self.rotation, &mut self.long] {
            rotation.retain(|waiting| *waiting != source);
        }
        self.queue_up(source);
    }

    /// Whether more may be taken in this turn, and there is more.
    pub fn may_take_more(&self, now: Instant) -> bool {
        self.left.has_some() && (!self.rotation.is_empty() || self.may_take_long_now(now))
    }

    /// The taker's loop has come round. Returns whether to wake it for more.
    pub fn end_turn(&mut self, now: Instant) -> TurnEnd {
        self.is_long_due = !self.had.long;
        self.had = Had::default();
        self.left = self.limits.turn;
        self.is_awake = !self.rotation.is_empty() || self.may_take_long_now(now);
        match self.is_awake {
            true => TurnEnd::More,
            false if self.long.is_empty() => TurnEnd::Empty,
            false => TurnEnd::Rest(self.pace.rest(now)),
        }
    }

    fn is_large(&self, work: Work) -> bool {
        work.calls <= 1 && work.bytes > self.limits.large
    }

    fn may_take_long_now(&self, now: Instant) -> bool {
        !self.had.long && !self.long.is_empty() && self.pace.rest(now).is_zero()
    }

    /// Whether one that may take long is next: behind a portion of the others, unless it had no turn lately.
    fn is_long_next(&self, now: Instant) -> bool {
        let others_wait = !self.rotation.is_empty() && !self.had.short && !self.is_long_due;
        self.left.has_some() && !others_wait && self.may_take_long_now(now)
    }

    fn count(&mut self, event: E, work: Work) -> E {
        self.left.subtract(work);
        event
    }

    fn next_work(&self, source: S) -> Option<Work> {
        self.queues.get(&source)?.events.front().map(|(_, work)| *work)
    }

    /// Takes the next event of a source that is in no rotation, and puts the source into the one of what
    /// comes then.
    fn pop(&mut self, source: S) -> Option<(E, Work)> {
        let Queue { events, .. } = self.queues.get_mut(&source)?;
        let event = events.pop_front();
        if events.is_empty() {
            self.queues.remove(&source);
        } else {
            self.queue_up(source);
        }
        event
    }

    fn queue_up(&mut self, source: S) {
        let Some(Queue { precedence, events }) = self.queues.get(&source) else { return };
        let is_long = events.front().is_some_and(|(_, work)| self.may_take_long(source, *work));
        match precedence {
            Precedence::First => self.rotation.push_front(source),
            Precedence::InTurn if is_long => self.long.push_back(source),
            Precedence::InTurn => self.rotation.push_back(source),
        }
    }
}

impl Work {
    fn has_some(self) -> bool {
        self.calls > 0 && self.bytes > 0
    }

    fn subtract(&mut self, other: Work) {
        self.calls = self.calls.saturating_sub(other.calls);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LARGE: usize = 30;
    const LIMITS: Limits =
        Limits { turn: Work { calls: 10, bytes: 100 }, portion: Work { calls: 4, bytes: 50 }, large: LARGE };
    const ONE: Work = Work { calls: 1, bytes: 1 };

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn queue(events: &[(u32, &'static str)]) -> FairQueue<u32, &'static str> {
        let mut queue = FairQueue::new(LIMITS);
        for (source, event) in events {
            let precedence = if *source == 0 { Precedence::First } else { Precedence::InTurn };
            let work = match *event {
                "large" => Work { calls: 1, bytes: LARGE + 1 },
                "half" => Work { calls: 1, bytes: LARGE },
                "huge" => Work { calls: 1, bytes: 1000 },
                "many" => Work { calls: 1000, bytes: 1 },
                _ => ONE,
            };
            queue.push(*source, precedence, *event, work);
        }
        queue
    }

    /// The time is known of what was taken last.
    fn takes(queue: &mut FairQueue<u32, &'static str>, now: &mut Instant, time: Duration) {
        *now += time;
        queue.portion_ended(*now);
    }

    #[test]
    fn sources_take_turns_and_each_keeps_its_order() {
        let now = Instant::now();
        let mut queue = queue(&[(1, "a"), (1, "b"), (1, "c"), (2, "x"), (1, "d"), (3, "y")]);
        assert_eq!(queue.take(now), ["a", "x", "y", "b"]);
        assert_eq!(queue.take(now), ["c", "d"]);
        assert!(!queue.may_take_more(now) && !queue.has(1));
    }

    #[test]
    fn what_comes_first_is_not_kept_waiting_by_anybody() {
        let mut queue = queue(&[(1, "a"), (1, "b"), (0, "first"), (0, "second")]);
        assert_eq!(queue.take(Instant::now()), ["first", "second", "a", "b"]);
    }

    #[test]
    fn a_turn_takes_so_many_calls_or_bytes_and_one_event_however_large() {
        let now = Instant::now();
        let mut queue = queue(&[(1, "huge"), (1, "small"), (2, "many")]);
        assert_eq!(queue.take(now), ["many"]);
        assert!(!queue.may_take_more(now) && queue.take(now).is_empty());
        assert_eq!(queue.end_turn(now), TurnEnd::More);
        assert_eq!(queue.take(now), ["huge"]);
        queue.portion_ended(now);
        assert!(!queue.may_take_more(now) && queue.take(now).is_empty());
        assert_eq!(queue.end_turn(now), TurnEnd::More);
        assert_eq!(queue.take(now), ["small"]);
        assert_eq!(queue.end_turn(now), TurnEnd::Empty);
    }

    #[test]
    fn a_portion_of_long_events_was_a_whole_turns() {
        let now = Instant::now();
        let mut queue = queue(&[(1, "half"), (1, "half"), (1, "half"), (1, "half")]);
        assert_eq!(queue.take(now).len(), 2);
        assert!(queue.may_take_more(now));
        assert_eq!(queue.take(now).len(), 2);
    }

    #[test]
    fn nobody_is_woken_in_the_turn_in_which_something_was_taken() {
        let now = Instant::now();
        let mut queue = queue(&[(1, "a")]);
        assert!(queue.wants_waking() && !queue.wants_waking());
        assert_eq!(queue.take(now), ["a"]);
        // All is taken, and yet: the taker sees at the end of its turn that something has come.
        queue.push(1, Precedence::InTurn, "b", ONE);
        assert!(!queue.wants_waking());
        assert_eq!(queue.end_turn(now), TurnEnd::More);
        assert_eq!(queue.take(now), ["b"]);
        assert_eq!(queue.end_turn(now), TurnEnd::Empty);
        assert!(queue.wants_waking());
    }

    #[test]
    fn large_events_that_take_long_have_the_loop_once_in_a_turn_and_rest_while_others_have_events() {
        let mut now = Instant::now();
        let mut queue = queue(&[(1, "large"), (1, "large"), (1, "large"), (2, "a")]);
        assert_eq!(queue.take(now), ["a"]);
        assert_eq!(queue.take(now), ["large"]);
        takes(&mut queue, &mut now, ms(4));
        assert!(!queue.may_take_more(now));
        assert_eq!(queue.end_turn(now), TurnEnd::Rest(ms(16)));
        // Nobody has been told to wake the taker for it.
        assert!(queue.wants_waking());
        queue.push(2, Precedence::InTurn, "b", ONE);
        assert_eq!(queue.take(now), ["b"]);
        assert_eq!(queue.end_turn(now), TurnEnd::Rest(ms(16)));
        now += ms(16);
        assert_eq!(queue.take(now), ["large"]);
        takes(&mut queue, &mut now, ms(50));
        // The others have had nothing for so long that nobody rests for them.
        assert_eq!(queue.end_turn(now), TurnEnd::More);
        assert_eq!(queue.take(now), ["large"]);
    }

    #[test]
    fn who_comes_anew_with_a_large_event_waits_as_others_of_whom_such_are_known() {
        let mut now = Instant::now();
        let mut queue = queue(&[(1, "large"), (2, "a")]);
        assert_eq!(queue.take(now), ["a"]);
        assert_eq!(queue.take(now), ["large"]);
        takes(&mut queue, &mut now, ms(4));
        queue.push(3, Precedence::InTurn, "large", Work { calls: 1, bytes: LARGE + 1 });
        assert!(!queue.may_take_more(now));
        assert_eq!(queue.end_turn(now), TurnEnd::Rest(ms(16)));
    }

    #[test]
    fn large_events_that_take_no_time_rest_for_nobody() {
        let now = Instant::now();
        let mut queue = queue(&[(1, "large"), (1, "large"), (1, "large"), (2, "a"), (2, "b")]);
        assert_eq!(queue.take(now), ["a", "b"]);
        for _ in 0..3 {
            assert_eq!(queue.take(now), ["large"]);
            queue.portion_ended(now);
        }
    }

    #[test]
    fn large_events_have_their_turn_however_many_small_ones_there_are() {
        let now = Instant::now();
        let mut queue = queue(&[(1, "large"), (2, "many"), (2, "many"), (2, "many")]);
        assert_eq!(queue.take(now), ["many"]);
        assert_eq!(queue.end_turn(now), TurnEnd::More);
        assert_eq!(queue.take(now), ["large"]);
        queue.portion_ended(now);
        assert_eq!(queue.take(now), ["many"]);
    }

    proptest! {
        /// Whatever is sent, all of it arrives in each source's order, and a source with something to say is
        /// in every round of the others.
        #[test]
        fn nothing_is_lost_and_nobody_is_passed_over(
            events in prop::collection::vec((1u32..6, 0usize..LARGE), 0..200),
        ) {
            let taken = all_taken(&events, |_| Duration::ZERO);
            prop_assert_eq!(taken.len(), events.len());
            for source in 1..6 {
                let numbers: Vec<_> = taken.iter().filter(|event| event.0 == source).map(|event| event.1).collect();
                prop_assert!(numbers.is_sorted());
                // Up to its last event no other source has had two turns more than it.
                let Some(last) = taken.iter().rposition(|event| event.0 == source) else { continue };
                for other in 1..6 {
                    let turns = taken[..last].iter().filter(|event| event.0 == other).count();
                    prop_assert!(turns <= numbers.len());
                }
            }
        }

        /// Also what takes long arrives, in its order.
        #[test]
        fn what_rests_is_not_lost(
            events in prop::collection::vec((1u32..6, 0usize..3 * LARGE), 0..100),
            costs in prop::collection::vec(0u64..30, 6),
        ) {
            let taken = all_taken(&events, |source| ms(costs[source as usize]));
            prop_assert_eq!(taken.len(), events.len());
            for source in 1..6 {
                let numbers: Vec<_> = taken.iter().filter(|event| event.0 == source).map(|event| event.1).collect();
                prop_assert!(numbers.is_sorted());
            }
        }
    }

    /// Events by source and size, in the order in which they are taken, by source and number.
    fn all_taken(events: &[(u32, usize)], cost: impl Fn(u32) -> Duration) -> Vec<(u32, usize)> {
        let (mut queue, mut now, mut taken) = (FairQueue::new(LIMITS), Instant::now(), Vec::new());
        for (number, (source, bytes)) in events.iter().enumerate() {
            let work = Work { calls: 1, bytes: *bytes };
            queue.push(*source, Precedence::InTurn, (*source, number), work);
        }
        loop {
            let portion = queue.take(now);
            assert!(portion.len() <= LIMITS.portion.calls);
            if let [(source, number)] = portion[..]
                && events[number].1 > LARGE
            {
                now += cost(source);
            }
            queue.portion_ended(now);
            taken.extend(portion);
            if queue.may_take_more(now) {
                continue;
            }
            match queue.end_turn(now) {
                TurnEnd::Empty => return taken,
                TurnEnd::More => {}
                TurnEnd::Rest(rest) => now += rest,
            }
        }
    }
}
