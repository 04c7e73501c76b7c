//! The shape of each QRS: its size, and how like the usual one it is.
//!
//! Relative or in units of the signal, on the wave at about 125 Hz, 120 ms about the R-peak. The usual shape is an
//! exponential average of the beats that look like it, so a run of other beats does not replace it.

use std::collections::VecDeque;

use crate::state::{Reader, StateError, Writer};

/// Rate of the wave that is kept.
const RATE_HZ: f64 = 125.0;
/// Wave kept, s: a beat is asked for at most so long after its R-peak.
const KEPT_S: f64 = 2.5;
/// Half the window about an R-peak, s.
const HALF_S: f64 = 0.12;
/// Weight of a new beat in the usual shape, and the beats that form it first.
const WEIGHT: f32 = 1.0 / 16.0;
const FORMING: u16 = 8;
/// A beat less like the usual shape leaves it alone.
const LIKE: f32 = 0.6;
/// and below this it has another shape.
const UNUSUAL: f32 = 0.5;

/// Sizes that say what is usual, and how many it takes.
const SIZES: usize = 32;
const FEWEST_SIZES: usize = 8;
/// A QRS smaller than this share of the usual one is weak,
const WEAK: f32 = 0.35;
/// and one so small is none: a monitor must not count 0.15 mV (IEC 60601-2-27), the noise of a converter on a flat line.
const LEAST_MV: f32 = 0.15;

/// The shape of one beat.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    /// Largest minus smallest value, in units of the signal.
    pub size: f32,
    /// Correlation with the usual shape, -1 to 1; absent while that is not known.
    pub like_usual: Option<f32>,
    /// Far smaller than the usual QRS: a P wave or noise that was found as a beat, until 16 of 32 are like it. Or too small
    /// for any QRS, if the unit is a millivolt.
    pub weak: bool,
}

impl Shape {
    /// Whether it has another shape than the usual one.
    pub fn unusual(&self) -> bool {
        self.like_usual.is_some_and(|like| like < UNUSUAL)
    }
}

/// Keeps the wave of the last seconds and the usual shape.
#[derive(Debug, Clone)]
pub struct Shapes {
    fs_hz: f64,
    step: u64,
    samples: u64,
    sum: f32,
    /// Means of `step` samples, newest last; NaN where one was invalid.
    wave: VecDeque<f32>,
    usual: Vec<f32>,
    formed: u16,
    /// Sizes of the last beats.
    sizes: VecDeque<f32>,
}

impl Shapes {
    /// For a wave of `fs_hz`.
    pub fn new(fs_hz: f64) -> Self {
        let step = ((fs_hz / RATE_HZ).round() as u64).max(1);
        Self {
            fs_hz,
            step,
            samples: 0,
            sum: 0.0,
            wave: VecDeque::new(),
            usual: Vec::new(),
            formed: 0,
            sizes: VecDeque::new(),
        }
    }

    fn rate_hz(&self) -> f64 {
        self.fs_hz / self.step as f64
    }

    /// Takes the next samples; NaN is invalid.
    pub fn push(&mut self, values: impl IntoIterator<Item = f32>) {
        let most = (KEPT_S * self.rate_hz()) as usize;
        for value in values {
            self.sum += value;
            self.samples += 1;
            if self.samples.is_multiple_of(self.step) {
                if self.wave.len() == most {
                    self.wave.pop_front();
                }
                self.wave.push_back(self.sum / self.step as f32);
                self.sum = 0.0;
            }
        }
    }

    /// Tells that `count` samples were lost.
    pub fn gap(&mut self, count: u64) {
        self.samples = self.samples.saturating_add(count);
        self.wave.clear();
        self.sum = f32::NAN; // what the gap began in is no mean
        if self.samples.is_multiple_of(self.step) {
            self.sum = 0.0;
        }
    }

    /// The shape of a beat of the last two seconds; absent where the wave about it is not whole.
    pub fn beat(&mut self, sample: u64) -> Option<Shape> {
        let half = (HALF_S * self.rate_hz()).round() as usize;
        let kept_from = self.samples / self.step - self.wave.len() as u64;
        let at = (sample / self.step).checked_sub(kept_from)? as usize;
        if at < half || at + half >= self.wave.len() {
            return None;
        }
        let mut window: Vec<f32> = self.wave.range(at - half..=at + half).copied().collect();
        let mean = window.iter().sum::<f32>() / window.len() as f32;
        if !mean.is_finite() {
            return None;
        }
        for value in &mut window {
            *value -= mean;
        }
        let fold = |pick: fn(f32, f32) -> f32| window.iter().copied().fold(0.0, pick);
        let size = fold(f32::max) - fold(f32::min);
        let like_usual = (self.formed == FORMING).then(|| likeness(&window, &self.usual));
        let shape = Shape {
            size,
            weak: size <= LEAST_MV || self.usual_size().is_some_and(|usual| size < WEAK * usual),
            like_usual,
        };
        self.learn(&window, like_usual);
        if self.sizes.len() == SIZES {
            self.sizes.pop_front();
        }
        self.sizes.push_back(size);
        Some(shape)
    }

