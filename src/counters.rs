//! What is counted, described where it is counted. `cluster.stats()`, the comments of index.d.ts and the
//! metadata of metrics follow from these descriptions. The thread that does the work writes and any thread
//! reads: atomics, so that reading costs the writer nothing.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows. One thread changes it.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn count(&self) {
        self.add(1);
    }

    /// Adds several.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down. One thread changes it.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Adds one.
    pub fn raise(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes one away.
    pub fn lower(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Replaces the number.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How a number moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows: a [`Counter`].
    Counter,
    /// It goes up and down: a [`Gauge`].
    Gauge,
}

/// What a number is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Connections of clients.
    Connections,
    /// Messages of the program.
    Messages,
    /// Times that something happened.
    Times,
}

/// What each number of a [`counters!`] is.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// The name of its field.
    pub name: &'static str,
    /// How it moves.
    pub kind: Kind,
    /// What it is of.
    pub unit: Unit,
    /// What it says, in one sentence.
    pub help: &'static str,
}

/// Defines a struct of numbers, each with its unit, and describes them by their comments.
macro_rules! counters {
    (
        $(#[$about:meta])*
        pub struct $Name:ident {
            $($(#[doc = $help:literal])+ pub $field:ident: $Kind:ident<$Unit:ident>,)+
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Default)]
        pub struct $Name {
            $($(#[doc = $help])+ pub $field: $crate::counters::$Kind,)+
        }

        impl $Name {
            /// What the numbers are, in the order of [`Self::values`].
            pub const DESCRIPTIONS: &[$crate::counters::Description] = &[
                $($crate::counters::Description {
                    name: stringify!($field),
                    kind: $crate::counters::Kind::$Kind,
                    unit: $crate::counters::Unit::$Unit,
                    help: concat!($($help),+).trim_ascii_start(),
                },)+
            ];

            /// The numbers now.
            pub fn values(&self) -> Vec<u64> {
                vec![$(self.$field.get()),+]
            }
        }
    };
}

pub(crate) use counters;

#[cfg(test)]
mod tests {
    use super::*;

    counters! {
        /// For this test.
        pub struct Example {
            /// Messages that were read
            /// aloud.
            pub read_aloud: Counter<Messages>,
            /// Bytes left.
            pub left: Gauge<Bytes>,
        }
    }

    #[test]
    fn numbers_are_described_by_their_comments_in_the_order_of_their_values() {
        let example = Example::default();
        example.read_aloud.add(2);
        example.read_aloud.count();
        example.left.set(7);
        example.left.raise();
        example.left.lower();
        assert_eq!(example.values(), [3, 7]);
        let described = Example::DESCRIPTIONS.iter().map(|one| (one.name, one.kind, one.unit, one.help));
        assert_eq!(
            described.collect::<Vec<_>>(),
            [
                ("read_aloud", Kind::Counter, Unit::Messages, "Messages that were read aloud."),
                ("left", Kind::Gauge, Unit::Bytes, "Bytes left."),
            ]
        );
    }
}
