//! No data from a signal for too long: a deadline in log time.
//!
//! How long is too long depends on the signal: a wave comes all the time, a cuff every half an hour. So beside a fixed
//! least time, three times the longest of the last pauses must pass.

use crate::state::{Reader, StateError, Writer};
use crate::wire::Frame;

/// Pauses that are remembered.
const PAUSES: usize = 4;
/// A signal is expected to go on after so many frames: a spot measurement is no stream.
const MIN_FRAMES: u32 = PAUSES as u32 + 1;
const FACTOR: i64 = 3;
/// A pause longer than this says nothing about the next one.
const MAX_PAUSE_NS: i64 = 8 * 3_600_000_000_000;

/// Whether a signal still comes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Silence {
    frames: u32,
    pauses_ns: [i64; PAUSES],
    /// Log time from which silence is counted.
    pub since_ns: i64,
    /// Last message heard: its place in the log and its number.
    pub last: (u64, u64),
    /// Boot of that message.
    pub boot: u64,
    /// The alarm, while it stands.
    pub standing: Option<Standing>,
}

/// An alarm on silence: the last frame before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its log time.
    pub since_ns: i64,
    /// Its number: the identity of the onset.
    pub seq: u64,
    /// Its boot.
    pub boot: u64,
}

impl Silence {
    /// Nothing was heard yet.
    pub fn new() -> Self {
        Self { frames: 0, pauses_ns: [0; PAUSES], since_ns: i64::MIN, last: (0, 0), boot: 0, standing: None }
    }

    /// A live frame; the alarm that it ends, where one stands.
    pub fn heard(&mut self, frame: &Frame) -> Option<Standing> {
        if self.frames > 0 {
            let pause_ns = frame.log_ns.saturating_sub(self.since_ns).clamp(0, MAX_PAUSE_NS);
            // The pause that was the alarm is no habit of the device.
            if self.standing.is_none() {
                self.pauses_ns.rotate_left(1);
                self.pauses_ns[PAUSES - 1] = pause_ns;
            }
        }
        self.frames = self.frames.saturating_add(1);
        self.since_ns = frame.log_ns;
        self.last = (frame.log_seq, frame.seq);
        self.boot = frame.boot;
        self.standing.take()
    }

    /// How long the signal may be silent.
    pub fn limit_ns(&self, least_ns: i64) -> i64 {
        let longest_ns = self.pauses_ns.iter().copied().max().unwrap_or(0);
        least_ns.max(longest_ns.saturating_mul(FACTOR))
    }

    /// When silence becomes an alarm, and the message that set the time.
    pub fn deadline(&self, least_ns: i64) -> Option<(i64, u64)> {
        let armed = self.frames >= MIN_FRAMES && self.standing.is_none() && least_ns > 0;
        armed.then(|| (self.since_ns.saturating_add(self.limit_ns(least_ns)), self.last.0))
    }

    /// The deadline has passed: the alarm.
    pub fn raise(&mut self) -> Standing {
        *self.standing.insert(Standing { since_ns: self.since_ns, seq: self.last.1, boot: self.boot })
    }

    /// The log itself was away until `log_ns`: nobody can say what the device did meanwhile.
    pub fn start_anew(&mut self, log_ns: i64) {
        if self.standing.is_none() {
            self.since_ns = self.since_ns.max(log_ns);
        }
    }

    /// The patient was discharged, or the signal is gone for good: it is not expected any more.
    pub fn disarm(&mut self) -> Option<Standing> {
        self.frames = 0;
        self.standing.take()
    }

    /// Appends the state.
    pub fn write(&self, writer: &mut Writer) {
        writer.one(self.frames).put(&self.pauses_ns).one(self.since_ns).put(&[self.last.0, self.last.1, self.boot]);
        writer.one(u8::from(self.standing.is_some()));
        if let Some(standing) = self.standing {
            writer.one(standing.since_ns).put(&[standing.seq, standing.boot]);
        }
    }

    /// Reads the state back.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let mut silence = Self::new();
        silence.frames = reader.one()?;
        for pause_ns in &mut silence.pauses_ns {
            *pause_ns = reader.one()?;
        }
        silence.since_ns = reader.one()?;
        silence.last = (reader.one()?, reader.one()?);
        silence.boot = reader.one()?;
        if reader.one::<u8>()? != 0 {
            silence.standing = Some(Standing { since_ns: reader.one()?, seq: reader.one()?, boot: reader.one()? });
        }
        Ok(silence)
    }
}
