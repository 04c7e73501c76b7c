//! Atrial fibrillation from RR intervals.
//!
//! The detector of Petrenas, Marozas and Sornmo 2015 ("Low-complexity detection of atrial fibrillation in continuous
//! long-term monitoring", Comput Biol Med 65): the share of clearly unequal pairs among eight median-filtered
//! intervals, averaged exponentially, against the mean interval; and a measure of bigeminy that takes its place in a
//! regular rhythm. Added here: hysteresis, a decision for the beat 30 beats back (the averages lag by that much), and
//! intervals at ventricular beats or across invalid signal are left out, because a compensatory pause is not fibrillation.

use std::collections::VecDeque;

use crate::state::{Reader, StateError, Writer};

/// Later beats that a decision uses.
pub const AF_DELAY_BEATS: usize = 30;
/// Intervals in the window.
const WINDOW: usize = 8;
/// Intervals differ if by so much, seconds.
const UNEQUAL_S: f64 = 0.03;
/// Weight of a new interval in the averages; more in the beginning.
const WEIGHT: f64 = 0.02;
/// Below this measure of ectopy the rhythm is regular.
const ECTOPY: f64 = 2e-4;
/// Irregularity, pairs per second, at which fibrillation begins and ends.
const BEGINS: f64 = 0.85;
const ENDS: f64 = 0.6;
/// Intervals outside are artefacts of detection, seconds.
const SHORTEST_S: f64 = 0.2;
const LONGEST_S: f64 = 2.5;

/// What was decided on a beat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AfBeat {
    /// The beat.
    pub sample: u64,
    /// In atrial fibrillation.
    pub af: bool,
}

/// Streaming detector: one push a beat.
#[derive(Debug, Clone, Default)]
pub struct AfDetector {
    /// Beats without a decision, oldest first, with the one before the newest.
    waiting: VecDeque<u64>,
    last: Option<(u64, bool)>,
    /// The last intervals, seconds, and those through a median filter of three.
    raw: VecDeque<f64>,
    filtered: VecDeque<f64>,
    fed: u32,
    mean_s: f64,
    unequal: f64,
    ectopy: f64,
    af: bool,
}

impl AfDetector {
    /// Takes a beat: `joined` unless invalid signal lies before it. Returns the decision on the beat 30 beats back.
    pub fn push(&mut self, sample: u64, ventricular: bool, joined: bool, fs_hz: f64) -> Option<AfBeat> {
        if let Some((last, was_ventricular)) = self.last
            && joined
            && !ventricular
            && !was_ventricular
        {
            self.interval(((sample - last) as f64 / fs_hz).clamp(SHORTEST_S, LONGEST_S));
        }
        self.last = Some((sample, ventricular));
        self.waiting.push_back(sample);
        if self.waiting.len() <= AF_DELAY_BEATS {
            return None;
        }
        self.waiting.pop_front().map(|sample| AfBeat { sample, af: self.af })
    }

    /// Decides on the beats that wait: at the end of a stream.
    pub fn flush(&mut self) -> Vec<AfBeat> {
        self.waiting.drain(..).map(|sample| AfBeat { sample, af: self.af }).collect()
    }

    fn interval(&mut self, rr_s: f64) {
        push(&mut self.raw, rr_s, WINDOW + 1);
        let count = self.raw.len();
        if count < 3 {
            return;
        }
        let (a, b, c) = (self.raw[count - 3], self.raw[count - 2], self.raw[count - 1]);
        push(&mut self.filtered, a.max(b).min(a.min(b).max(c)), WINDOW);
        if self.filtered.len() < WINDOW {
            return;
        }
        let raw = || self.raw.iter().take(count - 1).skip(count - 1 - WINDOW);
        let ratio = self.filtered.iter().sum::<f64>() / raw().sum::<f64>() - 1.0;
        let pairs = (0..WINDOW).flat_map(|i| (0..i).map(move |j| (i, j)));
        let unequal = pairs.filter(|&(i, j)| (self.filtered[i] - self.filtered[j]).abs() >= UNEQUAL_S).count();
        self.fed = self.fed.saturating_add(1);
        let weight = WEIGHT.max(1.0 / f64::from(self.fed));
        let average = |value: &mut f64, new: f64| *value += weight * (new - *value);
        average(&mut self.mean_s, b);
        average(&mut self.unequal, unequal as f64 / (WINDOW * (WINDOW - 1) / 2) as f64);
        average(&mut self.ectopy, ratio * ratio);
        let irregularity = self.irregularity();
        self.af = if self.af { irregularity >= ENDS } else { irregularity > BEGINS };
    }

    /// Share of unequal pairs per second of mean interval.
    pub fn irregularity(&self) -> f64 {
        let irregularity = if self.mean_s > 0.0 { self.unequal / self.mean_s } else { 0.0 };
        if self.ectopy >= ECTOPY { irregularity } else { irregularity.min(self.ectopy) }
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.put(&[self.waiting.len() as u8, self.raw.len() as u8, self.filtered.len() as u8]);
        writer.one(u8::from(self.af)).one(self.fed);
        writer
            .one(self.last.map_or(u64::MAX, |(sample, _)| sample))
            .one(u8::from(self.last.is_some_and(|last| last.1)));
        let newest = self.waiting.back().copied().unwrap_or(0);
        for &sample in &self.waiting {
            writer.one((newest - sample).min(u64::from(u32::MAX)) as u32);
        }
        writer.one(newest);
        for &interval in self.raw.iter().chain(&self.filtered) {
            writer.one(interval);
        }
        writer.put(&[self.mean_s, self.unequal, self.ectopy]);
    }

    pub(super) fn read(reader: &mut Reader) -> Result<Self, StateError> {
        let mut counts = [0_u8; 4];
        reader.fill(&mut counts)?;
        let [waiting, raw, filtered, af] = counts;
        let fed = reader.one()?;
        let (last, ventricular) = (reader.one::<u64>()?, reader.one::<u8>()? != 0);
        let mut back = vec![0_u32; waiting.into()];
        reader.fill(&mut back)?;
        let newest: u64 = reader.one()?;
        let mut intervals = vec![0.0_f64; usize::from(raw) + usize::from(filtered)];
        reader.fill(&mut intervals)?;
        let mut averages = [0.0_f64; 3];
        reader.fill(&mut averages)?;
        let sane = |value: &f64| (0.0..=LONGEST_S).contains(value);
        if usize::from(waiting) > AF_DELAY_BEATS
            || usize::from(raw) > WINDOW + 1
            || usize::from(filtered) > WINDOW
            || !intervals.iter().chain(&averages).all(sane)
            || back.iter().any(|&back| u64::from(back) > newest)
        {
            return Err(StateError::Value("intervals of atrial fibrillation"));
        }
        let filtered = intervals.split_off(raw.into()).into();
        Ok(Self {
            waiting: back.into_iter().map(|back| newest - u64::from(back)).collect(),
            last: (last != u64::MAX).then_some((last, ventricular)),
            raw: intervals.into(),
            filtered,
            fed,
            mean_s: averages[0],
            unequal: averages[1],
            ectopy: averages[2],
            af: af != 0,
        })
    }
}

fn push(values: &mut VecDeque<f64>, value: f64, most: usize) {
    if values.len() == most {
        values.pop_front();
    }
    values.push_back(value);
}
