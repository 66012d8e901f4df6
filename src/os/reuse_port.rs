//! Listening sockets that share one address and port (`SO_REUSEPORT`): the kernel gives each new connection to one of them.
//!
//! The sockets of a port form a group. Each has a number there: its place in the order in which they began to listen, as long
//! as none of them stops. They belong to one user, as the kernel lets nobody else's join.

use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::bind::Bound;
use crate::error::errno_of;

/// Whether the kernel can share the connections of a port among sockets. macOS can bind several, and gives all connections to
/// one of them.
pub const SHARES_PORTS: bool = cfg!(target_os = "linux");

/// Lets sockets of this user join a TCP socket at its port. The socket listens already: it was refused if anybody else did, also
/// if that is somebody whom others may join.
///
/// Errors: `ENOTSUP` where the kernel cannot.
pub fn open_port_to_siblings(listening: BorrowedFd<'_>) -> Result<(), Errno> {
    if !SHARES_PORTS {
        return Err(Errno::ENOTSUP);
    }
    SockRef::from(&listening).set_reuse_port(true).map_err(|error| errno_of(&error))
}

/// Binds another TCP socket to the address and port of one that was opened to siblings.
///
/// Errors: `EMFILE`, `ENFILE`, `ENOBUFS`; `EADDRINUSE` if the first one was not opened.
pub fn bind_sibling(first: BorrowedFd<'_>) -> Result<Bound, Errno> {
    let errno = |error: std::io::Error| errno_of(&error);
    let first = SockRef::from(&first);
    let address = first.local_addr().map_err(errno)?;
    let domain = Domain::from(i32::from(address.family()));
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP)).map_err(errno)?;
    socket.set_nonblocking(true).map_err(errno)?;
    socket.set_reuse_address(true).map_err(errno)?;
    socket.set_reuse_port(true).map_err(errno)?;
    if address.is_ipv6() {
        socket.set_only_v6(first.only_v6().map_err(errno)?).map_err(errno)?;
    }
    socket.bind(&address).map_err(errno)?;
    Bound::own(socket, None)
}

/// Which sockets of a group get new connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receivers {
    /// All of them.
    All,
    /// These, at random.
    Only(Vec<Share>),
}

/// The share of one socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Its number.
    pub number: u32,
    /// How many connections it gets in comparison with others; above 0.
    pub weight: u32,
}

/// Has the kernel give new connections to some sockets of a group only. `member` is any of them. What was given to others stays
/// theirs, and so do the connections that are being made at this moment.
///
/// Errors: `EINVAL` for a socket that is in no group, and for more receivers than a filter can tell apart (some 2,000);
/// `ENOMEM`; `ENOPROTOOPT`, `EPERM` where the kernel or a sandbox does not let processes do that.
#[cfg(target_os = "linux")]
pub fn steer(member: BorrowedFd<'_>, receivers: &Receivers) -> Result<(), Errno> {
    use std::os::fd::AsRawFd;

    let program = match receivers {
        Receivers::All => Vec::new(),
        Receivers::Only(shares) => linux::program(shares),
    };
    let length = u16::try_from(program.len()).map_err(|_| Errno::EINVAL)?;
    // The kernel only reads it.
    let filter = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // The kernel wants one with every option.
    let number = 0;
    let (option, value, size) = match receivers {
        Receivers::All => (linux::SO_DETACH_REUSEPORT_BPF, (&raw const number).cast(), size_of::<i32>()),
        Receivers::Only(_) => (
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const filter).cast::<libc::c_void>(),
            size_of::<libc::sock_fprog>(),
        ),
    };
    // SAFETY: `value` is live for the call and has `size` bytes. Where it is a filter, that has as many instructions as it says,
    // and they are live as well.
    let status = unsafe {
        libc::setsockopt(member.as_raw_fd(), libc::SOL_SOCKET, option, value, size as libc::socklen_t)
    };
    match Errno::result(status) {
        // There was no program.
        Err(Errno::ENOENT) if *receivers == Receivers::All => Ok(()),
        other => other.map(drop),
    }
}

/// Errors: `ENOTSUP`, always.
#[cfg(not(target_os = "linux"))]
pub fn steer(_member: BorrowedFd<'_>, _receivers: &Receivers) -> Result<(), Errno> {
    Err(Errno::ENOTSUP)
}

#[cfg(target_os = "linux")]
mod linux {
    use libc::{BPF_ABS, BPF_ALU, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_MOD, BPF_RET, BPF_W, sock_filter};

    use super::Share;

