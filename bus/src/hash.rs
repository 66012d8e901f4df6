//! Hashing of the numbers that this crate gives itself, and of random ids: nobody chooses them so that they collide.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// An odd number whose bits are as good as random.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Multiplies and folds.
#[derive(Clone, Copy, Debug, Default)]
pub struct QuickHasher(u64);

impl Hasher for QuickHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, value: u64) {
        let product = u128::from(self.0 ^ value) * u128::from(FACTOR);
        // Both halves: the lower one alone says nothing of the upper bits.
        self.0 = (product as u64) ^ ((product >> 64) as u64);
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }
}

pub type QuickMap<K, V> = HashMap<K, V, BuildHasherDefault<QuickHasher>>;
pub type QuickSet<K> = HashSet<K, BuildHasherDefault<QuickHasher>>;

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::BuildHasher;

    #[test]
    fn numbers_in_a_row_are_spread() {
        let build = BuildHasherDefault::<QuickHasher>::default();
        // What a table takes of a hash: its lowest and its uppermost bits.
        let low: HashSet<u64> = (0..4096_u64).map(|number| build.hash_one(number) & 0xfff).collect();
        let high: HashSet<u64> = (0..4096_u64).map(|number| build.hash_one(number) >> 52).collect();
        assert!(low.len() > 2000 && high.len() > 2000, "{} {}", low.len(), high.len());
    }

    #[test]
    fn ids_that_differ_anywhere_differ() {
        let build = BuildHasherDefault::<QuickHasher>::default();
        let mut id = [7_u8; 16];
        let one = build.hash_one(id);
        id[15] = 8;
        assert_ne!(build.hash_one(id), one);
    }
}
