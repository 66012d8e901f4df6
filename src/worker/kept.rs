//! The kept connections of a worker that rest between their requests.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;

use crate::kept::{Claim, Decision, KeptTable, SLOTS};
use crate::proto::{Generation, MAX_SLOTS, Slot};

/// The connection of a slot.
#[derive(Debug)]
struct Kept {
    generation: Generation,
    /// The key of its server.
    server: Rc<str>,
    /// Nothing of its next request has been read.
    is_next: bool,
    /// The primary has no copy, and is not asked about it.
    is_alone: bool,
}

/// The worker's side of a [`KeptTable`]: which connection has which slot.
#[derive(Debug)]
pub struct KeptConnections {
    table: KeptTable,
    /// By slot. None is free, or not known to be so by the primary.
    connections: Vec<Option<Kept>>,
    /// Free slots below the length of `connections`. The lowest is used first, so that the memory stays small.
    free: BinaryHeap<Reverse<Slot>>,
    last: Generation,
    /// The server of the last connection. Most connections are of the same one.
    server: Rc<str>,
    /// Slots whose connections have gone, which the primary does not know. They are not used again before it does: what it
    /// hears of one is never meant for the connection before.
    released: Vec<Slot>,
    /// How many connections the primary had taken when that was looked at last.
    taken: u64,
}

/// What becomes of connections when nobody can take them from the worker any more.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// The primary had taken these before.
    pub moved: Vec<Slot>,
    /// The worker had given these, and reads them now.
    pub taken_back: Vec<Slot>,
}

impl KeptConnections {
    pub fn new(table: KeptTable) -> Self {
        KeptConnections {
            table,
            connections: Vec::new(),
            free: BinaryHeap::new(),
            last: Generation(0),
            server: Rc::from(""),
            released: Vec::new(),
            taken: 0,
        }
    }

    /// A slot for a connection of this server that is being served; None if there is none left.
    pub fn begin(&mut self, server: &str) -> Option<(Slot, Generation)> {
        let slot = match self.free.pop() {
            Some(Reverse(slot)) => slot,
            None if self.connections.len() < SLOTS as usize => {
                self.connections.push(None);
                Slot(self.connections.len() as u32 - 1)
            }
            None => return None,
        };
        if *self.server != *server {
            self.server = Rc::from(server);
        }
        self.last = Generation(self.last.0 + 1);
        let server = self.server.clone();
        let kept = Kept { generation: self.last, server, is_next: false, is_alone: false };
        self.connections[slot.0 as usize] = Some(kept);
        self.table.begin(slot, self.last);
        Some((slot, self.last))
    }

    fn get(&self, slot: Slot) -> Option<&Kept> {
        self.connections.get(slot.0 as usize)?.as_ref()
    }

    fn get_mut(&mut self, slot: Slot) -> Option<&mut Kept> {
        self.connections.get_mut(slot.0 as usize)?.as_mut()
    }

    fn generation(&self, slot: Slot) -> Option<Generation> {
        self.get(slot).map(|kept| kept.generation)
    }

    /// The connection rests, unless the primary has taken it.
    pub fn rest(&mut self, slot: Slot) {
        let Some(kept) = self.get_mut(slot) else { return };
        kept.is_next = true;
        let generation = kept.generation;
        self.table.rest(slot, generation);
    }

    /// The worker wants to read.
    pub fn claim(&self, slot: Slot) -> Claim {
        self.generation(slot).map_or(Claim::Ours, |generation| self.table.claim(slot, generation))
    }

    /// The server of a connection that the worker has claimed, if it is to look at what it reads next: whose that is may be for
    /// the primary to decide. None in the second call for the same request.
    pub fn look_at_next(&mut self, slot: Slot) -> Option<Rc<str>> {
        let kept = self.get_mut(slot)?;
        let is_next = std::mem::take(&mut kept.is_next);
        (is_next && !kept.is_alone).then(|| kept.server.clone())
    }

    /// The worker leaves what it has claimed to the primary. Returns which connection of the slot it is; None if it cannot.
    pub fn give(&self, slot: Slot) -> Option<Generation> {
        self.generation(slot).filter(|generation| self.table.give(slot, *generation))
    }

    /// The worker reads what it has given.
    pub fn take_back(&self, slot: Slot) {
        if let Some(generation) = self.generation(slot) {
            self.table.take_back(slot, generation);
        }
    }

    /// Whether the slot still has this connection.
    pub fn has(&self, slot: Slot, generation: Generation) -> bool {
        self.generation(slot) == Some(generation)
    }

