//! What the classes with a reactor have in common: its thread, its events, the channels on which JavaScript
//! sends and those that JavaScript reads.

use std::cell::{Ref, RefCell, RefMut};
use std::rc::Rc;
use std::sync::Arc;

use napi::bindgen_prelude::{Array, Function};
use napi::{Env, Result};

use super::callback::Callback;
use super::channels::{Channels, FollowUp};
use super::direct_read::DirectReading;
use super::events::EventWriter;
use super::queue::{EventQueue, ReactorEvent, Sink, Source};
use super::wake::Wake;
use super::writer::NativeWriter;
use super::{coded, napi_failure, stop_with_environment};
use crate::channel::ChannelCommand;
use crate::reactor::{self, Handle, Handler};

/// A reactor thread and the JavaScript thread's side of its channels.
pub struct Reactor<C, E> {
    handle: Handle<C>,
    events: Arc<EventQueue<E>>,
    channels: Rc<RefCell<Channels>>,
    direct: Rc<DirectReading<E>>,
    /// The events that were taken in this turn of the event loop: their channels and their costs.
    taken: RefCell<Vec<(u32, usize)>>,
}

impl<C: From<FollowUp> + Send + 'static, E: ReactorEvent> Reactor<C, E> {
    /// Starts the thread with the handler that `make` returns, and returns the second thing that `make`
    /// returns. `wake` is called on the JavaScript thread when there are events to take; it does not keep the
    /// process alive. `deliver` is called with messages when there are no other events.
    pub fn start<H: Handler<Command = C>, T>(
        env: Env,
        name: &str,
        wake: Function<(), ()>,
        deliver: Function<(), ()>,
        make: impl FnOnce(Sink<E>) -> (H, T),
    ) -> Result<(Self, T), String> {
        let dispatch = Callback::new(env, &wake).map_err(napi_failure)?;
        let deliver = Callback::new(env, &deliver).map_err(napi_failure)?;
        let events = Arc::new(EventQueue::new(Wake::new(&env, &wake).map_err(napi_failure)?));
        let (handler, beside) = make(Sink::new(events.clone()));
        let (handle, thread) = reactor::spawn(name, handler).map_err(coded)?;
        let taker = handle.clone();
        let direct = DirectReading::new(dispatch, deliver, events.clone(), move |id| {
            // Without a reactor no channel is read any more.
            let _ = taker.send(FollowUp(id, ChannelCommand::TakeBack).into());
        });
        // Node closes its loop and wants it empty.
        let watches = direct.clone();
        stop_with_environment(env, handle.clone(), thread, move || watches.forget_all())?;
        Ok((Reactor { handle, events, channels: Rc::default(), direct, taken: RefCell::default() }, beside))
    }

    /// Gives the reactor thread a command, which it carries out in its next turn.
    ///
    /// Errors: [`crate::error::Error::ReactorGone`].
    pub fn send(&self, command: C) -> Result<(), String> {
        self.handle.send(command).map_err(coded)
    }

    /// As `send`; returns once the command is carried out.
    pub fn call(&self, command: C) -> Result<(), String> {
        self.handle.call(command).map_err(coded)
    }

    /// For sending on the channels.
    pub fn writer(&self) -> NativeWriter {
        let handle = self.handle.clone();
        NativeWriter::new(self.channels.clone(), Box::new(move |what| handle.send(what.into())))
    }

    pub fn channels(&self) -> Ref<'_, Channels> {
        self.channels.borrow()
    }

    pub fn channels_mut(&self) -> RefMut<'_, Channels> {
        self.channels.borrow_mut()
    }

    /// Takes as many events as one turn of the event loop handles, converted by `write`: a flat array of four
    /// values per event, the first of them its `EventKind`. To be followed by `turn_ended`.
    pub fn take_events<'env>(
        &self,
        env: &'env Env,
        write: impl Fn(&mut EventWriter<'env, '_>, E, &Rc<DirectReading<E>>) -> Result<()>,
    ) -> Result<Array<'env>> {
        let (mut channels, mut taken) = (self.channels.borrow_mut(), self.taken.borrow_mut());
        let mut writer = EventWriter::new(env, &mut channels)?;
        for event in self.events.take() {
            let source = event.source();
            taken.extend(event.cost().filter(|(_, cost)| *cost > 0));
            if let Err(error) = write(&mut writer, event, &self.direct) {
                match source {
                    Source::Channel(id) => writer.destroy(id),
                    // No peer determines the contents or the length of these.
                    Source::Reactor | Source::Listener(_) => return Err(error),
                }
            }
        }
        let (array, follow_up) = writer.finish();
        self.follow(follow_up);
        Ok(array)
    }

    /// What `take_events` gave has been passed on. Returns whether it may give more in this turn of the event
    /// loop.
    pub fn may_take_more(&self) -> bool {
        self.events.may_take_more()
    }

    /// The events that were taken are delivered, and the event loop has had a turn: more may be taken. Returns
    /// for how many milliseconds the events that wait are to rest; 0 if JavaScript is woken for them, or none
    /// wait.
    pub fn turn_ended(&self) -> u32 {
        let channels = self.channels.borrow();
        let delivered = std::mem::take(&mut *self.taken.borrow_mut());
        self.follow(delivered.into_iter().filter_map(|(id, cost)| channels.delivered(id, cost)));
        // At least one: a timer that runs out too early would only be set again.
        self.events.turn_ended().map_or(0, |rest| rest.as_millis() as u32 + 1)
    }

    /// Sends the reactor commands that follow from something else.
    pub fn follow(&self, follow_up: impl IntoIterator<Item = FollowUp>) {
        for what in follow_up {
            // Without a reactor there are no channels.
            let _ = self.handle.send(what.into());
        }
    }
}
