//! One connection: a request goes out, and its answer is recognized.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

/// How every answer begins and ends that the workers give.
const HEAD: &[u8] = b"HTTP/1.1 200";
const TAIL: &[u8] = b"\r\n\r\nok";
/// More than any of them has.
const MAX_ANSWER: usize = 1024;

/// What a connection is under way with.
#[derive(Clone, Copy, PartialEq)]
pub enum Task {
    /// The first request on a kept connection, which shows that it works.
    Opening,
    /// One of the job's, by its index.
    Request(usize),
}

pub enum Progress {
    /// More is to come.
    Waiting,
    /// The answer is complete: whether it is the one that is wanted.
    Answered { is_success: bool },
    /// The server has closed the connection, or it has failed.
    Ended,
}

pub struct Connection {
    stream: TcpStream,
    pub port: u16,
    pub task: Option<Task>,
    unwritten: Vec<u8>,
    answer: [u8; MAX_ANSWER],
    length: usize,
}

impl Connection {
    pub fn open(port: u16, token: Token, registry: &Registry) -> io::Result<Self> {
        let mut stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { stream, port, task: None, unwritten: Vec::new(), answer: [0; MAX_ANSWER], length: 0 })
    }

    /// Sends a request as soon as the socket takes it.
    pub fn begin(&mut self, task: Task, text: &[u8]) {
        self.task = Some(task);
        self.unwritten.clear();
        self.unwritten.extend_from_slice(text);
        self.length = 0;
        self.write();
    }

    /// A failure shows when it is read.
    pub fn write(&mut self) {
        while !self.unwritten.is_empty() {
            match self.stream.write(&self.unwritten) {
                Ok(written) => drop(self.unwritten.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    /// What has come since; to be called until it says that it waits, or has ended.
    pub fn read(&mut self) -> Progress {
        loop {
            if self.length == self.answer.len() {
                return Progress::Ended;
            }
            match self.stream.read(&mut self.answer[self.length..]) {
                Ok(0) => return Progress::Ended,
                Ok(read) => {
                    self.length += read;
                    let answer = &self.answer[..self.length];
                    if answer.ends_with(TAIL) {
                        let is_success = answer.starts_with(HEAD);
                        self.length = 0;
                        return Progress::Answered { is_success };
                    }
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    // On macOS a socket that is not connected yet says so.
                    io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected => return Progress::Waiting,
                    _ => return Progress::Ended,
                },
            }
        }
    }
}
