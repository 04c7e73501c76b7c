//! Depth times duration below a limit (Nellcor's index; clinical digest 1.4, S22), for any sampling rate.

use super::limits::{SatSecondsConvention, SatSecondsLimit};
use super::reading::{PER_PCT, points};
use crate::state::{Reader, StateError, Writer};

/// Three violations within a minute alarm regardless of their depth.
const VIOLATIONS: usize = 3;
const WITHIN_S: f64 = 60.0;

/// The index, in thousandths of a point times samples, so that sums are exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct SatSeconds {
    index: i64,
    /// First sample that the index counts.
    since: u64,
    /// Below the limit at the last reading.
    below: bool,
    /// Starts of the last violations, newest first, as sample index + 1; 0 for none.
    starts: [u64; VIOLATIONS],
}

impl SatSeconds {
    /// Takes a reading; tells since when the alarm's evidence runs, if this reading meets the setting.
    pub fn step(&mut self, value: i32, now: u64, elapsed: u64, limit: &SatSecondsLimit, fs_hz: f64) -> Option<u64> {
        let edge = points(limit.limit_pct);
        let below = value < edge;
        let zero = match limit.convention {
            SatSecondsConvention::FromLimitPlusOne if below => edge + PER_PCT as i32,
            _ => edge,
        };
        let change = i64::from(zero - value) * elapsed as i64;
        if below && self.index == 0 {
            self.since = now;
        }
        self.index = (self.index + change).max(0);
        if below && !self.below {
            self.starts.rotate_right(1);
            self.starts[0] = now + 1;
        }
        self.below = below;
        if self.index as f64 >= limit.setting * PER_PCT * fs_hz {
            return Some(self.since);
        }
        let first = self.starts[VIOLATIONS - 1];
        let often = limit.repeats && below && first > 0 && (now + 1 - first) as f64 <= WITHIN_S * fs_hz;
        often.then(|| first - 1)
    }

    /// The index in points times seconds.
    pub fn index(&self, fs_hz: f64) -> f64 {
        self.index as f64 / (PER_PCT * fs_hz)
    }

    /// Appends the state; times as distance from `now`.
    pub fn write(&self, writer: &mut Writer, now: u64) {
        writer.one(self.index).one(now - self.since).one(u8::from(self.below));
        writer.put(&self.starts.map(|start| if start == 0 { 0 } else { now + 1 - (start - 1) }));
    }

    /// Reads the state back.
    pub fn read(reader: &mut Reader<'_>, now: u64) -> Result<Self, StateError> {
        let before = || StateError::Value("time before the series");
        let index = reader.one::<i64>()?;
        let since = now.checked_sub(reader.one()?).ok_or_else(before)?;
        let below = reader.one::<u8>()? != 0;
        let mut starts = [0_u64; VIOLATIONS];
        reader.fill(&mut starts)?;
        for start in &mut starts {
            if *start != 0 {
                *start = (now + 2).checked_sub(*start).filter(|&start| start > 0).ok_or_else(before)?;
            }
        }
        Ok(Self { index, since, below, starts })
    }
}
