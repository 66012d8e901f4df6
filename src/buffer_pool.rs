//! A pool of buffers for large frames. Fresh memory costs a page fault for every 4 KiB, which is more than
//! receiving the bytes costs.

use parking_lot::Mutex;

/// How many bytes the pool keeps for all channels of a process: about as much as JavaScript leaves for its
/// next garbage collection.
const MAX_KEPT: usize = 32 << 20;
/// The allocator keeps smaller buffers.
const MIN_KEPT: usize = 256 << 10;

#[derive(Debug)]
struct Pool {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

static POOL: Mutex<Pool> = Mutex::new(Pool { buffers: Vec::new(), bytes: 0 });

/// Returns an empty buffer of at least this capacity, and at most twice as much if it comes from the pool.
pub fn take(room: usize) -> Vec<u8> {
    let mut pool = POOL.lock();
    let fits = |buffer: &Vec<u8>| (room..=2 * room).contains(&buffer.capacity());
    match pool.buffers.iter().rposition(fits) {
        Some(place) => {
            let buffer = pool.buffers.swap_remove(place);
            pool.bytes -= buffer.capacity();
            buffer
        }
        None => {
            drop(pool);
            Vec::with_capacity(room)
        }
    }
}

/// Keeps a buffer that is no longer needed, if the pool has room for it.
pub fn give_back(mut buffer: Vec<u8>) {
    if buffer.capacity() < MIN_KEPT {
        return;
    }
    buffer.clear();
    let mut pool = POOL.lock();
    if pool.bytes + buffer.capacity() <= MAX_KEPT {
        pool.bytes += buffer.capacity();
        pool.buffers.push(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A size that no other test uses.
    const SIZE: usize = 3_456_789;

    #[test]
    fn what_is_given_back_is_taken_again_by_what_needs_about_as_much() {
        let mut buffer = take(SIZE);
        buffer.resize(SIZE, 1);
        let place = buffer.as_ptr();
        give_back(buffer);
        let others = [take(SIZE / 3), take(SIZE + 1)];
        assert!(others.iter().all(|other| other.as_ptr() != place));
        let again = take(SIZE - 1);
        assert!(again.is_empty() && again.as_ptr() == place);
    }

    #[test]
    fn no_more_is_kept_than_the_bound() {
        give_back(Vec::with_capacity(MAX_KEPT + 1));
        give_back(Vec::with_capacity(MIN_KEPT - 1));
        let pool = POOL.lock();
        assert!(pool.bytes <= MAX_KEPT);
        assert!(pool.buffers.iter().all(|buffer| (MIN_KEPT..=MAX_KEPT).contains(&buffer.capacity())));
        assert_eq!(pool.bytes, pool.buffers.iter().map(Vec::capacity).sum::<usize>());
    }
}
