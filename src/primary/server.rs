//! One listening address in the primary: its socket, its workers, and the connections that no worker has yet.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nix::errno::Errno;
use serde_json::Value;

use super::config::{AcceptMode, Config};
use super::connection::Pending;
use super::stats::ServerStats;
use crate::address::LocalAddress;
use crate::ids::WorkerId;
use crate::os::{self, Bound, Mark, Purpose, SocketFile};
use crate::proto::{AddressKind, HandleKind, QueryServer};
use crate::reactor::Acceptor;
use crate::sched::Policy;

/// Who accepts the connections of a server.
#[derive(Debug)]
pub enum Mode {
    /// The primary.
    Primary(Acceptor),
    /// The workers, each with a descriptor of the same socket.
    Workers(HandleKind),
}

/// A listening address.
#[derive(Debug)]
pub struct Server {
    /// The server's name in messages. No other server of its workers has it.
    pub key: Arc<str>,
    /// The key of the query.
    pub query_key: Arc<str>,
    /// Dropped before the socket: see [`Bound`].
    _file: Option<SocketFile>,
    /// Goes with the server.
    _mark: Option<Mark>,
    /// The socket. It listens, or is only bound when it is shared.
    pub socket: Arc<OwnedFd>,
    /// Who accepts.
    pub mode: Mode,
    /// Its workers, in the order in which they came. `policy` has the same.
    members: Vec<WorkerId>,
    /// Chooses the next connection's worker, where the primary accepts.
    pub policy: Box<dyn Policy>,
    /// Connections that wait for a worker, oldest first.
    pub pending: VecDeque<Pending>,
    /// Connections that every worker has refused, until the pause is over.
    pub refused: Vec<Pending>,
    /// Connections on their way to a worker.
    pub in_flight: usize,
    /// The first worker's `data`.
    pub data: Option<Value>,
    /// What the socket is bound to; None for a Unix socket.
    pub local: Option<LocalAddress>,
    /// `local`'s address, or the path, for events.
    pub address: Arc<str>,
    /// Its counters.
    pub stats: Arc<ServerStats>,
    backlog: i32,
}

/// An open socket that does not belong to a server yet.
#[derive(Debug)]
pub struct Opened {
    bound: Bound,
    local: Option<LocalAddress>,
    backlog: i32,
    /// None if the primary accepts.
    shared: Option<HandleKind>,
}

impl Opened {
    /// Opens the socket that a worker asks for. If the primary accepts, it listens at once. The worker makes
    /// a shared socket listen. UDP is always shared, as there are no connections to hand out.
    ///
    /// Errors: those of binding and listening. The worker reports them as its own.
    pub fn open(query: &QueryServer, config: &Config) -> Result<Opened, Errno> {
        let udp = match query.kind {
            AddressKind::Udp4 => Some(false),
            AddressKind::Udp6 => Some(true),
            AddressKind::Tcp4 | AddressKind::Tcp6 | AddressKind::Path => None,
        };
        let shared = match (udp, config.accept_mode) {
            (Some(_), _) => Some(HandleKind::Datagram),
            (None, AcceptMode::Workers) => Some(HandleKind::Stream),
            (None, AcceptMode::Primary) => None,
        };
        let address = query.address.as_deref();
        let port = || u16::try_from(query.port).map_err(|_| Errno::EINVAL);
        let bound = if query.fd >= 0 {
            // The descriptor remains the program's, which may close it or use it again.
            Bound { socket: share(query.fd, query.kind)?, file: None, mark: None }
        } else if let Some(ipv6) = udp {
            os::bind_udp(address, port()?, ipv6, query.flags)?
        } else if query.port >= 0 {
            os::bind_tcp(address, port()?, query.flags)?
        } else {
            let path = shortest(Path::new(address.ok_or(Errno::EINVAL)?));
            os::bind_unix(&path, config.abstract_names, query.readable_all, query.writable_all)?
        };
        let backlog = backlog_of(query);
        if shared.is_none() {
            os::listen(bound.socket.as_fd(), backlog)?;
        }
        let local = os::local_address(bound.socket.as_fd())?;
        Ok(Opened { bound, local, backlog, shared })
    }

    /// The descriptor to register.
    pub fn socket(&self) -> &OwnedFd {
        &self.bound.socket
    }

    /// How the workers get the socket, if they accept themselves.
    pub fn shared(&self) -> Option<HandleKind> {
        self.shared
    }
}

/// A duplicate of a descriptor of the program, if it is what a server of that kind needs.
fn share(fd: i32, kind: AddressKind) -> Result<OwnedFd, Errno> {
    let purpose = match kind {
        AddressKind::Udp4 => Purpose::Udp4,
        AddressKind::Udp6 => Purpose::Udp6,
        AddressKind::Tcp4 | AddressKind::Tcp6 | AddressKind::Path => Purpose::Listening,
    };
    let socket = os::share_socket(fd, purpose)?;
    os::set_nonblocking(socket.as_fd())?;
    Ok(socket)
}

