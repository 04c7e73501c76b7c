//! One signal of one device: its order, its place in time, its detectors.

use std::sync::Arc;

use crate::state::{Reader, StateError, Writer};
use crate::wire::proto::Signal;
use crate::wire::{Body, Frame, Reading, SignalKind, kind_of, signal_name};

use super::anchors::{Anchor, Anchors};
use super::confirm::Witness;
use super::lead::Lead;
use super::limits::Limits;
use super::numeric::Numeric;
use super::order::{Sequencer, Turn};
use super::output::{AnswersEvent, Event, Origin, Output, ReadingEvent};
use super::place::Place;
use super::pulse::PulseWave;
use super::segments::Segments;
use super::silence::Silence;

/// The place of a channel at a decision (`log_seq`, `log_ns`), away from any frame. A macro, because it borrows some fields
/// of the channel while the detectors are borrowed to be changed, which a method could not.
macro_rules! place {
    ($channel:expr, $decision:expr) => {
        Place {
            device: &$channel.device,
            boot: $channel.boot,
            signal: signal_name($channel.signal),
            anchors: &$channel.anchors,
            limits: &$channel.limits,
            offset_ns: 0,
            log_seq: $decision.0,
            log_ns: $decision.1,
            silent: false,
            past: $channel.past,
        }
    };
}

/// Silence of the current boot after which a lower boot counter is believed.
const COUNTER_LOST_NS: i64 = 10_000_000_000;

enum Detectors {
    Lead(Option<Box<Lead>>),
    Pulse(Option<Box<PulseWave>>),
    Numeric(Box<Numeric>),
    /// Stored, not listened to: respiration waves, questionnaires.
    None,
}

/// State of one signal.
pub struct Channel {
    device: Arc<str>,
    signal: Signal,
    /// The device's current start; frames of earlier ones are late.
    pub boot: u64,
    /// Log time of the current boot's last frame.
    pub seen_ns: i64,
    /// Latest device time of the current boot.
    latest_device_ns: i64,
    /// Number and device time of the last live frame.
    last: (u64, i64),
    /// Where each offset of the device's clock began.
    pub segments: Segments,
    /// Whether the signal still comes.
    pub silence: Silence,
    /// Order within the current boot.
    pub order: Sequencer,
    anchors: Anchors,
    /// What the patient is watched for; kept by the patient.
    pub limits: Arc<Limits>,
    detectors: Detectors,
    /// It follows an upload beside the live channel.
    pub past: bool,
}

impl Channel {
    /// A signal that has just been heard of.
    pub fn new(device: Arc<str>, signal: Signal, boot: u64) -> Self {
        let detectors = match kind_of(signal) {
            Some(SignalKind::Ecg) => Detectors::Lead(None),
            Some(SignalKind::Pleth | SignalKind::Abp) => Detectors::Pulse(None),
            Some(SignalKind::Numeric) => Detectors::Numeric(Box::default()),
            _ => Detectors::None,
        };
        Self {
            device,
            signal,
            boot,
            seen_ns: 0,
            latest_device_ns: i64::MIN,
            last: (u64::MAX, i64::MIN),
            segments: Segments::default(),
            silence: Silence::new(),
            order: Sequencer::default(),
            anchors: Anchors::default(),
            limits: Arc::default(),
            detectors,
            past: false,
        }
    }

    /// A signal that is uploaded after its time.
    pub fn of_the_past(device: Arc<str>, signal: Signal, boot: u64, limits: Arc<Limits>) -> Self {
        Self { past: true, limits, ..Self::new(device, signal, boot) }
    }

    /// Processes every frame whose turn has come.
    pub fn process_ready(&mut self, place: (u64, i64), out: &mut Output) {
        while let Some(turn) = self.order.take_ready() {
            self.process(&turn, place, out);
        }
    }

    /// Processes what waited until the deadline that the message `log_seq` set, and what comes next.
    pub fn process_overdue(&mut self, log_seq: u64, deadline_ns: i64, out: &mut Output) {
        while let Some(turn) = self.order.take_overdue(log_seq) {
            self.process(&turn, (log_seq, deadline_ns), out);
        }
        self.process_ready((log_seq, deadline_ns), out);
    }

    /// Device and signal: the channel's name within the patient.
    pub fn name(&self) -> (&str, i32) {
        (&self.device, self.signal as i32)
    }

    /// Name and signal, as rows say them.
    pub fn origin(&self, boot: u64, seq: u64) -> Origin {
        Origin { device: self.device.clone(), boot, signal: signal_name(self.signal), seq }
    }

    /// Whether the signal comes by itself, so that its silence means something: how it is sampled.
    pub fn kind(&self) -> Option<SignalKind> {
        kind_of(self.signal)
    }

