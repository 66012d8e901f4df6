//! The program's messages on their way to JavaScript. Small ones go together, since each call into JavaScript
//! costs as much as many messages.

use std::ops::Range;

use super::memory::Segment;
use crate::proto::{self, AttachmentKind, LargeFrame, OwnedFrame, Place, Serialization, V8_HEADER};
use crate::reactor::Work;

/// Messages of up to this size go together.
pub const BATCHED_MESSAGE: usize = 16 << 10;
/// The most bytes and messages of a batch: a part of what JavaScript takes in one turn, so that other
/// channels have their share.
const BATCH: usize = 64 << 10;
const BATCH_MESSAGES: u32 = 128;
/// So many messages are a batch however many channels there are: fewer would cost more than what is in them.
const LEAST_MESSAGES: u32 = 16;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// As JSON text.
    #[default]
    Text,
    /// In V8's format.
    V8,
}

impl Format {
    /// The format of a frame. Two corrals that use V8's format still send in JSON whatever JSON can express.
    /// The first byte tells: every frame of V8's begins with a byte that begins no text.
    pub fn of(serialization: Serialization, frame: &[u8]) -> Self {
        match serialization {
            Serialization::Advanced if frame.first().is_none_or(|first| *first == V8_HEADER) => Format::V8,
            Serialization::Advanced | Serialization::Json => Format::Text,
        }
    }
}

/// Serialized messages.
#[derive(Debug)]
pub enum Frames {
    /// A single frame.
    One(Format, Vec<u8>),
    /// A single frame in the buffer that it came in.
    Large(Format, LargeFrame),
    /// Small frames in a row, each with its newline behind it or its length in front, and their number. They
    /// cost one call into JavaScript.
    Many(Format, Vec<u8>, u32),
    /// A frame with attachments.
    Multipart(Multipart),
}

/// An attachment of a message.
#[derive(Debug)]
pub enum Part {
    /// It follows the frame in the same buffer.
    Behind(Range<usize>),
    /// It is in shared memory.
    Shared(Segment),
}

/// A frame with attachments.
#[derive(Debug)]
pub struct Multipart {
    /// The bytes of the frame and of the attachments behind it.
    pub bytes: Vec<u8>,
    /// Where the frame proper is.
    pub frame: Range<usize>,
    /// In the order of the frame's header.
    pub attachments: Vec<(AttachmentKind, Part)>,
}

impl Multipart {
    /// `segments` are the frame's attachments in shared memory.
    fn new(frame: OwnedFrame, segments: Vec<Segment>) -> Self {
        let OwnedFrame { bytes, frame, attachments } = frame;
        let mut segments = segments.into_iter();
        let attachments = attachments.into_iter().filter_map(|(kind, place)| match place {
            Place::Behind(range) => Some((kind, Part::Behind(range))),
            Place::Shared { .. } => segments.next().map(|segment| (kind, Part::Shared(segment))),
        });
        Multipart { attachments: attachments.collect(), bytes, frame }
    }

    fn shared_text(&self) -> usize {
        let lengths = self.attachments.iter().map(|attachment| match attachment {
            (AttachmentKind::Latin1 | AttachmentKind::Utf16, Part::Shared(segment)) => segment.len(),
            (AttachmentKind::Bytes, Part::Shared(_)) | (_, Part::Behind(_)) => 0,
        });
        lengths.sum()
    }
}

impl Frames {
    /// How many bytes the frames hold. Attachments in shared memory do not count: their memory is limited,
    /// and the sender learns when the program has them.
    pub fn len(&self) -> usize {
        match self {
            Frames::One(_, bytes) | Frames::Many(_, bytes, _) => bytes.len(),
            Frames::Large(_, frame) => frame.len(),
            Frames::Multipart(multipart) => multipart.bytes.len(),
        }
    }

    /// How many messages the frames hold.
    pub fn count(&self) -> u32 {
        match self {
            Frames::Many(_, _, count) => *count,
            Frames::One(..) | Frames::Large(..) | Frames::Multipart(_) => 1,
        }
    }

    /// How many bytes JavaScript converts to values. This includes strings in shared memory, but not buffers
    /// there, which stay in place.
    pub fn total_length(&self) -> usize {
        match self {
            Frames::Multipart(multipart) => multipart.bytes.len() + multipart.shared_text(),
            frames => frames.len(),
        }
    }

    /// How much work they are for JavaScript.
    pub fn work(&self) -> Work {
        Work { calls: self.count() as usize, bytes: self.total_length() }
    }

    /// Whether this is a single empty frame.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Small messages of one peer that have not been delivered yet.
#[derive(Debug)]
pub struct Batch {
    /// How many messages go together at most.
    most: u32,
    format: Format,
    bytes: Vec<u8>,
    /// Where the last message is, without newline or length.
    last: Range<usize>,
    count: u32,
}

impl Default for Batch {
    /// Of the one channel that is read.
    fn default() -> Self {
        Self::new(1)
    }
}

impl Batch {
    /// Of one of `channels` channels, whose batches take turns: what a quiet one sends waits behind one batch of
    /// each, so that these are the smaller the more there are.
    pub fn new(channels: usize) -> Self {
        let share = BATCH_MESSAGES / channels.clamp(1, BATCH_MESSAGES as usize) as u32;
        Self::empty(share.max(LEAST_MESSAGES))
    }

    fn empty(most: u32) -> Self {
        Batch { most, format: Format::default(), bytes: Vec::new(), last: 0..0, count: 0 }
    }

