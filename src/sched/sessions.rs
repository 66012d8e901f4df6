//! Sessions that workers have begun: whoever names one is that worker's. The table is bounded for each worker, as what a
//! worker says is input from outside.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lru::LruCache;

use super::policy::Session;
use crate::ids::WorkerId;

/// How many sessions of one worker are known. With one more, the one that was named longest ago is forgotten.
pub const MAX_SESSIONS: usize = 65_536;

/// A session that nobody has named for so long is forgotten.
pub const SESSION_EXPIRY: Duration = Duration::from_secs(24 * 60 * 60);

/// What has become of a session that a worker says is its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// It is.
    Bound,
    /// It is, and an older one has been forgotten for it.
    InPlaceOfAnother,
    /// It stays another worker's, which is there.
    IsAnothers,
}

/// The sessions of all workers.
#[derive(Debug, Default)]
pub struct Sessions {
    /// When each was named last. A worker that has gone has none.
    workers: BTreeMap<WorkerId, LruCache<Session, Instant>>,
}

impl Sessions {
    /// A worker has begun a session.
    pub fn bind(&mut self, worker: WorkerId, session: Session, now: Instant) -> Binding {
        if self.find(session, now).is_some_and(|owner| owner != worker) {
            return Binding::IsAnothers;
        }
        let sessions = self.workers.entry(worker).or_insert_with(LruCache::unbounded);
        sessions.put(session, now);
        if sessions.len() <= MAX_SESSIONS {
            return Binding::Bound;
        }
        sessions.pop_lru();
        Binding::InPlaceOfAnother
    }

    /// The worker whose session it is. It has been named with this.
    pub fn find(&mut self, session: Session, now: Instant) -> Option<WorkerId> {
        for (worker, sessions) in &mut self.workers {
            if let Some(named) = sessions.get_mut(&session) {
                if now.saturating_duration_since(*named) < SESSION_EXPIRY {
                    *named = now;
                    return Some(*worker);
                }
                sessions.pop(&session);
            }
        }
        None
    }

    /// A worker has gone, and its sessions with it.
    pub fn remove(&mut self, worker: WorkerId) {
        self.workers.remove(&worker);
    }
}

#[cfg(test)]
mod tests {
    use super::super::sticky::SessionMaker;
    use super::*;

    const ONE: WorkerId = WorkerId(1);
    const OTHER: WorkerId = WorkerId(2);

    #[test]
    fn a_session_is_the_workers_that_began_it_until_that_has_gone() {
        let (mut sessions, maker, now) = (Sessions::default(), SessionMaker::default(), Instant::now());
        let session = maker.of_id(b"one");
        assert_eq!(sessions.find(session, now), None);
        assert_eq!(sessions.bind(ONE, session, now), Binding::Bound);
        assert_eq!(sessions.find(session, now), Some(ONE));
        // No worker takes another's.
        assert_eq!(sessions.bind(OTHER, session, now), Binding::IsAnothers);
        assert_eq!(sessions.bind(ONE, session, now), Binding::Bound);
        assert_eq!(sessions.find(session, now), Some(ONE));
        sessions.remove(ONE);
        assert_eq!(sessions.find(session, now), None);
        assert_eq!(sessions.bind(OTHER, session, now), Binding::Bound);
        assert_eq!(sessions.find(session, now), Some(OTHER));
    }

    #[test]
    fn a_worker_with_too_many_loses_what_was_named_longest_ago_and_nobody_else_does() {
        let (mut sessions, maker, now) = (Sessions::default(), SessionMaker::default(), Instant::now());
        let session = |number: usize| maker.of_id(&number.to_le_bytes());
        let others = maker.of_id(b"another's");
        sessions.bind(OTHER, others, now);
        for number in 0..MAX_SESSIONS {
            assert_eq!(sessions.bind(ONE, session(number), now), Binding::Bound);
        }
        // Named again, it is not the oldest any more.
        assert_eq!(sessions.find(session(0), now), Some(ONE));
        assert_eq!(sessions.bind(ONE, session(MAX_SESSIONS), now), Binding::InPlaceOfAnother);
        assert_eq!(sessions.find(session(1), now), None);
        for kept in [0, 2, MAX_SESSIONS] {
            assert_eq!(sessions.find(session(kept), now), Some(ONE));
        }
        assert_eq!(sessions.find(others, now), Some(OTHER));
    }

    #[test]
    fn a_session_that_nobody_names_is_forgotten_after_a_day() {
        let (mut sessions, maker, now) = (Sessions::default(), SessionMaker::default(), Instant::now());
        let session = maker.of_id(b"one");
        let hour = Duration::from_secs(3600);
        sessions.bind(ONE, session, now);
        assert_eq!(sessions.find(session, now + 23 * hour), Some(ONE));
        assert_eq!(sessions.find(session, now + 46 * hour), Some(ONE));
        assert_eq!(sessions.find(session, now + 70 * hour), None);
        assert_eq!(sessions.bind(OTHER, session, now + 70 * hour), Binding::Bound);
    }
}
