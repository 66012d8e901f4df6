//! A JavaScript function that the event loop calls.

use napi::bindgen_prelude::{FromNapiValue, Function, FunctionRef};
use napi::{Env, JsValue, Result, check_status, sys};

/// Calls a function from outside of any JavaScript, as Node calls the callbacks of its own handles: ticks and
/// promises run afterwards, and an exception is an uncaught one.
pub struct Callback {
    env: Env,
    function: FunctionRef<(), ()>,
}

impl Callback {
    /// Keeps the function alive until dropped.
    pub fn new(env: Env, function: &Function<'_, (), ()>) -> Result<Self> {
        Ok(Callback { env, function: function.create_ref()? })
    }

    /// Calls the function with values made by `arguments`. Returns None when the function threw, after the
    /// program has got the exception, or when the environment is being torn down and calls nothing.
    pub fn call<T: FromNapiValue, const N: usize>(
        &self,
        arguments: impl FnOnce(&Env) -> Result<[sys::napi_value; N]>,
    ) -> Option<T> {
        let env = self.env.raw();
        let mut scope = std::ptr::null_mut();
        // SAFETY: the environment is alive, on its own thread; the pointer is live for the call.
        check_status!(unsafe { sys::napi_open_handle_scope(env, &raw mut scope) }).ok()?;
        let returned = self.call_in_scope(arguments);
        // SAFETY: opened above; no JavaScript value leaves it, what is returned has been converted.
        check_status!(unsafe { sys::napi_close_handle_scope(env, scope) }).ok()?;
        returned.ok()
    }

    fn call_in_scope<T: FromNapiValue, const N: usize>(
        &self,
        arguments: impl FnOnce(&Env) -> Result<[sys::napi_value; N]>,
    ) -> Result<T> {
        let env = self.env.raw();
        let function = self.function.borrow_back(&self.env)?.value().value;
        let arguments = arguments(&self.env)?;
        let (mut global, mut returned) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: environment and values are this scope's, and the pointers are live for the calls.
        let status = unsafe {
            check_status!(sys::napi_get_global(env, &raw mut global))?;
            let arguments = arguments.as_ptr();
            // No context of its own: such a call begins one, as a connection does in Node.
            sys::napi_make_callback(
                env,
                std::ptr::null_mut(),
                global,
                function,
                N,
                arguments,
                &raw mut returned,
            )
        };
        if status == sys::Status::napi_pending_exception {
            let mut exception = std::ptr::null_mut();
            // SAFETY: an exception is pending, which the first call takes and the second tells the program.
            unsafe {
                check_status!(sys::napi_get_and_clear_last_exception(env, &raw mut exception))?;
                check_status!(sys::napi_fatal_exception(env, exception))?;
            }
        }
        check_status!(status)?;
        // SAFETY: the call has just returned this value.
        unsafe { T::from_napi_value(env, returned) }
    }
}
