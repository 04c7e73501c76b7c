//! Appends to streams and reads back what they hold.

use std::collections::VecDeque;
use std::future::Future;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::context::{PublishAckFuture, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{Info, LastRawMessageErrorKind};
use bytes::Bytes;
use futures_util::StreamExt;

use super::link::{Link, Options};
use super::pull::Delivery;
use super::watch::created_ns;
use super::{PullerError, runtime};

/// Messages on their way at most: the client stops taking them when about 5,000 acknowledgements are pending and none is
/// awaited.
const WINDOW: usize = 1_000;
const SCAN_BATCH: usize = 5_000;
/// How often a scan begins where it failed, and how long it waits before.
const SCAN_TRIES: u32 = 5;
const SCAN_PAUSE: Duration = Duration::from_millis(300);
/// Answers without a message after which a scan gives up.
const MAX_EMPTY: u32 = 20;
const MESSAGE_ID: &str = "Nats-Msg-Id";

/// A message to publish.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Subject in the stream.
    pub subject: String,
    /// Headers in order.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub payload: Bytes,
}

/// A message that a stream holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Sequence number in the stream.
    pub seq: u64,
    /// Header `Nats-Msg-Id`; empty when absent.
    pub message_id: String,
    /// The other header asked for; empty when absent.
    pub tag: String,
}

/// A message on its way.
struct Sent {
    subject: String,
    acknowledgement: PublishAckFuture,
}

/// A connection for publishing.
pub struct Publisher {
    link: Link,
    timeout: Duration,
}

impl Publisher {
    /// Connects.
    pub fn open(options: &Options) -> Result<Self, PullerError> {
        let link = runtime().block_on(Link::connect(options))?;
        Ok(Self { link, timeout: options.timeout })
    }

    /// Publishes in order and returns the stream sequences once every message is acknowledged.
    pub fn publish_all(&self, messages: Vec<Outgoing>) -> Result<Vec<u64>, PullerError> {
        self.run(async {
            let mut sequences = Vec::with_capacity(messages.len());
            let mut pending = VecDeque::with_capacity(WINDOW.min(messages.len()));
            for message in messages {
                if pending.len() == WINDOW
                    && let Some(oldest) = pending.pop_front()
                {
                    sequences.push(acknowledged(oldest).await?);
                }
                pending.push_back(self.send(message).await?);
            }
            for sent in pending {
                sequences.push(acknowledged(sent).await?);
            }
            Ok(sequences)
        })
    }

