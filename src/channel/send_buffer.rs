//! The size of a channel's send buffer.

use super::sockets::Sockets;
use crate::os;

/// Larger frames get a larger buffer.
pub(super) const LARGE_FRAME: usize = 64 << 10;

/// The send buffer for large frames, in bytes, as far as the system allows. Bytes that the usual buffer does
/// not take are copied to wait, and go out in parts, each of which wakes the other side.
const LARGE_BUFFER: usize = 2 << 20;

/// The send buffer of a channel's first socket. Small frames get the usual one: what a peer leaves unread
/// then waits in the outbox, as with Node, and counts byte for byte. In the socket the kernel counts some 800
/// bytes for the smallest frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum SendBuffer {
    #[default]
    Usual,
    Enlarged {
        usual: usize,
    },
    /// It keeps the size that it was made with.
    Fixed,
}

impl SendBuffer {
    /// Adjusts the buffer to the next frame, or to the rest of one.
    pub(super) fn fit(&mut self, sockets: &Sockets, frame: usize) {
        if sockets.has_moved_sending() {
            return;
        }
        let is_large = frame > LARGE_FRAME;
        match *self {
            SendBuffer::Usual if is_large => {
                let Ok(usual) = os::send_buffer(sockets.sending()) else { return };
                os::set_send_buffer(sockets.sending(), LARGE_BUFFER);
                *self = SendBuffer::Enlarged { usual };
            }
            SendBuffer::Enlarged { usual } if !is_large => {
                os::set_send_buffer(sockets.sending(), usual);
                *self = SendBuffer::Usual;
            }
            _ => {}
        }
    }
}
