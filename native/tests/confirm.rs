//! Other signals as witnesses of rhythm findings: what they contradict, what they do not, and how long they are waited
//! for.

use std::sync::Arc;

use _native::signals::{Config, Detection, Event, Fact, Output, Signals};
use _native::wire::proto::Signal;
use _native::wire::{Body, Frame, Item, RawMessage, Wave};

const SECOND_NS: i64 = 1_000_000_000;
const START_NS: i64 = 1_700_000_000 * SECOND_NS;
const ECG_HZ: u64 = 250;
const PLETH_HZ: u64 = 125;

/// Strokes at these times, s, as a wave: narrow for an R-peak, broad for a pulse.
fn wave(strokes_s: &[f64], second: u64, fs_hz: u64, width_s: f64, height: f64) -> Vec<u8> {
    let value = |n: u64| {
        let t = n as f64 / fs_hz as f64;
        let nearest = strokes_s.iter().map(|at| (t - at).abs()).fold(f64::INFINITY, f64::min);
        (height * (1.0 - nearest / width_s).max(0.0)) as i16 + (n * 7 % 5) as i16
    };
    (second * fs_hz..(second + 1) * fs_hz).flat_map(|n| value(n).to_le_bytes()).collect()
}

/// A patient whose signals show these strokes.
struct Case {
    ecg_s: Vec<f64>,
    other_lead_s: Option<Vec<f64>>,
    pleth_s: Option<Vec<f64>>,
    /// The pleth sends nothing from here on.
    pleth_until: u64,
    /// Seconds that its frames arrive after those of the lead.
    pleth_behind: i64,
}

impl Case {
    fn new(ecg_s: Vec<f64>) -> Self {
        Self { ecg_s, other_lead_s: None, pleth_s: None, pleth_until: u64::MAX, pleth_behind: 0 }
    }

    fn pleth(self, pleth_s: Vec<f64>) -> Self {
        Self { pleth_s: Some(pleth_s), ..self }
    }

    fn log(&self, seconds: u64) -> Vec<Item> {
        let mut log = Vec::new();
        for second in 0..seconds {
            let mut add = |signal, fs_hz: u64, samples: Vec<u8>, behind_ns: i64| {
                let arrival = START_NS + (second as i64 + 1) * SECOND_NS + behind_ns;
                let body =
                    Body::Wave(Wave { fs_mhz: fs_hz as u32 * 1000, lsb: 0.001, status: 0, samples: samples.into() });
                log.push((arrival, frame(signal, second, fs_hz, body)));
            };
            add(Signal::EcgIi, ECG_HZ, wave(&self.ecg_s, second, ECG_HZ, 0.04, 900.0), 0);
            if let Some(beats) = &self.other_lead_s {
                add(Signal::EcgV5, ECG_HZ, wave(beats, second, ECG_HZ, 0.04, 700.0), 1);
            }
            if let Some(pulses) = self.pleth_s.as_ref().filter(|_| second < self.pleth_until) {
                let samples = wave(pulses, second, PLETH_HZ, 0.25, 2000.0);
                add(Signal::Pleth, PLETH_HZ, samples, 2 + self.pleth_behind * SECOND_NS);
            }
        }
        log.sort_by_key(|entry| entry.0);
        log.into_iter().enumerate().map(item).collect()
    }

    fn run(&self, seconds: u64) -> Output {
        let mut out = Output::default();
        Signals::new(Config::default()).on_items(&self.log(seconds), &mut out);
        out
    }
}

fn frame(signal: Signal, second: u64, fs_hz: u64, body: Body) -> Frame {
    Frame {
        device: "monitor".into(),
        boot: 1,
        signal,
        seq: second,
        first_sample: second * fs_hz,
        device_ns: START_NS + second as i64 * SECOND_NS,
        stored: false,
        averaging_s: 0.0,
        body,
        log_seq: 0,
        log_ns: 0,
    }
}

