//! Which candidates are beats: each is compared with the recent beats and rejects of its own patient, then scored.
//!
//! No threshold per sample and no search-back: every decision falls when its candidate is complete and stands.

use super::features::{Candidate, Level};
use super::history::{Alike, Bank, Inner, LONGEST_RR_S, LastEight, best};
use super::morphology::Rhythm;
use super::pulse::Pulse;
use super::quality::Scale;
use super::timing::Timing;
use crate::state::{Reader, StateError, Writer};

/// Features of a candidate.
pub const FEATURES: usize = 38;
/// Index of the correlation with known beats in the features.
pub(super) const CORRELATION: usize = 9;
const TEMPLATES: usize = 4;
const REJECTED_TEMPLATES: usize = 2;
/// After so long without a beat the expected amplitude falls, quadratically, seconds: an electrode that was moved or
/// garbage that was taken for beats must not silence the lead, and a pause of 6 s must not make beats of P waves.
const PATIENCE_S: f32 = 2.5;
const FALL: f32 = 0.12;
/// Log odds above which a beat may shape the trusted picture.
const TRUSTED: f32 = 4.0;
/// A beat after so much fall starts the amplitudes anew.
const ANEW: f32 = 0.3;
const RECENT: usize = 16;
/// Losses remembered: more than fit into the look-ahead.
const LOST: usize = 7;

/// The picture that only sure beats may change, slowly: minutes of noise leave it as it was.
#[derive(Clone, Default)]
struct Trusted {
    shape: Bank<1>,
    wide_shape: Bank<1>,
    power: f32,
    amplitude: f32,
}

impl Trusted {
    fn features(&self, c: &Candidate, inner: &Inner) -> [f32; 4] {
        if self.shape.is_empty() {
            return [0.8, 0.8, 0.0, 0.0];
        }
        [
            best(&self.shape.compare(inner)),
            best(&self.wide_shape.compare(&Inner::new(&c.wide_shape))),
            (c.level(Level::Power) - self.power).clamp(-3.0, 3.0),
            (c.level(Level::Amplitude) - self.amplitude).clamp(-3.0, 3.0),
        ]
    }

    fn follow(&mut self, c: &Candidate) {
        let part = if self.shape.is_empty() { 1.0 } else { 0.0625 };
        self.power += part * (c.level(Level::Power) - self.power);
        self.amplitude += part * (c.level(Level::Amplitude) - self.amplitude);
        self.shape.follow(&c.shape);
        self.wide_shape.follow(&c.wide_shape);
    }
}

/// Places of the kinds of values in [`History::last`], in the order of the snapshot.
const POWER: usize = 0;
const SHARPNESS: usize = 1;
const AMPLITUDE: usize = 2;
const SLOPE: usize = 3;
const RANGE: usize = 4;
const REJECTED: usize = 5;
const RR: usize = 6;
const KINDS: usize = 7;
/// A power of two, so that the kinds fill vector registers.
const LANES: usize = 8;

/// How like the known shapes a candidate is, from [`History::features`] to [`History::decide`].
pub(super) struct Likeness {
    beats: Alike<TEMPLATES>,
    rejected: Alike<REJECTED_TEMPLATES>,
}

/// What the decision remembers of one lead.
#[derive(Clone, Default)]
pub(super) struct History {
    last: LastEight<LANES>,
    templates: Bank<TEMPLATES>,
    rejected_templates: Bank<REJECTED_TEMPLATES>,
    /// Decimated index and power of the last candidates, by serial number modulo `RECENT`.
    recent: [(u64, f32); RECENT],
    /// Candidates so far.
    serial: u64,
    /// Serial number behind the last beat (0: none yet), its decimated index and power.
    after_beat: u64,
    beat: u64,
    beat_power: f32,
    /// Decimated indices at which stretches were lost, the last ones in turn. Places, not a flag: whether a loss lies
    /// between two beats must not depend on when it was told.
    lost: [u64; LOST],
    losses: u8,
    trusted: Trusted,
    pulse: Pulse,
    /// Strongest candidate of the learning phase.
    pub strongest: f32,
}

impl History {
    pub fn new() -> Self {
        Self { strongest: f32::MIN, ..Self::default() }
    }

    /// A stretch was lost from decimated index `from` on: an interval across it is no RR interval.
    pub fn interrupt(&mut self, from: u64) {
        let last = (usize::from(self.losses) + LOST - 1) % LOST;
        if self.lost[last] != from {
            self.lost[usize::from(self.losses)] = from;
            self.losses = (self.losses + 1) % LOST as u8;
        }
    }

