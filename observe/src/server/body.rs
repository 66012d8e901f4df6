//! The body of an answer. Its bytes count as unread until the kernel has all of them, or the connection has gone.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::mpsc::Receiver;

#[derive(Debug)]
pub enum Body {
    Whole(Option<Bytes>),
    Events(Receiver<Bytes>),
}

/// Bytes that are counted while they are there.
struct Counted {
    text: Bytes,
    unread: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.unread.fetch_sub(self.text.len(), Ordering::Relaxed);
    }
}

impl Body {
    pub fn empty() -> Self {
        Body::Whole(None)
    }

    pub fn whole(text: String) -> Self {
        Body::Whole(Some(text.into()))
    }

    /// What is there anyway.
    pub fn fixed(text: &'static [u8]) -> Self {
        Body::Whole(Some(Bytes::from_static(text)))
    }

    /// Events, until those who send them are gone.
    pub fn events(events: Receiver<Bytes>) -> Self {
        Body::Events(events)
    }

    /// The same, counted there. Events are not: how many wait is bounded.
    pub fn counting(self, unread: Arc<AtomicUsize>) -> Self {
        match self {
            Body::Whole(Some(text)) => {
                unread.fetch_add(text.len(), Ordering::Relaxed);
                Body::Whole(Some(Bytes::from_owner(Counted { text, unread })))
            }
            body => body,
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Body::Whole(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Body::Events(events) => {
                events.poll_recv(context).map(|event| event.map(|event| Ok(Frame::data(event))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Body::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Whole(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Body::Events(_) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_count_as_unread_until_the_last_part_of_them_is_dropped() {
        let unread = Arc::new(AtomicUsize::new(0));
        let count = || unread.load(Ordering::Relaxed);
        let body = Body::whole("x".repeat(100)).counting(unread.clone());
        assert_eq!(count(), 100);
        let Body::Whole(Some(mut text)) = body else { panic!() };
        let first = text.split_to(60);
        drop(text);
        assert_eq!(count(), 100);
        drop(first);
        assert_eq!(count(), 0);
        drop(Body::empty().counting(unread.clone()));
        assert_eq!(count(), 0);
    }
}
