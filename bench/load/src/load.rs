//! A job under way.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token, Waker};

use crate::clock;
use crate::connection::{Connection, Progress, Task};
use crate::job::{Choice, Job, Outcome};

const WAKE: Token = Token(usize::MAX);
/// Kept connections that are opened at a time, so that no backlog overflows.
const OPENING: usize = 8;
/// For how long connections are opened, at most.
const OPENING_PATIENCE: Duration = Duration::from_secs(20);
/// The clock's thread has to begin.
const SETTLING: Duration = Duration::from_millis(20);

/// The kept connections to one port.
struct Pool {
    port: u16,
    /// Those with no request under way, the last used last.
    idle: Vec<usize>,
    /// Requests for which no connection was idle.
    waiting: VecDeque<usize>,
}

pub struct Load<'a> {
    job: &'a Job,
    /// What is sent, for each kind.
    texts: Vec<Vec<u8>>,
    poll: Poll,
    /// The index is the token.
    connections: Vec<Option<Connection>>,
    vacant: Vec<usize>,
    pools: Vec<Pool>,
    opening: usize,
    /// When each request is due. The clock has the same: a request of which it has told is due here, too.
    due: Arc<[Instant]>,
    sent: usize,
    under_way: usize,
    random: u32,
    outcome: Outcome,
}

impl<'a> Load<'a> {
    pub fn new(job: &'a Job) -> io::Result<Self> {
        let header = if job.connections == 0 { "Connection: close\r\n" } else { "" };
        let text =
            |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{header}\r\n").into_bytes();
        let mut ports: Vec<u16> = job.requests.iter().map(|request| request.port).collect();
        ports.sort_unstable();
        ports.dedup();
        let pool = |port| Pool { port, idle: Vec::new(), waiting: VecDeque::new() };
        Ok(Self {
            job,
            texts: job.requests.iter().map(|request| text(&request.path)).collect(),
            poll: Poll::new()?,
            connections: Vec::new(),
            vacant: Vec::new(),
            pools: ports.into_iter().map(pool).collect(),
            opening: 0,
            due: Arc::default(),
            sent: 0,
            under_way: 0,
            random: job.seed.wrapping_mul(0x9e37_79b1) | 1,
            outcome: Outcome {
                latencies: vec![None; job.times.len()],
                lags: vec![None; job.times.len()],
                ..Outcome::default()
            },
        })
    }

    pub fn run(mut self) -> io::Result<Outcome> {
        let mut events = Events::with_capacity(1024);
        self.open_all(&mut events)?;
        let start = Instant::now() + SETTLING;
        self.due = self.job.times.iter().map(|&time| start + clock::milliseconds(time)).collect();
        let waker = Arc::new(Waker::new(self.poll.registry(), WAKE)?);
        clock::start(self.due.clone(), &waker);
        while self.sent < self.job.times.len() {
            self.turn(&mut events, None)?;
            self.send_due()?;
        }
        let end = Instant::now() + Duration::from_millis(self.job.patience);
        while self.under_way > 0 && Instant::now() < end {
            self.turn(&mut events, Some(end))?;
        }
        self.outcome.unanswered = self.under_way;
        Ok(self.outcome)
    }

    fn open_all(&mut self, events: &mut Events) -> io::Result<()> {
        let end = Instant::now() + OPENING_PATIENCE;
        let mut opened = 0;
        while opened < self.job.connections || self.opening > 0 {
            while opened < self.job.connections && self.opening < OPENING {
                self.open_kept(self.pools[opened % self.pools.len()].port)?;
                opened += 1;
            }
            self.turn(events, Some(end))?;
            if Instant::now() > end {
                return Err(io::Error::other("the servers do not answer on new connections"));
            }
        }
        Ok(())
    }

    /// Waits until something happens, and deals with it.
    fn turn(&mut self, events: &mut Events, until: Option<Instant>) -> io::Result<()> {
        let timeout = until.map(|until| until.saturating_duration_since(Instant::now()));
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in events.iter() {
            if event.token() != WAKE {
                self.on_ready(event.token().0)?;
            }
        }
        Ok(())
    }

