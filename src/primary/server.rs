//! One listening address in the primary: its socket, its workers, and the connections that no worker has yet.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nix::errno::Errno;
use serde_json::Value;

use super::config::Config;
use super::connection::Pending;
use super::home::Sticky;
use super::inherited::Inheritance;
use super::policies::Place;
use super::siblings::{Group, SlotIndex};
use super::socket_path::shortest;
use super::stats::ServerStats;
use super::{Context, Source, Timer};
use crate::address::LocalAddress;
use crate::error::{Error, errno_of};
use crate::ids::{ServerId, WorkerId};
use crate::os::{self, Bound, InheritedSocket, Mark, Purpose, SocketFile};
use crate::proto::{AddressKind, Asked, HandleKind, QueryServer};
use crate::reactor::{Acceptor, Exhaustion, Next};
use crate::sched::{AcceptMode, Policy, PolicyChoice, Slots, StickyChoice, Weight, WorkerSlot};

/// Who accepts the connections of a server.
#[derive(Debug)]
pub enum Mode {
    /// The primary.
    Primary(Acceptor),
    /// The workers, each with a descriptor of the same socket.
    Workers(HandleKind),
    /// The workers, each from a socket of its own.
    Siblings(Group),
}

impl Mode {
    /// All that the primary accepts with.
    pub fn acceptors_mut(&mut self) -> impl Iterator<Item = &mut Acceptor> {
        let (own, siblings) = match self {
            Mode::Primary(acceptor) => (Some(acceptor), None),
            Mode::Siblings(group) => (None, Some(group.acceptors_mut())),
            Mode::Workers(_) => (None, None),
        };
        own.into_iter().chain(siblings.into_iter().flatten())
    }

    /// What the primary accepts with in the place of a worker that has a socket of its own.
    pub fn sibling_mut(&mut self, slot: SlotIndex) -> Option<&mut Acceptor> {
        match self {
            Mode::Siblings(group) => group.acceptor_mut(slot),
            Mode::Primary(_) | Mode::Workers(_) => None,
        }
    }

    fn is_paused(&self) -> bool {
        match self {
            Mode::Primary(acceptor) => acceptor.is_paused(),
            Mode::Siblings(group) => group.is_paused(),
            Mode::Workers(_) => false,
        }
    }
}

/// A listening address.
#[derive(Debug)]
pub struct Server {
    /// The server's name in messages. No other server of its workers has it.
    pub key: Arc<str>,
    /// The key of the query.
    pub query_key: Arc<str>,
    /// Dropped before the socket: see [`Bound`].
    file: Option<SocketFile>,
    /// Goes with the server.
    _mark: Option<Mark>,
    /// The socket. It listens, or is only bound when it is shared.
    pub socket: Arc<OwnedFd>,
    /// Who accepts.
    pub mode: Mode,
    /// Its workers, in the order in which they came. `policy` has the same.
    members: Vec<WorkerId>,
    /// Where it listens, as the first worker has asked for it.
    pub place: Place,
    /// The same, for another primary.
    pub asked: Asked,
    /// What the policy was made of.
    choice: PolicyChoice,
    /// Chooses the next connection's worker, where the primary accepts.
    pub policy: Box<dyn Policy>,
    /// Where its workers' clients belong, whatever the policy is.
    pub slots: Slots,
    /// Those of its clients that wait for the workers to which they belong, if the policy has them belong to any.
    pub sticky: Option<Sticky>,
    /// Connections that wait for a worker, oldest first.
    pub pending: VecDeque<Pending>,
    /// Connections that every worker has refused, until the pause is over.
    pub refused: Vec<Pending>,
    /// Connections that wait in `sticky`, or for an answer of the program's.
    pub held: usize,
    /// Connections on their way to a worker.
    pub in_flight: usize,
    /// Those among them that wait on the shared lane for the first worker that has time.
    pub on_shared_lane: usize,
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
    /// Dropped before the socket: see [`Bound`].
    file: Option<SocketFile>,
    mark: Option<Mark>,
    socket: Arc<OwnedFd>,
    local: Option<LocalAddress>,
    backlog: i32,
    accepts: Accepts,
    /// Another process has the socket, too.
    is_shared: bool,
}

/// Who accepts from it.
#[derive(Debug)]
enum Accepts {
    Primary,
    Workers(HandleKind),
    Siblings,
    /// With the sockets beside the first that there are already.
    InheritedSiblings(Vec<Arc<OwnedFd>>),
}

impl Accepts {
    /// UDP is always shared, as there are no connections to hand out.
    fn of(query: &QueryServer, choice: &PolicyChoice) -> Self {
        match (query.kind, choice.accept_mode()) {
            (AddressKind::Udp4 | AddressKind::Udp6, _) => Accepts::Workers(HandleKind::Datagram),
            (_, AcceptMode::Workers) => Accepts::Workers(HandleKind::Stream),
            (_, AcceptMode::Primary) => Accepts::Primary,
            (_, AcceptMode::Siblings) => Accepts::Siblings,
        }
    }
}

