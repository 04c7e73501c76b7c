//! The detector of one lead: what is valid, what was lost, what is learnt, and the snapshot.

use super::decide::History;
use super::features::{Candidate, LEVELS, Level, SHAPE};
use super::front_end::FrontEnd;
use super::math::logistic;
use super::network::{Network, SHIPPED};
use super::timing::{ConfigError, LEARNING_S, Timing};
use super::{Beat, BeatLabel, LeadOutput};
use crate::state::{Reader, StateError, Writer};

const KIND: [u8; 4] = *b"QRSD";
const VERSION: u16 = 1;
/// Larger values are garbage in any unit, and their powers would leave the range of float32.
const LARGEST: f64 = 1e12;
/// Where the sample count stops: a million years at 1000 Hz, and sums of it never overflow.
const LONGEST: i64 = 1 << 60;
/// Candidates that the learning phase can hold: they are more than 200 ms apart.
const LEARNING_MOST: usize = 12;

/// Streaming R-peak detector of one lead.
#[derive(Clone)]
pub struct QrsDetector {
    timing: Timing,
    /// Absent until the first valid sample.
    front: Option<FrontEnd>,
    judge: Judge,
    /// Stream index of the front end's sample 0; may be negative after a flush, which feeds samples that never were.
    origin: i64,
    /// Length of the invalid run that the stream ends with.
    invalid: u64,
    /// No beat before this can come any more, whatever the filters say.
    closed: u64,
}

impl QrsDetector {
    /// A detector for `fs_hz` samples per second, 100 to 1000.
    pub fn new(fs_hz: f64) -> Result<Self, ConfigError> {
        Self::with_network(fs_hz, &SHIPPED)
    }

    /// A detector that scores with other weights than the shipped ones: for training.
    pub fn with_network(fs_hz: f64, network: &'static Network) -> Result<Self, ConfigError> {
        let timing = Timing::new(fs_hz)?;
        let judge = Judge { network, history: History::new(), learning: Some(Vec::new()) };
        Ok(Self { timing, front: None, judge, origin: 0, invalid: 0, closed: 0 })
    }

    /// Samples per second.
    pub fn fs_hz(&self) -> f64 {
        self.timing.fs_hz
    }

    /// Samples pushed so far, gaps included.
    pub fn samples(&self) -> u64 {
        (self.origin + self.front.as_ref().map_or(0, FrontEnd::samples) as i64) as u64
    }

    /// Every beat before this sample has been emitted (those of the first two seconds aside).
    pub fn certain_until(&self) -> u64 {
        let Some(front) = &self.front else { return self.samples() };
        let look_ahead = if self.judge.learning.is_some() { front.processed() } else { self.timing.look_ahead as u64 };
        (self.origin + front.processed() as i64 - look_ahead as i64).max(self.closed as i64) as u64
    }

    /// Pushes converter values; -32768 means invalid.
    pub fn push_i16(&mut self, samples: &[i16], out: &mut LeadOutput) {
        self.push(samples, |v| v != i16::MIN, f64::from, |v, anchor| f32::from(v) - anchor as f32, out);
    }

    /// Pushes values in any unit; NaN, infinity and anything beyond 1e12 mean invalid.
    pub fn push_f64(&mut self, samples: &[f64], out: &mut LeadOutput) {
        self.push(samples, |v| v.abs() < LARGEST, |v| v, |v, anchor| (v - anchor) as f32, out);
    }

    /// Pushes values in any unit; invalid as in [`Self::push_f64`].
    pub fn push_f32(&mut self, samples: &[f32], out: &mut LeadOutput) {
        let convert = |v: f32, anchor: f64| (f64::from(v) - anchor) as f32;
        self.push(samples, |v| f64::from(v.abs()) < LARGEST, f64::from, convert, out);
    }

    /// Tells that `count` samples were lost.
    pub fn gap(&mut self, count: u64, out: &mut LeadOutput) {
        let Some(front) = &mut self.front else {
            self.skip(count);
            return;
        };
        let fed = count.min(self.timing.idle.saturating_sub(self.invalid));
        let (judge, origin) = (&mut self.judge, self.origin);
        front.hold(fed as usize, |candidate| judge.candidate(&candidate, &self.timing, origin, out));
        judge.learn_if_due(front, origin, out);
        self.invalid = self.invalid.saturating_add(count);
        self.skip(count - fed);
        if self.invalid > self.timing.hold {
            self.judge.history.interrupt();
        }
    }

    fn skip(&mut self, count: u64) {
        self.origin = self.origin.saturating_add_unsigned(count).min(LONGEST);
    }

    /// Ends the stream: emits what is pending. A later push continues as after a gap of no length.
    pub fn flush(&mut self, out: &mut LeadOutput) {
        let Some(front) = &mut self.front else { return };
        let end = (self.origin + front.samples() as i64) as u64;
        let first = out.beats.len();
        let (judge, origin, timing) = (&mut self.judge, self.origin, &self.timing);
        front.hold(timing.idle as usize, |candidate| judge.candidate(&candidate, timing, origin, out));
        judge.learn_if_due(front, origin, out);
        judge.history.interrupt();
        let pending = out.beats.split_off(first);
        out.beats.extend(pending.into_iter().filter(|beat| beat.sample < end));
        self.origin -= timing.idle as i64;
        self.invalid = timing.idle;
        self.closed = end;
    }

