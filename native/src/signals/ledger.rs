//! What became of each signal's frames: counts that grow, told once a minute of log time as rows of `ledger`.

use std::sync::Arc;

use crate::state::{Reader, StateError, Writer};
use crate::wire::proto::Signal;
use crate::wire::{Frame, signal_name};

use super::codec::{read_signal, read_text};
use super::output::{Counts, LedgerRow, Origin};

const MINUTE_NS: i64 = 60_000_000_000;
/// Signals that are counted apart; the one unheard for longest makes room. Its rows remain.
const MAX_ENTRIES: usize = 32;

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    device: Arc<str>,
    signal: Signal,
    /// Boot and number of the last frame.
    last: (u64, u64),
    log_ns: i64,
    counts: [u64; 4],
    told: bool,
}

/// The counts of one patient.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ledger {
    entries: Vec<Entry>,
    due: Option<(i64, u64)>,
}

impl Ledger {
    /// Notes what became of a frame: the counts of the list before and after it.
    pub fn note(&mut self, frame: &Frame, before: Counts, after: Counts) {
        let found =
            self.entries.iter().position(|entry| entry.signal == frame.signal && *entry.device == *frame.device);
        let index = found.unwrap_or_else(|| self.open(frame));
        let entry = &mut self.entries[index];
        entry.last = (frame.boot, frame.seq);
        entry.log_ns = frame.log_ns;
        entry.told = false;
        entry.counts[0] += after.stored - before.stored;
        entry.counts[1] += after.late - before.late;
        entry.counts[2] += after.duplicate - before.duplicate;
        entry.counts[3] += after.rejected - before.rejected;
        let next_minute = (frame.log_ns.div_euclid(MINUTE_NS) + 1).saturating_mul(MINUTE_NS);
        self.due.get_or_insert((next_minute, frame.log_seq));
    }

    fn open(&mut self, frame: &Frame) -> usize {
        if self.entries.len() == MAX_ENTRIES {
            let oldest = (0..MAX_ENTRIES).min_by_key(|&index| self.entries[index].log_ns).unwrap_or(0);
            self.entries.remove(oldest);
        }
        let (device, signal) = (frame.device.as_str().into(), frame.signal);
        self.entries.push(Entry { device, signal, last: (0, 0), log_ns: 0, counts: [0; 4], told: true });
        self.entries.len() - 1
    }

    /// When the counts are told, and the message that asked for it.
    pub fn deadline(&self) -> Option<(i64, u64)> {
        self.due
    }

    /// Tells the counts that have changed.
    pub fn tell(&mut self, deadline_ns: i64, rows: &mut Vec<LedgerRow>) {
        self.due = None;
        for entry in self.entries.iter_mut().filter(|entry| !entry.told) {
            entry.told = true;
            let (boot, seq) = entry.last;
            let origin = Origin { device: entry.device.clone(), boot, signal: signal_name(entry.signal), seq };
            rows.push(LedgerRow { ts: deadline_ns, origin, counts: entry.counts });
        }
    }

    /// Appends the state.
    pub fn write(&self, writer: &mut Writer) {
        let (due_ns, due_seq) = self.due.unwrap_or((i64::MIN, 0));
        writer.one(due_ns).one(due_seq).one(self.entries.len() as u16);
        for entry in &self.entries {
            writer.part(entry.device.as_bytes()).one(entry.signal as i32).put(&[entry.last.0, entry.last.1]);
            writer.one(entry.log_ns).put(&entry.counts).one(u8::from(entry.told));
        }
    }

    /// Reads the state back.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let (due_ns, due_seq) = (reader.one()?, reader.one()?);
        let mut ledger = Self { entries: Vec::new(), due: (due_ns != i64::MIN).then_some((due_ns, due_seq)) };
        for _ in 0..reader.one::<u16>()? {
            ledger.entries.push(Entry {
                device: read_text(reader)?.into(),
                signal: read_signal(reader)?,
                last: (reader.one()?, reader.one()?),
                log_ns: reader.one()?,
                counts: [reader.one()?, reader.one()?, reader.one()?, reader.one()?],
                told: reader.one::<u8>()? != 0,
            });
        }
        Ok(ledger)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Body;

    fn frame(device: &str, seq: u64, log_ns: i64) -> Frame {
        Frame {
            device: device.into(),
            boot: 1,
            signal: Signal::Numeric,
            seq,
            first_sample: seq,
            device_ns: log_ns,
            stored: false,
            averaging_s: 0.0,
            body: Body::Readings(Vec::new()),
            log_seq: 100 + seq,
            log_ns,
        }
    }

    fn counts(stored: u64, duplicate: u64) -> Counts {
        Counts { received: stored + duplicate, stored, duplicate, ..Counts::default() }
    }

    #[test]
    fn counts_grow_and_are_told_at_the_next_minute_when_they_have_changed() {
        let mut ledger = Ledger::default();
        ledger.note(&frame("a", 0, MINUTE_NS + 5), counts(0, 0), counts(1, 0));
        ledger.note(&frame("b", 0, MINUTE_NS + 6), counts(1, 0), counts(2, 0));
        ledger.note(&frame("a", 1, MINUTE_NS + 7), counts(2, 0), counts(2, 1));
        assert_eq!(ledger.deadline(), Some((2 * MINUTE_NS, 100)));
        let mut rows = Vec::new();
        ledger.tell(2 * MINUTE_NS, &mut rows);
        let told = rows.iter().map(|row| (&*row.origin.device, row.origin.seq, row.counts)).collect::<Vec<_>>();
        assert_eq!(told, [("a", 1, [1, 0, 1, 0]), ("b", 0, [1, 0, 0, 0])]);
        assert_eq!(ledger.deadline(), None);
        ledger.note(&frame("b", 1, 3 * MINUTE_NS), counts(0, 0), counts(1, 0));
        rows.clear();
        ledger.tell(4 * MINUTE_NS, &mut rows);
        assert_eq!(rows.iter().map(|row| (row.ts, row.counts)).collect::<Vec<_>>(), [(4 * MINUTE_NS, [2, 0, 0, 0])]);
    }

    #[test]
    fn memory_is_bounded_and_reads_back() {
        let mut ledger = Ledger::default();
        for device in 0..100 {
            ledger.note(&frame(&format!("d{device}"), 0, device), counts(0, 0), counts(1, 0));
        }
        assert_eq!(ledger.entries.len(), MAX_ENTRIES);
        let mut writer = Writer::new(*b"TEST", 1);
        ledger.write(&mut writer);
        let bytes = writer.finish();
        let mut reader = Reader::open(&bytes, *b"TEST", 1).unwrap();
        assert_eq!(Ledger::read(&mut reader).unwrap(), ledger);
        reader.finish().unwrap();
    }
}
