//! The broker's own clock in the log: one scheduled message a second in each partition.
//!
//! A schedule is a message of the stream, and it ends when retention removes it: measured, ticks stop when the schedule
//! is older than the stream's max age. A schedule that never expires would stay the stream's first message for ever and
//! hide that others are gone. So whoever reads a partition publishes its schedule again long before; on its subject
//! it takes the place of the former one, and there is never more than one.

use std::time::{Duration, SystemTime};

use async_nats::HeaderMap;
use async_nats::jetstream::Context;
use async_nats::jetstream::stream::{Info, LastRawMessageErrorKind, Stream};

use super::PullerError;

/// How often a schedule is looked at.
pub const LOOK: Duration = Duration::from_secs(30);

/// The partition of a patient, as the server's `partition(n,1,2)` decides it: FNV-1a (32 bits) of both tokens.
pub fn partition_of(tenant: &str, patient: &str, partitions: u32) -> u32 {
    let fnv = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(16_777_619);
    tenant.bytes().chain(patient.bytes()).fold(2_166_136_261, fnv) % partitions
}

/// The smallest token that takes a tick (`vitals.v1.tick.<token>.broker.tick`) into a partition.
pub fn tick_token(partition: u32, partitions: u32) -> String {
    let mut tokens = (0_u32..).map(|token| token.to_string());
    tokens.find(|token| partition_of("tick", token, partitions) == partition).unwrap_or_default()
}

/// Publishes the schedule of a partition if it is missing, or half way to its removal.
pub async fn wind(jetstream: &Context, stream: &Stream, info: &Info, token: &str) -> Result<(), PullerError> {
    let subject = format!("vitals.sched.{token}");
    let found = match stream.get_last_raw_message_by_subject(&subject).await {
        Ok(found) => Some(found),
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => None,
        Err(error) => return Err(failed(&subject, &error)),
    };
    if let Some(found) = found {
        let age = SystemTime::now().duration_since(SystemTime::from(found.time)).unwrap_or_default();
        let (first, last) = (info.state.first_sequence, info.state.last_sequence);
        let old = !info.config.max_age.is_zero() && age > info.config.max_age / 2;
        // Only where bytes decide, too: renewing removes the former schedule, and at the beginning of a long log that
        // would be the stream's first message, which readers that have yet to start would take for a loss.
        let full = u64::try_from(info.config.max_bytes).is_ok_and(|max| max > 0 && info.state.bytes > max / 2);
        let far = full && found.sequence < first + last.saturating_sub(first) / 2;
        if !old && !far {
            return Ok(());
        }
    }
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Schedule", "@every 1s");
    headers.insert("Nats-Schedule-Target", format!("vitals.v1.tick.{token}.broker.tick"));
    let sent = jetstream.publish_with_headers(subject.clone(), headers, bytes::Bytes::new()).await;
    sent.map_err(|error| failed(&subject, &error))?.await.map_err(|error| failed(&subject, &error))?;
    Ok(())
}

fn failed(subject: &str, error: &impl ToString) -> PullerError {
    PullerError::Broken(format!("the schedule of ticks {subject} cannot be renewed: {}", error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tokens_that_a_server_put_into_each_partition() {
        let tokens: Vec<String> = (0..8).map(|partition| tick_token(partition, 8)).collect();
        assert_eq!(tokens, ["4", "7", "2", "5", "0", "3", "6", "1"]);
        assert_eq!(tick_token(0, 1), "0");
    }
}