    fn push<T: Copy>(
        &mut self,
        samples: &[T],
        valid: impl Fn(T) -> bool,
        value: impl Fn(T) -> f64,
        convert: impl Fn(T, f64) -> f32,
        out: &mut LeadOutput,
    ) {
        let mut rest = samples;
        while let Some(&first) = rest.first() {
            let good = valid(first);
            let run = rest.iter().position(|&v| valid(v) != good).unwrap_or(rest.len());
            let (now, later) = rest.split_at(run);
            rest = later;
            if !good {
                self.gap(run as u64, out);
                continue;
            }
            let front = self.front.get_or_insert_with(|| FrontEnd::new(self.timing, value(first)));
            if self.invalid > self.timing.hold {
                front.continue_from(value(first));
            }
            self.invalid = 0;
            let (judge, origin, timing) = (&mut self.judge, self.origin, &self.timing);
            front.push(now, &convert, |candidate| judge.candidate(&candidate, timing, origin, out));
            judge.learn_if_due(front, origin, out);
        }
    }

    /// State as bytes, at most 4 KiB.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut writer = Writer::new(KIND, VERSION);
        writer.one(self.timing.fs_hz).one(self.origin).one(self.invalid).one(self.closed);
        writer.one(u8::from(self.front.is_some()));
        if let Some(front) = &self.front {
            front.write(&mut writer);
            self.judge.write(&mut writer);
        }
        writer.finish()
    }

    /// The detector that wrote these bytes.
    pub fn restore(snapshot: &[u8]) -> Result<Self, StateError> {
        let mut reader = Reader::open(snapshot, KIND, VERSION)?;
        let fs_hz: f64 = reader.one()?;
        let mut detector = Self::new(fs_hz).map_err(|_| StateError::Value("sampling rate"))?;
        detector.origin = reader.one()?;
        detector.invalid = reader.one()?;
        detector.closed = reader.one()?;
        match reader.one::<u8>()? {
            0 => {}
            1 => {
                detector.front = Some(FrontEnd::read(detector.timing, &mut reader)?);
                detector.judge.read(&mut reader)?;
            }
            _ => return Err(StateError::Value("filter state of a lead")),
        }
        reader.finish()?;
        let fed = detector.front.as_ref().map_or(0, FrontEnd::samples) as i64;
        let samples = detector.origin.checked_add(fed).filter(|&samples| samples >= 0 && detector.origin <= LONGEST);
        if samples.is_none_or(|samples| detector.closed > samples as u64) {
            return Err(StateError::Value("sample count"));
        }
        Ok(detector)
    }
}

/// Decides on candidates, after a learning phase in which the strongest sets the expected amplitude.
#[derive(Clone)]
struct Judge {
    network: &'static Network,
    history: History,
    /// Candidates of the learning phase; absent when it is over.
    learning: Option<Vec<Candidate>>,
}

impl Judge {
    fn candidate(&mut self, candidate: &Candidate, timing: &Timing, origin: i64, out: &mut LeadOutput) {
        if self.learning.is_some() && (candidate.index as f32) < LEARNING_S * timing.rate_hz {
            if let Some(learning) = self.learning.as_mut().filter(|learning| learning.len() < LEARNING_MOST) {
                self.history.strongest = self.history.strongest.max(candidate.level(Level::Power));
                learning.push(*candidate);
            }
            return;
        }
        self.learnt(timing, origin, out);
        self.decide(candidate, false, timing, origin, out);
    }

    /// Ends the learning phase when no candidate of its time can come any more.
    fn learn_if_due(&mut self, front: &FrontEnd, origin: i64, out: &mut LeadOutput) {
        let delay = front.timing.energy_delay() + front.timing.reach;
        if self.learning.is_some()
            && front.count.saturating_sub(delay as u64) as f32 > LEARNING_S * front.timing.rate_hz
        {
            self.learnt(&front.timing, origin, out);
        }
    }

    fn learnt(&mut self, timing: &Timing, origin: i64, out: &mut LeadOutput) {
        for candidate in self.learning.take().unwrap_or_default() {
            self.decide(&candidate, true, timing, origin, out);
        }
    }

    fn decide(&mut self, candidate: &Candidate, late: bool, timing: &Timing, origin: i64, out: &mut LeadOutput) {
        self.history.expect(candidate);
        let score = self.network.score(&self.history.features(candidate, timing));
        let accepted = score > 0.0;
        self.history.decide(candidate, accepted, timing);
        if accepted {
            let sample = (origin + candidate.sample as i64) as u64;
            out.beats.push(Beat { sample, confidence: logistic(score), label: BeatLabel::Unclassifiable, late });
        }
    }

    fn write(&self, writer: &mut Writer) {
        self.history.write(writer);
        let learning = self.learning.as_deref();
        writer.one(learning.map_or(u8::MAX, |learning| learning.len() as u8));
        for candidate in learning.unwrap_or_default() {
            writer.one(candidate.index as u32).one(candidate.sample as u32);
            writer.put(&candidate.levels).put(&candidate.shape);
        }
    }

    fn read(&mut self, reader: &mut Reader) -> Result<(), StateError> {
        self.history = History::read(reader)?;
        let count: u8 = reader.one()?;
        self.learning = (count != u8::MAX).then(Vec::new);
        if let Some(learning) = &mut self.learning {
            for _ in 0..count {
                let (index, sample) = (reader.one::<u32>()?.into(), reader.one::<u32>()?.into());
                let mut candidate = Candidate { index, sample, levels: [0.0; LEVELS], shape: [0; SHAPE] };
                reader.fill(&mut candidate.levels)?;
                reader.fill(&mut candidate.shape)?;
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
