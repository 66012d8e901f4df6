//! What JavaScript does at this moment, asked from another thread: V8 interrupts the main thread where it may be interrupted,
//! which it may in loops, calls, regular expressions that backtrack, WebAssembly and `Atomics.wait`. Native code that does not call
//! back is not interrupted: the answer comes when it is over.
//!
//! V8 has no interface for this in C. What is needed of its interface in C++ is looked up by name, in which the types of the
//! arguments are: where one of them changes, the name is not found, and there is no stack.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::{Arc, OnceLock};

use libloading::os::unix::Library;
use napi::{Env, sys};
use parking_lot::Mutex;
use serde_json::{Value, json};

/// How many frames are told at most, the innermost first.
const MAX_FRAMES: c_int = 64;

/// How many bytes of a name are told at most. Code that was made at run time may have any.
const MAX_NAME: usize = 512;

/// `v8::StackTrace::kDetailed` for all that a frame knows.
const DETAILED: c_int = 0x7f;

/// A `v8::Local<T>`: a pointer to where the value is kept.
type Local = *mut c_void;

type Isolate = *mut c_void;

type Interrupt = unsafe extern "C" fn(Isolate, data: *mut c_void);

/// What is used of V8, as its headers have it from Node 20 to 26.
struct V8 {
    current: unsafe extern "C" fn() -> Isolate,
    request_interrupt: unsafe extern "C" fn(Isolate, Interrupt, *mut c_void),
    current_stack: unsafe extern "C" fn(Isolate, c_int, c_int) -> Local,
    frame_count: unsafe extern "C" fn(Local) -> c_int,
    frame: unsafe extern "C" fn(Local, Isolate, u32) -> Local,
    /// The line in the lower half and the column in the upper, both from 0 on.
    location: unsafe extern "C" fn(Local) -> u64,
    script: unsafe extern "C" fn(Local) -> Local,
    function: unsafe extern "C" fn(Local) -> Local,
}

impl V8 {
    fn resolve() -> Result<V8, String> {
        let process = Library::this();
        macro_rules! symbol {
            ($name:literal) => {
                // SAFETY: the name has the types of the arguments in it; what is returned fits into a register.
                *unsafe { process.get(concat!($name, "\0").as_bytes()) }
                    .map_err(|_| concat!("this Node does not export ", $name).to_owned())?
            };
        }
        Ok(V8 {
            current: symbol!("_ZN2v87Isolate10GetCurrentEv"),
            request_interrupt: symbol!("_ZN2v87Isolate16RequestInterruptEPFvPS0_PvES2_"),
            current_stack: symbol!(
                "_ZN2v810StackTrace17CurrentStackTraceEPNS_7IsolateEiNS0_17StackTraceOptionsE"
            ),
            frame_count: symbol!("_ZNK2v810StackTrace13GetFrameCountEv"),
            frame: symbol!("_ZNK2v810StackTrace8GetFrameEPNS_7IsolateEj"),
            location: symbol!("_ZNK2v810StackFrame11GetLocationEv"),
            script: symbol!("_ZNK2v810StackFrame13GetScriptNameEv"),
            function: symbol!("_ZNK2v810StackFrame15GetFunctionNameEv"),
        })
    }

    fn get() -> Result<&'static V8, String> {
        static V8: OnceLock<Result<V8, String>> = OnceLock::new();
        V8.get_or_init(V8::resolve).as_ref().map_err(Clone::clone)
    }
}

/// The JavaScript of one thread, for others. Clones are of the same.
#[derive(Clone)]
pub struct Interruptible(Arc<Mutex<Option<Target>>>);

struct Target {
    v8: &'static V8,
    isolate: Isolate,
    env: sys::napi_env,
}

// SAFETY: the isolate may be interrupted from any thread while it exists, which the lock and `end` see to; the environment is
// only used by the thread that it belongs to.
unsafe impl Send for Target {}

