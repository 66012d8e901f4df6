//! One bus: its requests go to the server in batches, one batch at a time, and what comes goes back.
//!
//! A batch is one call of the script. While one is under way the next gathers, so that the more there is to do, the fewer
//! round trips each request costs. If the connection is lost before a batch is answered, the same batch is asked for again under
//! its number: the server remembers the last one of each session, and carries out none twice.

mod answers;
mod requests;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use corral_bus::protocol::{Name, Reply, Space};
use futures_util::StreamExt;
use futures_util::future::{BoxFuture, FutureExt};
use redis::aio::{PubSubSink, PubSubStream};
use redis::{ErrorKind, Msg, RedisError, RedisResult, Value};
use tokio::net::UnixStream;
use tokio::sync::mpsc::{self, UnboundedReceiver};

use crate::batch::{Batch, Held, Item, Pending};
use crate::blocking::Blocking;
use crate::envelopes;
use crate::fault::{self, Verdict};
use crate::link::{self, Link};
use crate::news::{self, News};
use crate::script::Work;
use crate::settings::Settings;
use crate::tending::Tending;
use crate::topics::Subscriptions;
use crate::waiting::{Look, Waiting};
use crate::wire::Wire;

/// Between attempts to connect: the first pause, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How long subscribing may take before the connection counts as lost.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a bus that is over waits for its last batch.
const BYE_TIMEOUT: Duration = Duration::from_secs(5);

/// How many messages are taken off the connection before anything else happens.
const MOST_MESSAGES: usize = 256;

/// What is connected.
struct Up {
    link: Link,
    sink: PubSubSink,
    messages: PubSubStream,
}

type Connecting = BoxFuture<'static, RedisResult<(Link, PubSubSink, PubSubStream)>>;
type Asking = BoxFuture<'static, RedisResult<Value>>;

/// Why a session ends.
enum End {
    /// The bus has gone, or was told why the session does.
    Over,
    Broken,
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> End {
        End::Broken
    }
}

/// What happens next.
enum Event {
    Socket(io::Result<()>),
    Answer(RedisResult<Value>),
    Connected(RedisResult<(Link, PubSubSink, PubSubStream)>),
    Message(Option<Msg>),
    Found(Option<Arc<str>>),
    Time,
}

pub struct Session {
    settings: Arc<Settings>,
    wire: Wire,
    /// The name of the session, from the greeting on, and the channel on which it is told that there is something.
    name: String,
    channel: String,
    is_welcome: bool,
    up: Option<Up>,
    connecting: Option<Connecting>,
    pause: Duration,
    /// When to connect again.
    retry: Option<Instant>,
    pending: Pending,
    flight: Option<Batch>,
    asking: Option<Asking>,
    /// The server has to be told the script.
    in_full: bool,
    waiting: Waiting,
    blocking: Blocking,
    found: UnboundedReceiver<Arc<str>>,
    subscriptions: Subscriptions,
    /// Messages that the bus holds.
    held: HashMap<u64, Held>,
    /// Who waits until a queue is empty.
    drains: HashMap<Arc<str>, Vec<u64>>,
    tending: Tending,
    /// The number of the last value that was taken off a list.
    last_value: u64,
    /// The bus says that it is over.
    bye: Option<u64>,
}

/// Numbers of values of lists begin here: no message of a queue has one.
const FIRST_VALUE: u64 = 1 << 52;

/// Serves a bus until it is over.
pub async fn serve(stream: UnixStream, settings: Arc<Settings>) {
    let (found, receiver) = mpsc::unbounded_channel();
    let mut session = Session {
        wire: Wire::new(stream),
        name: String::new(),
        channel: String::new(),
        is_welcome: false,
        up: None,
        connecting: None,
        pause: FIRST_PAUSE,
        retry: None,
        pending: Pending::new(now()),
        flight: None,
        asking: None,
        in_full: false,
        waiting: Waiting::new(now()),
        blocking: Blocking::new(Arc::clone(&settings), found),
        found: receiver,
        subscriptions: Subscriptions::default(),
        held: HashMap::new(),
        drains: HashMap::new(),
        tending: Tending::new(Instant::now()),
        last_value: FIRST_VALUE,
        bye: None,
        settings,
    };
    while session.turn().await.is_ok() {}
    session.leave().await;
}