    /// Adds a message, with its attachments in shared memory, and passes on complete batches in order.
    pub fn add(
        &mut self,
        serialization: Serialization,
        frame: proto::Frame<'_>,
        segments: Vec<Segment>,
        mut deliver: impl FnMut(Frames),
    ) {
        if frame.has_attachments() {
            self.take().into_iter().for_each(&mut deliver);
            return deliver(Frames::Multipart(Multipart::new(frame.into_owned_frame(), segments)));
        }
        let format = Format::of(serialization, &frame);
        if format != self.format || frame.len() > BATCHED_MESSAGE {
            self.take().into_iter().for_each(&mut deliver);
        }
        if frame.len() > BATCHED_MESSAGE {
            return deliver(match frame.into_large() {
                Ok(frame) => Frames::Large(format, frame),
                Err(frame) => Frames::One(format, frame.into_bytes()),
            });
        }
        self.format = format;
        if format == Format::V8 {
            self.bytes.extend(proto::prefix(frame.len() as u32));
        }
        self.last = self.bytes.len()..self.bytes.len() + frame.len();
        self.count += 1;
        self.bytes.extend(&*frame);
        if format == Format::Text {
            self.bytes.push(b'\n');
        }
        if self.bytes.len() > BATCH || self.count == self.most {
            self.take().into_iter().for_each(deliver);
        }
    }

    /// Takes the messages so far; None if there are none.
    pub fn take(&mut self) -> Option<Frames> {
        let Batch { format, mut bytes, last, count, .. } = std::mem::replace(self, Self::empty(self.most));
        match count {
            0 => None,
            1 => {
                bytes.truncate(last.end);
                bytes.drain(..last.start);
                Some(Frames::One(format, bytes))
            }
            _ => Some(Frames::Many(format, bytes, count)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Decoder;

    /// The batches in which these messages are delivered.
    fn delivered(serialization: Serialization, messages: &[&[u8]]) -> Vec<Frames> {
        delivered_on(1, serialization, messages)
    }

    /// The same on one of `channels` channels.
    fn delivered_on(channels: usize, serialization: Serialization, messages: &[&[u8]]) -> Vec<Frames> {
        let (mut batch, mut delivered) = (Batch::new(channels), Vec::new());
        let mut decoder = Decoder::new(serialization, 1 << 20);
        for message in messages {
            let mut bytes = Vec::new();
            match serialization {
                Serialization::Json => bytes.extend([message, &b"\n"[..]].concat()),
                Serialization::Advanced => {
                    bytes.extend((message.len() as u32).to_be_bytes());
                    bytes.extend(*message);
                }
            }
            for chunk in bytes.chunks(1000) {
                decoder.buffer().extend(chunk);
            }
            let frame = decoder.next_frame().unwrap().unwrap();
            batch.add(serialization, frame, Vec::new(), |frames| delivered.push(frames));
        }
        delivered.extend(batch.take());
        assert!(batch.take().is_none());
        delivered
    }

    #[test]
    fn several_small_messages_are_told_together_and_one_by_itself() {
        let (text, v8) =
            ((&b"1"[..], vec![b'x'; BATCHED_MESSAGE + 1]), (&b"\xff"[..], vec![0xff; BATCHED_MESSAGE + 1]));
        for (serialization, (small, large), both) in [
            (Serialization::Json, text, &b"1\n\n"[..]),
            (Serialization::Advanced, v8, b"\0\0\0\x01\xff\0\0\0\0"),
        ] {
            assert!(
                matches!(&delivered(serialization, &[small, b""])[..], [Frames::Many(_, bytes, 2)] if bytes == both)
            );
            assert!(
                matches!(&delivered(serialization, &[small])[..], [Frames::One(_, bytes)] if bytes == small)
            );
            assert!(
                matches!(&delivered(serialization, &[b""])[..], [Frames::One(_, bytes)] if bytes.is_empty())
            );
            // The messages keep their order, and a message behind a large one begins a new batch.
            let mixed = delivered(serialization, &[small, b"", &large, small]);
            assert!(matches!(
                &mixed[..],
                [Frames::Many(_, first, 2), Frames::One(_, second), Frames::One(_, third)]
                    if first == both && *second == large && third == small
            ));
        }
    }

    #[test]
    fn tiny_messages_are_told_in_parts_that_leave_others_their_turn() {
        let messages = vec![&b"1"[..]; 2 * BATCH_MESSAGES as usize + 1];
        let counts: Vec<u32> = delivered(Serialization::Json, &messages).iter().map(Frames::count).collect();
        assert_eq!(counts, [BATCH_MESSAGES, BATCH_MESSAGES, 1]);
    }

    #[test]
    fn the_parts_are_the_smaller_the_more_channels_take_turns() {
        let messages = vec![&b"1"[..]; 64];
        for (channels, most) in [(0, 64), (1, 64), (4, 32), (8, 16), (1_000_000, LEAST_MESSAGES)] {
            let parts = delivered_on(channels, Serialization::Json, &messages);
            let counts: Vec<u32> = parts.iter().map(Frames::count).collect();
            assert_eq!(counts, vec![most; 64 / most as usize], "{channels}");
        }
    }

    #[test]
    fn text_among_what_v8_has_written_is_told_by_itself_in_its_place() {
        let mixed = delivered(Serialization::Advanced, &[b"\xff1", b"{}", b"[]", b"\xff2"]);
        assert!(matches!(
            &mixed[..],
            [Frames::One(Format::V8, first), Frames::Many(Format::Text, second, 2), Frames::One(Format::V8, third)]
                if first == b"\xff1" && second == b"{}\n[]\n" && third == b"\xff2"
        ));
    }
}
