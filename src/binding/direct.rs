//! Channels that the JavaScript thread reads itself, while the reactor lends them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use napi::{Env, JsValue, Result, sys};

use super::callback::Callback;
use super::channels::Peer;
use super::events::{self, EventQueue};
use super::watch::Watch;
use crate::channel::{Channel, ChannelEvent, DirectRead, Frames};
use crate::ids::{Offer, WorkerId};
use crate::primary::{Command, Event};
use crate::proto::Serialization;
use crate::reactor::Handle;

/// The channels that the event loop watches, and what is done when one is readable. Belongs to the JavaScript thread.
pub struct DirectReading {
    /// Takes the events.
    dispatch: Callback,
    /// Takes messages, when there is nothing else: their kind, the worker, and what `takeEvents` gives for them.
    deliver: Callback,
    events: Arc<EventQueue<Event>>,
    reactor: Handle<Command>,
    watches: RefCell<HashMap<WorkerId, Watch>>,
}

impl DirectReading {
    pub fn new(
        dispatch: Callback,
        deliver: Callback,
        events: Arc<EventQueue<Event>>,
        reactor: Handle<Command>,
    ) -> Rc<Self> {
        Rc::new(DirectReading { dispatch, deliver, events, reactor, watches: RefCell::default() })
    }

    /// The reactor offers a channel: watches it, unless the reactor has taken it back meanwhile.
    pub fn accept(self: &Rc<Self>, env: &Env, worker: WorkerId, peer: &Peer, offer: Offer) {
        if !peer.channel.accept(offer) {
            return;
        }
        let mut watches = self.watches.borrow_mut();
        if let Some(watch) = watches.get(&worker) {
            return watch.start();
        }
        match self.watch(env, worker, peer) {
            Ok(watch) => {
                watch.start();
                watches.insert(worker, watch);
            }
            // The reactor reads, as without any of this.
            Err(_) => {
                peer.channel.refuse_offers();
                self.return_to_reactor(worker);
            }
        }
    }

    /// Before the descriptor of the worker's channel is closed.
    pub fn forget(&self, worker: WorkerId) {
        self.watches.borrow_mut().remove(&worker);
    }

    /// Before the event loop goes.
    pub fn forget_all(&self) {
        self.watches.borrow_mut().clear();
    }

    fn watch(
        self: &Rc<Self>,
        env: &Env,
        worker: WorkerId,
        peer: &Peer,
    ) -> std::result::Result<Watch, String> {
        // Weak: libuv keeps these for a turn of its loop after the watch has ended, and the descriptor is closed by then.
        let (this, channel) = (Rc::downgrade(self), Arc::downgrade(&peer.channel));
        let untold = peer.untold.clone();
        Watch::new(env, peer.channel.as_fd().as_raw_fd(), move || {
            if let (Some(this), Some(channel)) = (Weak::upgrade(&this), channel.upgrade()) {
                this.read(worker, &channel, &untold);
            }
        })
    }

    fn read(&self, worker: WorkerId, channel: &Channel, untold: &AtomicUsize) {
        let mut has_told = false;
        let outcome = channel.read_directly(|frames| {
            untold.fetch_add(frames.len(), Ordering::Relaxed);
            self.events.push(Event::Channel(worker, ChannelEvent::Messages(frames)));
            has_told = true;
        });
        if outcome != DirectRead::Told
            && let Some(watch) = self.watches.borrow().get(&worker)
        {
            watch.stop();
        }
        if outcome == DirectRead::Returned {
            self.return_to_reactor(worker);
        }
        if !has_told {
            return;
        }
        // What the program throws has been told by then, and an environment that is going wants no messages.
        let Some((worker, frames)) = self.events.take_only_messages() else {
            self.dispatch.call::<(), 0>(|_| Ok([]));
            return;
        };
        untold.fetch_sub(frames.len(), Ordering::Relaxed);
        let serialization = channel.serialization();
        self.deliver.call::<(), 3>(|env| arguments(env, serialization, worker, frames));
    }

    fn return_to_reactor(&self, worker: WorkerId) {
        // Without a reactor nobody reads any more.
        let _ = self.reactor.send(Command::TakeBack(worker));
    }
}

fn arguments(
    env: &Env,
    serialization: Serialization,
    worker: WorkerId,
    frames: Frames,
) -> Result<[sys::napi_value; 3]> {
    let (kind, bytes) = events::kind_of(frames);
    Ok([
        env.create_uint32(kind as u32)?.value().value,
        env.create_uint32(worker.0)?.value().value,
        events::frame_value(env, serialization, bytes)?.value().value,
    ])
}
