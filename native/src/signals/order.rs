//! Order, duplicates, gaps and lateness of one signal of one device and boot.
//!
//! Frames are processed by `seq`. A frame ahead of its turn is held until the missing ones come or its deadline in log
//! time passes; then what is missing is a gap, and comes too late if it still comes. What was seen is remembered as a
//! bounded list of runs, so a duplicate is known for as long as the list reaches back. Further back every frame counts
//! as late: stored once more, which the database's deduplication makes harmless, and never lost.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::state::{Reader, StateError, Writer};
use crate::wire::Frame;

use super::codec;

/// Holes that are remembered. Each may still be filled by a late frame that is then told from a duplicate.
const MAX_RUNS: usize = 32;
/// Frames whose exact bounds are remembered, to tell a retransmission from another frame with the same number.
const RECENT: usize = 8;
/// Frames that may be held: two seconds of a device that sends 16 frames a second, and no more memory than that.
const MAX_HELD: usize = 32;

/// Consecutive frames: half-open ranges of numbers and samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Run {
    seq: (u64, u64),
    sample: (u64, u64),
}

#[derive(Clone, Debug, PartialEq)]
struct Held {
    frame: Arc<Frame>,
    offset_ns: i64,
    deadline_ns: i64,
}

/// What to do with a frame that has just arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// New: store it; it takes its turn now or when its turn comes.
    Fresh,
    /// Its turn is over: store it and list it, detect nothing.
    Late,
    /// Seen before: count it.
    Duplicate,
    /// Claims samples or a number that another frame claims with other bounds.
    Overlap(String),
}

/// The order of one signal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sequencer {
    started: bool,
    next_seq: u64,
    next_sample: u64,
    /// Below this number nothing is remembered.
    floor_seq: u64,
    runs: Vec<Run>,
    recent: Vec<(u64, u64, u64)>,
    held: BTreeMap<u64, Held>,
}

impl Sequencer {
    /// Judges an arriving frame and remembers it; a fresh one is to be given to `hold`.
    pub fn admit(&mut self, frame: &Frame) -> Verdict {
        let bounds = (frame.seq, frame.first_sample, frame.end_sample());
        if !self.started {
            self.started = true;
            self.next_seq = frame.seq;
            self.next_sample = frame.first_sample;
            self.floor_seq = frame.seq;
        } else if frame.seq < self.floor_seq {
            return Verdict::Late;
        }
        if let Some(known) = self.recent.iter().find(|known| known.0 == frame.seq) {
            return if *known == bounds { Verdict::Duplicate } else { overlap(frame, "its number was used before") };
        }
        let after = self.runs.partition_point(|run| run.seq.0 <= frame.seq);
        if let Some(before) = after.checked_sub(1).map(|index| self.runs[index]) {
            if frame.seq < before.seq.1 {
                let inside = before.sample.0 <= bounds.1 && bounds.2 <= before.sample.1;
                return if inside { Verdict::Duplicate } else { overlap(frame, "its number was used before") };
            }
            if bounds.1 < before.sample.1 {
                return overlap(frame, "an earlier frame holds these samples");
            }
        }
        if self.runs.get(after).is_some_and(|run| bounds.2 > run.sample.0) {
            return overlap(frame, "a later frame holds these samples");
        }
        self.remember(after, bounds);
        if frame.seq < self.next_seq { Verdict::Late } else { Verdict::Fresh }
    }

    /// Keeps a fresh frame until its turn, at the latest until its deadline, with its clock's offset.
    pub fn hold(&mut self, frame: Arc<Frame>, offset_ns: i64, reorder_ns: i64) {
        let deadline_ns = frame.log_ns.saturating_add(reorder_ns);
        self.held.insert(frame.seq, Held { frame, offset_ns, deadline_ns });
    }

    fn remember(&mut self, after: usize, (seq, first, end): (u64, u64, u64)) {
        if self.recent.len() == RECENT {
            self.recent.remove(0);
        }
        self.recent.push((seq, first, end));
        self.runs.insert(after, Run { seq: (seq, seq + 1), sample: (first, end) });
        if self.runs.get(after + 1).is_some_and(|next| next.seq.0 == seq + 1) {
            let next = self.runs.remove(after + 1);
            self.runs[after].seq.1 = next.seq.1;
            self.runs[after].sample.1 = next.sample.1;
        }
        if after > 0 && self.runs[after - 1].seq.1 == seq {
            let this = self.runs.remove(after);
            self.runs[after - 1].seq.1 = this.seq.1;
            self.runs[after - 1].sample.1 = this.sample.1;
        }
        if self.runs.len() > MAX_RUNS {
            self.floor_seq = self.runs.remove(0).seq.1;
        }
    }

