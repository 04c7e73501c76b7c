//! Every reason of the validator, by a frame that is right but for one thing.

use _native::wire::proto::{self, Code, Signal, Unit, frame};
use _native::wire::{Body, Item, Raw, RawMessage, Reason, Validator};
use proptest::prelude::*;
use prost::Message;

const NOW_NS: i64 = 1_700_000_000_000_000_000;
const HOUR_NS: i64 = 3_600_000_000_000;

fn validator() -> Validator {
    Validator { max_ahead_ns: 300_000_000_000, keep_waves_ns: 72 * HOUR_NS, keep_rows_ns: 2160 * HOUR_NS, models: true }
}

fn ecg() -> proto::Frame {
    let waveform =
        proto::Waveform { fs_mhz: 250_000, lsb: 0.005, samples: vec![0_u8; 500].into(), status: 0, duration_ms: 1000 };
    proto::Frame {
        version: 1,
        tenant: "main".into(),
        patient: "p1".into(),
        device: "d1".into(),
        boot_id: 1,
        signal: Signal::EcgIi as i32,
        seq: 7,
        first_sample: 1750,
        device_ns: NOW_NS,
        stored: false,
        averaging_s: 0.0,
        body: Some(frame::Body::Waveform(waveform)),
    }
}

fn reading(code: Code, value: f64, unit: Unit) -> proto::Observation {
    proto::Observation { code: code as i32, value, unit: unit as i32, ..proto::Observation::default() }
}

fn numeric(items: Vec<proto::Observation>) -> proto::Frame {
    let body = Some(frame::Body::Observations(proto::Observations { items }));
    proto::Frame { signal: Signal::Numeric as i32, body, ..ecg() }
}

fn on(subject: &str, frame: &proto::Frame) -> Result<Item, Reason> {
    let payload = frame.encode_to_vec().into();
    let message = RawMessage { subject: subject.to_owned().into(), payload, log_seq: 1, log_ns: NOW_NS };
    validator().item(&message).map_err(|(reason, _)| reason)
}

fn reason(subject: &str, change: impl FnOnce(&mut proto::Frame)) -> Option<Reason> {
    let mut frame = ecg();
    change(&mut frame);
    on(subject, &frame).err()
}

fn wave(frame: &mut proto::Frame) -> &mut proto::Waveform {
    match &mut frame.body {
        Some(frame::Body::Waveform(wave)) => wave,
        _ => unreachable!("the frame was built with samples"),
    }
}

const ECG: &str = "vp.3.main.p1.d1.ecg_ii";
const NUMERIC: &str = "vp.3.main.p1.d1.numeric";

#[test]
fn takes_a_good_frame_and_an_empty_tenant_for_main() {
    assert_eq!(reason(ECG, |_| {}), None);
    assert_eq!(reason(ECG, |frame| frame.tenant.clear()), None);
    assert_eq!(reason("vp.3.ward7.p1.d1.ecg_ii", |frame| frame.tenant.clear()), Some(Reason::IdentityMismatch));
}

#[test]
fn refuses_what_is_not_what_its_subject_says() {
    assert_eq!(reason("vp.3.main.p2.d1.ecg_ii", |_| {}), Some(Reason::IdentityMismatch));
    assert_eq!(reason("vp.3.main.p1.d2.ecg_ii", |_| {}), Some(Reason::IdentityMismatch));
    assert_eq!(reason("vp.3.main.p1.d1.ecg_v1", |_| {}), Some(Reason::IdentityMismatch));
    assert_eq!(reason("vp.3.main.p%1.d1.ecg_ii", |_| {}), Some(Reason::SubjectInvalid));
    assert_eq!(reason("vp.3.tick.p1.d1.ecg_ii", |_| {}), Some(Reason::SubjectInvalid));
    assert_eq!(reason(ECG, |frame| frame.version = 2), Some(Reason::WrongVersion));
    assert_eq!(reason(ECG, |frame| frame.signal = 12_345), Some(Reason::UnknownSignal));
    assert_eq!(reason(ECG, |frame| frame.body = None), Some(Reason::BodyMismatch));
    assert_eq!(reason(NUMERIC, |frame| frame.signal = Signal::Numeric as i32), Some(Reason::BodyMismatch));
}

