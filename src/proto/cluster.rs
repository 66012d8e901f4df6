//! The messages of the cluster protocol (`NODE_CLUSTER`), typed.
//!
//! Source: Node 20.19, `lib/internal/cluster/{primary,child,utils}.js`; 22, 24 and 26 send the same.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::names::{CLUSTER, HANDLE};
use super::serialization::{Serialization, check_size, decode, encode};
use crate::address::LocalAddress;
use crate::ids::Seq;

/// The longest description of a listening server that a worker may send, in bytes of JSON. Its longest part
/// is a path.
const MAX_LISTENING: usize = 4096;

/// A message from a worker to its primary.
#[derive(Debug, Clone, PartialEq)]
pub enum ClusterMessage {
    /// The reply to a message of the primary. For a connection it says whether the worker took it.
    Ack {
        /// The `seq` of the message that this answers.
        ack: Seq,
        /// False when the worker does not take the connection. The field is absent in replies to other
        /// messages.
        accepted: bool,
    },
    /// The worker has started.
    Online,
    QueryServer(Box<QueryServer>),
    Listening(ListeningInfo),
    Close {
        /// The server's key, as the primary has announced it.
        key: String,
    },
    /// The worker is about to exit voluntarily and waits for the reply.
    ExitedAfterDisconnect,
    /// An act that this version does not know. It is ignored, as in Node.
    Unknown,
}

/// A worker's request to listen on an address.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct QueryServer {
    /// `address:port:addressType:fd`, and for port 0 also `:index`. Workers that ask with the same key share
    /// one server.
    pub key: String,
    /// A numeric address or an absolute path.
    pub address: Option<String>,
    /// Negative for a path.
    pub port: i32,
    pub kind: AddressKind,
    /// The number of a descriptor of the primary, or negative.
    pub fd: i32,
    /// libuv's flags for binding.
    pub flags: u32,
    pub backlog: Option<i32>,
    /// What a TLS server shares with its siblings: the ticket keys of the first worker.
    pub data: Option<Value>,
    /// Every user may read the Unix socket.
    pub readable_all: bool,
    /// Every user may write to the Unix socket.
    pub writable_all: bool,
}

/// Node's `addressType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AddressKind {
    /// TCP over IPv4 (4), and any value that is not known.
    #[default]
    Tcp4,
    /// TCP over IPv6 (6).
    Tcp6,
    /// A path (-1).
    Path,
    Udp4,
    Udp6,
}

/// A worker's description of a server that listens.
#[derive(Debug, Clone, PartialEq)]
pub struct ListeningInfo {
    /// The address of the 'listening' event: a JSON object with those of addressType, address, port and fd
    /// that the worker sent.
    pub address_json: String,
    /// Its port, if it has one.
    pub port: Option<u16>,
    /// The server, if the worker has opened it by itself. corral in a worker says so with a `key`, which Node
    /// does not send here.
    pub own: Option<OwnServer>,
}

/// A server that a worker has opened by itself, on a port that the kernel shares among workers.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnServer {
    /// The same in all workers for the same address.
    pub key: String,
    /// Empty for every address.
    pub address: String,
    pub port: u16,
}

/// A message from the primary to a worker.
#[derive(Debug)]
pub enum ToWorker<'a> {
    /// The answer to [`QueryServer`]. Without a handle beside it the worker serves round robin.
    ServerReply {
        /// The `seq` of the question.
        ack: Seq,
        key: &'a str,
        /// A negative libuv errno.
        errno: Option<i32>,
        /// The first worker's `data`.
        data: Option<&'a Value>,
        /// The address of a TCP server.
        sockname: Option<&'a LocalAddress>,
    },
    /// The reply to [`ClusterMessage::ExitedAfterDisconnect`], for which the worker waits.
    Ack(Seq),
    /// The worker closes its servers and exits.
    Disconnect,
}

