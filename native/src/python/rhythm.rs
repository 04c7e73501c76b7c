//! Binding of `crate::rhythm`.

use pyo3::prelude::*;

/// Adds this concern's classes and functions.
#[allow(clippy::unnecessary_wraps)]
pub fn register(_module: &Bound<'_, PyModule>) -> PyResult<()> {
    Ok(())
}
