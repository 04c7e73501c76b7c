//! Which candidates are beats: each is compared with the recent beats and rejects of its own patient, then scored.
//!
//! No threshold per sample and no search-back: every decision falls when its candidate is complete and stands.

use super::features::{Candidate, Level, SHAPE, UNIT};
use super::math::median8;
use super::network::FEATURES;
use super::timing::Timing;
use crate::state::{Reader, StateError, Writer};

/// Longer intervals say nothing about the rhythm, seconds.
const LONGEST_RR_S: f32 = 2.5;
/// A shape that correlates better than this belongs to a template.
const SAME_SHAPE: f32 = 0.8;
const TEMPLATES: usize = 4;
const RECENT: usize = 16;

/// The last eight values of one kind and their median.
#[derive(Clone, Copy, Default)]
struct Last8 {
    values: [f32; 8],
    count: u64,
    median: f32,
}

impl Last8 {
    fn push(&mut self, value: f32) {
        self.values[(self.count % 8) as usize] = value;
        self.count += 1;
        self.median = median8(&self.values, self.count.min(8) as usize);
    }

    fn median_or(&self, default: f32) -> f32 {
        if self.count > 0 { self.median } else { default }
    }

    fn write(&self, writer: &mut Writer) {
        writer.one(self.count).put(&self.values);
    }

    fn read(reader: &mut Reader) -> Result<Self, StateError> {
        let mut last = Self { count: reader.one()?, ..Self::default() };
        reader.fill(&mut last.values)?;
        if last.count > 1 << 56 || last.values.iter().any(|v| v.is_nan() || v.abs() > 1e6) {
            return Err(StateError::Value("history of beats"));
        }
        last.median = median8(&last.values, last.count.min(8) as usize);
        Ok(last)
    }
}

/// What the decision remembers of one lead.
#[derive(Clone, Default)]
pub(super) struct History {
    power: Last8,
    sharpness: Last8,
    amplitude: Last8,
    slope: Last8,
    rejected: Last8,
    rr: Last8,
    templates: [[i16; SHAPE]; TEMPLATES],
    /// Templates written so far; the oldest is replaced.
    templates_written: u64,
    /// Decimated index and power of the last candidates, by serial number modulo `RECENT`.
    recent: [(u64, f32); RECENT],
    /// Candidates so far.
    serial: u64,
    /// Serial number behind the last beat (0: none yet), its decimated index and power.
    after_beat: u64,
    beat: u64,
    beat_power: f32,
    /// Whether nothing was lost since that beat.
    unbroken: bool,
    /// Strongest candidate of the learning phase.
    pub strongest: f32,
}

impl History {
    pub fn new() -> Self {
        Self { strongest: f32::MIN, ..Self::default() }
    }

