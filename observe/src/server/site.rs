//! One listening socket with its clients.

use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::{AbortHandle, JoinHandle, spawn_local};
use tokio::time::sleep;

use super::body::Body;
use super::{Observation, Opening};
use crate::admission::{Admission, ConnectionId};
use crate::events::Followers;
use crate::guard::{Client, Guard, Refusal};
use crate::metrics::OwnCounts;
use crate::routes::{self, Answer, Encoding, Whole};

/// For how long the head of a request may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// For how long an answer may be unread.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the head of a request may be, in bytes.
const MAX_HEAD: usize = 16 << 10;

/// The pause after a connection could not be accepted, for want of descriptors for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub struct Site {
    pub number: u32,
    observation: Rc<Observation>,
    guard: Guard,
    pub blocked_after: Duration,
    pub followers: RefCell<Followers>,
    admission: RefCell<Admission>,
    tasks: RefCell<HashMap<ConnectionId, AbortHandle>>,
    accepting: RefCell<Option<JoinHandle<()>>>,
    counts: RefCell<OwnCounts>,
}

impl Site {
    /// Requests are answered from now on.
    pub fn open(observation: Rc<Observation>, opening: Opening) -> Rc<Self> {
        let Opening { site: number, listener, guard, blocked_after } = opening;
        let site = Rc::new(Site {
            number,
            observation,
            guard,
            blocked_after,
            followers: RefCell::default(),
            admission: RefCell::default(),
            tasks: RefCell::default(),
            accepting: RefCell::default(),
            counts: RefCell::default(),
        });
        // There is no failure but that of a runtime that is ending.
        if let Ok(listening) = listener.listen() {
            let this = site.clone();
            let accepting = spawn_local(async move { this.accept(listening).await });
            *site.accepting.borrow_mut() = Some(accepting);
        }
        site
    }

    /// Closes everything. The listening socket is closed, and its file gone, when this is over.
    pub async fn end(&self) {
        self.tasks.take().into_values().for_each(|task| task.abort());
        let accepting = self.accepting.take();
        if let Some(task) = accepting {
            task.abort();
            // It has been aborted.
            let _ = task.await;
        }
    }

    /// What is to be done from time to time.
    pub fn maintain(&self) {
        self.close(self.admission.borrow_mut().expire(ANSWER_TIMEOUT));
        let stuck = self.followers.borrow_mut().tidy(ANSWER_TIMEOUT);
        self.close(self.admission.borrow_mut().evict(stuck));
    }

    async fn accept(self: Rc<Self>, listening: super::listener::Listening) {
        for id in 0.. {
            match listening.accept().await {
                Ok((stream, client)) if self.guard.admits(client) => {
                    self.clone().connected(id, stream, client)
                }
                Ok(_) => self.counts.borrow_mut().turned_away += 1,
                Err(_) => sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    fn connected(
        self: Rc<Self>,
        id: ConnectionId,
        stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
        client: Client,
    ) {
        let (unread, evicted) = self.admission.borrow_mut().admit(id);
        self.close(evicted);
        let site = self.clone();
        let service = service_fn(move |request| {
            let (site, unread) = (site.clone(), unread.clone());
            async move {
                let answer = site.respond(id, client, &request).await;
                Ok::<_, Infallible>(answer.map(|body| body.counting(unread)))
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), service);
        let site = self.clone();
        let task = spawn_local(async move {
            // However it ends, there is nobody to tell.
            let _ = connection.await;
            site.tasks.borrow_mut().remove(&id);
            site.admission.borrow_mut().leave(id);
        });
        self.tasks.borrow_mut().insert(id, task.abort_handle());
    }

    /// Closes connections for others.
    fn close(&self, evicted: impl IntoIterator<Item = ConnectionId>) {
        for id in evicted {
            if let Some(task) = self.tasks.borrow_mut().remove(&id) {
                task.abort();
            }
        }
    }

    async fn respond(&self, id: ConnectionId, client: Client, request: &Request<Incoming>) -> Response<Body> {
        self.counts.borrow_mut().requests += 1;
        let headers = request.headers();
        let is_page = request.uri().path() == routes::PAGE_PATH;
        let whole = match self.guard.check(client, headers) {
            Err(refusal) if !is_page || refusal == Refusal::Misdirected => routes::refusal(refusal),
            _ => {
                let own = self.own_counts();
                let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
                let asked = routes::Asked {
                    method: request.method(),
                    path: request.uri().path(),
                    query: request.uri().query(),
                    accept,
                    accept_encoding: headers
                        .get(header::ACCEPT_ENCODING)
                        .and_then(|accepted| accepted.to_str().ok()),
                };
                if asked.path == routes::METRICS_PATH {
                    self.observation.buses.want();
                }
                let answer = routes::answer(
                    &mut self.observation.viewer.borrow_mut(),
                    own,
                    self.blocked_after,
                    &asked,
                );
                match answer {
                    Answer::Whole(whole) => whole,
                    Answer::Page(text, encoding) => return page(text, encoding),
                    Answer::Events if *asked.method == Method::HEAD => return events(Body::empty()),
                    Answer::Events if self.admission.borrow_mut().follow(id) => {
                        return events(Body::events(self.followers.borrow_mut().add(id)));
                    }
                    Answer::Events => routes::too_many_followers(),
                    Answer::Profile { worker, milliseconds } => {
                        let profile = self.observation.clone().profile(worker, milliseconds);
                        routes::profile(profile.await)
                    }
                }
            }
        };
        let evicted = self.admission.borrow_mut().make_room(id, whole.body.len());
        self.close(evicted);
        written(whole)
    }

    fn own_counts(&self) -> OwnCounts {
        let admission = self.admission.borrow();
        OwnCounts {
            connections: admission.connected(),
            evicted: admission.evicted(),
            followers: self.followers.borrow().count(),
            ..*self.counts.borrow()
        }
    }
}

fn written(Whole { status, content_type, body }: Whole) -> Response<Body> {
    let mut response = Response::new(Body::whole(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    match status {
        StatusCode::UNAUTHORIZED => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        StatusCode::METHOD_NOT_ALLOWED => {
            headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        _ => {}
    }
    response
}

fn events(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// What the page may do: nothing but what it brings along, and to ask this server.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
    connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

fn page(text: &'static [u8], encoding: Encoding) -> Response<Body> {
    let mut response = Response::new(Body::fixed(text));
    let headers = response.headers_mut();
    let mut insert = |name, value| drop(headers.insert(name, HeaderValue::from_static(value)));
    insert(header::CONTENT_TYPE, "text/html; charset=utf-8");
    insert(header::CACHE_CONTROL, "no-store");
    insert(header::CONTENT_SECURITY_POLICY, POLICY);
    insert(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    insert(header::REFERRER_POLICY, "no-referrer");
    insert(header::VARY, "accept-encoding");
    if encoding == Encoding::Gzip {
        insert(header::CONTENT_ENCODING, "gzip");
    }
    response
}
