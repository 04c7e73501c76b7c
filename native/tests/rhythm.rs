//! Rhythm alarms: the definitions against plain loops, steps against their times, and any order of calls.

use _native::ecg::{Beat, BeatLabel};
use _native::rhythm::{RhythmEvent, RhythmLimits, RhythmMonitor, RhythmRule, Shape};
use proptest::prelude::*;

const FS: f64 = 250.0;

fn beat(sample: u64, ventricular: bool) -> Beat {
    let label = if ventricular { BeatLabel::Ventricular } else { BeatLabel::Normal };
    Beat { sample, confidence: 1.0, label, late: false }
}

fn monitor() -> RhythmMonitor {
    RhythmMonitor::new(FS, RhythmLimits::default()).unwrap()
}

/// Beats at these intervals, from one second on.
fn at_intervals(intervals_s: &[f64]) -> Vec<Beat> {
    let mut at = 1.0;
    let first = beat(FS as u64, false);
    let rest = intervals_s.iter().map(|interval| {
        at += interval;
        beat((at * FS).round() as u64, false)
    });
    std::iter::once(first).chain(rest).collect()
}

fn run(beats: &[Beat], until: u64) -> Vec<RhythmEvent> {
    let (mut monitor, mut out) = (monitor(), Vec::new());
    monitor.beats(beats);
    monitor.advance(until, &mut out);
    out
}

fn first(events: &[RhythmEvent], rule: RhythmRule, raised: bool) -> Option<RhythmEvent> {
    events.iter().copied().find(|event| event.rule == rule && event.raised == raised)
}

#[test]
fn asystole_is_certain_four_seconds_after_the_last_beat_and_clears_with_the_third_beat() {
    let mut beats = at_intervals(&[0.8; 10]);
    let last = beats.last().unwrap().sample;
    let back = last + 3000;
    beats.extend([0, 200, 400, 600].map(|offset| beat(back + offset, false)));
    let events = run(&beats, back + 2000);
    let raised = first(&events, RhythmRule::Asystole, true).unwrap();
    assert_eq!((raised.onset, raised.decided), (last, last + 1000));
    assert_eq!((raised.evidence_first, raised.evidence_last), (last, last + 1000));
    assert!((raised.value - 4.0).abs() < 1e-9 && (raised.limit - 4.0).abs() < 1e-9);
    let cleared = first(&events, RhythmRule::Asystole, false).unwrap();
    assert_eq!((cleared.onset, cleared.decided), (last, back + 400));
    assert_eq!(first(&events, RhythmRule::Pause, true).unwrap().decided, last + 750);
}

#[test]
fn weak_beats_end_no_silence_and_count_for_the_rate() {
    let (mut monitor, mut out) = (monitor(), Vec::new());
    let strong = at_intervals(&[0.8; 10]);
    let last = strong.last().unwrap().sample;
    monitor.beats(&strong);
    for n in 1..=8 {
        monitor.shaped_beat(&beat(last + 200 * n, false), Some(Shape { size: 0.1, like_usual: Some(0.0), weak: true }));
    }
    monitor.advance(last + 1700, &mut out);
    let raised = first(&out, RhythmRule::Asystole, true).unwrap();
    assert_eq!((raised.onset, raised.decided), (last, last + 1000));
    assert!(first(&out, RhythmRule::Asystole, false).is_none());
    assert!(first(&out, RhythmRule::ExtremeBradycardia, true).is_none());
    monitor.beats(&[1800, 2000, 2200].map(|offset| beat(last + offset, false)));
    monitor.advance(last + 2201, &mut out);
    assert_eq!(first(&out, RhythmRule::Asystole, false).unwrap().decided, last + 2200);
}

#[test]
fn three_and_a_half_seconds_are_a_pause_and_no_asystole() {
    let mut intervals = vec![0.8; 8];
    intervals.extend([3.5, 0.8, 0.8, 0.8, 0.8]);
    let events = run(&at_intervals(&intervals), 4000);
    assert!(first(&events, RhythmRule::Pause, true).is_some());
    assert!(first(&events, RhythmRule::Asystole, true).is_none());
}

