//! Every constant of the detector in seconds, turned into counts for one sampling rate.

use thiserror::Error;

/// Why a detector was not made.
#[derive(Debug, Error, PartialEq)]
pub enum ConfigError {
    /// The filters hold their shape only between these rates, and a snapshot stays under 4 KiB only up to the upper one.
    #[error("fs_hz must be between 100 and 1000, not {0}")]
    Rate(f64),
}

/// From a sample to the emission of a beat on it, seconds: never longer, R refinement included.
pub const LOOK_AHEAD_S: f64 = 0.3;
/// Beats of the first seconds come when the amplitude is known.
const LEARNING_SECONDS: u64 = 2;
/// Shorter invalid stretches hold the last value; longer ones are a gap.
const HOLD_S: f64 = 0.04;
/// After so long without a valid sample everything has settled and the filters stand still.
const IDLE_S: f64 = 3.0;

/// Counts for one rate. `decimated` counts are at about 120 Hz.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Timing {
    /// Samples per second of the input.
    pub fs_hz: f64,
    /// Input samples in one decimated sample.
    pub factor: usize,
    /// Decimated samples per second.
    pub rate_hz: f32,
    /// Distance of the second difference, decimated (25 ms).
    pub lag: usize,
    /// Half the power window, decimated (35 ms).
    pub half_power: usize,
    /// A candidate dominates this many decimated samples on either side (200 ms).
    pub reach: usize,
    /// Half the shape window, decimated (67 ms).
    pub half_shape: usize,
    /// Input samples kept for the R position.
    pub raw_kept: usize,
    /// Decimated samples kept.
    pub decimated_kept: usize,
    /// Energies kept: one second before a candidate.
    pub energy_kept: usize,
    /// Look-ahead in input samples.
    pub look_ahead: usize,
    /// Half the search window for the R position, input samples (60 ms).
    pub half_refine: usize,
    /// A pacing spike falls between these before the R peak, input samples (25 and 120 ms).
    pub before_spike: (usize, usize),
    /// Longest invalid run that is bridged by holding, input samples.
    pub hold: u64,
    /// Invalid samples after which the filters stand still.
    pub idle: u64,
    pub spans: Spans,
}

/// Decimated samples that last so long, rounded down.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spans {
    pub ms60: usize,
    pub ms100: usize,
    pub ms150: usize,
    pub ms200: usize,
    pub ms250: usize,
    pub s1: usize,
}

impl Timing {
    pub fn new(fs_hz: f64) -> Result<Self, ConfigError> {
        if !(100.0..=1000.0).contains(&fs_hz) {
            return Err(ConfigError::Rate(fs_hz));
        }
        let factor = ((fs_hz / 120.0).round() as usize).max(1);
        let rate = fs_hz / factor as f64;
        let count = |seconds: f64| (seconds * rate).round() as usize;
        let (lag, half_power, reach) = (count(0.025), count(0.035), count(0.2));
        let span = |seconds: f32| (seconds * rate as f32) as usize;
        let delay = 1 + lag + half_power + reach;
        let look_ahead = (LOOK_AHEAD_S * fs_hz) as usize;
        Ok(Self {
            fs_hz,
            factor,
            rate_hz: rate as f32,
            lag,
            half_power,
            reach,
            half_shape: count(0.067),
            raw_kept: look_ahead + (0.12 * fs_hz) as usize + 2 * factor + 2,
            decimated_kept: delay + reach + 2,
            energy_kept: rate as usize + reach + 4,
            look_ahead,
            half_refine: (0.06 * fs_hz) as usize,
            before_spike: ((0.025 * fs_hz) as usize, (0.12 * fs_hz) as usize),
            hold: (HOLD_S * fs_hz) as u64,
            idle: (IDLE_S * fs_hz) as u64,
            spans: Spans {
                ms60: span(0.06),
                ms100: span(0.1),
                ms150: span(0.15),
                ms200: span(0.2),
                ms250: span(0.25),
                s1: span(1.0),
            },
        })
    }

    /// Decimated samples between a candidate and the sample that completes its energy window.
    pub fn energy_delay(&self) -> usize {
        1 + self.lag + self.half_power
    }

    /// Decimated index at which second `second` begins.
    pub fn second(&self, second: u64) -> u64 {
        (second as f64 * self.fs_hz / self.factor as f64 + 0.5) as u64 // rounded, without a call into the C library
    }

    /// Decimated index at which the learning phase ends: where a second does, or a second's quality could fall between.
    pub fn learning(&self) -> u64 {
        self.second(LEARNING_SECONDS)
    }

    /// The second that the decimated sample `index` belongs to.
    pub fn second_at(&self, index: u64) -> u64 {
        let near = (index as f64 * self.factor as f64 / self.fs_hz) as u64;
        (near.saturating_sub(1)..=near + 1).rev().find(|&second| self.second(second) <= index).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_look_ahead_holds_at_every_rate() {
        for tenth in 1000..=10_000 {
            let t = Timing::new(f64::from(tenth) / 10.0).unwrap();
            let delay = (t.energy_delay() + t.reach + 1) * t.factor;
            assert!(delay as f64 / t.fs_hz <= LOOK_AHEAD_S, "{} Hz: {delay} samples", t.fs_hz);
            assert!(t.decimated_kept > t.energy_delay() + 2 * t.reach);
        }
        assert!(Timing::new(99.9).is_err() && Timing::new(f64::NAN).is_err() && Timing::new(1000.5).is_err());
    }
}
