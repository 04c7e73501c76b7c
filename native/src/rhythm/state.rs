//! The monitor as bytes.

use super::af::AfDetector;
use super::heart_rate::Beats;
use super::limits::RhythmLimits;
use super::monitor::RhythmMonitor;
use super::queue::Queue;
use super::rules::{Latch, Pulses};
use crate::state::{Reader, StateError, Writer};

const KIND: [u8; 4] = *b"RHYT";
const VERSION: u16 = 8;

impl RhythmMonitor {
    /// State as bytes: at most 1 KiB while announcements do not run ahead of [`Self::advance`] by more than 20.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut writer = Writer::new(KIND, VERSION);
        writer.one(self.fs_hz);
        self.limits.write(&mut writer);
        self.queue.write(&mut writer);
        self.beats.write(&mut writer);
        self.pulses.write(&mut writer);
        self.af.write(&mut writer);
        writer.one(self.af_onset.unwrap_or(u64::MAX));
        writer.put(&[self.at, self.quiet_since, self.recheck, self.fibrillation.0, self.fibrillation.1]);
        writer.put(&[u8::from(self.broken), self.recovered, self.conducted]);
        for latch in self.latches {
            latch.write(&mut writer);
        }
        writer.finish()
    }

    /// The monitor that wrote these bytes.
    pub fn restore(snapshot: &[u8]) -> Result<Self, StateError> {
        let mut reader = Reader::open(snapshot, KIND, VERSION)?;
        let fs_hz: f64 = reader.one()?;
        let limits = RhythmLimits::read(&mut reader)?;
        let mut monitor = Self::new(fs_hz, limits).map_err(|_| StateError::Value("sampling rate"))?;
        monitor.queue = Queue::read(&mut reader)?;
        monitor.beats = Beats::read(&mut reader)?;
        monitor.pulses = Pulses::read(&mut reader)?;
        monitor.af = AfDetector::read(&mut reader)?;
        let af_onset: u64 = reader.one()?;
        monitor.af_onset = (af_onset != u64::MAX).then_some(af_onset);
        let mut positions = [0_u64; 5];
        reader.fill(&mut positions)?;
        let mut small = [0_u8; 3];
        reader.fill(&mut small)?;
        [monitor.at, monitor.quiet_since, monitor.recheck, monitor.fibrillation.0, monitor.fibrillation.1] = positions;
        (monitor.broken, monitor.recovered, monitor.conducted) = (small[0] != 0, small[1], small[2]);
        for latch in &mut monitor.latches {
            *latch = Latch::read(&mut reader)?;
        }
        reader.finish()?;
        if monitor.fibrillation.0 > monitor.fibrillation.1 || monitor.recovered > 3 || monitor.conducted > 3 {
            return Err(StateError::Value("rhythm state"));
        }
        Ok(monitor)
    }
}
