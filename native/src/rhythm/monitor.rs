//! The rules of one lead, applied in the order of the stream.

use super::af::AfDetector;
use super::heart_rate::{Beats, HeartRate, Past, Run};
use super::limits::{ConfigError, RhythmLimits};
use super::queue::{Item, Queue};
use super::rules::{Finding, Latch, Pulses};
use super::{RhythmEvent, RhythmRule, Shape};
use crate::ecg::{Beat, BeatLabel};

/// Beats over which a rate must be back inside its limit before its alarm clears.
const CLEARING: usize = 5;
/// ... and for how long without a break, seconds: a rate that hovers about its limit is one alarm, not thirteen.
const CLEARING_S: f64 = 15.0;
/// Beats without a pause after which asystole and pause clear.
const RECOVERED: u8 = 3;
/// Beats that are not ventricular, one after the other, that end a ventricular tachycardia.
const VENTRICULAR_END: u8 = 3;
/// How soon asystole that a pulse contradicts is judged again, seconds.
const RECHECK_S: f64 = 1.0;

/// Rhythm alarms of one lead.
///
/// Announce beats, pulses and invalid stretches in any order and any portions, each before [`Self::advance`] passes
/// it. An announcement that comes too late counts from where the monitor stands.
#[derive(Debug, Clone)]
pub struct RhythmMonitor {
    pub(super) fs_hz: f64,
    pub(super) limits: RhythmLimits,
    pub(super) queue: Queue,
    pub(super) beats: Beats,
    pub(super) pulses: Pulses,
    pub(super) af: AfDetector,
    /// First beat of the fibrillation that lasts.
    pub(super) af_onset: Option<u64>,
    /// Everything before this sample has been judged.
    pub(super) at: u64,
    /// No QRS since here, in valid signal.
    pub(super) quiet_since: u64,
    /// Asystole is judged again here although its time is over, because a pulse contradicted it.
    pub(super) recheck: u64,
    /// Invalid signal since the last beat.
    pub(super) broken: bool,
    /// Beats since the last silence, and beats since the last ventricular one, both up to their use.
    pub(super) recovered: u8,
    pub(super) conducted: u8,
    /// The fibrillatory stretch last announced: first sample, one past its last. Equal: none.
    pub(super) fibrillation: (u64, u64),
    pub(super) latches: [Latch; RhythmRule::ALL.len()],
}

impl RhythmMonitor {
    /// A monitor of a stream with `fs_hz` samples per second.
    pub fn new(fs_hz: f64, limits: RhythmLimits) -> Result<Self, ConfigError> {
        if !(1.0..=10_000.0).contains(&fs_hz) {
            return Err(ConfigError::Rate(fs_hz));
        }
        Ok(Self {
            fs_hz,
            limits: limits.checked()?,
            queue: Queue::default(),
            beats: Beats::default(),
            pulses: Pulses::default(),
            af: AfDetector::default(),
            af_onset: None,
            at: 0,
            quiet_since: 0,
            recheck: 0,
            broken: true,
            recovered: 0,
            conducted: 0,
            fibrillation: (0, 0),
            latches: Default::default(),
        })
    }

    /// Samples per second.
    pub fn fs_hz(&self) -> f64 {
        self.fs_hz
    }

    /// The limits in force.
    pub fn limits(&self) -> RhythmLimits {
        self.limits
    }

    /// Changes the limits from here on. What is raised stays until the new limits clear it.
    pub fn set_limits(&mut self, limits: RhythmLimits) -> Result<(), ConfigError> {
        self.limits = limits.checked()?;
        Ok(())
    }

    /// Announces beats.
    pub fn beats(&mut self, beats: &[Beat]) {
        for beat in beats {
            self.shaped_beat(beat, None);
        }
    }

    /// Announces a beat and its shape, as far as that is known. A weak one counts for every rate and ends no silence: P
    /// waves that go on when the ventricles stand still are found as beats, and so is noise. One in five beats of a
    /// ventricular tachycardia may be an unusual one without that label.
    pub fn shaped_beat(&mut self, beat: &Beat, shape: Option<Shape>) {
        let ventricular = beat.label == BeatLabel::Ventricular;
        let weak = shape.is_some_and(|shape| shape.weak);
        let unusual = shape.is_some_and(|shape| shape.unusual());
        self.queue.insert(beat.sample.max(self.at), Item::Beat { ventricular, weak, unusual });
    }

