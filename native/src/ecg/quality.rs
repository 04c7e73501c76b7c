//! Signal quality, one figure a second: how likely the beats of that second are all right, and what is wrong with it.

use super::math::{extremes, ln, logistic, mean_and_floor};
use super::network::Networks;
use super::reason;
use crate::state::{Reader, StateError, Writer};

/// Features of a second.
pub const FEATURES: usize = 8;
/// A share of a second that counts: 200 ms.
const SHARE: f32 = 0.2;
/// A lead whose second is lost to this share is off when the second before was too.
const OFF: f32 = 0.9;
/// Energy below this share of a beat's is no signal at all: 54 dB down.
const SILENCE: f32 = 0.002;
/// Seconds less likely right than this are noisy.
const NOISY: f32 = 0.9;
/// After a second with log odds of being right below the first, a beat needs more than even odds; below the second it
/// needs the most.
const GATE_BEGINS: f32 = 2.5;
const GATE_FULL: f32 = 0.0;

/// What the samples of a second say by themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Samples {
    /// Share of invalid samples.
    pub invalid: f32,
    /// Share at the largest or smallest value so far.
    pub rail: f32,
}

/// Counts invalid and railed samples by second, at the decimated rate, ahead of the decisions by less than a second.
#[derive(Clone, Copy, Default)]
pub(super) struct Tally {
    /// Extremes so far, relative to the anchor.
    high: f32,
    low: f32,
    /// Invalid and railed samples of the last seconds, by second modulo 4: a block of samples may begin a third one
    /// before the oldest is closed.
    counts: [[u16; 2]; 4],
}

impl Tally {
    /// Counts samples that all lie in second `second`.
    pub fn count(&mut self, second: u64, samples: &[f32], held: bool) {
        let counts = &mut self.counts[(second % 4) as usize];
        if held {
            counts[0] += samples.len() as u16;
            return;
        }
        let (low, high) = extremes(samples);
        if high < self.high && low > self.low {
            return;
        }
        for &sample in samples {
            counts[1] += u16::from(sample.to_bits() == self.high.to_bits() || sample.to_bits() == self.low.to_bits());
            self.high = self.high.max(sample);
            self.low = self.low.min(sample);
        }
    }

    /// The anchor moved.
    pub fn shift(&mut self, shift: f32) {
        self.high -= shift;
        self.low -= shift;
    }

    /// Takes the counts of a second that had `of` samples.
    pub fn take(&mut self, second: u64, of: usize) -> Samples {
        let [invalid, rail] = std::mem::take(&mut self.counts[(second % 4) as usize]);
        Samples { invalid: f32::from(invalid) / of as f32, rail: f32::from(rail) / of as f32 }
    }

    pub fn write(&self, writer: &mut Writer) {
        writer.one(self.high).one(self.low).put(self.counts.as_flattened());
    }

    pub fn read(reader: &mut Reader) -> Result<Self, StateError> {
        let mut tally = Self { high: reader.one()?, low: reader.one()?, ..Self::default() };
        reader.fill(tally.counts.as_flattened_mut())?;
        let sane = tally.counts.as_flattened().iter().all(|&count| count < 1000);
        if sane && tally.high.is_finite() && tally.low.is_finite() {
            Ok(tally)
        } else {
            Err(StateError::Value("counts of a second"))
        }
    }
}

/// A second whose candidates have all been found.
pub(super) struct Second<'a> {
    /// First input sample, counted by the front end.
    pub first_sample: u64,
    pub samples: Samples,
    /// Mean energy, and mean of the least in each quarter.
    pub mean: f32,
    pub floor: f32,
    /// Energies of the second.
    pub energy: &'a [f32],
}

impl<'a> Second<'a> {
    pub fn new(first_sample: u64, samples: Samples, energy: &'a [f32]) -> Self {
        let (mean, floor) = mean_and_floor(energy);
        Self { first_sample, samples, mean, floor, energy }
    }
}

/// What the decisions of the current second were like.
#[derive(Clone, Copy, Default)]
pub(super) struct Decisions {
    candidates: u16,
    beats: u16,
    /// Sum and least of the candidates' certainty, 0 to 1.
    certainty: f32,
    doubt: f32,
    /// Sum of the beats' correlation with known shapes.
    correlation: f32,
    /// Whether the second before was lost.
    lost: bool,
    /// Log odds that a beat needs after the quality of the second before.
    gate: f32,
}

