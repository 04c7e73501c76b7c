//! One ECG lead: R-peaks, quality and the rhythm rules that stand on them.

use std::collections::VecDeque;

use crate::ecg::{BeatLabel, LeadOutput, QrsDetector, QualitySecond, reason};
use crate::rhythm::{RhythmEvent, RhythmLimits, RhythmMonitor, Shapes, VfDetector, WaveformSecond};
use crate::state::{Reader, StateError, Writer};
use crate::wire::{LEAD_OFF, Wave};

use super::derived::Derived;
use super::evidence::{Evidence, Fact};
use super::faults::{Contact, Faults, Span};
use super::output::{BeatRow, Detection, Event, Output, QualityRow};
use super::place::Place;
use super::train::Train;

/// A gap longer than this starts the detector anew: filters and rhythm have nothing to carry across ten minutes.
const RESTART_GAP_S: u64 = 600;
/// Invalid samples of this many counts in int16.
const INVALID: i16 = i16::MIN;
/// Seconds whose quality is remembered, for the evidence of findings.
const QUALITY_KEPT: usize = 60;
/// A lead at the end of its range, this many usual QRS sizes away from where it lay, is off: asystole stays where it is.
const OFF_SIZES: f32 = 2.0;
/// Weight of a second in where the lead lies.
const LEVEL_WEIGHT: f32 = 0.1;
/// A beat this sure, of a shape that could be told, speaks for other leads.
const SURE: f32 = 0.7;

/// Detectors of one lead. Their own sample 0 is the stream's sample `base`.
pub struct Lead {
    fs_mhz: u32,
    base: u64,
    detector: QrsDetector,
    rhythm: RhythmMonitor,
    vf: VfDetector,
    shapes: Shapes,
    derived: Derived,
    /// Rates are stored next when everything before this sample has been judged.
    next_rate: u64,
    /// Beats in event time, for findings of other leads.
    pub train: Train,
    /// First sample (the detector's own count) and quality in hundredths of the last seconds.
    quality: VecDeque<(u64, u8)>,
    /// What is wrong with the signal, in the stream's samples.
    faults: Faults,
    /// Where the lead lies, in its unit; NaN while every second was flat or lost.
    level: f32,
    last_beat: Option<u64>,
    scratch: Scratch,
}

#[derive(Default)]
struct Scratch {
    counts: Vec<i16>,
    found: LeadOutput,
    events: Vec<RhythmEvent>,
    seconds: Vec<WaveformSecond>,
}

impl Lead {
    /// Starts at the stream's sample `base`.
    ///
    /// # Panics
    /// Never: the validator lets only rates through that the detectors take, and limits were checked with their command.
    pub fn new(fs_mhz: u32, base: u64, limits: RhythmLimits) -> Self {
        let fs_hz = f64::from(fs_mhz) / 1000.0;
        let detector = QrsDetector::new(fs_hz).expect("the validator checked the rate");
        let rhythm = RhythmMonitor::new(fs_hz, limits).expect("rate and limits were checked");
        let vf = VfDetector::new(fs_hz).expect("the validator checked the rate").sparing();
        Self {
            fs_mhz,
            base,
            detector,
            rhythm,
            vf,
            shapes: Shapes::new(fs_hz),
            derived: Derived::new(fs_mhz),
            next_rate: 0,
            train: Train::default(),
            quality: VecDeque::new(),
            faults: Faults::default(),
            level: f32::NAN,
            last_beat: None,
            scratch: Scratch::default(),
        }
    }

    /// Takes the next frame of the lead, behind `missing` samples that are lost.
    pub fn process(&mut self, wave: &Wave, first_sample: u64, missing: u64, at: &Place<'_>, out: &mut Output) {
        let too_long = missing > RESTART_GAP_S * u64::from(self.fs_mhz) / 1000;
        if wave.fs_mhz != self.fs_mhz || too_long {
            self.close(at, out);
            *self = Self::new(wave.fs_mhz, first_sample, at.limits_at(at.anchors.locate(first_sample).1).rhythm);
        } else if missing > 0 {
            self.skip(missing, at, out);
        }
        if missing > 0 {
            Self::quality("gap", 0.0, first_sample - missing, missing, at, out);
        }
        if at.silent || wave.status & LEAD_OFF != 0 {
            if wave.status & LEAD_OFF != 0 {
                if !at.silent {
                    self.contact(Contact::Off, first_sample, wave.len() as u64, at, out);
                }
                Self::quality("lead_off", 0.0, first_sample, wave.len() as u64, at, out);
            }
            self.skip(wave.len() as u64, at, out);
            return;
        }
        out.counts.samples += wave.len() as u64;
        let mut counts = std::mem::take(&mut self.scratch.counts);
        counts.clear();
        counts.extend(wave.counts());
        self.mark_invalid(&counts, first_sample);
        let mut rest = &counts[..];
        while !rest.is_empty() {
            // In steps that end where whole seconds of the stream do: nothing depends on the length of frames.
            let second = u64::from(self.fs_mhz) / 1000;
            let step = (second - self.detector.samples() % second).min(rest.len() as u64);
            let (now, later) = rest.split_at(step as usize);
            self.push(now, wave.lsb, at, out);
            rest = later;
        }
        self.scratch.counts = counts;
    }

