//! One limit over time: pending, raised, clearing. The only clock is the time that readings cover.

use crate::state::{Reader, StateError, Writer};

/// Where a reading lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Past the limit.
    Beyond,
    /// Inside the limit, not by the margin.
    Between,
    /// Inside the limit by the margin.
    Inside,
}

/// What a reading led to: since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// The limit has been passed for the delay, since this sample.
    Raised(u64),
    /// Raised at the first sample, inside since the second.
    Cleared(u64, u64),
}

/// A run of readings on one side: its first sample and the samples it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    first: u64,
    covered: u64,
}

impl Run {
    /// Lengthens the run, or begins it.
    fn extend(run: &mut Option<Self>, now: u64, elapsed: u64) -> Self {
        let longer = run.map_or(Self { first: now, covered: 0 }, |run| Self { covered: run.covered + elapsed, ..run });
        *run = Some(longer);
        longer
    }
}

/// State of one limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Watch {
    /// Onset of the alarm that is raised.
    raised: Option<u64>,
    beyond: Option<Run>,
    inside: Option<Run>,
}

impl Watch {
    /// Takes the side of a reading that covers `elapsed` samples since the reading before.
    #[inline]
    pub fn step(&mut self, side: Side, now: u64, elapsed: u64, delay: u64, clear: u64) -> Option<Change> {
        match (side, self.raised) {
            (Side::Beyond, None) => {
                let run = Run::extend(&mut self.beyond, now, elapsed);
                (run.covered >= delay).then(|| self.raise(run.first))
            }
            (Side::Inside, Some(onset)) => {
                let run = Run::extend(&mut self.inside, now, elapsed);
                (run.covered >= clear).then(|| {
                    *self = Self::default();
                    Change::Cleared(onset, run.first)
                })
            }
            _ => {
                (self.beyond, self.inside) = (None, None);
                None
            }
        }
    }

    /// Raises the alarm.
    pub fn raise(&mut self, onset: u64) -> Change {
        *self = Self { raised: Some(onset), beyond: None, inside: None };
        Change::Raised(onset)
    }

    /// Onset of the alarm that is raised.
    #[inline]
    pub fn raised(&self) -> Option<u64> {
        self.raised
    }

    /// Nothing is known for so long that what was pending begins anew; what is raised stays so.
    pub fn interrupt(&mut self) {
        (self.beyond, self.inside) = (None, None);
    }

    /// Appends the state; times as distance from `now`.
    pub fn write(&self, writer: &mut Writer, now: u64) {
        let runs = [self.raised.map(|onset| (onset, 0)), self.beyond.map(Run::pair), self.inside.map(Run::pair)];
        for run in runs {
            writer.one(u8::from(run.is_some()));
            if let Some((first, covered)) = run {
                writer.put(&[now - first, covered]);
            }
        }
    }

    /// Reads the state back.
    pub fn read(reader: &mut Reader<'_>, now: u64) -> Result<Self, StateError> {
        let mut runs = [None; 3];
        for run in &mut runs {
            if reader.one::<u8>()? != 0 {
                let first = now.checked_sub(reader.one()?).ok_or(StateError::Value("time before the series"))?;
                *run = Some(Run { first, covered: reader.one()? });
            }
        }
        Ok(Self { raised: runs[0].map(|run| run.first), beyond: runs[1], inside: runs[2] })
    }
}

impl Run {
    fn pair(self) -> (u64, u64) {
        (self.first, self.covered)
    }
}
