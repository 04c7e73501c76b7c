//! Whom a finding belongs to: nothing of a discharged patient goes on with the next, and what is uploaded late is judged
//! by the limits of its own time.

use std::sync::Arc;

use _native::signals::{Config, Detection, Event, Output, Signals};
use _native::wire::proto::{Code, Signal, Unit};
use _native::wire::{Body, Command, Frame, Item, RawMessage, Reading, Wave};

const SECOND_NS: i64 = 1_000_000_000;
const START_NS: i64 = 1_700_000_000 * SECOND_NS;
const HZ: u64 = 250;

/// A lead with narrow beats at these times, s.
fn lead(beats_s: &[f64], second: u64) -> Body {
    let value = |n: u64| {
        let t = n as f64 / HZ as f64;
        let nearest = beats_s.iter().map(|at| (t - at).abs()).fold(f64::INFINITY, f64::min);
        (900.0 * (1.0 - nearest / 0.04).max(0.0)) as i16 + (n * 7 % 5) as i16
    };
    let samples: Vec<u8> = (second * HZ..(second + 1) * HZ).flat_map(|n| value(n).to_le_bytes()).collect();
    Body::Wave(Wave { fs_mhz: HZ as u32 * 1000, lsb: 0.001, status: 0, samples: samples.into() })
}

fn spo2(value: f64, second: u64) -> Body {
    let device_ns = START_NS + second as i64 * SECOND_NS;
    let unit = Unit::Percent;
    let reading = Reading {
        code: Code::Spo2,
        value,
        unit,
        canonical: value,
        quality_pct: 0,
        device_ns,
        status: 0,
        suspect: false,
    };
    Body::Readings(vec![reading])
}

/// Seconds after the start at which it is logged, and what.
type Entry = (i64, Item);

fn sent(signal: Signal, second: u64, logged_s: i64, stored: bool, body: Body) -> Entry {
    let first_sample = if signal == Signal::Numeric { second } else { second * HZ };
    let frame = Frame {
        device: "monitor".into(),
        boot: 1,
        signal,
        seq: second,
        first_sample,
        device_ns: START_NS + second as i64 * SECOND_NS,
        stored,
        averaging_s: 0.0,
        body,
        log_seq: 0,
        log_ns: 0,
    };
    (logged_s, Item::Frame(Arc::new(frame), raw(logged_s)))
}

fn raw(logged_s: i64) -> RawMessage {
    let log_ns = START_NS + logged_s * SECOND_NS;
    RawMessage { subject: "x".into(), payload: b"raw"[..].into(), log_seq: 0, log_ns }
}

fn command(name: &str, key: &str, argument_json: &str, logged_s: i64) -> Entry {
    let command = Command {
        name: name.into(),
        actor: "nurse".into(),
        idempotency_key: key.into(),
        argument_json: argument_json.into(),
        log_seq: 0,
        log_ns: 0,
    };
    (logged_s, Item::Command(Box::new(command), raw(logged_s)))
}

/// In the order of the log, numbered.
fn log(mut entries: Vec<Entry>) -> Vec<Item> {
    entries.sort_by_key(|entry| entry.0);
    let number = |(number, (logged_s, item)): (usize, Entry)| {
        let (seq, ns) = (number as u64 + 1, START_NS + logged_s * SECOND_NS);
        match item {
            Item::Frame(mut frame, raw) => {
                let placed = Arc::make_mut(&mut frame);
                (placed.log_seq, placed.log_ns) = (seq, ns);
                Item::Frame(frame, RawMessage { log_seq: seq, ..raw })
            }
            Item::Command(mut command, raw) => {
                (command.log_seq, command.log_ns) = (seq, ns);
                Item::Command(command, RawMessage { log_seq: seq, ..raw })
            }
            other => other,
        }
    };
    entries.into_iter().enumerate().map(number).collect()
}

/// What the log leads to, the same with a restart before each of its items.
fn run(entries: Vec<Entry>) -> Vec<Detection> {
    let items = log(entries);
    let (mut whole, mut parts) = (Output::default(), Output::default());
    Signals::new(Config::default()).on_items(&items, &mut whole);
    let mut signals = Signals::new(Config::default());
    for item in &items {
        signals.on_items(std::slice::from_ref(item), &mut parts);
        signals = Signals::restore(&signals.snapshot(), Config::default()).unwrap();
    }
    assert_eq!(format!("{:?}", parts.events), format!("{:?}", whole.events));
    let detection = |event| if let Event::Detection(found) = event { Some(found) } else { None };
    whole.events.into_iter().filter_map(detection).collect()
}

