//! One queue: which messages wait in it, and in which order they are received. It knows their numbers alone, so that a million
//! of them fit into memory.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use crate::protocol::{Name, Settings};
use crate::store::QueueRow;

/// How long a message is held if its queue does not say otherwise, in milliseconds.
pub const DEFAULT_VISIBILITY: u64 = 30_000;

/// The place of a message among those that wait: a larger priority comes first, then the older one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    rank: u8,
    pub message: u64,
}

impl Place {
    pub fn new(priority: u8, message: u64) -> Place {
        Place { rank: u8::MAX - priority, message }
    }
}

/// Messages that are delivered one after the other.
#[derive(Debug, Default)]
struct Group {
    waiting: BTreeSet<Place>,
    /// The one that is held, or is to be tried again before all others.
    busy: Option<u64>,
}

/// A call of `receive` that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receiver {
    pub connection: usize,
    pub sequence: u64,
    pub count: u32,
    pub visibility: u64,
    /// When it is answered without a message.
    pub until: u64,
}

#[derive(Debug)]
pub struct Queue {
    pub row: QueueRow,
    /// Whether the store has it.
    pub is_kept: bool,
    /// The messages that can be received now: of each group the first one, if none of it is busy.
    ready: BTreeSet<Place>,
    /// When each comes.
    delayed: BTreeSet<(u64, Place)>,
    groups: HashMap<Arc<str>, Group>,
    /// How many wait, those behind others of their group included.
    waiting: u64,
    pub held: u64,
    pub receivers: VecDeque<Receiver>,
    /// Who waits until nothing is there.
    pub drains: Vec<(usize, u64)>,
    /// When the engine looks at the delayed ones again.
    pub wake: Option<u64>,
}

impl Queue {
    pub fn new(row: QueueRow, is_kept: bool) -> Queue {
        Queue {
            row,
            is_kept,
            ready: BTreeSet::new(),
            delayed: BTreeSet::new(),
            groups: HashMap::new(),
            waiting: 0,
            held: 0,
            receivers: VecDeque::new(),
            drains: Vec::new(),
            wake: None,
        }
    }

    /// The row of a queue of which nothing is said.
    pub fn plain(number: u32, name: Name) -> QueueRow {
        QueueRow { number, name, visibility: DEFAULT_VISIBILITY, max_deliveries: 0, dead_letter: None }
    }

    pub fn set(&mut self, settings: Settings) {
        if let Some(visibility) = settings.visibility {
            self.row.visibility = visibility;
        }
        if let Some(max_deliveries) = settings.max_deliveries {
            self.row.max_deliveries = max_deliveries;
        }
        if let Some(dead_letter) = settings.dead_letter {
            self.row.dead_letter = Some(dead_letter);
        }
    }

    pub fn waiting(&self) -> u64 {
        self.waiting
    }

    pub fn delayed(&self) -> u64 {
        self.delayed.len() as u64
    }

    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Nothing waits, is delayed or is held.
    pub fn is_empty(&self) -> bool {
        self.waiting == 0 && self.delayed.is_empty() && self.held == 0
    }

    /// A message waits from now on.
    pub fn add(&mut self, place: Place, group: &Arc<str>) {
        self.waiting += 1;
        if group.is_empty() {
            self.ready.insert(place);
            return;
        }
        let known = self.groups.entry(Arc::clone(group)).or_default();
        let first = known.waiting.first().copied();
        known.waiting.insert(place);
        if known.busy.is_none() && first.is_none_or(|first| place < first) {
            if let Some(first) = first {
                self.ready.remove(&first);
            }
            self.ready.insert(place);
        }
    }

    /// The message that is received next.
    pub fn first(&self) -> Option<Place> {
        self.ready.first().copied()
    }

    /// The first message, which was looked up, is held from now on.
    pub fn take(&mut self, place: Place, group: &Arc<str>) {
        self.ready.remove(&place);
        self.waiting -= 1;
        self.held += 1;
        if let Some(known) = self.groups.get_mut(group) {
            known.waiting.remove(&place);
            known.busy = Some(place.message);
        }
    }