    /// What the primary has decided about a connection that was given; None if it has not yet.
    pub fn decision(&mut self, slot: Slot) -> Option<Decision> {
        let decision = self.table.decision(slot, self.generation(slot)?);
        if decision == Some(Decision::Alone)
            && let Some(kept) = self.get_mut(slot)
        {
            kept.is_alone = true;
        }
        decision
    }

    /// How often clients had moved to other workers by now.
    pub fn homes(&self) -> u64 {
        self.table.homes()
    }

    /// The connection is closed, or could not be told to the primary.
    pub fn release(&mut self, slot: Slot) {
        let Some(generation) = self.generation(slot) else { return };
        self.connections[slot.0 as usize] = None;
        // Of one that it has taken the primary knows.
        match self.table.release(slot, generation) {
            Claim::Moved => self.free.push(Reverse(slot)),
            Claim::Ours | Claim::Given => self.released.push(slot),
        }
    }

    /// The worker leaves, and closes its copy of the connection. If nobody reads it, the primary's copy is what is left of it.
    pub fn leave(&mut self, slot: Slot) {
        let Some(generation) = self.generation(slot) else { return };
        if self.table.is_unread(slot, generation) {
            // The slot is not used again.
            self.connections[slot.0 as usize] = None;
        } else {
            self.release(slot);
        }
    }

    /// What the primary must be told: up to so many slots as fit into a message, taken from the list.
    pub fn take_released(&mut self) -> Vec<Slot> {
        let count = self.released.len().min(MAX_SLOTS);
        self.released.drain(..count).collect()
    }

    /// The primary has been told of these, before anything that comes next.
    pub fn reuse(&mut self, slots: Vec<Slot>) {
        self.free.extend(slots.into_iter().map(Reverse));
    }

    /// They could not be sent.
    pub fn return_released(&mut self, slots: Vec<Slot>) {
        self.released.splice(..0, slots);
    }

    fn numbered(&self) -> impl Iterator<Item = (Slot, Generation)> {
        let numbered = (0..).map(Slot).zip(&self.connections);
        numbered.filter_map(|(slot, kept)| Some((slot, kept.as_ref()?.generation)))
    }

    /// The worker claims everything.
    pub fn end(self) -> Ended {
        let mut ended = Ended::default();
        for (slot, generation) in self.numbered() {
            let was_given = self.table.take_back(slot, generation);
            match self.table.claim(slot, generation) {
                Claim::Moved => ended.moved.push(slot),
                _ if was_given => ended.taken_back.push(slot),
                _ => {}
            }
        }
        ended
    }

