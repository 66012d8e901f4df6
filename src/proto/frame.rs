//! Where one frame ends and the next begins.

use std::ops::{Deref, DerefMut, Range};

use memchr::memchr;

use super::Serialization;
use super::attachment::{self, Attachment, AttachmentKind, OwnedFrame, Place};
use super::foreign;
use super::names::{PREFIX, length_of};
use crate::buffer_pool;

/// The largest frame that a peer may send unless configured otherwise: 512 MiB, about the longest string that
/// V8 can hold.
pub const DEFAULT_MAX_FRAME: usize = 512 << 20;

/// The spare capacity for one read. Node reads as much at once.
const READ_SIZE: usize = 64 << 10;
/// A larger buffer goes back to the pool after its frame.
const KEEP_SIZE: usize = 1 << 20;
/// A frame of this size keeps the buffer that it came in.
const LARGE: usize = 256 << 10;
/// How far a buffer may grow beyond the bytes that have arrived.
const READ_AHEAD: usize = 4 << 20;

/// Why a stream cannot be decoded any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A frame is longer than the limit, or announces that it will be.
    #[error("frame larger than the limit of {limit} bytes")]
    TooLarge {
        /// The limit in force, in bytes.
        limit: usize,
    },
    /// A frame is malformed, for this reason.
    #[error("{0}")]
    Malformed(&'static str),
}

/// Cuts a byte stream into frames. The caller reads into [`Decoder::buffer`], and frames borrow from it.
/// Decoding copies nothing but the rest of an incomplete frame.
#[derive(Debug)]
pub struct Decoder {
    serialization: Serialization,
    limit: usize,
    buffer: Vec<u8>,
    /// `buffer[start..]` has arrived and has not been handed out.
    start: usize,
    /// `buffer[start..scanned]` contains no newline.
    scanned: usize,
    /// The size of the last large frame. The next one may be as large.
    last_large: usize,
    /// Whether a frame has come: its peer speaks what is spoken here.
    has_begun: bool,
    /// Whether frames may have attachments.
    accepts_attachments: bool,
    /// The length of the next frame with its attachments, once that is known.
    whole: usize,
}

impl Decoder {
    /// A decoder that refuses frames of more than `limit` bytes.
    pub fn new(serialization: Serialization, limit: usize) -> Self {
        Decoder {
            serialization,
            limit,
            buffer: Vec::new(),
            start: 0,
            scanned: 0,
            last_large: 0,
            has_begun: false,
            accepts_attachments: false,
            whole: 0,
        }
    }

    /// Frames from here on may have attachments: the peer is a corral.
    pub fn accept_attachments(&mut self) {
        self.accepts_attachments = true;
    }

    /// The buffer to which the next read appends. It has at least 64 KiB of spare capacity.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        if self.start == self.buffer.len() {
            if self.buffer.capacity() > KEEP_SIZE {
                buffer_pool::give_back(std::mem::take(&mut self.buffer));
            }
            self.buffer.clear();
            self.start = 0;
            self.scanned = 0;
        }
        if self.buffer.capacity() - self.buffer.len() < READ_SIZE {
            self.make_room();
        }
        &mut self.buffer
    }

    fn make_room(&mut self) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.scanned = self.scanned.saturating_sub(self.start);
            self.start = 0;
        }
        // The rest of the frame if its length is known, otherwise as much as the last large frame had. The
        // buffer never grows by more than READ_AHEAD, since announcing a length costs a hostile peer nothing.
        // Vec doubles its capacity, so that copying stays linear.
        let expected = match self.serialization {
            Serialization::Json => self.last_large,
            Serialization::Advanced => self.announced().map_or(0, |length| PREFIX + length),
        }
        .max(self.whole);
        let rest = expected.saturating_sub(self.buffer.len()).clamp(READ_SIZE, READ_AHEAD);
        let room = self.buffer.len() + rest;
        if room < LARGE || self.buffer.capacity() >= LARGE {
            self.buffer.reserve(rest);
        } else {
            let mut larger = buffer_pool::take(room);
            larger.extend_from_slice(&self.buffer);
            self.buffer = larger;
        }
    }

    fn announced(&self) -> Option<usize> {
        self.buffer[self.start..].first_chunk::<PREFIX>().map(|prefix| length_of(*prefix))
    }

    /// Whether every byte that has arrived was handed out in a frame.
    pub fn is_empty(&self) -> bool {
        self.start == self.buffer.len()
    }

    /// How many bytes the incomplete frame has: those that have arrived, or the whole length once it is
    /// known.
    pub fn incomplete(&self) -> usize {
        let arrived = self.buffer.len() - self.start;
        match self.serialization {
            Serialization::Json => arrived,
            Serialization::Advanced => self.announced().map_or(arrived, |length| PREFIX + length),
        }
        .max(self.whole)
    }

    /// The next complete frame, without its newline or length; None when more bytes are needed.
    ///
    /// Errors: the stream cannot be decoded any further, and the channel must be closed.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        if self.buffer.len() - self.start < self.whole {
            // The header has already been parsed, so that many small reads do not parse it again and again.
            return Ok(None);
        }
        if !self.has_begun {
            let bytes = &self.buffer[self.start..];
            foreign::check_beginning(self.serialization, bytes).map_err(FrameError::Malformed)?;
        }
        let (start, scanned) = (self.start, self.scanned);
        let range = match self.serialization {
            Serialization::Json => self.next_line(),
            Serialization::Advanced => self.next_prefixed(),
        }?;
        let Some(range) = range else { return Ok(None) };
        self.has_begun = true;
        let attachments = match attachment::parse_header(&self.buffer[range.clone()]) {
            Some(announced) if self.accepts_attachments => announced.map_err(FrameError::Malformed)?,
            _ => return Ok(Some(Frame { decoder: self, range, attachments: Vec::new(), begin: start })),
        };
        let (attachments, head) = attachments;
        let all = attachments.iter().map(|attachment| attachment.length).sum::<usize>();
        if all.saturating_add(range.len()) > self.limit {
            return Err(FrameError::TooLarge { limit: self.limit });
        }
        let length = attachments.iter().map(|attachment| attachment.trailing_length()).sum::<usize>();
        if self.buffer.len() - self.start < length {
            self.whole = self.start - start + length;
            (self.start, self.scanned) = (start, scanned.max(range.start));
            return Ok(None);
        }
        let mut end = self.start;
        let attachments = attachments.into_iter().map(|attachment| {
            let start = end;
            end += attachment.trailing_length();
            let Attachment { kind, length, offset } = attachment;
            match offset {
                Some(offset) => (kind, Place::Shared { offset, length }),
                None => (kind, Place::Behind(start..start + length)),
            }
        });
        let attachments = attachments.collect();
        self.start = end;
        self.scanned = end;
        self.whole = 0;
        Ok(Some(Frame { decoder: self, range: range.start + head..range.end, attachments, begin: start }))
    }

    fn next_line(&mut self) -> Result<Option<Range<usize>>, FrameError> {
        let limit = self.limit;
        match memchr(b'\n', &self.buffer[self.scanned..]) {
            Some(offset) => {
                let line = self.start..self.scanned + offset;
                if line.len() > limit {
                    return Err(FrameError::TooLarge { limit });
                }
                self.start = line.end + 1;
                self.scanned = self.start;
                Ok(Some(line))
            }
            None if self.buffer.len() - self.start > limit => Err(FrameError::TooLarge { limit }),
            None => {
                self.scanned = self.buffer.len();
                Ok(None)
            }
        }
    }

    fn next_prefixed(&mut self) -> Result<Option<Range<usize>>, FrameError> {
        let limit = self.limit;
        let Some(length) = self.announced() else { return Ok(None) };
        if length > limit {
            return Err(FrameError::TooLarge { limit });
        }
        let body = self.start + PREFIX;
        if self.buffer.len() - body < length {
            return Ok(None);
        }
        self.start = body + length;
        self.scanned = self.start;
        Ok(Some(body..body + length))
    }
}

