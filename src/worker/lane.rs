//! A worker's end of its lane. The thread that serves the connections reads it, and receives each connection
//! only just before serving it. The primary can take back what is still in the lane when that thread blocks. `kept` has what it
//! says of connections that rest.

mod kept;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use nix::errno::Errno;

use super::clients::Clients;
use super::kept::KeptConnections;
use super::sessions::BegunSessions;
use crate::error::Error;
use crate::kept::KeptTable;
use crate::os::{self, Ancillary, SocketPair};
use crate::proto::{ConnectionKind, FromWorker, LANE_VERSION, LaneSeq, MAX_LANE_MESSAGE, ToLane};
use crate::pulse::{Pulse, SharedClaim, open_slot};
pub use kept::Decided;

/// The send buffer of each end of the channel, in bytes, as far as the system allows: enough for a large
/// message or two, so that the ends need not alternate for each part of one.
const CHANNEL_BUFFER: usize = 1 << 20;

#[derive(Debug)]
pub struct Connection {
    /// Names the connection for [`WorkerLane::refuse`], or [`WorkerLane::claim_shared`].
    pub seq: LaneSeq,
    /// The type of `handle`.
    pub kind: ConnectionKind,
    /// The key of the server that the client connected to.
    pub key: Rc<str>,
    /// Close-on-exec and non-blocking.
    pub handle: OwnedFd,
}

impl Connection {
    /// The client's port, for tests that tell their clients by it.
    #[cfg(test)]
    pub fn peer_port(&self) -> u16 {
        // 0 for a client that has gone.
        let peer = socket2::SockRef::from(&self.handle).peer_addr();
        peer.map_or(0, |peer| peer.as_socket().unwrap().port())
    }
}

/// The result of reading a lane.
#[derive(Debug)]
pub enum Received {
    Connection(Connection),
    /// Nothing is there now.
    Nothing,
    /// The primary has closed the lane, or ended.
    Ended,
}

#[derive(Debug)]
pub struct WorkerLane {
    socket: OwnedFd,
    incoming: Box<[u8]>,
    ancillary: Ancillary,
    outgoing: Vec<u8>,
    /// The key of the last connection. Most connections are for the same server.
    key: Rc<str>,
    /// The last message received, unless it has been reported.
    unreported: Option<LaneSeq>,
    refused: Vec<LaneSeq>,
    /// What the primary sees without being told, once it has given the worker a page for it.
    pulse: Option<Pulse>,
    /// The page is written; until then reports go on the lane.
    is_introduced: bool,
    /// Kept connections rest, once the primary has given the worker the memory for it.
    kept: Option<KeptConnections>,
    /// By what the servers of this worker know their clients.
    clients: Clients,
    /// Kept connections about which the primary is to decide.
    given: Vec<kept::Given>,
    /// It has decided about some.
    has_decided: bool,
    /// The receiving end of the lane that this worker shares with others.
    shared: Option<OwnedFd>,
    /// One that has arrived and is not read yet.
    offered: Option<OwnedFd>,
    /// Sessions that this worker begins.
    pub sessions: BegunSessions,
    /// The primary has just asked for what the runtime knows of itself.
    pub is_to_be_observed: bool,
    /// The socket that came with that; none without room for its descriptor.
    pub link: Option<OwnedFd>,
}

impl WorkerLane {
    /// Takes ownership of the inherited descriptor of a lane.
    pub fn new(socket: OwnedFd) -> Self {
        WorkerLane {
            socket,
            incoming: vec![0; MAX_LANE_MESSAGE].into_boxed_slice(),
            ancillary: Ancillary::default(),
            outgoing: Vec::new(),
            key: Rc::from(""),
            unreported: None,
            refused: Vec::new(),
            pulse: None,
            is_introduced: false,
            kept: None,
            clients: Clients::default(),
            given: Vec::new(),
            has_decided: false,
            shared: None,
            offered: None,
            sessions: BegunSessions::default(),
            is_to_be_observed: false,
            link: None,
        }
    }

