//! Where one frame ends and the next begins, and whom it is for.

use std::ops::{Deref, DerefMut, Range};

use memchr::memchr;

use super::attachment::{self, Attached, Piece, PieceKind, Place};
use crate::buffer_pool;

/// How messages are written, fixed for a channel when its process is spawned (`serialization` in `child_process`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Serialization {
    /// UTF-8 JSON text, ended by a newline.
    Json,
    /// A 4-byte big-endian length, then V8's serialization format.
    Advanced,
}

impl std::fmt::Display for Serialization {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Serialization::Json => "json",
            Serialization::Advanced => "advanced",
        })
    }
}

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

/// Whom a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The cluster protocol: `cmd` is `NODE_CLUSTER`.
    Cluster,
    /// A message with a handle: `cmd` is `NODE_HANDLE`. The descriptor travels beside it.
    Handle,
    /// The last handle sent has arrived: `NODE_HANDLE_ACK`.
    HandleAck,
    /// The last handle sent was lost on the way: `NODE_HANDLE_NACK`.
    HandleNack,
    /// The peer sends nothing more on this socket and goes on on another: `NODE_CORRAL_MOVE`.
    Move,
    /// A worker wants to talk to another one: `NODE_CORRAL_CONNECT`.
    Connect,
    /// The peer offers memory for large pieces; its descriptor travels beside it: `NODE_CORRAL_MEMORY`. Between two corrals.
    Memory,
    /// Everything else, to be parsed where it is consumed.
    User,
}

