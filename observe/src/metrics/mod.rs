//! What is known at one moment, as metrics. docs/observing.md lists them.
//!
//! This file has those of the cluster as a whole. `servers` has those of servers, `workers` those that the primary counts of
//! workers, `processes` those of their processes and of the primary's, `buses` those of buses.

mod buses;
mod processes;
mod servers;
mod workers;

pub use servers::names as server_names;

use crate::bus::Buses;
use crate::core::{Description, Descriptions};
use crate::exposition::{Exposition, Kind, Number};
use crate::program::Program;
use crate::view::View;

/// What this addon counts of itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct OwnCounts {
    /// Requests that were answered, whatever with.
    pub requests: u64,
    /// Connections that are open.
    pub connections: usize,
    /// Connections that were closed for others.
    pub evicted: u64,
    /// Connections from where none is allowed.
    pub turned_away: u64,
    /// Those who follow events.
    pub followers: usize,
}

/// Adds all metrics.
pub fn metrics(
    to: &mut Exposition,
    view: &View,
    descriptions: &Descriptions,
    program: &mut Program,
    buses: &Buses,
    own: OwnCounts,
) {
    to.family(Kind::Info, "corral_build", "The version of corral.")
        .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1_u64);
    cluster(to, view, descriptions);
    servers::add(to, view, descriptions);
    workers::add(to, view, descriptions);
    processes::add(to, view, descriptions);
    blocks(to, view);
    buses::add(to, buses, view.snapshot.now);
    own_counts(to, own);
    published(to, view, program);
    to.append(|text, format| program.write(text, format));
}

fn cluster(to: &mut Exposition, view: &View, descriptions: &Descriptions) {
    let snapshot = &view.snapshot;
    to.family(Kind::Gauge, "corral_up", "1 while the primary serves, 0 once its reactor has ended.")
        .sample(&[], !snapshot.has_ended);
    let mut states =
        to.family(Kind::Gauge, "corral_workers", "Workers whose channels are open, by their states.");
    for state in ["none", "online", "listening"] {
        let count = snapshot.workers.iter().filter(|worker| worker.state() == state).count();
        states.sample(&[("state", state)], count);
    }
    to.family(Kind::Counter, "corral_workers_spawned", "Workers that have been spawned.")
        .sample(&[], snapshot.spawned);
    let mut exits = to.family(
        Kind::Counter,
        "corral_worker_exits",
        "Workers that have ended, by why: disconnect (asked to leave, or by themselves), signal, or exit; and by code or signal.",
    );
    for (exit, count) in &view.exits {
        exits.sample(&[("reason", &exit.reason), ("status", &exit.status)], *count);
    }
    to.family(
        Kind::Histogram,
        "corral_worker_online_delay_seconds",
        "Time from spawning a worker until it runs.",
    )
    .histogram(&[], &descriptions.bounds, &snapshot.online_after);
    to.family(
        Kind::Histogram,
        "corral_worker_listening_delay_seconds",
        "Time from spawning a worker until it has a server.",
    )
    .histogram(&[], &descriptions.bounds, &snapshot.listening_after);
}

fn blocks(to: &mut Exposition, view: &View) {
    let help =
        "How often a worker's event loop was blocked, by the frame of its stack that says most about it.";
    let mut times = to.family(Kind::Counter, "corral_blocks", help);
    for (frame, count) in &view.block_counts {
        times.sample(&[("frame", frame)], count.times);
    }
    let help = "For how long workers' event loops were blocked, by the same frame.";
    let mut durations = to.family(Kind::Counter, "corral_blocked_seconds", help);
    for (frame, count) in &view.block_counts {
        durations.sample(&[("frame", frame)], count.duration as f64 / 1e3);
    }
}

