#!/usr/bin/env bash
# Adding an epoll instance to another one takes time in proportion to how many descriptors the inner one watches, however few of them are ready.
# Changing the registration (EPOLL_CTL_MOD) does not.
#
# Expected: epoll_ctl() costs the same whatever the descriptor is; an epoll instance is one descriptor, and what is ready in it is a list.
# Seen: crate nix 0.31.3, Linux 6.18. An inner instance with 100 and with 6,000 sockets, none of them ready: to add it to an outer one and to take
# it out again takes some 50 times as long with 6,000 (0.1 ms for each 1,000). To change it there takes the same with both. The kernel looks for
# loops and for long paths whenever an instance is added, through everything that is watched. What follows: who nests instances, in order to
# look at many descriptors only now and then, should add the inner one while it is empty, and mute it by EPOLL_CTL_MOD.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
mkdir src
cat > Cargo.toml <<'END'
[package]
name = "nested"
version = "0.0.0"
edition = "2021"

[dependencies]
nix = { version = "=0.31.3", features = ["event", "socket"] }
END
cat > src/main.rs <<'END'
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::socket::{socket, AddressFamily, SockFlag, SockType};
use std::time::{Duration, Instant};

/// The median time of a call, of many.
fn median(mut call: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..51)
        .map(|_| {
            let began = Instant::now();
            call();
            began.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

/// To add an instance with so many sockets to another one and to take it out, and to change it there.
fn measure(count: u64) -> (Duration, Duration) {
    let instance = || Epoll::new(EpollCreateFlags::empty()).unwrap();
    let (outer, inner) = (instance(), instance());
    let sockets: Vec<_> = (0..count)
        .map(|_| socket(AddressFamily::Unix, SockType::Datagram, SockFlag::empty(), None).unwrap())
        .collect();
    for (number, socket) in (0..).zip(&sockets) {
        inner.add(socket, EpollEvent::new(EpollFlags::EPOLLIN, number)).unwrap();
    }
    let event = || EpollEvent::new(EpollFlags::EPOLLIN, 0);
    let add = median(|| {
        outer.add(&inner.0, event()).unwrap();
        outer.delete(&inner.0).unwrap();
    });
    outer.add(&inner.0, event()).unwrap();
    let modify = median(|| outer.modify(&inner.0, &mut event()).unwrap());
    (add, modify)
}

fn main() {
    let (few, many) = (measure(100), measure(6_000));
    let ratio = |many: Duration, few: Duration| many.as_secs_f64() / few.as_secs_f64();
    eprintln!("100: {few:?}; 6000: {many:?}");
    println!("add: {}; modify: {}", ratio(many.0, few.0) > 10.0, ratio(many.1, few.1) > 10.0);
}
END
ulimit -n 8000
cargo build --quiet --release
seen=$(./target/release/nested)
echo "more than 10 times as long with 60 times as many: $seen"
[ "$seen" = 'add: true; modify: false' ]
