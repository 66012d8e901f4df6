//! The addon as JavaScript sees it. Only this module knows Node-API. `source` has the core's table of functions.

mod source;

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use napi::bindgen_prelude::Unknown;
use napi::{Env, Result};
use napi_derive::napi;

use crate::guard::Guard;
use crate::server::{Address, Listener, Message, Opening, Running};
use crate::view::{Exit, Viewer};
use source::CoreSource;

/// The version of the package that this binary belongs to. `lib/addon.js` loads no other.
#[napi]
pub fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// Where to listen, and who may ask. Checked by `lib/observe/options.js`.
#[napi(object, object_to_js = false)]
pub struct ObserveSettings {
    /// An IP address; not used with a path.
    pub host: String,
    pub port: u16,
    /// Of a Unix socket, instead.
    pub path: Option<String>,
    pub token: Option<String>,
    pub allow: Option<Vec<String>>,
    /// From when on a loop that does not turn counts as blocked, in milliseconds.
    pub blocked_after: u32,
}

/// Where a server listens.
#[napi(object, object_from_js = false)]
pub struct ObserveAddress {
    /// The server's number.
    pub site: u32,
    /// An IP address, or the path.
    pub address: String,
    /// None of a path.
    pub port: Option<u16>,
    pub is_ipv6: bool,
}

/// A thread that observes a primary, with any number of servers. Never keeps the process alive.
#[napi]
pub struct NativeObservation {
    running: Rc<RefCell<Option<Running>>>,
    /// Until it is asked for.
    reports: Option<OwnedFd>,
    last_site: u32,
}

/// An error whose `code` says what it is of: a number is the system's.
fn failure(code: impl ToString, reason: impl ToString) -> napi::Error<String> {
    napi::Error::new(code.to_string(), reason.to_string())
}

fn system(error: std::io::Error) -> napi::Error<String> {
    failure(error.raw_os_error().unwrap_or_default(), error)
}

#[napi]
impl NativeObservation {
    /// Starts the thread. `observation` is what the core's `observation()` gives.
    ///
    /// Errors, by their codes: a number of the system's; `core` for anything that is wrong with the core.
    #[napi(constructor)]
    pub fn new(env: Env, #[napi(ts_arg_type = "object")] observation: Unknown<'_>) -> Result<Self, String> {
        let core = CoreSource::of(&env, &observation).map_err(|reason| failure("core", reason))?;
        let viewer = Viewer::new(Box::new(core)).map_err(|reason| failure("core", reason))?;
        let (ours, theirs) = UnixStream::pair().map_err(system)?;
        let running = Running::start(viewer, ours.into()).map_err(system)?;
        let running = Rc::new(RefCell::new(Some(running)));
        // No code of the thread runs while Node tears itself down, and the files of sockets go.
        env.add_env_cleanup_hook(Rc::downgrade(&running), |running| {
            drop(running.upgrade().and_then(|running| running.take()));
        })
        .map_err(|error| failure("core", &error.reason))?;
        Ok(NativeObservation { running, reports: Some(theirs.into()), last_site: 0 })
    }

    /// The descriptor of a stream of reports, one JSON a line, which is the caller's; -1 in every later call.
    #[napi]
    pub fn take_reports(&mut self) -> i32 {
        self.reports.take().map_or(-1, IntoRawFd::into_raw_fd)
    }

    /// Listens, and answers requests from now on.
    ///
    /// Errors, by their codes: a number of the system's; `allow` with the entry that is no address; `core` for an address that is
    /// none.
    #[napi]
    pub fn open(&mut self, settings: ObserveSettings) -> Result<ObserveAddress, String> {
        let guard = Guard::new(settings.token, settings.allow).map_err(|entry| failure("allow", entry))?;
        let blocked_after = Duration::from_millis(settings.blocked_after.into());
        let asked = match settings.path {
            Some(path) => Address::Path(PathBuf::from(path)),
            None => {
                let ip: IpAddr =
                    settings.host.parse().map_err(|error| failure("core", format!("{error}")))?;
                Address::Ip(SocketAddr::new(ip, settings.port))
            }
        };
        let listener = Listener::bind(&asked).map_err(|error| system(error.0))?;
        let address = listener.address().map_err(system)?;
        self.last_site += 1;
        let site = self.last_site;
        self.tell(Message::Open(Opening { site, listener, guard, blocked_after }));
        Ok(match address {
            Address::Ip(address) => ObserveAddress {
                site,
                address: address.ip().to_string(),
                port: Some(address.port()),
                is_ipv6: address.is_ipv6(),
            },
            Address::Path(path) => ObserveAddress {
                site,
                address: path.to_string_lossy().into_owned(),
                port: None,
                is_ipv6: false,
            },
        })
    }

    /// Ends a server. It has ended when this returns.
    #[napi]
    pub fn close_site(&self, site: u32) {
        let (done, wait) = std::sync::mpsc::channel();
        self.tell(Message::Close { site, done });
        // Nothing is sent: the other end goes when it is done, or the thread has ended.
        let _ = wait.recv();
    }

    /// A worker has ended, for this reason, with this code or signal.
    #[napi]
    pub fn count_exit(&self, reason: String, status: String) {
        self.tell(Message::Exit(Exit { reason, status }));
    }

    /// Something has happened that those who follow events are told: its name, and its data as JSON on one line.
    #[napi]
    pub fn emit(&self, name: String, data: String) {
        self.tell(Message::Event(name, data));
    }

    /// Asks a worker for a profile of so many milliseconds. A report with this number says what has become of it.
    #[napi]
    pub fn profile(&self, number: u32, worker: u32, milliseconds: u32) {
        self.tell(Message::Profile { number: number.into(), worker, milliseconds });
    }

    /// Those before a worker in its place have ended so often, by how; null when it has ended itself.
    #[napi]
    pub fn set_restarts(&self, worker: u32, restarts: Option<HashMap<String, u32>>) {
        self.tell(Message::Restarts(worker, restarts.map(|restarts| restarts.into_iter().collect())));
    }

    /// This process serves or uses a bus of this name. `descriptor` is a connection to its engine that nobody has used, and is given
    /// away. A report with the name says when the connection has ended.
    #[napi]
    pub fn add_bus(&self, name: String, descriptor: i32) {
        assert!(descriptor >= 0, "a descriptor is no negative number");
        // SAFETY: JavaScript has it from the addon of the bus, and gives it away.
        let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
        self.tell(Message::Bus(name, socket));
    }

    /// There is no such bus any more.
    #[napi]
    pub fn remove_bus(&self, name: String) {
        self.tell(Message::NoBus(name));
    }

    /// Ends. The thread has ended when this returns.
    #[napi]
    pub fn close(&self) {
        drop(self.running.take());
    }

    fn tell(&self, message: Message) {
        if let Some(running) = &*self.running.borrow() {
            running.tell(message);
        }
    }
}
