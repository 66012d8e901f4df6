//! Metrics of servers.

use super::counted;
use crate::core::{Descriptions, Server};
use crate::exposition::{Exposition, Kind};
use crate::view::View;

pub fn add(to: &mut Exposition, view: &View, descriptions: &Descriptions) {
    let servers = &view.snapshot.servers;
    let names = names(servers);
    let all = || servers.iter().zip(names.iter().map(String::as_str));
    let mut info = to.family(Kind::Info, "corral_server", "What a server is.");
    for (server, name) in all() {
        let port = server.port.map(|port| port.to_string()).unwrap_or_default();
        let labels =
            [("server", name), ("address", &server.address), ("port", &port), ("policy", &server.policy)];
        info.sample(&labels, 1_u64);
    }
    counted(to, "corral_server", &descriptions.server, "server", all(), |server| &server.counters);
    let mut paused = to.family(
        Kind::Gauge,
        "corral_server_paused",
        "1 while accepting pauses: at the bound, or without file descriptors.",
    );
    all().for_each(|(server, name)| paused.sample(&[("server", name)], server.paused));
    let mut members = to.family(Kind::Gauge, "corral_server_workers", "Workers that take part in a server.");
    all().for_each(|(server, name)| members.sample(&[("server", name)], server.load.len()));
    let help = "Connections that a worker has open of a server, where it counts them.";
    let mut open = to.family(Kind::Gauge, "corral_server_open_connections", help);
    for (server, name) in all() {
        for load in &server.load {
            if let Some(count) = load.open {
                open.sample(&[("server", name), ("worker", &load.worker.to_string())], count);
            }
        }
    }
    let help =
        "How often a worker was chosen for a connection of a server, or was the first that had time for one.";
    let mut decisions = to.family(Kind::Counter, "corral_server_decisions", help);
    for (server, name) in all() {
        for load in &server.load {
            decisions.sample(&[("server", name), ("worker", &load.worker.to_string())], load.decisions);
        }
    }
    let help =
        "Time from accepting a connection until it is sent to a worker, or to the first that has time.";
    let mut handed_over = to.family(Kind::Histogram, "corral_server_hand_over_seconds", help);
    for (server, name) in all() {
        handed_over.histogram(&[("server", name)], &descriptions.bounds, &server.handed_over_after);
    }
}

/// What servers are called: by their addresses, and by their keys where two have the same.
pub fn names(servers: &[Server]) -> Vec<String> {
    let address = |server: &Server| match server.port {
        Some(port) if server.address.contains(':') => format!("[{}]:{port}", server.address),
        Some(port) => format!("{}:{port}", server.address),
        None => server.address.clone(),
    };
    let addresses: Vec<_> = servers.iter().map(address).collect();
    let is_first = |place: usize| !addresses[..place].contains(&addresses[place]);
    let name = |(place, server): (usize, &Server)| {
        if is_first(place) { addresses[place].clone() } else { server.key.clone() }
    };
    servers.iter().enumerate().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::example::server;

    #[test]
    fn servers_are_called_by_their_addresses() {
        let at = |address: &str, port| Server { address: address.into(), port, ..server() };
        let servers =
            [at("::1", Some(80)), at("0.0.0.0", Some(0)), at("/tmp/socket", None), at("::1", Some(80))];
        assert_eq!(names(&servers), ["[::1]:80", "0.0.0.0:0", "/tmp/socket", "127.0.0.1:80:4::0"]);
    }
}
