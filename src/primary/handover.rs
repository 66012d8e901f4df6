//! One primary takes the place of another: the old one hands over its sockets, and both serve until the old one yields. From then on it
//! accepts nothing, and what its workers do not take goes along, until they have gone.
//!
//! The new one accepts nothing before it is told to begin: if it fails, it has had no connection.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::errno::Errno;

use super::connection::{Origin, Pending};
use super::server::Mode;
use super::{Context, Event, Primary, Source};
use crate::error::Error;
use crate::ids::ServerId;
use crate::os::{self, Ancillary, InheritedSocket, Parcel, SocketFile};
use crate::proto::{Handed, Handover, MAX_HANDED, MAX_HANDOVER};
use crate::reactor::{EventSink, Interest, Readiness, Registration};

/// How long a kept connection that was parked before the old primary has yielded may still wait for its next request: Node's own
/// `keepAliveTimeout`.
const KEPT_FOR: Duration = Duration::from_secs(5);

/// Whether a primary accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Accepting {
    /// It does.
    #[default]
    Now,
    /// It takes another one's place, and has not begun.
    NotYet,
    /// Another one has taken its place.
    NoMore,
}

/// The primary that takes this one's place.
#[derive(Debug)]
pub struct Heir {
    socket: OwnedFd,
    registration: Registration,
    unsent: VecDeque<Unsent>,
    /// How it knows the servers.
    numbers: HashMap<ServerId, u32>,
    /// The files of their sockets, which are its own once this one has yielded.
    files: Vec<(ServerId, SocketFile)>,
}

#[derive(Debug)]
struct Unsent {
    bytes: Vec<u8>,
    handles: Vec<Arc<OwnedFd>>,
}

/// The primary whose place this one takes.
#[derive(Debug)]
pub struct Predecessor {
    socket: OwnedFd,
    registration: Registration,
}

/// What the old primary has handed over.
pub type Estate = Vec<(Handed, InheritedSocket)>;

/// Reads what the old primary hands over, as far as it has come, into `estate`. Returns whether that is all.
///
/// Errors: [`Error::BadFrame`] for what no primary says; `ECONNRESET` if it has gone; `EMFILE`.
pub fn receive_estate(socket: &OwnedFd, estate: &mut Estate) -> Result<bool, Error> {
    loop {
        let Some((message, handles)) = receive(socket)? else { return Ok(false) };
        match message {
            Handover::Sockets(handed) if handed.len() == handles.len() => {
                for (handed, socket) in handed.into_iter().zip(handles) {
                    let socket = os::received_socket(socket).map_err(Error::sys("taking over a socket"))?;
                    estate.push((handed, socket));
                }
            }
            Handover::End => return Ok(true),
            Handover::Sockets(_) | Handover::Connection { .. } => {
                return Err(Error::BadFrame("not as many descriptors as sockets".to_owned()));
            }
        }
    }
}

/// The next message; None if there is none yet.
fn receive(socket: &OwnedFd) -> Result<Option<(Handover, Vec<OwnedFd>)>, Error> {
    let mut buffer = vec![0; MAX_HANDOVER];
    match os::receive_parcel(socket.as_fd(), &mut buffer, &mut Ancillary::default()) {
        Err(Errno::EAGAIN) => Ok(None),
        Err(errno) => Err(Error::Sys { doing: "taking over", errno }),
        Ok(Parcel { length: 0, .. }) => Err(Error::Sys { doing: "taking over", errno: Errno::ECONNRESET }),
        Ok(Parcel { is_truncated: true, .. }) => {
            Err(Error::Sys { doing: "taking over", errno: Errno::EMFILE })
        }
        Ok(Parcel { length, handles, .. }) => {
            let message = Handover::decode(&buffer[..length]).map_err(Error::BadFrame)?;
            Ok(Some((message, handles)))
        }
    }
}

impl<S: EventSink<Event>> Primary<S> {
    /// Takes another one's place: servers get its sockets, and accept when [`Primary::begin`] says so.
    pub(super) fn succeed(&mut self, context: &mut Context, socket: OwnedFd, estate: Estate) {
        match Registration::new(context, socket.as_fd(), Source::Predecessor) {
            Ok(registration) => self.predecessor = Some(Predecessor { socket, registration }),
            Err(error) => self.sink.push(Event::Fault(error)),
        }
        self.accepting = Accepting::NotYet;
        for (handed, socket) in estate {
            self.inherited.add_handed(handed, socket);
        }
    }

