//! Servers that workers have opened by themselves, on ports that the kernel shares among them
//! (`SO_REUSEPORT`). The primary has no socket of them and gives them no connections. It counts which worker
//! listens where.

use std::sync::Arc;

use super::config::MAX_OWN_SERVERS;
use super::stats::ServerStats;
use super::{Event, Primary};
use crate::ids::{ServerId, WorkerId};
use crate::proto::OwnServer;
use crate::reactor::EventSink;
use crate::sched::PolicyChoice;

impl<S: EventSink<Event>> Primary<S> {
    /// A worker listens by itself. The number of such servers is limited.
    pub(super) fn note_own_server(&mut self, id: WorkerId, own: OwnServer) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if worker.own_servers.len() >= MAX_OWN_SERVERS
            || worker.own_servers.iter().any(|key| **key == *own.key)
        {
            return;
        }
        let key: Arc<str> = own.key.into();
        worker.own_servers.push(key.clone());
        let server = match self.own_servers.get(&key) {
            Some(server) => *server,
            None => {
                let server = ServerId(self.next_server);
                self.next_server += 1;
                let stats =
                    ServerStats::new(key.clone(), own.address.into(), Some(own.port), &PolicyChoice::None);
                self.stats.servers.write().insert(server, Arc::new(stats));
                self.own_servers.insert(key, server);
                server
            }
        };
        if let Some(stats) = self.stats.servers.read().get(&server) {
            stats.workers.lock().push(id);
        }
    }

    /// A worker has closed a server; nothing happens if it was none of these.
    pub(super) fn forget_own_server(&mut self, id: WorkerId, key: &str) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let Some(place) = worker.own_servers.iter().position(|own| **own == *key) else { return };
        let key = worker.own_servers.swap_remove(place);
        self.leave_own_server(id, &key);
    }

    /// The worker has closed it, or has gone.
    pub(super) fn leave_own_server(&mut self, id: WorkerId, key: &str) {
        let Some(server) = self.own_servers.get(key).copied() else { return };
        let is_last = self.stats.servers.read().get(&server).is_none_or(|stats| {
            let mut workers = stats.workers.lock();
            workers.retain(|worker| *worker != id);
            workers.is_empty()
        });
        if is_last {
            self.own_servers.remove(key);
            self.stats.servers.write().remove(&server);
        }
    }
}
