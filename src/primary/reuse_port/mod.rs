//! Servers whose workers accept by themselves, each from a listening socket of its own (SCHED_REUSEPORT). The kernel shares
//! the port's connections among the sockets, so that a connection costs the primary nothing.
//!
//! The primary makes the sockets and keeps them: a queue outlives its worker. Where a worker does not accept, because it is
//! blocked or stopped, leaves or has gone, the primary accepts in its place and gives the connections to others as under the
//! default policy. The kernel is told to give that socket no new ones meanwhile. A worker that joins takes over a socket
//! that nobody has, with what waits in it.
//!
//! `siblings.rs` has the sockets of one server. This file joins them to workers, `look` looks at their queues, and `unread`
//! decides when a worker is found not to read its queue.

mod look;
mod unread;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use super::handover::Accepting;
use super::server::Mode;
use super::siblings::{Group, SlotIndex};
use super::{Context, Event, Primary, Source};
use crate::error::Error;
use crate::ids::{ServerId, WorkerId};
use crate::os;
use crate::proto::{AddressKind, QueryServer};
use crate::reactor::{Acceptor, EventSink};
use crate::sched::PolicyChoice;

pub use look::Queues;

/// The policy of a server for which `wanted` is set, and why it is another one: sockets can share ports, and nothing else.
/// Workers read datagrams from one socket under every policy.
pub fn possible(
    wanted: PolicyChoice,
    query: &QueryServer,
    is_inherited: bool,
) -> (PolicyChoice, Option<&'static str>) {
    if wanted != PolicyChoice::ReusePort {
        return (wanted, None);
    }
    let reason = match query.kind {
        AddressKind::Udp4 | AddressKind::Udp6 => {
            return (PolicyChoice::None, Some("workers read datagrams from one socket"));
        }
        _ if query.fd >= 0 => "the socket is one that the program has opened",
        _ if is_inherited => "the socket is one that another process has opened",
        AddressKind::Path => "a path has one socket",
        _ if query.port < 0 => "a path has one socket",
        AddressKind::Tcp4 | AddressKind::Tcp6 if !os::SHARES_PORTS => {
            "this system does not share the connections of a port among sockets"
        }
        AddressKind::Tcp4 | AddressKind::Tcp6 => return (wanted, None),
    };
    (PolicyChoice::OneQueue, Some(reason))
}

impl<S: EventSink<Event>> Primary<S> {
    fn group_mut(&mut self, id: ServerId) -> Option<&mut Group> {
        match &mut self.servers.get_mut(&id)?.mode {
            Mode::Siblings(group) => Some(group),
            Mode::Primary(_) | Mode::Workers(_) => None,
        }
    }

    /// The socket of a worker that joins a server: one that nobody has, or a new one.
    ///
    /// Errors: those of making a socket that shares the server's port; `ENOMEM`.
    pub(super) fn take_socket(
        &mut self,
        context: &mut Context,
        id: ServerId,
        worker: WorkerId,
    ) -> Result<Option<Arc<OwnedFd>>, Error> {
        let weight = self.workers.get(&worker).map_or(1, |worker| worker.weight);
        let Some(group) = self.group_mut(id) else { return Ok(None) };
        let slot = group.take(worker, weight).map_err(Error::sys("opening a server"))?;
        let socket = group.socket(slot).clone();
        if let Err(error) = self.watch_queue(context, id, slot) {
            self.leave_socket(context, id, worker);
            return Err(error);
        }
        self.await_start(context, id, slot);
        self.steer(id);
        Ok(Some(socket))
    }

    /// A worker gets more or fewer connections at its socket from now on.
    pub(super) fn weigh_socket(&mut self, id: ServerId, worker: WorkerId, weight: u32) {
        if let Some(group) = self.group_mut(id) {
            group.weigh(worker, weight);
            self.steer(id);
        }
    }

    /// A worker leaves a server. The primary accepts what comes to its socket until another worker has it.
    pub(super) fn leave_socket(&mut self, context: &mut Context, id: ServerId, worker: WorkerId) {
        let Some(group) = self.group_mut(id) else { return };
        let Some(slot) = group.leave(worker) else { return };
        let socket = group.socket(slot).clone();
        if let Some(absence) = self.queues.remove((id, slot), socket.as_fd()) {
            self.no_longer_absent(worker, absence);
        }
        self.stand_in(context, id, slot);
    }

    /// The workers of a server that has just been opened are to come: the primary accepts from the sockets that are there already.
    pub(super) fn stand_in_for_all(&mut self, context: &mut Context, id: ServerId) {
        let slots: Vec<SlotIndex> =
            self.group_mut(id).into_iter().flat_map(|group| group.indexes()).collect();
        for slot in slots {
            self.stand_in(context, id, slot);
        }
    }

    /// Tells the kernel anew which sockets get connections, whatever another process has told it.
    pub(super) fn steer_all(&mut self) {
        for id in self.servers.keys().copied().collect::<Vec<_>>() {
            if let Some(group) = self.group_mut(id) {
                group.forget_receivers();
                self.steer(id);
            }
        }
    }

    /// From now on the primary accepts in the place of the worker that has, or had, this socket.
    fn stand_in(&mut self, context: &mut Context, id: ServerId, slot: SlotIndex) {
        if self.accepting == Accepting::NoMore {
            return;
        }
        let Some(group) = self.group_mut(id) else { return };
        if group.stands_in(slot) {
            return;
        }
        let socket = group.socket(slot).clone();
        match Acceptor::of_shared(context, socket.as_fd(), Source::Sibling(id, slot)) {
            Ok(acceptor) => {
                if let Some(group) = self.group_mut(id) {
                    group.set_acceptor(slot, Some(acceptor));
                }
                self.steer(id);
            }
            Err(error) => self.sink.push(Event::Fault(error)),
        }
    }

    /// The worker accepts from its socket by itself again.
    fn end_standing_in(&mut self, context: &mut Context, id: ServerId, slot: SlotIndex) {
        let Some(group) = self.group_mut(id) else { return };
        let socket = group.socket(slot).clone();
        if let Some(acceptor) = group.set_acceptor(slot, None) {
            acceptor.end(context, socket.as_fd());
            self.steer(id);
        }
    }

    /// Has the kernel give new connections to those sockets from which workers accept.
    fn steer(&mut self, id: ServerId) {
        // Another primary does.
        if self.accepting == Accepting::NoMore {
            return;
        }
        let Some(server) = self.servers.get_mut(&id) else { return };
        if let Mode::Siblings(group) = &mut server.mode
            && let Err(errno) = group.steer()
        {
            // The primary accepts those, too.
            *server.stats.policy_reason.lock() =
                Some(format!("the kernel cannot be told which workers accept: {errno}").into());
        }
    }

    /// A server's sockets are about to be closed.
    pub(super) fn close_group(&mut self, context: &mut Context, id: ServerId, group: &mut Group) {
        for slot in group.indexes() {
            self.queues.remove((id, slot), group.socket(slot).as_fd());
            if let Some(acceptor) = group.set_acceptor(slot, None) {
                acceptor.end(context, group.socket(slot).as_fd());
            }
        }
    }
}
