//! Reads one partition of the log.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::Info;
use async_nats::{Message, Subject as NatsSubject, Subscriber};
use futures_util::{FutureExt, StreamExt};
use tokio::task::JoinHandle;

use super::link::{Link, Options};
use super::log::{Arrival, Batch, LogTime, PartitionLog};
use super::pull::{Delivery, Request};
use super::watch::{self, Shared, created_ns};
use super::{PullerError, runtime, unread};

/// Metadata of the stream, fixed when it is created.
const LOG_TIME_KEY: &str = "vitals.log_time";
const PARTITIONS_KEY: &str = "vitals.partitions";
const LOG_TIME_HEADER: &str = "Vitals-Log-Time";
/// How long a pull request waits at the server before it is renewed.
const EXPIRES: Duration = Duration::from_secs(30);
/// After this long without a pull request the server forgets the consumer, as after a crash of the flow.
const INACTIVE: Duration = Duration::from_secs(120);
/// After a message that the client library breaks off at, so many are read one by one before it is trusted again: who
/// sends many of them shall not cost a connection each.
const CALM: usize = 64;
/// How long the connection may take that they are read on.
const CONNECT: Duration = Duration::from_secs(2);
/// Messages that are read one by one at most, before what came is handed over.
const ONE_BY_ONE: usize = 1024;

/// Where and how a partition is read.
#[derive(Clone, Debug)]
pub struct Start {
    /// Name of the stream.
    pub stream: String,
    /// Number of the partition.
    pub partition: u32,
    /// Partitions that the stream must have.
    pub partitions: u32,
    /// Recovery state; without it reading starts at `start_seq`.
    pub state: Option<Vec<u8>>,
    /// Where reading starts without a recovery state; the stream's first message where that is later.
    pub start_seq: u64,
    /// Last message to read; what comes behind it is not there for this reader.
    pub until_seq: u64,
    /// A patient without a message for this many hours of log time gets no more ticks.
    pub roster_h: u32,
    /// Idle heartbeat of the consumer; two missed ones are an error.
    pub heartbeat: Duration,
    /// Messages buffered at most; the backlog stays in the stream.
    pub buffer_messages: usize,
    /// Bytes buffered at most.
    pub buffer_bytes: usize,
}

/// Reads one partition, in order and without a gap, or fails.
pub struct Puller {
    options: Options,
    start: Start,
    created_ns: i64,
    reading: Reading,
    ask: pull::BatchConfig,
    request: Request,
    heard: Instant,
    consumer_seq: u64,
    last: Option<Delivery>,
    log: PartitionLog,
    idle_seq: Option<u64>,
}

impl Puller {
    /// Connects, checks that the stream still holds the position of the state, and starts reading there.
    pub fn open(options: &Options, start: Start) -> Result<Self, PullerError> {
        runtime().block_on(Self::open_async(options, start))
    }

    async fn open_async(options: &Options, start: Start) -> Result<Self, PullerError> {
        let link = Link::connect(options).await?;
        let stream = start.stream.clone();
        let info = stream_info(&link, &stream).await?;
        let created = created_ns(&info);
        let log_time = log_time(&info)?;
        check_partitions(&info, &start)?;
        let (promised, log) = match &start.state {
            None => (
                None,
                PartitionLog::new(log_time, start.roster_h, info.state.first_sequence.max(start.start_seq).max(1)),
            ),
            Some(state) => {
                let (expected, log) = PartitionLog::restore(log_time, start.roster_h, state)?;
                if expected != created {
                    return Err(recreated(&stream, log.next_seq()));
                }
                (Some(log.next_seq()), log)
            }
        };
        let reading = Reading::begin(link, &start, created, log.next_seq(), promised).await?;
        let mut puller = Self {
            ask: ask(&start),
            request: Request::new(start.buffer_messages),
            heard: Instant::now(),
            consumer_seq: 0,
            last: None,
            options: options.clone(),
            created_ns: created,
            reading,
            log,
            idle_seq: None,
            start,
        };
        puller.pull()?;
        Ok(puller)
    }

    /// What arrived, at most so many messages of it; never blocks, but for a message that the client library breaks off
    /// at.
    pub fn poll(&mut self, max_messages: usize) -> Result<Batch, PullerError> {
        match self.read(max_messages) {
            Err(failed @ (PullerError::Broken(_) | PullerError::Disconnected(_))) => self.step_over(failed)?,
            other => other?,
        }
        self.reading.shared.next_seq.store(self.log.next_seq(), Ordering::Release);
        Ok(self.log.finish())
    }