    fn send_due(&mut self) -> io::Result<()> {
        while self.sent < self.job.times.len() {
            let Some(lag) = self.since_due(self.sent) else { break };
            let request = self.sent;
            self.sent += 1;
            if self.under_way >= self.job.max_under_way {
                self.outcome.dropped += 1;
                continue;
            }
            self.outcome.lags[request] = Some(lag);
            self.under_way += 1;
            self.send(request)?;
        }
        Ok(())
    }

    /// Milliseconds since a request was due; None if it is not yet.
    fn since_due(&self, request: usize) -> Option<f64> {
        let since = Instant::now().checked_duration_since(self.due[request])?;
        Some(since.as_secs_f64() * 1000.0)
    }

    fn send(&mut self, request: usize) -> io::Result<()> {
        let kind = self.job.kinds[request];
        let port = self.job.requests[kind].port;
        if self.job.connections == 0 {
            let slot = self.open(port)?;
            self.begin(slot, Task::Request(request));
            return Ok(());
        }
        match self.take_idle(port) {
            Some(slot) => self.begin(slot, Task::Request(request)),
            None => self.pool(port).waiting.push_back(request),
        }
        Ok(())
    }

    fn pool(&mut self, port: u16) -> &mut Pool {
        self.pools.iter_mut().find(|pool| pool.port == port).expect("there is a pool for each port")
    }

    /// One of the idle connections, which then is idle no more.
    fn take_idle(&mut self, port: u16) -> Option<usize> {
        let choice = match self.job.choice {
            Choice::Recent => None,
            Choice::Random => Some(self.next_random()),
        };
        let idle = &mut self.pool(port).idle;
        match choice {
            Some(random) if !idle.is_empty() => Some(idle.swap_remove(random as usize % idle.len())),
            _ => idle.pop(),
        }
    }

    fn next_random(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.random
    }

    fn open(&mut self, port: u16) -> io::Result<usize> {
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        self.connections[slot] = Some(Connection::open(port, Token(slot), self.poll.registry())?);
        Ok(slot)
    }

    fn open_kept(&mut self, port: u16) -> io::Result<()> {
        self.opening += 1;
        let slot = self.open(port)?;
        self.begin(slot, Task::Opening);
        Ok(())
    }

    fn begin(&mut self, slot: usize, task: Task) {
        let text = match task {
            Task::Opening => b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            Task::Request(request) => self.texts[self.job.kinds[request]].as_slice(),
        };
        if let Some(connection) = &mut self.connections[slot] {
            connection.begin(task, text);
        }
    }

    /// Something has happened on a connection; or on one that was in its place before, which does not matter.
    fn on_ready(&mut self, slot: usize) -> io::Result<()> {
        while let Some(connection) = &mut self.connections[slot] {
            connection.write();
            match connection.read() {
                Progress::Waiting => return Ok(()),
                Progress::Answered { is_success } => self.on_answer(slot, is_success),
                Progress::Ended => self.on_end(slot)?,
            }
        }
        Ok(())
    }

    fn on_answer(&mut self, slot: usize, is_success: bool) {
        let Some(connection) = &mut self.connections[slot] else { return };
        let port = connection.port;
        match connection.task.take() {
            Some(Task::Request(request)) => self.finish(request, is_success),
            Some(Task::Opening) => self.opening -= 1,
            None => {}
        }
        if self.job.connections == 0 {
            return;
        }
        match self.pool(port).waiting.pop_front() {
            Some(request) => self.begin(slot, Task::Request(request)),
            None => self.pool(port).idle.push(slot),
        }
    }

    fn on_end(&mut self, slot: usize) -> io::Result<()> {
        let Some(connection) = self.connections[slot].take() else { return Ok(()) };
        self.vacant.push(slot);
        match connection.task {
            Some(Task::Request(request)) => self.finish(request, false),
            Some(Task::Opening) => return Err(io::Error::other("the servers refuse connections")),
            None => self.pool(connection.port).idle.retain(|&idle| idle != slot),
        }
        if self.job.connections > 0 {
            self.outcome.reopened += 1;
            self.open_kept(connection.port)?;
        }
        Ok(())
    }

