//! Random numbers, noise and resampling: MIT-BIH as other patients, devices and rooms might have recorded it.

use crate::records::Record;

/// `SplitMix64`: the same numbers on every machine.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def0)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `low..high`.
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * ((self.next() >> 11) as f64 / (1_u64 << 53) as f64)
    }

    /// Uniform in `0..below`.
    pub fn below(&mut self, below: usize) -> usize {
        (self.uniform(0.0, below as f64) as usize).min(below - 1)
    }

    /// Nearly normal, variance 1: a sum of twelve uniforms needs no library function.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform(-0.5, 0.5)).sum()
    }

    pub fn shuffle<T>(&mut self, values: &mut [T]) {
        for i in (1..values.len()).rev() {
            values.swap(i, self.below(i + 1));
        }
    }
}

/// Two to the power `x`, to 1e-9, by additions and multiplications.
pub fn exp2(x: f64) -> f64 {
    let whole = x.floor();
    let y = (x - whole) * std::f64::consts::LN_2 / 16.0;
    let mut e = 1.0 + y * (1.0 + y / 2.0 * (1.0 + y / 3.0 * (1.0 + y / 4.0 * (1.0 + y / 5.0))));
    for _ in 0..4 {
        e *= e;
    }
    let mut scale = 1.0;
    for _ in 0..whole.abs() as i32 {
        scale *= if whole < 0.0 { 0.5 } else { 2.0 };
    }
    e * scale
}

/// The same record at another rate: each output sample is the mean of the line through the input over its interval.
pub fn resample(record: &Record, fs_hz: f64) -> Record {
    let ratio = record.fs_hz / fs_hz;
    let x = &record.samples;
    let mut area = vec![0.0; x.len()];
    for i in 1..x.len() {
        area[i] = area[i - 1] + 0.5 * (x[i] + x[i - 1]);
    }
    let integral = |t: f64| {
        let i = (t as usize).min(x.len() - 2);
        let u = t - i as f64;
        area[i] + u * (x[i] + 0.5 * u * (x[i + 1] - x[i]))
    };
    let count = ((x.len() - 2) as f64 / ratio) as usize;
    let half = 0.5 * ratio;
    let samples = (0..count)
        .map(|i| {
            let centre = i as f64 * ratio;
            let (from, to) = ((centre - half).max(0.0), (centre + half).min((x.len() - 1) as f64));
            (integral(to) - integral(from)) / (to - from)
        })
        .collect();
    let scaled = |at: i64| (at as f64 / ratio).round() as i64;
    Record {
        name: record.name.clone(),
        fs_hz,
        samples,
        beats: record.beats.iter().map(|&at| scaled(at)).collect(),
        kinds: record.kinds.clone(),
        excluded: record.excluded.iter().map(|&(a, b)| (scaled(a), scaled(b))).collect(),
    }
}

/// Rates that devices use.
const RATES: [f64; 9] = [100.0, 125.0, 128.0, 200.0, 250.0, 256.0, 360.0, 500.0, 1000.0];

/// Electrodes that move, made up: deflections of either sign as wide as beats and waves, some of them lasting steps.
fn motion(random: &mut Random, count: usize, fs_hz: f64) -> Vec<f64> {
    let mut noise = vec![0.0; count];
    let mut at = 0.0;
    let per_second = exp2(random.uniform(0.0, 3.0));
    while (at as usize) < count {
        let rise = random.uniform(0.02, 0.25) * fs_hz;
        let fall =
            if random.uniform(0.0, 1.0) < 0.3 { random.uniform(0.5, 3.0) } else { random.uniform(0.03, 0.3) } * fs_hz;
        let height = random.normal();
        for (i, value) in noise[at as usize..].iter_mut().enumerate().take((rise + 3.0 * fall) as usize) {
            let i = i as f64;
            let shape = if i < rise {
                let u = i / rise;
                u * u * (3.0 - 2.0 * u)
            } else {
                exp2(-1.44 * (i - rise) / fall)
            };
            *value += height * shape;
        }
        at += random.uniform(0.2, 1.8) / per_second * fs_hz;
    }
    noise
}

/// One augmented copy: noise of varying strength in blocks of 20 s, hum, gain changes, another rate, other speed.
pub fn augment(record: &Record, noises: &[Vec<f64>], strongest: f64, seed: u64) -> Record {
    let mut random = Random::new(seed);
    let mut copy = record.clone();
    let mut magnitudes: Vec<f64> = {
        let mut sorted = copy.samples.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let median = sorted[sorted.len() / 2];
        copy.samples.iter().map(|v| (v - median).abs()).collect()
    };
    magnitudes.sort_unstable_by(f64::total_cmp);
    let amplitude = magnitudes[magnitudes.len() * 99 / 100].max(1.0);
    let block = (20.0 * copy.fs_hz) as usize;
    for chunk in copy.samples.chunks_mut(block) {
        if random.uniform(0.0, 1.0) < 0.5 {
            continue;
        }
        let level = amplitude * exp2(random.uniform(-5.3, strongest));
        let kind = random.uniform(0.0, 1.0);
        let noise: Vec<f64> = if kind < 0.2 {
            (0..chunk.len()).map(|_| random.normal()).collect()
        } else if kind < 0.5 {
            motion(&mut random, chunk.len(), copy.fs_hz)
        } else {
            let source = &noises[random.below(noises.len())];
            let from = random.below(source.len() - chunk.len());
            source[from..from + chunk.len()].to_vec()
        };
        let mean = noise.iter().sum::<f64>() / noise.len() as f64;
        let power = noise.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / noise.len() as f64;
        let scale = level / (power.sqrt() + 1e-9);
        for (value, noise) in chunk.iter_mut().zip(&noise) {
            *value += (noise - mean) * scale;
        }
    }
    // a real device's rate, and a heart and body up to 15 % faster or slower
    let rate = RATES[random.below(RATES.len())];
    let speed = random.uniform(0.87, 1.15);
    let claimed = (rate / speed).clamp(100.0, 1000.0);
    let mut copy = resample(&copy, claimed);
    copy.fs_hz = rate.clamp(100.0, 1000.0);
    copy
}
