//! Everything about one patient's SpO2 series, and about many of them.

use super::alarms::{SpO2AlarmEvent, SpO2Alarms};
use super::detector::DesaturationDetector;
use super::indices::{Indices, SpO2Indices};
use super::limits::SpO2Limits;
use super::profile::Profile;
use super::reading::reading;
use super::{ConfigError, Desaturation};
use crate::state::{Reader, StateError, Writer};

const KIND: [u8; 4] = *b"OXIM";
const VERSION: u16 = 1;
/// Thresholds of ODI3 and ODI4.
const DROPS_PCT: [f64; 2] = [3.0, 4.0];

/// Desaturations, alarms and indices of one series.
#[derive(Debug, Clone)]
pub struct SpO2Series {
    detectors: [DesaturationDetector; 2],
    alarms: SpO2Alarms,
    indices: Indices,
}

/// What a push led to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SpO2Output {
    /// Falls by 3 points.
    pub desaturations: Vec<Desaturation>,
    /// Alarms that began or ended.
    pub alarms: Vec<SpO2AlarmEvent>,
}

impl SpO2Series {
    /// A series of `fs_hz`, scored by `profile`, watched for `limits`, from a device that averages over `averaging_s`.
    pub fn new(
        fs_hz: f64,
        profile: Profile,
        limits: SpO2Limits,
        averaging_s: Option<f64>,
    ) -> Result<Self, ConfigError> {
        let detector = |drop| DesaturationDetector::with_profile(fs_hz, drop, profile);
        Ok(Self {
            detectors: [detector(DROPS_PCT[0])?, detector(DROPS_PCT[1])?],
            alarms: SpO2Alarms::new(fs_hz, limits)?,
            indices: Indices::new(fs_hz, averaging_s),
        })
    }

    /// Samples per second.
    pub fn fs_hz(&self) -> f64 {
        self.alarms.fs_hz()
    }

    /// Samples taken so far, missing ones included.
    pub fn samples(&self) -> u64 {
        self.alarms.samples()
    }

    /// Takes the next samples, % (NaN: no reading); appends what became certain.
    pub fn push(&mut self, values: &[f64], out: &mut SpO2Output) {
        let mut fours = Vec::new();
        for &value in values {
            let known = out.desaturations.len();
            self.detectors[0].sample(value, &mut out.desaturations);
            self.detectors[1].sample(value, &mut fours);
            self.indices.sample(reading(value));
            self.count(&out.desaturations[known..], &fours);
            fours.clear();
        }
        self.alarms.push(values, &mut out.alarms);
    }

    fn count(&mut self, threes: &[Desaturation], fours: &[Desaturation]) {
        for (which, events) in [threes, fours].into_iter().enumerate() {
            for event in events {
                self.indices.event(which, event);
            }
        }
    }

    /// The series ends: what is still down is reported as sustained.
    pub fn flush(&mut self, out: &mut SpO2Output) {
        let (known, mut fours) = (out.desaturations.len(), Vec::new());
        self.detectors[0].flush(&mut out.desaturations);
        self.detectors[1].flush(&mut fours);
        self.count(&out.desaturations[known..], &fours);
        self.alarms.flush(&mut out.alarms);
    }

    /// Nobody watches any more: as [`Self::flush`], and every alarm ends.
    pub fn close(&mut self, out: &mut SpO2Output) {
        self.flush(out);
        self.alarms.close(&mut out.alarms);
    }

    /// A new night begins.
    pub fn begin_night(&mut self) {
        self.indices.begin_night();
    }

    /// Indices since the night began.
    pub fn night(&self) -> SpO2Indices {
        self.indices.night()
    }

    /// Indices of the present minute and the 59 before.
    pub fn hour(&self) -> SpO2Indices {
        self.indices.hour()
    }

    /// What is watched for.
    pub fn limits(&self) -> &SpO2Limits {
        self.alarms.limits()
    }

    /// Changes what is watched for; see `SpO2Alarms::set_limits`.
    pub fn set_limits(&mut self, limits: SpO2Limits, out: &mut Vec<SpO2AlarmEvent>) -> Result<(), ConfigError> {
        self.alarms.set_limits(limits, out)
    }

    /// Versioned snapshot.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut writer = Writer::new(KIND, VERSION);
        for detector in &self.detectors {
            writer.part(&detector.snapshot());
        }
        writer.part(&self.alarms.snapshot());
        self.indices.write(&mut writer);
        writer.finish()
    }

    /// Goes on where the snapshot was taken.
    pub fn restore(snapshot: &[u8]) -> Result<Self, StateError> {
        let mut reader = Reader::open(snapshot, KIND, VERSION)?;
        let detectors =
            [DesaturationDetector::restore(reader.part()?)?, DesaturationDetector::restore(reader.part()?)?];
        let alarms = SpO2Alarms::restore(reader.part()?)?;
        let indices = Indices::read_state(&mut reader, alarms.fs_hz())?;
        reader.finish()?;
        if detectors.iter().any(|detector| detector.fs_hz() != alarms.fs_hz()) {
            return Err(StateError::Value("parts of different rates"));
        }
        Ok(Self { detectors, alarms, indices })
    }
}
