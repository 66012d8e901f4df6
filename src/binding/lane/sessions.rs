//! Sessions that the worker of a lane begins.

use std::rc::Rc;

use napi::bindgen_prelude::ToNapiValue;
use napi_derive::napi;

use super::{NativeLane, Watched};

#[napi]
impl NativeLane {
    /// Tells the primary that this worker has begun a session, before the client learns its id. Returns false if the
    /// primary cannot be told.
    #[napi]
    pub fn begin_session(&self, id: String) -> bool {
        let mut lane = self.watched.lane.borrow_mut();
        let is_told = lane.sessions.begin(id.as_bytes());
        // If the primary has gone there is nobody to tell.
        let _ = lane.tell_of_sessions();
        is_told
    }
}

impl Watched {
    /// The primary may have just said what names sessions.
    pub(super) fn name_sessions(self: &Rc<Self>) {
        // Not borrowed while JavaScript runs.
        let names = self.lane.borrow_mut().sessions.names.take();
        if let Some(names) = names {
            // SAFETY: the environment of the call that is under way.
            self.name_sessions
                .call::<(), 1>(|env| unsafe { Ok([<&str>::to_napi_value(env.raw(), &names)?]) });
        }
    }
}
