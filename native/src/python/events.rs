//! What the judge hears: detections, readings and answers. Commands are in `wire`.

use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict};

use crate::signals;
use crate::wire::{facts_of, ucum};

/// A condition began or ended.
#[pyclass(module = "dataflows._native", frozen)]
pub struct Detection {
    pub inner: signals::Detection,
}

#[pymethods]
impl Detection {
    #[getter]
    fn rule(&self) -> &'static str {
        self.inner.rule
    }
    #[getter]
    fn raised(&self) -> bool {
        self.inner.raised
    }
    #[getter]
    fn device(&self) -> &str {
        &self.inner.origin.device
    }
    #[getter]
    fn boot(&self) -> u64 {
        self.inner.origin.boot
    }
    #[getter]
    fn signal(&self) -> &'static str {
        self.inner.origin.signal
    }
    #[getter]
    fn seq(&self) -> u64 {
        self.inner.origin.seq
    }
    #[getter]
    fn code(&self) -> &'static str {
        self.inner.code
    }
    #[getter]
    fn onset(&self) -> u64 {
        self.inner.onset
    }
    #[getter]
    fn onset_ns(&self) -> i64 {
        self.inner.onset_ns
    }
    #[getter]
    fn value(&self) -> f64 {
        self.inner.value
    }
    #[getter]
    fn limit(&self) -> f64 {
        self.inner.limit
    }
    #[getter]
    fn evidence_ns(&self) -> (i64, i64) {
        self.inner.evidence_ns
    }
    #[getter]
    fn sample_ns(&self) -> i64 {
        self.inner.sample_ns
    }
    #[getter]
    fn stored(&self) -> bool {
        self.inner.stored
    }
    #[getter]
    fn log_seq(&self) -> u64 {
        self.inner.log_seq
    }
    #[getter]
    fn log_ns(&self) -> i64 {
        self.inner.log_ns
    }
    /// The numbers on which it stands.
    #[getter]
    fn details<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.inner.evidence.named().collect::<Vec<_>>().into_py_dict(py)
    }
    fn __repr__(&self) -> String {
        format!("Detection({:?})", self.inner)
    }
}

/// A reading of a device, in the canonical unit of its code.
#[pyclass(module = "dataflows._native", frozen)]
pub struct Reading {
    pub inner: signals::ReadingEvent,
}

#[pymethods]
impl Reading {
    #[getter]
    fn code(&self) -> &'static str {
        facts_of(self.inner.reading.code).map_or("", |facts| facts.name)
    }
    #[getter]
    fn value(&self) -> f64 {
        let reading = &self.inner.reading;
        reading.canonical
    }
    #[getter]
    fn unit(&self) -> &'static str {
        facts_of(self.inner.reading.code).map_or("", |facts| ucum(facts.units[0].0))
    }
    #[getter]
    fn index(&self) -> u64 {
        self.inner.index
    }
    #[getter]
    fn status(&self) -> u32 {
        self.inner.reading.status
    }
    #[getter]
    fn quality_pct(&self) -> u32 {
        self.inner.reading.quality_pct
    }
    #[getter]
    fn suspect(&self) -> bool {
        self.inner.reading.suspect
    }
    #[getter]
    fn device(&self) -> &str {
        &self.inner.origin.device
    }
    #[getter]
    fn boot(&self) -> u64 {
        self.inner.origin.boot
    }
    #[getter]
    fn signal(&self) -> &'static str {
        self.inner.origin.signal
    }
    #[getter]
    fn seq(&self) -> u64 {
        self.inner.origin.seq
    }
    #[getter]
    fn ts_ns(&self) -> i64 {
        self.inner.ts
    }
    #[getter]
    fn stored(&self) -> bool {
        self.inner.stored
    }
    #[getter]
    fn log_seq(&self) -> u64 {
        self.inner.log_seq
    }
    #[getter]
    fn log_ns(&self) -> i64 {
        self.inner.log_ns
    }
    fn __repr__(&self) -> String {
        format!("Reading({:?})", self.inner)
    }
}

/// A questionnaire of a person.
#[pyclass(module = "dataflows._native", frozen)]
pub struct Answers {
    pub inner: signals::AnswersEvent,
}

#[pymethods]
impl Answers {
    #[getter]
    fn instrument(&self) -> &str {
        &self.inner.instrument
    }
    #[getter]
    fn version(&self) -> &str {
        &self.inner.version
    }
    #[getter]
    fn mode(&self) -> &str {
        &self.inner.mode
    }
    #[getter]
    fn answers(&self) -> Vec<(String, f64)> {
        self.inner.answers.clone()
    }
    #[getter]
    fn device(&self) -> &str {
        &self.inner.origin.device
    }
    #[getter]
    fn boot(&self) -> u64 {
        self.inner.origin.boot
    }
    #[getter]
    fn signal(&self) -> &'static str {
        self.inner.origin.signal
    }
    #[getter]
    fn seq(&self) -> u64 {
        self.inner.origin.seq
    }
    #[getter]
    fn ts_ns(&self) -> i64 {
        self.inner.ts
    }
    #[getter]
    fn stored(&self) -> bool {
        self.inner.stored
    }
    #[getter]
    fn log_seq(&self) -> u64 {
        self.inner.log_seq
    }
    #[getter]
    fn log_ns(&self) -> i64 {
        self.inner.log_ns
    }
    fn __repr__(&self) -> String {
        format!("Answers({:?})", self.inner)
    }
}

/// Adds this concern's classes.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Detection>()?;
    module.add_class::<Reading>()?;
    module.add_class::<Answers>()
}
