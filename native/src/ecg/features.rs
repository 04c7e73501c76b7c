//! What a candidate looks like by itself: powers, widths, levels around it, its shape and its R position.

use super::front_end::View;
use super::math::{largest, least, ln};

/// Points of a shape: +-67 ms at about 120 Hz.
pub(super) const SHAPE: usize = 17;
/// A shape of unit norm has this length in its integers, so a product of two fits 32 bits.
pub(super) const UNIT: f32 = 32_000.0;

/// A maximum of energy within +-200 ms, with all that the decision needs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    /// Decimated index of the maximum.
    pub index: u64,
    /// Input sample of the R peak, counted by the front end.
    pub sample: u64,
    /// See [`Level`]. Logarithms, so that a gain is an offset.
    pub levels: [f32; LEVELS],
    /// Shape, mean removed, norm [`UNIT`].
    pub shape: [i16; SHAPE],
    /// The same over twice the time: +-133 ms, as wide as a ventricular beat.
    pub wide_shape: [i16; SHAPE],
    /// See [`Contour`]; small integers.
    pub contour: [i8; CONTOURS],
}

/// Number of contours.
pub(super) const CONTOURS: usize = 4;

/// Index into [`Candidate::contour`]: how wide the waves are, whatever their sharpest part.
#[derive(Clone, Copy)]
pub(super) enum Contour {
    /// From the first to the last step above a fifth of the steepest, within +-150 ms, seconds.
    Extent,
    /// Time in steps above three tenths of the steepest, seconds.
    Steep,
    /// Mean distance from the level before, as a share of the peak-to-peak amplitude, within +-150 ms.
    Area,
    /// Level 150 to 250 ms after against that before, as a share of that amplitude; negative: against the main wave.
    Discordance,
}

/// Number of levels.
pub(super) const LEVELS: usize = 14;

/// Index into [`Candidate::levels`].
#[derive(Clone, Copy)]
pub(super) enum Level {
    /// ln of the energy.
    Power,
    /// ln of second over first difference: how sharp.
    Sharpness,
    /// Width at half energy, seconds.
    Width,
    /// ln of the peak-to-peak amplitude.
    Amplitude,
    /// ln of the steepest step.
    Slope,
    /// ln of the mean energy in the second before.
    Background,
    /// ln of the mean of the quietest moments in four quarters of the second before.
    Floor,
    /// ln of the quietest moment 60 to 200 ms after.
    QuietAfter,
    /// ln of the quietest moment 60 to 200 ms before.
    QuietBefore,
    /// ln of the largest energy 100 to 200 ms after.
    Next,
    /// When that is, seconds after.
    NextAfter,
    /// ln of the peak-to-peak amplitude within +-150 ms: waves too slow for the second difference.
    Range,
    /// Level after minus level before, as a share of that range: electrodes that move leave a step.
    Step,
    /// ln of the sharpest corner in the 100 ms before the beat over that in the beat: a pacing spike.
    Spike,
}

impl Candidate {
    /// One level.
    pub fn level(&self, level: Level) -> f32 {
        self.levels[level as usize]
    }

    /// One contour.
    pub fn contour(&self, contour: Contour) -> f32 {
        const UNITS: [f32; CONTOURS] = [1.0 / 250.0, 1.0 / 250.0, 1.0 / 127.0, 1.0 / 64.0];
        f32::from(self.contour[contour as usize]) * UNITS[contour as usize]
    }
}

