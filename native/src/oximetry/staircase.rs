//! The staircase of past highs: from each step on, nothing has been as high again.
//!
//! It answers in constant time what the highest level of the last 180 s is, and when the level was last at least
//! so high. One step a second suffices, so its size is bounded at any rate.

use super::reading::{compact, expand};
use crate::state::{Reader, StateError, Writer};

/// Steps at most: one a second for 180 s, the ends included.
const MOST: usize = 192;

/// A level and when it was last reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Step {
    /// Thousandths of a percent.
    pub level: i32,
    /// Sample index.
    pub at: u64,
    /// Running sum of the series at that sample.
    pub sum: i64,
}

/// Steps from the highest and oldest to the lowest and newest.
#[derive(Debug, Clone)]
pub(super) struct Staircase {
    /// Samples in which one step is enough.
    coarse: u64,
    first: usize,
    count: usize,
    steps: [Step; MOST],
}

impl Staircase {
    /// A stair keeps one step in `coarse` samples.
    pub fn new(coarse: u64) -> Self {
        Self { coarse, first: 0, count: 0, steps: [Step::default(); MOST] }
    }

    #[inline]
    fn place(&self, nth: usize) -> usize {
        let at = self.first + nth;
        if at >= MOST { at - MOST } else { at }
    }

    /// The highest step.
    #[inline]
    pub fn highest(&self) -> Option<Step> {
        (self.count > 0).then(|| self.steps[self.first])
    }

    /// Puts a level on top of what it does not exceed.
    #[inline]
    pub fn push(&mut self, step: Step) {
        while self.count > 0 {
            let newest = self.place(self.count - 1);
            if self.steps[newest].level > step.level {
                if self.steps[newest].at / self.coarse == step.at / self.coarse {
                    return; // the second's own high stands for it
                }
                break;
            }
            self.count -= 1;
        }
        if self.count == MOST {
            self.pop();
        }
        let free = self.place(self.count);
        self.steps[free] = step;
        self.count += 1;
    }

    /// Drops the highest step.
    pub fn pop(&mut self) {
        if self.count > 0 {
            self.first = self.place(1);
            self.count -= 1;
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        (self.first, self.count) = (0, 0);
    }

    /// Steps from the highest to the newest.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Step> + '_ {
        (0..self.count).map(|nth| self.steps[self.place(nth)])
    }

    /// Highest level since `from`, that sample included.
    pub fn highest_since(&self, from: u64) -> Option<Step> {
        self.iter().find(|step| step.at >= from)
    }

    /// The last time that the level was at least this high.
    pub fn last_above(&self, level: i32) -> Option<Step> {
        self.iter().rev().find(|step| step.level >= level)
    }

    /// Appends the steps; times and sums as distance from those of now.
    pub fn write(&self, writer: &mut Writer, now: u64, sum: i64) {
        writer.one(self.count as u8);
        for step in self.iter() {
            writer.one(compact(step.level)).one((now - step.at) as u16).one((sum - step.sum) as u32);
        }
    }

    /// Reads the steps back.
    pub fn read(reader: &mut Reader<'_>, coarse: u64, now: u64, sum: i64) -> Result<Self, StateError> {
        let mut stairs = Self::new(coarse);
        stairs.count = usize::from(reader.one::<u8>()?);
        if stairs.count > MOST {
            return Err(StateError::Value("too many steps"));
        }
        for nth in 0..stairs.count {
            let level = expand(reader.one()?)?;
            let ago = u64::from(reader.one::<u16>()?);
            let at = now.checked_sub(ago).ok_or(StateError::Value("step before the series"))?;
            stairs.steps[nth] = Step { level, at, sum: sum - i64::from(reader.one::<u32>()?) };
        }
        if !stairs.iter().zip(stairs.iter().skip(1)).all(|(one, two)| one.level > two.level && one.at < two.at) {
            return Err(StateError::Value("steps out of order"));
        }
        Ok(stairs)
    }
}
