//! What the monitor takes: frames, commands and ticks that passed the validator.

use std::sync::Arc;

use bytes::Bytes;

use super::RawMessage;
use super::proto::{Code, Signal, Unit};

/// A number measured at a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// What it measures.
    pub code: Code,
    /// As the device said it, in `unit`; NaN where the device has no reading.
    pub value: f64,
    /// Its unit.
    pub unit: Unit,
    /// The value in the code's canonical unit.
    pub canonical: f64,
    /// 1..=100, or 0 when the device does not say.
    pub quality_pct: u32,
    /// Device time (ns since 1970).
    pub device_ns: i64,
    /// Bits of `Status`.
    pub status: u32,
    /// Outside the soft limits.
    pub suspect: bool,
}

/// Samples of one wave.
#[derive(Clone, Debug, PartialEq)]
pub struct Wave {
    /// Sampling rate in mHz.
    pub fs_mhz: u32,
    /// Physical units per count.
    pub lsb: f64,
    /// Bits of `Status`.
    pub status: u32,
    /// int16 little-endian, whole samples.
    pub samples: Bytes,
}

impl Wave {
    /// How many samples.
    pub fn len(&self) -> usize {
        self.samples.len() / 2
    }

    /// Whether there are none (the validator lets none through).
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// The samples as counts.
    pub fn counts(&self) -> impl Iterator<Item = i16> + '_ {
        self.samples.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]]))
    }

    /// Device time from the frame's first sample to sample `index`, in ns.
    pub fn offset_ns(&self, index: u64) -> i64 {
        (i128::from(index) * 1_000_000_000_000 / i128::from(self.fs_mhz)) as i64
    }
}

/// What a frame carries.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// Samples.
    Wave(Wave),
    /// Readings.
    Readings(Vec<Reading>),
    /// A questionnaire's answers: instrument, version, mode, (item, value).
    Answers {
        /// Name of the instrument.
        instrument: String,
        /// Its version.
        version: String,
        /// How it was answered: app, ivr, proxy.
        mode: String,
        /// Item and value.
        answers: Vec<(String, f64)>,
    },
}

/// One frame of one device.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Device of the subject.
    pub device: String,
    /// Start counter of the device.
    pub boot: u64,
    /// Signal of the subject.
    pub signal: Signal,
    /// Counter per (boot, signal).
    pub seq: u64,
    /// Index of the first sample or observation per (boot, signal).
    pub first_sample: u64,
    /// Device clock of the first sample (ns since 1970).
    pub device_ns: i64,
    /// Kept on the device and uploaded later.
    pub stored: bool,
    /// Averaging of the device's own processing in s; 0 when unknown.
    pub averaging_s: f32,
    /// What it carries.
    pub body: Body,
    /// Sequence in the stream.
    pub log_seq: u64,
    /// Log time.
    pub log_ns: i64,
}

impl Frame {
    /// Samples, observations or answers it counts for.
    pub fn len(&self) -> u64 {
        match &self.body {
            Body::Wave(wave) => wave.len() as u64,
            Body::Readings(readings) => readings.len() as u64,
            Body::Answers { .. } => 1,
        }
    }

    /// Whether it counts for nothing (the validator lets none through).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Device time just after its last sample.
    pub fn end_ns(&self) -> i64 {
        match &self.body {
            Body::Wave(wave) => self.device_ns.saturating_add(wave.offset_ns(wave.len() as u64)),
            Body::Readings(readings) => readings.last().map_or(self.device_ns, |reading| reading.device_ns),
            Body::Answers { .. } => self.device_ns,
        }
    }

    /// One past the index of its last sample.
    pub fn end_sample(&self) -> u64 {
        self.first_sample.saturating_add(self.len())
    }
}

/// A command of a person or program, for this patient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Name, the last token of its subject.
    pub name: String,
    /// Who asks.
    pub actor: String,
    /// Repeating a command with the same key has no second effect.
    pub idempotency_key: String,
    /// Argument as JSON text.
    pub argument_json: String,
    /// Sequence in the stream.
    pub log_seq: u64,
    /// Log time.
    pub log_ns: i64,
}

/// An entry of a patient's log.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// A frame, and the message that brought it: its bytes are kept for the case that it contradicts another frame.
    Frame(Arc<Frame>, RawMessage),
    /// A command, and the message that brought it.
    Command(Box<Command>, RawMessage),
    /// Log time has come this far.
    Tick {
        /// Sequence of the broker's tick.
        log_seq: u64,
        /// Log time.
        log_ns: i64,
    },
    /// The log was away: between `since_ns` and `log_ns` the broker wrote nothing, not even its ticks.
    Hole {
        /// Sequence of the first message after it.
        log_seq: u64,
        /// Log time before it.
        since_ns: i64,
        /// Log time after it.
        log_ns: i64,
    },
}

impl Item {
    /// (sequence, log time).
    pub fn place(&self) -> (u64, i64) {
        match self {
            Self::Frame(frame, _) => (frame.log_seq, frame.log_ns),
            Self::Command(command, _) => (command.log_seq, command.log_ns),
            Self::Tick { log_seq, log_ns } | Self::Hole { log_seq, log_ns, .. } => (*log_seq, *log_ns),
        }
    }
}
