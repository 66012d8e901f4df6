//! Workers that talk to each other: who wants to is given a socket to the other, and so is the other. From then on they need
//! nobody in between: neither the primary's JavaScript nor the reactor.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::sync::Arc;

use super::worker::{Phase, Worker};
use super::{Event, Primary};
use crate::channel::{Frame, HandleOrigin};
use crate::error::Error;
use crate::ids::WorkerId;
use crate::os::{self, SocketPair};
use crate::proto::{self, Serialization};
use crate::reactor::{Context, EventSink};

/// How many bytes each of two workers may have written that the other has not read; the system may allow less.
const PEER_BUFFER: usize = 1 << 20;

/// Why a worker cannot be talked to.
const GONE: &str = "there is no such worker";
const NOT_MOVED: &str = "this worker's channel is on the socket that Node has";
const PLAIN: &str = "the worker has not loaded corral, or has no lane";

/// Whether a worker can be given a socket to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    /// It can.
    Here,
    /// It may load corral yet.
    Expected,
    /// It never will.
    Absent(&'static str),
}

impl Presence {
    fn of(worker: Option<&Worker>) -> Self {
        let Some(worker) = worker.filter(|worker| matches!(worker.phase, Phase::Serving | Phase::Leaving))
        else {
            return Presence::Absent(GONE);
        };
        if worker.channel.takes_pieces() {
            Presence::Here
        } else if worker.lane.as_ref().is_some_and(|lane| lane.is_unheard_of()) {
            Presence::Expected
        } else {
            Presence::Absent(PLAIN)
        }
    }
}

impl<S: EventSink<Event>> Primary<S> {
    /// A worker wants to talk to another one, or to all.
    pub(super) fn on_connect(&mut self, context: &mut Context, id: WorkerId, bytes: &[u8]) {
        if self.workers.get(&id).is_some_and(|worker| !worker.channel.takes_pieces()) {
            // It has said on its lane, before this, that its channel may move.
            self.collect(context, id);
        }
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let has_moved = worker.channel.takes_pieces();
        match proto::parse_connect(worker.channel.serialization(), bytes) {
            // Node's own reader would not know what to make of a socket to another worker.
            Ok((other, _)) if !has_moved => self.refuse_peer(context, id, WorkerId(other), NOT_MOVED),
            Ok((0, _)) => {
                worker.wants_all = true;
                let mut others: Vec<WorkerId> =
                    self.workers.keys().copied().filter(|other| *other != id).collect();
                others.sort_unstable();
                for other in others {
                    if Presence::of(self.workers.get(&other)) == Presence::Here {
                        self.acquaint(context, id, other, 0);
                    }
                }
                self.tell_worker(context, id, proto::roster_frame);
            }
            Ok((other, after)) => self.connect(context, id, WorkerId(other), after),
            // What follows is not believed.
            Err(reason) => self.malformed = Some(Error::BadFrame(reason)),
        }
    }

    fn connect(&mut self, context: &mut Context, id: WorkerId, other: WorkerId, after: u32) {
        let presence =
            if id == other { Presence::Absent(GONE) } else { Presence::of(self.workers.get(&other)) };
        match presence {
            Presence::Here => self.acquaint(context, id, other, after),
            Presence::Expected => {
                if let Some(other) = self.workers.get_mut(&other) {
                    other.wanted_by.insert(id);
                }
            }
            Presence::Absent(reason) => self.refuse_peer(context, id, other, reason),
        }
    }

    /// A worker's channel has moved: whoever waits for it is given a socket to it.
    pub(super) fn introduce(&mut self, context: &mut Context, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let mut wanting: Vec<WorkerId> = std::mem::take(&mut worker.wanted_by).into_iter().collect();
        wanting.extend(self.workers.iter().filter(|(_, worker)| worker.wants_all).map(|(other, _)| *other));
        wanting.sort_unstable();
        wanting.dedup();
        for other in wanting.into_iter().filter(|other| *other != id) {
            self.acquaint(context, other, id, 0);
        }
    }

    /// A worker has gone: those that wait for it wait in vain.
    pub(super) fn disappoint(&mut self, context: &mut Context, id: WorkerId, wanting: BTreeSet<WorkerId>) {
        self.acquainted.retain(|(one, other), _| *one != id && *other != id);
        for other in wanting {
            self.refuse_peer(context, other, id, GONE);
        }
    }

    /// As `disappoint`, for a worker that is there and cannot be talked to.
    pub(super) fn disappoint_plainly(&mut self, context: &mut Context, id: WorkerId) {
        let wanting = self.workers.get_mut(&id).map(|worker| std::mem::take(&mut worker.wanted_by));
        for other in wanting.unwrap_or_default() {
            self.refuse_peer(context, other, id, PLAIN);
        }
    }

    fn refuse_peer(&mut self, context: &mut Context, id: WorkerId, other: WorkerId, reason: &str) {
        self.tell_worker(context, id, |serialization| proto::no_peer_frame(serialization, other.0, reason));
    }

    /// Gives two workers a socket to each other, unless more than `after` of them have been given to the first and not been
    /// lost on the way: then one is about to arrive there.
    fn acquaint(&mut self, context: &mut Context, one: WorkerId, other: WorkerId, after: u32) {
        let of = |id| self.workers.get(&id).map(|worker| worker.channel.serialization());
        let (Some(first), Some(second)) = (of(one), of(other)) else { return };
        if self.acquainted.get(&(one, other)).is_some_and(|given| *given > after) {
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
        let between = if first == second { first } else { Serialization::Json };
        for (id, peer, socket) in [(one, other, ours), (other, one, theirs)] {
            *self.acquainted.entry((id, peer)).or_default() += 1;
            os::set_send_buffer(socket.as_fd(), PEER_BUFFER);
            let Some(worker) = self.workers.get(&id) else { continue };
            match proto::peer_frame(worker.channel.serialization(), peer.0, between) {
                Ok(bytes) => {
                    let frame = Frame::with_handle(bytes, Arc::new(socket), HandleOrigin::Peer(peer));
                    self.send_frame(context, id, frame);
                }
                Err(reason) => self.sink.push(Event::Fault(Error::BadFrame(reason))),
            }
        }
    }

    /// A worker had no room for its socket to another: the other one sees its end, unless it had no room for its own either,
    /// and both may try again.
    pub(super) fn on_peer_lost(&mut self, context: &mut Context, id: WorkerId, other: WorkerId) {
        // None when the other has gone meanwhile.
        if let Some(given) = self.acquainted.get_mut(&(id, other)) {
            *given = given.saturating_sub(1);
        }
        self.refuse_peer(context, id, other, "this process has no file descriptors left");
    }

    fn tell_worker(
        &mut self,
        context: &mut Context,
        id: WorkerId,
        frame: impl FnOnce(Serialization) -> Result<Vec<u8>, String>,
    ) {
        let Some(worker) = self.workers.get(&id) else { return };
        match frame(worker.channel.serialization()) {
            Ok(bytes) => self.answer_frame(context, id, Frame::plain(bytes)),
            Err(reason) => self.sink.push(Event::Fault(Error::BadFrame(reason))),
        }
    }
}
