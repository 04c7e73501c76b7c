//! Indices of a night and of the rolling hour: ODI, time below a limit, hypoxic burden, all per valid time.

use super::reading::{FULL, PER_PCT, compact, expand, pct};
use super::{Desaturation, DesaturationKind};
use crate::state::{Reader, StateError, Writer};

/// Limits of T90, T88 and T85, thousandths of a percent.
const BELOW: [i32; 3] = [90_000, 88_000, 85_000];
/// The rolling hour moves by whole minutes.
const MINUTES: usize = 60;
/// A reading covers the time since the one before, if that is no longer (clinical digest 1.3).
const BRIDGE_S: f64 = 5.0;
/// The burden of a recovered event runs on until the level is back, at most so long (Azarbarzin 2019: 100 s).
const TAIL_S: f64 = 100.0;
/// Averaging beyond which falls are hidden.
const LONGEST_AVERAGING_S: f64 = 3.0;
/// The level is back within this of the baseline.
const LEVEL: i32 = 340;
/// A fall by this much is the next one.
const TURN: i32 = 1340;

/// What some stretch of the series adds up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sums {
    /// Samples covered by readings.
    covered: u32,
    below: [u32; 3],
    /// Scored falls by 3 and by 4 points.
    events: [u32; 2],
    /// Thousandths of a point times samples.
    burden: u64,
    /// Of what readings lack to 100 %, thousandths times samples.
    lack: u64,
    lowest: i32,
}

impl Sums {
    const NONE: Self = Self { covered: 0, below: [0; 3], events: [0; 2], burden: 0, lack: 0, lowest: FULL };

    fn add(&mut self, other: &Self) {
        self.covered += other.covered;
        for (sum, more) in self.below.iter_mut().zip(other.below) {
            *sum += more;
        }
        for (sum, more) in self.events.iter_mut().zip(other.events) {
            *sum += more;
        }
        self.burden += other.burden;
        self.lack += other.lack;
        self.lowest = self.lowest.min(other.lowest);
    }

    fn write(&self, writer: &mut Writer) {
        writer.one(self.covered).put(&self.below).put(&self.events).one(self.burden).one(self.lack);
        writer.one(compact(self.lowest));
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let mut sums = Self { covered: reader.one()?, ..Self::NONE };
        reader.fill(&mut sums.below)?;
        reader.fill(&mut sums.events)?;
        (sums.burden, sums.lack) = (reader.one()?, reader.one()?);
        sums.lowest = expand(reader.one()?)?;
        Ok(sums)
    }

    /// A minute in 20 bytes: none of its numbers is large.
    fn write_minute(&self, writer: &mut Writer) {
        writer.one(self.covered as u16).put(&self.below.map(|below| below as u16));
        writer.put(&self.events.map(|events| events as u8));
        writer.put(&[self.burden as u32, self.lack as u32]).one(compact(self.lowest));
    }

    fn read_minute(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let (mut below, mut events, mut sums) = ([0_u16; 3], [0_u8; 2], Self::NONE);
        sums.covered = u32::from(reader.one::<u16>()?);
        reader.fill(&mut below)?;
        reader.fill(&mut events)?;
        (sums.below, sums.events) = (below.map(u32::from), events.map(u32::from));
        (sums.burden, sums.lack) = (u64::from(reader.one::<u32>()?), u64::from(reader.one::<u32>()?));
        sums.lowest = expand(reader.one()?)?;
        Ok(sums)
    }
}

/// Indices of a stretch. Without a valid reading every ratio is NaN.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SpO2Indices {
    /// Hours covered by readings: the denominator of every index.
    pub valid_h: f64,
    /// Scored falls by 3 and by 4 points.
    pub events: [u32; 2],
    /// The same per valid hour.
    pub odi: [f64; 2],
    /// Part of the valid time below 90, 88 and 85 %, in percent.
    pub time_below_pct: [f64; 3],
    /// Area between baseline and readings of scored falls by 3 points, percent minutes per valid hour.
    pub burden_pct_min_per_h: f64,
    /// Mean reading, %.
    pub mean_pct: f64,
    /// Lowest reading, %.
    pub lowest_pct: f64,
    /// Whether the device averages over at most 3 s, as the AASM asks: longer averaging hides up to 60 % of the falls
    /// (clinical digest 1.1). `None` where that is not known.
    pub comparable: Option<bool>,
}

/// The way back to the baseline after a scored fall.
#[derive(Debug, Clone, Copy)]
struct Tail {
    baseline: i32,
    highest: i32,
    until: u64,
}

/// Adds up one series.
#[derive(Debug, Clone)]
pub(super) struct Indices {
    fs_hz: f64,
    /// Averaging of the device; NaN: not known.
    averaging_s: f64,
    bridge: u64,
    minute: u64,
    next: u64,
    /// Sample after the last reading; 0: none yet.
    read_to: u64,
    tail: Option<Tail>,
    night: Sums,
    hour: [Sums; MINUTES],
}