#[test]
fn a_stream_that_begins_without_beats_is_asystole_and_one_without_signal_is_not() {
    assert_eq!(first(&run(&[], 1500), RhythmRule::Asystole, true).unwrap().decided, 1000);
    let (mut monitor, mut out) = (monitor(), Vec::new());
    monitor.invalid(0, 10_001);
    monitor.advance(10_001, &mut out);
    assert_eq!(out, []);
}

#[test]
fn pulses_contradict_asystole_until_they_stop() {
    let (mut monitor, mut out) = (monitor(), Vec::new());
    monitor.beats(&at_intervals(&[0.8; 4]));
    let last = 250 + 800;
    let pulses: Vec<u64> = (0..12).map(|n| last + 100 + 200 * n).collect();
    monitor.pulses(&pulses);
    let stopped = *pulses.last().unwrap();
    monitor.advance(stopped, &mut out);
    assert_eq!(out, []);
    monitor.advance(stopped + 2000, &mut out);
    let raised = first(&out, RhythmRule::Asystole, true).unwrap();
    assert!(raised.decided > stopped + 250 && raised.decided <= stopped + 750, "{raised:?}");
}

#[test]
fn steps_of_the_rate_alarm_within_ten_seconds() {
    // Steps of clinical digest 2.2 with limits of 60 and 100 bpm, as in the makers' tables.
    let limits = RhythmLimits { low_bpm: 60.0, high_bpm: 100.0, ..RhythmLimits::default() };
    for (rate_bpm, rule) in [(120.0, RhythmRule::Tachycardia), (40.0, RhythmRule::Bradycardia)] {
        let mut intervals = vec![0.75; 30];
        intervals.extend([60.0 / rate_bpm; 30]);
        let step = (FS * (1.0 + 0.75 * 30.0)) as u64;
        let (mut monitor, mut out) = (RhythmMonitor::new(FS, limits).unwrap(), Vec::new());
        monitor.beats(&at_intervals(&intervals));
        monitor.advance(step + 3700, &mut out);
        let raised = first(&out, rule, true).unwrap();
        let seconds = (raised.decided - step) as f64 / FS;
        assert!((1.0..=10.0).contains(&seconds), "{rule:?} after {seconds} s");
        assert_eq!(out.iter().filter(|event| event.raised).count(), 1);
    }
}

#[test]
fn a_rate_that_hovers_about_its_limit_is_one_alarm() {
    let intervals: Vec<f64> = (0..400).map(|n| if (n / 10) % 2 == 0 { 0.46 } else { 0.56 }).collect();
    let mut beats = at_intervals(&intervals);
    let events = run(&beats, beats.last().unwrap().sample + 1);
    let changes = |events: &[RhythmEvent]| events.iter().filter(|event| event.rule == RhythmRule::Tachycardia).count();
    assert_eq!(changes(&events), 1, "{events:?}");
    let last = beats.last().unwrap().sample;
    beats.extend((1..40).map(|n| beat(last + n * 200, false)));
    let events = run(&beats, last + 40 * 200);
    let cleared = first(&events, RhythmRule::Tachycardia, false).unwrap();
    let seconds = (cleared.decided - last) as f64 / FS;
    assert!((13.0..=27.0).contains(&seconds), "cleared {seconds} s after the rate fell");
    assert_eq!(changes(&events), 2);
}

#[test]
fn extreme_rates_follow_their_definitions() {
    let mut intervals = vec![0.8; 20];
    intervals.extend([0.4; 20]);
    intervals.extend([0.8; 20]);
    intervals.extend([1.6; 6]);
    intervals.extend([0.9; 20]);
    let beats = at_intervals(&intervals);
    let events = run(&beats, beats.last().unwrap().sample + 1);
    let fast = first(&events, RhythmRule::ExtremeTachycardia, true).unwrap();
    assert!(fast.value > 140.0 && fast.decided <= beats[36].sample, "{fast:?}");
    let slow = first(&events, RhythmRule::ExtremeBradycardia, true).unwrap();
    assert_eq!(slow.decided, beats[64].sample);
    assert!((slow.value - 37.5).abs() < 0.2);
    for rule in [RhythmRule::ExtremeTachycardia, RhythmRule::ExtremeBradycardia] {
        assert!(first(&events, rule, false).is_some(), "{rule:?} clears");
    }
}

