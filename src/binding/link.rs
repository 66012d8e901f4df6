//! A worker's end of the socket to whoever observes the cluster. A thread of its own reads it, so that it says what JavaScript does
//! while the event loop does not turn. All packets are sent on the main thread.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use napi::bindgen_prelude::Function;
use napi::{Env, Result};
use napi_derive::napi;
use nix::errno::Errno;
use parking_lot::Mutex;

use super::napi_failure;
use super::stack::Interruptible;
use super::wake::Wake;
use crate::link::{MAX_PART, Packet, Subject};
use crate::os;

/// How the kernel knows the thread.
const THREAD: &str = "corral-link";

/// How many bytes of stack it has. It calls nothing deep.
const STACK: usize = 64 << 10;

/// How many bytes a request has at most.
const MAX_REQUEST: usize = 256;

/// What is left out of a stack that is too long for a packet.
const FEWER_FRAMES: usize = 8;

/// A request for JavaScript.
#[napi(object, object_from_js = false)]
pub struct LinkRequest {
    /// To be named in the answer.
    pub id: f64,
    /// A profile of so many milliseconds is wanted.
    pub milliseconds: u32,
}

/// The end of a link. Belongs to the JavaScript thread; never keeps the process alive.
#[napi]
pub struct NativeLink {
    /// None once it is closed.
    open: Rc<Mutex<Option<Open>>>,
}

struct Open {
    shared: Arc<Shared>,
    /// Texts on their way, each with how much of it has been sent.
    outgoing: VecDeque<(Subject, u64, Vec<u8>, usize)>,
}

struct Shared {
    socket: OwnedFd,
    requests: Mutex<Vec<LinkRequest>>,
    /// Why there are no stacks, in words.
    interruptible: std::result::Result<Interruptible, String>,
    wake: Wake,
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Ok(interruptible) = &self.shared.interruptible {
            interruptible.end();
        }
        // The thread sees the end of its socket. Nobody waits for it: it touches nothing of this environment any more.
        os::shutdown_both(self.shared.socket.as_fd());
    }
}

#[napi]
impl NativeLink {
    /// Takes over this descriptor. `wake` is called when there are requests to take.
    #[napi(constructor)]
    pub fn new(env: Env, descriptor: i32, wake: Function<(), ()>) -> Result<Self, String> {
        let failure = |reason: &str| napi::Error::new("ERR_CORRAL_NAPI".to_owned(), reason);
        let socket = os::adopt(descriptor).ok_or_else(|| failure("no such descriptor"))?;
        let wake = Wake::new(&env, &wake).map_err(napi_failure)?;
        let interruptible = Interruptible::new(env);
        let shared = Arc::new(Shared { socket, requests: Mutex::default(), interruptible, wake });
        let reader = shared.clone();
        std::thread::Builder::new()
            .name(THREAD.into())
            .stack_size(STACK)
            .spawn(move || reader.read())
            .map_err(|error| failure(&error.to_string()))?;
        let open = Rc::new(Mutex::new(Some(Open { shared, outgoing: VecDeque::new() })));
        env.add_env_cleanup_hook(Rc::downgrade(&open), |open: Weak<Mutex<Option<Open>>>| {
            drop(open.upgrade().and_then(|open| open.lock().take()));
        })
        .map_err(napi_failure)?;
        Ok(NativeLink { open })
    }

    /// The requests that have come.
    #[napi]
    pub fn take_requests(&self) -> Vec<LinkRequest> {
        let open = self.open.lock();
        open.as_ref().map(|open| std::mem::take(&mut *open.shared.requests.lock())).unwrap_or_default()
    }

    /// Sends the profile that was asked for, or, if it `has_failed`, why there is none. Returns as `flush`.
    #[napi]
    pub fn answer(&self, id: f64, text: String, has_failed: bool) -> bool {
        self.send(if has_failed { Subject::ProfileFailed } else { Subject::Profile }, id as u64, text)
    }

    /// Sends the program's own metrics. Those before that are not yet on their way are not sent any more. Returns as `flush`.
    #[napi]
    pub fn publish(&self, text: String) -> bool {
        if let Some(open) = &mut *self.open.lock() {
            open.outgoing.retain(|(subject, _, _, sent)| *subject != Subject::Metrics || *sent > 0);
        }
        self.send(Subject::Metrics, 0, text)
    }

    /// Sends what is left. Returns whether something still is: the primary is behind.
    #[napi]
    pub fn flush(&self) -> bool {
        let mut open = self.open.lock();
        let Some(Open { shared, outgoing }) = &mut *open else { return false };
        while let Some((subject, id, text, sent)) = outgoing.front_mut() {
            let end = text.len().min(*sent + MAX_PART);
            let is_last = end == text.len();
            let packet = Packet { subject: *subject, id: *id, is_last, bytes: &text[*sent..end] };
            match os::send_packet(shared.socket.as_fd(), &packet.encode(), None) {
                Ok(()) if is_last => drop(outgoing.pop_front()),
                Ok(()) => *sent = end,
                Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM) => return true,
                // Nobody observes any more.
                Err(_) => outgoing.clear(),
            }
        }
        false
    }

    /// Whether anybody may still read what is sent.
    #[napi(getter)]
    pub fn is_open(&self) -> bool {
        self.open.lock().as_ref().is_some_and(|open| !os::has_ended(open.shared.socket.as_fd()))
    }

    /// Ends it.
    #[napi]
    pub fn close(&self) {
        drop(self.open.lock().take());
    }

    fn send(&self, subject: Subject, id: u64, text: String) -> bool {
        if let Some(open) = &mut *self.open.lock() {
            open.outgoing.push_back((subject, id, text.into_bytes(), 0));
        }
        self.flush()
    }
}

impl Shared {
    /// What the thread does: until the other end is closed.
    fn read(self: Arc<Self>) {
        let mut buffer = [0; MAX_REQUEST];
        while os::wait_readable(self.socket.as_fd()).is_ok() {
            let length = match os::receive_packet_bytes(self.socket.as_fd(), &mut buffer) {
                Ok(packet) if packet.length > 0 => packet.length,
                Err(Errno::EAGAIN) => continue,
                Ok(_) | Err(_) => return,
            };
            match Packet::decode(&buffer[..length]) {
                Some(Packet { subject: Subject::Stack, id, .. }) => self.clone().look(id),
                Some(Packet { subject: Subject::Profile, id, bytes, .. }) => {
                    let milliseconds = std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok());
                    let milliseconds = milliseconds.unwrap_or_default();
                    self.requests.lock().push(LinkRequest { id: id as f64, milliseconds });
                    self.wake.wake();
                }
                // Of a later version.
                _ => {}
            }
        }
    }

    /// Answers with what JavaScript does, as soon as V8 can be interrupted.
    fn look(self: Arc<Self>, id: u64) {
        let Ok(interruptible) = &self.interruptible else { return };
        let answering = self.clone();
        interruptible.ask(move |stack| {
            let mut frames = stack.as_array().cloned().unwrap_or_default();
            let mut text = serde_json::to_vec(&frames).unwrap_or_default();
            while text.len() > MAX_PART {
                frames.truncate(frames.len().saturating_sub(FEWER_FRAMES));
                text = serde_json::to_vec(&frames).unwrap_or_default();
            }
            let packet = Packet { subject: Subject::Stack, id, is_last: true, bytes: &text };
            // Without room there is no stack: the primary is far behind, or has gone.
            let _ = os::send_packet(answering.socket.as_fd(), &packet.encode(), None);
        });
    }
}
