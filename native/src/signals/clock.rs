//! A device's clock against log time.
//!
//! A frame cannot arrive before its last sample was taken, so `log time - device time` of that sample is the clock's
//! error plus a delay that is never negative. What is certain is corrected at once: a delay below zero proves a clock
//! that is ahead, a device time that runs backwards proves one that was set back. What is only likely, a delay that grows
//! for minutes, is followed slowly. A constant delay is left alone, because nobody can tell it from a slow clock; so is a
//! clock that was ahead by less than two seconds from the start, because devices differ in which moment they stamp.
//!
//! The offset that is added to device time is constant in pieces. Small changes are made in steps of at most
//! `SLEW_NS`, so that the times of consecutive frames never run backwards.

use std::collections::VecDeque;

use crate::state::{Reader, StateError, Writer};

const MS: i64 = 1_000_000;
const SECOND: i64 = 1_000 * MS;
/// Delays are gathered for so long, in log time, before the offset is thought about.
const BUCKET_NS: i64 = 10 * SECOND;
/// Buckets that are remembered: the least delay of a minute is free of jitter.
const BUCKETS: usize = 6;
/// Least delays, one a minute, from which the drift is reckoned.
const MINUTES: usize = 16;
/// Largest change of the offset between two frames that follow each other.
const SLEW_NS: i64 = 25 * MS;
/// Above the least delay seen so far, a delay may grow by so much before the clock is suspected.
const BAND_NS: i64 = 500 * MS;
/// Largest delay of the network that is taken for one; beyond it a steady delay is a wrong clock.
const MAX_DELAY_NS: i64 = 120 * SECOND;
/// A slow clock is followed by at most so much a bucket (0.5 %): a network that has become slow must not move time.
const FOLLOW_NS: i64 = 50 * MS;
/// A change this large is a step of the clock.
pub const STEP_NS: i64 = 2 * SECOND;
/// Local time sent as UTC differs by whole quarters of an hour, within this.
const ZONE_SLACK_NS: i64 = 120 * SECOND;
const QUARTER_NS: i64 = 900 * SECOND;

/// Why the offset changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The device has started anew; its offset is kept until its clock shows another.
    Reboot,
    /// The clock runs fast or slow.
    Drift,
    /// The clock was set, or is wrong by more than the network can be late.
    Step,
    /// Like a step, by whole quarters of an hour: local time, sent as UTC.
    LocalTime,
}

impl Change {
    /// The change of a number in a snapshot.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Reboot, Self::Drift, Self::Step, Self::LocalTime].into_iter().find(|change| *change as u8 == number)
    }

    /// Stable name, as in table `clock_segments`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reboot => "reboot",
            Self::Drift => "drift",
            Self::Step => "step",
            Self::LocalTime => "local_time",
        }
    }
}

/// What a frame says of its device's clock.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    /// Log time of its arrival.
    pub log_ns: i64,
    /// Device time of its first sample.
    pub device_ns: i64,
    /// Device time just after its last sample.
    pub end_ns: i64,
    /// It follows another frame of its signal, and its device time does not: only setting a clock back does that.
    pub set_back: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bucket {
    number: i64,
    least_ns: i64,
    most_ns: i64,
}

/// The clock of one device since its last start.
#[derive(Clone, Debug, PartialEq)]
pub struct Clock {
    offset_ns: i64,
    /// Where the offset is going, in steps.
    goal_ns: i64,
    /// Least delay since the last step: what the network needs.
    base_ns: i64,
    /// Below this a delay shows that the clock is ahead: 0, or what the first frames showed.
    floor_ns: Option<i64>,
    buckets: VecDeque<Bucket>,
    /// (log time, least raw delay) of each minute.
    minutes: VecDeque<(i64, i64)>,
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            offset_ns: 0,
            goal_ns: 0,
            base_ns: MAX_DELAY_NS,
            floor_ns: None,
            buckets: VecDeque::new(),
            minutes: VecDeque::new(),
        }
    }
}

impl Clock {
    /// What is added to device time now, ns.
    pub fn offset_ns(&self) -> i64 {
        self.offset_ns
    }

    /// How far event time may lie from the truth, ns: the delay of the network cannot be told from a slow clock.
    pub fn uncertainty_ns(&self) -> i64 {
        self.base_ns.clamp(0, MAX_DELAY_NS) + BAND_NS - self.floor_ns.unwrap_or(-STEP_NS)
    }

