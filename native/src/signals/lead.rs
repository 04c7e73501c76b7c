//! One ECG lead: R-peaks, quality and the rhythm rules that stand on them.

use crate::ecg::{BeatLabel, LeadOutput, QrsDetector, reason};
use crate::rhythm::{RhythmEvent, RhythmLimits, RhythmMonitor};
use crate::state::{Reader, StateError, Writer};
use crate::wire::{LEAD_OFF, Wave};

use super::output::{BeatRow, Detection, Event, Output, QualityRow};
use super::place::Place;

/// A gap longer than this starts the detector anew: filters and rhythm have nothing to carry across ten minutes.
const RESTART_GAP_S: u64 = 600;
/// Invalid samples of this many counts in int16.
const INVALID: i16 = i16::MIN;

/// Detectors of one lead. Their own sample 0 is the stream's sample `base`.
pub struct Lead {
    fs_mhz: u32,
    base: u64,
    detector: QrsDetector,
    rhythm: RhythmMonitor,
    last_beat: Option<u64>,
    scratch: Scratch,
}

#[derive(Default)]
struct Scratch {
    counts: Vec<i16>,
    found: LeadOutput,
    events: Vec<RhythmEvent>,
}

impl Lead {
    /// Starts at the stream's sample `base`.
    ///
    /// # Panics
    /// Never: the validator lets only rates through that the detectors take.
    pub fn new(fs_mhz: u32, base: u64) -> Self {
        let fs_hz = f64::from(fs_mhz) / 1000.0;
        let detector = QrsDetector::new(fs_hz).expect("the validator checked the rate");
        let rhythm = RhythmMonitor::new(fs_hz, RhythmLimits::default()).expect("the validator checked the rate");
        Self { fs_mhz, base, detector, rhythm, last_beat: None, scratch: Scratch::default() }
    }

