//! Sockets between workers. A worker that asks for another one gets a socket to it, and the other one gets
//! the other end. From then on neither the primary's JavaScript nor its reactor is involved.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use super::config::PEER_PAUSE;
use super::worker::Worker;
use super::{Context, Event, Primary, Timer};
use crate::channel::{Frame, HandleOrigin};
use crate::error::Error;
use crate::ids::WorkerId;
use crate::os::{self, SocketPair};
use crate::proto::{self, ALL_PEERS, Serialization};
use crate::reactor::EventSink;

/// How many bytes each of two workers may have written that the other has not read. The system may allow
/// less.
const PEER_BUFFER: usize = 1 << 20;

/// Why a worker cannot be connected to.
const GONE: &str = "there is no such worker";
const NOT_MOVED: &str = "this worker's channel is on the socket that Node has";
const PLAIN: &str = "the worker has not loaded corral, or has no lane";

/// The sockets to one worker that another has been given.
#[derive(Clone, Copy, Debug, Default)]
pub struct PeerSockets {
    /// How many, except those that were lost on the way.
    given: u32,
    /// The last one has not arrived.
    is_under_way: bool,
    /// When the last one was made.
    last: Option<Instant>,
    /// The worker has asked for another socket after it had received this many, and has to wait.
    wants_after: Option<u32>,
}

/// Whether a worker can be given a socket to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    /// It can.
    Here,
    /// It may still load corral.
    Expected,
    /// It never will.
    Absent(&'static str),
}

impl Presence {
    fn of(worker: Option<&Worker>) -> Self {
        let Some(worker) = worker.filter(|worker| worker.driver.is_open()) else {
            return Presence::Absent(GONE);
        };
        if worker.channel().accepts_attachments() {
            Presence::Here
        } else if worker.lane.as_ref().is_some_and(|lane| lane.is_unannounced()) {
            Presence::Expected
        } else {
            Presence::Absent(PLAIN)
        }
    }
}

impl<S: EventSink<Event>> Primary<S> {
    /// A worker wants a connection to another one, or to all.
    ///
    /// Errors: the frame is malformed, or claims what cannot be.
    pub(super) fn on_connect(
        &mut self,
        context: &mut Context,
        id: WorkerId,
        bytes: &[u8],
    ) -> Result<(), Error> {
        if self.workers.get(&id).is_some_and(|worker| !worker.channel().accepts_attachments()) {
            // It has announced on its lane, before this, that its channel may move.
            self.collect(context, id);
        }
        let Some(worker) = self.workers.get_mut(&id) else { return Ok(()) };
        let has_moved = worker.channel().accepts_attachments();
        match proto::parse_connect(worker.channel().serialization(), bytes).map_err(Error::BadFrame)? {
            // Node's own reader would not understand a socket to another worker.
            (other, _) if !has_moved => self.refuse_peer(context, id, WorkerId(other), NOT_MOVED),
            (ALL_PEERS, _) => {
                worker.wants_all = true;
                let mut others: Vec<WorkerId> =
                    self.workers.keys().copied().filter(|other| *other != id).collect();
                others.sort_unstable();
                for other in others {
                    if Presence::of(self.workers.get(&other)) == Presence::Here {
                        self.connect_peers(context, id, other, 0);
                    }
                }
                self.answer_worker(context, id, proto::roster_frame);
            }
            (other, after) if after > self.given(id, WorkerId(other)) => {
                let fault = "a worker that has got more sockets to another than it was given";
                return Err(Error::BadFrame(fault.into()));
            }
            (other, after) => self.connect(context, id, WorkerId(other), after),
        }
        Ok(())
    }

    /// How many sockets to another worker a worker has been given. If the other one has gone, it may have
    /// been any number.
    fn given(&self, id: WorkerId, other: WorkerId) -> u32 {
        match self.peer_sockets.get(&(id, other)) {
            Some(sockets) => sockets.given,
            None if self.workers.contains_key(&other) => 0,
            None => u32::MAX,
        }
    }

    fn connect(&mut self, context: &mut Context, id: WorkerId, other: WorkerId, after: u32) {
        let presence =
            if id == other { Presence::Absent(GONE) } else { Presence::of(self.workers.get(&other)) };
        match presence {
            Presence::Here => self.connect_peers(context, id, other, after),
            Presence::Expected => {
                if let Some(other) = self.workers.get_mut(&other) {
                    other.waiters.insert(id);
                }
            }
            Presence::Absent(reason) => self.refuse_peer(context, id, other, reason),
        }
    }

    /// A worker's channel has moved: the workers that wait for it get a socket to it.
    pub(super) fn notify_waiters(&mut self, context: &mut Context, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let mut wanting: Vec<WorkerId> = std::mem::take(&mut worker.waiters).into_iter().collect();
        wanting.extend(self.workers.iter().filter(|(_, worker)| worker.wants_all).map(|(other, _)| *other));
        wanting.sort_unstable();
        wanting.dedup();
        for other in wanting.into_iter().filter(|other| *other != id) {
            self.connect_peers(context, other, id, 0);
        }
    }

    /// A worker has gone: the requests of those that wait for it are refused.
    pub(super) fn reject_waiters(
        &mut self,
        context: &mut Context,
        id: WorkerId,
        wanting: BTreeSet<WorkerId>,
    ) {
        self.peer_sockets.retain(|(one, other), _| *one != id && *other != id);
        for other in wanting {
            self.refuse_peer(context, other, id, GONE);
        }
    }

