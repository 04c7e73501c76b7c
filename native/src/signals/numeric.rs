//! Readings of one device: steps that nobody believes, desaturations and low-saturation alarms.

use crate::oximetry::{Desaturation, DesaturationDetector, DesaturationKind, SpO2AlarmEvent, SpO2Alarms, SpO2Limits};
use crate::state::{Reader, StateError, Writer};
use crate::wire::proto::Code;
use crate::wire::{LEAD_OFF, Reading, facts_of};

use super::evidence::{Evidence, Fact};
use super::output::{DesaturationRow, Detection, Event, Output, QualityRow};
use super::place::Place;

/// Grid of the SpO2 series: one value a second, the first of each second counts.
const FS_HZ: f64 = 1.0;
const SECOND_NS: i64 = 1_000_000_000;
/// A desaturation is a fall by this many points.
const DROP: f64 = 3.0;
/// A reading this many seconds before the last one is a clock that was set back, not a reading out of order.
const MAX_BACKWARDS: i64 = 10;
/// Such a step counts as a gap of so many seconds: long enough to end what the detectors were following.
const AFTER_STEP: i64 = 120;
/// Missing seconds that are fed as "no reading"; the rest of a longer silence only moves the grid.
const MAX_MISSING: i64 = 300;

/// The SpO2 series on its grid: second `index` began at `origin_ns + index s`.
struct SpO2Series {
    origin_ns: i64,
    next: i64,
    detector: DesaturationDetector,
    alarms: SpO2Alarms,
}

/// State of all readings of one device.
#[derive(Default)]
pub struct Numeric {
    /// Last value of each code: (code, event time, canonical value).
    last: Vec<(Code, i64, f64)>,
    spo2: Option<SpO2Series>,
}

impl Numeric {
    /// Takes the readings of a frame whose turn has come.
    pub fn process(&mut self, readings: &[Reading], seq: u64, first_sample: u64, at: &Place<'_>, out: &mut Output) {
        for (reading, index) in readings.iter().zip(first_sample..) {
            if at.silent {
                continue;
            }
            self.step(reading, seq, index, at, out);
            if reading.code == Code::Spo2 {
                self.spo2(reading, seq, at, out);
            }
        }
    }

    /// A change faster than the body allows marks the value as suspect; it is kept.
    fn step(&mut self, reading: &Reading, seq: u64, index: u64, at: &Place<'_>, out: &mut Output) {
        let Some((amount, within_s)) = facts_of(reading.code).and_then(|facts| facts.max_step) else { return };
        if reading.canonical.is_nan() {
            return;
        }
        let ts = reading.device_ns.saturating_add(at.offset_ns);
        let now = (reading.code, ts, reading.canonical);
        let Some(last) = self.last.iter_mut().find(|last| last.0 == reading.code) else {
            self.last.push(now);
            return;
        };
        let (elapsed_s, change) = ((now.1 - last.1) as f64 / 1e9, now.2 - last.2);
        *last = now;
        if elapsed_s <= 0.0 || change.abs() <= amount * (elapsed_s / within_s).max(1.0) {
            return;
        }
        out.quality.push(QualityRow {
            ts,
            origin: at.origin(seq),
            reason: "step",
            value: change,
            first_sample: index,
            samples: 1,
            log_ns: at.log_ns,
        });
    }

    fn spo2(&mut self, reading: &Reading, seq: u64, at: &Place<'_>, out: &mut Output) {
        let value = if reading.status & LEAD_OFF == 0 { reading.canonical } else { f64::NAN };
        let ts = reading.device_ns.saturating_add(at.offset_ns);
        let series = self.spo2.get_or_insert_with(|| SpO2Series::new(ts));
        let index = (ts - series.origin_ns).div_euclid(SECOND_NS);
        let mut missing = index - series.next;
        if missing < -MAX_BACKWARDS {
            // The device clock was set back. What follows is new, and must not be ignored until the clock has caught up.
            missing = AFTER_STEP;
            series.origin_ns = ts - (series.next + missing) * SECOND_NS;
        }
        if missing < 0 {
            return; // a second reading of the same second: the first counts
        }
        let fed = missing.min(MAX_MISSING);
        for _ in 0..fed {
            series.push(f64::NAN, seq, at, out);
        }
        // Moving the origin keeps the detector's sample count and device time in step over a long silence.
        series.origin_ns += (missing - fed) * SECOND_NS;
        series.push(value, seq, at, out);
    }

