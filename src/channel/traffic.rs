//! What has gone over a channel, for any thread to read.

use std::sync::atomic::{AtomicU64, Ordering};

/// What has gone over a channel since it was made; for any thread to read.
#[derive(Debug, Default)]
pub struct Traffic {
    /// The program's messages that this side has sent, or queued.
    pub messages_sent: AtomicU64,
    /// Their bytes.
    pub bytes_sent: AtomicU64,
    /// The program's messages that the peer has sent.
    pub messages_received: AtomicU64,
    /// Their bytes.
    pub bytes_received: AtomicU64,
    /// Bytes of all frames that wait to be written.
    pub bytes_queued: AtomicU64,
}

impl Traffic {
    /// So many messages of the program's have been sent, of so many bytes.
    pub fn sent(&self, messages: u32, bytes: usize) {
        self.messages_sent.fetch_add(messages.into(), Ordering::Relaxed);
        self.bytes_sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// How many bytes wait to be written.
    pub fn queued(&self) -> usize {
        self.bytes_queued.load(Ordering::Relaxed) as usize
    }

    /// A message for the program has been received.
    pub fn received(&self, bytes: usize) {
        self.messages_received.fetch_add(1, Ordering::Relaxed);
        self.bytes_received.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}