    /// Whether the device clock ran backwards since the frame before this one.
    pub fn is_set_back(&mut self, frame: &Frame) -> bool {
        let last = std::mem::replace(&mut self.last, (frame.seq, frame.device_ns));
        last.0.wrapping_add(1) == frame.seq && frame.device_ns < last.1
    }

    /// Notes that the current boot is alive.
    pub fn heard(&mut self, frame: &Frame) {
        self.seen_ns = frame.log_ns;
        self.latest_device_ns = self.latest_device_ns.max(frame.device_ns);
    }

    /// Whether a frame of an earlier boot shows that the device forgot its boot counter (or once sent a damaged one):
    /// it speaks of later moments, and the current boot is silent. Without this the patient would be late for ever.
    pub fn has_lost_its_counter(&self, frame: &Frame) -> bool {
        frame.boot < self.boot
            && !frame.stored
            && frame.device_ns > self.latest_device_ns
            && frame.log_ns - self.seen_ns > COUNTER_LOST_NS
    }

    /// Processes a frame whose turn has come; `decision` is (`log_seq`, `log_ns`).
    pub fn process(&mut self, turn: &Turn, decision: (u64, i64), out: &mut Output) {
        let frame = &turn.frame;
        if let Body::Wave(wave) = &frame.body {
            let ts = frame.device_ns.saturating_add(turn.offset_ns);
            self.anchors.push(Anchor { first_sample: frame.first_sample, seq: frame.seq, ts, fs_mhz: wave.fs_mhz });
        }
        let at = Place { offset_ns: turn.offset_ns, silent: frame.stored && !self.past, ..place!(self, decision) };
        // Detectors that begin here begin before what is missing, so that it counts as their gap.
        let base = frame.first_sample.saturating_sub(turn.missing);
        if !self.past {
            tell(frame, frame.stored, &at, out);
        }
        match (&mut self.detectors, &frame.body) {
            (Detectors::Lead(lead), Body::Wave(wave)) => {
                let limits = || at.limits_at(frame.device_ns.saturating_add(at.offset_ns)).rhythm;
                let lead = lead.get_or_insert_with(|| Box::new(Lead::new(wave.fs_mhz, base, limits())));
                lead.process(wave, frame.first_sample, turn.missing, &at, out);
            }
            (Detectors::Pulse(pulse), Body::Wave(wave)) => {
                let pulse = pulse.get_or_insert_with(|| Box::new(PulseWave::new(wave.fs_mhz, base)));
                pulse.process(wave, frame.first_sample, turn.missing, &at, out);
            }
            (Detectors::Numeric(numeric), Body::Readings(readings)) => {
                numeric.process(frame, readings, &at, out);
            }
            _ => {}
        }
    }

    /// Tells the judge of a frame whose turn is over: what it says counts, and pages nobody.
    pub fn tell_late(&self, frame: &Frame, offset_ns: i64, out: &mut Output) {
        let at = Place { boot: frame.boot, offset_ns, silent: true, ..place!(self, (frame.log_seq, frame.log_ns)) };
        tell(frame, true, &at, out);
    }

    /// Nothing follows any more: what waits takes its turn, and what is pending becomes certain.
    pub fn finish(&mut self, place: (u64, i64), out: &mut Output) {
        while let Some(turn) = self.order.take_any() {
            self.process(&turn, place, out);
        }
        self.close_waves(place, out);
    }

    fn close_waves(&mut self, decision: (u64, i64), out: &mut Output) {
        let at = place!(self, decision);
        match &mut self.detectors {
            Detectors::Lead(lead) => {
                if let Some(mut lead) = lead.take() {
                    lead.close(&at, out);
                }
            }
            Detectors::Pulse(pulse) => {
                if let Some(mut pulse) = pulse.take() {
                    pulse.close(&at, out);
                }
            }
            _ => {}
        }
    }

    /// The device has started anew: closes what stands on the old boot's samples, and begins with the new one. Readings
    /// stand in time, not in samples, so what they led to goes on.
    pub fn reboot(&mut self, frame: &Frame, out: &mut Output) {
        self.finish((frame.log_seq, frame.log_ns), out);
        let detectors = std::mem::replace(&mut self.detectors, Detectors::None);
        let (segments, silence) = (std::mem::take(&mut self.segments), self.silence);
        let limits = self.limits.clone();
        *self =
            Self { segments, silence, limits, detectors, ..Self::new(self.device.clone(), self.signal, frame.boot) };
    }

