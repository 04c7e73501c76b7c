//! Respiration rate from the ECG: breathing modulates the intervals and the size of the QRS.
//!
//! The Lomb-Scargle power (Lomb 1976, Scargle 1982: made for uneven times, so nothing is resampled) of both series over
//! the last 32 s, each scaled to its own total, is added; the highest frequency between 0.1 and 0.65 Hz is the rate.

use std::collections::VecDeque;

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
        self.beats.push_back([time_s, interval_s, size]);
        while self.beats.front().is_some_and(|beat| beat[0] < time_s - WINDOW_S) {
            self.beats.pop_front();
        }
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

/// Adds the Lomb-Scargle power of a series, scaled to a total of 1.
fn add_power(series: &[(f64, f64)], power: &mut [f64; STEPS]) {
    let mut own = [0.0; STEPS];
    for (step, own) in own.iter_mut().enumerate() {
        let omega = std::f64::consts::TAU * (LOWEST_HZ + STEP_HZ * step as f64);
        let (mut sin2, mut cos2) = (0.0, 0.0);
        for (t, _) in series {
            let (sin, cos) = (2.0 * omega * t).sin_cos();
            sin2 += sin;
            cos2 += cos;
        }
        let shift = sin2.atan2(cos2) / (2.0 * omega);
        let (mut ys, mut yc, mut ss, mut cc) = (0.0, 0.0, 0.0, 0.0);
        for &(t, value) in series {
            let (sin, cos) = (omega * (t - shift)).sin_cos();
            ys += value * sin;
            yc += value * cos;
            ss += sin * sin;
            cc += cos * cos;
        }
        *own = yc * yc / f64::max(cc, 1e-9) + ys * ys / f64::max(ss, 1e-9);
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
