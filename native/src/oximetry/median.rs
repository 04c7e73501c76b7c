//! Running median of the last readings: single flickers of the device's last digit vanish, its resolution stays.

use super::reading::{compact, expand};
use crate::state::{Reader, StateError, Writer};

/// Longest window: 5 s at 10 Hz, made odd.
pub(super) const LONGEST: usize = 51;

/// The readings of the last `width` samples, in order of time and of size.
#[derive(Debug, Clone)]
pub(super) struct Median {
    width: usize,
    count: usize,
    /// Where the next reading goes.
    head: usize,
    values: [i32; LONGEST],
    times: [u64; LONGEST],
    sorted: [i32; LONGEST],
}

impl Median {
    /// `width` is odd and at most `LONGEST`.
    pub fn new(width: usize) -> Self {
        debug_assert!(width % 2 == 1 && width <= LONGEST);
        Self { width, count: 0, head: 0, values: [0; LONGEST], times: [0; LONGEST], sorted: [0; LONGEST] }
    }

    /// Takes a reading; returns the median (the lower of two) and the time of the sample in the middle.
    #[inline]
    pub fn push(&mut self, value: i32, time: u64) -> (i32, u64) {
        let newest = if self.head == 0 { self.width - 1 } else { self.head - 1 };
        if self.count == self.width && self.times[newest] + 1 == time {
            let oldest = std::mem::replace(&mut self.values[self.head], value);
            self.times[self.head] = time;
            if oldest != value {
                self.replace(oldest, value);
            }
        } else {
            self.insert(value, time);
        }
        self.head = if self.head + 1 == self.width { 0 } else { self.head + 1 };
        (self.sorted[(self.count - 1) / 2], self.middle())
    }

    /// The way in after missing samples: what is older than the window goes first.
    fn insert(&mut self, value: i32, time: u64) {
        while self.count > 0 && self.times[self.nth(0)] + self.width as u64 <= time {
            let gone = self.values[self.nth(0)];
            let place = self.sorted[..self.count].iter().position(|&kept| kept == gone).unwrap_or(0);
            self.sorted.copy_within(place + 1..self.count, place);
            self.count -= 1;
        }
        (self.values[self.head], self.times[self.head]) = (value, time);
        let place = self.sorted[..self.count].partition_point(|&kept| kept < value);
        self.sorted.copy_within(place..self.count, place + 1);
        self.sorted[place] = value;
        self.count += 1;
    }

    /// Where the nth oldest reading is.
    fn nth(&self, nth: usize) -> usize {
        let at = self.head + self.width - self.count + nth;
        if at >= self.width { at % self.width } else { at }
    }

    /// Moves the gap that `old` leaves to where `new` belongs.
    fn replace(&mut self, old: i32, new: i32) {
        let sorted = &mut self.sorted[..self.width];
        let mut place = sorted.iter().position(|&value| value == old).unwrap_or(0);
        while place + 1 < sorted.len() && sorted[place + 1] < new {
            sorted[place] = sorted[place + 1];
            place += 1;
        }
        while place > 0 && sorted[place - 1] > new {
            sorted[place] = sorted[place - 1];
            place -= 1;
        }
        sorted[place] = new;
    }

    #[inline]
    fn middle(&self) -> u64 {
        let back = (self.count - 1) / 2 + 1;
        let at = if self.head >= back { self.head - back } else { self.head + self.width - back };
        self.times[at]
    }

    /// Lowest reading of the window.
    #[inline]
    pub fn lowest(&self) -> i32 {
        self.sorted[0]
    }

    /// When the lowest reading of the window came first.
    pub fn lowest_at(&self) -> u64 {
        self.iter().find(|&(value, _)| value == self.sorted[0]).map_or(0, |(_, time)| time)
    }

    /// Readings with their times, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (i32, u64)> + '_ {
        (0..self.count).map(|nth| (self.values[self.nth(nth)], self.times[self.nth(nth)]))
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        (self.count, self.head) = (0, 0);
    }

    /// Appends the readings; times as distance from `now`.
    pub fn write(&self, writer: &mut Writer, now: u64) {
        writer.one(self.count as u8);
        for (value, time) in self.iter() {
            writer.one(compact(value)).one((now - time) as u16);
        }
    }

    /// Reads the readings back.
    pub fn read(reader: &mut Reader<'_>, width: usize, now: u64) -> Result<Self, StateError> {
        let mut median = Self::new(width);
        let count = usize::from(reader.one::<u8>()?);
        if count > width {
            return Err(StateError::Value("more readings than the window holds"));
        }
        for _ in 0..count {
            let value = expand(reader.one()?)?;
            let ago = u64::from(reader.one::<u16>()?);
            median.push(value, now.checked_sub(ago).ok_or(StateError::Value("reading before the series"))?);
        }
        if median.count != count {
            return Err(StateError::Value("readings out of order"));
        }
        Ok(median)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equals_sorting_the_window(
            readings in prop::collection::vec((0..12_i32, prop::bool::weighted(0.8)), 1..200),
            half in 0_usize..8,
        ) {
            let width = 2 * half + 1;
            let mut median = Median::new(width);
            for (now, &(value, valid)) in readings.iter().enumerate() {
                if !valid {
                    continue;
                }
                let (level, at) = median.push(value, now as u64);
                let from = (now + 1).saturating_sub(width);
                let inside: Vec<usize> = (from..=now).filter(|&index| readings[index].1).collect();
                let mut window: Vec<i32> = inside.iter().map(|&index| readings[index].0).collect();
                window.sort_unstable();
                let middle = (window.len() - 1) / 2;
                prop_assert_eq!(level, window[middle]);
                prop_assert_eq!(at as usize, inside[inside.len() - 1 - middle]);
                prop_assert_eq!(median.lowest(), window[0]);
                prop_assert_eq!(readings[median.lowest_at() as usize].0, window[0]);
            }
        }
    }
}
