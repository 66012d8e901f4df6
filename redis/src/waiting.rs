//! Calls that wait for messages. All of a session that wait in one queue, or for one list, are asked for together, one after
//! the other; while they are, more may come and some may end.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use corral_bus::protocol::Name;

use crate::script::{Waits, Wanted};

/// No wait is longer without looking again.
const LOOK: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Receiver {
    wanted: Wanted,
    /// `None` for no end.
    until: Option<Instant>,
    /// It is answered as soon as is known whether it was served.
    is_over: bool,
}

#[derive(Debug)]
struct Place {
    receivers: VecDeque<Receiver>,
    /// The server is to be asked, and told how many wait.
    needs_look: bool,
    is_asked: bool,
    /// How many calls it was asked for, if it is.
    asked: usize,
    /// The server may know that somebody waits.
    is_known: bool,
    /// When to ask again whatever happens.
    next: Instant,
}

/// What has come of asking.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// The calls that were served, in their order.
    pub served: Vec<u64>,
    /// Calls that have ended meanwhile without anything.
    pub ended: Vec<u64>,
    /// Whether somebody waits still.
    pub waits: bool,
}

#[derive(Debug, Default)]
pub struct Waiting {
    places: HashMap<Name, Place>,
}

impl Waiting {
    pub fn add(&mut self, name: &Name, wanted: Wanted, until: Option<Instant>, now: Instant) {
        let place = self.places.entry(name.clone()).or_insert_with(|| Place {
            receivers: VecDeque::new(),
            needs_look: true,
            is_asked: false,
            asked: 0,
            is_known: false,
            next: now,
        });
        place.receivers.push_back(Receiver { wanted, until, is_over: false });
        place.needs_look = true;
    }

    /// Something may have come.
    pub fn look(&mut self, name: &Name) {
        if let Some(place) = self.places.get_mut(name) {
            place.needs_look = true;
        }
    }

    /// The server knows of nobody any more, or it does: that is to be seen.
    pub fn look_everywhere(&mut self) {
        for place in self.places.values_mut() {
            place.needs_look = true;
            place.is_known = true;
        }
    }

    pub fn needs_look(&self) -> bool {
        self.places.values().any(|place| place.needs_look && !place.is_asked)
    }

    /// What to ask for: places, and the calls that wait there. None wait where nobody does any more, which the server is to know.
    pub fn looks(&mut self) -> Vec<(Name, Vec<Wanted>, Waits)> {
        let mut looks = Vec::new();
        for (name, place) in &mut self.places {
            if place.needs_look && !place.is_asked {
                place.needs_look = false;
                place.is_asked = true;
                place.asked = place.receivers.len();
                let waits = if place.is_known { Waits::Known } else { Waits::Unknown };
                looks.push((name.clone(), place.receivers.iter().map(|one| one.wanted).collect(), waits));
            }
        }
        looks
    }

    /// The server has answered: it has served the first `count`.
    pub fn answered(&mut self, name: &Name, count: usize, now: Instant) -> Served {
        let Some(place) = self.places.get_mut(name) else { return Served::default() };
        place.is_asked = false;
        place.is_known = count < place.asked;
        place.next = now + LOOK;
        let served = place
            .receivers
            .drain(..count.min(place.receivers.len()))
            .map(|one| one.wanted.sequence)
            .collect();
        let ended: Vec<u64> =
            place.receivers.iter().filter(|one| one.is_over).map(|one| one.wanted.sequence).collect();
        place.receivers.retain(|one| !one.is_over);
        place.needs_look |= !ended.is_empty();
        let waits = !place.receivers.is_empty();
        if !waits && !place.needs_look {
            self.places.remove(name);
        }
        Served { served, ended, waits }
    }

    /// The server has refused: all who were asked for, who wait no more.
    pub fn refused(&mut self, name: &Name) -> Vec<u64> {
        let receivers = self.places.remove(name).map(|place| place.receivers).unwrap_or_default();
        receivers.into_iter().map(|one| one.wanted.sequence).collect()
    }

