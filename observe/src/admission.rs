//! How many clients are served at once, and how much memory they may hold. Nothing here reads or writes.
//!
//! Whoever comes last is let in: a scraper asks at once and has its answer within milliseconds, so that the connection that
//! has been there longest is one that does neither.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How many clients may be connected.
pub const MAX_CONNECTIONS: usize = 128;

/// How many of them may follow events.
pub const MAX_FOLLOWERS: usize = 32;

/// How many bytes of answers may be unread, all clients together; one answer may always be.
pub const MAX_UNREAD: usize = 8 << 20;

/// The number of a connection.
pub type ConnectionId = u64;

/// What one connection holds.
#[derive(Debug)]
struct Connection {
    id: ConnectionId,
    follows: bool,
    unread: Arc<AtomicUsize>,
    /// When it was sent its last answer.
    answered_at: Option<Instant>,
}

/// The clients that are connected, the one that has been longest first.
#[derive(Debug, Default)]
pub struct Admission {
    connections: Vec<Connection>,
    /// How many were closed for others.
    evicted: u64,
}

impl Admission {
    /// A client has connected. Returns where its unread bytes are counted, and the connection to be closed for it.
    pub fn admit(&mut self, id: ConnectionId) -> (Arc<AtomicUsize>, Option<ConnectionId>) {
        let is_full = self.connections.len() >= MAX_CONNECTIONS;
        // There are fewer that follow events.
        let oldest = self.connections.iter().position(|one| !one.follows).filter(|_| is_full);
        let evicted = oldest.map(|place| self.connections.remove(place).id);
        self.evicted += u64::from(evicted.is_some());
        let unread = Arc::default();
        let counted = Arc::clone(&unread);
        self.connections.push(Connection { id, follows: false, unread: counted, answered_at: None });
        (unread, evicted)
    }

    /// A connection has ended.
    pub fn leave(&mut self, id: ConnectionId) {
        self.connections.retain(|one| one.id != id);
    }

    /// A client wants to follow events. Returns whether there is room for one more.
    pub fn follow(&mut self, id: ConnectionId) -> bool {
        let has_room = self.connections.iter().filter(|one| one.follows).count() < MAX_FOLLOWERS;
        let connection = self.connections.iter_mut().find(|one| one.id == id).filter(|_| has_room);
        connection.map(|connection| connection.follows = true).is_some()
    }

    /// A connection is about to be sent an answer of so many bytes. Returns the connections to be closed for it: those that have
    /// left others unread longest.
    pub fn make_room(&mut self, id: ConnectionId, bytes: usize) -> Vec<ConnectionId> {
        let unread = |one: &Connection| one.unread.load(Ordering::Relaxed);
        let mut total = bytes + self.connections.iter().map(unread).sum::<usize>();
        let mut evicted = Vec::new();
        for one in &self.connections {
            if total <= MAX_UNREAD {
                break;
            }
            if one.id != id && unread(one) > 0 {
                total -= unread(one);
                evicted.push(one.id);
            }
        }
        if let Some(own) = self.connections.iter_mut().find(|one| one.id == id) {
            own.answered_at = Some(Instant::now());
        }
        self.evict(evicted)
    }

    /// Returns the connections to be closed since they have left an answer unread for so long.
    pub fn expire(&mut self, after: Duration) -> Vec<ConnectionId> {
        let is_late = |one: &&Connection| {
            let has_unread = one.unread.load(Ordering::Relaxed) > 0;
            has_unread && one.answered_at.is_some_and(|at| at.elapsed() >= after)
        };
        let late = self.connections.iter().filter(is_late).map(|one| one.id).collect();
        self.evict(late)
    }

    /// These connections are to be closed; returns them.
    pub fn evict(&mut self, ids: Vec<ConnectionId>) -> Vec<ConnectionId> {
        self.evicted += ids.len() as u64;
        self.connections.retain(|one| !ids.contains(&one.id));
        ids
    }

    /// How many clients are connected.
    pub fn connected(&self) -> usize {
        self.connections.len()
    }

    /// How many connections were closed for others.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_that_has_been_there_longest_makes_room_unless_it_follows_events() {
        let mut admission = Admission::default();
        for id in 0..MAX_CONNECTIONS as u64 {
            assert_eq!(admission.admit(id).1, None);
        }
        assert!(admission.follow(0));
        assert_eq!(admission.admit(1000).1, Some(1));
        admission.leave(5);
        assert_eq!(admission.admit(1001).1, None);
        assert_eq!(admission.admit(1002).1, Some(2));
        assert_eq!((admission.connected(), admission.evicted()), (MAX_CONNECTIONS, 2));
    }

    #[test]
    fn no_more_follow_events_than_leave_room_for_others() {
        let mut admission = Admission::default();
        for id in 0..=MAX_FOLLOWERS as u64 {
            admission.admit(id);
        }
        let granted = (0..=MAX_FOLLOWERS as u64).filter(|id| admission.follow(*id)).count();
        assert_eq!(granted, MAX_FOLLOWERS);
        assert!(!admission.follow(999));
        admission.leave(0);
        assert!(admission.follow(MAX_FOLLOWERS as u64));
    }

    #[test]
    fn answers_that_nobody_reads_give_way_and_one_is_always_sent() {
        let mut admission = Admission::default();
        for id in 0..4 {
            let (unread, _) = admission.admit(id);
            unread.store(MAX_UNREAD / 4, Ordering::Relaxed);
        }
        admission.admit(4);
        assert_eq!(admission.make_room(4, 1), [0]);
        assert_eq!(admission.make_room(4, MAX_UNREAD / 4), Vec::<u64>::new());
        assert_eq!(admission.make_room(4, 2 * MAX_UNREAD), [1, 2, 3]);
        assert_eq!((admission.connected(), admission.evicted()), (1, 4));
    }

    #[test]
    fn who_does_not_read_its_answer_in_time_is_closed() {
        let mut admission = Admission::default();
        let unread: Vec<_> = (0..3).map(|id| admission.admit(id).0).collect();
        for id in [0, 1] {
            admission.make_room(id, 10);
            unread[id as usize].store(10, Ordering::Relaxed);
        }
        assert_eq!(admission.expire(Duration::from_secs(60)), Vec::<u64>::new());
        unread[0].store(0, Ordering::Relaxed);
        assert_eq!(admission.expire(Duration::ZERO), [1]);
        assert_eq!((admission.connected(), admission.evicted()), (2, 1));
    }
}
