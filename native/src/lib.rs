//! Streaming detectors and wire validation of the vitals pipeline.
//!
//! Pure functions of samples and state, one module per concern; `puller` alone does I/O. The Python module
//! `dataflows._native` is registered here, one file per concern under `python/`.

pub mod ecg;
pub mod oximetry;
#[cfg(feature = "puller")]
pub mod puller;
pub mod pulse;
pub mod rhythm;
pub mod signals;
pub mod state;
pub mod wire;

#[cfg(feature = "python")]
mod python;

#[cfg(feature = "python")]
#[pyo3::pymodule]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::python::register(module)
    }
}
