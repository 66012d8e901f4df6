//! How the samples of several workers become one: by the rules of prom-client's aggregation. What belongs together is found once, as
//! long as the workers have the same series.

use std::collections::HashMap;
use std::sync::Arc;

use super::read::{Aggregator, Family, Sample};
use super::shape::Shape;
use super::write::Template;
use super::{Gone, Key, Published, key_of};
use crate::exposition::write_number;
use crate::negotiation::Format;

/// The line of a sample that is in none.
const NONE: usize = usize::MAX;

/// Which family a line is of, and which of its lines it is.
type Place = (usize, usize);

/// What belongs together.
#[derive(Debug)]
pub struct Merge {
    families: Vec<Family>,
    /// The rule of each line.
    rules: Vec<Aggregator>,
    /// The line of each sample of each shape.
    maps: Vec<(Arc<Shape>, Vec<usize>)>,
    /// What workers had that have gone, by line.
    gone: Vec<(usize, f64)>,
    templates: HashMap<Format, Template>,
    /// What was written last, until a worker publishes something else.
    written: Option<(Format, String)>,
}

/// Families as they are put together.
#[derive(Default)]
struct Families<'a> {
    families: Vec<(&'a Family, Vec<Sample>, HashMap<Key, usize>)>,
    places: HashMap<&'a str, usize>,
}

impl<'a> Families<'a> {
    fn place(&mut self, family: &'a Family) -> usize {
        *self.places.entry(&family.name).or_insert_with(|| {
            self.families.push((family, Vec::new(), HashMap::new()));
            self.families.len() - 1
        })
    }

    /// The place of a sample in a family.
    fn add(&mut self, place: usize, key: Key, sample: impl FnOnce() -> Sample) -> Place {
        let (_, samples, places) = &mut self.families[place];
        let line = *places.entry(key).or_insert_with(|| {
            samples.push(sample());
            samples.len() - 1
        });
        (place, line)
    }
}

impl Merge {
    /// Of all workers in the order of their ids, and of those that have gone.
    pub fn new<'a>(workers: impl Iterator<Item = &'a Published>, gone: &HashMap<String, Gone>) -> Self {
        let mut shapes: Vec<&Arc<Shape>> = Vec::new();
        for Published { shape, .. } in workers {
            if !shapes.iter().any(|known| Arc::ptr_eq(known, shape)) {
                shapes.push(shape);
            }
        }
        let mut all = Families::default();
        let mut maps = Vec::new();
        for shape in shapes {
            let mut map = Vec::with_capacity(shape.values().len());
            for family in shape.families() {
                if family.aggregator == Aggregator::Omit {
                    map.extend(family.samples.iter().map(|_| None));
                    continue;
                }
                let place = all.place(family);
                for sample in &family.samples {
                    map.push(Some(all.add(place, key_of(sample), || sample.clone())));
                }
            }
            maps.push((shape.clone(), map));
        }
        // By their names, so that the order is the same each time.
        let mut old: Vec<_> = gone.iter().collect();
        old.sort_by_key(|(name, _)| *name);
        let mut sums = Vec::new();
        for (_, Gone { family, sums: old }) in old {
            let place = all.place(family);
            // Another kind than it had: the old sums mean nothing.
            if all.families[place].0.kind != family.kind {
                continue;
            }
            let mut old: Vec<_> = old.iter().collect();
            old.sort_by_key(|(key, _)| *key);
            for (key, value) in old {
                let (name, labels) = key.clone();
                let sample = || Sample { name, labels, value: 0.0, at: None };
                sums.push((all.add(place, key.clone(), sample), *value));
            }
        }
        Self::numbered(all, maps, &sums)
    }

    /// With a number for each line: those of a family are behind each other.
    fn numbered(
        all: Families<'_>,
        maps: Vec<(Arc<Shape>, Vec<Option<Place>>)>,
        gone: &[(Place, f64)],
    ) -> Self {
        let mut starts = Vec::with_capacity(all.families.len());
        let (mut families, mut rules) = (Vec::new(), Vec::new());
        for (family, samples, _) in all.families {
            starts.push(rules.len());
            rules.extend(samples.iter().map(|_| family.aggregator));
            families.push(Family { samples, ..family.without_samples() });
        }
        let number = |(place, line): Place| starts[place] + line;
        let numbers = |map: Vec<Option<_>>| map.into_iter().map(|line| line.map_or(NONE, number)).collect();
        let maps = maps.into_iter().map(|(shape, map)| (shape, numbers(map))).collect();
        let gone = gone.iter().map(|(line, value)| (number(*line), *value)).collect();
        Merge { families, rules, maps, gone, templates: HashMap::new(), written: None }
    }

    /// Adds all of it to a text.
    pub fn write<'a>(
        &mut self,
        to: &mut String,
        workers: impl Iterator<Item = &'a Published>,
        format: Format,
    ) {
        if let Some((_, text)) = self.written.as_ref().filter(|(known, _)| *known == format) {
            return to.push_str(text);
        }
        let values = self.values(workers);
        let template = self.templates.entry(format).or_insert_with(|| Template::new(&self.families, format));
        let from = to.len();
        template.lines(to, &values, write_number);
        self.written = Some((format, to[from..].to_owned()));
    }

    /// Workers have published other values.
    pub fn on_values(&mut self) {
        self.written = None;
    }

    fn values<'a>(&self, workers: impl Iterator<Item = &'a Published>) -> Vec<f64> {
        let mut values = vec![0.0; self.rules.len()];
        let mut counts = vec![0_u32; self.rules.len()];
        let mut add = |line: usize, value: f64| {
            let count = &mut counts[line];
            values[line] = if *count == 0 { value } else { together(self.rules[line], values[line], value) };
            *count += 1;
        };
        for Published { shape, values, .. } in workers {
            let map = self.maps.iter().find(|(known, _)| Arc::ptr_eq(known, shape));
            for (line, value) in map.iter().flat_map(|(_, map)| map).zip(values) {
                if *line != NONE {
                    add(*line, *value);
                }
            }
        }
        self.gone.iter().for_each(|(line, value)| add(*line, *value));
        for ((value, count), rule) in values.iter_mut().zip(counts).zip(&self.rules) {
            if *rule == Aggregator::Average {
                *value /= f64::from(count);
            }
        }
        values
    }
}

fn together(rule: Aggregator, old: f64, new: f64) -> f64 {
    match rule {
        Aggregator::Sum | Aggregator::Average => old + new,
        // As Math.min and Math.max: what is no number stays none.
        Aggregator::Min | Aggregator::Max if old.is_nan() || new.is_nan() => f64::NAN,
        Aggregator::Min => old.min(new),
        Aggregator::Max => old.max(new),
        Aggregator::First | Aggregator::Omit => old,
    }
}
