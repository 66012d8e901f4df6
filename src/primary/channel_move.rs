//! A worker that loads corral brings a socket along, and its channel moves over to it: both ends are corral's there, and no
//! longer Node's. Each side says farewell on the first socket, the primary when it has got the second one, the worker in
//! answer to that, and sends on the second from then on. What a side reads moves when it has read the other's farewell: the
//! order of everything stays as it was sent. A worker that dies in between is read on both.

use std::os::fd::{AsFd, OwnedFd};

use serde_json::json;

use super::{ChannelOwner, Context, Event, Primary, Source};
use crate::error::Error;
use crate::ids::WorkerId;
use crate::os;
use crate::proto::{self, CHANNEL_MOVE};
use crate::reactor::EventSink;

impl<S: EventSink<Event>> Primary<S> {
    /// The worker has brought a socket: what is sent from now on goes there.
    pub(super) fn begin_move(&mut self, context: &mut Context, id: WorkerId, socket: OwnedFd) {
        if let Err(errno) = os::require_stream(socket.as_fd()) {
            let error = Error::Sys { doing: "moving a channel to what its worker has sent", errno };
            return self.close_worker(context, id, Some(error));
        }
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let serialization = worker.channel().serialization();
        let marker = match proto::encode(serialization, &json!({ "cmd": CHANNEL_MOVE })) {
            Ok(marker) => marker,
            Err(reason) => return self.sink.push(Event::Fault(Error::BadFrame(reason))),
        };
        let mut owner = ChannelOwner { id, sink: &mut self.sink, unread: &mut self.unread };
        match worker.driver.begin_move(context, &mut owner, socket, marker, Source::SecondSocket(id)) {
            Ok(true) => {
                self.flush(context, id);
                self.notify_waiters(context, id);
            }
            // It is being closed, or has moved already. What came is closed with this.
            Ok(false) => {}
            Err(error) => self.close_worker(context, id, Some(error)),
        }
    }
}
