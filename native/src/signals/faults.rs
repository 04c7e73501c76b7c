//! What is wrong with a signal itself: the findings `lead_off` and `poor_quality`, by which the judge gates what the
//! same signal says of the patient.
//!
//! Both are counted in the signal's own time, so they depend on no frame length. A signal that says nothing more keeps
//! what stands: silence opens no gate behind which findings of a bad signal wait. A flat line is never `lead_off`,
//! because asystole looks like that; it is of poor quality, which holds back no lethal arrhythmia.

use crate::state::{Reader, StateError, Writer};

/// Samples without a value for so long mean the same as a device that says "off", s.
const LOST_S: f64 = 2.0;
/// Contact without a break after which an electrode or probe is on again, s.
const ON_AGAIN_S: f64 = 2.0;
/// Weight of a second in the mean quality: a signal that becomes useless is known to be so after 2 s, one of
/// quality 0.5 after 4 s.
const WEIGHT: f64 = 0.25;
/// Mean quality below which a signal is poor, and from which on it is good again: inside, a beat a second is wrong
/// (`docs/benchmarks/rhythm_alarms.md`),
const POOR: f64 = 0.7;
const GOOD: f64 = 0.85;
/// when it has been for so long, s.
const GOOD_S: f64 = 3.0;

/// How a stretch of signal touches the patient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contact {
    /// The device says that it is off, or the signal shows it beyond doubt.
    Off,
    /// No sample has a value.
    Lost,
    /// It is on.
    On,
}

/// Something is wrong with the signal, or is not any more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fault {
    /// `lead_off` or `poor_quality`.
    pub rule: &'static str,
    /// Began or ended.
    pub raised: bool,
    /// First sample of what was wrong.
    pub onset: u64,
    /// One past the last sample that was looked at.
    pub decided: u64,
    /// How long the lead was off, s; or the mean quality.
    pub value: f64,
    /// Limit of that.
    pub limit: f64,
}

/// A stretch: first sample, one past the last, samples per second.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub first: u64,
    pub end: u64,
    pub fs_hz: f64,
}

impl Span {
    fn samples(&self, seconds: f64) -> u64 {
        (seconds * self.fs_hz).ceil() as u64
    }
}

/// One condition over time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Watch {
    /// First sample of the condition that stands.
    raised: Option<u64>,
    /// Since when the signal has looked otherwise than what stands.
    turned: Option<u64>,
}

impl Watch {
    /// Takes a stretch: bad, good, or neither. Raises after `delay` samples and clears after `clear`; returns the onset.
    fn step(&mut self, bad: Option<bool>, span: Span, delay: u64, clear: u64) -> Option<(bool, u64)> {
        if self.raised.max(self.turned).is_some_and(|since| span.end <= since) {
            return None; // judged later than what came after it
        }
        if bad != Some(self.raised.is_none()) {
            self.turned = None;
            return None;
        }
        let since = *self.turned.get_or_insert(span.first);
        let needed = if self.raised.is_none() { delay } else { clear };
        if span.end.saturating_sub(since) < needed {
            return None;
        }
        let change = self.raised.map_or((true, since), |onset| (false, onset));
        *self = Self { raised: self.raised.is_none().then_some(since), turned: None };
        Some(change)
    }

    fn write(self, writer: &mut Writer) {
        writer.put(&[self.raised, self.turned].map(|sample| sample.map_or(0, |sample| sample + 1)));
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let (raised, turned) = (reader.one::<u64>()?, reader.one::<u64>()?);
        Ok(Self { raised: raised.checked_sub(1), turned: turned.checked_sub(1) })
    }
}

/// State of one signal, or of one code of a device's readings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Faults {
    off: Watch,
    poor: Watch,
    /// Mean quality of the last seconds.
    mean: f64,
}

impl Default for Faults {
    fn default() -> Self {
        Self { off: Watch::default(), poor: Watch::default(), mean: 1.0 }
    }
}

impl Faults {
    /// Takes what a stretch says of the contact.
    pub fn contact(&mut self, contact: Contact, span: Span) -> Option<Fault> {
        let delay = if contact == Contact::Lost { span.samples(LOST_S) } else { 0 };
        let (raised, onset) = self.off.step(Some(contact != Contact::On), span, delay, span.samples(ON_AGAIN_S))?;
        let value = span.end.saturating_sub(onset) as f64 / span.fs_hz;
        let limit = delay as f64 / span.fs_hz;
        Some(Fault { rule: "lead_off", raised, onset, decided: span.end, value, limit })
    }

