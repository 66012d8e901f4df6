//! What a process owes those that have started it: telling the service manager of its state, and waiting for children that
//! are nobody else's.

use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use socket2::{Domain, Socket, Type};

use super::bind::{AbstractNames, unix_address};
use crate::error::errno_of;

/// Sends the service manager one message (`sd_notify(3)`). `address` is what `NOTIFY_SOCKET` says: a path, or an abstract name
/// behind an `@`.
///
/// Errors: `EAGAIN` while the manager's queue is full, to be tried again; `ENOENT`, `ECONNREFUSED` if nobody is there;
/// `EAFNOSUPPORT` for an address of another kind (`vsock:`).
pub fn notify(address: &str, state: &str) -> Result<(), Errno> {
    let name = match address.as_bytes().first() {
        Some(b'/') => PathBuf::from(address),
        Some(b'@') => PathBuf::from(format!("\0{}", &address[1..])),
        _ => return Err(Errno::EAFNOSUPPORT),
    };
    let socket = Socket::new(Domain::UNIX, Type::DGRAM, None).map_err(|error| errno_of(&error))?;
    socket.set_nonblocking(true).map_err(|error| errno_of(&error))?;
    let address = unix_address(&name, AbstractNames::Exact)?;
    loop {
        match socket.send_to(state.as_bytes(), &address).map_err(|error| errno_of(&error)) {
            Err(Errno::EINTR) => continue,
            other => return other.map(drop),
        }
    }
}

/// Whether children whose parents have ended become this process's: it is process 1 of its container, or a subreaper
/// (`prctl(2)`).
pub fn gets_orphans() -> bool {
    #[cfg(target_os = "linux")]
    let is_subreaper = nix::sys::prctl::get_child_subreaper().unwrap_or(false);
    #[cfg(not(target_os = "linux"))]
    let is_subreaper = false;
    std::process::id() == 1 || is_subreaper
}

/// Takes note of the end of a child, which is a zombie until somebody does. Returns whether it had ended.
///
/// Errors: `ECHILD` if it is no child of this process, or somebody has done so before.
pub fn reap(pid: i32) -> Result<bool, Errno> {
    // 0 and below would be groups.
    if pid <= 0 {
        return Err(Errno::ECHILD);
    }
    loop {
        match waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG)) {
            Err(Errno::EINTR) => continue,
            other => return other.map(|status| status != WaitStatus::StillAlive),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_manager_gets_each_message_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        notify(path.to_str().unwrap(), "READY=1\nSTATUS=two").unwrap();
        let mut buffer = [0; 64];
        let length = manager.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1\nSTATUS=two");
        drop(manager);
        assert_eq!(notify(path.to_str().unwrap(), "READY=1"), Err(Errno::ECONNREFUSED));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(notify(path.to_str().unwrap(), "READY=1"), Err(Errno::ENOENT));
        assert_eq!(notify("vsock:2:1", "READY=1"), Err(Errno::EAFNOSUPPORT));
        assert_eq!(notify("", "READY=1"), Err(Errno::EAFNOSUPPORT));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_manager_with_an_abstract_name_is_told_and_a_full_one_does_not_hold_anybody_up() {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::net::SocketAddr;

        let name = format!("corral-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let told =
            std::iter::from_fn(|| notify(&format!("@{name}"), "WATCHDOG=1").ok()).take(100_000).count();
        assert!(told > 0);
        assert_eq!(notify(&format!("@{name}"), "WATCHDOG=1"), Err(Errno::EAGAIN));
        manager.recv(&mut [0; 64]).unwrap();
        assert_eq!(notify(&format!("@{name}"), "WATCHDOG=1"), Ok(()));
    }

    #[test]
    fn a_child_is_reaped_once_it_has_ended() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert_eq!(reap(pid), Ok(false));
        drop(child.stdin.take());
        while reap(pid) == Ok(false) {
            std::thread::yield_now();
        }
        assert_eq!(reap(pid), Err(Errno::ECHILD));
        // Somebody has waited for it already.
        assert!(child.wait().is_err());
        assert_eq!([0, -1].map(reap), [Err(Errno::ECHILD); 2]);
    }
}
