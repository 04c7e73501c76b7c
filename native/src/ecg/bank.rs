//! Many leads in one call.

use super::{Beat, ConfigError, LeadOutput, QrsDetector, QualitySecond};

/// Detectors of many leads with one sampling rate.
#[derive(Clone)]
pub struct QrsBank {
    leads: Vec<QrsDetector>,
    out: LeadOutput,
}

/// What a push of a bank appends: the lead in front of each beat and second, leads in ascending order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BankOutput {
    /// Lead and beat.
    pub beats: Vec<(u32, Beat)>,
    /// Lead and finished second.
    pub quality: Vec<(u32, QualitySecond)>,
}

impl BankOutput {
    /// Empties both lists and keeps their memory.
    pub fn clear(&mut self) {
        self.beats.clear();
        self.quality.clear();
    }
}

impl QrsBank {
    /// A bank of `count` leads.
    pub fn new(fs_hz: f64, count: usize) -> Result<Self, ConfigError> {
        Ok(Self { leads: vec![QrsDetector::new(fs_hz)?; count], out: LeadOutput::default() })
    }

    /// The detectors, by lead.
    pub fn leads(&self) -> &[QrsDetector] {
        &self.leads
    }

    /// The detectors, by lead: to restore one, or to tell of a gap.
    pub fn leads_mut(&mut self) -> &mut [QrsDetector] {
        &mut self.leads
    }

    /// Pushes `chunks(lead)` to each lead.
    pub fn push_i16<'a>(&mut self, chunks: impl Fn(usize) -> &'a [i16], out: &mut BankOutput) {
        for lead in 0..self.leads.len() {
            self.leads[lead].push_i16(chunks(lead), &mut self.out);
            self.take(lead, out);
        }
    }

    /// Ends every stream.
    pub fn flush(&mut self, out: &mut BankOutput) {
        for lead in 0..self.leads.len() {
            self.leads[lead].flush(&mut self.out);
            self.take(lead, out);
        }
    }

    fn take(&mut self, lead: usize, out: &mut BankOutput) {
        out.beats.extend(self.out.beats.drain(..).map(|beat| (lead as u32, beat)));
        out.quality.extend(self.out.quality.drain(..).map(|second| (lead as u32, second)));
    }
}
