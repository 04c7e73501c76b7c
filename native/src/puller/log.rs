//! One partition of the log as the flow sees it: log time, roster, grouping, position. Pure.

use std::collections::HashMap;

use bytes::Bytes;

use super::PullerError;
use crate::signals::HOLE_LIMIT_NS;
use crate::state::{Reader, Writer};
use crate::wire::{MODELS_NAME, Raw, RawMessage};

const KIND: [u8; 4] = *b"VPRT";
const VERSION: u16 = 1;
const HOUR_NS: i64 = 3_600_000_000_000;
/// The patient that stands for the pipeline.
const PIPELINE: &str = "tick.broker";
/// Tenant that only the broker's ticks have.
const TICK: &[u8] = b"tick";

/// What log time is in a stream, fixed by its metadata `vitals.log_time`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogTime {
    /// The server's timestamps.
    Server,
    /// The header `Vitals-Log-Time`; messages without it do not move log time.
    Header,
}

/// A message of the partition as it was delivered.
#[derive(Clone, Debug)]
pub struct Arrival<'a> {
    /// Stored subject, `vp.<n>.<tenant>.<patient>.<device>.<signal>`.
    pub subject: &'a str,
    /// Original bytes.
    pub payload: Bytes,
    /// Sequence number in the stream.
    pub log_seq: u64,
    /// When the server stored it (ns since 1970).
    pub server_ns: i64,
    /// Header `Vitals-Log-Time`, where it is a number.
    pub header_ns: Option<i64>,
}

/// What the log held for each patient since the last batch, sorted by key (`tenant/patient`).
pub type Batch = Vec<(String, Vec<Raw>)>;

#[derive(Debug)]
struct Patient {
    last_h: u32,
    /// Whether its tokens are identifiers. What is not is passed on, to be rejected, and gets no ticks.
    named: bool,
    batch: u64,
    group: usize,
}

/// State of one partition.
#[derive(Debug)]
pub struct PartitionLog {
    log_time: LogTime,
    roster_h: u32,
    log_ns: i64,
    next_seq: u64,
    roster: HashMap<Box<str>, Patient>,
    batch: u64,
    groups: Batch,
    tick_seq: Option<u64>,
}

impl PartitionLog {
    /// A partition that nothing was read of, from `next_seq` on.
    pub fn new(log_time: LogTime, roster_h: u32, next_seq: u64) -> Self {
        Self {
            log_time,
            roster_h,
            log_ns: 0,
            next_seq,
            roster: HashMap::new(),
            batch: 1,
            groups: Vec::new(),
            tick_seq: None,
        }
    }

    /// Sequence number from which on nothing was taken yet.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Log time (ns since 1970); 0 before the first message that moves it.
    pub fn log_ns(&self) -> i64 {
        self.log_ns
    }

    /// Patients that get ticks.
    pub fn roster_len(&self) -> usize {
        self.roster.values().filter(|patient| patient.named).count()
    }

    /// Takes the next message of the partition.
    pub fn take(&mut self, arrival: Arrival<'_>) -> Result<(), PullerError> {
        let Arrival { subject, payload, log_seq, server_ns, header_ns } = arrival;
        if log_seq < self.next_seq {
            return Err(PullerError::Broken(format!(
                "message {log_seq} was delivered again: the partition is at {}",
                self.next_seq
            )));
        }
        let name = patient_of(subject).ok_or_else(|| {
            PullerError::Broken(format!(
                "stored subject {subject:?} is not vp.<n>.<tenant>.<patient>.<device>.<signal>"
            ))
        })?;
        let moves = match self.log_time {
            LogTime::Server => Some(server_ns),
            LogTime::Header => header_ns,
        };
        let before_ns = self.log_ns;
        self.log_ns = before_ns.max(moves.unwrap_or(0));
        self.next_seq = log_seq + 1;
        // A replay's log time jumps as it likes; a server that lives writes a tick a second.
        if self.log_time == LogTime::Server && before_ns > 0 && self.log_ns - before_ns > HOLE_LIMIT_NS {
            self.tell_hole(subject, &Raw::Hole { log_seq, since_ns: before_ns, log_ns: self.log_ns });
        }
        let is_tick = name.as_bytes().starts_with(TICK) && name.as_bytes().get(TICK.len()) == Some(&b'.');
        if is_tick && name != MODELS_NAME {
            self.tick_seq = Some(log_seq);
            return Ok(());
        }
        let message =
            RawMessage { subject: Bytes::copy_from_slice(subject.as_bytes()), payload, log_seq, log_ns: self.log_ns };
        self.push(name, Raw::Message(message));
        Ok(())
    }

