//! Binding of `crate::oximetry`'s series: limits, alarms, indices, and many patients at once.

use numpy::{PyArray2, PyArrayMethods};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyType};

use super::{Desaturation, readings, refuse};
use crate::oximetry::{self, Limit, Profile, SatSecondsConvention, SatSecondsLimit, SpO2AlarmEvent, SpO2Output};

/// Adds the classes of this file.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<SpO2Limits>()?;
    module.add_class::<SpO2Alarm>()?;
    module.add_class::<SpO2Indices>()?;
    module.add_class::<SpO2Series>()?;
    module.add_class::<SpO2Bank>()
}

type Pair = (f64, f64);

/// What a patient's SpO2 is watched for; see `dataflows.detectors`.
#[pyclass(module = "dataflows._native", frozen, eq, skip_from_py_object)]
#[derive(Clone, PartialEq)]
pub struct SpO2Limits {
    inner: oximetry::SpO2Limits,
}

#[pymethods]
impl SpO2Limits {
    #[new]
    #[pyo3(
        signature = (
            *, low = Some((90.0, 30.0)), very_low = Some((85.0, 10.0)), rapid_drop_pct = Some(10.0),
            sat_seconds = Some((90.0, 50.0)), sat_seconds_plus_one = false, sat_seconds_repeats = true,
            above_target = None, clear_margin_pct = 2.0, clear_s = 15.0, data_update_s = 30.0
        ),
        text_signature = "(*, low=(90.0, 30.0), very_low=(85.0, 10.0), rapid_drop_pct=10.0, sat_seconds=(90.0, 50.0), \
            sat_seconds_plus_one=False, sat_seconds_repeats=True, above_target=None, clear_margin_pct=2.0, \
            clear_s=15.0, data_update_s=30.0)"
    )]
    #[allow(clippy::too_many_arguments)] // keywords, each with its default
    fn new(
        low: Option<Pair>,
        very_low: Option<Pair>,
        rapid_drop_pct: Option<f64>,
        sat_seconds: Option<Pair>,
        sat_seconds_plus_one: bool,
        sat_seconds_repeats: bool,
        above_target: Option<Pair>,
        clear_margin_pct: f64,
        clear_s: f64,
        data_update_s: f64,
    ) -> PyResult<Self> {
        let limit = |pair: Option<Pair>| pair.map(|(limit_pct, delay_s)| Limit { limit_pct, delay_s });
        let convention =
            if sat_seconds_plus_one { SatSecondsConvention::FromLimitPlusOne } else { SatSecondsConvention::FromLimit };
        let sat_seconds = sat_seconds.map(|(limit_pct, setting)| SatSecondsLimit {
            limit_pct,
            setting,
            convention,
            repeats: sat_seconds_repeats,
        });
        let inner = oximetry::SpO2Limits {
            low: limit(low),
            very_low: limit(very_low),
            rapid_drop_pct,
            sat_seconds,
            above_target: limit(above_target),
            clear_margin_pct,
            clear_s,
            data_update_s,
        };
        inner.check().map_err(refuse)?;
        Ok(Self { inner })
    }

    /// Limits for a target range of 88 to 92 %.
    #[classmethod]
    fn copd(_cls: &Bound<'_, PyType>) -> Self {
        Self { inner: oximetry::SpO2Limits::copd() }
    }

    fn __repr__(&self) -> String {
        format!("{:?}", self.inner)
    }
}

/// An alarm began or ended; see `dataflows.detectors`.
#[pyclass(module = "dataflows._native", frozen, eq, skip_from_py_object)]
#[derive(Clone, PartialEq)]
pub struct SpO2Alarm {
    inner: SpO2AlarmEvent,
    fs_hz: f64,
}

impl SpO2Alarm {
    fn all(found: Vec<SpO2AlarmEvent>, fs_hz: f64) -> Vec<Self> {
        found.into_iter().map(|inner| Self { inner, fs_hz }).collect()
    }
}

#[pymethods]
impl SpO2Alarm {
    #[getter]
    fn rule(&self) -> &'static str {
        self.inner.rule.name()
    }

    #[getter]
    fn raised(&self) -> bool {
        self.inner.raised
    }

    #[getter]
    fn onset_s(&self) -> f64 {
        self.inner.onset as f64 / self.fs_hz
    }

    #[getter]
    fn decided_s(&self) -> f64 {
        self.inner.decided as f64 / self.fs_hz
    }

    #[getter]
    fn evidence_first_s(&self) -> f64 {
        self.inner.evidence_first as f64 / self.fs_hz
    }

    #[getter]
    fn value(&self) -> f64 {
        self.inner.value
    }

    #[getter]
    fn limit(&self) -> f64 {
        self.inner.limit
    }

    fn __repr__(&self) -> String {
        format!(
            "SpO2Alarm(rule='{}', raised={}, onset_s={}, decided_s={}, value={}, limit={}, evidence_first_s={})",
            self.rule(),
            if self.raised() { "True" } else { "False" },
            self.onset_s(),
            self.decided_s(),
            self.value(),
            self.limit(),
            self.evidence_first_s(),
        )
    }
}

