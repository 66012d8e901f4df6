use proptest::prelude::*;

use super::*;
use crate::proto::classify;

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

/// A frame's attachments: each with its kind, and its bytes or its place in shared memory.
type Attachments<'a> = &'a [(AttachmentKind, Result<&'a [u8], (usize, usize)>)];

/// A frame with attachments, as it travels.
fn with_attachments(serialization: Serialization, body: &[u8], attachments: Attachments<'_>) -> Vec<u8> {
    let (prefix, newline) = match serialization {
        Serialization::Json => (0, 1),
        Serialization::Advanced => (PREFIX, 0),
    };
    let announced = attachments.iter().map(|(kind, place)| match place {
        Ok(bytes) => Attachment::behind(*kind, bytes.len()),
        Err((offset, length)) => Attachment { kind: *kind, length: *length, offset: Some(*offset) },
    });
    let mut head = Vec::new();
    if !attachments.is_empty() {
        attachment::write_header(&announced.collect::<Vec<_>>(), prefix + body.len() + newline, &mut head);
    }
    head.extend(body);
    let mut bytes = stream(serialization, &[head]);
    for attachment in attachments.iter().filter_map(|(_, place)| place.ok()) {
        bytes.extend(attachment);
        bytes.resize(bytes.len() - attachment.len() + attachment::aligned(attachment.len()), 0);
    }
    bytes
}

#[test]
fn pieces_behind_a_frame_and_in_memory_survive_a_split_at_every_byte() {
    let frames: [(&[u8], Attachments<'_>); 6] = [
        (b"0", &[]),
        (b"[1]", &[(AttachmentKind::Bytes, Ok(b"hello")), (AttachmentKind::Bytes, Err((16384, 70_000)))]),
        (b"", &[(AttachmentKind::Latin1, Err((32768, 1)))]),
        (b"{}", &[(AttachmentKind::Utf16, Err((0, 2))), (AttachmentKind::Latin1, Ok(b"\n\x01;\n"))]),
        (b"4", &[]),
        (b"5", &[(AttachmentKind::Latin1, Ok(b"")), (AttachmentKind::Utf16, Ok(b"12345678"))]),
    ];
    for serialization in [Serialization::Json, Serialization::Advanced] {
        let bytes =
            frames.map(|(body, attachments)| with_attachments(serialization, body, attachments)).concat();
        for split in 0..=bytes.len() {
            let mut decoder = Decoder::new(serialization, 1 << 20);
            decoder.accept_attachments();
            let mut expected = frames.iter();
            for part in [&bytes[..split], &bytes[split..]] {
                feed(&mut decoder, part);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    let (body, attachments) = expected.next().unwrap();
                    assert_has(frame, body, attachments, split);
                }
            }
            assert!(expected.next().is_none() && decoder.is_empty(), "{serialization:?} split at {split}");
        }
    }
}

fn assert_has(frame: Frame<'_>, body: &[u8], attachments: Attachments<'_>, split: usize) {
    let in_memory: Vec<(usize, usize)> = attachments.iter().filter_map(|(_, place)| place.err()).collect();
    assert_eq!((frame.has_attachments(), &*frame), (!attachments.is_empty(), body), "split at {split}");
    assert_eq!(frame.shared_attachments().collect::<Vec<_>>(), in_memory, "split at {split}");
    let length = |place: &Result<&[u8], (usize, usize)>| place.map_or_else(|(_, length)| length, <[u8]>::len);
    let total = body.len() + attachments.iter().map(|(_, place)| length(place)).sum::<usize>();
    assert_eq!(frame.total_length(), total, "split at {split}");
    let OwnedFrame { bytes, frame, attachments: places } = frame.into_owned_frame();
    assert_eq!((&bytes[frame], places.len()), (body, attachments.len()), "split at {split}");
    for ((kind, place), (expected_kind, expected)) in places.iter().zip(attachments) {
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
fn a_frame_with_attachments_that_was_put_back_comes_again() {
    let attachments: Attachments<'_> =
        &[(AttachmentKind::Bytes, Ok(b"hello")), (AttachmentKind::Bytes, Err((16384, 70_000)))];
    for serialization in [Serialization::Json, Serialization::Advanced] {
        let mut decoder = Decoder::new(serialization, 1 << 20);
        decoder.accept_attachments();
        feed(&mut decoder, &stream(serialization, &[b"before".to_vec()]));
        feed(&mut decoder, &with_attachments(serialization, b"[1]", attachments));
        decoder.next_frame().unwrap().unwrap();
        for _ in 0..2 {
            decoder.next_frame().unwrap().unwrap().put_back();
        }
        assert_has(decoder.next_frame().unwrap().unwrap(), b"[1]", attachments, 0);
        assert!(decoder.is_empty());
    }
}

#[test]
fn what_is_in_memory_counts_for_the_limit_and_is_not_waited_for() {
    for (length, fits) in [(80, true), (100, false)] {
        let mut decoder = Decoder::new(Serialization::Json, 100);
        decoder.accept_attachments();
        let attachments: Attachments<'_> = &[(AttachmentKind::Bytes, Err((16384, length)))];
        feed(&mut decoder, &with_attachments(Serialization::Json, b"[1]", attachments));
        match decoder.next_frame() {
            Ok(Some(frame)) => assert!(fits && frame.total_length() == length + 3),
            other => assert!(!fits && matches!(other, Err(FrameError::TooLarge { limit: 100 }))),
        }
    }
}

#[test]
fn to_others_than_a_corral_pieces_are_part_of_the_text() {
    let bytes =
        with_attachments(Serialization::Json, b"[1]", &[(AttachmentKind::Bytes, Err((16384, 70_000)))]);
    let mut decoder = Decoder::new(Serialization::Json, 1 << 20);
    feed(&mut decoder, &bytes);
    let frame = decoder.next_frame().unwrap().unwrap();
    assert!(!frame.has_attachments());
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
        // By its first bytes a peer is known that speaks something else.
        let frames = [vec![b"{}".to_vec()], frames].concat();
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
fn a_peer_that_speaks_something_else_is_not_waited_for() {
    let mut decoder = Decoder::new(Serialization::Advanced, DEFAULT_MAX_FRAME);
    // A version of Bun's, and the length of what follows in another order than Node's.
    feed(&mut decoder, &[1, 2, 0, 0, 0]);
    assert!(matches!(decoder.next_frame(), Err(FrameError::Malformed(fault)) if fault.contains("Bun")));
    let mut decoder = Decoder::new(Serialization::Json, DEFAULT_MAX_FRAME);
    feed(&mut decoder, &[2]);
    assert!(matches!(decoder.next_frame(), Err(FrameError::Malformed(fault)) if fault.contains("Bun")));
    // Behind a frame it is a message like any other, and its reader's to refuse.
    let mut decoder = Decoder::new(Serialization::Json, DEFAULT_MAX_FRAME);
    feed(&mut decoder, b"{}\n\x02\n");
    assert_eq!(drain(&mut decoder), [&b"{}"[..], &b"\x02"[..]]);
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
        // The frame is not alone: it is copied, and what follows it stays.
        feed(&mut decoder, &stream(serialization, &[frame.clone(), b"behind".to_vec()]));
        assert_eq!(decoder.next_frame().unwrap().unwrap().into_bytes(), frame);
        assert_eq!(&*decoder.next_frame().unwrap().unwrap(), b"behind");
    }
}