    /// A stretch was lost: the interval across it is no RR interval.
    pub fn interrupt(&mut self) {
        self.unbroken = false;
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

    /// The 24 features, all relative to this lead's own past, so that gain, offset and polarity cancel.
    pub fn features(&self, c: &Candidate, t: &Timing) -> [f32; FEATURES] {
        let power = c.level(Level::Power);
        let beat_power = self.power.median_or(self.strongest - 0.2);
        let from_power = |level| c.level(level) - power + beat_power;
        let reject_power = self.rejected.median_or(beat_power - 2.0);
        let rr = self.rr.median_or(0.8);
        let since = self.since_beat(c, t).unwrap_or(1.0);
        let neighbours = self.neighbours(c, t);
        let best = self.templates().map(|template| correlation(&c.shape, template)).fold(-0.2, f32::max);
        let clip = |x: f32| x.clamp(-3.0, 3.0);
        [
            power - beat_power,
            power - reject_power,
            clip(power - c.level(Level::Next)),
            clip(neighbours.previous_ratio),
            since.min(3.0),
            (since / rr).min(3.0),
            if self.after_beat > 0 { power - self.beat_power } else { 0.0 },
            c.level(Level::Sharpness),
            c.level(Level::Sharpness) - self.sharpness.median_or(0.0),
            best,
            c.level(Level::Width),
            c.level(Level::Background) - power,
            c.level(Level::Floor) - power,
            c.level(Level::QuietAfter) - power,
            c.level(Level::QuietBefore) - power,
            c.level(Level::Amplitude) - self.amplitude.median_or(from_power(Level::Amplitude)),
            c.level(Level::Slope) - self.slope.median_or(from_power(Level::Slope)),
            neighbours.last_second,
            c.level(Level::NextAfter),
            neighbours.previous_before,
            clip(power - neighbours.strongest_reject),
            rr,
            c.level(Level::Slope) - c.level(Level::Amplitude),
            beat_power - reject_power,
        ]
    }

    /// Takes the decision into account.
    pub fn decide(&mut self, c: &Candidate, accepted: bool, t: &Timing) {
        let power = c.level(Level::Power);
        self.recent[(self.serial % RECENT as u64) as usize] = (c.index, power);
        self.serial += 1;
        if accepted {
            if let Some(seconds) = self.since_beat(c, t).filter(|&s| self.unbroken && s < LONGEST_RR_S) {
                self.rr.push(seconds);
            }
            self.power.push(power);
            self.sharpness.push(c.level(Level::Sharpness));
            self.amplitude.push(c.level(Level::Amplitude));
            self.slope.push(c.level(Level::Slope));
            (self.beat, self.beat_power) = (c.index, power);
            (self.after_beat, self.unbroken) = (self.serial, true);
            self.remember_shape(&c.shape);
        } else {
            self.rejected.push(power);
        }
    }

    fn templates(&self) -> impl Iterator<Item = &[i16; SHAPE]> {
        self.templates.iter().take(self.templates_written.min(TEMPLATES as u64) as usize)
    }

    fn remember_shape(&mut self, shape: &[i16; SHAPE]) {
        let mut best = (SAME_SHAPE, None);
        for (place, template) in self.templates().enumerate() {
            let r = correlation(shape, template);
            if r > best.0 {
                best = (r, Some(place));
            }
        }
        if let (_, Some(place)) = best {
            for (old, &new) in self.templates[place].iter_mut().zip(shape) {
                *old = ((i32::from(*old) * 4 + i32::from(new)) / 5) as i16;
            }
        } else {
            self.templates[(self.templates_written % TEMPLATES as u64) as usize] = *shape;
            self.templates_written += 1;
        }
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
        for kind in [&self.power, &self.sharpness, &self.amplitude, &self.slope, &self.rejected, &self.rr] {
            kind.write(writer);
        }
        writer.one(self.templates_written);
        for template in &self.templates {
            writer.put(template);
        }
        for (index, power) in self.recent {
            writer.one(index).one(power);
        }
        writer.one(self.serial).one(self.after_beat).one(self.beat).one(self.beat_power);
        writer.one(u8::from(self.unbroken)).one(self.strongest);
    }

    pub fn read(reader: &mut Reader) -> Result<Self, StateError> {
        let mut h = Self::new();
        for kind in [&mut h.power, &mut h.sharpness, &mut h.amplitude, &mut h.slope, &mut h.rejected, &mut h.rr] {
            *kind = Last8::read(reader)?;
        }
        h.templates_written = reader.one()?;
        for template in &mut h.templates {
            reader.fill(template)?;
        }
        for entry in &mut h.recent {
            *entry = (reader.one()?, reader.one()?);
        }
        (h.serial, h.after_beat, h.beat, h.beat_power) = (reader.one()?, reader.one()?, reader.one()?, reader.one()?);
        let unbroken: u8 = reader.one()?;
        h.unbroken = unbroken == 1;
        h.strongest = reader.one()?;
        let powers = h.recent.iter().map(|r| r.1).chain([h.beat_power, h.strongest]);
        let sane = unbroken < 2
            && h.serial < 1 << 56
            && h.templates_written < 1 << 56
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

/// Best correlation of two unit shapes, shifted by up to two points against each other.
fn correlation(a: &[i16; SHAPE], b: &[i16; SHAPE]) -> f32 {
    let inner = &a[2..SHAPE - 2];
    let product = |shift: usize| -> i32 {
        inner.iter().zip(&b[shift..]).map(|(&x, &y)| i32::from(x) * i32::from(y)).fold(0, i32::wrapping_add)
    };
    let best = (0..5).map(product).max().unwrap_or(0);
    best as f32 / (UNIT * UNIT)
}
