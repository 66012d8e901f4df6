//! A worker's end of its lane as JavaScript sees it: a function that is called with each connection.

use std::cell::{Cell, RefCell};
use std::os::fd::OwnedFd;
use std::rc::{Rc, Weak};

use napi::bindgen_prelude::{Function, ToNapiValue};
use napi::{Env, Result};
use napi_derive::napi;

use super::callback::Callback;
use super::uv::{AfterPoll, BeforePoll, Watch};
use super::{coded, napi_failure};
use crate::error::Error;
use crate::os;
use crate::proto::ConnectionKind;
use crate::worker::{Connection, Received, WorkerLane};

/// How many connections are received in one turn of the event loop at most. Events of connections that are
/// already served come in between, and the connections that are still in the lane when one of these blocks
/// the worker can go to another. The number begins with one and doubles while the lane does not run empty.
const MAX_PER_TURN: usize = 8;

/// A lane that is read by Node's event loop. Never keeps the process alive.
#[napi]
pub struct NativeLane {
    watched: Rc<Watched>,
    /// Until it is asked for.
    channel: Option<OwnedFd>,
}

struct Watched {
    /// Dropped when the lane is closed. It is declared before `lane`, which owns the descriptor: a closed
    /// descriptor must not be watched.
    watch: RefCell<Option<Watch>>,
    lane: RefCell<WorkerLane>,
    take: Callback,
    /// Connections are received after the callbacks of all other ready descriptors. A request that is about
    /// to block the worker blocks it before the next connection is received.
    after_poll: RefCell<Option<AfterPoll>>,
    /// Tells the primary's page that the loop begins to wait. Started when the primary has given one.
    before_poll: RefCell<Option<BeforePoll>>,
    /// How many may be received in the next turn.
    budget: Cell<usize>,
}

#[napi]
impl NativeLane {
    /// Takes over the lane with this inherited descriptor and announces to the primary that it reads it, or
    /// why it cannot. In the first case `channel` is this end of the socket to which the channel may move.
    ///
    /// `take` is called with `(key, isPipe, descriptor, seq)` for each connection and owns the descriptor; it returns
    /// whether the worker has taken the connection.
    #[napi(constructor)]
    pub fn new(
        env: Env,
        descriptor: i32,
        inode: f64,
        #[napi(ts_arg_type = "(key: string, isPipe: boolean, descriptor: number, seq: number) => boolean")]
        take: Function<(), ()>,
    ) -> Result<Self, String> {
        let socket = os::inherited_lane(descriptor, inode as u64)
            .map_err(|errno| coded(Error::Sys { doing: "taking over a lane", errno }))?;
        let watched = Rc::new(Watched {
            lane: RefCell::new(WorkerLane::new(socket)),
            take: Callback::new(env, &take).map_err(napi_failure)?,
            watch: RefCell::new(None),
            after_poll: RefCell::new(None),
            before_poll: RefCell::new(None),
            budget: Cell::new(1),
        });
        let call = |method: fn(&Watched)| {
            let weak = Rc::downgrade(&watched);
            move || {
                if let Some(watched) = Weak::upgrade(&weak) {
                    method(&watched);
                }
            }
        };
        let handles = Watch::new(&env, descriptor, call(Watched::on_readable))
            .and_then(|watch| Ok((watch, AfterPoll::new(&env, call(Watched::receive))?)))
            .and_then(|(watch, after)| Ok((watch, after, BeforePoll::new(&env, call(Watched::poll))?)));
        let announced = match handles {
            Ok((watch, after_poll, before_poll)) => {
                watch.start();
                *watched.watch.borrow_mut() = Some(watch);
                *watched.after_poll.borrow_mut() = Some(after_poll);
                *watched.before_poll.borrow_mut() = Some(before_poll);
                watched.lane.borrow_mut().announce().map(Some)
            }
            Err(reason) => watched.lane.borrow_mut().decline(reason).map(|()| None),
        };
        let (announced, channel) = match announced {
            Ok(channel) => (Ok(()), channel),
            Err(error) => (Err(error), None),
        };
        // A primary that has gone needs no lane. The worker notices the end of the channel.
        if announced.is_err() {
            watched.close();
        }
        // Before Node closes its loop, which must have nothing left by then.
        let weak = Rc::downgrade(&watched);
        env.add_env_cleanup_hook(weak, |weak| {
            if let Some(watched) = Weak::upgrade(&weak) {
                watched.close();
            }
        })
        .map_err(napi_failure)?;
        Ok(NativeLane { watched, channel })
    }

