//! Binding of `crate::oximetry`.

use numpy::{PyArrayDyn, PyArrayMethods, PyReadonlyArray1, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyType};

use crate::oximetry::{self, Profile};

mod series;

/// Adds this concern's classes and functions.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Desaturation>()?;
    module.add_class::<DesaturationDetector>()?;
    series::register(module)
}

fn refuse(error: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// SpO2 readings in any of the forms numpy knows, as f64. The caller's state is untouched when they are refused.
fn readings(values: &Bound<'_, PyAny>) -> PyResult<Vec<f64>> {
    let plain = values.is_exact_instance_of::<PyUntypedArray>();
    if plain && let Ok(array) = values.extract::<PyReadonlyArray1<'_, f64>>() {
        return Ok(array.as_array().iter().copied().collect());
    }
    if plain && let Ok(array) = values.extract::<PyReadonlyArray1<'_, f32>>() {
        return Ok(array.as_array().iter().map(|&value| f64::from(value)).collect());
    }
    let numpy = values.py().import("numpy")?;
    if values.is_instance(&numpy.getattr("ma")?.getattr("MaskedArray")?)? {
        return Err(PyTypeError::new_err("fill masked readings with NaN first: their mask would be lost"));
    }
    let array = numpy.call_method1("asarray", (values,))?;
    let kind: String = array.getattr("dtype")?.getattr("kind")?.extract()?;
    if !matches!(kind.as_str(), "f" | "i" | "u") {
        let dtype = array.getattr("dtype")?.str()?;
        return Err(PyTypeError::new_err(format!("SpO2 readings must be real numbers, not {dtype}")));
    }
    let array = array.call_method1("astype", ("float64",))?;
    let array = array.cast::<PyArrayDyn<f64>>()?;
    if array.ndim() != 1 {
        return Err(PyValueError::new_err(format!("SpO2 readings must be one-dimensional, not {}-D", array.ndim())));
    }
    Ok(array.readonly().as_array().iter().copied().collect())
}

/// A fall of SpO2; see `dataflows.detectors`.
#[pyclass(module = "dataflows._native", frozen, eq, hash, skip_from_py_object)]
#[derive(Clone, PartialEq)]
pub struct Desaturation {
    inner: oximetry::Desaturation,
    fs_hz: f64,
}

impl std::hash::Hash for Desaturation {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (self.inner.kind, self.inner.onset, self.inner.decided).hash(state);
    }
}

#[pymethods]
impl Desaturation {
    /// provisional, final, sustained or truncated.
    #[getter]
    fn kind(&self) -> &'static str {
        self.inner.kind.name()
    }

    /// Last sample on the level before the fall, seconds from the first sample.
    #[getter]
    fn onset_s(&self) -> f64 {
        self.inner.onset as f64 / self.fs_hz
    }

    /// First sample at the lowest reading, seconds from the first sample.
    #[getter]
    fn nadir_s(&self) -> f64 {
        self.inner.nadir_at as f64 / self.fs_hz
    }

    /// Where it had recovered by the hysteresis, or the last sample seen, seconds from the first sample.
    #[getter]
    fn end_s(&self) -> f64 {
        self.inner.end as f64 / self.fs_hz
    }

    /// The sample that made it certain, seconds from the first sample.
    #[getter]
    fn decided_s(&self) -> f64 {
        self.inner.decided as f64 / self.fs_hz
    }

    /// SpO2 before the fall, %.
    #[getter]
    fn baseline(&self) -> f64 {
        self.inner.baseline
    }

    /// Lowest SpO2, %.
    #[getter]
    fn nadir(&self) -> f64 {
        self.inner.nadir
    }

    /// Area between baseline and readings from onset to end, points times seconds.
    #[getter]
    fn area_pct_s(&self) -> f64 {
        self.inner.area / self.fs_hz
    }

    /// baseline - nadir, points.
    #[getter]
    fn drop(&self) -> f64 {
        self.inner.drop
    }

    fn __repr__(&self) -> String {
        format!(
            "Desaturation(kind='{}', onset_s={}, nadir_s={}, end_s={}, baseline={}, nadir={}, drop={}, decided_s={})",
            self.kind(),
            self.onset_s(),
            self.nadir_s(),
            self.end_s(),
            self.baseline(),
            self.nadir(),
            self.drop(),
            self.decided_s(),
        )
    }
}

impl Desaturation {
    fn all(found: Vec<oximetry::Desaturation>, fs_hz: f64) -> Vec<Self> {
        found.into_iter().map(|inner| Self { inner, fs_hz }).collect()
    }
}

/// Scores desaturations of one SpO2 series; see `dataflows.detectors`.
#[pyclass(module = "dataflows._native")]
pub struct DesaturationDetector {
    inner: oximetry::DesaturationDetector,
}

#[pymethods]
impl DesaturationDetector {
    #[new]
    #[pyo3(signature = (fs_hz = 1.0, drop = 3.0, *, profile = "standard"))]
    fn new(fs_hz: f64, drop: f64, profile: &str) -> PyResult<Self> {
        let profile = Profile::of(profile).map_err(refuse)?;
        let inner = oximetry::DesaturationDetector::with_profile(fs_hz, drop, profile).map_err(refuse)?;
        Ok(Self { inner })
    }

    /// Takes the next readings, % (NaN: no reading), and returns the events that became certain.
    fn push(&mut self, py: Python<'_>, values: &Bound<'_, PyAny>) -> PyResult<Vec<Desaturation>> {
        let values = readings(values)?;
        let mut found = Vec::new();
        py.detach(|| self.inner.push(&values, &mut found));
        Ok(Desaturation::all(found, self.inner.fs_hz()))
    }

    /// Ends the series: what is still down is reported as sustained.
    fn flush(&mut self) -> Vec<Desaturation> {
        let mut found = Vec::new();
        self.inner.flush(&mut found);
        Desaturation::all(found, self.inner.fs_hz())
    }

    /// Versioned snapshot, at most 2 KiB.
    fn snapshot<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.inner.snapshot())
    }

    /// A detector that goes on where the snapshot was taken.
    #[classmethod]
    fn restore(_cls: &Bound<'_, PyType>, snapshot: &[u8]) -> PyResult<Self> {
        let inner = oximetry::DesaturationDetector::restore(snapshot).map_err(refuse)?;
        Ok(Self { inner })
    }

    /// Samples per second.
    #[getter]
    fn fs_hz(&self) -> f64 {
        self.inner.fs_hz()
    }

    /// Threshold, points.
    #[getter]
    fn drop(&self) -> f64 {
        self.inner.drop_pct()
    }

    /// Name of the rules it scores by.
    #[getter]
    fn profile(&self) -> &'static str {
        self.inner.profile().name()
    }

    /// Samples taken so far, missing ones included.
    #[getter]
    fn samples(&self) -> u64 {
        self.inner.samples()
    }
}
