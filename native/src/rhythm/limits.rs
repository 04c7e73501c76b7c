//! What a patient's rhythm is watched for. Every number can be set per patient and changed at run time.

use thiserror::Error;

use crate::state::{Reader, StateError, Writer};

/// Why limits or a rate were refused.
#[derive(Debug, Error, PartialEq)]
pub enum ConfigError {
    /// Positions would not be meaningful.
    #[error("fs_hz must be between 1 and 10000, not {0}")]
    Rate(f64),
    /// Name of the limit, what it may be, what it was.
    #[error("{0} must be {1}, not {2}")]
    Limit(&'static str, &'static str, f64),
}

/// Most beats that a rule may ask for; the monitor remembers so many.
pub(super) const BEATS_KEPT: usize = 24;

/// Limits of the rhythm rules. Defaults: the definitions of the PhysioNet/CinC Challenge
/// 2015 (clinical digest 2.1).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RhythmLimits {
    /// Seconds of valid signal without QRS.
    pub asystole_s: f64,
    /// Seconds of valid signal without QRS; infinity switches the rule off.
    pub pause_s: f64,
    /// Beats per minute; 0 switches the rule off.
    pub extreme_bradycardia_bpm: f64,
    /// Consecutive beats, 2 to 24.
    pub extreme_bradycardia_beats: u8,
    /// Beats per minute; infinity switches the rule off.
    pub extreme_tachycardia_bpm: f64,
    /// Consecutive beats, 2 to 24.
    pub extreme_tachycardia_beats: u8,
    /// Beats per minute; infinity switches the rule off.
    pub ventricular_bpm: f64,
    /// Consecutive ventricular beats, 2 to 24; every fifth may be one that is only unlike the usual ones.
    pub ventricular_beats: u8,
    /// Seconds of a fibrillatory waveform.
    pub fibrillation_s: f64,
    /// Lower limit of the displayed heart rate; 0 switches the rule off.
    pub low_bpm: f64,
    /// Upper limit of the displayed heart rate; infinity switches the rule off.
    pub high_bpm: f64,
    /// A rate alarm clears when the rate is so far inside its limit.
    pub clear_margin_bpm: f64,
    /// Seconds of atrial fibrillation before it is reported; infinity switches the rule off.
    pub atrial_fibrillation_s: f64,
}

impl Default for RhythmLimits {
    fn default() -> Self {
        Self {
            asystole_s: 4.0,
            pause_s: 3.0,
            extreme_bradycardia_bpm: 40.0,
            extreme_bradycardia_beats: 5,
            extreme_tachycardia_bpm: 140.0,
            extreme_tachycardia_beats: 17,
            ventricular_bpm: 100.0,
            ventricular_beats: 5,
            fibrillation_s: 4.0,
            low_bpm: 50.0,
            high_bpm: 120.0,
            clear_margin_bpm: 5.0,
            atrial_fibrillation_s: 30.0,
        }
    }
}

impl RhythmLimits {
    /// Refuses limits that no rule could keep.
    pub fn checked(self) -> Result<Self, ConfigError> {
        let seconds = [
            ("asystole_s", self.asystole_s),
            ("pause_s", self.pause_s),
            ("fibrillation_s", self.fibrillation_s),
            ("atrial_fibrillation_s", self.atrial_fibrillation_s),
        ];
        for (name, value) in seconds {
            if value.is_nan() || value < 1.0 {
                return Err(ConfigError::Limit(name, "at least 1", value));
            }
        }
        let rates = [
            ("extreme_bradycardia_bpm", self.extreme_bradycardia_bpm),
            ("extreme_tachycardia_bpm", self.extreme_tachycardia_bpm),
            ("ventricular_bpm", self.ventricular_bpm),
            ("low_bpm", self.low_bpm),
            ("high_bpm", self.high_bpm),
        ];
        for (name, value) in rates {
            if value.is_nan() || value < 0.0 {
                return Err(ConfigError::Limit(name, "0 or more", value));
            }
        }
        if !(0.0..=100.0).contains(&self.clear_margin_bpm) {
            return Err(ConfigError::Limit("clear_margin_bpm", "between 0 and 100", self.clear_margin_bpm));
        }
        let beats = [
            ("extreme_bradycardia_beats", self.extreme_bradycardia_beats),
            ("extreme_tachycardia_beats", self.extreme_tachycardia_beats),
            ("ventricular_beats", self.ventricular_beats),
        ];
        for (name, value) in beats {
            if !(2..=BEATS_KEPT as u8).contains(&value) {
                return Err(ConfigError::Limit(name, "between 2 and 24", value.into()));
            }
        }
        Ok(self)
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.put(&[self.asystole_s, self.pause_s, self.extreme_bradycardia_bpm, self.extreme_tachycardia_bpm]);
        writer.put(&[self.ventricular_bpm, self.fibrillation_s, self.low_bpm, self.high_bpm]);
        writer.put(&[self.clear_margin_bpm, self.atrial_fibrillation_s]);
        writer.put(&[self.extreme_bradycardia_beats, self.extreme_tachycardia_beats, self.ventricular_beats]);
    }

    pub(super) fn read(reader: &mut Reader) -> Result<Self, StateError> {
        let mut real = [0.0_f64; 10];
        reader.fill(&mut real)?;
        let mut beats = [0_u8; 3];
        reader.fill(&mut beats)?;
        let limits = Self {
            asystole_s: real[0],
            pause_s: real[1],
            extreme_bradycardia_bpm: real[2],
            extreme_tachycardia_bpm: real[3],
            ventricular_bpm: real[4],
            fibrillation_s: real[5],
            low_bpm: real[6],
            high_bpm: real[7],
            clear_margin_bpm: real[8],
            atrial_fibrillation_s: real[9],
            extreme_bradycardia_beats: beats[0],
            extreme_tachycardia_beats: beats[1],
            ventricular_beats: beats[2],
        };
        limits.checked().map_err(|_| StateError::Value("rhythm limits"))
    }
}
