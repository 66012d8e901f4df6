//! Clients that belong to a worker (SCHED_STICKY): their connections go there, and wait there if it has no time.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::connection::{InFlight, Pending};
use super::lane::Lane;
use super::worker::Worker;
use super::{Context, Event, Primary};
use crate::address::Peer;
use crate::error::Error;
use crate::ids::{ServerId, WorkerId};
use crate::proto::{KeyBy, MAX_SESSION_ID, Slot};
use crate::reactor::EventSink;
use crate::sched::{Binding, Session, SessionMaker, Sessions, StickyChoice};
use crate::seen::Seen;

/// Of how many clients workers may have been told that they are their own.
const MAX_TOLD: usize = 65_536;

/// What the primary knows of clients.
#[derive(Debug, Default)]
pub struct Homes {
    /// Makes sessions of addresses and ids.
    pub maker: SessionMaker,
    /// Sessions that workers have begun.
    pub sessions: Sessions,
    /// Clients of which a worker has been told that they are its own. Should one of them move, the workers have to know.
    told: HashSet<Session>,
}

/// Where a request belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// To this worker, whose session it is.
    Of(WorkerId, Session),
    /// Anybody may have it.
    Nobodys,
    /// More of it has to come first.
    Incomplete,
    /// It is not known: the worker that has the connection keeps it.
    Unknown,
}

/// The connections of one server that wait for the workers to which they belong.
#[derive(Debug)]
pub struct Sticky {
    /// By what clients are known.
    pub choice: Arc<StickyChoice>,
    waiting: BTreeMap<WorkerId, VecDeque<Pending>>,
}

impl Sticky {
    /// None wait.
    pub fn new(choice: Arc<StickyChoice>) -> Self {
        Sticky { choice, waiting: BTreeMap::new() }
    }

    /// The worker has gone: those that wait for it, oldest first.
    pub fn remove(&mut self, worker: WorkerId) -> VecDeque<Pending> {
        self.waiting.remove(&worker).unwrap_or_default()
    }

    /// Nobody waits for a certain worker any more: those that do.
    pub fn end(self) -> Vec<Pending> {
        self.waiting.into_values().flatten().collect()
    }

    /// The next that may go to its worker.
    fn next(&mut self, may_take: impl Fn(WorkerId) -> bool) -> Option<(WorkerId, Pending)> {
        let (worker, waiting) = self.waiting.iter_mut().find(|(worker, _)| may_take(**worker))?;
        let worker = *worker;
        let next = waiting.pop_front();
        if waiting.is_empty() {
            self.waiting.remove(&worker);
        }
        next.map(|next| (worker, next))
    }
}

impl<S: EventSink<Event>> Primary<S> {
    /// A connection has come for a server whose clients belong to workers.
    pub(super) fn arrive_home(
        &mut self,
        context: &mut Context,
        id: ServerId,
        connection: Pending,
        choice: &StickyChoice,
    ) {
        if choice.by.is_in_bytes() {
            self.look_first(context, id, connection, choice);
        } else {
            self.on_seen(context, id, connection, Seen::Nothing);
        }
    }

    /// It is known what a client says of itself.
    pub(super) fn on_seen(
        &mut self,
        context: &mut Context,
        id: ServerId,
        mut connection: Pending,
        seen: Seen,
    ) {
        if let Seen::Session(session) = seen
            && self.homes.sessions.find(session, Instant::now()).is_none()
        {
            // Its worker has said so before it answered, perhaps just now.
            self.hear_members(context, id);
        }
        let by_address = |connection: &Pending| match connection.peer {
            Peer::Ip(address, _) => Some(self.homes.maker.of_address(address)),
            // Nobody in particular.
            Peer::Unix => None,
        };
        let Some(server) = self.servers.get(&id) else { return };
        let counters = &server.stats.counters;
        connection.session = match seen {
            Seen::Address(session) | Seen::Session(session) => {
                counters.sticky_by_key.count();
                Some(session)
            }
            Seen::NoSession if server.members().iter().all(|id| self.may_begin_sessions(*id)) => {
                counters.sticky_without_session.count();
                None
            }
            Seen::Late => {
                counters.sticky_by_deadline.count();
                by_address(&connection)
            }
            Seen::NoSession | Seen::Nothing | Seen::Incomplete | Seen::Ended => {
                counters.sticky_by_address.count();
                by_address(&connection)
            }
        };
        match self.home_of(id, &connection) {
            Some(home) => {
                self.send_home(context, id, home, connection);
                // What waits is counted when the server has been served.
                self.to_serve.insert(id);
            }
            None => self.enqueue(id, connection),
        }
    }

