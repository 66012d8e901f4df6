//! A thread that serves an engine to connections: of this process by socket pairs, of others by a socket in the file
//! system. It blocks in poll alone, and in the store's commits: while one is under way, the next requests gather, and are
//! kept together.
//!
//! | File | What it holds |
//! | --- | --- |
//! | `connection` | one connection: bytes in, bytes out |
//! | `serving` | a turn of the thread: reading, carrying out, keeping, answering |

mod connection;
mod serving;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use mio::{Poll, Token, Waker};

use crate::error::Fault;
use crate::store::Store;
use serving::Serving;

const WAKER: Token = Token(usize::MAX);

/// What the thread is asked to do.
enum Command {
    /// A connection of this process.
    Attach(UnixStream),
    /// Connections of other processes of this user.
    Listen(UnixListener),
    Stop,
}

#[derive(Default)]
struct Inbox {
    commands: Mutex<Vec<Command>>,
}

impl Inbox {
    fn take(&self) -> Vec<Command> {
        std::mem::take(&mut *self.commands.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A broker in this process. It serves until it is stopped or dropped.
pub struct Broker {
    inbox: Arc<Inbox>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
    is_serving: Arc<AtomicBool>,
}

/// Makes the store on the broker's thread, which may take as long as it takes: what connects meanwhile waits.
pub type Opener = Box<dyn FnOnce() -> Result<Box<dyn Store>, Fault> + Send>;

impl Broker {
    /// # Errors
    ///
    /// There are no descriptors, or no threads, left.
    pub fn start(open: Opener) -> io::Result<Broker> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let inbox = Arc::new(Inbox::default());
        let is_serving = Arc::new(AtomicBool::new(true));
        let serves = Serves(Arc::clone(&is_serving));
        let own = Arc::clone(&inbox);
        let thread = thread::Builder::new().name("corral-bus".to_owned()).spawn(move || {
            let _serves = serves;
            let (store, fault) = match open() {
                Ok(store) => (Some(store), None),
                Err(fault) => (None, Some(fault)),
            };
            Serving::new(poll, own, store, fault).run();
        })?;
        Ok(Broker { inbox, waker, thread: Some(thread), is_serving })
    }

    fn ask(&self, command: Command) -> io::Result<()> {
        self.inbox.commands.lock().unwrap_or_else(PoisonError::into_inner).push(command);
        self.waker.wake()
    }

    /// A connection to this broker: the other end of a pair.
    ///
    /// # Errors
    ///
    /// There are no descriptors left.
    pub fn connect(&self) -> io::Result<OwnedFd> {
        let (own, other) = UnixStream::pair()?;
        own.set_nonblocking(true)?;
        other.set_nonblocking(true)?;
        self.ask(Command::Attach(own))?;
        Ok(OwnedFd::from(other))
    }

    /// Takes connections from a socket, too.
    ///
    /// # Errors
    ///
    /// The thread cannot be woken.
    pub fn listen(&self, listener: UnixListener) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        self.ask(Command::Listen(listener))
    }

    /// Whether its thread runs.
    pub fn is_serving(&self) -> bool {
        self.is_serving.load(Ordering::Acquire)
    }

    /// Ends the thread, and waits for that: what was answered is kept, and nothing else is.
    pub fn stop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        // If it cannot be woken, it has no poll any more.
        let _ = self.ask(Command::Stop);
        let _ = thread.join();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Says that the thread has ended, also if it panics.
struct Serves(Arc<AtomicBool>);

impl Drop for Serves {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
