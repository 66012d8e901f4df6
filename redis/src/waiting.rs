//! Calls that wait for messages. All of a session that wait in one queue, or for one list, are asked for together, one after
//! the other; while they are, more may come and some may end.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use corral_bus::protocol::{Delivered, Name};

use crate::script::{Registration, Waits, Wanted};

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
    /// By which the server says what it was asked last, and how often it has handed over something since.
    token: u64,
    handed: u32,
    /// What it has handed over before its answer was there.
    early: Vec<Vec<Delivered>>,
}

/// A place, the calls that wait there, and what the server is told beside.
#[derive(Debug, PartialEq, Eq)]
pub struct Look {
    pub name: Name,
    pub wanted: Vec<Wanted>,
    pub waits: Waits,
    pub registration: Registration,
}

/// Messages that the server has handed over without having been asked for them.
#[derive(Debug, PartialEq, Eq)]
pub enum Handed {
    /// They are this call's.
    To(u64, Vec<Delivered>),
    /// Nobody waits for them.
    ToNobody(Vec<Delivered>),
    /// The server tells of them once more, or they are kept until it has answered.
    Later,
}

/// What has come of asking.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// The calls that were served, in their order.
    pub served: Vec<u64>,
    /// Calls that have ended meanwhile without anything.
    pub ended: Vec<u64>,
    /// What was handed over meanwhile.
    pub handed: Vec<Handed>,
    /// Whether somebody waits still.
    pub waits: bool,
}

#[derive(Debug)]
pub struct Waiting {
    places: HashMap<Name, Place>,
    last_token: u64,
}

impl Waiting {
    /// Tokens begin behind a number.
    pub fn new(first: u64) -> Waiting {
        Waiting { places: HashMap::new(), last_token: first }
    }