    /// Takes the quality of a second in which the lead was on, 0 to 1.
    pub fn quality(&mut self, quality: f64, span: Span) -> Option<Fault> {
        self.mean += WEIGHT * (quality - self.mean);
        let bad = if self.mean < POOR { Some(true) } else { (self.mean >= GOOD).then_some(false) };
        let (raised, onset) = self.poor.step(bad, span, 0, span.samples(GOOD_S))?;
        let value = (self.mean * 100.0).round() / 100.0;
        Some(Fault { rule: "poor_quality", raised, onset, decided: span.end, value, limit: POOR })
    }

    /// Whether something is wrong at present.
    pub fn stand(&self) -> bool {
        self.off.raised.or(self.poor.raised).is_some()
    }

    /// Nothing is known of a stretch: what was about to change begins anew, what stands stays.
    pub fn interrupt(&mut self) {
        (self.off.turned, self.poor.turned) = (None, None);
    }

    /// Nobody expects anything of the signal any more: what stands ends at sample `end`.
    pub fn close(&mut self, end: u64) -> impl Iterator<Item = Fault> + use<> {
        let ended = [("lead_off", self.off.raised), ("poor_quality", self.poor.raised)];
        *self = Self::default();
        ended.into_iter().filter_map(move |(rule, onset)| {
            let (value, limit) = (f64::NAN, f64::NAN);
            onset.map(|onset| Fault { rule, raised: false, onset, decided: end.max(onset), value, limit })
        })
    }

    /// Appends the state.
    pub fn write(&self, writer: &mut Writer) {
        self.off.write(writer);
        self.poor.write(writer);
        writer.one(self.mean);
    }

    /// Reads the state back.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let (off, poor, mean) = (Watch::read(reader)?, Watch::read(reader)?, reader.one()?);
        if !(0.0..=1.0).contains(&mean) {
            return Err(StateError::Value("quality of a signal"));
        }
        Ok(Self { off, poor, mean })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(from: u64, to: u64, mut each: impl FnMut(Span) -> Option<Fault>) -> Vec<(&'static str, bool, u64, u64)> {
        let span = |n| Span { first: n * 250, end: (n + 1) * 250, fs_hz: 250.0 };
        let found = (from..to).filter_map(|n| each(span(n)));
        found.map(|fault| (fault.rule, fault.raised, fault.onset / 250, fault.decided / 250)).collect()
    }

    #[test]
    fn off_is_told_at_once_and_on_after_two_seconds_without_a_break() {
        let mut faults = Faults::default();
        assert_eq!(seconds(0, 3, |span| faults.contact(Contact::Off, span)), [("lead_off", true, 0, 1)]);
        assert_eq!(seconds(3, 4, |span| faults.contact(Contact::On, span)), []);
        assert_eq!(seconds(4, 5, |span| faults.contact(Contact::Off, span)), []);
        assert_eq!(seconds(5, 9, |span| faults.contact(Contact::On, span)), [("lead_off", false, 0, 7)]);
        assert_eq!(seconds(9, 12, |span| faults.contact(Contact::Lost, span)), [("lead_off", true, 9, 11)]);
    }

    #[test]
    fn a_useless_signal_is_poor_within_two_seconds_and_good_again_within_eleven() {
        let mut faults = Faults::default();
        assert_eq!(seconds(0, 9, |span| faults.quality(0.95, span)), []);
        assert_eq!(seconds(9, 20, |span| faults.quality(0.0, span)), [("poor_quality", true, 10, 11)]);
        assert_eq!(seconds(20, 40, |span| faults.quality(1.0, span)), [("poor_quality", false, 10, 29)]);
        assert_eq!(seconds(40, 90, |span| faults.quality(0.75, span)), [], "neither poor nor good");
    }

    #[test]
    fn what_stands_ends_when_nobody_expects_anything() {
        let mut faults = Faults::default();
        seconds(0, 3, |span| faults.contact(Contact::Off, span));
        seconds(3, 9, |span| faults.quality(0.0, span));
        assert_eq!(faults.close(2250).filter(|fault| !fault.raised).count(), 2);
        assert_eq!(faults, Faults::default());
    }
}
