//! One pleth or arterial wave: its pulses, in event time.

use crate::pulse::{Pulse, PulseDetector};
use crate::state::{Reader, StateError, Writer};
use crate::wire::{LEAD_OFF, Wave};

use super::output::Output;
use super::place::Place;
use super::train::Train;

/// Detector of one wave. Its own sample 0 is the stream's sample `base`.
pub struct PulseWave {
    fs_mhz: u32,
    base: u64,
    detector: PulseDetector,
    pub train: Train,
    found: Vec<Pulse>,
}

impl PulseWave {
    /// Starts at the stream's sample `base`.
    ///
    /// # Panics
    /// Never: the validator lets only rates through that the detector takes.
    pub fn new(fs_mhz: u32, base: u64) -> Self {
        let detector = PulseDetector::new(f64::from(fs_mhz) / 1000.0).expect("the validator checked the rate");
        Self { fs_mhz, base, detector, train: Train::default(), found: Vec::new() }
    }

    /// Takes the next frame of the wave, behind `missing` samples that are lost.
    pub fn process(&mut self, wave: &Wave, first_sample: u64, missing: u64, at: &Place<'_>, out: &mut Output) {
        if wave.fs_mhz != self.fs_mhz {
            // Pulses have their place in time, so what is usual stays known.
            *self = Self { train: std::mem::take(&mut self.train), ..Self::new(wave.fs_mhz, first_sample) };
        } else if missing > 0 {
            self.detector.gap(missing);
        }
        if at.silent || wave.status & LEAD_OFF != 0 {
            self.detector.gap(wave.len() as u64);
            return;
        }
        let value = |count| if count == i16::MIN { f64::NAN } else { f64::from(count) * wave.lsb };
        self.detector.push(wave.counts().map(value), &mut self.found);
        out.counts.samples += wave.len() as u64;
        for pulse in self.found.drain(..) {
            self.train.push(at.anchors.locate(self.base + pulse.sample).1, pulse.rise);
        }
        self.train.advance(at.anchors.locate(self.base + self.detector.certain_until()).1, at.log_ns);
    }

    /// Appends the state.
    pub fn write(&self, writer: &mut Writer) {
        writer.one(self.fs_mhz).one(self.base).part(&self.detector.snapshot());
        self.train.write(writer);
    }

    /// Reads the state back.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let (fs_mhz, base) = (reader.one()?, reader.one()?);
        let detector = PulseDetector::restore(reader.part()?)?;
        Ok(Self { fs_mhz, base, detector, train: Train::read(reader)?, found: Vec::new() })
    }
}
