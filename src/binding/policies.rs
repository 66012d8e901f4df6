//! Scheduling policies as JavaScript describes them. It has checked all of it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use napi::{Error, Result, Status};
use napi_derive::napi;

use crate::primary::{Policies, Servers};
use crate::proto::KeyBy;
use crate::sched::{AskedProgram, Fallback, PolicyChoice, StickyChoice, Table};

/// A policy: its name in settings, and its options.
#[napi(object, object_to_js = false)]
pub struct NativePolicy {
    pub name: String,
    /// Of `sticky`.
    pub by: Option<NativeKey>,
    /// Of `sticky`: how many bytes are looked at, at most.
    pub max_head_size: Option<u32>,
    /// For how many milliseconds they are waited for, or the program's answer.
    pub deadline: Option<u32>,
    /// Of one that the program has made: the number of its table, or by which it is asked.
    pub table: Option<u32>,
    pub asked: Option<u32>,
    /// The name of the policy that decides where the program does not.
    pub fallback: Option<String>,
}

/// By what a client is known.
#[napi(object, object_to_js = false)]
pub struct NativeKey {
    #[napi(ts_type = "'ip' | 'proxy' | 'forwarded' | 'header' | 'cookie' | 'query'")]
    pub kind: String,
    /// Of a header, a cookie or a parameter of the query.
    pub name: Option<String>,
    /// Of an address that was forwarded, from the right.
    pub place: Option<u32>,
}

impl TryFrom<NativeKey> for KeyBy {
    type Error = Error<String>;

    fn try_from(NativeKey { kind, name, place }: NativeKey) -> Result<Self, String> {
        match (kind.as_str(), name, place) {
            ("ip", ..) => Ok(KeyBy::Address),
            ("proxy", ..) => Ok(KeyBy::Proxy),
            ("header", Some(name), _) => Ok(KeyBy::Header(name.into())),
            ("cookie", Some(name), _) => Ok(KeyBy::Cookie(name.into())),
            ("query", Some(name), _) => Ok(KeyBy::Query(name.into())),
            ("forwarded", _, Some(place @ 1..)) => Ok(KeyBy::Forwarded(place as usize)),
            _ => Err(invalid(format!("no client is known by {kind}"))),
        }
    }
}

/// The tables of policies, by their numbers.
pub type Tables = Vec<Arc<Table>>;

/// The policy of some servers: those at a path, or on a port, whatever their address or of one.
#[napi(object, object_to_js = false)]
pub struct NativeServerPolicy {
    pub path: Option<String>,
    pub port: Option<u16>,
    /// An unspecified one stands for all addresses.
    pub address: Option<String>,
    pub policy: NativePolicy,
}

impl NativePolicy {
    fn choice(self, tables: &Tables) -> Result<PolicyChoice, String> {
        let fallback = match self.fallback.as_deref() {
            Some("round-robin") => Fallback::RoundRobin,
            Some("least") => Fallback::Least,
            Some("one-queue") | None => Fallback::OneQueue,
            Some(other) => return Err(invalid(format!("no policy decides by the name '{other}'"))),
        };
        if let Some(number) = self.table {
            let table = tables.get(number as usize).cloned();
            let table = table.ok_or_else(|| invalid("no such table".into()))?;
            return Ok(PolicyChoice::Table { table, fallback });
        }
        if let (Some(number), Some(deadline)) = (self.asked, self.deadline) {
            let deadline = Duration::from_millis(deadline.into());
            let name = self.name.into();
            return Ok(PolicyChoice::Program(AskedProgram { name, number, deadline, fallback }));
        }
        match self.name.as_str() {
            "none" => Ok(PolicyChoice::None),
            "one-queue" => Ok(PolicyChoice::OneQueue),
            "reuse-port" => Ok(PolicyChoice::ReusePort),
            "least" => Ok(PolicyChoice::Least),
            "round-robin" => Ok(PolicyChoice::RoundRobin),
            "sticky" => {
                let by = self.by.map_or(Ok(KeyBy::Address), TryInto::try_into)?;
                let default = StickyChoice::new(by);
                Ok(PolicyChoice::Sticky(Arc::new(StickyChoice {
                    max_head: self.max_head_size.map_or(default.max_head, |size| size as usize),
                    deadline: self
                        .deadline
                        .map_or(default.deadline, |deadline| Duration::from_millis(deadline.into())),
                    ..default
                })))
            }
            name => Err(invalid(format!("no scheduling policy is called {name}"))),
        }
    }
}

impl NativeServerPolicy {
    fn entry(self, tables: &Tables) -> Result<(Servers, PolicyChoice), String> {
        let NativeServerPolicy { path, port, address, policy } = self;
        let servers = match (path, port, address) {
            (Some(path), None, None) => Servers::AtPath(path.into()),
            (None, Some(port), None) => Servers::OnPort(port),
            (None, Some(port), Some(address)) => {
                let ip: IpAddr = address.parse().map_err(|_| invalid(format!("no address: {address}")))?;
                Servers::At((!ip.is_unspecified()).then_some(ip), port)
            }
            _ => return Err(invalid("a server has a path, or a port".into())),
        };
        Ok((servers, policy.choice(tables)?))
    }
}

/// The policies of all servers; None if nothing is said of any.
///
/// Errors: a name or an address that there is not.
pub fn policies(
    others: Option<NativePolicy>,
    by_server: Vec<NativeServerPolicy>,
    tables: &Tables,
) -> Result<Option<Policies>, String> {
    let Some(others) = others else { return Ok(None) };
    let by_server = by_server.into_iter().map(|entry| entry.entry(tables)).collect::<Result<_, String>>()?;
    Ok(Some(Policies { by_server, others: others.choice(tables)? }))
}

fn invalid(reason: String) -> Error<String> {
    Error::new(Status::InvalidArg.to_string(), reason)
}
