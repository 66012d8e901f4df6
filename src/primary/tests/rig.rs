//! A primary on a real reactor thread, with workers that are this test: they speak Node's protocol by hand.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use nix::poll::{PollFd, PollFlags, poll};
use serde_json::{Value, json};

use super::super::{Command, Config, Event, Primary, Stats};
use crate::channel::{self, Channel, ChannelCommand};
use crate::ids::WorkerId;
use crate::os::{self, Ancillary, SocketPair};
use crate::proto::{CHANNEL_MOVE, Decoder, LaneSeq, Serialization};
use crate::pulse::SharedClaim;
use crate::reactor::{self, EventSink, Handle};
use crate::worker::{Connection, Received, WorkerLane};

/// A watchdog for what never comes, not a timing.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Hands over the events of a turn together, as the binding does.
struct ChannelSink {
    gathered: Vec<Event>,
    sender: Sender<Event>,
}

impl EventSink<Event> for ChannelSink {
    fn push(&mut self, event: Event) {
        self.gathered.push(event);
    }

    fn flush(&mut self) {
        for event in self.gathered.drain(..) {
            // The test may have ended and dropped its half.
            let _ = self.sender.send(event);
        }
    }
}

/// The number of no process.
pub const NOBODY: u32 = u32::MAX;

pub struct Rig {
    pub reactor: Handle<Command>,
    pub stats: Arc<Stats>,
    /// The name of the reactor's thread, which no other has in this process.
    pub thread: String,
    events: Receiver<Event>,
    next_id: u32,
}

impl Rig {
    pub fn new(config: Config) -> Rig {
        let (sender, events) = unbounded();
        let primary = Primary::new(ChannelSink { gathered: Vec::new(), sender });
        let stats = primary.stats();
        static RIGS: AtomicU32 = AtomicU32::new(0);
        let thread = format!("rig {}", RIGS.fetch_add(1, Ordering::Relaxed));
        let (reactor, _thread) = reactor::spawn(&thread, primary).unwrap();
        reactor.call(Command::Configure(config)).unwrap();
        Rig { reactor, stats, thread, events, next_id: 0 }
    }

    pub fn fork(&mut self, serialization: Serialization) -> FakeWorker {
        self.spawn(serialization, Err("none in this test".into()), None)
    }

    /// A worker whose process has that number, and that has no lane.
    pub fn fork_process(&mut self, pid: u32) -> FakeWorker {
        self.spawn(Serialization::Json, Err("none in this test".into()), Some(pid))
    }

    /// A worker that reads its lane.
    pub fn fork_with_lane(&mut self) -> FakeWorker {
        let mut worker = self.fork_with_silent_lane();
        worker.announce();
        worker
    }

    /// A worker that reads its lane and has a pulse. The kernel does not tell whether it waits: it is idle when it has received
    /// what it was sent.
    pub fn fork_with_pulse(&mut self) -> FakeWorker {
        let mut worker = self.fork_with_lane();
        self.introduce(&mut worker, NOBODY, 0);
        worker
    }

    /// A worker that reads its lane and has a pulse, and whose main thread the kernel shows.
    #[cfg(target_os = "linux")]
    pub fn fork_with_body(&mut self, body: &Body) -> FakeWorker {
        let mut worker = self.fork_lane(Some(body.id));
        worker.announce();
        self.introduce(&mut worker, body.id, body.poller);
        worker
    }

    /// The worker has its page, and says whose it is.
    pub fn introduce(&mut self, worker: &mut FakeWorker, pid: u32, poller: i32) {
        while !worker.lane().can_introduce() {
            worker.wait_on_lane();
            assert!(worker.look_on_lane().is_none());
        }
        worker.lane().introduce(pid, poller).unwrap();
        worker.poll();
        // The primary has read that it has.
        wait_until(|| os::unread_by_peer(worker.lane.as_ref().unwrap().as_fd()) == 0);
        self.settle();
    }

    /// A worker that has a lane and has not said anything on it.
    pub fn fork_with_silent_lane(&mut self) -> FakeWorker {
        self.fork_lane(None)
    }

    fn fork_lane(&mut self, pid: Option<u32>) -> FakeWorker {
        let ends = os::packet_pair().unwrap();
        // What a process inherits is a second descriptor of the same socket.
        let inherited = ends.theirs.try_clone().unwrap();
        let mut worker = self.spawn(Serialization::Json, Ok(ends), pid);
        worker.lane = Some(WorkerLane::new(inherited));
        worker
    }