    pub fn add(&mut self, name: &Name, wanted: Wanted, until: Option<Instant>, now: Instant) {
        let place = self.places.entry(name.clone()).or_insert_with(|| Place {
            receivers: VecDeque::new(),
            needs_look: true,
            is_asked: false,
            asked: 0,
            is_known: false,
            next: now,
            token: 0,
            handed: 0,
            early: Vec::new(),
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

    /// What to ask for. None wait where nobody does any more, which the server is to know.
    pub fn looks(&mut self) -> Vec<Look> {
        let mut looks = Vec::new();
        for (name, place) in &mut self.places {
            if place.needs_look && !place.is_asked {
                place.needs_look = false;
                place.is_asked = true;
                place.asked = place.receivers.len();
                let registration = place.registration(&mut self.last_token);
                let waits = if place.is_known { Waits::Known } else { Waits::Unknown };
                let wanted = place.receivers.iter().map(|one| one.wanted).collect();
                looks.push(Look { name: name.clone(), wanted, waits, registration });
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
        let handed = std::mem::take(&mut place.early).into_iter().map(|one| place.hand(one)).collect();
        let ended: Vec<u64> =
            place.receivers.iter().filter(|one| one.is_over).map(|one| one.wanted.sequence).collect();
        place.receivers.retain(|one| !one.is_over);
        place.needs_look |= !ended.is_empty();
        let waits = !place.receivers.is_empty();
        if !waits && !place.needs_look && !place.is_known {
            self.places.remove(name);
        }
        Served { served, ended, handed, waits }
    }

    /// The server has handed over messages, on what it was asked under that token.
    pub fn handed(&mut self, name: &Name, token: u64, messages: Vec<Delivered>) -> Handed {
        match self.places.get_mut(name) {
            Some(place) if place.token == token && place.is_asked => {
                place.early.push(messages);
                Handed::Later
            }
            Some(place) if place.token == token => place.hand(messages),
            Some(place) if place.is_asked => Handed::Later,
            _ => Handed::ToNobody(messages),
        }
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
            if place.next <= now && place.is_looked_at() {
                place.needs_look = true;
            }
        }
        ended
    }

    /// When something is due next.
    pub fn next(&self) -> Option<Instant> {
        let looks = self.places.values().filter(|place| !place.is_asked && place.is_looked_at());
        let ends = self.places.values().flat_map(|place| &place.receivers);
        let ends = ends.filter(|one| !one.is_over).filter_map(|one| one.until);
        looks.map(|place| place.next).chain(ends).min()
    }

    /// Everybody, who waits no more.
    pub fn clear(&mut self) -> Vec<(Name, Registration)> {
        let places = std::mem::take(&mut self.places);
        let last = &mut self.last_token;
        places.into_iter().map(|(name, mut place)| (name, place.registration(last))).collect()
    }
}

impl Place {
    /// What belongs to the next time that the server is asked.
    fn registration(&mut self, last_token: &mut u64) -> Registration {
        *last_token += 1;
        self.token = *last_token;
        Registration { token: self.token, handed: std::mem::take(&mut self.handed) }
    }

    /// Whether the server is told after a while that somebody waits, or that nobody does.
    fn is_looked_at(&self) -> bool {
        self.is_known || !self.receivers.is_empty()
    }

    /// Messages are the first call's.
    fn hand(&mut self, messages: Vec<Delivered>) -> Handed {
        self.handed += 1;
        match self.receivers.pop_front() {
            Some(one) => Handed::To(one.wanted.sequence, messages),
            None => Handed::ToNobody(messages),
        }
    }

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

    use corral_bus::protocol::{Receipt, Space};

    use super::*;

    fn name() -> Name {
        Name { space: Space::Queue, name: Arc::from("q") }
    }

    fn wanted(sequence: u64) -> Wanted {
        Wanted { sequence, count: 1, visibility: 0 }
    }

    #[test]
    fn who_ends_while_asked_for_is_answered_afterwards() {
        let (mut waiting, now) = (Waiting::new(0), Instant::now());
        for sequence in 1..=3 {
            waiting.add(&name(), wanted(sequence), None, now);
        }
        assert_eq!(waiting.looks()[0].waits, Waits::Unknown);
        assert!(waiting.looks().is_empty());
        assert!(!waiting.cancel(1));
        assert!(!waiting.cancel(3));
        waiting.add(&name(), wanted(4), None, now);
        let served = waiting.answered(&name(), 1, now);
        assert_eq!(served, Served { served: vec![1], ended: vec![3], handed: Vec::new(), waits: true });
        let looks = waiting.looks();
        assert_eq!(looks[0].wanted, [wanted(2), wanted(4)]);
        assert_eq!(looks[0].waits, Waits::Known);
        waiting.answered(&name(), 2, now);
        waiting.add(&name(), wanted(5), None, now);
        assert_eq!(waiting.looks()[0].waits, Waits::Unknown);
    }

    #[test]
    fn where_nobody_waits_any_more_the_server_is_told_so_once() {
        let (mut waiting, now) = (Waiting::new(0), Instant::now());
        waiting.add(&name(), wanted(1), Some(now), now);
        waiting.looks();
        waiting.answered(&name(), 0, now);
        assert_eq!(waiting.due(now), [1]);
        let registration = Registration { token: 2, handed: 0 };
        let look = Look { name: name(), wanted: Vec::new(), waits: Waits::Known, registration };
        assert_eq!(waiting.looks(), [look]);
        waiting.answered(&name(), 0, now);
        assert!(waiting.looks().is_empty() && waiting.next().is_none());
    }

    #[test]
    fn what_is_due_is_looked_at_in_time() {
        let (mut waiting, now) = (Waiting::new(0), Instant::now());
        waiting.add(&name(), wanted(1), None, now);
        waiting.looks();
        waiting.answered(&name(), 0, now);
        let due = now + LOOK;
        assert_eq!(waiting.next(), Some(due));
        assert!(waiting.due(due).is_empty() && waiting.needs_look());
    }

    #[test]
    fn who_is_refused_waits_no_more() {
        let (mut waiting, now) = (Waiting::new(0), Instant::now());
        waiting.add(&name(), wanted(1), None, now);
        waiting.looks();
        assert_eq!(waiting.refused(&name()), [1]);
        assert!(waiting.next().is_none() && !waiting.needs_look());
    }

    fn messages(message: u64) -> Vec<Delivered> {
        let receipt = Receipt { message, delivery: 1 };
        let (group, envelope) = (Arc::from(""), Arc::from(&b""[..]));
        vec![Delivered { receipt, visibility: 1, priority: 0, group, dead: None, envelope }]
    }

    #[test]
    fn what_is_handed_over_is_the_first_calls_and_counted() {
        let (mut waiting, now) = (Waiting::new(0), Instant::now());
        for sequence in 1..=2 {
            waiting.add(&name(), wanted(sequence), None, now);
        }
        let token = waiting.looks()[0].registration.token;
        waiting.answered(&name(), 0, now);
        assert_eq!(waiting.handed(&name(), token, messages(7)), Handed::To(1, messages(7)));
        assert!(!waiting.cancel(9) && waiting.cancel(2));
        assert_eq!(waiting.handed(&name(), token, messages(8)), Handed::ToNobody(messages(8)));
        let next = waiting.looks().remove(0).registration;
        assert_eq!((next.token, next.handed), (token + 1, 2));
        // The answer to that has what was handed over and not counted.
        assert_eq!(waiting.handed(&name(), token, messages(9)), Handed::Later);
    }

    #[test]
    fn what_is_handed_over_before_the_answer_waits_for_it() {
        let (mut waiting, now) = (Waiting::new(0), Instant::now());
        for sequence in 1..=2 {
            waiting.add(&name(), wanted(sequence), None, now);
        }
        let token = waiting.looks()[0].registration.token;
        assert_eq!(waiting.handed(&name(), token, messages(7)), Handed::Later);
        let answered = waiting.answered(&name(), 1, now);
        assert_eq!((answered.served, answered.handed), (vec![1], vec![Handed::To(2, messages(7))]));
    }

    #[test]
    fn the_server_is_told_of_a_place_where_nobody_waits_after_something_was_handed_over() {
        let (mut waiting, now) = (Waiting::new(0), Instant::now());
        waiting.add(&name(), wanted(1), None, now);
        let token = waiting.looks()[0].registration.token;
        waiting.answered(&name(), 0, now);
        waiting.handed(&name(), token, messages(7));
        let due = waiting.next().unwrap();
        waiting.due(due);
        let look = waiting.looks().remove(0);
        assert_eq!((look.wanted.len(), look.waits, look.registration.handed), (0, Waits::Known, 1));
        waiting.answered(&name(), 0, now);
        assert!(waiting.next().is_none());
    }
}
