//! Rhythm alarms from beats, and what a monitor derives from their intervals.
//!
//! [`RhythmMonitor`] turns the beats of one lead into alarms that are raised and cleared by declared rules. It takes
//! no samples and knows no clock: the caller says up to which sample all beats are known, and where nothing may be
//! concluded because the lead was off. Whatever the calls, the same events come out, each with the sample that made it
//! certain and the stretch of the strip on which it stands.

mod af;
mod heart_rate;
mod hrv;
mod limits;
mod monitor;
mod queue;
mod respiration;
mod rules;
mod shape;
mod state;
mod vf;

pub use af::{AF_DELAY_BEATS, AfBeat, AfDetector};
pub use heart_rate::HeartRate;
pub use hrv::{Hrv, HrvWindow};
pub use limits::{ConfigError, RhythmLimits};
pub use monitor::RhythmMonitor;
pub use respiration::{Respiration, RespirationRate};
pub use shape::{Shape, Shapes};
pub use vf::{VfDetector, WaveformSecond};

/// What is alarmed on. Numbers are stable: they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RhythmRule {
    /// No QRS for 4 s of valid signal.
    Asystole = 0,
    /// Below 40 bpm over 5 consecutive beats.
    ExtremeBradycardia = 1,
    /// Above 140 bpm over 17 consecutive beats.
    ExtremeTachycardia = 2,
    /// 5 consecutive beats above 100 bpm, ventricular but for one that is unlike the usual ones.
    VentricularTachycardia = 3,
    /// A fibrillatory, flutter or oscillatory waveform for 4 s.
    VentricularFibrillation = 4,
    /// No QRS for 3 s of valid signal.
    Pause = 5,
    /// Atrial fibrillation by irregular intervals.
    AtrialFibrillation = 6,
    /// The displayed heart rate is below its lower limit.
    Bradycardia = 7,
    /// The displayed heart rate is above its upper limit.
    Tachycardia = 8,
}

impl RhythmRule {
    /// All rules, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Asystole,
        Self::ExtremeBradycardia,
        Self::ExtremeTachycardia,
        Self::VentricularTachycardia,
        Self::VentricularFibrillation,
        Self::Pause,
        Self::AtrialFibrillation,
        Self::Bradycardia,
        Self::Tachycardia,
    ];

    /// Stable name, as in messages and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Asystole => "asystole",
            Self::ExtremeBradycardia => "extreme_bradycardia",
            Self::ExtremeTachycardia => "extreme_tachycardia",
            Self::VentricularTachycardia => "ventricular_tachycardia",
            Self::VentricularFibrillation => "ventricular_fibrillation",
            Self::Pause => "pause",
            Self::AtrialFibrillation => "atrial_fibrillation",
            Self::Bradycardia => "bradycardia",
            Self::Tachycardia => "tachycardia",
        }
    }
}

/// An alarm condition begins or ends. All positions are samples, counted from the stream's first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RhythmEvent {
    /// Which condition.
    pub rule: RhythmRule,
    /// Begins; otherwise it ends.
    pub raised: bool,
    /// Where the condition began; the end of an alarm carries the onset of its beginning.
    pub onset: u64,
    /// The sample that made this certain.
    pub decided: u64,
    /// What was measured: seconds without QRS, beats per minute, or seconds of a waveform.
    pub value: f64,
    /// What it was compared with, in the same unit.
    pub limit: f64,
    /// First sample of the evidence.
    pub evidence_first: u64,
    /// Last sample of the evidence.
    pub evidence_last: u64,
}
