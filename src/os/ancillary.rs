//! Receiving bytes together with descriptors (`recvmsg(2)`, `SCM_RIGHTS`), even when this process could not
//! take all of them. nix's own function refuses to parse a truncated message (`MSG_CTRUNC`) and leaks the
//! descriptors that did arrive.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

#[cfg(target_os = "linux")]
const RECEIVE_FLAGS: i32 = libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT;
/// macOS has no such flag: descriptors become close-on-exec after they have arrived.
#[cfg(target_os = "macos")]
const RECEIVE_FLAGS: i32 = libc::MSG_DONTWAIT;

/// The most descriptors that one message can carry: Linux's own limit (`SCM_MAX_FD`).
const MAX_DESCRIPTORS: usize = 253;

/// The buffer for descriptors that [`receive`](super::receive) and [`receive_packet`](super::receive_packet)
/// need. The caller keeps it, so that a read allocates nothing. It consists of `u64`s for the alignment of
/// `cmsghdr`.
#[derive(Debug)]
pub struct Ancillary(Box<[u64]>);

impl Default for Ancillary {
    fn default() -> Self {
        // SAFETY: CMSG_SPACE only computes a number.
        let bytes = unsafe { libc::CMSG_SPACE(size_of::<[RawFd; MAX_DESCRIPTORS]>() as u32) } as usize;
        Ancillary(vec![0; bytes.div_ceil(size_of::<u64>())].into_boxed_slice())
    }
}

/// The result of one `recvmsg`.
#[derive(Debug)]
pub(super) struct Message {
    pub bytes: usize,
    /// Close-on-exec, in the order in which they were sent.
    pub handles: Vec<OwnedFd>,
    /// `MSG_*`.
    pub flags: i32,
}

/// Receives once and never waits. Without a buffer for descriptors the kernel closes those that arrive.
pub(super) fn receive_message(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    ancillary: Option<&mut Ancillary>,
) -> Result<Message, Errno> {
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all-zero bytes are a valid msghdr that points nowhere.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    if let Some(Ancillary(room)) = ancillary {
        header.msg_control = room.as_mut_ptr().cast();
        header.msg_controllen = size_of_val::<[u64]>(room) as _;
    }
    let bytes = loop {
        // SAFETY: the header points to memory that is live and exclusively ours for the call, with its
        // correct sizes.
        let count = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, RECEIVE_FLAGS) };
        match Errno::result(count) {
            Err(Errno::EINTR) => continue,
            other => break other? as usize,
        }
    };
    let handles = take_handles(&header);
    #[cfg(target_os = "macos")]
    handles.iter().try_for_each(super::close_on_exec)?;
    Ok(Message { bytes, handles, flags: header.msg_flags })
}

/// Takes ownership of every descriptor in a message that has just been received.
fn take_handles(header: &libc::msghdr) -> Vec<OwnedFd> {
    let mut handles = Vec::new();
    // macOS reports the sender's length even for an item that it has truncated.
    #[allow(clippy::unnecessary_cast)] // A socklen_t on other systems.
    let end = header.msg_control as usize + header.msg_controllen as usize;
    // SAFETY: the kernel has filled the control buffer and set its length. CMSG_* stay within that.
    let mut item = unsafe { libc::CMSG_FIRSTHDR(header) };
    // SAFETY: the pointer is null, or a header that the kernel wrote into a buffer aligned for it.
    while let Some(control) = unsafe { item.as_ref() } {
        if (control.cmsg_level, control.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            // SAFETY: as above; the data of SCM_RIGHTS is an array of descriptors that fills the item.
            let (first, size) = unsafe { (libc::CMSG_DATA(control), libc::CMSG_LEN(0)) };
            #[allow(clippy::unnecessary_cast)] // A socklen_t on other systems.
            let length = (control.cmsg_len as usize).min(end - std::ptr::from_ref(control) as usize);
            let count = length.saturating_sub(size as usize) / size_of::<RawFd>();
            handles.extend((0..count).map(|index| {
                // SAFETY: the descriptor lies within the item. The kernel has just made it for this process,
                // and nothing else owns it.
                unsafe { OwnedFd::from_raw_fd(first.cast::<RawFd>().add(index).read_unaligned()) }
            }));
        }
        // SAFETY: as for the first.
        item = unsafe { libc::CMSG_NXTHDR(header, item) };
    }
    handles
}
