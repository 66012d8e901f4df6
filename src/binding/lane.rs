//! A worker's end of its lane as JavaScript sees it: a function that is called with each connection.

mod kept;
mod observed;
mod sessions;
mod shared;

use std::cell::{Cell, RefCell};
use std::os::fd::OwnedFd;
use std::rc::{Rc, Weak};

use napi::bindgen_prelude::{Function, ToNapiValue};
use napi::{Env, Result};
use napi_derive::napi;

use super::callback::Callback;
use super::guarded::{self, GuardedStreams};
use super::uv::{AfterPoll, BeforePoll, Watch};
use super::{coded, napi_failure};
use crate::error::Error;
use crate::kept::Claim;
use crate::os;
use crate::proto::{ConnectionKind, Slot};
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
    env: Env,
    /// Dropped when the lane is closed. It is declared before `lane`, which owns the descriptor: a closed
    /// descriptor must not be watched.
    watch: RefCell<Option<Watch>>,
    /// The same of the lane that this worker shares with others, if there is one.
    watch_shared: RefCell<Option<Watch>>,
    lane: RefCell<WorkerLane>,
    take: Callback,
    /// Connections are received after the callbacks of all other ready descriptors. A request that is about
    /// to block the worker blocks it before the next connection is received.
    after_poll: RefCell<Option<AfterPoll>>,
    /// Tells the primary's page that the loop begins to wait. Started when the primary has given one.
    before_poll: RefCell<Option<BeforePoll>>,
    /// How many may be received in the next turn.
    budget: Cell<usize>,
    /// What this turn's poll found to be readable.
    is_readable: Cell<bool>,
    is_shared_readable: Cell<bool>,
    /// The connections that rest ask before they read. Made when the primary wants connections to rest.
    guarded: RefCell<Option<GuardedStreams>>,
    begin_rest: Callback,
    settled: Callback,
    name_sessions: Callback,
    /// Called when the primary wants to see what the runtime knows of itself.
    observe: RefCell<Option<Callback>>,
}

