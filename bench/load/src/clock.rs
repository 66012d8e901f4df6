//! Says when a request is due: the poller itself would know milliseconds only.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use mio::Waker;

/// Requests that are due so soon after others have been said together with the next ones: it bounds what this costs.
const RESOLUTION: Duration = Duration::from_micros(100);

/// Wakes the poller whenever a request is due, up to the last one.
pub fn start(due: Arc<[Instant]>, waker: Arc<Waker>) {
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
