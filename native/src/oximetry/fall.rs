//! The fall: from the staircase of past highs over a threshold to the turn, on the median of believed readings.

use super::median::Median;
use super::profile::Counts;
use super::reading::{FULL, PER_PCT, pct};
use super::recent::Recent;
use super::staircase::{Staircase, Step};
use super::{Desaturation, DesaturationKind};
use crate::state::{Reader, StateError, Writer};

/// A display whose last digit is so large flickers by it, thousandths of a percent.
const COARSE: i32 = 500;

/// A fall that has crossed the threshold fast enough to be scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Open {
    baseline: i32,
    onset: u64,
    /// Running sum at the onset.
    onset_sum: i64,
    /// Last sample near the valley, or below the baseline by the threshold.
    low_at: u64,
    /// Samples over which the depth was shown.
    held: u64,
    /// `Provisional` has been told, so a scored event will be.
    told: bool,
}

impl Open {
    fn since(baseline: i32, onset: Step) -> Self {
        Self { baseline, onset: onset.at, onset_sum: onset.sum, low_at: onset.at, held: 0, told: false }
    }
}

/// Finds falls in believed readings.
#[derive(Debug, Clone)]
pub(super) struct Falls {
    counts: Counts,
    median: Median,
    stairs: Staircase,
    recent: Recent,
    /// Smallest change seen: the last digit of the display.
    digit: i32,
    /// Below the highest step by a turn, and not turned up since.
    falling: bool,
    /// Lowest median while `falling`.
    valley: i32,
    /// Lowest reading in the windows of the valley and of the opening, and its first sample.
    nadir: i32,
    nadir_at: u64,
    open: Option<Open>,
    /// No fall scored reaches back over this sample: there the level jumped.
    jumped_at: u64,
    /// Level before the last jump up.
    jumped_from: i32,
    /// Sample in the middle of the last window.
    at: u64,
    /// Last median.
    level: i32,
    /// Samples since the median before.
    elapsed: u64,
    /// Sum of what the levels lacked to 100 %, times samples: areas are differences of it.
    sum: i64,
}

impl Falls {
    pub fn new(counts: Counts) -> Self {
        Self {
            counts,
            median: Median::new(counts.median),
            stairs: Staircase::new(counts.second),
            recent: Recent::new(counts.second, counts.spike),
            digit: i32::MAX,
            falling: false,
            valley: 0,
            nadir: 0,
            nadir_at: 0,
            open: None,
            jumped_at: 0,
            jumped_from: i32::MAX,
            at: 0,
            level: 0,
            elapsed: 0,
            sum: 0,
        }
    }

    /// Takes a believed reading.
    #[inline]
    pub fn push(&mut self, value: i32, now: u64, out: &mut Vec<Desaturation>) {
        let (level, at) = self.median.push(value, now);
        let change = (level - self.level).abs();
        if change > 0 {
            self.digit = self.digit.min(change);
        }
        self.elapsed = at - self.at;
        self.sum += i64::from(FULL - level) * self.elapsed as i64;
        (self.level, self.at) = (level, at);
        if self.falling {
            self.fall(now, out);
        } else {
            self.step();
            self.look(now, out);
        }
        self.recent.push(level, at);
    }

    fn step(&mut self) {
        self.stairs.push(Step { level: self.level, at: self.at, sum: self.sum });
    }

    /// No fall yet: is this one?
    #[inline]
    fn look(&mut self, now: u64, out: &mut Vec<Desaturation>) {
        let Some(mut highest) = self.stairs.highest() else { return };
        while self.at - highest.at > self.counts.longest {
            self.stairs.pop();
            match self.stairs.highest() {
                Some(step) => highest = step,
                None => return,
            }
        }
        if highest.level - self.level >= self.counts.turn {
            self.falling = true;
            (self.valley, self.nadir) = (self.level, i32::MAX);
            self.lower();
            self.cross(now, out);
        }
    }

    /// Keeps valley and nadir.
    #[inline]
    fn lower(&mut self) {
        if self.level <= self.valley {
            self.valley = self.level;
            self.sink();
        }
    }

    /// Keeps the lowest reading of the window. An event must: it opens on that reading, which may have come after the
    /// valley of the medians.
    #[inline]
    fn sink(&mut self) {
        if self.median.lowest() < self.nadir {
            (self.nadir, self.nadir_at) = (self.median.lowest(), self.median.lowest_at());
        }
    }

