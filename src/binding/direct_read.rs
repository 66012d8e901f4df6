//! Channels that the JavaScript thread reads itself, while the reactor lends them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Instant;

use napi::{Env, JsValue, Result, sys};

use super::callback::Callback;
use super::events::EventWriter;
use super::queue::{EventQueue, PORTION, ReactorEvent, Source};
use super::uv::Watch;
use super::values;
use crate::channel::{Channel, ChannelEvent, DirectRead, Frames};
use crate::ids::Offer;
use crate::proto::Serialization;

/// The least number of messages that are taken from a channel at once, however many channels are read here.
const LEAST: usize = 16;

/// The channels that the event loop watches and this thread reads. Belongs to the JavaScript thread.
pub struct DirectReading<E> {
    /// Has JavaScript take the events.
    dispatch: Callback,
    /// Gives JavaScript messages, when there is nothing else, in the form of `takeEvents`.
    deliver: Callback,
    events: Arc<EventQueue<E>>,
    /// Has the reactor take a channel back and read it.
    give_back: Box<dyn Fn(u32)>,
    watches: RefCell<HashMap<u32, Watch>>,
}

impl<E: ReactorEvent> DirectReading<E> {
    pub fn new(
        dispatch: Callback,
        deliver: Callback,
        events: Arc<EventQueue<E>>,
        give_back: impl Fn(u32) + 'static,
    ) -> Rc<Self> {
        let give_back = Box::new(give_back);
        Rc::new(DirectReading { dispatch, deliver, events, give_back, watches: RefCell::default() })
    }

    /// Converts an event of a channel for JavaScript, or handles it here.
    pub fn write_event(
        self: &Rc<Self>,
        writer: &mut EventWriter<'_, '_>,
        id: u32,
        event: ChannelEvent,
    ) -> Result<()> {
        match event {
            ChannelEvent::Offered(offer) => {
                let env = writer.env();
                if let Some(channel) = writer.channels().get(id) {
                    self.accept(env, id, channel, offer);
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

    /// Watches a channel that the reactor offers, unless the reactor has taken it back meanwhile.
    fn accept(self: &Rc<Self>, env: &Env, id: u32, channel: &Arc<Channel>, offer: Offer) {
        if !channel.accept(offer) {
            return;
        }
        let mut watches = self.watches.borrow_mut();
        // An earlier watch is on another socket if the channel has moved since. The new one replaces it.
        let fd = channel.as_fd().as_raw_fd();
        if let Some(watch) = watches.get(&id).filter(|watch| watch.fd() == fd) {
            return watch.start();
        }
        match self.watch(env, id, channel, fd) {
            Ok(watch) => {
                watch.start();
                watches.insert(id, watch);
            }
            // The reactor goes on reading.
            Err(_) => {
                channel.refuse_offers();
                (self.give_back)(id);
            }
        }
    }

    /// Ends the watch. To be called before the descriptor of a channel is closed.
    fn forget(&self, id: u32) {
        self.watches.borrow_mut().remove(&id);
    }

    /// Ends all watches. To be called before the event loop is closed.
    pub fn forget_all(&self) {
        self.watches.borrow_mut().clear();
    }

    fn watch(
        self: &Rc<Self>,
        env: &Env,
        id: u32,
        channel: &Arc<Channel>,
        fd: RawFd,
    ) -> std::result::Result<Watch, String> {
        // Weak: libuv keeps these for a turn of its loop after the watch has ended, and the descriptor is
        // closed by then.
        let (this, weak) = (Rc::downgrade(self), Arc::downgrade(channel));
        Watch::new(env, fd, move || {
            if let (Some(this), Some(channel)) = (Weak::upgrade(&this), weak.upgrade()) {
                this.read(id, &channel);
            }
        })
    }

    fn read(&self, id: u32, channel: &Channel) {
        // All channels that are read here share a portion of what one turn of the event loop takes. The rest
        // goes by the reactor, where channels take turns.
        let most = (PORTION / self.watches.borrow().len().max(1)).max(LEAST);
        // The first messages need not go by the queue while nothing of the channel is in front of them.
        let mut first = None;
        let source = Source::Channel(id);
        let mut is_queued = self.events.has(source);
        let queue = |frames| {
            let event = ChannelEvent::Messages(frames);
            channel.undelivered().add(event.cost());
            self.events.push(E::from_channel(id, event));
        };
        let mut has_long = false;
        let outcome = channel.read_directly(most, |frames| {
            let is_long = self.events.may_take_long(source, frames.work());
            has_long |= is_long;
            if !is_queued && first.is_none() && !is_long {
                first = Some(frames);
            } else {
                is_queued = true;
                first.take().into_iter().for_each(queue);
                queue(frames);
            }
        });
        // What waits for a turn of its own waits where the reactor sees how much it is.
        let is_given_back = outcome == DirectRead::Returned || has_long;
        if (outcome != DirectRead::Delivered || has_long)
            && let Some(watch) = self.watches.borrow().get(&id)
        {
            watch.stop();
        }
        if is_given_back {
            (self.give_back)(id);
        }
        // An exception has been reported by then, and an environment that is being torn down takes no
        // messages.
        if let Some(frames) = first {
            let (serialization, work, began) = (channel.serialization(), frames.work(), Instant::now());
            self.deliver.call::<(), 4>(|env| arguments(env, serialization, id, frames));
            self.events.delivered_directly(source, work, began);
        } else if is_queued {
            self.dispatch.call::<(), 0>(|_| Ok([]));
        }
    }
}

fn arguments(
    env: &Env,
    serialization: Serialization,
    id: u32,
    frames: Frames,
) -> Result<[sys::napi_value; 4]> {
    let [kind, first, second] = values::message_values(env, serialization, frames)?;
    let id = env.create_uint32(id)?.to_unknown();
    Ok([kind, id, first, second].map(|value| value.value().value))
}
