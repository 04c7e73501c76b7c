//! Ventricular flutter and fibrillation on the waveform itself.
//!
//! Each second, the last four seconds are measured: how much is left when the signal is added to itself half a mean
//! period later (VF filter leakage, Kuo and Dillman 1978), the share of samples beyond a fifth of the maximum (threshold
//! crossing, Arafat 2009), and where the power lies. Fibrillation and flutter are nearly sinusoidal, without a flat base
//! line, at 2 to 9 Hz; a QRS rhythm is neither. Half of the window would suffice for that, so none of its four seconds may
//! have a flat base line by itself: three of them are certain then, and the next such second makes four. Thresholds:
//! `VfDetector::fibrillatory`.

use std::collections::VecDeque;

use super::ConfigError;
use crate::state::{Reader, StateError, Writer};

const KIND: [u8; 4] = *b"VFIB";
const VERSION: u16 = 1;
/// Samples per second after averaging.
const RATE_HZ: f64 = 50.0;
/// Seconds measured.
const WINDOW_S: u64 = 4;
const WINDOW: usize = 200;
/// Frequencies looked at: 0.5 to 20 Hz in steps of a quarter.
const BINS: usize = 79;

/// The spectrum costs more than all else together, and says nothing of a waveform with a flat base line or a shape that
/// half a period does not cancel: there a sparing detector leaves it out.
const WAVY_LEAKAGE: f32 = 0.6;
const WAVY_CROSSING: f32 = 0.35;
/// Share of the samples of a single second beyond a fifth of its largest: less in a QRS rhythm.
const SECOND_CROSSING: f32 = 0.4;

/// What the last four seconds look like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WaveformSecond {
    /// One past the last sample of the four seconds.
    pub end: u64,
    /// VF filter leakage: 0 for a sine, near 1 for a QRS rhythm.
    pub leakage: f32,
    /// Share of samples beyond a fifth of the largest.
    pub crossing: f32,
    /// Frequency of most power, Hz. This and the next two may be left out (see [`VfDetector::sparing`]).
    pub dominant_hz: f32,
    /// Share of the power within 0.75 Hz of it.
    pub concentration: f32,
    /// Share of the power between 2 and 9 Hz.
    pub band: f32,
    /// Largest minus smallest value, in units of the signal.
    pub range: f32,
    /// Share of invalid samples.
    pub invalid: f32,
    /// The least `crossing` of any of the four seconds by itself; may be left out, too.
    pub least_second: f32,
}

/// Streaming detector of one lead, for rates from 100 to 1000 Hz.
#[derive(Debug, Clone)]
pub struct VfDetector {
    fs_hz: f64,
    sparing: bool,
    samples: u64,
    /// Means of the last four seconds; NaN where nothing was valid.
    means: VecDeque<f32>,
    sum: f64,
    valid: u32,
}

impl WaveformSecond {
    /// What four fibrillatory seconds prove: of the first and the last of them only the inner half. One past the last
    /// sample comes second.
    pub fn proven(&self, detector: &VfDetector) -> (u64, u64) {
        let samples = |seconds: f64| (seconds * detector.fs_hz) as u64;
        let edge = 0.5;
        (self.end.saturating_sub(samples(WINDOW_S as f64 - edge)), self.end.saturating_sub(samples(edge)))
    }
}

impl VfDetector {
    /// A detector for `fs_hz` samples per second.
    pub fn new(fs_hz: f64) -> Result<Self, ConfigError> {
        if !(100.0..=1000.0).contains(&fs_hz) {
            return Err(ConfigError::Rate(fs_hz));
        }
        Ok(Self { fs_hz, sparing: false, samples: 0, means: VecDeque::new(), sum: 0.0, valid: 0 })
    }

    /// Leaves the spectrum out (its fields are 0) where the waveform cannot be fibrillatory: most of the cost, and of use
    /// only to who describes an ordinary waveform. [`Self::fibrillatory`] says the same. No part of a snapshot.
    #[must_use]
    pub fn sparing(self) -> Self {
        Self { sparing: true, ..self }
    }

