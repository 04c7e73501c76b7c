//! Appends to streams and reads back what they hold.

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

/// The client stops taking publishes when about 5,000 acknowledgements are pending and none is awaited.
const ROUND: usize = 1_000;
const SCAN_BATCH: usize = 5_000;
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
            let mut messages = messages.into_iter().peekable();
            while messages.peek().is_some() {
                let round: Vec<Outgoing> = messages.by_ref().take(ROUND).collect();
                self.publish_round(round, &mut sequences).await?;
            }
            Ok(sequences)
        })
    }

    async fn publish_round(&self, round: Vec<Outgoing>, sequences: &mut Vec<u64>) -> Result<(), PullerError> {
        let mut pending: Vec<(String, PublishAckFuture)> = Vec::with_capacity(round.len());
        for Outgoing { subject, headers, payload } in round {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                let name: async_nats::HeaderName = name.parse().map_err(|error| refused(&subject, &error))?;
                let value: async_nats::HeaderValue = value.parse().map_err(|error| refused(&subject, &error))?;
                map.append(name, value);
            }
            let message = PublishMessage::build().payload(payload).headers(map);
            let sent = self.link.jetstream.send_publish(subject.clone(), message).await;
            pending.push((subject.clone(), sent.map_err(|error| refused(&subject, &error))?));
        }
        for (subject, acknowledgement) in pending {
            let acknowledgement = acknowledgement.await.map_err(|error| unacknowledged(&subject, &error))?;
            sequences.push(acknowledgement.sequence);
        }
        Ok(())
    }

    /// Message ids (and one more header) of everything in the stream from a sequence number on, to its present end; of
    /// one subject, where one is named as the stream stores it.
    pub fn scan(&self, stream: &str, from_seq: u64, tag: &str, subject: &str) -> Result<Vec<Stored>, PullerError> {
        self.run(async {
            let info = self.info(stream).await?;
            let last_seq = info.state.last_sequence;
            let mut stored = Vec::new();
            if info.state.messages == 0 || from_seq > last_seq {
                return Ok(stored);
            }
            let config = pull::Config {
                description: Some("scan for message ids".into()),
                deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: from_seq.max(1) },
                ack_policy: AckPolicy::None,
                headers_only: true,
                filter_subject: subject.to_owned(),
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
                    // Deleted messages at the end, or a server that was asked too early: only the consumer knows. What
                    // is missed here would be written twice.
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
            Ok(stored)
        })
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

fn unacknowledged(subject: &str, error: &PublishError) -> PullerError {
    match error.kind() {
        PublishErrorKind::WrongLastSequence => PullerError::Fenced(format!("publish to {subject} failed: {error}")),
        _ => refused(subject, error),
    }
}

fn unread(stream: &str, error: &impl ToString) -> PullerError {
    PullerError::Broken(format!("stream {stream} cannot be read: {}", error.to_string()))
}
