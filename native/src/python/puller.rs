//! Binding of `crate::puller`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use pyo3::{create_exception, prelude::PyErr};

use super::wire::Messages;
use crate::puller::{self, Options, Outgoing, PullerError, Start};

create_exception!(
    dataflows._native,
    JetStreamError,
    PyRuntimeError,
    "The log or a stream cannot be read or written any further; the flow starts anew from its recovery state."
);
create_exception!(
    dataflows._native,
    LostRangeError,
    JetStreamError,
    "The stream no longer holds the position of the flow; says which messages are lost."
);
create_exception!(
    dataflows._native,
    PublishError,
    JetStreamError,
    "A message was refused or not acknowledged in time."
);
create_exception!(
    dataflows._native,
    FencedError,
    PublishError,
    "A message was refused because its fence is not the last one: another writer has taken its place."
);

impl From<PullerError> for PyErr {
    fn from(error: PullerError) -> Self {
        let words = error.to_string();
        match error {
            PullerError::Broken(_) | PullerError::Disconnected(_) => JetStreamError::new_err(words),
            PullerError::LostRange(_) => LostRangeError::new_err(words),
            PullerError::Publish(_) => PublishError::new_err(words),
            PullerError::Fenced(_) => FencedError::new_err(words),
            PullerError::State(_) => PyValueError::new_err(words),
        }
    }
}

/// Where NATS is and how to get in.
#[pyclass(module = "dataflows._native", frozen)]
pub struct NatsOptions(Options);

#[pymethods]
impl NatsOptions {
    #[new]
    #[pyo3(signature = (url, *, name="vitals", timeout_s=5.0, credentials=None, user=None, password=None, tls_ca=None, tls_cert=None, tls_key=None, inbox_prefix=None))]
    #[allow(clippy::too_many_arguments)] // the settings of a connection, by keyword
    fn new(
        url: String,
        name: &str,
        timeout_s: f64,
        credentials: Option<PathBuf>,
        user: Option<String>,
        password: Option<String>,
        tls_ca: Option<PathBuf>,
        tls_cert: Option<PathBuf>,
        tls_key: Option<PathBuf>,
        inbox_prefix: Option<String>,
    ) -> PyResult<Self> {
        let timeout = seconds("timeout_s", timeout_s)?;
        let name = name.to_owned();
        Ok(Self(Options { url, credentials, user, password, tls_ca, tls_cert, tls_key, timeout, name, inbox_prefix }))
    }
}

fn seconds(name: &str, value: f64) -> PyResult<Duration> {
    match Duration::try_from_secs_f64(value) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(PyValueError::new_err(format!("{name} must be a positive number of seconds, got {value}"))),
    }
}

fn closed() -> PyErr {
    JetStreamError::new_err("already closed")
}

/// Reads one partition of the log.
#[pyclass(module = "dataflows._native", frozen)]
pub struct Puller(Mutex<Option<puller::Puller>>);

impl Puller {
    fn with<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut puller::Puller) -> Result<T, PullerError> + Send,
    ) -> PyResult<T> {
        py.detach(|| {
            let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            guard.as_mut().map(work)
        })
        .ok_or_else(closed)?
        .map_err(PyErr::from)
    }
}

#[pymethods]
impl Puller {
    #[new]
    #[pyo3(signature = (options, stream, partition, partitions, *, state=None, start_seq=0, until_seq=u64::MAX, roster_h=24.0, heartbeat_s=2.0, buffer_messages=8192, buffer_bytes=16_777_216))]
    #[allow(clippy::too_many_arguments)] // by keyword
    fn new(
        py: Python<'_>,
        options: &NatsOptions,
        stream: String,
        partition: u32,
        partitions: u32,
        state: Option<Vec<u8>>,
        start_seq: u64,
        until_seq: u64,
        roster_h: f64,
        heartbeat_s: f64,
        buffer_messages: usize,
        buffer_bytes: usize,
    ) -> PyResult<Self> {
        // The client's own queue of a subscription has room for 65,536 and drops what is more.
        if !(1..=60_000).contains(&buffer_messages) {
            return Err(PyValueError::new_err(format!("buffer_messages must be 1 to 60000, got {buffer_messages}")));
        }
        if !(roster_h > 0.0 && roster_h <= 1e6) {
            return Err(PyValueError::new_err(format!("roster_h must be a positive number of hours, got {roster_h}")));
        }
        let heartbeat = seconds("heartbeat_s", heartbeat_s)?;
        let roster_h = roster_h.ceil() as u32;
        let start = Start {
            stream,
            partition,
            partitions,
            state,
            start_seq,
            until_seq,
            roster_h,
            heartbeat,
            buffer_messages,
            buffer_bytes,
        };
        let puller = py.detach(|| puller::Puller::open(&options.0, start))?;
        Ok(Self(Mutex::new(Some(puller))))
    }

