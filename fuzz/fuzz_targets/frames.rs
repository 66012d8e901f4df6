//! Cuts bytes into frames, in both serializations, with and without attachments: the frames do not depend on how the bytes arrive.

#![no_main]

use arbitrary::Arbitrary;
use corral::proto::{Decoder, OwnedFrame, Place, Serialization, classify};
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 64 << 10;

#[derive(Arbitrary, Debug)]
struct Stream {
    advanced: bool,
    accepts_attachments: bool,
    /// The sizes of the chunks in which it arrives, again and again.
    cuts: Vec<u16>,
    bytes: Vec<u8>,
}

/// A frame, and what it brought along.
type Seen = (Vec<u8>, String);

fn decode(serialization: Serialization, stream: &Stream, cuts: &[u16]) -> (Vec<Seen>, Option<String>) {
    let mut decoder = Decoder::new(serialization, LIMIT);
    if stream.accepts_attachments {
        decoder.accept_attachments();
    }
    let mut seen = Vec::new();
    let mut rest = &stream.bytes[..];
    for cut in cuts.iter().cycle() {
        let buffer = decoder.buffer();
        let room = buffer.capacity() - buffer.len();
        let (chunk, behind) = rest.split_at(rest.len().min(usize::from(*cut) + 1).min(room));
        buffer.extend_from_slice(chunk);
        rest = behind;
        loop {
            match decoder.next_frame() {
                // Left where it is, it is the next one again.
                Ok(Some(frame)) => frame.put_back(),
                Ok(None) => break,
                Err(error) => return (seen, Some(error.to_string())),
            }
            let Ok(Some(frame)) = decoder.next_frame() else { panic!("a frame that was put back is gone") };
            classify(serialization, &frame);
            let (bytes, length) = (frame.to_vec(), frame.total_length());
            assert!(length <= LIMIT && length >= bytes.len());
            let shared: Vec<_> = frame.shared_attachments().collect();
            let OwnedFrame { bytes: whole, frame, attachments } = frame.into_owned_frame();
            assert_eq!(whole[frame], bytes);
            for (_, place) in &attachments {
                if let Place::Behind(range) = place {
                    assert!(range.start <= range.end && range.end <= whole.len());
                }
            }
            seen.push((bytes, format!("{length} {shared:?}")));
        }
        if rest.is_empty() {
            break;
        }
    }
    (seen, None)
}

fuzz_target!(|stream: Stream| {
    let serialization = if stream.advanced { Serialization::Advanced } else { Serialization::Json };
    let at_once = decode(serialization, &stream, &[u16::MAX]);
    let cuts = if stream.cuts.is_empty() { &[0][..] } else { &stream.cuts };
    assert_eq!(decode(serialization, &stream, cuts), at_once);
});
