//! Connections that a worker keeps and has given: it has looked at the next request, has not read it, and does not know it to be its
//! own. The primary gives those to their workers that belong to others; the worker reads the rest.

use std::collections::{BTreeSet, VecDeque};

use super::home::Home;
use super::kept::Rested;
use super::{Context, Event, Primary};
use crate::error::Error;
use crate::ids::{ServerId, WorkerId};
use crate::kept::{Decision, SLOTS};
use crate::proto::Slot;
use crate::reactor::EventSink;
use crate::sched::Session;

/// How many are decided about in one turn.
const BUDGET: usize = 256;

/// Connections about which nothing is decided, oldest first. Each is here once, so there are no more than connections that are kept.
#[derive(Debug, Default)]
pub struct GivenConnections {
    undecided: VecDeque<(WorkerId, Slot)>,
    /// Workers that wait for a decision.
    waiting: BTreeSet<WorkerId>,
}

impl GivenConnections {
    /// Whether a turn has left something to be decided.
    pub fn is_ready(&self) -> bool {
        !self.undecided.is_empty()
    }
}

impl<S: EventSink<Event>> Primary<S> {
    /// A worker has given connections. They are decided about at the end of the turn: what the workers have to say of sessions is
    /// read for that, which is what is being read.
    ///
    /// Errors: `ERR_CORRAL_BAD_FRAME` for what no worker sends.
    pub(super) fn on_give(&mut self, id: WorkerId, slots: &[Slot]) -> Result<(), Error> {
        if slots.iter().any(|slot| slot.0 >= SLOTS) {
            return Err(Error::BadFrame("a connection was given with a slot that does not exist".into()));
        }
        self.given.waiting.insert(id);
        let Some(kept) = self.kept_mut(id) else { return Ok(()) };
        let noted: Vec<_> =
            slots.iter().filter(|slot| kept.note_given(**slot)).map(|slot| (id, *slot)).collect();
        self.given.undecided.extend(noted);
        Ok(())
    }

    /// Decides about connections that workers have given, and tells them.
    pub(super) fn decide_given(&mut self, context: &mut Context) {
        for _ in 0..BUDGET {
            let Some((from, slot)) = self.given.undecided.pop_front() else { break };
            self.decide_one(context, from, slot);
            self.given.waiting.insert(from);
        }
        for id in std::mem::take(&mut self.given.waiting) {
            self.tell_decided(context, id);
        }
    }

    fn decide_one(&mut self, context: &mut Context, from: WorkerId, slot: Slot) {
        let Some(id) = self.kept_mut(from).and_then(|kept| kept.given(slot)) else { return };
        let decision = match self.home_of_waiting(context, from, id, slot) {
            Home::Of(home, session) if home == from => {
                self.note_told(session);
                Decision::AtHome
            }
            Home::Of(home, session) => {
                return self.move_given(context, from, slot, id, Some((home, session)));
            }
            // Its bytes are waited for without a worker, as those of a new connection are.
            Home::Incomplete => return self.move_given(context, from, slot, id, None),
            Home::Nobodys | Home::Unknown => Decision::Here,
        };
        self.decide(from, slot, decision);
    }

    fn decide(&mut self, from: WorkerId, slot: Slot, decision: Decision) -> Option<Rested> {
        self.kept_mut(from)?.decide(slot, decision)
    }

    /// Gives a connection to its worker, or has more of its bytes come first. If too many wait already it stays where it is.
    fn move_given(
        &mut self,
        context: &mut Context,
        from: WorkerId,
        slot: Slot,
        id: ServerId,
        home: Option<(WorkerId, Session)>,
    ) {
        let has_room = match home {
            Some((home, _)) => self.may_wait_for(id, home),
            None => self.has_room_at(id),
        };
        let peer = self.kept_mut(from).and_then(|kept| kept.client(slot));
        let Some(peer) = peer.filter(|_| has_room) else {
            if let Some(server) = self.servers.get(&id).filter(|_| !has_room) {
                server.stats.counters.strayed.count();
            }
            self.decide(from, slot, Decision::Here);
            return;
        };
        let Some(rested) = self.decide(from, slot, Decision::Moved) else { return };
        let mut connection = self.rebalanced(from, rested, peer);
        match home {
            Some((home, session)) => {
                connection.session = Some(session);
                self.send_home(context, id, home, connection);
            }
            None => self.arrive(context, id, connection),
        }
        self.to_serve.insert(id);
    }
}
