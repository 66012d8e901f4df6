//! Events that wait for another thread, which takes a bounded portion at a time; no I/O.
//!
//! Each source has a queue of its own and the queues take turns, so that one event of a quiet source does not
//! wait behind all of a busy one's. What the taker takes in one turn of its loop is bounded, however much is
//! sent: the rest of its program has its turn too.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

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
}

/// When the events of a source are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precedence {
    /// In front of all others.
    First,
    /// In its turn.
    InTurn,
}

/// Events by their sources.
#[derive(Debug)]
pub struct FairQueue<S, E> {
    limits: Limits,
    /// None of them is empty.
    queues: HashMap<S, Queue<E>>,
    /// The order in which sources have their turns.
    rotation: VecDeque<S>,
    /// What may still be taken in this turn of the taker's loop.
    left: Work,
    /// A wake-up is on its way, or the taker is in a turn at whose end it looks for more. A wake-up in that
    /// turn would make the turn endless: Node empties its queue of calls before its loop goes on.
    is_awake: bool,
}

#[derive(Debug)]
struct Queue<E> {
    precedence: Precedence,
    events: VecDeque<E>,
}

impl<S: Copy + Eq + Hash, E> FairQueue<S, E> {
    /// An empty one.
    pub fn new(limits: Limits) -> Self {
        FairQueue {
            limits,
            queues: HashMap::new(),
            rotation: VecDeque::new(),
            left: limits.turn,
            is_awake: false,
        }
    }

    /// Adds an event behind those of its source.
    pub fn push(&mut self, source: S, precedence: Precedence, event: E) {
        match self.queues.entry(source) {
            Entry::Occupied(queue) => queue.into_mut().events.push_back(event),
            Entry::Vacant(place) => {
                place.insert(Queue { precedence, events: VecDeque::from([event]) });
                self.queue_up(source, precedence);
            }
        }
    }

    /// Whether events of a source wait.
    pub fn has(&self, source: S) -> bool {
        self.queues.contains_key(&source)
    }

    /// Whether to wake the taker for what has been pushed. True once, until it has taken everything.
    pub fn wants_waking(&mut self) -> bool {
        !std::mem::replace(&mut self.is_awake, true)
    }

    /// Takes a portion of what may be taken in this turn. [`FairQueue::end_turn`] has to follow.
    pub fn take(&mut self, work: impl Fn(&E) -> Work) -> Vec<E> {
        self.is_awake = true;
        let (mut taken, mut portion) = (Vec::new(), self.limits.portion);
        while portion.calls > 0
            && portion.bytes > 0
            && self.may_take_more()
            && let Some(event) = self.next()
        {
            let Work { calls, bytes } = work(&event);
            for left in [&mut portion, &mut self.left] {
                left.calls = left.calls.saturating_sub(calls);
                left.bytes = left.bytes.saturating_sub(bytes);
            }
            taken.push(event);
        }
        taken
    }

    /// Whether more may be taken in this turn, and there is more.
    pub fn may_take_more(&self) -> bool {
        self.left.calls > 0 && self.left.bytes > 0 && !self.rotation.is_empty()
    }

    /// The taker's loop has come round. Returns whether to wake it for more.
    pub fn end_turn(&mut self) -> bool {
        self.left = self.limits.turn;
        self.is_awake = !self.rotation.is_empty();
        self.is_awake
    }

    /// The next event, of the source whose turn it is.
    fn next(&mut self) -> Option<E> {
        let source = self.rotation.pop_front()?;
        let Queue { precedence, events } = self.queues.get_mut(&source)?;
        let (precedence, event) = (*precedence, events.pop_front());
        if events.is_empty() {
            self.queues.remove(&source);
        } else {
            self.queue_up(source, precedence);
        }
        event
    }

