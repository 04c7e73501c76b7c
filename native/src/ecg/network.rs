//! Small scores: standardised features through two layers of rectified linear units.

use multiversion::multiversion;

use super::weights;

/// The grid that weights are rounded to: every weight is an integer over this.
pub const GRID: f32 = 4096.0;
/// Standardised features are held within this, so that a patient unlike all others stays inside what was learnt.
pub const LIMIT: f32 = 5.0;

/// A score of `N` features with layers of `A` and `B` units and `O` results.
#[derive(Debug, Clone, PartialEq)]
pub struct Network<const N: usize, const A: usize, const B: usize, const O: usize> {
    mean: [f32; N],
    scale: [f32; N],
    first: [[f32; A]; N],
    first_bias: [f32; A],
    second: [[f32; B]; A],
    second_bias: [f32; B],
    last: [[f32; O]; B],
    last_bias: [f32; O],
}

impl<const N: usize, const A: usize, const B: usize, const O: usize> Network<N, A, B, O> {
    /// Numbers in the weights.
    pub const PARAMETERS: usize = 2 * N + (N + 1) * A + (A + 1) * B + (B + 1) * O;

    /// Weights from their integers, as many as [`Self::PARAMETERS`]: mean, scale, then each layer row by row with its bias behind it.
    pub const fn from_grid(grid: &[i32]) -> Self {
        let mut network = Self {
            mean: [0.0; N],
            scale: [0.0; N],
            first: [[0.0; A]; N],
            first_bias: [0.0; A],
            second: [[0.0; B]; A],
            second_bias: [0.0; B],
            last: [[0.0; O]; B],
            last_bias: [0.0; O],
        };
        let mut at = fill(&mut network.mean, grid, 0);
        at = fill(&mut network.scale, grid, at);
        at = fill_rows(&mut network.first, grid, at);
        at = fill(&mut network.first_bias, grid, at);
        at = fill_rows(&mut network.second, grid, at);
        at = fill(&mut network.second_bias, grid, at);
        at = fill_rows(&mut network.last, grid, at);
        fill(&mut network.last_bias, grid, at);
        network
    }

    /// Log odds of each result.
    pub fn score(&self, features: &[f32; N]) -> [f32; O] {
        score(self, features)
    }
}

#[multiversion(targets("x86_64+avx2"))]
fn score<const N: usize, const A: usize, const B: usize, const O: usize>(
    network: &Network<N, A, B, O>,
    features: &[f32; N],
) -> [f32; O] {
    let inputs: [f32; N] =
        std::array::from_fn(|i| ((features[i] - network.mean[i]) * network.scale[i]).clamp(-LIMIT, LIMIT));
    let first = layer(&inputs, &network.first, &network.first_bias).map(|v| v.max(0.0));
    let second = layer(&first, &network.second, &network.second_bias).map(|v| v.max(0.0));
    layer(&second, &network.last, &network.last_bias)
}

#[inline(always)]
fn layer<const I: usize, const J: usize>(inputs: &[f32; I], rows: &[[f32; J]; I], bias: &[f32; J]) -> [f32; J] {
    let mut sums = *bias;
    for (x, row) in inputs.iter().zip(rows) {
        for (sum, weight) in sums.iter_mut().zip(row) {
            *sum += x * weight;
        }
    }
    sums
}

const fn fill<const N: usize>(values: &mut [f32; N], grid: &[i32], mut at: usize) -> usize {
    let mut i = 0;
    while i < N {
        values[i] = grid[at] as f32 / GRID;
        at += 1;
        i += 1;
    }
    at
}

const fn fill_rows<const I: usize, const J: usize>(rows: &mut [[f32; J]; I], grid: &[i32], mut at: usize) -> usize {
    let mut i = 0;
    while i < I {
        at = fill(&mut rows[i], grid, at);
        i += 1;
    }
    at
}

/// Whether a candidate is a beat.
pub type BeatNetwork = Network<38, 16, 8, 1>;
/// Whether a beat is ventricular, and whether it is paced.
pub type LabelNetwork = Network<36, 16, 8, 2>;
/// Whether a second is free of detection errors.
pub type QualityNetwork = Network<8, 6, 4, 1>;

/// The three scores of a detector.
#[derive(Debug, Clone, PartialEq)]
pub struct Networks {
    /// Whether a candidate is a beat.
    pub beat: BeatNetwork,
    /// Whether a beat is ventricular, and whether it is paced.
    pub label: LabelNetwork,
    /// Whether a second is free of detection errors.
    pub quality: QualityNetwork,
    /// Log odds that a beat needs in a second after one that was useless: in noise that looks like beats a lead had
    /// better stay silent than count artefacts.
    pub gate: f32,
}

/// The gate that gave the best F1 on held-out MIT-BIH patients with added noise.
pub const GATE: f32 = 1.0;

/// The weights this program ships.
pub static SHIPPED: Networks = Networks {
    beat: Network::from_grid(&weights::BEAT),
    label: Network::from_grid(&weights::LABEL),
    quality: Network::from_grid(&weights::QUALITY),
    gate: GATE,
};
