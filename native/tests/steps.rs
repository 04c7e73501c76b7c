//! Time to alarm after a step of the rate, on waveforms through the whole detector: R-peaks, labels, rules, frames of one
//! second. The steps are those of the makers' tables (IEC 60601-2-27: at most 10 s).

use std::sync::Arc;

use _native::signals::{Config, Event, Output, Signals};
use _native::wire::proto::Signal;
use _native::wire::{Body, Command, Frame, Item, RawMessage, Wave};

const SECOND_NS: i64 = 1_000_000_000;
const START_NS: i64 = 1_700_000_000 * SECOND_NS;
const STEP_S: f64 = 40.0;

/// P, QRS and T about each R-peak, and noise of about 10 uV, in uV.
fn samples(beats_s: &[f64], height: f64, first: u64, fs_hz: u64) -> Vec<u8> {
    let bump = |t: f64, at: f64, width: f64, size: f64| size * (-((t - at) / width).powi(2)).exp();
    let value = |n: u64| {
        let t = n as f64 / fs_hz as f64;
        let near = beats_s.iter().filter(|beat| (t - **beat).abs() < 0.6).map(|beat| t - beat);
        let wave: f64 = near
            .map(|t| {
                bump(t, -0.16, 0.03, 0.1) + bump(t, 0.0, 0.012, 1.0) - bump(t, 0.03, 0.012, 0.2)
                    + bump(t, 0.25, 0.06, 0.25)
            })
            .sum();
        (height * wave) as i16 + ((n.wrapping_mul(2_654_435_761) >> 13) & 31) as i16 - 16
    };
    (first..first + fs_hz).flat_map(|n| value(n).to_le_bytes()).collect()
}

/// Beats at one interval until the step, then at another (none: the heart stands still).
fn beats(before_s: f64, after_s: Option<f64>) -> Vec<f64> {
    let mut found = vec![0.5];
    while found.last().unwrap() + before_s < STEP_S {
        found.push(found.last().unwrap() + before_s);
    }
    for _ in 0..after_s.map_or(0, |after_s| (40.0 / after_s) as usize) {
        found.push(found.last().unwrap() + after_s.unwrap());
    }
    found
}

fn command(rule: &str, limit: u32) -> Item {
    let command = Command {
        name: "threshold".into(),
        actor: "test".into(),
        idempotency_key: rule.into(),
        argument_json: format!("{{\"rule\": \"{rule}\", \"limit\": {limit}}}"),
        log_seq: 0,
        log_ns: START_NS,
    };
    let raw = RawMessage { subject: "s".into(), payload: b""[..].into(), log_seq: 0, log_ns: START_NS };
    Item::Command(Box::new(command), raw)
}

/// From the last beat before the step to the log time of the alarm, s.
fn delay_s(beats_s: &[f64], rule: &str, fs_hz: u64, height: f64) -> f64 {
    let mut items = vec![command("tachycardia", 100), command("bradycardia", 60)];
    for second in 0..70 {
        let samples = samples(beats_s, height, second * fs_hz, fs_hz).into();
        let log_ns = START_NS + (second as i64 + 1) * SECOND_NS + 20_000_000;
        let frame = Frame {
            device: "monitor".into(),
            boot: 1,
            signal: Signal::EcgIi,
            seq: second,
            first_sample: second * fs_hz,
            device_ns: START_NS + second as i64 * SECOND_NS,
            stored: false,
            averaging_s: 0.0,
            body: Body::Wave(Wave { fs_mhz: fs_hz as u32 * 1000, lsb: 0.001, status: 0, samples }),
            log_seq: second + 1,
            log_ns,
        };
        let raw = RawMessage { subject: "s".into(), payload: b"raw"[..].into(), log_seq: second + 1, log_ns };
        items.push(Item::Frame(Arc::new(frame), raw));
    }
    let mut out = Output::default();
    Signals::new(Config::default()).on_items(&items, &mut out);
    let last = beats_s.iter().rev().find(|beat| **beat < STEP_S).unwrap();
    let raised = out.events.iter().find_map(|event| match event {
        Event::Detection(found) if found.raised && found.rule == rule => Some(found.log_ns),
        _ => None,
    });
    let raised = raised.unwrap_or_else(|| panic!("no {rule} at {fs_hz} Hz and {height} uV"));
    (raised - START_NS) as f64 / 1e9 - last
}

#[test]
fn steps_and_standstill_alarm_within_ten_seconds_at_any_rate_and_size() {
    let cases = [
        ("80 -> 120", beats(0.75, Some(0.5)), "tachycardia"),
        ("80 -> 40", beats(0.75, Some(1.5)), "bradycardia"),
        ("80 -> 0", beats(0.75, None), "asystole"),
    ];
    for (name, beats_s, rule) in &cases {
        for fs_hz in [125, 250, 360, 500] {
            for height in [500.0, 1000.0, 2000.0] {
                let delay = delay_s(beats_s, rule, fs_hz, height);
                assert!((0.0..=10.0).contains(&delay), "{name}, {fs_hz} Hz, {height} uV: {delay} s");
            }
        }
    }
}
