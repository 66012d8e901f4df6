//! The primary as corral-observe sees it, an addon of its own: see `crate::observation`.

#![cfg_attr(test, allow(dead_code, reason = "a build for tests registers nothing with Node-API"))]

use std::cell::RefCell;
use std::ffi::c_void;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use napi::bindgen_prelude::Unknown;
use napi::{Env, Result, sys};
use napi_derive::napi;
use parking_lot::Mutex;
use serde::Serialize;

use super::napi_failure;
use super::uv::BeforePoll;
use crate::ids::WorkerId;
use crate::observation::{RUNTIME, Source, TAG, Write};
use crate::os;
use crate::primary::{Loops, Stats, descriptions};
use crate::pulse::Pulse;

/// The names of what a runtime shows of itself, in the order in which `showRuntime` takes their values.
#[napi]
pub fn runtime_numbers() -> Vec<&'static str> {
    RUNTIME.to_vec()
}

/// The event loop of the primary's own thread.
pub struct OwnLoop {
    watched: Rc<RefCell<Option<Watched>>>,
    stats: Arc<Stats>,
}

struct Watched {
    before_poll: BeforePoll,
    pulse: Arc<Pulse>,
}

impl OwnLoop {
    /// Of the thread that calls this. It shows nothing yet.
    pub fn new(env: Env, stats: Arc<Stats>) -> Result<Self, String> {
        let watched = Rc::new(RefCell::new(None));
        let weak: Weak<RefCell<Option<Watched>>> = Rc::downgrade(&watched);
        // Before Node closes its loop, which must have nothing left by then.
        env.add_env_cleanup_hook(weak, |weak| {
            let watched = Weak::upgrade(&weak).and_then(|watched| watched.take());
            drop(watched);
        })
        .map_err(napi_failure)?;
        Ok(OwnLoop { watched, stats })
    }

    /// It shows what it does from now on.
    ///
    /// Errors: why it cannot, in words.
    pub fn watch(&self, env: Env) -> std::result::Result<(), String> {
        if self.watched.borrow().is_some() {
            return Ok(());
        }
        let (pulse, _file) = Pulse::create().map_err(|errno| errno.to_string())?;
        let pulse = Arc::new(pulse);
        pulse.set_observed(true);
        let weak = Rc::downgrade(&self.watched);
        let before_poll = BeforePoll::new(&env, move || {
            if let Some(watched) = weak.upgrade()
                && let Some(Watched { before_poll, pulse }) = &*watched.borrow()
            {
                let (now, busy) = before_poll.times();
                pulse.poll(now, busy);
            }
        })?;
        before_poll.start();
        pulse.introduce(std::process::id(), before_poll.poller());
        *self.stats.pulse.lock() = Some(pulse.clone());
        *self.watched.borrow_mut() = Some(Watched { before_poll, pulse });
        Ok(())
    }

    /// It shows nothing more.
    pub fn forget(&self) {
        *self.stats.pulse.lock() = None;
        let watched = self.watched.take();
        drop(watched);
    }
}

impl OwnLoop {
    /// What the runtime of this thread knows of itself. Returns whether it is shown.
    pub fn show_runtime(&self, numbers: &[f64]) -> bool {
        let watched = self.watched.borrow();
        let Some(Watched { pulse, .. }) = &*watched else { return false };
        pulse.show_runtime(numbers.iter().map(|number| *number as u64));
        true
    }
}

/// The statistics, and what is kept for looking at them again and again.
struct Observed {
    stats: Arc<Stats>,
    loops: Mutex<Loops>,
}

/// A value of JavaScript's that holds a [`Source`] of the statistics.
pub fn external<'env>(env: &'env Env, stats: Arc<Stats>) -> napi::Result<Unknown<'env>> {
    let observed = Arc::new(Observed { stats, loops: Mutex::default() });
    let core = Arc::into_raw(observed).cast::<c_void>();
    let source = Box::into_raw(Box::new(Source { core, retain, release, describe, snapshot, take_link }));
    let mut value = std::ptr::null_mut();
    // SAFETY: the environment is the caller's; `forget` takes the box back, once.
    let status = unsafe {
        sys::napi_create_external(
            env.raw(),
            source.cast(),
            Some(forget),
            std::ptr::null_mut(),
            &raw mut value,
        )
    };
    if status != sys::Status::napi_ok {
        // SAFETY: nobody has the box but this function.
        unsafe { forget(env.raw(), source.cast(), std::ptr::null_mut()) };
        return Err(napi::Error::from_status(status.into()));
    }
    let tag = sys::napi_type_tag { lower: TAG.0, upper: TAG.1 };
    // SAFETY: the value was made just now, in this environment.
    let status = unsafe { sys::napi_type_tag_object(env.raw(), value, &raw const tag) };
    if status != sys::Status::napi_ok {
        return Err(napi::Error::from_status(status.into()));
    }
    // SAFETY: as above.
    Ok(unsafe { Unknown::from_raw_unchecked(env.raw(), value) })
}

/// # Safety
/// `data` is the box of `external`, and nobody takes it back but this call.
unsafe extern "C" fn forget(_env: sys::napi_env, data: *mut c_void, _hint: *mut c_void) {
    // SAFETY: by the contract.
    let source = unsafe { Box::from_raw(data.cast::<Source>()) };
    // SAFETY: the value of JavaScript's was an owner.
    unsafe { release(source.core) };
}

/// # Safety
/// `core` is what `external` has made, and has an owner.
unsafe extern "C" fn retain(core: *const c_void) {
    // SAFETY: by the contract.
    unsafe { Arc::increment_strong_count(core.cast::<Observed>()) };
}

/// # Safety
/// As of `retain`. The caller is an owner no more.
unsafe extern "C" fn release(core: *const c_void) {
    // SAFETY: by the contract.
    unsafe { Arc::decrement_strong_count(core.cast::<Observed>()) };
}

/// # Safety
/// `write` may be called with `sink`.
unsafe extern "C" fn describe(_core: *const c_void, sink: *mut c_void, write: Write) {
    // SAFETY: by the contract.
    unsafe { answer(&descriptions(), sink, write) };
}

/// # Safety
/// As of `retain`, and `write` may be called with `sink`.
unsafe extern "C" fn snapshot(core: *const c_void, sink: *mut c_void, write: Write) {
    // SAFETY: by the contract.
    let Observed { stats, loops } = unsafe { &*core.cast::<Observed>() };
    let snapshot = stats.snapshot(&mut loops.lock());
    // SAFETY: by the contract.
    unsafe { answer(&snapshot, sink, write) };
}

/// # Safety
/// As of `retain`.
unsafe extern "C" fn take_link(core: *const c_void, worker: u32) -> i32 {
    // SAFETY: by the contract.
    let Observed { stats, .. } = unsafe { &*core.cast::<Observed>() };
    let worker = stats.workers.read().get(&WorkerId(worker)).cloned();
    let link = worker.and_then(|worker| worker.link.lock().take());
    link.map_or(-1, os::into_raw)
}

/// # Safety
/// `write` may be called with `sink`.
unsafe fn answer(value: &impl Serialize, sink: *mut c_void, write: Write) {
    // There are no keys here but names. Who is answered with nothing sees that it is no JSON.
    let json = serde_json::to_vec(value).unwrap_or_default();
    // SAFETY: by the contract; the bytes live for the call.
    unsafe { write(sink, json.as_ptr(), json.len()) };
}
