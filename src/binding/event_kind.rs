//! The numbers by which JavaScript tells events apart.

use napi_derive::napi;

/// The kind of an event. The comment of each says which values follow it.
#[napi]
pub enum EventKind {
    /// worker or channel, message (string or Buffer)
    Message,
    /// worker or channel, messages, each with its newline or its length (string or Buffer)
    Messages,
    /// worker or channel, message (string or Buffer), its attachments: an array of strings, or of the places
    /// in the Buffer where the message and each attachment begin and end
    Attached,
    /// worker or channel, message (string or Buffer), descriptor
    HandleMessage,
    /// worker, message (string or Buffer)
    Internal,
    /// worker
    Online,
    /// worker, JSON of addressType, address, port and fd
    Listening,
    /// worker
    ExitedAfterDisconnect,
    /// worker or channel
    HandleArrived,
    /// worker or channel
    HandleLost,
    /// worker or channel, completion
    Written,
    /// worker or channel, completion, how many bytes of it were written
    Unwritten,
    /// worker or channel, code or undefined, message
    Closed,
    /// worker, JSON of key, address, port, count, family, remoteAddress and remotePort
    Connection,
    /// policy, JSON of number, workers, key, address, port, remoteAddress and remotePort
    PolicyAsked,
    /// worker
    Blocked,
    /// worker, JSON of key and count
    Recalled,
    /// number of servers
    Servers,
    /// 0, code, message
    AcceptPaused,
    /// 0, code, message
    Fault,
    /// channel, JSON of listener and peer
    Asked,
    /// channel, JSON of listener, peer and maxMessageSize, the largest message that the peer accepts
    Connected,
    /// listener, JSON of peer, code, message, and how many refusals it stands for
    Refused,
}
