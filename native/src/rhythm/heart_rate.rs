//! The beats last seen, and the heart rate that a monitor shows.

use std::collections::VecDeque;

use super::limits::BEATS_KEPT;
use crate::state::{Reader, StateError, Writer};

/// RR intervals in the displayed rate (bedside monitors: clinical digest 2.2, S31).
const AVERAGED: usize = 12;
/// RR intervals when the last three are slow.
const AVERAGED_SLOW: usize = 4;
/// A slow RR interval, seconds.
const SLOW_S: f64 = 1.2;
/// RR intervals at most in a run of ventricular beats.
const AVERAGED_RUN: usize = 8;
/// Ventricular beats that make a run.
const RUN: usize = 3;
/// Beats of a ventricular run among which one may be another.
const OTHERS: usize = 5;

/// One beat of the recent past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Past {
    pub sample: u64,
    pub ventricular: bool,
    /// Its shape is not the usual one.
    pub unusual: bool,
    /// Nothing invalid lies between this beat and the one before.
    pub joined: bool,
}

/// The last [`BEATS_KEPT`] beats.
#[derive(Debug, Clone, Default)]
pub(super) struct Beats(VecDeque<Past>);

/// Consecutive beats without invalid signal between them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Run {
    pub first: u64,
    pub last: u64,
    pub rate_bpm: f64,
}

impl Beats {
    pub fn push(&mut self, beat: Past) {
        if self.0.len() == BEATS_KEPT {
            self.0.pop_front();
        }
        self.0.push_back(beat);
    }

    pub fn last(&self) -> Option<Past> {
        self.0.back().copied()
    }

    /// The last `count` beats and their mean rate, if they are joined.
    pub fn run(&self, count: usize, fs_hz: f64) -> Option<Run> {
        let first = self.0.len().checked_sub(count)?;
        let run = || self.0.iter().skip(first);
        if count < 2 || !run().skip(1).all(|beat| beat.joined) {
            return None;
        }
        let (first, last) = (self.0[first].sample, self.0.back()?.sample);
        Some(Run { first, last, rate_bpm: 60.0 * fs_hz * (count - 1) as f64 / (last - first) as f64 })
    }

    /// Beats in a stretch, and the ventricular ones among them.
    pub fn between(&self, first: u64, last: u64) -> (u32, u32) {
        let inside = || self.0.iter().filter(|beat| (first..=last).contains(&beat.sample));
        (inside().count() as u32, inside().filter(|beat| beat.ventricular).count() as u32)
    }

    /// Ventricular beats at the end, without another between.
    pub fn ventricular_run(&self) -> usize {
        self.0.iter().rev().take_while(|beat| beat.ventricular).count()
    }

    /// Whether the last `count` beats are ventricular. One in five may be any other that is no usual one either: a
    /// fusion beat, or one whose label was missed (`docs/benchmarks/rhythm_alarms.md`).
    pub fn ventricular(&self, count: usize) -> bool {
        let run = || self.0.iter().rev().take(count);
        let others = run().filter(|beat| !beat.ventricular).count();
        self.0.len() >= count && others <= count / OTHERS && run().all(|beat| beat.ventricular || beat.unusual)
    }

    /// The rate that a bedside monitor shows: over the last 12 RR intervals; over 4 when three in a row are longer
    /// than 1.2 s; over those of a run of ventricular beats, at most 8. Intervals across invalid signal do not count.
    pub fn displayed(&self, fs_hz: f64) -> Option<Run> {
        let pairs = self.0.iter().zip(self.0.iter().skip(1)).rev();
        let joined = || pairs.clone().take_while(|(_, beat)| beat.joined);
        let slow = joined().take(3).filter(|(a, b)| (b.sample - a.sample) as f64 > SLOW_S * fs_hz).count() == 3;
        let ventricular = self.ventricular_run();
        let most = match ventricular {
            RUN.. => (ventricular - 1).min(AVERAGED_RUN),
            _ if slow => AVERAGED_SLOW,
            _ => AVERAGED,
        };
        let count = joined().take(most).count();
        self.run(count + 1, fs_hz)
    }

    pub fn write(&self, writer: &mut Writer) {
        writer.one(self.0.len() as u8);
        for beat in &self.0 {
            writer
                .one(beat.sample)
                .one(u8::from(beat.ventricular) | u8::from(beat.joined) << 1 | u8::from(beat.unusual) << 2);
        }
    }

    pub fn read(reader: &mut Reader) -> Result<Self, StateError> {
        let count: u8 = reader.one()?;
        let mut beats = Self::default();
        for _ in 0..count {
            let (sample, flags) = (reader.one::<u64>()?, reader.one::<u8>()?);
            if beats.last().is_some_and(|last| last.sample >= sample) || flags > 7 {
                return Err(StateError::Value("beats of the recent past"));
            }
            let [ventricular, joined, unusual] = [1, 2, 4].map(|flag| flags & flag != 0);
            beats.push(Past { sample, ventricular, unusual, joined });
        }
        Ok(beats)
    }
}

/// The displayed heart rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeartRate {
    /// Beats per minute.
    pub rate_bpm: f64,
    /// First beat of the average.
    pub first: u64,
    /// Last beat of the average.
    pub last: u64,
}

impl From<Run> for HeartRate {
    fn from(run: Run) -> Self {
        Self { rate_bpm: run.rate_bpm, first: run.first, last: run.last }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beats(intervals_s: &[f64], ventricular: usize) -> Beats {
        let mut beats = Beats::default();
        let mut at = 0.0;
        for (index, interval) in std::iter::once(&0.0).chain(intervals_s).enumerate() {
            at += interval * 1000.0;
            let ventricular = index + ventricular > intervals_s.len();
            beats.push(Past { sample: at as u64, ventricular, unusual: false, joined: index > 0 });
        }
        beats
    }

    fn displayed(intervals_s: &[f64], ventricular: usize) -> f64 {
        beats(intervals_s, ventricular).displayed(1000.0).unwrap().rate_bpm
    }

    #[test]
    fn averages_twelve_intervals() {
        let mut intervals = vec![0.5; 8];
        intervals.extend([1.0; 12]);
        assert!((displayed(&intervals, 0) - 60.0).abs() < 1e-9);
    }

    #[test]
    fn a_slow_rhythm_shows_after_three_intervals() {
        let mut intervals = vec![0.75; 12];
        intervals.extend([1.5; 3]);
        assert!((displayed(&intervals, 0) - 60.0 * 4.0 / 5.25).abs() < 1e-9);
    }

    #[test]
    fn a_ventricular_run_shows_its_own_rate() {
        let mut intervals = vec![0.8; 12];
        intervals.extend([0.3; 4]);
        assert!((displayed(&intervals, 5) - 200.0).abs() < 1e-9);
    }

    #[test]
    fn ventricular_bigeminy_of_the_standard_show_their_mean() {
        // IEC 60601-2-27 waveform 3a: 80 bpm after 20 s.
        let bigeminy: Vec<f64> = [0.5, 1.0].repeat(12);
        assert!((displayed(&bigeminy, 0) - 80.0).abs() < 1.0);
    }
}
