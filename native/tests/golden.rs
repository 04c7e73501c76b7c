//! The golden frames of tests/vectors, as prost reads and writes them.

use std::fs;
use std::path::PathBuf;

use _native::wire::proto::{
    Code, Command, Frame, Observations, QuestionnaireAnswer, Signal, Unit, Waveform, frame::Body,
};
use prost::Message;
use serde_json::Value;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors")
}

fn payload(name: &str) -> Vec<u8> {
    let text = fs::read_to_string(folder().join(format!("{name}.hex"))).unwrap();
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks_exact(2).map(byte).collect()
}

fn vectors() -> Vec<(String, Value)> {
    let paths = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let described = paths.filter(|path| path.extension().is_some_and(|ending| ending == "json"));
    let read = |path: PathBuf| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (name, serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap())
    };
    described.map(read).collect()
}

// Protobuf's canonical JSON: 64-bit integers are text, fields that hold their default are left out.

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(0.0)
}

fn integer(value: &Value) -> i64 {
    value.as_str().map_or(0, |text| text.parse().unwrap())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

#[test]
fn there_are_the_vectors_that_the_contract_promises() {
    let names: Vec<String> = vectors().into_iter().map(|(name, _)| name).collect();
    for name in ["ecg_ii", "pleth", "abp", "spo2", "blood_pressure", "lead_off", "stored", "questionnaire", "command"] {
        assert!(names.iter().any(|found| found == name), "{name} is missing");
    }
}

#[test]
fn decodes_to_the_described_identity_and_time() {
    for (name, vector) in vectors() {
        let frame = Frame::decode(&*payload(&name)).unwrap();
        let fields = &vector["frame"];
        assert_eq!(frame.version, 1, "{name}");
        assert_eq!(frame.tenant, text(&fields["tenant"]), "{name}");
        assert_eq!(frame.patient, text(&fields["patient"]), "{name}");
        assert_eq!(frame.device, text(&fields["device"]), "{name}");
        assert_eq!(frame.boot_id as i64, integer(&fields["boot_id"]), "{name}");
        assert_eq!(frame.seq as i64, integer(&fields["seq"]), "{name}");
        assert_eq!(frame.first_sample as i64, integer(&fields["first_sample"]), "{name}");
        assert_eq!(frame.device_ns, integer(&fields["device_ns"]), "{name}");
        let signal = Signal::try_from(frame.signal).unwrap().as_str_name();
        assert_eq!(signal, fields["signal"].as_str().unwrap_or("SIGNAL_UNSPECIFIED"), "{name}");
        assert_eq!(frame.stored, fields["stored"].as_bool().unwrap_or(false), "{name}");
        assert_eq!(f64::from(frame.averaging_s), number(&fields["averaging_s"]), "{name}");
    }
}

#[test]
fn decodes_to_the_described_body() {
    for (name, vector) in vectors() {
        let frame = Frame::decode(&*payload(&name)).unwrap();
        let fields = &vector["frame"];
        match frame.body.unwrap() {
            Body::Waveform(wave) => waveform(&name, &wave, &fields["waveform"], &vector["samples"]),
            Body::Observations(list) => observations(&name, &list, &fields["observations"]["items"]),
            Body::Questionnaire(answer) => questionnaire(&name, &answer, &fields["questionnaire"]),
            Body::Command(given) => command(&name, &given, &fields["command"]),
        }
    }
}

fn waveform(name: &str, wave: &Waveform, fields: &Value, samples: &Value) {
    assert_eq!(f64::from(wave.fs_mhz), number(&fields["fs_mhz"]), "{name}");
    assert_eq!(wave.lsb, number(&fields["lsb"]), "{name}");
    assert_eq!(f64::from(wave.status), number(&fields["status"]), "{name}");
    assert_eq!(f64::from(wave.duration_ms), number(&fields["duration_ms"]), "{name}");
    let found = wave.samples.chunks_exact(2).map(|pair| i64::from(i16::from_le_bytes([pair[0], pair[1]])));
    assert!(found.eq(samples.as_array().unwrap().iter().map(|value| value.as_i64().unwrap())), "{name}");
}

fn observations(name: &str, list: &Observations, expected: &Value) {
    let expected = expected.as_array().unwrap();
    assert_eq!(list.items.len(), expected.len(), "{name}");
    for (item, fields) in list.items.iter().zip(expected) {
        assert_eq!(Code::try_from(item.code).unwrap().as_str_name(), text(&fields["code"]), "{name}");
        assert_eq!(Unit::try_from(item.unit).unwrap().as_str_name(), text(&fields["unit"]), "{name}");
        assert_eq!(item.value, number(&fields["value"]), "{name}");
        assert_eq!(f64::from(item.quality_pct), number(&fields["quality_pct"]), "{name}");
        assert_eq!(f64::from(item.offset_ms), number(&fields["offset_ms"]), "{name}");
    }
}

fn questionnaire(name: &str, answer: &QuestionnaireAnswer, fields: &Value) {
    let expected = fields["answers"].as_array().unwrap();
    assert_eq!(answer.instrument, text(&fields["instrument"]), "{name}");
    assert_eq!(answer.instrument_version, text(&fields["instrument_version"]), "{name}");
    assert_eq!(answer.mode, text(&fields["mode"]), "{name}");
    assert_eq!(answer.answers.len(), expected.len(), "{name}");
    for (item, fields) in answer.answers.iter().zip(expected) {
        assert_eq!((&*item.item, item.value), (text(&fields["item"]), number(&fields["value"])), "{name}");
    }
}

fn command(name: &str, command: &Command, fields: &Value) {
    assert_eq!(command.name, text(&fields["name"]), "{name}");
    assert_eq!(command.actor, text(&fields["actor"]), "{name}");
    assert_eq!(command.idempotency_key, text(&fields["idempotency_key"]), "{name}");
    assert_eq!(command.argument_json, text(&fields["argument_json"]), "{name}");
}

#[test]
fn encodes_to_the_same_bytes_but_for_fields_it_does_not_know() {
    for (name, _) in vectors() {
        let original = payload(&name);
        let encoded = Frame::decode(&*original).unwrap().encode_to_vec();
        if name == "unknown_field" {
            // prost drops them, which is why the pipeline keeps and passes on the original bytes.
            assert!(original.starts_with(&encoded) && original.len() > encoded.len());
        } else {
            assert_eq!(encoded, original, "{name}");
        }
    }
}
