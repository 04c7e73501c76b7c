//! From samples to candidates: decimate, smooth, second difference, power, local maxima.
//!
//! Everything is a short FIR form over the last samples, so it vectorises over time inside a chunk, carries no
//! recursion that could drift, and gives the same bits however a stream is cut.

use std::cell::RefCell;
use std::ops::Range;

use multiversion::multiversion;

use super::features::{self, Candidate};
use super::math::largest;
use super::quality::{Second, Tally};
use super::timing::Timing;
use crate::state::{Reader, StateError, Writer};

/// Beyond every anchor that valid samples (within 1e12) can leave. A forged one of 1e300 would make energies that are no
/// numbers, and a search for maxima that never ends.
const LARGEST_ANCHOR: f64 = 1e13;
/// Decimated samples between two moves of the anchor, about a second.
const REBASE_EVERY: u64 = 128;

/// Working memory of a push, shared by all leads of a thread.
#[derive(Default)]
pub(super) struct Scratch {
    raw: Vec<f32>,
    decimated: Vec<f32>,
    smooth: Vec<f32>,
    power: Vec<f32>,
    energy: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// What the front end finds, in order of the samples that complete it.
pub(super) enum Found<'a> {
    /// A candidate whose parts that only beats need are not measured yet, and the signals to measure them in.
    Candidate(Candidate, &'a View<'a>),
    Second(Second<'a>),
}

/// The signals around one moment, as the features see them. Index `at` is a decimated index; nothing later than the
/// sample that completed the candidate may be read, or beats would depend on the chunking.
pub(super) struct View<'a> {
    pub timing: &'a Timing,
    /// Decimated samples; `decimated[i]` has index `decimated_first + i`.
    pub decimated: &'a [f32],
    pub decimated_first: i64,
    /// Root of the power; same convention.
    pub energy: &'a [f32],
    pub energy_first: i64,
    /// Input samples (relative to the anchor); same convention with input indices.
    pub raw: &'a [f32],
    pub raw_first: i64,
}

/// Filter state of one lead.
#[derive(Clone)]
pub(super) struct FrontEnd {
    pub timing: Timing,
    /// Decimated samples so far.
    pub count: u64,
    /// Input samples behind the last whole decimated sample.
    phase: usize,
    /// Subtracted from every sample; `rebase` moves it.
    anchor: f64,
    raw: Vec<f32>,
    decimated: Vec<f32>,
    energy: Vec<f32>,
    /// Place of the running maximum in `energy`.
    peak: usize,
    tally: Tally,
    /// Second that the next decimated sample belongs to.
    second: u64,
    /// Second whose candidates are not all found yet.
    open: u64,
}

impl FrontEnd {
    pub fn new(timing: Timing, anchor: f64) -> Self {
        Self {
            timing,
            count: 0,
            phase: 0,
            anchor,
            raw: vec![0.0; timing.raw_kept],
            decimated: vec![0.0; timing.decimated_kept],
            energy: vec![0.0; timing.energy_kept],
            peak: timing.energy_kept - 1,
            tally: Tally::default(),
            second: 0,
            open: 0,
        }
    }

    /// Input samples seen.
    pub fn samples(&self) -> u64 {
        self.count * self.timing.factor as u64 + self.phase as u64
    }

    /// Input samples that whole decimated samples cover.
    pub fn processed(&self) -> u64 {
        self.count * self.timing.factor as u64
    }

    /// The last sample, relative to the anchor.
    pub fn last(&self) -> f32 {
        self.raw[self.raw.len() - 1]
    }

    /// Makes `value` continue where the last sample ended: a lost stretch must not leave a step that looks like a beat.
    pub fn continue_from(&mut self, value: f64) {
        self.anchor = value - f64::from(self.last());
    }

    /// Pushes samples; `convert` gives one as difference from the anchor.
    pub fn push<T: Copy>(&mut self, samples: &[T], convert: impl Fn(T, f64) -> f32, found: impl FnMut(Found)) {
        let fill = |raw: &mut Vec<f32>, block: Range<usize>, anchor: f64, _| {
            raw.extend(samples[block].iter().map(|&sample| convert(sample, anchor)));
        };
        self.blocks(samples.len(), false, fill, found);
    }

    /// Pushes the last sample another `count` times.
    pub fn hold(&mut self, count: usize, found: impl FnMut(Found)) {
        let fill = |raw: &mut Vec<f32>, block: Range<usize>, _, last| raw.resize(raw.len() + block.len(), last);
        self.blocks(count, true, fill, found);
    }

