//! Connections that a worker keeps between requests. The primary holds a copy of each, and finds the requests that have
//! arrived there while the worker is busy with something else.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use super::config::{BLOCKED_AFTER, KEPT_TICK};
use super::{Context, Source};
use crate::address::Peer;
use crate::error::Error;
use crate::ids::{ServerId, WorkerId};
use crate::kept::{Decision, KeptTable};
use crate::os;
use crate::proto::{Generation, Keep, Slot};
use crate::reactor::{Interest, ReadySet, Registration};

/// How many connections one look sees at a worker, and perhaps a few more.
const NOTED_AT_ONCE: usize = 1024;

/// How many requests are listed at least before those are looked for that wait no more.
const LEAST_LISTED: usize = 64;

/// The kept connections of one worker.
#[derive(Debug)]
pub struct Kept {
    table: KeptTable,
    /// Their slots are its numbers.
    ready: ReadySet,
    /// Made while there are no connections, and kept: the kernel goes through all of them when an epoll instance joins
    /// another. It waits for requests while nobody looks.
    registration: Registration,
    connections: HashMap<Slot, KeptConnection>,
    /// Those on which a request has arrived that the worker had not begun to read, oldest first.
    waiting: VecDeque<Waiting>,
    /// Those found at a worker that seemed to wait for events, oldest first. They wait if they still rest a tick later.
    found: VecDeque<Waiting>,
    /// How often the worker's loop had turned at the last look.
    turns: u64,
    /// When it was last found running in this turn, and for how long it had had a processor by then.
    ran: Option<(Instant, Duration)>,
}

#[derive(Debug)]
struct KeptConnection {
    fd: OwnedFd,
    server: ServerId,
    generation: Generation,
    /// For how long its client may say nothing.
    timeout: Option<Duration>,
    is_waiting: bool,
    /// The worker has given it, and nothing is decided.
    is_given: bool,
}

/// A connection that was taken from the worker between two requests.
#[derive(Debug)]
pub struct Rested {
    /// The primary's copy.
    pub fd: OwnedFd,
    /// Its server.
    pub server: ServerId,
    /// For how long its client may say nothing.
    pub timeout: Option<Duration>,
}

/// A request that waits.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    /// Its slot.
    pub slot: Slot,
    generation: Generation,
    /// When it was found.
    pub since: Instant,
}

/// What a worker does at the moment of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// It seems to wait for events.
    Waiting,
    /// It has a processor or waits for one. Its process has had one for so long altogether.
    Running(Duration),
    /// It waits for something else, or nobody tells.
    Other,
}

/// What a look at a worker has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// It waits for events, or has no kept connections.
    Quiet,
    /// It does something.
    Busy,
}

impl Kept {
    /// Makes the memory of a worker's kept connections, and its descriptor.
    ///
    /// Errors: those of [`KeptTable::create`], [`ReadySet::new`] and [`Registration::new`].
    pub fn create(context: &mut Context, id: WorkerId) -> Result<(Kept, OwnedFd), Error> {
        let (table, file) = KeptTable::create().map_err(Error::sys("making shared memory"))?;
        let ready = ReadySet::new()?;
        let registration = Registration::new(context, ready.as_raw_fd(), Source::Kept(id))?;
        let kept = Kept {
            table,
            ready,
            registration,
            connections: HashMap::new(),
            waiting: VecDeque::new(),
            found: VecDeque::new(),
            turns: 0,
            ran: None,
        };
        Ok((kept, file))
    }

    /// How many are held.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Holds a copy of a connection.
    ///
    /// Errors: `ENOMEM`, `ENOSPC`.
    pub fn add(&mut self, keep: Keep, fd: OwnedFd, server: ServerId) -> Result<(), Error> {
        let Keep { slot, generation, timeout, .. } = keep;
        self.remove(slot);
        self.ready.add(fd.as_fd(), slot.0 as usize)?;
        let timeout = (timeout > 0).then(|| Duration::from_millis(timeout.into()));
        let connection =
            KeptConnection { fd, server, generation, timeout, is_waiting: false, is_given: false };
        self.connections.insert(slot, connection);
        Ok(())
    }

