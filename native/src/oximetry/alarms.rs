//! Absolute SpO2 alarms of one patient: limits with delay and hysteresis, `SatSeconds`, and missing data.
//!
//! No data is never below, above or back inside a limit: it raises and clears nothing but its own technical alarm.
//! There is no clock here: delays run over readings, bridging at most `BRIDGE_S` between two of them.

use super::ConfigError;
use super::limits::{Limit, SpO2Limits};
use super::reading::{FULL, compact, expand, pct, points, reading};
use super::sat_seconds::SatSeconds;
use super::watch::{Change, Side, Watch};
use crate::state::{Reader, StateError, Writer};

const KIND: [u8; 4] = *b"SALM";
const VERSION: u16 = 1;
/// Between two readings so far apart the value is taken as interpolated (clinical digest 1.3); a longer distance
/// counts as one sample.
const BRIDGE_S: f64 = 5.0;
/// Up to here a value above 100 is an overshoot of an analogue output; beyond it, at 0 or below, the device itself
/// says that it has no reading.
const LARGEST_PCT: f64 = 110.0;
/// After so long without a reading what is pending begins anew.
const INTERRUPT_S: f64 = 30.0;
/// A rapid desaturation is believed when it has been read twice, this far apart.
const RAPID_S: f64 = 1.0;
/// Readings must be back for so long before data count as back.
const RETURN_S: f64 = 5.0;
const RULES: usize = 6;

/// What an alarm is about. Names of limits are those of their defaults; the event carries the patient's limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SpO2Rule {
    /// Below the low limit for its delay.
    SustainedBelow90,
    /// Below the very low limit for its delay.
    SustainedBelow85,
    /// Far below the low limit: two readings suffice.
    RapidDesaturation,
    /// Depth times duration.
    SatSeconds,
    /// Above the target range.
    AboveTarget,
    /// Technical: no readings.
    NoData,
}

impl SpO2Rule {
    /// Every rule, in the order in which one sample is judged.
    pub const ALL: [Self; RULES] = [
        Self::SustainedBelow90,
        Self::SustainedBelow85,
        Self::RapidDesaturation,
        Self::SatSeconds,
        Self::AboveTarget,
        Self::NoData,
    ];

    /// Its stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::SustainedBelow90 => "spo2_below_90",
            Self::SustainedBelow85 => "spo2_below_85",
            Self::RapidDesaturation => "spo2_rapid_desaturation",
            Self::SatSeconds => "spo2_sat_seconds",
            Self::AboveTarget => "spo2_above_target",
            Self::NoData => "spo2_no_data",
        }
    }
}

/// An alarm began or ended. Indices count samples of the series from 0, missing ones included.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SpO2AlarmEvent {
    /// What it is about.
    pub rule: SpO2Rule,
    /// Began (true) or ended.
    pub raised: bool,
    /// First sample of the condition; the same in both events of an alarm.
    pub onset: u64,
    /// The sample that decided.
    pub decided: u64,
    /// The deciding reading, %; for `SatSeconds` the index, for `NoData` the seconds without a reading.
    pub value: f64,
    /// What it was compared with, in the unit of `value`.
    pub limit: f64,
    /// First sample of the evidence: of the condition, or of the readings that ended it.
    pub evidence_first: u64,
}

/// A limit in thousandths of a percent and samples. What must not be exceeded is negated.
#[derive(Debug, Clone, Copy)]
struct Edge {
    sign: i32,
    limit: i32,
    inside: i32,
    delay: u64,
}

/// Watches one SpO2 series, sample by sample, with bounded state.
#[derive(Debug, Clone)]
pub struct SpO2Alarms {
    fs_hz: f64,
    limits: SpO2Limits,
    /// The limits once more, for each rule that compares a reading with one.
    edges: [Option<Edge>; RULES],
    clear: u64,
    bridge: u64,
    back: u64,
    next: u64,
    /// Last reading and when it came.
    last: Option<(i32, u64)>,
    watches: [Watch; RULES],
    sat_seconds: SatSeconds,
}

impl SpO2Alarms {
    /// Watches a series of `fs_hz` for these limits.
    pub fn new(fs_hz: f64, limits: SpO2Limits) -> Result<Self, ConfigError> {
        if !(0.1..=10.0).contains(&fs_hz) {
            return Err(ConfigError::Rate(fs_hz));
        }
        limits.check()?;
        let mut alarms = Self {
            fs_hz,
            limits,
            edges: [None; RULES],
            clear: 0,
            bridge: samples_in(BRIDGE_S, fs_hz),
            back: samples_in(RETURN_S, fs_hz),
            next: 0,
            last: None,
            watches: [Watch::default(); RULES],
            sat_seconds: SatSeconds::default(),
        };
        alarms.prepare();
        Ok(alarms)
    }

    /// Samples per second.
    pub fn fs_hz(&self) -> f64 {
        self.fs_hz
    }

