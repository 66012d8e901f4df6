//! Which thread reads a channel: the reactor's, or the JavaScript thread while nothing but the program's
//! messages arrives.
//!
//! An [`Inbox`] has one owner at a time. The reactor offers it in an event. The JavaScript thread accepts
//! when it takes that event, after all earlier messages have been delivered. It then reads until it meets
//! something that is not for it, or the reactor takes the inbox back. Reading and taking back happen under
//! one lock, and messages are delivered before the lock is released. So messages are delivered in order,
//! whichever thread reads.

use std::os::fd::AsFd;

use super::Channel;
use super::batch::{Batch, Frames};
use super::inbox::{Inbox, MessagesRead};
use crate::ids::Offer;

/// Where the inbox is.
#[derive(Debug, Default)]
enum Holder {
    #[default]
    Reactor,
    /// The JavaScript thread has been offered it and has not reached the offer. Neither thread reads.
    Offered(Inbox),
    /// The JavaScript thread reads.
    JavaScript(Inbox),
    /// The JavaScript thread has met something for the reactor. Neither thread reads until the reactor has
    /// taken the inbox.
    Returned(Inbox),
}

/// The result of a read on the JavaScript thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectRead {
    /// The available messages have been delivered. Read again at the next readiness.
    Delivered,
    /// The reactor must take the channel back. The caller asks it to.
    Returned,
    /// The JavaScript thread does not have the inbox.
    NotHere,
}

/// The receiving half of a channel, shared by its two possible readers.
#[derive(Debug, Default)]
pub(super) struct SharedInbox {
    holder: Holder,
    last_offer: Offer,
    /// The JavaScript thread cannot read channels.
    refuses: bool,
    /// How often the JavaScript thread has read.
    reads: u64,
}

impl SharedInbox {
    pub(super) fn offer(&mut self, inbox: &mut Option<Inbox>) -> Option<Offer> {
        if self.refuses {
            return None;
        }
        self.holder = Holder::Offered(inbox.take()?);
        self.last_offer.0 += 1;
        Some(self.last_offer)
    }

    pub(super) fn take_back(&mut self) -> Option<Inbox> {
        match std::mem::take(&mut self.holder) {
            Holder::Reactor => None,
            Holder::Offered(inbox) | Holder::JavaScript(inbox) | Holder::Returned(inbox) => Some(inbox),
        }
    }

    pub(super) fn accept(&mut self, offer: Offer) -> bool {
        if offer != self.last_offer {
            // This offer was taken back. Events between it and the open offer have not been taken yet.
            return false;
        }
        match std::mem::take(&mut self.holder) {
            Holder::Offered(inbox) => {
                self.holder = Holder::JavaScript(inbox);
                true
            }
            other => {
                self.holder = other;
                false
            }
        }
    }

    pub(super) fn refuse(&mut self) {
        self.refuses = true;
    }

    pub(super) fn reads(&self) -> u64 {
        self.reads
    }

    pub(super) fn read(
        &mut self,
        channel: &Channel,
        most: usize,
        mut deliver: impl FnMut(Frames),
    ) -> DirectRead {
        let Holder::JavaScript(inbox) = &mut self.holder else { return DirectRead::NotHere };
        self.reads += 1;
        let mut batch = Batch::default();
        let status = inbox.read_messages(channel.as_fd(), most, |frame, segments| {
            channel.traffic().received(frame.total_length());
            batch.add(channel.serialization(), frame, segments, &mut deliver);
        });
        batch.take().into_iter().for_each(deliver);
        if status == MessagesRead::All {
            return DirectRead::Delivered;
        }
        if let Some(inbox) = self.take_back() {
            self.holder = Holder::Returned(inbox);
        }
        DirectRead::Returned
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io::IoSlice;
    use std::os::fd::OwnedFd;

    use nix::errno::Errno;
    use proptest::prelude::*;

    use super::*;
    use crate::channel::{Extent, LARGE_MESSAGE, pair};
    use crate::os;
    use crate::proto::{Kind, Serialization};

    /// A frame of the peer.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Sent {
        Message,
        Protocol,
        Handle,
        Large,
    }

    impl Sent {
        fn frame(self, number: usize) -> Vec<u8> {
            let text = match self {
                Sent::Message => format!("{{\"n\":{number}}}\n"),
                Sent::Protocol => format!("{{\"cmd\":\"NODE_CLUSTER\",\"n\":{number}}}\n"),
                Sent::Handle => format!("{{\"cmd\":\"NODE_HANDLE\",\"n\":{number}}}\n"),
                Sent::Large => format!("{{\"x\":\"{}\",\"n\":{number}}}\n", "x".repeat(LARGE_MESSAGE)),
            };
            text.into_bytes()
        }
    }

