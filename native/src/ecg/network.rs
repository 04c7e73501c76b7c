//! The score of a candidate: standardised features through 24-16-8-1 rectified linear units.

use super::weights;

/// Features of a candidate.
pub const FEATURES: usize = 24;
const FIRST: usize = 16;
const SECOND: usize = 8;
/// Numbers in a weights file.
pub const PARAMETERS: usize = 2 * FEATURES + FEATURES * FIRST + FIRST + FIRST * SECOND + SECOND + SECOND + 1;
/// The grid that weights are rounded to: every weight is an integer over this.
pub const GRID: f32 = 4096.0;

/// Weights of the score.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    mean: [f32; FEATURES],
    scale: [f32; FEATURES],
    first: [[f32; FIRST]; FEATURES],
    first_bias: [f32; FIRST],
    second: [[f32; SECOND]; FIRST],
    second_bias: [f32; SECOND],
    last: [f32; SECOND],
    last_bias: f32,
}

impl Network {
    /// Weights from their integers: mean, scale, then each layer row by row with its bias behind it.
    pub const fn from_grid(grid: &[i32; PARAMETERS]) -> Self {
        let mut at = 0;
        let mut network = Self {
            mean: [0.0; FEATURES],
            scale: [0.0; FEATURES],
            first: [[0.0; FIRST]; FEATURES],
            first_bias: [0.0; FIRST],
            second: [[0.0; SECOND]; FIRST],
            second_bias: [0.0; SECOND],
            last: [0.0; SECOND],
            last_bias: 0.0,
        };
        at = fill(&mut network.mean, grid, at);
        at = fill(&mut network.scale, grid, at);
        let mut row = 0;
        while row < FEATURES {
            at = fill(&mut network.first[row], grid, at);
            row += 1;
        }
        at = fill(&mut network.first_bias, grid, at);
        row = 0;
        while row < FIRST {
            at = fill(&mut network.second[row], grid, at);
            row += 1;
        }
        at = fill(&mut network.second_bias, grid, at);
        at = fill(&mut network.last, grid, at);
        network.last_bias = grid[at] as f32 / GRID;
        network
    }

    /// Log odds that the candidate is a beat.
    pub fn score(&self, features: &[f32; FEATURES]) -> f32 {
        let mut first = self.first_bias;
        for (i, row) in self.first.iter().enumerate() {
            let x = (features[i] - self.mean[i]) * self.scale[i];
            for (sum, weight) in first.iter_mut().zip(row) {
                *sum += x * weight;
            }
        }
        let mut second = self.second_bias;
        for (x, row) in first.iter().zip(&self.second) {
            let x = x.max(0.0);
            for (sum, weight) in second.iter_mut().zip(row) {
                *sum += x * weight;
            }
        }
        let last = second.iter().zip(&self.last);
        last.fold(self.last_bias, |sum, (x, weight)| sum + x.max(0.0) * weight)
    }
}

const fn fill<const N: usize>(values: &mut [f32; N], grid: &[i32; PARAMETERS], mut at: usize) -> usize {
    let mut i = 0;
    while i < N {
        values[i] = grid[at] as f32 / GRID;
        at += 1;
        i += 1;
    }
    at
}

/// The weights this program ships.
pub static SHIPPED: Network = Network::from_grid(&weights::BEAT);
