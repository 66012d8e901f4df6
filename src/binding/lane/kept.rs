//! The connections that the worker of a lane keeps between their requests.

use std::os::fd::BorrowedFd;

use napi::bindgen_prelude::ToNapiValue;

use super::Watched;
use crate::kept::Claim;
use crate::proto::{ConnectionKind, Slot};
use crate::worker::Decided;

impl Watched {
    pub(super) fn keep(&self, descriptor: i32, key: &str, is_pipe: bool, timeout: u32) -> Option<Slot> {
        let guarded = self.guarded.borrow();
        let guarded = guarded.as_ref()?;
        let stream = guarded.find(descriptor)?;
        let kind = if is_pipe { ConnectionKind::Pipe } else { ConnectionKind::Tcp };
        // SAFETY: a stream of this thread has the descriptor open, and nothing closes it during the call.
        let connection = unsafe { BorrowedFd::borrow_raw(descriptor) };
        let mut asks = None;
        let may_rest = |slot| {
            asks = Some(slot);
            guarded.add(slot, stream);
            guarded.guard(slot)
        };
        let kept = self.lane.borrow_mut().keep(connection, kind, key, timeout, may_rest);
        // If the primary has gone the connection stays here.
        let slot = kept.ok().flatten();
        if slot.is_none() {
            asks.into_iter().for_each(|slot| guarded.forget(slot));
        }
        slot
    }

    pub(super) fn rest(&self, slot: Slot) {
        let guarded = self.guarded.borrow();
        // Without the guard the worker would read what is not its own.
        if let Some(guarded) = &*guarded
            && guarded.guard(slot)
        {
            self.lane.borrow_mut().rest(slot);
        }
    }

    pub(super) fn forget(&self, slot: Slot) {
        if let Some(guarded) = &*self.guarded.borrow() {
            guarded.forget(slot);
        }
    }

    /// Whether the stream of a slot may read what has arrived.
    pub(super) fn may_read(&self, slot: Slot) -> bool {
        let guarded = self.guarded.borrow();
        let connection = || {
            let descriptor = guarded.as_ref()?.descriptor(slot)?;
            // SAFETY: the stream, which is about to be read, has the descriptor open, and nothing closes it during the call.
            Some(unsafe { BorrowedFd::borrow_raw(descriptor) })
        };
        let claim = self.lane.borrow_mut().claim_next(slot, connection);
        if claim == Claim::Given {
            // With others of this turn.
            self.receive_soon();
        }
        claim == Claim::Ours
    }

    /// A stream has stopped, as it may not read.
    pub(super) fn on_stopped(&self, slot: Slot) {
        // What is given stays open until the primary has decided.
        if self.lane.borrow().claim(slot) == Claim::Moved {
            self.tell_settled(slot, false);
        }
    }

    /// Tells the primary what it is to decide about, and the program what it has decided.
    pub(super) fn give(&self) {
        // Not borrowed while JavaScript runs.
        let taken_back = self.lane.borrow_mut().tell_given();
        let Decided { moved, ours } = self.lane.borrow_mut().decided();
        moved.into_iter().for_each(|slot| self.tell_settled(slot, false));
        ours.into_iter().chain(taken_back).for_each(|slot| self.tell_settled(slot, true));
    }

    /// A connection has moved, or is to be read here.
    pub(super) fn tell_settled(&self, Slot(slot): Slot, is_ours: bool) {
        self.settled.call::<(), 2>(|env| {
            let env = env.raw();
            // SAFETY: the environment of the call that is under way.
            unsafe { Ok([u32::to_napi_value(env, slot)?, bool::to_napi_value(env, is_ours)?]) }
        });
    }

    pub(super) fn report_moved(&self) {
        // Not borrowed while JavaScript runs.
        let moved = self.lane.borrow_mut().moved();
        moved.into_iter().for_each(|slot| self.tell_settled(slot, false));
    }
}