    /// Whether four such seconds are ventricular flutter or fibrillation.
    pub fn fibrillatory(second: &WaveformSecond) -> bool {
        second.invalid < 0.1
            && second.leakage < 0.45
            && second.crossing > 0.45
            && second.least_second > SECOND_CROSSING
            && second.band > 0.6
            && (2.0..=9.0).contains(&second.dominant_hz)
    }

    /// Samples pushed so far.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Pushes values in any unit; NaN, infinity and anything beyond 1e12 are invalid.
    pub fn push(&mut self, values: impl IntoIterator<Item = f64>, out: &mut Vec<WaveformSecond>) {
        let mut boundary = self.boundary();
        for value in values {
            if value.abs() < 1e12 {
                self.sum += value;
                self.valid += 1;
            }
            self.samples += 1;
            if self.samples < boundary {
                continue;
            }
            let mean = if self.valid > 0 { (self.sum / f64::from(self.valid)) as f32 } else { f32::NAN };
            (self.sum, self.valid) = (0.0, 0);
            self.keep(mean);
            boundary = self.boundary();
            let ticks = self.ticks();
            if ticks.is_multiple_of(RATE_HZ as u64) && ticks >= WINDOW_S * RATE_HZ as u64 {
                out.push(self.measure());
            }
        }
    }

    /// The number of samples at which the next step ends.
    fn boundary(&self) -> u64 {
        let ticks = self.ticks();
        let mut boundary = (((ticks + 1) as f64 * self.fs_hz / RATE_HZ) as u64).max(self.samples);
        while self.ticks_at(boundary) <= ticks {
            boundary += 1;
        }
        boundary
    }

    /// Tells that `count` samples were lost; of seconds within the gap nothing is said.
    pub fn gap(&mut self, count: u64) {
        let before = self.ticks();
        self.samples = self.samples.saturating_add(count);
        let passed = (self.ticks() - before).min(WINDOW as u64);
        if passed > 0 {
            (self.sum, self.valid) = (0.0, 0);
        }
        for _ in 0..passed {
            self.keep(f32::NAN);
        }
    }

    fn keep(&mut self, mean: f32) {
        if self.means.len() == WINDOW {
            self.means.pop_front();
        }
        self.means.push_back(mean);
    }

    /// Whole steps of a 50th of a second.
    fn ticks(&self) -> u64 {
        self.ticks_at(self.samples)
    }

    fn ticks_at(&self, samples: u64) -> u64 {
        (samples as f64 * RATE_HZ / self.fs_hz) as u64
    }

    fn measure(&self) -> WaveformSecond {
        let invalid = self.means.iter().filter(|mean| mean.is_nan()).count() as f32 / WINDOW as f32;
        let x = centred(&self.means);
        let fold = |f: fn(f32, f32) -> f32| x.iter().copied().fold(0.0, f);
        let range = fold(f32::max) - fold(f32::min);
        let (leakage, crossing) = (leakage(&x), crossing(&x));
        let wavy = !self.sparing || (leakage < WAVY_LEAKAGE && crossing > WAVY_CROSSING);
        let (dominant_hz, concentration, band) = if wavy { spectrum(&x) } else { (0.0, 0.0, 0.0) };
        let least_second = if wavy { least_second(&x) } else { 0.0 };
        WaveformSecond {
            end: self.samples,
            leakage,
            crossing,
            dominant_hz,
            concentration,
            band,
            range,
            invalid,
            least_second,
        }
    }

