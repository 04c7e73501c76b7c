//! What a lead's beats say over time: displayed heart rate, variability, respiration.

use crate::ecg::{Beat, BeatLabel};
use crate::rhythm::{Hrv, HrvWindow, Respiration, RhythmMonitor, Shape};
use crate::state::{Reader, StateError, Writer};

use super::output::{DerivedRow, Output};
use super::place::Place;

/// A heart rate is stored so often, s of signal.
const RATE_EVERY_S: u64 = 10;
/// A respiration rate is stored so often, s of signal: its window is 32 s.
const BREATH_EVERY_S: u64 = 60;
const BREATH_WINDOW_S: f64 = 32.0;
/// Below this clearness a respiration rate is not stored (see docs/benchmarks/respiration.md).
const CLEAR: f64 = 0.35;
/// An interval longer than this is a pause, and modulated by nothing, s.
const LONGEST_S: f64 = 2.0;

/// Estimators of one lead. Positions are in the detector's own count.
pub struct Derived {
    fs_mhz: u32,
    hrv: Hrv,
    respiration: Respiration,
    last: Option<u64>,
    windows: Vec<HrvWindow>,
}

impl Derived {
    /// For a lead of this rate.
    pub fn new(fs_mhz: u32) -> Self {
        let hrv = Hrv::new(f64::from(fs_mhz) / 1000.0);
        Self { fs_mhz, hrv, respiration: Respiration::default(), last: None, windows: Vec::new() }
    }

    fn seconds(&self, samples: u64) -> f64 {
        samples as f64 * 1000.0 / f64::from(self.fs_mhz)
    }

    /// Invalid signal: the next interval spans it.
    pub fn interrupt(&mut self) {
        self.last = None;
    }

    /// Takes a beat with its shape.
    pub fn beat(&mut self, beat: &Beat, shape: Option<Shape>, base: u64, at: &Place<'_>, out: &mut Output) {
        let interval_s = self.last.map_or(f64::NAN, |last| self.seconds(beat.sample.saturating_sub(last)));
        let joined = self.last.replace(beat.sample).is_some();
        let normal = beat.label == BeatLabel::Normal;
        self.hrv.push(beat.sample, normal, joined, &mut self.windows);
        for window in std::mem::take(&mut self.windows) {
            let end = base + window.first + 300 * u64::from(self.fs_mhz) / 1000;
            let values =
                [("sdnn", window.sdnn_ms, "ms"), ("rmssd", window.rmssd_ms, "ms"), ("pnn50", window.pnn50_pct, "%")];
            for (code, value, unit) in values {
                out.derived.push(row(end, code, value, unit, (300.0, window.coverage), at));
            }
        }
        let modulated = if normal && interval_s < LONGEST_S { interval_s } else { f64::NAN };
        let size = shape.filter(|_| normal).map_or(f64::NAN, |shape| shape.size.into());
        self.respiration.push(self.seconds(beat.sample), modulated, size);
    }

    /// The next position at which a rate is due.
    pub fn next_rate(&self, after: u64) -> u64 {
        let step = RATE_EVERY_S * u64::from(self.fs_mhz) / 1000;
        (after / step + 1) * step
    }

    /// Rates at `sample`, up to which everything has been judged.
    pub fn rates(
        &self,
        sample: u64,
        quality: f64,
        monitor: &RhythmMonitor,
        base: u64,
        at: &Place<'_>,
        out: &mut Output,
    ) {
        if let Some(rate) = monitor.heart_rate() {
            let window_s = self.seconds(rate.last - rate.first);
            out.derived.push(row(base + sample, "heart_rate", rate.rate_bpm, "/min", (window_s, quality), at));
        }
        let step = BREATH_EVERY_S * u64::from(self.fs_mhz) / 1000;
        if sample.is_multiple_of(step)
            && let Some(found) = self.respiration.rate().filter(|found| found.quality >= CLEAR)
        {
            let measured = (BREATH_WINDOW_S, found.quality);
            out.derived.push(row(base + sample, "ecg_resp_rate", found.rate_per_min, "/min", measured, at));
        }
    }

    /// Appends the state.
    pub fn write(&self, writer: &mut Writer) {
        writer.one(self.last.map_or(0, |last| last + 1)).part(&self.hrv.snapshot());
        self.respiration.write(writer);
    }

    /// Reads the state back.
    pub fn read(reader: &mut Reader<'_>, fs_mhz: u32) -> Result<Self, StateError> {
        let last = reader.one::<u64>()?.checked_sub(1);
        let hrv = Hrv::restore(reader.part()?)?;
        Ok(Self { last, hrv, respiration: Respiration::read(reader)?, ..Self::new(fs_mhz) })
    }
}

fn row(
    sample: u64,
    code: &'static str,
    value: f64,
    unit: &'static str,
    (window_s, quality): (f64, f64),
    at: &Place<'_>,
) -> DerivedRow {
    let (seq, ts) = at.anchors.locate(sample);
    DerivedRow { ts, origin: at.origin(seq), code, scope: "window", value, unit, window_s, quality, log_ns: at.log_ns }
}
