//! Where a handler's events go.

/// Passes events on to another thread. Called on the reactor thread, never blocks.
pub trait EventSink<E>: Send + 'static {
    /// Keeps an event.
    fn push(&mut self, event: E);
    /// Makes sure that what was kept will be seen.
    fn flush(&mut self);
}
