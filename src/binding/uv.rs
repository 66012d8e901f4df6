//! A descriptor watched by Node's own event loop (`uv_poll_t`), so that the JavaScript thread reads it itself
//! and no other thread has to wake it; and work put off until the loop has polled (`uv_check_t`).

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_void};
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::sync::OnceLock;

use libloading::os::unix::Library;
use napi::Env;
use nix::errno::Errno;

/// `UV_CHECK` of `uv_handle_type`, part of libuv's ABI.
const UV_CHECK: c_int = 2;
/// `UV_POLL` of the same.
const UV_POLL: c_int = 8;
/// `UV_PREPARE` of the same.
const UV_PREPARE: c_int = 9;
/// `UV_READABLE` of `uv_poll_event`.
const UV_READABLE: c_int = 1;

/// A `uv_handle_t` of whatever type and size.
#[repr(C)]
pub(super) struct RawHandle {
    _opaque: [u8; 0],
}

/// A `uv_buf_t`.
#[repr(C)]
pub(super) struct RawBuffer {
    pub base: *mut c_char,
    pub length: usize,
}

/// `uv_alloc_cb`: called before a stream is read.
pub(super) type AllocCallback =
    unsafe extern "C" fn(*mut RawHandle, suggested: usize, buffer: *mut RawBuffer);
/// `uv_read_cb`: called with what was read, or a negative errno.
pub(super) type ReadCallback = unsafe extern "C" fn(*mut RawHandle, read: isize, buffer: *const RawBuffer);

type PollCallback = unsafe extern "C" fn(*mut RawHandle, status: c_int, events: c_int);
type CheckCallback = unsafe extern "C" fn(*mut RawHandle);
type CloseCallback = unsafe extern "C" fn(*mut RawHandle);

/// The functions of libuv that are used here. They are resolved at run time: Node exports them for addons,
/// but a program that embeds Node may not.
pub(super) struct Libuv {
    handle_size: unsafe extern "C" fn(c_int) -> usize,
    handle_set_data: unsafe extern "C" fn(*mut RawHandle, *mut c_void),
    handle_get_data: unsafe extern "C" fn(*const RawHandle) -> *mut c_void,
    poll_init: unsafe extern "C" fn(*mut c_void, *mut RawHandle, c_int) -> c_int,
    poll_start: unsafe extern "C" fn(*mut RawHandle, c_int, PollCallback) -> c_int,
    poll_stop: unsafe extern "C" fn(*mut RawHandle) -> c_int,
    check_init: unsafe extern "C" fn(*mut c_void, *mut RawHandle) -> c_int,
    check_start: unsafe extern "C" fn(*mut RawHandle, CheckCallback) -> c_int,
    check_stop: unsafe extern "C" fn(*mut RawHandle) -> c_int,
    prepare_init: unsafe extern "C" fn(*mut c_void, *mut RawHandle) -> c_int,
    prepare_start: unsafe extern "C" fn(*mut RawHandle, CheckCallback) -> c_int,
    backend_fd: unsafe extern "C" fn(*const c_void) -> c_int,
    backend_timeout: unsafe extern "C" fn(*const c_void) -> c_int,
    metrics_idle_time: unsafe extern "C" fn(*mut c_void) -> u64,
    hrtime: unsafe extern "C" fn() -> u64,
    pub(super) pipe_init: unsafe extern "C" fn(*mut c_void, *mut RawHandle, c_int) -> c_int,
    pub(super) pipe_open: unsafe extern "C" fn(*mut RawHandle, RawFd) -> c_int,
    pub(super) read_start: unsafe extern "C" fn(*mut RawHandle, AllocCallback, ReadCallback) -> c_int,
    pub(super) read_stop: unsafe extern "C" fn(*mut RawHandle) -> c_int,
    pub(super) handle_get_type: unsafe extern "C" fn(*const RawHandle) -> c_int,
    pub(super) fileno: unsafe extern "C" fn(*const RawHandle, *mut RawFd) -> c_int,
    unref: unsafe extern "C" fn(*mut RawHandle),
    close: unsafe extern "C" fn(*mut RawHandle, CloseCallback),
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
            check_init: symbol!("uv_check_init"),
            check_start: symbol!("uv_check_start"),
            check_stop: symbol!("uv_check_stop"),
            prepare_init: symbol!("uv_prepare_init"),
            prepare_start: symbol!("uv_prepare_start"),
            backend_fd: symbol!("uv_backend_fd"),
            backend_timeout: symbol!("uv_backend_timeout"),
            metrics_idle_time: symbol!("uv_metrics_idle_time"),
            hrtime: symbol!("uv_hrtime"),
            pipe_init: symbol!("uv_pipe_init"),
            pipe_open: symbol!("uv_pipe_open"),
            read_start: symbol!("uv_read_start"),
            read_stop: symbol!("uv_read_stop"),
            handle_get_type: symbol!("uv_handle_get_type"),
            fileno: symbol!("uv_fileno"),
            unref: symbol!("uv_unref"),
            close: symbol!("uv_close"),
        })
    }

    /// Errors: which symbol is missing.
    pub(super) fn get() -> Result<&'static Libuv, String> {
        static LIBUV: OnceLock<Result<Libuv, String>> = OnceLock::new();
        LIBUV.get_or_init(Libuv::resolve).as_ref().map_err(Clone::clone)
    }
}