    /// Tells every patient of the roster, and the pipeline once: the first partition speaks for all.
    fn tell_hole(&mut self, subject: &str, hole: &Raw) {
        self.expire();
        let named = self.roster.iter().filter(|(name, patient)| patient.named && ***name != *PIPELINE);
        let mut names: Vec<Box<str>> = named.map(|(name, _)| name.clone()).collect();
        if subject.starts_with("vp.0.") {
            names.push(PIPELINE.into());
        }
        for name in names {
            let last_h = self.roster.get(&name).map(|patient| patient.last_h);
            self.push(&name, hole.clone());
            // A hole is no sign of life of the patient.
            if let (Some(last_h), Some(patient)) = (last_h, self.roster.get_mut(&name)) {
                patient.last_h = last_h;
            }
        }
    }

    fn push(&mut self, name: &str, raw: Raw) {
        let hour = hour_of(self.log_ns);
        let (batch, next) = (self.batch, self.groups.len());
        let group = if let Some(patient) = self.roster.get_mut(name) {
            patient.last_h = hour;
            if patient.batch == batch {
                patient.group
            } else {
                (patient.batch, patient.group) = (batch, next);
                next
            }
        } else {
            let patient = Patient { last_h: hour, named: is_named(name), batch, group: next };
            self.roster.insert(name.into(), patient);
            next
        };
        if group == next {
            self.groups.push((name.replacen('.', "/", 1), Vec::new()));
        }
        self.groups[group].1.push(raw);
    }

    /// Ends the batch: after a broker's tick each patient of the roster gets one, last in its list.
    pub fn finish(&mut self) -> Batch {
        if let Some(log_seq) = self.tick_seq.take() {
            self.expire();
            let tick = Raw::Tick { log_seq, log_ns: self.log_ns };
            for (name, patient) in self.roster.iter().filter(|(_, patient)| patient.named) {
                if patient.batch == self.batch {
                    self.groups[patient.group].1.push(tick.clone());
                } else {
                    self.groups.push((name.replacen('.', "/", 1), vec![tick.clone()]));
                }
            }
        }
        // A patient whose name is none is rejected, message by message: nothing has to be remembered of it.
        self.roster.retain(|_, patient| patient.named);
        self.batch += 1;
        let mut groups = std::mem::take(&mut self.groups);
        groups.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        groups
    }

    /// Forgets patients that were silent for longer than the roster keeps them.
    fn expire(&mut self) {
        let oldest = hour_of(self.log_ns).saturating_sub(self.roster_h);
        let batch = self.batch;
        self.roster.retain(|_, patient| patient.last_h >= oldest || patient.batch == batch);
    }

    /// Moves an idle partition on: the stream holds nothing of it before `next_seq`.
    pub fn advance(&mut self, next_seq: u64) {
        self.next_seq = self.next_seq.max(next_seq);
    }

    /// Position, log time and roster, for a stream created at `created_ns`.
    pub fn snapshot(&self, created_ns: i64) -> Vec<u8> {
        let mut named: Vec<_> = self.roster.iter().filter(|(_, patient)| patient.named).collect();
        named.sort_unstable_by(|a, b| a.0.cmp(b.0));
        let mut writer = Writer::new(KIND, VERSION);
        writer.one(created_ns).one(self.next_seq).one(self.log_ns).one(named.len() as u32);
        for (name, patient) in named {
            writer.part(name.as_bytes()).one(patient.last_h);
        }
        writer.finish()
    }

    /// Reads a snapshot back, with the creation time of its stream.
    pub fn restore(log_time: LogTime, roster_h: u32, snapshot: &[u8]) -> Result<(i64, Self), PullerError> {
        let mut reader = Reader::open(snapshot, KIND, VERSION)?;
        let created_ns = reader.one()?;
        let mut log = Self::new(log_time, roster_h, reader.one()?);
        log.log_ns = reader.one()?;
        for _ in 0..reader.one::<u32>()? {
            let name = std::str::from_utf8(reader.part()?).map_err(|error| PullerError::State(error.to_string()))?;
            let patient = Patient { last_h: reader.one()?, named: true, batch: 0, group: 0 };
            log.roster.insert(name.into(), patient);
        }
        reader.finish()?;
        Ok((created_ns, log))
    }
}

/// `<tenant>.<patient>` of a stored subject that has all six tokens.
fn patient_of(subject: &str) -> Option<&str> {
    let mut dots = subject.bytes().enumerate().filter(|(_, byte)| *byte == b'.').map(|(index, _)| index);
    let start = dots.nth(1)? + 1;
    let end = dots.nth(1)?;
    let rest = dots.next()?;
    (subject.starts_with("vp.") && dots.next().is_none() && rest > end).then(|| &subject[start..end])
}

/// Whether both tokens match `[A-Za-z0-9_-]{1,64}`.
fn is_named(name: &str) -> bool {
    let token = |token: &str| {
        (1..=64).contains(&token.len())
            && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
    };
    name.split('.').all(token)
}

