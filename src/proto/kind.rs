//! Which part of the protocol a frame belongs to.

use super::Serialization;
use super::names::{CHANNEL_MOVE, CLUSTER, HANDLE, HANDLE_ACK, HANDLE_NACK, MEMORY, PEER_CONNECT, V8_HEADER};

/// Which part of the protocol a frame belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The cluster protocol: `cmd` is `NODE_CLUSTER`.
    Cluster,
    /// A message with a handle: `cmd` is `NODE_HANDLE`. Its descriptor travels beside it.
    Handle,
    /// The last handle sent has arrived: `NODE_HANDLE_ACK`.
    HandleAck,
    /// The last handle sent was lost on the way: `NODE_HANDLE_NACK`.
    HandleNack,
    /// The half-close marker of a channel that moves: the peer's further frames come on the other socket
    /// (`NODE_CORRAL_MOVE`).
    Move,
    /// A worker wants a connection to another worker: `NODE_CORRAL_CONNECT`.
    Connect,
    /// The peer, a corral, offers memory for large attachments: `NODE_CORRAL_MEMORY`. The descriptor travels
    /// beside it.
    Memory,
    /// A message of the program. Its consumer parses it.
    User,
}

/// Classifies a frame by its first property, without parsing it: Node writes `cmd` first in every internal
/// message. A program's message with such a `cmd` in another place remains the program's.
pub fn classify(serialization: Serialization, frame: &[u8]) -> Kind {
    let rest = match serialization {
        Serialization::Json => frame.strip_prefix(br#"{"cmd":""#),
        Serialization::Advanced => strip_v8_command(frame),
    };
    let Some(rest) = rest.filter(|rest| rest.starts_with(b"NODE_")) else { return Kind::User };
    let known = [
        (CLUSTER, Kind::Cluster),
        (HANDLE_ACK, Kind::HandleAck),
        (HANDLE_NACK, Kind::HandleNack),
        (HANDLE, Kind::Handle),
        (CHANNEL_MOVE, Kind::Move),
        (PEER_CONNECT, Kind::Connect),
        (MEMORY, Kind::Memory),
    ];
    for (name, kind) in known {
        // In JSON the name ends at its quote. In V8's format it ends by its length, and the next byte is a
        // tag.
        if let Some(after) = rest.strip_prefix(name.as_bytes())
            && !after.first().is_some_and(|byte| byte.is_ascii_uppercase() || *byte == b'_')
        {
            return kind;
        }
    }
    Kind::User
}

/// Strips `{cmd: "` off a V8 frame: header, object tag, the one-byte string `cmd`, and the head of a one-byte
/// string of less than 128 characters.
fn strip_v8_command(frame: &[u8]) -> Option<&[u8]> {
    let [V8_HEADER, _version, b'o', b'"', 3, b'c', b'm', b'd', b'"', length, rest @ ..] = frame else {
        return None;
    };
    (*length < 128).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_belongs_to_whom_its_cmd_names() {
        let json = |text: &str| classify(Serialization::Json, text.as_bytes());
        assert_eq!(json(r#"{"cmd":"NODE_CLUSTER","act":"online","seq":0}"#), Kind::Cluster);
        assert_eq!(json(r#"{"cmd":"NODE_HANDLE","type":"net.Native","msg":{}}"#), Kind::Handle);
        assert_eq!(json(r#"{"cmd":"NODE_HANDLE_ACK"}"#), Kind::HandleAck);
        assert_eq!(json(r#"{"cmd":"NODE_HANDLE_NACK"}"#), Kind::HandleNack);
        assert_eq!(json(r#"{"cmd":"NODE_CORRAL_MEMORY"}"#), Kind::Memory);
        assert_eq!(json(r#"{"cmd":"NODE_CORRAL_MEMORY_"}"#), Kind::User);
        assert_eq!(json(r#"{"cmd":"NODE_SOCKET_COUNT","count":1}"#), Kind::User);
        assert_eq!(json(r#"{"cmd":"NODE_CLUSTERS"}"#), Kind::User);
        assert_eq!(json(r#"{"msg":{"cmd":"NODE_CLUSTER"}}"#), Kind::User);
        assert_eq!(json("garbage"), Kind::User);
        assert_eq!(
            classify(Serialization::Advanced, b"\xff\x0fo\"\x03cmd\"\x0cNODE_CLUSTER\"\x03act"),
            Kind::Cluster
        );
        assert_eq!(
            classify(Serialization::Advanced, b"\xff\x0fo\"\x03cmd\"\x0fNODE_HANDLE_ACK{\x01"),
            Kind::HandleAck
        );
    }
}