    fn finish(&mut self, request: usize, is_success: bool) {
        self.under_way -= 1;
        if is_success {
            self.outcome.latencies[request] = self.since_due(request);
        } else {
            self.outcome.failed += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::job::Request;

    /// A server that gives each request this answer, and its port. It serves one connection after the other, or several
    /// at once.
    fn serve(answer: &'static str) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for stream in listener.incoming() {
                thread::spawn(move || {
                    let mut stream = stream.unwrap();
                    let (mut request, mut part) = (Vec::new(), [0; 1024]);
                    while let Ok(length @ 1..) = stream.read(&mut part) {
                        request.extend_from_slice(&part[..length]);
                        if request.ends_with(b"\r\n\r\n") {
                            request.clear();
                            // In two pieces, as it may come.
                            let (start, rest) = answer.split_at(answer.len() / 2);
                            stream.write_all(start.as_bytes()).unwrap();
                            stream.write_all(rest.as_bytes()).unwrap();
                        }
                    }
                });
            }
        });
        port
    }

    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

    fn job(port: u16, count: usize, connections: usize) -> Job {
        Job {
            times: (0..count).map(|index| index as f64 * 0.2).collect(),
            kinds: vec![0; count],
            requests: vec![Request { path: "/".into(), port }],
            connections,
            choice: Choice::Random,
            seed: 1,
            max_under_way: count,
            patience: 20_000,
        }
    }

    #[test]
    fn every_request_has_its_time_on_connections_of_its_own_and_on_kept_ones() {
        for connections in [0, 3] {
            let job = job(serve(OK), 50, connections);
            let outcome = Load::new(&job).unwrap().run().unwrap();
            assert_eq!((outcome.failed, outcome.unanswered, outcome.dropped, outcome.reopened), (0, 0, 0, 0));
            for (latency, lag) in outcome.latencies.iter().zip(&outcome.lags) {
                // The answer comes after the request, which is not sent before it is due.
                let (latency, lag) = (latency.unwrap(), lag.unwrap());
                assert!(lag >= 0.0 && latency >= lag, "{latency} {lag}");
            }
        }
    }

    #[test]
    fn what_is_no_success_has_no_time_and_is_counted() {
        let job = job(serve("HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nok"), 10, 0);
        let outcome = Load::new(&job).unwrap().run().unwrap();
        assert_eq!(outcome.failed, 10);
        assert!(outcome.latencies.iter().all(Option::is_none));
    }

    #[test]
    fn what_is_beyond_the_bound_is_not_sent_and_what_is_not_answered_is_counted() {
        // It listens, and nobody answers.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let job = Job { max_under_way: 4, patience: 0, ..job(port, 10, 0) };
        let outcome = Load::new(&job).unwrap().run().unwrap();
        assert_eq!((outcome.dropped, outcome.unanswered), (6, 4));
        assert_eq!(outcome.lags.iter().flatten().count(), 4);
    }

    #[test]
    fn kept_connections_are_chosen_as_the_job_says() {
        let recent = Job { choice: Choice::Recent, ..job(1, 1, 1) };
        let mut load = Load::new(&recent).unwrap();
        load.pools[0].idle = vec![7, 8, 9];
        assert_eq!([load.take_idle(1), load.take_idle(1)], [Some(9), Some(8)]);
        let random = job(1, 1, 1);
        let mut load = Load::new(&random).unwrap();
        load.pools[0].idle = (0..100).collect();
        let mut chosen: Vec<usize> = (0..100).map_while(|_| load.take_idle(1)).collect();
        assert!(
            chosen.windows(2).any(|pair| pair[0] > pair[1])
                && chosen.windows(2).any(|pair| pair[0] < pair[1])
        );
        chosen.sort_unstable();
        // Each once, and then there is none.
        assert_eq!(chosen, (0..100).collect::<Vec<_>>());
        assert_eq!(load.take_idle(1), None);
    }
}
