//! Events, as they are sent to those who follow them (server-sent events). One who does not read misses some, and is told how many.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc::{Receiver, Sender, channel, error::TrySendError};

use crate::admission::ConnectionId;

/// How many events wait for one who does not read.
pub const MAX_WAITING: usize = 64;

/// What a stream of events begins with: a client that loses the connection comes back in a second.
pub const BEGINNING: &[u8] = b"retry: 1000\n\n";

/// One who follows.
#[derive(Debug)]
struct Follower {
    id: ConnectionId,
    to: Sender<Bytes>,
    missed: u64,
    /// Since when there has been no room for any event.
    stuck_since: Option<Instant>,
}

/// All who follow.
#[derive(Debug, Default)]
pub struct Followers(Vec<Follower>);

impl Followers {
    /// One more, on this connection. Ends when the other end is dropped.
    pub fn add(&mut self, id: ConnectionId) -> Receiver<Bytes> {
        let (to, from) = channel(MAX_WAITING);
        // It has just been made, and has room.
        let _ = to.try_send(Bytes::from_static(BEGINNING));
        self.0.push(Follower { id, to, missed: 0, stuck_since: None });
        from
    }

    /// Whether anybody follows.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many follow.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Sends an event with its data, which is JSON on one line.
    pub fn send(&mut self, name: &str, data: &str) {
        let event = Bytes::from(format!("event: {name}\ndata: {data}\n\n"));
        self.0.retain_mut(|follower| {
            // What was missed comes where it is missing, and takes a place of its own.
            if follower.missed > 0 && follower.to.capacity() >= 2 {
                let missed = format!("event: missed\ndata: {{\"count\":{}}}\n\n", follower.missed);
                if follower.to.try_send(missed.into()).is_ok() {
                    follower.missed = 0;
                }
            }
            let sent = if follower.missed > 0 {
                Err(TrySendError::Full(Bytes::new()))
            } else {
                follower.to.try_send(event.clone())
            };
            match sent {
                Ok(()) => {
                    follower.stuck_since = None;
                    true
                }
                Err(TrySendError::Full(_)) => {
                    follower.missed += 1;
                    follower.stuck_since.get_or_insert_with(Instant::now);
                    true
                }
                Err(TrySendError::Closed(_)) => false,
            }
        });
    }

    /// Forgets those that have gone. Returns the connections to be closed, since they have read nothing for so long: others may want
    /// to follow.
    pub fn tidy(&mut self, after: Duration) -> Vec<ConnectionId> {
        self.0.retain(|follower| !follower.to.is_closed());
        let is_stuck = |one: &&Follower| one.stuck_since.is_some_and(|since| since.elapsed() >= after);
        self.0.iter().filter(is_stuck).map(|one| one.id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(from: &mut Receiver<Bytes>) -> Vec<String> {
        std::iter::from_fn(|| from.try_recv().ok())
            .map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
            .collect()
    }

    #[test]
    fn who_follows_gets_events_and_who_has_gone_is_forgotten() {
        let mut followers = Followers::default();
        let (mut one, other) = (followers.add(1), followers.add(2));
        followers.send("worker", "{\"id\":1}");
        assert_eq!(received(&mut one), ["retry: 1000\n\n", "event: worker\ndata: {\"id\":1}\n\n"]);
        drop(other);
        followers.send("worker", "{}");
        assert_eq!(followers.count(), 1);
        drop(one);
        assert_eq!(followers.tidy(Duration::ZERO), Vec::<u64>::new());
        assert!(followers.is_empty());
    }

    #[test]
    fn who_does_not_read_is_told_how_many_were_missed() {
        let mut followers = Followers::default();
        let mut slow = followers.add(7);
        for number in 0..MAX_WAITING + 9 {
            followers.send("n", &number.to_string());
        }
        assert_eq!(followers.tidy(Duration::from_secs(60)), Vec::<u64>::new());
        assert_eq!(followers.tidy(Duration::ZERO), [7]);
        let first = received(&mut slow);
        assert_eq!(first.len(), MAX_WAITING);
        assert_eq!(first.last().unwrap(), &format!("event: n\ndata: {}\n\n", MAX_WAITING - 2));
        followers.send("n", "last");
        assert_eq!(followers.tidy(Duration::ZERO), Vec::<u64>::new());
        assert_eq!(
            received(&mut slow),
            ["event: missed\ndata: {\"count\":10}\n\n", "event: n\ndata: \"last\"\n\n"]
                .map(|text| text.replace("\"last\"", "last"))
        );
    }
}
