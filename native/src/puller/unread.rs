//! Messages at which the client library breaks off: read one by one, through an answer in JSON.
//!
//! Whoever may publish gives a message any subject token and any header. The library ends the connection at what is not
//! UTF-8 or no header, and panics at a carriage return in a value (async-nats 0.50.0): one message would end the flow at
//! every start. The server's own answer to "which message is next" holds the same message in a form that always parses.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;

use super::PullerError;
use super::link::Link;
use super::log::Arrival;

const NO_MESSAGE: u64 = 404;

/// A message as the stream holds it.
#[derive(Debug)]
pub struct Unread {
    subject: String,
    headers: Vec<u8>,
    payload: Bytes,
    server_ns: i64,
    /// Sequence number in the stream.
    pub seq: u64,
}

#[derive(Deserialize)]
struct Answer {
    message: Option<Message>,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Message {
    subject: String,
    seq: u64,
    #[serde(default)]
    hdrs: String,
    #[serde(default)]
    data: String,
    time: String,
}

#[derive(Deserialize)]
struct Refusal {
    code: u64,
    description: String,
}

/// The first message of a stream on `subject` from `seq` on; none when there is none.
pub async fn next(link: &Link, stream: &str, subject: &str, seq: u64) -> Result<Option<Unread>, PullerError> {
    let ask = serde_json::json!({ "seq": seq, "next_by_subj": subject }).to_string();
    let broken = |error: String| PullerError::Broken(format!("message {seq} of {stream} cannot be read: {error}"));
    let answered = link.client.request(format!("$JS.API.STREAM.MSG.GET.{stream}"), ask.into()).await;
    let answer = answered.map_err(|error| broken(error.to_string()))?;
    match serde_json::from_slice(&answer.payload).map_err(|error| broken(error.to_string()))? {
        Answer { message: Some(message), .. } => decode(message).map(Some).map_err(broken),
        Answer { error: Some(error), .. } if error.code != NO_MESSAGE => Err(broken(error.description)),
        Answer { .. } => Ok(None),
    }
}

fn decode(message: Message) -> Result<Unread, String> {
    let bytes = |text: &str| STANDARD.decode(text).map_err(|error| error.to_string());
    Ok(Unread {
        headers: bytes(&message.hdrs)?,
        payload: bytes(&message.data)?.into(),
        server_ns: nanoseconds(&message.time).ok_or_else(|| format!("{} is no time", message.time))?,
        subject: message.subject,
        seq: message.seq,
    })
}

impl Unread {
    /// Whether the library may break off at it; where it does not, it is the same message either way.
    pub fn breaks(&self) -> bool {
        // The server writes what is not UTF-8 as this.
        self.subject.contains(char::REPLACEMENT_CHARACTER) || !(self.headers.is_empty() || plain(&self.headers))
    }

    /// What the log takes. `time_header`: name of the header of log time.
    pub fn arrival(&self, time_header: &str) -> Arrival<'_> {
        let text = String::from_utf8_lossy(&self.headers);
        let mut fields = text.lines().filter_map(|line| line.split_once(':'));
        let time = fields.find(|(name, _)| *name == time_header);
        Arrival {
            subject: &self.subject,
            payload: self.payload.clone(),
            log_seq: self.seq,
            server_ns: self.server_ns,
            header_ns: time.and_then(|(_, value)| value.trim().parse().ok()),
        }
    }
}

/// Whether headers are what every client writes: `NATS/1.0`, then a name, a colon and a value in each line.
fn plain(headers: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(headers) else { return false };
    let mut lines = text.lines();
    lines.next() == Some("NATS/1.0")
        && lines.filter(|line| !line.is_empty()).all(|line| {
            let named = |name: &str| name.bytes().all(|byte| byte.is_ascii_graphic());
            !line.contains('\r') && line.split_once(':').is_some_and(|(name, _)| named(name))
        })
}

/// A time as the server writes it (RFC 3339, UTC, up to nine digits of a second) in ns since 1970.
fn nanoseconds(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut time = time.splitn(3, ':');
    let (hour, minute, second) = (time.next()?.parse::<i64>().ok()?, time.next()?.parse::<i64>().ok()?, time.next()?);
    let (whole, part) = second.split_once('.').unwrap_or((second, ""));
    let nanos: i64 = format!("{part:0<9}").get(..9)?.parse().ok()?;
    // Days since 1970 of the Gregorian calendar, years counted from March (H. Hinnant, "days_from_civil").
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some((((days * 24 + hour) * 60 + minute) * 60 + whole.parse::<i64>().ok()?) * 1_000_000_000 + nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_exact() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:00:00.5Z", 951_825_600_500_000_000),
            ("2026-11-29T23:35:22.123456789Z", 1_795_995_322_123_456_789),
            ("2100-03-01T00:00:00.000000001Z", 4_107_542_400_000_000_001),
        ] {
            assert_eq!(nanoseconds(text), Some(expected), "{text}");
        }
        for text in
            ["", "2026-11-29", "2026-11-29T23:35:22", "2026-11-29T23:35Z", "x-1-1T0:0:0Z", "2026-11-29T1:2:é.1Z"]
        {
            assert_eq!(nanoseconds(text), None, "{text}");
        }
    }

    #[test]
    fn headers_that_clients_write_are_plain() {
        for headers in ["NATS/1.0\r\n\r\n", "NATS/1.0\r\nA: b\r\nVitals-Log-Time:5\r\n\r\n", "NATS/1.0\r\n: x\r\n\r\n"]
        {
            assert!(plain(headers.as_bytes()), "{headers}");
        }
        for headers in [
            b"".as_slice(),
            b"\x00\x01",
            b"NATS/9.9\r\n\r\n",
            b"NATS/1.0 404 x\r\n\r\n",
            b"NATS/1.0\r\nabc\r\n\r\n",
            b"NATS/1.0\r\nA: b\rc\r\n\r\n",
            b"NATS/1.0\r\nA: \xff\r\n\r\n",
            b"NATS/1.0\r\nA B: c\r\n\r\n",
        ] {
            assert!(!plain(headers), "{headers:?}");
        }
    }

    #[test]
    fn log_time_is_that_of_the_header() {
        let headers = b"NATS/1.0\r\nA: \xff\r\nVitals-Log-Time: 7 \r\nVitals-Log-Time: 8\r\n\r\n".to_vec();
        let found = Unread { subject: "vp.0.a.b.c.d".into(), headers, payload: Bytes::new(), server_ns: 3, seq: 2 };
        assert!(found.breaks());
        assert_eq!(found.arrival("Vitals-Log-Time").header_ns, Some(7));
        assert_eq!(found.arrival("Other").header_ns, None);
    }
}
