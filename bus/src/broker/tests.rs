//! The broker over its connections, as a peer sees it that speaks the protocol, well or badly.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use super::*;
use crate::protocol::fields::{Reader, Writer};
use crate::protocol::{PREFIX, VERSION, next_frame};
use crate::store::memory::MemoryStore;

struct Peer {
    stream: UnixStream,
    input: Vec<u8>,
}

impl Peer {
    fn new(broker: &Broker) -> Peer {
        let stream = UnixStream::from(broker.connect().unwrap());
        stream.set_nonblocking(false).unwrap();
        Peer { stream, input: Vec::new() }
    }

    fn greeted(broker: &Broker, client: u8) -> Peer {
        let mut peer = Peer::new(broker);
        peer.write(&frame(1, 0, |to| {
            to.u32(VERSION).raw(&[client; 16]).u8(0).u32(0);
        }));
        assert_eq!(peer.reply().0, 101);
        peer
    }

    fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// The next reply.
    fn frame(&mut self) -> Vec<u8> {
        loop {
            if let Some(frame) = next_frame(&self.input).unwrap().map(<[u8]>::to_vec) {
                self.input.drain(..PREFIX + frame.len());
                return frame;
            }
            let mut chunk = vec![0; 64 << 10];
            let count = self.stream.read(&mut chunk).unwrap();
            assert!(count > 0, "the connection has ended");
            self.input.extend_from_slice(&chunk[..count]);
        }
    }

    /// The kind of the next reply, and its number.
    fn reply(&mut self) -> (u8, u64) {
        let frame = self.frame();
        let mut from = Reader::new(&frame);
        (from.u8().unwrap(), from.u64().unwrap())
    }

    fn has_ended(&mut self) -> bool {
        loop {
            match self.stream.read(&mut [0; 4096]) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() == ErrorKind::ConnectionReset,
            }
        }
    }
}

fn frame(kind: u8, sequence: u64, fields: impl Fn(&mut Writer<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes, kind, sequence);
    fields(&mut writer);
    writer.end();
    bytes
}

fn send(sequence: u64, body: &[u8]) -> Vec<u8> {
    frame(3, sequence, |to| {
        to.u8(0).text("q").u8(0).u64(0).u64(u64::MAX).text("").text("").u64(0).bytes(body);
    })
}

fn peek(sequence: u64) -> Vec<u8> {
    frame(11, sequence, |to| {
        to.u8(0).text("q").u32(1);
    })
}

/// How many bytes this process has in memory; nothing where that is not known.
fn memory() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

fn broker() -> Broker {
    Broker::start(Box::new(|| Ok(Box::new(MemoryStore::new()) as Box<dyn Store>))).unwrap()
}

#[test]
fn a_client_that_does_not_read_holds_up_nobody_and_gets_everything() {
    const COUNT: u64 = 64;
    let broker = broker();
    let mut lazy = Peer::greeted(&broker, 1);
    lazy.write(&send(1, &vec![b'x'; 1 << 20]));
    assert_eq!(lazy.reply(), (102, 1));
    // More than what is kept for it.
    for sequence in 2..2 + COUNT {
        lazy.write(&peek(sequence));
    }
    let mut other = Peer::greeted(&broker, 2);
    other.write(&peek(1));
    assert_eq!(other.reply(), (105, 1));
    for sequence in 2..2 + COUNT {
        assert_eq!(lazy.reply(), (105, sequence));
    }
}

#[test]
fn garbage_is_a_fault_and_never_a_panic() {
    let broker = broker();
    // What is right, changed in one place after the other, and cut off.
    let hello = frame(1, 0, |to| {
        to.u32(VERSION).raw(&[3; 16]).u8(0).u32(1).u64(1).u32(1);
    });
    let transaction = frame(7, 2, |to| {
        to.u32(2).u8(3).u8(0).text("q").u8(0).u64(0).u64(0).text("g").text("id").u64(1).bytes(b"body");
        to.u8(5).u8(0).text("q").u64(1).u32(1).u64(0).u8(1).text("error");
    });
    let whole = [hello, send(1, b"body"), transaction, peek(3)].concat();
    for at in 0..whole.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            let mut peer = Peer::new(&broker);
            peer.write(&bytes);
            peer.stream.shutdown(std::net::Shutdown::Write).unwrap();
            assert!(peer.has_ended());
        }
    }
    assert!(broker.is_serving());
    Peer::greeted(&broker, 4);
}