    fn spawn(
        &mut self,
        serialization: Serialization,
        lane: Result<SocketPair, Cow<'static, str>>,
        pid: Option<u32>,
    ) -> FakeWorker {
        self.next_id += 1;
        let id = WorkerId(self.next_id);
        let (channel, socket) = channel::pair(serialization).unwrap();
        let channel = Arc::new(channel);
        let command = Command::AddWorker { id, channel: channel.clone(), lane, pid };
        self.reactor.call(command).unwrap();
        FakeWorker {
            id,
            channel,
            socket,
            decoder: Decoder::new(serialization, 16 << 20),
            ancillary: Ancillary::default(),
            handles: VecDeque::new(),
            serialization,
            next_seq: 100,
            lane: None,
            unclaimed: None,
            first_socket: None,
        }
    }

    /// The next event for which `pick` has an answer; others are passed over.
    pub fn wait_for<T>(&self, mut pick: impl FnMut(Event) -> Option<T>) -> T {
        loop {
            let event = self.events.recv_timeout(PATIENCE).expect("the event never came");
            if let Some(found) = pick(event) {
                return found;
            }
        }
    }

    /// Everything told so far.
    pub fn events(&self) -> Vec<Event> {
        self.settle();
        self.events.try_iter().collect()
    }

    /// Waits until the reactor has handled what was sent to it.
    pub fn settle(&self) {
        // Commands are handled in order, readiness of earlier writes with or before them.
        for _ in 0..2 {
            self.reactor.call(Command::Channel(WorkerId(0), ChannelCommand::Flush)).unwrap();
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.reactor.stop();
    }
}

/// A connection that a worker was offered.
pub struct Offer {
    pub seq: u64,
    pub fd: OwnedFd,
}

impl Offer {
    /// The client's port: which of the test's clients this is.
    pub fn client(&self) -> u16 {
        let socket = socket2::SockRef::from(&self.fd);
        socket.peer_addr().unwrap().as_socket().unwrap().port()
    }
}

pub struct FakeWorker {
    pub id: WorkerId,
    pub channel: Arc<Channel>,
    pub socket: OwnedFd,
    decoder: Decoder,
    ancillary: Ancillary,
    handles: VecDeque<OwnedFd>,
    serialization: Serialization,
    next_seq: u64,
    pub lane: Option<WorkerLane>,
    /// What it has received from the shared lane and not claimed.
    unclaimed: Option<LaneSeq>,
    /// The socket that the channel began with, once it has moved.
    first_socket: Option<OwnedFd>,
}

impl FakeWorker {
    /// Reads its lane from now on, and moves its channel.
    pub fn announce(&mut self) {
        let second = self.lane().announce().unwrap();
        let farewell = self.receive_frame().expect("the primary closed the channel");
        assert_eq!(farewell["cmd"], CHANNEL_MOVE);
        self.send(&farewell);
        self.first_socket = Some(std::mem::replace(&mut self.socket, second));
    }

    pub fn send(&mut self, message: &Value) {
        let bytes = crate::proto::encode(self.serialization, message).unwrap();
        self.send_raw(&bytes);
    }

    pub fn send_raw(&mut self, bytes: &[u8]) {
        assert_eq!(os::send(self.socket.as_fd(), &[IoSlice::new(bytes)], None), Ok(bytes.len()));
    }

    pub fn act(&mut self, act: &str, mut fields: Value) -> u64 {
        self.next_seq += 1;
        let message = fields.as_object_mut().unwrap();
        let mut whole = json!({"cmd": "NODE_CLUSTER", "act": act});
        whole.as_object_mut().unwrap().append(message);
        whole["seq"] = self.next_seq.into();
        self.send(&whole);
        self.next_seq
    }

    /// Asks for a server and returns the primary's reply, and the socket that came with it.
    pub fn query(&mut self, fields: Value) -> (Value, Option<OwnedFd>) {
        let seq = self.act("queryServer", fields);
        let (reply, handle) = self.receive();
        assert_eq!(reply["ack"], seq);
        (reply, handle)
    }

    /// Listens on 127.0.0.1 with a port of the kernel's choice, shared by all who ask; returns the port.
    pub fn listen(&mut self) -> u16 {
        let (reply, _) = self.query(tcp(0));
        reply["sockname"]["port"].as_u64().unwrap() as u16
    }

    /// The next message; one with a handle is acknowledged and unwrapped.
    pub fn receive(&mut self) -> (Value, Option<OwnedFd>) {
        let frame = self.receive_frame().expect("the primary closed the channel");
        if frame["cmd"] != "NODE_HANDLE" {
            return (frame, None);
        }
        let handle = self.handles.pop_front();
        self.send(&json!({"cmd": if handle.is_some() { "NODE_HANDLE_ACK" } else { "NODE_HANDLE_NACK" }}));
        (frame["msg"].clone(), handle)
    }

