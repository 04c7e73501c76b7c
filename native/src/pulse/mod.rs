//! Pulses in a pleth or arterial wave, streaming.
//!
//! The slope sum of Zong, Moody and Mark 2003 ("An open-source algorithm to detect onset of arterial blood pressure
//! pulses", Computers in Cardiology 30): the rise within 128 ms, whose maxima are candidates. A candidate counts when it
//! dominates a quarter of a second on either side and reaches a share of the usual pulse. Relative throughout, so
//! units, gain and offset do not matter. However a stream is cut into pushes, the same pulses come out.

mod detector;

pub use detector::PulseDetector;

/// One pulse.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pulse {
    /// End of the steepest rise, counted from the stream's first sample.
    pub sample: u64,
    /// Its rise, in units of the signal.
    pub rise: f32,
    /// Its rise against the median of the eight before, 0 without any.
    pub relative: f32,
}

/// Why a detector was not made.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum ConfigError {
    /// The windows are a few samples long at the lower rate.
    #[error("fs_hz must be between 20 and 1000, not {0}")]
    Rate(f64),
}
