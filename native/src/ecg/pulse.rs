//! The rhythm of the beats that are beyond doubt: where the next one is due, whatever noise was taken for beats since.

use super::history::LONGEST_RR_S;
use super::timing::Timing;
use crate::state::{Reader, StateError, Writer};

/// Features of a candidate.
pub(super) const FEATURES: usize = 4;
/// Part of a new interval in the means.
const PART: f32 = 0.125;
/// Intervals after which the last sure beat says nothing about the next.
const LONGEST: f32 = 10.0;
/// What a candidate is like while no rhythm is known.
const UNKNOWN: [f32; FEATURES] = [0.25, LONGEST, 0.5, 1.0];

/// The rhythm of one lead's sure beats.
#[derive(Clone, Default)]
pub(super) struct Pulse {
    /// Decimated index of the last sure beat.
    beat: u64,
    /// Mean interval between sure beats that followed each other, seconds; 0 while there is none.
    rr: f32,
    /// Mean distance of the intervals from that, seconds.
    spread: f32,
}

impl Pulse {
    /// How far from the nearest due beat a candidate is, in intervals; how many have passed since the last sure beat; how
    /// regular they are; and how many have passed since the last beat of any kind, which was `since_beat` seconds ago.
    pub fn features(&self, index: u64, since_beat: f32, t: &Timing) -> [f32; FEATURES] {
        if self.rr <= 0.0 {
            return UNKNOWN;
        }
        let elapsed = index.saturating_sub(self.beat) as f32 / t.rate_hz / self.rr;
        // halves are rounded up, which is as far from either beat
        let due = ((elapsed + 0.5) as i32).max(1) as f32;
        [
            if elapsed < LONGEST { (elapsed - due).abs().min(1.0) } else { UNKNOWN[0] },
            elapsed.min(LONGEST),
            (self.spread / self.rr).min(0.5),
            (since_beat / self.rr).min(3.0),
        ]
    }

    /// Takes a sure beat. `interval` is what passed since the beat before it, `previous`, unless something was lost between
    /// the two: it counts only if that one was sure as well.
    pub fn follow(&mut self, index: u64, previous: u64, interval: Option<f32>) {
        if let Some(interval) = interval.filter(|_| previous == self.beat) {
            if self.rr > 0.0 {
                self.spread += PART * ((interval - self.rr).abs() - self.spread);
                self.rr += PART * (interval - self.rr);
            } else {
                (self.rr, self.spread) = (interval, 0.25 * interval);
            }
        }
        self.beat = index;
    }

    pub fn write(&self, writer: &mut Writer) {
        writer.one(self.beat).one(self.rr).one(self.spread);
    }

    pub fn read(reader: &mut Reader) -> Result<Self, StateError> {
        let pulse = Self { beat: reader.one()?, rr: reader.one()?, spread: reader.one()? };
        let sane = [pulse.rr, pulse.spread].iter().all(|seconds| (0.0..=LONGEST_RR_S).contains(seconds));
        if sane { Ok(pulse) } else { Err(StateError::Value("rhythm of the sure beats")) }
    }
}