    /// Lets go of connections that the worker has closed.
    pub fn release(&mut self, slots: &[Slot]) {
        for slot in slots {
            self.remove(*slot);
        }
    }

    fn remove(&mut self, slot: Slot) -> Option<KeptConnection> {
        let connection = self.connections.remove(&slot)?;
        self.ready.remove(connection.fd.as_fd());
        Some(connection)
    }

    /// Whether a connection rests, so that it may be taken.
    fn rests(&self, slot: Slot, generation: Generation) -> bool {
        self.connections.get(&slot).is_some_and(|connection| connection.generation == generation)
            && self.table.is_resting(slot, generation)
    }

    /// Takes a connection that the worker has this generation of, if nobody reads it. None if the worker was quicker.
    fn take(&mut self, slot: Slot, generation: Generation) -> Option<Rested> {
        let is_known = self.connections.get(&slot).is_some_and(|known| known.generation == generation);
        if !(is_known && self.table.take(slot, generation)) {
            return None;
        }
        let KeptConnection { fd, server, timeout, .. } = self.remove(slot)?;
        Some(Rested { fd, server, timeout })
    }

    /// Takes all connections that rest, or that the worker has given.
    pub fn take_all(&mut self) -> Vec<Rested> {
        let names = self.connections.iter().map(|(slot, connection)| (*slot, connection.generation));
        let names: Vec<_> = names.collect();
        names.into_iter().filter_map(|(slot, generation)| self.take(slot, generation)).collect()
    }

    /// Takes the connection of a request that waits, which is forgotten. None if the worker was quicker, also if it has read
    /// the request and the connection rests again.
    pub fn take_waiting(&mut self, waiting: Waiting) -> Option<Rested> {
        self.forget_waiting();
        let connection = self.connections.get(&waiting.slot)?;
        if os::has_arrived(connection.fd.as_fd()) {
            self.take(waiting.slot, waiting.generation)
        } else {
            None
        }
    }

    /// The server of a connection.
    pub fn server(&self, slot: Slot) -> Option<ServerId> {
        self.connections.get(&slot).map(|connection| connection.server)
    }

