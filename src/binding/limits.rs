//! Numbers that JavaScript knows as well, as it gets them (`lib/limits.js`): none of them is written twice.

#![cfg_attr(test, allow(dead_code, reason = "a build for tests registers nothing with Node-API"))]

use napi_derive::napi;

use crate::channel;
use crate::os;
use crate::proto;

/// `send` answers false once so many bytes wait ([`channel::Channel::backlog`]): two of Node's reads (Node:
/// `writeQueueSize < 65536 * 2`).
#[napi(namespace = "limits")]
pub const HIGH_WATER: u32 = channel::MUCH_BACKLOG as u32;

/// What a send returns that was written to a peer which has more than `HIGH_WATER` unread.
#[napi(namespace = "limits")]
pub const WRITTEN_AND_BEHIND: f64 = 0.5;

/// Messages of up to this size go together, in bytes.
#[napi(namespace = "limits")]
pub const BATCHED_MESSAGE: u32 = channel::BATCHED_MESSAGE as u32;

/// So many bytes of messages go together: about what a peer reads at once.
#[napi(namespace = "limits")]
pub const BATCH: u32 = channel::CORKED as u32;

/// What a message that waits to be written costs beside its bytes, in bytes.
#[napi(namespace = "limits")]
pub const WAITING_WEIGHT: u32 = channel::WAITING_WEIGHT as u32;

/// The longest id of a session, in bytes.
#[napi(namespace = "limits")]
pub const MAX_SESSION_ID: u32 = proto::MAX_SESSION_ID as u32;

/// A message has at most so many attachments.
#[napi(namespace = "limits")]
pub const MAX_ATTACHMENTS: u32 = proto::MAX_ATTACHMENTS as u32;

/// The size from which on a string is an attachment, in bytes of shared memory.
#[napi(namespace = "limits")]
pub const SMALLEST_ATTACHMENT: u32 = channel::SMALLEST_ATTACHMENT as u32;

/// How many descriptors this process may have open.
#[napi(namespace = "limits")]
pub fn descriptor_limit() -> f64 {
    os::descriptor_limit() as f64
}