    /// The device has started anew: what it showed counts no more, its offset stays until there is something better.
    pub fn reboot(&mut self) -> Option<Change> {
        let offset_ns = self.offset_ns;
        *self = Self { offset_ns, goal_ns: offset_ns, ..Self::default() };
        (offset_ns != 0).then_some(Change::Reboot)
    }

    /// Takes a live frame; says why the offset changed, if it did.
    pub fn observe(&mut self, sight: Sight) -> Option<Change> {
        let delay_ns = sight.log_ns.saturating_sub(sight.end_ns);
        let corrected_ns = delay_ns.saturating_sub(self.offset_ns);
        // One frame proves that a clock is ahead; late is proved only by a clock that ran backwards.
        if corrected_ns < -STEP_NS || (sight.set_back && corrected_ns > STEP_NS) {
            return self.jump(delay_ns, sight.log_ns);
        }
        let closed = self.gather(delay_ns, sight.log_ns);
        if closed && let Some(change) = self.think(sight.log_ns) {
            return Some(change);
        }
        let room_ns = SLEW_NS.min(((sight.end_ns - sight.device_ns) / 2).max(MS));
        let step_ns = (self.goal_ns - self.offset_ns).clamp(-room_ns, room_ns);
        self.offset_ns += step_ns;
        (step_ns != 0).then_some(Change::Drift)
    }

    /// The offset at which this delay becomes the usual one.
    fn jump(&mut self, delay_ns: i64, log_ns: i64) -> Option<Change> {
        let usual_ns = if self.base_ns == MAX_DELAY_NS { 0 } else { self.base_ns };
        let before_ns = self.offset_ns;
        self.offset_ns = delay_ns.saturating_sub(usual_ns);
        self.goal_ns = self.offset_ns;
        self.floor_ns = self.floor_ns.or(Some(0));
        self.minutes.clear();
        self.buckets.clear();
        self.gather(delay_ns, log_ns);
        if self.offset_ns == before_ns {
            return None;
        }
        let from_zone_ns =
            self.offset_ns - (self.offset_ns + self.offset_ns.signum() * QUARTER_NS / 2) / QUARTER_NS * QUARTER_NS;
        let zone = self.offset_ns.abs() > QUARTER_NS && from_zone_ns.abs() < ZONE_SLACK_NS;
        Some(if zone { Change::LocalTime } else { Change::Step })
    }

    /// Adds a delay to its bucket; true when that ended the bucket before.
    fn gather(&mut self, delay_ns: i64, log_ns: i64) -> bool {
        let number = log_ns.div_euclid(BUCKET_NS);
        match self.minutes.back_mut() {
            Some(minute) if log_ns - minute.0 < 60 * SECOND => minute.1 = minute.1.min(delay_ns),
            _ => {
                self.minutes.push_back((log_ns, delay_ns));
                if self.minutes.len() > MINUTES {
                    self.minutes.pop_front();
                }
            }
        }
        if let Some(bucket) = self.buckets.back_mut().filter(|bucket| bucket.number == number) {
            bucket.least_ns = bucket.least_ns.min(delay_ns);
            bucket.most_ns = bucket.most_ns.max(delay_ns);
            return false;
        }
        self.buckets.push_back(Bucket { number, least_ns: delay_ns, most_ns: delay_ns });
        if self.buckets.len() > BUCKETS + 1 {
            self.buckets.pop_front();
        }
        self.buckets.len() > 1
    }

    /// Looks at the buckets that are over: the last one has only begun.
    fn think(&mut self, log_ns: i64) -> Option<Change> {
        let over = self.buckets.len() - 1;
        let last_two = self.buckets.range(over.saturating_sub(2)..over);
        let (least, most) = last_two
            .fold((i64::MAX, i64::MIN), |(least, most), bucket| (least.min(bucket.least_ns), most.max(bucket.most_ns)));
        if over >= 2 && least - self.offset_ns > MAX_DELAY_NS && most - least < STEP_NS {
            return self.jump(least, log_ns); // steadily later than any network: the clock is wrong
        }
        let low_ns = self.buckets.range(..over).map(|bucket| bucket.least_ns).min().unwrap_or(0) - self.offset_ns;
        let floor_ns = *self.floor_ns.get_or_insert(low_ns.clamp(-STEP_NS, 0));
        if low_ns >= floor_ns {
            self.base_ns = self.base_ns.min(low_ns);
        }
        if least - self.offset_ns < floor_ns {
            self.goal_ns = least - floor_ns;
        } else if low_ns > self.base_ns + BAND_NS && low_ns < MAX_DELAY_NS {
            let past_ns = low_ns - self.base_ns - BAND_NS / 2;
            self.goal_ns = self.offset_ns + past_ns.min(FOLLOW_NS);
        } else {
            self.goal_ns = self.offset_ns;
        }
        None
    }

