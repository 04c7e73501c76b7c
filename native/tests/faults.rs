//! What signals say of themselves: `lead_off` and `poor_quality`, when they are told, and what they never say.

use std::sync::Arc;

use _native::signals::{Config, Detection, Event, Output, Signals};
use _native::wire::proto::{Code, Signal, Unit};
use _native::wire::{Body, Command, Frame, Item, LEAD_OFF, MOTION, RawMessage, Reading, Wave};

const SECOND_NS: i64 = 1_000_000_000;
const START_NS: i64 = 1_700_000_000 * SECOND_NS;
const ECG_HZ: u64 = 250;
const PLETH_HZ: u64 = 125;
const NO_VALUE: i16 = i16::MIN;

/// A lead with a beat every 0.8 s: R of 1 mV, S of 0.2 mV, and a little noise.
fn lead(n: u64) -> i16 {
    let t = (n as f64 / ECG_HZ as f64) % 0.8 - 0.4;
    let wave = 1000.0 * (-(t / 0.012).powi(2)).exp() - 200.0 * (-((t - 0.03) / 0.012).powi(2)).exp();
    wave as i16 + (n * 7 % 5) as i16 - 2
}

/// Wide noise of many times the size of a beat.
fn noise(n: u64) -> i16 {
    let hashed = n.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (hashed >> 51) as i16 - 4096
}

/// A pleth with a pulse every 0.8 s.
fn pleth(n: u64) -> i16 {
    let t = (n as f64 / PLETH_HZ as f64) % 0.8;
    ((1.0 - (t - 0.2).abs() / 0.2).max(0.0) * 2000.0) as i16 + (n % 3) as i16
}

/// One signal of a device whose samples are these, in frames of `frame_len` samples.
struct Device {
    signal: Signal,
    fs_hz: u64,
    frame_len: u64,
}

const PATCH: Device = Device { signal: Signal::EcgIi, fs_hz: ECG_HZ, frame_len: ECG_HZ };
const FINGER: Device = Device { signal: Signal::Pleth, fs_hz: PLETH_HZ, frame_len: PLETH_HZ };

impl Device {
    fn log(&self, seconds: u64, value: impl Fn(u64) -> i16, status: impl Fn(u64) -> u32) -> Vec<Item> {
        let frames = seconds * self.fs_hz / self.frame_len;
        (0..frames)
            .map(|seq| {
                let first = seq * self.frame_len;
                let samples: Vec<u8> = (first..first + self.frame_len).flat_map(|n| value(n).to_le_bytes()).collect();
                let (fs_mhz, status) = (self.fs_hz as u32 * 1000, status(first / self.fs_hz));
                let body = Body::Wave(Wave { fs_mhz, lsb: 0.001, status, samples: samples.into() });
                self.item(seq, first, body, (first + self.frame_len) as i64 * SECOND_NS / self.fs_hz as i64)
            })
            .collect()
    }

    fn item(&self, seq: u64, first_sample: u64, body: Body, end_ns: i64) -> Item {
        let device_ns = START_NS + first_sample as i64 * SECOND_NS / self.fs_hz as i64;
        let log_ns = START_NS + end_ns + 20_000_000;
        let (device, signal, boot, stored, averaging_s) = ("patch".into(), self.signal, 1, false, 0.0);
        let frame = Frame {
            device,
            boot,
            signal,
            seq,
            first_sample,
            device_ns,
            stored,
            averaging_s,
            body,
            log_seq: seq,
            log_ns,
        };
        let raw = RawMessage { subject: "s".into(), payload: b"raw"[..].into(), log_seq: seq, log_ns };
        Item::Frame(Arc::new(frame), raw)
    }
}

fn run(items: &[Item]) -> Output {
    let mut out = Output::default();
    Signals::new(Config::default()).on_items(items, &mut out);
    out
}

/// Findings: rule, raised, onset and log time in seconds since the start.
fn found(out: &Output) -> Vec<(&'static str, bool, f64, f64)> {
    let since = |ns: i64| ((ns - START_NS) as f64 / 1e8).round() / 10.0;
    let told = |found: &Detection| (found.rule, found.raised, since(found.onset_ns), since(found.log_ns));
    out.events.iter().filter_map(|e| if let Event::Detection(found) = e { Some(told(found)) } else { None }).collect()
}

#[test]
fn a_good_lead_and_a_good_pleth_say_nothing() {
    assert_eq!(found(&run(&PATCH.log(120, lead, |_| 0))), []);
    assert_eq!(found(&run(&FINGER.log(120, pleth, |_| 0))), []);
}

