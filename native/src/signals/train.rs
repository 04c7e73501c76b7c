//! Heartbeats as one channel sees them, in event time: pulses of a pleth or arterial wave, or beats of a lead.

use std::collections::VecDeque;

use crate::state::{Reader, StateError, Writer};

/// Strokes remembered: ten seconds at 240/min, and more than a dozen before them.
const KEPT: usize = 56;
/// Strokes before a stretch that say what is usual, and how many it takes.
const BEFORE: usize = 12;
const FEWEST_BEFORE: usize = 5;
/// A steady train keeps its rate within this share of the usual one,
const SAME_RATE: f64 = 0.15;
/// its intervals within this share of their median,
const SAME_INTERVAL: f64 = 0.2;
/// and each stroke between these multiples of the usual size.
const SAME_SIZE: (f32, f32) = (0.7, 1.4);

/// One pulse or beat.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stroke {
    ns: i64,
    size: f32,
}

/// The last strokes of a channel, oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Train {
    strokes: VecDeque<Stroke>,
    /// Event time before which every stroke is known.
    pub certain_ns: i64,
    /// Log time at which that was last brought forward.
    pub heard_ns: i64,
}

impl Default for Train {
    fn default() -> Self {
        Self { strokes: VecDeque::new(), certain_ns: i64::MIN, heard_ns: i64::MIN }
    }
}

/// What a train says about a stretch of event time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainFacts {
    /// Strokes in it.
    pub count: u32,
    /// Their mean rate per minute; NaN without two.
    pub rate_bpm: f64,
    /// Longest time without a stroke, its ends included, s.
    pub longest_s: f64,
    /// Time from the last stroke to its end, s.
    pub quiet_s: f64,
    /// Median size against the strokes before; NaN where nothing is known of those.
    pub size: f64,
    /// Enough strokes came before to say what is usual.
    pub known: bool,
    /// Goes on as it was before: same rate, same size, even.
    pub steady: bool,
}

impl Train {
    /// Adds a stroke.
    pub fn push(&mut self, ns: i64, size: f32) {
        if self.strokes.back().is_some_and(|last| last.ns > ns) {
            self.strokes.clear(); // the clock was set back
        }
        if self.strokes.len() == KEPT {
            self.strokes.pop_front();
        }
        self.strokes.push_back(Stroke { ns, size });
    }

    /// Everything before `certain_ns` is known, at log time `heard_ns`.
    pub fn advance(&mut self, certain_ns: i64, heard_ns: i64) {
        (self.certain_ns, self.heard_ns) = (certain_ns, heard_ns);
    }

    /// The train from `from_ns` to `to_ns`, against what came before.
    pub fn facts(&self, from_ns: i64, to_ns: i64) -> TrainFacts {
        let begin = self.strokes.partition_point(|stroke| stroke.ns < from_ns);
        let end = self.strokes.partition_point(|stroke| stroke.ns <= to_ns).max(begin);
        let inside: Vec<Stroke> = self.strokes.range(begin..end).copied().collect();
        let before: Vec<Stroke> = self.strokes.range(begin.saturating_sub(BEFORE)..begin).copied().collect();
        let edges = std::iter::once(from_ns).chain(inside.iter().map(|stroke| stroke.ns));
        let longest_s = edges
            .zip(inside.iter().map(|stroke| stroke.ns).chain([to_ns]))
            .map(|(a, b)| seconds(a, b))
            .fold(0.0, f64::max);
        let quiet_s = seconds(inside.last().map_or(from_ns, |stroke| stroke.ns), to_ns);
        let known = before.len() >= FEWEST_BEFORE;
        let usual = if known { median(before.iter().map(|stroke| f64::from(stroke.size))) } else { f64::NAN };
        TrainFacts {
            count: inside.len() as u32,
            rate_bpm: rate(&inside),
            longest_s,
            quiet_s,
            size: median(inside.iter().map(|stroke| f64::from(stroke.size))) / usual,
            known,
            steady: known && steady(&inside, &before),
        }
    }

    /// Share of the strokes of a stretch whose size, and time since the stroke before, is between half and twice the
    /// median of the stretch; absent without a few.
    pub fn even_share(&self, from_ns: i64, to_ns: i64) -> Option<f64> {
        let inside: Vec<Stroke> =
            self.strokes.iter().filter(|stroke| (from_ns..=to_ns).contains(&stroke.ns)).copied().collect();
        if inside.len() < FEWEST_BEFORE {
            return None;
        }
        let size = median(inside.iter().map(|stroke| f64::from(stroke.size)));
        let interval_s = median(intervals(&inside));
        let usual = |value: f64, median: f64| (0.5 * median..=2.0 * median).contains(&value);
        let pairs = inside.windows(2);
        let even = pairs
            .filter(|pair| usual(f64::from(pair[1].size), size) && usual(seconds(pair[0].ns, pair[1].ns), interval_s));
        Some(even.count() as f64 / (inside.len() - 1) as f64)
    }