impl Session {
    async fn turn(&mut self) -> Result<(), End> {
        self.depart();
        self.wire.write()?;
        self.catch_up().await?;
        let event = self.next_event().await;
        match event {
            Event::Socket(result) => {
                result?;
                self.wire.read()?;
                self.requests().await?;
            }
            Event::Answer(result) => self.on_answer(result),
            Event::Connected(result) => self.on_connected(result).await?,
            Event::Message(Some(message)) => self.on_messages(message).await,
            Event::Message(None) => self.lost("the server has ended the connection"),
            Event::Found(list) => {
                if let Some(name) = list {
                    self.waiting.look(&Name { space: Space::List, name });
                }
            }
            Event::Time => self.on_time(),
        }
        if self.bye.is_some() && self.is_welcome && self.flight.is_none() && self.pending.is_empty() {
            self.wire.send(self.bye.unwrap_or(0), &Reply::Done);
            return Err(End::Over);
        }
        Ok(())
    }

    async fn next_event(&mut self) -> Event {
        let time = self.next_time();
        let reads = self.bye.is_none() && !self.pending.is_full();
        let (asking, connecting, up, found) =
            (self.asking.as_mut(), self.connecting.as_mut(), self.up.as_mut(), &mut self.found);
        tokio::select! {
            biased;
            answer = maybe(asking) => Event::Answer(answer),
            connected = maybe(connecting) => Event::Connected(connected),
            result = self.wire.ready(reads) => Event::Socket(result),
            message = async {
                match up {
                    Some(up) => up.messages.next().await,
                    None => std::future::pending().await,
                }
            } => Event::Message(message),
            list = found.recv() => Event::Found(list),
            () = sleep_until(time) => Event::Time,
        }
    }

    fn next_time(&self) -> Option<Instant> {
        let tend = self.up.as_ref().map(|_| self.tending.at());
        [self.waiting.next(), self.retry, tend].into_iter().flatten().min()
    }

    fn on_time(&mut self) {
        let now = Instant::now();
        for sequence in self.waiting.due(now) {
            self.wire.send(sequence, &Reply::Messages(Vec::new()));
        }
        if self.retry.is_some_and(|time| time <= now) {
            self.retry = None;
            self.connecting = Some(connect(Arc::clone(&self.settings)).boxed());
        }
        if self.up.is_some() && self.tending.is_due(now) {
            self.pending.push(Item { sequence: 0, work: Work::Tend });
            self.look_all_drained();
        }
    }

    fn look_all_drained(&mut self) {
        let queues: Vec<Arc<str>> = self.drains.keys().cloned().collect();
        for queue in queues {
            self.look_drained(&queue);
        }
    }

    /// Something is due in so many milliseconds, which happens then.
    fn due_in(&mut self, milliseconds: u64) {
        self.tending.due_in(milliseconds, Instant::now());
    }

    /// The next batch is asked for, if the last one was answered.
    fn depart(&mut self) {
        if self.up.is_none() || self.asking.is_some() {
            return;
        }
        let is_again = self.flight.is_some();
        if self.flight.is_none() {
            if self.bye.is_none() && self.waiting.needs_look() {
                for Look { name, wanted, waits, registration } in self.waiting.looks() {
                    let work = self.asked(&name, wanted, waits, registration);
                    self.pending.push(Item { sequence: 0, work });
                }
            }
            if self.bye.is_some() && self.pending.is_last() {
                // Behind all that it may still have got.
                self.pending.give_back(std::mem::take(&mut self.held));
            }
            self.flight = self.pending.batch(&self.settings);
        }
        let (Some(up), Some(flight)) = (&self.up, &self.flight) else { return };
        let again = is_again || up.link.repeats();
        let call = flight.call(&self.settings, &self.name, again, self.in_full);
        self.in_full = false;
        let mut link = up.link.clone();
        let asking = async move {
            let answer = link.ask(&call).await?;
            envelopes::complete(&mut link, answer).await
        };
        self.asking = Some(asking.boxed());
    }

