//! The sockets to workers: requests go out, and what comes back is put together.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram as StdSocket;
use std::rc::Rc;

use tokio::net::UnixDatagram;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, spawn_local, yield_now};

use crate::core::link::{MAX_PACKET, Packet, Subject};

/// How long a text of a worker's may be, in bytes, by what it is.
const MAX_METRICS: usize = 8 << 20;
const MAX_PROFILE: usize = 64 << 20;

/// How many packets of one worker are read before it is the turn of others, who do not say as much.
const TURN: usize = 32;

/// What a worker has said.
#[derive(Debug)]
pub struct Said {
    pub worker: u32,
    pub subject: Subject,
    /// The number of the request.
    pub id: u64,
    pub text: Vec<u8>,
}

/// The sockets, by workers.
#[derive(Debug)]
pub struct Links {
    sockets: HashMap<u32, (Rc<UnixDatagram>, AbortHandle)>,
    said: mpsc::UnboundedSender<Said>,
    /// A packet that is being read, whosever.
    buffer: Rc<RefCell<Box<[u8]>>>,
}

impl Links {
    /// None yet. What workers say comes out of the other end.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Said>) {
        let (said, heard) = mpsc::unbounded_channel();
        let buffer = Rc::new(RefCell::new(vec![0; MAX_PACKET].into_boxed_slice()));
        (Links { sockets: HashMap::new(), said, buffer }, heard)
    }

    /// A worker has a new one.
    ///
    /// Errors: those of watching a descriptor.
    pub fn add(&mut self, worker: u32, socket: OwnedFd) -> io::Result<()> {
        // The calls are those for any socket of packets.
        let socket = Rc::new(UnixDatagram::from_std(StdSocket::from(socket))?);
        let task = spawn_local(hear(worker, socket.clone(), self.buffer.clone(), self.said.clone()));
        if let Some((_, before)) = self.sockets.insert(worker, (socket, task.abort_handle())) {
            before.abort();
        }
        Ok(())
    }

    /// Forgets all workers but these.
    pub fn retain(&mut self, workers: impl Fn(u32) -> bool) {
        self.sockets.retain(|worker, (_, task)| {
            let stays = workers(*worker);
            if !stays {
                task.abort();
            }
            stays
        });
    }

    /// Asks a worker. Returns whether that was possible: it does not load corral, has gone, or reads nothing.
    pub fn ask(&self, worker: u32, subject: Subject, id: u64, text: &str) -> bool {
        let packet = Packet { subject, id, is_last: true, bytes: text.as_bytes() };
        self.sockets.get(&worker).is_some_and(|(socket, _)| socket.try_send(&packet.encode()).is_ok())
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.retain(|_| false);
    }
}

/// Until the worker has gone.
async fn hear(
    worker: u32,
    socket: Rc<UnixDatagram>,
    buffer: Rc<RefCell<Box<[u8]>>>,
    said: mpsc::UnboundedSender<Said>,
) {
    let mut texts: HashMap<Subject, Vec<u8>> = HashMap::new();
    for count in 1_usize.. {
        if count.is_multiple_of(TURN) {
            yield_now().await;
        }
        if socket.readable().await.is_err() {
            return;
        }
        let mut buffer = buffer.borrow_mut();
        let length = match socket.try_recv(&mut buffer) {
            Ok(length) if length > 0 => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Ok(_) | Err(_) => return,
        };
        let Some(Packet { subject, id, is_last, bytes }) = Packet::decode(&buffer[..length]) else {
            continue;
        };
        let most = if subject == Subject::Profile { MAX_PROFILE } else { MAX_METRICS };
        let text = texts.entry(subject).or_default();
        // One that is too long is left out up to its end.
        if text.len() <= most {
            text.extend_from_slice(bytes);
        }
        if is_last {
            let (subject, text) = whole(subject, texts.remove(&subject).unwrap_or_default(), most);
            if said.send(Said { worker, subject, id, text }).is_err() {
                return;
            }
        }
    }
}

/// What has been said, if it is whole. The metrics and the stacks of which a part is missing cannot be read.
fn whole(subject: Subject, text: Vec<u8>, most: usize) -> (Subject, Vec<u8>) {
    if subject == Subject::Profile && text.len() > most {
        let reason = format!("it is longer than {} MiB: take one of fewer seconds", most >> 20);
        return (Subject::ProfileFailed, reason.into_bytes());
    }
    (subject, text)
}

#[cfg(test)]
mod tests {
    use tokio::task::LocalSet;

    use super::*;

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, test);
    }

    fn packet(subject: Subject, is_last: bool, bytes: &[u8]) -> Vec<u8> {
        Packet { subject, id: 1, is_last, bytes }.encode()
    }

    #[test]
    fn a_worker_that_says_much_has_its_turns_as_others_have() {
        run(async {
            let (mut links, mut heard) = Links::new();
            let (ours, theirs) = StdSocket::pair().unwrap();
            for socket in [&ours, &theirs] {
                socket.set_nonblocking(true).unwrap();
            }
            let text = packet(Subject::Metrics, true, b"{}");
            let sent = (0..5 * TURN).take_while(|_| theirs.send(&text).is_ok()).count();
            assert!(sent > 2 * TURN, "{sent}");
            links.add(1, ours.into()).unwrap();
            while heard.is_empty() {
                yield_now().await;
            }
            assert!(heard.len() <= TURN, "{}", heard.len());
            for _ in 0..sent {
                assert_eq!(heard.recv().await.unwrap().text, b"{}");
            }
        });
    }

    #[test]
    fn a_profile_of_which_a_part_is_missing_is_none() {
        let (subject, reason) = whole(Subject::Profile, vec![b' '; 9], 8);
        assert_eq!(subject, Subject::ProfileFailed);
        assert!(String::from_utf8(reason).unwrap().contains("longer than 0 MiB"));
        assert_eq!(whole(Subject::Profile, vec![b' '; 8], 8), (Subject::Profile, vec![b' '; 8]));
        assert_eq!(whole(Subject::Metrics, vec![b' '; 9], 8).0, Subject::Metrics);
    }
}