fn published(to: &mut Exposition, view: &View, program: &Program) {
    let help = "Time since a worker has published its program's own metrics.";
    let mut ages = to.family(Kind::Gauge, "corral_worker_published_age_seconds", help);
    for (worker, age) in program.ages(view.snapshot.now) {
        ages.sample(&[("worker", &worker.to_string())], crate::exposition::seconds(age));
    }
    let help = "How often a worker has published what could not be understood.";
    to.family(Kind::Counter, "corral_observe_unreadable_publications", help)
        .sample(&[], program.unreadable());
}

fn own_counts(to: &mut Exposition, own: OwnCounts) {
    to.family(Kind::Counter, "corral_observe_requests", "Requests to this server.").sample(&[], own.requests);
    to.family(Kind::Gauge, "corral_observe_connections", "Connections to this server that are open.")
        .sample(&[], own.connections);
    to.family(Kind::Gauge, "corral_observe_followers", "Clients of this server that follow events.")
        .sample(&[], own.followers);
    to.family(
        Kind::Counter,
        "corral_observe_evicted_connections",
        "Connections to this server that were closed to make room for others.",
    )
    .sample(&[], own.evicted);
    to.family(
        Kind::Counter,
        "corral_observe_turned_away_connections",
        "Connections to this server from where none is allowed.",
    )
    .sample(&[], own.turned_away);
}

/// Adds a family for each number of a kind of thing: of `prefix`, as described, one sample for each thing.
fn counted<'a, T: 'a>(
    to: &mut Exposition,
    prefix: &str,
    descriptions: &[Description],
    label: &str,
    things: impl Iterator<Item = (&'a T, &'a str)> + Clone,
    numbers: impl Fn(&T) -> &[u64],
) {
    for (place, description) in descriptions.iter().enumerate() {
        let kind = if description.is_counter { Kind::Counter } else { Kind::Gauge };
        let name = format!("{prefix}_{}", name(description));
        let mut family = to.family(kind, &name, &description.help);
        for (thing, called) in things.clone() {
            if let Some(number) = numbers(thing).get(place) {
                family.sample(&[(label, called)], Number::from(*number));
            }
        }
    }
}

