//! The step `signals` under everything a network and a device can do to the order of frames: the outputs depend on the
//! log alone, not on how it is cut into lists, not on ticks, not on a snapshot in between; and nothing is lost.

use std::sync::Arc;

use _native::signals::{Config, Counts, Event, Output, Rate, Signals};
use _native::wire::proto::{Code, Signal, Unit};
use _native::wire::{Body, Command, Frame, Item, RawMessage, Reading, Reason, Wave};
use proptest::prelude::*;

const SECOND_NS: i64 = 1_000_000_000;
const START_NS: i64 = 1_700_000_000 * SECOND_NS;
const RATE: Rate = Rate { frames_per_s: 100.0, bytes_per_s: 262_144.0, burst_s: 200.0 };

fn config() -> Config {
    Config { silence_reading_ns: 20 * SECOND_NS, rate: RATE, ..Config::default() }
}

/// A lead with a beat every 0.8 s that stops for six seconds each minute.
fn samples(first: u64, count: u64) -> Vec<u8> {
    let value = |n: u64| -> i16 {
        let (second, phase) = (n / 250, n % 200);
        if second % 60 > 53 {
            0
        } else if phase < 10 {
            40 * phase as i16
        } else if phase < 20 {
            800 - 40 * phase as i16
        } else {
            (phase % 7) as i16
        }
    };
    (first..first + count).flat_map(|n| value(n).to_le_bytes()).collect()
}

fn ecg(seq: u64, boot: u64, log_ns: i64) -> Frame {
    let (first_sample, count) = (seq * 250, 250);
    let samples = samples(first_sample, count).into();
    let body = Body::Wave(Wave { fs_mhz: 250_000, lsb: 0.005, status: 0, samples });
    frame(Signal::EcgIi, seq, boot, first_sample, body, log_ns)
}

/// A pulse every 0.8 s, 0.2 s behind the beat, which in every second minute stops with the heart: in the others the
/// lead alone has failed.
fn pleth(seq: u64, boot: u64, log_ns: i64) -> Frame {
    let (first_sample, count) = (seq * 125, 125);
    let value = |n: u64| -> i16 {
        let (second, phase) = (n / 125, n % 100);
        let rising = if phase < 25 {
            0
        } else if phase < 40 {
            60 * (phase as i16 - 25)
        } else {
            900 - 15 * (phase as i16 - 40)
        };
        if second % 120 > 113 { 0 } else { rising }
    };
    let samples: Vec<u8> = (first_sample..first_sample + count).flat_map(|n| value(n).to_le_bytes()).collect();
    let body = Body::Wave(Wave { fs_mhz: 125_000, lsb: 1.0, status: 0, samples: samples.into() });
    frame(Signal::Pleth, seq, boot, first_sample, body, log_ns)
}

fn spo2(seq: u64, boot: u64, log_ns: i64) -> Frame {
    let device_ns = START_NS + seq as i64 * SECOND_NS;
    let value = if seq % 100 < 40 { 97.0 - (seq % 40) as f64 * 0.4 } else { 96.0 };
    let reading = Reading {
        code: Code::Spo2,
        value,
        unit: Unit::Percent,
        canonical: value,
        quality_pct: 0,
        device_ns,
        status: 0,
        suspect: false,
    };
    frame(Signal::Numeric, seq, boot, seq, Body::Readings(vec![reading]), log_ns)
}

fn frame(signal: Signal, seq: u64, boot: u64, first_sample: u64, body: Body, log_ns: i64) -> Frame {
    Frame {
        device: "d1".into(),
        boot,
        signal,
        seq,
        first_sample,
        device_ns: START_NS + seq as i64 * SECOND_NS,
        stored: false,
        averaging_s: 0.0,
        body,
        log_seq: 0,
        log_ns,
    }
}

/// What happens to one second of both signals on its way.
#[derive(Clone, Debug)]
struct Fate {
    lost: bool,
    repeated: bool,
    delay_s: u8,
    ticks: u8,
}

