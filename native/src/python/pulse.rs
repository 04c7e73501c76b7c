//! Binding of `crate::pulse` and of the waveform detector in `crate::rhythm`.

use numpy::{PyArray1, PyArray2, PyReadonlyArray1, ndarray::Array2};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::pulse;
use crate::rhythm;

/// Adds this concern's classes and functions.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PulseDetector>()?;
    module.add_class::<VfDetector>()?;
    module.add_class::<Respiration>()?;
    module.add_class::<Hrv>()
}

fn refuse(error: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(error.to_string())
}

#[pyclass(module = "dataflows._native")]
struct PulseDetector(pulse::PulseDetector);

#[pymethods]
#[allow(clippy::needless_pass_by_value, reason = "PyO3 extracts arrays by value")]
impl PulseDetector {
    #[new]
    fn new(fs_hz: f64) -> PyResult<Self> {
        pulse::PulseDetector::new(fs_hz).map(Self).map_err(refuse)
    }

    #[getter]
    fn certain_until(&self) -> u64 {
        self.0.certain_until()
    }

    fn push<'py>(
        &mut self,
        py: Python<'py>,
        samples: PyReadonlyArray1<'_, f64>,
    ) -> (Bound<'py, PyArray1<i64>>, Bound<'py, PyArray1<f32>>) {
        let mut pulses = Vec::new();
        self.0.push(samples.as_array().iter().copied(), &mut pulses);
        let at = PyArray1::from_iter(py, pulses.iter().map(|pulse| pulse.sample as i64));
        (at, PyArray1::from_iter(py, pulses.iter().map(|pulse| pulse.rise)))
    }

    fn snapshot<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.snapshot())
    }

    #[staticmethod]
    fn restore(snapshot: &[u8]) -> PyResult<Self> {
        pulse::PulseDetector::restore(snapshot).map(Self).map_err(refuse)
    }
}

#[pyclass(module = "dataflows._native")]
struct VfDetector(rhythm::VfDetector);

#[pymethods]
#[allow(clippy::needless_pass_by_value, reason = "PyO3 extracts arrays by value")]
impl VfDetector {
    #[new]
    fn new(fs_hz: f64) -> PyResult<Self> {
        rhythm::VfDetector::new(fs_hz).map(Self).map_err(refuse)
    }

    fn push<'py>(&mut self, py: Python<'py>, samples: PyReadonlyArray1<'_, f64>) -> Bound<'py, PyArray2<f64>> {
        let mut seconds = Vec::new();
        self.0.push(samples.as_array().iter().copied(), &mut seconds);
        let row = |second: &rhythm::WaveformSecond| {
            [
                second.end as f64,
                second.leakage.into(),
                second.crossing.into(),
                second.dominant_hz.into(),
                second.concentration.into(),
                second.band.into(),
                second.range.into(),
                second.invalid.into(),
                f64::from(u8::from(rhythm::VfDetector::fibrillatory(second))),
            ]
        };
        let rows: Vec<[f64; 9]> = seconds.iter().map(row).collect();
        PyArray2::from_owned_array(py, Array2::from(rows))
    }

    fn snapshot<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.snapshot())
    }

    #[staticmethod]
    fn restore(snapshot: &[u8]) -> PyResult<Self> {
        rhythm::VfDetector::restore(snapshot).map(Self).map_err(refuse)
    }
}

#[pyclass(module = "dataflows._native")]
struct Respiration(rhythm::Respiration);

#[pymethods]
impl Respiration {
    #[new]
    fn new() -> Self {
        Self(rhythm::Respiration::default())
    }

    fn push(&mut self, time_s: f64, interval_s: f64, size: f64) {
        self.0.push(time_s, interval_s, size);
    }

    fn rate(&self) -> Option<(f64, f64)> {
        self.0.rate().map(|rate| (rate.rate_per_min, rate.quality))
    }
}

#[pyclass(module = "dataflows._native")]
struct Hrv(rhythm::Hrv);

#[pymethods]
impl Hrv {
    #[new]
    fn new(fs_hz: f64) -> PyResult<Self> {
        if !(1.0..=10_000.0).contains(&fs_hz) {
            return Err(refuse(rhythm::ConfigError::Rate(fs_hz)));
        }
        Ok(Self(rhythm::Hrv::new(fs_hz)))
    }

    #[pyo3(signature = (sample, normal=true, joined=true))]
    fn push(&mut self, sample: u64, normal: bool, joined: bool) -> Vec<(u64, u32, f64, f64, f64, f64)> {
        let mut windows = Vec::new();
        self.0.push(sample, normal, joined, &mut windows);
        let row = |w: rhythm::HrvWindow| (w.first, w.intervals, w.coverage, w.sdnn_ms, w.rmssd_ms, w.pnn50_pct);
        windows.into_iter().map(row).collect()
    }
}