/// How the receiver wraps a descriptor: the `type` of a NODE_HANDLE message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandleKind {
    /// A TCP or Unix stream socket, without a JavaScript object around it.
    Stream,
    /// A UDP socket, without a JavaScript object around it.
    Datagram,
}

impl HandleKind {
    fn name(self) -> &'static str {
        match self {
            HandleKind::Stream => "net.Native",
            HandleKind::Datagram => "dgram.Native",
        }
    }
}

/// Parses a `NODE_CLUSTER` frame. Returns the message and its `seq`.
///
/// Errors: a description of what is wrong with the frame.
pub fn parse(serialization: Serialization, frame: &[u8]) -> Result<(ClusterMessage, Seq), String> {
    check_size(frame)?;
    if serialization == Serialization::Json
        && let Some(ack) = parse_ack(frame)
    {
        return Ok(ack);
    }
    let value = decode(serialization, frame)?;
    let Value::Object(message) = value else { return Err("an internal message that is no object".into()) };
    interpret(message)
}

/// An acknowledgement comes with every connection, so that it is parsed without building a tree.
fn parse_ack(frame: &[u8]) -> Option<(ClusterMessage, Seq)> {
    #[derive(Deserialize)]
    struct Ack {
        ack: u64,
        accepted: bool,
        seq: u64,
    }
    let rest = frame.strip_prefix(br#"{"cmd":""#)?.strip_prefix(CLUSTER.as_bytes())?;
    rest.starts_with(br#"","ack":"#).then_some(())?;
    let Ack { ack, accepted, seq } = serde_json::from_slice(frame).ok()?;
    Some((ClusterMessage::Ack { ack: Seq(ack), accepted }, Seq(seq)))
}

fn interpret(mut message: Map<String, Value>) -> Result<(ClusterMessage, Seq), String> {
    let seq = Seq(message.get("seq").and_then(Value::as_u64).unwrap_or(0));
    if let Some(ack) = message.get("ack").and_then(Value::as_u64) {
        let accepted = message.get("accepted").is_some_and(is_truthy);
        return Ok((ClusterMessage::Ack { ack: Seq(ack), accepted }, seq));
    }
    let act = message.get("act").and_then(Value::as_str).unwrap_or_default();
    let message = match act {
        "online" => ClusterMessage::Online,
        "queryServer" => ClusterMessage::QueryServer(Box::new(query_server(&mut message))),
        "listening" => {
            let own = own_server(&message)?;
            message.retain(|name, _| matches!(name.as_str(), "addressType" | "address" | "port" | "fd"));
            let port = message.get("port").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
            ClusterMessage::Listening(ListeningInfo {
                port,
                address_json: short(Value::Object(message).to_string())?,
                own,
            })
        }
        "close" => ClusterMessage::Close { key: template(message.get("key")) },
        "exitedAfterDisconnect" => ClusterMessage::ExitedAfterDisconnect,
        _ => ClusterMessage::Unknown,
    };
    Ok((message, seq))
}

fn own_server(message: &Map<String, Value>) -> Result<Option<OwnServer>, String> {
    let text = |name: &str| message.get(name).and_then(Value::as_str);
    let Some(key) = text("key") else { return Ok(None) };
    let port = message.get("port").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
    Ok(Some(OwnServer {
        key: short(key.to_owned())?,
        address: short(text("address").unwrap_or_default().to_owned())?,
        port: port.ok_or("a server without a port")?,
    }))
}

/// Checks the length of a description, which is kept until JavaScript takes it.
fn short(text: String) -> Result<String, String> {
    if text.len() <= MAX_LISTENING { Ok(text) } else { Err(format!("an address of {} bytes", text.len())) }
}

fn query_server(message: &mut Map<String, Value>) -> QueryServer {
    let integer =
        |name: &str| message.get(name).and_then(Value::as_i64).and_then(|value| i32::try_from(value).ok());
    let flag = |name: &str| message.get(name).is_some_and(is_truthy);
    let mut key = ["address", "port", "addressType", "fd"].map(|name| template(message.get(name))).join(":");
    let port = integer("port").unwrap_or(0);
    // Newer Node versions (22.23, 26.10) distinguish the servers of one worker only where the kernel picks
    // the port.
    if message.get("port").and_then(Value::as_i64) == Some(0) {
        key = format!("{key}:{}", template(message.get("index")));
    }
    let kind = match message.get("addressType") {
        Some(Value::String(name)) if name == "udp4" => AddressKind::Udp4,
        Some(Value::String(name)) if name == "udp6" => AddressKind::Udp6,
        Some(number) if number.as_i64() == Some(6) => AddressKind::Tcp6,
        Some(number) if number.as_i64() == Some(-1) => AddressKind::Path,
        _ => AddressKind::Tcp4,
    };
    QueryServer {
        key,
        address: message.get("address").and_then(Value::as_str).map(str::to_owned),
        port,
        kind,
        fd: integer("fd").unwrap_or(-1),
        flags: integer("flags").unwrap_or(0) as u32,
        backlog: integer("backlog"),
        readable_all: flag("readableAll"),
        writable_all: flag("writableAll"),
        data: message.remove("data").filter(is_truthy),
    }
}

/// A value as a JavaScript template string shows it.
fn template(value: Option<&Value>) -> String {
    match value {
        None => "undefined".into(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(value) => value.as_f64().is_some_and(|value| value != 0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}

impl ToWorker<'_> {
    fn to_value(&self, seq: Seq) -> Value {
        match self {
            ToWorker::ServerReply { ack, key, errno, data, sockname } => {
                let mut message = json!({
                    "cmd": CLUSTER, "errno": errno, "key": key, "ack": ack.0, "data": data,
                });
                if let Some(LocalAddress { address, family, port }) = sockname {
                    message["sockname"] = json!({"address": address, "family": family, "port": port});
                }
                message["seq"] = seq.0.into();
                message
            }
            ToWorker::Ack(ack) => json!({"cmd": CLUSTER, "ack": ack.0, "seq": seq.0}),
            ToWorker::Disconnect => json!({"cmd": CLUSTER, "act": "disconnect", "seq": seq.0}),
        }
    }

    /// The whole frame. With `handle` it is wrapped so that the receiver expects a descriptor.
    ///
    /// Errors: a description, for data that V8's format cannot hold.
    pub fn frame(
        &self,
        serialization: Serialization,
        seq: Seq,
        handle: Option<HandleKind>,
    ) -> Result<Vec<u8>, String> {
        let message = self.to_value(seq);
        match handle {
            Some(kind) => encode(serialization, &wrap(kind, message)),
            None => encode(serialization, &message),
        }
    }
}

fn wrap(kind: HandleKind, message: Value) -> Value {
    json!({"cmd": HANDLE, "type": kind.name(), "msg": message})
}

/// The frame that brings a worker a connection.
///
/// Errors: as [`ToWorker::frame`].
pub fn newconn_frame(serialization: Serialization, key: &str, seq: Seq) -> Result<Vec<u8>, String> {
    let message = json!({"cmd": CLUSTER, "act": "newconn", "key": key, "seq": seq.0});
    encode(serialization, &wrap(HandleKind::Stream, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v8value;

    fn message(text: &str) -> ClusterMessage {
        parse(Serialization::Json, text.as_bytes()).unwrap().0
    }

    fn query(text: &str) -> QueryServer {
        match message(text) {
            ClusterMessage::QueryServer(query) => *query,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_acknowledgement_is_read_with_and_without_its_usual_form() {
        let usual = parse(Serialization::Json, br#"{"cmd":"NODE_CLUSTER","ack":7,"accepted":true,"seq":9}"#);
        assert_eq!(usual, Ok((ClusterMessage::Ack { ack: Seq(7), accepted: true }, Seq(9))));
        let unusual = parse(Serialization::Json, br#"{"cmd":"NODE_CLUSTER","seq":9,"accepted":0,"ack":7}"#);
        assert_eq!(unusual, Ok((ClusterMessage::Ack { ack: Seq(7), accepted: false }, Seq(9))));
    }

    #[test]
    fn the_index_is_part_of_the_key_only_where_the_kernel_picks_the_port() {
        let fixed = query(
            r#"{"cmd":"NODE_CLUSTER","act":"queryServer","index":0,"data":null,"address":"127.0.0.1","port":80,"addressType":4,"seq":1}"#,
        );
        assert_eq!(fixed.key, "127.0.0.1:80:4:undefined");
        assert_eq!((fixed.fd, fixed.data), (-1, None));
        let any = query(
            r#"{"cmd":"NODE_CLUSTER","act":"queryServer","index":2,"address":null,"port":0,"addressType":4}"#,
        );
        assert_eq!(any.key, "null:0:4:undefined:2");
        let path = query(
            r#"{"cmd":"NODE_CLUSTER","act":"queryServer","index":1,"address":"/tmp/s","port":-1,"addressType":-1}"#,
        );
        assert_eq!(
            (path.key.as_str(), path.kind, path.port),
            ("/tmp/s:-1:-1:undefined", AddressKind::Path, -1)
        );
    }

    #[test]
    fn unknown_acts_and_odd_types_are_ignored_like_node_does() {
        assert_eq!(message(r#"{"cmd":"NODE_CLUSTER","act":"dance"}"#), ClusterMessage::Unknown);
        assert_eq!(message(r#"{"cmd":"NODE_CLUSTER","act":5}"#), ClusterMessage::Unknown);
        assert!(parse(Serialization::Json, br#"{"cmd":"NODE_CLUSTER","act":"#).is_err());
    }

    #[test]
    fn what_is_longer_than_any_address_is_not_kept() {
        let long = "x".repeat(MAX_LISTENING);
        for message in [
            json!({"cmd": "NODE_CLUSTER", "act": "listening", "address": long}),
            json!({"cmd": "NODE_CLUSTER", "act": "listening", "port": 1, "addressType": {"x": [long]}}),
        ] {
            let fault = parse(Serialization::Json, message.to_string().as_bytes()).unwrap_err();
            assert!(fault.starts_with("an address of"), "{fault}");
        }
    }

    #[test]
    fn a_listening_message_keeps_just_what_the_event_tells() {
        let message = message(
            r#"{"cmd":"NODE_CLUSTER","act":"listening","index":0,"data":null,"address":null,"port":80,"addressType":4,"flags":0,"seq":3}"#,
        );
        let ClusterMessage::Listening(info) = message else { panic!("{message:?}") };
        assert_eq!(info.own, None);
        assert_eq!(info.address_json, r#"{"address":null,"port":80,"addressType":4}"#);
    }

    #[test]
    fn frames_are_the_same_message_in_both_serializations() {
        let address = LocalAddress { address: "::".into(), family: "IPv6", port: 80 };
        let reply = ToWorker::ServerReply {
            ack: Seq(1),
            key: "a\"b",
            errno: None,
            data: Some(&json!({"ticketKeys": "00"})),
            sockname: Some(&address),
        };
        let text = reply.frame(Serialization::Json, Seq(5), Some(HandleKind::Stream)).unwrap();
        let (body, newline) = text.split_at(text.len() - 1);
        assert_eq!(newline, b"\n");
        let binary = reply.frame(Serialization::Advanced, Seq(5), Some(HandleKind::Stream)).unwrap();
        let from_text: Value = serde_json::from_slice(body).unwrap();
        assert_eq!(v8value::from_v8(&binary[4..]).unwrap(), from_text);
        assert_eq!(from_text["msg"]["key"], "a\"b");
        assert_eq!(from_text["type"], "net.Native");
    }
}
