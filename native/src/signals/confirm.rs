//! A second witness for rhythm findings: other leads, pleth, arterial pressure.
//!
//! A lead finds silence or a rate; a wave of the same patient may show that the heart did otherwise. The rules
//! (`contradicts`) are declared, not learnt, and lean to the alarm: without a witness, or with one that does not know
//! yet after [`WAIT_NS`] of log time, the finding is announced. A contradicted finding is watched while it lasts, and
//! announced as soon as the contradiction ends or its witness falls silent. Waiting is a deadline in log time, so what
//! is announced, and when, depends on the log alone.

use std::sync::Arc;

use crate::rhythm::RhythmRule;
use crate::state::{Reader, StateError, Writer};
use crate::wire::proto::Signal;
use crate::wire::signal_name;

use super::codec;
use super::evidence::{Evidence, Fact};
use super::output::{Detection, Event, Origin, Output, WithheldRow};
use super::train::{Train, TrainFacts};

const SECOND_NS: i64 = 1_000_000_000;
/// How long a witness that is behind is waited for. With 4 s of silence, 1 s of frame and 0.3 s of look-ahead, asystole
/// is announced within 7.5 s.
const WAIT_NS: i64 = 2 * SECOND_NS;
/// A contradiction lasts for so long after it was last seen.
const LAPSE_NS: i64 = 3 * SECOND_NS;
/// A witness that was not heard for so long is none.
const FRESH_NS: i64 = 3 * SECOND_NS;
/// A witness speaks of at most so long.
const STRETCH_NS: i64 = 10 * SECOND_NS;
/// The pulse of the last beat arrives after it.
const TRAVEL_NS: i64 = SECOND_NS / 2;
/// Strokes that make a witness.
const FEWEST: u32 = 3;
/// Longest time without a stroke that is no silence, s.
const LONGEST_S: f64 = 2.0;
/// Size of a stroke, against the usual, that moves blood.
const SIZE: (f64, f64) = (0.5, 2.0);
/// Share of even strokes in its last seconds below which a wave moves with the patient, not with the heart.
const EVEN: f64 = 0.7;
/// How far inside the limit the witness's rate must be, /min.
const MARGIN_BPM: f64 = 5.0;
/// A fast rhythm is contradicted by a rate this many times slower.
const SLOWER: f64 = 1.25;
/// Findings watched at once, more than rules times leads of a patient in use.
const MAX_CLAIMS: usize = 64;

/// One who can speak for or against a finding.
pub struct Witness<'a> {
    /// Device and signal.
    pub name: (&'a Arc<str>, &'static str),
    /// A pleth or arterial wave; otherwise a lead.
    pub mechanical: bool,
    /// What it saw.
    pub train: &'a Train,
}

/// A finding that is not announced.
#[derive(Clone, Debug, PartialEq)]
struct Claim {
    found: Detection,
    rule: RhythmRule,
    /// Contradicted; otherwise a witness is waited for.
    withheld: bool,
    /// Log time at which it is announced unless a witness speaks, and the message that set it.
    deadline: (i64, u64),
    /// Event time up to which its witness has contradicted.
    covered_ns: i64,
}

/// Findings of one patient that wait or are withheld.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Confirm(Vec<Claim>);

enum Verdict {
    Stands(Evidence),
    Waits,
    Contradicted { covered_ns: i64, evidence: Evidence, witness: String },
}

