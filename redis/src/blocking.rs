//! Waits for what others push into lists. A connection of its own blocks for each list in a move of the list's last element
//! to its own place, which changes nothing; what is there is then taken by the script, which remembers for whom.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, RedisResult};
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::task::AbortHandle;

use crate::link::{self, Link};
use crate::settings::Settings;

/// How long one wait is, in seconds: shorter than what a connection waits for any answer.
const WAIT_S: u32 = 5;

/// After a failure: the session finds out itself what is wrong.
const PAUSE: Duration = Duration::from_millis(200);

struct Watcher {
    asks: mpsc::Sender<()>,
    task: AbortHandle,
}

/// The waits of one session.
pub struct Blocking {
    settings: Arc<Settings>,
    watchers: HashMap<Arc<str>, Watcher>,
    found: UnboundedSender<Arc<str>>,
}

impl Blocking {
    /// `found` gets the name of each list that may have something.
    pub fn new(settings: Arc<Settings>, found: UnboundedSender<Arc<str>>) -> Blocking {
        Blocking { settings, watchers: HashMap::new(), found }
    }

    /// Says when something is in a list, once.
    pub fn watch(&mut self, list: &Arc<str>) {
        let watcher = self.watchers.entry(Arc::clone(list)).or_insert_with(|| {
            let (asks, asked) = mpsc::channel(1);
            let watch = watch(Arc::clone(&self.settings), Arc::clone(list), asked, self.found.clone());
            Watcher { asks, task: tokio::spawn(watch).abort_handle() }
        });
        // It waits already, if there is no room.
        let _ = watcher.asks.try_send(());
    }
}

impl Drop for Blocking {
    fn drop(&mut self) {
        for watcher in self.watchers.values() {
            watcher.task.abort();
        }
    }
}

async fn watch(
    settings: Arc<Settings>,
    list: Arc<str>,
    mut asked: mpsc::Receiver<()>,
    found: UnboundedSender<Arc<str>>,
) {
    let mut link = None;
    while asked.recv().await.is_some() {
        if wait(&settings, &list, &mut link).await.is_err() {
            link = None;
            tokio::time::sleep(PAUSE).await;
        }
        if found.send(Arc::clone(&list)).is_err() {
            return;
        }
    }
}

async fn wait(settings: &Settings, list: &str, link: &mut Option<Link>) -> RedisResult<()> {
    let connection = match link {
        Some(connection) => connection,
        None => link.insert(link::blocking(settings).await?),
    };
    let mut command = Cmd::new();
    command.arg("BLMOVE").arg(list).arg(list).arg("RIGHT").arg("RIGHT").arg(WAIT_S);
    connection.ask(&command).await.map(|_| ())
}
