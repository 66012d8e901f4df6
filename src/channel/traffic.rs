//! How much has gone over a channel. Any thread may read the counters.

use std::sync::atomic::{AtomicU64, Ordering};

/// Totals since the channel was made.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Messages of the program that this side has sent or queued.
    pub messages_sent: AtomicU64,
    /// The bytes of those messages.
    pub bytes_sent: AtomicU64,
    /// Messages of the program that the peer has sent.
    pub messages_received: AtomicU64,
    /// The bytes of those messages.
    pub bytes_received: AtomicU64,
    /// Bytes of all frames that wait to be written.
    pub bytes_queued: AtomicU64,
}

impl Traffic {
    /// Counts messages of the program that were sent, and their bytes.
    pub fn sent(&self, messages: u32, bytes: usize) {
        self.messages_sent.fetch_add(messages.into(), Ordering::Relaxed);
        self.bytes_sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// How many bytes wait to be written.
    pub fn queued(&self) -> usize {
        self.bytes_queued.load(Ordering::Relaxed) as usize
    }

    /// Counts a message that was received for the program.
    pub fn received(&self, bytes: usize) {
        self.messages_received.fetch_add(1, Ordering::Relaxed);
        self.bytes_received.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}
