//! What the bus asks for.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use corral_bus::error::Fault;
use corral_bus::protocol::{Name, Reply, Request, Space};
use futures_util::future::FutureExt;

use super::{End, SUBSCRIBE_TIMEOUT, Session, connect};
use crate::batch::Item;
use crate::fault;
use crate::script::{Registration, Waits, Wanted, Work};

impl Session {
    /// Carries out the requests that have come.
    pub(super) async fn requests(&mut self) -> Result<(), End> {
        loop {
            let read = match self.wire.next_request() {
                Ok(None) => return Ok(()),
                Ok(Some(read)) => read,
                Err(fault) => return Err(self.fatal(fault)),
            };
            match read {
                (_, Request::Hello { client, .. }) if self.name.is_empty() => {
                    self.name = client.iter().map(|byte| format!("{byte:02x}")).collect();
                    self.channel = self.settings.channel(&self.name);
                    self.connecting = Some(connect(Arc::clone(&self.settings)).boxed());
                }
                (sequence, request) if !self.name.is_empty() => self.request(sequence, request).await,
                _ => return Err(self.fatal(Fault::protocol("no greeting"))),
            }
        }
    }

    pub(super) fn fatal(&mut self, fault: Fault) -> End {
        self.wire.send(0, &Reply::Fatal(fault));
        End::Over
    }

    pub(super) async fn request(&mut self, sequence: u64, request: Request) {
        let queue_of = |name: Name| name.name;
        let work = match request {
            Request::Op(op) => Work::Op(op),
            Request::Transaction(ops) => {
                let work = Work::Transaction(ops);
                if self.settings.is_cluster && work.is_across(&self.settings) {
                    return self.wire.send(sequence, &Reply::Failed(fault::across()));
                }
                work
            }
            Request::Declare { queue, settings } => Work::Declare { queue: queue_of(queue), settings },
            Request::Receive { queue, count, wait, visibility } => {
                return self.receive(queue, Wanted { sequence, count, visibility }, wait);
            }
            Request::Cancel { target } => return self.cancel(target),
            Request::Extend { queue, receipt, visibility } => {
                Work::Extend { queue: queue_of(queue), receipt, visibility }
            }
            Request::Peek { queue, count } => Work::Peek { queue: queue_of(queue), count },
            Request::Stats { queue } => Work::Stats(queue),
            Request::Purge { queue } => Work::Purge(queue_of(queue)),
            Request::Drain { queue } => Work::Drain(queue_of(queue)),
            Request::Delete { queue } => Work::Delete(queue_of(queue)),
            Request::Queues => Work::Queues,
            Request::Rsmq { call, arguments } => Work::Rsmq { call, arguments },
            Request::Subscribe { pattern, buffer, overflow } => {
                let sink = self.up.as_mut().map(|up| &mut up.sink);
                let added = self.subscriptions.add(sink, sequence, &pattern, buffer, overflow);
                let is_lost = !matches!(tokio::time::timeout(SUBSCRIBE_TIMEOUT, added).await, Ok(Ok(())));
                self.wire.send(sequence, &Reply::Done);
                return if is_lost {
                    self.lost("a subscription was not confirmed")
                };
            }
            Request::Unsubscribe { subscription } => return self.unsubscribe(subscription).await,
            Request::Credit { subscription, count } => {
                self.subscriptions.credit(subscription, count);
                return self.hand_on().await;
            }
            Request::Bye => return self.on_bye(sequence),
            // A second greeting says nothing.
            Request::Hello { .. } => return,
        };
        self.pending.push(Item { sequence, work });
    }

    pub(super) fn receive(&mut self, name: Name, wanted: Wanted, wait: u64) {
        if wait > 0 {
            let now = Instant::now();
            self.waiting.add(&name, wanted, now.checked_add(Duration::from_millis(wait)), now);
            return;
        }
        let work = self.asked(&name, vec![wanted], Waits::No, Registration::default());
        self.pending.push(Item { sequence: wanted.sequence, work });
    }

    /// Asks for messages, or values.
    pub(super) fn asked(
        &mut self,
        name: &Name,
        wanted: Vec<Wanted>,
        waits: Waits,
        registration: Registration,
    ) -> Work {
        match name.space {
            Space::Queue => Work::Receive { queue: Arc::clone(&name.name), wanted, waits, registration },
            Space::List => {
                let number = |one| {
                    self.last_value += 1;
                    (one, self.last_value)
                };
                let wanted = wanted.into_iter().map(number).collect();
                Work::Pop { list: Arc::clone(&name.name), wanted, waits }
            }
        }
    }

    pub(super) fn cancel(&mut self, target: u64) {
        for sequences in self.drains.values_mut() {
            sequences.retain(|sequence| *sequence != target);
        }
        self.drains.retain(|_, sequences| !sequences.is_empty());
        if self.waiting.cancel(target) {
            self.wire.send(target, &Reply::Messages(Vec::new()));
        }
        // What has not been asked for yet is not asked for at all.
        self.pending.cancel(target);
    }

    pub(super) async fn unsubscribe(&mut self, number: u64) {
        let sink = self.up.as_mut().map(|up| &mut up.sink);
        let removed = self.subscriptions.remove(sink, number);
        if !matches!(tokio::time::timeout(SUBSCRIBE_TIMEOUT, removed).await, Ok(Ok(()))) {
            self.lost("an unsubscription was not confirmed");
        }
    }

    /// Sends on what subscribers get.
    pub(super) async fn hand_on(&mut self) {
        let mut ended = Vec::new();
        self.pass_on(&mut ended);
        for number in ended {
            self.unsubscribe(number).await;
        }
    }

    /// The same, but for the subscriptions that end with it.
    pub(super) fn pass_on(&mut self, ended: &mut Vec<u64>) {
        for (number, reply) in self.subscriptions.outbox() {
            self.wire.send(number, &reply);
            if matches!(reply, Reply::Ended(_)) {
                ended.push(number);
            }
        }
        if self.wire.is_behind() {
            self.subscriptions.pause();
        }
    }

    /// What has waited for a bus that did not read goes on, when it does.
    pub(super) async fn catch_up(&mut self) -> io::Result<()> {
        while self.wire.has_caught_up() && self.subscriptions.resume() {
            self.hand_on().await;
            self.wire.write()?;
        }
        Ok(())
    }

    /// What the bus holds goes back, and it waits for nothing.
    pub(super) fn on_bye(&mut self, sequence: u64) {
        self.bye = Some(sequence);
        self.drains.clear();
        for (name, registration) in self.waiting.clear() {
            if name.space == Space::Queue {
                let work = self.asked(&name, Vec::new(), Waits::Known, registration);
                self.pending.push(Item { sequence: 0, work });
            }
        }
        self.pending.push(Item { sequence: 0, work: Work::Bye });
    }
}