    /// Samples taken so far, missing ones included.
    pub fn samples(&self) -> u64 {
        self.next
    }

    /// What is watched for.
    pub fn limits(&self) -> &SpO2Limits {
        &self.limits
    }

    /// Whether an alarm of this rule is raised.
    pub fn is_raised(&self, rule: SpO2Rule) -> bool {
        self.watches[rule as usize].raised().is_some()
    }

    /// Changes the limits from the next sample on. What is pending or raised goes on under the new ones; a rule
    /// that is switched off ends its alarm here.
    pub fn set_limits(&mut self, limits: SpO2Limits, out: &mut Vec<SpO2AlarmEvent>) -> Result<(), ConfigError> {
        limits.check()?;
        let before = std::mem::replace(&mut self.limits, limits);
        self.prepare();
        for rule in SpO2Rule::ALL {
            if limit_of(rule, &before).is_some() && limit_of(rule, &limits).is_none() {
                self.switch_off(rule, &before, out);
            }
        }
        Ok(())
    }

    fn prepare(&mut self) {
        self.clear = samples_in(self.limits.clear_s, self.fs_hz);
        self.edges = SpO2Rule::ALL.map(|rule| edge(rule, &self.limits, self.fs_hz));
    }

    fn switch_off(&mut self, rule: SpO2Rule, before: &SpO2Limits, out: &mut Vec<SpO2AlarmEvent>) {
        let watch = std::mem::take(&mut self.watches[rule as usize]);
        let now = self.next.saturating_sub(1);
        let value = match rule {
            SpO2Rule::SatSeconds => std::mem::take(&mut self.sat_seconds).index(self.fs_hz),
            SpO2Rule::NoData => 0.0,
            _ => self.last.map_or(0.0, |(value, _)| pct(value)),
        };
        if let (Some(onset), Some(limit)) = (watch.raised(), limit_of(rule, before)) {
            let limit = limit.limit_pct;
            out.push(SpO2AlarmEvent { rule, raised: false, onset, decided: now, value, limit, evidence_first: now });
        }
    }

    /// Takes the next samples, % (NaN: nothing came); appends what began or ended.
    pub fn push(&mut self, values: &[f64], out: &mut Vec<SpO2AlarmEvent>) {
        for &value in values {
            let now = self.next;
            self.next += 1;
            match reading(value) {
                Some(reading) => self.read(reading, now, out),
                None => self.miss(value, now, out),
            }
        }
    }

    /// The series ends. That decides nothing: what is raised stays raised, what is pending stays open.
    pub fn flush(&mut self, _out: &mut Vec<SpO2AlarmEvent>) {}

    /// Nobody watches any more: what is raised ends.
    pub fn close(&mut self, out: &mut Vec<SpO2AlarmEvent>) {
        for rule in SpO2Rule::ALL {
            let limits = self.limits;
            self.switch_off(rule, &limits, out);
        }
    }

    fn read(&mut self, value: i32, now: u64, out: &mut Vec<SpO2AlarmEvent>) {
        let elapsed = match self.last {
            Some((_, at)) if now - at <= self.bridge => now - at,
            _ => 1,
        };
        self.last = Some((value, now));
        for rule in SpO2Rule::ALL {
            let change = match rule {
                SpO2Rule::NoData => self.watches[rule as usize].step(Side::Inside, now, elapsed, 0, self.back),
                SpO2Rule::SatSeconds => self.sat_seconds(value, now, elapsed),
                _ => self.compare(rule, value, now, elapsed),
            };
            if let Some(change) = change {
                self.report(rule, change, value, now, out);
            }
        }
    }

    #[inline]
    fn compare(&mut self, rule: SpO2Rule, value: i32, now: u64, elapsed: u64) -> Option<Change> {
        let edge = self.edges[rule as usize]?;
        self.watches[rule as usize].step(edge.side(value), now, elapsed, edge.delay, self.clear)
    }

    fn sat_seconds(&mut self, value: i32, now: u64, elapsed: u64) -> Option<Change> {
        let (limit, edge) = (self.limits.sat_seconds?, self.edges[SpO2Rule::SatSeconds as usize]?);
        let since = self.sat_seconds.step(value, now, elapsed, &limit, self.fs_hz);
        let watch = &mut self.watches[SpO2Rule::SatSeconds as usize];
        if watch.raised().is_none() {
            return since.map(|since| watch.raise(since));
        }
        let change = watch.step(edge.side(value), now, elapsed, 0, self.clear)?;
        self.sat_seconds = SatSeconds::default();
        Some(change)
    }

