//! Takes what the front end finds and makes beats and quality of it.

use super::decide::{CORRELATION, History};
use super::features::{self, CONTOURS, Candidate, LEVELS, Level, SHAPE};
use super::front_end::{Found, FrontEnd, View};
use super::math::logistic;
use super::morphology::{self, Morphology};
use super::network::Networks;
use super::quality::{Decisions, Second};
use super::timing::Timing;
use super::{Beat, BeatLabel, LeadOutput, QualitySecond};
use crate::state::{Reader, StateError, Writer};

/// Candidates that the learning phase can hold: they are more than 200 ms apart.
const LEARNING_MOST: usize = 12;
/// Beats less sure than this have no shape worth naming.
const NAMED: f32 = 0.6;

/// Decides on candidates, after a learning phase in which the strongest sets the expected amplitude.
#[derive(Clone)]
pub(super) struct Judge {
    networks: &'static Networks,
    history: History,
    morphology: Morphology,
    decisions: Decisions,
    /// Candidates of the learning phase; absent when it is over.
    learning: Option<Vec<Candidate>>,
}

impl Judge {
    pub fn new(networks: &'static Networks) -> Self {
        Self {
            networks,
            history: History::new(),
            morphology: Morphology::default(),
            decisions: Decisions::default(),
            learning: Some(Vec::new()),
        }
    }

    /// Whether the first beats are still to come.
    pub fn is_learning(&self) -> bool {
        self.learning.is_some()
    }

    /// A stretch was lost from decimated index `from` on.
    pub fn interrupt(&mut self, from: u64) {
        self.history.interrupt(from);
    }

    /// Decides on what was found; `origin` is the stream index of the front end's sample 0.
    pub fn take(&mut self, found: Found, timing: &Timing, origin: i64, out: &mut LeadOutput) {
        match found {
            Found::Candidate(candidate, view) => self.candidate(candidate, view, timing, origin, out),
            Found::Second(second) => self.second(&second, timing, origin, out),
        }
    }

    fn second(&mut self, second: &Second, timing: &Timing, origin: i64, out: &mut LeadOutput) {
        if second.first_sample >= timing.learning() * timing.factor as u64 {
            self.learnt(timing, origin, out);
        }
        let (quality, reasons) = self.decisions.close(second, self.history.scale(), self.networks);
        let first_sample = (origin + second.first_sample as i64).max(0) as u64;
        out.quality.push(QualitySecond { first_sample, quality, reasons });
    }

    fn candidate(&mut self, mut candidate: Candidate, view: &View, timing: &Timing, origin: i64, out: &mut LeadOutput) {
        if self.learning.is_some() && candidate.index < timing.learning() {
            if let Some(learning) = self.learning.as_mut().filter(|learning| learning.len() < LEARNING_MOST) {
                self.history.strongest = self.history.strongest.max(candidate.level(Level::Power));
                features::complete(view, &mut candidate);
                learning.push(candidate);
            }
            return;
        }
        self.learnt(timing, origin, out);
        self.decide(&mut candidate, Some(view), timing, origin, out);
    }

    /// Ends the learning phase when no candidate of its time can come any more. Not before its last second is closed: that
    /// one is closed without what the phase has learnt, wherever a push ends.
    pub fn learn_if_due(&mut self, front: &FrontEnd, origin: i64, out: &mut LeadOutput) {
        let delay = front.timing.energy_delay() + front.timing.reach;
        if self.learning.is_some() && front.count.saturating_sub(delay as u64) > front.timing.learning() {
            self.learnt(&front.timing, origin, out);
        }
    }

    fn learnt(&mut self, timing: &Timing, origin: i64, out: &mut LeadOutput) {
        for mut candidate in self.learning.take().unwrap_or_default() {
            self.decide(&mut candidate, None, timing, origin, out);
        }
    }

    /// Without the view of its moment the candidate is one of the learning phase: complete, and late.
    fn decide(
        &mut self,
        candidate: &mut Candidate,
        view: Option<&View>,
        timing: &Timing,
        origin: i64,
        out: &mut LeadOutput,
    ) {
        self.history.expect(candidate);
        let (features, likeness) = self.history.features(candidate, timing);
        let [score] = self.networks.beat.score(&features);
        let accepted = score > self.decisions.gate();
        let late = view.is_none();
        if !late {
            self.decisions.add(score, accepted, features[CORRELATION]);
        }
        if accepted {
            if let Some(view) = view {
                features::complete(view, candidate);
            }
            let sample = (origin + candidate.sample as i64).max(0) as u64;
            let confidence = logistic(score);
            let label = self.label(candidate, confidence, timing);
            out.beats.push(Beat { sample, confidence, label, late });
        }
        self.history.decide(candidate, &likeness, score, accepted, timing);
    }

    fn label(&mut self, candidate: &Candidate, confidence: f32, timing: &Timing) -> BeatLabel {
        let rhythm = self.history.rhythm(candidate, timing);
        let (features, likeness) = self.morphology.features(candidate, rhythm);
        let odds = self.networks.label.score(&features);
        let named = confidence >= NAMED && self.morphology.knows();
        let odds = self.morphology.take(candidate, &likeness, rhythm, odds);
        if named { morphology::label(odds) } else { BeatLabel::Unclassifiable }
    }

    pub fn write(&self, writer: &mut Writer) {
        self.history.write(writer);
        self.morphology.write(writer);
        self.decisions.write(writer);
        let learning = self.learning.as_deref();
        writer.one(learning.map_or(u8::MAX, |learning| learning.len() as u8));
        for candidate in learning.unwrap_or_default() {
            writer.one(candidate.index as u32).one(candidate.sample as u32);
            writer.put(&candidate.levels).put(&candidate.shape).put(&candidate.wide_shape);
            writer.put(&candidate.contour);
        }
    }

    pub fn read(&mut self, reader: &mut Reader) -> Result<(), StateError> {
        self.history = History::read(reader)?;
        self.morphology = Morphology::read(reader)?;
        self.decisions = Decisions::read(reader)?;
        let count: u8 = reader.one()?;
        self.learning = (count != u8::MAX).then(Vec::new);
        if let Some(learning) = &mut self.learning {
            for _ in 0..count {
                let (index, sample) = (reader.one::<u32>()?.into(), reader.one::<u32>()?.into());
                let (shape, wide_shape) = ([0; SHAPE], [0; SHAPE]);
                let contour = [0; CONTOURS];
                let mut candidate = Candidate { index, sample, levels: [0.0; LEVELS], shape, wide_shape, contour };
                reader.fill(&mut candidate.levels)?;
                reader.fill(&mut candidate.shape)?;
                reader.fill(&mut candidate.wide_shape)?;
                reader.fill(&mut candidate.contour)?;
                learning.push(candidate);
            }
            let sane = |c: &Candidate| c.levels.iter().all(|level| level.abs() < 1e6);
            if learning.len() > LEARNING_MOST || !learning.iter().all(sane) {
                return Err(StateError::Value("candidates of the learning phase"));
            }
        }
        Ok(())
    }
}