    fn number(frame: &[u8]) -> usize {
        let text = std::str::from_utf8(frame).unwrap().trim_end_matches('}');
        text.rsplit(':').next().unwrap().parse().unwrap()
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        PeerSends(Sent),
        PeerWrites(usize),
        ReactorReads,
        ReactorOffers,
        /// The reactor's batch of this turn goes to the event queue.
        TurnEnds,
        JavaScriptReads,
        JavaScriptTakes,
    }

    #[derive(Debug)]
    enum Event {
        Frame { number: usize, has_handle: bool },
        Offered(Offer),
    }

    /// A channel between its peer, the reactor and the JavaScript thread, one step at a time: steps under the
    /// lock exclude each other.
    struct Model {
        channel: Channel,
        peer: OwnedFd,
        to_write: VecDeque<(Vec<u8>, bool)>,
        sent: Vec<Sent>,
        inbox: Option<Inbox>,
        gathered: Vec<Event>,
        queue: Vec<Event>,
        taken: Vec<(usize, bool)>,
        direct: usize,
    }

    impl Model {
        fn new() -> Self {
            let (channel, peer) = pair(Serialization::Json).unwrap();
            os::set_nonblocking(peer.as_fd()).unwrap();
            Model {
                channel,
                peer,
                to_write: VecDeque::new(),
                sent: Vec::new(),
                inbox: Some(Inbox::new(Serialization::Json, 1 << 20)),
                gathered: Vec::new(),
                queue: Vec::new(),
                taken: Vec::new(),
                direct: 0,
            }
        }

        fn step(&mut self, step: Step) {
            match step {
                Step::PeerSends(what) => {
                    self.to_write.push_back((what.frame(self.sent.len()), what == Sent::Handle));
                    self.sent.push(what);
                }
                Step::PeerWrites(most) => self.peer_writes(most),
                Step::ReactorReads => self.reactor_reads(),
                Step::ReactorOffers => {
                    let offer = self.channel.offer(&mut self.inbox);
                    self.gathered.extend(offer.map(Event::Offered));
                }
                Step::TurnEnds => self.queue.append(&mut self.gathered),
                Step::JavaScriptReads => self.javascript_reads(),
                Step::JavaScriptTakes => self.javascript_takes(),
            }
        }

        fn peer_writes(&mut self, most: usize) {
            let Some((bytes, has_handle)) = self.to_write.front_mut() else { return };
            let part = &bytes[..bytes.len().min(most)];
            let gift = has_handle.then(|| self.channel.as_fd());
            match os::send(self.peer.as_fd(), &[IoSlice::new(part)], gift) {
                Ok(count) => {
                    *has_handle = false;
                    bytes.drain(..count);
                    if bytes.is_empty() {
                        self.to_write.pop_front();
                    }
                }
                Err(errno) => assert_eq!(errno, Errno::EAGAIN),
            }
        }

        fn reactor_reads(&mut self) {
            if self.inbox.is_none() {
                self.inbox = self.channel.take_back();
            }
            let gathered = &mut self.gathered;
            self.inbox.as_mut().unwrap().read(self.channel.as_fd(), Extent::Ready, |frame| {
                assert!(frame.kind != Kind::Handle || frame.handle.is_some());
                let (number, has_handle) = (number(&frame.bytes), frame.handle.is_some());
                gathered.push(Event::Frame { number, has_handle });
            });
        }

        fn javascript_reads(&mut self) {
            let (queue, direct) = (&mut self.queue, &mut self.direct);
            self.channel.read_directly(usize::MAX, |frames| {
                let (Frames::One(_, bytes) | Frames::Many(_, bytes, _)) = frames else { unreachable!() };
                for frame in bytes.split(|byte| *byte == b'\n').filter(|frame| !frame.is_empty()) {
                    *direct += 1;
                    queue.push(Event::Frame { number: number(frame), has_handle: false });
                }
            });
        }

        fn javascript_takes(&mut self) {
            for event in std::mem::take(&mut self.queue) {
                match event {
                    Event::Frame { number, has_handle } => self.taken.push((number, has_handle)),
                    Event::Offered(offer) => drop(self.channel.accept(offer)),
                }
            }
        }

        /// Everything that was sent arrives, whichever thread reads at this point.
        fn finish(&mut self) {
            while !self.to_write.is_empty() {
                self.peer_writes(usize::MAX);
                self.javascript_reads();
                self.reactor_reads();
            }
            self.reactor_reads();
            self.step(Step::TurnEnds);
            self.javascript_takes();
            let expected = self.sent.iter().map(|what| *what == Sent::Handle).enumerate();
            assert_eq!(self.taken, expected.collect::<Vec<_>>());
        }
    }

