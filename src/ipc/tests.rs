//! Servers and clients on a real reactor thread; the other end is as a rule this test, which speaks by hand.

#[cfg(target_os = "linux")]
mod memory;

use std::io::{BufRead, BufReader, IoSlice, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::listener::max_undelivered;
use super::refusals::MAX_SINGLE;
use super::{ChannelIds, Command, Event, Ipc, Terms};
use crate::channel::{
    Channel, ChannelCommand, ChannelEvent, DirectRead, Frame, Frames, HandleOrigin, SendStatus, Unfit,
};
use crate::error::Error;
use crate::ids::{ChannelId, Completion, ListenerId};
use crate::os::{self, AbstractNames};
use crate::proto::{self, Serialization};
use crate::reactor::{self, EventSink, Handle};

/// A watchdog for what never comes, not a timing.
const PATIENCE: Duration = Duration::from_secs(20);

const LISTENER: ListenerId = ListenerId(1);
const GREETING: &[u8] = b"{\"corral\":1,\"serialization\":\"json\",\"maxMessage\":1000}\n";

fn terms() -> Terms {
    Terms {
        serialization: Serialization::Json,
        max_message: 1 << 20,
        max_queued: 1 << 20,
        handshake_timeout: PATIENCE,
        asks: false,
    }
}

struct ToTest(Sender<Event>);

/// What a peer sends to make the reactor's thread panic.
const PANIC: &str = "\"panic\"";

impl EventSink<Event> for ToTest {
    fn push(&mut self, event: Event) {
        if let Event::Channel(_, ChannelEvent::Messages(frames @ (Frames::One(..) | Frames::Many(..)))) =
            &event
        {
            assert!(lines(frames) != [PANIC], "a fault of the reactor's, for the test");
        }
        // The test may have ended and dropped its half.
        let _ = self.0.send(event);
    }

    fn flush(&mut self) {}
}

/// Safe whatever the umask.
fn private_directory() -> tempfile::TempDir {
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    tempfile::Builder::new().permissions(permissions).tempdir().unwrap()
}

struct Rig {
    reactor: Handle<Command>,
    ids: ChannelIds,
    events: Receiver<Event>,
    directory: tempfile::TempDir,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.reactor.stop();
    }
}

impl Rig {
    fn new() -> Rig {
        let (sender, events) = unbounded();
        let ipc = Ipc::new(ToTest(sender));
        let ids = ipc.ids();
        let (reactor, _thread) = reactor::spawn("test", ipc).unwrap();
        Rig { reactor, ids, events, directory: private_directory() }
    }

    /// With a listener.
    fn serving(terms: Terms, max_connections: usize) -> Rig {
        let rig = Rig::new();
        let bound = os::listen_named(&rig.path(), AbstractNames::Exact, false, false, 5).unwrap();
        rig.reactor.call(Command::Listen { id: LISTENER, bound, terms, max_connections }).unwrap();
        rig
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    fn connect(&self, path: &Path, terms: Terms) -> ChannelId {
        let id = self.ids.next();
        let abstract_names = AbstractNames::Exact;
        self.reactor.call(Command::Connect { id, name: path.into(), abstract_names, terms }).unwrap();
        id
    }

    /// The next event for which `pick` has an answer; others are passed over.
    fn wait_for<T>(&self, mut pick: impl FnMut(Event) -> Option<T>) -> T {
        loop {
            let event = self.events.recv_timeout(PATIENCE).expect("the event never came");
            if let Some(found) = pick(event) {
                return found;
            }
        }
    }

    fn connected(&self) -> (ChannelId, Arc<Channel>) {
        self.wait_for(|event| match event {
            Event::Connected { id, channel, .. } => Some((id, channel)),
            _ => None,
        })
    }

    fn refused(&self) -> &'static str {
        self.wait_for(|event| match event {
            Event::Refused { listener: LISTENER, refused } => Some(refused.error.code()),
            _ => None,
        })
    }

    fn closed(&self, id: ChannelId) -> Option<Error> {
        self.wait_for(|event| match event {
            Event::Channel(other, ChannelEvent::Closed(cause)) if other == id => Some(cause),
            _ => None,
        })
    }

