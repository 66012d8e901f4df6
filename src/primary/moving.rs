//! A worker that loads corral brings a socket along, and its channel moves over to it: both ends are corral's there, and no
//! longer Node's. Each side says farewell on the first socket, the primary when it has got the second one, the worker in
//! answer to that, and sends on the second from then on. What a side reads moves when it has read the other's farewell: the
//! order of everything stays as it was sent. A worker that dies in between is read on both.

use std::os::fd::{AsFd, OwnedFd};

use serde_json::json;

use super::{Context, Event, Primary, Source};
use crate::error::Error;
use crate::ids::WorkerId;
use crate::os;
use crate::proto::{self, CHANNEL_MOVE};
use crate::reactor::{EventSink, Registration};

impl<S: EventSink<Event>> Primary<S> {
    /// The worker has brought a socket: what is sent from now on goes there.
    pub(super) fn begin_move(&mut self, context: &mut Context, id: WorkerId, socket: OwnedFd) {
        if let Err(errno) = os::require_stream(socket.as_fd()) {
            let error = Error::Sys { doing: "moving a channel to what its worker has sent", errno };
            return self.close_worker(context, id, Some(error));
        }
        // What it answers on the new socket is to be told behind what it said before.
        self.take_back(context, id);
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let farewell = match proto::encode(worker.channel.serialization(), &json!({ "cmd": CHANNEL_MOVE })) {
            Ok(farewell) => farewell,
            Err(reason) => return self.sink.push(Event::Fault(Error::BadFrame(reason))),
        };
        if !worker.channel.move_sending(socket, farewell) {
            // It is being closed, or has moved already and what came is closed with this.
            return;
        }
        let Some(second) = worker.channel.second_socket() else { return };
        match Registration::new(context, second, Source::WorkerToBe(id)) {
            Ok(registration) => {
                worker.next = Some(registration);
                self.flush(context, id);
                self.introduce(context, id);
            }
            Err(error) => self.close_worker(context, id, Some(error)),
        }
    }

    /// Everything on the first socket has been read: from now on the second one is.
    pub(super) fn finish_move(&mut self, context: &mut Context, id: WorkerId) {
        if !self.reclaim(context, id) {
            return;
        }
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let Some(next) = worker.next.take() else {
            let fault = "a channel that moves without having been given a socket".into();
            return self.close_worker(context, id, Some(Error::BadFrame(fault)));
        };
        worker.registration.end(context, worker.channel.as_fd());
        worker.channel.move_reading();
        if let Some(inbox) = &mut worker.inbox {
            inbox.accept_attachments();
        }
        next.set_source(context, Source::Worker(id));
        worker.registration = next;
        // Its readiness has been told before.
        self.unread.push(id);
    }
}
