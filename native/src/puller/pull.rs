//! Pull requests and what comes back for them: pure bookkeeping.

use super::PullerError;

/// What the server says about a message in its reply subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Sequence number in the stream.
    pub stream_seq: u64,
    /// How many messages this consumer was sent, this one included.
    pub consumer_seq: u64,
    /// When the server stored it (ns since 1970).
    pub server_ns: i64,
    /// Messages of the partition behind this one when it was sent.
    pub pending: u64,
}

impl Delivery {
    /// Reads `$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<delivered>.<seq>.<consumer seq>.<ns>.<pending>[.<token>]`.
    pub fn parse(reply: &str) -> Option<Self> {
        let rest = reply.strip_prefix("$JS.ACK.")?;
        let tokens = rest.bytes().filter(|byte| *byte == b'.').count() + 1;
        let before = if tokens == 7 { 3 } else { 5 };
        let mut fields = rest.split('.').skip(before);
        Some(Self {
            stream_seq: fields.next()?.parse().ok()?,
            consumer_seq: fields.next()?.parse().ok()?,
            server_ns: fields.next()?.parse().ok()?,
            pending: fields.next()?.parse().ok()?,
        })
    }
}

/// The one pull request under way: what it may still bring is what the buffer must have room for.
///
/// One at a time bounds the buffer exactly, by messages and bytes, and the backlog stays in the stream. The pause between
/// two requests is a round trip every `messages` messages.
#[derive(Debug)]
pub struct Request {
    /// Messages a request asks for.
    pub messages: usize,
    outstanding: usize,
    received: usize,
}

/// What a status message means for the request.
#[derive(Debug, PartialEq, Eq)]
pub enum Status {
    /// The server is there and has nothing to send.
    Heartbeat,
    /// The request is over; send another.
    Over,
}

impl Request {
    /// Nothing is under way.
    pub fn new(messages: usize) -> Self {
        Self { messages, outstanding: 0, received: 0 }
    }

    /// Whether another request is due.
    pub fn due(&self) -> bool {
        self.outstanding == 0
    }

    /// A request was sent.
    pub fn sent(&mut self) {
        self.outstanding = self.messages;
        self.received = 0;
    }

    /// A message came.
    pub fn message(&mut self) {
        self.outstanding = self.outstanding.saturating_sub(1);
        self.received += 1;
    }

    /// A status message came.
    pub fn status(&mut self, code: u16, description: &str) -> Result<Status, PullerError> {
        let too_large = description.eq_ignore_ascii_case("Message Size Exceeds MaxBytes");
        match code {
            100 => Ok(Status::Heartbeat),
            409 if too_large && self.received == 0 => Err(PullerError::Broken(
                "a message in the stream is larger than the puller's buffer: raise its bytes".into(),
            )),
            // 408: expired. 409 with these words: the bytes or the messages asked for were sent.
            408 => self.over(),
            409 if too_large || description.eq_ignore_ascii_case("Batch Completed") => self.over(),
            503 => Err(PullerError::Broken("the consumer ended: nobody answers for it (503)".into())),
            _ => Err(PullerError::Broken(format!("the consumer ended: {code} {description}"))),
        }
    }

    #[allow(clippy::unnecessary_wraps)] // the arm of a match of Results
    fn over(&mut self) -> Result<Status, PullerError> {
        self.outstanding = 0;
        Ok(Status::Over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_forms_of_the_reply_subject() {
        let expected = Delivery { stream_seq: 812, consumer_seq: 41, server_ns: 1_700_000_000_123_456_789, pending: 7 };
        for reply in [
            "$JS.ACK.VITALS.abc.1.812.41.1700000000123456789.7",
            "$JS.ACK.hub.Xy12.VITALS.abc.1.812.41.1700000000123456789.7",
            "$JS.ACK.hub.Xy12.VITALS.abc.1.812.41.1700000000123456789.7.tok",
        ] {
            assert_eq!(Delivery::parse(reply), Some(expected), "{reply}");
        }
        assert_eq!(Delivery::parse("_INBOX.x"), None);
        assert_eq!(Delivery::parse("$JS.ACK.VITALS.abc.1.x.41.1700000000123456789.7"), None);
    }

    #[test]
    fn asks_again_only_when_everything_came_or_the_request_ended() {
        let mut request = Request::new(2);
        assert!(request.due());
        request.sent();
        assert_eq!(request.status(100, "Idle Heartbeat"), Ok(Status::Heartbeat));
        request.message();
        assert!(!request.due());
        request.message();
        assert!(request.due());
        for (code, words) in
            [(408, "Request Timeout"), (409, "Message Size Exceeds MaxBytes"), (409, "Batch Completed")]
        {
            request.sent();
            request.message();
            assert_eq!(request.status(code, words), Ok(Status::Over));
            assert!(request.due());
        }
    }

    #[test]
    fn a_consumer_that_ended_is_an_error() {
        let mut request = Request::new(2);
        request.sent();
        for (code, words) in [
            (404, "No Messages"),
            (409, "Consumer Deleted"),
            (409, "Server Shutdown"),
            (503, "No Responders"),
            (409, "Message Size Exceeds MaxBytes"), // with nothing received it would be asked for in vain for ever
        ] {
            assert!(request.status(code, words).is_err(), "{code} {words}");
        }
    }
}