/// Measures the candidate at decimated index `index`.
pub(super) fn candidate(view: &View, index: i64) -> Candidate {
    let t = view.timing;
    let at = (index - view.energy_first) as usize;
    let energy = view.energy;
    let peak = energy[at];
    let eps = 5e-4 * peak; // a perfectly quiet neighbour counts as 66 dB below
    let before = at.min(index.max(0) as usize);
    let (near, far) = (t.span(0.06), t.span(0.2));

    let mut levels = [0.0; LEVELS];
    let mut set = |level: Level, value: f32| levels[level as usize] = value;
    set(Level::Power, ln(peak));
    set(Level::Sharpness, 0.5 * ln(peak * peak / (first_difference_power(view, index) + eps * eps)));
    set(Level::Width, half_width(&energy[..=at + t.reach], at, 0.5 * peak, far) as f32 / t.rate_hz);

    let second = before.min(t.span(1.0));
    let mean = energy[at - second..at].iter().sum::<f32>() / second.max(1) as f32;
    set(Level::Background, ln(mean + eps));
    let quarter = t.span(0.25);
    let quarters = (before / quarter).min(4);
    let floors = (0..quarters).map(|q| least(&energy[at - (q + 1) * quarter..at - q * quarter])).sum::<f32>();
    set(Level::Floor, ln(floors / quarters.max(1) as f32 + eps));
    set(Level::QuietAfter, ln(least(&energy[at + near..at + far]) + eps));
    set(Level::QuietBefore, ln(least(&energy[at - far..at - near]) + eps));
    let (mut next, mut next_after) = (0.0, far);
    for (ahead, &value) in energy[..=at + far].iter().enumerate().skip(at + t.span(0.1)) {
        if value > next {
            (next, next_after) = (value, ahead - at);
        }
    }
    set(Level::Next, ln(next + eps));
    set(Level::NextAfter, next_after as f32 / t.rate_hz);

    let (shape, wide_shape) = (shape(view, index, 1), shape(view, index, 2));
    let (peak_to_peak, step) = amplitude(view, index);
    set(Level::Amplitude, ln(peak_to_peak + eps));
    set(Level::Slope, ln(step + eps));
    let (range, step) = surroundings(view, index);
    set(Level::Range, ln(range + eps));
    set(Level::Step, step / (range + eps));
    let sample = r_sample(view, index);
    set(Level::Spike, spike(view, sample));
    Candidate { index: index.max(0) as u64, sample, levels, shape, wide_shape, contour: contour(view, index) }
}

/// The four contours, each in units that fill eight bits.
fn contour(view: &View, index: i64) -> [i8; CONTOURS] {
    const LONGEST: usize = 88;
    let t = view.timing;
    let at = (index - view.decimated_first) as usize;
    let (near, tenth, far) = (t.span(0.15), t.span(0.1), t.span(0.2));
    // smoothed, from 200 ms before to 250 ms after
    let mut points = [0.0; LONGEST + 1];
    let end = at + t.span(0.25);
    let points = &mut points[..end - (at - far)];
    for (point, w) in points.iter_mut().zip(view.decimated[at - far - 1..=end].windows(3)) {
        *point = w[0] + w[1] + w[2];
    }
    let mean = |values: &[f32]| values.iter().fold(0.0, |sum, v| sum + v) / values.len() as f32;
    let before = mean(&points[..far - tenth]);
    let around = &points[far - near..=far + near];
    let (high, low) = (largest(around), least(around));
    let range = high - low + f32::MIN_POSITIVE;
    let area = around.iter().fold(0.0, |sum, v| sum + (v - before).abs()) / around.len() as f32;
    let after = mean(&points[far + near..]);
    let main = if high - before > before - low { 1.0 } else { -1.0 };

    let mut steps = [0.0; LONGEST];
    let steps = &mut steps[..2 * near];
    for (step, w) in steps.iter_mut().zip(around.windows(2)) {
        *step = (w[1] - w[0]).abs();
    }
    let steepest = largest(steps);
    let first = steps.iter().position(|&step| step > 0.2 * steepest).unwrap_or(0);
    let last = steps.iter().rposition(|&step| step > 0.2 * steepest).unwrap_or(0);
    let steep = steps.iter().filter(|&&step| step > 0.3 * steepest).count();
    let units = |seconds: f32| rounded((250.0 * seconds / t.rate_hz).min(127.0)) as i8;
    [
        units((last + 1 - first) as f32),
        units(steep as f32),
        rounded((127.0 * area / range).min(127.0)) as i8,
        rounded((64.0 * main * (after - before) / range).clamp(-127.0, 127.0)) as i8,
    ]
}

/// Mean power of the first difference over the energy window.
fn first_difference_power(view: &View, index: i64) -> f32 {
    let t = view.timing;
    let d = view.decimated;
    let at = (index - view.decimated_first) as usize;
    let smooth = |i: usize| d[i - 1] + d[i] + d[i + 1];
    let window = at - t.half_power..=at + t.half_power;
    let sum = window.map(|i| smooth(i + t.lag) - smooth(i - t.lag)).fold(0.0, |sum, d| sum + d * d);
    sum / (2 * t.half_power + 1) as f32
}

fn half_width(energy: &[f32], at: usize, half: f32, most: usize) -> usize {
    let left = (0..most).take_while(|&i| i < at && energy[at - i] > half).count();
    let right = (0..most).take_while(|&i| at + i + 1 < energy.len() && energy[at + i] > half).count();
    left + right
}

