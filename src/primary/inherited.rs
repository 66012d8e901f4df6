//! Sockets that this process has got from another. A server that a worker asks for gets the one that is bound where it is to
//! listen; no other is bound then.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::connection::Pending;
use super::socket_path::shortest;
use crate::ids::ServerId;
use crate::os::{Carries, InheritedSocket, SocketName};
use crate::proto::{AddressKind, Asked, Handed, QueryServer};

/// A socket, or several that share a port.
#[derive(Debug)]
pub struct Inheritance {
    /// The first of them, or the only one.
    first: InheritedSocket,
    /// The others.
    siblings: Vec<InheritedSocket>,
    /// What the primary before has said of it.
    handed: Option<Handed>,
}

impl Inheritance {
    /// The first socket, or the only one.
    pub fn socket(&self) -> &InheritedSocket {
        &self.first
    }

    /// Those that share its port.
    pub fn siblings(&self) -> &[InheritedSocket] {
        &self.siblings
    }

    /// Whether workers accept each from a socket of its own.
    pub fn is_group(&self) -> bool {
        self.handed.as_ref().is_some_and(|handed| handed.is_sibling)
    }

    /// Whether it is somebody else's, and stays when no server has it.
    pub fn stays(&self) -> bool {
        self.handed.as_ref().is_none_or(|handed| handed.stays)
    }
}

/// The sockets, in the order in which they came.
#[derive(Debug, Default)]
pub struct InheritedSockets(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    inheritance: Arc<Inheritance>,
    /// The server that has it. It is free again when that one is closed, and what comes to it meanwhile waits.
    server: Option<ServerId>,
    /// The one that has it, or had it last.
    last: Option<ServerId>,
    /// Connections that were accepted for that one, for the next.
    left: VecDeque<Pending>,
}

/// How well a socket fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// It takes more than what is asked for.
    Loose,
    /// It is bound to the same address.
    Exact,
    /// The primary before was asked for it in the same words.
    Same,
}

impl InheritedSockets {
    /// Another socket, which stays as long as the process.
    pub fn add(&mut self, socket: InheritedSocket) {
        self.add_inheritance(Inheritance { first: socket, siblings: Vec::new(), handed: None });
    }

    /// Another socket that the primary before had. It is a sibling of the last one if it has its number.
    pub fn add_handed(&mut self, handed: Handed, socket: InheritedSocket) {
        let last = self.0.last_mut().and_then(|entry| Arc::get_mut(&mut entry.inheritance));
        let number = handed.number;
        match last.filter(|last| last.handed.as_ref().is_some_and(|last| last.number == number)) {
            Some(first) => first.siblings.push(socket),
            None => self.add_inheritance(Inheritance {
                first: socket,
                siblings: Vec::new(),
                handed: Some(handed),
            }),
        }
    }

    fn add_inheritance(&mut self, inheritance: Inheritance) {
        let inheritance = Arc::new(inheritance);
        self.0.push(Entry { inheritance, server: None, last: None, left: VecDeque::new() });
    }

    /// The socket for what a worker asks for, if there is one that no server has.
    pub fn find(&self, query: &QueryServer) -> Option<Arc<Inheritance>> {
        let asked = Asked::from(query);
        let free = self.0.iter().filter(|entry| entry.server.is_none());
        let fitting = free.filter_map(|Entry { inheritance, .. }| {
            let was_asked = inheritance.handed.as_ref().and_then(|handed| handed.asked.as_ref());
            let fit = if was_asked == Some(&asked) { Fit::Same } else { fit(&inheritance.first, query)? };
            Some((fit, inheritance))
        });
        // The first of those that fit best.
        let best = fitting.reduce(|best, other| if other.0 > best.0 { other } else { best });
        best.map(|(_, inheritance)| inheritance.clone())
    }

    /// A server has what `find` has returned. Returns the connections that the one before it has left.
    pub fn take(&mut self, inheritance: &Arc<Inheritance>, server: ServerId) -> VecDeque<Pending> {
        let entry = self.0.iter_mut().find(|entry| Arc::ptr_eq(&entry.inheritance, inheritance));
        let Some(entry) = entry else { return VecDeque::new() };
        (entry.server, entry.last) = (Some(server), Some(server));
        std::mem::take(&mut entry.left)
    }