    fn push(&mut self, counts: &[i16], lsb: f64, at: &Place<'_>, out: &mut Output) {
        if counts.iter().all(|&count| count == INVALID) {
            let first = self.base + self.detector.samples();
            self.contact(Contact::Lost, first, counts.len() as u64, at, out);
        }
        self.detector.push_i16(counts, &mut self.scratch.found);
        let value = |&count: &i16| if count == INVALID { f64::NAN } else { f64::from(count) * lsb };
        self.shapes.push(counts.iter().map(|count| value(count) as f32));
        self.vf.push(counts.iter().map(value), &mut self.scratch.seconds);
        for second in self.scratch.seconds.drain(..).filter(VfDetector::fibrillatory) {
            let (first, end) = second.proven(&self.vf);
            self.rhythm.fibrillation(first, end);
        }
        self.collect(at, out);
    }

    /// Changes what is watched for. What is raised stays until the new limits clear it.
    pub fn set_limits(&mut self, limits: RhythmLimits) {
        self.rhythm.set_limits(limits).expect("limits were checked with their command");
    }

    /// Judges everything before a sample; of the past, each stretch by the limits of its own time.
    fn judge_until(&mut self, until: u64, at: &Place<'_>, events: &mut Vec<RhythmEvent>) {
        if at.past {
            let time = |sample: u64| at.anchors.locate(self.base + sample).1;
            let from = self.rhythm.judged_until();
            let (from_ns, until_ns) = (time(from), time(until));
            self.set_limits(at.limits.at(from_ns).rhythm);
            for ns in at.limits.changes_within(from_ns, until_ns) {
                let samples = i128::from(until_ns - ns) * i128::from(self.fs_mhz) / 1_000_000_000_000;
                self.rhythm.advance(until.saturating_sub(samples as u64).max(from), events);
                self.set_limits(at.limits.at(ns).rhythm);
            }
        }
        self.rhythm.advance(until, events);
    }

    /// The lead ends: what is pending becomes certain now, what stands ends.
    pub fn close(&mut self, at: &Place<'_>, out: &mut Output) {
        self.detector.flush(&mut self.scratch.found);
        self.collect(at, out);
        let mut events = std::mem::take(&mut self.scratch.events);
        self.rhythm.close(&mut events);
        for event in events {
            self.detection(event, at, out);
        }
        let end = self.base + self.detector.samples();
        out.events.extend(self.faults.close(end).map(|fault| at.fault(&fault)));
    }

    fn contact(&mut self, contact: Contact, first: u64, samples: u64, at: &Place<'_>, out: &mut Output) {
        let fault = self.faults.contact(contact, self.span(first, samples));
        out.events.extend(fault.map(|fault| at.fault(&fault)));
    }

    /// Whether the signal itself is to be doubted at present.
    pub fn doubted(&self) -> bool {
        self.faults.stand()
    }

    fn span(&self, first: u64, samples: u64) -> Span {
        Span { first, end: first + samples, fs_hz: f64::from(self.fs_mhz) / 1000.0 }
    }

    /// What the seconds that are over say of the lead itself. Told before what they say of the patient.
    fn judge_signal(&mut self, seconds: &[QualitySecond], at: &Place<'_>, out: &mut Output) {
        let samples = u64::from(self.fs_mhz) / 1000;
        for second in seconds.iter().filter(|second| second.reasons & reason::GAP == 0) {
            let first = self.base + second.first_sample;
            let level = self.shapes.level(second.first_sample, second.first_sample + samples);
            let railed = second.reasons & reason::SATURATED != 0 && second.reasons & reason::LEAD_OFF != 0;
            if railed && self.is_far(level) {
                // The second before was lost, too.
                self.contact(Contact::Off, first.saturating_sub(samples), 2 * samples, at, out);
                continue;
            }
            self.contact(Contact::On, first, samples, at, out);
            let fault = self.faults.quality(second.quality.into(), self.span(first, samples));
            out.events.extend(fault.map(|fault| at.fault(&fault)));
            if let Some(level) = level.filter(|_| second.reasons & (reason::FLAT | reason::LEAD_OFF) == 0) {
                let known = if self.level.is_nan() { level } else { self.level };
                self.level = known + LEVEL_WEIGHT * (level - known);
            }
        }
    }

