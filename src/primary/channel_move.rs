//! A worker that loads corral sends the primary a socket, and its channel migrates to it: from Node's socket
//! to one between two corrals. Each side writes a half-close marker on the first socket, the primary when it
//! has the second socket, the worker in answer to the primary's marker. From then on the side sends on the
//! second socket. A side reads the second socket when it has read the other side's marker, so that everything
//! keeps its order. If a worker dies in between, the primary reads both sockets.

use std::os::fd::{AsFd, OwnedFd};

use serde_json::json;

use super::{ChannelOwner, Context, Event, Primary, Source};
use crate::error::Error;
use crate::ids::WorkerId;
use crate::os;
use crate::proto::{self, CHANNEL_MOVE};
use crate::reactor::EventSink;

impl<S: EventSink<Event>> Primary<S> {
    /// The worker has sent a socket: later frames go out there.
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
            // The channel is being closed, or has moved already. The new socket is closed with it.
            Ok(false) => {}
            Err(error) => self.close_worker(context, id, Some(error)),
        }
    }
}
