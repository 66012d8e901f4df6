//! What has happened is kept, or taken back; and what was kept for long enough is forgotten.

use super::{Engine, Output, REMEMBERED, REST, SWEEP, Timer};
use crate::error::Fault;
use crate::protocol::{Durability, Reply};
use crate::store::ClientId;

impl Engine {
    /// Forgets what was to be remembered until now.
    pub(super) fn sweep(&mut self, now: u64) -> Result<(), Fault> {
        self.timers.insert((now + SWEEP, Timer::Sweep));
        self.store.forget(now)?;
        let old: Vec<ClientId> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.connection.is_none() && session.row.changed + REMEMBERED < now)
            .map(|(client, _)| *client)
            .collect();
        for client in old {
            self.sessions.remove(&client);
            self.store.remove_client(&client)?;
        }
        let idle: Vec<u32> = self
            .queues
            .iter()
            .filter(|(_, queue)| !queue.is_kept && queue.is_empty())
            .filter(|(_, queue)| queue.receivers.is_empty() && queue.drains.is_empty())
            .map(|(number, _)| *number)
            .collect();
        for number in idle {
            self.last_queue = None;
            if let Some(queue) = self.queues.remove(&number) {
                self.names.remove(&queue.row.name);
            }
        }
        Ok(())
    }

    /// Keeps all that has happened since the last call, and gives what is to be said about it. If it cannot be kept, nothing
    /// of it has happened, and everybody who would get an answer is told so.
    pub fn commit(&mut self, now: u64) -> Vec<Output> {
        if self.failure.is_none() {
            let result = self.deliver(now).and_then(|()| self.keep(now));
            self.note(result);
        }
        let outputs = std::mem::take(&mut self.outputs);
        self.answer_bytes = 0;
        match self.failure.take() {
            None => outputs,
            Some(fault) => self.take_back(outputs, &fault, now),
        }
    }

    fn keep(&mut self, now: u64) -> Result<(), Fault> {
        for client in std::mem::take(&mut self.changed) {
            if let Some(session) = self.sessions.get(&client) {
                self.store.put_client(&client, &session.row)?;
            }
        }
        self.store.commit(now)?;
        let connected = self.sessions.values().filter(|session| session.connection.is_some());
        let strictest = connected.map(|session| session.durability).max();
        self.store.set_durability(strictest.unwrap_or(Durability::Disk))
    }

    /// Nothing since the last commit has happened.
    fn take_back(&mut self, outputs: Vec<Output>, fault: &Fault, now: u64) -> Vec<Output> {
        self.store.rollback();
        self.rests_until = now.saturating_add(REST);
        if self.load(now).is_err() {
            // It cannot even be read: whoever asks for something is told so, and it is tried again then.
            self.failure = Some(fault.clone());
        }
        outputs
            .into_iter()
            .filter_map(|output| match output {
                // A greeting changes nothing that could not be kept.
                Output::Reply { reply: Reply::Welcome { .. }, .. } => Some(output),
                Output::Reply { connection, sequence, .. } => {
                    Some(Output::Reply { connection, sequence, reply: Reply::Failed(fault.clone()) })
                }
                Output::Publish { asked: Some(_), .. } => Some(output),
                Output::Publish { asked: None, .. } => None,
            })
            .collect()
    }
}