    /// Down by a turn at least: a turn up, a crossing, or time passing.
    fn fall(&mut self, now: u64, out: &mut Vec<Desaturation>) {
        if self.level - self.valley >= self.counts.turn {
            self.turned(now, out);
            return;
        }
        self.lower();
        if self.open.is_some() {
            self.deepen(now, out);
            return;
        }
        self.step();
        self.cross(now, out);
        if self.open.is_none() {
            self.expire(now, out);
        }
    }

    /// Opens an event where the level was higher by the threshold not long ago.
    fn cross(&mut self, now: u64, out: &mut Vec<Desaturation>) {
        let from = self.at.saturating_sub(self.counts.to_drop).max(self.jumped_at);
        let Some(step) = self.stairs.highest_since(from) else { return };
        if !self.deep(step.level) {
            return;
        }
        if self.recent.was_at_most(step.level - self.counts.drop) {
            self.restart(); // up and back within seconds: the level in between was no baseline
            return;
        }
        let onset = self.stairs.last_above(step.level - self.counts.level).unwrap_or(step);
        let open = Open { low_at: self.at, ..Open::since(step.level, onset) };
        self.open = Some(open);
        self.sink();
        self.deepen(now, out);
    }

    /// Is the present level below `baseline` by the threshold? The median may fall short of it by what a level
    /// tolerates, because it rounds off the tip of a narrow valley.
    #[inline]
    fn deep(&self, baseline: i32) -> bool {
        baseline - self.level >= self.counts.drop - self.counts.level
            && baseline - self.median.lowest() >= self.counts.drop
    }

    /// The event goes on: told once it is long enough, over when it lasts or was too short to tell.
    fn deepen(&mut self, now: u64, out: &mut Vec<Desaturation>) {
        let (at, counts) = (self.at, &self.counts);
        let Some(mut open) = self.open else { return };
        let depth = self.depth(&open);
        if self.level <= (self.valley + counts.level).max(depth) {
            open.low_at = at;
        }
        if self.level <= depth {
            open.held += self.elapsed.min(counts.bridge);
        }
        let told = open.told;
        let coarse = self.digit >= COARSE;
        open.told |= open.low_at - open.onset >= counts.shortest && (!coarse || open.held >= counts.held);
        let over = at - open.onset >= counts.longest || (!open.told && at - open.low_at >= counts.shortest);
        self.open = Some(open);
        if open.told && !told {
            out.push(self.event(DesaturationKind::Provisional, open, now));
        }
        if over {
            self.close(DesaturationKind::Sustained, now, out);
        }
    }

    /// The level has turned up: the event is over, unless it is too short so far and still deep.
    fn turned(&mut self, now: u64, out: &mut Vec<Desaturation>) {
        match &self.open {
            None => self.restart(),
            Some(open) if open.told || self.level > self.depth(open) => {
                self.close(DesaturationKind::Final, now, out);
            }
            Some(_) => {
                self.deepen(now, out);
                if self.open.is_some_and(|open| open.told) {
                    self.close(DesaturationKind::Final, now, out);
                }
            }
        }
    }

    /// Levels up to here are below the baseline by the threshold.
    fn depth(&self, open: &Open) -> i32 {
        open.baseline - self.counts.drop + self.counts.level
    }

    /// A fall too slow or too sudden to be scored counts when it lasts.
    fn expire(&mut self, now: u64, out: &mut Vec<Desaturation>) {
        let Some(highest) = self.stairs.highest() else { return };
        if self.at - highest.at >= self.counts.longest && !self.lasting(now, out) {
            self.stairs.pop();
            self.settle();
        }
    }

    /// After the highest step is gone: is the level still below the next one by a turn?
    fn settle(&mut self) {
        match self.stairs.highest() {
            Some(step) => self.falling = step.level - self.level >= self.counts.turn,
            None => self.restart(),
        }
    }

    /// Reports what has not been scored but is still down by the threshold.
    fn lasting(&mut self, now: u64, out: &mut Vec<Desaturation>) -> bool {
        let Some(highest) = self.stairs.highest() else { return false };
        if !self.deep(highest.level) {
            return false;
        }
        let onset = self.stairs.last_above(highest.level - self.counts.level).unwrap_or(highest);
        if self.at - onset.at < self.counts.shortest {
            return false;
        }
        let open = Open { told: true, ..Open::since(highest.level, onset) };
        self.sink();
        out.push(self.event(DesaturationKind::Provisional, open, now));
        self.open = Some(open);
        self.close(DesaturationKind::Sustained, now, out);
        true
    }