/// The lead's own scale.
#[derive(Clone, Copy)]
pub(super) struct Scale {
    /// ln of the energy of a usual beat.
    pub beat_power: f32,
    pub power_spread: f32,
    pub rr_spread: f32,
}

impl Decisions {
    /// Starts a second after one of this quality (log odds of being right).
    pub fn after(right: f32, most: f32) -> Self {
        let gate = most * ((GATE_BEGINS - right) / (GATE_BEGINS - GATE_FULL)).clamp(0.0, 1.0);
        Self { gate, ..Self::default() }
    }

    /// Log odds that a beat needs.
    pub fn gate(&self) -> f32 {
        self.gate
    }

    /// Adds a decided candidate.
    pub fn add(&mut self, score: f32, accepted: bool, correlation: f32) {
        let certainty = score.abs().min(8.0) / 8.0;
        self.candidates += 1;
        self.certainty += certainty;
        self.doubt = self.doubt.max(1.0 - certainty);
        if accepted {
            self.beats += 1;
            self.correlation += correlation;
        }
    }

    /// The eight features of the second.
    pub fn features(&self, second: &Second, scale: Scale) -> [f32; FEATURES] {
        let relative = |energy: f32| (ln(energy) - scale.beat_power).clamp(-8.0, 4.0);
        [
            if self.candidates > 0 { self.certainty / f32::from(self.candidates) } else { 0.5 },
            self.doubt,
            relative(second.mean),
            relative(second.floor),
            f32::from(self.candidates - self.beats),
            if self.beats > 0 { self.correlation / f32::from(self.beats) } else { 0.5 },
            scale.power_spread.min(2.0),
            scale.rr_spread.min(1.0),
        ]
    }

    /// Quality and reasons; starts the next second.
    pub fn close(&mut self, second: &Second, scale: Scale, networks: &Networks) -> (f32, u8) {
        let Samples { invalid, rail } = second.samples;
        let silence = SILENCE * exp_bound(scale.beat_power);
        let silent = second.energy.iter().map(|&energy| u32::from(energy <= silence)).sum::<u32>();
        let flat = (silent as f32 / second.energy.len().max(1) as f32 - invalid).max(0.0);
        let lost = invalid.max(rail).max(flat);
        let [odds] = networks.quality.score(&self.features(second, scale));
        let right = logistic(odds);
        let mut reasons = 0;
        let mut set = |bit: u8, holds: bool| reasons |= if holds { bit } else { 0 };
        set(reason::GAP, invalid > 0.0);
        set(reason::SATURATED, rail > SHARE);
        set(reason::FLAT, flat > 1.0 - SHARE && rail <= SHARE);
        set(reason::LEAD_OFF, lost > OFF && self.lost);
        set(reason::NOISY, right < NOISY && lost < OFF);
        let unusable = if rail > SHARE || flat > 1.0 - SHARE { lost } else { invalid };
        *self = Self { lost: lost > OFF, ..Self::after(odds, networks.gate) };
        (right * (1.0 - unusable), reasons)
    }

    pub fn write(&self, writer: &mut Writer) {
        writer.one(self.candidates).one(self.beats).one(self.certainty).one(self.doubt).one(self.correlation);
        writer.one(u8::from(self.lost)).one(self.gate);
    }

    pub fn read(reader: &mut Reader) -> Result<Self, StateError> {
        let decisions = Self {
            candidates: reader.one()?,
            beats: reader.one()?,
            certainty: reader.one()?,
            doubt: reader.one()?,
            correlation: reader.one()?,
            lost: match reader.one::<u8>()? {
                0 => false,
                1 => true,
                _ => return Err(StateError::Value("decisions of a second")),
            },
            gate: reader.one()?,
        };
        let sums = [decisions.certainty, decisions.doubt, decisions.correlation, decisions.gate];
        let sane = decisions.beats <= decisions.candidates
            && decisions.candidates < 1000
            && sums.iter().all(|sum| sum.abs() < 1e6);
        if sane { Ok(decisions) } else { Err(StateError::Value("decisions of a second")) }
    }
}

/// e to the power `x`, from the logistic: good enough for a threshold.
fn exp_bound(x: f32) -> f32 {
    let p = logistic(-x.abs());
    let small = p / (1.0 - p);
    if x < 0.0 { small } else { 1.0 / small }
}