    fn read(&mut self, max_messages: usize) -> Result<(), PullerError> {
        self.reading.link.fault.check()?;
        let mut taken = 0;
        let mut heard = false;
        while taken < max_messages {
            let Some(message) = self.reading.messages.try_next()? else { break };
            heard = true;
            taken += usize::from(self.take(message)?);
        }
        self.check_heartbeat(heard)?;
        if taken < max_messages {
            self.advance();
        }
        if self.request.due() {
            self.pull()?;
        }
        Ok(())
    }

    /// Goes on behind messages that ended the connection because the client library cannot read them; fails with
    /// `failed` where it was something else.
    fn step_over(&mut self, failed: PullerError) -> Result<(), PullerError> {
        // What came before lies in the inbox still. Where the library panicked nothing but its end says so.
        let ended = loop {
            match self.reading.messages.try_next() {
                Err(_) => break true,
                Ok(None) => break false,
                Ok(Some(message)) => {
                    if self.take(message).is_err() {
                        break false;
                    }
                }
            }
        };
        if !ended && !matches!(failed, PullerError::Disconnected(_)) {
            return Err(failed);
        }
        runtime().block_on(self.read_on(failed))?;
        self.request = Request::new(self.start.buffer_messages);
        self.heard = Instant::now();
        self.consumer_seq = 0;
        (self.last, self.idle_seq) = (None, None);
        self.pull()
    }

    async fn read_on(&mut self, failed: PullerError) -> Result<(), PullerError> {
        // Whoever asks for messages waits meanwhile: a server that is away is no reason to be long about it.
        let Ok(Ok(link)) = tokio::time::timeout(CONNECT, Link::connect(&self.options)).await else {
            return Err(failed);
        };
        let (mut calm, subject) = (None, filter(&self.start));
        for _ in 0..ONE_BY_ONE {
            let Some(message) = unread::next(&link, &self.start.stream, &subject, self.log.next_seq()).await? else {
                break;
            };
            calm = match calm {
                _ if message.breaks() => Some(0),
                None => return Err(failed),
                Some(CALM) => break,
                Some(readable) => Some(readable + 1),
            };
            if message.seq > self.start.until_seq {
                self.log.advance(self.start.until_seq + 1);
                break;
            }
            self.log.take(message.arrival(LOG_TIME_HEADER))?;
        }
        if calm.is_none() {
            return Err(failed);
        }
        let next_seq = self.log.next_seq();
        self.reading = Reading::begin(link, &self.start, self.created_ns, next_seq, Some(next_seq)).await?;
        Ok(())
    }

    /// Takes a message; false when it was a status.
    fn take(&mut self, message: Message) -> Result<bool, PullerError> {
        if let Some(status) = message.status {
            let description = message.description.as_deref().unwrap_or_default();
            self.request.status(status.as_u16(), description)?;
            return Ok(false);
        }
        let delivery = message.reply.as_ref().and_then(|reply| Delivery::parse(reply)).ok_or_else(|| {
            PullerError::Broken(format!("message on {} has no JetStream reply subject", message.subject))
        })?;
        if delivery.consumer_seq != self.consumer_seq + 1 {
            return Err(PullerError::Broken(format!(
                "messages were lost on the way: expected delivery {}, got {}",
                self.consumer_seq + 1,
                delivery.consumer_seq
            )));
        }
        self.consumer_seq = delivery.consumer_seq;
        self.last = Some(delivery);
        self.request.message();
        // Not even log time may come from behind the end: one tick for a whole batch would fall on the wrong side of it.
        if delivery.stream_seq > self.start.until_seq {
            self.log.advance(self.start.until_seq + 1);
            return Ok(true);
        }
        let header_ns = message
            .headers
            .as_ref()
            .and_then(|headers| headers.get(LOG_TIME_HEADER))
            .and_then(|value| value.as_str().trim().parse().ok());
        self.log.take(Arrival {
            subject: &message.subject,
            payload: message.payload,
            log_seq: delivery.stream_seq,
            server_ns: delivery.server_ns,
            header_ns,
        })?;
        Ok(true)
    }

