//! Who waits for which profile of a worker.

use std::time::Duration;

use tokio::sync::oneshot::{Receiver, Sender, channel};

/// How much longer than itself a profile may take: the worker's loop has to turn before and after it.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// For how long a profile may go on.
pub const MAX_PROFILE_TIME: Duration = Duration::from_secs(300);

/// What has become of a request for a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A .cpuprofile.
    Profile(String),
    /// Why there is none.
    Failed(String),
    /// Why there can be none.
    Unavailable(String),
}

/// Those who wait.
#[derive(Debug, Default)]
pub struct Profiles {
    waiting: Vec<(u32, u64, Sender<Outcome>)>,
    last: u64,
}

impl Profiles {
    /// One more. Returns its number, and where its outcome comes. If the worker goes, nothing comes.
    pub fn begin(&mut self, worker: u32) -> (u64, Receiver<Outcome>) {
        let (to, outcome) = channel();
        self.last += 1;
        self.waiting.push((worker, self.last, to));
        (self.last, outcome)
    }

    /// This has become of one.
    pub fn settle(&mut self, worker: u32, id: u64, outcome: Outcome) {
        let place = self.waiting.iter().position(|one| (one.0, one.1) == (worker, id));
        if let Some(place) = place {
            // Who asked for it may have gone.
            let _ = self.waiting.swap_remove(place).2.send(outcome);
        }
    }

    /// Nobody waits for one any more.
    pub fn forget(&mut self, worker: u32, id: u64) {
        self.waiting.retain(|one| (one.0, one.1) != (worker, id));
    }

    /// All workers but these have gone.
    pub fn retain(&mut self, workers: impl Fn(u32) -> bool) {
        self.waiting.retain(|one| workers(one.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_gets_what_it_has_asked_for() {
        let mut profiles = Profiles::default();
        let (one, mut first) = profiles.begin(1);
        let (two, mut second) = profiles.begin(1);
        let (three, mut third) = profiles.begin(2);
        // A worker that answers for another.
        profiles.settle(2, one, Outcome::Profile("{}".into()));
        profiles.settle(1, two, Outcome::Failed("so".into()));
        assert_eq!(second.try_recv(), Ok(Outcome::Failed("so".into())));
        profiles.retain(|worker| worker == 1);
        assert!(third.try_recv().is_err() && first.try_recv().is_err());
        profiles.settle(2, three, Outcome::Profile("{}".into()));
        profiles.forget(1, one);
        assert!(profiles.waiting.is_empty());
    }
}