fn fate() -> impl Strategy<Value = Fate> {
    (prop::bool::weighted(0.1), prop::bool::weighted(0.1), prop_oneof![8 => Just(0_u8), 2 => 0..5_u8], 0..2_u8)
        .prop_map(|(lost, repeated, delay_s, ticks)| Fate { lost, repeated, delay_s, ticks })
}

/// All signals for as many seconds as there are fates, in the order in which the server logs them.
fn log(fates: &[Fate], reboot_at: usize) -> Vec<Item> {
    let mut arrivals: Vec<(i64, Option<Frame>)> = Vec::new();
    for (second, fate) in fates.iter().enumerate() {
        let at = START_NS + second as i64 * SECOND_NS;
        for tick in 0..fate.ticks {
            arrivals.push((at + i64::from(tick), None));
        }
        let arrival = at + i64::from(1 + fate.delay_s) * SECOND_NS + 50_000_000;
        let boot = u64::from(second >= reboot_at);
        let number = if boot == 1 { second - reboot_at } else { second } as u64;
        for copy in 0..if fate.lost { 0 } else { 1 + i64::from(fate.repeated) } {
            arrivals.push((arrival + copy * 4, Some(ecg(number, boot, 0))));
            arrivals.push((arrival + copy * 4 + 1, Some(spo2(number, boot, 0))));
            arrivals.push((arrival + copy * 4 + 2, Some(pleth(number, boot, 0))));
        }
    }
    arrivals.push((START_NS + (fates.len() as i64 + 60) * SECOND_NS, None));
    arrivals.sort_by_key(|arrival| arrival.0);
    let item = |(log_seq, (log_ns, frame)): (usize, (i64, Option<Frame>))| match frame {
        None => Item::Tick { log_seq: log_seq as u64, log_ns },
        Some(mut frame) => {
            (frame.log_seq, frame.log_ns) = (log_seq as u64, log_ns);
            let subject = "vp.0.main.p1.d1.x".into();
            let raw = RawMessage { subject, payload: b"raw"[..].into(), log_seq: log_seq as u64, log_ns };
            Item::Frame(Arc::new(frame), raw)
        }
    };
    arrivals.into_iter().enumerate().map(item).collect()
}

/// Everything that was said, list by list joined.
fn join(outputs: Vec<Output>) -> Output {
    let mut all = Output::default();
    for mut output in outputs {
        all.waveforms.append(&mut output.waveforms);
        all.observations.append(&mut output.observations);
        all.beats.append(&mut output.beats);
        all.desaturations.append(&mut output.desaturations);
        all.quality.append(&mut output.quality);
        all.clock_segments.append(&mut output.clock_segments);
        all.derived.append(&mut output.derived);
        all.withheld.append(&mut output.withheld);
        all.late_frames.append(&mut output.late_frames);
        all.events.append(&mut output.events);
        all.rejects.append(&mut output.rejects);
        let (total, part) = (&mut all.counts, output.counts);
        *total = Counts {
            received: total.received + part.received,
            stored: total.stored + part.stored,
            late: total.late + part.late,
            duplicate: total.duplicate + part.duplicate,
            rejected: total.rejected + part.rejected,
            samples: total.samples + part.samples,
        };
    }
    all
}

fn run(lists: &[Vec<Item>], restart_after: usize) -> Output {
    let mut signals = Signals::new(config());
    let mut outputs = Vec::new();
    for (index, list) in lists.iter().enumerate() {
        let mut output = Output::default();
        signals.on_items(list, &mut output);
        outputs.push(output);
        if index == restart_after {
            let snapshot = signals.snapshot();
            signals = Signals::restore(&snapshot, config()).expect("a snapshot reads back");
            assert_eq!(signals.snapshot(), snapshot);
        }
    }
    join(outputs)
}