    /// Appends the state.
    pub fn write(&self, writer: &mut Writer) {
        writer.put(&[self.certain_ns, self.heard_ns]).one(self.strokes.len() as u8);
        for stroke in &self.strokes {
            writer.one(stroke.ns).one(stroke.size);
        }
    }

    /// Reads the state back.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let (certain_ns, heard_ns) = (reader.one()?, reader.one()?);
        let mut strokes = VecDeque::new();
        for _ in 0..reader.one::<u8>()? {
            strokes.push_back(Stroke { ns: reader.one()?, size: reader.one()? });
        }
        if strokes.len() > KEPT {
            return Err(StateError::Value("strokes of a train"));
        }
        Ok(Self { strokes, certain_ns, heard_ns })
    }
}

fn seconds(from_ns: i64, to_ns: i64) -> f64 {
    to_ns.saturating_sub(from_ns) as f64 / 1e9
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn intervals(strokes: &[Stroke]) -> impl Iterator<Item = f64> + '_ {
    strokes.windows(2).map(|pair| seconds(pair[0].ns, pair[1].ns))
}

/// Mean rate per minute; NaN without two strokes.
fn rate(strokes: &[Stroke]) -> f64 {
    let (Some(first), Some(last)) = (strokes.first(), strokes.last()) else { return f64::NAN };
    60.0 * (strokes.len() - 1) as f64 / seconds(first.ns, last.ns)
}

fn steady(inside: &[Stroke], before: &[Stroke]) -> bool {
    if inside.len() < 3 {
        return false;
    }
    let (usual_size, usual_s) = (median(before.iter().map(|stroke| f64::from(stroke.size))), median(intervals(before)));
    let own_s = median(intervals(inside));
    let within = |value: f64, usual: f64, share: f64| (value - usual).abs() <= share * usual;
    let same_size = |stroke: &Stroke| {
        let size = stroke.size / usual_size as f32;
        (SAME_SIZE.0..=SAME_SIZE.1).contains(&size)
    };
    within(own_s, usual_s, SAME_RATE)
        && intervals(inside).all(|interval| within(interval, own_s, SAME_INTERVAL))
        && inside.iter().all(same_size)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: f64 = 1e9;

    fn train(strokes: impl IntoIterator<Item = (f64, f32)>) -> Train {
        let mut train = Train::default();
        for (at_s, size) in strokes {
            train.push((at_s * SECOND) as i64, size);
        }
        train
    }

    #[test]
    fn says_rate_gaps_and_size_of_a_stretch() {
        let train = train((0..30).map(|n| (f64::from(n), if n < 20 { 2.0 } else { 1.0 })));
        let facts = train.facts(19_500_000_000, 26_500_000_000);
        assert_eq!(facts.count, 7);
        assert!((facts.rate_bpm - 60.0).abs() < 1e-9 && (facts.size - 0.5).abs() < 1e-6);
        assert!((facts.longest_s - 1.0).abs() < 1e-9 && (facts.quiet_s - 0.5).abs() < 1e-9);
        assert!(!facts.steady);
    }

    #[test]
    fn is_steady_while_it_goes_on_as_before() {
        let even = train((0..30).map(|n| (f64::from(n) * 0.8, 1.0 + 0.1 * (n % 2) as f32)));
        assert!(even.facts(14_000_000_000, 20_000_000_000).steady);
        let faster = train((0..30).map(|n| (if n < 18 { f64::from(n) * 0.8 } else { 3.6 + f64::from(n) * 0.6 }, 1.0)));
        assert!(!faster.facts(14_500_000_000, 20_000_000_000).steady);
        let uneven = train((0..30).map(|n| (f64::from(n) * 0.8 + if n == 20 { 0.3 } else { 0.0 }, 1.0)));
        assert!(!uneven.facts(14_000_000_000, 20_000_000_000).steady);
        assert!(!even.facts(0, 3_000_000_000).steady, "nothing is known of what is usual");
    }

    #[test]
    fn nothing_is_said_of_nothing() {
        let facts = Train::default().facts(0, 4_000_000_000);
        assert_eq!((facts.count, facts.steady), (0, false));
        assert!(facts.rate_bpm.is_nan() && facts.size.is_nan());
        assert!((facts.quiet_s - 4.0).abs() < 1e-9 && (facts.longest_s - 4.0).abs() < 1e-9);
    }
}