/// What an interrupt is for.
struct Question {
    of: Interruptible,
    answer: Box<dyn FnOnce(Value) + Send>,
}

impl Interruptible {
    /// That of the thread which calls this. [`Interruptible::end`] is to be called before its environment is torn down.
    ///
    /// Errors: what this Node does not have for it.
    pub fn new(env: Env) -> Result<Self, String> {
        let v8 = V8::get()?;
        // SAFETY: takes nothing; there is one where JavaScript runs.
        let isolate = unsafe { (v8.current)() };
        let target = (!isolate.is_null()).then_some(Target { v8, isolate, env: env.raw() });
        Ok(Interruptible(Arc::new(Mutex::new(Some(target.ok_or("there is no isolate")?)))))
    }

    /// Has the thread call `answer` with its stack, as soon as it can be interrupted; never if it ends before. May be called on any
    /// thread.
    pub fn ask(&self, answer: impl FnOnce(Value) + Send + 'static) {
        if let Some(Target { v8, isolate, .. }) = &*self.0.lock() {
            let question = Box::new(Question { of: self.clone(), answer: Box::new(answer) });
            // SAFETY: the isolate exists, as `end` has not been called; `interrupted` takes the box back. One that is never
            // called leaves it behind.
            unsafe { (v8.request_interrupt)(*isolate, interrupted, Box::into_raw(question).cast()) };
        }
    }

    /// Nobody interrupts it from now on.
    pub fn end(&self) {
        *self.0.lock() = None;
    }
}

/// # Safety
/// Called by V8 on the thread of the isolate, in a scope for handles, with the box of `ask`, once. JavaScript must not run meanwhile.
unsafe extern "C" fn interrupted(isolate: Isolate, data: *mut c_void) {
    // SAFETY: by the contract.
    let Question { of, answer } = *unsafe { Box::from_raw(data.cast::<Question>()) };
    let target = of.0.lock();
    let Some(Target { v8, env, .. }) = &*target else { return };
    // SAFETY: by the contract.
    let frames = unsafe { frames(v8, *env, isolate) };
    drop(target);
    answer(frames);
}

/// # Safety
/// As of [`interrupted`]; `env` is of the same thread and alive.
unsafe fn frames(v8: &V8, env: sys::napi_env, isolate: Isolate) -> Value {
    // SAFETY: the isolate is this thread's, and values are of the scope that V8 has opened. Nothing here runs JavaScript.
    unsafe {
        let stack = (v8.current_stack)(isolate, MAX_FRAMES, DETAILED);
        if stack.is_null() {
            return json!([]);
        }
        let count = (v8.frame_count)(stack).max(0).cast_unsigned();
        let frame = |place| {
            let frame = (v8.frame)(stack, isolate, place);
            let location = (v8.location)(frame);
            json!({
                "function": text(env, (v8.function)(frame)),
                "file": text(env, (v8.script)(frame)),
                "line": (location as u32).wrapping_add(1),
                "column": ((location >> 32) as u32).wrapping_add(1),
            })
        };
        (0..count).map(frame).collect()
    }
}

/// # Safety
/// `string` is null, or a value of the scope that is open; the environment is this thread's.
unsafe fn text(env: sys::napi_env, string: Local) -> String {
    let mut bytes = [0_u8; MAX_NAME];
    let mut length = 0;
    if string.is_null() {
        return String::new();
    }
    // SAFETY: a value of Node-API is what V8 calls a local one (js_native_api_v8.h); the buffer is live for the call.
    let status = unsafe {
        sys::napi_get_value_string_utf8(
            env,
            string.cast(),
            bytes.as_mut_ptr().cast(),
            bytes.len(),
            ptr::from_mut(&mut length),
        )
    };
    if status != sys::Status::napi_ok {
        return String::new();
    }
    String::from_utf8_lossy(&bytes[..length.min(MAX_NAME)]).into_owned()
}