    /// Announces pulses of a pleth or arterial wave on the same sample count: they speak against asystole and pause.
    pub fn pulses(&mut self, samples: &[u64]) {
        for &sample in samples {
            self.queue.insert(sample.max(self.at), Item::Pulse);
        }
    }

    /// In `first..end` nothing may be concluded from the absence of beats: lead off, gap, saturation. A flat line is
    /// not invalid: asystole looks like that.
    pub fn invalid(&mut self, first: u64, end: u64) {
        if end > first.max(self.at) {
            self.queue.insert(first.max(self.at), Item::Invalid { end });
        }
    }

    /// In `first..end` the waveform is fibrillatory, which is known at its last sample.
    pub fn fibrillation(&mut self, first: u64, end: u64) {
        if end > first {
            self.queue.insert((end - 1).max(self.at), Item::Fibrillation { first });
        }
    }

    /// The rate that a bedside monitor shows, up to where the monitor stands: absent without two beats in a row, and
    /// when no beat has come for as long as asystole takes.
    pub fn heart_rate(&self) -> Option<HeartRate> {
        let last = self.beats.last()?.sample;
        if self.at.saturating_sub(last) > self.samples(self.limits.asystole_s) {
            return None;
        }
        self.beats.displayed(self.fs_hz).map(HeartRate::from)
    }

    /// How many of the last 24 beats lie in `first..=last`, and how many of those are ventricular.
    pub fn beats_between(&self, first: u64, last: u64) -> (u32, u32) {
        self.beats.between(first, last)
    }

    /// Whether the rule is raised, and since which sample.
    pub fn raised_since(&self, rule: RhythmRule) -> Option<u64> {
        self.latches[rule as usize].onset
    }

    /// Everything before this sample has been judged.
    pub fn judged_until(&self) -> u64 {
        self.at
    }

    /// Judges everything before `certain_until`: all beats before that sample must have been announced.
    pub fn advance(&mut self, certain_until: u64, out: &mut Vec<RhythmEvent>) {
        while let Some((at, item)) = self.queue.pop_before(certain_until) {
            self.deadlines(at, out);
            self.at = self.at.max(at);
            match item {
                Item::Beat { ventricular, weak, unusual } => {
                    let joined = !self.broken;
                    self.beat(Past { sample: at, ventricular, unusual, joined }, weak, out);
                }
                Item::Pulse => self.pulses.push(at),
                Item::Invalid { end } => {
                    self.quiet_since = self.quiet_since.max(end);
                    self.broken = true;
                    self.recovered = 0;
                }
                Item::Fibrillation { first } => self.fibrillatory(first, at, out),
            }
        }
        self.deadlines(certain_until, out);
        self.at = self.at.max(certain_until);
    }

    /// The stream ends: what is raised ends with it, and later calls begin from here.
    pub fn close(&mut self, out: &mut Vec<RhythmEvent>) {
        let at = self.at;
        for rule in RhythmRule::ALL {
            let latch = &mut self.latches[rule as usize];
            let first = latch.onset.unwrap_or(at);
            latch.clear(rule, at, Finding { value: f64::NAN, limit: f64::NAN, first, last: at }, out);
        }
    }

    fn samples(&self, seconds: f64) -> u64 {
        (seconds * self.fs_hz).ceil() as u64
    }

    /// Fires what is due at or before `until`, in the order of time.
    fn deadlines(&mut self, until: u64, out: &mut Vec<RhythmEvent>) {
        loop {
            let silence = |rule: RhythmRule, limit_s: f64| {
                let due = self.quiet_since.saturating_add(self.samples(limit_s)).max(self.recheck);
                (!self.latches[rule as usize].active()).then_some((due, rule))
            };
            let fibrillation = self.latches[RhythmRule::VentricularFibrillation as usize].active().then(|| {
                let due = self.fibrillation.1.saturating_add(self.samples(self.limits.fibrillation_s));
                (due, RhythmRule::VentricularFibrillation)
            });
            let next = [
                silence(RhythmRule::Pause, self.limits.pause_s),
                silence(RhythmRule::Asystole, self.limits.asystole_s),
                fibrillation,
            ];
            let Some((due, rule)) = next.into_iter().flatten().min_by_key(|&(due, _)| due) else { return };
            if due > until {
                return;
            }
            match rule {
                RhythmRule::VentricularFibrillation => self.fibrillation_over(due, out),
                _ => self.silent(rule, due, out),
            }
        }
    }

