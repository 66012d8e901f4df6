//! Whose the next request of a kept connection is, where clients belong to workers (SCHED_STICKY).
//!
//! A worker that has time looks at a request before it reads it, as the primary would. What it knows to be its own it reads.
//! Everything else it leaves to the primary, which decides, and remembers what turns out to be its own: so a client's requests
//! cost the primary nothing but for the first. Nothing is remembered of clients for longer than they may not have moved.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use lru::LruCache;

use crate::address::Peer;
use crate::os;
use crate::proto::KeyBy;
use crate::sched::{Session, SessionMaker, StickyChoice};
use crate::seen::{self, Seen};

/// How many clients of its own a worker remembers. With one more, the one is forgotten that has been silent for longest.
const MAX_OWN: usize = 65_536;

/// For how long it remembers each. The primary, which forgets sessions that nobody names, hears of this one again then.
const REMEMBERED: Duration = Duration::from_secs(600);

/// Whose a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The worker's, or anybody's.
    Ours,
    /// Perhaps another worker's: of this client, as far as it is known.
    Unknown(Option<Session>),
}

/// What a worker knows of clients.
#[derive(Debug)]
pub struct Clients {
    /// By what servers know their clients, by their keys.
    servers: HashMap<Rc<str>, StickyChoice>,
    maker: SessionMaker,
    /// Those that belong to this worker, and when the primary has said so.
    own: LruCache<Session, Instant>,
    /// How often clients had moved to other workers by then.
    homes: u64,
    buffer: Vec<u8>,
}

impl Default for Clients {
    fn default() -> Self {
        Clients {
            servers: HashMap::new(),
            maker: SessionMaker::default(),
            own: LruCache::unbounded(),
            homes: 0,
            buffer: Vec::new(),
        }
    }
}

impl Clients {
    /// By what a server knows its clients, as [`ToLane::Clients`](crate::proto::ToLane::Clients) has it.
    ///
    /// Errors: a description of what is wrong.
    pub fn know_by(&mut self, key: &str, by: &str, max_head: u32) -> Result<(), String> {
        if by.is_empty() {
            self.servers.remove(key);
            return Ok(());
        }
        let known_by = KeyBy::of_text(by).ok_or_else(|| format!("clients that are known by '{by}'"))?;
        let max_head = NonZeroUsize::new(max_head as usize).ok_or("clients of whom nothing is looked at")?;
        let choice = StickyChoice { max_head: max_head.get(), ..StickyChoice::new(known_by) };
        self.servers.insert(Rc::from(key), choice);
        Ok(())
    }

    /// Whether any server has clients that belong to workers.
    pub fn has_any(&self) -> bool {
        !self.servers.is_empty()
    }

    /// Whose the request is that has arrived on a connection of this server. `homes` is how often clients have moved to other
    /// workers by now.
    pub fn whose(&mut self, server: &str, connection: BorrowedFd<'_>, homes: u64) -> Whose {
        let Some(choice) = self.servers.get(server) else { return Whose::Ours };
        let session = match seen::look(&mut self.buffer, connection, choice, &self.maker) {
            Seen::Address(session) | Seen::Session(session) => session,
            Seen::Nothing | Seen::Late => match os::peer(connection) {
                Ok(Peer::Ip(address, _)) => self.maker.of_address(address),
                Ok(Peer::Unix) | Err(_) => return Whose::Ours,
            },
            Seen::NoSession | Seen::Ended => return Whose::Ours,
            Seen::Incomplete => return Whose::Unknown(None),
        };
        if self.is_own(session, homes) { Whose::Ours } else { Whose::Unknown(Some(session)) }
    }

    fn is_own(&mut self, session: Session, homes: u64) -> bool {
        self.forget_moved(homes);
        self.own.get(&session).is_some_and(|since| since.elapsed() < REMEMBERED)
    }

    /// The primary has said that a client belongs to this worker. It was asked when clients had moved `asked_at` times.
    pub fn note_own(&mut self, session: Session, asked_at: u64, homes: u64) {
        self.forget_moved(homes);
        if asked_at != homes {
            return;
        }
        self.own.put(session, Instant::now());
        if self.own.len() > MAX_OWN {
            self.own.pop_lru();
        }
    }

