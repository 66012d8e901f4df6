//! What the bench script asks for, and what it gets.

use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// Milliseconds from the start at which requests are due, ascending.
    pub times: Vec<f64>,
    /// Of which kind each is.
    pub kinds: Vec<usize>,
    pub requests: Vec<Request>,
    /// Kept connections, over all ports; 0 for one for each request.
    pub connections: usize,
    pub choice: Choice,
    /// Of what is chosen at random.
    pub seed: u32,
    /// Requests that may be under way, those included that wait for a connection.
    pub max_under_way: usize,
    /// Milliseconds that are waited for answers when all requests have been sent.
    pub patience: u64,
}

/// How a request of some kind is made.
#[derive(Deserialize)]
pub struct Request {
    pub path: String,
    pub port: u16,
}

/// Which of the kept connections a request takes that have none under way.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Choice {
    /// Any: what a worker sees of many clients.
    Random,
    /// The one that was last used, as nginx does.
    Recent,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// Milliseconds from the time at which a request was due to the end of its answer; none without an answer.
    pub latencies: Vec<Option<f64>>,
    /// Milliseconds by which the generator itself was late with a request; none if it was not sent.
    pub lags: Vec<Option<f64>>,
    /// Refused, reset, closed without an answer, or answered with something else than 200.
    pub failed: usize,
    /// Still under way when the patience ended.
    pub unanswered: usize,
    /// Not sent, because too many were under way.
    pub dropped: usize,
    /// Kept connections that the servers closed, and that were opened again.
    pub reopened: usize,
}
