//! Heart rate variability in windows of five minutes, on intervals between normal beats (Task Force of the ESC and
//! NASPE 1996, Eur Heart J 17:354).

use crate::state::{Reader, StateError, Writer};

const KIND: [u8; 4] = *b"HRVW";
const VERSION: u16 = 1;
/// Length of a window, seconds.
const WINDOW_S: f64 = 300.0;
/// Intervals outside are no NN intervals, seconds.
const SHORTEST_S: f64 = 0.3;
const LONGEST_S: f64 = 2.0;
/// Successive intervals that differ by more than this, seconds, count for pNN50.
const FIFTY_S: f64 = 0.05;

/// One window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HrvWindow {
    /// First sample of the window.
    pub first: u64,
    /// NN intervals in it.
    pub intervals: u32,
    /// Their sum as a share of the window: how much of it was normal rhythm.
    pub coverage: f64,
    /// Standard deviation of the NN intervals, ms; NaN without two.
    pub sdnn_ms: f64,
    /// Root mean square of successive differences, ms; NaN without a pair.
    pub rmssd_ms: f64,
    /// Share of successive differences beyond 50 ms, %; NaN without a pair.
    pub pnn50_pct: f64,
}

/// Streaming, one push a beat; constant memory.
#[derive(Debug, Clone)]
pub struct Hrv {
    fs_hz: f64,
    window: u64,
    last: Option<(u64, bool)>,
    /// The interval before, if this one follows it without anything else between.
    before_s: Option<f64>,
    count: u32,
    mean_s: f64,
    /// Sum of squared distances to the mean (Welford 1962).
    squares: f64,
    pairs: u32,
    differences: f64,
    beyond: u32,
}

impl Hrv {
    /// For beat positions at `fs_hz` samples per second.
    pub fn new(fs_hz: f64) -> Self {
        Self {
            fs_hz,
            window: 0,
            last: None,
            before_s: None,
            count: 0,
            mean_s: 0.0,
            squares: 0.0,
            pairs: 0,
            differences: 0.0,
            beyond: 0,
        }
    }

    /// Takes a beat: `normal` by its label, `joined` unless invalid signal lies before it. Appends the windows that ended.
    pub fn push(&mut self, sample: u64, normal: bool, joined: bool, out: &mut Vec<HrvWindow>) {
        let length = (WINDOW_S * self.fs_hz) as u64;
        if self.last.is_some_and(|(last, _)| last >= sample) {
            return; // beats come in order
        }
        if sample / length > self.window {
            out.push(self.close(length));
            self.window = sample / length; // windows without a beat are not reported
        }
        let last = self.last.replace((sample, normal));
        let interval = last.filter(|&(_, was_normal)| joined && normal && was_normal);
        let interval_s = interval.map(|(last, _)| (sample - last) as f64 / self.fs_hz);
        let Some(interval_s) = interval_s.filter(|s| (SHORTEST_S..=LONGEST_S).contains(s)) else {
            self.before_s = None;
            return;
        };
        self.count += 1;
        let distance = interval_s - self.mean_s;
        self.mean_s += distance / f64::from(self.count);
        self.squares += distance * (interval_s - self.mean_s);
        if let Some(before_s) = self.before_s.replace(interval_s) {
            let difference = interval_s - before_s;
            self.pairs += 1;
            self.differences += difference * difference;
            self.beyond += u32::from(difference.abs() > FIFTY_S);
        }
    }

