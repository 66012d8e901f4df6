//! What one end of a stream socket keeps of it: bytes that came and are no whole frame yet, and bytes that were not written yet. Whose
//! socket that is, and how it is waited for, is the caller's.

use std::io::{self, ErrorKind};

use super::{PREFIX, next_frame};
use crate::error::Fault;

/// How many bytes are read in one turn, so that one socket does not keep others waiting.
const READ_BUDGET: usize = 256 << 10;

/// How many are asked for at once.
const CHUNK: usize = 64 << 10;

/// From so many unwritten bytes on the other end has to read before it is read.
const HIGH_WATER: usize = 4 << 20;

/// With fewer it is read again.
const LOW_WATER: usize = 1 << 20;

/// What is kept of a buffer that is empty.
const KEPT_CAPACITY: usize = 1 << 20;

/// What came of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There may be more at once.
    More,
    /// There is no more now.
    Dry,
    Ended,
}

/// Bytes that came.
#[derive(Debug, Default)]
pub struct Incoming {
    /// What came is at its beginning; the rest is room.
    bytes: Vec<u8>,
    length: usize,
    /// How many of what came were taken.
    taken: usize,
}

impl Incoming {
    /// Reads what is there, up to a bound. `read` is that of a socket which does not block; `may_end` says that its end may
    /// have come already: otherwise whoever gets less than was asked for has got all, and is told of more.
    ///
    /// # Errors
    ///
    /// Those of `read`.
    pub fn fill(
        &mut self,
        may_end: bool,
        mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<Progress> {
        let mut left = READ_BUDGET;
        while left > 0 {
            let wanted = left.min(CHUNK);
            if self.bytes.len() < self.length + wanted {
                self.bytes.resize((self.length + wanted).max(2 * self.length), 0);
            }
            match read(&mut self.bytes[self.length..self.length + wanted]) {
                Ok(0) => return Ok(Progress::Ended),
                Ok(count) => {
                    self.length += count;
                    if count < wanted && !may_end {
                        return Ok(Progress::Dry);
                    }
                    left = left.saturating_sub(count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Progress::Dry),
                Err(error) => return Err(error),
            }
        }
        Ok(Progress::More)
    }

    /// The next frame that has come whole.
    ///
    /// # Errors
    ///
    /// What came is none.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, Fault> {
        let from = self.taken;
        let Some(length) = next_frame(&self.bytes[from..self.length])?.map(<[u8]>::len) else {
            self.bytes.copy_within(from..self.length, 0);
            self.length -= from;
            self.taken = 0;
            if self.length == 0 && self.bytes.len() > KEPT_CAPACITY {
                self.bytes = Vec::new();
            }
            return Ok(None);
        };
        self.taken += PREFIX + length;
        Ok(Some(&self.bytes[from + PREFIX..from + PREFIX + length]))
    }
}

/// Bytes that go.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// What is to be written is put behind what is there.
    pub bytes: Vec<u8>,
    written: usize,
}

impl Outgoing {
    fn unwritten(&self) -> usize {
        self.bytes.len() - self.written
    }

    pub fn is_written(&self) -> bool {
        self.unwritten() == 0
    }

    /// Whether the other end has to read before it is read.
    pub fn is_behind(&self) -> bool {
        self.unwritten() >= HIGH_WATER
    }

    pub fn has_caught_up(&self) -> bool {
        self.unwritten() < LOW_WATER
    }

    /// Writes what the socket takes. `write` is that of one which does not block.
    ///
    /// # Errors
    ///
    /// The other end has gone.
    pub fn write(&mut self, mut write: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<()> {
        while !self.is_written() {
            match write(&self.bytes[self.written..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.bytes.clear();
        self.written = 0;
        if self.bytes.capacity() > KEPT_CAPACITY {
            self.bytes = Vec::new();
        }
        Ok(())
    }
}
