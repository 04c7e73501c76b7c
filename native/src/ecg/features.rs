//! What a candidate looks like by itself: powers, widths, levels around it, its shape and its R position.

use multiversion::multiversion;

use super::front_end::{View, first_largest};
use super::math::{largest, least, ln, middle_of_34, rounded, sum};
use super::timing::Timing;

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
#[multiversion(targets("x86_64+avx2"))]
pub(super) fn candidate(view: &View, index: i64) -> Candidate {
    let t = view.timing;
    let at = (index - view.energy_first) as usize;
    let energy = view.energy;
    let peak = energy[at];
    let eps = 5e-4 * peak; // a perfectly quiet neighbour counts as 66 dB below
    let before = at.min(index.max(0) as usize);
    let spans = t.spans;
    let (near, far) = (spans.ms60, spans.ms200);

    let mut levels = [0.0; LEVELS];
    let mut set = |level: Level, value: f32| levels[level as usize] = value;
    set(Level::Power, ln(peak));
    set(Level::Width, half_width(&energy[..=at + t.reach], at, 0.5 * peak, far) as f32 / t.rate_hz);

    let second = before.min(t.spans.s1);
    let mean = sum(&energy[at - second..at]) / second.max(1) as f32;
    set(Level::Background, ln(mean + eps));
    let quarter = t.spans.ms250;
    let quarters = (before / quarter).min(4);
    let floors = (0..quarters).map(|q| least(&energy[at - (q + 1) * quarter..at - q * quarter])).sum::<f32>();
    set(Level::Floor, ln(floors / quarters.max(1) as f32 + eps));
    set(Level::QuietAfter, ln(least(&energy[at + near..at + far]) + eps));
    set(Level::QuietBefore, ln(least(&energy[at - far..at - near]) + eps));
    let ahead = &energy[at + spans.ms100..=at + far];
    let largest_ahead = first_largest(ahead);
    let next = ahead[largest_ahead];
    let next_after = if next > 0.0 { largest_ahead + spans.ms100 } else { far };
    set(Level::Next, ln(next + eps));
    set(Level::NextAfter, next_after as f32 / t.rate_hz);

    let near = Near::new(view, index);
    set(Level::Sharpness, 0.5 * ln(peak * peak / (near.first_difference_power(t) + eps * eps)));
    let (peak_to_peak, step) = near.amplitude(view, index);
    set(Level::Amplitude, ln(peak_to_peak + eps));
    set(Level::Slope, ln(step + eps));
    let (range, step) = surroundings(view, index);
    set(Level::Range, ln(range + eps));
    set(Level::Step, step / (range + eps));
    let (shape, wide_shape) = (near.shape::<1>(), near.shape::<2>());
    let index = index.max(0) as u64;
    Candidate { index, sample: 0, levels, shape, wide_shape, contour: [0; CONTOURS] }
}

/// Measures what only a beat needs: its R position, a pacing spike before it, its contours.
#[multiversion(targets("x86_64+avx2"))]
pub(super) fn complete(view: &View, candidate: &mut Candidate) {
    let index = candidate.index as i64;
    candidate.sample = r_sample(view, index);
    candidate.levels[Level::Spike as usize] = spike(view, candidate.sample);
    candidate.contour = Near::new(view, index).contour(view.timing);
}

/// Points that [`Near`] can hold: 450 ms at the highest rate.
const NEAR: usize = 88;

/// The smoothed signal from 200 ms before a candidate to 250 ms after it.
struct Near {
    points: [f32; NEAR],
    /// Points in use.
    count: usize,
    /// Place of the candidate.
    at: usize,
}

impl Near {
    #[inline(always)]
    fn new(view: &View, index: i64) -> Self {
        let t = view.timing;
        let at = (index - view.decimated_first) as usize;
        let (before, count) = (t.spans.ms200, t.spans.ms200 + t.spans.ms250);
        let mut points = [0.0; NEAR];
        for (point, w) in points[..count].iter_mut().zip(view.decimated[at - before - 1..].windows(3)) {
            *point = w[0] + w[1] + w[2];
        }
        Self { points, count, at: before }
    }

    /// The four contours, each in units that fill eight bits.
    #[inline(always)]
    fn contour(&self, t: &Timing) -> [i8; CONTOURS] {
        let (near, tenth, far) = (t.spans.ms150, t.spans.ms100, self.at);
        let points = &self.points[..self.count];
        let mean = |values: &[f32]| sum(values) / values.len() as f32;
        let before = mean(&points[..far - tenth]);
        let around = &points[far - near..=far + near];
        let (high, low) = (largest(around), least(around));
        let range = high - low + f32::MIN_POSITIVE;
        let area = around.iter().fold(0.0, |sum, v| sum + (v - before).abs()) / around.len() as f32;
        let after = mean(&points[far + near..]);
        let main = if high - before > before - low { 1.0 } else { -1.0 };

        let mut steps = [0.0; NEAR];
        let steps = &mut steps[..2 * near];
        for (step, w) in steps.iter_mut().zip(around.windows(2)) {
            *step = (w[1] - w[0]).abs();
        }
        let steepest = largest(steps);
        let first = steps.iter().position(|&step| step > 0.2 * steepest).unwrap_or(0);
        let last = steps.iter().rposition(|&step| step > 0.2 * steepest).unwrap_or(0);
        let steep = steps.iter().map(|&step| u32::from(step > 0.3 * steepest)).sum::<u32>();
        let units = |seconds: f32| rounded((250.0 * seconds / t.rate_hz).min(127.0)) as i8;
        [
            units((last + 1 - first) as f32),
            units(steep as f32),
            rounded((127.0 * area / range).min(127.0)) as i8,
            rounded((64.0 * main * (after - before) / range).clamp(-127.0, 127.0)) as i8,
        ]
    }

