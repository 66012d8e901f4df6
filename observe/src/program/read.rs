//! What workers publish, as families of samples: what prom-client's `getMetricsAsJSON` gives, and Prometheus' text format.

use std::ops::Range;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// The prefix of this addon's own metrics, which no program's have.
const OWN: &str = "corral_";

/// How the samples of several workers become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Aggregator {
    #[default]
    Sum,
    Min,
    Max,
    Average,
    First,
    Omit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
    Summary,
    #[serde(other)]
    Unknown,
}

/// A number with its labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Its own name, if that is not the family's.
    pub name: Option<String>,
    pub labels: Vec<(String, String)>,
    pub value: f64,
    /// Where the value stands in what was published, if it stands there as JSON.
    pub at: Option<Range<usize>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    pub name: String,
    pub help: String,
    pub kind: Kind,
    pub aggregator: Aggregator,
    pub samples: Vec<Sample>,
}

impl Family {
    pub fn without_samples(&self) -> Self {
        Family {
            name: self.name.clone(),
            help: self.help.clone(),
            kind: self.kind,
            aggregator: self.aggregator,
            samples: Vec::new(),
        }
    }
}

#[derive(Deserialize)]
struct Publication<'a> {
    #[serde(borrow)]
    families: Vec<JsonFamily<'a>>,
    texts: Vec<String>,
}

#[derive(Deserialize)]
struct JsonFamily<'a> {
    name: String,
    #[serde(default)]
    help: String,
    #[serde(rename = "type")]
    kind: Kind,
    #[serde(default)]
    aggregator: Aggregator,
    #[serde(borrow)]
    values: Vec<JsonSample<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonSample<'a> {
    /// As it stands there. JSON has no NaN and no infinity: those are `null`.
    #[serde(borrow, default, deserialize_with = "raw")]
    value: Option<&'a RawValue>,
    #[serde(default)]
    metric_name: Option<String>,
    #[serde(default)]
    labels: Map<String, Value>,
}

/// `null` as well, which is not there otherwise.
fn raw<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// What a worker has published.
///
/// Errors: why it cannot be understood.
pub fn publication(text: &[u8]) -> Result<Vec<Family>, String> {
    let Publication { families, texts } = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let mut all: Vec<_> = families.into_iter().map(|family| family.read(text)).collect::<Result<_, _>>()?;
    for text in texts {
        all.extend(families_of(&text)?);
    }
    all.retain_mut(|family| {
        let Family { name, samples, .. } = family;
        samples.retain(|sample| {
            let names = sample.labels.iter().map(|(label, _)| label);
            sample.name.iter().all(|name| is_name(name)) && names.into_iter().all(|label| is_label(label))
        });
        is_name(name) && !name.starts_with(OWN)
    });
    Ok(all)
}

impl JsonFamily<'_> {
    /// `whole` is what it stands in.
    fn read(self, whole: &[u8]) -> Result<Family, String> {
        let JsonFamily { name, help, kind, aggregator, values } = self;
        let samples = values.into_iter().map(|sample| sample.read(whole)).collect::<Result<_, _>>()?;
        Ok(Family { name, help, kind, aggregator, samples })
    }
}

impl JsonSample<'_> {
    fn read(self, whole: &[u8]) -> Result<Sample, String> {
        let JsonSample { value: raw, metric_name: name, labels } = self;
        let value = raw.map(|raw| serde_json::from_str::<Option<f64>>(raw.get())).transpose();
        let value = value.map_err(|error| error.to_string())?.flatten().unwrap_or(f64::NAN);
        let at = raw.map(|raw| {
            let start = raw.get().as_ptr().addr() - whole.as_ptr().addr();
            start..start + raw.get().len()
        });
        let text = |value: Value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        let labels = labels.into_iter().map(|(name, value)| (name, text(value))).collect();
        Ok(Sample { name, labels, value, at })
    }
}

fn is_name(name: &str) -> bool {
    is_label(&name.replace(':', "_"))
}

fn is_label(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|character: char| character.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The families of a text in Prometheus' format.
///
/// Errors: the line that is wrong.
fn families_of(text: &str) -> Result<Vec<Family>, String> {
    let mut families: Vec<Family> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(comment) = line.strip_prefix('#') {
            describe(&mut families, comment.trim_start());
            continue;
        }
        let (name, labels, value) = sample_of(line).ok_or_else(|| line.to_owned())?;
        let place = families.iter().rposition(|family| family.has(name)).unwrap_or_else(|| {
            families.push(Family::undescribed(name));
            families.len() - 1
        });
        let family = &mut families[place];
        let own = (name != family.name).then(|| name.to_owned());
        family.samples.push(Sample { name: own, labels, value, at: None });
    }
    Ok(families)
}

