//! What the step `signals` says about a patient: rows for the database, events for the judge, refusals, counts.

use std::sync::Arc;

use crate::wire::{Command, Reading, Reject, Wave};

use super::evidence::Evidence;

/// Which frame a row belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    /// Device.
    pub device: Arc<str>,
    /// Start counter of the device.
    pub boot: u64,
    /// Signal token.
    pub signal: &'static str,
    /// Frame counter.
    pub seq: u64,
}

/// A row of `waveforms`.
#[derive(Clone, Debug, PartialEq)]
pub struct WaveRow {
    /// Event time.
    pub ts: i64,
    /// Frame.
    pub origin: Origin,
    /// Samples.
    pub wave: Wave,
    /// Uploaded later.
    pub stored: bool,
    /// Index of the first sample.
    pub first_sample: u64,
    /// Device time of the first sample.
    pub device_ns: i64,
    /// Log time of arrival.
    pub log_ns: i64,
}

/// A row of `observations`.
#[derive(Clone, Debug, PartialEq)]
pub struct ObservationRow {
    /// Event time.
    pub ts: i64,
    /// Frame.
    pub origin: Origin,
    /// The value.
    pub value: Observed,
    /// Uploaded later.
    pub stored: bool,
    /// Averaging of the device, s.
    pub averaging_s: f32,
    /// Index of the observation.
    pub first_sample: u64,
    /// Log time of arrival.
    pub log_ns: i64,
}

/// What an observation row holds: a reading, or an item of a questionnaire (`phq_9.item_9`).
#[derive(Clone, Debug, PartialEq)]
pub enum Observed {
    /// A reading of a device.
    Reading(Reading),
    /// An answer of a person.
    Answer {
        /// `<instrument>.<item>`.
        code: String,
        /// The answer's number.
        value: f64,
        /// Device time.
        device_ns: i64,
    },
}

/// A row of `beats`.
#[derive(Clone, Debug, PartialEq)]
pub struct BeatRow {
    /// Event time of the R-peak.
    pub ts: i64,
    /// Frame that holds the R-peak.
    pub origin: Origin,
    /// Index of the R-peak.
    pub sample: u64,
    /// Since the beat before, ms; NaN where it is unknown or spans a gap.
    pub rr_ms: f64,
    /// 0..1.
    pub confidence: f32,
    /// Morphology.
    pub label: &'static str,
    /// Log time at which it became certain.
    pub log_ns: i64,
}

/// A row of `desaturations`.
#[derive(Clone, Debug, PartialEq)]
pub struct DesaturationRow {
    /// Event time of the onset.
    pub ts: i64,
    /// Frame that decided.
    pub origin: Origin,
    /// provisional, final, sustained, truncated.
    pub kind: &'static str,
    /// Event time of the nadir.
    pub nadir_ns: i64,
    /// Event time of the end.
    pub end_ns: i64,
    /// SpO2 before the fall, %.
    pub baseline: f64,
    /// Lowest SpO2, %.
    pub nadir: f64,
    /// Depth, points.
    pub drop: f64,
    /// Log time at which it became certain.
    pub log_ns: i64,
}

/// A row of `quality`.
#[derive(Clone, Debug, PartialEq)]
pub struct QualityRow {
    /// Event time of the first sample concerned.
    pub ts: i64,
    /// Frame that told.
    pub origin: Origin,
    /// `gap`, `lead_off`, `step`, `flat`, `saturated`, `noisy`.
    pub reason: &'static str,
    /// Quality 0..1, or the size of a step.
    pub value: f64,
    /// First sample concerned.
    pub first_sample: u64,
    /// How many samples.
    pub samples: u64,
    /// Log time.
    pub log_ns: i64,
}

/// A row of `clock_segments`: from this frame on its signal's device time is moved by `offset_ns`.
#[derive(Clone, Debug, PartialEq)]
pub struct ClockRow {
    /// Event time of the frame.
    pub ts: i64,
    /// Frame.
    pub origin: Origin,
    /// Its first sample.
    pub first_sample: u64,
    /// What is added to device time.
    pub offset_ns: i64,
    /// `reboot`, `drift`, `step`, `local_time`.
    pub reason: &'static str,
    /// How far event time may lie from the truth.
    pub uncertainty_ns: i64,
    /// How much faster than log time the clock runs; NaN where it is not known.
    pub drift_ppm: f64,
    /// Log time.
    pub log_ns: i64,
}

/// A row of `withheld`: a finding that another signal contradicted.
#[derive(Clone, Debug, PartialEq)]
pub struct WithheldRow {
    /// The finding.
    pub found: Detection,
    /// What the witness showed.
    pub evidence: Evidence,
    /// `<device>/<signal>` of the witness.
    pub witness: String,
}

/// A row of `derived`: what detectors make of a stretch of signal.
#[derive(Clone, Debug, PartialEq)]
pub struct DerivedRow {
    /// Event time at which the stretch ends.
    pub ts: i64,
    /// Frame that decided.
    pub origin: Origin,
    /// What it is: `heart_rate`, `sdnn`, `odi3`, ...
    pub code: &'static str,
    /// `window`: the stretch alone; `hour`: a rolling hour; `night`: since noon UTC.
    pub scope: &'static str,
    /// The value; NaN where there is none.
    pub value: f64,
    /// UCUM.
    pub unit: &'static str,
    /// Length of the stretch, s.
    pub window_s: f64,
    /// Share of the stretch that is covered by what the value needs, or how clearly it stands out: 0 to 1.
    pub quality: f64,
    /// Log time.
    pub log_ns: i64,
}