    /// The next frame whose turn has come: the expected one, or the oldest of too many that wait.
    pub fn take_ready(&mut self) -> Option<Turn> {
        let (&seq, _) = self.held.first_key_value()?;
        (seq == self.next_seq || self.held.len() > MAX_HELD).then(|| self.take(seq))
    }

    /// The earliest moment at which a held frame waits no longer: deadline and the sequence of the frame that set it.
    pub fn deadline(&self) -> Option<(i64, u64)> {
        self.held.values().map(|held| (held.deadline_ns, held.frame.log_seq)).min()
    }

    /// Gives up what is missing before the frame that was logged as `log_seq`: the next turn up to that frame.
    pub fn take_overdue(&mut self, log_seq: u64) -> Option<Turn> {
        self.held.values().find(|held| held.frame.log_seq == log_seq)?;
        let (&seq, _) = self.held.first_key_value()?;
        Some(self.take(seq))
    }

    /// The next held frame, whatever is missing before it: the device has started anew.
    pub fn take_any(&mut self) -> Option<Turn> {
        let (&seq, _) = self.held.first_key_value()?;
        Some(self.take(seq))
    }

    fn take(&mut self, seq: u64) -> Turn {
        let Held { frame, offset_ns, .. } = self.held.remove(&seq).expect("take is called with a held number");
        let missing = frame.first_sample.saturating_sub(self.next_sample);
        self.next_seq = seq + 1;
        self.next_sample = frame.end_sample();
        Turn { frame, offset_ns, missing }
    }

    /// Appends the state.
    pub fn write(&self, writer: &mut Writer) {
        writer.one(u8::from(self.started)).put(&[self.next_seq, self.next_sample, self.floor_seq]);
        writer.one(self.runs.len() as u16);
        for run in &self.runs {
            writer.put(&[run.seq.0, run.seq.1, run.sample.0, run.sample.1]);
        }
        writer.one(self.recent.len() as u16);
        for recent in &self.recent {
            writer.put(&[recent.0, recent.1, recent.2]);
        }
        writer.one(self.held.len() as u16);
        for held in self.held.values() {
            writer.put(&[held.deadline_ns, held.offset_ns]);
            codec::write_frame(writer, &held.frame);
        }
    }

    /// Reads the state back.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let started = reader.one::<u8>()? != 0;
        let mut order = Self { started, ..Self::default() };
        order.next_seq = reader.one()?;
        order.next_sample = reader.one()?;
        order.floor_seq = reader.one()?;
        for _ in 0..reader.one::<u16>()? {
            let (seq, sample) = ((reader.one()?, reader.one()?), (reader.one()?, reader.one()?));
            order.runs.push(Run { seq, sample });
        }
        for _ in 0..reader.one::<u16>()? {
            order.recent.push((reader.one()?, reader.one()?, reader.one()?));
        }
        for _ in 0..reader.one::<u16>()? {
            let (deadline_ns, offset_ns) = (reader.one()?, reader.one()?);
            let frame = Arc::new(codec::read_frame(reader)?);
            order.held.insert(frame.seq, Held { frame, offset_ns, deadline_ns });
        }
        Ok(order)
    }
}

/// A frame whose turn has come, and how many samples are missing before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// The frame.
    pub frame: Arc<Frame>,
    /// What is added to its device time.
    pub offset_ns: i64,
    /// Samples between the frame before and this one.
    pub missing: u64,
}