/// Indices of a stretch of SpO2; see `dataflows.detectors`.
#[pyclass(module = "dataflows._native", frozen, skip_from_py_object)]
#[derive(Clone)]
pub struct SpO2Indices {
    inner: oximetry::SpO2Indices,
}

#[pymethods]
impl SpO2Indices {
    #[getter]
    fn valid_h(&self) -> f64 {
        self.inner.valid_h
    }

    #[getter]
    fn events3(&self) -> u32 {
        self.inner.events[0]
    }

    #[getter]
    fn events4(&self) -> u32 {
        self.inner.events[1]
    }

    #[getter]
    fn odi3(&self) -> f64 {
        self.inner.odi[0]
    }

    #[getter]
    fn odi4(&self) -> f64 {
        self.inner.odi[1]
    }

    #[getter]
    fn t90_pct(&self) -> f64 {
        self.inner.time_below_pct[0]
    }

    #[getter]
    fn t88_pct(&self) -> f64 {
        self.inner.time_below_pct[1]
    }

    #[getter]
    fn t85_pct(&self) -> f64 {
        self.inner.time_below_pct[2]
    }

    #[getter]
    fn burden_pct_min_per_h(&self) -> f64 {
        self.inner.burden_pct_min_per_h
    }

    #[getter]
    fn mean_pct(&self) -> f64 {
        self.inner.mean_pct
    }

    #[getter]
    fn lowest_pct(&self) -> f64 {
        self.inner.lowest_pct
    }

    #[getter]
    fn comparable(&self) -> Option<bool> {
        self.inner.comparable
    }

    fn __repr__(&self) -> String {
        format!("{:?}", self.inner)
    }
}

fn series(
    fs_hz: f64,
    profile: &str,
    limits: Option<&Bound<'_, SpO2Limits>>,
    averaging_s: Option<f64>,
) -> PyResult<oximetry::SpO2Series> {
    let limits = limits.map(|limits| limits.get().inner).unwrap_or_default();
    oximetry::SpO2Series::new(fs_hz, Profile::of(profile).map_err(refuse)?, limits, averaging_s).map_err(refuse)
}

/// Desaturations, alarms and indices of one series; see `dataflows.detectors`.
#[pyclass(module = "dataflows._native")]
pub struct SpO2Series {
    inner: oximetry::SpO2Series,
}

impl SpO2Series {
    fn output(&self, found: SpO2Output) -> (Vec<Desaturation>, Vec<SpO2Alarm>) {
        let fs_hz = self.inner.fs_hz();
        (Desaturation::all(found.desaturations, fs_hz), SpO2Alarm::all(found.alarms, fs_hz))
    }
}

#[pymethods]
impl SpO2Series {
    #[new]
    #[pyo3(signature = (fs_hz = 1.0, *, profile = "standard", limits = None, averaging_s = None))]
    fn new(
        fs_hz: f64,
        profile: &str,
        limits: Option<&Bound<'_, SpO2Limits>>,
        averaging_s: Option<f64>,
    ) -> PyResult<Self> {
        Ok(Self { inner: series(fs_hz, profile, limits, averaging_s)? })
    }

    fn push(&mut self, py: Python<'_>, values: &Bound<'_, PyAny>) -> PyResult<(Vec<Desaturation>, Vec<SpO2Alarm>)> {
        let values = readings(values)?;
        let mut found = SpO2Output::default();
        py.detach(|| self.inner.push(&values, &mut found));
        Ok(self.output(found))
    }

    fn flush(&mut self) -> (Vec<Desaturation>, Vec<SpO2Alarm>) {
        let mut found = SpO2Output::default();
        self.inner.flush(&mut found);
        self.output(found)
    }

    fn night(&self) -> SpO2Indices {
        SpO2Indices { inner: self.inner.night() }
    }

    fn hour(&self) -> SpO2Indices {
        SpO2Indices { inner: self.inner.hour() }
    }

    fn begin_night(&mut self) {
        self.inner.begin_night();
    }

    fn set_limits(&mut self, limits: &Bound<'_, SpO2Limits>) -> PyResult<Vec<SpO2Alarm>> {
        let mut found = Vec::new();
        self.inner.set_limits(limits.get().inner, &mut found).map_err(refuse)?;
        Ok(SpO2Alarm::all(found, self.inner.fs_hz()))
    }

