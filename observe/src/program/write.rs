//! Families of a program's as text.

use std::fmt::Write;

use super::read::{Family, Kind, Sample};
use crate::exposition::escape;
use crate::negotiation::Format;

/// A text without its numbers: those that change.
#[derive(Debug)]
pub struct Template {
    text: String,
    /// Where each number belongs.
    places: Vec<usize>,
}

impl Template {
    /// Of all families, in a format. Those without samples are not there.
    pub fn new(families: &[Family], format: Format) -> Self {
        let mut template = Template { text: String::new(), places: Vec::new() };
        for family in families.iter().filter(|family| !family.samples.is_empty()) {
            template.add(family, format);
        }
        template
    }

    /// Adds the text to another, with the numbers of all samples of all families in their order.
    pub fn lines(&self, to: &mut String, numbers: &[f64], write_number: impl Fn(&mut String, f64)) {
        let mut from = 0;
        for (place, number) in self.places.iter().zip(numbers) {
            to.push_str(&self.text[from..*place]);
            write_number(to, *number);
            from = *place;
        }
        to.push_str(&self.text[from..]);
    }

    fn add(&mut self, family: &Family, format: Format) {
        let text = &mut self.text;
        let is_open = format == Format::OpenMetrics;
        let is_counter = is_open && family.kind == Kind::Counter;
        // There a counter is called so without the end that its samples have.
        let name = if is_counter {
            family.name.strip_suffix("_total").unwrap_or(&family.name)
        } else {
            &family.name
        };
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Summary => "summary",
            Kind::Unknown if is_open => "unknown",
            Kind::Unknown => "untyped",
        };
        // Writing to a string cannot fail.
        let _ = write!(text, "# HELP {name} ");
        escape(text, &family.help, is_open);
        let _ = writeln!(text, "\n# TYPE {name} {kind}");
        for Sample { name: own, labels, .. } in &family.samples {
            text.push_str(own.as_deref().unwrap_or(name));
            if is_counter {
                text.push_str("_total");
            }
            let mut separator = '{';
            for (label, value) in labels {
                let _ = write!(text, "{separator}{label}=\"");
                escape(text, value, true);
                text.push('"');
                separator = ',';
            }
            text.push_str(if separator == ',' { "} " } else { " " });
            self.places.push(text.len());
            text.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::read::Aggregator;
    use super::*;
    use crate::exposition::write_number;

    fn family(name: &str, kind: Kind, own: Option<&str>, value: f64) -> Family {
        let labels = vec![("a".to_owned(), "\"\n".to_owned())];
        let sample = Sample { name: own.map(ToOwned::to_owned), labels, value, at: None };
        let aggregator = Aggregator::Sum;
        Family { name: name.into(), help: "h\n".into(), kind, aggregator, samples: vec![sample] }
    }

    fn families(families: &[Family], format: Format) -> String {
        let values: Vec<_> =
            families.iter().flat_map(|family| &family.samples).map(|sample| sample.value).collect();
        let mut text = String::new();
        Template::new(families, format).lines(&mut text, &values, write_number);
        text
    }

    #[test]
    fn both_formats_have_their_names_for_counters() {
        let all = [
            family("r_total", Kind::Counter, None, 1.5),
            family("h", Kind::Histogram, Some("h_bucket"), f64::INFINITY),
            Family { samples: vec![], ..family("none", Kind::Gauge, None, 1.0) },
        ];
        let expected = "# HELP r_total h\\n\n# TYPE r_total counter\nr_total{a=\"\\\"\\n\"} 1.5\n\
            # HELP h h\\n\n# TYPE h histogram\nh_bucket{a=\"\\\"\\n\"} +Inf\n";
        assert_eq!(families(&all, Format::Text), expected);
        let open = families(&all[..1], Format::OpenMetrics);
        assert_eq!(open, "# HELP r h\\n\n# TYPE r counter\nr_total{a=\"\\\"\\n\"} 1.5\n");
    }
}