/// A frame that is still in the decoder's buffer.
#[derive(Debug)]
pub struct Frame<'a> {
    decoder: &'a mut Decoder,
    range: Range<usize>,
    attachments: Vec<(AttachmentKind, Place)>,
    /// Where the frame begins, with its length and the header of its attachments.
    begin: usize,
}

impl Deref for Frame<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.decoder.buffer[self.range.clone()]
    }
}

impl Frame<'_> {
    /// Whether the frame has attachments. If so, [`Frame::into_owned_frame`] takes it.
    pub fn has_attachments(&self) -> bool {
        !self.attachments.is_empty()
    }

    /// The offset and length of each attachment in shared memory.
    pub fn shared_attachments(&self) -> impl Iterator<Item = (usize, usize)> {
        self.attachments.iter().filter_map(|(_, place)| match place {
            Place::Shared { offset, length } => Some((*offset, *length)),
            Place::Behind(_) => None,
        })
    }

    /// The length of the frame with its attachments, in bytes.
    pub fn total_length(&self) -> usize {
        let length = |place: &Place| match place {
            Place::Shared { length, .. } => *length,
            Place::Behind(range) => range.len(),
        };
        self.len() + self.attachments.iter().map(|(_, place)| length(place)).sum::<usize>()
    }

    /// The frame with its attachments, out of the decoder's buffer.
    pub fn into_owned_frame(self) -> OwnedFrame {
        let Frame { decoder, range, attachments, begin } = self;
        let end = decoder.start;
        let bytes = if decoder.is_empty() && end >= LARGE {
            decoder.last_large = decoder.buffer.len();
            decoder.start = 0;
            decoder.scanned = 0;
            std::mem::take(&mut decoder.buffer)
        } else {
            decoder.buffer[begin..end].to_vec()
        };
        let moved = end - bytes.len();
        let back = |range: Range<usize>| range.start - moved..range.end - moved;
        let attachments = attachments.into_iter().map(|(kind, place)| match place {
            Place::Behind(range) => (kind, Place::Behind(back(range))),
            shared => (kind, shared),
        });
        OwnedFrame { bytes, frame: back(range), attachments: attachments.collect() }
    }

    /// Leaves the frame in the buffer: it will be the next one again.
    pub fn put_back(self) {
        self.decoder.start = self.begin;
        self.decoder.scanned = self.begin;
    }

    /// A copy of the frame's bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        self.decoder.buffer[self.range].to_vec()
    }

    /// Takes the buffer itself, if the frame is large and alone in it.
    pub fn into_large(self) -> Result<LargeFrame, Self> {
        if self.range.len() < LARGE || !self.decoder.is_empty() {
            return Err(self);
        }
        let Frame { decoder, range, .. } = self;
        decoder.last_large = decoder.buffer.len();
        decoder.start = 0;
        decoder.scanned = 0;
        Ok(LargeFrame { buffer: std::mem::take(&mut decoder.buffer), range })
    }
}

/// A large frame in the buffer that it came in. Dropping this returns the buffer to the pool.
#[derive(Debug)]
pub struct LargeFrame {
    buffer: Vec<u8>,
    range: Range<usize>,
}

impl Deref for LargeFrame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer[self.range.clone()]
    }
}

impl DerefMut for LargeFrame {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.range.clone()]
    }
}

impl Drop for LargeFrame {
    fn drop(&mut self) {
        buffer_pool::give_back(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests;
