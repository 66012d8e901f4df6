//! The lane that workers share. While no worker is idle, connections wait there for the first one that returns to its
//! event loop, which takes one in each turn without asking anybody. The primary holds the receiving end as well.

use std::collections::{BTreeSet, VecDeque};
use std::os::fd::AsFd;
use std::time::Instant;

use nix::errno::Errno;

use crate::error::Error;
use crate::ids::{ServerId, WorkerId};
use crate::os::{self, SocketPair};
use crate::primary::config::{HELD_PATIENCE, RECALL_FOR_IDLE, SHARED_WINDOW};
use crate::primary::connection::{Decision, InFlight};
use crate::primary::server::Server;
use crate::primary::worker::Worker;
use crate::primary::{Context, Event, Primary};
use crate::proto::{LaneSeq, MAX_LANE_MESSAGE, ToLane};
use crate::pulse::SharedClaim;
use crate::reactor::EventSink;

/// The lane that workers share, and what was sent on it.
#[derive(Debug, Default)]
pub struct SharedLane {
    /// Made with the first worker's pulse, and anew without those who read it no more.
    ends: Option<SocketPair>,
    /// Who has been sent the receiving end.
    readers: BTreeSet<WorkerId>,
    last_seq: LaneSeq,
    /// Everything up to here has left the socket.
    gone_through: LaneSeq,
    /// What was sent and nobody has claimed.
    unclaimed: VecDeque<(LaneSeq, InFlight)>,
    /// When something was claimed last, or sent while nothing waited.
    moved_at: Option<Instant>,
    /// Since when there is something that has left the socket and that nobody claims.
    held_since: Option<Instant>,
    /// A reader has broken the socket for all. It is used no more.
    is_broken: bool,
    outgoing: Vec<u8>,
}

impl SharedLane {
    /// Makes it, if there is none. Without descriptors that is tried again when a connection is to wait there.
    pub fn open(&mut self) {
        if self.ends.is_none() {
            self.ends = os::packet_pair().ok();
        }
    }

    /// Whether a connection on it may be waiting for a reader.
    pub fn has_waiting(&self) -> bool {
        self.last_seq > self.gone_through
    }

    /// Whether another connection may be sent.
    pub fn has_room(&self) -> bool {
        self.unclaimed.len() < SHARED_WINDOW
    }

    /// Sends a connection. If the kernel does not take it, it is returned.
    fn send(&mut self, message: &ToLane<'_>, in_flight: InFlight) -> Result<(), (Errno, Box<InFlight>)> {
        message.encode(&mut self.outgoing);
        let fd = in_flight.connection.fd.as_fd();
        let Some(ends) = &self.ends else { return Err((Errno::EPIPE, Box::new(in_flight))) };
        if let Err(errno) = os::send_packet(ends.ours.as_fd(), &self.outgoing, Some(fd)) {
            return Err((errno, Box::new(in_flight)));
        }
        if !self.has_waiting() {
            self.moved_at = Some(Instant::now());
        }
        self.last_seq = self.next_seq();
        self.unclaimed.push_back((self.last_seq, in_flight));
        Ok(())
    }

    fn next_seq(&self) -> LaneSeq {
        LaneSeq(self.last_seq.0 + 1)
    }

    /// A reader says that it has received this. None if that was known, or cannot be.
    fn claim(&mut self, seq: LaneSeq) -> Option<InFlight> {
        let place = self.unclaimed.binary_search_by_key(&seq, |(seq, _)| *seq).ok()?;
        self.gone_through = self.gone_through.max(seq);
        self.moved_at = Some(Instant::now());
        self.unclaimed.remove(place).map(|(_, in_flight)| in_flight)
    }

    /// Takes back what nobody has received, oldest first. After an error of `recvmsg(2)` there may be more, which is lost.
    fn recall(&mut self) -> Vec<(LaneSeq, InFlight)> {
        let mut buffer = [0; MAX_LANE_MESSAGE];
        let mut recalled = Vec::new();
        self.gone_through = self.last_seq;
        let Some(ends) = &self.ends else { return recalled };
        while let Ok(packet) = os::receive_packet_bytes(ends.theirs.as_fd(), &mut buffer)
            && packet.length > 0
        {
            if let Ok(ToLane::Connection { seq, .. }) = ToLane::decode(&buffer[..packet.length])
                && let Ok(place) = self.unclaimed.binary_search_by_key(&seq, |(seq, _)| *seq)
            {
                recalled.extend(self.unclaimed.remove(place));
            }
        }
        recalled
    }

    /// A worker has not received the receiving end that it was sent.
    pub fn forget(&mut self, id: WorkerId) {
        self.readers.remove(&id);
    }

    /// Whether something has left the socket that nobody has claimed.
    fn has_held(&self) -> bool {
        self.unclaimed.front().is_some_and(|(seq, _)| *seq <= self.gone_through)
    }
}