    fn messages(&self, id: ChannelId, count: usize) -> Vec<String> {
        let mut messages = Vec::new();
        while messages.len() < count {
            messages.extend(self.wait_for(|event| match event {
                Event::Channel(other, ChannelEvent::Messages(frames)) if other == id => Some(lines(&frames)),
                _ => None,
            }));
        }
        messages
    }
}

fn lines(frames: &Frames) -> Vec<String> {
    let (Frames::One(_, bytes) | Frames::Many(_, bytes, _)) = frames else { unreachable!() };
    String::from_utf8_lossy(bytes).trim_end().split('\n').map(str::to_owned).collect()
}

fn text(message: &str) -> Frame {
    Frame::plain(format!("{message}\n").into_bytes())
}

/// The next line that the other end says.
fn line(stream: &mut BufReader<UnixStream>) -> Value {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
}

/// A peer that speaks by hand and has greeted.
fn peer(rig: &Rig) -> (BufReader<UnixStream>, ChannelId, Arc<Channel>) {
    let mut stream = BufReader::new(UnixStream::connect(rig.path()).unwrap());
    stream.get_mut().write_all(GREETING).unwrap();
    assert_eq!(line(&mut stream), json!({"corral": 1, "serialization": "json", "maxMessage": 1 << 20}));
    let (id, channel) = rig.connected();
    (stream, id, channel)
}

#[test]
fn two_programs_have_a_channel() {
    for serialization in [Serialization::Json, Serialization::Advanced] {
        let terms = Terms { serialization, ..terms() };
        let rig = Rig::serving(terms, 5);
        rig.connect(&rig.path(), terms);
        let ends = [rig.connected(), rig.connected()];
        for ((_, sender), (receiver, _)) in [(&ends[0], &ends[1]), (&ends[1], &ends[0])] {
            let frame = match serialization {
                Serialization::Json => text("\"hello\""),
                Serialization::Advanced => Frame::plain(b"\0\0\0\x03\xff\x0f0".to_vec()),
            };
            assert_eq!(sender.send(frame), SendStatus::Written);
            assert_eq!(rig.messages(*receiver, 1).len(), 1);
        }
        let handle = Some((Arc::new(os::socket_pair().unwrap().ours), HandleOrigin::User));
        let bytes = match serialization {
            Serialization::Json => b"{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Native\",\"msg\":1}\n".to_vec(),
            Serialization::Advanced => b"\0\0\0\x15\xff\x0fo\"\x03cmd\"\x0bNODE_HANDLE".to_vec(),
        };
        ends[0].1.send(Frame { bytes, handle, completion: None });
        rig.wait_for(|event| match event {
            Event::Channel(id, ChannelEvent::HandleMessage { .. }) if id == ends[1].0 => Some(()),
            _ => None,
        });
        // Closed when the handle has arrived, not before.
        rig.reactor.call(Command::CloseChannel(ends[0].0)).unwrap();
        assert!(rig.events.try_iter().next().is_none());
        let acknowledgement = proto::encode(serialization, &json!({"cmd": proto::HANDLE_ACK})).unwrap();
        ends[1].1.send(Frame::plain(acknowledgement));
        assert!(rig.closed(ends[0].0).is_none());
        assert!(rig.closed(ends[1].0).is_none());
    }
}

#[test]
fn a_peer_that_does_not_greet_is_told_so() {
    let rig = Rig::serving(terms(), 5);
    for nonsense in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"\n",
        b"{}\n",
        b"{\"corral\":1}\n",
        &[b'{'; 5000],
    ] {
        let mut stream = BufReader::new(UnixStream::connect(rig.path()).unwrap());
        stream.get_mut().write_all(nonsense).unwrap();
        assert_eq!(line(&mut stream), json!({"corral": 1, "refused": "greeting"}), "{nonsense:?}");
        assert_eq!(rig.refused(), "ERR_CORRAL_BAD_HANDSHAKE");
    }
    peer(&rig);
}

#[test]
fn half_a_greeting_and_then_nothing_more() {
    let rig = Rig::serving(terms(), 5);
    let mut stream = UnixStream::connect(rig.path()).unwrap();
    stream.write_all(b"{\"corral\"").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(rig.refused(), "ERR_CORRAL_BAD_HANDSHAKE");
    // One that only looks whether anybody is there is no fault.
    drop(UnixStream::connect(rig.path()).unwrap());
    peer(&rig);
    assert!(rig.events.try_iter().all(|event| !matches!(event, Event::Refused { .. })));
}

