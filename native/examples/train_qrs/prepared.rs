//! One recording ready for training and scoring, and what a network makes of it.

use _native::ecg::BeatLabel;
use _native::ecg::training::{BEAT_FEATURES, LABEL_FEATURES, Networks, QUALITY_FEATURES, Recording, Teacher};

use crate::Failure;
use crate::fit::Examples;
use crate::records::Record;
use crate::scoring::{self, Counts};

/// A missed beat costs this much more than a false one, which balances the two on held-out patients.
const BEAT_WEIGHT: f32 = 2.4;

/// Candidates of a recording with the truth about each.
pub struct Prepared {
    pub record: Record,
    recording: Recording,
    /// R position of each candidate.
    at: Vec<i64>,
    /// Annotation type of the beat that the candidate is, 0 if none.
    kinds: Vec<u8>,
    /// In ventricular flutter or fibrillation.
    ignored: Vec<bool>,
    /// Weight in training; 0: only scored.
    pub weight: f32,
    /// The same in training labels.
    label_weight: f32,
}

/// Examples for the three networks.
pub struct Lessons {
    pub beat: Examples<BEAT_FEATURES, 1>,
    pub label: Examples<LABEL_FEATURES, 2>,
    pub quality: Examples<QUALITY_FEATURES, 1>,
}

impl Lessons {
    pub fn new() -> Self {
        Self { beat: Examples::new(), label: Examples::new(), quality: Examples::new() }
    }
}

/// What counts as ventricular: V and E (AAMI class V), r (R on T).
fn ventricular(kind: u8) -> bool {
    matches!(kind, 5 | 10 | 41)
}

fn paced(kind: u8) -> bool {
    matches!(kind, 12 | 38)
}

/// Fusions, unclassifiable and unknown beats teach no label.
fn labelled(kind: u8) -> bool {
    !matches!(kind, 0 | 6 | 13 | 30 | 38)
}

/// What one run found.
#[derive(Clone, Default)]
pub struct Run {
    pub counts: Counts,
    /// Ventricular beats (AAMI: V, E, R on T): labelled so, other beats labelled so, missed.
    pub ventricular: Counts,
    /// The same for premature ventricular contractions (V) alone; escapes and R on T count neither way.
    pub premature: Counts,
    /// The same with fusions counted as not ventricular.
    pub fusions_too: Counts,
    pub paced: Counts,
    /// Ventricular beats of records without paced ones; filled where runs are added up.
    pub unpaced: Counts,
    /// As `counts`, within +-50 ms.
    pub narrow: Counts,
    /// Sum of the distances between beats and their detections, milliseconds.
    pub distance_ms: f64,
    /// Seconds with their quality (log odds) and whether they are free of errors.
    pub seconds: Vec<(f32, bool)>,
}

struct Pupil<'a> {
    of: &'a Prepared,
    networks: Option<&'a Networks>,
    lessons: Option<&'a mut Lessons>,
    threshold: f32,
    /// Whether noise raises the threshold; not while the quality itself is still to be learnt.
    gated: bool,
    found: Vec<i64>,
    labels: Vec<(u8, BeatLabel)>,
    seconds: Vec<(i64, [f32; QUALITY_FEATURES])>,
}

impl Teacher for Pupil<'_> {
    fn beat(&mut self, place: usize, features: &[f32; BEAT_FEATURES]) -> f32 {
        let truth = self.of.kinds[place] > 0;
        if let Some(lessons) = self.lessons.as_deref_mut().filter(|_| !self.of.ignored[place]) {
            let weight = self.of.weight * if truth { BEAT_WEIGHT } else { 1.0 };
            lessons.beat.push(features, [f32::from(u8::from(truth))], weight);
        }
        match self.networks {
            Some(networks) => networks.beat.score(features)[0] - self.threshold,
            None if truth => 8.0,
            None => -8.0,
        }
    }

    fn accepted(&mut self, place: usize, features: &[f32; LABEL_FEATURES]) -> [f32; 2] {
        self.found.push(self.of.at[place]);
        let kind = self.of.kinds[place];
        let truth = [ventricular(kind), paced(kind)];
        if let Some(lessons) = self.lessons.as_deref_mut().filter(|_| labelled(kind) && !self.of.ignored[place]) {
            lessons.label.push(features, truth.map(|t| f32::from(u8::from(t))), self.of.label_weight);
        }
        self.networks.map_or([0.0; 2], |networks| networks.label.score(features))
    }

    fn labelled(&mut self, place: usize, label: BeatLabel) {
        self.labels.push((self.of.kinds[place], label));
    }

    fn second(&mut self, first_sample: u64, features: &[f32; QUALITY_FEATURES]) -> f32 {
        self.seconds.push((first_sample as i64, *features));
        self.networks.filter(|_| self.gated).map_or(f32::MAX, |networks| networks.quality.score(features)[0])
    }
}

