//! JavaScript's messages as frames: the newline behind JSON, the length in front of V8's format, attachments
//! in shared memory.

use napi::{JsString, Result};
use nix::errno::Errno;

use super::text;
use crate::channel::{Channel, Reservation};
use crate::proto::{self, Attachment, AttachmentKind, PREFIX, Serialization, write_header};

/// The message behind the place for its length. Errors: `EINVAL` where there is no such place.
pub fn body_of(message: &[u8]) -> std::result::Result<&[u8], Errno> {
    message.get(PREFIX..).ok_or(Errno::EINVAL)
}

/// The length in front of a message of so many bytes. Errors: `EMSGSIZE` from 4 GiB on.
pub fn prefix_of(length: usize) -> std::result::Result<[u8; PREFIX], Errno> {
    u32::try_from(length).map(proto::prefix).map_err(|_| Errno::EMSGSIZE)
}

/// The head of a message in V8's format whose attachments follow it. Errors: as `prefix_of`.
pub fn head_of(attachments: &[Attachment], body: &[u8]) -> std::result::Result<Vec<u8>, Errno> {
    let mut head = vec![0; PREFIX];
    write_header(attachments, PREFIX + body.len(), &mut head);
    let prefix = prefix_of(head.len() - PREFIX + body.len())?;
    head[..PREFIX].copy_from_slice(&prefix);
    Ok(head)
}

/// Appends JSON text as a frame. Where V8's format is spoken that is for a corral only.
pub fn append_text(serialization: Serialization, text: &JsString, bytes: &mut Vec<u8>) -> Result<()> {
    match serialization {
        Serialization::Json => {
            text::append_utf8(text, bytes)?;
            bytes.push(b'\n');
        }
        Serialization::Advanced => {
            let start = bytes.len();
            bytes.extend([0; PREFIX]);
            text::append_utf8(text, bytes)?;
            // JavaScript gives no longer texts than V8 has strings, of some 512 MiB.
            set_prefix(&mut bytes[start..]);
        }
    }
    Ok(())
}

/// Appends JSON text as a line whose attachments are in shared memory. Appends nothing when it fails.
pub fn append_text_in_memory(attachments: &[Attachment], text: &JsString, bytes: &mut Vec<u8>) -> Result<()> {
    let start = bytes.len();
    write_header(attachments, 0, bytes);
    let appended = text::append_utf8(text, bytes);
    match appended {
        Ok(()) => bytes.push(b'\n'),
        Err(_) => bytes.truncate(start),
    }
    appended
}

/// Appends a message in V8's format, less than 4 GiB, whose attachments are in shared memory.
pub fn append_bytes_in_memory(attachments: &[Attachment], body: &[u8], bytes: &mut Vec<u8>) {
    let start = bytes.len();
    bytes.extend([0; PREFIX]);
    write_header(attachments, 0, bytes);
    bytes.extend(body);
    set_prefix(&mut bytes[start..]);
}

/// Fills in the length in front of a frame in V8's format, which is less than 4 GiB.
fn set_prefix(frame: &mut [u8]) {
    let prefix = proto::prefix((frame.len() - PREFIX) as u32);
    frame[..PREFIX].copy_from_slice(&prefix);
}

/// Attachments of a message in the memory that the two sides of a channel share. Their memory is released
/// unless they are sent.
pub struct Placed<'a> {
    channel: &'a Channel,
    attachments: Vec<Attachment>,
    reservations: Vec<Reservation>,
    needs_maintenance: bool,
}

impl<'a> Placed<'a> {
    pub fn new(channel: &'a Channel) -> Self {
        Placed { channel, attachments: Vec::new(), reservations: Vec::new(), needs_maintenance: false }
    }

    /// Whether the reactor should maintain the memory.
    pub fn needs_maintenance(&self) -> bool {
        self.needs_maintenance
    }

    /// The attachments, in order.
    pub fn attachments(&self) -> &[Attachment] {
        &self.attachments
    }

    /// Writes strings to the memory. False if there is none, or not enough of it is free.
    pub fn add_strings(&mut self, strings: &[JsString]) -> Result<bool> {
        for string in strings {
            match text::place_string(string, |bytes| self.reserve(bytes))? {
                Some((reservation, kind, length)) => self.add(reservation, kind, length),
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// As `add_strings`, for buffers.
    pub fn add_buffers(&mut self, buffers: &[&[u8]]) -> bool {
        for buffer in buffers {
            let Some(reservation) = self.reserve(buffer.len()) else { return false };
            reservation.write(buffer);
            self.add(reservation, AttachmentKind::Bytes, buffer.len());
        }
        true
    }

    fn reserve(&mut self, bytes: usize) -> Option<Reservation> {
        let (reservation, needs_maintenance) = self.channel.reserve(bytes);
        self.needs_maintenance |= needs_maintenance;
        reservation
    }

    fn add(&mut self, reservation: Reservation, kind: AttachmentKind, length: usize) {
        self.attachments.push(Attachment { kind, length, offset: Some(reservation.offset()) });
        self.reservations.push(reservation);
    }

    /// How many bytes the attachments have.
    pub fn length(&self) -> usize {
        self.attachments.iter().map(|attachment| attachment.length).sum()
    }

    /// The message is sent: the attachments are the receiver's.
    pub fn sent(self) {
        self.reservations
            .into_iter()
            .zip(self.attachments)
            .for_each(|(reservation, attachment)| reservation.sent(attachment.length));
    }
}