    /// Without any candidate in the learning phase, the first one later sets the amplitude.
    pub fn expect(&mut self, candidate: &Candidate) {
        if self.strongest.to_bits() == f32::MIN.to_bits() {
            self.strongest = candidate.level(Level::Power);
        }
    }

    /// Seconds since the last beat.
    fn since_beat(&self, candidate: &Candidate, t: &Timing) -> Option<f32> {
        (self.after_beat > 0).then(|| candidate.index.saturating_sub(self.beat) as f32 / t.rate_hz)
    }

    /// The features, all relative to this lead's own past, so that gain, offset and polarity cancel.
    pub fn features(&self, c: &Candidate, t: &Timing) -> ([f32; FEATURES], Likeness) {
        let power = c.level(Level::Power);
        let fall = self.fall(c, t);
        let beat_power = self.last.median_or(POWER, self.strongest - 0.2) - fall;
        let from_power = |level| c.level(level) - power + beat_power;
        let reject_power = self.last.median_or(REJECTED, beat_power - 2.0);
        let rr = self.last.median_or(RR, 0.8);
        let since = self.since_beat(c, t).unwrap_or(1.0);
        let neighbours = self.neighbours(c, t);
        let clip = |x: f32| x.clamp(-3.0, 3.0);
        let inner = Inner::new(&c.shape);
        let likeness =
            Likeness { beats: self.templates.compare(&inner), rejected: self.rejected_templates.compare(&inner) };
        let [trusted_shape, trusted_wide, trusted_power, trusted_amplitude] = self.trusted.features(c, &inner);
        let [from_due, elapsed, irregular, since_pulse] = self.pulse.features(c.index, since, t);
        let features = [
            power - beat_power,
            power - reject_power,
            clip(power - c.level(Level::Next)),
            clip(neighbours.previous_ratio),
            since.min(3.0),
            (since / rr).min(3.0),
            if self.after_beat > 0 { power - self.beat_power } else { 0.0 },
            c.level(Level::Sharpness),
            c.level(Level::Sharpness) - self.last.median_or(SHARPNESS, 0.0),
            best(&likeness.beats),
            c.level(Level::Width),
            c.level(Level::Background) - power,
            c.level(Level::Floor) - power,
            c.level(Level::QuietAfter) - power,
            c.level(Level::QuietBefore) - power,
            c.level(Level::Amplitude) - self.last.median_or(AMPLITUDE, from_power(Level::Amplitude)) + fall,
            c.level(Level::Slope) - self.last.median_or(SLOPE, from_power(Level::Slope)) + fall,
            neighbours.last_second,
            c.level(Level::NextAfter),
            neighbours.previous_before,
            clip(power - neighbours.strongest_reject),
            rr,
            c.level(Level::Slope) - c.level(Level::Amplitude),
            beat_power - reject_power,
            best(&likeness.rejected),
            self.last.spread(POWER),
            self.last.spread(RR) / rr,
            c.level(Level::Range) - self.last.median_or(RANGE, from_power(Level::Range)) + fall,
            c.level(Level::Range) - c.level(Level::Amplitude),
            c.level(Level::Step),
            trusted_shape,
            trusted_wide,
            trusted_power,
            trusted_amplitude,
            from_due,
            elapsed,
            irregular,
            since_pulse,
        ];
        (features, likeness)
    }

    /// The rhythm that a beat at this candidate would continue.
    pub fn rhythm(&self, c: &Candidate, t: &Timing) -> Rhythm {
        Rhythm { rr: self.interval(c, t), usual_rr: self.last.median_or(RR, 0.8), spread: self.last.spread(RR) }
    }

    /// Interval since the last beat, if nothing was lost and it is short enough to mean something.
    fn interval(&self, c: &Candidate, t: &Timing) -> Option<f32> {
        let broken = self.lost.iter().any(|&from| from > self.beat && from <= c.index);
        self.since_beat(c, t).filter(|&seconds| !broken && seconds < LONGEST_RR_S)
    }

    /// The lead's own scale.
    pub fn scale(&self) -> Scale {
        let rr = self.last.median_or(RR, 0.8);
        Scale {
            beat_power: self.last.median_or(POWER, if self.strongest > f32::MIN { self.strongest } else { 0.0 }),
            power_spread: self.last.spread(POWER),
            rr_spread: self.last.spread(RR) / rr,
        }
    }

    /// How far the expected amplitude has fallen by now, as a logarithm.
    fn fall(&self, c: &Candidate, t: &Timing) -> f32 {
        let over = (self.since_beat(c, t).unwrap_or(0.0) - PATIENCE_S).clamp(0.0, 10.0);
        FALL * over * over
    }

