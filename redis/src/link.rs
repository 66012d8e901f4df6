//! Connections to the server: one for requests, one for what is published. They are apart, as a connection that publishes
//! to a channel it has subscribed to gets its answers in an order of the server's choosing.

use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection, PubSub};
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::io::tcp::TcpSettings;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind,
    IntoConnectionInfo, RedisError, RedisResult, TlsCertificates, TlsMode, Value,
};

use crate::settings::Settings;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A server that does not answer for so long is taken for lost: what was asked is asked again under its old number.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(20);

/// The oldest version that has all commands.
const OLDEST: (u32, u32) = (6, 2);

/// A connection that answers requests in their order. Clones share it.
#[derive(Clone)]
pub enum Link {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Link {
    pub async fn ask(&mut self, command: &Cmd) -> RedisResult<Value> {
        let answer = match self {
            Link::Single(connection) => connection.req_packed_command(command).await?,
            Link::Cluster(connection) => connection.req_packed_command(command).await?,
        };
        match answer {
            Value::ServerError(error) => Err(error.into()),
            answer => Ok(answer),
        }
    }

    /// Whether what has not been answered may have been sent again by itself.
    pub fn repeats(&self) -> bool {
        matches!(self, Link::Cluster(_))
    }
}

fn certificates(settings: &Settings) -> TlsCertificates {
    let identity = settings.identity.clone();
    TlsCertificates {
        client_tls: identity.map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key }),
        root_cert: settings.ca.clone(),
    }
}

fn first(settings: &Settings) -> RedisResult<ConnectionInfo> {
    let url = settings.urls.first().map_or("", String::as_str);
    url.into_connection_info()
}

/// What is written goes out at once. Otherwise the end of a batch that is larger than a segment waits until the server has said that
/// it has what is before it, and commands right behind another one until that one is there.
fn tcp() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}

fn client_of(info: ConnectionInfo, settings: &Settings) -> RedisResult<Client> {
    let info = info.set_tcp_settings(tcp());
    if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
        Client::build_with_tls(info, certificates(settings))
    } else {
        Client::open(info)
    }
}

/// The server that is the master now.
async fn client(settings: &Settings) -> RedisResult<Client> {
    let info = first(settings)?;
    let Some(name) = &settings.sentinel else { return client_of(info, settings) };
    let mut addresses = Vec::new();
    for url in &settings.urls {
        addresses.push(url.as_str().into_connection_info()?.addr().clone());
    }
    let redis = info.redis_settings();
    let mut builder = SentinelClientBuilder::new(addresses, name, SentinelServerType::Master)?
        .set_client_to_redis_db(redis.db());
    if let Some(username) = redis.username() {
        builder = builder.set_client_to_redis_username(username);
    }
    if let Some(password) = redis.password() {
        builder = builder.set_client_to_redis_password(password);
    }
    if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
        builder = builder
            .set_client_to_redis_tls_mode(TlsMode::Secure)
            .set_client_to_redis_certificates(certificates(settings))
            .set_client_to_sentinel_tls_mode(TlsMode::Secure)
            .set_client_to_sentinel_certificates(certificates(settings));
    }
    let master = builder.build()?.async_get_client().await?;
    Client::open(master.get_connection_info().clone().set_tcp_settings(tcp()))
}

fn cluster(settings: &Settings) -> RedisResult<ClusterClient> {
    let info = first(settings)?;
    let mut builder = ClusterClientBuilder::new(settings.urls.iter().map(String::as_str))
        .connection_timeout(CONNECT_TIMEOUT)
        .response_timeout(RESPONSE_TIMEOUT)
        .tcp_settings(tcp());
    if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
        builder = builder.certs(certificates(settings));
    }
    builder.build()
}

/// A connection for requests.
///
/// # Errors
///
/// The server cannot be reached, does not let this user in, or is too old.
pub async fn connect(settings: &Settings) -> RedisResult<Link> {
    let mut link = if settings.is_cluster {
        Link::Cluster(cluster(settings)?.get_async_connection().await?)
    } else {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT));
        let client = client(settings).await?;
        Link::Single(client.get_multiplexed_async_connection_with_config(&config).await?)
    };
    check_version(&mut link).await?;
    Ok(link)
}

/// A connection for what is published.
///
/// # Errors
///
/// As those of [`connect`].
pub async fn subscriber(settings: &Settings) -> RedisResult<PubSub> {
    if !settings.is_cluster {
        return client(settings).await?.get_async_pubsub().await;
    }
    // Every node of a cluster hears what is published on any.
    let mut failure = RedisError::from((ErrorKind::InvalidClientConfig, "no node is given"));
    for url in &settings.urls {
        match client_of(url.as_str().into_connection_info()?, settings)?.get_async_pubsub().await {
            Ok(subscriber) => return Ok(subscriber),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// A connection on which a command may block for as long as it says itself.
///
/// # Errors
///
/// As those of [`connect`].
pub async fn blocking(settings: &Settings) -> RedisResult<Link> {
    if settings.is_cluster {
        return Ok(Link::Cluster(cluster(settings)?.get_async_connection().await?));
    }
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(RESPONSE_TIMEOUT));
    Ok(Link::Single(client(settings).await?.get_multiplexed_async_connection_with_config(&config).await?))
}

async fn check_version(link: &mut Link) -> RedisResult<()> {
    let mut info = Cmd::new();
    info.arg("INFO").arg("server");
    // A user that may not ask is let in: what is missing shows later.
    let Ok(Value::BulkString(text)) = link.ask(&info).await else { return Ok(()) };
    let text = String::from_utf8_lossy(&text);
    match version_in(&text) {
        Some(version) if version < OLDEST => Err(RedisError::from((
            ErrorKind::InvalidClientConfig,
            "the server is too old",
            format!("it is version {}.{}, and Redis 6.2 is the oldest that will do", version.0, version.1),
        ))),
        _ => Ok(()),
    }
}

/// The version that the server says it is compatible with.
fn version_in(info: &str) -> Option<(u32, u32)> {
    let line = info.lines().find_map(|line| line.strip_prefix("redis_version:"))?;
    let mut parts = line.trim().split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_found() {
        assert_eq!(version_in("# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone"), Some((7, 0)));
        assert_eq!(version_in("redis_version:255.255.255"), Some((255, 255)));
        assert_eq!(version_in("nothing of the kind"), None);
    }
}
