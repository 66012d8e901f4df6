//! A store in memory. It cannot fail, so that nothing is ever taken back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{ClientId, ClientRow, Loaded, QueueRow, State, Store, Whole};
use crate::error::Fault;

use crate::protocol::Durability;
use crate::slots::Slots;

#[derive(Default)]
pub struct MemoryStore {
    messages: Slots<Whole>,
    ids: BTreeMap<(u32, Arc<str>), u64>,
    /// The same by when each is forgotten.
    ends: BTreeSet<(u64, u32, Arc<str>)>,
}

impl MemoryStore {
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    fn forget_id(&mut self, queue: u32, id: &Arc<str>) {
        if let Some(until) = self.ids.remove(&(queue, Arc::clone(id))) {
            self.ends.remove(&(until, queue, Arc::clone(id)));
        }
    }
}

/// A message that the engine knows is there, or the engine is wrong.
fn missing(message: u64) -> Fault {
    Fault::store(format!("message {message} is not in the store"))
}

impl Store for MemoryStore {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn load(&mut self) -> Result<Loaded, Fault> {
        Ok(Loaded { next_message: 1, ..Loaded::default() })
    }

    fn messages(&mut self, _first: u64) -> Result<Vec<(u64, State)>, Fault> {
        Ok(Vec::new())
    }

    fn has_room(&mut self, _bytes: usize) -> bool {
        true
    }

    fn insert(&mut self, message: u64, state: &State, envelope: &Arc<[u8]>) -> Result<(), Fault> {
        self.messages.insert(message, (state.clone(), Arc::clone(envelope)));
        Ok(())
    }

    fn update(&mut self, message: u64, state: &State) -> Result<(), Fault> {
        self.messages.get_mut(message).ok_or_else(|| missing(message))?.0 = state.clone();
        Ok(())
    }

    fn remove(&mut self, message: u64) -> Result<(), Fault> {
        self.messages.remove(message);
        Ok(())
    }

    fn state(&mut self, message: u64) -> Result<Option<State>, Fault> {
        Ok(self.messages.get(message).map(|(state, _)| state.clone()))
    }

    fn envelope(&mut self, message: u64) -> Result<Arc<[u8]>, Fault> {
        let (_, envelope) = self.messages.get(message).ok_or_else(|| missing(message))?;
        Ok(Arc::clone(envelope))
    }

    fn put_queue(&mut self, _queue: &QueueRow) -> Result<(), Fault> {
        Ok(())
    }

    fn remove_queue(&mut self, number: u32) -> Result<(), Fault> {
        let first = (number, Arc::from(""));
        let ids: Vec<_> = self.ids.range(first..).take_while(|((queue, _), _)| *queue == number).collect();
        let ids: Vec<_> = ids.into_iter().map(|((_, id), _)| Arc::clone(id)).collect();
        for id in ids {
            self.forget_id(number, &id);
        }
        Ok(())
    }

    fn remember(&mut self, queue: u32, id: &Arc<str>, until: u64) -> Result<(), Fault> {
        self.forget_id(queue, id);
        self.ids.insert((queue, Arc::clone(id)), until);
        self.ends.insert((until, queue, Arc::clone(id)));
        Ok(())
    }

    fn remembered(&mut self, queue: u32, id: &Arc<str>) -> Result<Option<u64>, Fault> {
        Ok(self.ids.get(&(queue, Arc::clone(id))).copied())
    }

    fn forget(&mut self, until: u64) -> Result<(), Fault> {
        while let Some((end, _, _)) = self.ends.first() {
            if *end > until {
                break;
            }
            if let Some((_, queue, id)) = self.ends.pop_first() {
                self.ids.remove(&(queue, id));
            }
        }
        Ok(())
    }

    fn put_client(&mut self, _client: &ClientId, _row: &ClientRow) -> Result<(), Fault> {
        Ok(())
    }

    fn remove_client(&mut self, _client: &ClientId) -> Result<(), Fault> {
        Ok(())
    }

    fn rsmq(
        &mut self,
        _: &str,
        _: &[Arc<[u8]>],
        _: u64,
    ) -> Result<Result<super::rsmq::Answer, Fault>, Fault> {
        Ok(Err(Fault::store("queues of corral/rsmq are in a file or in Redis")))
    }

    fn has_changes(&self) -> bool {
        false
    }

    fn set_durability(&mut self, _durability: Durability) -> Result<(), Fault> {
        Ok(())
    }

    fn commit(&mut self, _now: u64) -> Result<(), Fault> {
        Ok(())
    }

    fn rollback(&mut self) {}

    fn maintain(&mut self) -> Result<bool, Fault> {
        Ok(false)
    }
}