    /// Takes the decision into account; `likeness` came with the candidate's features.
    pub fn decide(&mut self, c: &Candidate, likeness: &Likeness, score: f32, accepted: bool, t: &Timing) {
        let power = c.level(Level::Power);
        self.recent[(self.serial % RECENT as u64) as usize] = (c.index, power);
        self.serial += 1;
        if !accepted {
            self.last.push(REJECTED, power);
            self.last.settle_one(REJECTED);
            self.rejected_templates.enter(&c.shape, &likeness.rejected);
            return;
        }
        let fall = self.fall(c, t);
        let interval = self.interval(c, t);
        if let Some(seconds) = interval {
            self.last.push(RR, seconds);
        }
        if fall > ANEW {
            for kind in [POWER, AMPLITUDE, SLOPE, RANGE, REJECTED] {
                self.last.clear(kind);
            }
            (self.trusted, self.pulse) = (Trusted::default(), Pulse::default());
        }
        for (kind, level) in [
            (POWER, Level::Power),
            (SHARPNESS, Level::Sharpness),
            (AMPLITUDE, Level::Amplitude),
            (SLOPE, Level::Slope),
            (RANGE, Level::Range),
        ] {
            self.last.push(kind, c.level(level));
        }
        self.last.settle();
        self.last.settle_spreads();
        if score > TRUSTED {
            self.trusted.follow(c);
            self.pulse.follow(c.index, self.beat, interval);
        }
        (self.beat, self.beat_power) = (c.index, power);
        self.after_beat = self.serial;
        self.templates.enter(&c.shape, &likeness.beats);
    }

    fn neighbours(&self, c: &Candidate, t: &Timing) -> Neighbours {
        let power = c.level(Level::Power);
        let mut previous = (f32::MIN, 0.36);
        let mut last_second = 0;
        let mut strongest_reject = f32::MIN;
        for back in 1..=self.serial.min(14) {
            let serial = self.serial - back;
            let (index, other) = self.recent[(serial % RECENT as u64) as usize];
            let seconds = c.index.saturating_sub(index) as f32 / t.rate_hz;
            if seconds > 2.0 {
                break;
            }
            if back <= 3 && seconds <= 0.36 && other > previous.0 {
                previous = (other, seconds);
            }
            if seconds <= 1.0 {
                last_second += 1;
            }
            if serial >= self.after_beat {
                strongest_reject = strongest_reject.max(other);
            }
        }
        Neighbours {
            previous_ratio: if previous.0 > f32::MIN { power - previous.0 } else { 3.0 },
            previous_before: previous.1,
            last_second: last_second as f32,
            strongest_reject,
        }
    }

    pub fn write(&self, writer: &mut Writer) {
        self.last.write(writer, KINDS);
        self.templates.write(writer);
        self.rejected_templates.write(writer);
        self.trusted.shape.write(writer);
        self.trusted.wide_shape.write(writer);
        writer.one(self.trusted.power).one(self.trusted.amplitude);
        self.pulse.write(writer);
        writer.one(self.serial).one(self.after_beat).one(self.beat).one(self.beat_power);
        for &(index, power) in self.recent.iter().take(self.serial as usize) {
            writer.one(index).one(power);
        }
        writer.put(&self.lost).one(self.losses).one(self.strongest);
    }

    pub fn read(reader: &mut Reader) -> Result<Self, StateError> {
        let mut h = Self::new();
        h.last = LastEight::read(reader, KINDS)?;
        (h.templates, h.rejected_templates) = (Bank::read(reader)?, Bank::read(reader)?);
        (h.trusted.shape, h.trusted.wide_shape) = (Bank::read(reader)?, Bank::read(reader)?);
        (h.trusted.power, h.trusted.amplitude) = (reader.one()?, reader.one()?);
        h.pulse = Pulse::read(reader)?;
        (h.serial, h.after_beat, h.beat, h.beat_power) = (reader.one()?, reader.one()?, reader.one()?, reader.one()?);
        for entry in h.recent.iter_mut().take(h.serial as usize) {
            *entry = (reader.one()?, reader.one()?);
        }
        reader.fill(&mut h.lost)?;
        h.losses = reader.one()?;
        h.strongest = reader.one()?;
        let powers =
            h.recent.iter().map(|r| r.1).chain([h.beat_power, h.strongest, h.trusted.power, h.trusted.amplitude]);
        let sane = usize::from(h.losses) < LOST
            && h.serial < 1 << 56
            && h.after_beat <= h.serial
            && powers.into_iter().all(|p| p.abs() < 1e6 || p.to_bits() == f32::MIN.to_bits());
        if sane { Ok(h) } else { Err(StateError::Value("history of a lead")) }
    }
}

struct Neighbours {
    previous_ratio: f32,
    previous_before: f32,
    last_second: f32,
    strongest_reject: f32,
}
