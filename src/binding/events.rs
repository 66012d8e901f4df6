//! Events as JavaScript sees them: an array in which each has its kind, what it is of, and two values.

use napi::bindgen_prelude::{Array, ToNapiValue, Unknown};
use napi::{Env, Result};

use super::channels::{Channels, FollowUp};
use super::event_kind::EventKind;
use super::text;
use super::values::{frame_value, message_values};
use crate::channel::{ChannelCommand, ChannelEvent, Format, Unwritten};
use crate::error::Error;
use crate::os;
use crate::proto::Serialization;

/// Converts events for JavaScript: a flat array of four values each.
pub struct EventWriter<'env, 'a> {
    env: &'env Env,
    channels: &'a mut Channels,
    array: Array<'env>,
    length: u32,
    follow_up: Vec<FollowUp>,
}

impl<'env, 'a> EventWriter<'env, 'a> {
    pub fn new(env: &'env Env, channels: &'a mut Channels) -> Result<Self> {
        Ok(EventWriter { env, channels, array: env.create_array(0)?, length: 0, follow_up: Vec::new() })
    }

    /// The array, and the commands to the reactor that follow from taking the events.
    pub fn finish(self) -> (Array<'env>, Vec<FollowUp>) {
        (self.array, self.follow_up)
    }

    pub fn env(&self) -> &'env Env {
        self.env
    }

    pub fn channels(&mut self) -> &mut Channels {
        self.channels
    }

    /// Adds an event of a channel. The channel is removed with its last event.
    pub fn channel_event(&mut self, id: u32, event: ChannelEvent) -> Result<()> {
        match event {
            ChannelEvent::Messages(frames) => {
                let serialization = self.serialization(id);
                let [kind, first, second] = message_values(self.env, serialization, frames)?;
                self.put(kind)?;
                self.put(id)?;
                self.put(first)?;
                self.put(second)
            }
            ChannelEvent::HandleMessage { bytes, handle } => {
                let frame = self.frame(id, bytes)?;
                self.channels.handle_taken(id, &mut self.follow_up);
                self.head(EventKind::HandleMessage, id)?;
                self.put(frame)?;
                self.put(os::into_raw(handle))
            }
            ChannelEvent::HandleArrived => self.plain(EventKind::HandleArrived, id),
            ChannelEvent::HandleLost => self.plain(EventKind::HandleLost, id),
            ChannelEvent::Written(completion) => self.number(EventKind::Written, id, completion.0),
            ChannelEvent::Unwritten(Unwritten { completion, written }) => {
                self.head(EventKind::Unwritten, id)?;
                self.put(completion.0)?;
                self.put(written as f64)
            }
            // The program need not know which thread reads a channel.
            ChannelEvent::Offered(_) => Ok(()),
            ChannelEvent::Closed(cause) => {
                let is_deserted = self.channels.get(id).is_some_and(|channel| channel.is_deserted());
                self.channels.remove(id);
                if let Some(error) = cause {
                    return self.failure(EventKind::Closed, id, &error);
                }
                self.head(EventKind::Closed, id)?;
                self.skip(1)?;
                self.put(is_deserted)
            }
        }
    }

    pub fn head(&mut self, kind: EventKind, id: u32) -> Result<()> {
        self.put(kind as u32)?;
        self.put(id)
    }

    pub fn plain(&mut self, kind: EventKind, id: u32) -> Result<()> {
        self.head(kind, id)?;
        self.skip(2)
    }

    pub fn text(&mut self, kind: EventKind, id: u32, text: String) -> Result<()> {
        self.head(kind, id)?;
        self.put(text)?;
        self.skip(1)
    }

    fn number(&mut self, kind: EventKind, id: u32, number: u32) -> Result<()> {
        self.head(kind, id)?;
        self.put(number)?;
        self.skip(1)
    }

    pub fn failure(&mut self, kind: EventKind, id: u32, error: &Error) -> Result<()> {
        self.head(kind, id)?;
        self.put(error.code())?;
        self.put(error.to_string())
    }

    /// A message of a channel, as a value. Fails before anything is added if V8 has no such value.
    pub fn frame(&self, id: u32, bytes: Vec<u8>) -> Result<Unknown<'env>> {
        let format = Format::of(self.serialization(id), &bytes);
        frame_value(self.env, format, bytes)
    }

    /// Ends a channel because of a message that V8 has no value for.
    pub fn destroy(&mut self, id: u32) {
        let error = Error::FrameTooLarge { limit: text::MAX_LENGTH };
        self.follow_up.push(FollowUp(id, ChannelCommand::Destroy(error)));
    }

    fn serialization(&self, id: u32) -> Serialization {
        self.channels.get(id).map_or(Serialization::Json, |channel| channel.serialization())
    }

    pub fn put<T: ToNapiValue>(&mut self, value: T) -> Result<()> {
        self.array.set(self.length, value)?;
        self.length += 1;
        Ok(())
    }

    /// Leaves values undefined.
    pub fn skip(&mut self, count: u32) -> Result<()> {
        for _ in 0..count {
            self.put(())?;
        }
        Ok(())
    }
}
