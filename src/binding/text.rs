//! Text between Rust and JavaScript.

use napi::bindgen_prelude::FromNapiValue;
use napi::{Env, JsString, JsValue, Result, check_status, sys};

use crate::channel::{Reservation, Segment};
use crate::proto::{Attachment, AttachmentKind, aligned};

/// The longest string of V8, in UTF-16 units (`buffer.constants.MAX_STRING_LENGTH` on 64-bit systems).
pub const MAX_LENGTH: usize = (1 << 29) - 24;

/// Enough for most messages, in bytes.
const SHORT: usize = 1 << 10;

/// Makes a JavaScript string of UTF-8, in the narrower of V8's two forms. V8's own conversion takes several
/// times as long. Invalid bytes become U+FFFD, as in Node's StringDecoder.
pub fn from_utf8<'env>(env: &'env Env, bytes: &[u8]) -> Result<JsString<'env>> {
    use encoding_rs::mem;
    if bytes.is_ascii() {
        env.create_string_latin1(bytes)
    } else if mem::is_utf8_latin1(bytes) {
        let mut latin1 = vec![0; bytes.len()];
        let length = mem::convert_utf8_to_latin1_lossy(bytes, &mut latin1);
        latin1.truncate(length);
        env.create_string_latin1(latin1)
    } else {
        // One more than the bytes, says the contract of the conversion.
        let mut utf16 = vec![0; bytes.len() + 1];
        let length = mem::convert_utf8_to_utf16(bytes, &mut utf16);
        utf16.truncate(length);
        env.create_string_utf16(utf16)
    }
}

/// Makes a string of an attachment.
pub fn attachment<'env>(env: &'env Env, kind: AttachmentKind, bytes: &[u8]) -> Result<JsString<'env>> {
    match kind {
        AttachmentKind::Latin1 | AttachmentKind::Bytes => env.create_string_latin1(bytes),
        AttachmentKind::Utf16 => {
            let units = bytes.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
            env.create_string_utf16(units.collect::<Vec<_>>())
        }
    }
}

/// Makes a string of an attachment in shared memory.
pub fn shared_attachment<'env>(
    env: &'env Env,
    kind: AttachmentKind,
    segment: &Segment,
) -> Result<JsString<'env>> {
    let (start, mut value) = (segment.pointer(), std::ptr::null_mut());
    // SAFETY: so many bytes are there while the segment is, from a place that is aligned for units of two. V8
    // copies them, and minds as little as we do that the other side could change them meanwhile.
    let status = unsafe {
        match kind {
            AttachmentKind::Latin1 | AttachmentKind::Bytes => {
                let length = segment.len() as isize;
                sys::napi_create_string_latin1(env.raw(), start.cast(), length, &raw mut value)
            }
            AttachmentKind::Utf16 => {
                let length = (segment.len() / 2) as isize;
                sys::napi_create_string_utf16(env.raw(), start.cast(), length, &raw mut value)
            }
        }
    };
    check_status!(status)?;
    // SAFETY: it is the string that has just been made.
    unsafe { JsString::from_napi_value(env.raw(), value) }
}

/// Writes a JavaScript string without loss to shared memory, of which `reserve` gives so many bytes. Returns
/// None if there are not as many.
pub fn place_string(
    text: &JsString<'_>,
    mut reserve: impl FnMut(usize) -> Option<Reservation>,
) -> Result<Option<(Reservation, AttachmentKind, usize)>> {
    let (units, value) = (length(text)?, text.value());
    let Some(narrow) = reserve(units + 5) else { return Ok(None) };
    let mut written = 0;
    // SAFETY: environment and value are those of the call that is under way; the room has as many bytes as
    // are passed, and nothing else is in it.
    let status = unsafe {
        let (start, size) = (narrow.pointer().cast(), narrow.capacity());
        sys::napi_get_value_string_utf8(value.env, value.value, start, size, &raw mut written)
    };
    check_status!(status)?;
    // As many bytes as units: it is all ASCII. What is cut off for want of room has more.
    if written == units {
        return Ok(Some((narrow, AttachmentKind::Latin1, units)));
    }
    drop(narrow);
    let Some(wide) = reserve(2 * (units + 1)) else { return Ok(None) };
    let mut count = 0;
    // SAFETY: as above; the room is aligned for units of two bytes.
    let status = unsafe {
        let (start, size) = (wide.pointer().cast(), wide.capacity() / 2);
        sys::napi_get_value_string_utf16(value.env, value.value, start, size, &raw mut count)
    };
    check_status!(status)?;
    Ok(Some((wide, AttachmentKind::Utf16, 2 * count)))
}

