//! Where each offset of a device's clock began, per signal.

use std::collections::VecDeque;

use crate::state::{Reader, StateError, Writer};

/// Offsets that held from a sample on: one signal's memory of its device's clock, so that a frame that comes late gets
/// the offset of its time and a stored row never moves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segments(VecDeque<Segment>);

/// Frames of `boot` from `first_sample` on are moved by `offset_ns`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Segment {
    boot: u64,
    first_sample: u64,
    offset_ns: i64,
}

/// Segments that are remembered per signal; a frame from before them gets the oldest one's offset.
const MAX_SEGMENTS: usize = 24;

impl Segments {
    /// The clock says `offset_ns` at this sample; true when that begins a segment.
    pub fn note(&mut self, boot: u64, first_sample: u64, offset_ns: i64) -> bool {
        let last = self.0.back().copied();
        let known = last.filter(|last| last.boot == boot);
        if known.map_or(0, |known| known.offset_ns) == offset_ns
            || last.is_some_and(|last| (last.boot, last.first_sample) >= (boot, first_sample))
        {
            return false;
        }
        if self.0.len() == MAX_SEGMENTS {
            self.0.pop_front();
        }
        self.0.push_back(Segment { boot, first_sample, offset_ns });
        true
    }

    /// The offset of a frame.
    pub fn offset_ns(&self, boot: u64, first_sample: u64) -> i64 {
        let at = self.0.iter().rev().find(|segment| segment.boot == boot && segment.first_sample <= first_sample);
        // Before the first segment of a boot the identity held, unless that segment was forgotten.
        let forgotten = || self.0.front().filter(|first| first.boot == boot && self.0.len() == MAX_SEGMENTS);
        at.or_else(forgotten).map_or(0, |segment| segment.offset_ns)
    }

    /// Appends the state.
    pub fn write(&self, writer: &mut Writer) {
        writer.one(self.0.len() as u8);
        for segment in &self.0 {
            writer.put(&[segment.boot, segment.first_sample]).one(segment.offset_ns);
        }
    }

    /// Reads the state back.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let count = reader.one::<u8>()?;
        let segment = |reader: &mut Reader<'_>| {
            Ok(Segment { boot: reader.one()?, first_sample: reader.one()?, offset_ns: reader.one()? })
        };
        (0..count).map(|_| segment(reader)).collect::<Result<_, StateError>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_frame_gets_the_offset_of_its_time() {
        let mut segments = Segments::default();
        assert!(!segments.note(1, 0, 0));
        assert!(segments.note(1, 1000, 25));
        assert!(!segments.note(1, 1250, 25));
        assert!(segments.note(1, 2000, 50));
        assert!(!segments.note(1, 1500, 75), "an earlier sample begins nothing");
        assert!(segments.note(2, 0, 50));
        let offsets = [(1, 0), (1, 1000), (1, 1999), (1, 2000), (1, 9000), (2, 7), (3, 7)];
        let found: Vec<i64> = offsets.iter().map(|(boot, sample)| segments.offset_ns(*boot, *sample)).collect();
        assert_eq!(found, [0, 25, 25, 50, 50, 50, 0]);
    }

    #[test]
    fn memory_is_bounded_and_reads_back() {
        let mut segments = Segments::default();
        for number in 1..100 {
            assert!(segments.note(1, number * 10, number as i64));
        }
        assert_eq!(segments.offset_ns(1, 0), 99 - MAX_SEGMENTS as i64 + 1);
        let mut writer = Writer::new(*b"TEST", 1);
        segments.write(&mut writer);
        let bytes = writer.finish();
        let mut reader = Reader::open(&bytes, *b"TEST", 1).unwrap();
        assert_eq!(Segments::read(&mut reader).unwrap(), segments);
        reader.finish().unwrap();
    }
}