    fn snapshot<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.inner.snapshot())
    }

    #[classmethod]
    fn restore(_cls: &Bound<'_, PyType>, snapshot: &[u8]) -> PyResult<Self> {
        Ok(Self { inner: oximetry::SpO2Series::restore(snapshot).map_err(refuse)? })
    }

    #[getter]
    fn fs_hz(&self) -> f64 {
        self.inner.fs_hz()
    }

    #[getter]
    fn samples(&self) -> u64 {
        self.inner.samples()
    }
}

/// Many series of one rate; see `dataflows.detectors`.
#[pyclass(module = "dataflows._native")]
pub struct SpO2Bank {
    rows: Vec<oximetry::SpO2Series>,
}

type Rows<T> = Vec<(usize, T)>;

impl SpO2Bank {
    fn output(&self, found: Vec<SpO2Output>) -> (Rows<Desaturation>, Rows<SpO2Alarm>) {
        let (mut desaturations, mut alarms) = (Vec::new(), Vec::new());
        for (row, (found, series)) in found.into_iter().zip(&self.rows).enumerate() {
            let fs_hz = series.fs_hz();
            desaturations.extend(Desaturation::all(found.desaturations, fs_hz).into_iter().map(|event| (row, event)));
            alarms.extend(SpO2Alarm::all(found.alarms, fs_hz).into_iter().map(|alarm| (row, alarm)));
        }
        (desaturations, alarms)
    }
}

#[pymethods]
impl SpO2Bank {
    #[new]
    #[pyo3(signature = (rows, fs_hz = 1.0, *, profile = "standard", limits = None, averaging_s = None))]
    fn new(
        rows: usize,
        fs_hz: f64,
        profile: &str,
        limits: Option<&Bound<'_, SpO2Limits>>,
        averaging_s: Option<f64>,
    ) -> PyResult<Self> {
        let one = series(fs_hz, profile, limits, averaging_s)?;
        Ok(Self { rows: vec![one; rows] })
    }

    fn __len__(&self) -> usize {
        self.rows.len()
    }

    fn push(
        &mut self,
        py: Python<'_>,
        values: &Bound<'_, PyArray2<f64>>,
    ) -> PyResult<(Rows<Desaturation>, Rows<SpO2Alarm>)> {
        let values = values.readonly();
        let values = values.as_array();
        if values.nrows() != self.rows.len() {
            let text = format!("a bank of {} series takes as many rows, not {}", self.rows.len(), values.nrows());
            return Err(refuse(text));
        }
        let mut found = vec![SpO2Output::default(); self.rows.len()];
        py.detach(|| {
            let mut copy = Vec::new();
            for ((series, values), found) in self.rows.iter_mut().zip(values.rows()).zip(&mut found) {
                if let Some(values) = values.as_slice() {
                    series.push(values, found);
                } else {
                    copy.clear();
                    copy.extend(values.iter());
                    series.push(&copy, found);
                }
            }
        });
        Ok(self.output(found))
    }

    fn flush(&mut self) -> (Rows<Desaturation>, Rows<SpO2Alarm>) {
        let mut found = vec![SpO2Output::default(); self.rows.len()];
        for (series, found) in self.rows.iter_mut().zip(&mut found) {
            series.flush(found);
        }
        self.output(found)
    }

    fn night(&self) -> Vec<SpO2Indices> {
        self.rows.iter().map(|series| SpO2Indices { inner: series.night() }).collect()
    }

    fn hour(&self) -> Vec<SpO2Indices> {
        self.rows.iter().map(|series| SpO2Indices { inner: series.hour() }).collect()
    }

    /// Snapshot of one row, which `SpO2Series.restore` and `replace` take.
    fn snapshot<'py>(&self, py: Python<'py>, row: usize) -> PyResult<Bound<'py, PyBytes>> {
        let series = self.rows.get(row).ok_or_else(|| pyo3::exceptions::PyIndexError::new_err("no such row"))?;
        Ok(PyBytes::new(py, &series.snapshot()))
    }

    /// Puts a series back into its row.
    fn replace(&mut self, row: usize, snapshot: &[u8]) -> PyResult<()> {
        let place = self.rows.get_mut(row).ok_or_else(|| pyo3::exceptions::PyIndexError::new_err("no such row"))?;
        let series = oximetry::SpO2Series::restore(snapshot).map_err(refuse)?;
        if series.fs_hz() != place.fs_hz() {
            return Err(refuse(format!("a bank of {} Hz takes no series of {} Hz", place.fs_hz(), series.fs_hz())));
        }
        *place = series;
        Ok(())
    }
}