#[test]
fn what_the_device_says_is_told_with_the_frame_and_over_after_two_good_seconds() {
    let off = |second| if (30..40).contains(&second) { LEAD_OFF } else { 0 };
    for frame_len in [50, 125, 250] {
        let device = Device { frame_len, ..PATCH };
        let told = found(&run(&device.log(60, lead, off)));
        assert_eq!((told[0].0, told[0].1, told[0].2), ("lead_off", true, 30.0));
        assert!(told[0].3 <= 30.0 + frame_len as f64 / 250.0 + 0.1);
        assert_eq!((told[1].0, told[1].1, told[1].2), ("lead_off", false, 30.0));
        assert!((42.0..=44.0).contains(&told[1].3), "{told:?}");
        assert_eq!(told.len(), 2, "no asystole while it is off: {told:?}");
    }
    let told = found(&run(&FINGER.log(60, pleth, off)));
    assert_eq!(told[0], ("lead_off", true, 30.0, 31.0));
    assert_eq!((told[1].0, told[1].1, told.len()), ("lead_off", false, 2));
}

#[test]
fn a_lead_at_its_rail_is_off_before_asystole_is_found() {
    let value = |n| if (30 * ECG_HZ..50 * ECG_HZ).contains(&n) { 16_000 } else { lead(n) };
    let told = found(&run(&PATCH.log(70, value, |_| 0)));
    let (off, asystole) =
        (told.iter().position(|one| one.0 == "lead_off"), told.iter().position(|one| one.0 == "asystole"));
    assert!(told[off.unwrap()].3 <= 34.0, "{told:?}");
    assert!(asystole.is_none_or(|asystole| off.unwrap() < asystole), "{told:?}");
    let over = told.iter().find(|one| one.0 == "lead_off" && !one.1).unwrap();
    assert!((52.0..56.0).contains(&over.3), "{told:?}");
}

#[test]
fn a_flat_line_is_asystole_and_never_a_lead_that_is_off() {
    let least = (0..30 * ECG_HZ).map(lead).min().unwrap();
    for level in [0, 3, least] {
        // The least value that this lead ever had is an extreme, and no rail.
        let value = |n| if n >= 30 * ECG_HZ { level } else { lead(n) };
        let told = found(&run(&PATCH.log(60, value, |_| 0)));
        assert!(told.iter().all(|one| one.0 != "lead_off"), "{told:?}");
        assert!(told.iter().any(|one| one.0 == "asystole" && one.3 < 36.0), "{told:?}");
    }
}

#[test]
fn samples_without_a_value_are_a_lead_that_is_off_after_two_seconds() {
    let value = |n| if (30 * ECG_HZ..50 * ECG_HZ).contains(&n) { NO_VALUE } else { lead(n) };
    for frame_len in [100, 250] {
        let told = found(&run(&Device { frame_len, ..PATCH }.log(70, value, |_| 0)));
        assert_eq!((told[0].0, told[0].1, told[0].2), ("lead_off", true, 30.0));
        assert!((32.0..32.6).contains(&told[0].3), "{told:?}");
        assert_eq!((told[1].0, told[1].1, told.len()), ("lead_off", false, 2));
    }
    let short = |n| if (30 * ECG_HZ..31 * ECG_HZ).contains(&n) { NO_VALUE } else { lead(n) };
    assert_eq!(found(&run(&PATCH.log(60, short, |_| 0))), []);
}

#[test]
fn noise_is_poor_within_six_seconds_and_over_within_twelve() {
    let value = |n| if (30 * ECG_HZ..60 * ECG_HZ).contains(&n) { noise(n) } else { lead(n) };
    let told = found(&run(&PATCH.log(90, value, |_| 0)));
    let poor: Vec<_> = told.iter().filter(|one| one.0 == "poor_quality").collect();
    assert_eq!(poor.iter().map(|one| one.1).collect::<Vec<_>>(), [true, false], "{told:?}");
    assert!(poor[0].3 <= 36.0 && (60.0..=72.0).contains(&poor[1].3), "{told:?}");
}

#[test]
fn a_pleth_that_does_not_move_has_lost_its_probe() {
    let value = |n| if (30 * PLETH_HZ..50 * PLETH_HZ).contains(&n) { 700 } else { pleth(n) };
    let told = found(&run(&FINGER.log(70, value, |_| 0)));
    assert_eq!((told[0].0, told[0].1), ("lead_off", true));
    assert!((29.8..=30.2).contains(&told[0].2) && told[0].3 <= 34.1, "{told:?}");
    assert!(told.iter().any(|one| *one == ("lead_off", false, told[0].2, one.3) && one.3 < 55.0), "{told:?}");
}