/// What was asked for in one piece was answered in one piece, of any length.
#[test]
fn a_peer_that_asks_for_much_and_reads_nothing_costs_little() {
    let broker = broker();
    let mut sender = Peer::greeted(&broker, 1);
    sender.write(&send(1, &vec![7; 3 << 20]));
    assert_eq!(sender.reply().0, 102);
    let mut peer = Peer::greeted(&broker, 2);
    let before = memory();
    let asked: Vec<u8> = (1..=200).flat_map(peek).collect();
    peer.write(&asked);
    // All of it was read before this is answered.
    sender.write(&send(2, b"x"));
    assert_eq!(sender.reply(), (102, 2));
    // Other tests of this process give back what they had meanwhile.
    let grown = memory().saturating_sub(before);
    assert!(grown < 400 << 20, "{grown} bytes more");
    for sequence in 1..=200 {
        assert_eq!(peer.reply(), (105, sequence));
    }
}

#[test]
fn a_broker_whose_store_does_not_open_says_so_to_everybody() {
    let broker = Broker::start(Box::new(|| Err(Fault::format("of another program")))).unwrap();
    for client in 0..2 {
        let mut peer = Peer::new(&broker);
        peer.write(&frame(1, 0, |to| {
            to.u32(VERSION).raw(&[client; 16]).u8(0).u32(0);
        }));
        assert_eq!(peer.reply(), (111, 0));
        assert!(peer.has_ended());
    }
}

/// As many messages as `buffer` says were sent to it, of any length, and were memory of the broker.
#[test]
fn a_subscriber_that_does_not_read_loses_the_oldest_of_what_is_too_much() {
    let broker = broker();
    let mut subscriber = Peer::greeted(&broker, 1);
    subscriber.write(&frame(17, 1, |to| {
        to.text("a").u32(1_000).u8(0);
    }));
    assert_eq!(subscriber.reply(), (102, 1));
    let mut publisher = Peer::greeted(&broker, 2);
    let publish = |sequence, body: &[u8]| {
        frame(6, sequence, |to| {
            to.text("a").bytes(body);
        })
    };
    let large = vec![7; 1 << 20];
    for sequence in 1..=100 {
        publisher.write(&publish(sequence, &large));
        assert_eq!(publisher.reply(), (107, sequence));
    }
    publisher.write(&publish(101, b"last"));
    let (mut came, mut dropped) = (0, 0);
    loop {
        let event = subscriber.frame();
        let mut from = Reader::new(&event[9..]);
        dropped = dropped.max(from.u64().unwrap());
        came += 1;
        if event.len() < large.len() {
            break;
        }
    }
    assert!(dropped > 20, "{dropped} dropped, {came} came");
    assert_eq!(came + dropped, 101);
}

#[test]
fn a_subscription_without_room_is_refused_and_holds_up_nobody() {
    let broker = broker();
    let mut peer = Peer::greeted(&broker, 1);
    peer.write(&frame(17, 1, |to| {
        to.text("a").u32(0).u8(0);
    }));
    peer.write(&frame(6, 2, |to| {
        to.text("a").bytes(b"x");
    }));
    assert_eq!(peer.reply(), (111, 0));
    Peer::greeted(&broker, 2);
}

#[test]
fn a_broker_that_is_stopped_ends_its_connections() {
    let mut broker = broker();
    let mut peer = Peer::greeted(&broker, 1);
    broker.stop();
    assert!(!broker.is_serving());
    assert!(peer.has_ended());
}
