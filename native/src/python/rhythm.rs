//! Binding of `crate::rhythm`.

#![allow(clippy::needless_pass_by_value, reason = "PyO3 extracts arrays by value")]

use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::ecg::{Beat, BeatLabel};
use crate::rhythm::{self, RhythmLimits};

/// Adds this concern's classes and functions.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<RhythmEvent>()?;
    module.add_class::<AfDetector>()?;
    module.add_class::<RhythmMonitor>()
}

fn refuse(error: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// Positions in a stream: never negative.
fn position(value: i64) -> PyResult<u64> {
    u64::try_from(value).map_err(|_| PyValueError::new_err(format!("a sample index must not be negative: {value}")))
}

fn label(value: u8) -> PyResult<BeatLabel> {
    match value {
        0 => Ok(BeatLabel::Normal),
        1 => Ok(BeatLabel::Ventricular),
        2 => Ok(BeatLabel::Paced),
        3 => Ok(BeatLabel::Unclassifiable),
        _ => Err(PyValueError::new_err(format!("a beat label is 0, 1, 2 or 3, not {value}"))),
    }
}

/// An alarm condition begins or ends; see the type stub.
#[pyclass(module = "dataflows._native", frozen, eq, skip_from_py_object)]
#[derive(Clone, PartialEq)]
struct RhythmEvent(rhythm::RhythmEvent);

#[pymethods]
impl RhythmEvent {
    #[getter]
    fn rule(&self) -> &'static str {
        self.0.rule.name()
    }

    #[getter]
    fn raised(&self) -> bool {
        self.0.raised
    }

    #[getter]
    fn onset(&self) -> u64 {
        self.0.onset
    }

    #[getter]
    fn decided(&self) -> u64 {
        self.0.decided
    }

    #[getter]
    fn value(&self) -> f64 {
        self.0.value
    }

    #[getter]
    fn limit(&self) -> f64 {
        self.0.limit
    }

    #[getter]
    fn evidence_first(&self) -> u64 {
        self.0.evidence_first
    }

    #[getter]
    fn evidence_last(&self) -> u64 {
        self.0.evidence_last
    }

    fn __repr__(&self) -> String {
        let event = &self.0;
        format!(
            "RhythmEvent(rule='{}', raised={}, onset={}, decided={}, value={}, limit={})",
            event.rule.name(),
            if event.raised { "True" } else { "False" },
            event.onset,
            event.decided,
            event.value,
            event.limit
        )
    }
}

fn announced(samples: &PyReadonlyArray1<'_, i64>, labels: &PyReadonlyArray1<'_, u8>) -> PyResult<Vec<Beat>> {
    let (samples, labels) = (samples.as_array(), labels.as_array());
    if samples.len() != labels.len() {
        return Err(PyValueError::new_err("samples and labels must be of one length"));
    }
    let beat = |(&sample, &value): (&i64, &u8)| {
        Ok(Beat { sample: position(sample)?, confidence: 1.0, label: label(value)?, late: false })
    };
    samples.iter().zip(labels).map(beat).collect()
}

/// Limits by name; what is not named keeps its value.
fn changed(mut limits: RhythmLimits, by_name: Option<&Bound<'_, PyDict>>) -> PyResult<RhythmLimits> {
    for (name, value) in by_name.into_iter().flatten() {
        let name: String = name.extract()?;
        let real = match name.as_str() {
            "asystole_s" => &mut limits.asystole_s,
            "pause_s" => &mut limits.pause_s,
            "extreme_bradycardia_bpm" => &mut limits.extreme_bradycardia_bpm,
            "extreme_tachycardia_bpm" => &mut limits.extreme_tachycardia_bpm,
            "ventricular_bpm" => &mut limits.ventricular_bpm,
            "fibrillation_s" => &mut limits.fibrillation_s,
            "low_bpm" => &mut limits.low_bpm,
            "high_bpm" => &mut limits.high_bpm,
            "clear_margin_bpm" => &mut limits.clear_margin_bpm,
            "atrial_fibrillation_s" => &mut limits.atrial_fibrillation_s,
            "extreme_bradycardia_beats" => {
                limits.extreme_bradycardia_beats = value.extract()?;
                continue;
            }
            "extreme_tachycardia_beats" => {
                limits.extreme_tachycardia_beats = value.extract()?;
                continue;
            }
            "ventricular_beats" => {
                limits.ventricular_beats = value.extract()?;
                continue;
            }
            _ => return Err(PyTypeError::new_err(format!("no rhythm limit is called {name}"))),
        };
        *real = value.extract()?;
    }
    Ok(limits)
}

