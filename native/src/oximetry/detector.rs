//! The desaturation detector: believes or doubts each reading, then looks for falls.

use super::fall::Falls;
use super::profile::{Counts, Profile};
use super::reading::{compact, expand, reading};
use super::{ConfigError, Desaturation};
use crate::state::{Reader, StateError, Writer};

const KIND: [u8; 4] = *b"DSAT";
const VERSION: u16 = 1;

/// The last reading that was believed.
#[derive(Debug, Clone, Copy)]
struct Believed {
    value: i32,
    at: u64,
    /// Last reading of any sort: the change of a reading is measured over the time since then.
    seen_at: u64,
    /// First of the readings that are too far off to be believed yet.
    doubt_since: Option<u64>,
}

/// Scores desaturations of one SpO2 series, sample by sample, with bounded state.
#[derive(Debug, Clone)]
pub struct DesaturationDetector {
    fs_hz: f64,
    drop_pct: f64,
    profile: Profile,
    counts: Counts,
    next: u64,
    believed: Option<Believed>,
    falls: Falls,
}

impl DesaturationDetector {
    /// A detector of falls by `drop_pct` points in a series of `fs_hz`, by the standard profile.
    pub fn new(fs_hz: f64, drop_pct: f64) -> Result<Self, ConfigError> {
        Self::with_profile(fs_hz, drop_pct, Profile::default())
    }

    /// The same by another profile.
    pub fn with_profile(fs_hz: f64, drop_pct: f64, profile: Profile) -> Result<Self, ConfigError> {
        let counts = Counts::new(fs_hz, drop_pct, &profile.rules())?;
        Ok(Self { fs_hz, drop_pct, profile, counts, next: 0, believed: None, falls: Falls::new(counts) })
    }

    /// Samples per second.
    pub fn fs_hz(&self) -> f64 {
        self.fs_hz
    }

    /// Threshold, points.
    pub fn drop_pct(&self) -> f64 {
        self.drop_pct
    }

    /// The rules it scores by.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Samples taken so far, missing ones included.
    pub fn samples(&self) -> u64 {
        self.next
    }

    /// Takes the next samples, % (NaN: no reading); appends what became certain.
    pub fn push(&mut self, values: &[f64], out: &mut Vec<Desaturation>) {
        for &value in values {
            self.sample(value, out);
        }
    }

    /// Takes one sample.
    #[inline]
    pub fn sample(&mut self, value: f64, out: &mut Vec<Desaturation>) {
        let now = self.next;
        self.next += 1;
        match (reading(value), &mut self.believed) {
            (Some(value), Some(believed)) => {
                if (value - believed.value).abs() <= self.counts.slew {
                    *believed = Believed { value, at: now, seen_at: now, doubt_since: None };
                    self.falls.push(value, now, out);
                } else {
                    self.doubt(value, now, out);
                }
            }
            (Some(value), None) => {
                self.believed = Some(Believed { value, at: now, seen_at: now, doubt_since: None });
                self.falls.push(value, now, out);
            }
            (None, Some(believed)) => {
                if now - believed.seen_at > self.counts.gap {
                    self.believed = None;
                    self.falls.gap(now, out);
                }
            }
            (None, None) => {}
        }
    }

    /// A reading far off: believed where time allows for the change, else only after it has lasted.
    fn doubt(&mut self, value: i32, now: u64, out: &mut Vec<Desaturation>) {
        let Some(believed) = &mut self.believed else { return };
        let elapsed = (now - believed.seen_at) as i32;
        let allowed = self.counts.slew.max(elapsed.saturating_mul(self.counts.slew_per_sample));
        let credible = believed.doubt_since.is_none() && (value - believed.value).abs() <= allowed;
        let since = *believed.doubt_since.get_or_insert(now);
        believed.seen_at = now;
        if credible {
            *believed = Believed { value, at: now, seen_at: now, doubt_since: None };
            self.falls.push(value, now, out);
        } else if now - since > self.counts.spike {
            *believed = Believed { value, at: now, seen_at: now, doubt_since: None };
            self.falls.jump(value, now, out);
        }
    }

    /// The series ends: what is still down is reported as sustained, and the state forgotten.
    pub fn flush(&mut self, out: &mut Vec<Desaturation>) {
        self.falls.end(self.next.saturating_sub(1), out);
        self.believed = None;
    }

    /// Versioned snapshot, at most 2 KiB.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut writer = Writer::new(KIND, VERSION);
        writer.put(&[self.fs_hz, self.drop_pct]).one(self.profile as u8).one(self.next);
        writer.one(u8::from(self.believed.is_some()));
        if let Some(believed) = &self.believed {
            writer.one(compact(believed.value));
            let doubt = believed.doubt_since.map_or(0, |since| self.next - since);
            writer.put(&[self.next - believed.at, self.next - believed.seen_at, doubt]);
        }
        self.falls.write(&mut writer, self.next);
        writer.finish()
    }

    /// A detector that goes on where the snapshot was taken.
    pub fn restore(snapshot: &[u8]) -> Result<Self, StateError> {
        let mut reader = Reader::open(snapshot, KIND, VERSION)?;
        let (fs_hz, drop_pct) = (reader.one()?, reader.one()?);
        let profile = *Profile::ALL.get(usize::from(reader.one::<u8>()?)).ok_or(StateError::Value("profile"))?;
        let mut detector =
            Self::with_profile(fs_hz, drop_pct, profile).map_err(|_| StateError::Value("rate or threshold"))?;
        let next = reader.one()?;
        detector.next = next;
        if reader.one::<u8>()? != 0 {
            let value = expand(reader.one()?)?;
            let back = |ago: u64| next.checked_sub(ago).ok_or(StateError::Value("time before the series"));
            let (at, seen_at, doubt) = (back(reader.one()?)?, back(reader.one()?)?, reader.one()?);
            let doubt_since = if doubt == 0 { None } else { Some(back(doubt)?) };
            detector.believed = Some(Believed { value, at, seen_at, doubt_since });
        }
        detector.falls = Falls::read(&mut reader, detector.counts, next)?;
        reader.finish()?;
        Ok(detector)
    }
}