/// NaN equals NaN here: rows hold "not known" as NaN.
fn text(output: &Output) -> String {
    format!("{output:#?}")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn outputs_depend_on_the_log_alone(
        fates in prop::collection::vec(fate(), 1..150),
        reboot_at in 0..300_usize,
        cuts in prop::collection::vec(1..40_usize, 1..20),
        restart_after in 0..20_usize,
        keep_ticks in prop::collection::vec(any::<bool>(), 400),
    ) {
        let items = log(&fates, reboot_at);
        let expected = run(std::slice::from_ref(&items), usize::MAX);
        let counts = expected.counts;
        prop_assert_eq!(counts.received, counts.stored + counts.late + counts.duplicate + counts.rejected);
        prop_assert_eq!(counts.stored + counts.late, (expected.waveforms.len() + expected.observations.len()) as u64);

        let mut lists = Vec::new();
        let mut rest = &items[..];
        for cut in cuts.iter().cycle() {
            let (head, tail) = rest.split_at((*cut).min(rest.len()));
            lists.push(head.to_vec());
            rest = tail;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(text(&run(&lists, restart_after)), text(&expected));

        let single: Vec<Vec<Item>> = items.iter().map(|item| vec![item.clone()]).collect();
        prop_assert_eq!(text(&run(&single, restart_after * 7)), text(&expected));

        let mut keep = keep_ticks.into_iter().cycle();
        let last = items.len() - 1; // the tick that lets every deadline pass stays
        let fewer: Vec<Item> = items.iter().enumerate()
            .filter(|(index, item)| *index == last || !matches!(item, Item::Tick { .. }) || keep.next() == Some(true))
            .map(|(_, item)| item.clone())
            .collect();
        prop_assert_eq!(text(&run(&[fewer], usize::MAX)), text(&expected));
    }

    #[test]
    fn a_damaged_snapshot_is_refused(
        fates in prop::collection::vec(fate(), 1..20),
        at in any::<prop::sample::Index>(),
        value in 1..=255_u8,
    ) {
        let mut signals = Signals::new(config());
        signals.on_items(&log(&fates, 1000), &mut Output::default());
        let mut snapshot = signals.snapshot();
        let at = at.index(snapshot.len());
        snapshot[at] ^= value;
        prop_assert!(Signals::restore(&snapshot, config()).is_err());
        prop_assert!(Signals::restore(&snapshot[..at], config()).is_err());
    }
}

/// (rule, raised, log time in s since the start) of the findings with these names.
fn found(output: &Output, rules: &[&str]) -> Vec<(&'static str, bool, i64)> {
    let second = |ns: i64| (ns - START_NS) / SECOND_NS;
    let findings = output.events.iter().filter_map(|event| match event {
        Event::Detection(found) if rules.contains(&found.rule) => {
            Some((found.rule, found.raised, second(found.log_ns)))
        }
        _ => None,
    });
    findings.collect()
}

fn calm(seconds: usize) -> Vec<Fate> {
    vec![Fate { lost: false, repeated: false, delay_s: 0, ticks: 0 }; seconds]
}

#[test]
fn silence_is_told_at_its_deadline_and_ends_with_the_next_frame() {
    let mut fates = calm(100);
    fates.iter_mut().skip(40).take(30).for_each(|fate| fate.lost = true);
    let output = run(&[log(&fates, 1000)], usize::MAX);
    // The last frame before it arrived at 40.05 s; a wave may be silent for 10 s, readings for 20 s.
    let expected = [
        ("silence", true, 50),
        ("silence", true, 50),
        ("silence", true, 60),
        ("silence", false, 71),
        ("silence", false, 71),
        ("silence", false, 71),
        ("silence", true, 110),
        ("silence", true, 110),
        ("silence", true, 120),
    ];
    assert_eq!(found(&output, &["silence"]), expected);
}

#[test]
fn after_a_hole_in_the_log_silence_is_counted_anew_and_the_hole_is_told_once() {
    let fates = calm(60);
    let mut items = log(&fates, 1000);
    items.truncate(41 * 3);
    let hole = |log_seq, since_s: i64, end_s: i64| Item::Hole {
        log_seq,
        since_ns: START_NS + since_s * SECOND_NS,
        log_ns: START_NS + end_s * SECOND_NS,
    };
    items.push(hole(900, 42, 100));
    items.push(hole(901, 105, 115));
    items.push(Item::Tick { log_seq: 902, log_ns: START_NS + 200 * SECOND_NS });
    let output = run(&[items], 0);
    let expected = [
        ("log_hole", true, 100),
        ("silence", true, 125),
        ("silence", true, 125),
        ("silence", true, 135),
        ("log_hole", false, 175),
    ];
    assert_eq!(found(&output, &["silence", "log_hole"]), expected);
}

#[test]
fn nothing_is_expected_after_discharge() {
    let mut items = log(&calm(40), 1000);
    let last = items.pop().expect("the tick that ends the log");
    let command = Command {
        name: "discharge".into(),
        actor: "nurse".into(),
        idempotency_key: "1".into(),
        argument_json: "{}".into(),
        log_seq: 800,
        log_ns: START_NS + 41 * SECOND_NS,
    };
    let raw = RawMessage { subject: "x".into(), payload: b""[..].into(), log_seq: 800, log_ns: command.log_ns };
    items.push(Item::Command(Box::new(command), raw));
    items.push(last);
    assert_eq!(found(&run(&[items], 0), &["silence"]), []);
}

#[test]
fn a_device_over_its_budget_is_refused_and_the_refusals_are_the_same_in_a_replay() {
    let mut items = Vec::new();
    for number in 0..30_000_u64 {
        let log_ns = START_NS + number as i64 * 100_000; // three seconds of log time
        let mut frame = spo2(number, 0, log_ns);
        (frame.log_seq, frame.device_ns) = (number, log_ns);
        let raw = RawMessage { subject: "x".into(), payload: b"raw"[..].into(), log_seq: number, log_ns };
        items.push(Item::Frame(Arc::new(frame), raw));
    }
    let output = run(std::slice::from_ref(&items), usize::MAX);
    let within = (RATE.frames_per_s * (RATE.burst_s + 3.0)) as u64;
    assert_eq!(output.counts.stored, within - 1, "the burst and three seconds of the rate");
    assert_eq!(output.counts.rejected, 30_000 - output.counts.stored);
    assert!(output.rejects.iter().all(|reject| reject.reason == Reason::OverRate));
    let lists: Vec<Vec<Item>> = items.chunks(777).map(<[Item]>::to_vec).collect();
    assert_eq!(text(&run(&lists, 5)), text(&output));
}

#[test]
fn a_clock_that_steps_moves_no_row_in_time() {
    let mut items = log(&calm(300), 1000);
    let step_ns = -3600 * SECOND_NS;
    for item in &mut items {
        if let Item::Frame(frame, _) = item
            && frame.seq >= 100
        {
            let frame = Arc::make_mut(frame);
            frame.device_ns += step_ns;
            if let Body::Readings(readings) = &mut frame.body {
                for reading in readings {
                    reading.device_ns += step_ns;
                }
            }
        }
    }
    let output = run(&[items], 50);
    for row in &output.waveforms {
        let error_ns = row.ts - (START_NS + row.origin.seq as i64 * SECOND_NS);
        assert!(error_ns.abs() < SECOND_NS, "frame {} is off by {} ms", row.origin.seq, error_ns / 1_000_000);
        assert_eq!(row.device_ns - row.ts + error_ns, if row.origin.seq < 100 { 0 } else { step_ns });
    }
    for signal in ["ecg_ii", "pleth"] {
        let rows: Vec<_> = output.waveforms.iter().filter(|row| row.origin.signal == signal).collect();
        assert!(rows.windows(2).all(|pair| pair[0].ts < pair[1].ts));
    }
    let reasons: Vec<_> =
        output.clock_segments.iter().map(|row| (row.origin.signal, row.origin.seq, row.reason)).collect();
    assert_eq!(reasons[..2], [("ecg_ii", 100, "local_time"), ("numeric", 100, "local_time")]);
    assert_eq!(found(&output, &["clock_off"]), [("clock_off", true, 101)]);
    let missing = output.quality.iter().filter(|row| row.reason == "gap").count();
    assert_eq!(missing, 0, "a clock is no gap");
}

/// An upload of the seconds 60 to 240, of which the live log knows nothing, into a live log that goes on; the frames of
/// two devices' worth of disorder: every fourth one overtakes its neighbour.
fn with_upload(seconds: usize, upload: bool) -> Vec<Item> {
    let mut fates = calm(seconds);
    fates.iter_mut().skip(60).take(180).for_each(|fate| fate.lost = true);
    let mut items = log(&fates, 10_000);
    if upload {
        let at = items.iter().position(|item| item.place().1 > START_NS + 300 * SECOND_NS).expect("the log is longer");
        let log_ns = items[at].place().1;
        let mut past: Vec<Frame> = (60..240).flat_map(|seq| [ecg(seq, 0, log_ns), spo2(seq, 0, log_ns)]).collect();
        (0..past.len() - 8).step_by(8).for_each(|index| past.swap(index, index + 2));
        let item = |(index, mut frame): (usize, Frame)| {
            (frame.stored, frame.log_seq) = (true, 50_000 + index as u64);
            let raw = RawMessage { subject: "x".into(), payload: b"raw"[..].into(), log_seq: frame.log_seq, log_ns };
            Item::Frame(Arc::new(frame), raw)
        };
        items.splice(at..at, past.into_iter().enumerate().map(item));
    }
    items
}

#[test]
fn an_upload_is_stored_once_finds_what_happened_and_disturbs_nothing_live() {
    let (calm, filled) = (run(&[with_upload(500, false)], 0), run(&[with_upload(500, true)], 0));
    let live = |output: &Output| {
        let findings = output.events.iter().filter(|event| matches!(event, Event::Detection(found) if !found.stored));
        format!("{:#?}", findings.collect::<Vec<_>>())
    };
    assert_eq!(live(&filled), live(&calm));
    let past = filled.events.iter().filter_map(|event| match event {
        Event::Detection(found) if found.stored && found.raised => {
            Some((found.rule, (found.onset_ns - START_NS) / SECOND_NS))
        }
        _ => None,
    });
    let past: Vec<_> = past.collect();
    for minute in 1..4 {
        assert!(past.contains(&("asystole", minute * 60 + 53)), "{past:?}");
    }
    assert!(past.contains(&("spo2_desaturation", 202)), "{past:?}");

    let rows = || filled.waveforms.iter().filter(|row| row.origin.signal == "ecg_ii");
    let once: std::collections::BTreeSet<_> = rows().map(|row| (row.origin.boot, row.origin.seq)).collect();
    assert_eq!((once.len(), rows().count()), (500, 500));
    assert_eq!(filled.late_frames.len(), 360);
    let within = |output: &Output| output.beats.iter().filter(|row| (60..240).contains(&row.origin.seq)).count();
    assert_eq!(within(&calm), 0);
    assert!((180..226).contains(&within(&filled)), "{} beats", within(&filled));
}

#[test]
fn the_stopped_heart_and_the_falling_saturation_are_found() {
    let fates = vec![Fate { lost: false, repeated: false, delay_s: 0, ticks: 1 }; 200];
    let output = run(&[log(&fates, 1000)], usize::MAX);
    assert!((200..260).contains(&output.beats.len()), "{} beats", output.beats.len());
    let rules: Vec<_> = output
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Detection(found) if found.raised => Some(found.rule),
            _ => None,
        })
        .collect();
    // The heart stops once; twice only the lead has failed.
    assert_eq!(rules.iter().filter(|rule| **rule == "asystole").count(), 1, "{rules:?}");
    assert_eq!(output.withheld.iter().filter(|row| row.found.rule == "asystole").count(), 2, "{:?}", output.withheld);
    assert!(rules.contains(&"spo2_desaturation"), "{rules:?}");
}
