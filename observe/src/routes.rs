//! Requests and their answers. Nothing here reads or writes but what the viewer does.

use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::json;

use crate::exposition::Exposition;
use crate::guard::Refusal;
use crate::health::{self, Question};
use crate::metrics::{OwnCounts, metrics};
use crate::negotiation::Format;
use crate::profiles::{MAX_PROFILE_TIME, Outcome};
use crate::stats::stats;
use crate::view::Viewer;

/// For how long a profile goes on if nobody says.
const DEFAULT_PROFILE_SECONDS: f64 = 5.0;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// The page: one file that needs nothing else. `node scripts/page.js` makes it of observe/page/.
const PAGE: &str = include_str!("../page.html");
const COMPRESSED_PAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/page.html.gz"));

/// The path of the page. It has nothing of the cluster in it, and asks for the token itself.
pub const PAGE_PATH: &str = "/";

/// The path of the metrics.
pub const METRICS_PATH: &str = "/metrics";

/// An answer, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    pub status: StatusCode,
    pub content_type: &'static str,
    pub body: String,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Whole(Whole),
    /// The page, compressed or as it is.
    Page(&'static [u8], Encoding),
    /// Events, from now on.
    Events,
    /// A profile of a worker.
    Profile {
        worker: u32,
        milliseconds: u32,
    },
}

/// Whether the page is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Gzip,
    Identity,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub method: &'a Method,
    pub path: &'a str,
    pub query: Option<&'a str>,
    /// The header `Accept`.
    pub accept: Option<&'a str>,
    /// The header `Accept-Encoding`.
    pub accept_encoding: Option<&'a str>,
}

fn whole(status: StatusCode, content_type: &'static str, body: String) -> Answer {
    Answer::Whole(Whole { status, content_type, body })
}

/// Answers a request.
pub fn answer(viewer: &mut Viewer, own: OwnCounts, blocked_after: Duration, asked: &Asked<'_>) -> Answer {
    let Asked { method, path, query, accept, accept_encoding } = *asked;
    if !matches!(*method, Method::GET | Method::HEAD) {
        return whole(StatusCode::METHOD_NOT_ALLOWED, TEXT, "GET or HEAD\n".to_owned());
    }
    let answered = match path {
        PAGE_PATH if takes_gzip(accept_encoding.unwrap_or_default()) => {
            Ok(Answer::Page(COMPRESSED_PAGE, Encoding::Gzip))
        }
        PAGE_PATH => Ok(Answer::Page(PAGE.as_bytes(), Encoding::Identity)),
        METRICS_PATH => {
            let format = Format::of(accept);
            viewer.view(blocked_after).map(|view| {
                // Room for what has come meanwhile.
                let length = viewer.written + viewer.written / 8;
                let (descriptions, program, buses) = viewer.published();
                let mut to = Exposition::new(format, length);
                metrics(&mut to, &view, descriptions, program, buses, own);
                let text = to.finish();
                viewer.written = text.len();
                whole(StatusCode::OK, format.content_type(), text)
            })
        }
        "/health" => verdict(viewer, blocked_after, Question::Health),
        "/ready" => verdict(viewer, blocked_after, Question::Readiness),
        "/stats" => viewer.look().map(|look| {
            whole(StatusCode::OK, JSON, format!("{}\n", stats(&look.snapshot, viewer.descriptions())))
        }),
        "/blocks" => {
            let blocks: Vec<_> = viewer.blocks().all().collect();
            Ok(whole(StatusCode::OK, JSON, format!("{}\n", json!(blocks))))
        }
        "/profile" => Ok(match profile_of(query.unwrap_or_default()) {
            Ok((worker, milliseconds)) => Answer::Profile { worker, milliseconds },
            Err(wrong) => whole(StatusCode::BAD_REQUEST, TEXT, format!("{wrong}\n")),
        }),
        "/events" => Ok(Answer::Events),
        _ => Ok(whole(StatusCode::NOT_FOUND, TEXT, "There is no such thing here\n".to_owned())),
    };
    answered.unwrap_or_else(|error| {
        whole(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("corral's core answers strangely: {error}\n"))
    })
}