    /// Something has come, and what has come with it, which goes to the bus together.
    async fn on_messages(&mut self, first: Msg) {
        let mut ended = Vec::new();
        self.on_message(&first);
        self.pass_on(&mut ended);
        for _ in 1..MOST_MESSAGES {
            let next = self.up.as_mut().and_then(|up| up.messages.next().now_or_never().flatten());
            let Some(message) = next else { break };
            self.on_message(&message);
            self.pass_on(&mut ended);
        }
        for number in ended {
            self.unsubscribe(number).await;
        }
    }

    fn on_message(&mut self, message: &Msg) {
        if message.get_channel_name() != self.channel || message.from_pattern() {
            return self.subscriptions.on_message(message);
        }
        match news::read(message.get_payload_bytes()) {
            Some(News::Look(queue)) => {
                self.look_drained(&queue);
                self.waiting.look(&Name { space: Space::Queue, name: queue });
            }
            Some(News::Handed { queue, token, messages }) => self.on_handed(queue, token, messages),
            None => {}
        }
    }

    fn look_drained(&mut self, queue: &Arc<str>) {
        for sequence in self.drains.remove(queue).unwrap_or_default() {
            self.pending.push(Item { sequence, work: Work::Drain(Arc::clone(queue)) });
        }
    }

    async fn on_connected(
        &mut self,
        result: RedisResult<(Link, PubSubSink, PubSubStream)>,
    ) -> Result<(), End> {
        self.connecting = None;
        let prepared = match result {
            Ok((link, mut sink, messages)) => {
                let prepare = async {
                    sink.subscribe(&*self.channel).await?;
                    self.subscriptions.again(&mut sink).await
                };
                match tokio::time::timeout(SUBSCRIBE_TIMEOUT, prepare).await {
                    Ok(Ok(())) => Ok(Up { link, sink, messages }),
                    Ok(Err(error)) => Err(error),
                    Err(_) => Err(RedisError::from((ErrorKind::Io, "subscribing takes too long"))),
                }
            }
            Err(error) => Err(error),
        };
        match prepared {
            Ok(up) => {
                self.up = Some(up);
                self.pause = FIRST_PAUSE;
                let reply = if self.is_welcome { Reply::Up } else { Reply::Welcome { engine: "redis" } };
                self.is_welcome = true;
                self.wire.send(0, &reply);
                self.waiting.look_everywhere();
                self.look_all_drained();
                Ok(())
            }
            // Who was let in once may be again, and has something to lose.
            Err(error) if !self.is_welcome && fault::verdict(&error) != Verdict::Away => {
                Err(self.fatal(fault::of(&error)))
            }
            Err(error) => {
                self.wire.send(0, &Reply::Down(fault::unavailable(error.to_string())));
                self.retry_later();
                Ok(())
            }
        }
    }

    fn retry_later(&mut self) {
        self.retry = Some(Instant::now() + self.pause);
        self.pause = (2 * self.pause).min(LONGEST_PAUSE);
    }

    /// The server is away. What is under way is asked for again when it is back.
    fn lost(&mut self, why: &str) {
        if self.up.take().is_none() {
            return;
        }
        self.asking = None;
        self.wire.send(0, &Reply::Down(fault::unavailable(why)));
        self.retry_later();
    }

    /// The bus has gone: what it held goes back, as far as the server can be told.
    async fn leave(mut self) {
        // It may read the last words still.
        let _ = self.wire.write();
        if self.bye.is_some() || !self.is_welcome {
            return;
        }
        self.on_bye(0);
        let last = async {
            while self.up.is_some() && (self.flight.is_some() || !self.pending.is_empty()) {
                self.depart();
                let Some(asking) = &mut self.asking else { return };
                let result = asking.await;
                self.on_answer(result);
            }
        };
        let _ = tokio::time::timeout(BYE_TIMEOUT, last).await;
    }
}

/// Microseconds of the clock: behind all that another session of the same bus has counted.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(0)
}

async fn maybe<T>(future: Option<&mut BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

async fn connect(settings: Arc<Settings>) -> RedisResult<(Link, PubSubSink, PubSubStream)> {
    let link = link::connect(&settings).await?;
    let (sink, messages) = link::subscriber(&settings).await?.split();
    Ok((link, sink, messages))
}