    fn any_step() -> impl Strategy<Value = Step> {
        let sent = prop_oneof![
            12 => Just(Sent::Message), 1 => Just(Sent::Protocol), 1 => Just(Sent::Handle), 1 => Just(Sent::Large)
        ];
        prop_oneof![
            6 => sent.prop_map(Step::PeerSends),
            6 => prop_oneof![Just(5), Just(usize::MAX)].prop_map(Step::PeerWrites),
            1 => Just(Step::ReactorReads),
            3 => Just(Step::ReactorOffers),
            3 => Just(Step::TurnEnds),
            4 => Just(Step::JavaScriptReads),
            3 => Just(Step::JavaScriptTakes),
        ]
    }

    proptest! {
        #[test]
        fn what_a_peer_sends_is_told_in_its_order_whoever_reads(
            steps in prop::collection::vec(any_step(), 0..150),
        ) {
            let mut model = Model::new();
            for step in steps {
                model.step(step);
            }
            model.finish();
        }
    }

    /// A model whose channel the JavaScript thread reads.
    fn lent() -> Model {
        let mut model = Model::new();
        for step in [Step::ReactorOffers, Step::TurnEnds, Step::JavaScriptTakes] {
            model.step(step);
        }
        model
    }

    fn send_all(model: &mut Model, frames: &[Sent]) {
        for what in frames {
            model.step(Step::PeerSends(*what));
            model.step(Step::PeerWrites(usize::MAX));
        }
    }

    #[test]
    fn messages_are_read_directly_up_to_what_is_none() {
        for other in [Sent::Protocol, Sent::Handle, Sent::Large] {
            let mut model = lent();
            send_all(&mut model, &[Sent::Message, Sent::Message, other, Sent::Message]);
            // A large message takes more than one read.
            model.javascript_reads();
            model.javascript_reads();
            assert_eq!(model.direct, 2, "{other:?}");
            // From here on the reactor reads.
            assert_eq!(model.channel.read_directly(usize::MAX, |_| unreachable!()), DirectRead::NotHere);
            model.finish();
        }
    }

    #[test]
    fn a_large_message_is_left_before_all_of_it_has_come() {
        let mut model = lent();
        model.step(Step::PeerSends(Sent::Large));
        let length = model.to_write[0].0.len();
        model.step(Step::PeerWrites(length - 1));
        let outcomes = [(); 4].map(|()| model.channel.read_directly(usize::MAX, |_| unreachable!()));
        assert!(outcomes.contains(&DirectRead::Returned), "{outcomes:?}");
        model.finish();
    }

    #[test]
    fn nothing_is_read_directly_before_the_offer_is_come_to() {
        let mut model = Model::new();
        send_all(&mut model, &[Sent::Message]);
        model.reactor_reads();
        model.step(Step::ReactorOffers);
        send_all(&mut model, &[Sent::Message]);
        assert_eq!(model.channel.read_directly(usize::MAX, |_| unreachable!()), DirectRead::NotHere);
        model.finish();
    }

    #[test]
    fn an_offer_that_was_taken_back_is_no_later_offer() {
        let mut model = Model::new();
        model.step(Step::ReactorOffers);
        model.step(Step::TurnEnds);
        send_all(&mut model, &[Sent::Message]);
        // The offer is taken back and made again within one turn that has not ended.
        model.reactor_reads();
        model.step(Step::ReactorOffers);
        send_all(&mut model, &[Sent::Message]);
        model.javascript_takes();
        assert_eq!(model.channel.read_directly(usize::MAX, |_| unreachable!()), DirectRead::NotHere);
        model.finish();
    }

    #[test]
    fn the_end_is_left_to_the_reactor() {
        let mut model = lent();
        send_all(&mut model, &[Sent::Message]);
        drop(std::mem::replace(&mut model.peer, pair(Serialization::Json).unwrap().1));
        model.javascript_reads();
        assert_eq!(model.direct, 1);
        assert_eq!(model.channel.read_directly(usize::MAX, |_| unreachable!()), DirectRead::Returned);
        let mut inbox = model.channel.take_back().unwrap();
        let status = inbox.read(model.channel.as_fd(), Extent::ToEnd, |_| unreachable!());
        assert!(matches!(status, crate::channel::ReadStatus::Ended));
    }

    #[test]
    fn who_cannot_read_is_offered_nothing() {
        let mut model = Model::new();
        model.channel.refuse_offers();
        assert!(model.channel.offer(&mut model.inbox).is_none());
        assert!(model.inbox.is_some());
    }
}
