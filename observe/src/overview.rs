//! What the page draws, each time: the part of a view that moves.

use serde_json::{Value, json};

use crate::core::{Descriptions, Durations, Loop, Server, Snapshot};
use crate::metrics::server_names;
use crate::view::{Process, Restarts, View};

/// The bounds of durations, the servers, the primary and the workers.
pub fn overview(view: &View, descriptions: &Descriptions) -> Value {
    let Snapshot { now, servers, .. } = &view.snapshot;
    let number = |server: &Server, name: &str| {
        let place = descriptions.server.iter().position(|one| one.name == name);
        place.and_then(|place| server.counters.get(place)).copied().unwrap_or_default()
    };
    let servers: Vec<_> = servers
        .iter()
        .zip(server_names(servers))
        .map(|(server, name)| {
            json!({
                "name": name,
                "accepted": number(server, "accepted"),
                "pending": number(server, "pending"),
                "handedOver": server.handed_over_after.buckets,
            })
        })
        .collect();
    let dispatched = descriptions.worker.iter().position(|one| one.name == "dispatched");
    let workers: Vec<_> = view
        .all_workers()
        .map(|(worker, process)| {
            let mut value = process_value(process, worker.event_loop.as_ref());
            value["id"] = json!(worker.id);
            value["pid"] = json!(worker.pid);
            value["state"] = json!(worker.state());
            value["age"] = json!(now.saturating_sub(worker.spawned_at) / 1_000_000);
            value["dispatched"] = json!(dispatched.and_then(|place| worker.counters.get(place)));
            value["restarts"] = json!(view.restarts.get(&worker.id).unwrap_or(&Restarts::new()));
            value["taken"] = json!(worker.taken_after.buckets);
            value
        })
        .collect();
    json!({
        "now": now,
        "bounds": descriptions.bounds,
        "servers": servers,
        "primary": process_value(&view.primary, view.snapshot.primary.as_ref()),
        "workers": workers,
    })
}

fn process_value(process: &Process, shown: Option<&Loop>) -> Value {
    let none = Durations::default();
    json!({
        "utilization": process.activity.and_then(|activity| activity.utilization),
        "blockedFor": process.blocked_for().map(|time| time.as_millis() as u64),
        "memory": process.usage.as_ref().map(|usage| usage.resident),
        "lag": shown.map_or(&none, |shown| &shown.busy_spells).buckets,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::view::example::*;

    #[test]
    fn what_moves_is_there_by_the_names_that_the_page_knows() {
        let mut viewer = viewer(snapshot());
        viewer.set_restarts(1, Some(Restarts::from([("SIGKILL".to_owned(), 2)])));
        viewer.set_restarts(2, Some(Restarts::from([("code 1".to_owned(), 1)])));
        viewer.set_restarts(2, None);
        let view = viewer.view(Duration::from_secs(1)).unwrap();
        let overview = overview(&view, viewer.descriptions());
        assert_eq!(overview["workers"][0]["restarts"], json!({ "SIGKILL": 2 }));
        assert_eq!(overview["workers"][1]["restarts"], json!({}));
        assert_eq!(overview["bounds"], json!([1000]));
        let server = &overview["servers"][0];
        assert_eq!((&server["name"], &server["pending"]), (&json!("127.0.0.1:80"), &json!(1)));
        let worker = &overview["workers"][0];
        assert_eq!(
            (&worker["id"], &worker["state"], &worker["age"]),
            (&json!(1), &json!("listening"), &json!(9))
        );
        assert_eq!((&worker["lag"], &worker["taken"]), (&json!([2, 1]), &json!([2, 1])));
        // One that shows nothing.
        let silent = &overview["workers"][1];
        assert_eq!((&silent["lag"], &silent["blockedFor"]), (&json!([]), &json!(null)));
        assert_eq!(overview["primary"]["blockedFor"], json!(0));
    }
}
