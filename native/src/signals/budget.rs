//! How much a device may send: a token bucket in log time, so that a replay refuses the same frames.
//!
//! One sequence number is the resume state of a partition, so patients cannot overtake each other: what one device sends
//! too much of, the others wait for. The burst is therefore bounded by work, not by taste: a device that was offline may
//! upload hours at once, and all of it is done in about a second.

use crate::state::{Reader, StateError, Writer};

const SECOND_NS: i64 = 1_000_000_000;

/// Frames and bytes a second of log time, and how many seconds of them may come at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Frames a second.
    pub frames_per_s: f64,
    /// Bytes a second.
    pub bytes_per_s: f64,
    /// Size of the bucket, in seconds of both.
    pub burst_s: f64,
}

impl Rate {
    /// The same, `times` as much.
    #[must_use]
    pub fn times(self, times: f64) -> Self {
        Self { frames_per_s: self.frames_per_s * times, bytes_per_s: self.bytes_per_s * times, ..self }
    }
}

/// What is left of a budget.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    log_ns: i64,
    frames: f64,
    bytes: f64,
}

impl Budget {
    /// A full bucket.
    pub fn full(rate: Rate, log_ns: i64) -> Self {
        Self { log_ns, frames: rate.frames_per_s * rate.burst_s, bytes: rate.bytes_per_s * rate.burst_s }
    }

    /// Whether a frame of so many bytes is within the budget; then it is taken off.
    pub fn take(&mut self, rate: Rate, log_ns: i64, bytes: usize) -> bool {
        let elapsed_s = log_ns.saturating_sub(self.log_ns).max(0) as f64 / SECOND_NS as f64;
        self.log_ns = self.log_ns.max(log_ns);
        self.frames = (self.frames + elapsed_s * rate.frames_per_s).min(rate.frames_per_s * rate.burst_s);
        self.bytes = (self.bytes + elapsed_s * rate.bytes_per_s).min(rate.bytes_per_s * rate.burst_s);
        let within = self.frames >= 1.0 && self.bytes >= bytes as f64;
        if within {
            self.frames -= 1.0;
            self.bytes -= bytes as f64;
        }
        within
    }

    /// Appends the state.
    pub fn write(&self, writer: &mut Writer) {
        writer.one(self.log_ns).put(&[self.frames, self.bytes]);
    }

    /// Reads the state back.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        Ok(Self { log_ns: reader.one()?, frames: reader.one()?, bytes: reader.one()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { frames_per_s: 10.0, bytes_per_s: 1000.0, burst_s: 5.0 };

    #[test]
    fn a_burst_is_taken_and_then_only_the_rate() {
        let mut budget = Budget::full(RATE, 0);
        let taken = (0..200).filter(|_| budget.take(RATE, 0, 1)).count();
        assert_eq!(taken, 50);
        let second = |budget: &mut Budget, at| (0..200).filter(|_| budget.take(RATE, at * SECOND_NS, 1)).count();
        assert_eq!((second(&mut budget, 1), second(&mut budget, 4), second(&mut budget, 100)), (10, 30, 50));
    }

    #[test]
    fn bytes_count_as_well_as_frames() {
        let mut budget = Budget::full(RATE, 0);
        assert_eq!((0..50).filter(|_| budget.take(RATE, 0, 1000)).count(), 5);
        assert!(!budget.take(RATE, 0, 1));
        assert!(budget.take(RATE, SECOND_NS, 1000));
    }
}
