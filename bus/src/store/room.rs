//! How much room the disk has: the last of it is for what gives room back.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::statvfs::statvfs;
use rusqlite::Connection;

use super::rows::unsigned;
use super::tables::{CHECKPOINT, SHORT_CHECKPOINT};
use crate::error::Fault;

/// With fewer bytes the log of the file is kept short, and it is looked at again each time.
const LITTLE: u64 = 64 << 20;

/// What new messages leave of the disk and of the free pages of the file together, in bytes: acknowledgements and the log need it.
const RESERVE: u64 = 4 << 20;

/// What they leave of the disk, where the log grows.
const OF_THE_DISK: u64 = 1 << 20;

/// How long there is enough if there was, and how long a log is left alone that was made as small as it can be.
const PAUSE: Duration = Duration::from_secs(1);

pub struct Room {
    directory: PathBuf,
    /// How many bytes the disk had, and when.
    known: Option<(u64, Instant)>,
    /// Whether the log is kept short, as there is little.
    is_short: bool,
    /// When the log was made as small as it can be.
    shrunk: Option<Instant>,
}

impl Room {
    /// The room for what is beside a file.
    pub fn beside(path: &Path) -> Room {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        Room {
            directory: directory.unwrap_or(Path::new(".")).to_path_buf(),
            known: None,
            is_short: false,
            shrunk: None,
        }
    }

    /// How many bytes this user has on the disk. If the system does not say, whoever writes finds out.
    fn free(&mut self) -> u64 {
        if let Some((free, at)) = self.known
            && free >= LITTLE
            && at.elapsed() < PAUSE
        {
            return free;
        }
        // They are of other types on other systems.
        #[allow(clippy::useless_conversion)]
        let free = statvfs(&self.directory).map_or(u64::MAX, |disk| {
            u64::from(disk.blocks_available()).saturating_mul(u64::from(disk.fragment_size()))
        });
        self.known = Some((free, Instant::now()));
        free
    }

    /// Whether there is room for so many bytes more.
    pub fn is_enough(&mut self, file: &Connection, bytes: u64) -> bool {
        let free = self.free();
        if free >= LITTLE && bytes < LITTLE / 4 {
            return true;
        }
        // Once in the log, and once in its place.
        let left = free.saturating_sub(2 * bytes);
        left >= OF_THE_DISK && left.saturating_add(free_inside(file)) >= RESERVE
    }

    /// Has the log be written to its place often while there is little room, and otherwise seldom.
    ///
    /// # Errors
    ///
    /// The file cannot be used.
    pub fn fit_log(&mut self, file: &Connection) -> Result<(), Fault> {
        let is_little = self.free() < LITTLE;
        if is_little != self.is_short {
            let pages = if is_little { SHORT_CHECKPOINT } else { CHECKPOINT };
            file.pragma_update(None, "wal_autocheckpoint", pages).map_err(Fault::store)?;
            self.is_short = is_little;
        }
        Ok(())
    }

    /// Gives back to the disk what the log has of it, after something has failed. If this fails, too, the next commit says what
    /// is wrong.
    pub fn shrink_log(&mut self, file: &Connection) {
        if self.shrunk.is_none_or(|at| at.elapsed() >= PAUSE) {
            let _ = file.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
            self.shrunk = Some(Instant::now());
        }
    }
}

/// How many bytes a file has that are used again before it grows.
fn free_inside(file: &Connection) -> u64 {
    let of = |name: &str| file.pragma_query_value(None, name, |row| row.get(0)).map_or(0, unsigned);
    of("freelist_count") * of("page_size")
}