fn item((index, (log_ns, mut frame)): (usize, (i64, Frame))) -> Item {
    (frame.log_seq, frame.log_ns) = (index as u64, log_ns);
    let raw = RawMessage { subject: "s".into(), payload: b"raw"[..].into(), log_seq: frame.log_seq, log_ns };
    Item::Frame(Arc::new(frame), raw)
}

/// Strokes every `interval_s` between two times.
fn every(interval_s: f64, from_s: f64, to_s: f64) -> Vec<f64> {
    let count = ((to_s - from_s) / interval_s).ceil() as u32;
    (0..count).map(|n| from_s + f64::from(n) * interval_s).collect()
}

fn later(strokes_s: &[f64], by_s: f64) -> Vec<f64> {
    strokes_s.iter().map(|at| at + by_s).collect()
}

fn raised<'a>(out: &'a Output, rule: &str) -> Vec<&'a Detection> {
    let found = |event: &'a Event| match event {
        Event::Detection(found) if found.raised && found.rule == rule => Some(found),
        _ => None,
    };
    out.events.iter().filter_map(found).collect()
}

fn fact(found: &Detection, fact: Fact) -> f64 {
    let name = Fact::ALL.iter().find(|(known, _)| *known == fact).unwrap().1;
    found.evidence.named().find(|(known, _)| *known == name).map_or(f64::NAN, |(_, value)| value)
}

/// From the last beat to the log time of the alarm, s.
fn delay_s(found: &Detection, last_beat_s: f64) -> f64 {
    (found.log_ns - START_NS) as f64 / 1e9 - last_beat_s
}

#[test]
fn without_a_witness_asystole_is_announced_at_once() {
    let out = Case::new(every(0.8, 0.5, 40.0)).run(60);
    let found = raised(&out, "asystole");
    assert_eq!(found.len(), 1);
    assert!(delay_s(found[0], 39.7) < 6.0);
    assert_eq!(fact(found[0], Fact::Beats), 1.0);
    assert!(fact(found[0], Fact::HeldS).is_nan() && fact(found[0], Fact::Pulses).is_nan());
}

#[test]
fn a_pulse_that_stops_with_the_heart_delays_nothing() {
    let beats = every(0.8, 0.5, 40.0);
    let out = Case::new(beats.clone()).pleth(later(&beats, 0.3)).run(60);
    let found = raised(&out, "asystole");
    assert_eq!((found.len(), out.withheld.len()), (1, 0));
    assert!(delay_s(found[0], 39.7) < 6.5, "{}", delay_s(found[0], 39.7));
    assert!(fact(found[0], Fact::PulseQuietS) > 3.0);
}

#[test]
fn a_good_pulse_contradicts_asystole_and_pause() {
    let out = Case::new(every(0.8, 0.5, 40.0)).pleth(every(0.8, 0.8, 60.0)).run(60);
    assert_eq!(raised(&out, "asystole").len() + raised(&out, "pause").len(), 0);
    let rules: Vec<_> = out.withheld.iter().map(|row| (row.found.rule, row.witness.as_str())).collect();
    assert_eq!(rules, [("pause", "monitor/pleth"), ("asystole", "monitor/pleth")]);
}

#[test]
fn a_contradicted_asystole_is_announced_when_the_pulse_stops() {
    let out = Case::new(every(0.8, 0.5, 40.0)).pleth(every(0.8, 0.8, 52.0)).run(70);
    let found = raised(&out, "asystole");
    assert_eq!(found.len(), 1);
    let delay = delay_s(found[0], 51.2);
    assert!((2.0..=5.0).contains(&delay), "{delay} s after the last pulse");
    assert!(fact(found[0], Fact::HeldS) > 5.0);
}

#[test]
fn a_contradicted_asystole_is_announced_when_the_witness_falls_silent() {
    let case = Case { pleth_until: 50, ..Case::new(every(0.8, 0.5, 40.0)).pleth(every(0.8, 0.8, 90.0)) };
    let out = case.run(70);
    let found = raised(&out, "asystole");
    assert_eq!(found.len(), 1);
    let delay = delay_s(found[0], 50.0);
    assert!((2.0..=4.5).contains(&delay), "{delay} s after the last frame of the pleth");
}