fn overlap(frame: &Frame, why: &str) -> Verdict {
    Verdict::Overlap(format!(
        "frame {} with samples {} to {}: {why}",
        frame.seq,
        frame.first_sample,
        frame.end_sample()
    ))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::wire::proto::Signal;
    use crate::wire::{Body, Wave};

    const SECOND: i64 = 1_000_000_000;

    fn frame(seq: u64, first_sample: u64, samples: usize, log_s: i64) -> Frame {
        let wave = Wave { fs_mhz: 250_000, lsb: 0.005, status: 0, samples: Bytes::from(vec![0; samples * 2]) };
        Frame {
            device: "d".into(),
            boot: 1,
            signal: Signal::EcgIi,
            seq,
            first_sample,
            device_ns: 0,
            stored: false,
            averaging_s: 0.0,
            body: Body::Wave(wave),
            log_seq: seq + 1000,
            log_ns: log_s * SECOND,
        }
    }

    fn arrive(order: &mut Sequencer, frame: Frame) -> Verdict {
        let verdict = order.admit(&frame);
        if verdict == Verdict::Fresh {
            order.hold(Arc::new(frame), 0, 2 * SECOND);
        }
        verdict
    }

    fn ready(order: &mut Sequencer) -> Vec<(u64, u64)> {
        std::iter::from_fn(|| order.take_ready()).map(|turn| (turn.frame.seq, turn.missing)).collect()
    }

    #[test]
    fn a_missing_frame_is_waited_for_and_then_given_up() {
        let mut order = Sequencer::default();
        assert_eq!(arrive(&mut order, frame(0, 0, 250, 0)), Verdict::Fresh);
        assert_eq!(ready(&mut order), [(0, 0)]);
        assert_eq!(arrive(&mut order, frame(2, 500, 250, 1)), Verdict::Fresh);
        assert_eq!(ready(&mut order), []);
        assert_eq!(order.deadline(), Some((3 * SECOND, 1002)));
        let overdue = order.take_overdue(1002).unwrap();
        assert_eq!((overdue.frame.seq, overdue.missing), (2, 250));
        assert_eq!(order.take_overdue(1002), None);
        assert_eq!(arrive(&mut order, frame(1, 250, 250, 9)), Verdict::Late);
        assert_eq!(arrive(&mut order, frame(1, 250, 250, 9)), Verdict::Duplicate);
    }

    #[test]
    fn swapped_frames_take_their_turns() {
        let mut order = Sequencer::default();
        arrive(&mut order, frame(0, 0, 250, 0));
        arrive(&mut order, frame(2, 500, 250, 0));
        assert_eq!(ready(&mut order), [(0, 0)]);
        arrive(&mut order, frame(1, 250, 250, 1));
        assert_eq!(ready(&mut order), [(1, 0), (2, 0)]);
        assert_eq!(order.deadline(), None);
    }

    #[test]
    fn other_bounds_are_an_overlap() {
        let mut order = Sequencer::default();
        for (seq, first) in [(0, 0), (1, 250), (3, 750)] {
            assert_eq!(arrive(&mut order, frame(seq, first, 250, 0)), Verdict::Fresh);
        }
        assert!(matches!(arrive(&mut order, frame(1, 250, 251, 0)), Verdict::Overlap(_)));
        assert!(matches!(arrive(&mut order, frame(2, 499, 250, 0)), Verdict::Overlap(_)));
        assert!(matches!(arrive(&mut order, frame(2, 501, 250, 0)), Verdict::Overlap(_)));
        assert_eq!(arrive(&mut order, frame(2, 500, 250, 0)), Verdict::Fresh);
    }

    #[test]
    fn memory_is_bounded_and_what_is_forgotten_counts_as_late() {
        let mut order = Sequencer::default();
        for hole in 0..100 {
            assert_eq!(arrive(&mut order, frame(hole * 2, hole * 500, 250, 0)), Verdict::Fresh);
            ready(&mut order);
        }
        assert!(order.runs.len() <= MAX_RUNS && order.held.len() <= MAX_HELD + 1);
        assert_eq!(arrive(&mut order, frame(0, 0, 250, 0)), Verdict::Late);
    }

    #[test]
    fn state_reads_back() {
        let mut order = Sequencer::default();
        for (seq, first) in [(0, 0), (2, 500), (5, 1250)] {
            arrive(&mut order, frame(seq, first, 250, 0));
        }
        let mut writer = Writer::new(*b"TEST", 1);
        order.write(&mut writer);
        let bytes = writer.finish();
        let mut reader = Reader::open(&bytes, *b"TEST", 1).unwrap();
        assert_eq!(Sequencer::read(&mut reader).unwrap(), order);
        reader.finish().unwrap();
    }
}
