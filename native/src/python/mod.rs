//! The binding: conversions and error mapping only. One file per concern, each with a `register`.

use pyo3::prelude::*;

mod ecg;
mod events;
mod oximetry;
mod puller;
mod pulse;
mod rhythm;
mod rows;
mod signals;
mod wire;

/// Adds every class and function of the module `dataflows._native`.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    ecg::register(module)?;
    events::register(module)?;
    oximetry::register(module)?;
    puller::register(module)?;
    pulse::register(module)?;
    rhythm::register(module)?;
    signals::register(module)?;
    wire::register(module)
}
