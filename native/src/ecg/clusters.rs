//! The few shapes that a lead's beats have, found as they come.

use super::features::{SHAPE, UNIT};
use super::math::best_of_five_shifts;
use crate::state::{Reader, StateError, Writer};

/// Clusters kept; the one with the least recent weight gives way.
const MOST: usize = 6;
/// Features that a beat gets from its clusters.
pub(super) const FEATURES: usize = 11;
/// A beat that correlates better than this belongs to the cluster.
const SAME: f32 = 0.85;
/// What is known of a cluster speaks for a beat from here on.
const ALIKE: f32 = 0.8;
/// Share of its weight that a cluster keeps per beat: half after 46 beats.
const KEPT: f32 = 0.985;
/// A shape with more of the recent weight than this is that of a rhythm, not of extra beats: bigeminy stays below.
const LASTING: f32 = 0.6;
/// Beats after which means only follow slowly.
const SETTLED: u8 = 20;
/// Scores count within this, so that one beat cannot outvote many.
const SURE: f32 = 6.0;
/// Points that a correlation sums, zeros included: three vector registers.
const LANES: usize = 24;

/// A shape with zeros around it, so that a window shifted by up to two points either way stays inside.
type Padded = [i16; LANES + 4];

/// Beats of one shape.
#[derive(Clone, Copy)]
struct Cluster {
    /// Mean shape, norm `UNIT`.
    shape: Padded,
    /// Beats in it, at most `SETTLED`.
    beats: u8,
    /// Recent beats, each counting less as others follow.
    weight: f32,
    /// Mean ln of the interval before its beats over the usual one.
    before: f32,
    /// The same behind its beats.
    behind: f32,
    /// Mean log odds of the labels of its beats.
    odds: [f32; 2],
}

impl Cluster {
    fn new(shape: &[i16; SHAPE]) -> Self {
        Self { shape: padded(shape, 2), beats: 0, weight: 0.0, before: 0.0, behind: 0.0, odds: [0.0; 2] }
    }

    /// Part of a new value in a mean that never becomes slower than `slowest`.
    fn part(&self, more: u8, slowest: f32) -> f32 {
        (1.0 / f32::from(self.beats + more)).max(slowest)
    }
}

/// How like the clusters a beat is, from [`Clusters::features`] to [`Clusters::take`].
pub(super) struct Likeness {
    similar: [f32; MOST],
    best: usize,
}

/// The clusters of one lead.
#[derive(Clone, Default)]
pub(super) struct Clusters {
    clusters: Vec<Cluster>,
    /// Cluster of the last beat.
    last: u8,
}

impl Clusters {
    /// The cluster with most recent beats.
    pub fn usual(&self) -> Option<usize> {
        (0..self.clusters.len()).reduce(|a, b| if self.clusters[b].weight > self.clusters[a].weight { b } else { a })
    }

    /// Correlation with each cluster, and the best one.
    fn compare(&self, shape: &[i16; SHAPE]) -> Likeness {
        let shape = padded(shape, 0);
        let mut likeness = Likeness { similar: [-1.0; MOST], best: 0 };
        for (place, cluster) in self.clusters.iter().enumerate() {
            likeness.similar[place] = correlation(&shape, &cluster.shape);
            if likeness.similar[place] > likeness.similar[likeness.best] {
                likeness.best = place;
            }
        }
        likeness
    }

