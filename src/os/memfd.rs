//! Memory that two processes share: an anonymous file of a fixed size that both map.

use std::ffi::CStr;
use std::ops::Range;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};

use nix::errno::Errno;

/// A mapping of shared memory. Dropping this unmaps it.
///
/// The other process may change the contents at any moment. So nothing here gives out a reference to plain
/// bytes, only copies, atomics, and a pointer for callers that take the same care.
#[derive(Debug)]
pub struct Memory {
    #[cfg(target_os = "linux")]
    base: std::ptr::NonNull<std::ffi::c_void>,
    length: usize,
}

// SAFETY: a mapping belongs to no thread, and every access to it copies or is atomic.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

#[cfg(target_os = "linux")]
mod linux {
    use std::num::NonZeroUsize;
    use std::os::fd::AsFd;

    use nix::fcntl::{FallocateFlags, FcntlArg, SealFlag, fallocate, fcntl};
    use nix::sys::memfd::{MFdFlags, memfd_create};
    use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
    use nix::sys::stat::fstat;
    use nix::unistd::ftruncate;

    use super::*;

    /// The seals that the file must have. A process that maps a file which the other side can shorten risks a
    /// SIGBUS.
    const SEALS: SealFlag = SealFlag::F_SEAL_SHRINK.union(SealFlag::F_SEAL_GROW).union(SealFlag::F_SEAL_SEAL);

    impl Memory {
        /// Makes a file of this size and maps it. Pages are allocated when they are reserved or written. Whoever lists
        /// the mappings or descriptors of a process finds it by its name.
        ///
        /// Errors: `EMFILE`, `ENFILE`, `ENOMEM`; `ENOSYS`, `EPERM` where a sandbox forbids it.
        pub fn create(name: &CStr, length: usize) -> Result<(Self, OwnedFd), Errno> {
            let file = memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
            ftruncate(&file, i64::try_from(length).map_err(|_| Errno::EFBIG)?)?;
            fcntl(&file, FcntlArg::F_ADD_SEALS(SEALS))?;
            Ok((Self::map_all(file.as_fd(), length)?, file))
        }

        /// Maps a file that another process has made by [`Memory::create`]. The seals keep that process from
        /// shortening it.
        ///
        /// Errors: `EINVAL` for any other file, or one of another size; `ENOMEM`.
        pub fn map(file: BorrowedFd<'_>, length: usize) -> Result<Self, Errno> {
            // fcntl returns EINVAL for a file that has no seals.
            let seals = SealFlag::from_bits_retain(fcntl(file, FcntlArg::F_GET_SEALS)?);
            let has_length = usize::try_from(fstat(file)?.st_size) == Ok(length);
            let is_writable = !seals.intersects(SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_FUTURE_WRITE);
            if !(seals.contains(SEALS) && has_length && is_writable) {
                return Err(Errno::EINVAL);
            }
            Self::map_all(file, length)
        }

        fn map_all(file: BorrowedFd<'_>, length: usize) -> Result<Self, Errno> {
            let size = NonZeroUsize::new(length).ok_or(Errno::EINVAL)?;
            let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
            // SAFETY: this makes a new mapping at an address of the kernel's choice. `Memory` owns it.
            let base = unsafe { mmap(None, size, access, MapFlags::MAP_SHARED, file, 0) }?;
            Ok(Memory { base, length })
        }

        /// The beginning of the mapping. The other process may change what is there at any time.
        pub fn pointer(&self) -> *mut u8 {
            self.base.as_ptr().cast()
        }
    }

    impl Drop for Memory {
        fn drop(&mut self) {
            // SAFETY: this mapping is owned, and no pointer into it is in use any more. The call cannot fail
            // with these arguments.
            let _ = unsafe { munmap(self.base, self.length) };
        }
    }

    /// Allocates memory for a part of a file, so that writing there cannot fail with SIGBUS.
    ///
    /// Errors: `ENOSPC`, `ENOMEM`.
    pub fn reserve_memory(file: BorrowedFd<'_>, part: Range<usize>) -> Result<(), Errno> {
        adjust(file, FallocateFlags::FALLOC_FL_KEEP_SIZE, part)
    }

    /// Returns the memory of a part of a file to the system. The part reads as zeros from now on.
    ///
    /// Errors: none that are known.
    pub fn release_memory(file: BorrowedFd<'_>, part: Range<usize>) -> Result<(), Errno> {
        let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        adjust(file, hole, part)
    }