    /// Whether a level is no place where this patient's lead would lie.
    fn is_far(&self, level: Option<f32>) -> bool {
        let (Some(level), Some(size)) = (level, self.shapes.usual_size()) else { return true };
        self.level.is_nan() || (level - self.level).abs() > OFF_SIZES * size
    }

    fn skip(&mut self, samples: u64, at: &Place<'_>, out: &mut Output) {
        let first = self.detector.samples();
        self.rhythm.invalid(first, first + samples);
        self.detector.gap(samples, &mut self.scratch.found);
        self.vf.gap(samples);
        self.shapes.gap(samples);
        self.derived.interrupt();
        self.collect(at, out);
        self.faults.interrupt();
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
            let shape = self.shapes.beat(beat.sample);
            let weak = shape.is_some_and(|shape| shape.weak);
            if beat.confidence >= SURE && beat.label != BeatLabel::Unclassifiable && !weak {
                self.train.push(ts, shape.map_or(1.0, |shape| shape.size));
            }
            self.derived.beat(beat, shape, self.base, at, out);
            self.rhythm.shaped_beat(beat, shape);
        }
        self.train.advance(at.anchors.locate(self.base + self.detector.certain_until()).1, at.log_ns);
        for second in &scratch.found.quality {
            if self.quality.len() == QUALITY_KEPT {
                self.quality.pop_front();
            }
            self.quality.push_back((second.first_sample, (100.0 * second.quality).round() as u8));
        }
        self.judge_signal(&scratch.found.quality, at, out);
        let certain_until = self.detector.certain_until();
        while self.next_rate <= certain_until {
            self.judge_until(self.next_rate, at, &mut scratch.events);
            let second = u64::from(self.fs_mhz) / 1000;
            let quality = self.quality_of(self.next_rate.saturating_sub(10 * second), self.next_rate);
            self.derived.rates(self.next_rate, quality, &self.rhythm, self.base, at, out);
            self.next_rate = self.derived.next_rate(self.next_rate);
        }
        self.judge_until(certain_until, at, &mut scratch.events);
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
            evidence: self.evidence(&event, at),
            sample_ns: time(event.decided),
            stored: false,
            log_seq: at.log_seq,
            log_ns: at.log_ns,
        }));
    }

    /// Beats and signal quality of the stretch on which a finding stands.
    fn evidence(&self, event: &RhythmEvent, at: &Place<'_>) -> Evidence {
        let (first, last) = (event.evidence_first, event.evidence_last);
        let (beats, ventricular) = self.rhythm.beats_between(first, last);
        let mut evidence = at.evidence();
        evidence.set(Fact::Beats, beats.into()).set(Fact::VentricularBeats, ventricular.into());
        evidence.set(Fact::Quality, self.quality_of(first, last));
        evidence
    }

    /// Mean quality of the seconds of a stretch; NaN where none is known.
    fn quality_of(&self, first: u64, last: u64) -> f64 {
        let second = u64::from(self.fs_mhz) / 1000;
        let known = self.quality.iter().filter(|(start, _)| start + second > first && *start <= last);
        let (count, sum) = known.fold((0.0, 0.0), |(count, sum), (_, value)| (count + 1.0, sum + f64::from(*value)));
        (sum / count).round() / 100.0
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
        writer.part(&self.vf.snapshot()).one(self.next_rate);
        self.shapes.write(writer);
        self.derived.write(writer);
        self.train.write(writer);
        writer.one(self.quality.len() as u8);
        for (first, value) in &self.quality {
            writer.one(*first).one(*value);
        }
        self.faults.write(writer);
        writer.one(self.level);
    }

    /// Reads the state back.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let (fs_mhz, base, last_beat) = (reader.one()?, reader.one()?, reader.one::<u64>()?);
        let detector = QrsDetector::restore(reader.part()?)?;
        let rhythm = RhythmMonitor::restore(reader.part()?)?;
        let (vf, next_rate) = (VfDetector::restore(reader.part()?)?.sparing(), reader.one()?);
        let (shapes, derived, train) = (Shapes::read(reader)?, Derived::read(reader, fs_mhz)?, Train::read(reader)?);
        let mut quality = VecDeque::new();
        for _ in 0..reader.one::<u8>()? {
            quality.push_back((reader.one()?, reader.one()?));
        }
        let (faults, level) = (Faults::read(reader)?, reader.one()?);
        let last_beat = last_beat.checked_sub(1);
        let scratch = Scratch::default();
        Ok(Self {
            fs_mhz,
            base,
            detector,
            rhythm,
            vf,
            shapes,
            derived,
            next_rate,
            train,
            quality,
            faults,
            level,
            last_beat,
            scratch,
        })
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
