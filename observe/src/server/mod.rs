//! The thread: it looks at the event loops from time to time, listens to workers, and answers requests.
//!
//! `site` is one listening socket with its clients, `listener` the socket and its connections, `body` the bodies of answers. `links`
//! has the sockets to workers, `buses` the connections to engines of buses, `reports` what JavaScript is told.

mod body;
mod buses;
mod links;
mod listener;
mod reports;
mod site;

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::{Notify, mpsc};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, sleep, timeout};

use crate::blocks::{Change, Frame};
use crate::core::link::Subject;
use crate::guard::Guard;
use crate::overview::overview;
use crate::process::OBSERVER;
use crate::profiles::{Outcome, PATIENCE, Profiles};
use crate::stats::{event_loops, stats};
use crate::view::{Exit, Look, Restarts, Viewer};
use buses::Connections;
use links::{Links, Said};
pub use listener::{Address, BindError, Listener};
use reports::Reports;
use site::Site;

/// How often the event loops are looked at: how long one is blocked is seen as exactly as that.
const LOOK_EVERY: Duration = Duration::from_millis(150);

/// How long a look waits for what a worker is asked when it is found to be blocked.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// For how long a worker that can be observed may take until it is.
const LINK_WAIT: Duration = Duration::from_secs(5);

/// Why a worker cannot be asked.
const NO_LINK: &str = "the worker does not load corral, has no lane, or has gone";

/// How often what is counted is sent to those who follow events.
const EVENT_EVERY: Duration = Duration::from_secs(1);

/// What the JavaScript thread says.
#[derive(Debug)]
pub enum Message {
    /// A worker has ended.
    Exit(Exit),
    /// Something has happened: the event's name, and its data as JSON on one line.
    Event(String, String),
    /// Requests are to be answered from now on.
    Open(Opening),
    /// And no more. The other end of `done` is dropped when the socket is closed.
    Close { site: u32, done: std::sync::mpsc::Sender<()> },
    /// JavaScript wants a profile of a worker; the report about it has this number.
    Profile { number: u64, worker: u32, milliseconds: u32 },
    /// Those before a worker in its place have ended so often; none when it has ended itself.
    Restarts(u32, Option<Restarts>),
    /// This process serves or uses a bus of this name, to whose engine this is a connection.
    Bus(String, OwnedFd),
    /// And no more.
    NoBus(String),
}

/// A socket on which requests are to be answered, and for whom.
#[derive(Debug)]
pub struct Opening {
    /// Its number.
    pub site: u32,
    pub listener: Listener,
    pub guard: Guard,
    /// From when on a loop that does not turn counts as blocked.
    pub blocked_after: Duration,
}