    /// As [`Primary::reject_waiters`], for a worker that is there and cannot be connected to.
    pub(super) fn reject_waiters_for_plain(&mut self, context: &mut Context, id: WorkerId) {
        let wanting = self.workers.get_mut(&id).map(|worker| std::mem::take(&mut worker.waiters));
        for other in wanting.unwrap_or_default() {
            self.refuse_peer(context, other, id, PLAIN);
        }
    }

    fn refuse_peer(&mut self, context: &mut Context, id: WorkerId, other: WorkerId, reason: &str) {
        self.answer_worker(context, id, |serialization| proto::no_peer_frame(serialization, other.0, reason));
    }

    /// Gives two workers a socket to each other, unless the first has been given more than `after` sockets
    /// that were not lost: then one is about to arrive there. The next one has to wait until the last one has
    /// arrived at both, and for [`PEER_PAUSE`]. This limits what a worker that asks repeatedly makes the
    /// other one do.
    fn connect_peers(&mut self, context: &mut Context, one: WorkerId, other: WorkerId, after: u32) {
        let of = |id| self.workers.get(&id).map(|worker| worker.channel().serialization());
        let (Some(first), Some(second)) = (of(one), of(other)) else { return };
        let is_under_way = self.is_under_way(one, other) || self.is_under_way(other, one);
        let sockets = self.peer_sockets.entry((one, other)).or_default();
        if sockets.given > after {
            return;
        }
        let rests = sockets.last.is_some_and(|last| last.elapsed() < PEER_PAUSE);
        if is_under_way || rests {
            let is_first = sockets.wants_after.replace(after).is_none();
            // Otherwise its arrival connects them.
            if !is_under_way && is_first {
                context.set_timer(PEER_PAUSE, Timer::ConnectPeers(one, other));
            }
            return;
        }
        let ends = os::socket_pair().and_then(|SocketPair { ours, theirs }| {
            os::set_nonblocking(theirs.as_fd())?;
            Ok([ours, theirs])
        });
        let [ours, theirs] = match ends {
            Ok(ends) => ends,
            Err(errno) => return self.refuse_peer(context, one, other, errno.desc()),
        };
        let max_frame = self.config.max_frame;
        let between = if first == second { first } else { Serialization::Json };
        for (id, peer, socket) in [(one, other, ours), (other, one, theirs)] {
            let sockets = self.peer_sockets.entry((id, peer)).or_default();
            sockets.given += 1;
            sockets.is_under_way = true;
            sockets.last = Some(Instant::now());
            os::set_send_buffer(socket.as_fd(), PEER_BUFFER);
            let Some(worker) = self.workers.get(&id) else { continue };
            match proto::peer_frame(worker.channel().serialization(), peer.0, between, max_frame) {
                Ok(bytes) => {
                    let frame = Frame::with_handle(bytes, Arc::new(socket), HandleOrigin::Peer(peer));
                    self.send_frame(context, id, frame);
                }
                Err(reason) => self.sink.push(Event::Fault(Error::BadFrame(reason))),
            }
        }
    }

    fn is_under_way(&self, id: WorkerId, other: WorkerId) -> bool {
        self.peer_sockets.get(&(id, other)).is_some_and(|sockets| sockets.is_under_way)
    }

    /// A worker has received its socket to another.
    pub(super) fn on_peer_arrived(&mut self, context: &mut Context, id: WorkerId, other: WorkerId) {
        // None when the other has gone meanwhile.
        if let Some(sockets) = self.peer_sockets.get_mut(&(id, other)) {
            sockets.is_under_way = false;
        }
        for (one, other) in [(id, other), (other, id)] {
            self.connect_waiting_peers(context, one, other);
        }
    }

    /// A worker that had to wait for a socket may get it now.
    pub(super) fn connect_waiting_peers(&mut self, context: &mut Context, one: WorkerId, other: WorkerId) {
        if let Some(sockets) = self.peer_sockets.get_mut(&(one, other))
            && let Some(after) = sockets.wants_after.take()
        {
            self.connect_peers(context, one, other, after);
        }
    }

    /// A worker had no room for its socket to another. The other one sees the end of its own socket, unless
    /// it had no room either. Both may try again.
    pub(super) fn on_peer_lost(&mut self, context: &mut Context, id: WorkerId, other: WorkerId) {
        if let Some(sockets) = self.peer_sockets.get_mut(&(id, other)) {
            sockets.given = sockets.given.saturating_sub(1);
            // The worker learns that there is no socket, and may ask again.
            sockets.wants_after = None;
        }
        self.refuse_peer(context, id, other, "this process has no file descriptors left");
        self.on_peer_arrived(context, id, other);
    }

    fn answer_worker(
        &mut self,
        context: &mut Context,
        id: WorkerId,
        frame: impl FnOnce(Serialization) -> Result<Vec<u8>, String>,
    ) {
        let Some(worker) = self.workers.get(&id) else { return };
        match frame(worker.channel().serialization()) {
            Ok(bytes) => self.answer_frame(context, id, Frame::plain(bytes)),
            Err(reason) => self.sink.push(Event::Fault(Error::BadFrame(reason))),
        }
    }
}