    fn blocks(
        &mut self,
        count: usize,
        held: bool,
        fill: impl Fn(&mut Vec<f32>, Range<usize>, f64, f32),
        mut found: impl FnMut(Found),
    ) {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut done = 0;
            while done < count {
                // a block ends where the anchor moves, which depends on the sample count alone
                let until = (REBASE_EVERY - self.count % REBASE_EVERY) as usize * self.timing.factor - self.phase;
                let end = count.min(done + until);
                scratch.raw.clear();
                scratch.raw.extend_from_slice(&self.raw);
                fill(&mut scratch.raw, done..end, self.anchor, self.last());
                self.block(scratch, held, &mut found);
                if end - done == until {
                    self.rebase();
                }
                done = end;
            }
        });
    }

    /// Moves the anchor to the last sample. Values stay small, so float32 keeps the resolution of the signal even after
    /// garbage a million times larger or under a huge offset.
    fn rebase(&mut self) {
        let shift = self.last();
        self.anchor += f64::from(shift);
        for value in &mut self.raw {
            *value -= shift;
        }
        let shift = shift * self.timing.factor as f32;
        self.tally.shift(shift);
        for value in &mut self.decimated {
            *value -= shift;
        }
    }

    fn block(&mut self, scratch: &mut Scratch, held: bool, found: &mut impl FnMut(Found)) {
        let t = self.timing;
        let kept = t.raw_kept;
        let pending = &scratch.raw[kept - self.phase..];
        let new = pending.len() / t.factor;
        let phase = pending.len() - new * t.factor;
        if new > 0 {
            decimate(pending, t.factor, &self.decimated, &mut scratch.decimated);
            filter(&t, new, &self.energy, scratch);
            self.tally(&scratch.decimated[t.decimated_kept..], held);
            self.scan(new, phase, scratch, found);
            self.decimated.copy_from_slice(&scratch.decimated[new..]);
            self.energy.copy_from_slice(&scratch.energy[new..]);
            self.count += new as u64;
        }
        let end = scratch.raw.len();
        self.raw.copy_from_slice(&scratch.raw[end - kept..]);
        self.phase = phase;
    }

    /// Counts invalid and railed samples by second.
    fn tally(&mut self, new: &[f32], held: bool) {
        let mut rest = new;
        let mut index = self.count;
        while !rest.is_empty() {
            let left = (self.timing.second(self.second + 1) - index) as usize;
            let (now, later) = rest.split_at(left.min(rest.len()));
            self.tally.count(self.second, now, held);
            index += now.len() as u64;
            rest = later;
            self.second += u64::from(now.len() == left);
        }
    }

    /// Finds the energies that exceed all before and are not exceeded by any after, within `reach`.
    fn scan(&mut self, new: usize, phase: usize, scratch: &Scratch, found: &mut impl FnMut(Found)) {
        let t = &self.timing.clone();
        let energy = &scratch.energy[..];
        let (kept, reach) = (t.energy_kept, t.reach);
        let view = View {
            timing: t,
            decimated: &scratch.decimated,
            decimated_first: self.count as i64 - t.decimated_kept as i64,
            energy,
            energy_first: self.count as i64 - t.energy_delay() as i64 - kept as i64,
            raw: &scratch.raw,
            raw_first: ((self.count + new as u64) * t.factor as u64) as i64 + phase as i64 - scratch.raw.len() as i64,
        };
        let mut peak = self.peak;
        let mut best = energy[peak];
        // a second is complete when the window of its last candidate is
        let due = |second: u64| (t.second(second + 1) as i64 - view.energy_first) as usize + reach;
        let mut close = due(self.open);
        let (mut now, end) = (kept, kept + new);
        loop {
            let stop = end.min(close);
            while now < stop {
                if energy[now] > best {
                    (peak, best) = (now, energy[now]);
                } else if now < peak + reach {
                    // until the maximum's window ends only a larger energy matters
                    now += first_above(&energy[now..stop.min(peak + reach)], best);
                    continue;
                } else {
                    if best > 0.0 && largest(&energy[peak - reach..peak]) < best {
                        found(Found::Candidate(features::candidate(&view, view.energy_first + peak as i64), &view));
                        peak = now; // nothing between can dominate the candidate
                    } else {
                        peak += 1 + first_largest(&energy[peak + 1..=now]);
                    }
                    best = energy[peak];
                }
                now += 1;
            }
            if now == end {
                break;
            }
            let (first, end) = (t.second(self.open), t.second(self.open + 1));
            let samples = self.tally.take(self.open, (end - first) as usize);
            let energy = &energy[now - reach - (end - first) as usize..now - reach];
            found(Found::Second(Second::new(first * t.factor as u64, samples, energy)));
            self.open += 1;
            close = due(self.open);
        }
        self.peak = peak - new;
    }

    pub fn write(&self, writer: &mut Writer) {
        writer.one(self.count).one(self.phase as u8).one(self.anchor).one(self.peak as u16);
        self.tally.write(writer);
        writer.put(&self.raw).put(&self.decimated).put(&self.energy);
    }

    pub fn read(timing: Timing, reader: &mut Reader) -> Result<Self, StateError> {
        let mut front = Self::new(timing, 0.0);
        front.count = reader.one()?;
        front.phase = reader.one::<u8>()? as usize;
        front.anchor = reader.one()?;
        front.peak = reader.one::<u16>()? as usize;
        front.tally = Tally::read(reader)?;
        reader.fill(&mut front.raw)?;
        reader.fill(&mut front.decimated)?;
        reader.fill(&mut front.energy)?;
        let finite = |values: &[f32]| values.iter().all(|v| v.abs() < 1e15);
        let sane = front.count < 1 << 48
            && front.phase < timing.factor
            && front.anchor.abs() < LARGEST_ANCHOR
            && (timing.energy_kept - timing.reach..timing.energy_kept).contains(&front.peak)
            && finite(&front.raw)
            && finite(&front.decimated)
            && finite(&front.energy)
            && front.energy.iter().all(|&e| e >= 0.0);
        front.second = timing.second_at(front.count);
        front.open = timing.second_at(front.count.saturating_sub((timing.energy_delay() + timing.reach + 1) as u64));
        if sane { Ok(front) } else { Err(StateError::Value("filter state of a lead")) }
    }
}

