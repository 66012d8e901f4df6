//! Calling JavaScript from another thread, without arguments and at most one call under way.

use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;

use napi::bindgen_prelude::{Function, JsObjectValue, Object};
use napi::{Env, JsValue, Result, check_status, sys};
use parking_lot::RwLock;

/// How async_hooks sees it.
const NAME: &str = "CORRALWAKE";

/// The threadsafe function, until Node has let go of it.
struct Target(Option<sys::napi_threadsafe_function>);

// SAFETY: Node's threadsafe functions may be called from any thread while they exist, which the lock around
// this one sees to.
unsafe impl Send for Target {}
// SAFETY: see above.
unsafe impl Sync for Target {}

/// Wakes JavaScript; never keeps the process alive.
pub struct Wake(Arc<RwLock<Target>>);

impl Wake {
    /// `function` is called outside of any JavaScript.
    ///
    /// Errors: what Node-API says.
    pub fn new(env: &Env, function: &Function<'_, (), ()>) -> Result<Wake> {
        let target = Arc::new(RwLock::new(Target(None)));
        // Whoever looks for what keeps a process alive (`jest --detectOpenHandles`) asks this: Node's own has
        // nothing to ask.
        let mut resource = Object::new(env)?;
        resource.set_named_property("hasRef", env.create_function::<(), bool>("hasRef", has_no_ref)?)?;
        let name = env.create_string(NAME)?;
        let mut raw = ptr::null_mut();
        let kept = Arc::into_raw(target.clone()).cast_mut().cast::<c_void>();
        // SAFETY: the values are this scope's; `released` takes the share back, once.
        let status = unsafe {
            sys::napi_create_threadsafe_function(
                env.raw(),
                function.raw(),
                resource.raw(),
                name.raw(),
                1,
                1,
                kept,
                Some(released),
                ptr::null_mut(),
                Some(call),
                &raw mut raw,
            )
        };
        if let Err(error) = check_status!(status) {
            // SAFETY: nobody else has been given this share.
            drop(unsafe { Arc::from_raw(kept.cast_const().cast::<RwLock<Target>>()) });
            return Err(error);
        }
        // SAFETY: just made, on this thread.
        check_status!(unsafe { sys::napi_unref_threadsafe_function(env.raw(), raw) })?;
        target.write().0 = Some(raw);
        Ok(Wake(target))
    }

    /// Wakes JavaScript, from any thread. Does nothing when a call is waiting already, which will find all
    /// events that are there by then, or when the environment is being torn down.
    pub fn wake(&self) {
        if let Some(raw) = self.0.read().0 {
            // SAFETY: it exists as long as it is here, and the lock is held.
            unsafe {
                sys::napi_call_threadsafe_function(
                    raw,
                    ptr::null_mut(),
                    sys::ThreadsafeFunctionCallMode::nonblocking,
                )
            };
        }
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        if let Some(raw) = self.0.write().0.take() {
            // SAFETY: it exists, and is used no more.
            unsafe {
                sys::napi_release_threadsafe_function(raw, sys::ThreadsafeFunctionReleaseMode::release)
            };
        }
    }
}

/// What a resource answers that does not keep the process alive.
///
/// # Safety
/// Called by Node on the JavaScript thread.
unsafe extern "C" fn has_no_ref(env: sys::napi_env, _call: sys::napi_callback_info) -> sys::napi_value {
    let mut value = ptr::null_mut();
    // SAFETY: the environment is that of the call under way. Without one the result is null: undefined.
    unsafe { sys::napi_get_boolean(env, false, &raw mut value) };
    value
}

/// # Safety
/// Called by Node, once, with the share that [`Wake::new`] gave it, before it frees the threadsafe function.
unsafe extern "C" fn released(_env: sys::napi_env, kept: *mut c_void, _hint: *mut c_void) {
    // SAFETY: see above.
    let target = unsafe { Arc::from_raw(kept.cast_const().cast::<RwLock<Target>>()) };
    target.write().0 = None;
}

/// # Safety
/// Called by Node on the JavaScript thread; without an environment when there is none any more.
unsafe extern "C" fn call(
    env: sys::napi_env,
    function: sys::napi_value,
    _context: *mut c_void,
    _data: *mut c_void,
) {
    if env.is_null() || function.is_null() {
        return;
    }
    let (mut undefined, mut exception) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: environment and function are alive, and the pointers are live for the calls. An exception is
    // taken only when one is pending.
    unsafe {
        sys::napi_get_undefined(env, &raw mut undefined);
        let status = sys::napi_call_function(env, undefined, function, 0, ptr::null(), ptr::null_mut());
        if status == sys::Status::napi_pending_exception
            && sys::napi_get_and_clear_last_exception(env, &raw mut exception) == sys::Status::napi_ok
        {
            sys::napi_fatal_exception(env, exception);
        }
    }
}
