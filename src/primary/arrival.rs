//! What happens to a connection between accept and its place in its server's queue.

use super::connection::Pending;
use super::{Context, Event, Primary};
use crate::ids::ServerId;
use crate::reactor::EventSink;
use crate::sched::PolicyChoice;

impl<S: EventSink<Event>> Primary<S> {
    /// A connection has come for a server. The caller has its queue handed out.
    ///
    /// A policy that is to learn more of it first has it held elsewhere. Such a connection is counted in the server's `held`
    /// and comes back with [`Primary::enqueue`].
    pub(super) fn arrive(&mut self, context: &mut Context, id: ServerId, connection: Pending) {
        let Some(server) = self.servers.get(&id) else { return };
        if let Some(choice) = server.sticky.as_ref().map(|sticky| sticky.choice.clone()) {
            return self.arrive_home(context, id, connection, &choice);
        }
        match server.choice() {
            PolicyChoice::Program(program) => {
                let program = program.clone();
                self.ask(context, id, &program, connection);
            }
            _ => self.enqueue(id, connection),
        }
    }

    /// The connection waits for a worker, behind all that do. It is closed if its server has gone.
    pub(super) fn enqueue(&mut self, id: ServerId, connection: Pending) {
        if let Some(server) = self.servers.get_mut(&id) {
            server.pending.push_back(connection);
            self.to_serve.insert(id);
        }
    }
}