    /// Takes the next frame of the lead, behind `missing` samples that are lost.
    pub fn process(&mut self, wave: &Wave, first_sample: u64, missing: u64, at: &Place<'_>, out: &mut Output) {
        let too_long = missing > RESTART_GAP_S * u64::from(self.fs_mhz) / 1000;
        if wave.fs_mhz != self.fs_mhz || too_long {
            self.close(at, out);
            *self = Self::new(wave.fs_mhz, first_sample);
        } else if missing > 0 {
            self.skip(missing, at, out);
        }
        if missing > 0 {
            Self::quality("gap", 0.0, first_sample - missing, missing, at, out);
        }
        if at.silent || wave.status & LEAD_OFF != 0 {
            self.skip(wave.len() as u64, at, out);
            if wave.status & LEAD_OFF != 0 {
                Self::quality("lead_off", 0.0, first_sample, wave.len() as u64, at, out);
            }
            return;
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.counts.clear();
        scratch.counts.extend(wave.counts());
        self.mark_invalid(&scratch.counts, first_sample);
        self.detector.push_i16(&scratch.counts, &mut scratch.found);
        self.scratch = scratch;
        out.counts.samples += wave.len() as u64;
        self.collect(at, out);
    }

    /// The device has started anew: what is pending becomes certain now.
    pub fn close(&mut self, at: &Place<'_>, out: &mut Output) {
        self.detector.flush(&mut self.scratch.found);
        self.collect(at, out);
        let mut events = std::mem::take(&mut self.scratch.events);
        self.rhythm.close(&mut events);
        for event in events {
            self.detection(event, at, out);
        }
    }

    fn skip(&mut self, samples: u64, at: &Place<'_>, out: &mut Output) {
        let first = self.detector.samples();
        self.rhythm.invalid(first, first + samples);
        self.detector.gap(samples, &mut self.scratch.found);
        self.collect(at, out);
        self.last_beat = None; // an interval across a gap is no RR interval
    }

    /// Samples that the device itself marked as invalid prove no silence of the heart.
    fn mark_invalid(&mut self, counts: &[i16], first_sample: u64) {
        let mut index = 0;
        while let Some(start) = counts[index..].iter().position(|&count| count == INVALID).map(|found| index + found) {
            let run = counts[start..].iter().take_while(|&&count| count == INVALID).count();
            let first = first_sample - self.base + start as u64;
            self.rhythm.invalid(first, first + run as u64);
            index = start + run;
        }
    }

    fn collect(&mut self, at: &Place<'_>, out: &mut Output) {
        let mut scratch = std::mem::take(&mut self.scratch);
        for beat in &scratch.found.beats {
            let sample = self.base + beat.sample;
            let (seq, ts) = at.anchors.locate(sample);
            let rr_samples = self.last_beat.map_or(f64::NAN, |last| (sample - last) as f64);
            out.beats.push(BeatRow {
                ts,
                origin: at.origin(seq),
                sample,
                rr_ms: rr_samples * 1e6 / f64::from(self.fs_mhz),
                confidence: beat.confidence,
                label: label_name(beat.label),
                log_ns: at.log_ns,
            });
            self.last_beat = Some(sample);
        }
        self.rhythm.beats(&scratch.found.beats);
        self.rhythm.advance(self.detector.certain_until(), &mut scratch.events);
        // Gaps have rows of their own, with their exact bounds.
        for second in scratch.found.quality.iter().filter(|second| second.reasons & !reason::GAP != 0) {
            let first = self.base + second.first_sample;
            let samples = u64::from(self.fs_mhz) / 1000;
            Self::quality(reason_name(second.reasons), f64::from(second.quality), first, samples, at, out);
        }
        for event in scratch.events.drain(..) {
            self.detection(event, at, out);
        }
        scratch.found.clear();
        self.scratch = scratch;
    }

    fn detection(&self, event: RhythmEvent, at: &Place<'_>, out: &mut Output) {
        let time = |sample: u64| at.anchors.locate(self.base + sample).1;
        out.events.push(Event::Detection(Detection {
            rule: event.rule.name(),
            raised: event.raised,
            origin: at.origin(at.anchors.locate(self.base + event.decided).0),
            code: "",
            onset: self.base + event.onset,
            onset_ns: time(event.onset),
            value: event.value,
            limit: event.limit,
            evidence_ns: (time(event.evidence_first), time(event.evidence_last)),
            sample_ns: time(event.decided),
            stored: false,
            log_seq: at.log_seq,
            log_ns: at.log_ns,
        }));
    }

    fn quality(reason: &'static str, value: f64, first: u64, samples: u64, at: &Place<'_>, out: &mut Output) {
        let (seq, ts) = at.anchors.locate(first);
        let origin = at.origin(seq);
        out.quality.push(QualityRow { ts, origin, reason, value, first_sample: first, samples, log_ns: at.log_ns });
    }

    /// Appends the state.
    pub fn write(&self, writer: &mut Writer) {
        writer.one(self.fs_mhz).one(self.base).one(self.last_beat.map_or(0, |sample| sample + 1));
        writer.part(&self.detector.snapshot()).part(&self.rhythm.snapshot());
    }

    /// Reads the state back.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let (fs_mhz, base, last_beat) = (reader.one()?, reader.one()?, reader.one::<u64>()?);
        let detector = QrsDetector::restore(reader.part()?)?;
        let rhythm = RhythmMonitor::restore(reader.part()?)?;
        Ok(Self { fs_mhz, base, detector, rhythm, last_beat: last_beat.checked_sub(1), scratch: Scratch::default() })
    }
}

fn label_name(label: BeatLabel) -> &'static str {
    match label {
        BeatLabel::Normal => "normal",
        BeatLabel::Ventricular => "ventricular",
        BeatLabel::Paced => "paced",
        BeatLabel::Unclassifiable => "unclassifiable",
    }
}

/// The gravest of a second's reasons: the one that leaves least of the signal.
fn reason_name(reasons: u8) -> &'static str {
    let order = [(reason::LEAD_OFF, "lead_off"), (reason::FLAT, "flat"), (reason::SATURATED, "saturated")];
    order.iter().find(|(bit, _)| reasons & bit != 0).map_or("noisy", |(_, name)| name)
}