    /// `SKF_AD_OFF + SKF_AD_RANDOM` (`linux/filter.h`).
    const RANDOM: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_RANDOM).cast_unsigned();
    /// `asm-generic/socket.h`; Linux 5.3.
    pub(super) const SO_DETACH_REUSEPORT_BPF: i32 = 68;

    /// A program that returns one of these numbers at random. None at all is no number of any socket: the kernel goes by its
    /// own hash then.
    pub(super) fn program(shares: &[Share]) -> Vec<sock_filter> {
        let instruction = |code: u32, k: u32, skip: u8| sock_filter { code: code as u16, jt: skip, jf: 0, k };
        let all = shares.iter().fold(0, |all: u32, share| all.saturating_add(share.weight));
        let Some((last, others)) = shares.split_last().filter(|_| all > 0) else {
            return vec![instruction(BPF_RET | BPF_K, u32::MAX, 0)];
        };
        let mut program = vec![
            instruction(BPF_LD | BPF_W | BPF_ABS, RANDOM, 0),
            instruction(BPF_ALU | BPF_MOD | BPF_K, all, 0),
        ];
        let mut end: u32 = 0;
        for share in others {
            end = end.saturating_add(share.weight);
            program.push(instruction(BPF_JMP | BPF_JGE | BPF_K, end, 1));
            program.push(instruction(BPF_RET | BPF_K, share.number, 0));
        }
        program.push(instruction(BPF_RET | BPF_K, last.number, 0));
        program
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::TcpStream;
    use std::os::fd::AsFd;

    use super::*;
    use crate::os::{accept, bind_tcp, listen, local_address};

    const IPV6_ONLY: u32 = 1;

    fn port_of(bound: &Bound) -> u16 {
        local_address(bound.socket.as_fd()).unwrap().unwrap().port
    }

    fn first(address: Option<&str>, flags: u32) -> Bound {
        let first = bind_tcp(address, 0, flags).unwrap();
        listen(first.socket.as_fd(), 100).unwrap();
        open_port_to_siblings(first.socket.as_fd()).unwrap();
        first
    }

    fn group(address: Option<&str>, flags: u32, count: usize) -> Vec<Bound> {
        let mut group = vec![first(address, flags)];
        while group.len() < count {
            let sibling = bind_sibling(group[0].socket.as_fd()).unwrap();
            listen(sibling.socket.as_fd(), 100).unwrap();
            group.push(sibling);
        }
        group
    }

    /// How many of so many new connections each of them gets.
    fn shares(group: &[Bound], connections: usize) -> Vec<usize> {
        shares_after(0, group, connections)
    }

    /// The same, with so many that were there before.
    fn shares_after(before: usize, group: &[Bound], connections: usize) -> Vec<usize> {
        let clients: Vec<_> = (0..connections)
            .map(|_| TcpStream::connect(("127.0.0.1", port_of(&group[0]))).unwrap())
            .collect();
        let shares: Vec<usize> = group
            .iter()
            .map(|bound| std::iter::from_fn(|| accept(bound.socket.as_fd()).ok()).count())
            .collect();
        assert_eq!(shares.iter().sum::<usize>(), clients.len() + before);
        shares
    }

    #[test]
    fn each_sibling_gets_connections_of_the_same_port() {
        for address in [Some("127.0.0.1"), None] {
            let group = group(address, 0, 3);
            assert!(group.iter().all(|bound| port_of(bound) == port_of(&group[0])));
            assert!(shares(&group, 100).into_iter().all(|share| share > 5));
        }
    }

    #[test]
    fn ipv6_only_is_every_siblings() {
        // Whether IPv4 is served cannot be asked by connecting: the port may be another's there.
        for (flags, is_only) in [(IPV6_ONLY, true), (0, false)] {
            let group = group(Some("::"), flags, 2);
            assert!(group.iter().all(|bound| SockRef::from(&bound.socket).only_v6().unwrap() == is_only));
        }
    }

    #[test]
    fn only_receivers_get_new_connections_and_what_others_have_is_not_lost() {
        let group = group(Some("127.0.0.1"), 0, 4);
        let member = group[0].socket.as_fd();
        let only = |numbers: &[u32]| {
            Receivers::Only(numbers.iter().map(|number| Share { number: *number, weight: 1 }).collect())
        };
        for (receivers, has_share) in [
            (only(&[0, 2]), [true, false, true, false]),
            (only(&[3]), [false, false, false, true]),
            (Receivers::All, [true; 4]),
            (Receivers::All, [true; 4]),
            (only(&[]), [true; 4]),
        ] {
            let before = TcpStream::connect(("127.0.0.1", port_of(&group[0]))).unwrap();
            steer(member, &receivers).unwrap();
            let shares: Vec<_> = shares_after(1, &group, 100);
            drop(before);
            assert_eq!(shares.iter().map(|share| *share > 5).collect::<Vec<_>>(), has_share, "{receivers:?}");
        }
    }

    #[test]
    fn shares_are_in_proportion_to_weights_however_large() {
        let group = group(Some("127.0.0.1"), 0, 3);
        let weights = [1_000_000, 3_000_000, 0].into_iter();
        let shares_of = (0..).zip(weights).map(|(number, weight)| Share { number, weight }).collect();
        steer(group[0].socket.as_fd(), &Receivers::Only(shares_of)).unwrap();
        let [one, three, none] = shares(&group, 90)[..] else { panic!("three sockets") };
        // One in four of 90, give or take five standard deviations.
        assert!((3..=43).contains(&one) && three == 90 - one && none == 0, "{one} {three} {none}");
    }

    #[test]
    fn a_port_in_use_is_refused_even_if_its_user_lets_others_join() {
        let theirs = group(Some("127.0.0.1"), 0, 2);
        let port = port_of(&theirs[0]);
        let ours = bind_tcp(Some("127.0.0.1"), port, 0);
        let refused = ours.and_then(|ours| listen(ours.socket.as_fd(), 5));
        assert_eq!(refused, Err(Errno::EADDRINUSE));
        // And who does not ask to join is refused here.
        assert_eq!(bind_tcp(Some("127.0.0.1"), port, 0).unwrap_err(), Errno::EADDRINUSE);
        let closed = bind_tcp(Some("127.0.0.1"), 0, 0).unwrap();
        listen(closed.socket.as_fd(), 5).unwrap();
        assert_eq!(bind_sibling(closed.socket.as_fd()).unwrap_err(), Errno::EADDRINUSE);
        assert_eq!(steer(closed.socket.as_fd(), &Receivers::Only(Vec::new())), Err(Errno::EINVAL));
    }
}
