//! Normal, ventricular or paced: how a beat differs from this lead's usual beats in shape, width and rhythm.
//!
//! Beats fall into a few shape clusters without any label. A cluster remembers how early its beats came and how long the
//! pause behind them was, so the compensatory pause of a ventricular beat speaks for the next beats of its shape although
//! no beat waits for its own. The label of a beat is its own score and the mean score of its cluster. No label
//! feeds back into a feature, so one mistake does not breed others.

use super::BeatLabel;
use super::clusters::{Clusters, Likeness};
use super::features::{Candidate, Contour, Level};
use super::history::LastEight;
use super::math::ln;
use crate::state::{Reader, StateError, Writer};

/// Features of a label.
pub const FEATURES: usize = 36;
/// So many beats make a usual beat.
const KNOWN: usize = 4;
/// Levels whose usual value is remembered.
const COMPARED: [Level; 6] =
    [Level::Power, Level::Sharpness, Level::Width, Level::Amplitude, Level::Slope, Level::Range];
/// Place of the area behind them.
const AREA: usize = COMPARED.len();
/// A power of two, so that they fill vector registers.
const LANES: usize = 8;
/// The mean score of a cluster counts as much as a beat's own.
const VOTE: f32 = 1.0;

/// A lasting rhythm slower than this, seconds (100 beats a minute, where tachycardia begins), is the patient's own (paced,
/// a bundle branch block, an escape rhythm), not ventricular ectopy, however wide: calling it so would raise a false alarm
/// at every beat.
const SLOW_S: f32 = 0.6;

/// What labelling remembers of one lead.
#[derive(Clone, Default)]
pub(super) struct Morphology {
    /// The compared levels of the last usual beats, and behind them their area.
    usual: LastEight<LANES>,
    clusters: Clusters,
    /// Interval before the last beat, seconds.
    last_rr: f32,
}

/// The rhythm around a beat.
#[derive(Clone, Copy)]
pub(super) struct Rhythm {
    /// Since the beat before, seconds, if that is known.
    pub rr: Option<f32>,
    /// Median of the last eight intervals, seconds.
    pub usual_rr: f32,
    /// Median distance from that median, seconds.
    pub spread: f32,
}

impl Rhythm {
    /// ln of the interval over the usual one, within -1 to 1.
    fn prematurity(&self) -> Option<f32> {
        self.rr.map(|rr| ln(rr / self.usual_rr).clamp(-1.0, 1.0))
    }
}

impl Morphology {
    /// Whether enough beats are known to tell a usual one.
    pub fn knows(&self) -> bool {
        self.usual.known(0) >= KNOWN
    }

    /// The features of a beat, and what [`Self::take`] needs to know of it.
    pub fn features(&self, c: &Candidate, rhythm: Rhythm) -> ([f32; FEATURES], Likeness) {
        let rr = rhythm.rr.unwrap_or(rhythm.usual_rr);
        let last_rr = if self.last_rr > 0.0 { self.last_rr } else { rr };
        let (power, range) = (c.level(Level::Power), c.level(Level::Range));
        let area = c.contour(Contour::Area);
        let own = [
            rr / rhythm.usual_rr,
            rr / last_rr,
            rhythm.spread / rhythm.usual_rr,
            last_rr / rhythm.usual_rr,
            ln(c.level(Level::Width) + 0.01),
            c.contour(Contour::Extent),
            c.contour(Contour::Steep),
            area,
            c.contour(Contour::Discordance),
            c.level(Level::Sharpness),
            c.level(Level::Slope) - range,
            power - range,
            c.level(Level::Amplitude) - range,
            c.level(Level::QuietBefore) - power,
            c.level(Level::QuietAfter) - power,
            c.level(Level::Next) - power,
            c.level(Level::Step),
            c.level(Level::Spike),
            area - self.usual.median_or(AREA, area),
        ];
        let mut f = [0.0; FEATURES];
        let (first, rest) = f.split_at_mut(own.len());
        first.copy_from_slice(&own);
        let (compared, clusters) = rest.split_at_mut(COMPARED.len());
        for (kind, (difference, level)) in compared.iter_mut().zip(COMPARED).enumerate() {
            *difference = c.level(level) - self.usual.median_or(kind, c.level(level));
        }
        let (known, likeness) = self.clusters.features(&c.wide_shape);
        clusters.copy_from_slice(&known);
        (f, likeness)
    }

    /// Takes a beat with the log odds of its labels; returns those odds with the vote of its cluster.
    pub fn take(&mut self, c: &Candidate, likeness: &Likeness, rhythm: Rhythm, odds: [f32; 2]) -> [f32; 2] {
        let (votes, place) = self.clusters.take(&c.wide_shape, likeness, rhythm.prematurity(), odds);
        self.last_rr = rhythm.rr.unwrap_or(0.0);
        if self.clusters.usual() == Some(place) {
            for (kind, level) in COMPARED.into_iter().enumerate() {
                self.usual.push(kind, c.level(level));
            }
            self.usual.push(AREA, c.contour(Contour::Area));
            self.usual.settle();
        }
        let mut odds = [odds[0] + VOTE * votes[0], odds[1] + VOTE * votes[1]];
        if rhythm.usual_rr > SLOW_S && self.clusters.lasting(place) {
            odds[0] = odds[0].min(-1.0);
        }
        odds
    }

    pub fn write(&self, writer: &mut Writer) {
        self.usual.write(writer, AREA + 1);
        self.clusters.write(writer);
        writer.one(self.last_rr);
    }

    pub fn read(reader: &mut Reader) -> Result<Self, StateError> {
        let mut morphology = Self { usual: LastEight::read(reader, AREA + 1)?, ..Self::default() };
        morphology.clusters = Clusters::read(reader)?;
        morphology.last_rr = reader.one()?;
        if (0.0..1e6).contains(&morphology.last_rr) { Ok(morphology) } else { Err(StateError::Value("last interval")) }
    }
}

/// The label that two log odds give.
pub fn label([ventricular, paced]: [f32; 2]) -> BeatLabel {
    match (ventricular > 0.0, paced > 0.0) {
        (_, true) if paced > ventricular => BeatLabel::Paced,
        (true, _) => BeatLabel::Ventricular,
        _ => BeatLabel::Normal,
    }
}
