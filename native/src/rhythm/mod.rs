//! Rhythm alarms from beats.
