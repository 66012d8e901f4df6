//! What a primary says to the one that takes its place, on a socket of their own whose messages arrive whole. The descriptors travel
//! beside it.

use serde::{Deserialize, Serialize};

use super::cluster::{AddressKind, QueryServer};

/// The longest message, in bytes.
pub const MAX_HANDOVER: usize = 64 << 10;

/// How many sockets one message has at most. Linux takes 253 descriptors at a time.
pub const MAX_HANDED: usize = 64;

/// A message to the new primary.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum Handover {
    /// Sockets to which clients come. Their descriptors are in the same order.
    Sockets(Vec<Handed>),
    /// Those were all.
    End,
    /// A connection, whose descriptor is with it.
    Connection {
        /// Of the socket, among those that were handed over.
        socket: u32,
        /// Set if it waits for its next request: after how many milliseconds it is closed if that does not come. 0 for never.
        kept: Option<u64>,
    },
}

/// A socket as the old primary has it.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Handed {
    /// How connections name it.
    pub number: u32,
    /// What a worker has asked for; None if no server has it.
    pub asked: Option<Asked>,
    /// It shares its port with the ones before it that say so and are of the same server.
    pub is_sibling: bool,
    /// Its file is corral's, and is to be removed with it.
    pub has_file: bool,
    /// It belongs to the service manager: it stays when no server has it.
    pub stays: bool,
}

/// Where a server listens, in the words of its first worker.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Asked {
    address: Option<String>,
    port: i32,
    fd: i32,
    /// `udp4` or `udp6`; None if connections come.
    datagrams: Option<String>,
}

impl From<&QueryServer> for Asked {
    fn from(query: &QueryServer) -> Self {
        let datagrams = match query.kind {
            AddressKind::Udp4 => Some("udp4".to_owned()),
            AddressKind::Udp6 => Some("udp6".to_owned()),
            AddressKind::Tcp4 | AddressKind::Tcp6 | AddressKind::Path => None,
        };
        let address = query.address.clone().filter(|address| !address.is_empty());
        // A descriptor's number says everything.
        let fd = query.fd.max(-1);
        if fd >= 0 {
            return Asked { address: None, port: -1, fd, datagrams };
        }
        Asked { address, port: query.port.max(-1), fd, datagrams }
    }
}

impl Handover {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("these types have nothing that JSON has not")
    }

    /// From bytes.
    ///
    /// Errors: what is wrong with them.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|error| format!("not what a primary says to the next: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_is_read_as_it_was_written() {
        let query = QueryServer { port: 80, fd: -1, address: Some("::1".into()), ..QueryServer::default() };
        let handed = Handed {
            number: 3,
            asked: Some(Asked::from(&query)),
            is_sibling: true,
            has_file: false,
            stays: true,
        };
        for message in [
            Handover::Sockets(vec![handed]),
            Handover::End,
            Handover::Connection { socket: 3, kept: Some(5000) },
            Handover::Connection { socket: 0, kept: None },
        ] {
            assert_eq!(Handover::decode(&message.encode()), Ok(message));
        }
        for wrong in [&b""[..], b"{}", b"{\"connection\":{}}", b"null", b"\xff"] {
            assert!(Handover::decode(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_most_sockets_fit_into_a_message() {
        let query =
            QueryServer { port: 80, fd: -1, address: Some("x".repeat(200)), ..QueryServer::default() };
        let handed = Handed {
            number: u32::MAX,
            asked: Some(Asked::from(&query)),
            is_sibling: false,
            has_file: false,
            stays: false,
        };
        assert!(Handover::Sockets(vec![handed; MAX_HANDED]).encode().len() <= MAX_HANDOVER);
    }

    #[test]
    fn what_is_asked_for_is_the_same_in_every_version_of_node() {
        let of = |address: Option<&str>, port, fd, kind| {
            let address = address.map(str::to_owned);
            Asked::from(&QueryServer { address, port, fd, kind, ..QueryServer::default() })
        };
        assert_eq!(of(None, 0, -1, AddressKind::Tcp4), of(Some(""), 0, -1, AddressKind::Tcp6));
        assert_eq!(of(None, 5, 3, AddressKind::Tcp4), of(Some("x"), 0, 3, AddressKind::Path));
        assert_ne!(of(None, 0, -1, AddressKind::Udp4), of(None, 0, -1, AddressKind::Udp6));
        assert_ne!(of(None, 0, -1, AddressKind::Tcp4), of(None, 1, -1, AddressKind::Tcp4));
    }
}
