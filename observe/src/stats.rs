//! What `cluster.stats()` returns, without JavaScript.

use serde_json::{Map, Value, json};

use crate::core::{Description, Descriptions, Server, Snapshot, Worker};
use crate::view::Look;

/// All of it.
pub fn stats(snapshot: &Snapshot, descriptions: &Descriptions) -> Value {
    let weight = |id: u32| snapshot.workers.iter().find(|worker| worker.id == id).map_or(1, |one| one.weight);
    json!({
        "servers": snapshot.servers.iter().map(|one| server(one, descriptions, weight)).collect::<Vec<_>>(),
        "workers": snapshot.workers.iter().map(|one| worker(one, descriptions)).collect::<Vec<_>>(),
    })
}

/// What event loops do: the primary's first, whose `worker` is null.
pub fn event_loops(look: &Look) -> Value {
    let ids = look.snapshot.workers.iter().map(|worker| Some(worker.id));
    let all = ids.zip(look.workers.iter().copied());
    let shown = [(None, look.primary)].into_iter().chain(all).filter_map(|(worker, activity)| {
        let activity = activity?;
        Some(json!({
            "worker": worker,
            "utilization": activity.utilization,
            "blockedFor": activity.blocked_for.map(|micros| micros / 1000),
        }))
    });
    shown.collect()
}

fn server(server: &Server, descriptions: &Descriptions, weight: impl Fn(u32) -> u32) -> Value {
    let load: Vec<_> = server
        .load
        .iter()
        .map(|load| {
            json!({
                "worker": load.worker,
                "weight": weight(load.worker),
                "open": load.open,
                "decisions": load.decisions,
            })
        })
        .collect();
    let mut value = json!({
        "key": server.key,
        "address": server.address,
        "port": server.port,
        "policy": server.policy,
        "policyReason": server.policy_reason,
        "workers": server.load.iter().map(|load| load.worker).collect::<Vec<_>>(),
        "load": load,
        "paused": server.paused,
    });
    add(&mut value, &descriptions.server, &server.counters);
    value
}

fn worker(worker: &Worker, descriptions: &Descriptions) -> Value {
    let mut value = json!({
        "id": worker.id,
        "pid": worker.pid,
        "state": worker.state(),
        "lane": if worker.has_lane { "lane" } else { "channel" },
        "laneReason": worker.lane_reason,
        "idleBy": worker.idle_by,
        "idleReason": worker.idle_reason,
        "keepAliveReason": worker.keep_alive_reason,
        "moved": worker.moved,
        "stalled": worker.stalled,
        "turns": worker.turns,
    });
    add(&mut value, &descriptions.worker, &worker.counters);
    add(&mut value, &descriptions.channel, &worker.traffic);
    value
}

fn add(value: &mut Value, descriptions: &[Description], numbers: &[u64]) {
    let named = descriptions.iter().zip(numbers);
    let named: Map<_, _> = named.map(|(one, number)| (camel_case(&one.name), json!(number))).collect();
    if let Some(object) = value.as_object_mut() {
        object.extend(named);
    }
}

fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |mut camel, word| {
        let mut letters = word.chars();
        camel.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        camel.extend(letters);
        camel
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::example::{snapshot, viewer};

    #[test]
    fn numbers_have_the_names_that_they_have_in_javascript() {
        let mut viewer = viewer(snapshot());
        let Look { snapshot, .. } = viewer.look().unwrap();
        let stats = stats(&snapshot, viewer.descriptions());
        let server = &stats["servers"][0];
        assert_eq!((&server["pending"], &server["refused"]), (&json!(1), &json!(2)));
        assert_eq!(server["workers"], json!([1, 2]));
        assert_eq!(server["load"][1], json!({ "worker": 2, "weight": 1, "open": null, "decisions": 0 }));
        let worker = &stats["workers"][0];
        assert_eq!((&worker["inFlight"], &worker["messagesSent"]), (&json!(4), &json!(5)));
        assert_eq!((&worker["state"], &worker["laneReason"]), (&json!("listening"), &json!(null)));
    }

    #[test]
    fn loops_that_show_nothing_are_not_listed() {
        let look = viewer(snapshot()).look().unwrap();
        let ids = |value: Value| -> Vec<Value> {
            value.as_array().unwrap().iter().map(|one| one["worker"].clone()).collect()
        };
        assert_eq!(ids(event_loops(&look)), [json!(null), json!(1)]);
        let silent = Look { primary: None, workers: vec![None, None], ..look };
        assert_eq!(ids(event_loops(&silent)), Vec::<Value>::new());
    }
}