    /// Raises asystole or pause, unless pulses contradict: then looks again later.
    fn silent(&mut self, rule: RhythmRule, due: u64, out: &mut Vec<RhythmEvent>) {
        if self.pulses.contradict(self.quiet_since, due, self.fs_hz) {
            self.recheck = due + self.samples(RECHECK_S);
            return;
        }
        let limit = if rule == RhythmRule::Asystole { self.limits.asystole_s } else { self.limits.pause_s };
        let value = (due - self.quiet_since) as f64 / self.fs_hz;
        let found = Finding { value, limit, first: self.quiet_since, last: due };
        self.recovered = 0;
        self.latches[rule as usize].raise(rule, self.quiet_since, due, found, out);
        if rule == RhythmRule::Asystole {
            // A fast rhythm that stopped is not a fast rhythm any more.
            let fast = [RhythmRule::ExtremeTachycardia, RhythmRule::Tachycardia, RhythmRule::VentricularTachycardia];
            for rule in fast {
                self.latches[rule as usize].clear(rule, due, found, out);
            }
        }
    }

    fn beat(&mut self, beat: Past, weak: bool, out: &mut Vec<RhythmEvent>) {
        let Past { sample, ventricular, .. } = beat;
        if self.beats.last().is_some_and(|last| last.sample >= sample) {
            return; // Announced twice, or after the monitor had passed it.
        }
        self.beats.push(beat);
        self.atrial_fibrillation(sample, ventricular, out);
        self.broken = false;
        if !weak {
            self.quiet_since = self.quiet_since.max(sample);
            self.recheck = 0;
            self.recovered = (self.recovered + 1).min(RECOVERED);
        }
        self.conducted = if ventricular { 0 } else { (self.conducted + 1).min(VENTRICULAR_END) };
        if !weak && self.recovered == RECOVERED {
            self.silence_over(sample, out);
        }
        self.extreme_rates(out);
        self.ventricular_tachycardia(out);
        self.displayed_rate(out);
    }

    fn silence_over(&mut self, sample: u64, out: &mut Vec<RhythmEvent>) {
        let Some(run) = self.beats.run(usize::from(RECOVERED), self.fs_hz) else { return };
        for rule in [RhythmRule::Pause, RhythmRule::Asystole] {
            let limit = if rule == RhythmRule::Asystole { self.limits.asystole_s } else { self.limits.pause_s };
            let found = Finding { value: 60.0 / run.rate_bpm, limit, first: run.first, last: run.last };
            self.latches[rule as usize].clear(rule, sample, found, out);
        }
    }

    /// Raises on a run beyond the limit, clears when the rate has been inside it by the margin for 15 seconds.
    fn rate_rule(
        &mut self,
        rule: RhythmRule,
        raised_by: Option<Run>,
        cleared_by: Option<Run>,
        out: &mut Vec<RhythmEvent>,
    ) {
        let limits = &self.limits;
        let (limit, low) = match rule {
            RhythmRule::ExtremeBradycardia => (limits.extreme_bradycardia_bpm, true),
            RhythmRule::Bradycardia => (limits.low_bpm, true),
            RhythmRule::ExtremeTachycardia => (limits.extreme_tachycardia_bpm, false),
            _ => (limits.high_bpm, false),
        };
        let margin = limits.clear_margin_bpm;
        let beyond = |rate: f64| if low { rate < limit } else { rate > limit };
        let inside = |rate: f64| if low { rate >= limit + margin } else { rate <= limit - margin };
        let found = |run: Run| Finding { value: run.rate_bpm, limit, first: run.first, last: run.last };
        let clearing = self.samples(CLEARING_S);
        let latch = &mut self.latches[rule as usize];
        if latch.active() {
            let run = cleared_by.filter(|run| inside(run.rate_bpm));
            latch.inside = run.map(|run| latch.inside.unwrap_or(run.last));
            if let (Some(run), Some(since)) = (run, latch.inside)
                && run.last - since >= clearing
            {
                latch.clear(rule, run.last, found(run), out);
            }
        } else if let Some(run) = raised_by.filter(|run| beyond(run.rate_bpm)) {
            latch.raise(rule, run.first, run.last, found(run), out);
        }
    }