    /// Reads what the workers of a server have to say about sessions.
    fn hear_members(&mut self, context: &mut Context, id: ServerId) {
        let members = self.servers.get(&id).map(|server| server.members().to_vec());
        for worker in members.unwrap_or_default() {
            if self.may_begin_sessions(worker) {
                self.collect(context, worker);
            }
        }
    }

    /// Whether a worker says which sessions it begins.
    fn may_begin_sessions(&self, id: WorkerId) -> bool {
        self.workers.get(&id).and_then(Worker::used_lane).is_some_and(Lane::names_sessions)
    }

    /// The worker to which a connection belongs, if there is one that has not refused it.
    pub(super) fn home_of(&mut self, id: ServerId, connection: &Pending) -> Option<WorkerId> {
        self.home_of_session(id, connection.session?, &connection.refused_by)
    }

    fn home_of_session(
        &mut self,
        id: ServerId,
        session: Session,
        refused_by: &[WorkerId],
    ) -> Option<WorkerId> {
        let server = self.servers.get(&id).filter(|server| server.sticky().is_some())?;
        let is_willing = |worker: WorkerId| !refused_by.contains(&worker);
        let weight = |worker: WorkerId| match self.workers.get(&worker) {
            Some(known) if is_willing(worker) => f64::from(known.weight),
            _ => 0.0,
        };
        // What it has begun is a worker's, also if it gets nothing new.
        let bound = self.homes.sessions.find(session, Instant::now());
        bound
            .filter(|worker| server.slots.has(*worker) && is_willing(*worker))
            .or_else(|| server.slots.owner(session, weight))
    }

    /// Where a request belongs that waits on a connection which `from` keeps.
    pub(super) fn home_of_waiting(
        &mut self,
        context: &mut Context,
        from: WorkerId,
        id: ServerId,
        slot: Slot,
    ) -> Home {
        let Some(choice) = self.servers.get(&id).and_then(|server| server.sticky()) else {
            return Home::Nobodys;
        };
        let kept = self.workers.get(&from).and_then(|worker| worker.lane.as_ref()?.kept.as_ref());
        let Some((kept, connection)) = kept.and_then(|kept| Some((kept, kept.connection(slot)?))) else {
            return Home::Nobodys;
        };
        let seen = match choice.by {
            // Its header came first, once for all requests: its worker was chosen by that.
            KeyBy::Proxy => return Home::Unknown,
            KeyBy::Address => Seen::Nothing,
            _ => self.first_bytes.look(connection, choice, &self.homes.maker),
        };
        let session = match (seen, kept.client(slot)) {
            (Seen::NoSession, _) => return Home::Nobodys,
            (Seen::Incomplete, _) => return Home::Incomplete,
            (Seen::Address(session) | Seen::Session(session), _) => session,
            (Seen::Nothing | Seen::Late, Some(Peer::Ip(address, _))) => self.homes.maker.of_address(address),
            // Its end is for the worker that has it.
            (Seen::Nothing | Seen::Late | Seen::Ended, _) => return Home::Unknown,
        };
        if matches!(seen, Seen::Session(_)) && self.homes.sessions.find(session, Instant::now()).is_none() {
            self.hear_members(context, id);
        }
        self.home_of_session(id, session, &[]).map_or(Home::Nobodys, |home| Home::Of(home, session))
    }

    /// Whether a connection is where it belongs, so that no other worker is to have it.
    pub(super) fn is_at_home(&self, InFlight { connection, server }: &InFlight) -> bool {
        connection.session.is_some() && self.servers.get(server).is_some_and(|server| server.sticky.is_some())
    }

