//! Readings of one device: steps that nobody believes, desaturations and low-saturation alarms.

use crate::oximetry::{DesaturationKind, Profile, SpO2Limits, SpO2Output, SpO2Series};
use crate::state::{Reader, StateError, Writer};
use crate::wire::proto::Code;
use crate::wire::{Frame, LEAD_OFF, MOTION, Reading, facts_of};

use super::evidence::Fact;
use super::faults::{Contact, Fault, Faults, Span};
use super::output::{DerivedRow, DesaturationRow, Detection, Event, Output, QualityRow};
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

/// Readings of other codes bring the series forward to so many seconds before them: a reading may be that late.
const PATIENCE: i64 = 5;
/// Indices are stored so often, s: of the rolling hour, and of the night.
const HOUR_EVERY: i64 = 600;
const NIGHT_EVERY: i64 = 3600;
/// Below this the device itself does not think much of its reading, %.
const DOUBTFUL_PCT: u32 = 50;
/// Nights begin at noon UTC, so that a night's sleep is one night from Lisbon to Athens.
const NOON_S: i64 = 12 * 3600;
const DAY_S: i64 = 24 * 3600;

/// The SpO2 series on its grid: second `index` began at `origin_ns + index s`.
struct Saturation {
    origin_ns: i64,
    /// What had been added to the device's time when the origin was set.
    offset_ns: i64,
    next: i64,
    series: SpO2Series,
    /// What is wrong with the probe, in seconds of the grid.
    faults: Faults,
    /// Since this event time, s, the night is counted.
    night_s: i64,
}

/// State of all readings of one device.
#[derive(Default)]
pub struct Numeric {
    /// Last value of each code: (code, event time, canonical value).
    last: Vec<(Code, i64, f64)>,
    spo2: Option<Box<Saturation>>,
}

impl Numeric {
    /// Takes the readings of a frame whose turn has come.
    pub fn process(&mut self, frame: &Frame, readings: &[Reading], at: &Place<'_>, out: &mut Output) {
        for (reading, index) in readings.iter().zip(frame.first_sample..) {
            if at.silent {
                continue;
            }
            self.step(reading, frame.seq, index, at, out);
            if reading.code == Code::Spo2 {
                self.spo2(reading, frame, at, out);
            } else if let Some(spo2) = &mut self.spo2 {
                // The device goes on, its oximeter does not: that is missing data, and never waits for a reading.
                let index = spo2.index(reading.device_ns.saturating_add(at.offset_ns)) - PATIENCE;
                spo2.miss((index - spo2.next).min(MAX_MISSING), frame.seq, at, out);
            }
        }
    }

