//! The numbers by which JavaScript tells events apart.

use napi_derive::napi;

/// What an event is; the three values behind it are, by kind, those in the comment.
#[napi]
pub enum EventKind {
    /// worker or channel, message (string or Buffer)
    Message,
    /// worker or channel, messages, each with its newline or its length (string or Buffer)
    Messages,
    /// worker or channel, message (string or Buffer), what it brought along: an array of strings, or of where in the Buffer
    /// the message and each piece begin and end
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
    /// worker, JSON of key, address, port, family, remoteAddress and remotePort
    Connection,
    /// number of servers
    Servers,
    /// 0, code, message
    AcceptPaused,
    /// 0, code, message
    Fault,
    /// channel, JSON of listener and peer
    Asked,
    /// channel, JSON of listener, peer and maxMessageSize, which is what the peer takes
    Connected,
    /// listener, JSON of peer, code, message, and how many there were
    Refused,
}
