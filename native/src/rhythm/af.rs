//! Atrial fibrillation from RR intervals.
//!
//! The mean of two measures, each against its own level. One is of Petrenas, Marozas and Sornmo 2015 ("Low-complexity
//! detection of atrial fibrillation in continuous long-term monitoring", Comput Biol Med 65): the share of clearly
//! unequal pairs among eight median-filtered intervals, averaged exponentially, against the mean interval; and a measure
//! of bigeminy that takes its place in a regular rhythm. The other is of Zhou, Ding, Wu and Wei 2015 ("A real-time atrial
//! fibrillation detection algorithm based on the instantaneous state of heart rate", PLOS ONE 10): the entropy of words
//! of three rates, here over 63 words, so that the beat 30 beats back, for which is decided, lies in their middle.
//! Added here: hysteresis; intervals at ventricular beats or across invalid signal are left out, because a compensatory
//! pause is not fibrillation; where every fifth beat is ventricular, what is left says too little to begin on; and none
//! begins where rates follow from those before, because fibrillation has no memory: breathing and ectopy in turns do.
//! Fibrillation comes in clusters, so whoever had it a moment ago needs less to have it again.
//! Slow fibrillation is as irregular as fast: below 60/min irregularity is not divided by the mean any further, and
//! classes of rates become narrower.

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
/// Levels of the two measures: pairs per second, and entropy as a share of the largest.
const USUAL_IRREGULARITY: f64 = 0.75;
const USUAL_ENTROPY: f64 = 0.76;
/// Mean of the measures, each as a multiple of its level, at which fibrillation begins in a patient who had none of
/// late, in one who had nothing else, and at which it ends.
const BEGINS: f64 = 1.25;
const BEGINS_AGAIN: f64 = 0.9;
const ENDS: f64 = 0.86;
/// Weight of an interval in the share of fibrillation (a quarter of an hour at 70/min), and the share to begin with:
/// nothing is known of the patient yet.
const BURDEN_WEIGHT: f64 = 0.001;
const UNKNOWN_BURDEN: f64 = 0.5;
/// Over its level for so many intervals on end, the mean need be no higher.
const LASTING: u8 = 100;
/// Width of a class of rates, per minute, and how many classes there are. Below the even rate their widths are in
/// proportion to the rate.
const CLASS_BPM: f64 = 5.0;
const CLASSES: u32 = 64;
const EVEN_BPM: f64 = 83.0;
/// A longer mean interval counts as this, seconds.
const LONGEST_MEAN_S: f64 = 1.0;
/// Autocorrelation of the classes, at any lag up to the most, from which on no fibrillation begins.
const MEMORY: f64 = 0.5;
const LAGS: usize = 4;
/// Words of three classes in the entropy.
const WORDS: usize = 63;
/// Share of ventricular beats from which on no fibrillation begins.
const ECTOPIC: f64 = 0.2;
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
#[derive(Debug, Clone)]
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
    /// Classes of the last rates.
    classes: VecDeque<u8>,
    /// Share of ventricular beats, averaged like the other measures.
    ventricular: f64,
    /// Share of intervals in fibrillation, averaged over the last thousand.
    burden: f64,
    /// Intervals on end with the mean of the measures over its level, to `LASTING`.
    over: u8,
    af: bool,
}

impl Default for AfDetector {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            last: None,
            raw: VecDeque::new(),
            filtered: VecDeque::new(),
            fed: 0,
            mean_s: 0.0,
            unequal: 0.0,
            ectopy: 0.0,
            classes: VecDeque::new(),
            ventricular: 0.0,
            burden: UNKNOWN_BURDEN,
            over: 0,
            af: false,
        }
    }
}

impl AfDetector {
    /// Takes a beat: `joined` unless invalid signal lies before it. Returns the decision on the beat 30 beats back.
    pub fn push(&mut self, sample: u64, ventricular: bool, joined: bool, fs_hz: f64) -> Option<AfBeat> {
        self.ventricular += WEIGHT * (f64::from(u8::from(ventricular)) - self.ventricular);
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
        push(&mut self.classes, class_of(60.0 / rr_s), WORDS + 2);
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
        let measure = f64::midpoint(self.irregularity() / USUAL_IRREGULARITY, self.entropy() / USUAL_ENTROPY);
        self.over = if measure > 1.0 { LASTING.min(self.over + 1) } else { 0 };
        self.af = if self.af {
            measure >= ENDS
        } else {
            let begins = BEGINS - self.burden * (BEGINS - BEGINS_AGAIN);
            (measure > begins || self.over == LASTING) && self.ventricular < ECTOPIC && self.memory() <= MEMORY
        };
        self.burden += BURDEN_WEIGHT * (f64::from(u8::from(self.af)) - self.burden);
    }

