//! The numbers on which a finding stands, so that a person can check it on the strip.

use crate::state::{Reader, StateError, Writer};

/// What is stated. Names are stable: they are in alert bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Fact {
    /// R-peaks in the stretch of the evidence.
    Beats,
    /// Of them, those that look ventricular.
    VentricularBeats,
    /// Mean quality of its seconds, 0 to 1.
    Quality,
    /// Pulses that a pleth or arterial wave shows over the stretch.
    Pulses,
    /// Their rate, /min.
    PulseRate,
    /// Time without a pulse at its end, s.
    PulseQuietS,
    /// Size of the pulses against those before.
    PulseSize,
    /// How long other signals were waited for or spoke against it, s.
    HeldS,
    /// SpO2 before the fall, %.
    BaselinePct,
    /// Lowest SpO2, %.
    NadirPct,
    /// `log_seq` of the command that set the limits; absent for the defaults.
    LimitsVersion,
}

/// How many there are.
const FACTS: usize = 11;

impl Fact {
    /// All, in the order of their names in a body.
    pub const ALL: [(Self, &'static str); FACTS] = [
        (Self::Beats, "beats"),
        (Self::VentricularBeats, "ventricular_beats"),
        (Self::Quality, "quality"),
        (Self::Pulses, "pulses"),
        (Self::PulseRate, "pulse_rate"),
        (Self::PulseQuietS, "pulse_quiet_s"),
        (Self::PulseSize, "pulse_size"),
        (Self::HeldS, "held_s"),
        (Self::BaselinePct, "baseline_pct"),
        (Self::NadirPct, "nadir_pct"),
        (Self::LimitsVersion, "limits_version"),
    ];
}

/// Facts of one finding; NaN where nothing is stated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evidence([f64; FACTS]);

impl Default for Evidence {
    fn default() -> Self {
        Self([f64::NAN; FACTS])
    }
}

impl Evidence {
    /// States a fact.
    pub fn set(&mut self, fact: Fact, value: f64) -> &mut Self {
        self.0[fact as usize] = value;
        self
    }

    /// States what another states.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine = if theirs.is_nan() { *mine } else { theirs };
        }
    }

    /// What is stated, by name.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, f64)> + '_ {
        Fact::ALL.iter().map(|&(fact, name)| (name, self.0[fact as usize])).filter(|(_, value)| value.is_finite())
    }

    /// Appends the state.
    pub fn write(&self, writer: &mut Writer) {
        writer.put(&self.0);
    }

    /// Reads the state back.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let mut evidence = Self::default();
        reader.fill(&mut evidence.0)?;
        Ok(evidence)
    }
}