    async fn send(&self, Outgoing { subject, headers, payload }: Outgoing) -> Result<Sent, PullerError> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: async_nats::HeaderName = name.parse().map_err(|error| refused(&subject, &error))?;
            let value: async_nats::HeaderValue = value.parse().map_err(|error| refused(&subject, &error))?;
            map.append(name, value);
        }
        let message = PublishMessage::build().payload(payload).headers(map);
        let sent = self.link.jetstream.send_publish(subject.clone(), message).await;
        let acknowledgement = sent.map_err(|error| refused(&subject, &error))?;
        Ok(Sent { subject, acknowledgement })
    }

    /// Message ids (and one more header) of everything in the stream from a sequence number on, to its present end; of
    /// these subjects alone, where any are named as the stream stores them.
    pub fn scan(
        &self,
        stream: &str,
        from_seq: u64,
        tag: &str,
        subjects: &[String],
    ) -> Result<Vec<Stored>, PullerError> {
        self.run(async {
            let mut stored = Vec::new();
            let (mut next_seq, mut failures) = (from_seq.max(1), 0);
            // A cluster answers "503" for a moment where a leader is new: what is missed would be written twice, and
            // giving up would end the flow.
            while let Err(error) = self.scan_on(stream, next_seq, tag, subjects, &mut stored).await {
                failures += 1;
                if failures == SCAN_TRIES {
                    return Err(error);
                }
                tokio::time::sleep(SCAN_PAUSE).await;
                next_seq = stored.last().map_or(next_seq, |last: &Stored| last.seq + 1);
            }
            Ok(stored)
        })
    }

    async fn scan_on(
        &self,
        stream: &str,
        from_seq: u64,
        tag: &str,
        subjects: &[String],
        stored: &mut Vec<Stored>,
    ) -> Result<(), PullerError> {
        let info = self.info(stream).await?;
        let last_seq = info.state.last_sequence;
        if info.state.messages == 0 || from_seq > last_seq {
            return Ok(());
        }
        let config = pull::Config {
            description: Some("scan for message ids".into()),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: from_seq },
            ack_policy: AckPolicy::None,
            headers_only: true,
            filter_subjects: subjects.to_vec(),
            inactive_threshold: Duration::from_secs(30),
            num_replicas: 1,
            memory_storage: true,
            ..Default::default()
        };
        let consumer = self.link.jetstream.create_consumer_on_stream(config, stream).await;
        let consumer = consumer.map_err(|error| unread(stream, &error))?;
        let (mut done, mut empty) = (false, 0);
        while !done {
            let batch = consumer.fetch().max_messages(SCAN_BATCH).messages().await;
            let mut batch = batch.map_err(|error| unread(stream, &error))?;
            let before = stored.len();
            while let Some(message) = batch.next().await {
                let message = message.map_err(|error| unread(stream, &error))?;
                let delivery = message.reply.as_ref().and_then(|reply| Delivery::parse(reply));
                let seq = delivery.ok_or_else(|| unread(stream, &"no JetStream reply subject"))?.stream_seq;
                let header = |name: &str| {
                    let value = message.headers.as_ref().and_then(|headers| headers.get(name));
                    value.map(|value| value.as_str().to_owned()).unwrap_or_default()
                };
                stored.push(Stored { seq, message_id: header(MESSAGE_ID), tag: header(tag) });
                done |= seq >= last_seq;
            }
            if !done && stored.len() == before {
                // Deleted messages at the end, or a server that was asked too early: only the consumer knows. What is
                // missed here would be written twice.
                let info = consumer.get_info().await.map_err(|error| unread(stream, &error))?;
                done = info.num_pending == 0;
                empty += 1;
                if !done && empty == MAX_EMPTY {
                    return Err(unread(stream, &format!("{} messages were not sent", info.num_pending)));
                }
            }
        }
        let name = &consumer.cached_info().name;
        let _ = self.link.jetstream.delete_consumer_from_stream(name, stream).await; // it expires by itself as well
        Ok(())
    }

    /// Sequence number of the last message on a subject of a stream; 0 when it holds none.
    pub fn last_on(&self, stream: &str, subject: &str) -> Result<u64, PullerError> {
        self.run(async {
            let found = self.link.jetstream.get_stream(stream).await.map_err(|error| unread(stream, &error))?;
            match found.get_last_raw_message_by_subject(subject).await {
                Ok(message) => Ok(message.sequence),
                Err(error) if matches!(error.kind(), LastRawMessageErrorKind::NoMessageFound) => Ok(0),
                Err(error) => Err(unread(stream, &error)),
            }
        })
    }

    /// Creation time (ns since 1970), first and last sequence number of a stream.
    pub fn stream_state(&self, stream: &str) -> Result<(i64, u64, u64), PullerError> {
        let info = self.run(self.info(stream))?;
        Ok((created_ns(&info), info.state.first_sequence, info.state.last_sequence))
    }

    /// How many servers keep a copy of a stream.
    pub fn replicas(&self, stream: &str) -> Result<usize, PullerError> {
        Ok(self.run(self.info(stream))?.config.num_replicas)
    }

    async fn info(&self, stream: &str) -> Result<Info, PullerError> {
        let found = self.link.jetstream.get_stream(stream).await.map_err(|error| unread(stream, &error))?;
        Ok(found.cached_info().clone())
    }

    /// Runs to the end or to the first failure of the connection, whichever is first: an acknowledgement that was on its
    /// way when the connection broke never comes.
    fn run<T>(&self, work: impl Future<Output = Result<T, PullerError>>) -> Result<T, PullerError> {
        self.link.fault.check()?;
        runtime().block_on(async {
            tokio::select! {
                biased;
                error = self.link.fault.wait() => Err(error),
                done = work => done,
            }
        })
    }

    /// How long an acknowledgement may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }
}

fn refused(subject: &str, error: &impl ToString) -> PullerError {
    PullerError::Publish(format!("publish to {subject} failed: {}", error.to_string()))
}

async fn acknowledged(Sent { subject, acknowledgement }: Sent) -> Result<u64, PullerError> {
    Ok(acknowledgement.await.map_err(|error| unacknowledged(&subject, &error))?.sequence)
}

fn unacknowledged(subject: &str, error: &PublishError) -> PullerError {
    match error.kind() {
        PublishErrorKind::WrongLastSequence => PullerError::Fenced(format!("publish to {subject} failed: {error}")),
        _ => refused(subject, error),
    }
}

fn unread(stream: &str, error: &impl ToString) -> PullerError {
    PullerError::Broken(format!("stream {stream} cannot be read: {}", error.to_string()))
}
