//! A descriptor watched by Node's own event loop (`uv_poll_t`), so that the JavaScript thread reads it itself and no
//! other thread has to wake it.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::sync::OnceLock;

use libloading::os::unix::Library;
use napi::Env;
use nix::errno::Errno;

/// `UV_POLL` of `uv_handle_type`, part of libuv's ABI.
const UV_POLL: c_int = 8;
/// `UV_READABLE` of `uv_poll_event`.
const UV_READABLE: c_int = 1;

/// A `uv_poll_t` of whatever size the running libuv gives it.
#[repr(C)]
struct PollHandle {
    _opaque: [u8; 0],
}

type PollCallback = unsafe extern "C" fn(*mut PollHandle, status: c_int, events: c_int);
type CloseCallback = unsafe extern "C" fn(*mut PollHandle);

/// What is needed of libuv. Its symbols are resolved at run time: Node exports them for addons, a program that embeds
/// Node may not.
struct Libuv {
    handle_size: unsafe extern "C" fn(c_int) -> usize,
    handle_set_data: unsafe extern "C" fn(*mut PollHandle, *mut c_void),
    handle_get_data: unsafe extern "C" fn(*const PollHandle) -> *mut c_void,
    poll_init: unsafe extern "C" fn(*mut c_void, *mut PollHandle, c_int) -> c_int,
    poll_start: unsafe extern "C" fn(*mut PollHandle, c_int, PollCallback) -> c_int,
    poll_stop: unsafe extern "C" fn(*mut PollHandle) -> c_int,
    unref: unsafe extern "C" fn(*mut PollHandle),
    close: unsafe extern "C" fn(*mut PollHandle, CloseCallback),
}

impl Libuv {
    fn resolve() -> Result<Libuv, String> {
        let process = Library::this();
        macro_rules! symbol {
            ($name:literal) => {
                // SAFETY: the type of the field is that of the function in uv.h, unchanged through libuv 1.x.
                *unsafe { process.get(concat!($name, "\0").as_bytes()) }
                    .map_err(|_| concat!("this Node does not export ", $name).to_owned())?
            };
        }
        Ok(Libuv {
            handle_size: symbol!("uv_handle_size"),
            handle_set_data: symbol!("uv_handle_set_data"),
            handle_get_data: symbol!("uv_handle_get_data"),
            poll_init: symbol!("uv_poll_init"),
            poll_start: symbol!("uv_poll_start"),
            poll_stop: symbol!("uv_poll_stop"),
            unref: symbol!("uv_unref"),
            close: symbol!("uv_close"),
        })
    }

    /// Errors: which symbol is missing.
    fn get() -> Result<&'static Libuv, String> {
        static LIBUV: OnceLock<Result<Libuv, String>> = OnceLock::new();
        LIBUV.get_or_init(Libuv::resolve).as_ref().map_err(Clone::clone)
    }
}

/// What the handle's `data` points to; freed with the handle once libuv has let go of it.
struct Shared {
    /// What libuv was given; `u64`s for their alignment.
    memory: *mut [u64],
    on_readable: Box<dyn Fn()>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: the box of `Watch::new`, which nobody else takes back.
        drop(unsafe { Box::from_raw(self.memory) });
    }
}

/// A descriptor that the event loop watches. Belongs to the JavaScript thread; never keeps the process alive.
/// Dropping it ends the watch.
pub struct Watch {
    libuv: &'static Libuv,
    handle: NonNull<PollHandle>,
    is_started: Cell<bool>,
}

impl Watch {
    /// Prepares to watch a descriptor, which must be non-blocking, watched by nobody else on this loop and stay open
    /// until the watch is dropped. `on_readable` is called by the event loop, outside of any JavaScript; it may drop
    /// the watch.
    ///
    /// Errors: the reason in words, for those who wonder why there is no lane.
    pub fn new(env: &Env, fd: RawFd, on_readable: impl Fn() + 'static) -> Result<Watch, String> {
        let libuv = Libuv::get()?;
        let event_loop = env.get_uv_event_loop().map_err(|error| error.reason.clone())?;
        // SAFETY: takes a number and returns one.
        let size = unsafe { (libuv.handle_size)(UV_POLL) };
        let memory = Box::into_raw(vec![0u64; size.div_ceil(size_of::<u64>())].into_boxed_slice());
        let shared = Box::new(Shared { memory, on_readable: Box::new(on_readable) });
        let handle: NonNull<PollHandle> = NonNull::new(memory.cast()).ok_or("no memory for a uv_poll_t")?;
        // SAFETY: the loop is this thread's and alive; the memory is as large as libuv wants it and stays in place.
        let status = unsafe { (libuv.poll_init)(event_loop.cast(), handle.as_ptr(), fd) };
        if status != 0 {
            return Err(format!("uv_poll_init: {}", Errno::from_raw(-status)));
        }
        // SAFETY: the handle has been initialized just now; `shared` is taken back by `released`.
        unsafe {
            (libuv.handle_set_data)(handle.as_ptr(), Box::into_raw(shared).cast());
            (libuv.unref)(handle.as_ptr());
        }
        Ok(Watch { libuv, handle, is_started: Cell::new(false) })
    }

    /// Begins to watch, or goes on. Takes effect with the loop's next turn.
    pub fn start(&self) {
        if !self.is_started.replace(true) {
            // SAFETY: the handle is initialized and not closing. There is no failure but for a closing handle.
            unsafe { (self.libuv.poll_start)(self.handle.as_ptr(), UV_READABLE, readable) };
        }
    }

    /// Stops watching for the time being.
    pub fn stop(&self) {
        if self.is_started.replace(false) {
            // SAFETY: the handle is initialized and not closing.
            unsafe { (self.libuv.poll_stop)(self.handle.as_ptr()) };
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // SAFETY: the handle is initialized and closed only here. From here on libuv watches nothing, and it frees
        // the memory in its next turn, so that a callback which is under way may finish.
        unsafe { (self.libuv.close)(self.handle.as_ptr(), released) };
    }
}

/// # Safety
/// Called by libuv with a handle that [`Watch::new`] has initialized.
unsafe extern "C" fn readable(handle: *mut PollHandle, _status: c_int, _events: c_int) {
    let Ok(libuv) = Libuv::get() else { return };
    // An error is told as one by whoever reads.
    // SAFETY: the data is the `Shared` of `Watch::new`, which lives until `released`; nobody has it exclusively.
    let shared = unsafe { &*(libuv.handle_get_data)(handle).cast::<Shared>() };
    (shared.on_readable)();
}

/// # Safety
/// Called by libuv, once, with a handle that [`Watch::new`] has initialized.
unsafe extern "C" fn released(handle: *mut PollHandle) {
    let Ok(libuv) = Libuv::get() else { return };
    // SAFETY: the data is the box of `Watch::new`; libuv does not touch the handle any more.
    drop(unsafe { Box::from_raw((libuv.handle_get_data)(handle).cast::<Shared>()) });
}
