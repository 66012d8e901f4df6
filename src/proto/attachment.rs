//! Frames with attachments: long strings and buffers travel behind their frame, or in shared memory, instead
//! of being escaped or copied into it. Only two corrals use them.
//!
//! Such a frame begins with a byte that no other frame begins with, and a header that states each
//! attachment's kind and its length in decimal. The frame proper ends as any other does, with its newline or
//! by its length. The attachments follow it. For an attachment in shared memory the header also states its
//! offset, and nothing follows.

use std::ops::Range;

/// The first byte. No JSON text and nothing in V8's format begins with it.
pub(super) const MARK: u8 = 1;
/// Stands between an attachment's length and its offset in shared memory.
const AT: u8 = b'@';
/// Ends the header.
const END: u8 = b';';
/// A message has at most so many attachments.
pub const MAX_ATTACHMENTS: usize = 64;
/// The longest header: a letter and two numbers for each attachment. It is parsed again with each read until
/// all attachments have arrived.
const MAX_HEADER: usize = 4096;
/// The first attachment begins at a multiple of this from the beginning of the frame, and so does each
/// further one, as typed arrays need it.
pub const ALIGNMENT: usize = 8;

/// What an attachment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachmentKind {
    /// A string with one byte for each character.
    Latin1,
    /// A string with two bytes for each unit, little-endian.
    Utf16,
    Bytes,
}

impl AttachmentKind {
    const ALL: [(u8, AttachmentKind); 3] =
        [(b'l', AttachmentKind::Latin1), (b'w', AttachmentKind::Utf16), (b'b', AttachmentKind::Bytes)];

    fn letter(self) -> u8 {
        match self {
            AttachmentKind::Latin1 => b'l',
            AttachmentKind::Utf16 => b'w',
            AttachmentKind::Bytes => b'b',
        }
    }

    fn of(letter: u8) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == letter).map(|(_, kind)| *kind)
    }
}

/// An attachment, as the header of its frame describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attachment {
    pub kind: AttachmentKind,
    /// In bytes.
    pub length: usize,
    /// Its offset in shared memory; None if it follows the frame.
    pub offset: Option<usize>,
}

impl Attachment {
    /// An attachment that follows the frame.
    pub fn behind(kind: AttachmentKind, length: usize) -> Self {
        Attachment { kind, length, offset: None }
    }

    /// How many bytes follow the frame for it.
    pub fn trailing_length(self) -> usize {
        if self.offset.is_some() { 0 } else { aligned(self.length) }
    }
}

/// A length, rounded up to a multiple of [`ALIGNMENT`].
pub fn aligned(length: usize) -> usize {
    length.next_multiple_of(ALIGNMENT)
}

/// Appends the header of a frame with attachments. `rest` is how many other bytes precede the first
/// attachment: a length in front, the frame proper, a newline.
pub fn write_header(attachments: &[Attachment], rest: usize, bytes: &mut Vec<u8>) {
    let start = bytes.len();
    bytes.push(MARK);
    for (index, Attachment { kind, length, offset }) in attachments.iter().enumerate() {
        bytes.push(kind.letter());
        let digits = match offset {
            Some(offset) => format!("{length}@{offset}"),
            None => length.to_string(),
        };
        if index + 1 == attachments.len() {
            let end = bytes.len() - start + digits.len() + 1 + rest;
            // Leading zeros align the attachments.
            bytes.extend(std::iter::repeat_n(b'0', aligned(end) - end));
        }
        bytes.extend(digits.as_bytes());
    }
    bytes.push(END);
}

/// Parses the header of a frame. Returns its attachments and where the frame proper begins; None for a frame
/// without a header.
///
/// Errors: a description.
pub fn parse_header(frame: &[u8]) -> Option<Result<(Vec<Attachment>, usize), &'static str>> {
    (frame.first() == Some(&MARK)).then(|| parse(frame))
}

