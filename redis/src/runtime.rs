//! The thread that all buses of a process share. It runs as long as the process does, once there is one.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::mpsc::{self, UnboundedSender};

use crate::session;
use crate::settings::Settings;

type Attach = (UnixStream, Arc<Settings>);

static THREAD: Mutex<Option<UnboundedSender<Attach>>> = Mutex::new(None);

/// A connection to an engine in Redis: the bus's end of a pair.
///
/// # Errors
///
/// There are no descriptors, or no threads, left.
pub fn connect(settings: Arc<Settings>) -> io::Result<OwnedFd> {
    let (own, other) = UnixStream::pair()?;
    own.set_nonblocking(true)?;
    other.set_nonblocking(true)?;
    let mut thread = THREAD.lock().unwrap_or_else(PoisonError::into_inner);
    let attach = match thread.as_ref().filter(|sender| !sender.is_closed()) {
        Some(attach) => attach,
        None => thread.insert(start()?),
    };
    attach.send((own, settings)).map_err(|_| io::Error::other("the thread has ended"))?;
    Ok(OwnedFd::from(other))
}

fn start() -> io::Result<UnboundedSender<Attach>> {
    // It fails if there is one, which does as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (attach, mut attached) = mpsc::unbounded_channel::<Attach>();
    thread::Builder::new().name("corral-redis".to_owned()).spawn(move || {
        runtime.block_on(async move {
            while let Some((stream, settings)) = attached.recv().await {
                if let Ok(stream) = tokio::net::UnixStream::from_std(stream) {
                    tokio::spawn(session::serve(stream, settings));
                }
            }
        });
    })?;
    Ok(attach)
}
