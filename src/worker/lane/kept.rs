//! What a worker's lane says of the connections that rest between their requests.

use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;

use super::WorkerLane;
use crate::error::Error;
use crate::kept::{Claim, Decision};
use crate::os;
use crate::proto::{ConnectionKind, FromWorker, Generation, Keep, MAX_SLOTS, Slot};
use crate::sched::Session;
use crate::worker::clients::Whose;
use crate::worker::kept::{Ended, KeptConnections};

/// A connection that was given to the primary, which has not decided.
#[derive(Debug)]
pub(super) struct Given {
    slot: Slot,
    generation: Generation,
    /// Whose the request may be, and how often clients had moved to other workers when that was looked at.
    client: Option<(Session, u64)>,
    is_told: bool,
}

/// What the primary has decided about connections that were given.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Decided {
    /// It has taken these.
    pub moved: Vec<Slot>,
    /// The worker reads these.
    pub ours: Vec<Slot>,
}

impl WorkerLane {
    /// Whether connections can rest. The primary says so.
    pub fn has_rest(&self) -> bool {
        self.kept.is_some()
    }

    /// Gives the primary a copy of a connection that the worker keeps. It rests from now on, if `may_rest`, which is
    /// called first. Returns None where that cannot be at present: the connection stays the worker's alone.
    ///
    /// Errors: `EPIPE` when the primary has gone.
    pub fn keep(
        &mut self,
        connection: BorrowedFd<'_>,
        kind: ConnectionKind,
        key: &str,
        timeout: u32,
        may_rest: impl FnOnce(Slot) -> bool,
    ) -> Result<Option<Slot>, Error> {
        let Some((slot, generation)) = self.kept.as_mut().and_then(|kept| kept.begin(key)) else {
            return Ok(None);
        };
        if !may_rest(slot) {
            self.release(slot);
            return Ok(None);
        }
        // Before the primary hears of it: a worker that dies right after takes no connection with it.
        self.rest(slot);
        let keep = Keep { slot, generation, timeout, kind, key: key.to_owned() };
        FromWorker::Keep(keep).encode(&mut self.outgoing);
        match os::send_packet(self.socket.as_fd(), &self.outgoing, Some(connection)) {
            Ok(()) => Ok(Some(slot)),
            Err(errno) => {
                self.release(slot);
                match errno {
                    Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM | Errno::ETOOMANYREFS => Ok(None),
                    errno => Err(Error::Sys { doing: "keeping a connection", errno }),
                }
            }
        }
    }

    /// A connection for which there was a slot rests from now on: see [`KeptConnections::rest`].
    pub fn rest(&mut self, slot: Slot) {
        if let Some(kept) = &mut self.kept {
            kept.rest(slot);
        }
    }

    /// The worker wants to read the connection: see [`KeptConnections::claim`].
    pub fn claim(&self, slot: Slot) -> Claim {
        self.kept.as_ref().map_or(Claim::Ours, |kept| kept.claim(slot))
    }