    /// How much faster than log time the clock runs, in parts per million; NaN before five minutes.
    pub fn drift_ppm(&self) -> f64 {
        let count = self.minutes.len();
        if count < 5 {
            return f64::NAN;
        }
        let (t0, d0) = self.minutes[0];
        let points = self.minutes.iter().map(|(t, d)| ((t - t0) as f64, (d - d0) as f64));
        let (st, sd) = points.clone().fold((0.0, 0.0), |(st, sd), (t, d)| (st + t, sd + d));
        let (mt, md) = (st / count as f64, sd / count as f64);
        let (top, bottom) =
            points.fold((0.0, 0.0), |(top, bottom), (t, d)| (top + (t - mt) * (d - md), bottom + (t - mt) * (t - mt)));
        -1e6 * top / bottom
    }

    /// Appends the state.
    pub fn write(&self, writer: &mut Writer) {
        writer.put(&[self.offset_ns, self.goal_ns, self.base_ns]).one(u8::from(self.floor_ns.is_some()));
        writer.one(self.floor_ns.unwrap_or(0));
        writer.one(self.buckets.len() as u8).one(self.minutes.len() as u8);
        for bucket in &self.buckets {
            writer.put(&[bucket.number, bucket.least_ns, bucket.most_ns]);
        }
        for minute in &self.minutes {
            writer.put(&[minute.0, minute.1]);
        }
    }

    /// Reads the state back.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let mut clock =
            Self { offset_ns: reader.one()?, goal_ns: reader.one()?, base_ns: reader.one()?, ..Self::default() };
        let (floor, floor_ns) = (reader.one::<u8>()? != 0, reader.one()?);
        clock.floor_ns = floor.then_some(floor_ns);
        let (buckets, minutes) = (reader.one::<u8>()?, reader.one::<u8>()?);
        for _ in 0..buckets {
            let bucket = Bucket { number: reader.one()?, least_ns: reader.one()?, most_ns: reader.one()? };
            clock.buckets.push_back(bucket);
        }
        for _ in 0..minutes {
            clock.minutes.push_back((reader.one()?, reader.one()?));
        }
        Ok(clock)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: i64 = 1_700_000_000 * SECOND;

    /// True times and corrected times of frames of one second, as a device sees them that has clock `clock(true time)`.
    fn run(
        seconds: i64,
        clock: impl Fn(i64) -> i64,
        delay: impl Fn(i64) -> i64,
    ) -> (Clock, Vec<(i64, i64)>, Vec<Change>) {
        let (mut state, mut times, mut changes) = (Clock::default(), Vec::new(), Vec::new());
        let mut last = i64::MIN;
        for second in 0..seconds {
            let (start, end) = (START + second * SECOND, START + (second + 1) * SECOND);
            let (device_ns, end_ns) = (clock(start), clock(end));
            let sight = Sight { log_ns: end + delay(second), device_ns, end_ns, set_back: device_ns < last };
            last = device_ns;
            changes.extend(state.observe(sight));
            times.push((start, device_ns + state.offset_ns()));
        }
        (state, times, changes)
    }

    fn worst(times: &[(i64, i64)]) -> i64 {
        times.iter().map(|(truth, corrected)| (truth - corrected).abs()).max().unwrap()
    }

    fn jitter(second: i64) -> i64 {
        (40 + second * 7919 % 160) * MS
    }