    /// Announces to the primary that connections may come over the lane, and sends it one end of a socket
    /// pair to which the channel may move. Returns the other end, non-blocking.
    ///
    /// Errors: `EPIPE` when the primary has gone; `EMFILE`, `ENFILE`, `ENOBUFS`.
    pub fn announce(&mut self) -> Result<OwnedFd, Error> {
        let doing = "announcing a lane";
        let SocketPair { ours, theirs } = os::socket_pair().map_err(Error::sys(doing))?;
        os::set_nonblocking(theirs.as_fd()).map_err(Error::sys(doing))?;
        for end in [&ours, &theirs] {
            os::set_send_buffer(end.as_fd(), CHANNEL_BUFFER);
        }
        FromWorker::Ready { version: LANE_VERSION }.encode(&mut self.outgoing);
        os::send_packet(self.socket.as_fd(), &self.outgoing, Some(theirs.as_fd()))
            .map_err(Error::sys(doing))?;
        Ok(ours)
    }

    /// Says to the primary that the lane cannot be used, and why.
    ///
    /// Errors: `EPIPE` when the primary has gone.
    pub fn decline(&mut self, reason: String) -> Result<(), Error> {
        self.send(&FromWorker::Unusable { reason }).map_err(Error::sys("declining a lane"))
    }

    /// Receives the next connection, if there is one. Refuses a connection whose descriptor did not fit into
    /// this process.
    ///
    /// Errors: `ERR_CORRAL_BAD_FRAME` for a message that no primary of this version sends; those of
    /// `recvmsg(2)`.
    pub fn receive(&mut self) -> Result<Received, Error> {
        loop {
            let packet =
                match os::receive_packet(self.socket.as_fd(), &mut self.incoming, &mut self.ancillary) {
                    Ok(packet) => packet,
                    Err(Errno::EAGAIN) => return Ok(Received::Nothing),
                    Err(errno) => return Err(Error::Sys { doing: "reading a lane", errno }),
                };
            if packet.length == 0 {
                return Ok(Received::Ended);
            }
            match ToLane::decode(&self.incoming[..packet.length]).map_err(Error::BadFrame)? {
                ToLane::Probe(seq) => self.unreported = Some(seq),
                // Without room for its descriptor, or for the page, reports go on the lane.
                ToLane::Pulse => {
                    self.pulse = packet.handle.and_then(|page| Pulse::map(page.as_fd()).ok());
                }
                // Without room for its descriptor, or for the memory, no connection rests.
                ToLane::Kept => {
                    let table = packet.handle.and_then(|memory| KeptTable::map(memory.as_fd()).ok());
                    self.kept = table.map(KeptConnections::new);
                }
                ToLane::Sessions(names) => self.sessions.names = Some(names.to_owned()),
                ToLane::Clients { max_head, by, key } => {
                    self.clients.know_by(key, by, max_head).map_err(Error::BadFrame)?;
                }
                ToLane::Decided => self.has_decided = true,
                // Without room for its descriptor this worker reads its own lane only.
                ToLane::Shared => self.offered = packet.handle.or(self.offered.take()),
                ToLane::Observe => {
                    self.is_to_be_observed = true;
                    self.link = packet.handle;
                }
                ToLane::Connection { seq, kind, accepted_at, key } => {
                    self.unreported = Some(seq);
                    if let Some(handle) = packet.handle {
                        note_taken(self.pulse.as_ref(), accepted_at);
                        let key = same_key(&mut self.key, key);
                        return Ok(Received::Connection(Connection { seq, kind, key, handle }));
                    }
                    self.refused.push(seq);
                }
            }
        }
    }

    /// Whether there is a shared lane that is not read yet.
    pub fn has_offer(&self) -> bool {
        self.offered.is_some() && self.is_introduced
    }