    /// A server that has been closed leaves a connection. It is closed unless the next one can have it.
    pub fn keep(&mut self, server: ServerId, mut connection: Pending) {
        if let Some(entry) = self.0.iter_mut().find(|entry| entry.last == Some(server)) {
            connection.refused_by.clear();
            entry.left.push_back(connection);
        }
    }

    /// A server has been closed.
    pub fn leave(&mut self, server: ServerId) {
        for entry in self.0.iter_mut().filter(|entry| entry.server == Some(server)) {
            entry.server = None;
        }
    }

    /// What a server has, if it has any.
    pub fn of_server(&self, server: ServerId) -> Option<&Inheritance> {
        let entry = self.0.iter().find(|entry| entry.server == Some(server));
        entry.map(|entry| &*entry.inheritance)
    }

    /// The server that has what the primary before gave this number.
    pub fn server_of(&self, number: u32) -> Option<ServerId> {
        let is_it = |entry: &&Entry| entry.inheritance.handed.as_ref().is_some_and(|it| it.number == number);
        self.0.iter().find(is_it)?.server
    }

    /// What nobody has, and stays.
    pub fn unused(&self) -> impl Iterator<Item = &InheritedSocket> {
        let unused = self.0.iter().filter(|entry| entry.server.is_none());
        unused.map(|entry| &*entry.inheritance).filter(|it| it.stays()).map(|it| &it.first)
    }

    /// The primary before has no say any more: what no server has goes, and the others are their servers' own. Returns those that have
    /// servers, and the files of those that have none.
    pub fn settle(&mut self) -> (Vec<(ServerId, Arc<Inheritance>)>, Vec<PathBuf>) {
        let (mut taken, mut files) = (Vec::new(), Vec::new());
        for entry in std::mem::take(&mut self.0) {
            if entry.inheritance.stays() {
                self.0.push(entry);
            } else if let Some(server) = entry.server {
                taken.push((server, entry.inheritance.clone()));
                // Until then it may come back; the numbers of connections lead to it.
                self.0.push(entry);
            } else {
                files.extend(entry.inheritance.file());
            }
        }
        (taken, files)
    }

    /// The server has been closed, and what it had was its own.
    pub fn forget(&mut self, server: ServerId) {
        self.0.retain(|entry| entry.last != Some(server) || entry.inheritance.stays());
    }
}

impl Inheritance {
    /// The file that is to be removed with it.
    pub fn file(&self) -> Option<PathBuf> {
        match &self.first.name {
            SocketName::Unix(path) if self.handed.as_ref().is_some_and(|handed| handed.has_file) => {
                Some(path.clone())
            }
            _ => None,
        }
    }
}

fn fit(socket: &InheritedSocket, query: &QueryServer) -> Option<Fit> {
    let (carries, datagram_ip) = match query.kind {
        AddressKind::Udp4 => (Carries::Datagrams, Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED))),
        AddressKind::Udp6 => (Carries::Datagrams, Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED))),
        AddressKind::Tcp4 | AddressKind::Tcp6 | AddressKind::Path => (Carries::Connections, None),
    };
    if query.fd >= 0 || carries != socket.carries {
        return None;
    }
    let asked = query.address.as_deref().filter(|address| !address.is_empty());
    match &socket.name {
        SocketName::Unix(path) => {
            let is_it = query.port < 0 && asked.is_some_and(|asked| is_same_path(asked, path));
            is_it.then_some(Fit::Exact)
        }
        SocketName::Ip { address, is_v6_only } => {
            // 0 is any port, and nobody knows of this one then.
            if query.port <= 0 || query.port != i32::from(address.port()) {
                return None;
            }
            let ip = match asked {
                None => datagram_ip,
                Some(asked) => Some(asked.split('%').next().unwrap_or(asked).parse().ok()?),
            };
            fit_of_ip(address.ip(), *is_v6_only, ip)
        }
    }
}

/// `asked`: None for all addresses, of both families where the system has both.
fn fit_of_ip(bound: IpAddr, is_v6_only: bool, asked: Option<IpAddr>) -> Option<Fit> {
    match asked {
        Some(asked) if asked == bound => Some(Fit::Exact),
        None if bound == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && !is_v6_only => Some(Fit::Exact),
        None if bound.is_unspecified() => Some(Fit::Loose),
        // All that would come there comes here.
        Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) if bound.is_unspecified() && !is_v6_only => Some(Fit::Loose),
        _ => None,
    }
}

