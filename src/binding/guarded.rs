//! Streams of Node's own that ask before they read.
//!
//! libuv asks for a buffer (`alloc_cb`) whenever a stream is readable and before it reads. That is the one moment at which a
//! worker can still leave the bytes to another process: the two callbacks that Node has set are replaced by two here, which
//! pass everything on while the stream may read. Where libuv has the callbacks, and its streams by their descriptors, is
//! part of its ABI (`uv.h`, `uv/unix.h`), the same in Node 20 to 26; a stream made for the purpose shows whether that is so
//! in the libuv of this process.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::c_int;
use std::hash::{BuildHasherDefault, Hasher};
use std::os::fd::{AsRawFd, RawFd};
use std::ptr::{NonNull, fn_addr_eq};
use std::rc::Rc;

use napi::bindgen_prelude::Function;
use napi::{Env, sys};

use super::uv::{AllocCallback, Handle, Libuv, RawBuffer, RawHandle, ReadCallback};
use crate::os;
use crate::proto::Slot;

/// `UV_NAMED_PIPE` of `uv_handle_type`.
const UV_NAMED_PIPE: c_int = 7;
/// `UV_TCP` of the same.
const UV_TCP: c_int = 12;

// Offsets in bytes, on 64 bits.

/// `alloc_cb` in a `uv_stream_t`.
const ALLOC_CALLBACK: usize = 104;
/// `read_cb` in the same.
const READ_CALLBACK: usize = 112;
/// `io_watcher` in the same.
const IO_WATCHER: usize = 136;
/// `loop` in a `uv_handle_t`.
const LOOP: usize = 8;
/// `watchers` in a `uv_loop_t`: a watcher for each number of a descriptor...
const WATCHERS: usize = 104;
/// ... and how many there are.
const WATCHER_COUNT: usize = 112;

/// A stream that asks.
#[derive(Clone, Copy)]
struct Guard {
    slot: Slot,
    alloc: AllocCallback,
    read: ReadCallback,
}

/// Who is asked.
struct Asked {
    /// Whether the stream of this slot may read.
    may_read: Box<dyn Fn(Slot) -> bool>,
    /// It did not, and has stopped.
    has_stopped: Box<dyn Fn(Slot)>,
    /// The stream of this slot rests, if it asks before it reads.
    rest: Box<dyn Fn(Slot)>,
}

thread_local! {
    /// By the addresses of their handles.
    static GUARDS: RefCell<HashMap<usize, Guard, BuildHasherDefault<AddressHasher>>> = RefCell::default();
    static ASKED: RefCell<Option<Rc<Asked>>> = const { RefCell::new(None) };
    /// The stream that is being read, its guard, and whether it was denied a buffer.
    static READING: Cell<Option<(usize, Guard, bool)>> = const { Cell::new(None) };
}

/// Spreads addresses, which differ in their middle bits.
#[derive(Default)]
struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_usize(usize::from(*byte)));
    }

    fn write_usize(&mut self, address: usize) {
        // The golden ratio: every bit of the address reaches the upper ones, which the table compares first.
        self.0 = (self.0 ^ address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_right(20);
    }
}

/// The guarded streams of this thread.
pub struct GuardedStreams {
    libuv: &'static Libuv,
    event_loop: NonNull<u8>,
    /// By slot.
    streams: RefCell<Vec<Option<NonNull<RawHandle>>>>,
}

impl GuardedStreams {
    /// `may_read` and `has_stopped` are called by the event loop, outside of any JavaScript; `rest` by the function that
    /// [`rest_function`] makes. Once for each thread.
    ///
    /// Errors: the reason in words, as `keepAliveReason` of `stats()` has it.
    pub fn new(
        env: &Env,
        may_read: impl Fn(Slot) -> bool + 'static,
        has_stopped: impl Fn(Slot) + 'static,
        rest: impl Fn(Slot) + 'static,
    ) -> Result<Self, String> {
        let libuv = Libuv::get()?;
        let event_loop = env.get_uv_event_loop().map_err(|error| error.reason.clone())?;
        let event_loop = NonNull::new(event_loop.cast::<u8>()).ok_or("no event loop")?;
        let streams = GuardedStreams { libuv, event_loop, streams: RefCell::default() };
        streams.check(env)?;
        let (may_read, has_stopped) = (Box::new(may_read), Box::new(has_stopped));
        ASKED.set(Some(Rc::new(Asked { may_read, has_stopped, rest: Box::new(rest) })));
        Ok(streams)
    }

