//! Messages as JavaScript values.

use napi::bindgen_prelude::{Buffer, BufferSlice, JsValue, ToNapiValue, Unknown};
use napi::{Env, Result};

use super::event_kind::EventKind;
use super::text;
use crate::channel::{Format, Frames, Multipart, Part, Segment};
use crate::proto::{LargeFrame, Serialization};

/// Up to this size bytes are copied into V8's own memory.
const COPIED: usize = 64 << 10;

/// An event of messages for JavaScript: its kind, the messages, and the attachments of a single one.
pub fn message_values(env: &Env, serialization: Serialization, frames: Frames) -> Result<[Unknown<'_>; 3]> {
    let (kind, format, bytes) = match frames {
        Frames::One(format, bytes) => (EventKind::Message, format, bytes),
        Frames::Many(format, bytes, _) => (EventKind::Messages, format, bytes),
        Frames::Large(format, frame) => return large_values(env, format, frame),
        Frames::Multipart(bundle) => return attached_values(env, serialization, bundle),
    };
    let kind = env.create_uint32(kind as u32)?.to_unknown();
    Ok([kind, frame_value(env, format, bytes)?, ().into_unknown(env)?])
}

fn large_values(env: &Env, format: Format, mut frame: LargeFrame) -> Result<[Unknown<'_>; 3]> {
    let kind = env.create_uint32(EventKind::Message as u32)?.to_unknown();
    let value = match format {
        Format::Text => text::from_utf8(env, &frame)?.to_unknown(),
        Format::V8 => {
            let (start, length) = (frame.as_mut_ptr(), frame.len());
            // SAFETY: so many bytes are there while the frame is, which the buffer has until its end; nobody
            // else has them.
            let buffer =
                unsafe { BufferSlice::from_external(env, start, length, frame, |_, frame| drop(frame)) }?;
            prompt_collection(env)?;
            buffer.to_unknown()
        }
    };
    Ok([kind, value, ().into_unknown(env)?])
}

/// Lets V8 check whether to collect young buffers, which it does only when it makes one itself. Large
/// external buffers would wait for a full collection otherwise, which takes a hundred times as long and comes
/// late.
fn prompt_collection(env: &Env) -> Result<()> {
    BufferSlice::copy_from(env, [0]).map(drop)
}

fn attached_values(env: &Env, serialization: Serialization, bundle: Multipart) -> Result<[Unknown<'_>; 3]> {
    let Multipart { bytes, frame, attachments } = bundle;
    let kind = env.create_uint32(EventKind::Attached as u32)?.to_unknown();
    match serialization {
        Serialization::Json => {
            let text = text::from_utf8(env, &bytes[frame])?.to_unknown();
            let strings = attachments.into_iter().map(|(kind, part)| match part {
                Part::Behind(range) => text::attachment(env, kind, &bytes[range]),
                Part::Shared(segment) => text::shared_attachment(env, kind, &segment),
            });
            Ok([kind, text, strings.collect::<Result<Vec<_>>>()?.into_unknown(env)?])
        }
        // Nothing is copied. Attachments that came with the frame become views of one buffer, as in a message
        // of Node's own, and those in shared memory become buffers there.
        Serialization::Advanced => {
            let mut places = env.create_array(0)?;
            let parts =
                std::iter::once(Part::Behind(frame)).chain(attachments.into_iter().map(|(_, part)| part));
            for part in parts {
                match part {
                    Part::Behind(range) => {
                        places.insert(range.start as f64)?;
                        places.insert(range.end as f64)?;
                    }
                    Part::Shared(segment) => places.insert(shared_buffer(env, segment)?)?,
                }
            }
            Ok([kind, frame_value(env, Format::V8, bytes)?, places.into_unknown(env)?])
        }
    }
}

/// An attachment in shared memory as a buffer, which keeps it until it is collected.
fn shared_buffer(env: &Env, mut segment: Segment) -> Result<BufferSlice<'_>> {
    segment.read();
    let (start, length) = (segment.pointer(), segment.len());
    // SAFETY: so many bytes are there while the segment is, which the buffer has until its end. No two
    // segments overlap.
    unsafe { BufferSlice::from_external(env, start, length, segment, |_, segment| drop(segment)) }
}

/// Messages in the form that JavaScript parses: a string for JSON, bytes for V8's format.
pub fn frame_value(env: &Env, format: Format, bytes: Vec<u8>) -> Result<Unknown<'_>> {
    match format {
        Format::Text => Ok(text::from_utf8(env, &bytes)?.to_unknown()),
        // Memory that is not V8's own costs it a good deal when it is collected: more than copying a little.
        Format::V8 if bytes.len() <= COPIED => Ok(BufferSlice::copy_from(env, &bytes)?.to_unknown()),
        Format::V8 => Buffer::from(bytes).into_unknown(env),
    }
}
