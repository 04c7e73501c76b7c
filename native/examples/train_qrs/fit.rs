//! Fits the score by Adam on the cross entropy, in float32 with a fixed order of operations.

use _native::ecg::training::{GRID, LIMIT, Network, logistic};

use crate::augment::Random;

const BATCH: usize = 512;

/// Features with their labels.
#[derive(Clone)]
pub struct Examples<const N: usize, const O: usize> {
    pub features: Vec<[f32; N]>,
    pub labels: Vec<[f32; O]>,
    pub weights: Vec<f32>,
}

impl<const N: usize, const O: usize> Examples<N, O> {
    pub fn new() -> Self {
        Self { features: Vec::new(), labels: Vec::new(), weights: Vec::new() }
    }

    pub fn push(&mut self, features: &[f32; N], labels: [f32; O], weight: f32) {
        self.features.push(*features);
        self.labels.push(labels);
        self.weights.push(weight);
    }

    /// Weighs the examples of one patient, those from place `from` on: a patient with few beats of a kind counts for more
    /// than those beats, one with many for less, by the root of their number. `usual` are the numbers that change nothing,
    /// of examples with and without the first label.
    pub fn balance(&mut self, from: usize, usual: [f32; 2]) {
        let with = |labels: &[f32; O]| usize::from(labels[0] <= 0.5);
        let mut counts = [0_usize; 2];
        for labels in &self.labels[from..] {
            counts[with(labels)] += 1;
        }
        for (weight, labels) in self.weights[from..].iter_mut().zip(&self.labels[from..]) {
            let kind = with(labels);
            *weight *= (usual[kind] / counts[kind] as f32).sqrt();
        }
    }
}

/// How to fit.
#[derive(Clone, Copy)]
pub struct Settings {
    pub epochs: usize,
    pub rate: f32,
    pub decay: f32,
    /// Share of the inputs that each step leaves out of each example.
    pub dropout: f32,
    pub seed: u64,
}

/// Weights of the layers, row by row with the bias behind.
struct Layers<const N: usize, const A: usize, const B: usize, const O: usize>(Vec<f32>);

impl<const N: usize, const A: usize, const B: usize, const O: usize> Layers<N, A, B, O> {
    const FIRST_BIAS: usize = N * A;
    const SECOND: usize = Self::FIRST_BIAS + A;
    const SECOND_BIAS: usize = Self::SECOND + A * B;
    const LAST: usize = Self::SECOND_BIAS + B;
    const LAST_BIAS: usize = Self::LAST + B * O;
    const COUNT: usize = Self::LAST_BIAS + O;

    fn random(random: &mut Random) -> Self {
        let mut layers = vec![0.0; Self::COUNT];
        let mut fill = |from: usize, to: usize, inputs: usize, outputs: usize| {
            let bound = (6.0 / (inputs + outputs) as f64).sqrt();
            for weight in &mut layers[from..to] {
                *weight = random.uniform(-bound, bound) as f32;
            }
        };
        fill(0, Self::FIRST_BIAS, N, A);
        fill(Self::SECOND, Self::SECOND_BIAS, A, B);
        fill(Self::LAST, Self::LAST_BIAS, B, O);
        Self(layers)
    }

    /// Adds the gradient of one example.
    fn gradient(&self, x: &[f32; N], labels: &[f32; O], weight: f32, gradient: &mut [f32]) {
        let w = &self.0[..];
        let first = dense(x, &w[..Self::SECOND]).map(|v: f32| v.max(0.0));
        let second = dense(&first, &w[Self::SECOND..Self::LAST]).map(|v: f32| v.max(0.0));
        let scores: [f32; O] = dense(&second, &w[Self::LAST..]);
        let errors: [f32; O] = std::array::from_fn(|o| (logistic(scores[o]) - labels[o]) * weight);
        let back: [f32; B] = propagate(&second, &errors, &w[Self::LAST..], &mut gradient[Self::LAST..]);
        let back: [f32; A] =
            propagate(&first, &back, &w[Self::SECOND..Self::LAST], &mut gradient[Self::SECOND..Self::LAST]);
        let rows = gradient[..Self::SECOND].chunks_exact_mut(A);
        for (x, row) in x.iter().chain([&1.0]).zip(rows) {
            for (sum, back) in row.iter_mut().zip(&back) {
                *sum += x * back;
            }
        }
    }
}

fn dense<const I: usize, const J: usize>(inputs: &[f32; I], weights: &[f32]) -> [f32; J] {
    let mut sums: [f32; J] = std::array::from_fn(|j| weights[I * J + j]);
    for (x, row) in inputs.iter().zip(weights.chunks_exact(J)) {
        for (sum, weight) in sums.iter_mut().zip(row) {
            *sum += x * weight;
        }
    }
    sums
}

/// Adds the gradient of a layer's weights and gives that of its rectified inputs.
fn propagate<const I: usize, const J: usize>(
    inputs: &[f32; I],
    errors: &[f32; J],
    weights: &[f32],
    gradient: &mut [f32],
) -> [f32; I] {
    let mut back = [0.0; I];
    for i in 0..I {
        if inputs[i] > 0.0 {
            for j in 0..J {
                gradient[i * J + j] += inputs[i] * errors[j];
                back[i] += weights[i * J + j] * errors[j];
            }
        }
    }
    for j in 0..J {
        gradient[I * J + j] += errors[j];
    }
    back
}

