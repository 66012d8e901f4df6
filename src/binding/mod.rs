//! The addon as JavaScript sees it. Only this module knows Node-API. It converts values, and its only state
//! is the channels on which JavaScript sends.
//!
//! | File | What it holds |
//! | --- | --- |
//! | `primary`, `ipc`, `lane` | the classes that JavaScript makes: a primary, channels over named sockets, a worker's lane |
//! | `policies` | scheduling policies, as settings describe them |
//! | `stats` | what the primary has counted, and what each number is |
//! | `observation` | the primary as corral-observe, another addon, sees it |
//! | `link`, `stack` | a worker answers whoever observes it, on a thread of its own; what its JavaScript does now, as V8 knows it |
//! | `reactor` | what the first two have in common: a reactor thread, its channels and its events |
//! | `channels` | the channels by their numbers |
//! | `writer`, `send`, `framing` | the class that sends on them; one channel's sends; messages as frames |
//! | `handover` | one primary in the place of another |
//! | `service` | sockets that the process has inherited; its service manager; children that are nobody else's |
//! | `limits` | numbers that JavaScript knows as well |
//! | `needs` | what the core needs of the runtime that loads it |
//! | `queue`, `wake` | events that JavaScript has not taken yet; waking it from another thread |
//! | `events`, `event_kind`, `values`, `text` | events, messages and strings as values of JavaScript's |
//! | `guarded` | streams of Node's own that ask before they read, for connections that rest |
//! | `direct_read`, `uv` | channels that the JavaScript thread reads itself; what is needed of libuv for that |
//! | `callback` | calling a function of JavaScript's from the event loop |

mod callback;
mod channels;
mod direct_read;
mod event_kind;
mod events;
mod framing;
mod guarded;
mod handover;
mod ipc;
mod lane;
mod limits;
mod link;
mod needs;
mod observation;
mod policies;
mod primary;
mod queue;
mod reactor;
mod send;
mod service;
mod stack;
mod stats;
mod text;
mod uv;
mod values;
mod wake;
mod writer;

use std::thread::JoinHandle;

use napi::{Env, Result};

use crate::error::Error;
use crate::reactor::Handle;

/// An error whose `code` is corral's or Node's. (The macro of napi knows `Result` by its name only: no
/// alias.)
fn coded(error: Error) -> napi::Error<String> {
    napi::Error::new(error.code().to_owned(), error.to_string())
}

/// A failure of Node-API.
fn napi_failure(error: napi::Error) -> napi::Error<String> {
    napi::Error::new("ERR_CORRAL_NAPI".to_owned(), error.reason.clone())
}

/// Ends a reactor thread before the environment is torn down, and calls `before` first. Servers remove their
/// socket files, and no code of the reactor runs while Node tears itself down.
fn stop_with_environment<C: Send + 'static>(
    env: Env,
    reactor: Handle<C>,
    thread: JoinHandle<()>,
    before: impl FnOnce() + 'static,
) -> Result<(), String> {
    env.add_env_cleanup_hook((reactor, thread, before), |(reactor, thread, before)| {
        before();
        reactor.stop();
        // A thread that panicked has sent an event about that.
        let _ = thread.join();
    })
    .map_err(napi_failure)?;
    Ok(())
}
