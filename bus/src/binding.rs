//! The addon as JavaScript sees it. Only this module knows Node-API. A connection to an engine is a descriptor: JavaScript
//! makes a socket of it, and speaks the protocol.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use napi::{Env, JsString, JsValue, check_status};
use napi_derive::napi;
use nix::fcntl::Flock;

use crate::broker::Broker;
use crate::json;
use crate::place;
use crate::store::Store;
use crate::store::memory::MemoryStore;
use crate::store::sqlite::SqliteStore;

/// The version of the package that this binary belongs to. `lib/addon.js` loads no other.
#[napi]
pub fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// The longest text that `is_plain` looks at, in bytes.
const MAX_PLAIN: usize = 64 << 10;

thread_local! {
    static TEXT: RefCell<Vec<u8>> = RefCell::new(vec![0; MAX_PLAIN + 1]);
}

/// Whether a text of ASCII, of at most 65,536 characters, is in JSON as it is, in quotes. Of a text with other characters it says
/// nothing.
#[napi]
pub fn is_plain(env: Env, text: JsString<'_>) -> Result<bool, napi::Error> {
    TEXT.with_borrow_mut(|bytes| {
        let mut length = 0;
        // SAFETY: both handles are of this call, which is on their thread. The buffer has the length that is given, of which
        // Node-API writes one zero behind what it copies.
        let status = unsafe {
            napi::sys::napi_get_value_string_latin1(
                env.raw(),
                text.raw(),
                bytes.as_mut_ptr().cast(),
                bytes.len(),
                &raw mut length,
            )
        };
        check_status!(status)?;
        Ok(json::is_plain(&bytes[..length]))
    })
}

/// An error with the system's own code.
fn failed(error: &io::Error) -> napi::Error<String> {
    let errno = nix::errno::Errno::from_raw(error.raw_os_error().unwrap_or(0));
    let code = if errno as i32 == 0 { "EIO".to_owned() } else { format!("{errno:?}") };
    napi::Error::new(code, error.to_string())
}

/// JavaScript owns the descriptor from then on.
fn give(descriptor: OwnedFd) -> i32 {
    descriptor.into_raw_fd()
}

/// The engine in memory, of which a process has one, whatever threads it has. It ends with the process.
static MEMORY: Mutex<Option<Broker>> = Mutex::new(None);

fn with_memory<T>(use_it: impl FnOnce(&Broker) -> io::Result<T>) -> io::Result<T> {
    let mut memory = MEMORY.lock().unwrap_or_else(PoisonError::into_inner);
    if memory.as_ref().is_none_or(|broker| !broker.is_serving()) {
        *memory = Some(Broker::start(Box::new(|| Ok(Box::new(MemoryStore::new()) as Box<dyn Store>)))?);
    }
    match memory.as_ref() {
        Some(broker) => use_it(broker),
        None => Err(io::ErrorKind::NotFound.into()),
    }
}

/// A connection to the engine in memory: its descriptor.
#[napi]
pub fn connect_memory() -> Result<i32, napi::Error<String>> {
    with_memory(Broker::connect).map(give).map_err(|error| failed(&error))
}

/// Has other processes of this user reach the engine in memory, at `<path>.sock`.
#[napi]
pub fn listen_memory(path: String) -> Result<(), napi::Error<String>> {
    with_memory(|broker| broker.listen(place::listen(Path::new(&path))?)).map_err(|error| failed(&error))
}

/// A connection to the process that serves a file: its descriptor. It is not established yet when it cannot be at once.
#[napi]
pub fn connect_file(path: String) -> Result<i32, napi::Error<String>> {
    place::connect(Path::new(&path)).map(give).map_err(|error| failed(&error))
}

/// This process serves a file.
#[napi]
pub struct FileBroker {
    broker: Broker,
    /// Given back last.
    lock: Option<Flock<File>>,
}

#[napi]
impl FileBroker {
    /// Serves a file, if no other process does: null if one does.
    #[napi]
    pub fn serve(path: String) -> Result<Option<FileBroker>, napi::Error<String>> {
        serve(PathBuf::from(path)).map_err(|error| failed(&error))
    }

    /// A connection to it: its descriptor.
    #[napi]
    pub fn connect(&self) -> Result<i32, napi::Error<String>> {
        self.broker.connect().map(give).map_err(|error| failed(&error))
    }

    /// Whether it serves still.
    #[napi]
    pub fn is_serving(&self) -> bool {
        self.broker.is_serving()
    }

    /// Ends it: another process may serve the file from then on.
    #[napi]
    pub fn stop(&mut self) {
        self.broker.stop();
        self.lock = None;
    }
}

fn serve(path: PathBuf) -> io::Result<Option<FileBroker>> {
    let Some(lock) = place::lock(&path)? else { return Ok(None) };
    let listener = place::listen(&path)?;
    let open = move || Ok(Box::new(SqliteStore::open(&path)?) as Box<dyn Store>);
    let broker = Broker::start(Box::new(open))?;
    broker.listen(listener)?;
    Ok(Some(FileBroker { broker, lock: Some(lock) }))
}