/// Appends a JavaScript string without loss, and padding up to the alignment of an attachment.
pub fn append_string(text: &JsString<'_>, bytes: &mut Vec<u8>) -> Result<Attachment> {
    let start = bytes.len();
    let units = length(text)?;
    bytes.reserve(units + 5);
    let written = write_utf8(text, bytes)?;
    // SAFETY: `written` bytes behind the length have just been initialized, within the capacity.
    unsafe { bytes.set_len(start + written) };
    // ASCII is the same in UTF-8, which is the quickest to ask for. What is cut off for want of room is none.
    if written == units && bytes[start..].is_ascii() {
        bytes.resize(start + aligned(units), 0);
        return Ok(Attachment::behind(AttachmentKind::Latin1, units));
    }
    bytes.truncate(start);
    let mut utf16 = vec![0u16; units + 1];
    let value = text.value();
    let mut count = 0;
    // SAFETY: environment and value are those of the call that is under way; the buffer has room for as many
    // units as are passed.
    let status = unsafe {
        sys::napi_get_value_string_utf16(
            value.env,
            value.value,
            utf16.as_mut_ptr(),
            utf16.len(),
            &raw mut count,
        )
    };
    check_status!(status)?;
    bytes.reserve(aligned(2 * count));
    utf16[..count].iter().for_each(|unit| bytes.extend(unit.to_le_bytes()));
    bytes.resize(start + aligned(2 * count), 0);
    Ok(Attachment::behind(AttachmentKind::Utf16, 2 * count))
}

/// How many UTF-16 units a string has; costs next to nothing.
fn length(text: &JsString<'_>) -> Result<usize> {
    let value = text.value();
    let mut length = 0;
    // SAFETY: environment and value are those of the call that is under way; without a buffer the call
    // returns the length only.
    let status = unsafe {
        sys::napi_get_value_string_utf16(value.env, value.value, std::ptr::null_mut(), 0, &raw mut length)
    };
    check_status!(status)?;
    Ok(length)
}

/// Appends a JavaScript string as UTF-8; lone surrogates become U+FFFD.
pub fn append_utf8(text: &JsString<'_>, bytes: &mut Vec<u8>) -> Result<()> {
    if append_within_utf8(text, SHORT, bytes)? || append_within_utf8(text, length(text)? + 5, bytes)? {
        return Ok(());
    }
    let value = text.value();
    let mut length = 0;
    // SAFETY: environment and value are those of the call that is under way; without a buffer the call
    // returns the length only.
    let status = unsafe {
        sys::napi_get_value_string_utf8(value.env, value.value, std::ptr::null_mut(), 0, &raw mut length)
    };
    check_status!(status)?;
    // Node-API ends the text with a NUL, for which there must be room.
    bytes.reserve(length + 2);
    let written = write_utf8(text, bytes)?;
    // SAFETY: `written` bytes behind the length have just been initialized, within the capacity.
    unsafe { bytes.set_len(bytes.len() + written) };
    Ok(())
}

/// As [`append_utf8`], in one pass, for texts that need no more room than this, or than there is: those that
/// are short, or all ASCII. Returns whether it was one; nothing has changed if not.
fn append_within_utf8(text: &JsString<'_>, room: usize, bytes: &mut Vec<u8>) -> Result<bool> {
    bytes.reserve(room);
    let written = write_utf8(text, bytes)?;
    // A text that does not fit is cut off at a character, of four bytes at most, and one byte is for the NUL.
    if written + 5 > bytes.spare_capacity_mut().len() {
        return Ok(false);
    }
    // SAFETY: `written` bytes behind the length have just been initialized, within the capacity.
    unsafe { bytes.set_len(bytes.len() + written) };
    Ok(true)
}

/// Writes as much of a text as has room into the spare capacity; returns how many bytes that is, without the
/// NUL behind them. The length stays as it is.
fn write_utf8(text: &JsString<'_>, bytes: &mut Vec<u8>) -> Result<usize> {
    let value = text.value();
    let spare = bytes.spare_capacity_mut();
    let mut written = 0;
    // SAFETY: environment and value are those of the call that is under way; the buffer has room for as many
    // bytes as are passed, and nobody reads them before.
    let status = unsafe {
        let buffer = spare.as_mut_ptr().cast();
        sys::napi_get_value_string_utf8(value.env, value.value, buffer, spare.len(), &raw mut written)
    };
    check_status!(status)?;
    Ok(written)
}