    /// Largest autocorrelation of the classes, of either sign, at the lags: near 0 in fibrillation, near 1 where rates
    /// swing with breathing or ectopic beats come in turns.
    fn memory(&self) -> f64 {
        let count = self.classes.len() as f64;
        let mean = self.classes.iter().map(|&class| f64::from(class)).sum::<f64>() / count;
        let moved: Vec<f64> = self.classes.iter().map(|&class| f64::from(class) - mean).collect();
        let power = moved.iter().map(|value| value * value).sum::<f64>() / count;
        let at_lag = |lag: usize| {
            let products = moved.iter().zip(moved.iter().skip(lag)).map(|(a, b)| a * b);
            products.sum::<f64>() / (count - lag as f64)
        };
        (1..=LAGS).map(|lag| at_lag(lag).abs()).fold(0.0, f64::max) / power.max(f64::MIN_POSITIVE)
    }

    /// Entropy of the words times the share of those that differ: 0 in an even rhythm, 1 where no word comes twice.
    fn entropy(&self) -> f64 {
        let at = |n: usize| u32::from(self.classes[n]);
        let count = self.classes.len().saturating_sub(2);
        let mut words: Vec<u32> = (0..count).map(|n| (at(n) * CLASSES + at(n + 1)) * CLASSES + at(n + 2)).collect();
        words.sort_unstable();
        let (mut distinct, mut repeats) = (0_usize, 0.0);
        for word in words.chunk_by(|a, b| a == b) {
            distinct += 1;
            repeats += word.len() as f64 * (word.len() as f64).log2();
        }
        let entropy = if count > 1 { (count as f64).log2() - repeats / count as f64 } else { 0.0 };
        distinct as f64 * entropy / (WORDS as f64 * (WORDS as f64).log2())
    }

    /// Share of unequal pairs per second of mean interval.
    pub fn irregularity(&self) -> f64 {
        let irregularity = if self.mean_s > 0.0 { self.unequal / self.mean_s.min(LONGEST_MEAN_S) } else { 0.0 };
        if self.ectopy >= ECTOPY { irregularity } else { irregularity.min(self.ectopy) }
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.put(&[self.waiting.len() as u8, self.raw.len() as u8, self.filtered.len() as u8]);
        writer.one(u8::from(self.af)).one(self.over).one(self.fed);
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
        writer.put(&[self.mean_s, self.unequal, self.ectopy, self.ventricular, self.burden]);
        writer.part(&self.classes.iter().copied().collect::<Vec<_>>());
    }

    pub(super) fn read(reader: &mut Reader) -> Result<Self, StateError> {
        let mut counts = [0_u8; 5];
        reader.fill(&mut counts)?;
        let [waiting, raw, filtered, af, over] = counts;
        let fed = reader.one()?;
        let (last, ventricular) = (reader.one::<u64>()?, reader.one::<u8>()? != 0);
        let mut back = vec![0_u32; waiting.into()];
        reader.fill(&mut back)?;
        let newest: u64 = reader.one()?;
        let mut intervals = vec![0.0_f64; usize::from(raw) + usize::from(filtered)];
        reader.fill(&mut intervals)?;
        let mut averages = [0.0_f64; 5];
        reader.fill(&mut averages)?;
        let classes: VecDeque<u8> = reader.part()?.iter().copied().collect();
        let sane = |value: &f64| (0.0..=LONGEST_S).contains(value);
        if usize::from(waiting) > AF_DELAY_BEATS
            || usize::from(raw) > WINDOW + 1
            || usize::from(filtered) > WINDOW
            || classes.len() > WORDS + 2
            || classes.iter().any(|&class| u32::from(class) >= CLASSES)
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
            classes,
            ventricular: averages[3],
            burden: averages[4],
            over: over.min(LASTING),
            af: af != 0,
        })
    }
}

/// Class of a rate, per minute.
fn class_of(rate_bpm: f64) -> u8 {
    let even = EVEN_BPM / CLASS_BPM;
    let class = if rate_bpm < EVEN_BPM { even + even * (rate_bpm / EVEN_BPM).ln() } else { rate_bpm / CLASS_BPM };
    class.clamp(0.0, f64::from(CLASSES - 1)) as u8
}

fn push<T>(values: &mut VecDeque<T>, value: T, most: usize) {
    if values.len() == most {
        values.pop_front();
    }
    values.push_back(value);
}