#[test]
fn a_pleth_of_uneven_strokes_is_poor() {
    let uneven = |n: u64| {
        let stroke = n / 100;
        (f64::from(pleth(n)) * [1.0, 0.2, 3.0, 0.5, 0.3, 4.0][(stroke % 6) as usize]) as i16
    };
    let value = |n| if (30 * PLETH_HZ..60 * PLETH_HZ).contains(&n) { uneven(n) } else { pleth(n) };
    let told = found(&run(&FINGER.log(90, value, |_| 0)));
    assert_eq!(
        told.iter().map(|one| (one.0, one.1)).collect::<Vec<_>>(),
        [("poor_quality", true), ("poor_quality", false)]
    );
}

fn readings(seconds: u64, each: impl Fn(u64) -> (f64, u32, u32)) -> Vec<Item> {
    let oximeter = Device { signal: Signal::Numeric, fs_hz: 1, frame_len: 1 };
    (0..seconds)
        .map(|second| {
            let (value, status, quality_pct) = each(second);
            let device_ns = START_NS + second as i64 * SECOND_NS;
            let (code, unit, suspect) = (Code::Spo2, Unit::Percent, false);
            let reading = Reading { code, value, unit, canonical: value, quality_pct, device_ns, status, suspect };
            oximeter.item(second, second, Body::Readings(vec![reading]), (second as i64 + 1) * SECOND_NS)
        })
        .collect()
}

#[test]
fn an_oximeter_says_when_its_probe_is_off_and_when_the_finger_moves() {
    let off = readings(60, |second| (97.0, if (20..30).contains(&second) { LEAD_OFF } else { 0 }, 0));
    assert_eq!(found(&run(&off)), [("lead_off", true, 20.0, 21.0), ("lead_off", false, 20.0, 32.0)]);
    let moving = readings(60, |second| (97.0, if (20..30).contains(&second) { MOTION } else { 0 }, 90));
    let told = found(&run(&moving));
    assert_eq!(
        told.iter().map(|one| (one.0, one.1)).collect::<Vec<_>>(),
        [("poor_quality", true), ("poor_quality", false)]
    );
    assert!(told[0].3 <= 22.0 && told[1].3 <= 42.0, "{told:?}");
    let weak = readings(60, |second| (97.0, 0, if (20..40).contains(&second) { 10 } else { 80 }));
    assert_eq!(found(&run(&weak)).len(), 2);
}

#[test]
fn who_leaves_takes_the_fault_along_and_who_comes_is_told_of_it() {
    let command = |name: &str, second: i64| {
        let command = Command { log_ns: START_NS + second * SECOND_NS, ..command(name) };
        let raw = RawMessage { subject: "s".into(), payload: b"raw"[..].into(), log_seq: 0, log_ns: command.log_ns };
        Item::Command(Box::new(command), raw)
    };
    let mut items = PATCH.log(60, lead, |second| if second >= 20 { LEAD_OFF } else { 0 });
    items.insert(40, command("discharge", 40));
    items.insert(51, command("admit", 50));
    let told: Vec<_> = found(&run(&items)).into_iter().filter(|one| one.0 == "lead_off").map(|one| one.1).collect();
    assert_eq!(told, [true, false, true, false, true]);
}

fn command(name: &str) -> Command {
    Command {
        name: name.into(),
        actor: "nurse".into(),
        idempotency_key: name.into(),
        argument_json: "{}".into(),
        log_seq: 0,
        log_ns: 0,
    }
}

#[test]
fn a_restart_at_any_frame_changes_nothing() {
    let value = |n| match n / ECG_HZ {
        10..20 => noise(n),
        30..40 => 16_000,
        50..60 => NO_VALUE,
        _ => lead(n),
    };
    let items = PATCH.log(80, value, |second| if (70..75).contains(&second) { LEAD_OFF } else { 0 });
    let whole = format!("{:?}", run(&items).events);
    for cut in 0..items.len() {
        let (mut out, mut signals) = (Output::default(), Signals::new(Config::default()));
        signals.on_items(&items[..cut], &mut out);
        let snapshot = signals.snapshot();
        let mut signals = Signals::restore(&snapshot, Config::default()).unwrap();
        assert_eq!(signals.snapshot(), snapshot);
        signals.on_items(&items[cut..], &mut out);
        assert_eq!(format!("{:?}", out.events), whole, "cut at {cut}");
    }
}