/// Begins and ends of a rule, with the onset in whole seconds.
fn of(found: &[Detection], rule: &str) -> Vec<(bool, i64)> {
    let onset_s = |one: &Detection| (one.onset_ns - START_NS).div_euclid(SECOND_NS);
    found.iter().filter(|one| one.rule == rule).map(|one| (one.raised, onset_s(one))).collect()
}

/// Beats up to 20 s, then none; SpO2 of 84 % from 5 s on.
fn dying(seconds: u64) -> Vec<Entry> {
    let beats: Vec<f64> = (0..25).map(|n| 0.5 + f64::from(n) * 0.8).collect();
    let waves = (0..seconds).map(|n| sent(Signal::EcgIi, n, n as i64 + 1, false, lead(&beats, n)));
    let readings =
        (0..seconds).map(|n| sent(Signal::Numeric, n, n as i64 + 1, false, spo2(if n < 5 { 96.0 } else { 84.0 }, n)));
    waves.chain(readings).collect()
}

#[test]
fn an_episode_ends_with_the_discharge_and_is_found_anew_after_the_admission() {
    let mut entries = dying(80);
    entries.push(command("discharge", "1", "{}", 40));
    entries.push(command("admit", "2", "{}", 50));
    let found = run(entries);
    // Found three times: of the patient, while nobody was in the bed (the judge suppresses it), of the next patient.
    assert_eq!(of(&found, "spo2_below_85"), [(true, 5), (false, 5), (true, 50)]);
    let silences = of(&found, "asystole");
    assert_eq!(silences.iter().map(|one| one.0).collect::<Vec<_>>(), [true, false, true, false, true], "{silences:?}");
    assert_eq!((silences[0].1, silences[1].1), (19, 19));
    assert!((39..=41).contains(&silences[2].1) && (49..=51).contains(&silences[4].1), "{silences:?}");
}

#[test]
fn admitting_who_is_there_and_repeating_a_command_change_nothing() {
    let plain = run(dying(60));
    let mut entries = dying(60);
    entries.push(command("admit", "1", "{}", 30));
    assert_eq!(format!("{:?}", seen(&run(entries))), format!("{:?}", seen(&plain)));
    let discharged = |keys: &[&str]| {
        let mut entries = dying(60);
        entries.extend(keys.iter().zip(30..).map(|(key, at)| command("discharge", key, "{}", at)));
        seen(&run(entries))
    };
    assert_eq!(discharged(&["1", "1", "1"]), discharged(&["1"]));
}

#[test]
fn a_discharge_with_an_argument_is_none() {
    let plain = seen(&run(dying(60)));
    for argument in [r#"{"bed": 4}"#, "[]", "no json"] {
        let mut entries = dying(60);
        entries.push(command("discharge", "1", argument, 30));
        assert_eq!(seen(&run(entries)), plain, "{argument}");
    }
}

