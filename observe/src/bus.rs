//! Buses (`corral/bus`): what is in their queues, as their engines have counted it last. Nothing here reads or writes.

use std::collections::BTreeMap;

use corral_bus::error::Fault;
use corral_bus::protocol::fields::{Reader, Writer};
use corral_bus::protocol::{Stats, VERSION};

/// Of how many queues of a bus the messages are counted; there may be more.
pub const MAX_QUEUES: usize = 1000;

/// Kinds of frames, as `corral_bus::protocol` has them.
mod kind {
    pub const HELLO: u8 = 1;
    pub const STATS: u8 = 12;
    pub const QUEUES: u8 = 16;
    pub const WELCOME: u8 = 101;
    pub const FAILED: u8 = 104;
    pub const STATS_ARE: u8 = 106;
    pub const NAMES: u8 = 108;
    pub const FATAL: u8 = 111;
    pub const DOWN: u8 = 112;
    pub const UP: u8 = 113;
}

/// The space of names that queues have; lists have another.
const QUEUES_SPACE: u8 = 0;

/// What was counted of a bus last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// When, in microseconds of the monotonic clock.
    pub at: u64,
    /// How many queues there are.
    pub queues: usize,
    /// What is in them, by their names; of [`MAX_QUEUES`] at most.
    pub messages: BTreeMap<String, Stats>,
}

/// A bus.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bus {
    /// The engine's name; empty before it has said that.
    pub engine: String,
    /// Whether the engine answers, and has its server.
    pub is_up: bool,
    /// None before anything was counted.
    pub counted: Option<Counted>,
}

/// All buses, by what they are called.
pub type Buses = BTreeMap<String, Bus>;

/// One connection to an engine: requests go out, and what comes in is put together.
#[derive(Debug, Default)]
pub struct Census {
    last_sequence: u64,
    /// The queues whose numbers have been asked for, by the numbers of the requests.
    asked: BTreeMap<u64, String>,
    /// The number of the request for the names of queues, while its answer is to come.
    names_asked: Option<u64>,
    counted: Counted,
}

/// What is to be done after a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// To wait for more.
    Wait,
    /// The engine has said who it is.
    Welcome(String),
    /// To write these bytes.
    Write(Vec<u8>),
    /// All is counted.
    Counted(Counted),
    /// The engine has lost its server, or has it again.
    Server { is_up: bool },
}

impl Census {
    /// The greeting of a client with this id.
    pub fn hello(client: [u8; 16]) -> Vec<u8> {
        let mut bytes = Vec::new();
        Writer::new(&mut bytes, kind::HELLO, 0).u32(VERSION).raw(&client).u8(0).u32(0).end();
        bytes
    }

    /// Begins to count, at `now` in microseconds of the monotonic clock. What is to be written.
    pub fn begin(&mut self, now: u64) -> Vec<u8> {
        self.counted = Counted { at: now, ..Counted::default() };
        self.asked.clear();
        let mut bytes = Vec::new();
        let sequence = self.next();
        Writer::new(&mut bytes, kind::QUEUES, sequence).end();
        self.names_asked = Some(sequence);
        bytes
    }

    fn next(&mut self) -> u64 {
        self.last_sequence += 1;
        self.last_sequence
    }

    /// A frame has come.
    ///
    /// # Errors
    ///
    /// It is none, or says that the engine serves nobody.
    pub fn on_frame(&mut self, frame: &[u8]) -> Result<Next, Fault> {
        let mut from = Reader::new(frame);
        let (kind, sequence) = (from.u8()?, from.u64()?);
        match kind {
            kind::WELCOME => {
                from.u32()?;
                Ok(Next::Welcome(from.text()?.to_owned()))
            }
            kind::FATAL => {
                from.text()?;
                Err(Fault::protocol(from.text()?.to_owned()))
            }
            kind::DOWN => Ok(Next::Server { is_up: false }),
            kind::UP => Ok(Next::Server { is_up: true }),
            kind::NAMES if self.names_asked == Some(sequence) => {
                self.names_asked = None;
                self.on_names(&mut from)
            }
            kind::STATS_ARE => {
                let [waiting, delayed, held, receivers] =
                    [from.u64()?, from.u64()?, from.u64()?, from.u64()?];
                if let Some(queue) = self.asked.remove(&sequence) {
                    self.counted.messages.insert(queue, Stats { waiting, delayed, held, receivers });
                }
                Ok(self.counted_if_all())
            }
            // A queue that has gone meanwhile, for example: there are no numbers of it.
            kind::FAILED if self.asked.remove(&sequence).is_some() => Ok(self.counted_if_all()),
            kind::FAILED if self.names_asked == Some(sequence) => {
                from.text()?;
                Err(Fault::protocol(from.text()?.to_owned()))
            }
            _ => Ok(Next::Wait),
        }
    }

