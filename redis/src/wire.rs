//! The socket between a bus and its session.

use std::io::{self, ErrorKind};

use corral_bus::error::Fault;
use corral_bus::protocol::{Incoming, Names, Outgoing, Progress, Reply, Request, request};
use tokio::io::Interest;
use tokio::net::UnixStream;

pub struct Wire {
    stream: UnixStream,
    input: Incoming,
    output: Outgoing,
    names: Names,
}

impl Wire {
    pub fn new(stream: UnixStream) -> Wire {
        Wire { stream, input: Incoming::default(), output: Outgoing::default(), names: Names::default() }
    }

    pub fn send(&mut self, sequence: u64, reply: &Reply) {
        reply.write(&mut self.output.bytes, sequence);
    }

    pub fn is_written(&self) -> bool {
        self.output.is_written()
    }

    /// Whether the bus has to read before it is sent what it can do without.
    pub fn is_behind(&self) -> bool {
        self.output.is_behind()
    }

    pub fn has_caught_up(&self) -> bool {
        self.output.has_caught_up()
    }

    /// Waits until the socket can be read, if `reads`, or has room for what is to be written.
    ///
    /// # Errors
    ///
    /// The bus has gone.
    pub async fn ready(&self, reads: bool) -> io::Result<()> {
        let interest = match (reads && !self.output.is_behind(), self.is_written()) {
            (true, true) => Interest::READABLE,
            (true, false) => Interest::READABLE | Interest::WRITABLE,
            (false, false) => Interest::WRITABLE,
            (false, true) => return std::future::pending().await,
        };
        self.stream.ready(interest).await.map(|_| ())
    }

    /// Reads what has come.
    ///
    /// # Errors
    ///
    /// The bus has gone.
    pub fn read(&mut self) -> io::Result<()> {
        match self.input.fill(true, |buffer| self.stream.try_read(buffer))? {
            Progress::Ended => Err(ErrorKind::UnexpectedEof.into()),
            Progress::More | Progress::Dry => Ok(()),
        }
    }

    /// The next request that has come whole, and its number.
    ///
    /// # Errors
    ///
    /// What came is none.
    pub fn next_request(&mut self) -> Result<Option<(u64, Request)>, Fault> {
        let names = &mut self.names;
        self.input.next_frame()?.map(|frame| request::read(frame, names)).transpose()
    }

    /// Writes what the socket takes.
    ///
    /// # Errors
    ///
    /// The bus has gone.
    pub fn write(&mut self) -> io::Result<()> {
        self.output.write(|bytes| self.stream.try_write(bytes))
    }
}
