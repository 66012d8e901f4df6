//! One connection of a bus that is served.

use std::io::{self, Read, Write};

use mio::net::UnixStream;

use crate::error::Fault;
use crate::protocol::{Incoming, Outgoing, Progress};

pub struct Connection {
    pub stream: UnixStream,
    input: Incoming,
    pub output: Outgoing,
    /// Whether it may be read without being waited for.
    pub is_readable: bool,
    /// Requests that have come wait for the next turn.
    pub has_more: bool,
    pub has_greeted: bool,
    pub has_ended: bool,
    /// The peer writes nothing more, as far as the system has said: what came before may not be read yet.
    pub may_have_ended: bool,
    /// Nothing is to be read any more: it ends when everything is written.
    pub is_closing: bool,
}

impl Connection {
    pub fn new(stream: UnixStream) -> Connection {
        Connection {
            stream,
            input: Incoming::default(),
            output: Outgoing::default(),
            is_readable: true,
            has_more: false,
            has_greeted: false,
            has_ended: false,
            may_have_ended: false,
            is_closing: false,
        }
    }

    /// Reads what is there, up to a bound.
    pub fn read(&mut self) -> Progress {
        let may_end = self.may_have_ended;
        self.input.fill(may_end, |buffer| self.stream.read(buffer)).unwrap_or(Progress::Ended)
    }

    /// The next frame that has come whole.
    ///
    /// # Errors
    ///
    /// What came is none.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, Fault> {
        self.input.next_frame()
    }

    /// Writes what the socket takes.
    ///
    /// # Errors
    ///
    /// The peer has gone.
    pub fn write(&mut self) -> io::Result<()> {
        self.output.write(|bytes| self.stream.write(bytes))
    }
}