impl Opened {
    /// Opens the socket that a worker asks for. If the primary accepts, it listens at once, and so does the first of several that
    /// share a port. The worker makes a shared socket listen.
    ///
    /// Errors: those of binding and listening. The worker reports them as its own.
    pub fn open(query: &QueryServer, choice: &PolicyChoice, config: &Config) -> Result<Opened, Errno> {
        let accepts = Accepts::of(query, choice);
        let address = query.address.as_deref();
        let port = || u16::try_from(query.port).map_err(|_| Errno::EINVAL);
        let bound = if query.fd >= 0 {
            // The descriptor remains the program's, which may close it or use it again.
            Bound { socket: share(query.fd, query.kind)?, file: None, mark: None }
        } else if let AddressKind::Udp4 | AddressKind::Udp6 = query.kind {
            let ipv6 = query.kind == AddressKind::Udp6;
            os::bind_udp(address, port()?, ipv6, query.flags)?
        } else if query.port >= 0 {
            os::bind_tcp(address, port()?, query.flags)?
        } else {
            let path = shortest(Path::new(address.ok_or(Errno::EINVAL)?));
            os::bind_unix(&path, config.abstract_names, query.readable_all, query.writable_all)?
        };
        let Bound { file, mark, socket } = bound;
        let backlog = backlog_of(query);
        if !matches!(accepts, Accepts::Workers(_)) {
            os::listen(socket.as_fd(), backlog)?;
        }
        if matches!(accepts, Accepts::Siblings) {
            os::open_port_to_siblings(socket.as_fd())?;
        }
        let local = os::local_address(socket.as_fd())?;
        Ok(Opened { file, mark, socket: Arc::new(socket), local, backlog, accepts, is_shared: false })
    }

    /// The same with a socket that another process has bound. Its backlog stays as it is if it listens.
    ///
    /// Errors: those of listening; `EMFILE`.
    pub fn inherited(
        query: &QueryServer,
        choice: &PolicyChoice,
        inheritance: &Inheritance,
    ) -> Result<Opened, Errno> {
        let share = |inherited: &InheritedSocket| {
            inherited.socket.try_clone().map(Arc::new).map_err(|error| errno_of(&error))
        };
        let socket = share(inheritance.socket())?;
        let backlog = backlog_of(query);
        let accepts = if inheritance.is_group() {
            let siblings = inheritance.siblings().iter().map(share).collect::<Result<_, _>>()?;
            Accepts::InheritedSiblings(siblings)
        } else {
            Accepts::of(query, choice)
        };
        if !inheritance.socket().listens && matches!(accepts, Accepts::Primary) {
            os::listen(socket.as_fd(), backlog)?;
        }
        let local = os::local_address(socket.as_fd())?;
        // The primary before, which is about to end, has made it.
        let mark = if inheritance.stays() { None } else { Some(Mark::new(socket.as_fd())?) };
        Ok(Opened { file: None, mark, socket, local, backlog, accepts, is_shared: true })
    }

