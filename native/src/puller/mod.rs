//! JetStream in and out.
