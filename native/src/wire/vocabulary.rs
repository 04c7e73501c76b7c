//! The closed vocabularies: signals with their rates, codes with their units and limits.
//!
//! Limits are those of the outlier tables of clifpy, ricu and mimic3-benchmarks, widened where a device may honestly
//! read further; hard limits mean "impossible", soft ones "suspect, kept".

use super::proto::{Code, Signal, Unit};

/// What a signal carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalKind {
    /// One ECG lead.
    Ecg,
    /// Plethysmogram.
    Pleth,
    /// Respiration wave.
    Resp,
    /// Arterial pressure wave.
    Abp,
    /// Readings.
    Numeric,
    /// Patient-reported outcomes.
    Questionnaire,
}

impl SignalKind {
    /// Sampling rates a device may use, in mHz; `None` for signals without samples.
    pub fn rate_mhz(self) -> Option<(u32, u32)> {
        match self {
            Self::Ecg => Some((100_000, 1_000_000)),
            Self::Pleth | Self::Abp => Some((25_000, 500_000)),
            Self::Resp => Some((5_000, 250_000)),
            Self::Numeric | Self::Questionnaire => None,
        }
    }
}

/// The signal's kind; `None` for the unspecified one.
pub fn kind_of(signal: Signal) -> Option<SignalKind> {
    Some(match signal {
        Signal::Unspecified => return None,
        Signal::Pleth => SignalKind::Pleth,
        Signal::Resp => SignalKind::Resp,
        Signal::Abp => SignalKind::Abp,
        Signal::Numeric => SignalKind::Numeric,
        Signal::Questionnaire => SignalKind::Questionnaire,
        _ => SignalKind::Ecg,
    })
}

/// The signal's token in subjects, messages and tables: `ecg_ii`.
pub fn signal_name(signal: Signal) -> &'static str {
    match signal {
        Signal::Unspecified => "unspecified",
        Signal::EcgI => "ecg_i",
        Signal::EcgIi => "ecg_ii",
        Signal::EcgIii => "ecg_iii",
        Signal::EcgAvr => "ecg_avr",
        Signal::EcgAvl => "ecg_avl",
        Signal::EcgAvf => "ecg_avf",
        Signal::EcgV1 => "ecg_v1",
        Signal::EcgV2 => "ecg_v2",
        Signal::EcgV3 => "ecg_v3",
        Signal::EcgV4 => "ecg_v4",
        Signal::EcgV5 => "ecg_v5",
        Signal::EcgV6 => "ecg_v6",
        Signal::EcgMlii => "ecg_mlii",
        Signal::Ecg => "ecg",
        Signal::Pleth => "pleth",
        Signal::Resp => "resp",
        Signal::Abp => "abp",
        Signal::Numeric => "numeric",
        Signal::Questionnaire => "questionnaire",
    }
}

/// Hard and soft limits of a value in its canonical unit.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Below or above: impossible.
    pub hard: (f64, f64),
    /// Below or above: suspect.
    pub soft: (f64, f64),
}

/// What is known of a code.
#[derive(Clone, Copy, Debug)]
pub struct CodeFacts {
    /// Stable name.
    pub name: &'static str,
    /// Accepted units with factor and offset to the canonical unit (the first).
    pub units: Units,
    /// Limits in the canonical unit.
    pub limits: Limits,
    /// Values that look like another unit's: outside this range the unit is suspect.
    pub unit_range: (f64, f64),
    /// Largest believable change: (amount, within seconds).
    pub max_step: Option<(f64, f64)>,
}

const ANY: (f64, f64) = (f64::NEG_INFINITY, f64::INFINITY);
/// mg/dL per mmol/L of glucose.
const GLUCOSE_MMOL: f64 = 18.018;

/// Accepted units of a code: unit, factor and offset to the canonical one, which comes first.
type Units = &'static [(Unit, f64, f64)];
const RATE: Units = &[(Unit::PerMin, 1.0, 0.0)];
const PERCENT: Units = &[(Unit::Percent, 1.0, 0.0)];
const PRESSURE: Units = &[(Unit::MmHg, 1.0, 0.0)];
const TEMP: Units = &[(Unit::Cel, 1.0, 0.0), (Unit::Degf, 5.0 / 9.0, -160.0 / 9.0)];
const ONE: Units = &[(Unit::One, 1.0, 0.0)];
const GLUCOSE: Units = &[(Unit::MgPerDl, 1.0, 0.0), (Unit::MmolPerL, GLUCOSE_MMOL, 0.0)];

