//! Normal, ventricular or paced: how a beat differs from this lead's usual beats in shape, width and rhythm.

use super::BeatLabel;
use super::features::{Candidate, Level, SHAPE};
use super::history::{Bank, Last8};
use crate::state::{Reader, StateError, Writer};

/// Features of a label.
pub const FEATURES: usize = 21;
/// So many beats make a usual beat.
const KNOWN: usize = 4;
/// Levels whose usual value is remembered.
const COMPARED: [Level; 6] =
    [Level::Power, Level::Sharpness, Level::Width, Level::Amplitude, Level::Slope, Level::Range];
/// Eight ventricular beats in a row slower than this are the new usual rhythm, not tachycardia, seconds.
const SLOW_S: f32 = 0.5;

/// What labelling remembers of one lead.
#[derive(Clone, Default)]
pub(super) struct Morphology {
    usual: [Last8; COMPARED.len()],
    usual_shape: Bank<1>,
    usual_wide_shape: Bank<1>,
    ventricular_shapes: Bank<2>,
    /// Interval before the last beat, seconds.
    last_rr: f32,
    /// The last eight beats, newest lowest: whether ventricular.
    ventricular: u8,
    /// The same for paced.
    paced: u8,
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
    /// Log odds that this is a beat.
    pub score: f32,
}

impl Morphology {
    /// Whether enough beats are known to tell a usual one.
    pub fn knows(&self) -> bool {
        self.usual[0].known() >= KNOWN
    }

    /// The features of a beat.
    pub fn features(&self, c: &Candidate, rhythm: Rhythm) -> [f32; FEATURES] {
        let rr = rhythm.rr.unwrap_or(rhythm.usual_rr);
        let mut f = [0.0; FEATURES];
        for (place, level) in COMPARED.into_iter().enumerate() {
            f[place] = c.level(level) - self.usual[place].median_or(c.level(level));
        }
        let power = c.level(Level::Power);
        let opposite: [i16; SHAPE] = c.shape.map(|v| -v);
        let rest = [
            self.usual_shape.best(&c.shape),
            self.usual_shape.best(&opposite),
            self.usual_wide_shape.best(&c.wide_shape),
            self.ventricular_shapes.best(&c.shape),
            rr / rhythm.usual_rr,
            rr / if self.last_rr > 0.0 { self.last_rr } else { rr },
            rhythm.spread / rhythm.usual_rr,
            (self.ventricular & 1) as f32,
            self.ventricular.count_ones() as f32 / 8.0,
            self.paced.count_ones() as f32 / 8.0,
            c.level(Level::QuietBefore) - power,
            c.level(Level::Next) - power,
            c.level(Level::Step),
            c.level(Level::Spike),
            rhythm.score,
        ];
        f[COMPARED.len()..].copy_from_slice(&rest);
        f
    }

    /// Takes the label into account.
    pub fn remember(&mut self, c: &Candidate, rhythm: Rhythm, label: BeatLabel) {
        let rr = rhythm.rr;
        let ventricular = label == BeatLabel::Ventricular;
        self.ventricular = self.ventricular << 1 | u8::from(ventricular);
        self.paced = self.paced << 1 | u8::from(label == BeatLabel::Paced);
        self.last_rr = rr.unwrap_or(0.0);
        if ventricular && self.knows() {
            self.ventricular_shapes.enter(&c.shape);
            if self.ventricular == u8::MAX && rr.is_some_and(|rr| rr > SLOW_S) {
                self.usual = Default::default();
                (self.usual_shape, self.usual_wide_shape) = (Bank::default(), Bank::default());
                self.ventricular = 0;
            }
            return;
        }
        for (usual, level) in self.usual.iter_mut().zip(COMPARED) {
            usual.push(c.level(level));
        }
        self.usual_shape.follow(&c.shape);
        self.usual_wide_shape.follow(&c.wide_shape);
    }

    pub fn write(&self, writer: &mut Writer) {
        for usual in &self.usual {
            usual.write(writer);
        }
        self.usual_shape.write(writer);
        self.usual_wide_shape.write(writer);
        self.ventricular_shapes.write(writer);
        writer.one(self.last_rr).one(self.ventricular).one(self.paced);
    }

    pub fn read(reader: &mut Reader) -> Result<Self, StateError> {
        let mut morphology = Self::default();
        for usual in &mut morphology.usual {
            *usual = Last8::read(reader)?;
        }
        morphology.usual_shape = Bank::read(reader)?;
        morphology.usual_wide_shape = Bank::read(reader)?;
        morphology.ventricular_shapes = Bank::read(reader)?;
        morphology.last_rr = reader.one()?;
        (morphology.ventricular, morphology.paced) = (reader.one()?, reader.one()?);
        if (0.0..1e6).contains(&morphology.last_rr) { Ok(morphology) } else { Err(StateError::Value("last interval")) }
    }
}

/// The label that two log odds give.
pub fn label(ventricular: f32, paced: f32) -> BeatLabel {
    match (ventricular > 0.0, paced > 0.0) {
        (_, true) if paced > ventricular => BeatLabel::Paced,
        (true, _) => BeatLabel::Ventricular,
        _ => BeatLabel::Normal,
    }
}