    fn extreme_rates(&mut self, out: &mut Vec<RhythmEvent>) {
        let clearing = self.beats.run(CLEARING, self.fs_hz);
        let slow = self.beats.run(usize::from(self.limits.extreme_bradycardia_beats), self.fs_hz);
        let fast = self.beats.run(usize::from(self.limits.extreme_tachycardia_beats), self.fs_hz);
        self.rate_rule(RhythmRule::ExtremeBradycardia, slow, clearing, out);
        self.rate_rule(RhythmRule::ExtremeTachycardia, fast, clearing, out);
    }

    fn displayed_rate(&mut self, out: &mut Vec<RhythmEvent>) {
        // Five beats at least: a rate of one or two intervals is no rate.
        let shown = self.beats.run(CLEARING, self.fs_hz).and_then(|_| self.beats.displayed(self.fs_hz));
        self.rate_rule(RhythmRule::Bradycardia, shown, shown, out);
        self.rate_rule(RhythmRule::Tachycardia, shown, shown, out);
    }

    fn ventricular_tachycardia(&mut self, out: &mut Vec<RhythmEvent>) {
        let rule = RhythmRule::VentricularTachycardia;
        let count = usize::from(self.limits.ventricular_beats);
        let limit = self.limits.ventricular_bpm;
        let Some(run) = self.beats.run(count, self.fs_hz) else { return };
        let found = Finding { value: run.rate_bpm, limit, first: run.first, last: run.last };
        let fast = run.rate_bpm > limit;
        let latch = &mut self.latches[rule as usize];
        if latch.active() {
            if self.conducted == VENTRICULAR_END || !fast {
                latch.clear(rule, run.last, found, out);
            }
        } else if fast && self.beats.ventricular(count) {
            latch.raise(rule, run.first, run.last, found, out);
        }
    }

    fn atrial_fibrillation(&mut self, sample: u64, ventricular: bool, out: &mut Vec<RhythmEvent>) {
        let rule = RhythmRule::AtrialFibrillation;
        let limit = self.limits.atrial_fibrillation_s;
        let Some(beat) = self.af.push(sample, ventricular, !self.broken, self.fs_hz) else { return };
        if beat.af {
            let onset = *self.af_onset.get_or_insert(beat.sample);
            let value = (beat.sample - onset) as f64 / self.fs_hz;
            if value >= limit {
                let found = Finding { value, limit, first: onset, last: sample };
                self.latches[rule as usize].raise(rule, onset, sample, found, out);
            }
        } else if let Some(onset) = self.af_onset.take() {
            let value = (beat.sample - onset) as f64 / self.fs_hz;
            let found = Finding { value, limit, first: onset, last: sample };
            self.latches[rule as usize].clear(rule, sample, found, out);
        }
    }

    fn fibrillatory(&mut self, first: u64, last: u64, out: &mut Vec<RhythmEvent>) {
        let rule = RhythmRule::VentricularFibrillation;
        let (begun, end) = self.fibrillation;
        let begun = if begun < end && first <= end { begun } else { first };
        self.fibrillation = (begun, last + 1);
        let duration = last + 1 - begun;
        if duration >= self.samples(self.limits.fibrillation_s) {
            let value = duration as f64 / self.fs_hz;
            let found = Finding { value, limit: self.limits.fibrillation_s, first: begun, last };
            self.latches[rule as usize].raise(rule, begun, last, found, out);
        }
    }

    fn fibrillation_over(&mut self, due: u64, out: &mut Vec<RhythmEvent>) {
        let rule = RhythmRule::VentricularFibrillation;
        let (first, end) = self.fibrillation;
        let found =
            Finding { value: (end - first) as f64 / self.fs_hz, limit: self.limits.fibrillation_s, first, last: end };
        self.latches[rule as usize].clear(rule, due, found, out);
    }
}
