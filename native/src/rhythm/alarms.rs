//! Asystole, extreme bradycardia and extreme tachycardia, by the definitions of the PhysioNet/CinC Challenge 2015.
//!
//! Everything is decided at a sample, never at a call: beats and invalid stretches are queued and taken in sample order
//! once the detector is certain of them, so the events are the same however the stream is cut.

use std::collections::VecDeque;

use thiserror::Error;

use crate::ecg::Beat;
use crate::state::{Reader, StateError, Writer};

const KIND: [u8; 4] = *b"RHYT";
const VERSION: u16 = 1;
/// Beats remembered: what the longest rule needs.
const MEMORY: usize = 17;
/// Heart rate must come back by this much before a rate alarm clears, so that it does not flicker at the limit.
const HYSTERESIS_BPM: f64 = 5.0;

/// The sampling rate or a limit makes no sense.
#[derive(Debug, Error, PartialEq)]
#[error("{0}")]
pub struct ConfigError(String);

/// Which condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RhythmRule {
    /// No QRS for the limit, in valid signal.
    Asystole = 0,
    /// Too slow over 5 beats.
    ExtremeBradycardia = 1,
    /// Too fast over 17 beats.
    ExtremeTachycardia = 2,
}

impl RhythmRule {
    const ALL: [Self; 3] = [Self::Asystole, Self::ExtremeBradycardia, Self::ExtremeTachycardia];

    /// Stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Asystole => "asystole",
            Self::ExtremeBradycardia => "extreme_bradycardia",
            Self::ExtremeTachycardia => "extreme_tachycardia",
        }
    }
}

/// Limits of one patient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RhythmLimits {
    /// Silence of the heart that is an asystole, s.
    pub asystole_s: f64,
    /// Below this rate over 5 beats: extreme bradycardia.
    pub bradycardia_bpm: f64,
    /// Above this rate over 17 beats: extreme tachycardia.
    pub tachycardia_bpm: f64,
}

impl Default for RhythmLimits {
    fn default() -> Self {
        Self { asystole_s: 4.0, bradycardia_bpm: 40.0, tachycardia_bpm: 140.0 }
    }
}

/// A condition began or ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RhythmEvent {
    /// Which condition.
    pub rule: RhythmRule,
    /// Began (true) or ended.
    pub raised: bool,
    /// Sample at which the condition began; the same when it ends.
    pub onset: u64,
    /// Sample that made it certain.
    pub decided: u64,
    /// Seconds without QRS, or beats per minute.
    pub value: f64,
    /// The limit.
    pub limit: f64,
    /// First sample of the evidence.
    pub evidence_first: u64,
    /// Last sample of the evidence.
    pub evidence_last: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mark {
    Beat(u64),
    Invalid(u64, u64),
}

impl Mark {
    fn sample(self) -> u64 {
        match self {
            Self::Beat(sample) | Self::Invalid(sample, _) => sample,
        }
    }
}

/// The rhythm of one lead.
#[derive(Clone, Debug, PartialEq)]
pub struct RhythmMonitor {
    fs_hz: f64,
    limits: RhythmLimits,
    queue: VecDeque<Mark>,
    /// Valid signal without a beat begins here.
    silent_from: u64,
    /// Beats in a row, without an invalid stretch between them.
    beats: VecDeque<u64>,
    /// Onset of each standing condition.
    standing: [Option<u64>; 3],
}

impl RhythmMonitor {
    /// Starts at sample 0.
    pub fn new(fs_hz: f64, limits: RhythmLimits) -> Result<Self, ConfigError> {
        if !(fs_hz > 0.0 && fs_hz <= 1e6) {
            return Err(ConfigError(format!("fs_hz must be positive, not {fs_hz}")));
        }
        let mut monitor = Self {
            fs_hz,
            limits,
            queue: VecDeque::new(),
            silent_from: 0,
            beats: VecDeque::with_capacity(MEMORY),
            standing: [None; 3],
        };
        monitor.set_limits(limits)?;
        Ok(monitor)
    }

    /// Changes the limits from here on; conditions that stand keep standing until they end by the new ones.
    pub fn set_limits(&mut self, limits: RhythmLimits) -> Result<(), ConfigError> {
        let positive = [limits.asystole_s, limits.bradycardia_bpm, limits.tachycardia_bpm].iter().all(|&x| x > 0.0);
        if !positive || limits.bradycardia_bpm >= limits.tachycardia_bpm {
            return Err(ConfigError(format!("limits must be positive and in order: {limits:?}")));
        }
        self.limits = limits;
        Ok(())
    }

    /// Queues beats in sample order.
    pub fn beats(&mut self, beats: &[Beat]) {
        self.queue.extend(beats.iter().map(|beat| Mark::Beat(beat.sample)));
        self.queue.make_contiguous().sort_by_key(|mark| mark.sample());
    }

    /// Nothing may be concluded from the absence of beats in `first..end`.
    pub fn invalid(&mut self, first: u64, end: u64) {
        if first < end {
            self.queue.push_back(Mark::Invalid(first, end));
        }
    }

