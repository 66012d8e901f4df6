//! The connections to the engines of buses: each is asked from time to time what is in its queues, as long as somebody wants to know
//! it. A scrape gets what was counted last, and waits for no engine.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::rc::Rc;
use std::time::Duration;

use corral_bus::protocol::{Incoming, Outgoing, Progress};
use serde_json::json;
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{Instant, sleep_until};

use super::Observation;
use crate::bus::{Bus, Census, Next};

/// How often queues are counted.
const EVERY: Duration = Duration::from_secs(5);

/// For how long after the last scrape.
const WANTED_FOR: Duration = Duration::from_secs(120);

/// The connections, by what the buses are called.
#[derive(Default)]
pub struct Connections {
    tasks: RefCell<HashMap<String, AbortHandle>>,
    wanted: Rc<Wanted>,
}

/// Whether somebody wants to know.
struct Wanted {
    until: Cell<Instant>,
    again: Notify,
}

impl Default for Wanted {
    fn default() -> Self {
        Wanted { until: Cell::new(Instant::now()), again: Notify::new() }
    }
}

impl Connections {
    /// Somebody wants to know what is in the queues, now and for a while.
    pub fn want(&self) {
        self.wanted.until.set(Instant::now() + WANTED_FOR);
        self.wanted.again.notify_waiters();
    }

    /// A bus has a connection; it takes the place of the one before.
    ///
    /// Errors: those of watching a descriptor.
    pub fn add(&self, name: String, socket: OwnedFd, observation: Rc<Observation>) -> io::Result<()> {
        let socket = StdStream::from(socket);
        socket.set_nonblocking(true)?;
        let socket = UnixStream::from_std(socket)?;
        let (known, wanted) = (Known { name: name.clone(), observation }, self.wanted.clone());
        let task = spawn_local(async move {
            // Whatever is wrong with it: JavaScript connects anew, as long as there is such a bus.
            let _ = follow(&socket, &wanted, &known).await;
            drop(socket);
            known.change(|bus| bus.is_up = false);
            known.observation.reports.insist(&json!({ "bus": known.name })).await;
        });
        if let Some(before) = self.tasks.borrow_mut().insert(name, task.abort_handle()) {
            before.abort();
        }
        Ok(())
    }

    /// There is no such bus any more.
    pub fn remove(&self, name: &str) {
        if let Some(task) = self.tasks.borrow_mut().remove(name) {
            task.abort();
        }
    }
}

/// What is known of a bus.
struct Known {
    name: String,
    observation: Rc<Observation>,
}

impl Known {
    fn change(&self, change: impl FnOnce(&mut Bus)) {
        let mut viewer = self.observation.viewer.borrow_mut();
        change(viewer.buses.entry(self.name.clone()).or_default());
    }

    /// In microseconds of the monotonic clock.
    fn now(&self) -> u64 {
        self.observation.viewer.borrow().looked_at()
    }
}

/// An id that no other client has.
fn client_id() -> [u8; 16] {
    let random = || RandomState::new().hash_one(std::process::id()).to_le_bytes();
    let mut id = [0; 16];
    id[..8].copy_from_slice(&random());
    id[8..].copy_from_slice(&random());
    id
}

/// Until the connection has ended.
///
/// Errors: those of the socket; an engine that says what is none of the protocol.
async fn follow(socket: &UnixStream, wanted: &Wanted, known: &Known) -> io::Result<()> {
    let (mut input, mut output, mut census) = (Incoming::default(), Outgoing::default(), Census::default());
    output.bytes = Census::hello(client_id());
    // At once, so that the first scrape has something.
    let mut next = Instant::now();
    // One that is slow is not asked again before it has answered.
    let mut is_counting = true;
    loop {
        let is_wanted = !is_counting && wanted.until.get() > next;
        let readiness = if output.is_written() {
            tokio::io::Interest::READABLE
        } else {
            tokio::io::Interest::READABLE | tokio::io::Interest::WRITABLE
        };
        tokio::select! {
            ready = socket.ready(readiness) => {
                let ready = ready?;
                if ready.is_readable() || ready.is_read_closed() {
                    read(socket, &mut input)?;
                }
                if ready.is_writable() {
                    output.write(|bytes| socket.try_write(bytes))?;
                }
            }
            () = sleep_until(next), if is_wanted => {
                next = Instant::now() + EVERY;
                is_counting = true;
                output.bytes.extend(census.begin(known.now()));
            }
            () = wanted.again.notified(), if !is_wanted => {}
        }
        loop {
            let frame = input.next_frame().map_err(|fault| io::Error::other(fault.message))?;
            let Some(frame) = frame else { break };
            match census.on_frame(frame).map_err(|fault| io::Error::other(fault.message))? {
                Next::Wait => {}
                Next::Welcome(engine) => {
                    known.change(|bus| (bus.engine, bus.is_up) = (engine, true));
                    output.bytes.extend(census.begin(known.now()));
                    next = Instant::now() + EVERY;
                }
                Next::Write(bytes) => output.bytes.extend(bytes),
                Next::Counted(counted) => {
                    is_counting = false;
                    known.change(|bus| bus.counted = Some(counted));
                }
                Next::Server { is_up } => known.change(|bus| bus.is_up = is_up),
            }
        }
        // What waits for nothing needs not be waited for.
        output.write(|bytes| socket.try_write(bytes))?;
    }
}

/// Errors: those of the socket; it has ended.
fn read(socket: &UnixStream, input: &mut Incoming) -> io::Result<()> {
    match input.fill(true, |buffer| socket.try_read(buffer))? {
        Progress::More | Progress::Dry => Ok(()),
        Progress::Ended => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