fn backlog_of(query: &QueryServer) -> i32 {
    query.backlog.filter(|backlog| *backlog > 0).unwrap_or(os::DEFAULT_BACKLOG)
}

impl Server {
    /// A server without workers.
    pub fn new(
        query: &QueryServer,
        key: Arc<str>,
        opened: Opened,
        mode: Mode,
        policy: Box<dyn Policy>,
    ) -> Server {
        let address = match &opened.local {
            Some(local) => local.address.as_str(),
            None => query.address.as_deref().unwrap_or_default(),
        };
        let address: Arc<str> = address.into();
        Server {
            stats: Arc::new(ServerStats::new(
                key.clone(),
                address.clone(),
                opened.local.as_ref().map(|local| local.port),
            )),
            query_key: if *key == *query.key { key.clone() } else { query.key.as_str().into() },
            key,
            mode,
            members: Vec::new(),
            policy,
            pending: VecDeque::new(),
            refused: Vec::new(),
            in_flight: 0,
            data: None,
            address,
            local: opened.local,
            backlog: opened.backlog,
            _file: opened.bound.file,
            _mark: opened.bound.mark,
            socket: Arc::new(opened.bound.socket),
        }
    }

    /// How many connections have been accepted and not been taken.
    pub fn not_taken(&self) -> usize {
        self.pending.len() + self.refused.len() + self.in_flight
    }

    /// Whether the primary accepts here, and there may be something to accept.
    pub fn may_accept(&self) -> bool {
        matches!(&self.mode, Mode::Primary(acceptor) if acceptor.is_ready())
    }

    /// Updates the counters of what waits.
    pub fn update_stats(&self, max_pending: usize) {
        self.stats.counters.pending.set((self.pending.len() + self.refused.len()) as u64);
        let is_paused = matches!(&self.mode, Mode::Primary(acceptor) if acceptor.is_paused())
            || self.not_taken() >= max_pending;
        self.stats.paused.store(is_paused, Ordering::Relaxed);
    }

    /// Its workers, in the order in which they came.
    pub fn members(&self) -> &[WorkerId] {
        &self.members
    }

    /// Adds a worker that is not one of its workers yet.
    pub fn add_member(&mut self, worker: WorkerId) {
        debug_assert!(!self.members.contains(&worker));
        self.members.push(worker);
        self.policy.add(worker);
        self.update_members();
    }

    /// Removes a worker, if it is one of its workers.
    pub fn remove_member(&mut self, worker: WorkerId) {
        if let Some(place) = self.members.iter().position(|member| *member == worker) {
            self.members.remove(place);
            self.policy.remove(worker);
            self.update_members();
        }
    }

    /// Updates the list of workers in its statistics.
    fn update_members(&self) {
        self.stats.workers.lock().clone_from(&self.members);
    }

    /// Applies the backlog that another worker asks for if it is larger than what is in force.
    pub fn raise_backlog(&mut self, query: &QueryServer) {
        let backlog = backlog_of(query);
        if backlog > self.backlog && matches!(self.mode, Mode::Primary(_)) {
            // If the kernel refuses the backlog, the old one stays in force.
            if os::listen(self.socket.as_fd(), backlog).is_ok() {
                self.backlog = backlog;
            }
        }
    }
}

/// The shortest form of a path from the current directory, because the name of a socket has at most 107 bytes
/// (Node: `cluster/primary.js`). An abstract name, which the worker has made absolute, becomes itself again.
fn shortest(path: &Path) -> PathBuf {
    let Ok(here) = std::env::current_dir() else { return path.to_owned() };
    let relative = relative_to(path, &here);
    if relative.as_os_str().len() <= path.as_os_str().len() { relative } else { path.to_owned() }
}

/// Node's `path.relative` for two absolute, normalized paths.
fn relative_to(path: &Path, base: &Path) -> PathBuf {
    let common = path.components().zip(base.components()).take_while(|(a, b)| a == b).count();
    let up = base.components().skip(common).map(|_| std::path::Component::ParentDir);
    up.chain(path.components().skip(common)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_written_from_here_as_path_relative_does() {
        let relative = |path: &str, base: &str| relative_to(Path::new(path), Path::new(base));
        assert_eq!(relative("/a/b/c", "/a/b"), Path::new("c"));
        assert_eq!(relative("/a/x/c", "/a/b"), Path::new("../x/c"));
        assert_eq!(relative("/s", "/a/b/c"), Path::new("../../../s"));
        assert_eq!(relative("/a/b/\0name", "/a/b"), Path::new("\0name"));
    }
}
