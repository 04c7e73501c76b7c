//! One pleth or arterial wave: its pulses, in event time, and whether the probe is on.

use crate::pulse::{Pulse, PulseDetector};
use crate::state::{Reader, StateError, Writer};
use crate::wire::{LEAD_OFF, Wave};

use super::faults::{Contact, Faults, Span};
use super::output::Output;
use super::place::Place;
use super::train::Train;

/// Seconds over which the strokes say how good the wave is.
const JUDGED_NS: i64 = 10_000_000_000;
/// A wave that does not move for so long has lost its probe, s: the converter of a probe that is on is never still.
const STILL_S: u64 = 3;
const INVALID: i16 = i16::MIN;

/// Detector of one wave. Its own sample 0 is the stream's sample `base`.
pub struct PulseWave {
    fs_mhz: u32,
    base: u64,
    detector: PulseDetector,
    pub train: Train,
    /// What is wrong with the wave, in the stream's samples.
    faults: Faults,
    /// The last count, and the first sample (the stream's) of the run that has it.
    still: (i16, u64),
    found: Vec<Pulse>,
}

impl PulseWave {
    /// Starts at the stream's sample `base`.
    ///
    /// # Panics
    /// Never: the validator lets only rates through that the detector takes.
    pub fn new(fs_mhz: u32, base: u64) -> Self {
        let detector = PulseDetector::new(f64::from(fs_mhz) / 1000.0).expect("the validator checked the rate");
        let (train, faults) = (Train::default(), Faults::default());
        Self { fs_mhz, base, detector, train, faults, still: (INVALID, base), found: Vec::new() }
    }

    /// Takes the next frame of the wave, behind `missing` samples that are lost.
    pub fn process(&mut self, wave: &Wave, first_sample: u64, missing: u64, at: &Place<'_>, out: &mut Output) {
        if wave.fs_mhz != self.fs_mhz {
            self.close(at, out);
            // Pulses have their place in time, so what is usual stays known.
            *self = Self { train: std::mem::take(&mut self.train), ..Self::new(wave.fs_mhz, first_sample) };
        } else if missing > 0 {
            self.skip(missing);
        }
        if at.silent || wave.status & LEAD_OFF != 0 {
            if !at.silent {
                self.contact(Contact::Off, first_sample, first_sample + wave.len() as u64, at, out);
            }
            self.skip(wave.len() as u64);
            return;
        }
        out.counts.samples += wave.len() as u64;
        let counts: Vec<i16> = wave.counts().collect();
        let mut rest = &counts[..];
        while !rest.is_empty() {
            // In steps that end where whole seconds of the stream do: nothing depends on the length of frames.
            let second = (u64::from(self.fs_mhz) / 1000).max(1);
            let step = (second - self.detector.samples() % second).min(rest.len() as u64);
            let (now, later) = rest.split_at(step as usize);
            self.push(now, wave.lsb, at);
            self.judge_signal(now, second, at, out);
            rest = later;
        }
    }

    fn skip(&mut self, samples: u64) {
        self.detector.gap(samples);
        self.faults.interrupt();
        self.still = (INVALID, self.end());
    }

    /// One past the last sample of the stream that was taken.
    fn end(&self) -> u64 {
        self.base + self.detector.samples()
    }

    fn push(&mut self, counts: &[i16], lsb: f64, at: &Place<'_>) {
        let value = |&count: &i16| if count == INVALID { f64::NAN } else { f64::from(count) * lsb };
        self.detector.push(counts.iter().map(value), &mut self.found);
        for pulse in self.found.drain(..) {
            self.train.push(at.anchors.locate(self.base + pulse.sample).1, pulse.rise);
        }
        self.train.advance(at.anchors.locate(self.base + self.detector.certain_until()).1, at.log_ns);
    }

    /// What the samples just taken say of the probe, and at the end of a second the strokes of the wave.
    fn judge_signal(&mut self, counts: &[i16], second: u64, at: &Place<'_>, out: &mut Output) {
        let end = self.end();
        let first = end - counts.len() as u64;
        for (&count, sample) in counts.iter().zip(first..) {
            if count != self.still.0 || count == INVALID {
                self.still = (count, sample);
            }
        }
        if counts.iter().all(|&count| count == INVALID) {
            self.contact(Contact::Lost, first, end, at, out);
        } else if end - self.still.1 >= STILL_S * second {
            self.contact(Contact::Off, self.still.1, end, at, out);
        } else if end - self.still.1 < second {
            self.contact(Contact::On, first, end, at, out);
            let to_ns = self.train.certain_ns;
            let share = self.train.even_share(to_ns.saturating_sub(JUDGED_NS), to_ns);
            if let Some(share) = share.filter(|_| self.detector.samples().is_multiple_of(second)) {
                let fault = self.faults.quality(share, self.span(end - second, end));
                out.events.extend(fault.map(|fault| at.fault(&fault)));
            }
        }
    }

    fn contact(&mut self, contact: Contact, first: u64, end: u64, at: &Place<'_>, out: &mut Output) {
        let fault = self.faults.contact(contact, self.span(first, end));
        out.events.extend(fault.map(|fault| at.fault(&fault)));
    }

    /// Whether the signal itself is to be doubted at present.
    pub fn doubted(&self) -> bool {
        self.faults.stand()
    }

    fn span(&self, first: u64, end: u64) -> Span {
        Span { first, end, fs_hz: f64::from(self.fs_mhz) / 1000.0 }
    }

    /// The wave ends: what is wrong with it ends with it.
    pub fn close(&mut self, at: &Place<'_>, out: &mut Output) {
        let end = self.end();
        out.events.extend(self.faults.close(end).map(|fault| at.fault(&fault)));
    }

    /// Appends the state.
    pub fn write(&self, writer: &mut Writer) {
        writer.one(self.fs_mhz).one(self.base).part(&self.detector.snapshot());
        self.train.write(writer);
        self.faults.write(writer);
        writer.one(self.still.0).one(self.still.1);
    }

    /// Reads the state back.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let (fs_mhz, base) = (reader.one()?, reader.one()?);
        let detector = PulseDetector::restore(reader.part()?)?;
        let (train, faults) = (Train::read(reader)?, Faults::read(reader)?);
        let still = (reader.one()?, reader.one()?);
        Ok(Self { fs_mhz, base, detector, train, faults, still, found: Vec::new() })
    }
}