    /// All beats before `certain_until` are queued: decides up to there.
    pub fn advance(&mut self, certain_until: u64, out: &mut Vec<RhythmEvent>) {
        while let Some(mark) = self.queue.front().copied().filter(|mark| mark.sample() < certain_until) {
            self.queue.pop_front();
            self.silence(mark.sample(), out);
            match mark {
                Mark::Beat(sample) => self.beat(sample, out),
                Mark::Invalid(_, end) => {
                    self.silent_from = self.silent_from.max(end);
                    self.beats.clear();
                }
            }
        }
        self.silence(certain_until, out);
    }

    /// The stream ends: what stands ends with it.
    pub fn close(&mut self, out: &mut Vec<RhythmEvent>) {
        let last = self.beats.back().copied().unwrap_or(self.silent_from);
        for rule in RhythmRule::ALL {
            self.end(rule, last, f64::NAN, out);
        }
    }

    fn seconds(&self, samples: u64) -> f64 {
        samples as f64 / self.fs_hz
    }

    fn limit(&self, rule: RhythmRule) -> f64 {
        match rule {
            RhythmRule::Asystole => self.limits.asystole_s,
            RhythmRule::ExtremeBradycardia => self.limits.bradycardia_bpm,
            RhythmRule::ExtremeTachycardia => self.limits.tachycardia_bpm,
        }
    }

    /// Valid signal without a beat reaches up to `until`.
    fn silence(&mut self, until: u64, out: &mut Vec<RhythmEvent>) {
        let decided = self.silent_from + (self.limits.asystole_s * self.fs_hz).ceil() as u64;
        if until >= decided {
            let onset = self.silent_from;
            self.begin(RhythmRule::Asystole, onset, decided, self.seconds(decided - onset), onset, out);
        }
    }

    fn beat(&mut self, sample: u64, out: &mut Vec<RhythmEvent>) {
        let silent_s = self.seconds(sample.saturating_sub(self.silent_from));
        self.end(RhythmRule::Asystole, sample, silent_s, out);
        self.silent_from = sample;
        if self.beats.len() == MEMORY {
            self.beats.pop_front();
        }
        self.beats.push_back(sample);
        if let Some((rate, first)) = self.rate(5) {
            let rule = RhythmRule::ExtremeBradycardia;
            if rate < self.limits.bradycardia_bpm {
                self.begin(rule, first, sample, rate, first, out);
            } else if rate >= self.limits.bradycardia_bpm + HYSTERESIS_BPM {
                self.end(rule, sample, rate, out);
            }
            if rate <= self.limits.tachycardia_bpm - HYSTERESIS_BPM {
                self.end(RhythmRule::ExtremeTachycardia, sample, rate, out);
            }
        }
        if let Some((rate, first)) = self.rate(17).filter(|(rate, _)| *rate > self.limits.tachycardia_bpm) {
            self.begin(RhythmRule::ExtremeTachycardia, first, sample, rate, first, out);
        }
    }

    /// Mean rate over the last `count` beats, and the first of them.
    fn rate(&self, count: usize) -> Option<(f64, u64)> {
        let first = *self.beats.get(self.beats.len().checked_sub(count)?)?;
        let span_s = self.seconds(self.beats.back()? - first);
        Some((60.0 * (count - 1) as f64 / span_s, first))
    }

    fn begin(
        &mut self,
        rule: RhythmRule,
        onset: u64,
        decided: u64,
        value: f64,
        first: u64,
        out: &mut Vec<RhythmEvent>,
    ) {
        if self.standing[rule as usize].is_some() {
            return;
        }
        self.standing[rule as usize] = Some(onset);
        let (evidence_first, evidence_last, limit) = (first, decided, self.limit(rule));
        out.push(RhythmEvent { rule, raised: true, onset, decided, value, limit, evidence_first, evidence_last });
    }

    fn end(&mut self, rule: RhythmRule, decided: u64, value: f64, out: &mut Vec<RhythmEvent>) {
        let Some(onset) = self.standing[rule as usize].take() else { return };
        let (evidence_first, evidence_last, limit) = (onset, decided, self.limit(rule));
        out.push(RhythmEvent { rule, raised: false, onset, decided, value, limit, evidence_first, evidence_last });
    }