/// Tells whom a frame is for by its first property, without parsing it: Node writes `cmd` first in every message of
/// its own. A program's message that has such a `cmd` elsewhere stays with the program.
pub fn classify(serialization: Serialization, frame: &[u8]) -> Kind {
    let rest = match serialization {
        Serialization::Json => frame.strip_prefix(br#"{"cmd":""#),
        Serialization::Advanced => strip_v8_command(frame),
    };
    let Some(rest) = rest.and_then(|rest| rest.strip_prefix(b"NODE_")) else { return Kind::User };
    let known: [(&[u8], Kind); 7] = [
        (b"CLUSTER", Kind::Cluster),
        (b"HANDLE_ACK", Kind::HandleAck),
        (b"HANDLE_NACK", Kind::HandleNack),
        (b"HANDLE", Kind::Handle),
        (b"CORRAL_MOVE", Kind::Move),
        (b"CORRAL_CONNECT", Kind::Connect),
        (b"CORRAL_MEMORY", Kind::Memory),
    ];
    for (name, kind) in known {
        // In JSON the name ends with its quote; in V8's format it ends by length, where the next byte is a tag.
        if let Some(after) = rest.strip_prefix(name)
            && !after.first().is_some_and(|byte| byte.is_ascii_uppercase() || *byte == b'_')
        {
            return kind;
        }
    }
    Kind::User
}

/// The rest of a V8 frame behind `{cmd: "`: header, object tag, the one-byte string `cmd`, the head of a one-byte
/// string of less than 128 characters.
fn strip_v8_command(frame: &[u8]) -> Option<&[u8]> {
    let [0xff, _version, b'o', b'"', 3, b'c', b'm', b'd', b'"', length, rest @ ..] = frame else {
        return None;
    };
    (*length < 128).then_some(rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn feed(decoder: &mut Decoder, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let buffer = decoder.buffer();
            let (chunk, rest) = bytes.split_at(bytes.len().min(buffer.capacity() - buffer.len()));
            buffer.extend(chunk);
            bytes = rest;
        }
    }

    fn drain(decoder: &mut Decoder) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        while let Some(frame) = decoder.next_frame().unwrap() {
            frames.push(frame.into_bytes());
        }
        frames
    }

    fn stream(serialization: Serialization, frames: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for frame in frames {
            if serialization == Serialization::Advanced {
                bytes.extend((frame.len() as u32).to_be_bytes());
            }
            bytes.extend(frame);
            if serialization == Serialization::Json {
                bytes.push(b'\n');
            }
        }
        bytes
    }

    #[test]
    fn frames_survive_a_split_at_every_byte() {
        let frames: Vec<Vec<u8>> = ["{\"a\":1}", "", "\"\u{e4}\u{1f600}\"", "{\"cmd\":\"NODE_HANDLE\"}"]
            .map(|text| text.into())
            .to_vec();
        for serialization in [Serialization::Json, Serialization::Advanced] {
            let bytes = stream(serialization, &frames);
            for split in 0..=bytes.len() {
                let mut decoder = Decoder::new(serialization, 1 << 20);
                feed(&mut decoder, &bytes[..split]);
                let mut seen = drain(&mut decoder);
                feed(&mut decoder, &bytes[split..]);
                seen.extend(drain(&mut decoder));
                assert_eq!(seen, frames, "{serialization:?} split at {split}");
                assert!(decoder.is_empty());
            }
        }
    }

    #[test]
    fn a_frame_that_was_put_back_comes_again() {
        for serialization in [Serialization::Json, Serialization::Advanced] {
            let frames: Vec<Vec<u8>> = ["first", "", "third"].map(|text| text.into()).to_vec();
            let mut decoder = Decoder::new(serialization, 1 << 20);
            feed(&mut decoder, &stream(serialization, &frames));
            let mut seen = Vec::new();
            while let Some(frame) = decoder.next_frame().unwrap() {
                let length = frame.len();
                frame.put_back();
                assert!(!decoder.is_empty());
                assert!(decoder.incomplete() >= length);
                seen.push(decoder.next_frame().unwrap().unwrap().into_bytes());
            }
            assert_eq!(seen, frames);
            assert_eq!(decoder.incomplete(), 0);
        }
    }

    /// What a frame brings along: each piece by its kind and its bytes, or by where it is in shared memory.
    type Pieces<'a> = &'a [(PieceKind, Result<&'a [u8], (usize, usize)>)];

    /// A frame as it travels, with what it brings along.
    fn with_pieces(serialization: Serialization, body: &[u8], pieces: Pieces<'_>) -> Vec<u8> {
        let (prefix, newline) = match serialization {
            Serialization::Json => (0, 1),
            Serialization::Advanced => (PREFIX, 0),
        };
        let announced = pieces.iter().map(|(kind, place)| match place {
            Ok(bytes) => Piece::behind(*kind, bytes.len()),
            Err((offset, length)) => Piece { kind: *kind, length: *length, offset: Some(*offset) },
        });
        let mut head = Vec::new();
        if !pieces.is_empty() {
            attachment::announce(&announced.collect::<Vec<_>>(), prefix + body.len() + newline, &mut head);
        }
        head.extend(body);
        let mut bytes = stream(serialization, &[head]);
        for piece in pieces.iter().filter_map(|(_, place)| place.ok()) {
            bytes.extend(piece);
            bytes.resize(bytes.len() - piece.len() + attachment::aligned(piece.len()), 0);
        }
        bytes
    }

    #[test]
    fn pieces_behind_a_frame_and_in_memory_survive_a_split_at_every_byte() {
        let frames: [(&[u8], Pieces<'_>); 6] = [
            (b"0", &[]),
            (b"[1]", &[(PieceKind::Bytes, Ok(b"hello")), (PieceKind::Bytes, Err((16384, 70_000)))]),
            (b"", &[(PieceKind::Latin1, Err((32768, 1)))]),
            (b"{}", &[(PieceKind::Utf16, Err((0, 2))), (PieceKind::Latin1, Ok(b"\n\x01;\n"))]),
            (b"4", &[]),
            (b"5", &[(PieceKind::Latin1, Ok(b"")), (PieceKind::Utf16, Ok(b"12345678"))]),
        ];
        for serialization in [Serialization::Json, Serialization::Advanced] {
            let bytes = frames.map(|(body, pieces)| with_pieces(serialization, body, pieces)).concat();
            for split in 0..=bytes.len() {
                let mut decoder = Decoder::new(serialization, 1 << 20);
                decoder.take_pieces();
                let mut expected = frames.iter();
                for part in [&bytes[..split], &bytes[split..]] {
                    feed(&mut decoder, part);
                    while let Some(frame) = decoder.next_frame().unwrap() {
                        let (body, pieces) = expected.next().unwrap();
                        assert_brings(frame, body, pieces, split);
                    }
                }
                assert!(
                    expected.next().is_none() && decoder.is_empty(),
                    "{serialization:?} split at {split}"
                );
            }
        }
    }

    fn assert_brings(frame: Frame<'_>, body: &[u8], pieces: Pieces<'_>, split: usize) {
        let in_memory: Vec<(usize, usize)> = pieces.iter().filter_map(|(_, place)| place.err()).collect();
        assert_eq!((frame.has_pieces(), &*frame), (!pieces.is_empty(), body), "split at {split}");
        assert_eq!(frame.shared_pieces().collect::<Vec<_>>(), in_memory, "split at {split}");
        let length =
            |place: &Result<&[u8], (usize, usize)>| place.map_or_else(|(_, length)| length, <[u8]>::len);
        let total = body.len() + pieces.iter().map(|(_, place)| length(place)).sum::<usize>();
        assert_eq!(frame.total_length(), total, "split at {split}");
        let Attached { bytes, frame, pieces: places } = frame.into_attached();
        assert_eq!((&bytes[frame], places.len()), (body, pieces.len()), "split at {split}");
        for ((kind, place), (expected_kind, expected)) in places.iter().zip(pieces) {
            assert_eq!(kind, expected_kind, "split at {split}");
            match (place, expected) {
                (Place::Behind(range), Ok(expected)) => {
                    assert_eq!((&bytes[range.clone()], range.start % attachment::ALIGNMENT), (*expected, 0));
                }
                (Place::Shared { offset, length }, Err(expected)) => {
                    assert_eq!((*offset, *length), *expected)
                }
                _ => panic!("{place:?} in place of {expected:?}, split at {split}"),
            }
        }
    }

    #[test]
    fn a_frame_with_pieces_that_was_put_back_comes_again() {
        let pieces: Pieces<'_> =
            &[(PieceKind::Bytes, Ok(b"hello")), (PieceKind::Bytes, Err((16384, 70_000)))];
        for serialization in [Serialization::Json, Serialization::Advanced] {
            let mut decoder = Decoder::new(serialization, 1 << 20);
            decoder.take_pieces();
            feed(&mut decoder, &stream(serialization, &[b"before".to_vec()]));
            feed(&mut decoder, &with_pieces(serialization, b"[1]", pieces));
            decoder.next_frame().unwrap().unwrap();
            for _ in 0..2 {
                decoder.next_frame().unwrap().unwrap().put_back();
            }
            assert_brings(decoder.next_frame().unwrap().unwrap(), b"[1]", pieces, 0);
            assert!(decoder.is_empty());
        }
    }

    #[test]
    fn what_is_in_memory_counts_for_the_limit_and_is_not_waited_for() {
        for (length, fits) in [(80, true), (100, false)] {
            let mut decoder = Decoder::new(Serialization::Json, 100);
            decoder.take_pieces();
            let pieces: Pieces<'_> = &[(PieceKind::Bytes, Err((16384, length)))];
            feed(&mut decoder, &with_pieces(Serialization::Json, b"[1]", pieces));
            match decoder.next_frame() {
                Ok(Some(frame)) => assert!(fits && frame.total_length() == length + 3),
                other => assert!(!fits && matches!(other, Err(FrameError::TooLarge { limit: 100 }))),
            }
        }
    }

    #[test]
    fn to_others_than_a_corral_pieces_are_part_of_the_text() {
        let bytes = with_pieces(Serialization::Json, b"[1]", &[(PieceKind::Bytes, Err((16384, 70_000)))]);
        let mut decoder = Decoder::new(Serialization::Json, 1 << 20);
        feed(&mut decoder, &bytes);
        let frame = decoder.next_frame().unwrap().unwrap();
        assert!(!frame.has_pieces());
        assert_eq!(*frame, bytes[..bytes.len() - 1]);
    }

    proptest! {
        #[test]
        fn frames_survive_any_sequence_of_chunks(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>().prop_filter("newline", |b| *b != b'\n'), 0..300), 0..20),
            sizes in prop::collection::vec(1usize..200, 1..40),
            json in any::<bool>(),
        ) {
            let serialization = if json { Serialization::Json } else { Serialization::Advanced };
            let bytes = stream(serialization, &frames);
            let mut decoder = Decoder::new(serialization, 1 << 20);
            let mut seen = Vec::new();
            let mut rest = &bytes[..];
            for size in sizes.iter().cycle() {
                if rest.is_empty() { break; }
                let (chunk, tail) = rest.split_at(rest.len().min(*size));
                feed(&mut decoder, chunk);
                seen.extend(drain(&mut decoder));
                rest = tail;
            }
            prop_assert_eq!(seen, frames);
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..5000), json in any::<bool>()) {
            let serialization = if json { Serialization::Json } else { Serialization::Advanced };
            let mut decoder = Decoder::new(serialization, 1000);
            feed(&mut decoder, &bytes);
            while let Ok(Some(frame)) = decoder.next_frame() {
                prop_assert!(frame.len() <= 1000);
                classify(serialization, &frame);
            }
        }
    }

    #[test]
    fn an_endless_frame_is_refused_at_the_limit() {
        let mut decoder = Decoder::new(Serialization::Json, 100);
        feed(&mut decoder, &[b'x'; 100]);
        assert!(matches!(decoder.next_frame(), Ok(None)));
        feed(&mut decoder, b"x");
        assert!(matches!(decoder.next_frame(), Err(FrameError::TooLarge { limit: 100 })));

        let mut decoder = Decoder::new(Serialization::Advanced, 100);
        feed(&mut decoder, &(64u32 << 20).to_be_bytes());
        assert!(matches!(decoder.next_frame(), Err(FrameError::TooLarge { limit: 100 })));
    }

    #[test]
    fn an_announced_length_is_not_believed_before_its_bytes_arrive() {
        let mut decoder = Decoder::new(Serialization::Advanced, DEFAULT_MAX_FRAME);
        feed(&mut decoder, &(64u32 << 20).to_be_bytes());
        assert!(matches!(decoder.next_frame(), Ok(None)));
        assert!(decoder.buffer().capacity() <= 2 * READ_AHEAD);
    }

    #[test]
    fn a_large_buffer_is_given_back() {
        let mut decoder = Decoder::new(Serialization::Json, DEFAULT_MAX_FRAME);
        let mut line = vec![b'x'; 4 << 20];
        line.push(b'\n');
        feed(&mut decoder, &line);
        assert_eq!(decoder.next_frame().unwrap().unwrap().len(), 4 << 20);
        assert!(decoder.buffer().capacity() <= KEEP_SIZE);
    }

    #[test]
    fn a_large_frame_takes_its_buffer_along_and_the_next_one_has_room() {
        for serialization in [Serialization::Json, Serialization::Advanced] {
            let frame = vec![b'x'; 1 << 20];
            let mut decoder = Decoder::new(serialization, DEFAULT_MAX_FRAME);
            for _ in 0..3 {
                feed(&mut decoder, &stream(serialization, std::slice::from_ref(&frame)));
                assert_eq!(decoder.next_frame().unwrap().unwrap().into_bytes(), frame);
                assert!(decoder.is_empty());
            }
            // Not alone: copied, and what is behind it stays.
            feed(&mut decoder, &stream(serialization, &[frame.clone(), b"behind".to_vec()]));
            assert_eq!(decoder.next_frame().unwrap().unwrap().into_bytes(), frame);
            assert_eq!(&*decoder.next_frame().unwrap().unwrap(), b"behind");
        }
    }

    #[test]
    fn a_frame_belongs_to_whom_its_cmd_names() {
        let json = |text: &str| classify(Serialization::Json, text.as_bytes());
        assert_eq!(json(r#"{"cmd":"NODE_CLUSTER","act":"online","seq":0}"#), Kind::Cluster);
        assert_eq!(json(r#"{"cmd":"NODE_HANDLE","type":"net.Native","msg":{}}"#), Kind::Handle);
        assert_eq!(json(r#"{"cmd":"NODE_HANDLE_ACK"}"#), Kind::HandleAck);
        assert_eq!(json(r#"{"cmd":"NODE_HANDLE_NACK"}"#), Kind::HandleNack);
        assert_eq!(json(r#"{"cmd":"NODE_CORRAL_MEMORY"}"#), Kind::Memory);
        assert_eq!(json(r#"{"cmd":"NODE_CORRAL_MEMORY_"}"#), Kind::User);
        assert_eq!(json(r#"{"cmd":"NODE_SOCKET_COUNT","count":1}"#), Kind::User);
        assert_eq!(json(r#"{"cmd":"NODE_CLUSTERS"}"#), Kind::User);
        assert_eq!(json(r#"{"msg":{"cmd":"NODE_CLUSTER"}}"#), Kind::User);
        assert_eq!(json("garbage"), Kind::User);
        assert_eq!(
            classify(Serialization::Advanced, b"\xff\x0fo\"\x03cmd\"\x0cNODE_CLUSTER\"\x03act"),
            Kind::Cluster
        );
        assert_eq!(
            classify(Serialization::Advanced, b"\xff\x0fo\"\x03cmd\"\x0fNODE_HANDLE_ACK{\x01"),
            Kind::HandleAck
        );
    }
}
