//! What the log holds for one patient, before anything is believed.

use bytes::Bytes;

/// One message as it lies in the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawMessage {
    /// Stored subject: `vp.<n>.<tenant>.<patient>.<device>.<signal>`.
    pub subject: Bytes,
    /// Original bytes.
    pub payload: Bytes,
    /// Sequence number in the stream.
    pub log_seq: u64,
    /// Log time (ns since 1970): running maximum of the partition's server timestamps.
    pub log_ns: i64,
}

/// An entry of a patient's list, in log order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Raw {
    /// A frame or a command, unchecked.
    Message(RawMessage),
    /// Log time has come this far.
    Tick {
        /// Sequence number of the broker's tick.
        log_seq: u64,
        /// Log time of the tick.
        log_ns: i64,
    },
    /// The log was away: between `since_ns` and `log_ns` the broker wrote nothing, not even its ticks.
    Hole {
        /// Sequence number of the first message after it.
        log_seq: u64,
        /// Log time before it.
        since_ns: i64,
        /// Log time after it.
        log_ns: i64,
    },
}
