//! What a bus and its engine say to each other over a stream socket, as bytes. No I/O. `lib/bus/frames.js` has the other
//! side; docs/bus.md says what the requests mean.
//!
//! A frame is a length (u32), a kind (u8), a sequence number (u64) and fields; numbers are little-endian, texts have
//! a u16 and bytes a u32 for their length in front. Both sides are bounded, and believe nothing.
//!
//! | File | What it holds |
//! | --- | --- |
//! | `fields` | reading and writing fields |
//! | `names` | names that come again |
//! | `request` | from the bus to the engine |
//! | `reply` | from the engine to the bus |
//! | `buffers` | what is between frames and a socket that does not block |

pub mod buffers;
pub mod fields;
pub mod names;
pub mod reply;
pub mod request;

pub use buffers::{Incoming, Outgoing, Progress};
pub use names::Names;
pub use reply::{Dead, Delivered, Reply, Stats};
pub use request::{Durability, Message, Name, Op, Overflow, Receipt, Request, Settings, Space};

/// The version of this protocol. Another one is refused at the greeting.
pub const VERSION: u32 = 1;

/// The largest frame: the largest message that a bus takes, and room for its options.
pub const MAX_FRAME: usize = (64 << 20) + (1 << 20);

/// The longest name of a queue, list, topic, group, or id, in bytes.
pub const MAX_NAME: usize = 255;

/// How many bytes the length in front of a frame has.
pub const PREFIX: usize = 4;

/// A duration without an end, in milliseconds.
pub const FOREVER: u64 = u64::MAX;

/// Takes the next whole frame off `bytes`: what is behind its length. `None` if it has not come whole yet.
///
/// # Errors
///
/// The length is more than [`MAX_FRAME`].
pub fn next_frame(bytes: &[u8]) -> Result<Option<&[u8]>, crate::error::Fault> {
    let Some(prefix) = bytes.first_chunk::<PREFIX>() else { return Ok(None) };
    let length = u32::from_le_bytes(*prefix) as usize;
    if length > MAX_FRAME {
        return Err(crate::error::Fault::protocol(format!("a frame of {length} bytes")));
    }
    Ok(bytes.get(PREFIX..PREFIX + length))
}