    /// Reads the shared lane that was offered from now on, and no earlier one, which the caller watches no more. Returns its
    /// descriptor, which stays open until the next call.
    pub fn accept_offer(&mut self) -> Option<BorrowedFd<'_>> {
        self.shared = self.offered.take();
        self.shared.as_ref().map(AsFd::as_fd)
    }

    /// Receives the next connection of the shared lane, if there is one and nobody else was faster. [`WorkerLane::claim_shared`] follows.
    ///
    /// Errors: as [`WorkerLane::receive`]; those of waking the primary.
    pub fn receive_shared(&mut self) -> Result<Received, Error> {
        let (Some(shared), Some(pulse)) = (&self.shared, &self.pulse) else { return Ok(Received::Nothing) };
        // Before it is received: the primary must not take what nobody has claimed for lost while this is under way.
        pulse.begin_claim();
        let packet = match os::receive_packet(shared.as_fd(), &mut self.incoming, &mut self.ancillary) {
            Ok(packet) if packet.length > 0 => packet,
            other => {
                pulse.claim_nothing();
                return match other {
                    Ok(_) => Ok(Received::Ended),
                    Err(Errno::EAGAIN) => Ok(Received::Nothing),
                    Err(errno) => Err(Error::Sys { doing: "reading the shared lane", errno }),
                };
            }
        };
        match ToLane::decode(&self.incoming[..packet.length]) {
            Ok(ToLane::Connection { seq, kind, accepted_at, key }) => {
                pulse.take(seq);
                if let Some(handle) = packet.handle {
                    note_taken(Some(pulse), accepted_at);
                    let key = same_key(&mut self.key, key);
                    return Ok(Received::Connection(Connection { seq, kind, key, handle }));
                }
                // There was no room for its descriptor.
                self.claim_shared(SharedClaim { seq, is_refused: true })?;
                Ok(Received::Nothing)
            }
            other => {
                pulse.claim_nothing();
                Err(Error::BadFrame(format!("{other:?} on the shared lane")))
            }
        }
    }

    /// What has become of the connection that was received from the shared lane last.
    ///
    /// Errors: `EPIPE` when the primary has gone.
    pub fn claim_shared(&mut self, claim: SharedClaim) -> Result<(), Error> {
        match &self.pulse {
            Some(pulse) if pulse.claim(claim) => self.wake(),
            _ => Ok(()),
        }
    }

    /// The worker does not serve the connection that it received last.
    pub fn refuse(&mut self, seq: LaneSeq) {
        self.refused.push(seq);
    }

    /// Reports to the primary what was received since the last report. The lane holds more reports than there
    /// can be unreported messages. If one fails all the same, the next report, or the answer to the primary's
    /// probe, includes it.
    ///
    /// Errors: `EPIPE` when the primary has gone. The messages that it has left in the lane can still be
    /// received.
    pub fn report(&mut self) -> Result<(), Error> {
        let Some(through) = self.unreported else { return Ok(()) };
        if let Some(pulse) = self.pulse.as_ref().filter(|_| self.is_introduced)
            && self.refused.is_empty()
        {
            self.unreported = None;
            return if pulse.receive(through) { self.wake() } else { Ok(()) };
        }
        let refused = std::mem::take(&mut self.refused);
        let report = FromWorker::Report { through, refused };
        let sent = self.send(&report);
        if sent.is_ok() {
            self.unreported = None;
            if let Some(pulse) = self.pulse.as_ref().filter(|_| self.is_introduced) {
                pulse.refuse(through);
                // The report itself has woken the primary.
                pulse.receive(through);
            }
        } else if let FromWorker::Report { refused, .. } = report {
            self.refused = refused;
        }
        match sent {
            Ok(()) | Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM) => Ok(()),
            Err(errno) => Err(Error::Sys { doing: "reporting on a lane", errno }),
        }
    }

    /// Whether the primary has given this worker a page that it does not write yet.
    pub fn can_introduce(&self) -> bool {
        self.pulse.is_some() && !self.is_introduced
    }

    /// Begins to write the page: who this process is, and the epoll instance of its event loop. The caller
    /// calls [`WorkerLane::poll`] from now on.
    ///
    /// Errors: `EPIPE` when the primary has gone.
    pub fn introduce(&mut self, pid: u32, poller: i32) -> Result<(), Error> {
        let Some(pulse) = &self.pulse else { return Ok(()) };
        pulse.introduce(pid, poller);
        self.is_introduced = true;
        // It looks at the page from then on.
        self.wake()
    }

    /// The event loop looks for events, and waits for them unless it `has_more` to do: see [`Pulse::poll`].
    ///
    /// Errors: `EPIPE` when the primary has gone.
    pub fn poll(&mut self, now: u64, busy: u64, has_more: bool) -> Result<(), Error> {
        self.report_released()?;
        self.tell_of_sessions()?;
        match &self.pulse {
            Some(pulse) if pulse.poll(now, busy) && !has_more => self.wake(),
            _ => Ok(()),
        }
    }

    /// Where open connections of a server are counted; None where nobody wants to know.
    pub fn open_slot(&self, key: &str) -> Option<usize> {
        self.pulse.as_ref().filter(|pulse| pulse.counts_open()).map(|_| open_slot(key))
    }

    /// One connection more is open, or one less, of the server that is counted in this slot.
    pub fn count_open(&self, slot: usize, has_come: bool) {
        if let Some(pulse) = &self.pulse {
            pulse.count_open(slot, has_come);
        }
    }

    /// Shows numbers of the runtime. Returns whether the primary wants to see more.
    pub fn show_runtime(&self, numbers: impl Iterator<Item = u64>) -> bool {
        let Some(pulse) = self.pulse.as_ref().filter(|pulse| pulse.is_observed()) else { return false };
        pulse.show_runtime(numbers);
        true
    }

    /// Tells the primary which sessions this worker has begun.
    ///
    /// Errors: `EPIPE` when the primary has gone.
    pub fn tell_of_sessions(&mut self) -> Result<(), Error> {
        self.sessions.tell_on(self.socket.as_fd())
    }

    fn wake(&mut self) -> Result<(), Error> {
        if let Some(pulse) = &self.pulse {
            pulse.disarm();
        }
        match self.send(&FromWorker::Wake) {
            // There is enough in the lane to wake the primary.
            Ok(()) | Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM) => Ok(()),
            Err(errno) => Err(Error::Sys { doing: "waking the primary", errno }),
        }
    }

    /// For tests of what a primary makes of it.
    #[cfg(test)]
    pub fn pulse(&self) -> &Pulse {
        self.pulse.as_ref().unwrap()
    }

    /// For tests of what a primary makes of anything.
    #[cfg(test)]
    pub fn send_keep(&mut self, keep: crate::proto::Keep, connection: BorrowedFd<'_>) {
        FromWorker::Keep(keep).encode(&mut self.outgoing);
        os::send_packet(self.socket.as_fd(), &self.outgoing, Some(connection)).unwrap();
    }

    /// Tests use it to see what is lost with a worker.
    #[cfg(test)]
    pub fn unreported_refusals(&self) -> usize {
        self.refused.len()
    }

    fn send(&mut self, message: &FromWorker) -> Result<(), Errno> {
        message.encode(&mut self.outgoing);
        os::send_packet(self.socket.as_fd(), &self.outgoing, None)
    }
}