    /// As `receive`, but claims that the handle did not arrive.
    pub fn lose_handle(&mut self) -> Value {
        let frame = self.receive_frame().expect("the primary closed the channel");
        assert!(self.handles.pop_front().is_some());
        self.send(&json!({"cmd": "NODE_HANDLE_NACK"}));
        frame["msg"].clone()
    }

    pub fn offer(&mut self) -> Offer {
        let (message, fd) = self.receive();
        assert_eq!(message["act"], "newconn", "{message}");
        Offer { seq: message["seq"].as_u64().unwrap(), fd: fd.unwrap() }
    }

    pub fn decide(&mut self, offer: &Offer, accepted: bool) {
        self.next_seq += 1;
        let seq = self.next_seq;
        self.send(&json!({"cmd": "NODE_CLUSTER", "ack": offer.seq, "accepted": accepted, "seq": seq}));
    }

    /// Takes a connection and answers with the worker's id, so that the client knows who has it.
    pub fn serve(&mut self) -> u16 {
        let offer = self.offer();
        self.decide(&offer, true);
        let stream = std::net::TcpStream::from(offer.fd);
        stream.set_nonblocking(false).unwrap();
        std::io::Write::write_all(&mut &stream, &[self.id.0 as u8]).unwrap();
        stream.peer_addr().unwrap().port()
    }

    /// Somebody else who has the worker's end of its channel, and of its lane.
    pub fn heirs(&self) -> Vec<OwnedFd> {
        let ends = [Some(self.socket.as_fd()), self.lane.as_ref().map(AsFd::as_fd)];
        ends.into_iter().flatten().map(|end| end.try_clone_to_owned().unwrap()).collect()
    }

    pub fn lane(&mut self) -> &mut WorkerLane {
        self.lane.as_mut().unwrap()
    }

    /// Its event loop, of which nobody knows how busy it was, begins to wait.
    pub fn poll(&mut self) {
        let now = os::monotonic_micros() * 1000;
        self.lane().poll(now, 0, false).unwrap();
    }

    /// Waits for a connection on the lane and receives it; it is served when dropped, and reported when told to.
    pub fn receive_on_lane(&mut self) -> Connection {
        loop {
            if let Some(connection) = self.look_on_lane() {
                return connection;
            }
            self.wait_on_lane();
        }
    }

    pub fn wait_on_lane(&mut self) {
        assert!(readable(self.lane().as_fd(), PATIENCE), "nothing came on the lane");
    }

    /// A connection, if one is there.
    pub fn look_on_lane(&mut self) -> Option<Connection> {
        match self.lane().receive().unwrap() {
            Received::Connection(connection) => Some(connection),
            Received::Nothing => None,
            Received::Ended => panic!("the primary closed the lane"),
        }
    }

    /// A connection that waits on the shared lane, if one does. It is claimed with the next call of this, or of
    /// [`FakeWorker::claim`].
    pub fn look_on_shared(&mut self) -> Option<Connection> {
        self.claim(false);
        if self.lane().has_offer() {
            self.lane().accept_offer();
        }
        match self.lane().receive_shared().unwrap() {
            Received::Connection(connection) => {
                self.unclaimed = Some(connection.seq);
                Some(connection)
            }
            Received::Nothing | Received::Ended => None,
        }
    }

    /// Says what became of the last connection of the shared lane.
    pub fn claim(&mut self, is_refused: bool) {
        if let Some(seq) = self.unclaimed.take() {
            self.lane().claim_shared(SharedClaim { seq, is_refused }).unwrap();
        }
    }

    /// A connection that is on its own lane, or on the shared one.
    pub fn look(&mut self) -> Option<Connection> {
        self.look_on_lane().or_else(|| self.look_on_shared())
    }

    /// Its event loop has turned, with nothing left to do.
    pub fn turn(&mut self) {
        self.claim(false);
        self.lane().report().unwrap();
        self.poll();
    }