    /// A held message is one no more. Its group goes on.
    pub fn settle(&mut self, message: u64, group: &Arc<str>) {
        self.held -= 1;
        self.free(message, group);
    }

    /// A held message comes again later, and its group waits for it.
    pub fn postpone(&mut self, due: u64, place: Place) {
        self.held -= 1;
        self.delayed.insert((due, place));
    }

    /// A new message comes later.
    pub fn delay(&mut self, due: u64, place: Place) {
        self.delayed.insert((due, place));
    }

    /// As it is loaded: a message that its group waits for.
    pub fn block(&mut self, message: u64, group: &Arc<str>) {
        if !group.is_empty() {
            let known = self.groups.entry(Arc::clone(group)).or_default();
            known.busy = Some(message);
            if let Some(first) = known.waiting.first() {
                self.ready.remove(first);
            }
        }
    }

    /// Whether another message of its group is held, or is to be tried again first.
    pub fn is_behind_another(&self, message: u64, group: &Arc<str>) -> bool {
        let busy = self.groups.get(group).and_then(|known| known.busy);
        busy.is_some_and(|busy| busy != message)
    }

    fn free(&mut self, message: u64, group: &Arc<str>) {
        let Some(known) = self.groups.get_mut(group) else { return };
        if known.busy == Some(message) {
            known.busy = None;
            if let Some(first) = known.waiting.first() {
                self.ready.insert(*first);
            }
        }
        if known.busy.is_none() && known.waiting.is_empty() {
            self.groups.remove(group);
        }
    }

    /// The next delayed one, and when it comes.
    pub fn next_due(&self) -> Option<(u64, Place)> {
        self.delayed.first().copied()
    }

    /// A delayed message waits from now on.
    pub fn ripen(&mut self, due: u64, place: Place, group: &Arc<str>) {
        if self.delayed.remove(&(due, place)) {
            self.free(place.message, group);
            self.add(place, group);
        }
    }

    /// Takes out a message that waits or is delayed: false if it does neither.
    pub fn withdraw(&mut self, place: Place, due: u64, group: &Arc<str>) -> bool {
        if self.delayed.remove(&(due, place)) {
            self.free(place.message, group);
            return true;
        }
        let was_ready = self.ready.remove(&place);
        let Some(known) = self.groups.get_mut(group) else {
            self.waiting -= u64::from(was_ready);
            return was_ready;
        };
        if !known.waiting.remove(&place) {
            return false;
        }
        self.waiting -= 1;
        if known.busy.is_none() {
            match known.waiting.first() {
                Some(first) => {
                    self.ready.insert(*first);
                }
                None => {
                    self.groups.remove(group);
                }
            }
        }
        true
    }

    /// Takes out all that wait or are delayed.
    pub fn clear(&mut self) -> Vec<u64> {
        let mut messages: Vec<u64> =
            self.delayed.iter().map(|(_, place)| place.message).chain(self.all_waiting()).collect();
        messages.sort_unstable();
        let postponed: BTreeSet<u64> = self.delayed.iter().map(|(_, place)| place.message).collect();
        self.ready.clear();
        self.delayed.clear();
        self.waiting = 0;
        self.groups.retain(|_, group| {
            group.waiting.clear();
            group.busy = group.busy.filter(|message| !postponed.contains(message));
            group.busy.is_some()
        });
        messages
    }

    /// All that wait, each once: the first of a group is among the ready ones, or its group is busy.
    fn all_waiting(&self) -> impl Iterator<Item = u64> {
        let behind = self.groups.values().flat_map(|group| {
            let ahead = usize::from(group.busy.is_none());
            group.waiting.iter().skip(ahead)
        });
        self.ready.iter().chain(behind).map(|place| place.message)
    }

