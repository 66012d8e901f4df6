//! Connections that did not become channels: reported one by one while they are few, together when they are
//! many.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::Error;
use crate::os::Credentials;
use crate::reactor::{Ticket, Tickets};

/// How many refusals of one listener are reported one by one in each [`WINDOW`], and how many of them may
/// wait for JavaScript.
pub const MAX_SINGLE: usize = 64;

/// How long those beyond that are counted before they are reported together.
pub const WINDOW: Duration = Duration::from_millis(100);

/// A client that got no channel, or several for the same reason.
#[derive(Debug)]
pub struct Refused {
    /// The client; the last of several.
    pub peer: Credentials,
    /// Why; to the last of several.
    pub error: Error,
    /// How many.
    pub count: u64,
    /// Of the event.
    pub ticket: Ticket,
}

/// The refusals of one listener.
#[derive(Debug, Default)]
pub struct Refusals {
    tickets: Tickets,
    /// How many were reported one by one in this window.
    single: usize,
    /// A timer runs for its end.
    is_timed: bool,
    /// The others, by the codes of their errors. There are no more codes than reasons to refuse a client.
    counted: BTreeMap<&'static str, (Credentials, Error, u64)>,
}

impl Refusals {
    /// Adds one. None if it is only counted.
    pub fn add(&mut self, peer: Credentials, error: Error) -> Option<Refused> {
        if self.single < MAX_SINGLE && self.tickets.outstanding() < MAX_SINGLE {
            self.single += 1;
            return Some(Refused { peer, error, count: 1, ticket: self.tickets.issue() });
        }
        let before = self.counted.get(error.code()).map_or(0, |(_, _, count)| *count);
        self.counted.insert(error.code(), (peer, error, before + 1));
        None
    }

    /// Whether to set a timer for the end of the window.
    pub fn begins_window(&mut self) -> bool {
        let is_begun = self.single > 0 || !self.counted.is_empty();
        is_begun && !std::mem::replace(&mut self.is_timed, true)
    }

    /// The window is over. Returns those that were only counted in it, unless JavaScript has not taken what
    /// was reported before: then counting goes on.
    pub fn end_window(&mut self) -> Vec<Refused> {
        self.is_timed = false;
        self.single = 0;
        if self.tickets.outstanding() >= MAX_SINGLE {
            return Vec::new();
        }
        let counted = std::mem::take(&mut self.counted).into_values();
        let refused = counted.map(|(peer, error, count)| {
            let ticket = self.tickets.issue();
            Refused { peer, error, count, ticket }
        });
        refused.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: Credentials = Credentials { pid: 1, uid: 2, gid: 3 };

    fn refusal(code: &'static str) -> Error {
        Error::Refused { code, reason: String::new() }
    }

    #[test]
    fn few_are_told_one_by_one_and_those_beyond_them_together_by_their_codes() {
        let mut refusals = Refusals::default();
        let told: Vec<_> = (0..MAX_SINGLE).map(|_| refusals.add(PEER, refusal("A")).unwrap()).collect();
        assert!(refusals.begins_window() && !refusals.begins_window());
        drop(told);
        for code in ["A", "A", "B"] {
            assert!(refusals.add(PEER, refusal(code)).is_none(), "in the same window");
        }
        let together = refusals.end_window();
        assert_eq!(
            together.iter().map(|refused| (refused.error.code(), refused.count)).collect::<Vec<_>>(),
            [("A", 2), ("B", 1)]
        );
        assert!(!refusals.begins_window());
        assert_eq!(refusals.add(PEER, refusal("A")).map(|refused| refused.count), Some(1));
    }

    #[test]
    fn what_javascript_does_not_take_grows_no_further_however_many_windows_pass() {
        let mut refusals = Refusals::default();
        let mut untaken = Vec::new();
        for _ in 0..10 {
            for _ in 0..1000 {
                untaken.extend(refusals.add(PEER, refusal("A")));
            }
            assert!(refusals.begins_window());
            untaken.extend(refusals.end_window());
        }
        assert_eq!(untaken.len(), MAX_SINGLE);
        drop(untaken);
        let [rest] = &refusals.end_window()[..] else { panic!("they were not told together") };
        assert_eq!(rest.count, 10_000 - MAX_SINGLE as u64);
    }
}