    fn adjust(file: BorrowedFd<'_>, mode: FallocateFlags, part: Range<usize>) -> Result<(), Errno> {
        loop {
            match fallocate(file, mode, part.start as i64, part.len() as i64) {
                Err(Errno::EINTR) => {}
                result => return result,
            }
        }
    }
}

#[cfg(target_os = "linux")]
pub use linux::{release_memory, reserve_memory};

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use super::*;

    impl Memory {
        /// Errors: `ENOSYS`: only Linux has files whose size can be sealed.
        pub fn create(_name: &CStr, _length: usize) -> Result<(Self, OwnedFd), Errno> {
            Err(Errno::ENOSYS)
        }

        /// Errors: `ENOSYS`, as [`Memory::create`].
        pub fn map(_file: BorrowedFd<'_>, _length: usize) -> Result<Self, Errno> {
            Err(Errno::ENOSYS)
        }

        /// Never called: no mapping exists.
        pub fn pointer(&self) -> *mut u8 {
            std::ptr::null_mut()
        }
    }

    /// Errors: `ENOSYS`, as [`Memory::create`].
    pub fn reserve_memory(_file: BorrowedFd<'_>, _part: Range<usize>) -> Result<(), Errno> {
        Err(Errno::ENOSYS)
    }

    /// Errors: `ENOSYS`, as [`Memory::create`].
    pub fn release_memory(_file: BorrowedFd<'_>, _part: Range<usize>) -> Result<(), Errno> {
        Err(Errno::ENOSYS)
    }
}

#[cfg(not(target_os = "linux"))]
pub use elsewhere::{release_memory, reserve_memory};

impl Memory {
    /// A pointer to a part of the mapping.
    ///
    /// Panics if the part is out of bounds.
    pub fn part(&self, part: Range<usize>) -> *mut u8 {
        assert!(part.start <= part.end && part.end <= self.length, "{part:?} of {}", self.length);
        // SAFETY: the part is within the mapping.
        unsafe { self.pointer().add(part.start) }
    }

    /// Copies bytes into the mapping, past the caches where the processor can: much else may be written
    /// before the other side reads them.
    ///
    /// Panics if they do not fit.
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        let place = self.part(offset..offset + bytes.len());
        // SAFETY: `part` has checked the bounds, and no reference to the mapped bytes exists.
        unsafe { copy_past_caches(bytes.as_ptr(), place, bytes.len()) };
    }

    /// Copies a part of the mapping.
    ///
    /// Panics if the part is out of bounds.
    pub fn read(&self, part: Range<usize>) -> Vec<u8> {
        let mut bytes: Vec<u8> = Vec::with_capacity(part.len());
        let place = self.part(part.clone());
        // SAFETY: `part` has checked the bounds, no reference to the mapped bytes exists, and the vector has
        // capacity for them.
        unsafe {
            bytes.as_mut_ptr().copy_from_nonoverlapping(place, part.len());
            bytes.set_len(part.len());
        }
        bytes
    }

    /// The byte at an offset.
    ///
    /// Panics if the offset is out of bounds.
    pub fn flag(&self, offset: usize) -> &AtomicU8 {
        // SAFETY: the byte is within the mapping, which lives as long as the reference, and every access to
        // it is atomic.
        unsafe { AtomicU8::from_ptr(self.part(offset..offset + 1)) }
    }

    /// The four bytes at an offset, which must be a multiple of four.
    ///
    /// Panics if the offset is out of bounds.
    pub fn count(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(align_of::<AtomicU32>()));
        // SAFETY: as in `flag`. A mapping begins at a page, so that the address is aligned.
        unsafe { AtomicU32::from_ptr(self.part(offset..offset + 4).cast()) }
    }

    /// The eight bytes at an offset, which must be a multiple of eight.
    ///
    /// Panics if the offset is out of bounds.
    pub fn sum(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(align_of::<AtomicU64>()));
        // SAFETY: as in `count`.
        unsafe { AtomicU64::from_ptr(self.part(offset..offset + 8).cast()) }
    }
}

