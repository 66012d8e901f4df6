//! The handshake of two programs that meet at a named socket: the client sends one line of JSON, and the
//! server answers with one. From the next byte on the connection is a channel in Node's format.
//!
//! ```text
//! client   {"corral":1,"serialization":"json","maxMessage":67108864}
//! server   {"corral":1,"serialization":"json","maxMessage":67108864}
//!      or  {"corral":1,"refused":"serialization","serialization":"advanced"}
//! ```

use serde::{Deserialize, Serialize};

use super::Serialization;

/// The version of the protocol behind the first line. Both ends must have the same.
pub const CHANNEL_VERSION: u32 = 1;

/// The longest first line, in bytes, without its newline.
pub const MAX_HELLO: usize = 1024;

/// What one end offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// Both ends must offer the same.
    pub serialization: Serialization,
    /// The largest message that it accepts, in bytes as they travel.
    pub max_message: u64,
}

/// Why no channel comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The other end's first line is not a handshake.
    NotAGreeting,
    /// The other end speaks another version than this one.
    Version(u32),
    /// The other end's serialization differs from this one.
    Serialization(Serialization),
    /// The other end's user may not connect.
    NotAllowed,
    /// The server has its maximum of connections.
    TooManyConnections,
    /// The other end took too long.
    TimedOut,
}

impl Refusal {
    /// The `code` of the error in JavaScript.
    pub fn code(self) -> &'static str {
        match self {
            Refusal::NotAGreeting => "ERR_CORRAL_BAD_HANDSHAKE",
            Refusal::Version(_) => "ERR_CORRAL_VERSION",
            Refusal::Serialization(_) => "ERR_CORRAL_SERIALIZATION",
            Refusal::NotAllowed => "ERR_CORRAL_PEER_NOT_ALLOWED",
            Refusal::TooManyConnections => "ERR_CORRAL_TOO_MANY_CONNECTIONS",
            Refusal::TimedOut => "ERR_CORRAL_HANDSHAKE_TIMEOUT",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Refusal::NotAGreeting => "greeting",
            Refusal::Version(_) => "version",
            Refusal::Serialization(_) => "serialization",
            Refusal::NotAllowed => "peer",
            Refusal::TooManyConnections => "connections",
            Refusal::TimedOut => "timeout",
        }
    }
}

/// The first line of either end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hello {
    /// The sender accepts the connection, on these terms.
    Greeting(Greeting),
    /// The sender refuses the connection.
    Refused(Refusal),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    corral: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    serialization: Option<Serialization>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_message: Option<u64>,
}

impl Hello {
    /// The line, with its newline.
    pub fn encode(&self) -> Vec<u8> {
        let mut wire =
            Wire { corral: CHANNEL_VERSION, refused: None, serialization: None, max_message: None };
        match *self {
            Hello::Greeting(greeting) => {
                wire.serialization = Some(greeting.serialization);
                wire.max_message = Some(greeting.max_message);
            }
            Hello::Refused(refusal) => {
                wire.refused = Some(refusal.name().into());
                if let Refusal::Serialization(serialization) = refusal {
                    wire.serialization = Some(serialization);
                }
            }
        }
        // Strings and numbers always serialize.
        let mut line = serde_json::to_vec(&wire).unwrap_or_default();
        line.push(b'\n');
        line
    }

    /// Parses a line, without its newline.
    ///
    /// Errors: the reason to refuse the sender.
    pub fn parse(line: &[u8]) -> Result<Hello, Refusal> {
        let wire: Wire = serde_json::from_slice(line).map_err(|_| Refusal::NotAGreeting)?;
        if let Some(reason) = wire.refused {
            return Ok(Hello::Refused(match (reason.as_str(), wire.serialization) {
                ("version", _) => Refusal::Version(wire.corral),
                ("serialization", Some(serialization)) => Refusal::Serialization(serialization),
                ("peer", _) => Refusal::NotAllowed,
                ("connections", _) => Refusal::TooManyConnections,
                ("timeout", _) => Refusal::TimedOut,
                _ => Refusal::NotAGreeting,
            }));
        }
        if wire.corral != CHANNEL_VERSION {
            return Err(Refusal::Version(CHANNEL_VERSION));
        }
        match (wire.serialization, wire.max_message) {
            (Some(serialization), Some(max_message)) => {
                Ok(Hello::Greeting(Greeting { serialization, max_message }))
            }
            _ => Err(Refusal::NotAGreeting),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_it_writes_it_reads() {
        let greeting = Greeting { serialization: Serialization::Advanced, max_message: 64 << 20 };
        let refusals = [
            Refusal::NotAGreeting,
            Refusal::Version(CHANNEL_VERSION),
            Refusal::Serialization(Serialization::Json),
            Refusal::NotAllowed,
            Refusal::TooManyConnections,
            Refusal::TimedOut,
        ];
        let hellos = refusals.map(Hello::Refused).into_iter().chain([Hello::Greeting(greeting)]);
        for hello in hellos {
            let line = hello.encode();
            assert!(line.len() <= MAX_HELLO);
            assert_eq!(Hello::parse(line.strip_suffix(b"\n").unwrap()), Ok(hello));
        }
    }

    #[test]
    fn the_line_is_the_documented_one() {
        let greeting = Greeting { serialization: Serialization::Json, max_message: 67_108_864 };
        assert_eq!(
            Hello::Greeting(greeting).encode(),
            b"{\"corral\":1,\"serialization\":\"json\",\"maxMessage\":67108864}\n"
        );
        assert_eq!(
            Hello::Refused(Refusal::Serialization(Serialization::Advanced)).encode(),
            b"{\"corral\":1,\"refused\":\"serialization\",\"serialization\":\"advanced\"}\n"
        );
    }

    #[test]
    fn a_wrong_peer_is_known_by_its_first_line() {
        for line in
            ["", "GET / HTTP/1.1", "{}", "{\"corral\":1}", "{\"corral\":\"1\"}", "null", "[1]", "{\"cmd\":1}"]
        {
            assert_eq!(Hello::parse(line.as_bytes()), Err(Refusal::NotAGreeting), "{line}");
        }
        // A later version may add fields. Its sender must learn which version is spoken here.
        let later = br#"{"corral":2,"serialization":"json","maxMessage":5,"compression":"zstd"}"#;
        assert_eq!(Hello::parse(later), Err(Refusal::Version(CHANNEL_VERSION)));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(line in prop::collection::vec(any::<u8>(), 0..MAX_HELLO)) {
            let _ = Hello::parse(&line);
        }
    }
}