    /// State as bytes, at most 128.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut writer = Writer::new(KIND, VERSION);
        writer.one(self.fs_hz).one(self.window).put(&[self.count, self.pairs, self.beyond]);
        writer.put(&[self.mean_s, self.squares, self.differences, self.before_s.unwrap_or(f64::NAN)]);
        let (last, normal) = self.last.map_or((u64::MAX, false), |last| last);
        writer.one(last).one(u8::from(normal));
        writer.finish()
    }

    /// The windows that wrote these bytes.
    pub fn restore(snapshot: &[u8]) -> Result<Self, StateError> {
        let mut reader = Reader::open(snapshot, KIND, VERSION)?;
        let fs_hz: f64 = reader.one()?;
        if !(1.0..=10_000.0).contains(&fs_hz) {
            return Err(StateError::Value("sampling rate"));
        }
        let mut hrv = Self::new(fs_hz);
        hrv.window = reader.one()?;
        (hrv.count, hrv.pairs, hrv.beyond) = (reader.one()?, reader.one()?, reader.one()?);
        (hrv.mean_s, hrv.squares, hrv.differences) = (reader.one()?, reader.one()?, reader.one()?);
        let before_s: f64 = reader.one()?;
        hrv.before_s = (!before_s.is_nan()).then_some(before_s);
        let (last, normal) = (reader.one::<u64>()?, reader.one::<u8>()? != 0);
        hrv.last = (last != u64::MAX).then_some((last, normal));
        reader.finish()?;
        if ![hrv.mean_s, hrv.squares, hrv.differences].iter().all(|sum| sum.is_finite()) {
            return Err(StateError::Value("sums of a window"));
        }
        Ok(hrv)
    }

    fn close(&mut self, length: u64) -> HrvWindow {
        let (count, pairs) = (f64::from(self.count), f64::from(self.pairs));
        let window = HrvWindow {
            first: self.window * length,
            intervals: self.count,
            coverage: count * self.mean_s / WINDOW_S,
            sdnn_ms: if self.count > 1 { 1000.0 * (self.squares / (count - 1.0)).sqrt() } else { f64::NAN },
            rmssd_ms: 1000.0 * (self.differences / pairs).sqrt(),
            pnn50_pct: 100.0 * f64::from(self.beyond) / pairs,
        };
        *self = Self { window: self.window + 1, last: self.last, before_s: self.before_s, ..Self::new(self.fs_hz) };
        window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_equals_the_formulas_over_its_intervals() {
        let mut hrv = Hrv::new(1000.0);
        let (mut at, mut out, mut intervals) = (0_u64, Vec::new(), Vec::new());
        hrv.push(0, true, true, &mut out);
        for n in 0_u64.. {
            let interval = 800 + (n * n * 37) % 130;
            at += interval;
            hrv.push(at, true, true, &mut out);
            if !out.is_empty() {
                break;
            }
            intervals.push(interval as f64);
        }
        let count = intervals.len() as f64;
        let mean = intervals.iter().sum::<f64>() / count;
        let sdnn = (intervals.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (count - 1.0)).sqrt();
        let pairs: Vec<f64> = intervals.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let rmssd = (pairs.iter().map(|d| d * d).sum::<f64>() / pairs.len() as f64).sqrt();
        let beyond = pairs.iter().filter(|d| d.abs() > 50.0).count() as f64;
        assert_eq!(f64::from(out[0].intervals), count);
        assert!((out[0].sdnn_ms - sdnn).abs() < 1e-6 && (out[0].rmssd_ms - rmssd).abs() < 1e-6);
        assert!((out[0].pnn50_pct - 100.0 * beyond / pairs.len() as f64).abs() < 1e-9);
        assert!((out[0].coverage - 1.0).abs() < 0.01);
    }

    #[test]
    fn ectopy_and_gaps_give_no_interval() {
        let (mut hrv, mut out) = (Hrv::new(1000.0), Vec::new());
        for n in 0..400_u64 {
            let early = if n % 10 == 5 { 300 } else { 0 };
            hrv.push(n * 1000 - early.min(n * 1000), n % 10 != 5, n % 10 != 8, &mut out);
        }
        assert_eq!(out[0].intervals, 30 * 7 - 1);
        assert!(out[0].sdnn_ms < 1e-9 && out[0].rmssd_ms < 1e-9);
    }
}