impl Prepared {
    pub fn new(record: Record, weight: f32) -> Result<Self, Failure> {
        let recording = Recording::new(record.fs_hz, &record.samples)?;
        let at: Vec<i64> = recording.samples().map(|at| at as i64).collect();
        let mut kinds = vec![0; at.len()];
        for (beat, place) in scoring::pair(&record.beats, &at, window(&record)).into_iter().enumerate() {
            if let Some(place) = place {
                kinds[place] = record.kinds[beat];
            }
        }
        let margin = (0.15 * record.fs_hz) as i64;
        let inside = |at: i64| record.excluded.iter().any(|&(first, last)| at >= first - margin && at <= last + margin);
        let ignored = at.iter().map(|&at| inside(at)).collect();
        let record = Record { samples: Vec::new(), ..record };
        Ok(Self { record, recording, at, kinds, ignored, weight, label_weight: weight })
    }

    /// The same recording with another weight in training labels.
    pub fn labels_weigh(self, label_weight: f32) -> Self {
        Self { label_weight, ..self }
    }

    /// Adds lessons, with the history that the truth (no networks) or earlier decisions would have left.
    pub fn teach(&self, networks: Option<&Networks>, lessons: &mut Lessons) {
        let mut pupil = self.pupil(networks, Some(lessons), 0.0);
        self.recording.run(&mut pupil, 0.0);
        let (found, seconds) = (pupil.found, pupil.seconds);
        if networks.is_some() {
            for (second, right) in seconds.iter().zip(self.right(&found, &seconds)) {
                lessons.quality.push(&second.1, [f32::from(u8::from(right))], self.weight);
            }
        }
    }

    fn pupil<'a>(
        &'a self,
        networks: Option<&'a Networks>,
        lessons: Option<&'a mut Lessons>,
        threshold: f32,
    ) -> Pupil<'a> {
        let gated = lessons.is_none();
        Pupil { of: self, networks, lessons, threshold, gated, found: vec![], labels: vec![], seconds: vec![] }
    }

    /// Whether each second is free of false and missed beats.
    fn right(&self, found: &[i64], seconds: &[(i64, [f32; QUALITY_FEATURES])]) -> Vec<bool> {
        let wrong = scoring::errors(&self.record.beats, found, &self.record.excluded, window(&self.record));
        let length = self.record.fs_hz as i64;
        let free = |&(first, _): &(i64, _)| {
            let from = wrong.partition_point(|&at| at < first);
            wrong.get(from).is_none_or(|&at| at >= first + length)
        };
        seconds.iter().map(free).collect()
    }

    /// Runs as the product would; a beat needs log odds above `threshold`.
    pub fn run(&self, networks: &Networks, threshold: f32) -> Run {
        let mut pupil = self.pupil(Some(networks), None, threshold);
        self.recording.run(&mut pupil, networks.gate);
        let record = &self.record;
        let mut run = Run {
            counts: scoring::count(&record.beats, &pupil.found, &record.excluded, window(record)),
            narrow: scoring::count(&record.beats, &pupil.found, &record.excluded, (0.05 * record.fs_hz).round() as i64),
            distance_ms: scoring::distance(&record.beats, &pupil.found, &record.excluded, window(record)) as f64
                * 1000.0
                / record.fs_hz,
            ..Run::default()
        };
        for &(kind, given) in pupil.labels.iter().filter(|l| labelled(l.0)) {
            tally(&mut run.ventricular, ventricular(kind), given == BeatLabel::Ventricular);
            tally(&mut run.paced, paced(kind), given == BeatLabel::Paced);
            if !matches!(kind, 10 | 41) {
                tally(&mut run.premature, kind == 5, given == BeatLabel::Ventricular);
            }
        }
        for &(kind, given) in pupil.labels.iter().filter(|l| !matches!(l.0, 0 | 13 | 30)) {
            tally(&mut run.fusions_too, ventricular(kind), given == BeatLabel::Ventricular);
        }
        let scores = pupil.seconds.iter().map(|second| networks.quality.score(&second.1)[0]);
        run.seconds = scores.zip(self.right(&pupil.found, &pupil.seconds)).collect();
        run
    }
}

fn tally(counts: &mut Counts, truth: bool, given: bool) {
    match (truth, given) {
        (true, true) => counts.tp += 1,
        (false, true) => counts.fp += 1,
        (true, false) => counts.missed += 1,
        (false, false) => {}
    }
}

fn window(record: &Record) -> i64 {
    (0.15 * record.fs_hz).round() as i64
}
