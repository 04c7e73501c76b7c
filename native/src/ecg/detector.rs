//! The detector of one lead: what is valid, what was lost, what is learnt, and the snapshot.

use super::front_end::FrontEnd;
use super::judge::Judge;
use super::network::{Networks, SHIPPED};
use super::timing::{ConfigError, Timing};
use super::{Beat, LeadOutput};
use crate::state::{Reader, StateError, Writer};

const KIND: [u8; 4] = *b"QRSD";
const VERSION: u16 = 3;
/// Larger values are garbage in any unit, and their powers would leave the range of float32.
const LARGEST: f64 = 1e12;
/// Where the sample count stops: a million years at 1000 Hz, and sums of it never overflow.
const LONGEST: i64 = 1 << 60;

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
        Self::with_networks(fs_hz, &SHIPPED)
    }

    /// A detector that scores with other weights than the shipped ones: for training.
    pub fn with_networks(fs_hz: f64, networks: &'static Networks) -> Result<Self, ConfigError> {
        let timing = Timing::new(fs_hz)?;
        Ok(Self { timing, front: None, judge: Judge::new(networks), origin: 0, invalid: 0, closed: 0 })
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
        let look_ahead = if self.judge.is_learning() { front.processed() } else { self.timing.look_ahead as u64 };
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
        let from = front.samples() - self.invalid.min(self.timing.idle).min(front.samples());
        self.invalid = self.invalid.saturating_add(count);
        if self.invalid > self.timing.hold {
            self.judge.interrupt(from / self.timing.factor as u64);
        }
        let (judge, origin) = (&mut self.judge, self.origin);
        let known = out.beats.len();
        front.hold(fed as usize, |found| judge.take(found, &self.timing, origin, out));
        judge.learn_if_due(front, origin, out);
        behind(self.closed, &mut out.beats[known..]);
        self.skip(count - fed);
    }

    fn skip(&mut self, count: u64) {
        self.origin = self.origin.saturating_add_unsigned(count).min(LONGEST);
    }

    /// Ends the stream: emits what is pending. A later push continues as after a gap of no length.
    pub fn flush(&mut self, out: &mut LeadOutput) {
        let Some(front) = &mut self.front else { return };
        let end = (self.origin + front.samples() as i64) as u64;
        let (beats, seconds) = (out.beats.len(), out.quality.len());
        let (judge, origin, timing) = (&mut self.judge, self.origin, &self.timing);
        judge.interrupt(front.samples() / timing.factor as u64);
        front.hold(timing.idle as usize, |found| judge.take(found, timing, origin, out));
        judge.learn_if_due(front, origin, out);
        behind(self.closed, &mut out.beats[beats..]);
        // what follows the end was made up to push the rest out
        while out.beats.len() > beats && out.beats.last().is_some_and(|beat| beat.sample >= end) {
            out.beats.pop();
        }
        let whole = |first: u64| first + timing.fs_hz as u64 <= end;
        while out.quality.len() > seconds && out.quality.last().is_some_and(|second| !whole(second.first_sample)) {
            out.quality.pop();
        }
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
            let run = run_length(rest, |v| valid(v) == good);
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
            let known = out.beats.len();
            front.push(now, &convert, |found| judge.take(found, timing, origin, out));
            judge.learn_if_due(front, origin, out);
            behind(self.closed, &mut out.beats[known..]);
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

/// Moves beats behind the end of a flush: garbage right after it can place an R peak among the samples that never were.
fn behind(closed: u64, beats: &mut [Beat]) {
    for beat in beats {
        beat.sample = beat.sample.max(closed);
    }
}

/// How many samples from the first on are alike: whole blocks at a time, since most streams have no invalid sample.
fn run_length<T: Copy>(samples: &[T], alike: impl Fn(T) -> bool) -> usize {
    let mut at = 0;
    for block in samples.chunks(32) {
        if !block.iter().fold(true, |all, &v| all & alike(v)) {
            return at + block.iter().take_while(|&&v| alike(v)).count();
        }
        at += block.len();
    }
    at
}
