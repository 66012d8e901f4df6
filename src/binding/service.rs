//! What a process owes its service manager, and the init of its container.

#![cfg_attr(test, allow(dead_code, reason = "a build for tests registers nothing with Node-API"))]

use napi::Result;
use napi_derive::napi;
use nix::errno::Errno;

use super::coded;
use crate::error::Error;
use crate::os::{self, Carries, InheritedSocket, SocketName};

/// A socket that this process has inherited.
#[napi(object, object_from_js = false)]
pub struct NativeInherited {
    /// Its IP address, its path, or its abstract name behind a NUL byte.
    pub address: String,
    /// None of a path.
    pub port: Option<u16>,
    /// Whether datagrams come to it, and no connections.
    pub is_datagram: bool,
    /// Whether a server of the primary before has it.
    pub is_served: bool,
}

impl From<&InheritedSocket> for NativeInherited {
    fn from(socket: &InheritedSocket) -> Self {
        let (address, port) = match &socket.name {
            SocketName::Ip { address, .. } => (address.ip().to_string(), Some(address.port())),
            SocketName::Unix(path) => (path.to_string_lossy().into_owned(), None),
        };
        NativeInherited { address, port, is_datagram: socket.carries == Carries::Datagrams, is_served: false }
    }
}

/// A share in the socket that this process has inherited under a number.
///
/// Errors: as [`os::inherited_socket`].
pub(super) fn inherited(number: i32) -> Result<InheritedSocket, String> {
    os::inherited_socket(number).map_err(|errno| coded(Error::Sys { doing: "taking over a socket", errno }))
}

/// Sends the service manager one message. `address` is what `NOTIFY_SOCKET` says.
///
/// Errors: as [`os::notify`].
#[napi]
pub fn notify_service_manager(address: String, state: String) -> Result<(), String> {
    os::notify(&address, &state)
        .map_err(|errno| coded(Error::Sys { doing: "telling the service manager", errno }))
}

/// Whether children whose parents have ended become this process's.
#[napi]
pub fn gets_orphans() -> bool {
    os::gets_orphans()
}

/// Takes note of the end of a child. Returns whether it had ended; one that is no child of this process has not.
#[napi]
pub fn reap(pid: i32) -> Result<bool, String> {
    match os::reap(pid) {
        Err(Errno::ECHILD) => Ok(false),
        other => other.map_err(|errno| coded(Error::Sys { doing: "waiting for a child", errno })),
    }
}