#[test]
fn five_fast_ventricular_beats_are_a_tachycardia_and_four_are_not() {
    for (count, expected) in [(4, false), (5, true)] {
        let mut beats = at_intervals(&[0.8; 10]);
        let last = beats.last().unwrap().sample;
        beats.extend((1..=count).map(|n| beat(last + 100 * n, true)));
        beats.extend((1..=4).map(|n| beat(last + 100 * count + 200 * n, false)));
        let events = run(&beats, last + 3000);
        let raised = first(&events, RhythmRule::VentricularTachycardia, true);
        assert_eq!(raised.is_some(), expected);
        assert_eq!(first(&events, RhythmRule::VentricularTachycardia, false).is_some(), expected);
    }
}

#[test]
fn one_in_five_beats_of_a_tachycardia_may_be_unusual_without_the_label() {
    // Places of the beats without the label, how like the usual shape they are, and whether that is a tachycardia.
    let cases: [(&[u64], Option<f32>, bool); 6] = [
        (&[3], Some(0.2), true),
        (&[5], Some(0.2), true),
        (&[3], Some(0.8), false),
        (&[3], None, false),
        (&[2, 4], Some(0.2), false),
        (&[1], Some(0.2), true),
    ];
    for (others, like_usual, expected) in cases {
        let (mut monitor, mut out) = (monitor(), Vec::new());
        let before = at_intervals(&[0.8; 10]);
        let last = before.last().unwrap().sample;
        monitor.beats(&before);
        for n in 1..=5 {
            let shape = Shape { size: 1.0, like_usual, weak: false };
            monitor.shaped_beat(&beat(last + 100 * n, !others.contains(&n)), Some(shape));
        }
        monitor.advance(last + 600, &mut out);
        let raised = first(&out, RhythmRule::VentricularTachycardia, true);
        assert_eq!(raised.is_some(), expected, "{others:?} {like_usual:?}");
    }
}

#[test]
fn fibrillation_needs_four_seconds_and_ends_four_seconds_after() {
    let (mut monitor, mut out) = (monitor(), Vec::new());
    monitor.beats(&at_intervals(&[0.5; 40]));
    for second in 4..9 {
        monitor.fibrillation(second * 250, second * 250 + 250);
    }
    monitor.advance(5000, &mut out);
    let rule = RhythmRule::VentricularFibrillation;
    let raised = first(&out, rule, true).unwrap();
    assert_eq!((raised.onset, raised.decided), (1000, 1999));
    assert_eq!(first(&out, rule, false).unwrap().decided, 2250 + 1000);
}

#[test]
fn refuses_limits_that_no_rule_could_keep() {
    let refused = [
        RhythmLimits { asystole_s: f64::NAN, ..RhythmLimits::default() },
        RhythmLimits { extreme_tachycardia_beats: 25, ..RhythmLimits::default() },
        RhythmLimits { low_bpm: -1.0, ..RhythmLimits::default() },
    ];
    for limits in refused {
        assert!(RhythmMonitor::new(FS, limits).is_err());
    }
    assert!(RhythmMonitor::new(f64::NAN, RhythmLimits::default()).is_err());
}

#[derive(Debug, Clone, Copy)]
enum Call {
    Beat(u64, bool),
    Pulse(u64),
    Invalid(u64, u64),
    Fibrillation(u64, u64),
}

impl Call {
    /// Until the monitor passes this sample, the announcement is in time.
    fn position(self) -> u64 {
        match self {
            Self::Beat(at, _) | Self::Pulse(at) | Self::Invalid(at, _) | Self::Fibrillation(_, at) => at,
        }
    }

    fn announce(self, monitor: &mut RhythmMonitor) {
        match self {
            Self::Beat(at, ventricular) => {
                let like_usual = (!at.is_multiple_of(3)).then_some((at % 7) as f32 / 7.0);
                let shape = Shape { size: 1.0, like_usual, weak: false };
                monitor.shaped_beat(&beat(at, ventricular), Some(shape));
            }
            Self::Pulse(at) => monitor.pulses(&[at]),
            Self::Invalid(first, last) => monitor.invalid(first, last + 1),
            Self::Fibrillation(first, last) => monitor.fibrillation(first, last + 1),
        }
    }
}