    /// Waits for a connection on either lane, takes it and answers with the worker's id; returns the client's port.
    pub fn serve_either(&mut self) -> u16 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.look();
            self.turn();
            if let Some(connection) = found {
                return self.answer(connection);
            }
            assert!(Instant::now() < deadline, "nothing came");
            std::thread::yield_now();
        }
    }

    /// Receives a connection on the lane as an event loop does, reports it and answers with the worker's id; returns the client's port.
    pub fn serve_on_lane(&mut self) -> u16 {
        let connection = loop {
            let found = self.look_on_lane();
            self.lane().report().unwrap();
            match found {
                Some(connection) => break connection,
                None => self.wait_on_lane(),
            }
        };
        self.answer(connection)
    }

    /// Answers with the worker's id.
    pub fn answer(&self, connection: Connection) -> u16 {
        let stream = std::net::TcpStream::from(connection.handle);
        stream.set_nonblocking(false).unwrap();
        std::io::Write::write_all(&mut &stream, &[self.id.0 as u8]).unwrap();
        stream.peer_addr().unwrap().port()
    }

    /// None at the end of the channel.
    pub fn receive_frame(&mut self) -> Option<Value> {
        loop {
            if let Some(frame) = self.decoder.next_frame().unwrap() {
                return Some(match self.serialization {
                    Serialization::Json => serde_json::from_slice(&frame).unwrap(),
                    Serialization::Advanced => crate::proto::testing::from_v8(&frame),
                });
            }
            assert!(self.readable(PATIENCE), "no message came");
            let buffer = self.decoder.buffer();
            let received = os::receive(self.socket.as_fd(), buffer, &mut self.ancillary).unwrap();
            if received.bytes == 0 {
                return None;
            }
            self.handles.extend(received.handles);
        }
    }

    /// Whether anything is there to be read now.
    pub fn has_mail(&self) -> bool {
        self.readable(Duration::ZERO)
    }

    fn readable(&self, wait: Duration) -> bool {
        readable(self.socket.as_fd(), wait)
    }
}

/// Waits for what nobody tells.
pub fn wait_until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "it never came true");
        std::thread::yield_now();
    }
}

fn readable(socket: BorrowedFd<'_>, wait: Duration) -> bool {
    let mut fds = [PollFd::new(socket, PollFlags::POLLIN)];
    poll(&mut fds, wait.as_millis() as u16).unwrap() > 0
}

/// The fields of a query for a TCP port on 127.0.0.1.
pub fn tcp(port: u16) -> Value {
    json!({"index": 0, "data": null, "address": "127.0.0.1", "port": port, "addressType": 4, "flags": 0})
}

/// A thread in the place of a worker's main thread, as the kernel shows it: it waits for events, or is blocked.
#[cfg(target_os = "linux")]
pub struct Body {
    /// As the number of a process.
    pub id: u32,
    /// The number of its epoll instance.
    pub poller: i32,
    waker: mio::Waker,
    /// Each makes it block until the next one, and then wait for events again; it ends with the sender.
    turns: Sender<()>,
    blocked: Receiver<()>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[cfg(target_os = "linux")]
impl Body {
    /// It waits for events when this returns.
    pub fn new() -> Body {
        use std::os::fd::AsRawFd;
        let mut poll = mio::Poll::new().unwrap();
        let poller = poll.as_raw_fd();
        let waker = mio::Waker::new(poll.registry(), mio::Token(0)).unwrap();
        let (turns, turn) = unbounded();
        let (tell_blocked, blocked) = unbounded();
        let (tell_id, id) = unbounded();
        let thread = std::thread::spawn(move || {
            let own = std::fs::read_link("/proc/thread-self").unwrap();
            let number = own.file_name().unwrap().to_str().unwrap().parse::<u32>().unwrap();
            tell_id.send(number).unwrap();
            let mut events = mio::Events::with_capacity(1);
            loop {
                // It is woken again if that was for nothing.
                let _ = poll.poll(&mut events, None);
                if turn.recv().is_err() {
                    return;
                }
                tell_blocked.send(()).unwrap();
                if turn.recv().is_err() {
                    return;
                }
            }
        });
        let id = id.recv().unwrap();
        let body = Body { id, poller, waker, turns, blocked, thread: Some(thread) };
        body.await_waiting();
        body
    }

    /// It is blocked when this returns.
    pub fn block(&self) {
        self.turns.send(()).unwrap();
        self.waker.wake().unwrap();
        self.blocked.recv().unwrap();
    }

    /// It waits for events when this returns.
    pub fn unblock(&self) {
        self.turns.send(()).unwrap();
        self.await_waiting();
    }

    fn await_waiting(&self) {
        let event_loop = os::EventLoop::of(self.id, os::Poller::Numbered(self.poller)).unwrap();
        wait_until(|| event_loop.is_waiting());
    }
}

#[cfg(target_os = "linux")]
impl Drop for Body {
    fn drop(&mut self) {
        self.turns = unbounded().0;
        self.waker.wake().unwrap();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}
