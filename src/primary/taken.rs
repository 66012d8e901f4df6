//! Connections that workers have taken, as JavaScript is told of them: one by one while few events wait for
//! it, together when many do. Nothing is lost without a word, and connections go on while JavaScript is busy.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use crate::address::Peer;
use crate::ids::{ServerId, WorkerId};
use crate::reactor::{Ticket, Tickets};

/// How many events of one connection each may wait for JavaScript: some megabytes.
pub const MAX_SINGLE: usize = 16_384;

/// The value of a count that JavaScript has taken.
const TAKEN: usize = 0;

/// The connections of one event.
#[derive(Debug)]
pub enum Taken {
    /// One of this client.
    One(Peer, Ticket),
    /// As many as there are when JavaScript takes the event.
    Several(Arc<AtomicUsize>),
}

impl Taken {
    /// The client, of a single one.
    pub fn peer(&self) -> Option<Peer> {
        match self {
            Taken::One(peer, _) => Some(*peer),
            Taken::Several(_) => None,
        }
    }

    /// How many there are. Later ones are told in another event.
    pub fn take(self) -> usize {
        match self {
            Taken::One(..) => 1,
            Taken::Several(count) => count.swap(TAKEN, Ordering::SeqCst),
        }
    }
}

/// What JavaScript has been told.
#[derive(Debug, Default)]
pub struct TakenConnections {
    single: Tickets,
    /// The counts of events that wait, for each worker and server.
    several: HashMap<(WorkerId, ServerId), Weak<AtomicUsize>>,
}

impl TakenConnections {
    /// Adds a connection. Returns what to tell of it, unless an event waits that counts it.
    pub fn add(&mut self, worker: WorkerId, server: ServerId, peer: Peer) -> Option<Taken> {
        if self.single.outstanding() < MAX_SINGLE {
            return Some(Taken::One(peer, self.single.issue()));
        }
        if self.several.get(&(worker, server)).and_then(Weak::upgrade).is_some_and(|count| add_to(&count)) {
            return None;
        }
        // Workers and servers come and go.
        self.several.retain(|_, count| count.strong_count() > 0);
        let count = Arc::new(AtomicUsize::new(1));
        self.several.insert((worker, server), Arc::downgrade(&count));
        Some(Taken::Several(count))
    }
}

/// Returns false if JavaScript has taken it.
fn add_to(count: &AtomicUsize) -> bool {
    let add = |count| (count != TAKEN).then(|| count + 1);
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, add).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: WorkerId = WorkerId(1);
    const OTHER: WorkerId = WorkerId(2);

    #[test]
    fn connections_are_told_one_by_one_while_few_wait_and_counted_beyond() {
        let mut connections = TakenConnections::default();
        let mut add = |worker, server| connections.add(worker, ServerId(server), Peer::Unix);
        let mut waiting: Vec<_> = (0..MAX_SINGLE).map(|_| add(ONE, 1).unwrap()).collect();
        let several = add(ONE, 1).unwrap();
        assert!(add(ONE, 1).is_none());
        // Of another worker, and of another server, they are told by themselves.
        let others = [add(OTHER, 1).unwrap(), add(ONE, 2).unwrap()];
        assert!(add(ONE, 1).is_none());
        assert_eq!((several.peer(), several.take()), (None, 3));
        assert_eq!(others.map(Taken::take), [1, 1]);
        // The event that counted the others is on its way to JavaScript.
        assert_eq!(add(ONE, 1).unwrap().take(), 1);
        let single = waiting.pop().unwrap();
        assert_eq!((single.peer(), single.take()), (Some(Peer::Unix), 1));
        assert_eq!(add(ONE, 1).unwrap().peer(), Some(Peer::Unix));
    }
}
