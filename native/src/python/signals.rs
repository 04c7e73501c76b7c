//! Binding of `crate::signals`.

use std::collections::BTreeMap;

use pyo3::IntoPyObjectExt;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};

use crate::signals::{self, Config, Event, Profile, Profiles, Rate};

use super::events::{Answers, Detection, Reading};
use super::rows::Names;
use super::wire::{Command, Items, Reject};

/// The step `signals` of one patient: order, clock, detectors. See `dataflows.monitor.signals`.
#[pyclass(module = "dataflows._native")]
pub struct Signals {
    inner: signals::Signals,
}

/// What is configured for `Signals`. Outputs depend on it, so a replay needs the same.
#[pyclass(module = "dataflows._native", frozen, skip_from_py_object)]
#[derive(Clone)]
pub struct SignalsConfig {
    inner: Config,
}

#[pymethods]
impl SignalsConfig {
    #[allow(clippy::too_many_arguments)] // keywords, each with its default
    #[new]
    #[pyo3(signature = (*, reorder_s = 2.0, silence_wave_s = 10.0, silence_reading_s = 60.0, frames_per_s = 100.0,
                        bytes_per_s = 262_144.0, burst_s = 200.0, profiles = None))]
    fn new(
        reorder_s: f64,
        silence_wave_s: f64,
        silence_reading_s: f64,
        frames_per_s: f64,
        bytes_per_s: f64,
        burst_s: f64,
        profiles: Option<BTreeMap<String, String>>,
    ) -> PyResult<Self> {
        let ns = |name: &str, value: f64, most: f64| {
            if (0.0..=most).contains(&value) {
                return Ok((value * 1e9) as i64);
            }
            Err(PyValueError::new_err(format!("{name} must be between 0 and {most}, not {value}")))
        };
        let above_zero = |name: &str, value: f64| {
            if value > 0.0 && value.is_finite() {
                return Ok(value);
            }
            Err(PyValueError::new_err(format!("{name} must be above 0, not {value}")))
        };
        let rate = Rate {
            frames_per_s: above_zero("frames_per_s", frames_per_s)?,
            bytes_per_s: above_zero("bytes_per_s", bytes_per_s)?,
            burst_s: above_zero("burst_s", burst_s)?,
        };
        let inner = Config {
            reorder_ns: ns("reorder_s", reorder_s, 60.0)?,
            silence_wave_ns: ns("silence_wave_s", silence_wave_s, 86_400.0)?,
            silence_reading_ns: ns("silence_reading_s", silence_reading_s, 86_400.0)?,
            rate,
            profiles: profiles.map_or_else(|| Ok(Profiles::default()), known_profiles)?,
        };
        Ok(Self { inner })
    }
}

/// Profiles by name, each with the one whose limits the detectors take.
fn known_profiles(profiles: BTreeMap<String, String>) -> PyResult<Profiles> {
    let known = profiles.into_iter().map(|(name, detectors)| match Profile::of(&detectors) {
        Some(profile) => Ok((name, profile)),
        None => Err(PyValueError::new_err(format!("detectors have no profile {detectors}"))),
    });
    known.collect::<PyResult<Vec<_>>>().map(Profiles::new)
}

#[pymethods]
impl Signals {
    #[new]
    #[pyo3(signature = (config = None))]
    fn new(config: Option<&SignalsConfig>) -> Self {
        Self { inner: signals::Signals::new(config.map_or_else(Config::default, |config| config.inner.clone())) }
    }

    /// Takes items in log order and returns what they led to.
    fn on_items(&mut self, py: Python<'_>, items: &Items) -> Output {
        let mut inner = signals::Output::default();
        let log_ns = py.detach(|| {
            self.inner.on_items(&items.list, &mut inner);
            self.inner.log_ns()
        });
        let log_seq = items.list.last().map_or(0, |item| item.place().0);
        Output { tenant: items.tenant.clone(), patient: items.patient.clone(), log_seq, log_ns, inner }
    }

    /// Versioned snapshot.
    fn snapshot<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.inner.snapshot())
    }

    /// The patient of a snapshot; `ValueError` where it is damaged or of an unknown version.
    #[staticmethod]
    #[pyo3(signature = (snapshot, config = None))]
    fn restore(snapshot: &[u8], config: Option<&SignalsConfig>) -> PyResult<Self> {
        let config = config.map_or_else(Config::default, |config| config.inner.clone());
        let inner = signals::Signals::restore(snapshot, config);
        Ok(Self { inner: inner.map_err(|error| PyValueError::new_err(error.to_string()))? })
    }
}

/// Why the argument of a `threshold` command is refused; `None` if it is kept.
#[pyfunction]
fn check_threshold(argument_json: &str) -> Option<String> {
    signals::check_threshold(argument_json)
}

/// Rules whose limit is a detector's: a `threshold` command for them is checked by `check_threshold`.
#[pyfunction]
fn detector_rules() -> Vec<&'static str> {
    signals::DETECTOR_RULES.map(|rule| rule.0).to_vec()
}

