//! A text that a worker has published, and where its values stand in it. What it publishes next is as a rule the same text with other
//! values: those are read then, and nothing else is.

use std::ops::Range;

use super::read::{Family, publication};

/// A value in a text, and which sample it is of.
#[derive(Debug)]
struct Slot {
    at: Range<usize>,
    sample: usize,
}

/// What workers publish that have the same series.
#[derive(Debug)]
pub struct Shape {
    text: Vec<u8>,
    slots: Vec<Slot>,
    families: Vec<Family>,
    /// Of all samples of all families, in their order.
    values: Vec<f64>,
}

impl Shape {
    /// Errors: why the text cannot be understood.
    pub fn of(text: &[u8]) -> Result<Self, String> {
        let families = publication(text)?;
        let samples = || families.iter().flat_map(|family| &family.samples);
        let slot = |(sample, at): (usize, &Option<Range<usize>>)| at.clone().map(|at| Slot { at, sample });
        let slots = samples().map(|sample| &sample.at).enumerate().filter_map(slot).collect();
        let values = samples().map(|sample| sample.value).collect();
        Ok(Shape { text: text.to_owned(), slots, families, values })
    }

    /// Its families, with the values that they had first.
    pub fn families(&self) -> &[Family] {
        &self.families
    }

    /// The values of the text that it was made of, of all samples of all families in their order.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The same of another text; None of one that has another shape.
    pub fn read(&self, text: &[u8]) -> Option<Vec<f64>> {
        let mut values = self.values.clone();
        let (mut rest, mut from) = (text, 0);
        for Slot { at, sample } in &self.slots {
            rest = rest.strip_prefix(&self.text[from..at.start])?;
            let length = rest.iter().position(|byte| matches!(byte, b',' | b'}'))?;
            let (value, behind) = rest.split_at(length);
            values[*sample] = number(value)?;
            (rest, from) = (behind, at.end);
        }
        (rest == &self.text[from..]).then_some(values)
    }
}

/// A number of JSON's, or `null`, which stands for what JSON cannot say.
fn number(text: &[u8]) -> Option<f64> {
    if text == b"null" {
        return Some(f64::NAN);
    }
    let is_number = text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'));
    std::str::from_utf8(text).ok().filter(|_| is_number)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"families":[{"name":"a","help":"1,}","type":"gauge","values":[{"value":1,"labels":{"n":2}},{"labels":{},"value":null},{"value":-3.5e-7,"metricName":"a_b"}]},{"name":"b","type":"counter","values":[]}],"texts":["t 4\n"]}"#;

    fn read(text: &str) -> Option<Vec<f64>> {
        Shape::of(TEXT.as_bytes()).unwrap().read(text.as_bytes())
    }

    fn is_same(one: &[f64], other: &[f64]) -> bool {
        one.len() == other.len()
            && one.iter().zip(other).all(|(one, other)| one == other || one.is_nan() && other.is_nan())
    }

    #[test]
    fn the_values_of_another_text_of_the_same_shape_are_those_that_it_has() {
        let shape = Shape::of(TEXT.as_bytes()).unwrap();
        assert!(is_same(shape.values(), &[1.0, f64::NAN, -3.5e-7, 4.0]));
        assert!(is_same(&read(TEXT).unwrap(), shape.values()));
        let other = TEXT.replace(":1,", ":1.25e3,").replace("null", "12").replace("-3.5e-7", "null");
        let values = read(&other).unwrap();
        assert!(is_same(&values, Shape::of(other.as_bytes()).unwrap().values()), "{values:?}");
        assert!(is_same(&values, &[1250.0, 12.0, f64::NAN, 4.0]));
    }

    #[test]
    fn a_text_of_another_shape_is_not_read() {
        for (old, new) in [
            ("\"n\":2", "\"n\":3"),
            ("\"name\":\"a\"", "\"name\":\"c\""),
            ("t 4", "t 5"),
            (":1,", ":x,"),
            (":1,", ":inf,"),
            (":1,", ":,"),
            ("\"texts\"", "\"more\":1,\"texts\""),
        ] {
            assert_eq!(read(&TEXT.replace(old, new)), None, "{new}");
        }
        for length in 0..TEXT.len() {
            assert_eq!(read(&TEXT[..length]), None);
        }
        assert_eq!(read(&format!("{TEXT} ")), None);
    }
}