/// A stream of beats between 20 and 250 bpm with what may happen around them.
fn stream() -> impl Strategy<Value = Vec<Call>> {
    let step = (60_u64..900, 0..20_u8, any::<bool>(), 0..1500_u64);
    prop::collection::vec(step, 1..120).prop_map(|steps| {
        let (mut at, mut calls) = (0, Vec::new());
        for (interval, kind, ventricular, length) in steps {
            at += if kind < 14 { 60 + interval / 8 } else { interval };
            match kind {
                17 => calls.push(Call::Invalid(at, at + length)),
                18 => calls.push(Call::Fibrillation(at.saturating_sub(length), at)),
                19 => at += 1500,
                _ => calls.push(Call::Beat(at, ventricular && kind < 16)),
            }
            if kind % 3 == 0 {
                calls.push(Call::Pulse(at + 60));
            }
        }
        calls.sort_by_key(|call| call.position());
        calls
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_order_of_calls_gives_the_same_events(calls in stream(), ahead in prop::collection::vec(0..1200_u64, 1..40)) {
        let end = calls.last().map_or(0, |call| call.position()) + 3000;
        let (mut whole, mut expected) = (monitor(), Vec::new());
        for call in &calls { call.announce(&mut whole); }
        whole.advance(end, &mut expected);

        let (mut monitor, mut out, mut next) = (monitor(), Vec::new(), 0);
        let mut certain = 0;
        for step in ahead.iter().cycle() {
            certain = (certain + step + 1).min(end);
            // Whatever is due is announced, and sometimes what comes later; the last first.
            let known = certain + step / 2;
            let due = calls[next..].iter().take_while(|call| call.position() < known).count();
            calls[next..next + due].iter().rev().for_each(|call| call.announce(&mut monitor));
            next += due;
            monitor.advance(certain, &mut out);
            monitor = RhythmMonitor::restore(&monitor.snapshot()).unwrap();
            if certain == end {
                break;
            }
        }
        prop_assert_eq!(out, expected);
    }

    #[test]
    fn silence_is_found_exactly_where_a_plain_loop_finds_it(calls in stream()) {
        let calls: Vec<Call> = calls.into_iter().filter(|call| !matches!(call, Call::Pulse(_))).collect();
        let end = calls.last().map_or(0, |call| call.position()) + 3000;
        let (mut monitor, mut out) = (monitor(), Vec::new());
        for call in &calls { call.announce(&mut monitor); }
        monitor.advance(end, &mut out);

        let mut quiet = 0_u64;
        let mut silent = vec![false; end as usize + 1];
        for at in 0..=end {
            let blocked = calls.iter().any(|call| matches!(*call, Call::Invalid(a, b) if (a..=b).contains(&at)));
            let beat = calls.iter().any(|call| matches!(*call, Call::Beat(sample, _) if sample == at));
            silent[at as usize] = at - quiet >= 1000;
            if beat {
                quiet = at;
            }
            if blocked {
                quiet = at + 1;
            }
        }
        for event in out.iter().filter(|event| event.rule == RhythmRule::Asystole && event.raised) {
            prop_assert!(silent[event.decided as usize], "{:?}", event);
        }
        let any = out.iter().any(|event| event.rule == RhythmRule::Asystole && event.raised);
        prop_assert_eq!(any, silent.contains(&true));
    }

    #[test]
    fn conditions_alternate_and_are_decided_in_order(calls in stream()) {
        let (mut monitor, mut out) = (monitor(), Vec::new());
        for call in &calls { call.announce(&mut monitor); }
        monitor.advance(1 << 40, &mut out);
        prop_assert!(out.is_sorted_by_key(|event| event.decided));
        for rule in RhythmRule::ALL {
            let states: Vec<bool> = out.iter().filter(|event| event.rule == rule).map(|event| event.raised).collect();
            prop_assert!(states.iter().enumerate().all(|(index, &raised)| raised == (index % 2 == 0)));
        }
        prop_assert!(out.iter().all(|event| event.onset <= event.decided && event.evidence_first <= event.evidence_last));
        prop_assert!(monitor.snapshot().len() <= 1024);
    }

    #[test]
    fn garbage_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(RhythmMonitor::restore(&bytes).is_err());
    }
}