    /// How the connections are accepted, at the server `id`.
    ///
    /// Errors: as [`Acceptor::new`].
    pub fn mode(&self, context: &mut Context, id: ServerId) -> Result<Mode, Error> {
        Ok(match &self.accepts {
            Accepts::Primary => {
                let new = if self.is_shared { Acceptor::of_shared } else { Acceptor::new };
                Mode::Primary(new(context, self.socket.as_fd(), Source::Server(id))?)
            }
            Accepts::Workers(kind) => Mode::Workers(*kind),
            Accepts::Siblings => Mode::Siblings(Group::new(self.socket.clone(), self.backlog)),
            Accepts::InheritedSiblings(others) => {
                Mode::Siblings(Group::inherited(self.socket.clone(), others, self.backlog))
            }
        })
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
        choice: PolicyChoice,
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
                &choice,
            )),
            query_key: if *key == *query.key { key.clone() } else { query.key.as_str().into() },
            key,
            mode,
            members: Vec::new(),
            place: Place::of(query),
            asked: Asked::from(query),
            policy: choice.policy(),
            slots: Slots::default(),
            sticky: choice.sticky().cloned().map(Sticky::new),
            choice,
            pending: VecDeque::new(),
            refused: Vec::new(),
            held: 0,
            in_flight: 0,
            on_shared_lane: 0,
            data: None,
            address,
            local: opened.local,
            backlog: opened.backlog,
            file: opened.file,
            _mark: opened.mark,
            socket: opened.socket,
        }
    }

    /// By what its clients are known, if they belong to workers.
    pub fn sticky(&self) -> Option<&StickyChoice> {
        self.sticky.as_ref().map(|sticky| &*sticky.choice)
    }

    /// How many connections have been accepted and not been taken.
    pub fn not_taken(&self) -> usize {
        self.pending.len() + self.refused.len() + self.held + self.in_flight
    }

    /// Whether the primary accepts here, and there may be something to accept.
    pub fn may_accept(&self) -> bool {
        match &self.mode {
            Mode::Primary(acceptor) => acceptor.is_ready(),
            Mode::Siblings(group) => group.may_accept(),
            Mode::Workers(_) => false,
        }
    }

    /// The next connection that the primary accepts, and the worker in whose place it does so.
    pub fn accept(
        &mut self,
        context: &mut Context,
        id: ServerId,
        exhaustion: &mut Exhaustion,
    ) -> (Next, Option<WorkerId>) {
        match &mut self.mode {
            Mode::Primary(acceptor) => {
                (acceptor.next(context, self.socket.as_fd(), Timer::Accept(id), exhaustion), None)
            }
            Mode::Siblings(group) => group.next(context, id, exhaustion),
            Mode::Workers(_) => (Next::Nothing, None),
        }
    }

    /// Has another policy choose from now on, if there is one and the primary accepts under both. What is on its way to workers
    /// stays so.
    pub fn follow(&mut self, choice: &PolicyChoice, weight: impl Fn(WorkerId) -> u32) {
        let may_change = matches!(self.mode, Mode::Primary(_)) && choice.accept_mode() == AcceptMode::Primary;
        if !may_change || *choice == self.choice {
            return;
        }
        if let Some(sticky) = self.sticky.take() {
            let waiting = sticky.end();
            self.held -= waiting.len();
            self.pending.extend(waiting);
        }
        self.sticky = choice.sticky().cloned().map(Sticky::new);
        self.policy = choice.policy();
        for worker in self.members.clone() {
            self.policy.add(worker);
            self.weigh(worker, weight(worker));
        }
        *self.stats.policy.lock() = choice.name().into();
        self.choice = choice.clone();
    }

    /// From now on this file is removed with its socket. Returns the one until then.
    pub fn set_file(&mut self, file: Option<SocketFile>) -> Option<SocketFile> {
        std::mem::replace(&mut self.file, file)
    }

    /// This process listens from now on, for those who ask the kernel who does.
    pub fn listen_again(&self) {
        if matches!(self.mode, Mode::Primary(_)) {
            // It listens already, whatever comes of this.
            let _ = os::listen(self.socket.as_fd(), self.backlog);
        }
    }

    /// Closes it, and returns the connections that wait for its workers.
    pub fn end(self) -> impl Iterator<Item = Pending> {
        let of_workers = self.sticky.map(Sticky::end).unwrap_or_default();
        self.pending.into_iter().chain(self.refused).chain(of_workers)
    }

    /// What its policy was made of.
    pub fn choice(&self) -> &PolicyChoice {
        &self.choice
    }

    /// Updates the counters of what waits.
    pub fn update_stats(&self, max_pending: usize) {
        let waiting = self.pending.len() + self.refused.len() + self.held + self.on_shared_lane;
        self.stats.counters.pending.set(waiting as u64);
        let is_paused = self.mode.is_paused() || self.not_taken() >= max_pending;
        self.stats.paused.store(is_paused, Ordering::Relaxed);
    }

    /// Its workers, in the order in which they came.
    pub fn members(&self) -> &[WorkerId] {
        &self.members
    }

    /// Adds a worker that is not one of its workers yet.
    pub fn add_member(&mut self, worker: WorkerId, slot: WorkerSlot, weight: u32) {
        debug_assert!(!self.members.contains(&worker));
        self.members.push(worker);
        self.policy.add(worker);
        self.weigh(worker, weight);
        self.slots.add(worker, slot);
        self.update_members();
    }

    /// Gives one of its workers a weight. With 0 the worker itself says that it takes nothing.
    pub fn weigh(&mut self, worker: WorkerId, weight: u32) {
        if let Some(weight) = Weight::new(weight) {
            self.policy.set_weight(worker, weight);
        }
    }

    /// Removes a worker, if it is one of its workers.
    pub fn remove_member(&mut self, worker: WorkerId) {
        if let Some(place) = self.members.iter().position(|member| *member == worker) {
            self.members.remove(place);
            self.policy.remove(worker);
            self.slots.remove(worker);
            if let Some(sticky) = &mut self.sticky {
                let waiting = sticky.remove(worker);
                self.held -= waiting.len();
                waiting.into_iter().rev().for_each(|connection| self.pending.push_front(connection));
            }
            self.update_members();
        }
    }

    /// Updates the list of workers in its statistics.
    fn update_members(&self) {
        self.stats.workers.lock().clone_from(&self.members);
        self.stats.decisions.lock().retain(|worker, _| self.members.contains(worker));
    }

    /// Applies the backlog that another worker asks for if it is larger than what is in force.
    pub fn raise_backlog(&mut self, query: &QueryServer) {
        let backlog = backlog_of(query);
        if let Mode::Siblings(group) = &mut self.mode {
            group.raise_backlog(backlog);
        }
        if backlog > self.backlog && matches!(self.mode, Mode::Primary(_)) {
            // If the kernel refuses the backlog, the old one stays in force.
            if os::listen(self.socket.as_fd(), backlog).is_ok() {
                self.backlog = backlog;
            }
        }
    }
}