#[test]
fn a_greeting_in_pieces_is_one() {
    let rig = Rig::serving(terms(), 5);
    let mut stream = BufReader::new(UnixStream::connect(rig.path()).unwrap());
    let (start, end) = GREETING.split_at(20);
    stream.get_mut().write_all(start).unwrap();
    rig.reactor.call(Command::Channel(ChannelId(0), ChannelCommand::Flush)).unwrap();
    // The rest together with messages.
    stream.get_mut().write_all(&[end, b"1\n2\n"].concat()).unwrap();
    let (id, _) = rig.connected();
    assert_eq!(rig.messages(id, 2), ["1", "2"]);
}

#[test]
fn who_is_refused_again_and_again_is_told_in_bulk_and_every_time_counts() {
    let rig = Rig::serving(terms(), 5);
    for _ in 0..1000 {
        let mut stream = BufReader::new(UnixStream::connect(rig.path()).unwrap());
        stream.get_mut().write_all(b"\n").unwrap();
        assert_eq!(line(&mut stream), json!({"corral": 1, "refused": "greeting"}));
    }
    // The last was answered before it is told.
    rig.reactor.call(Command::Channel(ChannelId(0), ChannelCommand::Flush)).unwrap();
    // From here on they are taken: until then no more are told than may wait.
    let (mut told, mut count) = (0, 0);
    while count < 1000 {
        count += rig.wait_for(|event| match event {
            Event::Refused { refused, .. } => Some(refused.count),
            _ => None,
        });
        told += 1;
    }
    assert_eq!((told, count), (MAX_SINGLE + 1, 1000));
    // One alone is told as ever.
    let mut stream = UnixStream::connect(rig.path()).unwrap();
    stream.write_all(b"\n").unwrap();
    assert_eq!(rig.refused(), "ERR_CORRAL_BAD_HANDSHAKE");
}

