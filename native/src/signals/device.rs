//! What a device's signals share: its clock and its budget.

use std::sync::Arc;

use crate::state::{Reader, StateError, Writer};
use crate::wire::{Frame, is_model};

use super::budget::{Budget, Rate};
use super::clock::{Change, Clock, Sight};
use super::codec;
use super::evidence::Evidence;
use super::output::{Detection, Event, Origin, Output};

/// A clock that is wrong by more than this is told to a person.
const OFF_NS: i64 = 60_000_000_000;
/// Below this it is right again.
const RIGHT_NS: i64 = 30_000_000_000;

/// One device of a patient.
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    /// Its name.
    pub name: Arc<str>,
    /// Its current start.
    pub boot: u64,
    /// Log time of its last frame.
    pub seen_ns: i64,
    /// Its clock.
    pub clock: Clock,
    /// Why the clock's offset last changed.
    pub change: Change,
    budget: Budget,
    /// The alarm on its clock, while it stands: identity and event time of the onset.
    off: Option<(u64, i64)>,
}

impl Device {
    /// A device that has just been heard of.
    pub fn new(name: &str, boot: u64, rate: Rate, log_ns: i64) -> Self {
        let budget = Budget::full(rate, log_ns);
        Self {
            name: name.into(),
            boot,
            seen_ns: log_ns,
            clock: Clock::default(),
            change: Change::Reboot,
            budget,
            off: None,
        }
    }

    /// Whether the device may send a message of so many bytes now.
    pub fn may_send(&mut self, rate: Rate, log_ns: i64, bytes: usize) -> bool {
        self.seen_ns = log_ns;
        self.budget.take(rate, log_ns, bytes)
    }

    /// Looks at the clock of a live frame in its turn; `set_back` as in [`Sight`].
    pub fn observe(&mut self, frame: &Frame, set_back: bool) {
        if frame.boot != self.boot {
            self.boot = frame.boot;
            self.change = self.clock.reboot().unwrap_or(self.change);
        }
        // A model says for which moment of log time its score is; how long it took says nothing of a clock.
        if is_model(&self.name) {
            return;
        }
        let (device_ns, end_ns) = (frame.device_ns, frame.end_ns());
        if let Some(change) = self.clock.observe(Sight { log_ns: frame.log_ns, device_ns, end_ns, set_back }) {
            self.change = change;
        }
    }

    /// Raises or clears `clock_off`.
    pub fn judge(&mut self, frame: &Frame, origin: impl FnOnce() -> Origin, out: &mut Output) {
        let offset_ns = self.clock.offset_ns();
        let raised = match self.off {
            None if offset_ns.abs() >= OFF_NS => true,
            Some(_) if offset_ns.abs() < RIGHT_NS => false,
            _ => return,
        };
        let ts = frame.device_ns.saturating_add(offset_ns);
        let (onset, onset_ns) = if raised { (frame.first_sample, ts) } else { self.off.unwrap_or_default() };
        self.off = raised.then_some((onset, onset_ns));
        out.events.push(Event::Detection(Detection {
            rule: "clock_off",
            raised,
            origin: origin(),
            code: "",
            onset,
            onset_ns,
            value: offset_ns as f64 / 1e9,
            limit: OFF_NS as f64 / 1e9,
            evidence_ns: (onset_ns, ts),
            evidence: Evidence::default(),
            sample_ns: ts,
            stored: false,
            log_seq: frame.log_seq,
            log_ns: frame.log_ns,
        }));
    }

    /// Nobody was told yet: a clock that is still off is told anew.
    pub fn start_anew(&mut self) {
        self.off = None;
    }

    /// Appends the state.
    pub fn write(&self, writer: &mut Writer) {
        writer.part(self.name.as_bytes()).one(self.boot).one(self.seen_ns).one(self.change as u8);
        self.clock.write(writer);
        self.budget.write(writer);
        let (onset, onset_ns) = self.off.unwrap_or_default();
        writer.one(u8::from(self.off.is_some())).one(onset).one(onset_ns);
    }

    /// Reads the state back.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let name = codec::read_text(reader)?.into();
        let (boot, seen_ns) = (reader.one()?, reader.one()?);
        let change = Change::from_number(reader.one()?).ok_or(StateError::Value("change of a clock"))?;
        let (clock, budget) = (Clock::read(reader)?, Budget::read(reader)?);
        let (off, onset, onset_ns) = (reader.one::<u8>()? != 0, reader.one()?, reader.one()?);
        Ok(Self { name, boot, seen_ns, clock, change, budget, off: off.then_some((onset, onset_ns)) })
    }
}
