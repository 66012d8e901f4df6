//! A worker's end of its lane. The thread that serves the connections reads it, and receives each connection
//! only just before serving it. The primary can take back what is still in the lane when that thread blocks.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use nix::errno::Errno;

use crate::error::Error;
use crate::os::{self, Ancillary, SocketPair};
use crate::proto::{ConnectionKind, FromWorker, LANE_VERSION, LaneSeq, MAX_LANE_MESSAGE, ToLane};
use crate::pulse::Pulse;

/// The send buffer of each end of the channel, in bytes, as far as the system allows: enough for a large
/// message or two, so that the ends need not alternate for each part of one.
const CHANNEL_BUFFER: usize = 1 << 20;

#[derive(Debug)]
pub struct Connection {
    /// Names the connection for [`WorkerLane::refuse`].
    pub seq: LaneSeq,
    /// The type of `handle`.
    pub kind: ConnectionKind,
    /// The key of the server that the client connected to.
    pub key: Rc<str>,
    /// Close-on-exec and non-blocking.
    pub handle: OwnedFd,
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
                ToLane::Connection { seq, kind, key } => {
                    self.unreported = Some(seq);
                    if let Some(handle) = packet.handle {
                        if *self.key != *key {
                            self.key = Rc::from(key);
                        }
                        let key = self.key.clone();
                        return Ok(Received::Connection(Connection { seq, kind, key, handle }));
                    }
                    self.refused.push(seq);
                }
            }
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
        match &self.pulse {
            Some(pulse) if pulse.poll(now, busy) && !has_more => self.wake(),
            _ => Ok(()),
        }
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
            self.send(&ToLane::Connection { seq: LaneSeq(seq), kind, key }, with_handle);
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