fn hour_of(log_ns: i64) -> u32 {
    (log_ns / HOUR_NS).max(0) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn arrival(subject: &str, log_seq: u64, server_ns: i64) -> Arrival<'_> {
        Arrival { subject, payload: Bytes::from_static(b"x"), log_seq, server_ns, header_ns: None }
    }

    fn message(subject: &str, log_seq: u64, log_ns: i64) -> Raw {
        let subject = Bytes::copy_from_slice(subject.as_bytes());
        Raw::Message(RawMessage { subject, payload: Bytes::from_static(b"x"), log_seq, log_ns })
    }

    #[test]
    fn groups_by_patient_in_log_order_and_sorts_by_key() {
        let mut log = PartitionLog::new(LogTime::Server, 24, 1);
        for (subject, seq) in [("vp.3.main.b.d.ecg", 1), ("vp.3.main.a.d.ecg", 2), ("vp.3.main.b.d.spo2", 5)] {
            log.take(arrival(subject, seq, seq as i64)).unwrap();
        }
        let expected = vec![
            ("main/a".to_string(), vec![message("vp.3.main.a.d.ecg", 2, 2)]),
            ("main/b".to_string(), vec![message("vp.3.main.b.d.ecg", 1, 1), message("vp.3.main.b.d.spo2", 5, 5)]),
        ];
        assert_eq!(log.finish(), expected);
        assert_eq!(log.finish(), vec![]);
        assert_eq!(log.next_seq(), 6);
    }

    #[test]
    fn log_time_never_goes_back() {
        let mut log = PartitionLog::new(LogTime::Server, 24, 1);
        for (seq, ns) in [(1, 100), (2, 90), (3, 110)] {
            log.take(arrival("vp.0.main.a.d.ecg", seq, ns)).unwrap();
        }
        let times: Vec<i64> = log.finish()[0].1.iter().map(time_of).collect();
        assert_eq!(times, [100, 100, 110]);
    }

    fn time_of(raw: &Raw) -> i64 {
        match raw {
            Raw::Message(message) => message.log_ns,
            Raw::Tick { log_ns, .. } | Raw::Hole { log_ns, .. } => *log_ns,
        }
    }

    #[test]
    fn in_a_header_stream_only_the_header_moves_log_time() {
        let mut log = PartitionLog::new(LogTime::Header, 24, 1);
        for (seq, header_ns) in [(1, None), (2, Some(50)), (3, None), (4, Some(40)), (5, Some(60))] {
            let frame = Arrival { header_ns, ..arrival("vp.0.main.a.d.ecg", seq, 9_999) };
            log.take(frame).unwrap();
        }
        log.take(arrival("vp.0.tick.4.broker.tick", 6, 10_000)).unwrap();
        let times: Vec<i64> = log.finish()[0].1.iter().map(time_of).collect();
        assert_eq!(times, [0, 50, 50, 50, 60, 60]);
    }

    #[test]
    fn a_tick_goes_last_to_every_patient_of_the_roster() {
        let mut log = PartitionLog::new(LogTime::Server, 24, 1);
        log.take(arrival("vp.0.main.idle.d.ecg", 1, 10)).unwrap();
        log.take(arrival("vp.0.main.not valid.d.ecg", 2, 11)).unwrap();
        log.finish();
        log.take(arrival("vp.0.tick.4.broker.tick", 3, 20)).unwrap();
        log.take(arrival("vp.0.tick.4.broker.tick", 4, 30)).unwrap();
        log.take(arrival("vp.0.main.busy.d.ecg", 5, 40)).unwrap();
        let tick = Raw::Tick { log_seq: 4, log_ns: 40 };
        let expected = vec![
            ("main/busy".to_string(), vec![message("vp.0.main.busy.d.ecg", 5, 40), tick.clone()]),
            ("main/idle".to_string(), vec![tick]),
        ];
        assert_eq!(log.finish(), expected);
    }

    #[test]
    fn a_models_sign_of_life_is_a_message_and_no_tick() {
        let mut log = PartitionLog::new(LogTime::Server, 24, 1);
        log.take(arrival("vp.0.tick.models.model-risk.numeric", 1, 10)).unwrap();
        let expected = ("tick/models".to_string(), vec![message("vp.0.tick.models.model-risk.numeric", 1, 10)]);
        assert_eq!(log.finish(), [expected]);
        log.take(arrival("vp.0.tick.4.broker.tick", 2, 20)).unwrap();
        assert_eq!(log.finish(), [("tick/models".to_string(), vec![Raw::Tick { log_seq: 2, log_ns: 20 }])]);
    }

    #[test]
    fn a_hole_is_told_to_every_patient_and_once_to_the_pipeline() {
        const SECOND_NS: i64 = 1_000_000_000;
        let mut log = PartitionLog::new(LogTime::Server, 24, 1);
        log.take(arrival("vp.0.main.a.d.ecg", 1, 100 * SECOND_NS)).unwrap();
        log.take(arrival("vp.0.main.a.d.ecg", 2, 105 * SECOND_NS)).unwrap();
        assert_eq!(log.finish()[0].1.len(), 2, "five seconds are no hole");
        log.take(arrival("vp.0.main.b.d.ecg", 3, 200 * SECOND_NS)).unwrap();
        let hole = Raw::Hole { log_seq: 3, since_ns: 105 * SECOND_NS, log_ns: 200 * SECOND_NS };
        let expected = vec![
            ("main/a".to_string(), vec![hole.clone()]),
            ("main/b".to_string(), vec![message("vp.0.main.b.d.ecg", 3, 200 * SECOND_NS)]),
            ("tick/broker".to_string(), vec![hole]),
        ];
        assert_eq!(log.finish(), expected);

        let mut other = PartitionLog::new(LogTime::Server, 24, 1);
        let mut replay = PartitionLog::new(LogTime::Header, 24, 1);
        for (seq, ns) in [(1, SECOND_NS), (2, 100 * SECOND_NS)] {
            other.take(arrival("vp.7.main.a.d.ecg", seq, ns)).unwrap();
            replay.take(Arrival { header_ns: Some(ns), ..arrival("vp.0.main.a.d.ecg", seq, ns) }).unwrap();
        }
        assert_eq!(other.finish().len(), 1, "one partition speaks for the pipeline");
        assert_eq!(replay.finish()[0].1.len(), 2, "time of a replay may jump");
    }

    #[test]
    fn the_roster_forgets_a_patient_after_its_hours() {
        let mut log = PartitionLog::new(LogTime::Server, 2, 1);
        log.take(arrival("vp.0.main.a.d.ecg", 1, 0)).unwrap();
        log.finish();
        log.take(arrival("vp.3.tick.4.broker.tick", 2, 2 * HOUR_NS)).unwrap();
        assert_eq!(log.finish().len(), 1);
        log.take(arrival("vp.3.tick.4.broker.tick", 3, 3 * HOUR_NS)).unwrap();
        assert_eq!(log.finish().len(), 0);
        assert_eq!(log.roster_len(), 0);
    }

    #[test]
    fn refuses_what_is_no_stored_subject_and_what_came_before() {
        let mut log = PartitionLog::new(LogTime::Server, 24, 10);
        for subject in ["vp.0.main.a.d", "vp.0.main.a.d.e.f", "vitals.v1.main.a.d.ecg", "vp.0"] {
            assert!(log.take(arrival(subject, 10, 0)).is_err(), "{subject}");
        }
        assert!(log.take(arrival("vp.0.main.a.d.ecg", 9, 0)).is_err());
        assert_eq!(log.next_seq(), 10);
    }

    #[test]
    fn a_snapshot_that_is_cut_or_of_something_else_is_refused() {
        let mut log = PartitionLog::new(LogTime::Server, 24, 1);
        log.take(arrival("vp.0.main.a.d.ecg", 1, 10)).unwrap();
        let snapshot = log.snapshot(77);
        assert!(PartitionLog::restore(LogTime::Server, 24, &snapshot[..20]).is_err());
        assert!(PartitionLog::restore(LogTime::Server, 24, &Writer::new(*b"ELSE", 1).finish()).is_err());
    }

    proptest! {
        /// Messages come out the same, in the same order a patient, however the log is cut and wherever it is restored.
        #[test]
        fn batches_and_restarts_do_not_matter(
            patients in prop::collection::vec(0..5_u8, 1..60),
            cuts in prop::collection::vec(any::<bool>(), 60),
        ) {
            let mut whole = PartitionLog::new(LogTime::Server, 24, 1);
            let mut cut = PartitionLog::new(LogTime::Server, 24, 1);
            let mut pieces: std::collections::BTreeMap<String, Vec<Raw>> = std::collections::BTreeMap::new();
            for (index, patient) in patients.iter().enumerate() {
                let subject = format!("vp.0.main.p{patient}.d.ecg");
                let seq = 2 * index as u64 + 1;
                whole.take(arrival(&subject, seq, seq as i64)).unwrap();
                cut.take(arrival(&subject, seq, seq as i64)).unwrap();
                if cuts[index] {
                    for (key, raws) in cut.finish() {
                        pieces.entry(key).or_default().extend(raws);
                    }
                    cut = PartitionLog::restore(LogTime::Server, 24, &cut.snapshot(5)).unwrap().1;
                }
            }
            for (key, raws) in cut.finish() {
                pieces.entry(key).or_default().extend(raws);
            }
            prop_assert_eq!(whole.finish(), pieces.into_iter().collect::<Vec<_>>());
            prop_assert_eq!(whole.snapshot(5), cut.snapshot(5));
        }
    }
}
