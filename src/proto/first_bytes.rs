//! What a client says of itself in the first bytes that it sends: the header of the PROXY protocol, or the head of an
//! HTTP request. They are only looked at; the worker reads them.

use std::borrow::Cow;
use std::net::IpAddr;

use httparse::{EMPTY_HEADER, Request};

/// Requests with more header fields than this are not understood here.
const MAX_FIELDS: usize = 128;

/// By what a client is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyBy {
    /// The address from which it has connected.
    Address,
    /// The address that the header of the PROXY protocol names, version 1 or 2.
    Proxy,
    /// The address at this place of `X-Forwarded-For`, counted from the right: 1 is the last.
    Forwarded(usize),
    /// A header field of this name.
    Header(Box<str>),
    /// A cookie of this name.
    Cookie(Box<str>),
    /// A parameter of this name in the query of the request's target.
    Query(Box<str>),
}

/// What the first bytes say.
#[derive(Debug, PartialEq, Eq)]
pub enum Said<'a> {
    /// The client's address.
    Address(IpAddr),
    /// A session's id, which is not empty.
    Session(Cow<'a, [u8]>),
    /// It is a request, and names no session.
    NoSession,
    /// There is no address, or it is something else.
    Nothing,
    /// More bytes have to come.
    Incomplete,
}

impl KeyBy {
    /// Whether anything has to be looked at.
    pub fn is_in_bytes(&self) -> bool {
        *self != KeyBy::Address
    }

    /// What names sessions, which workers begin, as [`ToLane::Sessions`](super::ToLane::Sessions) has it.
    pub fn session_name(&self) -> Option<String> {
        match self {
            KeyBy::Header(name) => Some(format!("header {name}")),
            KeyBy::Cookie(name) => Some(format!("cookie {name}")),
            KeyBy::Query(name) => Some(format!("query {name}")),
            KeyBy::Address | KeyBy::Proxy | KeyBy::Forwarded(_) => None,
        }
    }

    /// By what a worker may have to look at each request of a kept connection, as [`ToLane::Clients`](super::ToLane::Clients) has
    /// it: `header NAME`, `cookie NAME`, `query NAME` or `forwarded PLACE`. None where all requests of a connection are one
    /// client's.
    pub fn to_text(&self) -> Option<String> {
        match self {
            KeyBy::Forwarded(place) => Some(format!("forwarded {place}")),
            _ => self.session_name(),
        }
    }

    /// What [`KeyBy::to_text`] has written; None for anything else.
    pub fn of_text(text: &str) -> Option<KeyBy> {
        match text.split_once(' ')? {
            ("header", name) => Some(KeyBy::Header(name.into())),
            ("cookie", name) => Some(KeyBy::Cookie(name.into())),
            ("query", name) => Some(KeyBy::Query(name.into())),
            ("forwarded", place) => place.parse().ok().filter(|place| *place > 0).map(KeyBy::Forwarded),
            _ => None,
        }
    }

    /// Reads what has arrived of a client's first bytes.
    pub fn read<'a>(&self, bytes: &'a [u8]) -> Said<'a> {
        match self {
            KeyBy::Address => Said::Nothing,
            KeyBy::Proxy => proxied(bytes),
            KeyBy::Forwarded(place) => in_head(bytes, |head| forwarded(head, *place)),
            KeyBy::Header(name) => in_head(bytes, |head| said(fields(head, name).next())),
            KeyBy::Cookie(name) => in_head(bytes, |head| {
                let pairs = fields(head, "cookie").flat_map(|field| field.split(|byte| *byte == b';'));
                said(pairs.filter_map(|pair| value_of(pair, name)).next())
            }),
            KeyBy::Query(name) => in_target(bytes, name),
        }
    }
}

fn said(id: Option<&[u8]>) -> Said<'_> {
    match id {
        Some(id) if !id.is_empty() => Said::Session(Cow::Borrowed(id)),
        _ => Said::NoSession,
    }
}

/// The longest header of version 1, in bytes with its end (PROXY protocol, section 2.1).
const MAX_LINE: usize = 107;

