//! Desaturations and threshold alarms of an SpO2 series, streaming.
//!
//! Readings come on a fixed grid (0.1 to 10 Hz); NaN and whatever lies outside 50..100 % is "no reading". Values
//! are held as whole thousandths of a percent (`reading`), so that thresholds are exact, `f32` and `f64` give the
//! same answer, and nothing depends on how a series is cut into chunks.
//!
//! - `detector`: desaturation events, as a life cycle (provisional, then exactly one scored event).
//! - `alarms`: absolute limits with delay, hysteresis and `SatSeconds`; missing data as a technical condition.
//! - `indices`: ODI3, ODI4, time below a limit and hypoxic burden, of a night and of the rolling hour.
//! - `series`: all of it for one patient.

mod alarms;
mod detector;
mod fall;
mod indices;
mod limits;
mod median;
mod profile;
mod reading;
mod recent;
mod sat_seconds;
mod series;
mod staircase;
mod watch;

pub use alarms::{SpO2AlarmEvent, SpO2Alarms, SpO2Rule};
pub use detector::DesaturationDetector;
pub use indices::SpO2Indices;
pub use limits::{Limit, SatSecondsConvention, SatSecondsLimit, SpO2Limits};
pub use profile::{Profile, Rules};
pub use series::{SpO2Output, SpO2Series};

use thiserror::Error;

/// Why a detector or a set of limits was refused.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum ConfigError {
    /// Outside what the rules, which are stated in seconds, can be applied to.
    #[error("fs_hz must be a number from 0.1 to 10, not {0}")]
    Rate(f64),
    /// No depth of a fall, or deeper than the range of readings.
    #[error("drop must be a number from 0.5 to 50 points, not {0}")]
    Drop(f64),
    /// No such set of rules.
    #[error("unknown profile {0:?}: standard or sensitive")]
    Profile(String),
    /// A limit, delay or margin that cannot be met or undone.
    #[error("{what} must be a number from {from} to {to}, not {value}")]
    Limit {
        /// Which setting.
        what: &'static str,
        /// Smallest value.
        from: f64,
        /// Largest value.
        to: f64,
        /// What was given.
        value: f64,
    },
}

/// What became of a fall.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DesaturationKind {
    /// Deep and long enough already; a scored event of the same onset follows.
    Provisional,
    /// Recovered.
    Final,
    /// Lasts: not recovered 180 s after its onset, or at the end of the series.
    Sustained,
    /// Cut off by a gap or by a step that no body makes.
    Truncated,
}

impl DesaturationKind {
    /// Its stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Provisional => "provisional",
            Self::Final => "final",
            Self::Sustained => "sustained",
            Self::Truncated => "truncated",
        }
    }
}

/// A fall of SpO2. Indices count samples of the detector's grid from 0, missing ones included;
/// `onset <= nadir_at <= end <= decided`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Desaturation {
    /// What became of it.
    pub kind: DesaturationKind,
    /// Last sample on the level before the fall.
    pub onset: u64,
    /// First sample at the lowest reading.
    pub nadir_at: u64,
    /// Where it had recovered by the hysteresis, or the last sample seen.
    pub end: u64,
    /// SpO2 before the fall, %.
    pub baseline: f64,
    /// Lowest SpO2, %.
    pub nadir: f64,
    /// `baseline - nadir`, points; exact, unlike the difference of the two floats.
    pub drop: f64,
    /// The sample that made it certain.
    pub decided: u64,
    /// Area between baseline and readings from onset to end, points times samples.
    pub area: f64,
}