    /// Accepts from now on.
    pub(super) fn begin(&mut self) {
        self.accepting = Accepting::Now;
        let (taken, files) = self.inherited.settle();
        for (id, inheritance) in taken {
            let Some(server) = self.servers.get_mut(&id) else { continue };
            if let Some(file) = inheritance.file().and_then(|path| SocketFile::adopt(&path).ok()) {
                server.set_file(Some(file));
            }
            // Clients of a path see who called this last.
            server.listen_again();
        }
        for path in files {
            // Nobody listens there any more.
            drop(SocketFile::adopt(&path));
        }
        self.to_serve.extend(self.servers.keys());
    }

    /// The old primary has connections for this one, or has gone.
    pub(super) fn on_predecessor(&mut self, context: &mut Context) {
        while let Some(predecessor) = &self.predecessor {
            match receive(&predecessor.socket) {
                Ok(None) => return,
                Ok(Some((Handover::Connection { socket, kept }, mut handles))) => {
                    let server = self.inherited.server_of(socket);
                    if let (Some(id), Some(fd)) = (server, handles.pop()) {
                        self.receive_left(context, id, fd, kept);
                    }
                }
                // It has gone, or says what cannot be understood.
                Ok(Some(_)) | Err(_) => return self.forget_predecessor(context),
            }
        }
    }

    fn receive_left(&mut self, context: &mut Context, id: ServerId, fd: OwnedFd, kept: Option<u64>) {
        let Ok(peer) = os::peer(fd.as_fd()) else { return };
        let Some(timeout) = kept else {
            return self.arrive(context, id, Pending::new(Arc::new(fd), peer, Origin::Accepted));
        };
        let timeout = (timeout > 0).then(|| Duration::from_millis(timeout));
        if let Err(error) = self.parked.park(context, fd, id, timeout) {
            // The connection is closed.
            self.sink.push(Event::Fault(error));
        }
    }

    fn forget_predecessor(&mut self, context: &mut Context) {
        if let Some(Predecessor { socket, registration }) = self.predecessor.take() {
            registration.end(context, socket.as_fd());
        }
        // It may have told the kernel otherwise.
        self.steer_all();
    }

    /// Hands over all sockets. This primary goes on as before until [`Primary::yield_to_heir`].
    pub(super) fn hand_over(&mut self, context: &mut Context, socket: OwnedFd) {
        self.disinherit(context);
        let registration = match Registration::new(context, socket.as_fd(), Source::Heir) {
            Ok(registration) => registration,
            Err(error) => return self.sink.push(Event::Fault(error)),
        };
        let mut heir = Heir {
            socket,
            registration,
            unsent: VecDeque::new(),
            numbers: HashMap::new(),
            files: Vec::new(),
        };
        let mut all = Vec::new();
        let mut ids: Vec<ServerId> = self.servers.keys().copied().collect();
        ids.sort_unstable_by_key(|id| id.0);
        for (number, id) in (0..).zip(ids) {
            let Some(server) = self.servers.get_mut(&id) else { continue };
            heir.numbers.insert(id, number);
            let file = server.set_file(None);
            let handed = Handed {
                number,
                asked: Some(server.asked.clone()),
                is_sibling: matches!(server.mode, Mode::Siblings(_)),
                has_file: file.is_some(),
                stays: self.inherited.of_server(id).is_some_and(|inheritance| inheritance.stays()),
            };
            heir.files.extend(file.map(|file| (id, file)));
            let sockets = match &server.mode {
                Mode::Siblings(group) => group.listening(),
                Mode::Primary(_) | Mode::Workers(_) => vec![server.socket.clone()],
            };
            all.extend(sockets.into_iter().map(|socket| (handed.clone(), socket)));
        }
        let unused = self.inherited.unused().filter_map(|unused| unused.socket.try_clone().ok());
        let first = u32::try_from(self.servers.len()).unwrap_or(u32::MAX);
        all.extend((first..).zip(unused).map(|(number, socket)| {
            let handed = Handed { number, asked: None, is_sibling: false, has_file: false, stays: true };
            (handed, Arc::new(socket))
        }));
        for portion in all.chunks(MAX_HANDED) {
            let (handed, handles): (Vec<_>, Vec<_>) = portion.iter().cloned().unzip();
            heir.unsent.push_back(Unsent { bytes: Handover::Sockets(handed).encode(), handles });
        }
        heir.unsent.push_back(Unsent { bytes: Handover::End.encode(), handles: Vec::new() });
        self.heir = Some(heir);
        self.send_to_heir(context);
    }

