//! What the worker of a lane shows of its runtime.

use std::rc::Rc;

use napi::Result;
use napi::bindgen_prelude::Function;
use napi_derive::napi;

use super::super::callback::Callback;
use super::super::napi_failure;
use super::{NativeLane, Watched};
use crate::os;

#[napi]
impl NativeLane {
    /// `observe` is called whenever the primary wants to see what the runtime knows of itself.
    #[napi]
    pub fn when_observed(
        &self,
        #[napi(ts_arg_type = "() => void")] observe: Function<(), ()>,
    ) -> Result<(), String> {
        let callback = Callback::new(self.watched.env, &observe).map_err(napi_failure)?;
        *self.watched.observe.borrow_mut() = Some(callback);
        Ok(())
    }

    /// What this process's runtime knows of itself, as `runtimeNumbers` has it. Returns whether the primary wants to see more.
    #[napi]
    pub fn show_runtime(&self, numbers: &[f64]) -> bool {
        self.watched.lane.borrow().show_runtime(numbers.iter().map(|number| *number as u64))
    }
}

#[napi]
impl NativeLane {
    /// The descriptor of the socket to whoever observes, which is the caller's; -1 if there is no new one.
    #[napi]
    pub fn take_link(&self) -> i32 {
        self.watched.lane.borrow_mut().link.take().map_or(-1, os::into_raw)
    }
}

impl Watched {
    /// The primary may have just asked for it.
    pub(super) fn begin_to_be_observed(self: &Rc<Self>) {
        // Not borrowed while JavaScript runs.
        let is_asked = std::mem::take(&mut self.lane.borrow_mut().is_to_be_observed);
        if is_asked && let Some(observe) = &*self.observe.borrow() {
            observe.call::<(), 0>(|_| Ok([]));
        }
    }
}