impl Confirm {
    /// Takes the findings from `from` on out of the events and puts back those that stand; looks again at those that
    /// wait. `(log_seq, log_ns)` is the place of the decision.
    pub fn review<'a>(
        &mut self,
        witnesses: impl Fn() -> Vec<Witness<'a>>,
        from: usize,
        place: (u64, i64),
        out: &mut Output,
    ) {
        let fresh = out.events[from..].iter().any(|event| subject_of(event).is_some());
        if !fresh && self.0.is_empty() {
            return;
        }
        let witnesses = witnesses();
        if fresh {
            for event in out.events.split_off(from) {
                match (subject_of(&event), event) {
                    (Some(rule), Event::Detection(found)) if found.raised => {
                        self.claim(rule, found, &witnesses, place, out);
                    }
                    (Some(rule), Event::Detection(found)) => {
                        let same = |claim: &Claim| claim.rule == rule && same_lead(&claim.found, &found);
                        match self.0.iter().position(same) {
                            Some(index) => drop(self.0.remove(index)),
                            None => out.events.push(Event::Detection(found)),
                        }
                    }
                    (_, event) => out.events.push(event),
                }
            }
        }
        self.look_again(&witnesses, place, out);
    }

    fn claim(
        &mut self,
        rule: RhythmRule,
        found: Detection,
        witnesses: &[Witness<'_>],
        place: (u64, i64),
        out: &mut Output,
    ) {
        let claim =
            Claim { found, rule, withheld: false, deadline: (place.1 + WAIT_NS, place.0), covered_ns: i64::MIN };
        if let Verdict::Stands(evidence) = judge(&claim, witnesses, place.1) {
            announce(claim.found, evidence, place, out);
            return;
        }
        if self.0.len() == MAX_CLAIMS {
            let oldest = self.0.remove(0);
            announce(oldest.found, Evidence::default(), place, out);
        }
        self.0.push(claim);
    }

    fn look_again(&mut self, witnesses: &[Witness<'_>], place: (u64, i64), out: &mut Output) {
        for mut claim in std::mem::take(&mut self.0) {
            match judge(&claim, witnesses, place.1) {
                Verdict::Stands(evidence) => announce(claim.found, evidence, place, out),
                Verdict::Contradicted { covered_ns, evidence, witness } => {
                    if covered_ns > claim.covered_ns {
                        (claim.deadline, claim.covered_ns) = ((place.1 + LAPSE_NS, place.0), covered_ns);
                    }
                    if !claim.withheld {
                        claim.withheld = true;
                        out.withheld.push(WithheldRow { found: claim.found.clone(), evidence, witness });
                    }
                    self.0.push(claim);
                }
                Verdict::Waits => self.0.push(claim),
            }
        }
    }

    /// The earliest deadline: log time and the message that set it.
    pub fn deadline(&self) -> Option<(i64, u64)> {
        self.0.iter().map(|claim| claim.deadline).min()
    }

    /// Announces what nobody has contradicted by its deadline.
    pub fn expire(&mut self, deadline: (i64, u64), out: &mut Output) {
        let (due, rest) = std::mem::take(&mut self.0).into_iter().partition(|claim| claim.deadline == deadline);
        self.0 = rest;
        for claim in due {
            announce(claim.found, Evidence::default(), (deadline.1, deadline.0), out);
        }
    }

    /// Appends the state.
    pub fn write(&self, writer: &mut Writer) {
        writer.one(self.0.len() as u8);
        for claim in &self.0 {
            let found = &claim.found;
            writer.put(&[claim.rule as u8, u8::from(claim.withheld)]);
            writer.one(claim.deadline.0).one(claim.deadline.1).one(claim.covered_ns);
            writer.part(found.origin.device.as_bytes()).part(found.origin.signal.as_bytes());
            writer.put(&[found.origin.boot, found.origin.seq, found.onset, found.log_seq]);
            writer.put(&[found.onset_ns, found.evidence_ns.0, found.evidence_ns.1, found.sample_ns, found.log_ns]);
            writer.put(&[found.value, found.limit]);
            found.evidence.write(writer);
        }
    }

    /// Reads the state back.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let count = reader.one::<u8>()?;
        (0..count).map(|_| Claim::read(reader)).collect::<Result<_, _>>().map(Self)
    }
}

impl Claim {
    fn read(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let number = usize::from(reader.one::<u8>()?);
        let rule = RhythmRule::ALL.get(number).copied().ok_or(StateError::Value("rule of a finding"))?;
        let withheld = reader.one::<u8>()? != 0;
        let (deadline, covered_ns) = ((reader.one()?, reader.one()?), reader.one()?);
        let (device, signal) = (codec::read_text(reader)?.into(), codec::read_text(reader)?);
        let signal = signal_names().find(|name| *name == signal).ok_or(StateError::Value("unknown signal"))?;
        let (boot, seq, onset, log_seq) = (reader.one()?, reader.one()?, reader.one()?, reader.one()?);
        let mut times = [0_i64; 5];
        reader.fill(&mut times)?;
        let [onset_ns, from_ns, to_ns, sample_ns, log_ns] = times;
        let (value, limit) = (reader.one()?, reader.one()?);
        let found = Detection {
            rule: rule.name(),
            raised: true,
            origin: Origin { device, boot, signal, seq },
            code: "",
            onset,
            onset_ns,
            value,
            limit,
            evidence_ns: (from_ns, to_ns),
            evidence: Evidence::read(reader)?,
            sample_ns,
            stored: false,
            log_seq,
            log_ns,
        };
        Ok(Self { found, rule, withheld, deadline, covered_ns })
    }
}

fn signal_names() -> impl Iterator<Item = &'static str> {
    (1..64).filter_map(|number| Signal::try_from(number).ok()).map(signal_name)
}