    /// Whether this process's libuv is laid out as this file has it.
    fn check(&self, env: &Env) -> Result<(), String> {
        let unlike = || "the libuv of this process is laid out in another way".to_owned();
        if size_of::<usize>() != 8 || !cfg!(target_os = "linux") {
            return Err(unlike());
        }
        let pair = os::socket_pair().map_err(|errno| format!("socketpair: {errno}"))?;
        let number = pair.ours.as_raw_fd();
        let init = |libuv: &Libuv, event_loop, handle| {
            // SAFETY: the loop is this thread's and alive; the memory is as large as libuv wants it.
            unsafe { (libuv.pipe_init)(event_loop, handle, 0) }
        };
        let probe = Handle::new(env, UV_NAMED_PIPE, "uv_pipe_init", init, || {})?;
        // SAFETY: the handle is initialized, and owns the descriptor from the second call on.
        let is_good = unsafe {
            if (self.libuv.pipe_open)(probe.raw(), number) != 0 {
                return Err("uv_pipe_open".into());
            }
            os::into_raw(pair.ours);
            (self.libuv.read_start)(probe.raw(), deny, ignore) == 0
                && self.look_up(number).is_some_and(|stream| {
                    let is_alloc = |alloc| fn_addr_eq(alloc, deny as AllocCallback);
                    let is_read = |read| fn_addr_eq(read, ignore as ReadCallback);
                    stream.as_ptr() == probe.raw()
                        && (*alloc_callback(stream)).is_some_and(is_alloc)
                        && (*read_callback(stream)).is_some_and(is_read)
                })
        };
        if is_good { Ok(()) } else { Err(unlike()) }
    }

    /// The stream that reads a descriptor.
    ///
    /// # Safety
    /// The loop is laid out as this file has it, or its fields at these places may be read at least.
    unsafe fn look_up(&self, number: RawFd) -> Option<NonNull<RawHandle>> {
        let event_loop = self.event_loop.as_ptr();
        // SAFETY: of the caller; the array has so many elements, of which those that are not null are watchers. The one
        // of a stream lies in a `uv_stream_t`.
        let stream = unsafe {
            let count = *event_loop.add(WATCHER_COUNT).cast::<u32>();
            let place = usize::try_from(number).ok().filter(|number| *number < count as usize)?;
            let watchers = *event_loop.add(WATCHERS).cast::<*const *mut u8>();
            NonNull::new(*watchers.add(place))?.sub(IO_WATCHER)
        };
        // SAFETY: as above.
        let is_of_loop = unsafe { *stream.add(LOOP).cast::<*mut u8>().as_ptr() } == event_loop;
        let stream = stream.cast::<RawHandle>();
        // SAFETY: a handle of this loop.
        let is_stream =
            || matches!(unsafe { (self.libuv.handle_get_type)(stream.as_ptr()) }, UV_TCP | UV_NAMED_PIPE);
        let has_number = || self.number(stream) == Some(number);
        (is_of_loop && is_stream() && has_number()).then_some(stream)
    }

    /// The stream of this thread that reads the descriptor.
    pub fn find(&self, number: RawFd) -> Option<NonNull<RawHandle>> {
        // SAFETY: `new` has checked the layout.
        unsafe { self.look_up(number) }
    }

    /// The stream has this slot, until [`GuardedStreams::forget`]. It asks after [`GuardedStreams::guard`].
    pub fn add(&self, slot: Slot, stream: NonNull<RawHandle>) {
        let mut streams = self.streams.borrow_mut();
        let place = slot.0 as usize;
        if streams.len() <= place {
            streams.resize(place + 1, None);
        }
        streams[place] = Some(stream);
    }

    /// The stream asks before it reads from now on. Node may have begun to read anew since the last time. Returns false
    /// for a stream that does not read.
    pub fn guard(&self, slot: Slot) -> bool {
        let Some(stream) = self.stream(slot) else { return false };
        // SAFETY: the stream is open, as it has not been forgotten; `new` has checked the layout. A stream that does not
        // read has none.
        unsafe {
            let (Some(alloc), Some(read)) = (*alloc_callback(stream), *read_callback(stream)) else {
                return false;
            };
            if fn_addr_eq(alloc, guarded_alloc as AllocCallback) {
                return true;
            }
            let number = self.number(stream);
            if number.and_then(|number| self.find(number)) != Some(stream) {
                return false;
            }
            let guard = Guard { slot, alloc, read };
            GUARDS.with_borrow_mut(|guards| guards.insert(stream.as_ptr() as usize, guard));
            *alloc_callback(stream) = Some(guarded_alloc);
            *read_callback(stream) = Some(guarded_read);
        }
        true
    }

    /// The descriptor of the stream with this slot.
    pub fn descriptor(&self, slot: Slot) -> Option<RawFd> {
        self.number(self.stream(slot)?)
    }

    fn number(&self, stream: NonNull<RawHandle>) -> Option<RawFd> {
        let mut number = -1;
        // SAFETY: a handle of this loop; the number is live for the call.
        let status = unsafe { (self.libuv.fileno)(stream.as_ptr(), &raw mut number) };
        (status == 0).then_some(number)
    }

    /// To be called before the stream is closed.
    pub fn forget(&self, slot: Slot) {
        let Some(stream) = self.stream(slot) else { return };
        self.streams.borrow_mut()[slot.0 as usize] = None;
        let guard = GUARDS.with_borrow_mut(|guards| guards.remove(&(stream.as_ptr() as usize)));
        if let Some(guard) = guard {
            // SAFETY: as in `guard`. libuv may be about to call one of the two, and calls Node's then.
            unsafe {
                let is_guarded = |alloc| fn_addr_eq(alloc, guarded_alloc as AllocCallback);
                if (*alloc_callback(stream)).is_some_and(is_guarded) {
                    *alloc_callback(stream) = Some(guard.alloc);
                    *read_callback(stream) = Some(guard.read);
                }
            }
        }
    }

