//! Workers that somebody observes show what metrics are made of.

use std::os::fd::AsFd;

use nix::errno::Errno;

use super::Lane;
use crate::os;
use crate::proto::ToLane;

impl Lane {
    /// Whether the worker is to show what metrics are made of. Where it cannot be asked, it shows less of it.
    pub fn set_observed(&mut self, is_observed: bool) {
        if let Some(pulse) = &self.pulse {
            pulse.pulse.set_observed(is_observed);
            if is_observed {
                // It need not turn by itself. Without room on its lane, or a socket, it does not show what its runtime knows.
                let _ = self.ask_to_show();
            } else {
                *self.stats.link.lock() = None;
            }
        }
    }

    /// Gives the worker its end of a socket, on which it can be asked while its event loop does not turn. This end waits for whoever
    /// observes.
    fn ask_to_show(&mut self) -> Result<(), Errno> {
        let ends = os::packet_pair()?;
        ToLane::Observe.encode(&mut self.outgoing);
        os::send_packet(self.ends.ours.as_fd(), &self.outgoing, Some(ends.theirs.as_fd()))?;
        *self.stats.link.lock() = Some(ends.ours);
        Ok(())
    }
}