    /// The connection of a slot.
    pub fn connection(&self, slot: Slot) -> Option<BorrowedFd<'_>> {
        self.connections.get(&slot).map(|connection| connection.fd.as_fd())
    }

    /// The client of a connection. None if it has gone.
    pub fn client(&self, slot: Slot) -> Option<Peer> {
        os::peer(self.connections.get(&slot)?.fd.as_fd()).ok()
    }

    /// The worker says that it has given a connection. Returns whether that is so and is new. Of one of which there is no copy here
    /// the worker learns that it is its own.
    pub fn note_given(&mut self, slot: Slot) -> bool {
        let Some(connection) = self.connections.get_mut(&slot) else {
            self.table.leave_alone(slot);
            return false;
        };
        self.table.is_given(slot, connection.generation) && !std::mem::replace(&mut connection.is_given, true)
    }

    /// The server of a connection that is given, which is to be decided about now. None if it is not given any more.
    pub fn given(&mut self, slot: Slot) -> Option<ServerId> {
        let connection = self.connections.get_mut(&slot)?;
        let was_given = std::mem::take(&mut connection.is_given);
        (was_given && self.table.is_given(slot, connection.generation)).then_some(connection.server)
    }

    /// Decides about a connection that is given. The worker is told by [`ToLane::Decided`](crate::proto::ToLane::Decided). Returns
    /// the connection, if it has moved.
    pub fn decide(&mut self, slot: Slot, decision: Decision) -> Option<Rested> {
        let generation = self.connections.get(&slot)?.generation;
        if !self.table.decide(slot, generation, decision) || decision != Decision::Moved {
            return None;
        }
        let KeptConnection { fd, server, timeout, .. } = self.remove(slot)?;
        Some(Rested { fd, server, timeout })
    }

    /// Clients may belong to other workers than before.
    pub fn change_homes(&self) {
        self.table.change_homes();
    }

    /// Whether there are requests that wait, as far as the last look has shown.
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The first request wakes the reactor, which hears of it as [`Source::Kept`].
    ///
    /// Errors: `ENOMEM`.
    pub fn wake_for_requests(&mut self, context: &mut Context) -> Result<(), Error> {
        self.registration.wait_for(context, self.ready.as_raw_fd(), Interest::Read)
    }

    /// Requests wake nobody any more.
    ///
    /// Errors: `ENOMEM`.
    pub fn wake_for_nothing(&mut self, context: &mut Context) -> Result<(), Error> {
        self.registration.wait_for(context, self.ready.as_raw_fd(), Interest::Nothing)
    }

    /// To be called before this is dropped.
    pub fn end(&mut self, context: &mut Context) {
        self.registration.end(context, self.ready.as_raw_fd());
    }

    /// The connection that waits longest. Those that the worker has begun to read are forgotten.
    pub fn next_waiting(&mut self) -> Option<Waiting> {
        while let Some(next) = self.waiting.front().copied() {
            if self.rests(next.slot, next.generation) {
                return Some(next);
            }
            self.forget_waiting();
        }
        None
    }

    /// The first of those that wait is not looked at again before something more arrives.
    pub fn forget_waiting(&mut self) {
        if let Some(Waiting { slot, generation, .. }) = self.waiting.pop_front()
            && let Some(connection) = self.connections.get_mut(&slot)
            && connection.generation == generation
        {
            connection.is_waiting = false;
        }
    }

    /// Notes the connections that have become readable and that the worker has not begun to read.
    fn note(&mut self) -> VecDeque<Waiting> {
        let since = Instant::now();
        let mut noted = VecDeque::new();
        let mut seen = 0;
        // What a worker does not let rest is none to note, however often something arrives there.
        while seen < NOTED_AT_ONCE {
            let before = seen;
            for number in self.ready.ready() {
                seen += 1;
                let Some((slot, connection)) = u32::try_from(number)
                    .ok()
                    .map(Slot)
                    .and_then(|slot| Some((slot, self.connections.get_mut(&slot)?)))
                else {
                    continue;
                };
                if !connection.is_waiting && self.table.is_resting(slot, connection.generation) {
                    connection.is_waiting = true;
                    noted.push_back(Waiting { slot, generation: connection.generation, since });
                }
            }
            if seen == before {
                break;
            }
        }
        noted
    }

    /// Forgets requests on connections that the worker has no more, or lets rest again, unless they are few. Of those that
    /// are left there are no more than connections.
    fn forget_outdated(&mut self) {
        let most = LEAST_LISTED.max(2 * self.connections.len());
        if self.waiting.len() + self.found.len() <= most {
            return;
        }
        let connections = &self.connections;
        let is_current = |listed: &Waiting| {
            connections.get(&listed.slot).is_some_and(|connection| connection.generation == listed.generation)
        };
        self.waiting.retain(is_current);
        self.found.retain(is_current);
    }

    /// Whether the worker is not with one request, but kept from its processor by others: it reads the next one when it has one
    /// again. Another worker would need a processor, too, and a move costs more of it than a short request. What it did since
    /// the last look tells, so that it may be the next look that does.
    fn lacks_processor(&mut self, doing: Doing) -> bool {
        let Doing::Running(had) = doing else {
            self.ran = None;
            return false;
        };
        let now = Instant::now();
        match self.ran.replace((now, had)) {
            Some((at, before)) => 2 * had.saturating_sub(before) < now.saturating_duration_since(at),
            None => true,
        }
    }

    /// Looks at a worker whose loop has turned so often. `doing` costs system calls: it is not asked of a worker that turns and
    /// serves short requests.
    pub fn look(&mut self, turns: u64, doing: impl FnOnce() -> Doing) -> Activity {
        if self.connections.is_empty() {
            return Activity::Quiet;
        }
        self.forget_outdated();
        let has_turned = std::mem::replace(&mut self.turns, turns) != turns;
        if has_turned {
            self.ran = None;
        }
        let busy_for = os::monotonic_micros().saturating_sub(self.table.begun_at());
        let busy_for = Duration::from_micros(busy_for);
        if has_turned && busy_for < BLOCKED_AFTER / 2 {
            return Activity::Busy;
        }
        let doing = doing();
        if doing != Doing::Waiting {
            let lacks_processor = self.lacks_processor(doing);
            if busy_for >= BLOCKED_AFTER && !lacks_processor {
                self.waiting.append(&mut self.found);
                let mut noted = self.note();
                self.waiting.append(&mut noted);
            }
            return Activity::Busy;
        }
        // What still rests a tick later is read by nobody: a stopped process seems to wait for events, too.
        while self.found.front().is_some_and(|found| found.since.elapsed() >= KEPT_TICK) {
            self.waiting.extend(self.found.pop_front());
        }
        let mut noted = self.note();
        self.found.append(&mut noted);
        if self.found.is_empty() && self.waiting.is_empty() { Activity::Quiet } else { Activity::Busy }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use mio::Poll;

    use super::*;
    use crate::proto::ConnectionKind;

    #[test]
    fn requests_on_connections_that_were_kept_again_and_again_stayed_listed() {
        let poll = Poll::new().unwrap();
        let mut context = Context::new(poll.registry().try_clone().unwrap());
        let (mut kept, file) = Kept::create(&mut context, WorkerId(1)).unwrap();
        let worker = KeptTable::map(file.as_fd()).unwrap();
        let (mut client, connection) = UnixStream::pair().unwrap();
        client.write_all(b"a request").unwrap();
        for generation in (1..=2000).map(Generation) {
            // The first waits for an idle worker all the time, and there is none.
            let slot = Slot(u32::from(generation.0 > 1));
            worker.begin(slot, generation);
            worker.rest(slot, generation);
            let keep = Keep { slot, generation, timeout: 0, kind: ConnectionKind::Pipe, key: String::new() };
            kept.add(keep, connection.try_clone().unwrap().into(), ServerId(0)).unwrap();
            kept.look(generation.0, || Doing::Waiting);
            assert_eq!(kept.len(), 1 + slot.0 as usize);
        }
        let listed = kept.waiting.len() + kept.found.len();
        assert!(listed > 1 && listed <= LEAST_LISTED + 1, "{listed}");
        assert!(kept.rests(Slot(0), Generation(1)));
        kept.end(&mut context);
    }

    #[test]
    fn a_request_waits_for_a_worker_that_lacks_a_processor_and_for_none_that_has_it() {
        let poll = Poll::new().unwrap();
        let mut context = Context::new(poll.registry().try_clone().unwrap());
        let (mut kept, file) = Kept::create(&mut context, WorkerId(1)).unwrap();
        let worker = KeptTable::map(file.as_fd()).unwrap();
        let (mut client, connection) = UnixStream::pair().unwrap();
        client.write_all(b"a request").unwrap();
        let (slot, generation) = (Slot(0), Generation(1));
        worker.begin(slot, generation);
        worker.rest(slot, generation);
        let keep = Keep { slot, generation, timeout: 0, kind: ConnectionKind::Pipe, key: String::new() };
        kept.add(keep, connection.try_clone().unwrap().into(), ServerId(0)).unwrap();
        // It has not begun anything for longer than this machine is up, and does not turn.
        let had = Duration::from_secs(1);
        for _ in 0..3 {
            assert_eq!(kept.look(1, || Doing::Running(had)), Activity::Busy);
            assert!(!kept.has_waiting());
        }
        let had = Duration::from_secs(3600);
        // It has turned meanwhile: what it had before says nothing.
        kept.look(2, || Doing::Running(had));
        assert!(!kept.has_waiting());
        kept.look(2, || Doing::Running(2 * had));
        assert!(kept.has_waiting());
        kept.end(&mut context);
    }
}
