//! The log itself was away: no message for seconds, not even the broker's ticks.
//!
//! Every patient hears of it, because timers start anew; it is announced once, by the patient `broker` of the tenant
//! `tick`, who stands for the pipeline. The same finding of other patients alerts nobody (`dataflows.alerts.rules`).

use crate::state::{Reader, StateError, Writer};

use super::evidence::Evidence;
use super::output::{Detection, Event, Origin};

/// So long after the hole its alarm is cleared, unless there was another.
const CLEAR_NS: i64 = 60_000_000_000;
/// A hole is longer than this: the broker writes a tick a second.
pub const LIMIT_NS: i64 = 5_000_000_000;

/// The last hole, while its alarm stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// Identity: log time before the first hole of this alarm.
    onset_ns: i64,
    /// Log time after the last one.
    end_ns: i64,
    /// First message after it.
    pub log_seq: u64,
}

impl Hole {
    /// There was a hole: the alarm, unless one stands that goes on then.
    pub fn found(standing: &mut Option<Self>, log_seq: u64, since_ns: i64, end_ns: i64) -> Option<Event> {
        let onset_ns = standing.map_or(since_ns, |hole| hole.onset_ns);
        let hole = Self { onset_ns, end_ns, log_seq };
        standing.replace(hole).is_none().then(|| hole.event(true, (end_ns - since_ns) as f64 / 1e9, end_ns))
    }

    /// When the alarm is cleared.
    pub fn deadline_ns(&self) -> i64 {
        self.end_ns.saturating_add(CLEAR_NS)
    }

    /// The alarm is over.
    pub fn over(&self, log_ns: i64) -> Event {
        self.event(false, 0.0, log_ns)
    }

    fn event(&self, raised: bool, value: f64, log_ns: i64) -> Event {
        Event::Detection(Detection {
            rule: "log_hole",
            raised,
            origin: Origin { device: "broker".into(), boot: 0, signal: "tick", seq: self.log_seq },
            code: "",
            onset: self.onset_ns as u64,
            onset_ns: self.onset_ns,
            value,
            limit: LIMIT_NS as f64 / 1e9,
            evidence_ns: (self.onset_ns, self.end_ns),
            evidence: Evidence::default(),
            sample_ns: self.end_ns,
            stored: false,
            log_seq: self.log_seq,
            log_ns,
        })
    }

    /// Appends the state.
    pub fn write(&self, writer: &mut Writer) {
        writer.put(&[self.onset_ns, self.end_ns]).one(self.log_seq);
    }

    /// Reads the state back.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        Ok(Self { onset_ns: reader.one()?, end_ns: reader.one()?, log_seq: reader.one()? })
    }
}
