//! Buffers in which large frames have come, kept for the next ones: memory that is new costs a page fault for every 4 KiB, which is
//! more than it costs to receive them.

use parking_lot::Mutex;

/// So many bytes are kept for all channels of a process: about what JavaScript has waiting for its next collection.
const MOST: usize = 32 << 20;
/// Smaller buffers are the allocator's to keep.
const SMALLEST: usize = 256 << 10;

#[derive(Debug)]
struct Spare {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

static SPARE: Mutex<Spare> = Mutex::new(Spare { buffers: Vec::new(), bytes: 0 });

/// An empty buffer with room for so many bytes, and no more than twice as many if it is an old one.
pub fn take(room: usize) -> Vec<u8> {
    let mut spare = SPARE.lock();
    let fits = |buffer: &Vec<u8>| (room..=2 * room).contains(&buffer.capacity());
    match spare.buffers.iter().rposition(fits) {
        Some(place) => {
            let buffer = spare.buffers.swap_remove(place);
            spare.bytes -= buffer.capacity();
            buffer
        }
        None => {
            drop(spare);
            Vec::with_capacity(room)
        }
    }
}

/// Nobody needs this any more.
pub fn give_back(mut buffer: Vec<u8>) {
    if buffer.capacity() < SMALLEST {
        return;
    }
    buffer.clear();
    let mut spare = SPARE.lock();
    if spare.bytes + buffer.capacity() <= MOST {
        spare.bytes += buffer.capacity();
        spare.buffers.push(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a size that no other test has.
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
        give_back(Vec::with_capacity(MOST + 1));
        give_back(Vec::with_capacity(SMALLEST - 1));
        let spare = SPARE.lock();
        assert!(spare.bytes <= MOST);
        assert!(spare.buffers.iter().all(|buffer| (SMALLEST..=MOST).contains(&buffer.capacity())));
        assert_eq!(spare.bytes, spare.buffers.iter().map(Vec::capacity).sum::<usize>());
    }
}