    /// How like the usual shape and its own cluster a beat is, and what is known of both.
    pub fn features(&self, shape: &[i16; SHAPE]) -> ([f32; FEATURES], Likeness) {
        let likeness = self.compare(shape);
        let Some(place) = self.usual() else {
            return ([1.0, -0.2, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0], likeness);
        };
        let Likeness { similar, best: own } = likeness;
        let (usual, cluster) = (&self.clusters[place], &self.clusters[own]);
        let total: f32 = self.clusters.iter().map(|c| c.weight).sum();
        let known = f32::from(u8::from(similar[own] > ALIKE));
        let opposite = padded(&shape.map(|v| -v), 0);
        let features = [
            similar[place],
            correlation(&opposite, &usual.shape),
            similar[own],
            cluster.weight / total,
            f32::from(u8::from(own == place)),
            usual.weight / total,
            known * cluster.before,
            known * cluster.behind,
            known * f32::from(cluster.beats) / f32::from(SETTLED),
            usual.before,
            usual.behind,
        ];
        (features, likeness)
    }

    /// Whether this is the shape of a lasting rhythm: the usual one, and so of most recent beats.
    pub fn lasting(&self, place: usize) -> bool {
        let total: f32 = self.clusters.iter().map(|c| c.weight).sum();
        self.clusters[place].weight > LASTING * total
    }

    /// Takes a beat: its shape and what its features came with, how early it came (unknown after a loss) and the log odds
    /// of its labels. Returns the mean odds of its cluster before it, and the cluster.
    pub fn take(
        &mut self,
        shape: &[i16; SHAPE],
        likeness: &Likeness,
        before: Option<f32>,
        odds: [f32; 2],
    ) -> ([f32; 2], usize) {
        if let (Some(before), Some(last)) = (before, self.clusters.get_mut(usize::from(self.last))) {
            last.behind += last.part(1, 0.1) * (before - last.behind);
        }
        let Likeness { similar, best } = likeness;
        for cluster in &mut self.clusters {
            cluster.weight *= KEPT;
        }
        let place = if similar[*best] > SAME { *best } else { self.begin(shape) };
        let cluster = &mut self.clusters[place];
        let votes = cluster.odds;
        for (mean, odds) in cluster.odds.iter_mut().zip(odds) {
            let part = (1.0 / f32::from(cluster.beats + 2)).max(0.08);
            *mean += part * (odds.clamp(-SURE, SURE) - *mean);
        }
        if cluster.beats > 0 {
            blend(&mut cluster.shape, shape, f32::from(cluster.beats.min(7)));
        }
        cluster.weight += 1.0;
        cluster.beats = (cluster.beats + 1).min(SETTLED);
        if let Some(before) = before {
            cluster.before += cluster.part(0, 0.1) * (before - cluster.before);
        }
        self.last = place as u8;
        (votes, place)
    }

    fn begin(&mut self, shape: &[i16; SHAPE]) -> usize {
        if self.clusters.len() < MOST {
            self.clusters.push(Cluster::new(shape));
            return self.clusters.len() - 1;
        }
        let lighter = |a, b| if self.clusters[b as usize].weight < self.clusters[a as usize].weight { b } else { a };
        let place = (0..MOST as u8).reduce(lighter).map_or(0, usize::from);
        self.clusters[place] = Cluster::new(shape);
        place
    }

    pub fn write(&self, writer: &mut Writer) {
        writer.one(self.clusters.len() as u8).one(self.last);
        for c in &self.clusters {
            writer.put(&c.shape[2..2 + SHAPE]).one(c.beats).one(c.weight).one(c.before).one(c.behind).put(&c.odds);
        }
    }

    pub fn read(reader: &mut Reader) -> Result<Self, StateError> {
        let (count, last): (u8, u8) = (reader.one()?, reader.one()?);
        let mut clusters = Vec::new();
        if usize::from(count) > MOST || last > count {
            return Err(StateError::Value("clusters of beats"));
        }
        for _ in 0..count {
            let mut c = Cluster::new(&[0; SHAPE]);
            reader.fill(&mut c.shape[2..2 + SHAPE])?;
            (c.beats, c.weight, c.before, c.behind) = (reader.one()?, reader.one()?, reader.one()?, reader.one()?);
            reader.fill(&mut c.odds)?;
            let means = [c.weight, c.before, c.behind, c.odds[0], c.odds[1]];
            if !(1..=SETTLED).contains(&c.beats) || c.weight < 0.0 || !means.iter().all(|m| m.abs() < 1e3) {
                return Err(StateError::Value("clusters of beats"));
            }
            clusters.push(c);
        }
        Ok(Self { clusters, last })
    }
}

