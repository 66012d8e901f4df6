//! Addresses as plain data, in the terms of Node's `getsockname` and `remoteAddress`.

use std::net::{IpAddr, SocketAddr};

/// What an IP socket is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalAddress {
    /// The numeric address.
    pub address: String,
    /// `IPv4` or `IPv6`.
    pub family: &'static str,
    /// The port, in host order.
    pub port: u16,
}

/// Who connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A TCP client and its port.
    Ip(IpAddr, u16),
    /// A client of a Unix socket, which as a rule has no name.
    Unix,
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Peer::Ip(address.ip(), address.port())
    }
}
