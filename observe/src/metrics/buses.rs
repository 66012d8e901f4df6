//! Metrics of buses and their queues.

use corral_bus::protocol::Stats;

use crate::bus::{Buses, Counted};
use crate::exposition::{Exposition, Kind, seconds};

/// What a number of a queue is called, what it says, and which it is.
type Described = (&'static str, &'static str, fn(&Stats) -> u64);

const NUMBERS: [Described; 4] = [
    ("corral_bus_queue_waiting_messages", "Messages of a queue that can be received now.", |all| all.waiting),
    ("corral_bus_queue_delayed_messages", "Messages of a queue that can be received later.", |all| {
        all.delayed
    }),
    ("corral_bus_queue_held_messages", "Messages of a queue that somebody holds: in flight.", |all| all.held),
    ("corral_bus_queue_receivers", "Calls of receive that wait for messages of a queue.", |all| {
        all.receivers
    }),
];

pub fn add(to: &mut Exposition, buses: &Buses, now: u64) {
    let counted = || buses.iter().filter_map(|(name, bus)| Some((name.as_str(), bus.counted.as_ref()?)));
    let mut info = to.family(Kind::Info, "corral_bus", "What a bus is that this process serves or uses.");
    for (name, bus) in buses {
        info.sample(&[("bus", name), ("engine", &bus.engine)], 1_u64);
    }
    let mut up = to.family(Kind::Gauge, "corral_bus_up", "1 while the bus's engine answers.");
    buses.iter().for_each(|(name, bus)| up.sample(&[("bus", name)], bus.is_up));
    let mut queues = to.family(Kind::Gauge, "corral_bus_queues", "Queues of a bus.");
    counted().for_each(|(name, counted)| queues.sample(&[("bus", name)], counted.queues));
    let help = "Time since the messages of a bus were counted.";
    let mut ages = to.family(Kind::Gauge, "corral_bus_counted_age_seconds", help);
    for (name, Counted { at, .. }) in counted() {
        ages.sample(&[("bus", name)], seconds(now.saturating_sub(*at)));
    }
    for (name, help, number) in NUMBERS {
        let mut family = to.family(Kind::Gauge, name, help);
        for (bus, Counted { messages, .. }) in counted() {
            for (queue, stats) in messages {
                family.sample(&[("bus", bus), ("queue", queue)], number(stats));
            }
        }
    }
}
