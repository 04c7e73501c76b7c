//! The step `signals` of one patient: order, clock, detectors.
//!
//! Pure: the same items give the same output, whatever lists they come in. `monitor` is the entry.

mod anchors;
mod channel;
mod codec;
mod lead;
mod monitor;
mod numeric;
mod order;
mod output;
mod place;

pub use monitor::{Config, Signals};
pub use output::{
    AnswersEvent, BeatRow, Counts, DesaturationRow, Detection, Event, LateRow, ObservationRow, Observed, Origin,
    Output, QualityRow, ReadingEvent, WaveRow,
};
