//! Channels that the JavaScript thread reads itself, while the reactor lends them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use napi::{Env, JsValue, Result, sys};

use super::callback::Callback;
use super::channels::Peer;
use super::events::{self, EventQueue, OfChannels, Writer};
use super::watch::Watch;
use crate::channel::{Channel, ChannelEvent, DirectRead, Frames};
use crate::ids::Offer;
use crate::proto::Serialization;

/// The channels that the event loop watches, and what is done when one is readable. Belongs to the JavaScript thread.
pub struct DirectReading<E> {
    /// Takes the events.
    dispatch: Callback,
    /// Takes messages, when there is nothing else: as `takeEvents` gives them.
    deliver: Callback,
    events: Arc<EventQueue<E>>,
    /// Has the reactor take a channel back, and read on.
    give_back: Box<dyn Fn(u32)>,
    watches: RefCell<HashMap<u32, Watch>>,
}

impl<E: OfChannels> DirectReading<E> {
    pub fn new(
        dispatch: Callback,
        deliver: Callback,
        events: Arc<EventQueue<E>>,
        give_back: impl Fn(u32) + 'static,
    ) -> Rc<Self> {
        let give_back = Box::new(give_back);
        Rc::new(DirectReading { dispatch, deliver, events, give_back, watches: RefCell::default() })
    }

    /// Converts an event of a channel's for JavaScript, or deals with it here.
    pub fn write_event(
        self: &Rc<Self>,
        writer: &mut Writer<'_, '_>,
        id: u32,
        event: ChannelEvent,
    ) -> Result<()> {
        match event {
            ChannelEvent::Offered(offer) => {
                let env = writer.env();
                if let Some(peer) = writer.channels().get(id) {
                    self.accept(env, id, peer, offer);
                }
                Ok(())
            }
            event => {
                if matches!(event, ChannelEvent::Closed(_)) {
                    self.forget(id);
                }
                writer.channel_event(id, event)
            }
        }
    }

    /// The reactor offers a channel: watches it, unless the reactor has taken it back meanwhile.
    fn accept(self: &Rc<Self>, env: &Env, id: u32, peer: &Peer, offer: Offer) {
        if !peer.channel.accept(offer) {
            return;
        }
        let mut watches = self.watches.borrow_mut();
        // One of before is on another socket if the channel has moved since: it goes when this one takes its place.
        let fd = peer.channel.as_fd().as_raw_fd();
        if let Some(watch) = watches.get(&id).filter(|watch| watch.fd() == fd) {
            return watch.start();
        }
        match self.watch(env, id, peer, fd) {
            Ok(watch) => {
                watch.start();
                watches.insert(id, watch);
            }
            // The reactor reads, as without any of this.
            Err(_) => {
                peer.channel.refuse_offers();
                (self.give_back)(id);
            }
        }
    }

    /// Before the descriptor of a channel is closed.
    fn forget(&self, id: u32) {
        self.watches.borrow_mut().remove(&id);
    }

    /// Before the event loop goes.
    pub fn forget_all(&self) {
        self.watches.borrow_mut().clear();
    }

    fn watch(
        self: &Rc<Self>,
        env: &Env,
        id: u32,
        peer: &Peer,
        fd: RawFd,
    ) -> std::result::Result<Watch, String> {
        // Weak: libuv keeps these for a turn of its loop after the watch has ended, and the descriptor is closed by then.
        let (this, channel) = (Rc::downgrade(self), Arc::downgrade(&peer.channel));
        let untold = peer.untold.clone();
        Watch::new(env, fd, move || {
            if let (Some(this), Some(channel)) = (Weak::upgrade(&this), channel.upgrade()) {
                this.read(id, &channel, &untold);
            }
        })
    }

    fn read(&self, id: u32, channel: &Channel, untold: &AtomicUsize) {
        let mut has_told = false;
        let outcome = channel.read_directly(|frames| {
            untold.fetch_add(frames.len(), Ordering::Relaxed);
            self.events.push(E::of_channel(id, ChannelEvent::Messages(frames)));
            has_told = true;
        });
        if outcome != DirectRead::Told
            && let Some(watch) = self.watches.borrow().get(&id)
        {
            watch.stop();
        }
        if outcome == DirectRead::Returned {
            (self.give_back)(id);
        }
        if !has_told {
            return;
        }
        // What the program throws has been told by then, and an environment that is going wants no messages.
        let Some((id, frames)) = self.events.take_only_messages() else {
            self.dispatch.call::<(), 0>(|_| Ok([]));
            return;
        };
        if untold.fetch_sub(frames.len(), Ordering::Relaxed) > channel.max_untold() {
            // The reactor may have looked in between, and have left what comes next unread because of these.
            (self.give_back)(id);
        }
        let serialization = channel.serialization();
        self.deliver.call::<(), 4>(|env| arguments(env, serialization, id, frames));
    }
}

fn arguments(
    env: &Env,
    serialization: Serialization,
    id: u32,
    frames: Frames,
) -> Result<[sys::napi_value; 4]> {
    let [kind, first, second] = events::message_values(env, serialization, frames)?;
    let id = env.create_uint32(id)?.to_unknown();
    Ok([kind, id, first, second].map(|value| value.value().value))
}