impl<S: EventSink<Event>> Primary<S> {
    /// Whether connections of a server may wait on the shared lane: its workers are the very ones that read it, or can.
    pub(in crate::primary) fn shares(&self, id: ServerId) -> bool {
        let Some(server) = self.servers.get(&id) else { return false };
        if self.shared.is_broken || !server.policy.takes_first_come() {
            return false;
        }
        let is_reader = |id: &WorkerId| self.shared.readers.contains(id);
        if self.takers(server).filter(is_reader).count() < self.shared.readers.len() {
            return false;
        }
        let takers = self.takers(server).count();
        if self.shared.readers.len() == takers {
            return takers > 0;
        }
        let has_pulse = |id: &WorkerId| {
            let lane = self.workers.get(id).and_then(Worker::used_lane);
            lane.is_some_and(super::Lane::has_pulse)
        };
        self.takers(server).all(|id| has_pulse(&id))
    }

    /// The workers of a server that are to get connections.
    fn takers<'a>(&'a self, server: &'a Server) -> impl Iterator<Item = WorkerId> + 'a {
        let is_wanted = |id: &WorkerId| self.workers.get(id).is_some_and(Worker::is_wanted);
        server.members().iter().copied().filter(is_wanted)
    }

    /// Has all workers of a server that [shares](Primary::shares) read the shared lane. Returns whether they do.
    pub(in crate::primary) fn share_with_all(&mut self, id: ServerId) -> bool {
        let Some(server) = self.servers.get(&id) else { return false };
        if self.shared.readers.len() == self.takers(server).count() {
            return true;
        }
        let joining: Vec<_> = self.takers(server).filter(|id| !self.shared.readers.contains(id)).collect();
        // They may not be workers of the servers whose connections wait there.
        self.recall_shared();
        joining.into_iter().all(|id| self.offer_shared(id))
    }

    /// Sends a worker the receiving end. Returns whether that was possible.
    fn offer_shared(&mut self, id: WorkerId) -> bool {
        self.shared.open();
        let Some(ends) = &self.shared.ends else { return false };
        let Some(lane) = self.workers.get_mut(&id).and_then(|worker| worker.lane.as_mut()) else {
            return false;
        };
        ToLane::Shared.encode(&mut lane.outgoing);
        let is_sent =
            os::send_packet(lane.ends.ours.as_fd(), &lane.outgoing, Some(ends.theirs.as_fd())).is_ok();
        if is_sent {
            self.shared.readers.insert(id);
        }
        is_sent
    }

    /// Sends a connection on the shared lane. Returns whether it waits there now; otherwise it is first again in its server's
    /// queue.
    pub(in crate::primary) fn hand_over_shared(
        &mut self,
        context: &mut Context,
        in_flight: InFlight,
    ) -> bool {
        let Some(server) = self.servers.get_mut(&in_flight.server) else { return false };
        let kind = in_flight.connection.kind();
        let accepted_at = in_flight.connection.accepted_at.unwrap_or(0);
        let seq = self.shared.next_seq();
        let message = ToLane::Connection { seq, kind, accepted_at, key: &server.key };
        let is_sent = match self.shared.send(&message, in_flight) {
            Ok(()) => {
                if let Some((_, in_flight)) = self.shared.unclaimed.back_mut() {
                    server.stats.count_hand_over(&mut in_flight.connection);
                }
                server.on_shared_lane += 1;
                true
            }
            Err((Errno::EAGAIN | Errno::ETOOMANYREFS | Errno::ENOBUFS | Errno::ENOMEM, in_flight)) => {
                let id = in_flight.server;
                self.give_back(*in_flight);
                // At the next look there may be room, and not before.
                self.to_serve.remove(&id);
                self.awaiting_idle.insert(id);
                false
            }
            Err((_, in_flight)) => {
                self.give_back(*in_flight);
                self.renew_shared();
                self.shared.is_broken = true;
                false
            }
        };
        self.look_later(context);
        is_sent
    }

    /// There is no room on the shared lane: a reader that claims half of what waits there wakes the primary.
    pub(in crate::primary) fn await_claims(&mut self, context: &mut Context, id: ServerId) {
        let waiting = self.shared.last_seq.0 - self.shared.gone_through.0;
        let half = LaneSeq(self.shared.last_seq.0 - waiting / 2);
        for reader in &self.shared.readers {
            let lane = self.workers.get_mut(reader).and_then(|worker| worker.lane.as_mut());
            if let Some(pulse) = lane.and_then(|lane| lane.pulse.as_mut()) {
                pulse.wake_at_claim(half);
            }
        }
        self.awaiting_idle.insert(id);
        self.look_later(context);
    }

    /// Books what workers have claimed.
    pub(in crate::primary) fn settle_shared(&mut self, context: &mut Context) {
        if self.shared.unclaimed.is_empty() {
            return;
        }
        let mut claims = Vec::new();
        let mut liars = Vec::new();
        for (id, worker) in &mut self.workers {
            let Some(pulse) = worker.lane.as_mut().and_then(|lane| lane.pulse.as_mut()) else { continue };
            match pulse.take_claims() {
                Ok(new) => claims.extend(new.into_iter().map(|claim| (claim.seq, *id, claim))),
                Err(error) => liars.push((*id, error)),
            }
        }
        // In the order in which they were received, and not in that of a hash.
        claims.sort_unstable_by_key(|(seq, ..)| *seq);
        for (_, id, claim) in claims {
            if self.on_claim(id, claim).is_err() {
                liars.push((id, Error::BadFrame("a refusal of what was not received".into())));
            }
        }
        for (id, error) in liars {
            self.close_worker(context, id, Some(error));
        }
    }