    /// Gives a connection to its worker, or has it wait for it. If too many wait, any worker may have it.
    pub(super) fn send_home(
        &mut self,
        context: &mut Context,
        id: ServerId,
        home: WorkerId,
        mut connection: Pending,
    ) {
        let max_waiting = self.config.max_waiting_for_their_own();
        let Some(server) = self.servers.get_mut(&id) else { return };
        let Some(sticky) = &mut server.sticky else { return self.enqueue(id, connection) };
        let is_first = !sticky.waiting.contains_key(&home);
        if is_first && self.workers.get(&home).is_some_and(Worker::has_room) {
            server.in_flight += 1;
            server.stats.count_decision(home);
            self.hand_to(context, home, InFlight { connection, server: id });
        } else if server.held < max_waiting {
            server.held += 1;
            sticky.waiting.entry(home).or_default().push_back(connection);
        } else {
            server.stats.counters.strayed.count();
            connection.session = None;
            self.enqueue(id, connection);
        }
    }

    /// Gives the connection at this place of a server's queue to the worker to which it belongs. Returns false if it belongs
    /// to none.
    pub(super) fn send_pending_home(&mut self, context: &mut Context, id: ServerId, place: usize) -> bool {
        let Some(server) = self.servers.get_mut(&id).filter(|server| server.sticky.is_some()) else {
            return false;
        };
        if server.pending.get(place).is_none_or(|connection| connection.session.is_none()) {
            return false;
        }
        let Some(connection) = server.pending.remove(place) else { return false };
        if let Some(home) = self.home_of(id, &connection) {
            self.send_home(context, id, home, connection);
            return true;
        }
        if let Some(server) = self.servers.get_mut(&id) {
            server.pending.insert(place, connection);
        }
        false
    }

    /// Gives workers what waits for them, as far as they have credit.
    pub(super) fn send_waiting_home(&mut self, context: &mut Context, id: ServerId) {
        while let Some(server) = self.servers.get_mut(&id)
            && let Some(sticky) = &mut server.sticky
            && let Some((home, connection)) =
                sticky.next(|worker| self.workers.get(&worker).is_some_and(Worker::has_room))
        {
            server.held -= 1;
            server.in_flight += 1;
            server.stats.count_decision(home);
            self.hand_to(context, home, InFlight { connection, server: id });
        }
    }

    /// A worker says that a session is its own.
    ///
    /// Errors: `ERR_CORRAL_BAD_FRAME` for what no worker says.
    pub(super) fn on_session(&mut self, worker: WorkerId, session: &[u8]) -> Result<(), Error> {
        if session.is_empty() || session.len() > MAX_SESSION_ID {
            return Err(Error::BadFrame("a session with an id of no length that one has".into()));
        }
        let (session, now) = (self.homes.maker.of_id(session), Instant::now());
        let is_known = self.homes.sessions.find(session, now) == Some(worker);
        let binding = self.homes.sessions.bind(worker, session, now);
        if !is_known && self.homes.told.contains(&session) {
            self.change_homes();
        }
        if let Some(worker) = self.workers.get(&worker) {
            let counters = &worker.stats.counters;
            match binding {
                Binding::Bound => counters.sessions.count(),
                Binding::InPlaceOfAnother => {
                    counters.sessions.count();
                    counters.sessions_forgotten.count();
                }
                Binding::IsAnothers => {}
            }
        }
        Ok(())
    }

    /// Clients may belong to other workers than before: what workers have been told of them counts no more.
    pub(super) fn change_homes(&mut self) {
        self.homes.told.clear();
        for worker in self.workers.values() {
            if let Some(kept) = worker.lane.as_ref().and_then(|lane| lane.kept.as_ref()) {
                kept.change_homes();
            }
        }
    }

    /// A worker is told that a client belongs to it.
    pub(super) fn note_told(&mut self, session: Session) {
        if self.homes.told.len() >= MAX_TOLD {
            self.change_homes();
        }
        self.homes.told.insert(session);
    }

    /// Whether a server has room for one more connection that was kept.
    pub(super) fn has_room_at(&self, id: ServerId) -> bool {
        self.servers.get(&id).is_some_and(|server| server.not_taken() < self.config.max_pending)
    }

    /// Whether one more connection may go to the worker to which it belongs, or wait for it.
    pub(super) fn may_wait_for(&self, id: ServerId, home: WorkerId) -> bool {
        let Some(server) = self.servers.get(&id) else { return false };
        let is_first = server.sticky.as_ref().is_some_and(|sticky| !sticky.waiting.contains_key(&home));
        let has_room = || self.workers.get(&home).is_some_and(Worker::has_room);
        server.held < self.config.max_waiting_for_their_own() || (is_first && has_room())
    }
}