    /// Appends the state.
    pub fn write(&self, writer: &mut Writer) {
        writer.one(self.last.len() as u8);
        for (code, ns, value) in &self.last {
            writer.one(*code as i32).one(*ns).one(*value);
        }
        writer.one(u8::from(self.spo2.is_some()));
        if let Some(series) = &self.spo2 {
            writer.put(&[series.origin_ns, series.next]);
            writer.part(&series.detector.snapshot()).part(&series.alarms.snapshot());
        }
    }

    /// Reads the state back.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let mut numeric = Self::default();
        for _ in 0..reader.one::<u8>()? {
            let code = Code::try_from(reader.one::<i32>()?).map_err(|_| StateError::Value("unknown code"))?;
            numeric.last.push((code, reader.one()?, reader.one()?));
        }
        if reader.one::<u8>()? != 0 {
            let (origin_ns, next) = (reader.one()?, reader.one()?);
            let detector = DesaturationDetector::restore(reader.part()?)?;
            let alarms = SpO2Alarms::restore(reader.part()?)?;
            numeric.spo2 = Some(SpO2Series { origin_ns, next, detector, alarms });
        }
        Ok(numeric)
    }
}

impl SpO2Series {
    fn new(origin_ns: i64) -> Self {
        let detector = DesaturationDetector::new(FS_HZ, DROP).expect("constants are in range");
        let alarms = SpO2Alarms::new(FS_HZ, SpO2Limits::default()).expect("constants are in range");
        Self { origin_ns, next: 0, detector, alarms }
    }

    fn time(&self, index: u64) -> i64 {
        self.origin_ns.saturating_add(index as i64 * SECOND_NS)
    }

    fn push(&mut self, value: f64, seq: u64, at: &Place<'_>, out: &mut Output) {
        let (mut falls, mut alarms) = (Vec::new(), Vec::new());
        self.detector.push(&[value], &mut falls);
        self.alarms.push(&[value], &mut alarms);
        self.next += 1;
        self.report(&falls, &alarms, seq, at, out);
    }

    fn report(&self, falls: &[Desaturation], alarms: &[SpO2AlarmEvent], seq: u64, at: &Place<'_>, out: &mut Output) {
        for fall in falls {
            out.desaturations.push(DesaturationRow {
                ts: self.time(fall.onset),
                origin: at.origin(seq),
                kind: fall.kind.name(),
                nadir_ns: self.time(fall.nadir_at),
                end_ns: self.time(fall.end),
                baseline: fall.baseline,
                nadir: fall.nadir,
                drop: fall.drop,
                log_ns: at.log_ns,
            });
            let raised = fall.kind == DesaturationKind::Provisional;
            let span = (fall.onset, fall.end, fall.decided);
            let mut found = self.detection("spo2_desaturation", raised, span, (fall.drop, DROP), seq, at);
            found.evidence.set(Fact::BaselinePct, fall.baseline).set(Fact::NadirPct, fall.nadir);
            out.events.push(Event::Detection(found));
        }
        for alarm in alarms {
            let span = (alarm.onset, alarm.decided, alarm.decided);
            let values = (alarm.value, alarm.limit);
            let mut found = self.detection(alarm.rule.name(), alarm.raised, span, values, seq, at);
            found.evidence_ns.0 = self.time(alarm.evidence_first);
            out.events.push(Event::Detection(found));
        }
    }

    fn detection(
        &self,
        rule: &'static str,
        raised: bool,
        (onset, end, decided): (u64, u64, u64),
        (value, limit): (f64, f64),
        seq: u64,
        at: &Place<'_>,
    ) -> Detection {
        let onset_ns = self.time(onset);
        Detection {
            rule,
            raised,
            origin: at.origin(seq),
            code: "spo2",
            // The identity is in device time: it must not move when the clock is corrected otherwise.
            onset: onset_ns.saturating_sub(at.offset_ns) as u64,
            onset_ns,
            value,
            limit,
            evidence_ns: (onset_ns, self.time(end)),
            evidence: Evidence::default(),
            sample_ns: self.time(decided),
            stored: false,
            log_seq: at.log_seq,
            log_ns: at.log_ns,
        }
    }
}