#[napi]
impl NativeLane {
    /// Takes over the lane with this inherited descriptor and announces to the primary that it reads it, or
    /// why it cannot. In the first case `channel` is this end of the socket to which the channel may move.
    ///
    /// `take` is called with `(key, isPipe, descriptor, seq, openSlot)` for each connection and owns the descriptor; it returns
    /// whether the worker has taken the connection. `openSlot` is what `countOpen` takes, or -1 where nobody counts.
    ///
    /// `beginRest` is called when connections are to rest between requests, and returns why they cannot, or nothing.
    /// `settled` is called with the slot of each connection that the primary has taken, and with `true` and that of each which was
    /// given to it and is to be read here: its stream has stopped reading. `nameSessions` is called with what
    /// names sessions in requests, one a line, when the primary wants to know which ones this worker begins.
    #[napi(constructor)]
    pub fn new(
        env: Env,
        descriptor: i32,
        inode: f64,
        #[napi(
            ts_arg_type = "(key: string, isPipe: boolean, descriptor: number, seq: number, openSlot: number) => boolean"
        )]
        take: Function<(), ()>,
        #[napi(ts_arg_type = "() => string | undefined")] begin_rest: Function<(), ()>,
        #[napi(ts_arg_type = "(slot: number, isOurs: boolean) => void")] settled: Function<(), ()>,
        #[napi(ts_arg_type = "(names: string) => void")] name_sessions: Function<(), ()>,
    ) -> Result<Self, String> {
        let socket = os::inherited_lane(descriptor, inode as u64)
            .map_err(|errno| coded(Error::Sys { doing: "taking over a lane", errno }))?;
        let watched = Rc::new(Watched {
            env,
            lane: RefCell::new(WorkerLane::new(socket)),
            take: Callback::new(env, &take).map_err(napi_failure)?,
            watch: RefCell::new(None),
            watch_shared: RefCell::new(None),
            after_poll: RefCell::new(None),
            before_poll: RefCell::new(None),
            budget: Cell::new(1),
            is_readable: Cell::new(false),
            is_shared_readable: Cell::new(false),
            guarded: RefCell::new(None),
            begin_rest: Callback::new(env, &begin_rest).map_err(napi_failure)?,
            settled: Callback::new(env, &settled).map_err(napi_failure)?,
            name_sessions: Callback::new(env, &name_sessions).map_err(napi_failure)?,
            observe: RefCell::new(None),
        });
        let call = |method: fn(&Rc<Watched>)| {
            let weak = Rc::downgrade(&watched);
            move || {
                if let Some(watched) = Weak::upgrade(&weak) {
                    method(&watched);
                }
            }
        };
        let handles = Watch::new(&env, descriptor, call(|watched| watched.on_readable()))
            .and_then(|watch| Ok((watch, AfterPoll::new(&env, call(Watched::receive))?)))
            .and_then(|(watch, after)| {
                Ok((watch, after, BeforePoll::new(&env, call(|watched| watched.poll()))?))
            });
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
                watched.close_handles();
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

    /// As `close`, before the channel with this descriptor is closed. If its other end is closed already, or the
    /// caller knows as much, the primary has gone and takes nothing back: the connections that are left in the lane are
    /// received first.
    #[napi]
    pub fn end(&self, channel: i32, is_deserted: bool) {
        if is_deserted || os::is_deserted(channel) {
            self.watched.receive_all();
        }
        self.watched.close();
    }

    /// Gives the primary a copy of a connection with this descriptor. It rests from now on. Returns its slot, or -1 where
    /// that cannot be. `timeout` is for how long its client may say nothing, in milliseconds; 0 for ever.
    #[napi]
    pub fn keep(&self, descriptor: i32, key: String, is_pipe: bool, timeout: u32) -> i32 {
        self.watched.keep(descriptor, &key, is_pipe, timeout).map_or(-1, |slot| slot.0.cast_signed())
    }

    /// The connection with the slot that the function is called with rests again, until its client sends something.
    #[napi(ts_return_type = "(slot: number) => void")]
    pub fn rest_function<'env>(&self, env: &'env Env) -> Result<Function<'env, u32, ()>> {
        guarded::rest_function(env)
    }

    /// The worker wants to read the connection, whether its client has sent something or not. Returns whether it may.
    #[napi]
    pub fn claim(&self, slot: u32) -> bool {
        self.watched.lane.borrow().claim(Slot(slot)) == Claim::Ours
    }

    /// To be called before the connection is closed.
    #[napi]
    pub fn release(&self, slot: u32) {
        self.watched.forget(Slot(slot));
        self.watched.lane.borrow_mut().release(Slot(slot));
    }

    /// As `release`, in a worker that leaves: what rests is for others.
    #[napi]
    pub fn leave(&self, slot: u32) {
        self.watched.forget(Slot(slot));
        self.watched.lane.borrow_mut().leave(Slot(slot));
    }

    /// The worker has one more connection open, or one less, of the server that is counted at this place.
    #[napi]
    pub fn count_open(&self, slot: u32, has_come: bool) {
        self.watched.lane.borrow().count_open(slot as usize, has_come);
    }

    /// Closes the descriptor of a connection that could not be taken.
    #[napi]
    pub fn close_descriptor(&self, descriptor: i32) {
        drop(os::adopt(descriptor));
    }
}

impl Watched {
    fn on_readable(&self) {
        self.is_readable.set(true);
        self.receive_soon();
    }

    fn on_shared_readable(&self) {
        self.is_shared_readable.set(true);
        self.receive_soon();
    }

    fn receive_soon(&self) {
        if let Some(after_poll) = &*self.after_poll.borrow() {
            after_poll.request();
        }
    }