/// Peak-to-peak amplitude around the candidate and its steepest step.
fn amplitude(view: &View, index: i64) -> (f32, f32) {
    let d = view.decimated;
    let at = (index - view.decimated_first) as usize;
    let half = view.timing.half_shape;
    let (mut high, mut low, mut step) = (f32::MIN, f32::MAX, 0.0_f32);
    for i in at - half..=at + half {
        let s = d[i - 1] + d[i] + d[i + 1];
        high = high.max(s);
        low = low.min(s);
        step = step.max((d[i] - d[i - 1]).abs());
    }
    ((high - low) / 3.0, step)
}

/// The unit shape around the candidate, one point every `stride` decimated samples.
fn shape(view: &View, index: i64, stride: usize) -> [i16; SHAPE] {
    let d = view.decimated;
    let at = (index - view.decimated_first) as usize - stride * (SHAPE / 2);
    let mut points = [0.0; SHAPE];
    for (i, point) in points.iter_mut().enumerate() {
        let i = at + stride * i;
        *point = d[i - 1] + d[i] + d[i + 1];
    }
    let mean = points.iter().sum::<f32>() / SHAPE as f32;
    let norm = points.iter().fold(0.0, |sum, p| sum + (p - mean) * (p - mean)).sqrt();
    let scale = if norm > 0.0 { UNIT / norm } else { 0.0 };
    points.map(|p| rounded((p - mean) * scale))
}

/// Nearest integer, halves away from zero, without a call into the C library.
fn rounded(x: f32) -> i16 {
    let whole = x as i32;
    let rest = x - whole as f32;
    (whole + i32::from(rest >= 0.5) - i32::from(rest <= -0.5)) as i16
}

/// Peak-to-peak amplitude within +-150 ms, and how far the level 100 to 200 ms after is from that before.
fn surroundings(view: &View, index: i64) -> (f32, f32) {
    let t = view.timing;
    let d = view.decimated;
    let at = (index - view.decimated_first) as usize;
    let (near, wide, far) = (t.span(0.1), t.span(0.15), t.span(0.2));
    let around = &d[at - wide..=at + wide];
    let mean = |values: &[f32]| values.iter().sum::<f32>() / values.len() as f32;
    let step = mean(&d[at + near..at + far]) - mean(&d[at - far..at - near]);
    (largest(around) - least(around), step.abs())
}

/// Sharpest corner from 120 to 25 ms before the R peak over the sharpest around it, as a logarithm.
fn spike(view: &View, sample: u64) -> f32 {
    let t = view.timing;
    let raw = view.raw;
    let at = (sample as i64 - view.raw_first) as usize;
    let corner = |from: usize, to: usize| {
        raw[from.max(2) - 2..to].windows(3).fold(0.0, |most: f32, w| {
            let corner = (2.0 * w[1] - w[0] - w[2]).abs();
            if corner > most { corner } else { most }
        })
    };
    let (near, far) = (t.before_spike.0, t.before_spike.1);
    let beat = corner(at.saturating_sub(near), (at + near).min(raw.len()).min(at + t.look_ahead / 8));
    ln((corner(at.saturating_sub(far), at.saturating_sub(near).max(3)) + 1e-3 * beat) / (beat + f32::MIN_POSITIVE))
}

/// The input sample that departs most from the local median within +-60 ms, never older than the look-ahead.
fn r_sample(view: &View, index: i64) -> u64 {
    let t = view.timing;
    let at = (index - view.decimated_first) as usize;
    let mut around = [0.0; 34];
    around.copy_from_slice(&view.decimated[at - 9..at + 25]);
    let (lower, upper, _) = around.select_nth_unstable_by(17, f32::total_cmp);
    let base = 0.5 * (largest(lower) + *upper) / t.factor as f32;

    // the sample that completed this candidate, whatever else the chunk holds
    let now = (index + (t.energy_delay() + t.reach + 1) as i64) * t.factor as i64 - 1;
    let centre = index * t.factor as i64 + (t.factor as i64 - 1) / 2;
    let oldest = (centre - t.half_refine as i64).max(now - t.look_ahead as i64).max(0);
    let newest = (centre + t.half_refine as i64).min(now);
    let (mut best, mut position) = (-1.0, centre.max(0));
    let near = &view.raw[(oldest - view.raw_first) as usize..=(newest - view.raw_first) as usize];
    for (i, value) in (oldest..).zip(near) {
        let departure = (value - base).abs();
        if departure > best {
            (best, position) = (departure, i);
        }
    }
    position as u64
}