    /// Two missed heartbeats are a dead server, consumer or route, whatever the connection believes. Whatever lay in the
    /// buffer counts as heard now, so a flow that was busy elsewhere raises no false alarm.
    fn check_heartbeat(&mut self, heard: bool) -> Result<(), PullerError> {
        if heard {
            self.heard = Instant::now();
        } else if self.heard.elapsed() > self.start.heartbeat * 2 + self.start.heartbeat / 2 {
            return Err(PullerError::Broken(format!(
                "consumer {} of stream {} missed two heartbeats ({:.1} s without a word)",
                self.reading.consumer.cached_info().name,
                self.start.stream,
                self.heard.elapsed().as_secs_f64()
            )));
        }
        Ok(())
    }

    /// Moves on when the partition is idle, so that retention cannot overtake the position. The stream's last sequence
    /// was asked before the consumer, and everything that the consumer had sent by then was taken: whatever the
    /// partition holds up to that sequence lies behind us. The last sequence of the look before is used, which gives a
    /// consumer on another node of a cluster a second to see what the stream's leader has stored.
    fn advance(&mut self) {
        let Some(sight) = self.reading.shared.take() else { return };
        let idle = sight.pending == 0 && sight.consumer_seq == self.consumer_seq;
        if let Some(last_seq) = self.idle_seq.filter(|_| idle) {
            self.log.advance(last_seq + 1);
        }
        self.idle_seq = Some(sight.last_seq);
    }

    /// Sends the next pull request. Where the client's queue is full it is tried again at the next poll.
    fn pull(&mut self) -> Result<(), PullerError> {
        let reading = &self.reading;
        if let Some(sent) = reading.consumer.request_batch(self.ask.clone(), reading.inbox.clone()).now_or_never() {
            sent.map_err(|error| broken(&error))?;
            self.request.sent();
        }
        Ok(())
    }

    /// Position, log time and roster after the last poll.
    pub fn snapshot(&self) -> Vec<u8> {
        self.log.snapshot(self.created_ns)
    }

    /// Sequence number from which on nothing was handed over yet.
    pub fn next_seq(&self) -> u64 {
        self.log.next_seq()
    }

    /// Log time (ns since 1970).
    pub fn log_ns(&self) -> i64 {
        self.log.log_ns()
    }

    /// Patients that get ticks.
    pub fn roster_len(&self) -> usize {
        self.log.roster_len()
    }

    /// Messages of the partition behind the last one handed over, when the server sent that one.
    pub fn pending(&self) -> u64 {
        self.last.map_or(0, |delivery| delivery.pending)
    }

    /// Age of the last message handed over (s); 0 when nothing is pending.
    pub fn lag_s(&self) -> f64 {
        let Some(last) = self.last.filter(|delivery| delivery.pending > 0) else { return 0.0 };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        (now.as_nanos() as f64 - last.server_ns as f64).max(0.0) / 1e9
    }

    /// Removes the consumer from the server, as far as it still answers.
    pub fn close(self) {
        let reading = &self.reading;
        reading.watch.abort();
        if reading.link.fault.check().is_err() {
            return;
        }
        let name = &reading.consumer.cached_info().name;
        let delete = reading.link.jetstream.delete_consumer_from_stream(name, &self.start.stream);
        // The server forgets the consumer by itself when this fails.
        let _ = runtime().block_on(async { tokio::time::timeout(Duration::from_secs(1), delete).await });
    }
}

/// A connection with a consumer on it, from one position of the log on.
struct Reading {
    link: Link,
    consumer: PullConsumer,
    messages: Inbox,
    inbox: NatsSubject,
    shared: Arc<Shared>,
    watch: JoinHandle<()>,
}

impl Reading {
    /// Begins at `next_seq`. `promised`: the position that must still be in the stream, if any.
    async fn begin(
        link: Link,
        start: &Start,
        created: i64,
        next_seq: u64,
        promised: Option<u64>,
    ) -> Result<Self, PullerError> {
        let consumer = create_consumer(&link, start, next_seq).await?;
        // Asked again behind the consumer, so that nothing can have been removed between the check and its creation.
        let info = stream_info(&link, &start.stream).await?;
        if created_ns(&info) != created {
            return Err(recreated(&start.stream, next_seq));
        }
        check_position(&info, promised)?;
        let shared = Arc::new(Shared::default());
        shared.next_seq.store(next_seq, Ordering::Release);
        let subject = watch::Subject {
            jetstream: link.jetstream.clone(),
            stream: start.stream.clone(),
            consumer: consumer.cached_info().name.clone(),
            created_ns: created,
            promised_seq: promised,
        };
        let watch = tokio::spawn(watch::watch(subject, shared.clone(), link.fault.clone()));
        let inbox = NatsSubject::from(link.client.new_inbox());
        let messages = link.client.subscribe(inbox.clone()).await.map_err(|error| broken(&error))?;
        Ok(Self { link, consumer, messages: Inbox(Some(messages)), inbox, shared, watch })
    }
}