/// Copies with non-temporal stores, which neither load the destination into the cache nor evict what is
/// there. A reader that synchronizes with this thread afterwards sees the bytes.
///
/// # Safety
///
/// As for [`std::ptr::copy_nonoverlapping`].
#[cfg(target_arch = "x86_64")]
unsafe fn copy_past_caches(from: *const u8, to: *mut u8, length: usize) {
    use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_sfence, _mm_stream_si128};
    /// One cache line, the unit in which the processor combines such stores. A line that is written in two
    /// goes costs twice.
    type Line = [__m128i; 4];

    // Attachments begin at a cache line. An unaligned copy takes the usual way.
    let streamed = if to.align_offset(64) == 0 { length - length % size_of::<Line>() } else { 0 };
    for at in (0..streamed).step_by(size_of::<Line>()) {
        // SAFETY: the range is within what the caller vouches for, and `to` is aligned.
        unsafe {
            let (from, to) = (from.add(at).cast::<__m128i>(), to.add(at).cast::<__m128i>());
            let line: Line = std::array::from_fn(|part| _mm_loadu_si128(from.add(part)));
            for (part, value) in line.into_iter().enumerate() {
                _mm_stream_si128(to.add(part), value);
            }
        }
    }
    // Non-temporal stores are not ordered with later stores, such as the one that announces the bytes,
    // without a fence.
    // SAFETY: every x86-64 processor has it.
    unsafe { _mm_sfence() };
    // SAFETY: this is the rest of the caller's range.
    unsafe { to.add(streamed).copy_from_nonoverlapping(from.add(streamed), length - streamed) };
}

/// Copies through the caches.
///
/// # Safety
///
/// As for [`std::ptr::copy_nonoverlapping`].
#[cfg(not(target_arch = "x86_64"))]
unsafe fn copy_past_caches(from: *const u8, to: *mut u8, length: usize) {
    // SAFETY: the caller vouches for the range.
    unsafe { to.copy_from_nonoverlapping(from, length) };
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::fd::AsFd;
    use std::sync::atomic::Ordering;

    use nix::sys::memfd::{MFdFlags, memfd_create};
    use nix::unistd::ftruncate;

    use super::*;

    const LENGTH: usize = 64 << 10;

    #[test]
    fn what_one_side_writes_the_other_reads() {
        let (ours, file) = Memory::create(c"test", LENGTH).unwrap();
        let theirs = Memory::map(file.as_fd(), LENGTH).unwrap();
        ours.write(100, b"hello");
        assert_eq!(theirs.read(100..105), b"hello");
        theirs.count(8).fetch_add(7, Ordering::Release);
        assert_eq!(ours.count(8).load(Ordering::Acquire), 7);
    }

    #[test]
    fn all_bytes_are_written_and_no_others_wherever_they_begin_and_end() {
        let (memory, _file) = Memory::create(c"test", LENGTH).unwrap();
        let bytes: Vec<u8> = (1..=200).collect();
        for start in 0..bytes.len() {
            for end in start..=bytes.len() {
                memory.write(0, &[0; 256]);
                memory.write(start, &bytes[start..end]);
                let mut expected = [0; 256];
                expected[start..end].copy_from_slice(&bytes[start..end]);
                assert_eq!(memory.read(0..256), expected, "{start}..{end}");
            }
        }
    }

    #[test]
    fn nobody_can_make_it_shorter_or_longer() {
        let (_ours, file) = Memory::create(c"test", LENGTH).unwrap();
        assert_eq!(ftruncate(&file, 0), Err(Errno::EPERM));
        assert_eq!(ftruncate(&file, 2 * LENGTH as i64), Err(Errno::EPERM));
    }

    #[test]
    fn a_file_that_could_be_made_shorter_is_not_mapped() {
        let unsealed = memfd_create(c"test", MFdFlags::MFD_ALLOW_SEALING).unwrap();
        ftruncate(&unsealed, LENGTH as i64).unwrap();
        assert_eq!(Memory::map(unsealed.as_fd(), LENGTH).unwrap_err(), Errno::EINVAL);
        let (_ours, other_size) = Memory::create(c"test", 2 * LENGTH).unwrap();
        assert_eq!(Memory::map(other_size.as_fd(), LENGTH).unwrap_err(), Errno::EINVAL);
        let no_memory = crate::os::socket_pair().unwrap().ours;
        assert_eq!(Memory::map(no_memory.as_fd(), LENGTH).unwrap_err(), Errno::EINVAL);
    }

    #[test]
    fn memory_is_taken_when_it_is_reserved_and_given_back() {
        let blocks = |file: &OwnedFd| nix::sys::stat::fstat(file).unwrap().st_blocks;
        let (ours, file) = Memory::create(c"test", LENGTH).unwrap();
        assert_eq!(blocks(&file), 0);
        reserve_memory(file.as_fd(), 0..LENGTH / 2).unwrap();
        assert_eq!(blocks(&file) * 512, LENGTH as i64 / 2);
        ours.write(0, b"hello");
        release_memory(file.as_fd(), 0..LENGTH).unwrap();
        assert_eq!(blocks(&file), 0);
        assert_eq!(ours.read(0..5), [0; 5]);
    }
}
