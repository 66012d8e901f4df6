//! Which policy each server has.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::proto::QueryServer;
use crate::sched::{AcceptMode, PolicyChoice};

/// Where a server listens, as its first worker has asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A port of an address; None for all addresses. The port is 0 if the kernel was to choose one.
    Port(Option<IpAddr>, u16),
    /// A path, or an abstract name.
    Path(PathBuf),
    /// A descriptor of the program's.
    Descriptor,
}

impl Place {
    /// The place that a worker asks for.
    pub fn of(query: &QueryServer) -> Place {
        let address = query.address.as_deref();
        match (u16::try_from(query.port), address) {
            _ if query.fd >= 0 => Place::Descriptor,
            (Err(_), path) => Place::Path(path.unwrap_or_default().into()),
            (Ok(port), address) => {
                // The zone of a link-local address says nothing about the server.
                let without_zone = address.map(|address| address.split('%').next().unwrap_or(address));
                let ip = without_zone.and_then(|address| address.parse().ok());
                Place::Port(ip.filter(|ip: &IpAddr| !ip.is_unspecified()), port)
            }
        }
    }
}

/// Servers that have a policy of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Servers {
    /// Those on a port, whatever their address.
    OnPort(u16),
    /// Those on a port of an address; None for those that listen on all of them.
    At(Option<IpAddr>, u16),
    /// The one at a path.
    AtPath(PathBuf),
}

impl Servers {
    /// Whether the server at that place is one of them.
    fn has(&self, place: &Place) -> bool {
        match (self, place) {
            (Servers::OnPort(port), Place::Port(_, of)) => port == of,
            (Servers::At(address, port), Place::Port(ip, of)) => address == ip && port == of,
            (Servers::AtPath(path), Place::Path(of)) => path == of,
            _ => false,
        }
    }
}

/// The policies of all servers.
#[derive(Clone, Debug, PartialEq)]
pub struct Policies {
    /// The first that has a server decides.
    pub by_server: Vec<(Servers, PolicyChoice)>,
    /// The policy of all other servers.
    pub others: PolicyChoice,
}

impl Policies {
    /// The policy of the server at that place.
    pub fn of(&self, place: &Place) -> &PolicyChoice {
        let own = self.by_server.iter().find(|(servers, _)| servers.has(place));
        own.map_or(&self.others, |(_, choice)| choice)
    }

    fn all(&self) -> impl Iterator<Item = &PolicyChoice> {
        self.by_server.iter().map(|(_, choice)| choice).chain([&self.others])
    }

    /// Whether any of them asks what workers do.
    pub fn need_pulses(&self) -> bool {
        self.all().any(PolicyChoice::needs_pulses)
    }

    /// Whether any of them asks how many connections workers have open.
    pub fn count_open(&self) -> bool {
        self.all().any(PolicyChoice::counts_open)
    }

    /// Whether the primary accepts connections of any server, if only in the place of workers.
    pub fn accept_in_primary(&self) -> bool {
        self.all().any(|choice| choice.accept_mode() != AcceptMode::Workers)
    }
}

/// The same policy for all servers.
impl From<PolicyChoice> for Policies {
    fn from(others: PolicyChoice) -> Self {
        Policies { by_server: Vec::new(), others }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(address: Option<&str>, port: i32) -> QueryServer {
        QueryServer { address: address.map(str::to_owned), port, fd: -1, ..QueryServer::default() }
    }

    fn name(policies: &Policies, address: Option<&str>, port: i32) -> String {
        policies.of(&Place::of(&query(address, port))).name().to_owned()
    }

    #[test]
    fn the_first_entry_that_has_a_server_decides() {
        let policies = Policies {
            by_server: vec![
                (Servers::At("127.0.0.1".parse().ok(), 80), PolicyChoice::None),
                (Servers::At(None, 81), PolicyChoice::None),
                (Servers::OnPort(80), PolicyChoice::OneQueue),
                (Servers::AtPath("/run/a".into()), PolicyChoice::OneQueue),
            ],
            others: PolicyChoice::RoundRobin,
        };
        assert_eq!(name(&policies, Some("127.0.0.1"), 80), "none");
        assert_eq!(name(&policies, Some("127.0.0.2"), 80), "one-queue");
        assert_eq!(name(&policies, None, 80), "one-queue");
        for everywhere in [None, Some("0.0.0.0"), Some("::")] {
            assert_eq!(name(&policies, everywhere, 81), "none");
        }
        assert_eq!(name(&policies, Some("::1"), 81), "round-robin");
        assert_eq!(name(&policies, Some("/run/a"), -1), "one-queue");
        assert_eq!(name(&policies, Some("/run/b"), -1), "round-robin");
        let descriptor = QueryServer { fd: 3, ..query(None, 80) };
        assert_eq!(policies.of(&Place::of(&descriptor)).name(), "round-robin");
    }

    #[test]
    fn a_zone_does_not_matter() {
        let at = |address| Place::of(&query(Some(address), 80));
        assert_eq!(at("fe80::1%eth0"), at("fe80::1"));
        assert_ne!(at("fe80::1%eth0"), at("::"));
    }
}