fn is_same_path(asked: &str, bound: &Path) -> bool {
    // An abstract name, which the worker has made absolute, becomes itself again.
    let asked = shortest(Path::new(asked));
    let absolute = |path: &Path| match std::path::absolute(path) {
        // Of the two spellings of one directory one is that of the service manager.
        Ok(path) => match (path.parent().map(std::fs::canonicalize), path.file_name()) {
            (Some(Ok(parent)), Some(name)) => parent.join(name),
            _ => path,
        },
        Err(_) => path.to_owned(),
    };
    asked == bound || absolute(&asked) == absolute(bound)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::os::inherited_socket;

    fn query(address: Option<&str>, port: i32) -> QueryServer {
        QueryServer { address: address.map(str::to_owned), port, fd: -1, ..QueryServer::default() }
    }

    fn name_of(found: Option<Arc<Inheritance>>) -> Option<SocketName> {
        found.map(|found| found.socket().name.clone())
    }

    #[test]
    fn a_server_gets_the_socket_of_its_address_and_once() {
        let mut sockets = InheritedSockets::default();
        let [one, other] = [(), ()].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        for socket in [&one, &other] {
            sockets.add(inherited_socket(socket.as_raw_fd()).unwrap());
        }
        let port = i32::from(other.local_addr().unwrap().port());
        let found = sockets.find(&query(Some("127.0.0.1"), port)).unwrap();
        let address = other.local_addr().unwrap();
        assert_eq!(found.socket().name, SocketName::Ip { address, is_v6_only: false });
        for wrong in [
            query(Some("127.0.0.2"), port),
            query(None, port),
            query(Some("::1"), port),
            query(Some("127.0.0.1"), 0),
            query(Some("no address"), port),
            QueryServer { kind: AddressKind::Udp4, ..query(Some("127.0.0.1"), port) },
            QueryServer { fd: 3, ..query(Some("127.0.0.1"), port) },
        ] {
            assert!(sockets.find(&wrong).is_none(), "{wrong:?}");
        }
        sockets.take(&found, ServerId(7));
        assert!(sockets.find(&query(Some("127.0.0.1"), port)).is_none());
        sockets.leave(ServerId(7));
        assert!(sockets.find(&query(Some("127.0.0.1"), port)).is_some());
    }

    #[test]
    fn of_two_the_one_that_fits_best_is_taken() {
        let both = TcpListener::bind("[::]:0").unwrap();
        let port = both.local_addr().unwrap().port();
        let mut sockets = InheritedSockets::default();
        sockets.add(inherited_socket(both.as_raw_fd()).unwrap());
        for asked in [None, Some("::"), Some("0.0.0.0"), Some("")] {
            assert!(sockets.find(&query(asked, port.into())).is_some(), "{asked:?}");
        }
        let v4 = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let v6 = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        assert_eq!(fit_of_ip(v4, false, Some(v4)), Some(Fit::Exact));
        assert_eq!(fit_of_ip(v6, false, Some(v4)), Some(Fit::Loose));
        assert_eq!(fit_of_ip(v6, true, Some(v4)), None);
        assert_eq!(fit_of_ip(v4, false, None), Some(Fit::Loose));
        assert_eq!(fit_of_ip(v6, false, None), Some(Fit::Exact));
    }

    #[test]
    fn a_path_is_known_in_another_spelling_and_datagrams_by_their_family() {
        let directory = tempfile::tempdir().unwrap();
        let (path, link) = (directory.path().join("d/s"), directory.path().join("l"));
        std::fs::create_dir(directory.path().join("d")).unwrap();
        std::os::unix::fs::symlink(directory.path().join("d"), &link).unwrap();
        let listener = UnixListener::bind(&path).unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut sockets = InheritedSockets::default();
        for number in [listener.as_raw_fd(), udp.as_raw_fd()] {
            sockets.add(inherited_socket(number).unwrap());
        }
        let at = |path: &Path| QueryServer { kind: AddressKind::Path, ..query(path.to_str(), -1) };
        assert_eq!(name_of(sockets.find(&at(&path))), Some(SocketName::Unix(path.clone())));
        assert!(sockets.find(&at(&link.join("s"))).is_some());
        assert!(sockets.find(&at(&directory.path().join("s"))).is_none());
        let port = udp.local_addr().unwrap().port().into();
        let of = |kind| QueryServer { kind, ..query(Some("127.0.0.1"), port) };
        assert!(sockets.find(&of(AddressKind::Udp4)).is_some());
        assert!(sockets.find(&of(AddressKind::Tcp4)).is_none());
    }
}
