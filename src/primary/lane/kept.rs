//! The connections that a lane's worker keeps: whether they rest, and what the worker does meanwhile.

use std::borrow::Cow;
use std::os::fd::AsFd;

use super::Lane;
use crate::ids::WorkerId;
use crate::os;
use crate::primary::Context;
use crate::primary::kept::{Activity, Doing, Kept};
use crate::proto::ToLane;

impl Lane {
    /// Lets connections that the worker keeps rest between requests. Where that cannot be, they stay with the worker.
    pub(in crate::primary) fn offer_kept(&mut self, context: &mut Context, id: WorkerId) {
        let offered =
            Kept::create(context, id).map_err(|error| error.to_string()).and_then(|(kept, file)| {
                ToLane::Kept.encode(&mut self.outgoing);
                os::send_packet(self.ends.ours.as_fd(), &self.outgoing, Some(file.as_fd()))
                    .map(|()| kept)
                    .map_err(|errno| format!("sending failed: {errno}"))
            });
        match offered {
            Ok(kept) => {
                if let Some(mut lost) = self.kept.replace(kept) {
                    lost.end(context);
                }
            }
            Err(reason) => self.no_rest(context, reason.into()),
        }
    }

    /// The connections that the worker keeps stay with it, for this reason.
    pub(super) fn no_rest(&mut self, context: &mut Context, reason: Cow<'static, str>) {
        if let Some(mut kept) = self.kept.take() {
            kept.end(context);
        }
        *self.stats.no_rest.lock() = Some(reason);
    }

    /// Looks at the connections that the worker keeps: see [`Kept::look`].
    pub fn look_at_kept(&mut self) -> Activity {
        let (Some(kept), Some(pulse)) = (&mut self.kept, &self.pulse) else { return Activity::Quiet };
        kept.look(pulse.turned(), || {
            if pulse.is_waiting() {
                return Doing::Waiting;
            }
            pulse.had_processor().map_or(Doing::Other, Doing::Running)
        })
    }
}
