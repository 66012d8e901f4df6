//! What JavaScript is told: one JSON a line, on a socket that its event loop reads.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::sleep;

/// How many reports wait for JavaScript that is blocked. Those beyond are lost.
const MAX_WAITING: usize = 256;

/// When JavaScript is told again what it has had no room for.
const TELL_AGAIN: Duration = Duration::from_secs(1);

pub struct Reports(mpsc::Sender<String>);

impl Reports {
    /// Errors: those of watching a descriptor.
    pub fn start(socket: OwnedFd) -> io::Result<Self> {
        let socket = StdStream::from(socket);
        socket.set_nonblocking(true)?;
        let mut socket = UnixStream::from_std(socket)?;
        let (to, mut reports) = mpsc::channel::<String>(MAX_WAITING);
        spawn_local(async move {
            while let Some(report) = reports.recv().await {
                if socket.write_all(report.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
        Ok(Reports(to))
    }

    /// Says it when there is room: somebody waits for this one.
    pub async fn insist(&self, report: &Value) {
        while !self.tell(report) {
            sleep(TELL_AGAIN).await;
        }
    }

    /// Returns whether there was room for it: whoever does not listen has gone, or is far behind.
    pub fn tell(&self, report: &Value) -> bool {
        self.0.try_send(format!("{report}\n")).is_ok()
    }
}
