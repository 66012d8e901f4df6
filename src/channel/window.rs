//! Descriptors in flight, and whether another one may follow them. No I/O.

use std::collections::VecDeque;

/// How many bytes may be unacknowledged when a second descriptor is sent.
///
/// Node's receiver keeps one descriptor at a time and gives it to the next NODE_HANDLE frame that it
/// completes. So none of its reads may return the end of one such frame together with the beginning of the
/// next, whose descriptor would overwrite the first. The kernel ends each read behind the segment that
/// carries a descriptor. A read can only go wrong if a frame is split, which happens in two ways:
/// - the end of Node's 64 KiB buffer cuts the read short in the middle of the frame. While everything
///   unacknowledged fits into one buffer, this cannot happen;
/// - the frame was sent in several segments, see [`WHOLE_FRAME`].
const HANDLE_WINDOW: u64 = 64 << 10;

/// The longest frame with a descriptor that surely travels in one segment when one call writes it. The kernel
/// makes segments of some 36 KiB, with the descriptor on the first. Longer frames travel alone.
const WHOLE_FRAME: usize = 16 << 10;

/// How many descriptors may be in flight to one receiver. The kernel limits the descriptors that are in the
/// sockets of all processes of a user together, and beyond that takes none from any of them. A receiver that
/// reads nothing must not bring that about. The receiver, too, takes no more than these.
pub(super) const MAX_UNDER_WAY: usize = 32;

/// How a frame was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writing {
    /// In one call.
    AtOnce,
    /// In several calls, as the socket had room.
    InParts,
}

#[derive(Debug)]
struct UnderWay<T> {
    frame: T,
    /// The position in the stream behind it.
    end: u64,
    /// It travels in one segment, so that another descriptor may follow.
    whole: bool,
}

/// The frames with a descriptor that were written and not acknowledged, in order. Positions count the bytes
/// of the stream from its beginning.
#[derive(Debug)]
pub(super) struct Window<T> {
    under_way: VecDeque<UnderWay<T>>,
    written: u64,
    acknowledged: u64,
}

// A derived implementation would require `T: Default`.
impl<T> Default for Window<T> {
    fn default() -> Self {
        Window { under_way: VecDeque::new(), written: 0, acknowledged: 0 }
    }
}

impl<T> Window<T> {
    /// Whether a frame of this length may be sent with a descriptor now.
    pub(super) fn admits(&self, length: usize) -> bool {
        self.under_way.is_empty()
            || (self.under_way.len() < MAX_UNDER_WAY
                && self.under_way.iter().all(|before| before.whole)
                && self.written - self.acknowledged + length as u64 <= HANDLE_WINDOW)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Counts written bytes, of any frame.
    pub(super) fn wrote(&mut self, count: usize) {
        self.written += count as u64;
    }

    /// Adds a frame of `length` bytes with a descriptor, the last byte of which has just been written.
    pub(super) fn sent(&mut self, frame: T, length: usize, writing: Writing) {
        let whole = writing == Writing::AtOnce && length <= WHOLE_FRAME;
        self.under_way.push_back(UnderWay { frame, end: self.written, whole });
    }

    /// Removes the oldest frame: the peer has read it, with or without its descriptor. None when no frame is
    /// in flight.
    pub(super) fn take_oldest(&mut self) -> Option<T> {
        let UnderWay { frame, end, .. } = self.under_way.pop_front()?;
        self.acknowledged = end;
        Some(frame)
    }

    /// Forgets all frames.
    pub(super) fn clear(&mut self) {
        self.under_way.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(window: &mut Window<u32>, number: u32, length: usize) {
        window.wrote(length);
        window.sent(number, length, Writing::AtOnce);
    }

    #[test]
    fn whatever_comes_first_may_go() {
        let mut window: Window<u32> = Window::default();
        window.wrote(1 << 30);
        assert!(window.admits(1 << 30));
    }

    #[test]
    fn another_may_follow_while_all_that_is_unread_fits_into_one_read() {
        let mut window = Window::default();
        window.wrote(60_000);
        send(&mut window, 1, 1000);
        assert!(window.admits(65_536 - 61_000));
        assert!(!window.admits(65_536 - 61_000 + 1));
    }

    #[test]
    fn an_acknowledgement_covers_everything_up_to_its_frame() {
        let mut window = Window::default();
        window.wrote(60_000);
        send(&mut window, 1, 1000);
        send(&mut window, 2, 1000);
        window.wrote(4000);
        assert!(!window.admits(1000));
        assert_eq!(window.take_oldest(), Some(1));
        // These are the second frame and the bytes written behind it.
        assert!(window.admits(65_536 - 5000));
        assert!(!window.admits(65_536 - 5000 + 1));
        assert_eq!(window.take_oldest(), Some(2));
        assert_eq!(window.take_oldest(), None);
    }

    #[test]
    fn no_more_are_under_way_than_the_bound_however_short_they_are() {
        let mut window = Window::default();
        for number in 0..MAX_UNDER_WAY as u32 {
            assert!(window.admits(10));
            send(&mut window, number, 10);
        }
        assert!(!window.admits(10));
        window.take_oldest();
        assert!(window.admits(10));
    }

    #[test]
    fn nothing_follows_a_frame_that_travels_in_pieces() {
        for (length, writing) in [(WHOLE_FRAME + 1, Writing::AtOnce), (10, Writing::InParts)] {
            let mut window = Window::default();
            window.wrote(length);
            window.sent(1, length, writing);
            assert!(!window.admits(1));
            window.take_oldest();
            assert!(window.admits(1));
        }
    }
}
