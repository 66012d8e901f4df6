//! One primary in the place of another, as JavaScript sees it.

use std::os::fd::OwnedFd;

use crate::error::Error;
use crate::os;
use crate::primary::{Estate, receive_estate};

/// What the old primary is handing over.
#[derive(Default)]
pub enum Succession {
    /// Nothing was asked for.
    #[default]
    None,
    /// It is on its way, on this socket.
    Receiving(OwnedFd, Estate),
}

impl Succession {
    /// Makes the socket on which it comes, and returns the end for the old primary.
    ///
    /// Errors: `EMFILE`; `EPROTONOSUPPORT` where the system has no such sockets.
    pub fn begin(&mut self) -> Result<OwnedFd, Error> {
        let pair = os::packet_pair().map_err(Error::sys("making a socket"))?;
        *self = Succession::Receiving(pair.ours, Estate::new());
        Ok(pair.theirs)
    }

    /// What has come, if that is all.
    ///
    /// Errors: as [`receive_estate`].
    pub fn receive(&mut self) -> Result<Option<(OwnedFd, Estate)>, Error> {
        let Succession::Receiving(socket, estate) = self else { return Ok(None) };
        if !receive_estate(socket, estate)? {
            return Ok(None);
        }
        match std::mem::take(self) {
            Succession::Receiving(socket, estate) => Ok(Some((socket, estate))),
            Succession::None => Ok(None),
        }
    }
}