fn verdict(viewer: &mut Viewer, blocked_after: Duration, question: Question) -> Result<Answer, String> {
    let (is_so, said) = health::answer(&viewer.view(blocked_after)?, question);
    let status = if is_so { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok(whole(status, JSON, format!("{said}\n")))
}

/// Whether an `Accept-Encoding` has gzip, and not with a quality of 0.
fn takes_gzip(accepted: &str) -> bool {
    accepted.split(',').any(|coding| {
        let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
        let quality = parameters.trim().strip_prefix("q=").and_then(|quality| quality.parse::<f32>().ok());
        name.trim().eq_ignore_ascii_case("gzip") && quality != Some(0.0)
    })
}

/// The worker and the milliseconds of `worker=ID&seconds=NUMBER`.
///
/// Errors: what is wrong, in words.
fn profile_of(query: &str) -> Result<(u32, u32), String> {
    let value =
        |name: &str| query.split('&').filter_map(|pair| pair.split_once('=')).find(|pair| pair.0 == name);
    let worker = value("worker").and_then(|(_, id)| id.parse().ok());
    let worker = worker.ok_or("worker=ID is needed, of a worker")?;
    let seconds = value("seconds").map_or(Some(DEFAULT_PROFILE_SECONDS), |(_, number)| number.parse().ok());
    let most = MAX_PROFILE_TIME.as_secs_f64();
    match seconds {
        Some(seconds) if seconds > 0.0 && seconds <= most => Ok((worker, (seconds * 1000.0).ceil() as u32)),
        _ => Err(format!("seconds=NUMBER has to be above 0 and at most {most}")),
    }
}

/// The answer to a request for a profile.
pub fn profile(outcome: Outcome) -> Whole {
    let (status, content_type, body) = match outcome {
        Outcome::Profile(text) => (StatusCode::OK, JSON, text),
        Outcome::Failed(reason) => (StatusCode::GATEWAY_TIMEOUT, TEXT, format!("{reason}\n")),
        Outcome::Unavailable(reason) => (StatusCode::NOT_FOUND, TEXT, format!("{reason}\n")),
    };
    Whole { status, content_type, body }
}

/// The answer to a request that is refused.
pub fn refusal(refusal: Refusal) -> Whole {
    let (status, body) = match refusal {
        Refusal::Unauthorized => (StatusCode::UNAUTHORIZED, "Authorization: Bearer TOKEN is needed\n"),
        Refusal::Misdirected => {
            (StatusCode::MISDIRECTED_REQUEST, "This host has no other name than localhost\n")
        }
        Refusal::CrossSite => (StatusCode::FORBIDDEN, "This is for no page of another site\n"),
    };
    Whole { status, content_type: TEXT, body: body.to_owned() }
}

/// The answer to one too many that wants to follow events.
pub fn too_many_followers() -> Whole {
    let body = "Too many follow events already\n".to_owned();
    Whole { status: StatusCode::SERVICE_UNAVAILABLE, content_type: TEXT, body }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Snapshot;
    use crate::view::example::*;

    fn answered(method: Method, path: &str) -> Answer {
        let snapshot = Snapshot { servers: vec![], ..snapshot() };
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        let asked = Asked { method: &method, path, query, accept: None, accept_encoding: None };
        answer(&mut viewer(snapshot), OwnCounts::default(), Duration::from_secs(1), &asked)
    }

    #[test]
    fn each_path_has_its_answer() {
        for (path, status, content_type, part) in [
            ("/metrics", 200, "text/plain; version=0.0.4; charset=utf-8", "corral_up 1\n"),
            ("/health", 200, JSON, r#"{"status":"ok","reasons":[],"#),
            ("/ready", 503, JSON, r#"{"status":"failing","reasons":["no server is open"],"#),
            ("/stats", 200, JSON, r#"{"servers":[],"workers":[{"id":1,"#),
            ("/blocks", 200, JSON, "[]"),
            ("/metrics/", 404, TEXT, "no such thing"),
            ("/Metrics", 404, TEXT, "no such thing"),
            ("", 404, TEXT, "no such thing"),
        ] {
            let Answer::Whole(whole) = answered(Method::GET, path) else { panic!("{path}") };
            assert_eq!((whole.status.as_u16(), whole.content_type), (status, content_type), "{path}");
            assert!(whole.body.contains(part) && whole.body.ends_with('\n'), "{path}: {}", whole.body);
        }
        assert_eq!(answered(Method::GET, "/events"), Answer::Events);
        let profile = |query: &str| answered(Method::GET, &format!("/profile?{query}"));
        assert_eq!(profile("worker=3"), Answer::Profile { worker: 3, milliseconds: 5000 });
        let short = Answer::Profile { worker: 3, milliseconds: 250 };
        assert_eq!(profile("seconds=0.25&worker=3&more"), short);
        for wrong in ["", "worker=x", "worker=1&seconds=0", "worker=1&seconds=301", "worker=1&seconds=NaN"] {
            let Answer::Whole(whole) = profile(wrong) else { panic!("{wrong}") };
            assert_eq!(whole.status, StatusCode::BAD_REQUEST, "{wrong}");
        }
    }

    #[test]
    fn the_page_is_compressed_for_those_who_take_that() {
        assert_eq!(answered(Method::GET, "/"), Answer::Page(PAGE.as_bytes(), Encoding::Identity));
        for (accepted, takes) in
            [("gzip", true), ("br;q=1, GZIP;q=0.5", true), ("gzip;q=0", false), ("", false), ("*", false)]
        {
            assert_eq!(takes_gzip(accepted), takes, "{accepted}");
        }
        assert!(COMPRESSED_PAGE.len() < 100 << 10, "{}", COMPRESSED_PAGE.len());
    }

    #[test]
    fn nothing_is_changed_by_a_request() {
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            let Answer::Whole(whole) = answered(method, "/metrics") else { panic!() };
            assert_eq!(whole.status, StatusCode::METHOD_NOT_ALLOWED);
        }
    }
}
