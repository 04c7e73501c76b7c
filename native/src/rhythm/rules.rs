//! The rules that need memory of their own: when silence lasts too long, and when a condition is raised and cleared.

use super::{RhythmEvent, RhythmRule};
use crate::state::{Reader, StateError, Writer};

/// Raised or not, and since when.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Latch {
    pub onset: Option<u64>,
    /// Since when what would clear it has held without a break.
    pub inside: Option<u64>,
}

/// What a rule has measured, and on what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Finding {
    pub value: f64,
    pub limit: f64,
    pub first: u64,
    pub last: u64,
}

impl Latch {
    pub fn active(self) -> bool {
        self.onset.is_some()
    }

    /// Raises the rule at `onset` unless it is raised.
    pub fn raise(&mut self, rule: RhythmRule, onset: u64, decided: u64, found: Finding, out: &mut Vec<RhythmEvent>) {
        if self.onset.is_none() {
            *self = Self { onset: Some(onset), inside: None };
            out.push(event(rule, true, onset, decided, found));
        }
    }

    /// Clears the rule if it is raised.
    pub fn clear(&mut self, rule: RhythmRule, decided: u64, found: Finding, out: &mut Vec<RhythmEvent>) {
        if let Some(onset) = self.onset.take() {
            out.push(event(rule, false, onset, decided, found));
        }
    }

    pub fn write(self, writer: &mut Writer) {
        writer.put(&[self.onset.unwrap_or(u64::MAX), self.inside.unwrap_or(u64::MAX)]);
    }

    pub fn read(reader: &mut Reader) -> Result<Self, StateError> {
        let known = |position: u64| (position != u64::MAX).then_some(position);
        Ok(Self { onset: known(reader.one()?), inside: known(reader.one()?) })
    }
}

fn event(rule: RhythmRule, raised: bool, onset: u64, decided: u64, found: Finding) -> RhythmEvent {
    RhythmEvent {
        rule,
        raised,
        onset,
        decided,
        value: found.value,
        limit: found.limit,
        evidence_first: found.first,
        evidence_last: found.last,
    }
}

/// Pulses that speak against silence of the heart.
const PULSES: usize = 3;
/// A pulse contradicts for so long, seconds: with less, asystole would wait for one that is not coming.
pub(super) const PULSE_RECENT_S: f64 = 2.0;

/// The last pulses, newest last.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pulses([Option<u64>; PULSES]);

impl Pulses {
    pub fn push(&mut self, sample: u64) {
        self.0.rotate_left(1);
        self.0[PULSES - 1] = Some(sample);
    }

    /// Whether the last three pulses lie after `since` and the newest no longer than 2 s before `now`. The pulse of
    /// the last heartbeat arrives up to half a second after its QRS, so pulses count from then.
    pub fn contradict(&self, since: u64, now: u64, fs_hz: f64) -> bool {
        let travel = (0.5 * fs_hz) as u64;
        let recent = (PULSE_RECENT_S * fs_hz) as u64;
        let (Some(oldest), Some(newest)) = (self.0[0], self.0[PULSES - 1]) else { return false };
        oldest > since.saturating_add(travel) && newest.saturating_add(recent) >= now
    }

    pub fn write(&self, writer: &mut Writer) {
        writer.put(&self.0.map(|pulse| pulse.unwrap_or(u64::MAX)));
    }

    pub fn read(reader: &mut Reader) -> Result<Self, StateError> {
        let mut pulses = [0_u64; PULSES];
        reader.fill(&mut pulses)?;
        Ok(Self(pulses.map(|pulse| (pulse != u64::MAX).then_some(pulse))))
    }
}