/// Facts of a code; `None` for the unspecified one.
pub fn facts_of(code: Code) -> Option<CodeFacts> {
    let facts = |name, units, hard, soft, unit_range, max_step| {
        Some(CodeFacts { name, units, limits: Limits { hard, soft }, unit_range, max_step })
    };
    match code {
        Code::Unspecified => None,
        Code::Hr => facts("hr", RATE, (0.0, 300.0), (30.0, 220.0), ANY, Some((60.0, 1.0))),
        Code::PulseRate => facts("pulse_rate", RATE, (0.0, 300.0), (30.0, 220.0), ANY, Some((60.0, 1.0))),
        Code::Spo2 => facts("spo2", PERCENT, (50.0, 100.0), (70.0, 100.0), ANY, Some((4.0, 1.0))),
        Code::RespRate => facts("resp_rate", RATE, (0.0, 120.0), (4.0, 60.0), ANY, Some((20.0, 5.0))),
        // Above 45 a Celsius value is Fahrenheit's: never converted on a guess.
        Code::Temp => facts("temp", TEMP, (25.0, 45.0), (34.0, 41.0), (f64::NEG_INFINITY, 45.0), Some((0.5, 60.0))),
        Code::Sbp => facts("sbp", PRESSURE, (0.0, 300.0), (50.0, 250.0), ANY, None),
        Code::Dbp => facts("dbp", PRESSURE, (0.0, 200.0), (25.0, 150.0), ANY, None),
        Code::Map => facts("map", PRESSURE, (0.0, 250.0), (30.0, 200.0), ANY, None),
        // Below 35 an mg/dL value is mmol/L's.
        Code::Glucose => {
            facts("glucose", GLUCOSE, (0.0, 1000.0), (40.0, 400.0), (35.0, f64::INFINITY), Some((10.0, 60.0)))
        }
        Code::Weight => facts("weight", &[(Unit::Kg, 1.0, 0.0)], (1.0, 500.0), (30.0, 250.0), ANY, None),
        Code::Etco2 => facts("etco2", PRESSURE, (0.0, 150.0), (10.0, 60.0), ANY, None),
        Code::PerfusionIndex => facts("perfusion_index", PERCENT, (0.0, 100.0), (0.0, 30.0), ANY, None),
        Code::Fio2 => facts("fio2", PERCENT, (15.0, 100.0), (21.0, 100.0), ANY, None),
        Code::O2Flow => facts("o2_flow", &[(Unit::LPerMin, 1.0, 0.0)], (0.0, 100.0), (0.0, 60.0), ANY, None),
        Code::Battery => facts("battery", PERCENT, (0.0, 100.0), (0.0, 100.0), ANY, None),
        Code::Consciousness => facts("consciousness", ONE, (0.0, 4.0), (0.0, 4.0), ANY, None),
        Code::ModelScore => facts("model_score", ONE, (-1e6, 1e6), (-1e6, 1e6), ANY, None),
    }
}

/// The UCUM spelling of a unit.
pub fn ucum(unit: Unit) -> &'static str {
    match unit {
        Unit::Unspecified => "",
        Unit::PerMin => "/min",
        Unit::Percent => "%",
        Unit::Cel => "Cel",
        Unit::MmHg => "mm[Hg]",
        Unit::MgPerDl => "mg/dL",
        Unit::MmolPerL => "mmol/L",
        Unit::Kg => "kg",
        Unit::LPerMin => "L/min",
        Unit::One => "1",
        Unit::Degf => "[degF]",
    }
}

/// Oximeters put these where they have no reading: no data, never a saturation. A model without a score says NaN.
pub fn is_no_reading(code: Code, value: f64) -> bool {
    match code {
        Code::Spo2 => value == 0.0 || value == 127.0 || value == 255.0,
        Code::ModelScore => value.is_nan(),
        _ => false,
    }
}