    fn poll<'py>(
        &self,
        py: Python<'py>,
        max_messages: usize,
    ) -> PyResult<Vec<(Bound<'py, PyString>, Bound<'py, Messages>)>> {
        let batch = self.with(py, |puller| puller.poll(max_messages))?;
        let group = |(key, items): (String, _)| Ok((PyString::new(py, &key), Bound::new(py, Messages { items })?));
        batch.into_iter().map(group).collect()
    }

    fn snapshot<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        self.with(py, |puller| Ok(puller.snapshot())).map(|bytes| PyBytes::new(py, &bytes))
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| {
            if let Some(puller) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
                puller.close();
            }
        });
    }

    #[getter]
    fn next_seq(&self, py: Python<'_>) -> PyResult<u64> {
        self.with(py, |puller| Ok(puller.next_seq()))
    }

    #[getter]
    fn last_seq(&self, py: Python<'_>) -> PyResult<u64> {
        self.with(py, |puller| Ok(puller.next_seq() - 1))
    }

    #[getter]
    fn log_ns(&self, py: Python<'_>) -> PyResult<i64> {
        self.with(py, |puller| Ok(puller.log_ns()))
    }

    #[getter]
    fn pending(&self, py: Python<'_>) -> PyResult<u64> {
        self.with(py, |puller| Ok(puller.pending()))
    }

    #[getter]
    fn lag_s(&self, py: Python<'_>) -> PyResult<f64> {
        self.with(py, |puller| Ok(puller.lag_s()))
    }

    #[getter]
    fn roster_size(&self, py: Python<'_>) -> PyResult<usize> {
        self.with(py, |puller| Ok(puller.roster_len()))
    }
}

/// Appends to streams and reads back what they hold.
#[pyclass(module = "dataflows._native", frozen)]
pub struct Publisher(Mutex<Option<puller::Publisher>>);

impl Publisher {
    fn with<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&puller::Publisher) -> Result<T, PullerError> + Send,
    ) -> PyResult<T> {
        py.detach(|| {
            let guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            guard.as_ref().map(work)
        })
        .ok_or_else(closed)?
        .map_err(PyErr::from)
    }
}

/// (subject, headers, payload); headers are pairs or a mapping.
type OutgoingEntry<'py> = (String, Headers, Bound<'py, PyBytes>);

#[derive(FromPyObject)]
enum Headers {
    Pairs(Vec<(String, String)>),
    Mapping(BTreeMap<String, String>),
}

#[pymethods]
impl Publisher {
    #[new]
    fn new(py: Python<'_>, options: &NatsOptions) -> PyResult<Self> {
        let publisher = py.detach(|| puller::Publisher::open(&options.0))?;
        Ok(Self(Mutex::new(Some(publisher))))
    }

    fn publish_all(&self, py: Python<'_>, messages: Vec<OutgoingEntry<'_>>) -> PyResult<Vec<u64>> {
        let outgoing = messages
            .into_iter()
            .map(|(subject, headers, payload)| {
                let payload = Bytes::copy_from_slice(payload.as_bytes());
                let headers = match headers {
                    Headers::Pairs(pairs) => pairs,
                    Headers::Mapping(mapping) => mapping.into_iter().collect(),
                };
                Outgoing { subject, headers, payload }
            })
            .collect();
        self.with(py, |publisher| publisher.publish_all(outgoing))
    }

    #[pyo3(signature = (stream, from_seq, tag="", subjects=None))]
    fn scan(
        &self,
        py: Python<'_>,
        stream: &str,
        from_seq: u64,
        tag: &str,
        subjects: Option<Vec<String>>,
    ) -> PyResult<Vec<(u64, String, String)>> {
        let stored = self.with(py, |publisher| publisher.scan(stream, from_seq, tag, &subjects.unwrap_or_default()))?;
        Ok(stored.into_iter().map(|stored| (stored.seq, stored.message_id, stored.tag)).collect())
    }

    fn last_on(&self, py: Python<'_>, stream: &str, subject: &str) -> PyResult<u64> {
        self.with(py, |publisher| publisher.last_on(stream, subject))
    }

    fn replicas(&self, py: Python<'_>, stream: &str) -> PyResult<usize> {
        self.with(py, |publisher| publisher.replicas(stream))
    }

    fn stream_state(&self, py: Python<'_>, stream: &str) -> PyResult<(i64, u64, u64)> {
        self.with(py, |publisher| publisher.stream_state(stream))
    }

    fn last_seq(&self, py: Python<'_>, stream: &str) -> PyResult<u64> {
        self.with(py, |publisher| publisher.stream_state(stream)).map(|(_, _, last_seq)| last_seq)
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take()));
    }
}

/// The partition of a patient, as the server decides it.
#[pyfunction]
fn partition_of(tenant: &str, patient: &str, partitions: u32) -> PyResult<u32> {
    check_count(partitions)?;
    Ok(puller::partition_of(tenant, patient, partitions))
}

/// The token that takes a tick into a partition.
#[pyfunction]
fn tick_token(partition: u32, partitions: u32) -> PyResult<String> {
    check_count(partitions)?;
    if partition >= partitions {
        return Err(PyValueError::new_err(format!("there is no partition {partition} of {partitions}")));
    }
    Ok(puller::tick_token(partition, partitions))
}

fn check_count(partitions: u32) -> PyResult<()> {
    if (1..=4096).contains(&partitions) {
        return Ok(());
    }
    Err(PyValueError::new_err(format!("partitions must be 1 to 4096, got {partitions}")))
}

/// Adds this concern's classes and functions.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("JetStreamError", module.py().get_type::<JetStreamError>())?;
    module.add("LostRangeError", module.py().get_type::<LostRangeError>())?;
    module.add("PublishError", module.py().get_type::<PublishError>())?;
    module.add("FencedError", module.py().get_type::<FencedError>())?;
    module.add_class::<NatsOptions>()?;
    module.add_class::<Puller>()?;
    module.add_class::<Publisher>()?;
    module.add_function(wrap_pyfunction!(partition_of, module)?)?;
    module.add_function(wrap_pyfunction!(tick_token, module)?)
}