    /// A call waits no more: true if it is to be answered at once.
    pub fn cancel(&mut self, sequence: u64) -> bool {
        for place in self.places.values_mut() {
            let Some(index) = place.receivers.iter().position(|one| one.wanted.sequence == sequence) else {
                continue;
            };
            return place.end(index);
        }
        false
    }

    /// What is due: calls that have waited for long enough. Places where it is time to look are looked at.
    pub fn due(&mut self, now: Instant) -> Vec<u64> {
        let mut ended = Vec::new();
        for place in self.places.values_mut() {
            while let Some(index) = place
                .receivers
                .iter()
                .position(|one| !one.is_over && one.until.is_some_and(|until| until <= now))
            {
                let sequence = place.receivers[index].wanted.sequence;
                if place.end(index) {
                    ended.push(sequence);
                }
            }
            if place.next <= now && !place.receivers.is_empty() {
                place.needs_look = true;
            }
        }
        ended
    }

    /// When something is due next.
    pub fn next(&self) -> Option<Instant> {
        let looks = self.places.values().filter(|place| !place.is_asked && !place.receivers.is_empty());
        let ends = self.places.values().flat_map(|place| &place.receivers);
        let ends = ends.filter(|one| !one.is_over).filter_map(|one| one.until);
        looks.map(|place| place.next).chain(ends).min()
    }

    /// Everybody, who waits no more.
    pub fn clear(&mut self) -> Vec<Name> {
        let names = self.places.keys().cloned().collect();
        self.places.clear();
        names
    }
}

impl Place {
    /// True if the call is gone; while it is asked for, what it gets is not known yet.
    fn end(&mut self, index: usize) -> bool {
        self.needs_look = true;
        if self.is_asked {
            self.receivers[index].is_over = true;
            return false;
        }
        self.receivers.remove(index);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use corral_bus::protocol::Space;

    use super::*;

    fn name() -> Name {
        Name { space: Space::Queue, name: Arc::from("q") }
    }

    fn wanted(sequence: u64) -> Wanted {
        Wanted { sequence, count: 1, visibility: 0 }
    }

    #[test]
    fn who_ends_while_asked_for_is_answered_afterwards() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        for sequence in 1..=3 {
            waiting.add(&name(), wanted(sequence), None, now);
        }
        assert_eq!(waiting.looks()[0].2, Waits::Unknown);
        assert!(waiting.looks().is_empty());
        assert!(!waiting.cancel(1));
        assert!(!waiting.cancel(3));
        waiting.add(&name(), wanted(4), None, now);
        let served = waiting.answered(&name(), 1, now);
        assert_eq!(served, Served { served: vec![1], ended: vec![3], waits: true });
        let looks = waiting.looks();
        assert_eq!(looks[0].1, [wanted(2), wanted(4)]);
        assert_eq!(looks[0].2, Waits::Known);
        waiting.answered(&name(), 2, now);
        waiting.add(&name(), wanted(5), None, now);
        assert_eq!(waiting.looks()[0].2, Waits::Unknown);
    }

    #[test]
    fn where_nobody_waits_any_more_the_server_is_told_so_once() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        waiting.add(&name(), wanted(1), Some(now), now);
        waiting.looks();
        waiting.answered(&name(), 0, now);
        assert_eq!(waiting.due(now), [1]);
        assert_eq!(waiting.looks(), [(name(), Vec::new(), Waits::Known)]);
        waiting.answered(&name(), 0, now);
        assert!(waiting.looks().is_empty() && waiting.next().is_none());
    }

    #[test]
    fn what_is_due_is_looked_at_in_time() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        waiting.add(&name(), wanted(1), None, now);
        waiting.looks();
        waiting.answered(&name(), 0, now);
        let due = now + LOOK;
        assert_eq!(waiting.next(), Some(due));
        assert!(waiting.due(due).is_empty() && waiting.needs_look());
    }

    #[test]
    fn who_is_refused_waits_no_more() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        waiting.add(&name(), wanted(1), None, now);
        waiting.looks();
        assert_eq!(waiting.refused(&name()), [1]);
        assert!(waiting.next().is_none() && !waiting.needs_look());
    }
}
