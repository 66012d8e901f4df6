//! When something that goes wrong again and again is worth a word.

use std::time::{Duration, Instant};

/// For how long it must not have happened before it is worth a word again. Descriptors that come free one by one are
/// used up one by one, so that a process without any flips between having one and having none.
const CALM: Duration = Duration::from_secs(5);

/// Raised once, and not again before it has been calm for [`CALM`].
#[derive(Debug, Default)]
pub struct Alarm {
    last: Option<Instant>,
}

impl Alarm {
    /// It happens. Returns whether to say so.
    pub fn raise(&mut self, now: Instant) -> bool {
        let is_news = self.last.is_none_or(|last| now.duration_since(last) >= CALM);
        self.last = Some(now);
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_raised_once_until_it_has_been_calm() {
        let start = Instant::now();
        let mut alarm = Alarm::default();
        assert!(alarm.raise(start));
        assert!(!alarm.raise(start + CALM / 2));
        // Counted from the last time.
        assert!(!alarm.raise(start + CALM));
        assert!(alarm.raise(start + CALM * 2));
    }
}
