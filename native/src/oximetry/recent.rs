//! The lowest levels of the last seconds: was it as low as this just before?

use crate::state::{Reader, StateError, Writer};

/// Seconds kept at most.
const KEPT: usize = 8;

/// Lowest level of each of the last seconds.
#[derive(Debug, Clone)]
pub(super) struct Recent {
    /// Samples that are one second.
    second: u64,
    /// Seconds kept.
    kept: u64,
    /// The second of the newest entry.
    newest: u64,
    lows: [i32; KEPT],
}

impl Recent {
    /// Looks back over less than `span` samples, `second` samples at a time.
    pub fn new(second: u64, span: u64) -> Self {
        let kept = span.div_ceil(second).clamp(1, KEPT as u64);
        Self { second, kept, newest: 0, lows: [i32::MAX; KEPT] }
    }

    /// Takes a level.
    #[inline]
    pub fn push(&mut self, level: i32, at: u64) {
        let second = at / self.second;
        while self.newest < second {
            if second - self.newest > self.kept {
                self.newest = second - 1;
                self.clear();
            }
            self.newest += 1;
            self.lows[(self.newest % self.kept) as usize] = i32::MAX;
        }
        let low = &mut self.lows[(second % self.kept) as usize];
        *low = (*low).min(level);
    }

    /// Has a level been at most this?
    pub fn was_at_most(&self, level: i32) -> bool {
        self.lows.iter().any(|&low| low <= level)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.lows = [i32::MAX; KEPT];
    }

    /// Appends the state; time as distance from `now`.
    pub fn write(&self, writer: &mut Writer, now: u64) {
        writer.one(now / self.second - self.newest).put(&self.lows);
    }

    /// Reads the state back.
    pub fn read(reader: &mut Reader<'_>, second: u64, span: u64, now: u64) -> Result<Self, StateError> {
        let mut recent = Self::new(second, span);
        let ago = reader.one::<u64>()?;
        recent.newest = (now / second).checked_sub(ago).ok_or(StateError::Value("time before the series"))?;
        reader.fill(&mut recent.lows)?;
        Ok(recent)
    }
}
