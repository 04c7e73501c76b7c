//! From sample indices to time: the frames of the last seconds, each with its first sample and its event time.

use std::collections::VecDeque;

use crate::state::{Reader, StateError, Writer};

/// Frames remembered: an R-peak becomes certain 0.3 s after it, in frames of 0.1 s that is four frames later.
const MAX_ANCHORS: usize = 8;

/// A frame's place in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// Index of its first sample.
    pub first_sample: u64,
    /// Its number.
    pub seq: u64,
    /// Event time of its first sample.
    pub ts: i64,
    /// Its rate.
    pub fs_mhz: u32,
}

/// The last frames of a signal, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Anchors(VecDeque<Anchor>);

impl Anchors {
    /// Adds the frame that is processed now.
    pub fn push(&mut self, anchor: Anchor) {
        if self.0.len() == MAX_ANCHORS {
            self.0.pop_front();
        }
        self.0.push_back(anchor);
    }

    /// The frame number and event time of a sample; reckoned from the oldest known frame when it lies before it.
    pub fn locate(&self, sample: u64) -> (u64, i64) {
        let after = self.0.partition_point(|anchor| anchor.first_sample <= sample);
        let Some(anchor) = self.0.get(after.saturating_sub(1)) else { return (0, 0) };
        let distance = i128::from(sample) - i128::from(anchor.first_sample);
        let ns = distance * 1_000_000_000_000 / i128::from(anchor.fs_mhz.max(1));
        (anchor.seq, anchor.ts.saturating_add(ns as i64))
    }

    /// Appends the state.
    pub fn write(&self, writer: &mut Writer) {
        writer.one(self.0.len() as u8);
        for anchor in &self.0 {
            writer.put(&[anchor.first_sample, anchor.seq]).one(anchor.ts).one(anchor.fs_mhz);
        }
    }

    /// Reads the state back.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let count = reader.one::<u8>()?;
        let anchor = |reader: &mut Reader<'_>| {
            Ok(Anchor { first_sample: reader.one()?, seq: reader.one()?, ts: reader.one()?, fs_mhz: reader.one()? })
        };
        (0..count).map(|_| anchor(reader)).collect::<Result<_, StateError>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_frame_of_a_sample() {
        let mut anchors = Anchors::default();
        for second in 0..20_u64 {
            let ts = second as i64 * 1_000_000_000 + if second > 15 { 500 } else { 0 };
            anchors.push(Anchor { first_sample: second * 250, seq: second, ts, fs_mhz: 250_000 });
        }
        assert_eq!(anchors.locate(19 * 250 + 1), (19, 19_004_000_500));
        assert_eq!(anchors.locate(15 * 250 + 249), (15, 15_996_000_000));
        assert_eq!(anchors.locate(250), (12, 1_000_000_000));
    }
}
