//! Accepting connections from a listening socket. The owner decides whether there is room for another
//! connection and does with it what it likes: it calls [`Acceptor::next`] for one after the other, at most
//! [`ACCEPT_BUDGET`] times in a turn.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use nix::errno::Errno;

use super::context::Context;
use super::registration::Registration;
use crate::error::Error;
use crate::os::{self, Accepted};

/// How many connections are accepted from one socket before others get their turn.
pub const ACCEPT_BUDGET: usize = 128;

/// How long accepting pauses when there are no file descriptors left. Descriptors come free anywhere in the
/// process and nothing reports it; ten looks a second cost nothing.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listening socket, which its owner keeps, and whether there is something to accept.
#[derive(Debug)]
pub struct Acceptor {
    registration: Registration,
    state: State,
    /// Takes a connection off the backlog.
    accept: fn(BorrowedFd<'_>) -> Result<Accepted, Errno>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The kernel will report the next connection.
    Waiting,
    /// There may be connections: accepting stopped for lack of room, or at the end of its turn.
    Ready,
    /// A timer runs.
    Paused,
}

/// Whether the program has been warned that accepting pauses. All acceptors of a handler share it:
/// descriptors and memory are the process's.
#[derive(Debug, Default)]
pub struct Exhaustion {
    is_reported: bool,
}

/// The result of accepting once.
#[derive(Debug)]
pub enum Next {
    /// A connection.
    Connection(Accepted),
    /// A client that has given up, or whose network has failed. It says nothing of those behind it.
    GaveUp,
    /// There is nothing to accept now. A reported connection or a timer comes when there is.
    Nothing,
    /// The same, for lack of descriptors or memory. The owner warns the program.
    Exhausted(Error),
    /// Nothing will ever come: the program gave a descriptor that cannot be accepted from.
    Failed(Error),
}

impl Acceptor {
    /// Waits for connections at a listening socket, as `source`.
    ///
    /// Errors: as [`Registration::new`].
    pub fn new<T, S>(context: &mut Context<T, S>, socket: BorrowedFd<'_>, source: S) -> Result<Self, Error> {
        let registration = Registration::new(context, socket, source)?;
        Ok(Acceptor { registration, state: State::Waiting, accept: os::accept })
    }

    /// As [`Acceptor::new`], for a socket that another process has as well.
    ///
    /// Errors: as [`Registration::new`].
    pub fn of_shared<T, S>(
        context: &mut Context<T, S>,
        socket: BorrowedFd<'_>,
        source: S,
    ) -> Result<Self, Error> {
        Ok(Acceptor { accept: os::accept_shared, ..Acceptor::new(context, socket, source)? })
    }

    /// The kernel reports a connection. Returns whether that makes the acceptor ready; if not, it has paused,
    /// or was ready before.
    pub fn on_ready(&mut self) -> bool {
        self.make_ready_from(State::Waiting)
    }

    /// The timer of a pause has run out. Returns whether that makes the acceptor ready.
    pub fn on_pause_end(&mut self) -> bool {
        self.make_ready_from(State::Paused)
    }

    fn make_ready_from(&mut self, state: State) -> bool {
        let is_here = self.state == state;
        if is_here {
            self.state = State::Ready;
        }
        is_here
    }

    /// Whether there may be something to accept.
    pub fn is_ready(&self) -> bool {
        self.state == State::Ready
    }

    /// Whether a timer runs until it goes on.
    pub fn is_paused(&self) -> bool {
        self.state == State::Paused
    }

    /// Accepts nothing for a while. The owner calls [`Acceptor::on_pause_end`] on `timer`.
    pub fn pause<T, S>(&mut self, context: &mut Context<T, S>, pause: Duration, timer: T) {
        self.state = State::Paused;
        context.set_timer(pause, timer);
    }

    /// The next connection. Without descriptors it pauses, see [`Acceptor::pause`].
    pub fn next<T, S>(
        &mut self,
        context: &mut Context<T, S>,
        socket: BorrowedFd<'_>,
        timer: T,
        exhaustion: &mut Exhaustion,
    ) -> Next {
        if self.state != State::Ready {
            return Next::Nothing;
        }
        let fail = |errno| Error::Sys { doing: "accepting a connection", errno };
        match (self.accept)(socket) {
            Ok(accepted) => Next::Connection(accepted),
            Err(Errno::EAGAIN) => {
                exhaustion.is_reported = false;
                self.state = State::Waiting;
                Next::Nothing
            }
            Err(errno @ (Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM)) => {
                self.pause(context, ACCEPT_PAUSE, timer);
                // Once, until the backlog has been empty.
                match std::mem::replace(&mut exhaustion.is_reported, true) {
                    true => Next::Nothing,
                    false => Next::Exhausted(fail(errno)),
                }
            }
            Err(errno @ (Errno::EINVAL | Errno::ENOTSOCK | Errno::EOPNOTSUPP | Errno::EBADF)) => {
                self.state = State::Waiting;
                Next::Failed(fail(errno))
            }
            Err(_) => Next::GaveUp,
        }
    }

    /// Waits for connections no more.
    pub fn end<T, S>(&self, context: &mut Context<T, S>, socket: BorrowedFd<'_>) {
        self.registration.end(context, socket);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsFd;

    use mio::Poll;

    use super::*;

    fn next(acceptor: &mut Acceptor, context: &mut Context<(), ()>, socket: BorrowedFd<'_>) -> Next {
        acceptor.next(context, socket, (), &mut Exhaustion::default())
    }

    #[test]
    fn connections_are_accepted_until_there_are_none_and_not_in_a_pause() {
        let poll = Poll::new().unwrap();
        let mut context = Context::new(poll.registry().try_clone().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let mut acceptor = Acceptor::new(&mut context, listener.as_fd(), ()).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(matches!(next(&mut acceptor, &mut context, listener.as_fd()), Next::Nothing), "not ready");
        assert!(acceptor.on_ready() && !acceptor.on_ready());
        acceptor.pause(&mut context, Duration::ZERO, ());
        assert!(!acceptor.on_ready() && acceptor.is_paused());
        assert!(matches!(next(&mut acceptor, &mut context, listener.as_fd()), Next::Nothing));
        assert!(acceptor.on_pause_end());
        assert!(matches!(next(&mut acceptor, &mut context, listener.as_fd()), Next::Connection(_)));
        assert!(acceptor.is_ready());
        assert!(matches!(next(&mut acceptor, &mut context, listener.as_fd()), Next::Nothing));
        assert!(!acceptor.is_ready() && acceptor.on_ready());
    }

    #[test]
    fn what_does_not_listen_is_not_asked_again() {
        let poll = Poll::new().unwrap();
        let mut context = Context::new(poll.registry().try_clone().unwrap());
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut acceptor = Acceptor::new(&mut context, socket.as_fd(), ()).unwrap();
        assert!(acceptor.on_ready());
        assert!(matches!(next(&mut acceptor, &mut context, socket.as_fd()), Next::Failed(_)));
        assert!(matches!(next(&mut acceptor, &mut context, socket.as_fd()), Next::Nothing));
    }
}
