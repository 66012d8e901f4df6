//! Which format a scraper wants, by its `Accept`.

/// A format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Prometheus' text format, version 0.0.4.
    Text,
    /// OpenMetrics, version 1.0.0.
    OpenMetrics,
}

impl Format {
    /// For `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The one that an `Accept` prefers; the text for those that say nothing.
    pub fn of(accept: Option<&str>) -> Format {
        let accept = accept.unwrap_or_default();
        let best = |is_it: fn(&Range<'_>) -> bool| {
            ranges(accept).filter(is_it).map(|range| range.quality).fold(0, u32::max)
        };
        let open = best(|range| {
            range.name == "application/openmetrics-text" && matches!(range.version, None | Some("1.0.0"))
        });
        let text = best(|range| {
            range.name == "text/plain" && matches!(range.version, None | Some("0.0.4"))
                || matches!(range.name, "*/*" | "text/*")
        });
        // Equal ones: who names OpenMetrics knows it.
        if open > 0 && open >= text { Format::OpenMetrics } else { Format::Text }
    }
}

/// One of the media ranges of an `Accept`.
struct Range<'a> {
    name: &'a str,
    version: Option<&'a str>,
    /// In thousandths.
    quality: u32,
}

fn ranges(accept: &str) -> impl Iterator<Item = Range<'_>> {
    accept.split(',').map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let mut range = Range { name: parts.next().unwrap_or_default(), version: None, quality: 1000 };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            match name.trim() {
                "version" => range.version = Some(value.trim().trim_matches('"')),
                "q" => {
                    let quality = value.trim().parse::<f32>().unwrap_or(0.0);
                    range.quality = (quality.clamp(0.0, 1.0) * 1000.0) as u32;
                }
                _ => {}
            }
        }
        range
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scraper_gets_the_format_that_it_prefers() {
        const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
            application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,\
            text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, format) in [
            (None, Format::Text),
            (Some("*/*"), Format::Text),
            (Some("text/html,*/*;q=0.8"), Format::Text),
            (Some(PROMETHEUS), Format::OpenMetrics),
            (Some("application/openmetrics-text"), Format::OpenMetrics),
            (Some("application/openmetrics-text; version=\"1.0.0\"; q=0.5, text/plain"), Format::Text),
            (Some("application/openmetrics-text;version=0.0.1,text/plain;q=0.5"), Format::Text),
            (Some("application/openmetrics-text;q=0"), Format::Text),
            (Some("application/openmetrics-text;q=nonsense, text/plain;q=0.1"), Format::Text),
            (Some(";;;,=,;q"), Format::Text),
        ] {
            assert_eq!(Format::of(accept), format, "{accept:?}");
        }
    }
}