    /// Mean of the wave between two samples of the last seconds; absent where it is not whole.
    pub fn level(&self, first: u64, end: u64) -> Option<f32> {
        let kept_from = self.samples / self.step - self.wave.len() as u64;
        let from = first.div_ceil(self.step).checked_sub(kept_from)? as usize;
        let to = (end / self.step).checked_sub(kept_from)? as usize;
        if from >= to || to > self.wave.len() {
            return None;
        }
        let mean = self.wave.range(from..to).sum::<f32>() / (to - from) as f32;
        mean.is_finite().then_some(mean)
    }

    /// Median size of the last beats, once there are enough of them.
    pub fn usual_size(&self) -> Option<f32> {
        let mut sizes: Vec<f32> = self.sizes.iter().copied().collect();
        sizes.sort_by(f32::total_cmp);
        sizes.get(sizes.len() / 2).copied().filter(|_| sizes.len() >= FEWEST_SIZES)
    }

    fn learn(&mut self, window: &[f32], like_usual: Option<f32>) {
        if self.usual.is_empty() {
            self.usual = window.to_vec();
        }
        if like_usual.is_some_and(|like| like < LIKE) {
            return;
        }
        let weight = if self.formed < FORMING { 1.0 / f32::from(self.formed + 1) } else { WEIGHT };
        for (usual, new) in self.usual.iter_mut().zip(window) {
            *usual += weight * (new - *usual);
        }
        self.formed = (self.formed + 1).min(FORMING);
    }

    /// Appends the state.
    pub fn write(&self, writer: &mut Writer) {
        writer.one(self.fs_hz).one(self.samples).one(self.sum).one(self.formed);
        let list = |values: &VecDeque<f32>| values.iter().copied().collect::<Vec<_>>();
        for values in [&list(&self.wave), &self.usual, &list(&self.sizes)] {
            writer.one(values.len() as u16).put(values);
        }
    }

    /// Reads the state back.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let fs_hz: f64 = reader.one()?;
        if !(1.0..=10_000.0).contains(&fs_hz) {
            return Err(StateError::Value("rate of a wave"));
        }
        let mut shapes = Self::new(fs_hz);
        shapes.samples = reader.one()?;
        shapes.sum = reader.one()?;
        shapes.formed = reader.one()?;
        let mut lists = [const { Vec::new() }; 3];
        for values in &mut lists {
            *values = vec![0.0_f32; reader.one::<u16>()?.into()];
            reader.fill(values)?;
        }
        let [wave, usual, sizes] = lists;
        if wave.len() as u64 > shapes.samples / shapes.step {
            return Err(StateError::Value("samples of a wave"));
        }
        (shapes.wave, shapes.usual, shapes.sizes) = (wave.into(), usual, sizes.into());
        Ok(shapes)
    }
}

fn likeness(a: &[f32], b: &[f32]) -> f32 {
    if a.len() != b.len() {
        return 0.0;
    }
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let size = (product(a, a) * product(b, b)).sqrt();
    if size > 0.0 { product(a, b) / size } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat_of(width_s: f64, height: f64) -> impl Fn(f64) -> f32 {
        move |t| (height * (-(t / width_s).powi(2)).exp()) as f32
    }

    #[test]
    fn tells_a_wide_beat_from_the_usual_ones() {
        let (narrow, wide) = (beat_of(0.01, 1.0), beat_of(0.05, -1.5));
        let mut shapes = Shapes::new(250.0);
        let mut found = Vec::new();
        for n in 0..30 {
            let near = |t: f64| if n == 20 { wide(t) } else { narrow(t) };
            shapes.push((0..250).map(|at| near(f64::from(at) / 250.0 - 0.5)));
            found.push(shapes.beat(n * 250 + 125).unwrap());
        }
        assert!(found[15].like_usual.unwrap() > 0.99 && !found[15].unusual());
        assert!((found[15].size - 1.0).abs() < 0.1);
        assert!(found[20].like_usual.unwrap() < 0.0 && found[20].unusual());
        assert!(found[25].like_usual.unwrap() > 0.99, "one beat does not change what is usual");
        assert_eq!(shapes.beat(0), None, "forgotten");
    }

    #[test]
    fn reads_back_and_goes_on() {
        let narrow = beat_of(0.01, 1.0);
        let mut shapes = Shapes::new(360.0);
        for n in 0..12 {
            shapes.push((0..360).map(|at| narrow(f64::from(at) / 360.0 - 0.5)));
            shapes.beat(n * 360 + 180);
            let mut writer = Writer::new(*b"TEST", 1);
            shapes.write(&mut writer);
            let bytes = writer.finish();
            let again = Shapes::read(&mut Reader::open(&bytes, *b"TEST", 1).unwrap()).unwrap();
            assert_eq!(format!("{again:?}"), format!("{shapes:?}"));
            shapes = again;
        }
        shapes.gap(1000);
        assert_eq!(shapes.beat(12 * 360 - 180), None);
    }
}
