//! What the trainer needs: candidates, features and decisions by the very code that serves.

use super::BeatLabel;
use super::decide::{CORRELATION, History};
use super::features::{self, Candidate, Level};
use super::front_end::{Found, FrontEnd};
use super::morphology::{Morphology, label};
use super::quality::{Decisions, Second};
use super::timing::{ConfigError, Timing};

pub use super::decide::FEATURES as BEAT_FEATURES;
pub use super::math::logistic;
pub use super::morphology::FEATURES as LABEL_FEATURES;
pub use super::network::{BeatNetwork, GRID, LIMIT, LabelNetwork, Network, Networks, QualityNetwork, SHIPPED};
pub use super::quality::FEATURES as QUALITY_FEATURES;

/// Gives the answers of a run and sees its features.
pub trait Teacher {
    /// Log odds that the candidate at this place is a beat.
    fn beat(&mut self, place: usize, features: &[f32; BEAT_FEATURES]) -> f32;
    /// The candidate at this place was accepted: log odds that it is ventricular, and that it is paced.
    fn accepted(&mut self, place: usize, features: &[f32; LABEL_FEATURES]) -> [f32; 2];
    /// The label that the candidate at this place was given.
    fn labelled(&mut self, place: usize, label: BeatLabel);
    /// A second that begins at this sample is over: log odds that it is free of errors.
    fn second(&mut self, first_sample: u64, features: &[f32; QUALITY_FEATURES]) -> f32;
}

enum Event {
    Candidate(Candidate),
    Second(Second<'static>),
}

/// What the front end finds in one recording.
pub struct Recording {
    timing: Timing,
    events: Vec<Event>,
}

impl Recording {
    /// Runs the front end.
    pub fn new(fs_hz: f64, samples: &[f64]) -> Result<Self, ConfigError> {
        let timing = Timing::new(fs_hz)?;
        let mut events = Vec::new();
        let mut front = FrontEnd::new(timing, samples.first().copied().unwrap_or(0.0));
        let keep = |found: Found| {
            events.push(match found {
                Found::Candidate(mut candidate, view) => {
                    features::complete(view, &mut candidate);
                    Event::Candidate(candidate)
                }
                Found::Second(second) => Event::Second(Second { energy: &[], ..second }),
            });
        };
        front.push(samples, |v, anchor| (v - anchor) as f32, keep);
        Ok(Self { timing, events })
    }

    fn candidates(&self) -> impl Iterator<Item = &Candidate> {
        self.events.iter().filter_map(|event| match event {
            Event::Candidate(candidate) => Some(candidate),
            Event::Second(_) => None,
        })
    }

    /// R positions of the candidates.
    pub fn samples(&self) -> impl Iterator<Item = u64> {
        self.candidates().map(|candidate| candidate.sample)
    }

    /// Runs the decisions in order, with this gate.
    pub fn run(&self, teacher: &mut impl Teacher, gate: f32) {
        let t = &self.timing;
        let (mut history, mut morphology, mut decisions) =
            (History::new(), Morphology::default(), Decisions::default());
        let learning = self.candidates().take_while(|c| c.index < t.learning());
        history.strongest = learning.map(|c| c.level(Level::Power)).fold(f32::MIN, f32::max);
        let mut place = 0;
        for event in &self.events {
            match event {
                Event::Second(second) => {
                    let features = decisions.features(second, history.scale());
                    decisions = Decisions::after(teacher.second(second.first_sample, &features), gate);
                }
                Event::Candidate(candidate) => {
                    history.expect(candidate);
                    let (features, likeness) = history.features(candidate, t);
                    let score = teacher.beat(place, &features);
                    let accepted = score > decisions.gate();
                    decisions.add(score, accepted, features[CORRELATION]);
                    if accepted {
                        let rhythm = history.rhythm(candidate, t);
                        let (features, likeness) = morphology.features(candidate, rhythm);
                        let odds = teacher.accepted(place, &features);
                        teacher.labelled(place, label(morphology.take(candidate, &likeness, rhythm, odds)));
                    }
                    history.decide(candidate, &likeness, score, accepted, t);
                    place += 1;
                }
            }
        }
    }
}