    fn forget_moved(&mut self, homes: u64) {
        if std::mem::replace(&mut self.homes, homes) != homes {
            self.own.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use super::*;

    /// A client, and the connection that a worker has of it.
    fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    /// Whose this is for a worker whose server "a" knows its clients by a header.
    fn whose(clients: &mut Clients, server: &str, request: &str, homes: u64) -> Whose {
        clients.know_by("a", "header x-user", 200).unwrap();
        let (mut client, connection) = connection();
        client.write_all(request.as_bytes()).unwrap();
        let mut byte = [0];
        if !request.is_empty() {
            // Until all of it has arrived.
            while os::unread(connection.as_fd()) < request.len() {
                let _ = os::peek(connection.as_fd(), &mut byte);
            }
        }
        clients.whose(server, connection.as_fd(), homes)
    }

    fn of(user: &str) -> String {
        format!("GET / HTTP/1.1\r\nX-User: {user}\r\n\r\n")
    }

    fn asked(whose: Whose) -> Session {
        match whose {
            Whose::Unknown(Some(session)) => session,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_the_primary_has_said_to_be_its_own_a_worker_reads_until_clients_may_have_moved() {
        let mut clients = Clients::default();
        let session = asked(whose(&mut clients, "a", &of("one"), 0));
        clients.note_own(session, 0, 0);
        assert_eq!(whose(&mut clients, "a", &of("one"), 0), Whose::Ours);
        assert_ne!(asked(whose(&mut clients, "a", &of("other"), 0)), session);
        // One that was asked about before, and answered after that, may have moved.
        assert_eq!(asked(whose(&mut clients, "a", &of("one"), 1)), session);
        clients.note_own(session, 0, 1);
        assert_eq!(asked(whose(&mut clients, "a", &of("one"), 1)), session);
        clients.note_own(session, 1, 1);
        assert_eq!(whose(&mut clients, "a", &of("one"), 1), Whose::Ours);
    }

    #[test]
    fn what_names_nobody_is_read_and_what_may_name_somebody_later_is_not() {
        let mut clients = Clients::default();
        let nobody = "GET / HTTP/1.1\r\n\r\n";
        assert_eq!(whose(&mut clients, "a", nobody, 0), Whose::Ours);
        assert_eq!(whose(&mut clients, "another", &of("one"), 0), Whose::Ours);
        assert_eq!(whose(&mut clients, "a", "GET / HTTP/1.1\r\nX-", 0), Whose::Unknown(None));
        // Whoever says nothing that is understood, or too much, is known by the address.
        let by_address = asked(whose(&mut clients, "a", "\0\0", 0));
        let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(200));
        assert_eq!(asked(whose(&mut clients, "a", &long, 0)), by_address);
        clients.know_by("a", "", 0).unwrap();
        let (mut client, connection) = connection();
        client.write_all(of("one").as_bytes()).unwrap();
        assert_eq!(clients.whose("a", connection.as_fd(), 0), Whose::Ours);
    }

    #[test]
    fn the_end_of_a_client_is_read_here() {
        let mut clients = Clients::default();
        clients.know_by("a", "header x-user", 200).unwrap();
        let (client, connection) = connection();
        assert_eq!(clients.whose("a", connection.as_fd(), 0), Whose::Unknown(None));
        drop(client);
        while !os::has_ended(connection.as_fd()) {}
        assert_eq!(clients.whose("a", connection.as_fd(), 0), Whose::Ours);
    }

    #[test]
    fn a_worker_with_too_many_clients_asks_again_about_the_one_that_was_silent_for_longest() {
        let mut clients = Clients::default();
        (0..=MAX_OWN as u64).for_each(|number| clients.note_own(Session(number), 0, 0));
        assert_eq!(clients.own.len(), MAX_OWN);
        assert!(!clients.is_own(Session(0), 0) && clients.is_own(Session(1), 0));
    }

    #[test]
    fn what_no_primary_says_of_clients_is_an_error() {
        let mut clients = Clients::default();
        assert!(clients.know_by("a", "ip", 8192).is_err());
        assert!(clients.know_by("a", "query sid", 0).is_err());
        assert!(clients.servers.is_empty());
    }
}