/// Sums of `factor` samples behind the kept ones. Sums of integers stay exact in float32.
#[multiversion(targets("x86_64+avx2"))]
fn decimate(pending: &[f32], factor: usize, kept: &[f32], out: &mut Vec<f32>) {
    fn sums<const N: usize>(pending: &[f32], out: &mut Vec<f32>) {
        out.extend(pending.chunks_exact(N).map(|block| block.iter().fold(0.0, |sum, v| sum + v)));
    }
    out.clear();
    out.extend_from_slice(kept);
    match factor {
        1 => sums::<1>(pending, out),
        2 => sums::<2>(pending, out),
        3 => sums::<3>(pending, out),
        4 => sums::<4>(pending, out),
        8 => sums::<8>(pending, out),
        _ => out.extend(pending.chunks_exact(factor).map(|block| block.iter().fold(0.0, |sum, v| sum + v))),
    }
}

/// Place of the first value above `bound`, their number if there is none: whole blocks at a time.
#[inline(always)]
fn first_above(values: &[f32], bound: f32) -> usize {
    let blocks = values.chunks_exact(8);
    let mut at = 0;
    for block in blocks {
        if largest(block) > bound {
            break;
        }
        at += block.len();
    }
    at + values[at..].iter().position(|&v| v > bound).unwrap_or(values.len() - at)
}

/// Place of the largest value, the first of equals.
#[inline(always)]
pub(super) fn first_largest(values: &[f32]) -> usize {
    let most = largest(values);
    let mut at = 0;
    for block in values.chunks_exact(8) {
        if largest(block) >= most {
            break;
        }
        at += block.len();
    }
    at + values[at..].iter().position(|&v| v >= most).unwrap_or(0)
}

/// Sums of `2 half + 1` values in a row, each added from left to right.
#[inline(always)]
fn moving_sums(values: &[f32], half: usize, out: &mut [f32]) {
    fn taps<const N: usize>(values: &[f32], out: &mut [f32]) {
        for (sum, window) in out.iter_mut().zip(values.windows(N)) {
            *sum = window[1..].iter().fold(window[0], |sum, v| sum + v);
        }
    }
    match 2 * half + 1 {
        9 => taps::<9>(values, out),
        count => {
            for (sum, window) in out.iter_mut().zip(values.windows(count)) {
                *sum = window[1..].iter().fold(window[0], |sum, v| sum + v);
            }
        }
    }
}

/// The energies kept and behind them the `new` ones from the decimated samples.
#[multiversion(targets("x86_64+avx2"))]
fn filter(t: &Timing, new: usize, kept: &[f32], scratch: &mut Scratch) {
    let (lag, half) = (t.lag, t.half_power);
    let powers = new + 2 * half;
    let smooths = powers + 2 * lag;
    let source = &scratch.decimated[scratch.decimated.len() - smooths - 2..];
    scratch.smooth.clear();
    scratch.smooth.extend(source.windows(3).map(|w| w[0] + w[1] + w[2]));
    let s = &scratch.smooth[..];
    scratch.power.clear();
    scratch.power.extend(s.iter().zip(&s[lag..]).zip(&s[2 * lag..]).map(|((before, at), after)| {
        let difference = 2.0 * at - before - after;
        difference * difference
    }));
    let window = (2 * half + 1) as f32;
    scratch.energy.clear();
    scratch.energy.extend_from_slice(kept);
    scratch.energy.resize(kept.len() + new, 0.0);
    let energy = &mut scratch.energy[kept.len()..];
    moving_sums(&scratch.power, half, energy);
    for value in energy {
        *value = (*value / window).sqrt();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchor_that_no_samples_leave_is_refused() {
        let timing = Timing::new(250.0).unwrap();
        for (anchor, sane) in [(1e12, true), (-1e12, true), (1e300, false), (f64::NAN, false)] {
            let mut writer = Writer::new(*b"TEST", 1);
            FrontEnd::new(timing, anchor).write(&mut writer);
            let bytes = writer.finish();
            let mut reader = Reader::open(&bytes, *b"TEST", 1).unwrap();
            assert_eq!(FrontEnd::read(timing, &mut reader).is_ok(), sane, "{anchor}");
        }
    }
}
