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

    /// The kind of the next reply, and its number.
    fn reply(&mut self) -> (u8, u64) {
        loop {
            if let Some(frame) = next_frame(&self.input).unwrap() {
                let (mut from, length) = (Reader::new(frame), frame.len());
                let head = (from.u8().unwrap(), from.u64().unwrap());
                self.input.drain(..PREFIX + length);
                return head;
            }
            let mut chunk = vec![0; 64 << 10];
            let count = self.stream.read(&mut chunk).unwrap();
            assert!(count > 0, "the connection has ended");
            self.input.extend_from_slice(&chunk[..count]);
        }
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

#[test]
fn a_broker_that_is_stopped_ends_its_connections() {
    let mut broker = broker();
    let mut peer = Peer::greeted(&broker, 1);
    broker.stop();
    assert!(!broker.is_serving());
    assert!(peer.has_ended());
}