/// A thread that runs. Dropping this ends it.
#[derive(Debug)]
pub struct Running {
    messages: Option<mpsc::UnboundedSender<Message>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Running {
    /// Starts the thread. Reports for JavaScript are written to `reports`, one a line.
    ///
    /// Errors: those of making a thread, and what it needs to wait for events.
    pub fn start(viewer: Viewer, reports: OwnedFd) -> io::Result<Self> {
        let (messages, received) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let work = move || {
            let local = LocalSet::new();
            local.block_on(&runtime, observe(viewer, reports, received));
            // Whatever is under way ends with it.
            drop(local);
        };
        let thread = std::thread::Builder::new().name(OBSERVER.into()).spawn(work)?;
        Ok(Running { messages: Some(messages), thread: Some(thread) })
    }

    /// Says something to the thread.
    pub fn tell(&self, message: Message) {
        if let Some(messages) = &self.messages {
            // One that has ended has nobody to tell.
            let _ = messages.send(message);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The thread ends when nobody can say anything any more.
        self.messages = None;
        if let Some(thread) = self.thread.take() {
            // One that has panicked has ended, too.
            let _ = thread.join();
        }
    }
}

/// What all sites share.
struct Observation {
    viewer: RefCell<Viewer>,
    links: RefCell<Links>,
    profiles: RefCell<Profiles>,
    reports: Reports,
    buses: Connections,
    sites: RefCell<Vec<Rc<Site>>>,
    /// The next look is due.
    look_now: Notify,
    last_event: Cell<Option<Instant>>,
}

async fn observe(viewer: Viewer, reports: OwnedFd, mut messages: mpsc::UnboundedReceiver<Message>) {
    // Without it JavaScript is told nothing.
    let Ok(reports) = Reports::start(reports) else { return };
    let (links, mut heard) = Links::new();
    let observation = Rc::new(Observation {
        viewer: RefCell::new(viewer),
        links: RefCell::new(links),
        profiles: RefCell::default(),
        reports,
        buses: Connections::default(),
        sites: RefCell::default(),
        look_now: Notify::new(),
        last_event: Cell::new(None),
    });
    spawn_local(observation.clone().look());
    loop {
        tokio::select! {
            message = messages.recv() => match message {
                Some(message) => observation.on_message(message),
                None => break,
            },
            Some(said) = heard.recv() => observation.on_said(said),
        }
    }
    // They have what has them.
    observation.sites.take();
}

impl Observation {
    fn on_message(self: &Rc<Self>, message: Message) {
        match message {
            Message::Exit(exit) => self.viewer.borrow_mut().count_exit(exit),
            Message::Event(name, data) => self.send(&name, &data),
            Message::Open(opening) => {
                self.sites.borrow_mut().push(Site::open(self.clone(), opening));
                // JavaScript may have just made workers.
                self.look_now.notify_one();
            }
            Message::Close { site, done } => {
                let place = self.sites.borrow().iter().position(|one| one.number == site);
                let closed = place.map(|place| self.sites.borrow_mut().remove(place));
                spawn_local(async move {
                    if let Some(site) = closed {
                        site.end().await;
                    }
                    drop(done);
                });
            }
            Message::Profile { number, worker, milliseconds } => {
                let this = self.clone();
                spawn_local(async move {
                    let told = match this.clone().profile(worker, milliseconds).await {
                        Outcome::Profile(text) => json!({ "profile": number, "text": text }),
                        Outcome::Failed(reason) => json!({ "profile": number, "failed": reason }),
                        Outcome::Unavailable(reason) => json!({ "profile": number, "unavailable": reason }),
                    };
                    this.reports.insist(&told).await;
                });
            }
            Message::Restarts(worker, restarts) => {
                self.viewer.borrow_mut().set_restarts(worker, restarts);
            }
            Message::Bus(name, socket) => {
                if self.buses.add(name.clone(), socket, self.clone()).is_err() {
                    // As one that is lost at once.
                    self.reports.tell(&json!({ "bus": name }));
                }
            }
            Message::NoBus(name) => {
                self.buses.remove(&name);
                self.viewer.borrow_mut().buses.remove(&name);
            }
        }
    }

    fn on_said(&self, Said { worker, subject, id, text }: Said) {
        match subject {
            Subject::Stack => {
                // What is no stack is none.
                let Ok(stack) = serde_json::from_slice::<Vec<Frame>>(&text) else { return };
                let change = self.viewer.borrow_mut().answer(worker, id, stack);
                change.into_iter().for_each(|change| self.on_change(change));
            }
            Subject::Profile | Subject::ProfileFailed => {
                let outcome = match String::from_utf8(text) {
                    Ok(text) if subject == Subject::Profile => Outcome::Profile(text),
                    Ok(reason) => Outcome::Failed(reason),
                    Err(_) => Outcome::Failed("the worker's answer is no text".to_owned()),
                };
                self.profiles.borrow_mut().settle(worker, id, outcome);
            }
            Subject::Metrics => self.viewer.borrow_mut().publish(worker, &text),
        }
    }

    fn on_change(&self, change: Change) {
        let (name, block) = match change {
            Change::Ask { worker, id } => {
                self.links.borrow().ask(worker, Subject::Stack, id, "");
                return;
            }
            Change::Blocked(block) => ("blocked", block),
            Change::Unblocked(block) => ("unblocked", block),
        };
        let told = json!(block);
        self.send(name, &told.to_string());
        self.reports.tell(&json!({ "event": name, "block": told }));
    }

    /// Asks a worker for a profile, and waits for it.
    async fn profile(self: Rc<Self>, worker: u32, milliseconds: u32) -> Outcome {
        let (id, answer) = self.profiles.borrow_mut().begin(worker);
        let text = milliseconds.to_string();
        let ask = || self.links.borrow().ask(worker, Subject::Profile, id, &text);
        let begun = Instant::now();
        while !ask() {
            // It may be on its way to being observed.
            if begun.elapsed() >= LINK_WAIT || !self.is_expected(worker) {
                self.profiles.borrow_mut().forget(worker, id);
                return Outcome::Unavailable(NO_LINK.to_owned());
            }
            sleep(LOOK_AGAIN).await;
            self.look_now.notify_one();
        }
        let most = Duration::from_millis(milliseconds.into()) + PATIENCE;
        let answered = timeout(most, answer).await;
        self.profiles.borrow_mut().forget(worker, id);
        match answered {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Outcome::Failed("the worker has gone".to_owned()),
            Err(_) => Outcome::Failed("the worker's event loop does not turn".to_owned()),
        }
    }

    /// Whether a worker is there that may be observed.
    fn is_expected(&self, worker: u32) -> bool {
        let look = self.viewer.borrow_mut().look();
        look.is_ok_and(|look| look.snapshot.workers.iter().any(|one| one.id == worker && one.has_lane))
    }

    /// Sends an event to all who follow them.
    fn send(&self, name: &str, data: &str) {
        for site in &*self.sites.borrow() {
            site.followers.borrow_mut().send(name, data);
        }
    }

    async fn look(self: Rc<Self>) {
        loop {
            let pause = self.look_once();
            // Whoever asks for a look does not wait for the next.
            let _ = timeout(pause, self.look_now.notified()).await;
            if pause.is_zero() {
                sleep(Duration::from_millis(1)).await;
            }
        }
    }

    /// Returns when to look again.
    fn look_once(&self) -> Duration {
        for site in &*self.sites.borrow() {
            site.maintain();
        }
        // An answer that is not understood is an answer to whoever asks.
        let Ok(look) = self.viewer.borrow_mut().look() else { return LOOK_EVERY };
        self.viewer.borrow_mut().weigh(&look.snapshot);
        self.follow_workers(&look);
        let after = self.blocked_after();
        let changes = self.viewer.borrow_mut().find_blocks(&look, after);
        let is_asked = changes.iter().any(|change| matches!(change, Change::Ask { .. }));
        changes.into_iter().for_each(|change| self.on_change(change));
        self.send_look(&look);
        if is_asked { LOOK_AGAIN.min(LOOK_EVERY) } else { next_look(&look, after) }
    }

    /// New sockets of workers, and those of workers that have gone.
    fn follow_workers(&self, look: &Look) {
        let ids: Vec<_> = look.snapshot.workers.iter().map(|worker| worker.id).collect();
        for id in &ids {
            if let Some(socket) = self.viewer.borrow().take_link(*id) {
                // Without it there are no stacks of this worker.
                let _ = self.links.borrow_mut().add(*id, socket);
            }
        }
        self.links.borrow_mut().retain(|worker| ids.contains(&worker));
        self.profiles.borrow_mut().retain(|worker| ids.contains(&worker));
    }

    /// From when on a loop counts as blocked: as whoever observes wants it that wants it soonest.
    fn blocked_after(&self) -> Duration {
        self.sites.borrow().iter().map(|site| site.blocked_after).min().unwrap_or(Duration::MAX)
    }

    fn send_look(&self, look: &Look) {
        let now = Instant::now();
        let is_due = self.last_event.get().is_none_or(|last| now - last >= EVENT_EVERY);
        if !is_due || self.sites.borrow().iter().all(|site| site.followers.borrow().is_empty()) {
            return;
        }
        self.last_event.set(Some(now));
        let mut value = stats(&look.snapshot, self.viewer.borrow().descriptions());
        value["eventLoops"] = event_loops(look);
        self.send("stats", &value.to_string());
        let mut viewer = self.viewer.borrow_mut();
        if let Ok(view) = viewer.view(self.blocked_after()) {
            let text = overview(&view, viewer.descriptions()).to_string();
            drop(viewer);
            self.send("overview", &text);
        }
    }
}

/// How long to wait for the next look: until a loop that does not turn has not turned for long enough, at most.
fn next_look(look: &Look, after: Duration) -> Duration {
    let blocked = look.workers.iter().flatten().filter_map(|activity| activity.blocked_for);
    let left = blocked
        .filter(|blocked_for| *blocked_for > 0)
        .filter_map(|blocked_for| after.checked_sub(Duration::from_micros(blocked_for)))
        .filter(|left| !left.is_zero());
    left.min().map_or(LOOK_EVERY, |left| left.saturating_add(Duration::from_millis(1)).min(LOOK_EVERY))
}
