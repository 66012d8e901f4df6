//! Connections from whose clients the primary waits for bytes, each until a deadline.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Instant;

use super::{Context, Source, Timer};
use crate::error::Error;
use crate::reactor::{ReadySet, Registration, TimerId};

/// Connections, each with a number. What an arrival costs does not depend on how many there are.
#[derive(Debug)]
pub struct SilentConnections<T> {
    source: Source,
    at_deadline: Timer,
    /// Made for the first one.
    set: Option<(ReadySet, Registration)>,
    connections: HashMap<usize, Silent<T>>,
    /// Those whose clients may not say nothing for ever.
    deadlines: BTreeSet<(Instant, usize)>,
    /// For the first of them.
    timer: Option<TimerId>,
    next: usize,
    /// There may be more that have become readable than one turn has looked at.
    is_ready: bool,
}

#[derive(Debug)]
struct Silent<T> {
    connection: T,
    deadline: Option<Instant>,
}

impl<T: AsFd> SilentConnections<T> {
    /// None yet. `source` wakes the reactor when bytes have arrived, `at_deadline` when a deadline is over.
    pub fn new(source: Source, at_deadline: Timer) -> Self {
        SilentConnections {
            source,
            at_deadline,
            set: None,
            connections: HashMap::new(),
            deadlines: BTreeSet::new(),
            timer: None,
            next: 0,
            is_ready: false,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether a turn has left something to be looked at.
    pub fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// Holds a connection. Its bytes may be there already.
    ///
    /// Errors: `EMFILE`, `ENOMEM`; the connection comes back.
    pub fn add(
        &mut self,
        context: &mut Context,
        connection: T,
        deadline: Option<Instant>,
    ) -> Result<(), (T, Error)> {
        let number = self.next;
        let added = self.set(context).and_then(|set| set.add(connection.as_fd(), number));
        if let Err(error) = added {
            return Err((connection, error));
        }
        self.next += 1;
        self.deadlines.extend(deadline.map(|deadline| (deadline, number)));
        self.connections.insert(number, Silent { connection, deadline });
        self.set_timer(context);
        Ok(())
    }

    fn set(&mut self, context: &mut Context) -> Result<&ReadySet, Error> {
        let (set, _) = match self.set.take() {
            Some(made) => self.set.insert(made),
            None => {
                let set = ReadySet::new()?;
                let registration = Registration::new(context, set.as_raw_fd(), self.source)?;
                self.set.insert((set, registration))
            }
        };
        Ok(set)
    }

    /// One of those that are held.
    pub fn get_mut(&mut self, number: usize) -> Option<&mut T> {
        Some(&mut self.connections.get_mut(&number)?.connection)
    }

    /// Holds a connection no longer.
    pub fn remove(&mut self, number: usize) -> Option<T> {
        let Silent { connection, deadline } = self.connections.remove(&number)?;
        if let Some((set, _)) = &self.set {
            set.remove(connection.as_fd());
        }
        if let Some(deadline) = deadline {
            self.deadlines.remove(&(deadline, number));
        }
        Some(connection)
    }

    /// Holds those no longer for which this is so.
    pub fn remove_all(&mut self, is_meant: impl Fn(&T) -> bool) -> Vec<T> {
        let meant = self.connections.iter().filter(|(_, silent)| is_meant(&silent.connection));
        let mut numbers: Vec<_> = meant.map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        numbers.into_iter().filter_map(|number| self.remove(number)).collect()
    }

    fn set_timer(&mut self, context: &mut Context) {
        if self.timer.is_none()
            && let Some((first, _)) = self.deadlines.first()
        {
            let after = first.saturating_duration_since(Instant::now());
            self.timer = Some(context.set_timer(after, self.at_deadline));
        }
    }

    /// The timer has run out. Holds those no longer whose deadlines are over.
    pub fn take_expired(&mut self, context: &mut Context) -> Vec<T> {
        self.timer = None;
        let now = Instant::now();
        let mut expired = Vec::new();
        while let Some((deadline, number)) = self.deadlines.first().copied()
            && deadline <= now
        {
            expired.extend(self.remove(number));
        }
        self.set_timer(context);
        expired
    }

    /// Holds the one no longer whose deadline comes first.
    pub fn take_first(&mut self) -> Option<T> {
        let (_, number) = self.deadlines.first().copied()?;
        self.remove(number)
    }

    /// The numbers of so many, and perhaps a few more, on which something has arrived, or whose clients have gone. Each
    /// arrival is told once.
    pub fn ready(&mut self, budget: usize) -> Vec<usize> {
        let mut ready = Vec::new();
        self.is_ready = true;
        while ready.len() < budget {
            let Some((set, _)) = &mut self.set else { break };
            let before = ready.len();
            ready.extend(set.ready());
            if ready.len() == before {
                self.is_ready = false;
                break;
            }
        }
        ready
    }
}
