//! Bounded memory of a lead's recent past: medians of the last eight values and the shapes seen lately.

use super::features::{SHAPE, UNIT};
use super::math::median8;
use crate::state::{Reader, StateError, Writer};

/// A shape that correlates better than this belongs to a known one.
const SAME_SHAPE: f32 = 0.8;

/// The last eight values of one kind and their median.
#[derive(Clone, Copy, Default)]
pub(super) struct Last8 {
    values: [f32; 8],
    /// Values entered, as long as there are fewer than 8; then 8 to 15 in turn.
    entered: u8,
    median: f32,
}

impl Last8 {
    pub fn push(&mut self, value: f32) {
        self.values[usize::from(self.entered % 8)] = value;
        self.entered = if self.entered == 15 { 8 } else { self.entered + 1 };
        self.median = median8(&self.values, self.known());
    }

    /// Values known, at most 8.
    pub fn known(&self) -> usize {
        usize::from(self.entered.min(8))
    }

    /// Median distance from the median, 0 while nothing is known.
    pub fn spread(&self) -> f32 {
        median8(&self.values.map(|v| (v - self.median).abs()), self.known())
    }

    pub fn median_or(&self, default: f32) -> f32 {
        if self.entered > 0 { self.median } else { default }
    }

    pub fn write(&self, writer: &mut Writer) {
        writer.one(self.entered).put(&self.values[..self.known()]);
    }

    pub fn read(reader: &mut Reader) -> Result<Self, StateError> {
        let mut last = Self { entered: reader.one()?, ..Self::default() };
        if last.entered > 15 {
            return Err(StateError::Value("history of beats"));
        }
        let known = last.known();
        reader.fill(&mut last.values[..known])?;
        if last.values.iter().any(|v| v.is_nan() || v.abs() > 1e6) {
            return Err(StateError::Value("history of beats"));
        }
        last.median = median8(&last.values, last.known());
        Ok(last)
    }
}

/// The last shapes of one kind; similar ones merge, otherwise the oldest is replaced.
#[derive(Clone, Copy)]
pub(super) struct Bank<const N: usize> {
    shapes: [[i16; SHAPE]; N],
    /// Shapes entered, as long as there are fewer than `N`; then `N` to `2 N - 1` in turn.
    entered: u8,
}

impl<const N: usize> Default for Bank<N> {
    fn default() -> Self {
        Self { shapes: [[0; SHAPE]; N], entered: 0 }
    }
}

impl<const N: usize> Bank<N> {
    fn known(&self) -> &[[i16; SHAPE]] {
        &self.shapes[..usize::from(self.entered).min(N)]
    }

    /// Best correlation with a known shape.
    pub fn best(&self, shape: &[i16; SHAPE]) -> f32 {
        let inner = inner(shape);
        self.known()
            .iter()
            .map(|known| correlation(&inner, known))
            .fold(-0.2, |best, r| if r > best { r } else { best })
    }

    /// Blends the shape into the one it resembles, or keeps it as a new one.
    pub fn enter(&mut self, shape: &[i16; SHAPE]) {
        let mut best = (SAME_SHAPE, None);
        let inner = inner(shape);
        for (place, known) in self.known().iter().enumerate() {
            let r = correlation(&inner, known);
            if r > best.0 {
                best = (r, Some(place));
            }
        }
        if let (_, Some(place)) = best {
            blend(&mut self.shapes[place], shape, 4);
        } else {
            self.shapes[usize::from(self.entered) % N] = *shape;
            self.entered = if usize::from(self.entered) + 1 == 2 * N { N as u8 } else { self.entered + 1 };
        }
    }

    pub fn write(&self, writer: &mut Writer) {
        writer.one(self.entered);
        for shape in self.known() {
            writer.put(shape);
        }
    }

    pub fn read(reader: &mut Reader) -> Result<Self, StateError> {
        let mut bank = Self { entered: reader.one()?, ..Self::default() };
        if usize::from(bank.entered) >= 2 * N {
            return Err(StateError::Value("shapes of beats"));
        }
        let known = bank.known().len();
        for shape in &mut bank.shapes[..known] {
            reader.fill(shape)?;
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
            self.enter(shape);
        } else {
            blend(&mut self.shapes[0], shape, 15);
        }
    }
}

/// Moves a shape towards another by one part in `old_parts + 1`.
fn blend(shape: &mut [i16; SHAPE], other: &[i16; SHAPE], old_parts: i32) {
    for (old, &new) in shape.iter_mut().zip(other) {
        *old = ((i32::from(*old) * old_parts + i32::from(new)) / (old_parts + 1)) as i16;
    }
}

/// Length of the inner points with zeros behind: as many as two vector registers hold.
const LANES: usize = 16;

/// The points of a shape that stay inside another under any shift, zeros behind them.
fn inner(shape: &[i16; SHAPE]) -> [i16; LANES] {
    let mut inner = [0; LANES];
    inner[..SHAPE - 4].copy_from_slice(&shape[2..SHAPE - 2]);
    inner
}

/// Best correlation of two unit shapes, shifted by up to two points against each other.
fn correlation(inner: &[i16; LANES], b: &[i16; SHAPE]) -> f32 {
    let mut padded = [0_i16; LANES + 4];
    padded[..SHAPE].copy_from_slice(b);
    let product = |shift: usize| -> i32 {
        let other: &[i16; LANES] = padded[shift..].first_chunk().expect("four points more than lanes");
        (0..LANES).map(|i| i32::from(inner[i]) * i32::from(other[i])).fold(0, i32::wrapping_add)
    };
    let best = (0..5).map(product).max().unwrap_or(0);
    best as f32 / (UNIT * UNIT)
}
