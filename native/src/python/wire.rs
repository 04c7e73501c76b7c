//! Binding of `crate::wire`.

use bytes::Bytes;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::wire::{Raw, RawMessage};

/// Raw messages and ticks of one patient in log order.
#[pyclass(module = "dataflows._native", frozen, sequence)]
pub struct Messages {
    pub items: Vec<Raw>,
}

/// (subject, `log_seq`, `log_ns`, payload); a tick has an empty subject.
type Entry<'py> = (Vec<u8>, u64, i64, Bound<'py, PyBytes>);

#[pymethods]
impl Messages {
    /// Builds a list by hand, as tests and file runners do.
    #[staticmethod]
    fn build(entries: Vec<Entry<'_>>) -> Self {
        let items = entries
            .into_iter()
            .map(|(subject, log_seq, log_ns, payload)| {
                if subject.is_empty() {
                    return Raw::Tick { log_seq, log_ns };
                }
                let payload = Bytes::copy_from_slice(payload.as_bytes());
                Raw::Message(RawMessage { subject: subject.into(), payload, log_seq, log_ns })
            })
            .collect();
        Self { items }
    }

    /// The list as `build` takes it.
    fn entries<'py>(&self, py: Python<'py>) -> Vec<Entry<'py>> {
        let entry = |raw: &Raw| match raw {
            Raw::Message(message) => {
                let payload = PyBytes::new(py, &message.payload);
                (message.subject.to_vec(), message.log_seq, message.log_ns, payload)
            }
            Raw::Tick { log_seq, log_ns } => (Vec::new(), *log_seq, *log_ns, PyBytes::new(py, b"")),
        };
        self.items.iter().map(entry).collect()
    }

    fn __len__(&self) -> usize {
        self.items.len()
    }

    /// Pickling, for the way to another process of the cluster.
    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let build = slf.get_type().getattr("build")?;
        let arguments = PyTuple::new(slf.py(), [slf.get().entries(slf.py())])?;
        Ok((build, arguments))
    }
}

/// Adds this concern's classes and functions.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Messages>()
}