    /// A worker has received a connection from the shared lane. Fails if it cannot have.
    pub(super) fn on_claim(&mut self, id: WorkerId, claim: SharedClaim) -> Result<(), ()> {
        if claim.is_refused {
            // Another worker is to have it. So nobody may receive it later: it must not be there any more.
            let recalled = self.shared.recall();
            let is_lie = recalled.iter().any(|(seq, _)| *seq == claim.seq);
            self.return_shared(recalled);
            if is_lie {
                return Err(());
            }
        }
        // One that comes late, when nobody waits for it any more, changes nothing.
        let Some(in_flight) = self.shared.claim(claim.seq) else { return Ok(()) };
        if let Some(worker) = self.workers.get(&id) {
            worker.stats.counters.in_flight.raise();
        }
        if let Some(server) = self.servers.get_mut(&in_flight.server) {
            server.on_shared_lane -= 1;
            server.policy.came_first(id);
            server.stats.count_decision(id);
        }
        let decision = if claim.is_refused { Decision::Refused } else { Decision::Taken };
        self.decided(id, in_flight, decision);
        Ok(())
    }

    /// Takes back what waits on the shared lane. It is first again in the queues of its servers.
    pub(in crate::primary) fn recall_shared(&mut self) {
        let recalled = self.shared.recall();
        self.return_shared(recalled);
    }

    fn return_shared(&mut self, recalled: Vec<(LaneSeq, InFlight)>) {
        for (_, in_flight) in recalled.into_iter().rev() {
            if let Some(server) = self.servers.get_mut(&in_flight.server) {
                server.on_shared_lane -= 1;
            }
            self.give_back(in_flight);
        }
    }

    /// A worker reads the shared lane no more, or should not: the others get a new one.
    pub(in crate::primary) fn leave_shared(&mut self, context: &mut Context, id: WorkerId) {
        if self.shared.readers.contains(&id) {
            self.renew_shared();
            // What it has received, and will not claim.
            self.look_later(context);
        }
    }

    fn renew_shared(&mut self) {
        self.recall_shared();
        self.shared.ends = None;
        self.shared.open();
        self.shared.readers.clear();
    }

    /// Part of the look at the lanes: what has been claimed, what nobody will claim any more, and what nobody takes although a
    /// reader waits for something to do.
    pub(super) fn look_at_shared(&mut self, context: &mut Context) {
        self.settle_shared(context);
        if self.shared.has_held() {
            self.release_held();
        } else {
            self.shared.held_since = None;
        }
        let is_stuck = self.shared.has_waiting()
            && self.shared.moved_at.is_none_or(|at| at.elapsed() >= RECALL_FOR_IDLE)
            && self.shared.readers.iter().any(|id| self.workers.get(id).is_some_and(Worker::is_waiting));
        if is_stuck {
            self.recall_shared();
        }
        if !self.shared.unclaimed.is_empty() {
            self.look_later(context);
        }
    }

    /// Somebody has received a connection and not claimed it. If no worker is about to, its receiver has died before it could write
    /// which one it had: it had not begun with it, and another worker has it. Otherwise, after a while, nobody may have it but whoever
    /// does.
    fn release_held(&mut self) {
        let since = *self.shared.held_since.get_or_insert_with(Instant::now);
        // After the claims: whoever has received it before somebody claimed a later one has begun to by now.
        let is_being_claimed = self.workers.values().any(|worker| {
            let pulse = worker.lane.as_ref().and_then(|lane| lane.pulse.as_ref());
            pulse.is_some_and(super::WorkerPulse::is_claiming)
        });
        if is_being_claimed && since.elapsed() < HELD_PATIENCE {
            return;
        }
        let gone_through = self.shared.gone_through;
        // Somebody may have claimed what he has not received, for others to be taken for lost.
        self.recall_shared();
        let held = self.shared.unclaimed.partition_point(|(seq, _)| *seq <= gone_through);
        let held: Vec<_> = self.shared.unclaimed.drain(..held).collect();
        if is_being_claimed {
            held.into_iter().for_each(|(_, in_flight)| self.ended_unclaimed(in_flight));
        } else {
            self.return_shared(held);
        }
        self.shared.held_since = None;
    }

    /// A connection is left to the worker that has it, whichever that is.
    fn ended_unclaimed(&mut self, InFlight { server: id, .. }: InFlight) {
        if let Some(server) = self.servers.get_mut(&id) {
            server.in_flight -= 1;
            server.on_shared_lane -= 1;
            server.stats.counters.dispatched.count();
            self.to_serve.insert(id);
        }
    }
}