/// Moves a shape of norm `UNIT` towards another by one part in `old_parts + 1`.
fn blend(padded: &mut Padded, other: &[i16; SHAPE], old_parts: f32) {
    let shape = &mut padded[2..2 + SHAPE];
    let mut mean = [0.0; SHAPE];
    for (i, mean) in mean.iter_mut().enumerate() {
        *mean = f32::from(shape[i]) * old_parts + f32::from(other[i]);
    }
    let norm = mean.iter().fold(0.0, |sum, v| sum + v * v).sqrt();
    let scale = if norm > 0.0 { UNIT / norm } else { 0.0 };
    for (point, mean) in shape.iter_mut().zip(mean) {
        *point = (mean * scale) as i16;
    }
}

fn padded(shape: &[i16; SHAPE], before: usize) -> Padded {
    let mut padded = [0; LANES + 4];
    padded[before..before + SHAPE].copy_from_slice(shape);
    padded
}

/// Best correlation of a shape with one that is padded by two, over shifts of up to two points either way.
fn correlation(shape: &Padded, other: &Padded) -> f32 {
    let window: &[i16; LANES] = shape.first_chunk().expect("longer than the window");
    best_of_five_shifts(window, other) as f32 / (UNIT * UNIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pulse(at: usize) -> [i16; SHAPE] {
        let mut shape = [0; SHAPE];
        shape[at] = UNIT as i16;
        shape
    }

    #[test]
    fn shapes_within_two_points_are_one_cluster_and_its_pauses_are_remembered() {
        let mut clusters = Clusters::default();
        for beat in 0..40 {
            let early = beat % 4 == 3;
            let shape = if early { pulse(2) } else { pulse(8) };
            let before = if early {
                -0.3
            } else if beat % 4 == 0 {
                0.3
            } else {
                0.0
            };
            let likeness = clusters.compare(&shape);
            clusters.take(&shape, &likeness, Some(before), [if early { 5.0 } else { -5.0 }, -5.0]);
        }
        assert_eq!(clusters.clusters.len(), 2);
        assert!(clusters.features(&pulse(10)).0[0] > 0.99);
        let (features, likeness) = clusters.features(&pulse(2));
        assert!(features[0] < 0.1 && features[2] > 0.9 && features[4] == 0.0, "{features:?}");
        assert!(features[6] < -0.25 && features[7] > 0.25, "{features:?}");
        let (votes, place) = clusters.take(&pulse(2), &likeness, Some(0.0), [0.0; 2]);
        assert!(votes[0] > 3.0 && votes[1] < -3.0 && clusters.usual() != Some(place));
        assert!(clusters.lasting(0) && !clusters.lasting(place));
    }

    #[test]
    fn a_new_shape_replaces_the_one_not_seen_for_longest() {
        let mut clusters = Clusters::default();
        for at in [0, 3, 6, 9, 12, 15, 0, 3, 6, 9, 12] {
            let likeness = clusters.compare(&pulse(at));
            clusters.take(&pulse(at), &likeness, None, [0.0; 2]);
        }
        assert_eq!(clusters.clusters.len(), 6);
        let mut wide = pulse(1);
        wide.swap(0, 1);
        let likeness = clusters.compare(&[7761; SHAPE]);
        clusters.take(&[7761; SHAPE], &likeness, None, [0.0; 2]);
        assert_eq!(clusters.clusters.len(), 6);
        assert!(clusters.compare(&pulse(16)).similar.iter().all(|&r| r < 0.9), "the cluster at 15 gave way");
        assert!(clusters.compare(&wide).similar.iter().any(|&r| r > 0.9));
    }
}