    /// Versioned snapshot.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut writer = Writer::new(KIND, VERSION);
        writer.one(self.fs_hz);
        writer.put(&[self.limits.asystole_s, self.limits.bradycardia_bpm, self.limits.tachycardia_bpm]);
        writer.one(self.silent_from).one(self.queue.len() as u16);
        for mark in &self.queue {
            match mark {
                Mark::Beat(sample) => writer.put(&[*sample, 0]),
                Mark::Invalid(first, end) => writer.put(&[*first, *end]),
            };
        }
        writer.one(self.beats.len() as u8);
        for beat in &self.beats {
            writer.one(*beat);
        }
        for onset in self.standing {
            writer.one(onset.map_or(0, |sample| sample + 1));
        }
        writer.finish()
    }

    /// The monitor of a snapshot.
    pub fn restore(snapshot: &[u8]) -> Result<Self, StateError> {
        let mut reader = Reader::open(snapshot, KIND, VERSION)?;
        let fs_hz = reader.one()?;
        let limits =
            RhythmLimits { asystole_s: reader.one()?, bradycardia_bpm: reader.one()?, tachycardia_bpm: reader.one()? };
        let mut monitor = Self::new(fs_hz, limits).map_err(|_| StateError::Value("limits of the rhythm"))?;
        monitor.silent_from = reader.one()?;
        for _ in 0..reader.one::<u16>()? {
            let (first, end) = (reader.one()?, reader.one()?);
            monitor.queue.push_back(if end == 0 { Mark::Beat(first) } else { Mark::Invalid(first, end) });
        }
        for _ in 0..reader.one::<u8>()? {
            monitor.beats.push_back(reader.one()?);
        }
        for onset in &mut monitor.standing {
            *onset = reader.one::<u64>()?.checked_sub(1);
        }
        reader.finish()?;
        Ok(monitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ecg::BeatLabel;

    const FS: u64 = 250;

    fn beat(sample: u64) -> Beat {
        Beat { sample, confidence: 1.0, label: BeatLabel::Normal, late: false }
    }

    fn monitor() -> RhythmMonitor {
        RhythmMonitor::new(FS as f64, RhythmLimits::default()).unwrap()
    }

    /// Feeds beats at these seconds and is certain up to `end_s`, in steps of `step` samples.
    fn run(beats_s: &[f64], invalid_s: &[(f64, f64)], end_s: f64, step: u64) -> Vec<RhythmEvent> {
        let at = |seconds: f64| (seconds * FS as f64).round() as u64;
        let mut monitor = monitor();
        let mut out = Vec::new();
        let mut certain = 0;
        while certain < at(end_s) {
            let next = (certain + step).min(at(end_s));
            let within = |sample: &u64| (certain..next).contains(sample);
            for (first, end) in invalid_s.iter().map(|range| (at(range.0), at(range.1))) {
                if within(&first) {
                    monitor.invalid(first, end);
                }
            }
            let beats: Vec<Beat> = beats_s.iter().map(|s| at(*s)).filter(within).map(beat).collect();
            monitor.beats(&beats);
            monitor.advance(next, &mut out);
            monitor = RhythmMonitor::restore(&monitor.snapshot()).unwrap();
            certain = next;
        }
        out
    }

    fn steps(out: &[RhythmEvent]) -> Vec<(RhythmRule, bool, u64)> {
        out.iter().map(|event| (event.rule, event.raised, event.decided)).collect()
    }

    #[test]
    fn four_seconds_without_a_beat_are_an_asystole_and_less_are_not() {
        let events = run(&[1.0, 2.0, 6.0, 10.1], &[], 11.0, 250);
        assert_eq!(
            steps(&events),
            [
                (RhythmRule::Asystole, true, 6 * FS),
                (RhythmRule::Asystole, false, 6 * FS),
                (RhythmRule::Asystole, true, 10 * FS),
                (RhythmRule::Asystole, false, 2525)
            ]
        );
        assert_eq!(steps(&run(&[1.0, 4.99, 8.9], &[], 12.8, 250)), []);
    }

    #[test]
    fn silence_counts_in_valid_signal_only() {
        assert_eq!(steps(&run(&[1.0], &[(2.0, 6.0)], 9.9, 50)), []);
        assert_eq!(steps(&run(&[1.0], &[(2.0, 6.0)], 10.1, 50)), [(RhythmRule::Asystole, true, 10 * FS)]);
    }

    #[test]
    fn rates_are_judged_over_five_and_seventeen_beats() {
        let slow: Vec<f64> = (0..7).map(|n| f64::from(n) * 1.6).collect();
        assert_eq!(steps(&run(&slow, &[], 10.0, 250))[0], (RhythmRule::ExtremeBradycardia, true, 1600));
        let fast: Vec<f64> = (0..30).map(|n| f64::from(n) * 0.4).collect();
        assert_eq!(steps(&run(&fast, &[], 12.0, 250)), [(RhythmRule::ExtremeTachycardia, true, 1600)]);
        let broken = run(&fast[..16], &[(6.1, 6.2)], 7.0, 250);
        assert_eq!(steps(&broken), []);
    }

    #[test]
    fn the_cut_of_the_stream_changes_nothing() {
        let beats: Vec<f64> = (0..60).map(|n| f64::from(n * n % 37) * 0.11 + f64::from(n) * 0.9).collect();
        let mut beats = beats;
        beats.sort_by(f64::total_cmp);
        let whole = run(&beats, &[(20.0, 21.0), (40.0, 47.0)], 60.0, 60 * FS);
        assert!(!whole.is_empty());
        for step in [1, 7, 250, 1000] {
            assert_eq!(run(&beats, &[(20.0, 21.0), (40.0, 47.0)], 60.0, step), whole, "step {step}");
        }
    }

    #[test]
    fn refuses_limits_that_make_no_sense() {
        let limits = RhythmLimits { bradycardia_bpm: 150.0, ..RhythmLimits::default() };
        assert!(RhythmMonitor::new(250.0, limits).is_err());
        assert!(RhythmMonitor::new(f64::NAN, RhythmLimits::default()).is_err());
    }
}
