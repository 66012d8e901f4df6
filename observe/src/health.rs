//! Whether the cluster works, and whether it can serve.

use serde_json::{Value, json};

use crate::view::View;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Should it go on, or be started again?
    Health,
    /// Should it be sent clients?
    Readiness,
}

/// Why not; nothing if it is so.
pub fn reasons(view: &View, question: Question) -> Vec<String> {
    let mut reasons = Vec::new();
    let snapshot = &view.snapshot;
    if snapshot.has_ended {
        reasons.push("the reactor has ended".to_owned());
    }
    let count = snapshot.workers.len();
    let is_blocked = |after| view.workers.iter().filter(move |process| process.is_blocked(after)).count();
    if count > 0 && is_blocked(view.blocked_after) == count {
        let workers = if count == 1 { "the only worker".to_owned() } else { format!("all {count} workers") };
        reasons.push(format!("{workers} blocked for more than {} ms", view.blocked_after.as_millis()));
    }
    if question == Question::Readiness {
        if snapshot.servers.is_empty() {
            reasons.push("no server is open".to_owned());
        }
        if snapshot.workers.iter().all(|worker| worker.listening_at.is_none()) {
            reasons.push("no worker listens".to_owned());
        }
        for server in snapshot.servers.iter().filter(|server| server.paused) {
            reasons.push(format!("the server {} accepts no more at present", server.key));
        }
    }
    reasons
}

/// The answer: whether it is so, and what it says.
pub fn answer(view: &View, question: Question) -> (bool, Value) {
    let reasons = reasons(view, question);
    let is_so = reasons.is_empty();
    let millis = |process: &crate::view::Process| process.blocked_for().map(|time| time.as_millis() as u64);
    let workers: Vec<_> = view
        .all_workers()
        .map(|(worker, process)| {
            json!({ "id": worker.id, "state": worker.state(), "blockedFor": millis(process) })
        })
        .collect();
    let answer = json!({
        "status": if is_so { "ok" } else { "failing" },
        "reasons": reasons,
        "primary": { "blockedFor": millis(&view.primary) },
        "workers": workers,
    });
    (is_so, answer)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::core::{Server, Snapshot, Worker};
    use crate::view::example::*;

    /// What is said of a cluster whose loops have been as they are for two seconds.
    fn said(snapshot: Snapshot, question: Question) -> Vec<String> {
        let later = Snapshot { now: snapshot.now + 2_000_000, ..snapshot.clone() };
        let mut viewer = viewer(snapshot);
        viewer.look().unwrap();
        viewer.set_core(Box::new(Example(later)));
        reasons(&viewer.view(Duration::from_secs(1)).unwrap(), question)
    }

    fn blocked(id: u32) -> Worker {
        Worker { event_loop: Some(a_loop(Some(false))), ..worker(id) }
    }

    #[test]
    fn a_cluster_that_serves_is_healthy_and_ready() {
        for question in [Question::Health, Question::Readiness] {
            assert_eq!(said(snapshot(), question), Vec::<String>::new());
            // Whom nobody sees may be working.
            let snapshot = Snapshot { workers: vec![blocked(1), worker(2)], ..snapshot() };
            assert_eq!(said(snapshot, question), Vec::<String>::new());
        }
    }

    #[test]
    fn with_every_worker_blocked_it_is_neither() {
        for question in [Question::Health, Question::Readiness] {
            let both = Snapshot { workers: vec![blocked(1), blocked(2)], ..snapshot() };
            assert_eq!(said(both, question), ["all 2 workers blocked for more than 1000 ms"]);
            let one = Snapshot { workers: vec![blocked(1)], ..snapshot() };
            assert_eq!(said(one, question), ["the only worker blocked for more than 1000 ms"]);
            let ended = Snapshot { has_ended: true, ..snapshot() };
            assert_eq!(said(ended, question), ["the reactor has ended"]);
        }
        // The primary's own loop is not in the way of connections.
        let primary = Snapshot { primary: Some(a_loop(Some(false))), ..snapshot() };
        assert_eq!(said(primary, Question::Health), Vec::<String>::new());
    }

    #[test]
    fn before_it_listens_and_at_its_bound_it_is_healthy_and_not_ready() {
        let empty = Snapshot { servers: vec![], workers: vec![], ..snapshot() };
        assert_eq!(said(empty.clone(), Question::Health), Vec::<String>::new());
        assert_eq!(said(empty, Question::Readiness), ["no server is open", "no worker listens"]);
        let paused = Snapshot { servers: vec![Server { paused: true, ..server() }], ..snapshot() };
        assert_eq!(said(paused.clone(), Question::Health), Vec::<String>::new());
        let reason = "the server 127.0.0.1:80:4::0 accepts no more at present";
        assert_eq!(said(paused, Question::Readiness), [reason]);
    }

    #[test]
    fn an_answer_names_the_reasons_and_how_long_each_is_blocked() {
        let ended = Snapshot { has_ended: true, ..snapshot() };
        let (is_so, answer) = answer(&viewer(ended).view(Duration::from_secs(1)).unwrap(), Question::Health);
        assert!(!is_so);
        let expected = json!({
            "status": "failing",
            "reasons": ["the reactor has ended"],
            "primary": { "blockedFor": 0 },
            "workers": [
                { "id": 1, "state": "listening", "blockedFor": 0 },
                { "id": 2, "state": "online", "blockedFor": null },
            ],
        });
        assert_eq!(answer, expected);
    }
}
