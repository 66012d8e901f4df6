//! Says when a request is due: the poller itself would know milliseconds only.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use mio::Waker;

/// Requests that are due so soon after others have been said together with the next ones: it bounds what this costs.
const RESOLUTION: Duration = Duration::from_micros(100);

/// Wakes the poller whenever a request is due, up to the last one. The caller keeps the waker: with it goes what it has
/// said and nobody has heard.
pub fn start(due: Arc<[Instant]>, waker: &Arc<Waker>) {
    let waker = waker.clone();
    thread::spawn(move || {
        let mut next = 0;
        let mut earliest = Instant::now();
        while next < due.len() {
            let now = sleep_until(due[next].max(earliest));
            earliest = now + RESOLUTION;
            next += due[next..].partition_point(|&due| due <= now);
            if waker.wake().is_err() {
                // The job has ended before its time.
                return;
            }
        }
    });
}

fn sleep_until(time: Instant) -> Instant {
    loop {
        let now = Instant::now();
        if now >= time {
            return now;
        }
        thread::sleep(time - now);
    }
}

pub fn milliseconds(time: f64) -> Duration {
    Duration::from_secs_f64(time / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll, Token};

    /// Wakes the caller for requests that are due at these milliseconds, until the last is due; how often.
    fn wakes(times: &[f64]) -> usize {
        let mut poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
        let start_at = Instant::now();
        let due: Arc<[Instant]> = times.iter().map(|&time| start_at + milliseconds(time)).collect();
        start(due.clone(), &waker);
        let (mut count, mut told) = (0, 0);
        let mut events = Events::with_capacity(8);
        while told < due.len() {
            poll.poll(&mut events, None).unwrap();
            count += 1;
            let now = Instant::now();
            told = due.partition_point(|&due| due <= now);
            assert!(told > 0, "woken before anything was due");
        }
        count
    }

    #[test]
    fn whoever_sends_is_woken_until_the_last_request_is_due() {
        assert!(wakes(&[0.0, 5.0, 10.0]) <= 3);
    }

    #[test]
    fn requests_that_are_due_together_are_said_once() {
        assert_eq!(wakes(&[1.0; 1000]), 1);
    }

    #[test]
    fn times_are_milliseconds() {
        assert_eq!(milliseconds(1.5), Duration::from_micros(1500));
    }
}