#[test]
fn takes_scores_of_models_alone_and_nothing_else_of_them() {
    const MODEL: &str = "vp.3.main.p1.model-risk.numeric";
    let score = reading(Code::ModelScore, 0.7, Unit::One);
    let of = |device: &str, items: Vec<proto::Observation>| proto::Frame { device: device.into(), ..numeric(items) };
    assert!(on(MODEL, &of("model-risk", vec![score])).is_ok());
    let absent = reading(Code::ModelScore, f64::NAN, Unit::One);
    let Ok(Item::Frame(frame, _)) = on(MODEL, &of("model-risk", vec![absent])) else { panic!("it is taken") };
    assert!(matches!(&frame.body, Body::Readings(readings) if readings[0].canonical.is_nan()));
    for value in [f64::INFINITY, 1e7] {
        let wild = of("model-risk", vec![reading(Code::ModelScore, value, Unit::One)]);
        assert_eq!(on(MODEL, &wild).err(), Some(Reason::ImpossibleValue));
    }
    let rate = reading(Code::Hr, 70.0, Unit::PerMin);
    assert_eq!(on(MODEL, &of("model-risk", vec![score, rate])).err(), Some(Reason::BodyMismatch));
    assert_eq!(on(NUMERIC, &of("d1", vec![rate, score])).err(), Some(Reason::UnknownCode));
    assert_eq!(
        reason("vp.3.main.p1.model-risk.ecg_ii", |frame| frame.device = "model-risk".into()),
        Some(Reason::BodyMismatch)
    );
    let payload = of("model-risk", vec![score]).encode_to_vec().into();
    let message = RawMessage { subject: MODEL.to_owned().into(), payload, log_seq: 1, log_ns: NOW_NS };
    let at_a_gateway = Validator { models: false, ..validator() };
    assert_eq!(at_a_gateway.item(&message).map_err(|(reason, _)| reason).err(), Some(Reason::SubjectInvalid));
}

#[test]
fn refuses_samples_that_do_not_add_up() {
    assert_eq!(reason(ECG, |frame| wave(frame).samples = vec![0; 501].into()), Some(Reason::OddByteCount));
    assert_eq!(reason(ECG, |frame| wave(frame).samples = vec![0; 400].into()), Some(Reason::LengthMismatch));
    assert_eq!(reason(ECG, |frame| wave(frame).samples = vec![].into()), Some(Reason::LengthMismatch));
    assert_eq!(reason(ECG, |frame| wave(frame).duration_ms = 0), None);
    for (fs_mhz, refused) in [(99_999, true), (100_000, false), (1_000_000, false), (1_000_001, true)] {
        let change = |frame: &mut proto::Frame| {
            wave(frame).fs_mhz = fs_mhz;
            wave(frame).duration_ms = 0;
        };
        assert_eq!(reason(ECG, change), refused.then_some(Reason::RateOutOfRange), "{fs_mhz} mHz");
    }
    for lsb in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(reason(ECG, |frame| wave(frame).lsb = lsb), Some(Reason::ImpossibleValue));
    }
    assert_eq!(reason(ECG, |frame| wave(frame).samples = vec![0; 70_000].into()), Some(Reason::TooLarge));
}

#[test]
fn says_when_a_clock_is_ahead_by_a_time_zone() {
    let detail = |ahead_s: i64| {
        let payload = proto::Frame { device_ns: NOW_NS + ahead_s * 1_000_000_000, ..ecg() }.encode_to_vec().into();
        let message = RawMessage { subject: ECG.to_owned().into(), payload, log_seq: 1, log_ns: NOW_NS };
        validator().item(&message).expect_err("it is ahead").1
    };
    for (ahead_s, zone) in [(7200, true), (7140, true), (19_800 + 100, true), (2700, true), (900, false), (4000, false)]
    {
        assert_eq!(detail(ahead_s).contains("local time"), zone, "{ahead_s} s: {}", detail(ahead_s));
    }
}

#[test]
fn refuses_other_times_than_the_log_can_hold() {
    assert_eq!(reason(ECG, |frame| frame.device_ns = NOW_NS + 300_000_000_000), None);
    assert_eq!(reason(ECG, |frame| frame.device_ns = NOW_NS + 300_000_000_001), Some(Reason::TimeAhead));
    assert_eq!(reason(ECG, |frame| frame.device_ns = NOW_NS - 72 * HOUR_NS), None);
    assert_eq!(reason(ECG, |frame| frame.device_ns = NOW_NS - 72 * HOUR_NS - 1), Some(Reason::TimeImplausible));
    assert_eq!(reason(ECG, |frame| frame.device_ns = i64::MIN), Some(Reason::TimeImplausible));
    assert_eq!(reason(ECG, |frame| frame.seq = u64::MAX), Some(Reason::ImpossibleValue));
}