/// How version 2 begins (section 2.2).
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Only the source's address is read. The rest of the header is for the worker, and nothing of it is waited for.
fn proxied(bytes: &[u8]) -> Said<'static> {
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(byte, expected)| byte == expected);
    if begins(b"PROXY ") {
        let Some(end) = bytes.iter().take(MAX_LINE).position(|byte| *byte == b'\n') else {
            return if bytes.len() < MAX_LINE { Said::Incomplete } else { Said::Nothing };
        };
        let line = bytes[..end].strip_suffix(b"\r").and_then(|line| std::str::from_utf8(line).ok());
        line.and_then(source_of_line).map_or(Said::Nothing, Said::Address)
    } else if begins(SIGNATURE) {
        source_of_binary(bytes)
    } else {
        Said::Nothing
    }
}

fn source_of_line(line: &str) -> Option<IpAddr> {
    let words: Vec<_> = line.split(' ').collect();
    let [_, family, source, ..] = words[..] else { return None };
    match family {
        "TCP4" => source.parse().ok().map(IpAddr::V4),
        "TCP6" => source.parse().ok().map(IpAddr::V6),
        _ => None,
    }
}

fn source_of_binary(bytes: &[u8]) -> Said<'static> {
    let Some([version_and_command, family, high, low, rest @ ..]) = bytes.get(SIGNATURE.len()..) else {
        return Said::Incomplete;
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    // A connection of the proxy's own (LOCAL) has no client.
    if *version_and_command != 0x21 {
        return Said::Nothing;
    }
    let source = |needed: usize| if length < needed { Err(Said::Nothing) } else { Ok(rest) };
    let address = match family >> 4 {
        1 => source(12).map(|rest| rest.first_chunk::<4>().map(|octets| IpAddr::from(*octets))),
        2 => source(36).map(|rest| rest.first_chunk::<16>().map(|octets| IpAddr::from(*octets))),
        _ => Err(Said::Nothing),
    };
    match address {
        Ok(address) => address.map_or(Said::Incomplete, Said::Address),
        Err(nothing) => nothing,
    }
}

/// Has `read` find something in a whole head.
fn in_head<'a>(bytes: &'a [u8], read: impl for<'b> FnOnce(&'b Request<'b, 'a>) -> Said<'a>) -> Said<'a> {
    let mut fields = [EMPTY_HEADER; MAX_FIELDS];
    let mut head = Request::new(&mut fields);
    match head.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => read(&head),
        Ok(httparse::Status::Partial) => Said::Incomplete,
        Err(_) => Said::Nothing,
    }
}

/// The values of the header fields of that name, in their order.
fn fields<'a>(head: &Request<'_, 'a>, name: &str) -> impl Iterator<Item = &'a [u8]> {
    head.headers.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
}

fn value_of<'a>(pair: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let place = pair.iter().position(|byte| *byte == b'=')?;
    let (before, value) = (pair[..place].trim_ascii(), pair[place + 1..].trim_ascii());
    (before == name.as_bytes()).then_some(value)
}

fn forwarded<'a>(head: &Request<'_, '_>, place: usize) -> Said<'a> {
    let all: Vec<&[u8]> =
        fields(head, "x-forwarded-for").flat_map(|field| field.split(|byte| *byte == b',')).collect();
    let at = all.len().checked_sub(place).and_then(|place| all.get(place));
    let text = at.and_then(|address| std::str::from_utf8(address.trim_ascii()).ok());
    text.and_then(address_of).map_or(Said::Nothing, Said::Address)
}

/// An address, in brackets or not, with a port or without.
fn address_of(text: &str) -> Option<IpAddr> {
    let bare = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || text.parse().ok().map(|address: std::net::SocketAddr| address.ip());
    text.parse().ok().or_else(bare).or_else(with_port)
}