    /// The number of the descriptor to which the channel may move, which is the caller's from now on. Returns
    /// -1 if there is none, and in every later call.
    #[napi]
    pub fn take_channel(&mut self) -> i32 {
        self.channel.take().map_or(-1, os::into_raw)
    }

    /// Stops receiving. The primary takes back the connections that are left in the lane.
    #[napi]
    pub fn close(&self) {
        self.watched.close();
    }

    /// As `close`, before the channel with this descriptor is closed. If its other end is closed already, the
    /// primary has gone and takes nothing back: the connections that are left in the lane are received first.
    #[napi]
    pub fn end(&self, channel: i32) {
        if os::is_deserted(channel) {
            self.watched.receive_all();
        }
        self.watched.close();
    }

    /// Closes the descriptor of a connection that could not be taken.
    #[napi]
    pub fn close_descriptor(&self, descriptor: i32) {
        drop(os::adopt(descriptor));
    }
}

impl Watched {
    fn on_readable(&self) {
        if let Some(after_poll) = &*self.after_poll.borrow() {
            after_poll.request();
        }
    }

    fn receive(&self) {
        if let Some(after_poll) = &*self.after_poll.borrow() {
            after_poll.done();
        }
        let budget = self.budget.replace(1);
        for count in 1..=budget {
            if self.watch.borrow().is_none() {
                break;
            }
            if count == budget {
                self.budget.set((budget * 2).min(MAX_PER_TURN));
            }
            // Not borrowed while JavaScript runs, which may close the lane.
            let received = self.lane.borrow_mut().receive();
            match received {
                Ok(Received::Connection(connection)) => self.serve(connection),
                Ok(Received::Nothing) => {
                    self.budget.set(1);
                    break;
                }
                // The primary has gone. The worker notices the end of the channel.
                Ok(Received::Ended) => return self.close(),
                Err(error) => {
                    // The primary uses the channel from now on, unless it has gone.
                    let _ = self.lane.borrow_mut().decline(error.to_string());
                    return self.close();
                }
            }
        }
        let mut lane = self.lane.borrow_mut();
        if lane.can_introduce()
            && let Some(before_poll) = &*self.before_poll.borrow()
        {
            before_poll.start();
            // If the primary has gone there is nobody to tell.
            let _ = lane.introduce(std::process::id(), before_poll.poller());
        }
        // If the primary has gone there is nobody to tell, and what it has left is received all the same, up to the end.
        let _ = lane.report();
    }

    /// The loop is about to look for events.
    fn poll(&self) {
        if let Some(before_poll) = &*self.before_poll.borrow() {
            let (now, busy) = before_poll.times();
            // If the primary has gone there is nobody to tell.
            let _ = self.lane.borrow_mut().poll(now, busy, before_poll.has_more());
        }
    }

    /// Receives the connections that a primary has left behind.
    fn receive_all(&self) {
        loop {
            // Not borrowed while JavaScript runs.
            let received = self.lane.borrow_mut().receive();
            match received {
                Ok(Received::Connection(connection)) => self.serve(connection),
                Ok(Received::Nothing | Received::Ended) | Err(_) => return,
            }
        }
    }

    fn serve(&self, connection: Connection) {
        let Connection { seq, kind, key, handle } = connection;
        let is_pipe = kind == ConnectionKind::Pipe;
        let taken: Option<bool> = self.take.call(|env| {
            let env = env.raw();
            // SAFETY: the environment of the call that is under way.
            unsafe {
                Ok([
                    <&str>::to_napi_value(env, &key)?,
                    bool::to_napi_value(env, is_pipe)?,
                    i32::to_napi_value(env, os::into_raw(handle))?,
                    i64::to_napi_value(env, seq.0 as i64)?,
                ])
            }
        });
        // A connection whose listener threw has been taken: Node accepts it before it calls the listener,
        // too.
        if taken == Some(false) {
            self.lane.borrow_mut().refuse(seq);
        }
    }

    /// Stops receiving. Reports what was received before anything else happens, such as the end of the
    /// channel.
    fn close(&self) {
        // If the primary has gone the report has no reader.
        let _ = self.lane.borrow_mut().report();
        // Dropped after the borrow has ended, whatever libuv calls.
        let handles = (
            self.watch.borrow_mut().take(),
            self.after_poll.borrow_mut().take(),
            self.before_poll.borrow_mut().take(),
        );
        drop(handles);
    }
}