/// The target of a handle's `data`. It is freed with the handle after libuv has closed that.
struct Shared {
    /// The memory of the handle, in `u64`s for their alignment.
    memory: *mut [u64],
    callback: Box<dyn Fn()>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: the box of `Handle::new`, which nobody else takes back.
        drop(unsafe { Box::from_raw(self.memory) });
    }
}

/// A handle on the event loop of this thread that never keeps the process alive. Dropping it closes it.
pub(super) struct Handle {
    libuv: &'static Libuv,
    raw: NonNull<RawHandle>,
    is_started: Cell<bool>,
}

impl Handle {
    /// Makes a handle of a type by its `init` function of this name, which returns a negative errno when it
    /// fails.
    pub(super) fn new(
        env: &Env,
        kind: c_int,
        name: &str,
        init: impl FnOnce(&Libuv, *mut c_void, *mut RawHandle) -> c_int,
        callback: impl Fn() + 'static,
    ) -> Result<Handle, String> {
        let libuv = Libuv::get()?;
        let event_loop = env.get_uv_event_loop().map_err(|error| error.reason.clone())?;
        // SAFETY: takes a number and returns one.
        let size = unsafe { (libuv.handle_size)(kind) };
        let memory = Box::into_raw(vec![0u64; size.div_ceil(size_of::<u64>())].into_boxed_slice());
        let shared = Box::new(Shared { memory, callback: Box::new(callback) });
        let raw: NonNull<RawHandle> = NonNull::new(memory.cast()).ok_or("no memory for a handle")?;
        let status = init(libuv, event_loop.cast(), raw.as_ptr());
        if status != 0 {
            return Err(format!("{name}: {}", Errno::from_raw(-status)));
        }
        // SAFETY: the handle has been initialized just now; `shared` is taken back by `released`.
        unsafe {
            (libuv.handle_set_data)(raw.as_ptr(), Box::into_raw(shared).cast());
            (libuv.unref)(raw.as_ptr());
        }
        Ok(Handle { libuv, raw, is_started: Cell::new(false) })
    }

    /// For the functions of libuv.
    pub(super) fn raw(&self) -> *mut RawHandle {
        self.raw.as_ptr()
    }

    /// Returns whether it was stopped until now.
    fn start(&self, start: impl FnOnce(&Libuv, *mut RawHandle) -> c_int) -> bool {
        let was_stopped = !self.is_started.replace(true);
        if was_stopped {
            // There is no failure but for a closing handle.
            start(self.libuv, self.raw.as_ptr());
        }
        was_stopped
    }

    fn stop(&self, stop: impl FnOnce(&Libuv, *mut RawHandle) -> c_int) {
        if self.is_started.replace(false) {
            stop(self.libuv, self.raw.as_ptr());
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the handle is initialized and closed only here. From here on libuv calls nothing, and it
        // frees the memory in its next turn, so that a callback which is under way may finish.
        unsafe { (self.libuv.close)(self.raw.as_ptr(), released) };
    }
}

/// A descriptor that the event loop watches. Belongs to the JavaScript thread; never keeps the process alive.
/// Dropping it ends the watch.
pub struct Watch {
    handle: Handle,
    fd: RawFd,
}

impl Watch {
    /// Prepares to watch a descriptor, which must be non-blocking, watched by nobody else on this loop and
    /// stay open until the watch is dropped. `on_readable` is called by the event loop, outside of any
    /// JavaScript; it may drop the watch.
    ///
    /// Errors: the reason in words, as `laneReason` of `stats()` has it.
    pub fn new(env: &Env, fd: RawFd, on_readable: impl Fn() + 'static) -> Result<Watch, String> {
        let init = |libuv: &Libuv, event_loop, handle| {
            // SAFETY: the loop is this thread's and alive; the memory is as large as libuv wants it and stays
            // in place.
            unsafe { (libuv.poll_init)(event_loop, handle, fd) }
        };
        let handle = Handle::new(env, UV_POLL, "uv_poll_init", init, on_readable)?;
        Ok(Watch { handle, fd })
    }

    /// Which descriptor it watches.
    pub fn fd(&self) -> RawFd {
        self.fd
    }

    /// Starts or resumes watching, from the loop's next turn on.
    pub fn start(&self) {
        // SAFETY: the handle is initialized and not closing.
        self.handle.start(|libuv, handle| unsafe { (libuv.poll_start)(handle, UV_READABLE, readable) });
    }

