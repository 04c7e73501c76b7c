//! The one validator: the flow, the gateways and the device check all ask it.

use std::sync::Arc;

use prost::Message;

use super::item::{Body, Command, Frame, Item, Reading, Wave};
use super::proto::{self, Code, Signal, Unit, frame};
use super::reason::Reason;
use super::subject::{CONTROL, Subject, is_token};
use super::vocabulary::{SignalKind, facts_of, is_no_reading, kind_of, signal_name};
use super::{Raw, RawMessage};

/// Largest message, in bytes.
pub const MAX_BYTES: usize = 64 * 1024;
/// Longest frame, in s: longer ones would delay alarms by as much.
const MAX_FRAME_S: u64 = 30;
/// Counters beyond this are a damaged frame, and would overflow sums of indices.
const MAX_COUNTER: u64 = 1 << 62;
const DEFAULT_TENANT: &str = "main";

/// A message that could not be taken, with everything needed to look at it and to re-drive it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Why.
    pub reason: Reason,
    /// What exactly, in words.
    pub detail: String,
    /// The message as it came.
    pub raw: RawMessage,
}

/// Bounds that depend on the deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validator {
    /// A device clock further ahead of log time is refused.
    pub max_ahead_ns: i64,
    /// Samples older than this are refused: the database would drop them silently.
    pub keep_waves_ns: i64,
    /// The same for readings and answers.
    pub keep_rows_ns: i64,
    /// Whether models may speak here: in the log, whose server says who may publish; not at a gateway for devices.
    pub models: bool,
}

type Refusal = (Reason, String);

impl Validator {
    /// Checks one patient's list: items in log order, and what was refused.
    pub fn check(&self, list: &[Raw], items: &mut Vec<Item>, rejects: &mut Vec<Reject>) {
        for raw in list {
            match raw {
                Raw::Tick { log_seq, log_ns } => items.push(Item::Tick { log_seq: *log_seq, log_ns: *log_ns }),
                Raw::Hole { log_seq, since_ns, log_ns } => {
                    items.push(Item::Hole { log_seq: *log_seq, since_ns: *since_ns, log_ns: *log_ns });
                }
                Raw::Message(message) => match self.item(message) {
                    Ok(item) => items.push(item),
                    Err((reason, detail)) => rejects.push(Reject { reason, detail, raw: message.clone() }),
                },
            }
        }
    }

    /// Checks one message.
    pub fn item(&self, message: &RawMessage) -> Result<Item, Refusal> {
        if message.payload.len() > MAX_BYTES {
            return Err((Reason::TooLarge, format!("{} bytes", message.payload.len())));
        }
        let text = str::from_utf8(&message.subject).map_err(|_| (Reason::SubjectInvalid, "not UTF-8".to_owned()))?;
        let subject = Subject::parse(text)
            .filter(Subject::is_valid)
            .filter(|subject| self.models || !subject.is_model())
            .ok_or_else(|| (Reason::SubjectInvalid, text.chars().take(256).collect()))?;
        // The bytes are cloned by reference count; samples stay slices of the message.
        let decoded =
            proto::Frame::decode(message.payload.clone()).map_err(|error| (Reason::Undecodable, error.to_string()))?;
        check_identity(&decoded, &subject)?;
        if subject.device == CONTROL {
            return command(decoded, &subject, message)
                .map(|command| Item::Command(Box::new(command), message.clone()));
        }
        self.frame(decoded, &subject, message).map(|frame| Item::Frame(Arc::new(frame), message.clone()))
    }

    fn frame(&self, decoded: proto::Frame, subject: &Subject<'_>, message: &RawMessage) -> Result<Frame, Refusal> {
        let signal = Signal::try_from(decoded.signal).unwrap_or(Signal::Unspecified);
        let kind = kind_of(signal)
            .ok_or_else(|| (Reason::UnknownSignal, format!("signal {} on ...{}", decoded.signal, subject.signal)))?;
        if signal_name(signal) != subject.signal {
            let detail = format!("frame says {}, subject says {}", signal_name(signal), subject.signal);
            return Err((Reason::IdentityMismatch, detail));
        }
        if decoded.seq > MAX_COUNTER || decoded.first_sample > MAX_COUNTER || decoded.boot_id > MAX_COUNTER {
            return Err((Reason::ImpossibleValue, "a counter is beyond 2^62".to_owned()));
        }
        if !(0.0..=3600.0).contains(&decoded.averaging_s) {
            return Err((Reason::ImpossibleValue, format!("averaging of {} s", decoded.averaging_s)));
        }
        self.check_time(decoded.device_ns, kind, message.log_ns)?;
        let body = body(decoded.body, kind, decoded.device_ns)?;
        check_scores(&body, subject.is_model())?;
        Ok(Frame {
            device: decoded.device,
            boot: decoded.boot_id,
            signal,
            seq: decoded.seq,
            first_sample: decoded.first_sample,
            device_ns: decoded.device_ns,
            stored: decoded.stored,
            averaging_s: decoded.averaging_s,
            body,
            log_seq: message.log_seq,
            log_ns: message.log_ns,
        })
    }

