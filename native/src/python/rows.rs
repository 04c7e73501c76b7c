//! Rows of the database as tuples, in the column order of `dataflows.contracts.tables`.

use numpy::PyArray1;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::signals::{
    BeatRow, ClockRow, DerivedRow, DesaturationRow, LateRow, LedgerRow, ObservationRow, Observed, Origin, QualityRow,
    WaveRow, WithheldRow,
};
use crate::wire::{facts_of, ucum};

/// Builds row tuples; the names of tenant and patient are made once per list.
pub struct Names<'py> {
    pub py: Python<'py>,
    pub tenant: Py<PyAny>,
    pub patient: Py<PyAny>,
}

impl<'py> Names<'py> {
    fn row<T>(&self, ts: i64, origin: &Origin, rest: T) -> PyResult<Bound<'py, PyTuple>>
    where
        T: IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>, Error = PyErr>,
    {
        let py = self.py;
        let frame = (ts, &self.tenant, &self.patient, &*origin.device, origin.boot, origin.signal, origin.seq);
        let (frame, rest) = (frame.into_pyobject(py)?, rest.into_pyobject(py)?);
        Ok(frame.as_sequence().concat(rest.as_sequence())?.cast_into::<PyTuple>()?)
    }

    /// A row of `waveforms`.
    pub fn waveform(&self, row: &WaveRow) -> PyResult<Bound<'py, PyTuple>> {
        let lsb = row.wave.lsb;
        let physical = |count| if count == i16::MIN { f64::NAN } else { f64::from(count) * lsb };
        let samples: Vec<f64> = row.wave.counts().map(physical).collect();
        let samples = PyArray1::from_vec(self.py, samples);
        let fs_hz = f64::from(row.wave.fs_mhz) / 1000.0;
        let rest = (fs_hz, lsb, row.wave.status, row.stored, row.first_sample, samples, row.device_ns, row.log_ns);
        self.row(row.ts, &row.origin, rest)
    }

    /// A row of `beats`.
    pub fn beat(&self, row: &BeatRow) -> PyResult<Bound<'py, PyTuple>> {
        let rest = (row.sample, "qrs", null_nan(row.rr_ms), f64::from(row.confidence), row.label, row.log_ns);
        self.row(row.ts, &row.origin, rest)
    }

    /// A row of `desaturations`.
    pub fn desaturation(&self, row: &DesaturationRow) -> PyResult<Bound<'py, PyTuple>> {
        let rest = (row.kind, "zigzag", row.nadir_ns, row.end_ns, row.baseline, row.nadir, row.drop, row.log_ns);
        self.row(row.ts, &row.origin, rest)
    }

    /// A row of `quality`.
    pub fn quality(&self, row: &QualityRow) -> PyResult<Bound<'py, PyTuple>> {
        self.row(row.ts, &row.origin, (row.reason, row.value, row.first_sample, row.samples, row.log_ns))
    }

    /// A row of `ledger`.
    pub fn ledger(&self, row: &LedgerRow) -> PyResult<Bound<'py, PyTuple>> {
        let [stored, late, duplicate, rejected] = row.counts;
        let received = stored + late + duplicate + rejected;
        self.row(row.ts, &row.origin, (received, stored, late, duplicate, rejected, row.ts))
    }

    /// A row of `clock_segments`.
    pub fn clock_segment(&self, row: &ClockRow) -> PyResult<Bound<'py, PyTuple>> {
        let drift_ppm = null_nan(row.drift_ppm);
        let rest = (row.first_sample, row.offset_ns, row.reason, row.uncertainty_ns, drift_ppm, row.log_ns);
        self.row(row.ts, &row.origin, rest)
    }

    /// A row of `derived`.
    pub fn derived(&self, row: &DerivedRow) -> PyResult<Bound<'py, PyTuple>> {
        let (value, quality) = (null_nan(row.value), null_nan(row.quality));
        let rest = (row.code, row.scope, value, row.unit, row.window_s, quality, row.log_ns);
        self.row(row.ts, &row.origin, rest)
    }

    /// A row of `withheld`.
    pub fn withheld(&self, row: &WithheldRow) -> PyResult<Bound<'py, PyTuple>> {
        let found = &row.found;
        let facts: Vec<String> = row.evidence.named().map(|(name, value)| format!("{name} {value:.2}")).collect();
        let rest = (found.rule, row.witness.as_str(), found.value, found.limit, facts.join(", "), found.log_ns);
        self.row(found.onset_ns, &found.origin, rest)
    }

    /// A row of `late_frames`.
    pub fn late_frame(&self, row: &LateRow) -> PyResult<Bound<'py, PyTuple>> {
        self.row(row.ts, &row.origin, (row.reason, row.lag_ms, row.log_ns, row.log_seq))
    }

    /// A row of `observations`.
    pub fn observation(&self, row: &ObservationRow) -> PyResult<Bound<'py, PyTuple>> {
        match &row.value {
            Observed::Reading(reading) => {
                let name = facts_of(reading.code).map_or("", |facts| facts.name);
                let quality = (reading.quality_pct > 0).then_some(reading.quality_pct);
                let head = (name, null_nan(reading.value), ucum(reading.unit), quality, reading.status);
                self.observed(row, head, reading.suspect, reading.device_ns)
            }
            Observed::Answer { code, value, device_ns } => {
                self.observed(row, (code.as_str(), Some(*value), "1", None, 0), false, *device_ns)
            }
        }
    }

    fn observed(
        &self,
        row: &ObservationRow,
        (code, value, unit, quality, status): (&str, Option<f64>, &str, Option<u32>, u32),
        suspect: bool,
        device_ns: i64,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let averaging_s = (row.averaging_s > 0.0).then_some(f64::from(row.averaging_s));
        let rest = (
            code,
            value,
            unit,
            quality,
            status,
            suspect,
            row.stored,
            averaging_s,
            row.first_sample,
            device_ns,
            row.log_ns,
        );
        self.row(row.ts, &row.origin, rest)
    }
}

/// The database's null stands for "not known".
fn null_nan(value: f64) -> Option<f64> {
    (!value.is_nan()).then_some(value)
}
