//! What a patient's SpO2 is watched for. Every number can be set per patient and changed at run time.

use super::ConfigError;
use super::reading::{HIGHEST_PCT, LOWEST_PCT};
use crate::state::{Reader, StateError, Writer};

/// A limit and how long it must be passed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit {
    /// %.
    pub limit_pct: f64,
    /// Seconds; 0: at the first reading.
    pub delay_s: f64,
}

/// How `SatSeconds` counts a second below the limit; makers differ (clinical digest 1.4, S22).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SatSecondsConvention {
    /// Nellcor, Mindray: the distance to the limit.
    #[default]
    FromLimit,
    /// GE: the distance to the point above the limit.
    FromLimitPlusOne,
}

/// An alarm by depth times duration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SatSecondsLimit {
    /// %.
    pub limit_pct: f64,
    /// Points times seconds; makers offer 10, 25, 50 and 100.
    pub setting: f64,
    /// How a second counts.
    pub convention: SatSecondsConvention,
    /// Three violations within 60 s alarm regardless.
    pub repeats: bool,
}

/// What is watched; `None` switches a rule off.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SpO2Limits {
    /// `SustainedBelow90`; medium priority.
    pub low: Option<Limit>,
    /// `SustainedBelow85`; high priority.
    pub very_low: Option<Limit>,
    /// `RapidDesaturation`: two readings so many points below `low` alarm at once, whatever its delay. High priority.
    pub rapid_drop_pct: Option<f64>,
    /// `SatSeconds`.
    pub sat_seconds: Option<SatSecondsLimit>,
    /// `AboveTarget`: more oxygen than is good for a patient who retains carbon dioxide.
    pub above_target: Option<Limit>,
    /// An alarm clears when readings are this many points inside the limit ...
    pub clear_margin_pct: f64,
    /// ... for so long.
    pub clear_s: f64,
    /// `NoData` is reported when no reading has come for longer (ISO 80601-2-61: at most 30 s); what a device
    /// sends in place of a reading (0, 127, 255) is reported at once.
    pub data_update_s: f64,
}

impl Default for SpO2Limits {
    /// Below 90 % for 30 s, below 85 % for 10 s, below 80 % at once, 50 `SatSeconds` at 90 %.
    fn default() -> Self {
        Self {
            low: Some(Limit { limit_pct: 90.0, delay_s: 30.0 }),
            very_low: Some(Limit { limit_pct: 85.0, delay_s: 10.0 }),
            rapid_drop_pct: Some(10.0),
            sat_seconds: Some(SatSecondsLimit {
                limit_pct: 90.0,
                setting: 50.0,
                convention: SatSecondsConvention::default(),
                repeats: true,
            }),
            above_target: None,
            clear_margin_pct: 2.0,
            clear_s: 15.0,
            data_update_s: 30.0,
        }
    }
}

impl SpO2Limits {
    /// For a target range of 88 to 92 % (hypercapnic failure, on a clinician's decision): limits moved to its lower
    /// end, and an alarm above the upper one for 5 min.
    pub fn copd() -> Self {
        let standard = Self::default();
        Self {
            low: Some(Limit { limit_pct: 88.0, delay_s: 30.0 }),
            very_low: Some(Limit { limit_pct: 83.0, delay_s: 10.0 }),
            sat_seconds: standard.sat_seconds.map(|limit| SatSecondsLimit { limit_pct: 88.0, ..limit }),
            above_target: Some(Limit { limit_pct: 92.0, delay_s: 300.0 }),
            ..standard
        }
    }

    /// Refuses what could never be met, or never be undone.
    pub fn check(&self) -> Result<(), ConfigError> {
        let pct = |what, value| within(what, value, LOWEST_PCT, HIGHEST_PCT);
        let seconds = |what, value| within(what, value, 0.0, 3600.0);
        if let Some(limit) = self.low {
            pct("low.limit_pct", limit.limit_pct)?;
            seconds("low.delay_s", limit.delay_s)?;
        }
        if let Some(limit) = self.very_low {
            pct("very_low.limit_pct", limit.limit_pct)?;
            seconds("very_low.delay_s", limit.delay_s)?;
        }
        if let Some(limit) = self.above_target {
            pct("above_target.limit_pct", limit.limit_pct)?;
            seconds("above_target.delay_s", limit.delay_s)?;
        }
        if let Some(drop) = self.rapid_drop_pct {
            within("rapid_drop_pct", drop, 0.0, HIGHEST_PCT - LOWEST_PCT)?;
        }
        if let Some(sat_seconds) = self.sat_seconds {
            pct("sat_seconds.limit_pct", sat_seconds.limit_pct)?;
            within("sat_seconds.setting", sat_seconds.setting, 1.0, 10_000.0)?;
        }
        within("clear_margin_pct", self.clear_margin_pct, 0.0, 20.0)?;
        seconds("clear_s", self.clear_s)?;
        seconds("data_update_s", self.data_update_s)
    }

    /// Appends the settings; an absent one is NaN.
    pub(super) fn write(&self, writer: &mut Writer) {
        let pair = |limit: Option<Limit>| limit.map_or([f64::NAN; 2], |limit| [limit.limit_pct, limit.delay_s]);
        writer.put(&pair(self.low)).put(&pair(self.very_low)).put(&pair(self.above_target));
        writer.one(self.rapid_drop_pct.unwrap_or(f64::NAN));
        let sat_seconds = self.sat_seconds;
        writer.put(&sat_seconds.map_or([f64::NAN; 2], |limit| [limit.limit_pct, limit.setting]));
        let plus_one = sat_seconds.is_some_and(|limit| limit.convention == SatSecondsConvention::FromLimitPlusOne);
        let repeats = sat_seconds.is_some_and(|limit| limit.repeats);
        writer.one(u8::from(plus_one)).one(u8::from(repeats));
        writer.put(&[self.clear_margin_pct, self.clear_s, self.data_update_s]);
    }

    /// Reads the settings back.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let mut numbers = [0.0_f64; 9];
        reader.fill(&mut numbers)?;
        let convention = match reader.one::<u8>()? {
            0 => SatSecondsConvention::FromLimit,
            1 => SatSecondsConvention::FromLimitPlusOne,
            _ => return Err(StateError::Value("convention")),
        };
        let repeats = reader.one::<u8>()? != 0;
        let mut times = [0.0_f64; 3];
        reader.fill(&mut times)?;
        let some = |number: f64| (!number.is_nan()).then_some(number);
        let pair = |at: usize| some(numbers[at]).map(|limit_pct| Limit { limit_pct, delay_s: numbers[at + 1] });
        let limits = Self {
            low: pair(0),
            very_low: pair(2),
            above_target: pair(4),
            rapid_drop_pct: some(numbers[6]),
            sat_seconds: some(numbers[7]).map(|limit_pct| SatSecondsLimit {
                limit_pct,
                setting: numbers[8],
                convention,
                repeats,
            }),
            clear_margin_pct: times[0],
            clear_s: times[1],
            data_update_s: times[2],
        };
        limits.check().map_err(|_| StateError::Value("limits"))?;
        Ok(limits)
    }
}

fn within(what: &'static str, value: f64, from: f64, to: f64) -> Result<(), ConfigError> {
    if (from..=to).contains(&value) { Ok(()) } else { Err(ConfigError::Limit { what, from, to, value }) }
}