#[test]
fn a_device_that_is_taken_off_is_expected_no_more_and_new_when_it_is_heard_again() {
    let with = |argument: &str| {
        let mut entries = dying(80);
        entries.push(command("remove", "1", argument, 40));
        run(entries)
    };
    let found = with(r#"{"device": "monitor"}"#);
    assert_eq!(of(&found, "spo2_below_85"), [(true, 5), (false, 5), (true, 40)]);
    let silences = of(&found, "asystole");
    assert_eq!(silences.iter().map(|one| one.0).collect::<Vec<_>>(), [true, false, true], "{silences:?}");
    for argument in [r#"{"device": "other"}"#, r#"{"device": "monitor", "why": 1}"#, r#"{"device": 7}"#, "{}", "7"] {
        assert_eq!(seen(&with(argument)), seen(&run(dying(80))), "{argument}");
    }
    let stopped = |remove_s: i64| {
        let mut entries = dying(20);
        entries.push(command("remove", "1", r#"{"device": "monitor"}"#, remove_s));
        entries.push(command("note", "2", "{}", 300));
        of(&run(entries), "silence").iter().map(|one| one.0).collect::<Vec<_>>()
    };
    assert!(stopped(25).is_empty());
    assert_eq!(stopped(200), [true, true, false, false]);
}

#[test]
fn a_device_that_is_silent_for_half_a_day_is_taken_off_by_itself() {
    const GONE_S: i64 = 12 * 3600;
    let until = |last_s: i64, back: bool| {
        let mut entries = dying(80);
        if back {
            // One of its two signals comes back: the device is worn.
            entries
                .extend((0..40).map(|n| sent(Signal::Numeric, 300 + n, 300 + n as i64 * 1800, false, spo2(84.0, 300))));
        }
        entries.push(command("note", "2", "{}", last_s));
        run(entries)
    };
    let ends = |found: &[Detection], rule: &str| of(found, rule).iter().filter(|one| !one.0).count();
    // The last frame at 80 s, silence of readings 60 s later.
    let (before, after) = (until(80 + 60 + GONE_S - 1, false), until(80 + 60 + GONE_S, false));
    assert_eq!((ends(&before, "silence"), ends(&before, "spo2_below_85"), ends(&before, "asystole")), (0, 0, 0));
    assert_eq!((ends(&after, "silence"), ends(&after, "spo2_below_85"), ends(&after, "asystole")), (2, 1, 1));
    let worn = until(80 + 60 + GONE_S, true);
    assert_eq!((of(&worn, "asystole").len(), ends(&worn, "asystole")), (1, 0));
}

#[test]
fn a_clock_that_is_still_wrong_is_told_of_the_next_patient_too() {
    let late = |n: u64| sent(Signal::Numeric, n, n as i64 + 200, false, spo2(96.0, n));
    let mut entries: Vec<Entry> = (0..120).map(late).collect();
    let told = |entries: Vec<Entry>| of(&run(entries), "clock_off").iter().map(|one| one.0).collect::<Vec<_>>();
    assert_eq!(told(entries.clone()), [true]);
    entries.push(command("discharge", "1", "{}", 250));
    entries.push(command("admit", "2", "{}", 260));
    assert_eq!(told(entries), [true, true, true]);
}

fn seen(found: &[Detection]) -> Vec<(&'static str, bool, i64, i64)> {
    found.iter().map(|one| (one.rule, one.raised, one.onset_ns, one.log_ns)).collect()
}

/// An hour ago the heart beat at 110/min; it is uploaded now.
fn upload(commands: Vec<Entry>) -> Vec<Detection> {
    let beats: Vec<f64> = (0..220).map(|n| 0.5 + f64::from(n) * 60.0 / 110.0).collect();
    let frames = (0..120).map(|n| sent(Signal::EcgIi, n, 3600 + n as i64, true, lead(&beats, n)));
    run(frames.chain(commands).collect())
}

#[test]
fn what_is_uploaded_is_judged_by_the_limits_of_its_own_time() {
    let limit = |key: &str, bpm: u32, at_s| {
        command("threshold", key, &format!(r#"{{"rule": "tachycardia", "limit": {bpm}}}"#), at_s)
    };
    assert_eq!(of(&upload(vec![]), "tachycardia"), [], "120/min by default");
    let found = upload(vec![limit("1", 100, -60), limit("2", 130, 1800)]);
    let raised: Vec<_> = found.iter().filter(|one| one.rule == "tachycardia" && one.raised).collect();
    assert_eq!(raised.len(), 1);
    assert!(raised[0].stored && raised[0].limit == 100.0);
    assert_eq!(of(&upload(vec![limit("1", 100, 1800)]), "tachycardia"), [], "set after the samples");
    let half = upload(vec![limit("1", 100, 60)]);
    assert!(of(&half, "tachycardia").iter().all(|&(_, onset_s)| onset_s >= 45), "{:?}", of(&half, "tachycardia"));
    assert!(!of(&half, "tachycardia").is_empty());
}

#[test]
fn a_fall_at_the_end_of_an_upload_is_an_event() {
    let value = |n: u64| if n < 60 { 97.0 } else { 97.0 - 0.2 * (n - 60) as f64 };
    let frames = (0..100).map(|n| sent(Signal::Numeric, n, 3600 + n as i64, true, spo2(value(n), n)));
    let items = log(frames.chain([command("note", "1", "{}", 4000)]).collect());
    let mut out = Output::default();
    Signals::new(Config::default()).on_items(&items, &mut out);
    let kinds: Vec<_> = out.desaturations.iter().map(|row| row.kind).collect();
    assert_eq!(kinds, ["provisional", "sustained"]);
}