#[test]
fn a_witness_that_is_behind_is_waited_for_two_seconds() {
    let beats = every(0.8, 0.5, 40.0);
    let case = Case { pleth_behind: 5, ..Case::new(beats.clone()).pleth(every(0.8, 0.8, 60.0)) };
    let out = case.run(60);
    let found = raised(&out, "asystole");
    assert_eq!(found.len(), 1);
    assert!((1.9..=2.1).contains(&fact(found[0], Fact::HeldS)), "{:?}", found[0].evidence);
    assert!(delay_s(found[0], 39.7) < 8.0);
}

#[test]
fn another_lead_contradicts_unless_the_pulse_has_stopped() {
    let beats = every(0.8, 0.5, 40.0);
    let loose = Case { other_lead_s: Some(every(0.8, 0.5, 60.0)), ..Case::new(beats.clone()) };
    let out = loose.run(60);
    assert_eq!(raised(&out, "asystole").len(), 0);
    assert!(out.withheld.iter().any(|row| row.witness == "monitor/ecg_v5"));
    // Electrical activity without a pulse, or artefact on the other lead.
    let pulseless = Case { pleth_s: Some(later(&beats, 0.3)), ..loose };
    assert_eq!(raised(&pulseless.run(60), "asystole").len(), 1);
}

#[test]
fn a_slow_rate_with_a_faster_pulse_is_missed_beats() {
    let mut beats = every(0.8, 0.5, 40.0);
    beats.extend(every(1.6, 40.0, 80.0));
    let missed = Case::new(beats.clone()).pleth(every(0.8, 0.8, 80.0)).run(80);
    assert_eq!(raised(&missed, "extreme_bradycardia").len() + raised(&missed, "bradycardia").len(), 0);
    let slow = Case::new(beats.clone()).pleth(later(&beats, 0.3)).run(80);
    let found = raised(&slow, "extreme_bradycardia");
    assert_eq!(found.len(), 1);
    assert!((fact(found[0], Fact::PulseRate) - 37.5).abs() < 2.0);
}

#[test]
fn a_fast_rate_is_contradicted_by_a_pulse_that_goes_on_as_before_and_by_no_other() {
    let mut beats = every(0.8, 0.5, 40.0);
    beats.extend(every(0.4, 40.0, 70.0));
    let doubled = Case::new(beats.clone()).pleth(every(0.8, 0.8, 70.0)).run(70);
    let fast = ["extreme_tachycardia", "tachycardia"];
    assert_eq!(fast.map(|rule| raised(&doubled, rule).len()), [0, 0], "{:?}", doubled.events);
    // Every other pulse is lost, as in a fast rhythm: the same rate, and nothing else as before.
    let mut weak = every(0.8, 0.8, 40.0);
    weak.extend(every(1.2, 40.3, 70.0));
    let real = Case::new(beats.clone()).pleth(weak).run(70);
    assert_eq!(fast.map(|rule| raised(&real, rule).len()), [1, 1]);
    assert_eq!(fast.map(|rule| raised(&Case::new(beats.clone()).run(70), rule).len()), [1, 1]);
}

#[test]
fn what_is_withheld_survives_a_restart() {
    let case = Case::new(every(0.8, 0.5, 40.0)).pleth(every(0.8, 0.8, 52.0));
    let items = case.log(70);
    let whole = format!("{:?}", case.run(70).events);
    for cut in [87, 90, 97, 104, 108] {
        let (mut out, mut signals) = (Output::default(), Signals::new(Config::default()));
        signals.on_items(&items[..cut], &mut out);
        let snapshot = signals.snapshot();
        let mut signals = Signals::restore(&snapshot, Config::default()).unwrap();
        assert_eq!(signals.snapshot(), snapshot);
        signals.on_items(&items[cut..], &mut out);
        assert_eq!(format!("{:?}", out.events), whole);
    }
}
