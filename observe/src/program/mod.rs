//! The program's own metrics: what each worker has published last, merged by the rules of prom-client's aggregation. Nothing here
//! waits for a worker.
//!
//! `read` understands what workers publish, `shape` what they publish next, `merge` puts it together, `write` writes it down.

mod merge;
mod read;
mod shape;
mod write;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::negotiation::Format;
use merge::Merge;
use read::{Aggregator, Family, Kind, Sample};
use shape::Shape;

/// How many series of workers that have gone are kept at most, so that no sum falls.
pub const MAX_GONE_SERIES: usize = 10_000;

/// With how many other shapes a text is compared before it is read as a new one.
const MAX_ATTEMPTS: usize = 8;

/// What names a series of a family: its own name, which a histogram's differ in, and its labels in their order by name.
type Key = (Option<String>, Vec<(String, String)>);

/// What a worker has published last.
#[derive(Debug)]
struct Published {
    /// When, in microseconds of the monotonic clock.
    at: u64,
    /// Workers of one program have the same, as a rule.
    shape: Arc<Shape>,
    values: Vec<f64>,
}

/// What workers had of a family that have gone.
#[derive(Debug)]
struct Gone {
    /// Without samples.
    family: Family,
    sums: HashMap<Key, f64>,
}

/// What all workers have published.
#[derive(Debug, Default)]
pub struct Program {
    workers: BTreeMap<u32, Published>,
    /// By the names of families.
    gone: HashMap<String, Gone>,
    gone_series: usize,
    unreadable: u64,
    /// Until there are other series.
    merge: Option<Merge>,
}

impl Program {
    /// A worker has published this at `now`, in microseconds of the monotonic clock.
    pub fn publish(&mut self, worker: u32, now: u64, text: &[u8]) {
        if let Some(published) = self.workers.get_mut(&worker)
            && let Some(values) = published.shape.read(text)
        {
            (published.at, published.values) = (now, values);
            if let Some(merge) = &mut self.merge {
                merge.on_values();
            }
            return;
        }
        let published = self.read_as_others(text).or_else(|| {
            let shape = Shape::of(text).ok()?;
            let values = shape.values().to_vec();
            Some((Arc::new(shape), values))
        });
        let Some((shape, values)) = published else {
            self.unreadable += 1;
            return;
        };
        self.workers.insert(worker, Published { at: now, shape, values });
        self.merge = None;
    }

    /// As a worker has published it that has the same series.
    fn read_as_others(&self, text: &[u8]) -> Option<(Arc<Shape>, Vec<f64>)> {
        let mut known: Vec<_> = self.workers.values().map(|published| &published.shape).collect();
        known.dedup_by(|one, other| Arc::ptr_eq(one, other));
        let attempts = known.into_iter().rev().take(MAX_ATTEMPTS);
        attempts.into_iter().find_map(|shape| Some((shape.clone(), shape.read(text)?)))
    }

    /// All workers but these have gone. What only rises stays.
    pub fn retain(&mut self, workers: impl Fn(u32) -> bool) {
        let gone: Vec<_> = self.workers.keys().copied().filter(|worker| !workers(*worker)).collect();
        for worker in gone {
            let Some(Published { shape, values, .. }) = self.workers.remove(&worker) else { continue };
            let mut values = values.into_iter();
            for family in shape.families() {
                // As many as it has samples, whether it is kept or not.
                let values: Vec<_> = values.by_ref().take(family.samples.len()).collect();
                self.keep(family, &values);
            }
            self.merge = None;
        }
    }

    fn keep(&mut self, family: &Family, values: &[f64]) {
        let samples = family.samples.iter().zip(values);
        let mut kept = samples.filter(|(sample, _)| family.kind.only_rises(sample)).peekable();
        if family.aggregator != Aggregator::Sum || kept.peek().is_none() {
            return;
        }
        let Gone { sums, .. } = self
            .gone
            .entry(family.name.clone())
            .or_insert_with(|| Gone { family: family.without_samples(), sums: HashMap::default() });
        for (sample, value) in kept {
            let key = key_of(sample);
            if let Some(sum) = sums.get_mut(&key) {
                *sum += value;
            } else if self.gone_series < MAX_GONE_SERIES {
                self.gone_series += 1;
                sums.insert(key, *value);
            }
        }
    }