    /// State as bytes, at most 1 KiB.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut writer = Writer::new(KIND, VERSION);
        writer.one(self.fs_hz).one(self.samples).one(self.sum).one(self.valid).one(self.means.len() as u32);
        for &mean in &self.means {
            writer.one(mean);
        }
        writer.finish()
    }

    /// The detector that wrote these bytes.
    pub fn restore(snapshot: &[u8]) -> Result<Self, StateError> {
        let mut reader = Reader::open(snapshot, KIND, VERSION)?;
        let mut detector = Self::new(reader.one()?).map_err(|_| StateError::Value("sampling rate"))?;
        detector.samples = reader.one()?;
        detector.sum = reader.one()?;
        detector.valid = reader.one()?;
        let count = reader.one::<u32>()? as usize;
        if count > WINDOW || count as u64 != detector.ticks().min(WINDOW as u64) || !detector.sum.is_finite() {
            return Err(StateError::Value("window of a waveform"));
        }
        let mut means = vec![0.0_f32; count];
        reader.fill(&mut means)?;
        detector.means = means.into();
        reader.finish()?;
        Ok(detector)
    }
}

/// Values about a moving mean of one second, which takes the base line away.
fn centred(means: &VecDeque<f32>) -> Vec<f32> {
    let mut last = 0.0;
    let x: Vec<f32> = means
        .iter()
        .map(|&mean| {
            if mean.is_nan() {
                last
            } else {
                last = mean;
                mean
            }
        })
        .collect();
    let half = RATE_HZ as usize / 2;
    let sums: Vec<f64> = std::iter::once(0.0)
        .chain(x.iter().scan(0.0, |sum, &v| {
            *sum += f64::from(v);
            Some(*sum)
        }))
        .collect();
    (0..x.len())
        .map(|at| {
            let (from, to) = (at.saturating_sub(half), (at + half + 1).min(x.len()));
            x[at] - ((sums[to] - sums[from]) / (to - from) as f64) as f32
        })
        .collect()
}

fn leakage(x: &[f32]) -> f32 {
    let size: f32 = x.iter().map(|v| v.abs()).sum();
    let change: f32 = x.windows(2).map(|pair| (pair[1] - pair[0]).abs()).sum();
    if change <= 0.0 {
        return 1.0;
    }
    let half = ((std::f32::consts::PI * size / change).round() as usize).clamp(1, x.len() / 2);
    let pairs = || x.iter().zip(&x[half..]);
    let whole: f32 = pairs().map(|(a, b)| a.abs() + b.abs()).sum();
    pairs().map(|(a, b)| (a + b).abs()).sum::<f32>() / whole.max(f32::MIN_POSITIVE)
}

fn crossing(x: &[f32]) -> f32 {
    beyond(x, 0.2 * largest(x))
}

/// Of each second by itself the same; what is below a tenth of the largest of all is base line.
fn least_second(x: &[f32]) -> f32 {
    let floor = 0.1 * largest(x);
    let seconds = x.chunks_exact(RATE_HZ as usize);
    seconds.map(|second| beyond(second, floor.max(0.2 * largest(second)))).fold(1.0, f32::min)
}

fn largest(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |most, v| most.max(v.abs()))
}

fn beyond(x: &[f32], limit: f32) -> f32 {
    x.iter().filter(|v| v.abs() > limit).count() as f32 / x.len() as f32
}

/// Dominant frequency, share of the power about it, share between 2 and 9 Hz.
fn spectrum(x: &[f32]) -> (f32, f32, f32) {
    let frequency = |bin: usize| 0.5 + 0.25 * bin as f32;
    let power: Vec<f32> = (0..BINS)
        .map(|bin| {
            // Goertzel 1958: the power at one frequency in one multiplication a value.
            let twice = 2.0 * (std::f32::consts::TAU * frequency(bin) / RATE_HZ as f32).cos();
            let (mut before, mut last) = (0.0_f32, 0.0_f32);
            for v in x {
                (before, last) = (last, v + twice * last - before);
            }
            last * last + before * before - twice * last * before
        })
        .collect();
    let total = power.iter().sum::<f32>().max(f32::MIN_POSITIVE);
    let peak = (0..BINS).max_by(|&a, &b| power[a].total_cmp(&power[b])).unwrap_or(0);
    let near: f32 = power[peak.saturating_sub(3)..(peak + 4).min(BINS)].iter().sum();
    let band: f32 = (0..BINS).filter(|&bin| (2.0..=9.0).contains(&frequency(bin))).map(|bin| power[bin]).sum();
    (frequency(peak), near / total, band / total)
}