/// Fits a network and returns its weights on the grid.
pub fn fit<const N: usize, const A: usize, const B: usize, const O: usize>(
    examples: &Examples<N, O>,
    settings: Settings,
) -> Vec<i32> {
    let (mean, scale) = standard(&examples.features);
    let inputs: Vec<[f32; N]> = examples
        .features
        .iter()
        .map(|f| std::array::from_fn(|i| ((f[i] - mean[i]) * scale[i]).clamp(-LIMIT, LIMIT)))
        .collect();
    let mut random = Random::new(settings.seed);
    let mut layers = Layers::<N, A, B, O>::random(&mut random);
    let mut averaged = layers.0.clone();
    let count = averaged.len();
    let (mut moment, mut square) = (vec![0.0_f32; count], vec![0.0_f32; count]);
    let mut order: Vec<usize> = (0..inputs.len()).collect();
    let steps = settings.epochs * inputs.len().div_ceil(BATCH);
    let (mut step, mut beta1, mut beta2) = (0, 1.0_f32, 1.0_f32);
    for _ in 0..settings.epochs {
        random.shuffle(&mut order);
        for batch in order.chunks(BATCH) {
            let mut gradient = vec![0.0; count];
            for &i in batch {
                let kept = dropped(inputs[i], settings.dropout, &mut random);
                layers.gradient(&kept, &examples.labels[i], examples.weights[i], &mut gradient);
            }
            let rate = settings.rate * (1.0 - step as f32 / steps as f32);
            beta1 *= 0.9;
            beta2 *= 0.999;
            for i in 0..count {
                let g = gradient[i] / batch.len() as f32 + settings.decay * layers.0[i];
                moment[i] = 0.9 * moment[i] + 0.1 * g;
                square[i] = 0.999 * square[i] + 0.001 * g * g;
                let slope = (square[i] / (1.0 - beta2)).sqrt() + 1e-8;
                layers.0[i] -= rate * moment[i] / (1.0 - beta1) / slope;
                averaged[i] += 0.002 * (layers.0[i] - averaged[i]);
            }
            step += 1;
        }
    }
    let numbers = mean.into_iter().chain(scale).chain(averaged);
    numbers.map(|number| (number * GRID).round() as i32).collect()
}

/// Fits one network to what `teachers` others, fitted from different beginnings, say on the mean. On patients unlike those
/// learnt from the teachers err apart, so their mean errs less than any of them, and one network comes close to it at the
/// price of one.
pub fn distil<const N: usize, const A: usize, const B: usize, const O: usize>(
    examples: &Examples<N, O>,
    teachers: u64,
    settings: Settings,
) -> Vec<i32> {
    let mut odds = vec![[0.0_f32; O]; examples.features.len()];
    for teacher in 0..teachers {
        let grid = fit::<N, A, B, O>(examples, Settings { seed: settings.seed + 1000 * teacher, ..settings });
        let network = Network::<N, A, B, O>::from_grid(&grid);
        for (sums, features) in odds.iter_mut().zip(&examples.features) {
            for (sum, score) in sums.iter_mut().zip(network.score(features)) {
                *sum += score / teachers as f32;
            }
        }
    }
    let labels = odds.iter().map(|odds| odds.map(logistic)).collect();
    let taught = Examples { labels, features: examples.features.clone(), weights: examples.weights.clone() };
    let settings =
        Settings { epochs: 4 * settings.epochs, decay: 0.0, dropout: 0.0, seed: settings.seed + 7, ..settings };
    fit::<N, A, B, O>(&taught, settings)
}

/// The inputs without a random share, the others that much larger: no score may hang on one feature of one patient.
fn dropped<const N: usize>(inputs: [f32; N], share: f32, random: &mut Random) -> [f32; N] {
    if share <= 0.0 {
        return inputs;
    }
    let kept = 1.0 / (1.0 - share);
    inputs.map(|x| if random.uniform(0.0, 1.0) < f64::from(share) { 0.0 } else { x * kept })
}

/// Mean and inverse deviation of each feature, on the grid already, so that what is fitted is what will run.
fn standard<const N: usize>(features: &[[f32; N]]) -> ([f32; N], [f32; N]) {
    let count = features.len() as f64;
    let grid = f64::from(GRID);
    let on_grid = |v: f64| ((v * grid).round() / grid) as f32;
    let (mut mean, mut scale) = ([0.0; N], [0.0; N]);
    for i in 0..N {
        let average = features.iter().map(|f| f64::from(f[i])).sum::<f64>() / count;
        let variance = features.iter().map(|f| (f64::from(f[i]) - average).powi(2)).sum::<f64>() / count;
        mean[i] = on_grid(average);
        scale[i] = on_grid(1.0 / (variance.sqrt() + 1e-3));
    }
    (mean, scale)
}
