//! The step `signals` of one patient: order, clock, detectors.
//!
//! Pure: the same items give the same output, whatever lists they come in. `monitor` is the entry.

mod anchors;
mod budget;
mod channel;
mod clock;
mod codec;
mod confirm;
mod derived;
mod device;
mod evidence;
mod faults;
mod heard;
mod hole;
mod lead;
mod ledger;
mod limits;
mod monitor;
mod numeric;
mod order;
mod output;
mod past;
mod place;
mod pulse;
mod rows;
mod segments;
mod silence;
mod train;

pub use budget::Rate;
pub use evidence::{Evidence, Fact};
pub use hole::LIMIT_NS as HOLE_LIMIT_NS;
pub use limits::{DETECTOR_RULES, Profile, Profiles, Usual, check_threshold, usual};
pub use monitor::{Config, Signals};
pub use output::{
    AnswersEvent, BeatRow, ClockRow, Counts, DerivedRow, DesaturationRow, Detection, Event, LateRow, LedgerRow,
    ObservationRow, Observed, Origin, Output, QualityRow, ReadingEvent, WaveRow, WithheldRow,
};
