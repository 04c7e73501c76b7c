//! Binding of `crate::wire`.

use bytes::Bytes;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::wire::{self, Raw, RawMessage, Reason, Validator as Rules};

/// Raw messages and ticks of one patient in log order.
#[pyclass(module = "dataflows._native", frozen)]
pub struct Messages {
    pub items: Vec<Raw>,
}

/// (subject, `log_seq`, `log_ns`, payload); a tick has an empty subject and no payload, a hole in the log an empty
/// subject and the log time before it as eight bytes, little-endian.
type Entry<'py> = (Vec<u8>, u64, i64, Bound<'py, PyBytes>);

fn entry_of<'py>(py: Python<'py>, message: &RawMessage) -> Entry<'py> {
    (message.subject.to_vec(), message.log_seq, message.log_ns, PyBytes::new(py, &message.payload))
}

fn tick_entry(py: Python<'_>, log_seq: u64, log_ns: i64) -> Entry<'_> {
    (Vec::new(), log_seq, log_ns, PyBytes::new(py, b""))
}

fn hole_entry(py: Python<'_>, log_seq: u64, log_ns: i64, since_ns: i64) -> Entry<'_> {
    (Vec::new(), log_seq, log_ns, PyBytes::new(py, &since_ns.to_le_bytes()))
}

fn raws(entries: Vec<Entry<'_>>) -> Vec<Raw> {
    let raw = |(subject, log_seq, log_ns, payload): Entry<'_>| {
        if subject.is_empty() {
            return match payload.as_bytes().try_into().map(i64::from_le_bytes) {
                Ok(since_ns) => Raw::Hole { log_seq, since_ns, log_ns },
                Err(_) => Raw::Tick { log_seq, log_ns },
            };
        }
        let payload = Bytes::copy_from_slice(payload.as_bytes());
        Raw::Message(RawMessage { subject: subject.into(), payload, log_seq, log_ns })
    };
    entries.into_iter().map(raw).collect()
}

#[pymethods]
impl Messages {
    /// Builds a list by hand, as tests and file runners do.
    #[staticmethod]
    fn build(entries: Vec<Entry<'_>>) -> Self {
        Self { items: raws(entries) }
    }

    /// The list as `build` takes it.
    fn entries<'py>(&self, py: Python<'py>) -> Vec<Entry<'py>> {
        let entry = |raw: &Raw| match raw {
            Raw::Message(message) => entry_of(py, message),
            Raw::Tick { log_seq, log_ns } => tick_entry(py, *log_seq, *log_ns),
            Raw::Hole { log_seq, since_ns, log_ns } => hole_entry(py, *log_seq, *log_ns, *since_ns),
        };
        self.items.iter().map(entry).collect()
    }

    fn __len__(&self) -> usize {
        self.items.len()
    }

    /// How many of them are messages, neither ticks nor holes.
    #[getter]
    fn received(&self) -> usize {
        self.items.iter().filter(|raw| matches!(raw, Raw::Message(_))).count()
    }

    /// Pickling, for the way to another process of the cluster.
    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let build = slf.get_type().getattr("build")?;
        let arguments = PyTuple::new(slf.py(), [slf.get().entries(slf.py())])?;
        Ok((build, arguments))
    }
}

/// Frames, commands and ticks of one patient that passed the validator, in log order.
#[pyclass(module = "dataflows._native", frozen)]
pub struct Items {
    /// Organisation.
    #[pyo3(get)]
    pub tenant: String,
    /// Patient.
    #[pyo3(get)]
    pub patient: String,
    pub list: Vec<wire::Item>,
}

#[pymethods]
impl Items {
    fn __len__(&self) -> usize {
        self.list.len()
    }

    /// How many of them are commands.
    #[getter]
    fn commands(&self) -> usize {
        self.list.iter().filter(|item| matches!(item, wire::Item::Command(..))).count()
    }

    /// The list without waves, for whoever needs readings alone and not the cost of detectors.
    fn without_waves(&self) -> Self {
        let is_wave = |item: &&wire::Item| matches!(item, wire::Item::Frame(frame, _) if matches!(frame.body, wire::Body::Wave(_)));
        let list = self.list.iter().filter(|item| !is_wave(item)).cloned().collect();
        Self { tenant: self.tenant.clone(), patient: self.patient.clone(), list }
    }

    /// The list cut before item `at`, for tests of invariance.
    fn split(&self, at: usize) -> (Self, Self) {
        let (head, tail) = self.list.split_at(at.min(self.list.len()));
        let part = |items: &[wire::Item]| Self {
            tenant: self.tenant.clone(),
            patient: self.patient.clone(),
            list: items.to_vec(),
        };
        (part(head), part(tail))
    }

    #[staticmethod]
    fn _rebuild(tenant: String, patient: String, entries: Vec<Entry<'_>>) -> Self {
        // What passed once passes again: the validator without bounds on time only decodes.
        let lenient = Rules { max_ahead_ns: i64::MAX, keep_waves_ns: i64::MAX, keep_rows_ns: i64::MAX, models: true };
        let mut items = Vec::new();
        lenient.check(&raws(entries), &mut items, &mut Vec::new());
        Self { tenant, patient, list: items }
    }