/// `HELP name text` or `TYPE name kind`; any other comment says nothing.
fn describe(families: &mut Vec<Family>, comment: &str) {
    let mut words = comment.splitn(3, ' ');
    let (Some(what), Some(name)) = (words.next(), words.next()) else { return };
    let rest = words.next().unwrap_or_default();
    if !matches!(what, "HELP" | "TYPE") {
        return;
    }
    let place = families.iter().position(|family| family.name == name).unwrap_or_else(|| {
        families.push(Family::undescribed(name));
        families.len() - 1
    });
    if what == "HELP" {
        families[place].help = rest.replace("\\n", "\n").replace("\\\\", "\\");
    } else {
        let kind = serde_json::from_value(Value::String(rest.trim().to_owned()));
        families[place].kind = kind.unwrap_or(Kind::Unknown);
    }
}

impl Family {
    fn undescribed(name: &str) -> Self {
        Family {
            name: name.to_owned(),
            help: String::new(),
            kind: Kind::Unknown,
            aggregator: Aggregator::Sum,
            samples: Vec::new(),
        }
    }

    /// Whether a sample of this name is of this family.
    fn has(&self, name: &str) -> bool {
        let suffix = name.strip_prefix(self.name.as_str());
        match self.kind {
            Kind::Histogram => matches!(suffix, Some("_bucket" | "_sum" | "_count")),
            Kind::Summary => matches!(suffix, Some("" | "_sum" | "_count")),
            Kind::Counter | Kind::Gauge | Kind::Unknown => suffix == Some(""),
        }
    }
}

type Labels = Vec<(String, String)>;

/// `name{label="value",...} number [timestamp]`.
fn sample_of(line: &str) -> Option<(&str, Labels, f64)> {
    let end = line.find(['{', ' ', '\t'])?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels_of(rest)?,
        None => (Labels::new(), rest),
    };
    let value = rest.split_ascii_whitespace().next()?;
    Some((name, labels, number_of(value)?))
}

fn number_of(text: &str) -> Option<f64> {
    match text {
        "NaN" | "Nan" => Some(f64::NAN),
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        text => text.parse().ok(),
    }
}

/// What stands behind `{`, and what follows the `}`.
fn labels_of(mut rest: &str) -> Option<(Labels, &str)> {
    let mut labels = Labels::new();
    loop {
        rest = rest.trim_start_matches([' ', ',']);
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let (mut value, mut end) = (String::new(), None);
        let mut characters = quoted.char_indices();
        while let Some((place, character)) = characters.next() {
            match character {
                '"' => {
                    end = Some(place + 1);
                    break;
                }
                '\\' => match characters.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                character => value.push(character),
            }
        }
        labels.push((name.trim().to_owned(), value));
        rest = &quoted[end?..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_as_its_families() {
        let text = "# HELP r_total All \\\\ \\n of it\n# TYPE r_total counter\nr_total{a=\"x\\\"\\n,}\",b=\"2\"} 3 1700\n\
            # TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_sum 0.5\nh_count 1\n# EOF\nplain -Inf\n";
        let families = families_of(text).unwrap();
        let names: Vec<_> =
            families.iter().map(|family| (family.name.as_str(), family.kind, family.samples.len())).collect();
        let expected =
            [("r_total", Kind::Counter, 1), ("h", Kind::Histogram, 3), ("plain", Kind::Unknown, 1)];
        assert_eq!(names, expected);
        assert_eq!(families[0].help, "All \\ \n of it");
        let labels = vec![("a".to_owned(), "x\"\n,}".to_owned()), ("b".to_owned(), "2".to_owned())];
        assert_eq!(families[0].samples[0], Sample { name: None, labels, value: 3.0, at: None });
        assert_eq!(families[1].samples[0].name.as_deref(), Some("h_bucket"));
        assert_eq!(families[2].samples[0].value, f64::NEG_INFINITY);
    }

    #[test]
    fn a_line_that_is_no_sample_is_an_error() {
        for wrong in ["name", "name{", "name{a=\"b} 1", "name{a=b} 1", "name one", "{} "] {
            assert_eq!(families_of(&format!("ok 1\n{wrong}")), Err(wrong.trim().to_owned()));
        }
    }

    #[test]
    fn names_that_would_break_the_format_are_left_out() {
        let family = |name: &str, label: &str| {
            format!(
                r#"{{"name":"{name}","type":"gauge","values":[{{"value":1,"labels":{{"{label}":null}}}}]}}"#
            )
        };
        let all = [
            family("a:b", "l"),
            family("a b", "l"),
            family("9", "l"),
            family("corral_up", "l"),
            family("c", "l-l"),
        ];
        let text = format!(r#"{{"families":[{}],"texts":["corral_x 1"]}}"#, all.join(","));
        let families = publication(text.as_bytes()).unwrap();
        let left: Vec<_> = families.iter().map(|one| (one.name.as_str(), one.samples.len())).collect();
        assert_eq!(left, [("a:b", 1), ("c", 0)]);
    }
}
