//! How much of what is sent a channel's socket holds.

use super::sockets::Sockets;
use crate::os;

/// Frames of more bytes than this find more room than usual.
pub(super) const LARGE_FRAME: usize = 64 << 10;

/// How many bytes of large frames a peer may have left unread before they wait here; the system may allow less. What the usual
/// buffer has no room for is copied to wait, and goes out in pieces that each end with one side waking the other.
const LARGE_BUFFER: usize = 2 << 20;

/// The send buffer of a channel's first socket. Small frames find the usual one: what a peer leaves unread then waits in the
/// outbox as it would with Node, byte for byte, where the kernel counts some 800 for the smallest frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum SendBuffer {
    #[default]
    Usual,
    Enlarged {
        usual: usize,
    },
    /// It stays as it was made.
    Fixed,
}

impl SendBuffer {
    /// A frame of so many bytes is about to be written, or the rest of it.
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