fn parse(frame: &[u8]) -> Result<(Vec<Attachment>, usize), &'static str> {
    const FAULT: &str = "a frame that does not say what it brings along";
    let end = frame.iter().take(MAX_HEADER).position(|byte| *byte == END).ok_or(FAULT)?;
    let mut rest = &frame[1..end];
    let mut attachments = Vec::new();
    let mut total = 0usize;
    while let Some((letter, behind)) = rest.split_first() {
        let kind = AttachmentKind::of(*letter).ok_or(FAULT)?;
        let (length, behind) = number(behind).ok_or(FAULT)?;
        let (offset, behind) = match behind.strip_prefix(&[AT]) {
            Some(behind) => number(behind).map(|(offset, behind)| (Some(offset), behind)).ok_or(FAULT)?,
            None => (None, behind),
        };
        total = length
            .checked_next_multiple_of(ALIGNMENT)
            .and_then(|more| total.checked_add(more))
            .ok_or(FAULT)?;
        let is_whole = kind != AttachmentKind::Utf16 || length.is_multiple_of(2);
        if !is_whole || attachments.len() == MAX_ATTACHMENTS || total > isize::MAX as usize {
            return Err(FAULT);
        }
        attachments.push(Attachment { kind, length, offset });
        rest = behind;
    }
    if attachments.is_empty() { Err(FAULT) } else { Ok((attachments, end + 1)) }
}

/// A decimal number in front, and the rest.
fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, behind) = bytes.split_at(digits);
    Some((std::str::from_utf8(digits).ok()?.parse().ok()?, behind))
}

/// Where a received attachment lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Among the bytes of its frame.
    Behind(Range<usize>),
    /// In the memory that the two sides share.
    Shared {
        /// In bytes from the beginning of the memory.
        offset: usize,
        /// In bytes.
        length: usize,
    },
}

/// A frame and its attachments, with a buffer of their own.
#[derive(Debug)]
pub struct OwnedFrame {
    /// The whole buffer.
    pub bytes: Vec<u8>,
    /// Where the frame proper is.
    pub frame: Range<usize>,
    /// What the attachments are, and where.
    pub attachments: Vec<(AttachmentKind, Place)>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_piece() -> impl Strategy<Value = Attachment> {
        let kind = prop_oneof![
            Just(AttachmentKind::Latin1),
            Just(AttachmentKind::Utf16),
            Just(AttachmentKind::Bytes)
        ];
        (kind, 0usize..1 << 40, prop::option::of(any::<usize>()))
            .prop_map(|(kind, length, offset)| Attachment { kind, length: length * 2, offset })
    }

    proptest! {
        #[test]
        fn what_is_announced_is_read_and_the_pieces_are_aligned(
            attachments in prop::collection::vec(any_piece(), 1..MAX_ATTACHMENTS),
            rest in 0usize..100,
        ) {
            let mut bytes = b"before".to_vec();
            write_header(&attachments, rest, &mut bytes);
            let frame = &bytes[6..];
            prop_assert_eq!((frame.len() + rest) % ALIGNMENT, 0);
            let (read, start) = parse_header(frame).unwrap().unwrap();
            prop_assert_eq!(read, attachments);
            prop_assert_eq!(start, frame.len());
        }

        #[test]
        fn garbage_is_an_error_and_nothing_else(mut bytes: Vec<u8>) {
            let _ = parse_header(&bytes);
            bytes.insert(0, MARK);
            let _ = parse_header(&bytes);
        }
    }

    #[test]
    fn what_says_nothing_sensible_is_an_error() {
        let huge = format!("\x01b{};", usize::MAX);
        let twice = format!("\x01b{0}b{0};", isize::MAX);
        let many = format!("\x01{};", "b1".repeat(MAX_ATTACHMENTS + 1));
        let zeros = format!("\x01b{}1;", "0".repeat(MAX_HEADER));
        for fault in [
            "\x01",
            "\x01;",
            "\x01b;",
            "\x01b1",
            "\x01x1;",
            "\x01w3;",
            "\x01b-1;",
            "\x01b1@;",
            "\x01b@1;",
            "\x01b1@-1;",
            &huge,
            &twice,
            &many,
            &zeros,
        ] {
            assert!(parse_header(fault.as_bytes()).unwrap().is_err(), "{fault:?}");
        }
        assert!(parse_header(b"{\"a\":1}").is_none());
        assert!(parse_header(b"").is_none());
    }
}
