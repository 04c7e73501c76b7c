//! Where in the log and in the body a result belongs.

use std::sync::Arc;

use super::anchors::Anchors;
use super::evidence::{Evidence, Fact};
use super::faults::Fault;
use super::limits::{Limits, Valid};
use super::output::{Detection, Event, Origin};

/// The deciding message and the signal that is being processed.
pub struct Place<'a> {
    /// Device.
    pub device: &'a Arc<str>,
    /// Start counter of the device.
    pub boot: u64,
    /// Signal token.
    pub signal: &'static str,
    /// Frames in time.
    pub anchors: &'a Anchors,
    /// What the patient is watched for.
    pub limits: &'a Limits,
    /// What is added to the device's time.
    pub offset_ns: i64,
    /// Deciding message.
    pub log_seq: u64,
    /// Log time of the decision.
    pub log_ns: i64,
    /// The frame was uploaded later: it takes its turn, but nothing is concluded from it.
    pub silent: bool,
    /// It is the past that is judged, by the limits of its own time.
    pub past: bool,
}

impl Place<'_> {
    /// What an event time is judged by.
    pub fn limits_at(&self, ns: i64) -> Valid {
        if self.past { self.limits.at(ns) } else { self.limits.now }
    }

    /// The origin of a row of frame `seq`.
    pub fn origin(&self, seq: u64) -> Origin {
        Origin { device: self.device.clone(), boot: self.boot, signal: self.signal, seq }
    }

    /// The finding that something is wrong with a wave, or not any more; its samples are the stream's.
    pub fn fault(&self, fault: &Fault) -> Event {
        let locate = |sample: u64| self.anchors.locate(sample);
        let (onset_ns, (seq, decided_ns)) = (locate(fault.onset).1, locate(fault.decided.saturating_sub(1)));
        Event::Detection(Detection {
            rule: fault.rule,
            raised: fault.raised,
            origin: self.origin(seq),
            code: "",
            onset: fault.onset,
            onset_ns,
            value: fault.value,
            limit: fault.limit,
            evidence_ns: (onset_ns, decided_ns),
            evidence: Evidence::default(),
            sample_ns: decided_ns,
            stored: false,
            log_seq: self.log_seq,
            log_ns: self.log_ns,
        })
    }

    /// Evidence of a finding under the patient's limits.
    pub fn evidence(&self) -> Evidence {
        let mut evidence = Evidence::default();
        if self.limits.version > 0 {
            evidence.set(Fact::LimitsVersion, self.limits.version as f64);
        }
        evidence
    }
}