    /// The patient is watched for something else from here on; `decision` is the place of the command.
    pub fn set_limits(&mut self, limits: Arc<Limits>, decision: (u64, i64), out: &mut Output) {
        self.limits = limits;
        let at = place!(self, decision);
        match &mut self.detectors {
            Detectors::Lead(Some(lead)) => lead.set_limits(self.limits.now.rhythm),
            Detectors::Numeric(numeric) => numeric.set_limits(self.last.0, &at, out),
            _ => {}
        }
    }

    /// As [`Self::finish`], of readings too: nobody goes on with them.
    pub fn end(&mut self, place: (u64, i64), out: &mut Output) {
        self.finish(place, out);
        self.start_anew(place, out);
    }

    /// The patient was discharged, or another is admitted: what stands ends, and detectors begin anew. Order and clock
    /// belong to the device and go on.
    pub fn start_anew(&mut self, decision: (u64, i64), out: &mut Output) {
        self.close_waves(decision, out);
        let at = place!(self, decision);
        if let Detectors::Numeric(numeric) = &mut self.detectors {
            std::mem::take(&mut **numeric).close(self.last.0, &at, out);
        }
    }

    /// What this signal saw of the heart, unless it is to be doubted itself: noise beats and pulses, too.
    pub fn witness(&self) -> Option<Witness<'_>> {
        let (train, mechanical, doubted) = match &self.detectors {
            Detectors::Lead(lead) => lead.as_ref().map(|lead| (&lead.train, false, lead.doubted()))?,
            Detectors::Pulse(pulse) => pulse.as_ref().map(|pulse| (&pulse.train, true, pulse.doubted()))?,
            _ => return None,
        };
        (!doubted).then_some(Witness { name: (&self.device, signal_name(self.signal)), mechanical, train })
    }

    /// Appends the state.
    pub fn write(&self, writer: &mut Writer) {
        writer.part(self.device.as_bytes()).one(self.signal as i32).one(self.boot);
        writer.put(&[self.seen_ns, self.latest_device_ns, self.last.1]).one(self.last.0);
        self.segments.write(writer);
        self.silence.write(writer);
        self.order.write(writer);
        self.anchors.write(writer);
        match &self.detectors {
            Detectors::Lead(Some(lead)) => {
                writer.one(1_u8);
                lead.write(writer);
            }
            Detectors::Pulse(Some(pulse)) => {
                writer.one(1_u8);
                pulse.write(writer);
            }
            Detectors::Numeric(numeric) => {
                writer.one(1_u8);
                numeric.write(writer);
            }
            Detectors::Lead(None) | Detectors::Pulse(None) | Detectors::None => {
                writer.one(0_u8);
            }
        }
    }

    /// Reads the state back.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let device = super::codec::read_text(reader)?;
        let signal = super::codec::read_signal(reader)?;
        let mut channel = Self::new(device.into(), signal, reader.one()?);
        channel.seen_ns = reader.one()?;
        channel.latest_device_ns = reader.one()?;
        channel.last.1 = reader.one()?;
        channel.last.0 = reader.one()?;
        channel.segments = Segments::read(reader)?;
        channel.silence = Silence::read(reader)?;
        channel.order = Sequencer::read(reader)?;
        channel.anchors = Anchors::read(reader)?;
        if reader.one::<u8>()? != 0 {
            match &mut channel.detectors {
                Detectors::Lead(lead) => *lead = Some(Box::new(Lead::read(reader)?)),
                Detectors::Pulse(pulse) => *pulse = Some(Box::new(PulseWave::read(reader)?)),
                Detectors::Numeric(numeric) => **numeric = Numeric::read(reader)?,
                Detectors::None => return Err(StateError::Value("detectors of a signal that has none")),
            }
        }
        Ok(channel)
    }
}

/// Readings and answers, as the judge hears of them.
fn tell(frame: &Frame, stored: bool, at: &Place<'_>, out: &mut Output) {
    let (log_seq, log_ns) = (at.log_seq, at.log_ns);
    match &frame.body {
        Body::Wave(_) => {}
        Body::Readings(readings) => {
            let event = |(reading, index): (&Reading, u64)| {
                let (origin, ts) = (at.origin(frame.seq), reading.device_ns.saturating_add(at.offset_ns));
                Event::Reading(ReadingEvent { origin, reading: *reading, index, ts, stored, log_seq, log_ns })
            };
            out.events.extend(readings.iter().zip(frame.first_sample..).map(event));
        }
        Body::Answers { instrument, version, mode, answers } => out.events.push(Event::Answers(AnswersEvent {
            origin: at.origin(frame.seq),
            instrument: instrument.clone(),
            version: version.clone(),
            mode: mode.clone(),
            answers: answers.clone(),
            ts: frame.device_ns.saturating_add(at.offset_ns),
            stored,
            log_seq,
            log_ns,
        })),
    }
}
