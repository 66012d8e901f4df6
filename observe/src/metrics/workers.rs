//! Metrics of workers, as far as the primary counts them.

use super::counted;
use crate::core::Descriptions;
use crate::exposition::{Exposition, Kind};
use crate::view::View;

pub fn add(to: &mut Exposition, view: &View, descriptions: &Descriptions) {
    let workers = &view.snapshot.workers;
    let ids: Vec<_> = workers.iter().map(|worker| worker.id.to_string()).collect();
    let all = || workers.iter().zip(ids.iter().map(String::as_str));
    let mut info = to.family(Kind::Info, "corral_worker", "What a worker is.");
    for (worker, id) in all() {
        let pid = worker.pid.map(|pid| pid.to_string()).unwrap_or_default();
        let lane = if worker.has_lane { "lane" } else { "channel" };
        let labels = [
            ("worker", id),
            ("pid", &pid),
            ("state", worker.state()),
            ("lane", lane),
            ("idle_by", &worker.idle_by),
        ];
        info.sample(&labels, 1_u64);
    }
    counted(to, "corral_worker", &descriptions.worker, "worker", all(), |worker| &worker.counters);
    counted(to, "corral_worker", &descriptions.channel, "worker", all(), |worker| &worker.traffic);
    let help = "How many connections a worker gets in comparison with others.";
    let mut weight = to.family(Kind::Gauge, "corral_worker_weight", help);
    all().for_each(|(worker, id)| weight.sample(&[("worker", id)], worker.weight));
    let help = "1 while a worker receives nothing, so that others get its connections.";
    let mut stalled = to.family(Kind::Gauge, "corral_worker_stalled", help);
    all().for_each(|(worker, id)| stalled.sample(&[("worker", id)], worker.stalled));
    let mut age = to.family(Kind::Gauge, "corral_worker_age_seconds", "Time since a worker was spawned.");
    for (worker, id) in all() {
        let micros = view.snapshot.now.saturating_sub(worker.spawned_at);
        age.sample(&[("worker", id)], crate::exposition::seconds(micros));
    }
    let help = "Time from accepting a connection until the worker takes it.";
    let mut taken = to.family(Kind::Histogram, "corral_worker_connection_taken_seconds", help);
    for (worker, id) in all() {
        taken.histogram(&[("worker", id)], &descriptions.bounds, &worker.taken_after);
    }
}
