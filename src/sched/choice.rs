//! Which policy a server has, as settings describe it, and the one place that makes it.

use std::sync::Arc;
use std::time::Duration;

use super::assigned::{Assigned, Table};
use super::least::Least;
use super::one_queue::OneQueue;
use super::policy::Policy;
use super::round_robin::RoundRobin;
use super::sticky::StickyChoice;

/// Who accepts connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptMode {
    /// The primary, which gives them to workers.
    Primary,
    /// The workers, from a socket that they share.
    Workers,
    /// The workers, each from a socket of its own.
    Siblings,
}

/// The description of a policy. Each server at which the primary accepts has a policy of its own, made from one of these.
#[derive(Clone, Debug, PartialEq)]
pub enum PolicyChoice {
    /// The workers accept by themselves, whoever comes first.
    None,
    /// Connections wait for the first worker that is idle.
    OneQueue,
    /// Workers take turns.
    RoundRobin,
    /// The kernel shares connections among sockets that workers have. The primary accepts in the place of those that do not.
    ReusePort,
    /// To the worker with the fewest open connections.
    Least,
    /// A client's connections go to the same worker, and those of nobody in particular as with [`PolicyChoice::OneQueue`].
    Sticky(Arc<StickyChoice>),
    /// By a table that the program writes.
    Table {
        /// The table, which no other policy has.
        table: Arc<Table>,
        fallback: Fallback,
    },
    /// The program is asked.
    Program(AskedProgram),
    /// One of a test's own.
    #[cfg(test)]
    Test(Made),
}

/// A policy in JavaScript.
#[derive(Clone, Debug, PartialEq)]
pub struct AskedProgram {
    /// The name that the program has given it.
    pub name: Arc<str>,
    /// The number by which it is asked.
    pub number: u32,
    /// How long a connection waits for its answer.
    pub deadline: Duration,
    /// Who decides about what it does not.
    pub fallback: Fallback,
}

/// A policy that decides where the program does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    OneQueue,
    RoundRobin,
    Least,
}

impl Fallback {
    fn choice(self) -> PolicyChoice {
        match self {
            Fallback::OneQueue => PolicyChoice::OneQueue,
            Fallback::RoundRobin => PolicyChoice::RoundRobin,
            Fallback::Least => PolicyChoice::Least,
        }
    }
}

/// How a test makes its policy.
#[cfg(test)]
#[derive(Clone, Copy, Debug)]
pub struct Made(pub fn() -> Box<dyn Policy>);

#[cfg(test)]
impl PartialEq for Made {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::fn_addr_eq(self.0, other.0)
    }
}

impl PolicyChoice {
    /// The name that it has in settings and in statistics.
    pub fn name(&self) -> &str {
        match self {
            PolicyChoice::None => "none",
            PolicyChoice::OneQueue => "one-queue",
            PolicyChoice::RoundRobin => "round-robin",
            PolicyChoice::ReusePort => "reuse-port",
            PolicyChoice::Least => "least",
            PolicyChoice::Sticky(_) => "sticky",
            PolicyChoice::Table { .. } => "table",
            PolicyChoice::Program(program) => &program.name,
            #[cfg(test)]
            PolicyChoice::Test(_) => "test",
        }
    }

    /// Makes the policy of one server.
    pub fn policy(&self) -> Box<dyn Policy> {
        match self {
            PolicyChoice::OneQueue | PolicyChoice::ReusePort | PolicyChoice::Sticky(_) => {
                Box::new(OneQueue::default())
            }
            PolicyChoice::Least => Box::new(Least::default()),
            PolicyChoice::Table { table, fallback } => {
                Box::new(Assigned::new(Some(table.clone()), fallback.choice().policy()))
            }
            PolicyChoice::Program(program) => {
                Box::new(Assigned::new(None, program.fallback.choice().policy()))
            }
            // Where workers accept, nobody asks it.
            PolicyChoice::RoundRobin | PolicyChoice::None => Box::new(RoundRobin::default()),
            #[cfg(test)]
            PolicyChoice::Test(made) => made.0(),
        }
    }

    /// By what clients are known that belong to a worker.
    pub fn sticky(&self) -> Option<&Arc<StickyChoice>> {
        match self {
            PolicyChoice::Sticky(choice) => Some(choice),
            _ => None,
        }
    }

    /// Who accepts the connections of its servers.
    pub fn accept_mode(&self) -> AcceptMode {
        match self {
            PolicyChoice::None => AcceptMode::Workers,
            PolicyChoice::ReusePort => AcceptMode::Siblings,
            _ => AcceptMode::Primary,
        }
    }

    /// Whether it asks what workers do: they show it then.
    pub fn needs_pulses(&self) -> bool {
        !matches!(self, PolicyChoice::None | PolicyChoice::RoundRobin)
    }

    /// Whether it asks how many connections workers have open: they count them then.
    pub fn counts_open(&self) -> bool {
        match self {
            PolicyChoice::Table { fallback, .. } => *fallback == Fallback::Least,
            PolicyChoice::Program(program) => program.fallback == Fallback::Least,
            other => matches!(other, PolicyChoice::Least),
        }
    }
}
