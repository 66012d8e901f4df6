//! What the peer has not read of the bytes that its socket holds.

use std::collections::VecDeque;

/// After so many writes the kernel is asked, which bounds what is remembered.
const MANY: usize = 1024;

/// What the kernel allocates for a part of a write: a head of at most a page, and pages behind it.
const PAGE: usize = 4096;
const BUFFER: usize = 256;
const HEAD_OVERHEAD: usize = 320;
const SMALLEST_HEAD: usize = 512;
const IN_HEAD: usize = PAGE - HEAD_OVERHEAD;
const IN_PAGES: usize = 32 << 10;

/// The writes that the peer may have left unread, the oldest first. The kernel tells how much memory the unread
/// ones take ([`crate::os::unread_by_peer`]), which for small messages is many times their bytes.
#[derive(Debug, Default)]
pub(super) struct Unread {
    writes: VecDeque<usize>,
    bytes: usize,
    memory: usize,
    /// The kernel has been asked since the last write.
    is_current: bool,
}

impl Unread {
    /// So many bytes went into the socket. `ask` gives the memory that the unread ones take.
    pub(super) fn wrote(&mut self, bytes: usize, ask: impl FnOnce() -> usize) {
        self.writes.push_back(bytes);
        self.bytes += bytes;
        self.memory += memory_of(bytes);
        self.is_current = false;
        if self.writes.len() >= MANY {
            self.refresh(ask);
        }
    }

    /// How many bytes are unread. They were so when the kernel was last asked, and all that came later counts.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets what the peer has read. What was written last is unread, as much as takes that memory.
    pub(super) fn refresh(&mut self, ask: impl FnOnce() -> usize) {
        if std::mem::replace(&mut self.is_current, true) {
            return;
        }
        let unread = ask();
        while let Some(oldest) = self.writes.front_mut() {
            let newer = self.memory - memory_of(*oldest);
            if newer < unread {
                // Of a write in several parts some may have been read.
                let rest = (unread - newer).min(*oldest);
                self.bytes -= *oldest - rest;
                self.memory = newer + memory_of(rest);
                *oldest = rest;
                return;
            }
            self.bytes -= *oldest;
            self.memory = newer;
            self.writes.pop_front();
        }
    }

    /// Another socket takes what is sent from now on.
    pub(super) fn clear(&mut self) {
        *self = Unread::default();
    }
}

/// The memory that Linux counts for one write on a Unix stream socket (`unix_stream_sendmsg`, `__alloc_skb`). On
/// another version it may be another: then a peer that reads slowly counts for somewhat more or less.
fn memory_of(bytes: usize) -> usize {
    let whole = bytes / (IN_HEAD + IN_PAGES);
    let rest = bytes % (IN_HEAD + IN_PAGES);
    let pages = rest.saturating_sub(IN_HEAD).next_multiple_of(PAGE);
    let head = (rest.saturating_sub(pages) + HEAD_OVERHEAD).next_power_of_two().max(SMALLEST_HEAD);
    let part = if rest == 0 { 0 } else { BUFFER + head + pages };
    whole * (BUFFER + PAGE + IN_PAGES) + part
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::os;

    /// What the kernel counts for a small write.
    const SMALL: usize = 768;

    fn never() -> usize {
        unreachable!("there is too little for that")
    }

    #[test]
    fn all_that_was_written_counts_until_the_kernel_is_asked() {
        let mut unread = Unread::default();
        for _ in 0..4 {
            unread.wrote(64 << 10, never);
        }
        assert_eq!(unread.bytes(), 4 * (64 << 10));
        unread.refresh(|| 0);
        assert_eq!(unread.bytes(), 0);
    }

    #[test]
    fn the_kernel_is_asked_once_after_a_write() {
        let mut unread = Unread::default();
        unread.wrote(10, never);
        unread.refresh(|| SMALL);
        unread.refresh(never);
        assert_eq!(unread.bytes(), 10);
        unread.wrote(10, never);
        unread.refresh(|| SMALL);
        assert_eq!(unread.bytes(), 10, "the first has been read");
    }

    #[test]
    fn what_a_peer_does_not_read_counts_by_its_bytes_however_small() {
        let mut unread = Unread::default();
        for count in 1..=2 * MANY {
            unread.wrote(10, || count * SMALL);
            assert_eq!(unread.bytes(), count * 10);
        }
    }

    #[test]
    fn a_large_write_is_not_unread_because_a_small_one_takes_more_than_thought() {
        let mut unread = Unread::default();
        unread.wrote(1 << 20, never);
        unread.wrote(10, never);
        unread.refresh(|| SMALL + 256);
        assert!(unread.bytes() <= 10 + 256, "{}", unread.bytes());
    }

    #[test]
    fn as_many_writes_as_one_likes_are_remembered_for_a_while_only() {
        let mut unread = Unread::default();
        for _ in 0..10 * MANY {
            unread.wrote(1, || 0);
        }
        assert!(unread.writes.len() < MANY);
    }

    #[test]
    fn another_socket_begins_with_nothing() {
        let mut unread = Unread::default();
        unread.wrote(100, never);
        unread.clear();
        assert_eq!(unread.bytes(), 0);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_memory_of_a_write_is_about_what_this_kernel_counts() {
        for bytes in [1, 100, 700, 1000, 3000, 3776, 3777, 10_000, 36_544, 36_545, 60_000] {
            let pair = os::socket_pair().unwrap();
            os::set_send_buffer(pair.ours.as_fd(), 1 << 20);
            let frame = vec![0; bytes];
            assert_eq!(os::send(pair.ours.as_fd(), &[std::io::IoSlice::new(&frame)], None), Ok(bytes));
            let (counted, thought) = (os::unread_by_peer(pair.ours.as_fd()), memory_of(bytes));
            assert!(counted.abs_diff(thought) <= thought / 2, "{bytes} bytes: {counted}, not {thought}");
        }
    }
}
