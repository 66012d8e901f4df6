//! Where one frame ends and the next begins.

use std::ops::{Deref, DerefMut, Range};

use memchr::memchr;

use super::Serialization;
use super::attachment::{self, Attached, Piece, PieceKind, Place};
use crate::buffer_pool;

/// The largest frame that a peer may send unless configured otherwise: 512 MiB, about the longest string that V8
/// can hold.
pub const DEFAULT_MAX_FRAME: usize = 512 << 20;

/// The room for one read. Node reads in pieces of the same size.
const READ_SIZE: usize = 64 << 10;
/// A buffer that grew beyond this for a large frame is given back afterwards.
const KEEP_SIZE: usize = 1 << 20;
/// A frame of this size is worth the buffer that it came in.
const LARGE: usize = 256 << 10;
/// How far ahead of what has arrived a buffer may grow.
const READ_AHEAD: usize = 4 << 20;
/// The length in front of an advanced frame.
const PREFIX: usize = 4;

/// Why a stream of bytes cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A frame is, or says that it will be, beyond the limit.
    #[error("frame larger than the limit of {limit} bytes")]
    TooLarge {
        /// The limit in force, in bytes.
        limit: usize,
    },
    /// A frame makes no sense, for this reason.
    #[error("{0}")]
    Malformed(&'static str),
}

/// Cuts a byte stream into frames. Bytes are read to the end of [`Decoder::buffer`], frames borrowed from it, so that
/// nothing is copied but the rest of an incomplete frame.
#[derive(Debug)]
pub struct Decoder {
    serialization: Serialization,
    limit: usize,
    buffer: Vec<u8>,
    /// `buffer[start..]` has arrived and was not yet handed out.
    start: usize,
    /// `buffer[start..scanned]` is known to hold no newline.
    scanned: usize,
    /// The size of the last large frame: the next may be like it.
    last_large: usize,
    /// Whether frames may bring pieces along.
    takes_pieces: bool,
    /// How many bytes the frame that is next has with its pieces, once that is known.
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
            takes_pieces: false,
            whole: 0,
        }
    }

    /// From here on frames may bring pieces along: the peer is a corral.
    pub fn take_pieces(&mut self) {
        self.takes_pieces = true;
    }

    /// Where the next read appends what has arrived; there is room for 64 KiB at least.
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
        // The rest of the frame if its length is known, or as much as the last large one had; but no more ahead than
        // READ_AHEAD, as announcing a length costs a hostile peer nothing. Vec doubles, so that copying stays linear.
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
        self.buffer[self.start..].first_chunk::<PREFIX>().map(|prefix| u32::from_be_bytes(*prefix) as usize)
    }

    /// True when every byte that arrived has been handed out in a frame.
    pub fn is_empty(&self) -> bool {
        self.start == self.buffer.len()
    }

    /// How many bytes of a frame that is not complete yet are known of: what has arrived, or more if its length says so.
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
    /// Errors: the stream cannot be read any further, the channel must be closed.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        if self.buffer.len() - self.start < self.whole {
            // What it begins with need not be looked at again, however few bytes come at a time.
            return Ok(None);
        }
        let (start, scanned) = (self.start, self.scanned);
        let range = match self.serialization {
            Serialization::Json => self.next_line(),
            Serialization::Advanced => self.next_prefixed(),
        }?;
        let Some(range) = range else { return Ok(None) };
        let pieces = match attachment::announced(&self.buffer[range.clone()]) {
            Some(announced) if self.takes_pieces => announced.map_err(FrameError::Malformed)?,
            _ => return Ok(Some(Frame { decoder: self, range, pieces: Vec::new(), begin: start })),
        };
        let (pieces, head) = pieces;
        let all = pieces.iter().map(|piece| piece.length).sum::<usize>();
        if all.saturating_add(range.len()) > self.limit {
            return Err(FrameError::TooLarge { limit: self.limit });
        }
        let length = pieces.iter().map(|piece| piece.attached()).sum::<usize>();
        if self.buffer.len() - self.start < length {
            self.whole = self.start - start + length;
            (self.start, self.scanned) = (start, scanned.max(range.start));
            return Ok(None);
        }
        let mut end = self.start;
        let pieces = pieces.into_iter().map(|piece| {
            let start = end;
            end += piece.attached();
            let Piece { kind, length, offset } = piece;
            match offset {
                Some(offset) => (kind, Place::Shared { offset, length }),
                None => (kind, Place::Behind(start..start + length)),
            }
        });
        let pieces = pieces.collect();
        self.start = end;
        self.scanned = end;
        self.whole = 0;
        Ok(Some(Frame { decoder: self, range: range.start + head..range.end, pieces, begin: start }))
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

/// A frame that has arrived, still in the buffer.
#[derive(Debug)]
pub struct Frame<'a> {
    decoder: &'a mut Decoder,
    range: Range<usize>,
    /// What it brought along.
    pieces: Vec<(PieceKind, Place)>,
    /// Where it begins, with its length and what it says of its pieces.
    begin: usize,
}

impl Deref for Frame<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.decoder.buffer[self.range.clone()]
    }
}

impl Frame<'_> {
    /// Whether it brought pieces along; then it is to be taken by [`Frame::into_attached`].
    pub fn has_pieces(&self) -> bool {
        !self.pieces.is_empty()
    }

    /// The pieces that are in shared memory: where each begins, and its length.
    pub fn shared_pieces(&self) -> impl Iterator<Item = (usize, usize)> {
        self.pieces.iter().filter_map(|(_, place)| match place {
            Place::Shared { offset, length } => Some((*offset, *length)),
            Place::Behind(_) => None,
        })
    }

    /// How many bytes there are, with those of the pieces.
    pub fn total_length(&self) -> usize {
        let length = |place: &Place| match place {
            Place::Shared { length, .. } => *length,
            Place::Behind(range) => range.len(),
        };
        self.len() + self.pieces.iter().map(|(_, place)| length(place)).sum::<usize>()
    }

    /// The frame with what it brought along.
    pub fn into_attached(self) -> Attached {
        let Frame { decoder, range, pieces, begin } = self;
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
        let pieces = pieces.into_iter().map(|(kind, place)| match place {
            Place::Behind(range) => (kind, Place::Behind(back(range))),
            shared => (kind, shared),
        });
        Attached { bytes, frame: back(range), pieces: pieces.collect() }
    }

    /// Leaves the frame where it was: it is the next one again.
    pub fn put_back(self) {
        self.decoder.start = self.begin;
        self.decoder.scanned = self.begin;
    }

    /// The frame as bytes of its own.
    pub fn into_bytes(self) -> Vec<u8> {
        self.decoder.buffer[self.range].to_vec()
    }

    /// A large frame that is alone in its buffer, with that.
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

/// A frame in the buffer that it came in, which is kept for another one afterwards.
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
