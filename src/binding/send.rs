//! Sending on one channel, and the result as JavaScript gets it.

use std::sync::Arc;

use napi::Result;
use nix::errno::Errno;

use super::framing::Placed;
use super::limits::{HIGH_WATER, WRITTEN_AND_BEHIND};
use crate::channel::{Channel, Corked, Frame, HandleOrigin, SendStatus, Uncorked, Unfit};
use crate::ids::Completion;
use crate::os;
use crate::proto::Attachment;

/// The result of sending a message, or why it was not sent.
pub type Outcome = std::result::Result<Sent, Errno>;

/// The result of sending a message.
pub struct Sent {
    /// 0 when everything was written, `WRITTEN_AND_BEHIND` when it was and the peer is far behind, the number
    /// of bytes that wait when not all was written.
    pub status: f64,
    /// The reactor is to flush.
    pub needs_flush: bool,
    /// The message is corked: the reactor starts its timer.
    pub needs_timer: bool,
}

/// A failed send, as JavaScript gets it: a negative errno.
pub fn failure(errno: Errno) -> f64 {
    -f64::from(errno as i32)
}

fn errno_of(unfit: Unfit) -> Errno {
    match unfit {
        Unfit::TooLarge => Errno::EMSGSIZE,
        Unfit::QueueFull => Errno::ENOBUFS,
    }
}

/// Whether a frame of so many bytes may be sent.
pub fn admit(channel: &Channel, bytes: usize) -> std::result::Result<(), Errno> {
    channel.takes(bytes).map_err(errno_of)
}

pub fn dispatch(channel: &Channel, bytes: &[u8], handle: i32, completion: u32) -> Outcome {
    let completion = Completion(completion);
    let status = if handle < 0 {
        channel.send_lent(bytes, completion)
    } else {
        let handle = Arc::new(os::duplicate_raw(handle)?);
        channel.send(Frame {
            bytes: bytes.to_vec(),
            handle: Some((handle, HandleOrigin::User)),
            completion: Some(completion),
        })
    };
    outcome(channel, status, 1, bytes.len())
}

pub fn send_parts(channel: &Channel, parts: &[&[u8]], completion: u32) -> Outcome {
    let length = parts.iter().map(|part| part.len()).sum();
    outcome(channel, channel.send_parts(parts, Completion(completion)), 1, length)
}

/// Sends several messages as they travel, none of which is too large.
pub fn send_many(channel: &Channel, bytes: &[u8], count: u32, completion: u32) -> Outcome {
    channel.has_room(bytes.len()).map_err(errno_of)?;
    outcome(channel, channel.send_lent(bytes, Completion(completion)), count, bytes.len())
}

/// Corks a frame that brings `beside` more bytes along in shared memory.
pub fn cork(
    channel: &Channel,
    beside: usize,
    uncorked: Uncorked,
    append: impl FnOnce(&mut Vec<u8>),
) -> Outcome {
    let mut length = 0;
    let Corked { status, needs_timer } = channel.cork(uncorked, |bytes| {
        let before = bytes.len();
        append(bytes);
        length = bytes.len() - before;
    });
    let sent = counted(channel, status, 1, length + beside)?;
    Ok(Sent { status: channel.backlog() as f64, needs_timer, ..sent })
}

/// Corks a frame whose attachments are in shared memory. They stay there if it is whole and may be sent.
pub fn cork_placed(
    channel: &Channel,
    placed: Placed<'_>,
    uncorked: Uncorked,
    append: impl FnOnce(&[Attachment], &mut Vec<u8>) -> Result<()>,
) -> Result<Outcome> {
    let mut appended = Ok(());
    let outcome =
        cork(channel, placed.length(), uncorked, |bytes| appended = append(placed.attachments(), bytes));
    appended?;
    Ok(outcome.map(|sent| {
        placed.sent();
        Sent { status: channel.backlog() as f64, ..sent }
    }))
}

/// Counts messages that were sent, and returns the result with how far behind the peer is.
pub fn outcome(channel: &Channel, status: SendStatus, count: u32, bytes: usize) -> Outcome {
    let sent = counted(channel, status, count, bytes)?;
    let backlog = channel.backlog();
    Ok(match status {
        SendStatus::Written if backlog >= HIGH_WATER as usize => Sent { status: WRITTEN_AND_BEHIND, ..sent },
        // 0 would say that everything was written.
        SendStatus::Queued { .. } => Sent { status: backlog.max(1) as f64, ..sent },
        _ => sent,
    })
}

/// Counts messages that were sent, and returns the result.
fn counted(channel: &Channel, status: SendStatus, count: u32, bytes: usize) -> Outcome {
    let sent = match status {
        SendStatus::Written => Sent { status: 0.0, needs_flush: false, needs_timer: false },
        SendStatus::Queued { bytes, needs_flush } => {
            Sent { status: bytes as f64, needs_flush, needs_timer: false }
        }
        SendStatus::Failed(errno) => return Err(errno),
        SendStatus::Closed => return Err(Errno::EPIPE),
    };
    channel.traffic().sent(count, bytes);
    Ok(sent)
}
