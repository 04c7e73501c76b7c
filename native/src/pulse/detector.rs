//! Slope sum, its maxima, and which of them are pulses.

use std::collections::VecDeque;

use super::{ConfigError, Pulse};
use crate::state::{Reader, StateError, Writer};

const KIND: [u8; 4] = *b"PULS";
const VERSION: u16 = 1;
/// Mean over so long, before differences are taken, seconds.
const SMOOTH_S: f64 = 0.032;
/// Rise within so long, seconds.
const RISE_S: f64 = 0.128;
/// A pulse dominates so long on either side, seconds: 240 bpm.
const REACH_S: f64 = 0.25;
/// Share of the usual rise that a pulse reaches.
const SHARE: f32 = 0.35;
/// After so long without a pulse the usual rise fades, by this factor each second.
const PATIENCE_S: f64 = 2.5;
const FADING: f32 = 0.7;
/// The strongest candidate of the first seconds sets the usual rise.
const LEARNING_S: f64 = 2.0;
/// Rises remembered.
const USUAL: usize = 8;

/// Streaming pulse detector of one wave, for rates from 20 to 1000 Hz.
#[derive(Debug, Clone)]
pub struct PulseDetector {
    fs_hz: f64,
    samples: u64,
    /// Samples of the mean, and smoothed values of the rise, newest last.
    raw: VecDeque<f32>,
    smooth: VecDeque<f32>,
    /// Slope sums around the next candidate, newest last.
    sums: VecDeque<f32>,
    /// Valid samples since the start or the last gap.
    fed: u64,
    /// Rises of the last pulses.
    usual: VecDeque<f32>,
    /// Strongest candidate of the learning phase.
    strongest: f32,
    last: u64,
}

impl PulseDetector {
    /// A detector for `fs_hz` samples per second.
    pub fn new(fs_hz: f64) -> Result<Self, ConfigError> {
        if !(20.0..=1000.0).contains(&fs_hz) {
            return Err(ConfigError::Rate(fs_hz));
        }
        Ok(Self {
            fs_hz,
            samples: 0,
            raw: VecDeque::new(),
            smooth: VecDeque::new(),
            sums: VecDeque::new(),
            fed: 0,
            usual: VecDeque::new(),
            strongest: 0.0,
            last: 0,
        })
    }

    fn count(&self, seconds: f64) -> usize {
        ((seconds * self.fs_hz).round() as usize).max(1)
    }

    /// Samples per second.
    pub fn fs_hz(&self) -> f64 {
        self.fs_hz
    }

    /// Samples pushed so far, gaps included.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Every pulse before this sample has been emitted.
    pub fn certain_until(&self) -> u64 {
        self.samples.saturating_sub(self.count(REACH_S) as u64)
    }

    /// Pushes values in any unit; NaN, infinity and anything beyond 1e12 are invalid.
    pub fn push(&mut self, values: impl IntoIterator<Item = f64>, out: &mut Vec<Pulse>) {
        for value in values {
            if value.abs() < 1e12 {
                self.sample(value as f32, out);
            } else {
                self.gap(1);
            }
        }
    }

    /// Tells that `count` samples were lost: filters start anew, what a usual pulse is stays known.
    pub fn gap(&mut self, count: u64) {
        self.raw.clear();
        self.smooth.clear();
        self.sums.clear();
        self.fed = 0;
        self.samples = self.samples.saturating_add(count);
        self.last = self.samples;
    }

    fn sample(&mut self, value: f32, out: &mut Vec<Pulse>) {
        let (mean, rise, reach) = (self.count(SMOOTH_S), self.count(RISE_S), self.count(REACH_S));
        self.samples += 1;
        self.fed += 1;
        keep(&mut self.raw, value, mean);
        keep(&mut self.smooth, self.raw.iter().sum::<f32>() / self.raw.len() as f32, rise + 1);
        let pairs = self.smooth.iter().zip(self.smooth.iter().skip(1));
        let sum = pairs.map(|(a, b)| (b - a).max(0.0)).sum::<f32>();
        keep(&mut self.sums, sum, 2 * reach + 1);
        if self.fed as usize > 2 * reach {
            self.candidate(reach, out);
        }
    }

    /// Looks whether the sum in the middle of the window is its maximum, and a pulse.
    fn candidate(&mut self, reach: usize, out: &mut Vec<Pulse>) {
        let middle = self.sums[reach];
        let peak = self.sums.iter().take(reach).all(|&sum| sum < middle)
            && self.sums.iter().skip(reach + 1).all(|&sum| sum <= middle);
        let at = self.samples - 1 - reach as u64;
        if !peak {
            return;
        }
        if (at as f64) < LEARNING_S * self.fs_hz {
            self.strongest = self.strongest.max(middle);
        }
        let usual = self.usual_rise();
        let waited_s = at.saturating_sub(self.last) as f64 / self.fs_hz;
        let fading = FADING.powf((waited_s - PATIENCE_S).max(0.0) as f32);
        if middle >= SHARE * usual * fading && middle > 0.0 {
            let relative = if usual > 0.0 { middle / usual } else { 0.0 };
            keep(&mut self.usual, middle, USUAL);
            self.last = at;
            out.push(Pulse { sample: at, rise: middle, relative });
        }
    }

    /// Median of the remembered rises; in the beginning, the strongest candidate seen.
    fn usual_rise(&self) -> f32 {
        if self.usual.len() < USUAL / 2 {
            return self.strongest;
        }
        let mut rises: Vec<f32> = self.usual.iter().copied().collect();
        rises.sort_by(f32::total_cmp);
        rises[rises.len() / 2]
    }

    /// State as bytes, at most 4 KiB up to 1000 Hz.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut writer = Writer::new(KIND, VERSION);
        writer.one(self.fs_hz).put(&[self.samples, self.fed, self.last]).one(self.strongest);
        for values in [&self.raw, &self.smooth, &self.sums, &self.usual] {
            writer.one(values.len() as u32);
            for &value in values {
                writer.one(value);
            }
        }
        writer.finish()
    }

    /// The detector that wrote these bytes.
    pub fn restore(snapshot: &[u8]) -> Result<Self, StateError> {
        let mut reader = Reader::open(snapshot, KIND, VERSION)?;
        let mut detector = Self::new(reader.one()?).map_err(|_| StateError::Value("sampling rate"))?;
        detector.samples = reader.one()?;
        detector.fed = reader.one()?;
        detector.last = reader.one()?;
        detector.strongest = reader.one()?;
        let reach = detector.count(REACH_S);
        let most = [detector.count(SMOOTH_S), detector.count(RISE_S) + 1, 2 * reach + 1, USUAL];
        let rings = [&mut detector.raw, &mut detector.smooth, &mut detector.sums, &mut detector.usual];
        for (ring, most) in rings.into_iter().zip(most) {
            let count = reader.one::<u32>()? as usize;
            if count > most {
                return Err(StateError::Value("windows of a pulse detector"));
            }
            let mut values = vec![0.0_f32; count];
            reader.fill(&mut values)?;
            if !values.iter().all(|value| value.is_finite()) {
                return Err(StateError::Value("values of a pulse detector"));
            }
            *ring = values.into();
        }
        reader.finish()?;
        if detector.fed > detector.samples
            || detector.last > detector.samples
            || (detector.sums.len() as u64) < detector.fed.min(2 * reach as u64 + 1)
        {
            return Err(StateError::Value("sample count of a pulse detector"));
        }
        Ok(detector)
    }
}

fn keep(values: &mut VecDeque<f32>, value: f32, most: usize) {
    if values.len() == most {
        values.pop_front();
    }
    values.push_back(value);
}