/// The request line is enough for this, whatever of the head is still to come.
fn in_target<'a>(bytes: &'a [u8], name: &str) -> Said<'a> {
    let mut fields = [EMPTY_HEADER; MAX_FIELDS];
    let mut head = Request::new(&mut fields);
    let outcome = head.parse(bytes);
    let (Some(target), Some(_)) = (head.path, head.version) else {
        return if outcome.is_ok() { Said::Incomplete } else { Said::Nothing };
    };
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let query = query.split_once('#').map_or(query, |(query, _)| query);
    let found = form_urlencoded::parse(query.as_bytes()).find(|(known, _)| known == name);
    match found {
        Some((_, Cow::Borrowed(id))) => said(Some(id.as_bytes())),
        Some((_, Cow::Owned(id))) => Said::Session(Cow::Owned(id.into_bytes())),
        None => Said::NoSession,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn by(kind: &str, name: &str) -> KeyBy {
        match kind {
            "header" => KeyBy::Header(name.into()),
            "cookie" => KeyBy::Cookie(name.into()),
            "query" => KeyBy::Query(name.into()),
            _ => KeyBy::Forwarded(name.parse().unwrap()),
        }
    }

    fn session(id: &str) -> Said<'static> {
        Said::Session(Cow::Owned(id.as_bytes().to_vec()))
    }

    fn address(text: &str) -> Said<'static> {
        Said::Address(text.parse().unwrap())
    }

    const HEAD: &str = "GET /socket.io/?EIO=4&transport=polling&sid=abc-_1 HTTP/1.1\r\nHost: a\r\nX-User: u7\r\n\
        Cookie: a=b; io=c=1;  other = x\r\nX-Forwarded-For: 192.0.2.1, 192.0.2.2\r\nx-forwarded-for: 2001:db8::1\r\n\r\n";

    #[test]
    fn each_key_is_found_in_a_whole_head() {
        for (kind, name, expected) in [
            ("header", "x-user", session("u7")),
            ("header", "X-USER", session("u7")),
            ("header", "x-none", Said::NoSession),
            ("cookie", "io", session("c=1")),
            ("cookie", "other", session("x")),
            ("cookie", "b", Said::NoSession),
            ("query", "sid", session("abc-_1")),
            ("query", "EIO", session("4")),
            ("query", "id", Said::NoSession),
            ("forwarded", "1", address("2001:db8::1")),
            ("forwarded", "2", address("192.0.2.2")),
            ("forwarded", "3", address("192.0.2.1")),
            ("forwarded", "4", Said::Nothing),
        ] {
            assert_eq!(by(kind, name).read(HEAD.as_bytes()), expected, "{kind} {name}");
        }
        assert_eq!(KeyBy::Address.read(HEAD.as_bytes()), Said::Nothing);
        // A body may follow at once.
        let more = format!("{HEAD}0123");
        assert_eq!(by("cookie", "io").read(more.as_bytes()), session("c=1"));
    }

    #[test]
    fn what_a_worker_looks_at_is_written_and_read() {
        for key in
            [by("header", "X-User"), by("cookie", "io"), by("query", "a b\u{e9}"), by("forwarded", "3")]
        {
            assert_eq!(KeyBy::of_text(&key.to_text().unwrap()), Some(key));
        }
        // These are in no request, or in the first one only.
        assert_eq!((KeyBy::Address.to_text(), KeyBy::Proxy.to_text()), (None, None));
        for text in ["", "header", "ip ", "forwarded 0", "forwarded x"] {
            assert_eq!(KeyBy::of_text(text), None, "{text}");
        }
    }

    #[test]
    fn a_head_that_is_split_anywhere_is_waited_for() {
        let line = HEAD.find("HTTP/1.1").unwrap() + "HTTP/1.1".len();
        for end in 0..HEAD.len() {
            let part = &HEAD.as_bytes()[..end];
            for (kind, name) in [("header", "x-user"), ("cookie", "io"), ("forwarded", "1")] {
                assert_eq!(by(kind, name).read(part), Said::Incomplete, "{kind} after {end}");
            }
            // The line is enough, whatever follows.
            let expected = if end < line { Said::Incomplete } else { session("abc-_1") };
            assert_eq!(by("query", "sid").read(part), expected, "after {end}");
        }
    }

    #[test]
    fn a_query_is_read_as_a_form_is() {
        let read = |target: &str| {
            let line = format!("GET {target} HTTP/1.1\r\n");
            match by("query", "sid").read(line.as_bytes()) {
                Said::Session(id) => String::from_utf8(id.into_owned()).unwrap(),
                other => format!("{other:?}"),
            }
        };
        assert_eq!(read("/?sid=a%20b+c"), "a b c");
        assert_eq!(read("/?s%69d=x"), "x");
        assert_eq!(read("/?sid=first&sid=second"), "first");
        assert_eq!(read("http://host/?sid=x"), "x");
        assert_eq!(read("/?sid=x#f"), "x");
        for none in ["/", "/?", "/?sid", "/?sid=", "/sid=x", "/?xsid=1", "*"] {
            assert_eq!(read(none), "NoSession", "{none}");
        }
    }

    #[test]
    fn what_is_no_request_is_not_waited_for() {
        let tls = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc];
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(MAX_FIELDS + 1));
        let two = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        for bytes in
            [&tls[..], many.as_bytes(), two, b"GET / HTTP/1.1\r\na b: c\r\n\r\n", b"\x00", b"GET\r\n"]
        {
            for (kind, name) in [("header", "x"), ("cookie", "x"), ("forwarded", "1")] {
                assert_eq!(by(kind, name).read(bytes), Said::Nothing, "{kind}");
            }
        }
        assert_eq!(by("query", "sid").read(&tls), Said::Nothing);
    }

    #[test]
    fn forwarded_addresses_are_read_as_proxies_write_them() {
        for (text, expected) in [
            ("192.0.2.1", Some("192.0.2.1")),
            ("192.0.2.1:443", Some("192.0.2.1")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("[2001:db8::1]:443", Some("2001:db8::1")),
            ("unknown", None),
            ("", None),
        ] {
            assert_eq!(address_of(text), expected.map(|text| text.parse().unwrap()), "{text}");
        }
    }

    fn version_2(command: u8, family: u8, addresses: &[u8], more: &[u8]) -> Vec<u8> {
        let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
        header.extend([0x20 | command, family]);
        header.extend(((addresses.len() + more.len()) as u16).to_be_bytes());
        header.extend(addresses);
        header.extend(more);
        header
    }

    #[test]
    fn the_address_of_both_versions_of_the_proxy_protocol_is_found_and_split_ones_are_waited_for() {
        let mut six = [0; 36];
        six[..16].copy_from_slice(&"2001:db8::9".parse::<std::net::Ipv6Addr>().unwrap().octets());
        let four = [192, 0, 2, 5, 192, 0, 2, 1, 0, 80, 1, 187];
        let whole: [(Vec<u8>, Said<'_>); 7] = [
            (b"PROXY TCP4 192.0.2.5 192.0.2.1 56324 443\r\n".to_vec(), address("192.0.2.5")),
            (b"PROXY TCP6 2001:db8::9 2001:db8::1 56324 443\r\n".to_vec(), address("2001:db8::9")),
            (b"PROXY UNKNOWN\r\n".to_vec(), Said::Nothing),
            (version_2(1, 0x11, &four, &[]), address("192.0.2.5")),
            (version_2(1, 0x21, &six, &[4, 0, 1, 0]), address("2001:db8::9")),
            (version_2(0, 0x11, &four, &[]), Said::Nothing),
            (version_2(0, 0, &[], &[]), Said::Nothing),
        ];
        for (header, expected) in whole {
            // Nothing behind the address is waited for.
            let needed = match (header.get(13), header[0] == b'P') {
                (_, true) => header.len(),
                (Some(0x11), _) if header[12] == 0x21 => 20,
                (Some(0x21), _) => 32,
                _ => 16,
            };
            for end in 0..needed {
                assert_eq!(KeyBy::Proxy.read(&header[..end]), Said::Incomplete, "{header:?} after {end}");
            }
            assert_eq!(KeyBy::Proxy.read(&header[..needed]), expected, "{header:?}");
            assert_eq!(KeyBy::Proxy.read(&header), expected, "{header:?}");
            let with_request = [&header[..], HEAD.as_bytes()].concat();
            assert_eq!(KeyBy::Proxy.read(&with_request), expected);
        }
        let long = format!("PROXY TCP4 192.0.2.5{}", " ".repeat(MAX_LINE));
        for other in [
            HEAD.as_bytes(),
            b"\x16\x03\x01",
            b"PROXY TCP4 1 2 3 4\r\n",
            b"PROXY TCP6 192.0.2.5 192.0.2.1 1 2\r\n",
            b"PROXY TCP4 192.0.2.5 192.0.2.1 1 2\n",
            b"PROXY \r\n",
            b"PROXX",
            b"\r\n\r\n\0\r\nQUIX",
            long.as_bytes(),
            &version_2(1, 0x11, &four[..8], &[]),
            &version_2(1, 0x31, &[0; 216], &[]),
        ] {
            assert_eq!(KeyBy::Proxy.read(other), Said::Nothing, "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_arrives_is_read_without_harm(bytes: Vec<u8>, start in 0usize..200) {
            let mixed = [&HEAD.as_bytes()[..start.min(HEAD.len())], &bytes].concat();
            for key in [
                KeyBy::Proxy, by("forwarded", "1"), by("header", "x-user"), by("cookie", "io"), by("query", "sid"),
            ] {
                let _ = key.read(&bytes);
                let _ = key.read(&mixed);
            }
        }
    }
}