    /// Stops watching for the time being.
    pub fn stop(&self) {
        // SAFETY: the handle is initialized and not closing.
        self.handle.stop(|libuv, handle| unsafe { (libuv.poll_stop)(handle) });
    }
}

/// Work for the time after the callbacks of all ready descriptors. Belongs to the JavaScript thread; never
/// keeps the process alive.
pub struct AfterPoll(Handle);

impl AfterPoll {
    /// `work` is called in each turn of the loop in which it was asked for, outside of any JavaScript; it may drop the
    /// handle.
    ///
    /// Errors: the reason in words.
    pub fn new(env: &Env, work: impl Fn() + 'static) -> Result<AfterPoll, String> {
        let init = |libuv: &Libuv, event_loop, handle| {
            // SAFETY: as for a watch.
            unsafe { (libuv.check_init)(event_loop, handle) }
        };
        Handle::new(env, UV_CHECK, "uv_check_init", init, work).map(AfterPoll)
    }

    /// Asks for the work in this turn, if the loop is polling, or in the next.
    pub fn request(&self) {
        // SAFETY: the handle is initialized and not closing.
        self.0.start(|libuv, handle| unsafe { (libuv.check_start)(handle, polled) });
    }

    /// To be called by the work: it is not called again until it is asked for.
    pub fn done(&self) {
        // SAFETY: the handle is initialized and not closing.
        self.0.stop(|libuv, handle| unsafe { (libuv.check_stop)(handle) });
    }
}

/// Work for the moment before the event loop begins to wait. Belongs to the JavaScript thread; never keeps the process alive.
pub struct BeforePoll {
    handle: Handle,
    event_loop: *mut c_void,
}

impl BeforePoll {
    /// `work` is called before each poll that may wait, outside of any JavaScript; it may drop the handle.
    ///
    /// Errors: the reason in words.
    pub fn new(env: &Env, work: impl Fn() + 'static) -> Result<BeforePoll, String> {
        let init = |libuv: &Libuv, event_loop, handle| {
            // SAFETY: as for a watch.
            unsafe { (libuv.prepare_init)(event_loop, handle) }
        };
        let handle = Handle::new(env, UV_PREPARE, "uv_prepare_init", init, work)?;
        let event_loop = env.get_uv_event_loop().map_err(|error| error.reason.clone())?.cast();
        Ok(BeforePoll { handle, event_loop })
    }

    /// From now on. Returns whether it was not so before.
    pub fn start(&self) -> bool {
        // SAFETY: the handle is initialized and not closing.
        self.handle.start(|libuv, handle| unsafe { (libuv.prepare_start)(handle, polled) })
    }

    /// The number of the epoll instance at which the loop waits; of the kqueue on macOS.
    pub fn poller(&self) -> RawFd {
        // SAFETY: the loop is this thread's, and alive.
        unsafe { (self.handle.libuv.backend_fd)(self.event_loop) }
    }

    /// Whether the loop does not wait in this turn, because there is something to be done at once.
    pub fn has_more(&self) -> bool {
        // SAFETY: as above.
        unsafe { (self.handle.libuv.backend_timeout)(self.event_loop) == 0 }
    }

    /// The monotonic clock, and for how long the loop has not waited since some time in the past; in nanoseconds.
    pub fn times(&self) -> (u64, u64) {
        // SAFETY: as above.
        let (now, idle) =
            unsafe { ((self.handle.libuv.hrtime)(), (self.handle.libuv.metrics_idle_time)(self.event_loop)) };
        (now, now.saturating_sub(idle))
    }
}

/// # Safety
/// Called by libuv with a handle that [`Watch::new`] has initialized.
unsafe extern "C" fn readable(handle: *mut RawHandle, _status: c_int, _events: c_int) {
    // Reading reports an error.
    // SAFETY: passed on.
    unsafe { polled(handle) };
}

/// # Safety
/// Called by libuv with a handle that [`Handle::new`] has initialized.
unsafe extern "C" fn polled(handle: *mut RawHandle) {
    let Ok(libuv) = Libuv::get() else { return };
    // SAFETY: the data is the `Shared` of `Handle::new`, which lives until `released`; nobody has it
    // exclusively.
    let shared = unsafe { &*(libuv.handle_get_data)(handle).cast::<Shared>() };
    (shared.callback)();
}

/// # Safety
/// Called by libuv, once, with a handle that [`Handle::new`] has initialized.
unsafe extern "C" fn released(handle: *mut RawHandle) {
    let Ok(libuv) = Libuv::get() else { return };
    // SAFETY: the data is the box of `Handle::new`; libuv does not touch the handle any more.
    drop(unsafe { Box::from_raw((libuv.handle_get_data)(handle).cast::<Shared>()) });
}
