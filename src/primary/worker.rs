//! A worker as its primary sees it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::config::IN_FLIGHT_PER_WORKER;
use super::lane::Lane;
use super::server::Pending;
use super::stats::WorkerStats;
use crate::channel::{Channel, Inbox, Lending};
use crate::ids::{Seq, ServerId};
use crate::reactor::{Interest, Token};
use crate::sched::Standing;

/// Where a worker is in its life, as far as connections go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It may ask for servers and take connections.
    Serving,
    /// It was told, or has said, that it leaves: it gets no servers any more, but finishes what it has.
    Leaving,
    /// This side has closed the channel. What the worker still says about connections is read until its end.
    Closing,
    /// Writing has failed: its end is about to be read.
    Unreachable,
}

/// A connection on its way.
#[derive(Debug)]
pub struct InFlight {
    /// Kept until the worker has taken it.
    pub connection: Pending,
    /// The server that it came from.
    pub server: ServerId,
}

/// A worker and its channel.
#[derive(Debug)]
pub struct Worker {
    /// Shared with the JavaScript thread, which sends the program's messages on it.
    pub channel: Arc<Channel>,
    /// The receiving half; taken out while it is being read, and while it is lent.
    pub inbox: Option<Inbox>,
    /// What there is to know for lending it.
    pub lending: Lending,
    /// What the channel is registered under.
    pub token: Token,
    /// What the channel is registered for.
    pub interest: Interest,
    /// Where it is in its life.
    pub phase: Phase,
    /// The servers that it takes part in.
    pub servers: Vec<ServerId>,
    /// Connections that it was sent and has not acknowledged, in their order.
    pub in_flight: BTreeMap<Seq, InFlight>,
    /// Bytes of its messages that JavaScript has not taken yet.
    pub untold: Arc<AtomicUsize>,
    /// Its channel is not read because too much is untold.
    pub reading_paused: bool,
    /// Its process has ended: what it left behind is read however much is untold.
    pub has_exited: bool,
    /// A timer runs for what could not be written.
    pub flush_deferred: bool,
    /// Its counts.
    pub stats: Arc<WorkerStats>,
    /// Where connections travel once the worker reads it.
    pub lane: Option<Lane>,
    next_seq: u64,
}

impl Worker {
    /// A worker that has just been spawned.
    pub fn new(
        channel: Arc<Channel>,
        inbox: Inbox,
        token: Token,
        untold: Arc<AtomicUsize>,
        stats: Arc<WorkerStats>,
    ) -> Self {
        Worker {
            channel,
            inbox: Some(inbox),
            lending: Lending::default(),
            token,
            interest: Interest::Read,
            phase: Phase::Serving,
            servers: Vec::new(),
            in_flight: BTreeMap::new(),
            untold,
            reading_paused: false,
            has_exited: false,
            flush_deferred: false,
            stats,
            lane: None,
            next_seq: 0,
        }
    }

    /// The `seq` for the next message.
    pub fn next_seq(&mut self) -> Seq {
        let seq = Seq(self.next_seq);
        self.next_seq += 1;
        seq
    }

    /// The lane, if connections travel on it.
    pub fn used_lane(&self) -> Option<&Lane> {
        self.lane.as_ref().filter(|lane| lane.is_used())
    }

    /// Whether it may be sent a connection now, and deals with what it is sent.
    pub fn keeps_up(&self) -> bool {
        self.has_credit() && self.in_flight.is_empty() && self.used_lane().is_none_or(Lane::keeps_up)
    }

    /// Whether it may be sent a connection now.
    pub fn has_credit(&self) -> bool {
        self.phase == Phase::Serving
            && match self.used_lane() {
                Some(lane) => lane.has_credit(),
                None => self.in_flight.len() < IN_FLIGHT_PER_WORKER,
            }
    }

    /// How it stands with it when a connection is to be given to some worker. Only on a lane can it be seen whether
    /// one that is full works on what it has.
    pub fn standing(&self) -> Standing {
        if self.keeps_up() {
            Standing::Idle
        } else if self.has_credit() {
            Standing::Busy
        } else if self.phase == Phase::Serving && self.used_lane().is_some_and(Lane::is_full) {
            Standing::Full
        } else {
            Standing::Away
        }
    }
}