    /// How old the last word of each worker is, in microseconds.
    pub fn ages(&self, now: u64) -> impl Iterator<Item = (u32, u64)> {
        self.workers.iter().map(move |(worker, published)| (*worker, now.saturating_sub(published.at)))
    }

    /// How often a worker has published what could not be understood.
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// Adds all of it to a text; without the end that OpenMetrics wants.
    pub fn write(&mut self, to: &mut String, format: Format) {
        let merge = self.merge.get_or_insert_with(|| Merge::new(self.workers.values(), &self.gone));
        merge.write(to, self.workers.values(), format);
    }
}

fn key_of(sample: &Sample) -> Key {
    let mut labels = sample.labels.clone();
    labels.sort();
    (sample.name.clone(), labels)
}

impl Kind {
    /// Whether a sample of such a family never falls as long as its process is there.
    fn only_rises(self, sample: &Sample) -> bool {
        match self {
            Kind::Counter | Kind::Histogram => true,
            // Its quantiles are of the last minutes.
            Kind::Summary => sample.labels.iter().all(|(name, _)| name != "quantile"),
            Kind::Gauge | Kind::Unknown => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn family(name: &str, kind: &str, aggregator: &str, values: &str) -> String {
        format!(
            r#"{{"name":"{name}","help":"h","type":"{kind}","aggregator":"{aggregator}","values":[{values}]}}"#
        )
    }

    fn published(families: &[String]) -> Vec<u8> {
        format!(r#"{{"families":[{}],"texts":[]}}"#, families.join(",")).into_bytes()
    }

    fn value(number: f64) -> String {
        format!(r#"{{"value":{number},"labels":{{"code":200}}}}"#)
    }

    fn samples(program: &mut Program) -> Vec<String> {
        let mut text = String::new();
        program.write(&mut text, Format::Text);
        text.lines().filter(|line| !line.starts_with('#')).map(ToOwned::to_owned).collect()
    }

    #[test]
    fn each_family_is_merged_by_its_aggregator() {
        let mut program = Program::default();
        for (worker, number) in [(1, 4.0), (2, 1.0), (3, 7.0)] {
            let families: Vec<_> = ["sum", "first", "omit", "average", "min", "max"]
                .map(|rule| family(&format!("a_{rule}"), "gauge", rule, &value(number)))
                .to_vec();
            program.publish(worker, 1000, &published(&families));
        }
        let expected = [("sum", 12), ("first", 4), ("average", 4), ("min", 1), ("max", 7)]
            .map(|(rule, number)| format!(r#"a_{rule}{{code="200"}} {number}"#));
        assert_eq!(samples(&mut program), expected);
        // What is no number makes none of the whole.
        let none = published(&[family("a_max", "gauge", "max", r#"{"value":null,"labels":{"code":"200"}}"#)]);
        program.publish(9, 1000, &none);
        assert!(samples(&mut program).contains(&r#"a_max{code="200"} NaN"#.to_owned()));
        assert_eq!(program.ages(1500).next(), Some((1, 500)));
    }

    #[test]
    fn labels_are_the_same_in_any_order_and_histograms_are_merged_by_bucket() {
        let mut program = Program::default();
        let bucket = |first: &str, second: &str, number: u32| {
            format!(r#"{{"value":{number},"metricName":"h_bucket","labels":{{{first},{second}}}}}"#)
        };
        let one = family("h", "histogram", "sum", &bucket(r#""le":1"#, r#""a":"b""#, 2));
        let two = family("h", "histogram", "sum", &bucket(r#""a":"b""#, r#""le":1"#, 3));
        program.publish(1, 0, &published(&[one]));
        program.publish(2, 0, &published(&[two]));
        assert_eq!(samples(&mut program), [r#"h_bucket{le="1",a="b"} 5"#]);
    }

    #[test]
    fn what_is_published_again_takes_the_place_of_what_was_before() {
        let mut program = Program::default();
        let all = |number: f64| published(&[family("c", "counter", "sum", &value(number))]);
        for worker in [1, 2] {
            program.publish(worker, 0, &all(1.0));
        }
        let shapes: Vec<_> = program.workers.values().map(|published| &published.shape).collect();
        assert!(Arc::ptr_eq(shapes[0], shapes[1]));
        assert_eq!(samples(&mut program), [r#"c{code="200"} 2"#]);
        program.publish(2, 5, &all(2.5));
        assert_eq!(
            (samples(&mut program), program.ages(5).last()),
            (vec![r#"c{code="200"} 3.5"#.into()], Some((2, 0)))
        );
        let more = [value(4.0), value(1.0).replace("200", "404")].join(",");
        program.publish(2, 9, &published(&[family("c", "counter", "sum", &more)]));
        assert_eq!(samples(&mut program), [r#"c{code="200"} 5"#, r#"c{code="404"} 1"#]);
        program.publish(1, 9, &published(&[]));
        assert_eq!(samples(&mut program), [r#"c{code="200"} 4"#, r#"c{code="404"} 1"#]);
        program.retain(|_| false);
        assert_eq!(samples(&mut program), [r#"c{code="200"} 4"#, r#"c{code="404"} 1"#]);
    }

    #[test]
    fn what_only_rises_does_not_fall_when_a_worker_goes() {
        let mut program = Program::default();
        let all = |number| {
            let quantile = r#"{"value":5,"labels":{"quantile":0.5}}"#;
            let sum = format!(r#"{{"value":{number},"metricName":"s_sum","labels":{{}}}}"#);
            published(&[
                family("c_total", "counter", "sum", &value(number)),
                family("g", "gauge", "sum", &value(number)),
                family("s", "summary", "sum", &format!("{quantile},{sum}")),
            ])
        };
        program.publish(1, 0, &all(3.0));
        program.publish(2, 0, &all(4.0));
        program.retain(|worker| worker == 2);
        let expected =
            [r#"c_total{code="200"} 7"#, r#"g{code="200"} 4"#, r#"s{quantile="0.5"} 5"#, "s_sum 7"];
        assert_eq!(samples(&mut program), expected);
        program.retain(|_| false);
        assert_eq!(samples(&mut program), [r#"c_total{code="200"} 7"#, "s_sum 7"]);
        program.publish(3, 0, &all(1.0));
        assert_eq!(samples(&mut program)[0], r#"c_total{code="200"} 8"#);
    }

    #[test]
    fn what_is_kept_of_workers_that_have_gone_is_bounded() {
        let mut program = Program::default();
        for worker in 0..3 {
            let values: Vec<_> = (0..MAX_GONE_SERIES)
                .map(|place| format!(r#"{{"value":1,"labels":{{"id":"{worker}-{place}"}}}}"#))
                .collect();
            program.publish(worker, 0, &published(&[family("c", "counter", "sum", &values.join(","))]));
            program.retain(|_| false);
        }
        assert_eq!(samples(&mut program).len(), MAX_GONE_SERIES);
    }

    #[test]
    fn what_cannot_be_understood_is_counted_and_changes_nothing() {
        let mut program = Program::default();
        program.publish(1, 0, &published(&[family("c", "counter", "sum", &value(1.0))]));
        for wrong in ["", "{", "[]", r#"{"families":[{"name":1}],"texts":[]}"#] {
            program.publish(1, 0, wrong.as_bytes());
        }
        assert_eq!((program.unreadable(), samples(&mut program).len()), (4, 1));
    }
}
