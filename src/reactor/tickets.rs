//! Counting events that JavaScript has not taken, so that what clients can bring about is bounded: nothing
//! else limits how often they connect.

use std::sync::Arc;

/// Counts the events of one kind that JavaScript has not taken.
#[derive(Debug, Default)]
pub struct Tickets(Arc<()>);

/// Travels with an event, and is dropped when JavaScript takes that.
#[derive(Clone, Debug)]
pub struct Ticket {
    _counted: Arc<()>,
}

impl Tickets {
    /// A ticket for another event.
    pub fn issue(&self) -> Ticket {
        Ticket { _counted: self.0.clone() }
    }

    /// How many events have not been taken.
    pub fn outstanding(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }
}