    /// Pickling, for the way to another process of the cluster.
    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let py = slf.py();
        let this = slf.get();
        let entry = |item: &wire::Item| match item {
            wire::Item::Frame(_, raw) | wire::Item::Command(_, raw) => entry_of(py, raw),
            wire::Item::Tick { log_seq, log_ns } => tick_entry(py, *log_seq, *log_ns),
            wire::Item::Hole { log_seq, since_ns, log_ns } => hole_entry(py, *log_seq, *log_ns, *since_ns),
        };
        let entries: Vec<_> = this.list.iter().map(entry).collect();
        let arguments = (this.tenant.as_str(), this.patient.as_str(), entries).into_pyobject(py)?;
        Ok((slf.get_type().getattr("_rebuild")?, arguments))
    }
}

/// A message that could not be taken.
#[pyclass(module = "dataflows._native", frozen, get_all)]
pub struct Reject {
    /// Stable name of the reason.
    reason: &'static str,
    /// What exactly, in words.
    detail: String,
    /// Subject as stored.
    subject: String,
    /// Sequence in the stream.
    log_seq: u64,
    /// Log time, ns.
    log_ns: i64,
    /// Original bytes.
    payload: Vec<u8>,
}

impl From<&wire::Reject> for Reject {
    fn from(reject: &wire::Reject) -> Self {
        Self {
            reason: reject.reason.name(),
            detail: reject.detail.clone(),
            subject: String::from_utf8_lossy(&reject.raw.subject).into_owned(),
            log_seq: reject.raw.log_seq,
            log_ns: reject.raw.log_ns,
            payload: reject.raw.payload.to_vec(),
        }
    }
}

#[pymethods]
impl Reject {
    fn __repr__(&self) -> String {
        format!("Reject({}: {}, log_seq={}, subject={})", self.reason, self.detail, self.log_seq, self.subject)
    }
}

/// A command of a person or program.
#[pyclass(module = "dataflows._native", frozen, get_all)]
pub struct Command {
    name: String,
    actor: String,
    idempotency_key: String,
    argument_json: String,
    log_seq: u64,
    log_ns: i64,
}

impl From<&wire::Command> for Command {
    fn from(command: &wire::Command) -> Self {
        Self {
            name: command.name.clone(),
            actor: command.actor.clone(),
            idempotency_key: command.idempotency_key.clone(),
            argument_json: command.argument_json.clone(),
            log_seq: command.log_seq,
            log_ns: command.log_ns,
        }
    }
}

/// The validator of the wire contract; gateways and the device check ask the same one as the flow.
#[pyclass(module = "dataflows._native", frozen)]
pub struct Validator {
    rules: Rules,
}

#[pymethods]
impl Validator {
    #[new]
    #[pyo3(signature = (*, max_ahead_s = 300.0, keep_waves_h = 72.0, keep_rows_h = 2160.0, models = true))]
    fn new(max_ahead_s: f64, keep_waves_h: f64, keep_rows_h: f64, models: bool) -> PyResult<Self> {
        let ns = |name: &str, value: f64, unit_ns: f64| {
            let ns = value * unit_ns;
            if value > 0.0 && ns < 9e18 {
                Ok(ns as i64)
            } else {
                Err(PyValueError::new_err(format!("{name} must be positive and below 290 years, not {value}")))
            }
        };
        Ok(Self {
            rules: Rules {
                max_ahead_ns: ns("max_ahead_s", max_ahead_s, 1e9)?,
                keep_waves_ns: ns("keep_waves_h", keep_waves_h, 3.6e12)?,
                keep_rows_ns: ns("keep_rows_h", keep_rows_h, 3.6e12)?,
                models,
            },
        })
    }

    /// Checks the messages of the patient `tenant/patient`: what passed, in log order, and what was refused.
    fn check(&self, py: Python<'_>, key: &str, messages: &Messages) -> (Items, Vec<Reject>) {
        let (mut items, mut rejects) = (Vec::with_capacity(messages.items.len()), Vec::new());
        py.detach(|| self.rules.check(&messages.items, &mut items, &mut rejects));
        let (tenant, patient) = key.split_once('/').unwrap_or(("", key));
        let checked = Items { tenant: tenant.to_owned(), patient: patient.to_owned(), list: items };
        (checked, rejects.iter().map(Reject::from).collect())
    }
}

/// Every rejection reason: (name, one sentence).
#[pyfunction]
fn rejection_reasons() -> Vec<(&'static str, &'static str)> {
    Reason::ALL.iter().map(|reason| (reason.name(), reason.text())).collect()
}

/// Adds this concern's classes and functions.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Messages>()?;
    module.add_class::<Items>()?;
    module.add_class::<Reject>()?;
    module.add_class::<Command>()?;
    module.add_class::<Validator>()?;
    module.add_function(wrap_pyfunction!(rejection_reasons, module)?)
}
