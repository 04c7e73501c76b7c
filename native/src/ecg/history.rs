//! Bounded memory of a lead's recent past: medians of the last eight values and the shapes seen lately.

use super::features::{SHAPE, UNIT};
use super::math::{best_of_five_shifts, median8, middle_of_8};
use crate::state::{Reader, StateError, Writer};

/// Longer intervals say nothing about the rhythm, seconds.
pub(super) const LONGEST_RR_S: f32 = 2.5;
/// A shape that correlates better than this belongs to a known one.
const SAME_SHAPE: f32 = 0.8;

/// The last eight values of `K` kinds and their medians. Slots come first, so that all kinds are sorted side by side.
#[derive(Clone, Copy)]
pub(super) struct LastEight<const K: usize> {
    values: [[f32; K]; 8],
    /// Values entered of each kind, as long as there are fewer than 8; then 8 to 15 in turn.
    entered: [u8; K],
    median: [f32; K],
    spread: [f32; K],
}

impl<const K: usize> Default for LastEight<K> {
    fn default() -> Self {
        Self { values: [[0.0; K]; 8], entered: [0; K], median: [0.0; K], spread: [0.0; K] }
    }
}

impl<const K: usize> LastEight<K> {
    /// Enters a value; [`Self::settle`] is due when all are in.
    pub fn push(&mut self, kind: usize, value: f32) {
        let entered = self.entered[kind];
        self.values[usize::from(entered % 8)][kind] = value;
        self.entered[kind] = if entered == 15 { 8 } else { entered + 1 };
    }

    /// Forgets the values of a kind.
    pub fn clear(&mut self, kind: usize) {
        self.entered[kind] = 0;
        self.median[kind] = 0.0;
    }

    /// Brings the medians of all kinds up to date.
    pub fn settle(&mut self) {
        self.median = self.medians(&self.values);
    }

    /// Brings the median of one kind up to date.
    pub fn settle_one(&mut self, kind: usize) {
        self.median[kind] = median8(&self.values.map(|slot| slot[kind]), self.known(kind));
    }

    /// Brings the median distances from the median up to date.
    pub fn settle_spreads(&mut self) {
        let mut distances = self.values;
        for slot in &mut distances {
            for (value, median) in slot.iter_mut().zip(&self.median) {
                *value = (*value - median).abs();
            }
        }
        self.spread = self.medians(&distances);
    }

    fn medians(&self, values: &[[f32; K]; 8]) -> [f32; K] {
        let (lower, upper) = middle_of_8(values);
        let mut medians = [0.0; K];
        for ((median, upper), lower) in medians.iter_mut().zip(&upper).zip(&lower) {
            *median = 0.5 * (upper + lower);
        }
        for kind in (0..K).filter(|&kind| self.entered[kind] < 8) {
            medians[kind] = median8(&values.map(|slot| slot[kind]), self.known(kind));
        }
        medians
    }

    /// Values known of a kind, at most 8.
    pub fn known(&self, kind: usize) -> usize {
        usize::from(self.entered[kind].min(8))
    }

    /// Median distance from the median, 0 while nothing is known.
    pub fn spread(&self, kind: usize) -> f32 {
        self.spread[kind]
    }

    pub fn median_or(&self, kind: usize, default: f32) -> f32 {
        if self.entered[kind] > 0 { self.median[kind] } else { default }
    }

    /// Writes the first `kinds` kinds: the others only fill registers.
    pub fn write(&self, writer: &mut Writer, kinds: usize) {
        for kind in 0..kinds {
            writer.one(self.entered[kind]);
            for slot in &self.values[..self.known(kind)] {
                writer.one(slot[kind]);
            }
        }
    }

    /// Reads what [`Self::write`] wrote.
    pub fn read(reader: &mut Reader, kinds: usize) -> Result<Self, StateError> {
        let mut last = Self::default();
        for kind in 0..kinds {
            last.entered[kind] = reader.one()?;
            if last.entered[kind] > 15 {
                return Err(StateError::Value("history of beats"));
            }
            let known = last.known(kind);
            for slot in &mut last.values[..known] {
                slot[kind] = reader.one()?;
            }
        }
        if last.values.as_flattened().iter().any(|v| v.is_nan() || v.abs() > 1e6) {
            return Err(StateError::Value("history of beats"));
        }
        last.settle();
        last.settle_spreads();
        Ok(last)
    }
}