#[test]
fn who_comes_and_goes_while_javascript_is_busy_waits_in_the_backlog() {
    let rig = Rig::serving(terms(), usize::MAX);
    let visit = || {
        let mut stream = BufReader::new(UnixStream::connect(rig.path()).unwrap());
        stream.get_mut().write_all(GREETING).unwrap();
        stream
    };
    let most = max_undelivered(os::descriptor_limit());
    for _ in 0..most {
        line(&mut visit());
    }
    let mut late = visit();
    for _ in 0..2 {
        rig.reactor.call(Command::Channel(ChannelId(0), ChannelCommand::Flush)).unwrap();
    }
    late.get_ref().set_nonblocking(true).unwrap();
    assert_eq!(late.get_mut().read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    late.get_ref().set_nonblocking(false).unwrap();
    (0..most).for_each(|_| drop(rig.connected()));
    assert_eq!(line(&mut late)["corral"], 1);
}

#[test]
fn a_name_that_is_in_use_is_given_to_nobody_else_however_many_have_come() {
    let mut ipc = Ipc::new(ToTest(unbounded().0));
    assert_eq!(ipc.next_accepted(), ChannelId(1));
    ipc.asked.insert(ChannelId(1), LISTENER);
    ipc.last_accepted = ipc.ids().next().0 - 1;
    assert_eq!(ipc.next_accepted(), ChannelId(2));
}

#[test]
fn who_takes_too_long_is_told_so() {
    let handshake_timeout = Duration::from_millis(1);
    let rig = Rig::serving(Terms { handshake_timeout, ..terms() }, 5);
    let mut stream = BufReader::new(UnixStream::connect(rig.path()).unwrap());
    assert_eq!(line(&mut stream), json!({"corral": 1, "refused": "timeout"}));
    assert_eq!(rig.refused(), "ERR_CORRAL_HANDSHAKE_TIMEOUT");
    // And a server that says nothing.
    let path = rig.directory.path().join("silent");
    let _listener = UnixListener::bind(&path).unwrap();
    let id = rig.connect(&path, Terms { handshake_timeout, ..terms() });
    assert_eq!(rig.closed(id).unwrap().code(), "ERR_CORRAL_HANDSHAKE_TIMEOUT");
}

#[test]
fn both_ends_hear_why_they_do_not_go_together() {
    let rig = Rig::serving(terms(), 1);
    let advanced = Terms { serialization: Serialization::Advanced, ..terms() };
    let id = rig.connect(&rig.path(), advanced);
    assert_eq!(rig.refused(), "ERR_CORRAL_SERIALIZATION");
    let error = rig.closed(id).unwrap();
    assert_eq!(error.code(), "ERR_CORRAL_SERIALIZATION");
    assert!(error.to_string().contains("json"), "{error}");

    let mut stream = BufReader::new(UnixStream::connect(rig.path()).unwrap());
    stream.get_mut().write_all(b"{\"corral\":7,\"serialization\":\"json\",\"maxMessage\":1}\n").unwrap();
    assert_eq!(line(&mut stream), json!({"corral": 1, "refused": "version"}));
    assert_eq!(rig.refused(), "ERR_CORRAL_VERSION");

    let first = rig.connect(&rig.path(), terms());
    let (_, one) = (rig.connected(), rig.connected());
    let second = rig.connect(&rig.path(), terms());
    assert_eq!(rig.refused(), "ERR_CORRAL_TOO_MANY_CONNECTIONS");
    assert_eq!(rig.closed(second).unwrap().code(), "ERR_CORRAL_TOO_MANY_CONNECTIONS");
    // There is room again.
    rig.reactor.call(Command::Destroy(first)).unwrap();
    rig.closed(if one.0 == first { first } else { one.0 });
    rig.reactor.call(Command::SetMaxConnections(LISTENER, 2)).unwrap();
    rig.connect(&rig.path(), terms());
    rig.connected();
}

#[test]
fn a_server_that_is_none_of_ours_is_an_error_of_the_client() {
    let rig = Rig::new();
    let path = rig.path();
    let id = rig.connect(&path, terms());
    assert_eq!(rig.closed(id).unwrap().code(), "ENOENT");
    let listener = UnixListener::bind(&path).unwrap();
    for answer in [&b"220 mail ready\r\n"[..], b"", b"{\"corral\":1,\"refused\":\"mood\"}\n"] {
        let id = rig.connect(&path, terms());
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(answer).unwrap();
        drop(stream);
        assert_eq!(rig.closed(id).unwrap().code(), "ERR_CORRAL_BAD_HANDSHAKE", "{answer:?}");
    }
    drop(listener);
    let id = rig.connect(&path, terms());
    assert_eq!(rig.closed(id).unwrap().code(), "ECONNREFUSED");
}

#[test]
fn a_full_backlog_is_waited_for() {
    let rig = Rig::new();
    let bound = os::listen_named(&rig.path(), AbstractNames::Exact, false, false, 0).unwrap();
    let ids: Vec<ChannelId> = (0..5).map(|_| rig.connect(&rig.path(), terms())).collect();
    rig.reactor.call(Command::Listen { id: LISTENER, bound, terms: terms(), max_connections: 9 }).unwrap();
    let mut connected = Vec::new();
    while connected.len() < 10 {
        connected.push(rig.connected().0);
    }
    assert!(ids.iter().all(|id| connected.contains(id)));
}

#[test]
fn what_a_peer_sent_before_it_died_arrives_before_the_end() {
    let rig = Rig::serving(terms(), 5);
    let (mut stream, id, _channel) = peer(&rig);
    stream.get_mut().write_all(b"\"last\"\n\"half").unwrap();
    drop(stream);
    let mut seen = Vec::new();
    rig.wait_for(|event| match event {
        Event::Channel(other, ChannelEvent::Messages(frames)) if other == id => {
            seen.extend(lines(&frames));
            None
        }
        Event::Channel(other, ChannelEvent::Closed(None)) if other == id => Some(()),
        _ => None,
    });
    assert_eq!(seen, ["\"last\""]);
}

#[test]
fn a_message_beyond_the_limit_ends_its_channel_and_no_other() {
    let rig = Rig::serving(terms(), 5);
    let (_good, other, _) = peer(&rig);
    let (mut stream, id, channel) = peer(&rig);
    // What the peer has said that it takes.
    assert_eq!(channel.takes(1001), Err(Unfit::TooLarge));
    assert_eq!(channel.takes(1000), Ok(()));
    let writer = std::thread::spawn(move || {
        // It fails once the channel is closed.
        let _ = stream.get_mut().write_all(&vec![b'x'; 2 << 20]);
    });
    assert!(matches!(rig.closed(id), Some(Error::FrameTooLarge { limit: 1_048_576 })));
    // The last share of the socket.
    drop(channel);
    writer.join().unwrap();
    rig.reactor.call(Command::Channel(other, ChannelCommand::Flush)).unwrap();
    assert!(rig.events.try_iter().next().is_none());
}

#[test]
fn who_does_not_read_fills_a_bounded_queue() {
    let rig = Rig::serving(terms(), 5);
    let (mut stream, id, channel) = peer(&rig);
    let message = format!("\"{}\"\n", "x".repeat(900));
    let mut sent = 0;
    let mut completion = 0;
    while channel.takes(message.len()).is_ok() {
        completion += 1;
        if let SendStatus::Queued { needs_flush: true, .. } =
            channel.send_lent(message.as_bytes(), Completion(completion))
        {
            rig.reactor.call(Command::Channel(id, ChannelCommand::Flush)).unwrap();
        }
        sent += 1;
        assert!(sent < 10_000, "no bound");
    }
    assert_eq!(channel.takes(message.len()), Err(Unfit::QueueFull));
    let mut received = 0;
    let mut line = String::new();
    while received < sent {
        line.clear();
        stream.read_line(&mut line).unwrap();
        assert_eq!(line, message);
        received += 1;
    }
    rig.reactor.call(Command::Channel(id, ChannelCommand::Flush)).unwrap();
    assert_eq!(channel.takes(message.len()), Ok(()));
}

#[test]
fn what_waits_is_written_before_a_channel_closes_and_not_before_it_is_destroyed() {
    for (close, arrives) in
        [(Command::CloseChannel as fn(ChannelId) -> Command, true), (Command::Destroy, false)]
    {
        let rig = Rig::serving(terms(), 5);
        let (mut stream, id, channel) = peer(&rig);
        let message = vec![b'x'; 4 << 20];
        channel.send(Frame { bytes: message.clone(), handle: None, completion: Some(Completion(3)) });
        rig.reactor.call(close(id)).unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        assert_eq!(received.len() == message.len(), arrives);
        assert!(rig.closed(id).is_none());
        assert_eq!(channel.send(text("1")), SendStatus::Closed);
    }
}

#[test]
fn callbacks_of_what_waits_are_told_when_the_reactor_fails() {
    let rig = Rig::serving(terms(), 5);
    let (mut stream, id, channel) = peer(&rig);
    // One that has come and not greeted, and one whose server says nothing.
    let _guest = UnixStream::connect(rig.path()).unwrap();
    let silent = rig.directory.path().join("silent");
    let _listener = UnixListener::bind(&silent).unwrap();
    let client = rig.connect(&silent, terms());
    for completion in [1, 2] {
        let bytes = vec![b'x'; 4 << 20];
        channel.send(Frame { bytes, handle: None, completion: Some(Completion(completion)) });
    }
    stream.get_mut().write_all(format!("{PANIC}\n").as_bytes()).unwrap();
    // The last event of a channel is its end, and the thread lets go of the sender when it ends.
    let (mut seen, mut unwritten) = (Vec::new(), Vec::new());
    while let Ok(event) = rig.events.recv_timeout(PATIENCE) {
        match event {
            Event::Channel(other, ChannelEvent::Unwritten(unsent)) => {
                assert_eq!((other, seen.contains(&id)), (id, false));
                unwritten.push(unsent.completion);
            }
            Event::Channel(other, ChannelEvent::Closed(None)) => seen.push(other),
            _ => {}
        }
    }
    assert_eq!(unwritten, [Completion(1), Completion(2)]);
    seen.sort();
    let mut expected = [id, client];
    expected.sort();
    assert_eq!(seen, expected);
}

#[test]
fn a_paused_channel_is_not_read_until_it_is_resumed() {
    let rig = Rig::serving(terms(), 5);
    let (mut stream, id, _channel) = peer(&rig);
    rig.reactor.call(Command::Pause(id)).unwrap();
    stream.get_mut().write_all(b"1\n").unwrap();
    drop(stream);
    let (_other, _, _) = peer(&rig);
    assert!(rig.events.try_iter().next().is_none());
    rig.reactor.call(Command::Unpause(id)).unwrap();
    assert_eq!(rig.messages(id, 1), ["1"]);
    assert!(rig.closed(id).is_none());
}

#[test]
fn a_handle_frame_without_its_descriptor_is_answered_with_nack() {
    let rig = Rig::serving(terms(), 5);
    let (mut stream, _, _channel) = peer(&rig);
    let frame = b"{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Native\",\"msg\":1}\n";
    stream.get_mut().write_all(frame).unwrap();
    assert_eq!(line(&mut stream), json!({"cmd": "NODE_HANDLE_NACK"}));
    let gift = os::socket_pair().unwrap();
    os::send(stream.get_ref().as_fd(), &[IoSlice::new(frame)], Some(gift.ours.as_fd())).unwrap();
    rig.wait_for(|event| {
        matches!(event, Event::Channel(_, ChannelEvent::HandleMessage { .. })).then_some(())
    });
}

#[test]
fn who_announces_handles_and_does_not_read_the_answers_is_sent_away() {
    let rig = Rig::serving(terms(), 5);
    let (mut stream, id, channel) = peer(&rig);
    let frames = b"{\"cmd\":\"NODE_HANDLE\"}\n".repeat(1000);
    let writer = std::thread::spawn(move || {
        // It fails once the channel is closed.
        let _ = (0..100).try_for_each(|_| stream.get_mut().write_all(&frames));
    });
    let error = rig.closed(id);
    let error = error.expect("the peer went by itself");
    assert_eq!(error.code(), "ERR_CORRAL_BAD_FRAME");
    assert!(error.to_string().contains("answers not read"), "{error}");
    drop(channel);
    writer.join().unwrap();
}

#[test]
fn who_reads_the_answers_may_lose_handles_for_ever() {
    let rig = Rig::serving(terms(), 5);
    let (mut stream, id, _channel) = peer(&rig);
    let frames = b"{\"cmd\":\"NODE_HANDLE\"}\n".repeat(100);
    for _ in 0..100 {
        stream.get_mut().write_all(&frames).unwrap();
        for _ in 0..100 {
            assert_eq!(line(&mut stream), json!({"cmd": "NODE_HANDLE_NACK"}));
        }
    }
    stream.get_mut().write_all(b"1\n").unwrap();
    assert_eq!(rig.messages(id, 1), ["1"]);
}

#[test]
fn a_closed_listener_sends_guests_away_and_keeps_its_channels() {
    let rig = Rig::serving(terms(), 5);
    let mut guest = UnixStream::connect(rig.path()).unwrap();
    let (mut stream, id, _channel) = peer(&rig);
    rig.reactor.call(Command::CloseListener(LISTENER)).unwrap();
    assert!(!rig.path().exists());
    assert_eq!(guest.read(&mut [0]).unwrap(), 0);
    stream.get_mut().write_all(b"\"still\"\n").unwrap();
    assert_eq!(rig.messages(id, 1), ["\"still\""]);
}

/// Makes the reactor offer a channel, and accepts.
fn lend(rig: &Rig, stream: &mut BufReader<UnixStream>, id: ChannelId, channel: &Channel) {
    stream.get_mut().write_all(b"\"lend\"\n").unwrap();
    let offer = rig.wait_for(|event| match event {
        Event::Channel(other, ChannelEvent::Offered(offer)) if other == id => Some(offer),
        _ => None,
    });
    assert!(channel.accept(offer));
}

fn read_directly(channel: &Channel) -> (Vec<String>, DirectRead) {
    let mut read = Vec::new();
    let outcome = channel.read_directly(usize::MAX, |frames| read.extend(lines(&frames)));
    (read, outcome)
}

#[test]
fn a_channel_of_messages_is_read_directly_until_something_else_happens() {
    let rig = Rig::serving(terms(), 5);
    let (mut stream, id, channel) = peer(&rig);
    lend(&rig, &mut stream, id, &channel);
    stream.get_mut().write_all(b"1\n").unwrap();
    assert_eq!(read_directly(&channel), (vec!["1".into()], DirectRead::Delivered));
    // What is paused is read by nobody, and by the reactor afterwards.
    rig.reactor.call(Command::Pause(id)).unwrap();
    stream.get_mut().write_all(b"2\n").unwrap();
    assert_eq!(read_directly(&channel), (vec![], DirectRead::NotHere));
    rig.reactor.call(Command::Unpause(id)).unwrap();
    assert_eq!(rig.messages(id, 1), ["2"]);
    // What must be written first is told before its answer.
    lend(&rig, &mut stream, id, &channel);
    let frame = Frame { bytes: vec![b'x'; 4 << 20], handle: None, completion: Some(Completion(1)) };
    channel.send(frame);
    rig.reactor.call(Command::Channel(id, ChannelCommand::Flush)).unwrap();
    assert_eq!(read_directly(&channel), (vec![], DirectRead::NotHere));
}

#[test]
fn the_end_of_a_lent_channel_is_told_behind_its_messages() {
    let rig = Rig::serving(terms(), 5);
    let (mut stream, id, channel) = peer(&rig);
    lend(&rig, &mut stream, id, &channel);
    stream.get_mut().write_all(b"\"last\"\n").unwrap();
    drop(stream);
    assert_eq!(rig.messages(id, 1), ["\"last\""]);
    assert!(rig.closed(id).is_none());
    assert_eq!(read_directly(&channel), (vec![], DirectRead::NotHere));
}

#[test]
fn a_lent_channel_is_taken_back_when_javascript_is_busy() {
    let rig = Rig::serving(terms(), 5);
    let (mut stream, id, channel) = peer(&rig);
    lend(&rig, &mut stream, id, &channel);
    stream.get_mut().write_all(b"\"unread\"\n").unwrap();
    assert_eq!(rig.messages(id, 1), ["\"unread\""]);
    lend(&rig, &mut stream, id, &channel);
    rig.reactor.call(Command::Destroy(id)).unwrap();
    assert_eq!(read_directly(&channel), (vec![], DirectRead::NotHere));
}

/// What a hostile peer may do with its connection.
#[derive(Clone, Debug)]
enum Act {
    Bytes(Vec<u8>),
    Greeting,
    Frame(&'static [u8]),
    Handle,
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => prop::collection::vec(any::<u8>(), 0..300).prop_map(Act::Bytes),
        3 => Just(Act::Greeting),
        1 => Just(Act::Handle),
        4 => prop_oneof![
            Just(Act::Frame(b"{\"cmd\":\"NODE_HANDLE_ACK\"}\n")),
            Just(Act::Frame(b"{\"cmd\":\"NODE_HANDLE_NACK\"}\n")),
            Just(Act::Frame(b"{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Native\"}\n")),
            Just(Act::Frame(b"{\"cmd\":\"NODE_CLUSTER\",\"act\":\"newconn\"}\n")),
            Just(Act::Frame(b"1\n")),
            Just(Act::Frame(b"\n")),
        ],
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn whatever_a_peer_does_others_are_served(
        peers in prop::collection::vec(prop::collection::vec(any_act(), 0..12), 1..4),
    ) {
        let rig = Rig::serving(terms(), 50);
        let (mut good, good_id, _channel) = peer(&rig);
        let gift = os::socket_pair().unwrap();
        for acts in peers {
            let mut stream = UnixStream::connect(rig.path()).unwrap();
            for act in acts {
                // The channel may have been closed in the middle of it.
                let _ = match act {
                    Act::Bytes(bytes) => stream.write_all(&bytes),
                    Act::Greeting => stream.write_all(GREETING),
                    Act::Frame(frame) => stream.write_all(frame),
                    Act::Handle => {
                        let parts = [IoSlice::new(b"{\"cmd\":\"NODE_HANDLE\",\"type\":\"x\"}\n")];
                        os::send(stream.as_fd(), &parts, Some(gift.ours.as_fd())).map(drop).map_err(Into::into)
                    }
                };
            }
        }
        good.get_mut().write_all(b"\"served\"\n").unwrap();
        prop_assert_eq!(rig.messages(good_id, 1), ["\"served\""]);
    }
}