#[pyclass(module = "dataflows._native")]
struct RhythmMonitor(rhythm::RhythmMonitor);

#[pymethods]
impl RhythmMonitor {
    #[new]
    #[pyo3(signature = (fs_hz, **limits))]
    fn new(fs_hz: f64, limits: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let limits = changed(RhythmLimits::default(), limits)?;
        rhythm::RhythmMonitor::new(fs_hz, limits).map(Self).map_err(refuse)
    }

    #[pyo3(signature = (**limits))]
    fn set_limits(&mut self, limits: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        let limits = changed(self.0.limits(), limits)?;
        self.0.set_limits(limits).map_err(refuse)
    }

    fn beats(&mut self, samples: PyReadonlyArray1<'_, i64>, labels: PyReadonlyArray1<'_, u8>) -> PyResult<()> {
        let beats = announced(&samples, &labels)?;
        self.0.beats(&beats);
        Ok(())
    }

    fn pulses(&mut self, samples: PyReadonlyArray1<'_, i64>) -> PyResult<()> {
        let samples: Vec<u64> = samples.as_array().iter().map(|&sample| position(sample)).collect::<PyResult<_>>()?;
        self.0.pulses(&samples);
        Ok(())
    }

    fn invalid(&mut self, first: i64, end: i64) -> PyResult<()> {
        self.0.invalid(position(first)?, position(end)?);
        Ok(())
    }

    fn fibrillation(&mut self, first: i64, end: i64) -> PyResult<()> {
        self.0.fibrillation(position(first)?, position(end)?);
        Ok(())
    }

    fn advance(&mut self, certain_until: i64) -> PyResult<Vec<RhythmEvent>> {
        let mut events = Vec::new();
        self.0.advance(position(certain_until)?, &mut events);
        Ok(events.into_iter().map(RhythmEvent).collect())
    }

    fn close(&mut self) -> Vec<RhythmEvent> {
        let mut events = Vec::new();
        self.0.close(&mut events);
        events.into_iter().map(RhythmEvent).collect()
    }

    #[getter]
    fn heart_rate_bpm(&self) -> Option<f64> {
        self.0.heart_rate().map(|rate| rate.rate_bpm)
    }

    fn raised_since(&self, rule: &str) -> PyResult<Option<u64>> {
        let found = rhythm::RhythmRule::ALL.into_iter().find(|known| known.name() == rule);
        let rule = found.ok_or_else(|| PyValueError::new_err(format!("no rhythm rule is called {rule}")))?;
        Ok(self.0.raised_since(rule))
    }

    fn snapshot<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.snapshot())
    }

    #[staticmethod]
    fn restore(snapshot: &[u8]) -> PyResult<Self> {
        rhythm::RhythmMonitor::restore(snapshot).map(Self).map_err(refuse)
    }
}

/// Atrial fibrillation from beats; see the type stub.
#[pyclass(module = "dataflows._native")]
struct AfDetector {
    fs_hz: f64,
    detector: rhythm::AfDetector,
    last: Option<u64>,
}

#[pymethods]
impl AfDetector {
    #[new]
    fn new(fs_hz: f64) -> PyResult<Self> {
        if !(1.0..=10_000.0).contains(&fs_hz) {
            return Err(refuse(rhythm::ConfigError::Rate(fs_hz)));
        }
        Ok(Self { fs_hz, detector: rhythm::AfDetector::default(), last: None })
    }

    fn push<'py>(
        &mut self,
        py: Python<'py>,
        samples: PyReadonlyArray1<'_, i64>,
        labels: PyReadonlyArray1<'_, u8>,
    ) -> PyResult<Bound<'py, PyArray1<bool>>> {
        let beats = announced(&samples, &labels)?;
        let order = self.last.into_iter().chain(beats.iter().map(|beat| beat.sample));
        if !order.is_sorted_by(|a, b| a < b) {
            return Err(PyValueError::new_err("beats must come in order"));
        }
        self.last = beats.last().map(|beat| beat.sample).or(self.last);
        let decided = beats
            .iter()
            .filter_map(|beat| self.detector.push(beat.sample, beat.label == BeatLabel::Ventricular, true, self.fs_hz));
        Ok(PyArray1::from_iter(py, decided.map(|beat| beat.af)))
    }

    fn flush<'py>(&mut self, py: Python<'py>) -> Bound<'py, PyArray1<bool>> {
        PyArray1::from_iter(py, self.detector.flush().into_iter().map(|beat| beat.af))
    }
}
