//! The change to a second socket. What this side sends changes behind a marker that it writes on the first
//! socket, what it reads changes behind the peer's marker, and so everything keeps its order.

use std::os::fd::{AsFd, OwnedFd};

use super::{ContextOf, Driver, Owner};
use crate::error::Error;
use crate::reactor::Registration;

impl Driver {
    /// Sends on a second socket from now on, behind `marker` on the first. The caller must flush. Returns
    /// false if the channel is closed or has moved already.
    ///
    /// Errors: the socket could not be registered, and the channel must be closed.
    pub fn begin_move<O: Owner>(
        &mut self,
        context: &mut ContextOf<O>,
        owner: &mut O,
        socket: OwnedFd,
        marker: Vec<u8>,
        source: O::Source,
    ) -> Result<bool, Error> {
        // The peer's answers on the second socket are delivered after its messages on the first.
        self.read_on_reactor(context, owner)?;
        if !self.channel.move_sending(socket, marker) {
            return Ok(false);
        }
        if let Some(second) = self.channel.second_socket() {
            self.second = Some(Registration::new(context, second, source)?);
        }
        Ok(true)
    }

    /// Everything on the first socket has been read: from now on the second one is.
    pub(super) fn finish_move<O: Owner>(
        &mut self,
        context: &mut ContextOf<O>,
        owner: &mut O,
    ) -> Result<(), Error> {
        let Some(second) = self.second.take() else {
            let fault = "a channel that moves without having been given a socket";
            return Err(Error::BadFrame(fault.into()));
        };
        self.registration.end(context, self.channel.as_fd());
        self.channel.move_reading();
        if let Some(inbox) = &mut self.inbox {
            inbox.accept_attachments();
        }
        second.set_source(context, owner.source());
        self.registration = second;
        // The reactor has reported its readiness before.
        self.read_at_turn_end(owner);
        Ok(())
    }
}
