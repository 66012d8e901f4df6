//! Whether connections travel on a lane.

use std::borrow::Cow;

use crate::proto::LaneSeq;

/// Whether connections travel on a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LaneState {
    /// They travel on the channel, for this reason.
    Unused(Cow<'static, str>),
    /// They do.
    Open,
    /// They did until the worker stopped receiving, and will again when it has reported this number.
    Stalled(LaneSeq),
}

impl LaneState {
    /// Why connections travel on the channel.
    pub fn why_unused(&self) -> Option<&Cow<'static, str>> {
        match self {
            LaneState::Unused(reason) => Some(reason),
            LaneState::Open | LaneState::Stalled(_) => None,
        }
    }

    /// The reason while a worker has announced nothing.
    pub const NOT_LOADED: &str = "the worker has not loaded corral";
}
