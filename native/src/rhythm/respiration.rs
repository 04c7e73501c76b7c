//! Respiration rate from the ECG: breathing modulates the intervals and the size of the QRS.
//!
//! The Lomb-Scargle power (Lomb 1976, Scargle 1982: made for uneven times, so nothing is resampled) of both series over
//! the last 32 s, each scaled to its own total, is added; the highest frequency between 0.1 and 0.65 Hz is the rate.

use std::collections::VecDeque;

use crate::state::{Reader, StateError, Writer};

/// Beats at most: 32 s at 300/min.
const MOST: usize = 160;
/// Seconds of beats.
const WINDOW_S: f64 = 32.0;
/// Frequencies, Hz.
const LOWEST_HZ: f64 = 0.1;
const STEP_HZ: f64 = 0.01;
const STEPS: usize = 56;
/// Fewest beats in the window.
const FEWEST: usize = 12;

/// Beats of the last half minute.
#[derive(Debug, Clone, Default)]
pub struct Respiration {
    /// Time, interval to the beat before (NaN if unknown), size of the QRS; seconds and any unit.
    beats: VecDeque<[f64; 3]>,
}

/// A rate and how clearly it stands out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RespirationRate {
    /// Breaths per minute.
    pub rate_per_min: f64,
    /// Share of the power within 0.05 Hz of it, 0 to 1.
    pub quality: f64,
}

impl Respiration {
    /// Takes a beat at `time_s`: interval to the one before, NaN across invalid signal or at ectopy; size of its QRS.
    pub fn push(&mut self, time_s: f64, interval_s: f64, size: f64) {
        if !time_s.is_finite() {
            return;
        }
        // Single precision, so that a restart in between changes nothing.
        self.beats.push_back([time_s, f64::from(interval_s as f32), f64::from(size as f32)]);
        while self.beats.len() > MOST || self.beats.front().is_some_and(|beat| beat[0] < time_s - WINDOW_S) {
            self.beats.pop_front();
        }
    }

    /// Appends the state; intervals and sizes as single precision.
    pub fn write(&self, writer: &mut Writer) {
        writer.one(self.beats.len() as u8);
        for beat in &self.beats {
            writer.one(beat[0]).put(&[beat[1] as f32, beat[2] as f32]);
        }
    }

    /// Reads the state back.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let mut beats = VecDeque::new();
        for _ in 0..reader.one::<u8>()? {
            let (time_s, rest) = (reader.one::<f64>()?, [reader.one::<f32>()?, reader.one::<f32>()?]);
            if !time_s.is_finite() {
                return Err(StateError::Value("time of a beat"));
            }
            beats.push_back([time_s, rest[0].into(), rest[1].into()]);
        }
        Ok(Self { beats })
    }

    /// The rate over the last half minute; absent without enough beats.
    pub fn rate(&self) -> Option<RespirationRate> {
        let mut power = [0.0; STEPS];
        for field in 1..3 {
            let series: Vec<(f64, f64)> =
                self.beats.iter().filter(|beat| beat[field].is_finite()).map(|beat| (beat[0], beat[field])).collect();
            if series.len() >= FEWEST {
                add_power(&tamed(&series), &mut power);
            }
        }
        let total: f64 = power.iter().sum();
        let peak = (0..STEPS).max_by(|&a, &b| power[a].total_cmp(&power[b])).filter(|_| total > 0.0)?;
        let near: f64 = power[peak.saturating_sub(5)..(peak + 6).min(STEPS)].iter().sum();
        let rate_per_min = 60.0 * (LOWEST_HZ + STEP_HZ * peak as f64);
        Some(RespirationRate { rate_per_min, quality: near / total })
    }
}

/// Without trend, and without values far from the median: an ectopic beat would fill the spectrum.
fn tamed(series: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let middle = median(series.iter().map(|point| point.1).collect());
    let spread = median(series.iter().map(|point| (point.1 - middle).abs()).collect());
    let clipped = |value: f64| value.clamp(middle - 5.0 * spread, middle + 5.0 * spread);
    let count = series.len() as f64;
    let mean_t = series.iter().map(|point| point.0).sum::<f64>() / count;
    let mean = series.iter().map(|point| clipped(point.1)).sum::<f64>() / count;
    let (mut along, mut across) = (0.0, 0.0);
    for &(t, value) in series {
        along += (t - mean_t) * (t - mean_t);
        across += (t - mean_t) * (clipped(value) - mean);
    }
    let slope = if along > 0.0 { across / along } else { 0.0 };
    series.iter().map(|&(t, value)| (t, clipped(value) - mean - slope * (t - mean_t))).collect()
}

/// Adds the Lomb-Scargle power of a series, scaled to a total of 1: the least-squares fit of a sine and a cosine at each
/// frequency. Sines and cosines of the next frequency come by one rotation, which spares most of the time.
fn add_power(series: &[(f64, f64)], power: &mut [f64; STEPS]) {
    let angle = |hz: f64, t: f64| (std::f64::consts::TAU * hz * t).sin_cos();
    let origin = series.first().map_or(0.0, |point| point.0);
    let mut waves: Vec<[f64; 4]> = series
        .iter()
        .map(|&(t, _)| {
            let ((sin, cos), (turn_sin, turn_cos)) = (angle(LOWEST_HZ, t - origin), angle(STEP_HZ, t - origin));
            [sin, cos, turn_sin, turn_cos]
        })
        .collect();
    let mut own = [0.0; STEPS];
    for own in &mut own {
        let [mut ys, mut yc, mut ss, mut cc, mut sc] = [0.0; 5];
        for (wave, &(_, value)) in waves.iter_mut().zip(series) {
            let [sin, cos, turn_sin, turn_cos] = *wave;
            ys += value * sin;
            yc += value * cos;
            ss += sin * sin;
            cc += cos * cos;
            sc += sin * cos;
            (wave[0], wave[1]) = (sin * turn_cos + cos * turn_sin, cos * turn_cos - sin * turn_sin);
        }
        *own = (yc * yc * ss + ys * ys * cc - 2.0 * yc * ys * sc) / f64::max(cc * ss - sc * sc, 1e-9);
    }
    let total: f64 = own.iter().sum();
    if total > 0.0 {
        for (power, own) in power.iter_mut().zip(own) {
            *power += own / total;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_rate_that_modulates_intervals_or_sizes() {
        for (rate, by_interval, by_size) in [(12.0, 0.04, 0.0), (18.0, 0.0, 0.1), (27.0, 0.02, 0.05)] {
            let (mut respiration, mut t) = (Respiration::default(), 0.0);
            for _ in 0..60 {
                let phase = (std::f64::consts::TAU * rate / 60.0 * t).sin();
                let interval = 0.7 + by_interval * phase;
                t += interval;
                respiration.push(t, interval, 1.0 + by_size * phase);
            }
            let found = respiration.rate().unwrap();
            assert!((found.rate_per_min - rate).abs() < 1.0, "{rate}: {found:?}");
            assert!(found.quality > 0.5);
        }
    }

    #[test]
    fn says_nothing_without_beats_or_modulation() {
        let mut respiration = Respiration::default();
        assert_eq!(respiration.rate(), None);
        for n in 0..40 {
            respiration.push(f64::from(n) * 0.8, f64::NAN, f64::NAN);
        }
        assert_eq!(respiration.rate(), None);
    }
}