/// Points of a shape that stay inside another under any shift, zeros behind them: two vector registers.
const LANES: usize = 16;

/// A shape with room behind it, so that a shifted window of `LANES` points stays inside.
type Padded = [i16; LANES + 4];

/// The last shapes of one kind; similar ones merge, otherwise the oldest is replaced.
#[derive(Clone, Copy)]
pub(super) struct Bank<const N: usize> {
    shapes: [Padded; N],
    /// Shapes entered, as long as there are fewer than `N`; then `N` to `2 N - 1` in turn.
    entered: u8,
}

impl<const N: usize> Default for Bank<N> {
    fn default() -> Self {
        Self { shapes: [[0; LANES + 4]; N], entered: 0 }
    }
}

/// What a correlation is at least taken for: nothing opposite is less alike than this.
const LEAST_ALIKE: f32 = -0.2;

/// Correlations of one shape with those of a bank.
pub(super) type Alike<const N: usize> = [f32; N];

/// The best of the correlations.
pub(super) fn best<const N: usize>(alike: &Alike<N>) -> f32 {
    alike.iter().fold(LEAST_ALIKE, |best, &r| if r > best { r } else { best })
}

impl<const N: usize> Bank<N> {
    fn known(&self) -> usize {
        usize::from(self.entered).min(N)
    }

    /// Correlation with each known shape, `LEAST_ALIKE` for those not known yet.
    pub fn compare(&self, inner: &Inner) -> Alike<N> {
        let mut alike = [LEAST_ALIKE; N];
        for (alike, known) in alike.iter_mut().zip(&self.shapes[..self.known()]) {
            *alike = inner.correlation(known);
        }
        alike
    }

    /// Blends the shape into the one it resembles, or keeps it as a new one; `alike` is what `compare` gave for it.
    pub fn enter(&mut self, shape: &[i16; SHAPE], alike: &Alike<N>) {
        let mut best = (SAME_SHAPE, None);
        for (place, &r) in alike[..self.known()].iter().enumerate() {
            if r > best.0 {
                best = (r, Some(place));
            }
        }
        if let (_, Some(place)) = best {
            blend(&mut self.shapes[place], shape, 4);
        } else {
            self.shapes[usize::from(self.entered) % N][..SHAPE].copy_from_slice(shape);
            self.entered = if usize::from(self.entered) + 1 == 2 * N { N as u8 } else { self.entered + 1 };
        }
    }

    pub fn write(&self, writer: &mut Writer) {
        writer.one(self.entered);
        for shape in &self.shapes[..self.known()] {
            writer.put(&shape[..SHAPE]);
        }
    }

    pub fn read(reader: &mut Reader) -> Result<Self, StateError> {
        let mut bank = Self { entered: reader.one()?, ..Self::default() };
        if usize::from(bank.entered) >= 2 * N {
            return Err(StateError::Value("shapes of beats"));
        }
        let known = bank.known();
        for shape in &mut bank.shapes[..known] {
            reader.fill(&mut shape[..SHAPE])?;
        }
        Ok(bank)
    }
}

impl Bank<1> {
    pub fn is_empty(&self) -> bool {
        self.entered == 0
    }

    /// Follows the usual shape slowly, whatever comes.
    pub fn follow(&mut self, shape: &[i16; SHAPE]) {
        if self.entered == 0 {
            self.enter(shape, &[LEAST_ALIKE]);
        } else {
            blend(&mut self.shapes[0], shape, 15);
        }
    }
}

/// Moves a shape towards another by one part in `old_parts + 1`.
fn blend(shape: &mut Padded, other: &[i16; SHAPE], old_parts: i32) {
    for (old, &new) in shape.iter_mut().zip(other) {
        *old = ((i32::from(*old) * old_parts + i32::from(new)) / (old_parts + 1)) as i16;
    }
}

/// The inner points of a shape that is to be compared.
pub(super) struct Inner([i16; LANES]);

impl Inner {
    pub fn new(shape: &[i16; SHAPE]) -> Self {
        let mut inner = [0; LANES];
        inner[..SHAPE - 4].copy_from_slice(&shape[2..SHAPE - 2]);
        Self(inner)
    }

    /// Best correlation with a unit shape, shifted by up to two points against each other.
    fn correlation(&self, other: &Padded) -> f32 {
        best_of_five_shifts(&self.0, other) as f32 / (UNIT * UNIT)
    }
}
