//! Binding of `crate::ecg`.

use numpy::{PyArray1, PyArrayDescrMethods, PyArrayMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::{PyIndexError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::ecg::{BankOutput, Beat, LeadOutput, QrsBank, QrsDetector};

/// Adds this concern's classes and functions.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyQrsDetector>()?;
    module.add_class::<PyLeadOutput>()?;
    module.add_class::<PyQrsBank>()?;
    module.add_class::<PyBankOutput>()
}

fn value_error(error: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// Samples of one of the three accepted kinds.
enum Samples {
    Int16(Vec<i16>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
}

impl Samples {
    fn from_python(samples: &Bound<'_, PyAny>) -> PyResult<Self> {
        let array = samples
            .cast::<PyUntypedArray>()
            .map_err(|_| PyTypeError::new_err("samples must be a NumPy array of int16, float32 or float64"))?;
        if array.ndim() != 1 {
            let text = format!("samples must be one-dimensional, not of {} dimensions", array.ndim());
            return Err(PyValueError::new_err(text));
        }
        if let Ok(array) = array.cast::<PyArray1<i16>>() {
            return Ok(Self::Int16(array.readonly().as_array().to_vec()));
        }
        if let Ok(array) = array.cast::<PyArray1<f32>>() {
            return Ok(Self::Float32(array.readonly().as_array().to_vec()));
        }
        if let Ok(array) = array.cast::<PyArray1<f64>>() {
            return Ok(Self::Float64(array.readonly().as_array().to_vec()));
        }
        let text = format!("samples must be native int16, float32 or float64, not {}", array.dtype().typeobj());
        Err(PyTypeError::new_err(text))
    }

    fn push(&self, detector: &mut QrsDetector, out: &mut LeadOutput) {
        match self {
            Self::Int16(samples) => detector.push_i16(samples, out),
            Self::Float32(samples) => detector.push_f32(samples, out),
            Self::Float64(samples) => detector.push_f64(samples, out),
        }
    }
}

/// Beats and quality of one push, as arrays.
#[pyclass(name = "LeadOutput", module = "dataflows._native", frozen)]
struct PyLeadOutput(LeadOutput);

impl PyLeadOutput {
    fn beats<'py, T: numpy::Element>(&self, py: Python<'py>, field: impl Fn(&Beat) -> T) -> Bound<'py, PyArray1<T>> {
        PyArray1::from_iter(py, self.0.beats.iter().map(field))
    }
}

#[pymethods]
impl PyLeadOutput {
    #[getter]
    fn sample<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i64>> {
        self.beats(py, |beat| beat.sample as i64)
    }

    #[getter]
    fn confidence<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f32>> {
        self.beats(py, |beat| beat.confidence)
    }

    #[getter]
    fn label<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<u8>> {
        self.beats(py, |beat| beat.label as u8)
    }

    #[getter]
    fn late<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<bool>> {
        self.beats(py, |beat| beat.late)
    }

    #[getter]
    fn quality_sample<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i64>> {
        PyArray1::from_iter(py, self.0.quality.iter().map(|second| second.first_sample as i64))
    }

    #[getter]
    fn quality<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f32>> {
        PyArray1::from_iter(py, self.0.quality.iter().map(|second| second.quality))
    }

    #[getter]
    fn reasons<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<u8>> {
        PyArray1::from_iter(py, self.0.quality.iter().map(|second| second.reasons))
    }
}

#[pyclass(name = "QrsDetector", module = "dataflows._native")]
struct PyQrsDetector {
    detector: QrsDetector,
    out: LeadOutput,
}

impl PyQrsDetector {
    fn indices<'py>(&mut self, py: Python<'py>) -> Bound<'py, PyArray1<i64>> {
        let indices = PyArray1::from_iter(py, self.out.beats.iter().map(|beat| beat.sample as i64));
        self.out.clear();
        indices
    }

    fn taken(&mut self) -> PyLeadOutput {
        PyLeadOutput(std::mem::take(&mut self.out))
    }
}

#[pymethods]
impl PyQrsDetector {
    #[new]
    fn new(fs_hz: f64) -> PyResult<Self> {
        Ok(Self { detector: QrsDetector::new(fs_hz).map_err(value_error)?, out: LeadOutput::default() })
    }

    #[getter]
    fn fs_hz(&self) -> f64 {
        self.detector.fs_hz()
    }

    #[getter]
    fn samples(&self) -> u64 {
        self.detector.samples()
    }

    #[getter]
    fn certain_until(&self) -> u64 {
        self.detector.certain_until()
    }

    fn push<'py>(&mut self, samples: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyArray1<i64>>> {
        Samples::from_python(samples)?.push(&mut self.detector, &mut self.out);
        Ok(self.indices(samples.py()))
    }

    fn push_full(&mut self, samples: &Bound<'_, PyAny>) -> PyResult<PyLeadOutput> {
        Samples::from_python(samples)?.push(&mut self.detector, &mut self.out);
        Ok(self.taken())
    }

    fn flush<'py>(&mut self, py: Python<'py>) -> Bound<'py, PyArray1<i64>> {
        self.detector.flush(&mut self.out);
        self.indices(py)
    }

    fn flush_full(&mut self) -> PyLeadOutput {
        self.detector.flush(&mut self.out);
        self.taken()
    }

    fn gap<'py>(&mut self, py: Python<'py>, n_samples: i64) -> PyResult<Bound<'py, PyArray1<i64>>> {
        self.lose(n_samples)?;
        Ok(self.indices(py))
    }

    fn gap_full(&mut self, n_samples: i64) -> PyResult<PyLeadOutput> {
        self.lose(n_samples)?;
        Ok(self.taken())
    }

    fn snapshot<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.detector.snapshot())
    }

    #[staticmethod]
    fn restore(snapshot: &[u8]) -> PyResult<Self> {
        Ok(Self { detector: QrsDetector::restore(snapshot).map_err(value_error)?, out: LeadOutput::default() })
    }
}