    fn on_names(&mut self, from: &mut Reader<'_>) -> Result<Next, Fault> {
        // A name has two bytes for its length.
        self.counted.queues = from.count(2)?;
        let mut bytes = Vec::new();
        for _ in 0..self.counted.queues.min(MAX_QUEUES) {
            let queue = from.text()?;
            let sequence = self.next();
            Writer::new(&mut bytes, kind::STATS, sequence).u8(QUEUES_SPACE).text(queue).end();
            self.asked.insert(sequence, queue.to_owned());
        }
        Ok(if bytes.is_empty() { self.counted_if_all() } else { Next::Write(bytes) })
    }

    fn counted_if_all(&mut self) -> Next {
        if self.asked.is_empty() && self.names_asked.is_none() {
            Next::Counted(std::mem::take(&mut self.counted))
        } else {
            Next::Wait
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use corral_bus::protocol::{Names, Reply, Request, next_frame, request};

    use super::*;

    fn requests(mut bytes: &[u8]) -> Vec<(u64, Request)> {
        let mut names = Names::default();
        std::iter::from_fn(|| {
            let frame = next_frame(bytes).unwrap()?;
            bytes = &bytes[4 + frame.len()..];
            Some(request::read(frame, &mut names).unwrap())
        })
        .collect()
    }

    fn answer(census: &mut Census, reply: &Reply, sequence: u64) -> Result<Next, Fault> {
        let mut bytes = Vec::new();
        reply.write(&mut bytes, sequence);
        census.on_frame(&bytes[4..])
    }

    fn names(count: usize) -> Reply {
        Reply::Names((0..count).map(|number| Arc::from(format!("q{number}"))).collect())
    }

    #[test]
    fn all_queues_are_counted_of_those_that_are_there() {
        let mut census = Census::default();
        let [(0, Request::Hello { held, .. })] = &requests(&Census::hello([7; 16]))[..] else { panic!() };
        assert!(held.is_empty());
        let welcome = answer(&mut census, &Reply::Welcome { engine: "memory" }, 0);
        assert_eq!(welcome, Ok(Next::Welcome("memory".into())));
        assert_eq!(requests(&census.begin(5)), [(1, Request::Queues)]);
        let Ok(Next::Write(bytes)) = answer(&mut census, &names(3), 1) else { panic!() };
        let asked = requests(&bytes);
        assert!(matches!(&asked[2], (4, Request::Stats { queue }) if &*queue.name == "q2"));
        let stats = Stats { waiting: 1, delayed: 2, held: 3, receivers: 4 };
        assert_eq!(answer(&mut census, &Reply::Stats(stats), 2), Ok(Next::Wait));
        assert_eq!(answer(&mut census, &Reply::Failed(Fault::store("gone")), 3), Ok(Next::Wait));
        let Ok(Next::Counted(counted)) = answer(&mut census, &Reply::Stats(Stats::default()), 4) else {
            panic!()
        };
        assert_eq!((counted.at, counted.queues), (5, 3));
        let expected = [("q0".to_owned(), stats), ("q2".to_owned(), Stats::default())];
        assert_eq!(counted.messages, BTreeMap::from(expected));
        // Nothing is there the next time.
        assert_eq!(requests(&census.begin(6)), [(5, Request::Queues)]);
        let none = Counted { at: 6, ..Counted::default() };
        assert_eq!(answer(&mut census, &names(0), 5), Ok(Next::Counted(none)));
    }

    #[test]
    fn more_queues_than_are_counted_are_told_by_their_number() {
        let mut census = Census::default();
        census.begin(1);
        let Ok(Next::Write(bytes)) = answer(&mut census, &names(MAX_QUEUES + 5), 1) else { panic!() };
        assert_eq!(requests(&bytes).len(), MAX_QUEUES);
        assert_eq!(census.counted.queues, MAX_QUEUES + 5);
    }

    #[test]
    fn what_is_late_or_of_no_use_is_left_out_and_what_is_wrong_is_an_error() {
        let mut census = Census::default();
        census.begin(1);
        let Ok(Next::Write(_)) = answer(&mut census, &names(1), 1) else { panic!() };
        // It begins again before the answer: that one is late.
        census.begin(2);
        assert_eq!(answer(&mut census, &Reply::Stats(Stats::default()), 2), Ok(Next::Wait));
        assert_eq!(answer(&mut census, &names(4), 1), Ok(Next::Wait));
        assert_eq!(answer(&mut census, &Reply::Up, 0), Ok(Next::Server { is_up: true }));
        let down = Reply::Down(Fault::store("away"));
        assert_eq!(answer(&mut census, &down, 0), Ok(Next::Server { is_up: false }));
        assert!(answer(&mut census, &Reply::Failed(Fault::store("no")), 3).is_err());
        assert!(answer(&mut census, &Reply::Fatal(Fault::store("no")), 0).is_err());
        for garbage in [&[][..], &[106], &[106, 0, 0, 0, 0, 0, 0, 0, 0, 1], &[101, 0, 0, 0, 0, 0, 0, 0, 0]] {
            assert!(census.on_frame(garbage).is_err(), "{garbage:?}");
        }
    }
}
