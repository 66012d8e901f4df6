//! A map from numbers that are given one after the other. Those that follow one another are beside each other in memory: whoever goes
//! through them in their order, as queues do, goes through memory in its order.

use crate::hash::QuickMap;

/// How many numbers share a piece of memory, which is there as long as one of them is.
const CHUNK: u64 = 32;

#[derive(Debug)]
struct Chunk<T> {
    used: usize,
    places: [Option<T>; CHUNK as usize],
}

#[derive(Debug)]
pub struct Slots<T> {
    chunks: QuickMap<u64, Box<Chunk<T>>>,
    length: usize,
}

impl<T> Default for Slots<T> {
    fn default() -> Slots<T> {
        Slots { chunks: QuickMap::default(), length: 0 }
    }
}

/// Which chunk a number is in, and where there.
fn place(number: u64) -> (u64, usize) {
    (number / CHUNK, (number % CHUNK) as usize)
}

impl<T> Slots<T> {
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub fn get(&self, number: u64) -> Option<&T> {
        let (chunk, at) = place(number);
        self.chunks.get(&chunk)?.places[at].as_ref()
    }

    pub fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        let (chunk, at) = place(number);
        self.chunks.get_mut(&chunk)?.places[at].as_mut()
    }

    /// What was there before.
    pub fn insert(&mut self, number: u64, value: T) -> Option<T> {
        let (chunk, at) = place(number);
        let chunk = self
            .chunks
            .entry(chunk)
            .or_insert_with(|| Box::new(Chunk { used: 0, places: std::array::from_fn(|_| None) }));
        let former = chunk.places[at].replace(value);
        if former.is_none() {
            chunk.used += 1;
            self.length += 1;
        }
        former
    }

    pub fn remove(&mut self, number: u64) -> Option<T> {
        let (index, at) = place(number);
        let chunk = self.chunks.get_mut(&index)?;
        let value = chunk.places[at].take()?;
        chunk.used -= 1;
        self.length -= 1;
        if chunk.used == 0 {
            self.chunks.remove(&index);
            // What a million have needed is given back when they are gone.
            if self.chunks.capacity() > 1024 && self.chunks.len() < self.chunks.capacity() / 8 {
                self.chunks.shrink_to(2 * self.chunks.len());
            }
        }
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_map() {
        let mut slots = Slots::default();
        for number in (0..10_000).step_by(3) {
            assert_eq!(slots.insert(number, number), None);
        }
        assert_eq!(slots.insert(3, 7), Some(3));
        assert_eq!((slots.get(3), slots.get(4), slots.get(1 << 40)), (Some(&7), None, None));
        *slots.get_mut(6).unwrap() += 1;
        assert_eq!((slots.remove(6), slots.remove(6), slots.remove(7)), (Some(7), None, None));
        for number in 0..10_000 {
            slots.remove(number);
        }
        assert!(slots.is_empty() && slots.chunks.is_empty() && slots.chunks.capacity() < 2_000);
    }
}
