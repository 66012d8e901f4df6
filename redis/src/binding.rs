//! The addon as JavaScript sees it. Only this module knows Node-API. A connection to an engine is a descriptor: JavaScript
//! makes a socket of it, and speaks the protocol of corral-bus.

use std::io;
use std::os::fd::IntoRawFd;
use std::sync::Arc;

use napi::bindgen_prelude::Buffer;
use napi_derive::napi;

use crate::runtime;
use crate::settings::Settings;

/// The version of the package that this binary belongs to. `lib/addon.js` loads no other.
#[napi]
pub fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// Where the server is.
#[napi(object)]
pub struct RedisPlace {
    /// One server; of a cluster or of sentinels those that are asked first.
    pub urls: Vec<String>,
    pub cluster: bool,
    /// The name that the sentinels know the master by.
    pub sentinel: Option<String>,
    /// What keys begin with.
    pub prefix: String,
    /// PEM.
    pub ca: Option<Buffer>,
    /// PEM; both or none.
    pub cert: Option<Buffer>,
    pub key: Option<Buffer>,
}

/// A connection to an engine in Redis: its descriptor, which JavaScript owns from then on.
#[napi]
pub fn connect_redis(place: RedisPlace) -> Result<i32, napi::Error<String>> {
    let bytes = |buffer: Option<Buffer>| buffer.map(|buffer| buffer.to_vec());
    let settings = Settings {
        urls: place.urls,
        is_cluster: place.cluster,
        sentinel: place.sentinel,
        prefix: place.prefix,
        ca: bytes(place.ca),
        identity: bytes(place.cert).zip(bytes(place.key)),
    };
    runtime::connect(Arc::new(settings)).map(IntoRawFd::into_raw_fd).map_err(|error| failed(&error))
}

/// An error with the system's own code.
fn failed(error: &io::Error) -> napi::Error<String> {
    let code = match error.raw_os_error() {
        Some(libc::EMFILE) => "EMFILE",
        Some(libc::ENFILE) => "ENFILE",
        Some(libc::EAGAIN) => "EAGAIN",
        Some(libc::ENOMEM) => "ENOMEM",
        _ => "EIO",
    };
    napi::Error::new(code.to_owned(), error.to_string())
}