    fn check_time(&self, device_ns: i64, kind: SignalKind, log_ns: i64) -> Result<(), Refusal> {
        let ahead_ns = device_ns.saturating_sub(log_ns);
        if ahead_ns > self.max_ahead_ns {
            let ahead_s = ahead_ns / 1_000_000_000;
            let zone = if is_a_zone(ahead_s) { ", as if local time were sent as UTC" } else { "" };
            return Err((Reason::TimeAhead, format!("{ahead_s} s ahead of log time{zone}")));
        }
        let keep_ns = if kind.rate_mhz().is_some() { self.keep_waves_ns } else { self.keep_rows_ns };
        if ahead_ns.saturating_neg() > keep_ns {
            let detail = format!("{} h before log time", ahead_ns.saturating_neg() / 3_600_000_000_000);
            return Err((Reason::TimeImplausible, detail));
        }
        Ok(())
    }
}

/// Whether a clock is ahead by what a time zone is: whole quarters of an hour, within two minutes, up to 14 h.
fn is_a_zone(ahead_s: i64) -> bool {
    let from_quarter_s = (ahead_s + 450) % 900 - 450;
    (1800 - 120..=14 * 3600 + 120).contains(&ahead_s) && from_quarter_s.abs() <= 120
}

fn check_identity(decoded: &proto::Frame, subject: &Subject<'_>) -> Result<(), Refusal> {
    if decoded.version != 1 {
        return Err((Reason::WrongVersion, format!("version {}", decoded.version)));
    }
    let tenant = if decoded.tenant.is_empty() { DEFAULT_TENANT } else { &decoded.tenant };
    let pairs = [
        ("tenant", tenant, subject.tenant),
        ("patient", &*decoded.patient, subject.patient),
        ("device", &*decoded.device, subject.device),
    ];
    for (what, frame, subject) in pairs {
        if frame != subject {
            return Err((Reason::IdentityMismatch, format!("{what} of the frame is not {subject}")));
        }
    }
    Ok(())
}

/// A score is a model's, and a model says nothing else: no rule on a device's readings can take one for the other.
fn check_scores(body: &Body, model: bool) -> Result<(), Refusal> {
    let scores = match body {
        Body::Readings(readings) => readings.iter().filter(|reading| reading.code == Code::ModelScore).count(),
        _ => 0,
    };
    match body {
        Body::Readings(readings) if model && scores == readings.len() => Ok(()),
        _ if model => Err((Reason::BodyMismatch, "a model sends scores alone".to_owned())),
        _ if scores > 0 => Err((Reason::UnknownCode, "model_score is for devices called model-<name>".to_owned())),
        _ => Ok(()),
    }
}

fn command(decoded: proto::Frame, subject: &Subject<'_>, message: &RawMessage) -> Result<Command, Refusal> {
    let Some(frame::Body::Command(command)) = decoded.body else {
        return Err((Reason::BodyMismatch, "a control subject carries commands only".to_owned()));
    };
    let named = command.name == subject.signal && is_token(&command.name);
    let keyed = (1..=128).contains(&command.idempotency_key.len()) && (1..=128).contains(&command.actor.len());
    if !named || !keyed {
        let detail = format!("name {:.64}, actor and key must hold 1 to 128 characters", command.name);
        return Err((Reason::CommandInvalid, detail));
    }
    Ok(Command {
        name: command.name,
        actor: command.actor,
        idempotency_key: command.idempotency_key,
        argument_json: command.argument_json,
        log_seq: message.log_seq,
        log_ns: message.log_ns,
    })
}

fn body(body: Option<frame::Body>, kind: SignalKind, device_ns: i64) -> Result<Body, Refusal> {
    match (body, kind.rate_mhz()) {
        (Some(frame::Body::Waveform(wave)), Some(rates)) => wave_body(wave, rates).map(Body::Wave),
        (Some(frame::Body::Observations(list)), _) if kind == SignalKind::Numeric => {
            readings(&list.items, device_ns).map(Body::Readings)
        }
        (Some(frame::Body::Questionnaire(answer)), _) if kind == SignalKind::Questionnaire => answers(answer),
        (None, _) => Err((Reason::BodyMismatch, "no body".to_owned())),
        _ => Err((Reason::BodyMismatch, format!("not the body of a {kind:?} signal"))),
    }
}