/// A connection has come from a lane that the primary had accepted at that time.
fn note_taken(pulse: Option<&Pulse>, accepted_at: u64) {
    if let Some(pulse) = pulse.filter(|pulse| accepted_at != 0 && pulse.is_observed()) {
        pulse.take_after(os::monotonic_micros().saturating_sub(accepted_at));
    }
}

/// The key as it was kept last time, if it is the same.
fn same_key(kept: &mut Rc<str>, key: &str) -> Rc<str> {
    if **kept != *key {
        *kept = Rc::from(key);
    }
    kept.clone()
}

impl AsFd for WorkerLane {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::{packet_pair, receive_packet_bytes, send_packet};

    struct Rig {
        primary: OwnedFd,
        lane: WorkerLane,
    }

    impl Rig {
        fn new() -> Self {
            let SocketPair { ours, theirs } = packet_pair().unwrap();
            Rig { primary: ours, lane: WorkerLane::new(theirs) }
        }

        fn send(&self, message: &ToLane<'_>, with_handle: bool) {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            // A copy of the lane's own end would keep it open after the primary has gone.
            let handle = with_handle.then(|| packet_pair().unwrap().ours);
            send_packet(self.primary.as_fd(), &bytes, handle.as_ref().map(AsFd::as_fd)).unwrap();
        }

        fn send_connection(&self, seq: u64, key: &str, with_handle: bool) {
            let kind = ConnectionKind::Tcp;
            self.send(&ToLane::Connection { seq: LaneSeq(seq), kind, accepted_at: 0, key }, with_handle);
        }

        fn reported(&self) -> Option<FromWorker> {
            let mut buffer = [0; MAX_LANE_MESSAGE];
            let packet = receive_packet_bytes(self.primary.as_fd(), &mut buffer).ok()?;
            Some(FromWorker::decode(&buffer[..packet.length]).unwrap())
        }
    }

    fn received(lane: &mut WorkerLane) -> Option<(u64, Rc<str>)> {
        match lane.receive().unwrap() {
            Received::Connection(connection) => Some((connection.seq.0, connection.key)),
            Received::Nothing | Received::Ended => None,
        }
    }