    /// The first messages that wait, in the order in which they would be received if nothing else came.
    pub fn peek(&self, count: usize) -> Vec<u64> {
        let mut first: BTreeSet<Place> = self.ready.iter().take(count).copied().collect();
        for group in self.groups.values() {
            for place in &group.waiting {
                if first.len() >= count && first.last().is_some_and(|last| place >= last) {
                    break;
                }
                first.insert(*place);
                if first.len() > count {
                    first.pop_last();
                }
            }
        }
        first.into_iter().map(|place| place.message).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Space;

    fn queue() -> Queue {
        Queue::new(Queue::plain(1, Name { space: Space::Queue, name: Arc::from("q") }), true)
    }

    fn place(message: u64) -> Place {
        Place::new(0, message)
    }

    fn take(queue: &mut Queue, group: &Arc<str>) -> Option<u64> {
        let place = queue.first()?;
        queue.take(place, group);
        Some(place.message)
    }

    #[test]
    fn a_group_gives_one_at_a_time() {
        let (mut queue, group) = (queue(), Arc::from("g"));
        for message in [3, 1, 2] {
            queue.add(place(message), &group);
        }
        assert_eq!(queue.waiting(), 3);
        assert_eq!(take(&mut queue, &group), Some(1));
        assert_eq!(queue.first(), None);
        queue.settle(1, &group);
        assert_eq!(take(&mut queue, &group), Some(2));
        // It comes again later, and the third one waits for it.
        queue.postpone(10, place(2));
        assert_eq!((queue.first(), queue.held), (None, 0));
        queue.ripen(10, place(2), &group);
        assert_eq!(take(&mut queue, &group), Some(2));
        queue.settle(2, &group);
        assert_eq!(take(&mut queue, &group), Some(3));
        queue.settle(3, &group);
        assert!(queue.is_empty() && queue.groups.is_empty());
    }

    #[test]
    fn an_older_one_that_comes_back_is_first_in_its_group() {
        let (mut queue, group) = (queue(), Arc::from("g"));
        queue.add(place(2), &group);
        queue.add(place(1), &group);
        assert_eq!(queue.ready.len(), 1);
        assert_eq!(queue.first(), Some(place(1)));
    }

    #[test]
    fn whatever_is_withdrawn_holds_nobody_up() {
        let (mut queue, group) = (queue(), Arc::from("g"));
        for message in 1..=3 {
            queue.add(place(message), &group);
        }
        assert!(queue.withdraw(place(1), 0, &group));
        assert!(!queue.withdraw(place(1), 0, &group));
        assert_eq!(take(&mut queue, &group), Some(2));
        queue.postpone(10, place(2));
        assert!(queue.withdraw(place(2), 10, &group));
        assert_eq!(queue.first(), Some(place(3)));
        assert_eq!((queue.waiting(), queue.delayed()), (1, 0));
    }

    #[test]
    fn clear_leaves_what_is_held() {
        let (mut queue, group, none) = (queue(), Arc::from("g"), Arc::from(""));
        for message in 1..=3 {
            queue.add(place(message), &group);
        }
        queue.add(place(4), &none);
        queue.delay(10, place(5));
        assert_eq!(take(&mut queue, &group), Some(1));
        assert_eq!(queue.clear(), [2, 3, 4, 5]);
        assert_eq!((queue.waiting(), queue.delayed(), queue.held), (0, 0, 1));
        queue.add(place(6), &group);
        assert_eq!(queue.first(), None);
        queue.settle(1, &group);
        assert_eq!(queue.first(), Some(place(6)));
    }

    #[test]
    fn peek_shows_what_is_behind_a_busy_group() {
        let (mut queue, group, none) = (queue(), Arc::from("g"), Arc::from(""));
        for message in [1, 2, 5, 7] {
            queue.add(place(message), &group);
        }
        queue.add(place(4), &none);
        assert_eq!(take(&mut queue, &group), Some(1));
        assert_eq!(queue.peek(3), [2, 4, 5]);
        assert_eq!(queue.peek(10), [2, 4, 5, 7]);
    }
}