    /// Mean power of the first difference over the energy window.
    #[inline(always)]
    fn first_difference_power(&self, t: &Timing) -> f32 {
        let width = 2 * t.half_power + 1;
        let early = &self.points[self.at - t.half_power - t.lag..][..width];
        let late = &self.points[self.at - t.half_power + t.lag..][..width];
        let sum = late.iter().zip(early).map(|(b, a)| (b - a) * (b - a)).fold(0.0, |sum, power| sum + power);
        sum / width as f32
    }

    /// Peak-to-peak amplitude around the candidate and its steepest step.
    #[inline(always)]
    fn amplitude(&self, view: &View, index: i64) -> (f32, f32) {
        let half = view.timing.half_shape;
        let smooth = &self.points[self.at - half..=self.at + half];
        let at = (index - view.decimated_first) as usize;
        let mut steps = [0.0; NEAR];
        let steps = &mut steps[..=2 * half];
        for (step, w) in steps.iter_mut().zip(view.decimated[at - half - 1..=at + half].windows(2)) {
            *step = (w[1] - w[0]).abs();
        }
        ((largest(smooth) - least(smooth)) / 3.0, largest(steps).max(0.0))
    }

    /// The unit shape around the candidate, one point every `STRIDE` decimated samples.
    #[inline(always)]
    fn shape<const STRIDE: usize>(&self) -> [i16; SHAPE] {
        let mut points = [0.0; SHAPE];
        let source = &self.points[self.at - STRIDE * (SHAPE / 2)..][..=STRIDE * (SHAPE - 1)];
        for (point, value) in points.iter_mut().zip(source.iter().step_by(STRIDE)) {
            *point = *value;
        }
        let mean = points.iter().sum::<f32>() / SHAPE as f32;
        for point in &mut points {
            *point -= mean;
        }
        let norm = points.iter().fold(0.0, |sum, p| sum + p * p).sqrt();
        let scale = if norm > 0.0 { UNIT / norm } else { 0.0 };
        let mut shape = [0; SHAPE];
        for (unit, point) in shape.iter_mut().zip(points) {
            *unit = rounded(point * scale) as i16;
        }
        shape
    }
}

fn half_width(energy: &[f32], at: usize, half: f32, most: usize) -> usize {
    let left = (0..most).take_while(|&i| i < at && energy[at - i] > half).count();
    let right = (0..most).take_while(|&i| at + i + 1 < energy.len() && energy[at + i] > half).count();
    left + right
}

/// Peak-to-peak amplitude within +-150 ms, and how far the level 100 to 200 ms after is from that before.
#[inline(always)]
fn surroundings(view: &View, index: i64) -> (f32, f32) {
    let t = view.timing;
    let d = view.decimated;
    let at = (index - view.decimated_first) as usize;
    let (near, wide, far) = (t.spans.ms100, t.spans.ms150, t.spans.ms200);
    let around = &d[at - wide..=at + wide];
    let mean = |values: &[f32]| sum(values) / values.len() as f32;
    let step = mean(&d[at + near..at + far]) - mean(&d[at - far..at - near]);
    (largest(around) - least(around), step.abs())
}

/// Samples in the search for a spike at the highest rate.
const LONGEST_SPIKED: usize = 128;

/// Sharpest corner from 120 to 25 ms before the R peak over the sharpest around it, as a logarithm.
#[inline(always)]
fn spike(view: &View, sample: u64) -> f32 {
    let t = view.timing;
    let raw = view.raw;
    let at = (sample as i64 - view.raw_first) as usize;
    let corner = |from: usize, to: usize| {
        let mut corners = [0.0; LONGEST_SPIKED];
        let windows = raw[from.max(2) - 2..to].windows(3);
        let corners = &mut corners[..windows.len()];
        for (corner, w) in corners.iter_mut().zip(windows) {
            *corner = (2.0 * w[1] - w[0] - w[2]).abs();
        }
        largest(corners).max(0.0)
    };
    let (near, far) = (t.before_spike.0, t.before_spike.1);
    let beat = corner(at.saturating_sub(near), (at + near).min(raw.len()).min(at + t.look_ahead / 8));
    ln((corner(at.saturating_sub(far), at.saturating_sub(near).max(3)) + 1e-3 * beat) / (beat + f32::MIN_POSITIVE))
}

/// Samples in the search for the R position at the highest rate, and one more.
const LONGEST_REFINED: usize = 122;

/// The input sample that departs most from the local median within +-60 ms, never older than the look-ahead.
#[inline(always)]
fn r_sample(view: &View, index: i64) -> u64 {
    let t = view.timing;
    let at = (index - view.decimated_first) as usize;
    let mut around = [0.0; 34];
    around.copy_from_slice(&view.decimated[at - 9..at + 25]);
    let (lower, upper) = middle_of_34(&around);
    let base = 0.5 * (lower + upper) / t.factor as f32;

    // the sample that completed this candidate, whatever else the chunk holds
    let now = (index + (t.energy_delay() + t.reach + 1) as i64) * t.factor as i64 - 1;
    let centre = index * t.factor as i64 + (t.factor as i64 - 1) / 2;
    let oldest = (centre - t.half_refine as i64).max(now - t.look_ahead as i64).max(0);
    let newest = (centre + t.half_refine as i64).min(now);
    let near = &view.raw[(oldest - view.raw_first) as usize..=(newest - view.raw_first) as usize];
    let mut departures = [0.0; LONGEST_REFINED];
    let departures = &mut departures[..near.len()];
    for (departure, value) in departures.iter_mut().zip(near) {
        *departure = (value - base).abs();
    }
    oldest as u64 + first_largest(departures) as u64
}
