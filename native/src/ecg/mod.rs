//! R-peak detection in one ECG lead, streaming.
//!
//! One sharp linear filter, maxima of its power within +-200 ms as candidates, and one small learned score per
//! candidate that compares it with this lead's own recent beats. There is no threshold per sample and no search-back,
//! so a beat is emitted at most [`LOOK_AHEAD_S`] after its R peak; only those of the first two seconds come later.
//! All constants are in seconds, and everything a decision uses is relative, so rate, gain, offset and polarity do not
//! matter. However a stream is cut into pushes, the same beats come out, bit for bit.

// A function runs with the wide registers of its caller only where it is a part of it.
#![allow(clippy::inline_always)]

mod bank;
mod clusters;
mod decide;
mod detector;
mod features;
mod front_end;
mod history;
mod judge;
mod math;
mod morphology;
mod network;
#[cfg(test)]
mod properties;
mod pulse;
mod quality;
mod timing;
pub mod training;
mod weights;

pub use bank::{BankOutput, QrsBank};
pub use detector::QrsDetector;
pub use timing::{ConfigError, LOOK_AHEAD_S};

/// What a beat looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum BeatLabel {
    /// Like the patient's usual beats.
    Normal = 0,
    /// Wide and unlike the usual beats, as from a ventricle.
    Ventricular = 1,
    /// Follows a pacing spike.
    Paced = 2,
    /// Too little known, or too much noise, to say.
    Unclassifiable = 3,
}

/// One heartbeat.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Beat {
    /// R peak, counted from the stream's first sample.
    pub sample: u64,
    /// How sure the detector is, 0 to 1.
    pub confidence: f32,
    /// Shape and timing.
    pub label: BeatLabel,
    /// Emitted later than the look-ahead: only for beats of the first two seconds.
    pub late: bool,
}

/// How usable one second of the stream was.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QualitySecond {
    /// First sample of the second, counted from the stream's first sample.
    pub first_sample: u64,
    /// 0 (useless) to 1 (clean).
    pub quality: f32,
    /// Union of the bits in [`reason`].
    pub reasons: u8,
}

/// Why quality is reduced, as bits of [`QualitySecond::reasons`].
pub mod reason {
    /// No change for 200 ms.
    pub const FLAT: u8 = 1;
    /// Stuck at an extreme of the converter.
    pub const SATURATED: u8 = 2;
    /// The electrode is off.
    pub const LEAD_OFF: u8 = 4;
    /// Candidates hard to tell from beats.
    pub const NOISY: u8 = 8;
    /// Samples missing or invalid.
    pub const GAP: u8 = 16;
}

/// What a push appends. Reuse one: the caller clears it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LeadOutput {
    /// Beats in order of their R peaks.
    pub beats: Vec<Beat>,
    /// Finished seconds in order.
    pub quality: Vec<QualitySecond>,
}

impl LeadOutput {
    /// Empties both lists and keeps their memory.
    pub fn clear(&mut self) {
        self.beats.clear();
        self.quality.clear();
    }
}