    fn receive(self: &Rc<Self>) {
        if let Some(after_poll) = &*self.after_poll.borrow() {
            after_poll.done();
        }
        let is_shared_readable = self.is_shared_readable.take();
        let is_given = self.is_readable.take() && self.receive_own();
        // One that it was given keeps it busy as well.
        if is_shared_readable && !is_given {
            self.receive_shared();
        }
        self.read_shared_soon();
        self.begin_rest();
        self.name_sessions();
        self.give();
        self.begin_to_be_observed();
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

    /// Receives from its own lane, as many as may be in this turn. Returns whether there were any.
    fn receive_own(self: &Rc<Self>) -> bool {
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
                Ok(Received::Connection(connection)) => {
                    let seq = connection.seq;
                    if !self.serve(connection) {
                        self.lane.borrow_mut().refuse(seq);
                    }
                }
                Ok(Received::Nothing) => {
                    self.budget.set(1);
                    return count > 1;
                }
                // The primary has gone. The worker notices the end of the channel.
                Ok(Received::Ended) => {
                    self.close();
                    return false;
                }
                Err(error) => {
                    // The primary uses the channel from now on, unless it has gone.
                    let _ = self.lane.borrow_mut().decline(error.to_string());
                    self.close();
                    return false;
                }
            }
        }
        true
    }

    /// The loop is about to look for events.
    fn poll(self: &Rc<Self>) {
        self.report_moved();
        self.give();
        if let Some(before_poll) = &*self.before_poll.borrow() {
            let (now, busy) = before_poll.times();
            // If the primary has gone there is nobody to tell.
            let _ = self.lane.borrow_mut().poll(now, busy, before_poll.has_more());
        }
    }

    /// Connections rest from now on, if the primary has just asked for it.
    fn begin_rest(self: &Rc<Self>) {
        if !self.lane.borrow().has_rest() || self.guarded.borrow().is_some() {
            return;
        }
        let [asked, told, rested] = std::array::from_fn(|_| Rc::downgrade(self));
        let may_read = move |slot| {
            // Without the lane nobody else reads.
            asked.upgrade().is_none_or(|watched| watched.may_read(slot))
        };
        let has_stopped = move |slot: Slot| {
            if let Some(watched) = told.upgrade() {
                watched.on_stopped(slot);
            }
        };
        let rest = move |slot| {
            if let Some(watched) = rested.upgrade() {
                watched.rest(slot);
            }
        };
        let reason = match GuardedStreams::new(&self.env, may_read, has_stopped, rest) {
            Ok(guarded) => {
                *self.guarded.borrow_mut() = Some(guarded);
                self.begin_rest.call::<Option<String>, 0>(|_| Ok([])).flatten()
            }
            Err(reason) => Some(reason),
        };
        if let Some(reason) = reason {
            *self.guarded.borrow_mut() = None;
            // If the primary has gone there is nobody to tell.
            let _ = self.lane.borrow_mut().decline_rest(reason);
        }
    }

    /// Receives the connections that a primary has left behind.
    fn receive_all(self: &Rc<Self>) {
        loop {
            // Not borrowed while JavaScript runs.
            let received = self.lane.borrow_mut().receive();
            match received {
                Ok(Received::Connection(connection)) => {
                    self.serve(connection);
                }
                Ok(Received::Nothing | Received::Ended) | Err(_) => break,
            }
        }
        loop {
            let received = self.lane.borrow_mut().receive_shared();
            match received {
                Ok(Received::Connection(connection)) => self.serve_shared(connection),
                Ok(Received::Nothing | Received::Ended) | Err(_) => return,
            }
        }
    }

    /// Returns whether the worker has taken the connection.
    fn serve(self: &Rc<Self>, connection: Connection) -> bool {
        // The primary may have asked for it in the message before.
        self.begin_rest();
        self.name_sessions();
        let Connection { seq, kind, key, handle } = connection;
        let is_pipe = kind == ConnectionKind::Pipe;
        let slot = self.lane.borrow().open_slot(&key).map_or(-1, |slot| slot as i32);
        let taken: Option<bool> = self.take.call(|env| {
            let env = env.raw();
            // SAFETY: the environment of the call that is under way.
            unsafe {
                Ok([
                    <&str>::to_napi_value(env, &key)?,
                    bool::to_napi_value(env, is_pipe)?,
                    i32::to_napi_value(env, os::into_raw(handle))?,
                    i64::to_napi_value(env, seq.0 as i64)?,
                    i32::to_napi_value(env, slot)?,
                ])
            }
        });
        // A connection whose listener threw has been taken: Node accepts it before it calls the listener,
        // too.
        taken != Some(false)
    }

    /// Stops receiving. Reports what was received before anything else happens, such as the end of the
    /// channel.
    fn close(&self) {
        // What rests is this worker's from now on, as the primary is not asked any more.
        let ended = self.lane.borrow_mut().end_rest();
        ended.moved.into_iter().for_each(|slot| self.tell_settled(slot, false));
        drop(self.guarded.borrow_mut().take());
        ended.taken_back.into_iter().for_each(|slot| self.tell_settled(slot, true));
        // If the primary has gone the report has no reader.
        let _ = self.lane.borrow_mut().report();
        self.close_handles();
    }

    /// The environment ends: what rests is for others.
    fn close_handles(&self) {
        // Dropped after the borrow has ended, whatever libuv calls.
        let handles = (
            self.watch.borrow_mut().take(),
            self.watch_shared.borrow_mut().take(),
            self.after_poll.borrow_mut().take(),
            self.before_poll.borrow_mut().take(),
        );
        drop(handles);
    }
}
