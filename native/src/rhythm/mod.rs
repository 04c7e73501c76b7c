//! Rhythm alarms from beats.

mod alarms;

pub use alarms::{ConfigError, RhythmEvent, RhythmLimits, RhythmMonitor, RhythmRule};
