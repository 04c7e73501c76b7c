//! The step `signals` of one patient: order, clock, detectors.
