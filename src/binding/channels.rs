//! The channels of a reactor that JavaScript knows, by their numbers.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use serde_json::json;

use crate::channel::{Channel, ChannelCommand, Frame, SendStatus};
use crate::error::Error;
use crate::proto::{self, HANDLE_ACK};

/// A command to the reactor for the channel with this number.
#[derive(Debug)]
pub struct FollowUp(pub u32, pub ChannelCommand);

/// The channels by their numbers.
#[derive(Default)]
pub struct Channels {
    by_id: HashMap<u32, Arc<Channel>>,
    /// How many handles have been taken and not acknowledged, of the channels on which that is withheld.
    withheld: HashMap<u32, usize>,
}

impl Channels {
    pub fn add(&mut self, id: u32, channel: Arc<Channel>) {
        self.by_id.insert(id, channel);
    }

    pub fn get(&self, id: u32) -> Option<&Arc<Channel>> {
        self.by_id.get(&id)
    }

    pub fn remove(&mut self, id: u32) {
        self.by_id.remove(&id);
        self.withheld.remove(&id);
    }

    /// The number of this side's descriptor of a channel; -1 when the channel is closed.
    pub fn descriptor(&self, id: u32) -> i32 {
        self.get(id).map_or(-1, |channel| channel.as_fd().as_raw_fd())
    }

    /// JavaScript has dealt with events of this cost that the peer has caused. A channel that was not read
    /// because of too many of them is read again.
    pub fn delivered(&self, id: u32, cost: usize) -> Option<FollowUp> {
        let is_waited_for = self.get(id)?.undelivered().remove(cost);
        is_waited_for.then_some(FollowUp(id, ChannelCommand::Resume))
    }

    /// A handle has been taken. It is acknowledged, unless that is withheld.
    pub fn handle_taken(&mut self, id: u32, follow_up: &mut Vec<FollowUp>) {
        let Some(channel) = self.by_id.get(&id) else { return };
        channel.undelivered().handle_taken();
        match self.withheld.get_mut(&id) {
            Some(count) => *count += 1,
            None => self.acknowledge(id, follow_up),
        }
    }

    /// Withholds the acknowledgements of a channel until [`Channels::acknowledge_all`]: a peer that follows
    /// the protocol sends no more handles.
    pub fn withhold(&mut self, id: u32) {
        if self.by_id.contains_key(&id) {
            self.withheld.entry(id).or_default();
        }
    }

    /// Sends what has been withheld.
    pub fn acknowledge_all(&mut self, id: u32) -> Vec<FollowUp> {
        let mut follow_up = Vec::new();
        for _ in 0..self.withheld.remove(&id).unwrap_or_default() {
            self.acknowledge(id, &mut follow_up);
        }
        follow_up
    }

    /// Acknowledges a handle: the peer may send its next one. Does nothing for a peer that has gone.
    fn acknowledge(&self, id: u32, follow_up: &mut Vec<FollowUp>) {
        let Some(channel) = self.get(id) else { return };
        let Ok(bytes) = proto::encode(channel.serialization(), &json!({ "cmd": HANDLE_ACK })) else {
            return;
        };
        follow_up.extend(answered(id, channel.send_receipt(Frame::plain(bytes))));
    }
}

/// The command that follows from an answer to the peer. A peer that does not read its answers loses its
/// channel.
pub fn answered(id: u32, status: Result<SendStatus, Error>) -> Option<FollowUp> {
    match status {
        Ok(SendStatus::Queued { needs_flush: true, .. }) => Some(FollowUp(id, ChannelCommand::Flush)),
        Ok(_) => None,
        Err(fault) => Some(FollowUp(id, ChannelCommand::Destroy(fault))),
    }
}
