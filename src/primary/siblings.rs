//! The listening sockets of one server, one for each worker.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;

use crate::ids::{ServerId, WorkerId};
use crate::os::{self, Bound, Mark, Receivers, Share};
use crate::reactor::{Acceptor, Exhaustion, Next};

use super::{Context, Timer};

/// The place of a socket in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotIndex(pub u32);

/// The sockets, in the order in which they were made. None is closed before the server is: what waits in its queue would
/// be reset.
#[derive(Debug)]
pub struct Group {
    slots: Vec<Slot>,
    /// Those that listen, in the order of their numbers for the kernel: that in which they began to.
    numbers: Vec<SlotIndex>,
    /// Which of them the kernel gives new connections.
    receivers: Receivers,
    backlog: i32,
}

#[derive(Debug)]
struct Slot {
    socket: Arc<OwnedFd>,
    /// Goes with the socket; the server has the first one's.
    _mark: Option<Mark>,
    worker: Option<WorkerId>,
    /// How many connections the worker is to get in comparison with others.
    weight: u32,
    /// The primary accepts in the worker's place.
    acceptor: Option<Acceptor>,
}

impl Group {
    /// A group of one socket, which listens.
    pub fn new(first: Arc<OwnedFd>, backlog: i32) -> Self {
        let slot = Slot { socket: first, _mark: None, worker: None, weight: 1, acceptor: None };
        Group { slots: vec![slot], numbers: vec![SlotIndex(0)], receivers: Receivers::All, backlog }
    }

    /// A group of several, which listen in this order, and whose workers are to come.
    pub fn inherited(first: Arc<OwnedFd>, others: &[Arc<OwnedFd>], backlog: i32) -> Self {
        let mut group = Group::new(first, backlog);
        for socket in others {
            group.numbers.push(SlotIndex(group.slots.len() as u32));
            let mark = Mark::new(socket.as_fd()).ok();
            let slot = Slot { socket: socket.clone(), _mark: mark, worker: None, weight: 1, acceptor: None };
            group.slots.push(slot);
        }
        group.forget_receivers();
        group
    }

    /// Another process may have told the kernel which sockets get connections.
    pub fn forget_receivers(&mut self) {
        self.receivers = Receivers::Only(Vec::new());
    }

    /// The sockets that listen, in the order of their numbers for the kernel.
    pub fn listening(&self) -> Vec<Arc<OwnedFd>> {
        self.numbers.iter().map(|slot| self.socket(*slot).clone()).collect()
    }

    fn slot(&self, SlotIndex(index): SlotIndex) -> &Slot {
        &self.slots[index as usize]
    }

    fn slot_mut(&mut self, SlotIndex(index): SlotIndex) -> &mut Slot {
        &mut self.slots[index as usize]
    }

    /// All sockets.
    pub fn indexes(&self) -> impl Iterator<Item = SlotIndex> + use<> {
        (0..self.slots.len() as u32).map(SlotIndex)
    }

    /// A socket.
    pub fn socket(&self, slot: SlotIndex) -> &Arc<OwnedFd> {
        &self.slot(slot).socket
    }

    /// The worker that has a socket.
    pub fn worker(&self, slot: SlotIndex) -> Option<WorkerId> {
        self.slot(slot).worker
    }

    /// The socket that a worker has.
    pub fn slot_of(&self, worker: WorkerId) -> Option<SlotIndex> {
        self.indexes().find(|slot| self.worker(*slot) == Some(worker))
    }

    /// A socket for a worker that joins: one that nobody has, or else a new one.
    ///
    /// Errors: `EMFILE`, `ENFILE`, `ENOBUFS`.
    pub fn take(&mut self, worker: WorkerId, weight: u32) -> Result<SlotIndex, Errno> {
        let free = |slot: &SlotIndex| self.worker(*slot).is_none() && self.numbers.contains(slot);
        let slot = match self.indexes().find(free) {
            Some(slot) => slot,
            None => self.open()?,
        };
        let Slot { worker: of, weight: its, .. } = self.slot_mut(slot);
        (*of, *its) = (Some(worker), weight);
        Ok(slot)
    }

    /// Gives a worker another weight, which holds with the next [`Group::steer`].
    pub fn weigh(&mut self, worker: WorkerId, weight: u32) {
        if let Some(slot) = self.slot_of(worker) {
            self.slot_mut(slot).weight = weight;
        }
    }

    fn open(&mut self) -> Result<SlotIndex, Errno> {
        let index = SlotIndex(self.slots.len() as u32);
        // Whether it listens or not, it has the address.
        let Bound { socket, mark, .. } = os::bind_sibling(self.socket(SlotIndex(0)).as_fd())?;
        os::listen(socket.as_fd(), self.backlog)?;
        self.numbers.push(index);
        let socket = Arc::new(socket);
        self.slots.push(Slot { socket, _mark: mark, worker: None, weight: 1, acceptor: None });
        Ok(index)
    }

    /// A worker has its socket no more. Returns which that was.
    pub fn leave(&mut self, worker: WorkerId) -> Option<SlotIndex> {
        let slot = self.slot_of(worker)?;
        self.slot_mut(slot).worker = None;
        Some(slot)
    }