    fn miss(&mut self, value: f64, now: u64, out: &mut Vec<SpO2AlarmEvent>) {
        let first = self.last.map_or(0, |(_, at)| at + 1);
        let missing = now + 1 - first;
        if missing == samples_in(INTERRUPT_S, self.fs_hz) + 1 {
            self.watches.iter_mut().for_each(Watch::interrupt);
        }
        let told = value.is_infinite() || value <= 0.0 || value > LARGEST_PCT;
        let watch = &mut self.watches[SpO2Rule::NoData as usize];
        if watch.raised().is_some() {
            if told {
                watch.interrupt();
            }
        } else if told || missing as f64 > self.limits.data_update_s * self.fs_hz {
            let change = watch.raise(first);
            self.report(SpO2Rule::NoData, change, 0, now, out);
        }
    }

    fn report(&self, rule: SpO2Rule, change: Change, value: i32, now: u64, out: &mut Vec<SpO2AlarmEvent>) {
        let Some(limit) = limit_of(rule, &self.limits) else { return };
        let (raised, onset, evidence_first) = match change {
            Change::Raised(onset) => (true, onset, onset),
            Change::Cleared(onset, first) => (false, onset, first),
        };
        let value = match rule {
            SpO2Rule::SatSeconds => self.sat_seconds.index(self.fs_hz),
            SpO2Rule::NoData if raised => (now + 1 - onset) as f64 / self.fs_hz,
            SpO2Rule::NoData => 0.0,
            _ => pct(value),
        };
        let limit = limit.limit_pct;
        out.push(SpO2AlarmEvent { rule, raised, onset, decided: now, value, limit, evidence_first });
    }

    /// Versioned snapshot, at most 2 KiB, limits included.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut writer = Writer::new(KIND, VERSION);
        writer.one(self.fs_hz).one(self.next);
        self.limits.write(&mut writer);
        let (value, ago) = self.last.map_or((0, 0), |(value, at)| (compact(value), self.next - at));
        writer.one(value).one(ago);
        for watch in &self.watches {
            watch.write(&mut writer, self.next);
        }
        self.sat_seconds.write(&mut writer, self.next);
        writer.finish()
    }

    /// Goes on where the snapshot was taken.
    pub fn restore(snapshot: &[u8]) -> Result<Self, StateError> {
        let mut reader = Reader::open(snapshot, KIND, VERSION)?;
        let (fs_hz, next) = (reader.one()?, reader.one::<u64>()?);
        let limits = SpO2Limits::read(&mut reader)?;
        let mut alarms = Self::new(fs_hz, limits).map_err(|_| StateError::Value("rate"))?;
        alarms.next = next;
        let (value, ago) = (reader.one()?, reader.one()?);
        if ago > 0 {
            let at = next.checked_sub(ago).ok_or(StateError::Value("time before the series"))?;
            alarms.last = Some((expand(value)?, at));
        }
        for watch in &mut alarms.watches {
            *watch = Watch::read(&mut reader, next)?;
        }
        alarms.sat_seconds = SatSeconds::read(&mut reader, next)?;
        reader.finish()?;
        Ok(alarms)
    }
}

/// Limit and delay of a rule; `None` where it is off.
fn limit_of(rule: SpO2Rule, limits: &SpO2Limits) -> Option<Limit> {
    match rule {
        SpO2Rule::SustainedBelow90 => limits.low,
        SpO2Rule::SustainedBelow85 => limits.very_low,
        SpO2Rule::RapidDesaturation => {
            let (low, drop) = (limits.low?, limits.rapid_drop_pct?);
            Some(Limit { limit_pct: low.limit_pct - drop, delay_s: RAPID_S })
        }
        SpO2Rule::SatSeconds => limits.sat_seconds.map(|limit| Limit { limit_pct: limit.setting, delay_s: 0.0 }),
        SpO2Rule::AboveTarget => limits.above_target,
        SpO2Rule::NoData => Some(Limit { limit_pct: limits.data_update_s, delay_s: 0.0 }),
    }
}

/// Never less than a delay says.
fn samples_in(seconds: f64, fs_hz: f64) -> u64 {
    (seconds * fs_hz - 1e-9).ceil() as u64
}

fn edge(rule: SpO2Rule, limits: &SpO2Limits, fs_hz: f64) -> Option<Edge> {
    let limit = match rule {
        SpO2Rule::NoData => return None,
        SpO2Rule::SatSeconds => Limit { limit_pct: limits.sat_seconds?.limit_pct, delay_s: 0.0 },
        _ => limit_of(rule, limits)?,
    };
    let (edge, delay) = (points(limit.limit_pct), samples_in(limit.delay_s, fs_hz));
    let margin = points(limits.clear_margin_pct);
    Some(match rule {
        SpO2Rule::AboveTarget => Edge { sign: -1, limit: -edge, inside: margin - edge, delay },
        _ => Edge { sign: 1, limit: edge, inside: (edge + margin).min(FULL), delay },
    })
}

impl Edge {
    #[inline]
    fn side(&self, value: i32) -> Side {
        let value = self.sign * value;
        if value < self.limit {
            Side::Beyond
        } else if value >= self.inside {
            Side::Inside
        } else {
            Side::Between
        }
    }
}