/// The name of a number with its unit behind it: `sent_bytes` for `bytes_sent`.
fn name(description: &Description) -> String {
    let name = &description.name;
    match &description.unit {
        None => name.clone(),
        Some(unit) => {
            let words = name.split('_').filter(|word| word != unit);
            words.chain([unit.as_str()]).collect::<Vec<_>>().join("_")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    use corral_bus::protocol::Stats;

    use super::*;
    use crate::bus::{Bus, Counted};
    use crate::core::{Server, Snapshot};
    use crate::negotiation::Format;
    use crate::view::Exit;
    use crate::view::example::*;

    fn written(snapshot: Snapshot, format: Format) -> String {
        let mut viewer = viewer(snapshot);
        viewer.count_exit(Exit { reason: "exit".into(), status: "3".into() });
        let messages =
            BTreeMap::from([("jobs".to_owned(), Stats { waiting: 1, delayed: 2, held: 3, receivers: 4 })]);
        let counted = Some(Counted { at: 7_000_000, queues: 2, messages });
        viewer.buses.insert("memory".into(), Bus { engine: "memory".into(), is_up: true, counted });
        viewer.buses.insert("file:/q".into(), Bus::default());
        let view = viewer.view(Duration::from_secs(1)).unwrap();
        let mut to = Exposition::new(format, 0);
        let (descriptions, program, buses) = viewer.published();
        metrics(&mut to, &view, descriptions, program, buses, OwnCounts::default());
        to.finish()
    }

    #[test]
    fn numbers_of_the_core_are_named_after_their_descriptions() {
        let text = written(snapshot(), Format::Text);
        for line in [
            "corral_server_pending_connections{server=\"127.0.0.1:80\"} 1",
            "corral_server_refused_total{server=\"127.0.0.1:80\"} 2",
            "corral_server_open_connections{server=\"127.0.0.1:80\",worker=\"1\"} 7",
            "corral_server_decisions_total{server=\"127.0.0.1:80\",worker=\"2\"} 0",
            "corral_worker_in_flight_connections{worker=\"2\"} 4",
            "corral_worker_sent_messages_total{worker=\"1\"} 5",
            "corral_worker_queued_bytes{worker=\"1\"} 6",
            "# HELP corral_worker_queued_bytes What queued_bytes is.",
            "corral_workers{state=\"online\"} 1",
            "corral_workers_spawned_total 3",
            "corral_worker_exits_total{reason=\"exit\",status=\"3\"} 1",
            "corral_server_hand_over_seconds_bucket{server=\"127.0.0.1:80\",le=\"0.001\"} 2",
            "corral_worker_connection_taken_seconds_count{worker=\"1\"} 3",
            "corral_worker_event_loop_busy_seconds_total{worker=\"1\"} 0",
            "corral_worker_event_loop_blocked_seconds{worker=\"1\"} 0",
            "corral_primary_event_loop_turns_total 9",
            "corral_worker_heap_used_bytes{worker=\"1\"} 4096",
            "corral_worker_garbage_collections_total{worker=\"1\",kind=\"minor\"} 3",
            "corral_worker_garbage_collection_seconds_total{worker=\"1\",kind=\"minor\"} 2",
            "corral_bus_info{bus=\"memory\",engine=\"memory\"} 1",
            "corral_bus_up{bus=\"memory\"} 1",
            "corral_bus_up{bus=\"file:/q\"} 0",
            "corral_bus_queues{bus=\"memory\"} 2",
            "corral_bus_counted_age_seconds{bus=\"memory\"} 3",
            "corral_bus_queue_waiting_messages{bus=\"memory\",queue=\"jobs\"} 1",
            "corral_bus_queue_delayed_messages{bus=\"memory\",queue=\"jobs\"} 2",
            "corral_bus_queue_held_messages{bus=\"memory\",queue=\"jobs\"} 3",
            "corral_bus_queue_receivers{bus=\"memory\",queue=\"jobs\"} 4",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        // What is not shown is not there.
        assert!(!text.contains("corral_worker_heap_used_bytes{worker=\"2\"}"));
        assert!(!text.contains("corral_server_open_connections{server=\"127.0.0.1:80\",worker=\"2\"}"));
    }

    #[test]
    fn no_two_samples_are_the_same_and_each_family_is_in_one_place() {
        // Two servers at one address: UDP and TCP, for example.
        let twin = Server { key: "127.0.0.1:80:udp4::0".into(), ..server() };
        let snapshot = Snapshot { servers: vec![server(), twin], ..snapshot() };
        for format in [Format::Text, Format::OpenMetrics] {
            let text = written(snapshot.clone(), format);
            let samples = text.lines().filter(|line| !line.starts_with('#'));
            let mut seen = BTreeSet::new();
            for sample in samples {
                let (labels, _) = sample.rsplit_once(' ').unwrap();
                assert!(seen.insert(labels.to_owned()), "twice: {labels}");
            }
            let names = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
            let names: Vec<_> = names.map(|line| line.split(' ').next().unwrap()).collect();
            assert_eq!(names.len(), names.iter().collect::<BTreeSet<_>>().len());
        }
        let text = written(snapshot, Format::Text);
        assert!(text.contains("corral_server_refused_total{server=\"127.0.0.1:80:udp4::0\"} 2"), "{text}");
    }

    #[test]
    fn units_stand_behind_names() {
        let named = |name: &str, unit: Option<&str>| {
            super::name(&Description {
                name: name.into(),
                is_counter: true,
                unit: unit.map(Into::into),
                help: String::new(),
            })
        };
        assert_eq!(named("messages_sent", Some("messages")), "sent_messages");
        assert_eq!(named("queued_bytes", Some("bytes")), "queued_bytes");
        assert_eq!(named("accepted", Some("connections")), "accepted_connections");
        assert_eq!(named("recalled", None), "recalled");
    }
}
