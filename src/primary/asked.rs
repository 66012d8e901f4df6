//! Connections of which the program is asked whose they are: a policy in JavaScript. Each is held until the answer comes, or its
//! deadline has passed, whatever JavaScript does meanwhile.

use std::collections::BTreeMap;

use super::connection::Pending;
use super::event::Question;
use super::{Context, Event, Primary, Timer};
use crate::ids::{ServerId, WorkerId};
use crate::reactor::{EventSink, TimerId};
use crate::sched::AskedProgram;

/// A connection that is held.
#[derive(Debug)]
struct Held {
    connection: Pending,
    server: ServerId,
    timer: TimerId,
}

/// The connections that are held.
#[derive(Debug, Default)]
pub struct AskedConnections {
    held: BTreeMap<u64, Held>,
    next: u64,
}

impl AskedConnections {
    /// Closes those of a server that has gone.
    pub fn close_of(&mut self, context: &mut Context, server: ServerId) {
        self.held.retain(|_, held| {
            let stays = held.server != server;
            if !stays {
                context.cancel_timer(held.timer);
            }
            stays
        });
    }
}

impl<S: EventSink<Event>> Primary<S> {
    /// Asks the program whose this is. Until then, or the deadline, the connection is held.
    pub(super) fn ask(
        &mut self,
        context: &mut Context,
        id: ServerId,
        program: &AskedProgram,
        connection: Pending,
    ) {
        let Some(server) = self.servers.get_mut(&id) else { return };
        server.held += 1;
        let number = self.asked.next;
        self.asked.next += 1;
        let question = Question {
            policy: program.number,
            number,
            peer: connection.peer,
            key: server.key.clone(),
            address: server.address.clone(),
            port: server.local.as_ref().map(|local| local.port),
            workers: server.members().to_vec(),
        };
        let timer = context.set_timer(program.deadline, Timer::Unanswered(number));
        self.asked.held.insert(number, Held { connection, server: id, timer });
        self.sink.push(Event::Asked(Box::new(question)));
    }

    /// The program has said whose a connection is, or that it does not know. An answer that comes late changes nothing.
    pub(super) fn on_answer(&mut self, context: &mut Context, number: u64, worker: Option<WorkerId>) {
        if let Some(Held { timer, .. }) = self.asked.held.get(&number) {
            context.cancel_timer(*timer);
        }
        self.stop_asking(number, worker);
    }

    /// The deadline has passed: another policy decides.
    pub(super) fn unanswered(&mut self, number: u64) {
        if let Some(held) = self.asked.held.get(&number)
            && let Some(server) = self.servers.get(&held.server)
        {
            server.stats.counters.unanswered.count();
        }
        self.stop_asking(number, None);
    }

    fn stop_asking(&mut self, number: u64, worker: Option<WorkerId>) {
        let Some(Held { mut connection, server: id, .. }) = self.asked.held.remove(&number) else { return };
        if let Some(server) = self.servers.get_mut(&id) {
            server.held -= 1;
        }
        connection.chosen = worker;
        self.enqueue(id, connection);
    }
}