#[test]
fn refuses_impossible_values_and_suspect_units() {
    let cases = [
        (Code::Hr, 300.0, Unit::PerMin, None),
        (Code::Hr, 300.1, Unit::PerMin, Some(Reason::ImpossibleValue)),
        (Code::Hr, 72.0, Unit::Percent, Some(Reason::UnitSuspect)),
        (Code::Hr, f64::NAN, Unit::PerMin, Some(Reason::ImpossibleValue)),
        (Code::Spo2, 49.9, Unit::Percent, Some(Reason::ImpossibleValue)),
        (Code::Spo2, 50.0, Unit::Percent, None),
        (Code::Spo2, 127.0, Unit::Percent, None),
        (Code::Temp, 37.2, Unit::Cel, None),
        (Code::Temp, 98.6, Unit::Cel, Some(Reason::UnitSuspect)),
        (Code::Temp, 98.6, Unit::Degf, None),
        (Code::Temp, 24.9, Unit::Cel, Some(Reason::ImpossibleValue)),
        (Code::Glucose, 5.5, Unit::MgPerDl, Some(Reason::UnitSuspect)),
        (Code::Glucose, 5.5, Unit::MmolPerL, None),
        (Code::Glucose, 1000.1, Unit::MgPerDl, Some(Reason::ImpossibleValue)),
        (Code::Weight, 0.5, Unit::Kg, Some(Reason::ImpossibleValue)),
        (Code::Unspecified, 1.0, Unit::One, Some(Reason::UnknownCode)),
    ];
    for (code, value, unit, expected) in cases {
        let frame = numeric(vec![reading(code, value, unit)]);
        assert_eq!(on(NUMERIC, &frame).err(), expected, "{code:?} {value} {unit:?}");
    }
    let pressures = |sbp, dbp| numeric(vec![reading(Code::Sbp, sbp, Unit::MmHg), reading(Code::Dbp, dbp, Unit::MmHg)]);
    assert_eq!(on(NUMERIC, &pressures(120.0, 80.0)).err(), None);
    assert_eq!(on(NUMERIC, &pressures(80.0, 120.0)).err(), Some(Reason::ImpossibleValue));
}

#[test]
fn marks_what_is_suspect_and_what_is_no_reading() {
    let frame = numeric(vec![
        reading(Code::Spo2, 65.0, Unit::Percent),
        reading(Code::Spo2, 0.0, Unit::Percent),
        reading(Code::Spo2, 97.0, Unit::Percent),
    ]);
    let Ok(Item::Frame(frame, _)) = on(NUMERIC, &frame) else { panic!("the frame is good") };
    let _native::wire::Body::Readings(readings) = &frame.body else { panic!("the frame holds readings") };
    assert!(readings[0].suspect && !readings[2].suspect);
    assert!(readings[1].value.is_nan() && !readings[1].suspect);
}

#[test]
fn takes_commands_on_control_subjects_only() {
    let command = |name: &str, key: &str| {
        let command = proto::Command {
            name: name.into(),
            actor: "nurse-4".into(),
            idempotency_key: key.into(),
            argument_json: "{}".into(),
        };
        proto::Frame { device: "control".into(), body: Some(frame::Body::Command(command)), ..ecg() }
    };
    assert!(matches!(on("vp.3.main.p1.control.ack", &command("ack", "k1")), Ok(Item::Command(..))));
    assert_eq!(on("vp.3.main.p1.control.ack", &command("snooze", "k1")).err(), Some(Reason::CommandInvalid));
    assert_eq!(on("vp.3.main.p1.control.ack", &command("ack", "")).err(), Some(Reason::CommandInvalid));
    let mut on_device = command("ack", "k1");
    on_device.device = "d1".into();
    assert_eq!(on(ECG, &on_device).err(), Some(Reason::BodyMismatch));
    let frame = proto::Frame { device: "control".into(), ..ecg() };
    assert_eq!(on("vp.3.main.p1.control.ack", &frame).err(), Some(Reason::BodyMismatch));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_on_any_subject_are_taken_or_refused(
        subject in prop_oneof![Just(ECG.to_owned()), ".{0,40}", "vp\\.[0-9]\\.[a-z.%]{1,30}"],
        payload in prop::collection::vec(any::<u8>(), 0..300),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        good in any::<bool>(),
    ) {
        let mut bytes = if good { ecg().encode_to_vec() } else { payload };
        for (index, value) in flips {
            if !bytes.is_empty() {
                let at = index.index(bytes.len());
                bytes[at] = value;
            }
        }
        let message = RawMessage { subject: subject.into(), payload: bytes.into(), log_seq: 1, log_ns: NOW_NS };
        let (mut items, mut rejects) = (Vec::new(), Vec::new());
        validator().check(&[Raw::Message(message)], &mut items, &mut rejects);
        prop_assert_eq!(items.len() + rejects.len(), 1);
    }
}