    /// Slots whose connections the primary has taken, and that are not released. Looks at all of them, if there may be
    /// any.
    pub fn moved(&mut self) -> Vec<Slot> {
        let taken = self.table.taken();
        if std::mem::replace(&mut self.taken, taken) == taken {
            return Vec::new();
        }
        let is_moved = |(slot, generation): &(Slot, Generation)| self.table.is_moved(*slot, *generation);
        self.numbered().filter(is_moved).map(|(slot, _)| slot).collect()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    fn sides() -> (KeptTable, KeptConnections) {
        let (primary, file) = KeptTable::create().unwrap();
        (primary, KeptConnections::new(KeptTable::map(file.as_fd()).unwrap()))
    }

    #[test]
    fn the_lowest_free_slot_is_used_first_for_a_generation_of_its_own() {
        let (_primary, mut kept) = sides();
        let first: Vec<_> = (0..3).filter_map(|_| kept.begin("a")).collect();
        assert_eq!(first.iter().map(|(slot, _)| slot.0).collect::<Vec<_>>(), [0, 1, 2]);
        kept.release(Slot(1));
        kept.release(Slot(0));
        let released = kept.take_released();
        kept.reuse(released);
        let (slot, generation) = kept.begin("a").unwrap();
        assert_eq!((slot, generation), (Slot(0), Generation(4)));
    }

    #[test]
    fn what_the_primary_has_taken_is_found_and_not_told_to_it() {
        let (primary, mut kept) = sides();
        let all: Vec<_> = (0..3).filter_map(|_| kept.begin("a")).collect();
        all.iter().for_each(|(slot, _)| kept.rest(*slot));
        assert!(kept.moved().is_empty());
        assert!(primary.take(all[1].0, all[1].1));
        assert_eq!(kept.moved(), [Slot(1)]);
        assert!(kept.moved().is_empty());
        assert_eq!(kept.claim(Slot(1)), Claim::Moved);
        assert_eq!(kept.claim(Slot(2)), Claim::Ours);
        kept.release(Slot(1));
        kept.release(Slot(2));
        assert_eq!(kept.take_released(), [Slot(2)]);
    }

    #[test]
    fn what_a_leaving_worker_leaves_is_the_primarys() {
        let (primary, mut kept) = sides();
        let all: Vec<_> = (0..2).filter_map(|_| kept.begin("a")).collect();
        kept.rest(all[0].0);
        kept.leave(all[0].0);
        kept.leave(all[1].0);
        assert_eq!(kept.take_released(), [all[1].0]);
        assert_eq!(kept.end(), Ended::default());
        assert!(primary.take(all[0].0, all[0].1));
    }

    #[test]
    fn a_slot_is_not_used_again_before_the_primary_has_heard_that_it_is_free() {
        let (_primary, mut kept) = sides();
        let (first, _) = kept.begin("a").unwrap();
        kept.release(first);
        let (second, _) = kept.begin("a").unwrap();
        assert_ne!(second, first);
        // It could not be told.
        let released = kept.take_released();
        kept.return_released(released);
        assert_eq!(kept.begin("a").unwrap().0, Slot(2));
        let released = kept.take_released();
        assert_eq!(released, [first]);
        kept.reuse(released);
        assert_eq!(kept.begin("a").unwrap().0, first);
    }

    #[test]
    fn only_the_first_bytes_of_a_request_are_looked_at_and_of_connections_that_the_primary_has() {
        let (primary, mut kept) = sides();
        let (slot, generation) = kept.begin("a").unwrap();
        assert_eq!(kept.look_at_next(slot), None);
        for _ in 0..2 {
            kept.rest(slot);
            assert_eq!(kept.claim(slot), Claim::Ours);
            assert_eq!(kept.look_at_next(slot).as_deref(), Some("a"));
            assert_eq!(kept.look_at_next(slot), None);
        }
        assert_eq!(kept.give(slot), Some(generation));
        assert_eq!((kept.give(slot), kept.decision(slot)), (None, None));
        primary.leave_alone(slot);
        assert_eq!(kept.decision(slot), Some(Decision::Alone));
        kept.rest(slot);
        assert_eq!((kept.claim(slot), kept.look_at_next(slot)), (Claim::Ours, None));
    }

    #[test]
    fn what_was_given_is_read_here_when_nobody_decides_any_more() {
        let (primary, mut kept) = sides();
        let all: Vec<_> = (0..3).filter_map(|_| kept.begin("a")).map(|(slot, _)| slot).collect();
        all.iter().for_each(|slot| assert!(kept.give(*slot).is_some()));
        let taken = kept.generation(all[1]).unwrap();
        assert!(primary.take(all[1], taken));
        assert_eq!(kept.end(), Ended { moved: vec![all[1]], taken_back: vec![all[0], all[2]] });
        assert!(!primary.is_given(all[0], Generation(1)));
    }

    #[test]
    fn what_a_leaving_worker_has_given_is_the_primarys_and_what_it_closes_is_nobodys() {
        let (primary, mut kept) = sides();
        let all: Vec<_> = (0..2).filter_map(|_| kept.begin("a")).collect();
        all.iter().for_each(|(slot, _)| assert!(kept.give(*slot).is_some()));
        kept.leave(all[0].0);
        kept.release(all[1].0);
        assert!(primary.take(all[0].0, all[0].1));
        assert!(!primary.take(all[1].0, all[1].1));
        assert_eq!(kept.take_released(), [all[1].0]);
    }

    #[test]
    fn a_worker_that_has_every_slot_in_use_gets_no_more() {
        let (_primary, mut kept) = sides();
        assert_eq!((0..SLOTS).filter_map(|_| kept.begin("a")).count(), SLOTS as usize);
        assert_eq!(kept.begin("a"), None);
    }

    #[test]
    fn more_than_a_message_holds_is_told_in_several() {
        let (_primary, mut kept) = sides();
        let count = MAX_SLOTS + 1;
        for slot in (0..count).filter_map(|_| kept.begin("a")).map(|(slot, _)| slot).collect::<Vec<_>>() {
            kept.release(slot);
        }
        let first = kept.take_released();
        assert_eq!(first.len(), MAX_SLOTS);
        kept.return_released(first);
        assert_eq!((kept.take_released().len(), kept.take_released().len()), (MAX_SLOTS, 1));
    }
}