/// The subscription of a consumer's messages, dropped inside the runtime because it unsubscribes by a task.
struct Inbox(Option<Subscriber>);

impl Inbox {
    /// The next message, if there is one.
    fn try_next(&mut self) -> Result<Option<Message>, PullerError> {
        match self.0.as_mut().map(|messages| messages.next().now_or_never()) {
            Some(Some(Some(message))) => Ok(Some(message)),
            Some(None) => Ok(None),
            Some(Some(None)) | None => Err(PullerError::Disconnected("the connection was closed".into())),
        }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let _inside = runtime().enter();
        self.0.take();
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

fn broken(error: &impl ToString) -> PullerError {
    PullerError::Broken(error.to_string())
}

fn recreated(stream: &str, next_seq: u64) -> PullerError {
    PullerError::LostRange(format!(
        "stream {stream} was deleted and created anew since the recovery state was written: everything of the old \
         stream from message {next_seq} on is lost to the flow; drop the recovery state to start with the new stream"
    ))
}

async fn stream_info(link: &Link, stream: &str) -> Result<Info, PullerError> {
    let found = link.jetstream.get_stream(stream).await;
    let found = found.map_err(|error| PullerError::Broken(format!("stream {stream} cannot be read: {error}")))?;
    Ok(found.cached_info().clone())
}

fn log_time(info: &Info) -> Result<LogTime, PullerError> {
    match info.config.metadata.get(LOG_TIME_KEY).map(String::as_str) {
        Some("server") => Ok(LogTime::Server),
        Some("header") => Ok(LogTime::Header),
        other => Err(PullerError::Broken(format!(
            "stream {} has metadata {LOG_TIME_KEY} = {other:?}: it was not created as a log of vitals",
            info.config.name
        ))),
    }
}

/// A flow that read fewer partitions than the stream has would miss patients without a sign.
fn check_partitions(info: &Info, start: &Start) -> Result<(), PullerError> {
    let has = info.config.metadata.get(PARTITIONS_KEY).map_or("no number of", String::as_str);
    if has != start.partitions.to_string() || start.partition >= start.partitions {
        return Err(PullerError::Broken(format!(
            "stream {} was created with {has} partitions, the settings say {} (this is number {}): set \
             streams.partitions to what the stream has",
            start.stream, start.partitions, start.partition
        )));
    }
    Ok(())
}

/// Checks `first_seq <= next_seq <= last_seq + 1` for a position that the state promises.
fn check_position(info: &Info, promised: Option<u64>) -> Result<(), PullerError> {
    let Some(next_seq) = promised else { return Ok(()) };
    let (name, state) = (&info.config.name, &info.state);
    if state.first_sequence > next_seq {
        return Err(watch::lost_range(name, next_seq, state.first_sequence));
    }
    if next_seq > state.last_sequence + 1 {
        return Err(PullerError::LostRange(format!(
            "the flow has read up to message {} of stream {name}, whose last message is {}: the server lost messages {} \
             to {} (restored from a backup, or a power cut without sync_interval: always)",
            next_seq - 1,
            state.last_sequence,
            state.last_sequence + 1,
            next_seq - 1
        )));
    }
    Ok(())
}

/// Subjects of the partition.
fn filter(start: &Start) -> String {
    format!("vp.{}.>", start.partition)
}

async fn create_consumer(link: &Link, start: &Start, next_seq: u64) -> Result<PullConsumer, PullerError> {
    let config = pull::Config {
        description: Some(format!("vitals flow, partition {}", start.partition)),
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: next_seq },
        ack_policy: AckPolicy::None,
        filter_subject: filter(start),
        inactive_threshold: INACTIVE,
        num_replicas: 1,
        memory_storage: true,
        ..Default::default()
    };
    let consumer = link.jetstream.create_consumer_on_stream(config, &start.stream).await;
    consumer.map_err(|error| PullerError::Broken(format!("cannot create a consumer on {}: {error}", start.stream)))
}

/// The pull request.
fn ask(start: &Start) -> pull::BatchConfig {
    pull::BatchConfig {
        batch: start.buffer_messages,
        max_bytes: start.buffer_bytes,
        expires: Some(EXPIRES.max(start.heartbeat * 3)),
        idle_heartbeat: start.heartbeat,
        ..Default::default()
    }
}