fn wave_body(wave: proto::Waveform, (slowest, fastest): (u32, u32)) -> Result<Wave, Refusal> {
    let bytes = wave.samples.len() as u64;
    if !bytes.is_multiple_of(2) {
        return Err((Reason::OddByteCount, format!("{bytes} bytes")));
    }
    if !(slowest..=fastest).contains(&wave.fs_mhz) {
        let detail = format!("{} mHz, allowed are {slowest} to {fastest}", wave.fs_mhz);
        return Err((Reason::RateOutOfRange, detail));
    }
    let samples = bytes / 2;
    let longest = u64::from(wave.fs_mhz) * MAX_FRAME_S / 1000;
    if samples == 0 || samples > longest {
        return Err((Reason::LengthMismatch, format!("{samples} samples, allowed are 1 to {longest}")));
    }
    if wave.duration_ms != 0 {
        // In mHz x ms, so that nothing is rounded; one sample of slack, for devices that round the duration.
        let stated = u64::from(wave.duration_ms) * u64::from(wave.fs_mhz);
        if stated.abs_diff(samples * 1_000_000) > 1_000_000 {
            let detail = format!("{samples} samples at {} mHz do not last {} ms", wave.fs_mhz, wave.duration_ms);
            return Err((Reason::LengthMismatch, detail));
        }
    }
    if !(wave.lsb > 0.0 && wave.lsb <= 1e6) {
        return Err((Reason::ImpossibleValue, format!("lsb {}", wave.lsb)));
    }
    Ok(Wave { fs_mhz: wave.fs_mhz, lsb: wave.lsb, status: wave.status, samples: wave.samples })
}

fn readings(items: &[proto::Observation], device_ns: i64) -> Result<Vec<Reading>, Refusal> {
    if items.is_empty() || items.len() > 512 {
        return Err((Reason::LengthMismatch, format!("{} observations, allowed are 1 to 512", items.len())));
    }
    let readings: Vec<Reading> = items.iter().map(|item| reading(item, device_ns)).collect::<Result<_, _>>()?;
    // Systolic and diastolic of one moment belong to one beat.
    for low in readings.iter().filter(|reading| reading.code == Code::Dbp) {
        let high = readings.iter().find(|other| other.code == Code::Sbp && other.device_ns == low.device_ns);
        if let Some(high) = high.filter(|high| high.canonical <= low.canonical) {
            let detail = format!("diastolic {} is not below systolic {}", low.value, high.value);
            return Err((Reason::ImpossibleValue, detail));
        }
    }
    Ok(readings)
}

fn reading(item: &proto::Observation, device_ns: i64) -> Result<Reading, Refusal> {
    let code = Code::try_from(item.code).unwrap_or(Code::Unspecified);
    let facts = facts_of(code).ok_or_else(|| (Reason::UnknownCode, format!("code {}", item.code)))?;
    let unit = Unit::try_from(item.unit).unwrap_or(Unit::Unspecified);
    let Some((_, factor, offset)) = facts.units.iter().find(|(accepted, _, _)| *accepted == unit) else {
        return Err((Reason::UnitSuspect, format!("{} in unit {}", facts.name, item.unit)));
    };
    if item.quality_pct > 100 || item.offset_ms > 86_400_000 {
        let detail = format!("quality {} %, offset {} ms", item.quality_pct, item.offset_ms);
        return Err((Reason::ImpossibleValue, detail));
    }
    let read = |value, canonical, suspect| Reading {
        code,
        value,
        unit,
        canonical,
        quality_pct: item.quality_pct,
        device_ns: device_ns.saturating_add(i64::from(item.offset_ms) * 1_000_000),
        status: item.status,
        suspect,
    };
    if is_no_reading(code, item.value) {
        return Ok(read(f64::NAN, f64::NAN, false));
    }
    let canonical = item.value * factor + offset;
    let impossible = || (Reason::ImpossibleValue, format!("{} of {} in unit {unit:?}", facts.name, item.value));
    if !canonical.is_finite() {
        return Err(impossible());
    }
    let canonical_unit = unit == facts.units[0].0;
    if canonical_unit && !(facts.unit_range.0..=facts.unit_range.1).contains(&canonical) {
        let detail = format!("{} of {} looks like another unit than {unit:?}", facts.name, item.value);
        return Err((Reason::UnitSuspect, detail));
    }
    if !(facts.limits.hard.0..=facts.limits.hard.1).contains(&canonical) {
        return Err(impossible());
    }
    let suspect = !(facts.limits.soft.0..=facts.limits.soft.1).contains(&canonical);
    Ok(read(item.value, canonical, suspect))
}

fn answers(answer: proto::QuestionnaireAnswer) -> Result<Body, Refusal> {
    let named = is_token(&answer.instrument) && answer.instrument_version.len() <= 64 && answer.mode.len() <= 64;
    let items = (1..=128).contains(&answer.answers.len()) && answer.answers.iter().all(|item| is_token(&item.item));
    if !named || !items {
        let detail = "instrument and items must be plain names, with 1 to 128 answers".to_owned();
        return Err((Reason::BodyMismatch, detail));
    }
    if let Some(item) = answer.answers.iter().find(|item| !item.value.is_finite()) {
        return Err((Reason::ImpossibleValue, format!("answer {} is {}", item.item, item.value)));
    }
    Ok(Body::Answers {
        instrument: answer.instrument,
        version: answer.instrument_version,
        mode: answer.mode,
        answers: answer.answers.into_iter().map(|item| (item.item, item.value)).collect(),
    })
}