/// A row of `late_frames`.
#[derive(Clone, Debug, PartialEq)]
pub struct LateRow {
    /// Event time.
    pub ts: i64,
    /// Frame.
    pub origin: Origin,
    /// `late`, `stored`, `old_boot`.
    pub reason: &'static str,
    /// Log time minus device time of the first sample, ms.
    pub lag_ms: f64,
    /// Log time.
    pub log_ns: i64,
    /// Sequence in the stream.
    pub log_seq: u64,
}

/// A finding for the judge: a condition began or ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Detection {
    /// Rule, by its stable name.
    pub rule: &'static str,
    /// Began (true) or ended.
    pub raised: bool,
    /// Frame that decided.
    pub origin: Origin,
    /// Code of an observation; empty for waves.
    pub code: &'static str,
    /// Identity of the onset: sample index of a wave, device time of an observation.
    pub onset: u64,
    /// Event time of the onset.
    pub onset_ns: i64,
    /// Measured value.
    pub value: f64,
    /// Limit it crossed.
    pub limit: f64,
    /// Event times between which the evidence lies.
    pub evidence_ns: (i64, i64),
    /// The numbers on which it stands.
    pub evidence: Evidence,
    /// Event time of the sample that decided.
    pub sample_ns: i64,
    /// It rests on samples that came after their time: it is recorded and pages nobody.
    pub stored: bool,
    /// Deciding message.
    pub log_seq: u64,
    /// Log time of the decision.
    pub log_ns: i64,
}

/// A reading whose turn has come, or that came after it (`stored`).
#[derive(Clone, Debug, PartialEq)]
pub struct ReadingEvent {
    /// Frame that holds it.
    pub origin: Origin,
    /// The reading.
    pub reading: Reading,
    /// Index of the observation.
    pub index: u64,
    /// Event time.
    pub ts: i64,
    /// Uploaded later or late: it is kept and counted, and pages nobody.
    pub stored: bool,
    /// Deciding message.
    pub log_seq: u64,
    /// Log time of the decision.
    pub log_ns: i64,
}

/// A questionnaire whose turn has come, or that came after it (`stored`).
#[derive(Clone, Debug, PartialEq)]
pub struct AnswersEvent {
    /// Frame that holds it.
    pub origin: Origin,
    /// Name of the instrument.
    pub instrument: String,
    /// Its version.
    pub version: String,
    /// How it was answered: app, ivr, proxy.
    pub mode: String,
    /// Item and value.
    pub answers: Vec<(String, f64)>,
    /// Event time.
    pub ts: i64,
    /// Uploaded later or late: it is kept and counted, and pages nobody.
    pub stored: bool,
    /// Deciding message.
    pub log_seq: u64,
    /// Log time of the decision.
    pub log_ns: i64,
}

/// Something the judge has to know, in log order.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A finding.
    Detection(Detection),
    /// A command of a person or program.
    Command(Command),
    /// A reading of a device.
    Reading(ReadingEvent),
    /// A questionnaire of a person.
    Answers(AnswersEvent),
}

/// A row of `ledger`: what became of a signal's frames since the patient was first heard of.
#[derive(Clone, Debug, PartialEq)]
pub struct LedgerRow {
    /// The minute of log time.
    pub ts: i64,
    /// Last frame.
    pub origin: Origin,
    /// Stored, late, duplicate, rejected; their sum is what was received.
    pub counts: [u64; 4],
}

/// How many frames became what. `received = stored + late + duplicate + rejected`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames that passed the validator.
    pub received: u64,
    /// Stored on time.
    pub stored: u64,
    /// Stored late.
    pub late: u64,
    /// Seen before.
    pub duplicate: u64,
    /// Refused for overlapping another frame.
    pub rejected: u64,
    /// Samples pushed into detectors.
    pub samples: u64,
}

/// All of it, for one list of items.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// Rows of `waveforms`.
    pub waveforms: Vec<WaveRow>,
    /// Rows of `observations`.
    pub observations: Vec<ObservationRow>,
    /// Rows of `beats`.
    pub beats: Vec<BeatRow>,
    /// Rows of `desaturations`.
    pub desaturations: Vec<DesaturationRow>,
    /// Rows of `quality`.
    pub quality: Vec<QualityRow>,
    /// Rows of `clock_segments`.
    pub clock_segments: Vec<ClockRow>,
    /// Rows of `derived`.
    pub derived: Vec<DerivedRow>,
    /// Rows of `withheld`.
    pub withheld: Vec<WithheldRow>,
    /// Rows of `late_frames`.
    pub late_frames: Vec<LateRow>,
    /// Rows of `ledger`.
    pub ledger: Vec<LedgerRow>,
    /// For the judge.
    pub events: Vec<Event>,
    /// Frames that contradict others.
    pub rejects: Vec<Reject>,
    /// Balance.
    pub counts: Counts,
}