    fn queue_up(&mut self, source: S, precedence: Precedence) {
        match precedence {
            Precedence::First => self.rotation.push_front(source),
            Precedence::InTurn => self.rotation.push_back(source),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits =
        Limits { turn: Work { calls: 10, bytes: 100 }, portion: Work { calls: 4, bytes: 50 } };

    fn queue(events: &[(u32, &'static str)]) -> FairQueue<u32, &'static str> {
        let mut queue = FairQueue::new(LIMITS);
        for (source, event) in events {
            let precedence = if *source == 0 { Precedence::First } else { Precedence::InTurn };
            queue.push(*source, precedence, *event);
        }
        queue
    }

    fn one<E>(_: &E) -> Work {
        Work { calls: 1, bytes: 1 }
    }

    #[test]
    fn sources_take_turns_and_each_keeps_its_order() {
        let mut queue = queue(&[(1, "a"), (1, "b"), (1, "c"), (2, "x"), (1, "d"), (3, "y")]);
        assert_eq!(queue.take(one), ["a", "x", "y", "b"]);
        assert_eq!(queue.take(one), ["c", "d"]);
        assert!(!queue.may_take_more() && !queue.has(1));
    }

    #[test]
    fn what_comes_first_is_not_kept_waiting_by_anybody() {
        let mut queue = queue(&[(1, "a"), (1, "b"), (0, "first"), (0, "second")]);
        assert_eq!(queue.take(one), ["first", "second", "a", "b"]);
    }

    #[test]
    fn a_turn_takes_so_many_calls_or_bytes_and_one_event_however_large() {
        let mut queue = queue(&[(1, "huge"), (1, "small"), (2, "many")]);
        let load = |event: &&str| match *event {
            "huge" => Work { calls: 1, bytes: 1000 },
            "many" => Work { calls: 1000, bytes: 1 },
            _ => Work { calls: 1, bytes: 1 },
        };
        assert_eq!(queue.take(load), ["huge"]);
        assert!(!queue.may_take_more() && queue.take(load).is_empty());
        assert!(queue.end_turn());
        assert_eq!(queue.take(load), ["many"]);
        assert!(queue.end_turn());
        assert_eq!(queue.take(load), ["small"]);
        assert!(!queue.end_turn());
    }

    #[test]
    fn a_portion_of_long_events_was_a_whole_turns() {
        let mut queue = queue(&[(1, "long"), (1, "long"), (1, "long"), (1, "long")]);
        let load = |_: &&str| Work { calls: 1, bytes: 30 };
        assert_eq!(queue.take(load).len(), 2);
        assert!(queue.may_take_more());
        assert_eq!(queue.take(load).len(), 2);
    }

    #[test]
    fn nobody_is_woken_in_the_turn_in_which_something_was_taken() {
        let mut queue = queue(&[(1, "a")]);
        assert!(queue.wants_waking() && !queue.wants_waking());
        assert_eq!(queue.take(one), ["a"]);
        // All is taken, and yet: the taker sees at the end of its turn that something has come.
        queue.push(1, Precedence::InTurn, "b");
        assert!(!queue.wants_waking());
        assert!(queue.end_turn());
        assert_eq!(queue.take(one), ["b"]);
        assert!(!queue.end_turn());
        assert!(queue.wants_waking());
    }

    proptest! {
        /// Whatever is sent, all of it arrives in each source's order, and a source with something to say is
        /// in every round of the others.
        #[test]
        fn nothing_is_lost_and_nobody_is_passed_over(
            events in prop::collection::vec((1u32..6, 0usize..40), 0..200),
        ) {
            let mut queue = FairQueue::new(LIMITS);
            for (number, (source, bytes)) in events.iter().enumerate() {
                queue.push(*source, Precedence::InTurn, (*source, number, *bytes));
            }
            let mut taken: Vec<(u32, usize, usize)> = Vec::new();
            loop {
                let portion = queue.take(|(_, _, bytes)| Work { calls: 1, bytes: *bytes });
                prop_assert!(portion.len() <= LIMITS.portion.calls);
                if portion.is_empty() && !queue.end_turn() {
                    break;
                }
                taken.extend(portion);
            }
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
    }
}
