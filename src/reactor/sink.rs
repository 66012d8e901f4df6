//! The destination of a handler's events.

/// Passes events on to another thread. Called on the reactor thread, never blocks.
pub trait EventSink<E>: Send + 'static {
    /// Keeps an event.
    fn push(&mut self, event: E);
    /// Wakes the other thread if events have been kept.
    fn flush(&mut self);
}