    /// Whether the primary accepts in the place of a worker.
    pub fn stands_in(&self, slot: SlotIndex) -> bool {
        self.slot(slot).acceptor.is_some()
    }

    /// Has the primary accept from a socket, or not. Returns what it has accepted with until now.
    pub fn set_acceptor(&mut self, slot: SlotIndex, acceptor: Option<Acceptor>) -> Option<Acceptor> {
        std::mem::replace(&mut self.slot_mut(slot).acceptor, acceptor)
    }

    /// What the primary accepts with in the place of a worker.
    pub fn acceptor_mut(&mut self, slot: SlotIndex) -> Option<&mut Acceptor> {
        self.slots.get_mut(slot.0 as usize)?.acceptor.as_mut()
    }

    fn acceptors(&self) -> impl Iterator<Item = &Acceptor> {
        self.slots.iter().filter_map(|slot| slot.acceptor.as_ref())
    }

    /// All that the primary accepts with.
    pub fn acceptors_mut(&mut self) -> impl Iterator<Item = &mut Acceptor> {
        self.slots.iter_mut().filter_map(|slot| slot.acceptor.as_mut())
    }

    /// Whether the primary may find something to accept.
    pub fn may_accept(&self) -> bool {
        self.acceptors().any(Acceptor::is_ready)
    }

    /// Whether the primary accepts nothing for a while, for lack of descriptors.
    pub fn is_paused(&self) -> bool {
        self.acceptors().any(Acceptor::is_paused)
    }

    /// The next connection that the primary accepts in the place of a worker, and that worker, if it is still there.
    pub fn next(
        &mut self,
        context: &mut Context,
        id: ServerId,
        exhaustion: &mut Exhaustion,
    ) -> (Next, Option<WorkerId>) {
        let mut ended = None;
        for (index, slot) in (0..).zip(&mut self.slots) {
            let Some(acceptor) = &mut slot.acceptor else { continue };
            match acceptor.next(context, slot.socket.as_fd(), Timer::Accept(id), exhaustion) {
                Next::Nothing => {}
                // Its worker has ended it (`shutdown`). It is as one that was never made.
                Next::Failed(_) => ended = Some(SlotIndex(index)),
                next => return (next, slot.worker),
            }
        }
        if let Some(number) = ended.and_then(|ended| self.numbers.iter().position(|slot| *slot == ended)) {
            // As the kernel does.
            self.numbers.swap_remove(number);
        }
        (Next::Nothing, None)
    }

    /// Has the kernel give new connections to those sockets at which the primary does not stand in, by the weights of their
    /// workers; to all alike if there are none of a weight above 0.
    ///
    /// Errors: those of [`os::steer`].
    pub fn steer(&mut self) -> Result<(), Errno> {
        let read = (0..).zip(&self.numbers).filter(|(_, slot)| !self.stands_in(**slot));
        let shares = read.map(|(number, slot)| Share { number, weight: self.slot(*slot).weight });
        let shares: Vec<Share> = shares.filter(|share| share.weight > 0).collect();
        let are_equal = shares.windows(2).all(|pair| pair[0].weight == pair[1].weight);
        let are_all = shares.len() == self.numbers.len() && are_equal;
        let receivers = if shares.is_empty() || are_all { Receivers::All } else { Receivers::Only(shares) };
        // One that has joined since gets nothing from a program that does not know it.
        if self.receivers == receivers {
            return Ok(());
        }
        let Some(member) = self.numbers.first() else { return Ok(()) };
        os::steer(self.socket(*member).as_fd(), &receivers)?;
        self.receivers = receivers;
        Ok(())
    }

    /// Applies a larger backlog to the sockets that are still to be made. A worker sets that of its own.
    pub fn raise_backlog(&mut self, backlog: i32) {
        self.backlog = self.backlog.max(backlog);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn group() -> Group {
        let first = os::bind_tcp(Some("127.0.0.1"), 0, 0).unwrap().socket;
        os::listen(first.as_fd(), 5).unwrap();
        os::open_port_to_siblings(first.as_fd()).unwrap();
        Group::new(Arc::new(first), 5)
    }

    #[test]
    fn who_joins_gets_a_socket_that_nobody_has_before_a_new_one() {
        let mut group = group();
        let slots = [1, 2, 3].map(|id| group.take(WorkerId(id), 1).unwrap());
        assert_eq!(slots, [0, 1, 2].map(SlotIndex));
        assert_eq!(group.leave(WorkerId(2)), Some(SlotIndex(1)));
        assert_eq!(group.leave(WorkerId(2)), None);
        assert_eq!(group.take(WorkerId(4), 1), Ok(SlotIndex(1)));
        assert_eq!(group.slot_of(WorkerId(4)), Some(SlotIndex(1)));
        let port = |slot| os::local_address(group.socket(slot).as_fd()).unwrap().unwrap().port;
        assert!(slots.into_iter().all(|slot| port(slot) == port(SlotIndex(0))));
    }
}