    /// Changes what is watched for; `seq` is the device's last frame.
    pub fn set_limits(&mut self, seq: u64, at: &Place<'_>, out: &mut Output) {
        if let Some(spo2) = &mut self.spo2 {
            spo2.watch_for(at.limits.now.spo2, seq, at, out);
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

    fn spo2(&mut self, reading: &Reading, frame: &Frame, at: &Place<'_>, out: &mut Output) {
        // A probe that is off is `lead_off`, at once. A code for "no reading" is told at once, too; a value that merely
        // stays away is waited for.
        let value = match reading.canonical {
            _ if reading.status & LEAD_OFF != 0 => f64::NAN,
            none if none.is_nan() => f64::INFINITY,
            value => value,
        };
        let ts = reading.device_ns.saturating_add(at.offset_ns);
        let spo2 = self.spo2.get_or_insert_with(|| Box::new(Saturation::new(ts, frame.averaging_s, at)));
        let mut missing = spo2.index(ts) - spo2.next;
        if missing < -MAX_BACKWARDS {
            // The device clock was set back. What follows is new, and must not be ignored until the clock has caught up.
            missing = AFTER_STEP;
            spo2.origin_ns = ts - (spo2.next + missing) * SECOND_NS;
            spo2.offset_ns = at.offset_ns;
        }
        if missing < 0 {
            return; // a second reading of the same second: the first counts
        }
        let fed = missing.min(MAX_MISSING);
        spo2.miss(fed, frame.seq, at, out);
        // Moving the origin keeps the detector's sample count and device time in step over a long silence.
        spo2.origin_ns += (missing - fed) * SECOND_NS;
        spo2.judge_signal(reading, frame.seq, at, out);
        spo2.push(value, frame.seq, at, out);
    }

    /// The readings end: what is pending becomes certain now, what stands ends.
    pub fn close(self, seq: u64, at: &Place<'_>, out: &mut Output) {
        let Some(mut spo2) = self.spo2 else { return };
        let mut found = SpO2Output::default();
        spo2.series.close(&mut found);
        spo2.report(&found, seq, at, out);
        let end_s = spo2.time(spo2.next as u64).div_euclid(SECOND_NS);
        spo2.rows("night", end_s - spo2.night_s, end_s, seq, at, out);
        let ended: Vec<Fault> = spo2.faults.close(spo2.next as u64).collect();
        out.events.extend(ended.iter().map(|fault| spo2.fault(fault, seq, at)));
    }

    /// Appends the state.
    pub fn write(&self, writer: &mut Writer) {
        writer.one(self.last.len() as u8);
        for (code, ns, value) in &self.last {
            writer.one(*code as i32).one(*ns).one(*value);
        }
        writer.one(u8::from(self.spo2.is_some()));
        if let Some(series) = &self.spo2 {
            writer
                .put(&[series.origin_ns, series.offset_ns, series.next, series.night_s])
                .part(&series.series.snapshot());
            series.faults.write(writer);
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
            let (origin_ns, offset_ns) = (reader.one()?, reader.one()?);
            let (next, night_s) = (reader.one()?, reader.one()?);
            let series = SpO2Series::restore(reader.part()?)?;
            let faults = Faults::read(reader)?;
            numeric.spo2 = Some(Box::new(Saturation { origin_ns, offset_ns, next, series, faults, night_s }));
        }
        Ok(numeric)
    }
}

impl Saturation {
    fn new(origin_ns: i64, averaging_s: f32, at: &Place<'_>) -> Self {
        let averaging_s = (averaging_s > 0.0).then_some(f64::from(averaging_s));
        let series = SpO2Series::new(FS_HZ, Profile::Standard, at.limits_at(origin_ns).spo2, averaging_s);
        let series = series.expect("limits were checked with their command");
        let (offset_ns, night_s) = (at.offset_ns, night_of(origin_ns));
        Self { origin_ns, offset_ns, next: 0, series, faults: Faults::default(), night_s }
    }

    fn time(&self, index: u64) -> i64 {
        self.origin_ns.saturating_add(index as i64 * SECOND_NS)
    }

    fn index(&self, ts: i64) -> i64 {
        (ts - self.origin_ns).div_euclid(SECOND_NS)
    }

    /// What the device says of its probe with a reading.
    fn judge_signal(&mut self, reading: &Reading, seq: u64, at: &Place<'_>, out: &mut Output) {
        let first = self.next as u64;
        let span = Span { first, end: first + 1, fs_hz: FS_HZ };
        let off = reading.status & LEAD_OFF != 0;
        if !off && reading.canonical.is_nan() {
            return; // no reading: `spo2_no_data` tells of that
        }
        let mut found = vec![self.faults.contact(if off { Contact::Off } else { Contact::On }, span)];
        if !off {
            let doubtful = (1..DOUBTFUL_PCT).contains(&reading.quality_pct) || reading.status & MOTION != 0;
            found.push(self.faults.quality(if doubtful { 0.0 } else { 1.0 }, span));
        }
        out.events.extend(found.iter().flatten().map(|fault| self.fault(fault, seq, at)));
    }

    fn fault(&self, fault: &Fault, seq: u64, at: &Place<'_>) -> Event {
        let decided = fault.decided.saturating_sub(1);
        let (span, values) = ((fault.onset, decided, decided), (fault.value, fault.limit));
        Event::Detection(self.detection(fault.rule, fault.raised, span, values, seq, at))
    }

    /// So many seconds came without a reading.
    fn miss(&mut self, seconds: i64, seq: u64, at: &Place<'_>, out: &mut Output) {
        for _ in 0..seconds {
            self.push(f64::NAN, seq, at, out);
        }
    }

    fn watch_for(&mut self, limits: SpO2Limits, seq: u64, at: &Place<'_>, out: &mut Output) {
        let mut found = SpO2Output::default();
        self.series.set_limits(limits, &mut found.alarms).expect("limits were checked with their command");
        self.report(&found, seq, at, out);
    }

    fn push(&mut self, value: f64, seq: u64, at: &Place<'_>, out: &mut Output) {
        if at.past {
            let then = at.limits.at(self.time(self.next as u64)).spo2;
            if then != *self.series.limits() {
                self.watch_for(then, seq, at, out);
            }
        }
        let mut found = SpO2Output::default();
        self.series.push(&[value], &mut found);
        self.next += 1;
        self.report(&found, seq, at, out);
        self.indices(seq, at, out);
    }

    /// Rows of the rolling hour and of the night, when they are due.
    fn indices(&mut self, seq: u64, at: &Place<'_>, out: &mut Output) {
        let end_s = self.time(self.next as u64).div_euclid(SECOND_NS);
        if self.next % HOUR_EVERY == 0 {
            self.rows("hour", self.next.min(3600), end_s, seq, at, out);
        }
        let night_s = night_of(end_s * SECOND_NS);
        if self.next % NIGHT_EVERY == 0 || night_s != self.night_s {
            self.rows("night", end_s - self.night_s, end_s, seq, at, out);
        }
        if night_s != self.night_s {
            self.series.begin_night();
            self.night_s = night_s;
        }
    }

    fn rows(&self, scope: &'static str, window_s: i64, end_s: i64, seq: u64, at: &Place<'_>, out: &mut Output) {
        let found = if scope == "night" { self.series.night() } else { self.series.hour() };
        if found.valid_h == 0.0 {
            return;
        }
        let window_s = window_s as f64;
        let values = [
            ("odi3", found.odi[0], "/h"),
            ("odi4", found.odi[1], "/h"),
            ("t90", found.time_below_pct[0], "%"),
            ("t88", found.time_below_pct[1], "%"),
            ("t85", found.time_below_pct[2], "%"),
            ("hypoxic_burden", found.burden_pct_min_per_h, "%.min/h"),
            ("spo2_mean", found.mean_pct, "%"),
            ("spo2_lowest", found.lowest_pct, "%"),
        ];
        out.derived.extend(values.map(|(code, value, unit)| DerivedRow {
            ts: end_s * SECOND_NS,
            origin: at.origin(seq),
            code,
            scope,
            value,
            unit,
            window_s,
            quality: (found.valid_h * 3600.0 / window_s).min(1.0),
            log_ns: at.log_ns,
        }));
    }

    fn report(&self, found: &SpO2Output, seq: u64, at: &Place<'_>, out: &mut Output) {
        for fall in &found.desaturations {
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
        for alarm in &found.alarms {
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
            // The identity is in device time: it must not move when the clock is corrected otherwise, or when a command or
            // the end of an upload ends what stands, which come without a frame and its offset.
            onset: onset_ns.saturating_sub(self.offset_ns) as u64,
            onset_ns,
            value,
            limit,
            evidence_ns: (onset_ns, self.time(end)),
            evidence: at.evidence(),
            sample_ns: self.time(decided),
            stored: false,
            log_seq: at.log_seq,
            log_ns: at.log_ns,
        }
    }
}

/// The noon before a moment, s.
fn night_of(ts: i64) -> i64 {
    let seconds = ts.div_euclid(SECOND_NS);
    seconds - (seconds - NOON_S).rem_euclid(DAY_S)
}
