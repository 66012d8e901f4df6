//! Who may ask. Nothing here reads or writes.

use std::net::IpAddr;

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HOST};
use ipnet::IpNet;
use subtle::ConstantTimeEq;

/// Who has connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// Over TCP, from this address.
    Ip(IpAddr),
    /// Over a Unix socket, whose file says who may.
    Unix,
}

/// Who may ask.
#[derive(Debug, Default)]
pub struct Guard {
    /// What a request has to name.
    token: Option<String>,
    /// From where clients may connect. None: from everywhere that reaches the socket.
    allow: Option<Vec<IpNet>>,
}

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It does not name the token.
    Unauthorized,
    /// It is for another host than this one: a page in somebody's browser may have sent it here.
    Misdirected,
    /// A page of another site has it sent by a browser.
    CrossSite,
}

/// What browsers say of who has a request sent.
const SEC_FETCH_SITE: &str = "sec-fetch-site";

impl Guard {
    /// Errors: the entry of `allow` that is no address and no network.
    pub fn new(token: Option<String>, allow: Option<Vec<String>>) -> Result<Self, String> {
        let network = |text: String| {
            let address = text.parse().map(|address: IpAddr| IpNet::from(address.to_canonical()));
            address.or_else(|_| text.parse()).map_err(|_| text)
        };
        let allow = allow.map(|all| all.into_iter().map(network).collect::<Result<_, _>>()).transpose()?;
        Ok(Guard { token, allow })
    }

    /// Whether everybody who reaches the socket may ask.
    pub fn is_open(&self) -> bool {
        self.token.is_none() && self.allow.is_none()
    }

    /// Whether a client may connect at all. Nothing of others is read.
    pub fn admits(&self, client: Client) -> bool {
        match (client, &self.allow) {
            (Client::Ip(address), Some(allow)) => {
                let address = address.to_canonical();
                allow.iter().any(|network| network.contains(&address))
            }
            _ => true,
        }
    }

    /// Whether a request may be answered.
    pub fn check(&self, client: Client, headers: &HeaderMap) -> Result<(), Refusal> {
        if let Some(token) = &self.token {
            let named = headers.get(AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
            let is_named = named.is_some_and(|named| named.ct_eq(token.as_bytes()).into());
            return if is_named { Ok(()) } else { Err(Refusal::Unauthorized) };
        }
        // A page of any site can have a browser on this machine connect here, under a name of the site's own.
        let is_local = matches!(client, Client::Ip(address) if address.to_canonical().is_loopback());
        let host = headers.get(HOST).map(|value| value.as_bytes());
        if is_local && host.is_some_and(|host| !names_this_machine(host)) {
            return Err(Refusal::Misdirected);
        }
        // It could not read the answer, but have profiles taken, and follow events until nobody else can.
        if headers.get(SEC_FETCH_SITE).is_some_and(|site| site == "cross-site") {
            return Err(Refusal::CrossSite);
        }
        Ok(())
    }
}

/// The token of `Bearer TOKEN`. The scheme is of either case.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// Whether a `Host` is an address, or a name that no site can have.
fn names_this_machine(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else { return false };
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let name = name.to_ascii_lowercase();
    name.parse::<IpAddr>().is_ok() || name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    fn guard(token: Option<&str>, allow: Option<&[&str]>) -> Guard {
        let allow = allow.map(|all| all.iter().map(ToString::to_string).collect());
        Guard::new(token.map(ToOwned::to_owned), allow).unwrap()
    }

    fn client(address: &str) -> Client {
        Client::Ip(address.parse().unwrap())
    }

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn clients_come_from_the_networks_that_are_allowed() {
        let guard = guard(None, Some(&["10.1.0.0/16", "::1", "192.0.2.7"]));
        for (address, admitted) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("10.2.0.1", false),
            ("::1", true),
            ("127.0.0.1", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
        ] {
            assert_eq!(guard.admits(client(address)), admitted, "{address}");
        }
        assert!(guard.admits(Client::Unix));
        assert_eq!(Guard::new(None, Some(vec!["10.0.0.0/33".into()])).unwrap_err(), "10.0.0.0/33");
        assert!(!guard.is_open() && Guard::default().is_open());
    }

    #[test]
    fn with_a_token_a_request_has_to_name_it() {
        let guard = guard(Some("s3cret"), None);
        let check = |value: &str| guard.check(client("192.0.2.1"), &headers(AUTHORIZATION, value));
        assert_eq!(check("Bearer s3cret"), Ok(()));
        assert_eq!(check("bearer  s3cret "), Ok(()));
        for wrong in ["Bearer s3cre", "Bearer s3cretx", "Basic s3cret", "s3cret", "Bearer", "Bearer "] {
            assert_eq!(check(wrong), Err(Refusal::Unauthorized), "{wrong}");
        }
        assert_eq!(guard.check(Client::Unix, &HeaderMap::new()), Err(Refusal::Unauthorized));
    }

    #[test]
    fn a_browser_is_not_led_here_by_the_name_of_a_site() {
        let guard = Guard::default();
        let check = |from: Client, host: &str| guard.check(from, &headers(HOST, host)).is_ok();
        let local = client("127.0.0.1");
        for host in ["localhost:9464", "127.0.0.1", "[::1]:9464", "[::1]", "app.localhost", "LOCALHOST"] {
            assert!(check(local, host), "{host}");
        }
        for host in ["evil.example:9464", "localhost.evil.example", "", "127.0.0.1.evil.example"] {
            assert!(!check(local, host), "{host}");
        }
        let sent_by = |site: &str| guard.check(local, &headers(SEC_FETCH_SITE.parse().unwrap(), site));
        assert_eq!(sent_by("cross-site"), Err(Refusal::CrossSite));
        for site in ["same-origin", "same-site", "none"] {
            assert_eq!(sent_by(site), Ok(()), "{site}");
        }
        // Others were allowed by their addresses, and name this machine as they like.
        assert!(check(client("10.0.0.1"), "metrics.internal:9464") && check(Client::Unix, "anything"));
        assert!(guard.check(local, &HeaderMap::new()).is_ok());
    }
}