/// The rule of a live finding that a witness can speak about. Fibrillation of the atria is in no pulse.
fn subject_of(event: &Event) -> Option<RhythmRule> {
    let Event::Detection(found) = event else { return None };
    if found.stored {
        return None; // of the past: it pages nobody
    }
    let rule = RhythmRule::ALL.into_iter().find(|rule| rule.name() == found.rule)?;
    (rule != RhythmRule::AtrialFibrillation).then_some(rule)
}

fn same_lead(a: &Detection, b: &Detection) -> bool {
    (&a.origin.device, a.origin.signal) == (&b.origin.device, b.origin.signal)
}

/// Says a finding now, at `(log_seq, log_ns)`.
fn announce(mut found: Detection, witnessed: Evidence, (log_seq, log_ns): (u64, i64), out: &mut Output) {
    found.evidence.add(&witnessed);
    if log_ns > found.log_ns {
        found.evidence.set(Fact::HeldS, (log_ns - found.log_ns) as f64 / 1e9);
    }
    (found.log_seq, found.log_ns) = (log_seq, log_ns);
    out.events.push(Event::Detection(found));
}

/// Asks every witness but the lead itself.
fn judge(claim: &Claim, witnesses: &[Witness<'_>], log_ns: i64) -> Verdict {
    let (found, mut waits, mut pulse) = (&claim.found, false, None);
    // What moves blood speaks first: where it has stopped too, no lead outvotes it.
    let in_order = witnesses.iter().filter(|w| w.mechanical).chain(witnesses.iter().filter(|w| !w.mechanical));
    for witness in in_order {
        let train = witness.train;
        let own = witness.name == (&found.origin.device, found.origin.signal);
        if own || train.heard_ns < log_ns.saturating_sub(FRESH_NS) || !may_speak(claim.rule, witness.mechanical) {
            continue;
        }
        let to_ns = train.certain_ns;
        let from_ns = found.evidence_ns.0.saturating_add(TRAVEL_NS).max(to_ns.saturating_sub(STRETCH_NS));
        let behind = to_ns < found.sample_ns.saturating_sub(TRAVEL_NS);
        let facts = train.facts(from_ns.min(to_ns), to_ns);
        let even = !witness.mechanical
            || train.even_share(to_ns.saturating_sub(STRETCH_NS), to_ns).is_some_and(|share| share >= EVEN);
        if !behind && even && contradicts(claim.rule, found, &facts) {
            let (device, signal) = witness.name;
            let witness = format!("{device}/{signal}");
            return Verdict::Contradicted { covered_ns: to_ns, evidence: evidence(&facts), witness };
        }
        if witness.mechanical {
            pulse = Some(evidence(&facts));
            if !behind && facts.known && is_silence(claim.rule) && facts.longest_s > LONGEST_S {
                return Verdict::Stands(evidence(&facts));
            }
        }
        waits |= behind || (is_silence(claim.rule) && facts.count > 0 && facts.longest_s <= LONGEST_S);
    }
    if waits { Verdict::Waits } else { Verdict::Stands(pulse.unwrap_or_default()) }
}

fn evidence(facts: &TrainFacts) -> Evidence {
    let mut evidence = Evidence::default();
    evidence.set(Fact::Pulses, facts.count.into()).set(Fact::PulseRate, facts.rate_bpm);
    evidence.set(Fact::PulseQuietS, facts.quiet_s).set(Fact::PulseSize, facts.size);
    evidence
}

fn is_silence(rule: RhythmRule) -> bool {
    matches!(rule, RhythmRule::Asystole | RhythmRule::Pause)
}

/// A lead tells nothing of what another finds to be ventricular: its beats may well be the same.
fn may_speak(rule: RhythmRule, mechanical: bool) -> bool {
    mechanical || !matches!(rule, RhythmRule::VentricularTachycardia | RhythmRule::VentricularFibrillation)
}

/// Whether these strokes cannot have come with what was found.
fn contradicts(rule: RhythmRule, found: &Detection, facts: &TrainFacts) -> bool {
    let strong = facts.size.is_nan() || (SIZE.0..=SIZE.1).contains(&facts.size);
    let beating = facts.count >= FEWEST && facts.longest_s <= LONGEST_S && strong;
    match rule {
        RhythmRule::Asystole | RhythmRule::Pause => beating,
        RhythmRule::ExtremeBradycardia | RhythmRule::Bradycardia => {
            beating && facts.rate_bpm >= found.limit + MARGIN_BPM
        }
        RhythmRule::ExtremeTachycardia | RhythmRule::Tachycardia | RhythmRule::VentricularTachycardia => {
            facts.steady && facts.rate_bpm <= found.limit - MARGIN_BPM && found.value >= SLOWER * facts.rate_bpm
        }
        RhythmRule::VentricularFibrillation => facts.steady && facts.longest_s <= LONGEST_S,
        RhythmRule::AtrialFibrillation => false,
    }
}