    fn stream(&self, slot: Slot) -> Option<NonNull<RawHandle>> {
        *self.streams.borrow().get(slot.0 as usize)?
    }
}

impl Drop for GuardedStreams {
    fn drop(&mut self) {
        let count = self.streams.borrow().len() as u32;
        (0..count).map(Slot).for_each(|slot| self.forget(slot));
        ASKED.set(None);
    }
}

/// A function of JavaScript that takes a slot, whose stream rests from now on. A method of a class would do, but
/// napi-rs has one cost 2,000 instructions, and this is called after each request.
///
/// Errors: those of Node-API.
pub fn rest_function(env: &Env) -> napi::Result<Function<'_, u32, ()>> {
    env.create_function("rest", rest)
}

/// # Safety
/// Called by Node-API, with what it wants.
unsafe extern "C" fn rest(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    let (mut count, mut argument, mut slot) = (1, std::ptr::null_mut(), 0);
    // SAFETY: the environment of the call that is under way, and pointers that are live for it. What is missing is
    // undefined, which is no number.
    let status = unsafe {
        let (this, data) = (std::ptr::null_mut(), std::ptr::null_mut());
        match sys::napi_get_cb_info(env, info, &raw mut count, &raw mut argument, this, data) {
            sys::Status::napi_ok => sys::napi_get_value_uint32(env, argument, &raw mut slot),
            status => status,
        }
    };
    if status == sys::Status::napi_ok
        && let Some(asked) = ASKED.with_borrow(Option::clone)
    {
        (asked.rest)(Slot(slot));
    }
    // Undefined for JavaScript.
    std::ptr::null_mut()
}

/// # Safety
/// The stream is open, and laid out as this file has it.
unsafe fn alloc_callback(stream: NonNull<RawHandle>) -> *mut Option<AllocCallback> {
    // SAFETY: of the caller.
    unsafe { stream.as_ptr().cast::<u8>().add(ALLOC_CALLBACK).cast() }
}

/// # Safety
/// As for [`alloc_callback`].
unsafe fn read_callback(stream: NonNull<RawHandle>) -> *mut Option<ReadCallback> {
    // SAFETY: of the caller.
    unsafe { stream.as_ptr().cast::<u8>().add(READ_CALLBACK).cast() }
}

fn guard_of(stream: *mut RawHandle) -> Option<Guard> {
    GUARDS.with_borrow(|guards| guards.get(&(stream as usize)).copied())
}

fn may_read(slot: Slot) -> bool {
    // Not borrowed meanwhile: who is asked may end the guard.
    let asked = ASKED.with_borrow(Option::clone);
    asked.is_none_or(|asked| (asked.may_read)(slot))
}

/// # Safety
/// Called by libuv, with a buffer to fill in, before it reads a stream that was guarded.
unsafe extern "C" fn guarded_alloc(stream: *mut RawHandle, suggested: usize, buffer: *mut RawBuffer) {
    let guard = guard_of(stream);
    let is_denied = guard.is_none_or(|guard| !may_read(guard.slot));
    READING.set(guard.map(|guard| (stream as usize, guard, is_denied)));
    match guard {
        // SAFETY: Node's own, with what libuv has passed.
        Some(guard) if !is_denied => unsafe { (guard.alloc)(stream, suggested, buffer) },
        // SAFETY: passed on.
        _ => unsafe { deny(stream, suggested, buffer) },
    }
}

/// # Safety
/// Called by libuv after [`guarded_alloc`], with what it has read.
unsafe extern "C" fn guarded_read(stream: *mut RawHandle, read: isize, buffer: *const RawBuffer) {
    let reading = READING.take().filter(|(of, ..)| *of == stream as usize);
    let (guard, is_denied) = match reading {
        Some((_, guard, is_denied)) => (guard, is_denied),
        // An error that libuv reports without having asked for a buffer.
        None => match guard_of(stream) {
            Some(guard) => (guard, false),
            None => return,
        },
    };
    if !is_denied {
        // SAFETY: Node's own, with what libuv has passed.
        return unsafe { (guard.read)(stream, read, buffer) };
    }
    // Nothing has been read: libuv has no buffer (`UV_ENOBUFS`), and would ask again in every turn.
    if let Ok(libuv) = Libuv::get() {
        // SAFETY: the stream is open.
        unsafe { (libuv.read_stop)(stream) };
    }
    if let Some(asked) = ASKED.with_borrow(Option::clone) {
        (asked.has_stopped)(guard.slot);
    }
}

/// # Safety
/// Called with a buffer to fill in.
unsafe extern "C" fn deny(_stream: *mut RawHandle, _suggested: usize, buffer: *mut RawBuffer) {
    // SAFETY: of the caller.
    unsafe { buffer.write(RawBuffer { base: std::ptr::null_mut(), length: 0 }) };
}

unsafe extern "C" fn ignore(_stream: *mut RawHandle, _read: isize, _buffer: *const RawBuffer) {}