    #[test]
    fn a_true_clock_is_left_alone_whatever_the_network_does() {
        let slow = |second| if (1000..1600).contains(&second) { 3 * SECOND } else { jitter(second) };
        for delay in [&jitter as &dyn Fn(i64) -> i64, &|second| 5 * SECOND + jitter(second)] {
            let (clock, times, changes) = run(3600, |t| t, delay);
            assert_eq!((clock.offset_ns(), worst(&times)), (0, 0), "{changes:?}");
        }
        let (_, times, _) = run(3600, |t| t, slow);
        assert!(worst(&times) < 3 * SECOND, "a network that is slow for ten minutes moves time less than its delay");
    }

    #[test]
    fn a_device_that_stamps_the_end_is_left_alone_and_one_that_is_far_ahead_is_not() {
        let (clock, _, changes) = run(3600, |t| t + SECOND, jitter);
        assert_eq!((clock.offset_ns(), changes.len()), (0, 0));
        assert!(clock.uncertainty_ns() > SECOND);
        let (_, times, _) = run(3600, |t| t + 240 * SECOND, jitter);
        assert!(worst(&times) < SECOND, "from the first frame on");
    }

    #[test]
    fn eight_seconds_an_hour_are_followed_within_a_second() {
        for sign in [1, -1] {
            let clock = |t: i64| t + sign * (t - START) / 450; // 8 s in 3,600 s
            let (state, times, changes) = run(3600, clock, jitter);
            assert!(worst(&times) < SECOND, "worst {} ms", worst(&times) / MS);
            assert!(times.windows(2).all(|pair| pair[1].1 > pair[0].1), "times run backwards");
            let steps = times.windows(2).map(|pair| (pair[1].1 - pair[0].1 - SECOND).abs()).max().unwrap();
            assert!(steps <= SLEW_NS + 3 * MS, "a step of {} ms", steps / MS);
            assert!(changes.iter().all(|change| *change == Change::Drift));
            let ppm = state.drift_ppm() * sign as f64;
            assert!((2000.0..2450.0).contains(&ppm), "{ppm}");
        }
    }

    #[test]
    fn a_step_is_seen_at_its_first_frame_and_time_does_not_move() {
        for step in [-3600 * SECOND, 30 * SECOND, -10 * SECOND, 240 * SECOND] {
            let clock = |t: i64| if t >= START + 600 * SECOND { t + step } else { t };
            let (state, times, changes) = run(1200, clock, jitter);
            // What follows the step takes away the jitter of the one frame that showed it.
            assert!(
                changes[0] != Change::Drift && changes[1..].iter().all(|change| *change == Change::Drift),
                "{step}"
            );
            assert!(worst(&times[602..]) < SECOND / 2, "{step}: {}", worst(&times[602..]));
            assert!((state.offset_ns() + step).abs() < SECOND / 2);
        }
    }

    #[test]
    fn local_time_sent_as_utc_is_recognised() {
        for hours in [-5, -8] {
            let (state, times, changes) = run(120, |t| t + hours * 3600 * SECOND, jitter);
            assert_eq!(changes, [Change::LocalTime]);
            assert!(worst(&times[40..]) < SECOND);
            assert!((state.offset_ns() + hours * 3600 * SECOND).abs() < SECOND);
        }
    }

    #[test]
    fn frames_that_waited_in_the_device_move_nothing() {
        // The network is away for a minute; then what waited comes at once.
        let delay = |second: i64| if (300..360).contains(&second) { (360 - second) * SECOND } else { jitter(second) };
        let (clock, _, changes) = run(900, |t| t, delay);
        assert_eq!((clock.offset_ns(), changes.len()), (0, 0));
    }

    proptest! {
        #[test]
        fn any_times_are_taken_and_state_reads_back(
            sights in prop::collection::vec((any::<i64>(), any::<i64>(), any::<i64>(), any::<bool>()), 1..80),
        ) {
            let mut clock = Clock::default();
            for (log_ns, device_ns, end_ns, set_back) in sights {
                let bound = |value: i64| value % (1 << 61); // what the validator lets through
                let (log_ns, device_ns, end_ns) = (bound(log_ns).abs(), bound(device_ns), bound(end_ns));
                clock.observe(Sight { log_ns, device_ns, end_ns, set_back });
                let mut writer = Writer::new(*b"TEST", 1);
                clock.write(&mut writer);
                let bytes = writer.finish();
                let mut reader = Reader::open(&bytes, *b"TEST", 1).unwrap();
                prop_assert_eq!(&Clock::read(&mut reader).unwrap(), &clock);
            }
        }
    }
}