    /// Tells what became of the event, if it was announced, and begins anew at the present level.
    fn close(&mut self, kind: DesaturationKind, now: u64, out: &mut Vec<Desaturation>) {
        if let Some(open) = self.open.take()
            && open.told
        {
            out.push(self.event(kind, open, now));
        }
        self.restart();
    }

    fn event(&self, kind: DesaturationKind, open: Open, now: u64) -> Desaturation {
        let nadir_at = self.nadir_at.max(open.onset);
        let below_full = i64::from(FULL - open.baseline) * (self.at - open.onset) as i64;
        let area = (self.sum - open.onset_sum - below_full).max(0);
        Desaturation {
            kind,
            onset: open.onset,
            nadir_at,
            end: self.at.max(nadir_at),
            baseline: pct(open.baseline),
            nadir: pct(self.nadir),
            drop: pct(open.baseline - self.nadir),
            decided: now,
            area: area as f64 / PER_PCT,
        }
    }

    /// The present level becomes the first step.
    fn restart(&mut self) {
        self.falling = false;
        self.open = None;
        self.stairs.clear();
        self.step();
    }

    /// The level has jumped to `value` and stays there: what was open is cut off before the jump.
    pub fn jump(&mut self, value: i32, now: u64, out: &mut Vec<Desaturation>) {
        let down = value < self.level;
        if down && self.open.is_some() {
            self.close(DesaturationKind::Truncated, now, out);
        }
        let returns =
            down && now - self.jumped_at <= self.counts.longest && value > self.jumped_from - self.counts.drop;
        if !down {
            self.jumped_from = self.level;
        }
        self.median.clear();
        self.jumped_at = now;
        if returns {
            (self.level, self.at) = (value, now);
            self.restart(); // an excursion upwards is over
        }
        self.push(value, now, out);
    }

    /// The series breaks off; nothing reaches over the break.
    pub fn gap(&mut self, now: u64, out: &mut Vec<Desaturation>) {
        self.close(DesaturationKind::Truncated, now, out);
        self.forget();
    }

    /// The series ends.
    pub fn end(&mut self, now: u64, out: &mut Vec<Desaturation>) {
        if self.open.is_some() {
            self.close(DesaturationKind::Sustained, now, out);
        } else if self.falling {
            self.lasting(now, out);
        }
        self.forget();
    }

    fn forget(&mut self) {
        self.median.clear();
        self.stairs.clear();
        self.recent.clear();
        self.jumped_from = i32::MAX;
        self.falling = false;
        self.open = None;
    }

    /// Appends the state; times as distance from `now`.
    pub fn write(&self, writer: &mut Writer, now: u64) {
        let ago = |at: u64| now - at;
        writer.put(&[self.valley, self.nadir, self.level, self.jumped_from, self.digit]);
        writer.put(&[self.jumped_at, self.at, self.nadir_at].map(ago));
        writer.put(&[u8::from(self.falling), u8::from(self.open.is_some())]);
        if let Some(open) = &self.open {
            writer.one(open.baseline).put(&[open.onset, open.low_at].map(ago)).one(self.sum - open.onset_sum);
            writer.one(open.held).one(u8::from(open.told));
        }
        self.median.write(writer, now);
        self.stairs.write(writer, now, self.sum);
        self.recent.write(writer, now);
    }

    /// Reads the state back.
    pub fn read(reader: &mut Reader<'_>, counts: Counts, now: u64) -> Result<Self, StateError> {
        let mut falls = Self::new(counts);
        let back = |ago: u64| now.checked_sub(ago).ok_or(StateError::Value("time before the series"));
        (falls.valley, falls.nadir, falls.level) = (reader.one()?, reader.one()?, reader.one()?);
        (falls.jumped_from, falls.digit) = (reader.one()?, reader.one()?);
        (falls.jumped_at, falls.at, falls.nadir_at) =
            (back(reader.one()?)?, back(reader.one()?)?, back(reader.one()?)?);
        falls.falling = reader.one::<u8>()? != 0;
        if reader.one::<u8>()? != 0 {
            let baseline = reader.one()?;
            let (onset, low_at, onset_sum) = (back(reader.one()?)?, back(reader.one()?)?, -reader.one::<i64>()?);
            falls.open =
                Some(Open { baseline, onset, onset_sum, low_at, held: reader.one()?, told: reader.one::<u8>()? != 0 });
        }
        falls.median = Median::read(reader, counts.median, now)?;
        falls.stairs = Staircase::read(reader, counts.second, now, 0)?;
        falls.recent = Recent::read(reader, counts.second, counts.spike, now)?;
        Ok(falls)
    }
}
