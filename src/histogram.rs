//! How often something took how long. As with counters, one thread writes and any thread reads.

use std::sync::atomic::{AtomicU64, Ordering};

/// The upper bounds of the buckets, in microseconds, each of them included. What took longer is in one more bucket.
pub const BOUNDS: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000,
];

/// How many buckets there are, with the one for what took longer than every bound.
pub const BUCKETS: usize = BOUNDS.len() + 1;

/// The bucket for what took so many microseconds.
pub fn bucket_of(micros: u64) -> usize {
    BOUNDS.partition_point(|bound| *bound < micros)
}

/// Durations, counted in buckets.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

impl Histogram {
    /// Something took so many microseconds.
    pub fn record(&self, micros: u64) {
        self.buckets[bucket_of(micros)].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(micros, Ordering::Relaxed);
    }

    /// What was recorded so far.
    pub fn read(&self) -> Durations {
        Durations {
            buckets: std::array::from_fn(|bucket| self.buckets[bucket].load(Ordering::Relaxed)),
            sum: self.sum.load(Ordering::Relaxed),
        }
    }
}

/// What a histogram had at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    /// How many durations each bucket has: not those of the buckets before it.
    pub buckets: [u64; BUCKETS],
    /// The sum of all durations, in microseconds.
    pub sum: u64,
}

impl Durations {
    /// Those of both.
    pub fn and(self, other: Durations) -> Durations {
        Durations {
            // The numbers may be a worker's, and anything.
            buckets: std::array::from_fn(|bucket| self.buckets[bucket].wrapping_add(other.buckets[bucket])),
            sum: self.sum.wrapping_add(other.sum),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_first_bucket_whose_bound_is_not_below_it() {
        for (micros, bucket) in
            [(0, 0), (100, 0), (101, 1), (1_000, 3), (10_000_000, 15), (10_000_001, 16), (u64::MAX, 16)]
        {
            assert_eq!(bucket_of(micros), bucket, "{micros}");
        }
    }

    #[test]
    fn what_was_recorded_is_read_and_added_up() {
        let histogram = Histogram::default();
        for micros in [80, 90, 2_000] {
            histogram.record(micros);
        }
        let once = histogram.read();
        assert_eq!((once.buckets[0], once.buckets[4], once.sum), (2, 1, 2_170));
        let twice = once.and(once);
        assert_eq!((twice.buckets[0], twice.buckets[4], twice.sum), (4, 2, 4_340));
        assert_eq!(twice.buckets.iter().sum::<u64>(), 6);
    }
}
