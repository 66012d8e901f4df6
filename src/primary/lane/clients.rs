//! What a worker is told on its lane of clients that belong to workers (SCHED_STICKY): what names sessions in requests, by what each of
//! its servers knows its clients, and that the primary has decided about connections which it had given.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Lane;
use crate::ids::WorkerId;
use crate::primary::{Context, Event, Primary};
use crate::proto::ToLane;
use crate::reactor::EventSink;

/// What a worker knows of clients.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Knowledge {
    /// What names sessions, one a line.
    names: String,
    /// By what servers know their clients, and how many bytes are looked at, by their keys.
    servers: BTreeMap<Arc<str>, (String, u32)>,
}

/// What it has been told.
#[derive(Debug, Default)]
pub struct Told {
    knowledge: Knowledge,
    /// Not everything that it is to know: the lane had no room, or what it was told was recalled.
    is_incomplete: bool,
    /// The same of a decision.
    owes_decision: bool,
}

impl Told {
    /// What it was told was recalled before it was received.
    pub fn lose(&mut self) {
        *self = Told { is_incomplete: true, owes_decision: self.owes_decision, ..Told::default() };
    }

    /// The same of a decision.
    pub fn lose_decision(&mut self) {
        self.owes_decision = true;
    }
}

impl Lane {
    /// Whether the worker says which sessions it begins.
    pub(in crate::primary) fn names_sessions(&self) -> bool {
        !self.told.knowledge.names.is_empty()
    }

    /// Tells the worker what it does not know yet. Where that cannot be sent it is told at the next look; until then it reads every
    /// request, and clients without a session are known by their addresses.
    fn tell(&mut self, wanted: Knowledge) {
        if !self.is_used() {
            return;
        }
        self.told.is_incomplete = !self.tell_all(wanted);
        self.rests |= self.told.is_incomplete;
    }

    /// Returns false if there was no room.
    fn tell_all(&mut self, Knowledge { names, servers }: Knowledge) -> bool {
        if self.told.knowledge.names != names {
            self.told.knowledge.names.clear();
            if self.send(&ToLane::Sessions(&names), None).is_err() {
                return false;
            }
            self.told.knowledge.names = names;
        }
        if self.kept.is_none() {
            return true;
        }
        let known = |told: &Knowledge, key: &Arc<str>| told.servers.get(key).cloned();
        for (key, wanted) in &servers {
            if known(&self.told.knowledge, key).as_ref() == Some(wanted) {
                continue;
            }
            let (by, max_head) = wanted;
            if self.send(&ToLane::Clients { max_head: *max_head, by, key }, None).is_err() {
                return false;
            }
            self.told.knowledge.servers.insert(key.clone(), wanted.clone());
        }
        let outdated = self.told.knowledge.servers.keys().filter(|key| !servers.contains_key(*key));
        for key in outdated.cloned().collect::<Vec<_>>() {
            if self.send(&ToLane::Clients { max_head: 0, by: "", key: &key }, None).is_err() {
                return false;
            }
            self.told.knowledge.servers.remove(&key);
        }
        true
    }

    /// Tells the worker that there are decisions about what it has given.
    fn tell_decided(&mut self) {
        self.told.owes_decision = self.is_used() && self.send(&ToLane::Decided, None).is_err();
        self.rests |= self.told.owes_decision;
    }
}

impl<S: EventSink<Event>> Primary<S> {
    /// A worker learns what it does not know yet of the clients of its servers.
    pub(in crate::primary) fn tell_of_clients(&mut self, context: &mut Context, id: WorkerId) {
        let wanted = self.knowledge_of(id);
        if let Some(lane) = self.lane_mut(id) {
            lane.tell(wanted);
        }
        self.tell_later(context, id);
    }

    /// What a worker is to know.
    fn knowledge_of(&self, id: WorkerId) -> Knowledge {
        let servers = self.workers.get(&id).map_or(&[][..], |worker| &worker.servers);
        let sticky = || {
            let servers = servers.iter().filter_map(|server| self.servers.get(server));
            servers.filter_map(|server| Some((server.key.clone(), server.sticky()?)))
        };
        let names: BTreeSet<String> = sticky().filter_map(|(_, choice)| choice.by.session_name()).collect();
        let by_server = sticky().filter_map(|(key, choice)| {
            let max_head = u32::try_from(choice.max_head).unwrap_or(u32::MAX);
            Some((key, (choice.by.to_text()?, max_head)))
        });
        Knowledge { names: names.into_iter().collect::<Vec<_>>().join("\n"), servers: by_server.collect() }
    }

    /// A worker learns that there are decisions about what it has given.
    pub(in crate::primary) fn tell_decided(&mut self, context: &mut Context, id: WorkerId) {
        if let Some(lane) = self.lane_mut(id) {
            lane.tell_decided();
        }
        self.tell_later(context, id);
    }

    /// Tells a worker again what it was told in vain.
    pub(super) fn tell_again(&mut self, context: &mut Context, id: WorkerId) {
        let Some(lane) = self.lane_mut(id) else { return };
        if lane.told.owes_decision {
            self.tell_decided(context, id);
        }
        if self.lane(id).is_some_and(|lane| lane.told.is_incomplete) {
            self.tell_of_clients(context, id);
        }
    }

    /// A lane without room has it at a later look.
    fn tell_later(&mut self, context: &mut Context, id: WorkerId) {
        if self.lane(id).is_some_and(|lane| lane.told.owes_decision || lane.told.is_incomplete) {
            self.look_later(context);
        }
    }
}