/// Rule, limit (`None`: off), delay in s (`None`: none that can be changed), least and greatest limit.
type UsualLimit = (&'static str, Option<f64>, Option<f64>, f64, f64);

/// The detectors' limits under a profile, those of `adult` under one that they do not know.
#[pyfunction]
fn detector_limits(profile: &str) -> Vec<UsualLimit> {
    let limits = signals::usual(profile).into_iter();
    limits.map(|one| (one.rule, one.limit, one.delay_s, one.range.0, one.range.1)).collect()
}

/// What one list of items led to. Rows are made when somebody asks for them.
#[pyclass(module = "dataflows._native", frozen)]
pub struct Output {
    /// Organisation.
    #[pyo3(get)]
    tenant: String,
    /// Patient.
    #[pyo3(get)]
    patient: String,
    /// Sequence of the last item.
    #[pyo3(get)]
    log_seq: u64,
    /// Log time of the last item.
    #[pyo3(get)]
    log_ns: i64,
    inner: signals::Output,
}

#[pymethods]
impl Output {
    /// (table, rows) in the column order of `dataflows.contracts.tables`.
    fn rows<'py>(&self, py: Python<'py>) -> PyResult<Vec<(&'static str, Bound<'py, PyList>)>> {
        let names = self.names(py)?;
        let out = &self.inner;
        let mut tables = Vec::new();
        let mut add = |name: &'static str, rows: Vec<PyResult<Bound<'py, PyTuple>>>| -> PyResult<()> {
            if !rows.is_empty() {
                tables.push((name, PyList::new(py, rows.into_iter().collect::<PyResult<Vec<_>>>()?)?));
            }
            Ok(())
        };
        add("waveforms", out.waveforms.iter().map(|row| names.waveform(row)).collect())?;
        add("observations", out.observations.iter().map(|row| names.observation(row)).collect())?;
        add("beats", out.beats.iter().map(|row| names.beat(row)).collect())?;
        add("desaturations", out.desaturations.iter().map(|row| names.desaturation(row)).collect())?;
        add("quality", out.quality.iter().map(|row| names.quality(row)).collect())?;
        add("ledger", out.ledger.iter().map(|row| names.ledger(row)).collect())?;
        add("clock_segments", out.clock_segments.iter().map(|row| names.clock_segment(row)).collect())?;
        add("derived", out.derived.iter().map(|row| names.derived(row)).collect())?;
        add("withheld", out.withheld.iter().map(|row| names.withheld(row)).collect())?;
        add("late_frames", out.late_frames.iter().map(|row| names.late_frame(row)).collect())?;
        Ok(tables)
    }

    /// Rows of `waveforms` alone.
    fn waveforms<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyTuple>>> {
        let names = self.names(py)?;
        self.inner.waveforms.iter().map(|row| names.waveform(row)).collect()
    }

    /// The same without its waveforms.
    fn without_waveforms(&self) -> Self {
        let inner = signals::Output { waveforms: Vec::new(), ..self.inner.clone() };
        Self { inner, tenant: self.tenant.clone(), patient: self.patient.clone(), ..*self }
    }

    /// Whether there is anything to store.
    #[getter]
    fn has_rows(&self) -> bool {
        let out = &self.inner;
        !(out.waveforms.is_empty()
            && out.observations.is_empty()
            && out.beats.is_empty()
            && out.desaturations.is_empty()
            && out.quality.is_empty()
            && out.clock_segments.is_empty()
            && out.derived.is_empty()
            && out.withheld.is_empty()
            && out.late_frames.is_empty()
            && out.ledger.is_empty())
    }

    /// Whether the judge has anything to hear.
    #[getter]
    fn has_events(&self) -> bool {
        !self.inner.events.is_empty()
    }

    /// Pickling, for the way to a sink in another process of the cluster: only the rows are wanted there.
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let stored = py.import("dataflows.monitor.rows")?.getattr("StoredRows")?;
        Ok((stored, (self.rows(py)?,).into_pyobject(py)?))
    }

    /// Detections, commands, readings and answers in log order.
    #[getter]
    fn events(&self, py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
        let event = |event: &Event| match event {
            Event::Detection(found) => Detection { inner: found.clone() }.into_py_any(py),
            Event::Command(command) => Command::from(command).into_py_any(py),
            Event::Reading(reading) => Reading { inner: reading.clone() }.into_py_any(py),
            Event::Answers(answers) => Answers { inner: answers.clone() }.into_py_any(py),
        };
        self.inner.events.iter().map(event).collect()
    }

    /// Frames that contradict others.
    #[getter]
    fn rejects(&self) -> Vec<Reject> {
        self.inner.rejects.iter().map(Reject::from).collect()
    }

    /// (received, stored, late, duplicate, rejected, samples).
    #[getter]
    fn counts(&self) -> (u64, u64, u64, u64, u64, u64) {
        let counts = &self.inner.counts;
        (counts.received, counts.stored, counts.late, counts.duplicate, counts.rejected, counts.samples)
    }
}

impl Output {
    fn names<'py>(&self, py: Python<'py>) -> PyResult<Names<'py>> {
        let (tenant, patient) = (self.tenant.as_str().into_py_any(py)?, self.patient.as_str().into_py_any(py)?);
        Ok(Names { py, tenant, patient })
    }
}

/// Adds this concern's classes and functions.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<SignalsConfig>()?;
    module.add_class::<Signals>()?;
    module.add_class::<Output>()?;
    module.add_function(wrap_pyfunction!(check_threshold, module)?)?;
    module.add_function(wrap_pyfunction!(detector_limits, module)?)?;
    module.add_function(wrap_pyfunction!(detector_rules, module)?)
}