    /// The heir has begun: this primary accepts nothing from now on.
    pub(super) fn yield_to_heir(&mut self, context: &mut Context) {
        self.accepting = Accepting::NoMore;
        let Some(heir) = &mut self.heir else { return };
        for (_, file) in heir.files.drain(..) {
            file.leave();
        }
        for (id, fd) in self.parked.take_all() {
            // Those of servers that it does not have are closed.
            let _ = self.leave_to_heir(id, Arc::new(fd), Some(Some(KEPT_FOR)));
        }
        self.send_to_heir(context);
    }

    /// There is no heir after all, or it has gone. Once it has begun, nothing is as before.
    pub(super) fn disinherit(&mut self, context: &mut Context) {
        let Some(Heir { socket, registration, files, .. }) = self.heir.take() else { return };
        registration.end(context, socket.as_fd());
        self.stats.unsent.store(0, Ordering::Relaxed);
        for (id, file) in files {
            if let Some(server) = self.servers.get_mut(&id) {
                server.set_file(Some(file));
            }
        }
    }

    /// There is room to write, or the heir has gone.
    pub(super) fn on_heir(&mut self, context: &mut Context, readiness: Readiness) {
        let has_gone = self.heir.as_ref().is_some_and(|heir| os::has_ended(heir.socket.as_fd()));
        if has_gone {
            self.disinherit(context);
        } else if readiness.writable {
            self.send_to_heir(context);
        }
    }

    /// A connection that no worker here takes any more goes to the heir at the end of this turn. `kept`: it waits for its next request, for
    /// so long. Returns it if there is no heir that has its server.
    pub(super) fn leave_to_heir(
        &mut self,
        server: ServerId,
        fd: Arc<OwnedFd>,
        kept: Option<Option<Duration>>,
    ) -> Option<Arc<OwnedFd>> {
        let is_over = self.accepting == Accepting::NoMore;
        let Some(heir) = self.heir.as_mut().filter(|_| is_over) else { return Some(fd) };
        let Some(number) = heir.numbers.get(&server).copied() else { return Some(fd) };
        let milliseconds = |timeout: Duration| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).max(1);
        let kept = kept.map(|timeout| timeout.map_or(0, milliseconds));
        let bytes = Handover::Connection { socket: number, kept }.encode();
        heir.unsent.push_back(Unsent { bytes, handles: vec![fd] });
        None
    }

    /// A connection whose server has been closed.
    pub(super) fn leave(&mut self, server: ServerId, connection: Pending) {
        let kept = (connection.origin == Origin::Kept).then_some(Some(KEPT_FOR));
        if self.leave_to_heir(server, connection.fd.clone(), kept).is_some() {
            self.inherited.keep(server, connection);
        }
    }

    /// Sends what waits, as far as there is room.
    pub(super) fn send_to_heir(&mut self, context: &mut Context) {
        let Some(heir) = self.heir.as_mut().filter(|heir| !heir.unsent.is_empty()) else { return };
        let outcome = loop {
            let Some(Unsent { bytes, handles }) = heir.unsent.front() else {
                break heir.registration.wait_for(context, heir.socket.as_fd(), Interest::Read);
            };
            let borrowed: Vec<_> = handles.iter().map(|handle| handle.as_fd()).collect();
            match os::send_parcel(heir.socket.as_fd(), bytes, &borrowed) {
                Ok(()) => drop(heir.unsent.pop_front()),
                // It is told when descriptors are received: of those there may be too many under way, too.
                Err(Errno::EAGAIN | Errno::ETOOMANYREFS) => {
                    let socket = heir.socket.as_fd();
                    break heir.registration.wait_for(context, socket, Interest::ReadWrite);
                }
                Err(errno) => break Err(Error::Sys { doing: "handing over", errno }),
            }
        };
        self.stats.unsent.store(heir.unsent.len(), Ordering::Relaxed);
        if outcome.is_err() {
            self.disinherit(context);
        }
    }
}
