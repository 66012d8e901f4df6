//! Metrics as text, in Prometheus' format and in OpenMetrics.

use std::fmt::Write;

use crate::core::Durations;
use crate::negotiation::Format;

/// How the numbers of a family move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only up. The name is without `_total`.
    Counter,
    /// Up and down.
    Gauge,
    /// Durations in buckets.
    Histogram,
    /// Labels that say something; the number is 1. The name is without `_info`.
    Info,
}

/// A number of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    Whole(u64),
    /// Shortest as it is read back.
    Real(f64),
}

impl From<u64> for Number {
    fn from(value: u64) -> Self {
        Number::Whole(value)
    }
}

impl From<usize> for Number {
    fn from(value: usize) -> Self {
        Number::Whole(value as u64)
    }
}

impl From<u32> for Number {
    fn from(value: u32) -> Self {
        Number::Whole(value.into())
    }
}

impl From<bool> for Number {
    fn from(value: bool) -> Self {
        Number::Whole(value.into())
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        Number::Real(value)
    }
}

/// Adds a number to a text.
pub fn write_number(text: &mut String, value: f64) {
    // Most are whole, and those are written much faster. 2^53 is where the others end.
    if value.fract() == 0.0
        && value.abs() < 9_007_199_254_740_992.0
        && !(value == 0.0 && value.is_sign_negative())
    {
        text.push_str(itoa::Buffer::new().format(value as i64));
    } else if value.is_infinite() {
        text.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    } else {
        // Writing to a string cannot fail.
        let _ = write!(text, "{value}");
    }
}

impl Number {
    fn write(self, text: &mut String) {
        match self {
            Number::Whole(value) => text.push_str(itoa::Buffer::new().format(value)),
            Number::Real(value) => write_number(text, value),
        }
    }
}

/// Labels of a sample, with their values as they are.
pub type Labels<'a> = [(&'a str, &'a str)];

/// Families of metrics, one after the other.
#[derive(Debug)]
pub struct Exposition {
    format: Format,
    text: String,
    /// The bounds of a histogram, in microseconds, as they are written: all have the same, as a rule.
    bounds: Vec<(u64, String)>,
}

/// A family of metrics, to which samples are added. One without samples is not there.
#[derive(Debug)]
pub struct Family<'a> {
    exposition: &'a mut Exposition,
    name: &'a str,
    kind: Kind,
    help: &'a str,
    is_begun: bool,
}

impl Exposition {
    /// Without a family. There will be about so many bytes.
    pub fn new(format: Format, length: usize) -> Self {
        Exposition { format, text: String::with_capacity(length), bounds: Vec::new() }
    }

    /// Begins a family. No two have the same name.
    pub fn family<'a>(&'a mut self, kind: Kind, name: &'a str, help: &'a str) -> Family<'a> {
        Family { exposition: self, name, kind, help, is_begun: false }
    }

    /// Adds families that something else writes.
    pub fn append(&mut self, write: impl FnOnce(&mut String, Format)) {
        write(&mut self.text, self.format);
    }

    /// All of it.
    pub fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

impl Family<'_> {
    fn begin(&mut self) {
        if std::mem::replace(&mut self.is_begun, true) {
            return;
        }
        let (name, text) = (self.name, &mut self.exposition.text);
        let is_open = self.exposition.format == Format::OpenMetrics;
        let (suffix, kind) = match self.kind {
            Kind::Counter => (if is_open { "" } else { "_total" }, "counter"),
            Kind::Gauge => ("", "gauge"),
            Kind::Histogram => ("", "histogram"),
            Kind::Info if is_open => ("", "info"),
            Kind::Info => ("_info", "gauge"),
        };
        // Many parts, each with its length: a format is slower.
        for part in ["# HELP ", name, suffix, " "] {
            text.push_str(part);
        }
        escape(text, self.help, is_open);
        for part in ["\n# TYPE ", name, suffix, " ", kind, "\n"] {
            text.push_str(part);
        }
        if let Some(unit) = ["seconds", "bytes"].into_iter().find(|unit| name.ends_with(unit))
            && is_open
        {
            let _ = writeln!(text, "# UNIT {name} {unit}");
        }
    }

    /// Adds a sample. No two of a family have the same labels.
    pub fn sample(&mut self, labels: &Labels<'_>, value: impl Into<Number>) {
        self.begin();
        let suffix = match self.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        };
        self.line(suffix, labels, value.into());
    }

    /// Adds a histogram of durations in microseconds, whose buckets have these bounds.
    pub fn histogram(&mut self, labels: &Labels<'_>, bounds: &[u64], durations: &Durations) {
        self.begin();
        self.write_bounds(bounds);
        let text = &mut self.exposition.text;
        let start = text.len();
        head(text, self.name, "_bucket", labels);
        text.push_str(if labels.is_empty() { "{le=\"" } else { ",le=\"" });
        // All buckets begin alike.
        let beginning = start..text.len();
        let mut below = 0_u64;
        let infinite = "+Inf".to_owned();
        let texts = self.exposition.bounds.iter().map(|(_, bound)| bound).chain([&infinite]);
        for (place, (count, bound)) in durations.buckets.iter().zip(texts).enumerate() {
            below = below.wrapping_add(*count);
            if place > 0 {
                text.extend_from_within(beginning.clone());
            }
            text.push_str(bound);
            text.push_str("\"} ");
            Number::from(below).write(text);
            text.push('\n');
        }
        self.line("_sum", labels, seconds(durations.sum).into());
        self.line("_count", labels, below.into());
    }

    fn write_bounds(&mut self, bounds: &[u64]) {
        let known = &mut self.exposition.bounds;
        if known.iter().map(|(micros, _)| micros).eq(bounds) {
            return;
        }
        let is_open = self.exposition.format == Format::OpenMetrics;
        let text = |micros: u64| {
            // OpenMetrics wants all of them to look like real numbers.
            if is_open { format!("{:?}", seconds(micros)) } else { seconds(micros).to_string() }
        };
        *known = bounds.iter().map(|micros| (*micros, text(*micros))).collect();
    }

    fn line(&mut self, suffix: &str, labels: &Labels<'_>, value: Number) {
        let text = &mut self.exposition.text;
        head(text, self.name, suffix, labels);
        text.push_str(if labels.is_empty() { " " } else { "} " });
        value.write(text);
        text.push('\n');
    }
}