    #[test]
    fn connections_come_one_by_one_and_are_reported_together() {
        let mut rig = Rig::new();
        rig.send_connection(1, "a", true);
        rig.send_connection(2, "b", true);
        rig.send_connection(3, "b", true);
        assert_eq!(received(&mut rig.lane), Some((1, "a".into())));
        assert_eq!(received(&mut rig.lane), Some((2, "b".into())));
        rig.lane.refuse(LaneSeq(2));
        assert_eq!(received(&mut rig.lane), Some((3, "b".into())));
        assert_eq!(received(&mut rig.lane), None);
        rig.lane.report().unwrap();
        let report = FromWorker::Report { through: LaneSeq(3), refused: vec![LaneSeq(2)] };
        assert_eq!(rig.reported(), Some(report));
        rig.lane.report().unwrap();
        assert_eq!(rig.reported(), None);
    }

    #[test]
    fn a_connection_without_its_descriptor_is_refused() {
        let mut rig = Rig::new();
        rig.send_connection(1, "a", false);
        rig.send_connection(2, "a", true);
        assert_eq!(received(&mut rig.lane), Some((2, "a".into())));
        rig.lane.report().unwrap();
        let report = FromWorker::Report { through: LaneSeq(2), refused: vec![LaneSeq(1)] };
        assert_eq!(rig.reported(), Some(report));
    }

    #[test]
    fn a_probe_is_reported_and_nothing_else() {
        let mut rig = Rig::new();
        rig.send(&ToLane::Probe(LaneSeq(9)), false);
        assert_eq!(received(&mut rig.lane), None);
        rig.lane.report().unwrap();
        assert_eq!(rig.reported(), Some(FromWorker::Report { through: LaneSeq(9), refused: vec![] }));
    }

    #[test]
    fn a_report_that_could_not_be_sent_is_sent_with_the_next() {
        let mut rig = Rig::new();
        let mut filler = 0;
        while send_packet(rig.lane.as_fd(), &[0; 1024], None).is_ok() {
            filler += 1;
        }
        rig.send_connection(1, "a", true);
        assert!(received(&mut rig.lane).is_some());
        rig.lane.refuse(LaneSeq(1));
        rig.lane.report().unwrap();
        let mut buffer = [0; MAX_LANE_MESSAGE];
        for _ in 0..filler {
            assert_eq!(receive_packet_bytes(rig.primary.as_fd(), &mut buffer).unwrap().length, 1024);
        }
        assert_eq!(rig.reported(), None);
        rig.lane.report().unwrap();
        let report = FromWorker::Report { through: LaneSeq(1), refused: vec![LaneSeq(1)] };
        assert_eq!(rig.reported(), Some(report));
    }

    #[test]
    fn the_end_of_the_primary_is_the_end_of_the_lane() {
        let mut rig = Rig::new();
        rig.send_connection(1, "a", true);
        drop(std::mem::replace(&mut rig.primary, packet_pair().unwrap().ours));
        assert!(received(&mut rig.lane).is_some());
        assert!(matches!(rig.lane.receive(), Ok(Received::Ended)));
        assert!(matches!(rig.lane.report(), Err(Error::Sys { errno: Errno::EPIPE, .. })));
    }

    #[test]
    fn a_primary_that_dies_with_reports_unread_has_left_its_connections() {
        let mut rig = Rig::new();
        for seq in 1..=4 {
            rig.send_connection(seq, "a", true);
        }
        assert_eq!(received(&mut rig.lane), Some((1, "a".into())));
        rig.lane.report().unwrap();
        drop(std::mem::replace(&mut rig.primary, packet_pair().unwrap().ours));
        assert_eq!(received(&mut rig.lane), Some((2, "a".into())));
        // A failed report does not end receiving.
        assert!(matches!(rig.lane.report(), Err(Error::Sys { errno: Errno::EPIPE, .. })));
        assert_eq!(received(&mut rig.lane), Some((3, "a".into())));
        assert_eq!(received(&mut rig.lane), Some((4, "a".into())));
        assert!(matches!(rig.lane.receive(), Ok(Received::Ended)));
    }

    #[test]
    fn what_no_primary_sends_is_an_error() {
        let mut rig = Rig::new();
        send_packet(rig.primary.as_fd(), b"?", None).unwrap();
        assert!(matches!(rig.lane.receive(), Err(Error::BadFrame(_))));
    }
}
