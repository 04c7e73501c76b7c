//! Asks once a second where the stream and the consumer are, beside the messages.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::stream::Info;

use super::PullerError;
use super::link::Fault;

const PERIOD: Duration = Duration::from_secs(1);

/// What was seen together: first the stream, then the consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// Last sequence number of the stream, asked before the consumer.
    pub last_seq: u64,
    /// Messages the consumer had sent by then.
    pub consumer_seq: u64,
    /// Messages of the partition it had still to send.
    pub pending: u64,
}

/// Shared between a puller and its watch.
#[derive(Debug, Default)]
pub struct Shared {
    /// The puller's next sequence number, for the watch.
    pub next_seq: AtomicU64,
    sight: Mutex<Option<Sight>>,
}

impl Shared {
    /// The latest sight, once.
    pub fn take(&self) -> Option<Sight> {
        self.sight.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What the watch asks about.
pub struct Subject {
    pub jetstream: Context,
    pub stream: String,
    pub consumer: String,
    pub created_ns: i64,
    /// Position that the state promises; none when the flow starts at whatever the stream still holds.
    pub promised_seq: Option<u64>,
}

/// Creation time of a stream (ns since 1970).
pub fn created_ns(info: &Info) -> i64 {
    info.created.unix_timestamp_nanos() as i64
}

/// Watches until something fails or the task is aborted.
///
/// Retention may overtake a slow reader between two messages, which no sequence number shows (the other partitions' lie
/// in between). Whatever was removed unread at a time between two looks lay behind the position of the earlier look, so
/// a first sequence beyond that position is reported; a reader that far behind has nothing to spare.
pub async fn watch(subject: Subject, shared: Arc<Shared>, fault: Fault) {
    let mut safe_seq = subject.promised_seq;
    loop {
        let position = shared.next_seq.load(Ordering::Acquire);
        match look(&subject, safe_seq).await {
            Ok(sight) => *shared.sight.lock().unwrap_or_else(PoisonError::into_inner) = Some(sight),
            Err(error) => return fault.set(error),
        }
        safe_seq = Some(position);
        tokio::time::sleep(PERIOD).await;
    }
}

async fn look(subject: &Subject, safe_seq: Option<u64>) -> Result<Sight, PullerError> {
    let name = &subject.stream;
    let broken = |what: &str, error: String| PullerError::Broken(format!("{what}: {error}"));
    let stream = subject
        .jetstream
        .get_stream(name)
        .await
        .map_err(|error| broken(&format!("stream {name} does not answer"), error.to_string()))?;
    let info = stream.cached_info();
    if created_ns(info) != subject.created_ns {
        return Err(PullerError::LostRange(format!("stream {name} was deleted and created anew under the flow")));
    }
    if let Some(safe) = safe_seq.filter(|safe| info.state.first_sequence > *safe) {
        return Err(lost_range(name, safe, info.state.first_sequence));
    }
    let consumer = stream.consumer_info(&subject.consumer).await.map_err(|error| {
        broken(&format!("consumer {} of {name} does not answer", subject.consumer), error.to_string())
    })?;
    Ok(Sight {
        last_seq: info.state.last_sequence,
        consumer_seq: consumer.delivered.consumer_sequence,
        pending: consumer.num_pending,
    })
}

/// The error of a position that the stream no longer holds.
pub fn lost_range(stream: &str, next_seq: u64, first_seq: u64) -> PullerError {
    PullerError::LostRange(format!(
        "messages {next_seq} to {last} of stream {stream} were removed before the flow read them (its first message is \
         now {first_seq}): raise the stream's max age or bytes, or drop the recovery state to start at its first message",
        last = first_seq - 1,
    ))
}