impl PyQrsDetector {
    fn lose(&mut self, n_samples: i64) -> PyResult<()> {
        let count = u64::try_from(n_samples)
            .map_err(|_| PyValueError::new_err(format!("n_samples must not be negative, but is {n_samples}")))?;
        self.detector.gap(count, &mut self.out);
        Ok(())
    }
}

/// Beats and quality of one push of a bank, as arrays.
#[pyclass(name = "BankOutput", module = "dataflows._native", frozen)]
struct PyBankOutput(BankOutput);

impl PyBankOutput {
    fn beats<'py, T: numpy::Element>(
        &self,
        py: Python<'py>,
        field: impl Fn(&(u32, Beat)) -> T,
    ) -> Bound<'py, PyArray1<T>> {
        PyArray1::from_iter(py, self.0.beats.iter().map(field))
    }
}

#[pymethods]
impl PyBankOutput {
    #[getter]
    fn lead<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i64>> {
        self.beats(py, |(lead, _)| i64::from(*lead))
    }

    #[getter]
    fn sample<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i64>> {
        self.beats(py, |(_, beat)| beat.sample as i64)
    }

    #[getter]
    fn confidence<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f32>> {
        self.beats(py, |(_, beat)| beat.confidence)
    }

    #[getter]
    fn label<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<u8>> {
        self.beats(py, |(_, beat)| beat.label as u8)
    }

    #[getter]
    fn late<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<bool>> {
        self.beats(py, |(_, beat)| beat.late)
    }

    #[getter]
    fn quality_lead<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i64>> {
        PyArray1::from_iter(py, self.0.quality.iter().map(|(lead, _)| i64::from(*lead)))
    }

    #[getter]
    fn quality_sample<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i64>> {
        PyArray1::from_iter(py, self.0.quality.iter().map(|(_, second)| second.first_sample as i64))
    }

    #[getter]
    fn quality<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f32>> {
        PyArray1::from_iter(py, self.0.quality.iter().map(|(_, second)| second.quality))
    }

    #[getter]
    fn reasons<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<u8>> {
        PyArray1::from_iter(py, self.0.quality.iter().map(|(_, second)| second.reasons))
    }
}

#[pyclass(name = "QrsBank", module = "dataflows._native")]
struct PyQrsBank(QrsBank);

#[pymethods]
impl PyQrsBank {
    #[new]
    fn new(fs_hz: f64, count: usize) -> PyResult<Self> {
        Ok(Self(QrsBank::new(fs_hz, count).map_err(value_error)?))
    }

    fn __len__(&self) -> usize {
        self.0.leads().len()
    }

    fn push(
        &mut self,
        py: Python<'_>,
        samples: &Bound<'_, PyAny>,
        offsets: &Bound<'_, PyAny>,
    ) -> PyResult<PyBankOutput> {
        let samples = samples
            .cast::<PyArray1<i16>>()
            .map_err(|_| PyTypeError::new_err("samples must be a one-dimensional int16 array"))?
            .readonly();
        let samples = samples.as_slice().map_err(|_| PyValueError::new_err("samples must be contiguous"))?;
        let offsets = offsets
            .cast::<PyArray1<i64>>()
            .map_err(|_| PyTypeError::new_err("offsets must be a one-dimensional int64 array"))?
            .readonly();
        let offsets = offsets.as_slice().map_err(|_| PyValueError::new_err("offsets must be contiguous"))?;
        let inside = |&offset: &i64| (0..=samples.len() as i64).contains(&offset);
        if offsets.len() != self.0.leads().len() + 1 || !offsets.is_sorted() || !offsets.iter().all(inside) {
            let text = "offsets must be one more than the leads, ascending, and within the samples";
            return Err(PyValueError::new_err(text));
        }
        let bank = &mut self.0;
        Ok(PyBankOutput(py.detach(|| {
            let mut out = BankOutput::default();
            bank.push_i16(|lead| &samples[offsets[lead] as usize..offsets[lead + 1] as usize], &mut out);
            out
        })))
    }

    fn flush(&mut self, py: Python<'_>) -> PyBankOutput {
        let bank = &mut self.0;
        PyBankOutput(py.detach(|| {
            let mut out = BankOutput::default();
            bank.flush(&mut out);
            out
        }))
    }

    fn snapshot<'py>(&self, py: Python<'py>, lead: usize) -> PyResult<Bound<'py, PyBytes>> {
        let detector = self.0.leads().get(lead).ok_or_else(|| PyIndexError::new_err("no such lead"))?;
        Ok(PyBytes::new(py, &detector.snapshot()))
    }

    fn restore(&mut self, lead: usize, snapshot: &[u8]) -> PyResult<()> {
        let place = self.0.leads_mut().get_mut(lead).ok_or_else(|| PyIndexError::new_err("no such lead"))?;
        let detector = QrsDetector::restore(snapshot).map_err(value_error)?;
        if detector.fs_hz().to_bits() != place.fs_hz().to_bits() {
            let text = format!("the bank runs at {} Hz, the snapshot at {} Hz", place.fs_hz(), detector.fs_hz());
            return Err(PyValueError::new_err(text));
        }
        *place = detector;
        Ok(())
    }
}
