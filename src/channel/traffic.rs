//! How much has gone over a channel.

use crate::counters::counters;

counters! {
    /// Since the channel was made.
    pub struct Traffic {
        /// Messages that this side's program has sent.
        pub messages_sent: Counter<Messages>,
        /// Bytes of the messages that this side's program has sent.
        pub bytes_sent: Counter<Bytes>,
        /// Messages that the other side's program has sent.
        pub messages_received: Counter<Messages>,
        /// Bytes of the messages that the other side's program has sent.
        pub bytes_received: Counter<Bytes>,
        /// Bytes that wait to be written to the other side.
        pub queued_bytes: Gauge<Bytes>,
    }
}

impl Traffic {
    /// Counts messages of the program that were sent or queued, and their bytes.
    pub fn sent(&self, messages: u32, bytes: usize) {
        self.messages_sent.add(messages.into());
        self.bytes_sent.add(bytes as u64);
    }

    /// How many bytes wait to be written.
    pub fn queued(&self) -> usize {
        self.queued_bytes.get() as usize
    }

    /// Counts a message that was received for the program.
    pub fn received(&self, bytes: usize) {
        self.messages_received.count();
        self.bytes_received.add(bytes as u64);
    }
}
