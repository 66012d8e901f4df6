//! The core's table of functions, as the core has given it.

use std::ffi::c_void;
use std::os::fd::{FromRawFd, OwnedFd};

use napi::bindgen_prelude::Unknown;
use napi::{Env, JsValue, sys};

use crate::core::{Core, Source, TAG, Write};

/// One of the owners of the core.
pub struct CoreSource(Source);

// SAFETY: the core says that its functions may be called on any thread.
unsafe impl Send for CoreSource {}

impl CoreSource {
    /// Of what the core's `observation()` has given.
    ///
    /// Errors: why it is anything else, in words.
    pub fn of(env: &Env, value: &Unknown<'_>) -> Result<Self, String> {
        let tag = sys::napi_type_tag { lower: TAG.0, upper: TAG.1 };
        let mut is_it = false;
        // SAFETY: both are of the call that is under way.
        let status = unsafe {
            sys::napi_check_object_type_tag(env.raw(), value.raw(), &raw const tag, &raw mut is_it)
        };
        if status != sys::Status::napi_ok || !is_it {
            return Err("this is not what the core gives".to_owned());
        }
        let mut data = std::ptr::null_mut();
        // SAFETY: as above.
        let status = unsafe { sys::napi_get_value_external(env.raw(), value.raw(), &raw mut data) };
        if status != sys::Status::napi_ok || data.is_null() {
            return Err("this holds nothing of the core's".to_owned());
        }
        // SAFETY: nobody but the core gives out values with this tag, and they hold this. lib/addon.js has seen that both are of
        // one version.
        let source = unsafe { *data.cast::<Source>() };
        // SAFETY: the value of JavaScript's is an owner for as long as this call.
        unsafe { (source.retain)(source.core) };
        Ok(CoreSource(source))
    }

    fn answer(&self, ask: unsafe extern "C" fn(*const c_void, *mut c_void, Write)) -> Vec<u8> {
        let mut bytes = Vec::new();
        // SAFETY: `self` is an owner of the core, and `append` takes what it is given here.
        unsafe { ask(self.0.core, (&raw mut bytes).cast(), append) };
        bytes
    }
}

impl Core for CoreSource {
    fn describe(&self) -> Vec<u8> {
        self.answer(self.0.describe)
    }

    fn snapshot(&self) -> Vec<u8> {
        self.answer(self.0.snapshot)
    }

    fn take_link(&self, worker: u32) -> Option<OwnedFd> {
        // SAFETY: `self` is an owner of the core.
        let number = unsafe { (self.0.take_link)(self.0.core, worker) };
        // SAFETY: the core gives it away.
        (number >= 0).then(|| unsafe { OwnedFd::from_raw_fd(number) })
    }
}

impl Drop for CoreSource {
    fn drop(&mut self) {
        // SAFETY: this was an owner.
        unsafe { (self.0.release)(self.0.core) };
    }
}

/// # Safety
/// `sink` is a vector that nobody else has, and `length` bytes are at `bytes`.
unsafe extern "C" fn append(sink: *mut c_void, bytes: *const u8, length: usize) {
    // SAFETY: by the contract.
    let (sink, bytes) = unsafe { (&mut *sink.cast::<Vec<u8>>(), std::slice::from_raw_parts(bytes, length)) };
    sink.extend_from_slice(bytes);
}