    /// As [`WorkerLane::claim`], of a connection on which something has arrived. Where clients belong to workers it is looked at,
    /// and given to the primary if it may be another worker's: nothing of it is read then, before [`WorkerLane::decided`] has it
    /// among its own. [`WorkerLane::tell_given`] follows.
    pub fn claim_next<'fd>(
        &mut self,
        slot: Slot,
        connection: impl FnOnce() -> Option<BorrowedFd<'fd>>,
    ) -> Claim {
        let Some(kept) = &mut self.kept else { return Claim::Ours };
        let claim = kept.claim(slot);
        if claim != Claim::Ours {
            return claim;
        }
        let Some(server) = kept.look_at_next(slot).filter(|_| self.clients.has_any()) else {
            return Claim::Ours;
        };
        let Some(connection) = connection() else { return Claim::Ours };
        let homes = kept.homes();
        let Whose::Unknown(session) = self.clients.whose(&server, connection, homes) else {
            return Claim::Ours;
        };
        let Some(generation) = kept.give(slot) else { return Claim::Ours };
        let client = session.map(|session| (session, homes));
        self.given.push(Given { slot, generation, client, is_told: false });
        Claim::Given
    }

    /// Tells the primary of connections that were given. Returns those which the worker reads after all, as the primary does not
    /// read what it is told, or has gone.
    pub fn tell_given(&mut self) -> Vec<Slot> {
        let mut untold: Vec<Slot> =
            self.given.iter().filter(|given| !given.is_told).map(|given| given.slot).collect();
        while !untold.is_empty() {
            let rest = untold.split_off(untold.len().min(MAX_SLOTS));
            if self.send(&FromWorker::Give(untold.clone())).is_err() {
                untold.extend(rest);
                break;
            }
            untold = rest;
        }
        self.given.retain(|given| given.is_told || !untold.contains(&given.slot));
        self.given.iter_mut().for_each(|given| given.is_told = true);
        if let Some(kept) = &self.kept {
            untold.iter().for_each(|slot| kept.take_back(*slot));
        }
        untold
    }

    /// What the primary has decided since the last call.
    pub fn decided(&mut self) -> Decided {
        let mut decided = Decided::default();
        if !std::mem::take(&mut self.has_decided) {
            return decided;
        }
        let Some(kept) = &mut self.kept else { return decided };
        self.given.retain(|Given { slot, generation, client, .. }| {
            if !kept.has(*slot, *generation) {
                // It was closed meanwhile.
                return false;
            }
            match kept.decision(*slot) {
                None => return true,
                Some(Decision::Moved) => decided.moved.push(*slot),
                Some(decision) => {
                    if let (Decision::AtHome, Some((session, homes))) = (decision, *client) {
                        self.clients.note_own(session, homes, kept.homes());
                    }
                    decided.ours.push(*slot);
                }
            }
            false
        });
        decided
    }

    /// The worker has closed the connection. The primary learns of it before the event loop waits.
    pub fn release(&mut self, slot: Slot) {
        if let Some(kept) = &mut self.kept {
            kept.release(slot);
        }
    }

    /// The worker leaves and closes its copy: see [`KeptConnections::leave`].
    pub fn leave(&mut self, slot: Slot) {
        if let Some(kept) = &mut self.kept {
            kept.leave(slot);
        }
    }

    /// The connections that the primary has taken: see [`KeptConnections::moved`].
    pub fn moved(&mut self) -> Vec<Slot> {
        self.kept.as_mut().map_or_else(Vec::new, KeptConnections::moved)
    }

    /// No connection rests any more: those that do are the worker's.
    pub fn end_rest(&mut self) -> Ended {
        self.given.clear();
        self.kept.take().map_or_else(Ended::default, KeptConnections::end)
    }

    /// Says to the primary that no connection will rest, and why.
    ///
    /// Errors: `EPIPE` when the primary has gone.
    pub fn decline_rest(&mut self, reason: String) -> Result<(), Error> {
        self.kept = None;
        self.send(&FromWorker::NoRest { reason }).map_err(Error::sys("declining to let connections rest"))
    }

    pub(super) fn report_released(&mut self) -> Result<(), Error> {
        loop {
            let Some(released) = self.kept.as_mut().map(KeptConnections::take_released) else {
                return Ok(());
            };
            if released.is_empty() {
                return Ok(());
            }
            let message = FromWorker::Released(released);
            let sent = self.send(&message);
            if let (FromWorker::Released(slots), Some(kept)) = (message, &mut self.kept) {
                match sent {
                    Ok(()) => kept.reuse(slots),
                    // The next turn tries again.
                    Err(_) => kept.return_released(slots),
                }
            }
            match sent {
                Ok(()) => {}
                Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM) => return Ok(()),
                Err(errno) => return Err(Error::Sys { doing: "releasing kept connections", errno }),
            }
        }
    }
}