/// The beginning of a line, up to its last label.
fn head(text: &mut String, name: &str, suffix: &str, labels: &Labels<'_>) {
    text.push_str(name);
    text.push_str(suffix);
    let mut separator = '{';
    for (name, value) in labels {
        text.push(separator);
        text.push_str(name);
        text.push_str("=\"");
        escape(text, value, true);
        text.push('"');
        separator = ',';
    }
}

/// Microseconds as seconds.
pub fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

/// Adds a value of a label, or what a family says, as it stands between quotes or at the end of a line.
pub fn escape(text: &mut String, value: &str, quotes: bool) {
    if !value.bytes().any(|byte| matches!(byte, b'\\' | b'\n' | b'"')) {
        return text.push_str(value);
    }
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '"' if quotes => text.push_str("\\\""),
            character => text.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(format: Format) -> String {
        let mut exposition = Exposition::new(format, 0);
        exposition.family(Kind::Info, "a_build", "What it is.").sample(&[("version", "1.0")], 1_u64);
        let mut family = exposition.family(Kind::Counter, "a_sent_bytes", "Says \"so\",\nand \\ more.");
        family.sample(&[("to", "a \"b\"\n\\c")], 3_u64);
        family.sample(&[("to", "d")], 0.25);
        exposition.family(Kind::Gauge, "a_empty", "Nothing.");
        let durations = Durations { buckets: vec![1, 0, 2], sum: 1_500_000 };
        exposition.family(Kind::Histogram, "a_wait_seconds", "Waits.").histogram(
            &[],
            &[500, 1_000_000],
            &durations,
        );
        exposition.finish()
    }

    #[test]
    fn families_are_written_in_prometheus_text_format() {
        let expected = r#"# HELP a_build_info What it is.
# TYPE a_build_info gauge
a_build_info{version="1.0"} 1
# HELP a_sent_bytes_total Says "so",\nand \\ more.
# TYPE a_sent_bytes_total counter
a_sent_bytes_total{to="a \"b\"\n\\c"} 3
a_sent_bytes_total{to="d"} 0.25
# HELP a_wait_seconds Waits.
# TYPE a_wait_seconds histogram
a_wait_seconds_bucket{le="0.0005"} 1
a_wait_seconds_bucket{le="1"} 1
a_wait_seconds_bucket{le="+Inf"} 3
a_wait_seconds_sum 1.5
a_wait_seconds_count 3
"#;
        assert_eq!(example(Format::Text), expected);
    }

    #[test]
    fn families_are_written_in_openmetrics() {
        let expected = r#"# HELP a_build What it is.
# TYPE a_build info
a_build_info{version="1.0"} 1
# HELP a_sent_bytes Says \"so\",\nand \\ more.
# TYPE a_sent_bytes counter
# UNIT a_sent_bytes bytes
a_sent_bytes_total{to="a \"b\"\n\\c"} 3
a_sent_bytes_total{to="d"} 0.25
# HELP a_wait_seconds Waits.
# TYPE a_wait_seconds histogram
# UNIT a_wait_seconds seconds
a_wait_seconds_bucket{le="0.0005"} 1
a_wait_seconds_bucket{le="1.0"} 1
a_wait_seconds_bucket{le="+Inf"} 3
a_wait_seconds_sum 1.5
a_wait_seconds_count 3
# EOF
"#;
        assert_eq!(example(Format::OpenMetrics), expected);
    }
}