impl Indices {
    pub fn new(fs_hz: f64, averaging_s: Option<f64>) -> Self {
        Self {
            fs_hz,
            averaging_s: averaging_s.unwrap_or(f64::NAN),
            bridge: (BRIDGE_S * fs_hz) as u64,
            minute: (60.0 * fs_hz).round() as u64,
            next: 0,
            read_to: 0,
            tail: None,
            night: Sums::NONE,
            hour: [Sums::NONE; MINUTES],
        }
    }

    #[inline]
    fn bin(&mut self, now: u64) -> &mut Sums {
        &mut self.hour[(now / self.minute) as usize % MINUTES]
    }

    /// Takes a sample.
    #[inline]
    pub fn sample(&mut self, reading: Option<i32>) {
        let now = self.next;
        self.next += 1;
        if now.is_multiple_of(self.minute) {
            *self.bin(now) = Sums::NONE;
        }
        if let Some(value) = reading {
            self.read(value, now);
        }
    }

    fn read(&mut self, value: i32, now: u64) {
        let elapsed = now + 1 - self.read_to;
        let covered = if self.read_to > 0 && elapsed <= self.bridge { elapsed as u32 } else { 1 };
        self.read_to = now + 1;
        let mut sums = Sums { covered, lack: (FULL - value) as u64 * u64::from(covered), lowest: value, ..Sums::NONE };
        if value < BELOW[0] {
            sums.below = BELOW.map(|limit| if value < limit { covered } else { 0 });
        }
        if let Some(tail) = &mut self.tail {
            tail.highest = tail.highest.max(value);
            if value >= tail.baseline - LEVEL || value <= tail.highest - TURN || now > tail.until {
                self.tail = None;
            } else {
                sums.burden = (tail.baseline - value) as u64 * u64::from(covered);
            }
        }
        self.add(&sums, now);
    }

    fn add(&mut self, sums: &Sums, now: u64) {
        self.night.add(sums);
        self.bin(now).add(sums);
    }

    /// Takes an event that the last sample decided: a fall by 3 points (`which` 0) or by 4 (1).
    pub fn event(&mut self, which: usize, event: &Desaturation) {
        if event.kind == DesaturationKind::Provisional {
            return;
        }
        let mut sums = Sums::NONE;
        sums.events[which] = 1;
        let now = self.next.saturating_sub(1);
        if which == 0 {
            sums.burden = (event.area * PER_PCT) as u64;
            self.tail = (event.kind == DesaturationKind::Final).then(|| Tail {
                baseline: (event.baseline * PER_PCT).round() as i32,
                highest: 0,
                until: now + (TAIL_S * self.fs_hz) as u64,
            });
        }
        self.add(&sums, now);
    }

    /// A new night begins: its sums start at nothing, the rolling hour goes on.
    pub fn begin_night(&mut self) {
        self.night = Sums::NONE;
    }

    /// Since the night began.
    pub fn night(&self) -> SpO2Indices {
        self.report(&self.night)
    }

    /// The present minute and the 59 before.
    pub fn hour(&self) -> SpO2Indices {
        let mut sums = Sums::NONE;
        for minute in &self.hour {
            sums.add(minute);
        }
        self.report(&sums)
    }

    fn report(&self, sums: &Sums) -> SpO2Indices {
        let covered = f64::from(sums.covered);
        let valid_h = covered / self.fs_hz / 3600.0;
        let valid = |number: f64| if sums.covered == 0 { f64::NAN } else { number };
        SpO2Indices {
            valid_h,
            events: sums.events,
            odi: sums.events.map(|events| valid(f64::from(events) / valid_h)),
            time_below_pct: sums.below.map(|below| valid(100.0 * f64::from(below) / covered)),
            burden_pct_min_per_h: valid(sums.burden as f64 / PER_PCT / self.fs_hz / 60.0 / valid_h),
            mean_pct: valid(100.0 - sums.lack as f64 / PER_PCT / covered),
            lowest_pct: valid(pct(sums.lowest)),
            comparable: (!self.averaging_s.is_nan()).then_some(self.averaging_s <= LONGEST_AVERAGING_S),
        }
    }

    /// Appends the state.
    pub fn write(&self, writer: &mut Writer) {
        writer.one(self.averaging_s).put(&[self.next, self.read_to]).one(u8::from(self.tail.is_some()));
        if let Some(tail) = &self.tail {
            writer.put(&[tail.baseline, tail.highest]).one(tail.until);
        }
        self.night.write(writer);
        for minute in &self.hour {
            minute.write_minute(writer);
        }
    }

    /// Reads the state back.
    pub fn read_state(reader: &mut Reader<'_>, fs_hz: f64) -> Result<Self, StateError> {
        let mut indices = Self::new(fs_hz, Some(reader.one()?));
        (indices.next, indices.read_to) = (reader.one()?, reader.one()?);
        if indices.read_to > indices.next {
            return Err(StateError::Value("reading after the series"));
        }
        if reader.one::<u8>()? != 0 {
            let (baseline, highest, until) = (reader.one()?, reader.one()?, reader.one()?);
            indices.tail = Some(Tail { baseline, highest, until });
        }
        indices.night = Sums::read(reader)?;
        for minute in &mut indices.hour {
            *minute = Sums::read_minute(reader)?;
        }
        Ok(indices)
    }
}
