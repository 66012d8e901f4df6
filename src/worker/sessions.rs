//! Sessions that a worker begins, of which it tells the primary on its lane.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;

use crate::error::Error;
use crate::os;
use crate::proto::FromWorker;

/// How many may wait for room on the lane.
const MAX_UNSENT: usize = 1024;

/// What a worker knows of sessions.
#[derive(Debug, Default)]
pub struct BegunSessions {
    /// What names them, as the primary has said and nobody has asked yet.
    pub names: Option<String>,
    /// Those for which the lane had no room.
    unsent: VecDeque<Vec<u8>>,
}

impl BegunSessions {
    /// This worker has begun a session. To be called before the client learns its id, which has at most
    /// [`MAX_SESSION_ID`] bytes. [`BegunSessions::tell`] follows. Returns false if so many wait already, as the primary does
    /// not read them, that this one is not told.
    ///
    /// [`MAX_SESSION_ID`]: crate::proto::MAX_SESSION_ID
    pub fn begin(&mut self, id: &[u8]) -> bool {
        let has_room = self.unsent.len() < MAX_UNSENT;
        if has_room {
            self.unsent.push_back(id.to_vec());
        }
        has_room
    }

    /// Tells of those that wait, as far as this lane has room.
    ///
    /// Errors: `EPIPE` when the primary has gone.
    pub fn tell_on(&mut self, lane: BorrowedFd<'_>) -> Result<(), Error> {
        let mut bytes = Vec::new();
        self.tell(|message| {
            message.encode(&mut bytes);
            os::send_packet(lane, &bytes, None)
        })
    }

    fn tell(&mut self, mut send: impl FnMut(&FromWorker) -> Result<(), Errno>) -> Result<(), Error> {
        while let Some(id) = self.unsent.pop_front() {
            let message = FromWorker::Session(id);
            match send(&message) {
                Ok(()) => {}
                Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM) => {
                    if let FromWorker::Session(id) = message {
                        self.unsent.push_front(id);
                    }
                    // The next turn tries again.
                    return Ok(());
                }
                Err(errno) => return Err(Error::Sys { doing: "telling of a session", errno }),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_is_told_later_in_its_order_and_what_is_too_much_not_at_all() {
        let mut sessions = BegunSessions::default();
        for number in 0..MAX_UNSENT {
            assert!(sessions.begin(number.to_string().as_bytes()));
        }
        assert!(!sessions.begin(b"too much"));
        let mut told = Vec::new();
        for room in [0, 10, MAX_UNSENT] {
            let until = told.len() + room;
            let sent = sessions.tell(|message| match message {
                FromWorker::Session(id) if told.len() < until => {
                    told.push(String::from_utf8(id.clone()).unwrap());
                    Ok(())
                }
                FromWorker::Session(_) => Err(Errno::EAGAIN),
                other => panic!("{other:?}"),
            });
            assert!(sent.is_ok());
        }
        assert!(told.iter().map(|id| id.parse::<usize>().unwrap()).eq(0..MAX_UNSENT));
        assert!(sessions.begin(b"once more"));
        assert!(sessions.tell(|_| Err(Errno::EPIPE)).is_err());
    }
}
