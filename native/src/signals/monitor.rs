//! `signals` for one patient: items in log order in, rows and events out.

use std::sync::Arc;

use crate::state::{Reader, StateError, Writer};
use crate::wire::{Body, Frame, Item, RawMessage, Reason, Reject, signal_name};

use super::channel::Channel;
use super::order::Verdict;
use super::output::{Event, LateRow, ObservationRow, Observed, Origin, Output, WaveRow};

const KIND: [u8; 4] = *b"SIGS";
const VERSION: u16 = 1;
/// Signals of one patient that are followed at once; beyond it the one unheard for longest is forgotten. A patient
/// wears a handful; the bound is for a device that invents names.
const MAX_CHANNELS: usize = 32;

/// What is configured for the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How long, in log time, a missing frame is waited for.
    pub reorder_ns: i64,
}

/// The state of one patient.
pub struct Signals {
    config: Config,
    log_ns: i64,
    channels: Vec<Channel>,
}

impl Signals {
    /// A patient that has just been heard of.
    pub fn new(config: Config) -> Self {
        Self { config, log_ns: i64::MIN, channels: Vec::new() }
    }

    /// Takes items in log order. Before each one every deadline that is due fires, so the outputs do not depend on how
    /// the log is cut into lists, nor on ticks.
    pub fn on_items(&mut self, items: &[Item], out: &mut Output) {
        for item in items {
            let (_, log_ns) = item.place();
            self.log_ns = self.log_ns.max(log_ns);
            self.fire_deadlines(out);
            match item {
                Item::Frame(frame, raw) => self.on_frame(frame, raw, out),
                Item::Command(command, _) => out.events.push(Event::Command((**command).clone())),
                Item::Tick { .. } => {}
            }
        }
    }

    /// Log time of the last item.
    pub fn log_ns(&self) -> i64 {
        self.log_ns
    }

    fn fire_deadlines(&mut self, out: &mut Output) {
        loop {
            let due = self.channels.iter().enumerate().filter_map(|(index, channel)| {
                channel.order.deadline().map(|(deadline_ns, log_seq)| (deadline_ns, log_seq, index))
            });
            let Some((deadline_ns, log_seq, index)) =
                due.min().filter(|(deadline_ns, _, _)| *deadline_ns <= self.log_ns)
            else {
                return;
            };
            let channel = &mut self.channels[index];
            while let Some(turn) = channel.order.take_overdue(log_seq) {
                channel.process(&turn, (log_seq, deadline_ns), out);
            }
            while let Some(turn) = channel.order.take_ready() {
                channel.process(&turn, (log_seq, deadline_ns), out);
            }
        }
    }

    fn on_frame(&mut self, frame: &Arc<Frame>, raw: &RawMessage, out: &mut Output) {
        out.counts.received += 1;
        let index = self.channel(frame);
        let channel = &mut self.channels[index];
        if frame.boot > channel.boot || channel.has_lost_its_counter(frame) {
            channel.reboot(frame, out);
        }
        if frame.boot == channel.boot {
            channel.heard(frame);
        }
        let verdict = if frame.boot < channel.boot { Verdict::Late } else { channel.order.admit(frame) };
        let reason = match verdict {
            Verdict::Duplicate => {
                out.counts.duplicate += 1;
                return;
            }
            Verdict::Overlap(detail) => {
                out.counts.rejected += 1;
                out.rejects.push(Reject { reason: Reason::Overlap, detail, raw: raw.clone() });
                return;
            }
            Verdict::Late if frame.boot < channel.boot => Some("old_boot"),
            Verdict::Late => Some("late"),
            Verdict::Fresh if frame.stored => Some("stored"),
            Verdict::Fresh => None,
        };
        let device = channel.name().0.into();
        store(frame, &device, out);
        match reason {
            Some(reason) => {
                out.counts.late += 1;
                list_late(frame, &device, reason, out);
            }
            None => out.counts.stored += 1,
        }
        if verdict == Verdict::Late {
            channel.tell_late(frame, out);
        } else {
            channel.order.hold(frame.clone(), self.config.reorder_ns);
            while let Some(turn) = channel.order.take_ready() {
                channel.process(&turn, (frame.log_seq, frame.log_ns), out);
            }
        }
    }

    /// The frame's channel, new where it was not heard of.
    fn channel(&mut self, frame: &Frame) -> usize {
        let name = (&*frame.device, frame.signal as i32);
        if let Some(index) = self.channels.iter().position(|channel| channel.name() == name) {
            return index;
        }
        if self.channels.len() == MAX_CHANNELS {
            let oldest = (0..MAX_CHANNELS).min_by_key(|&index| self.channels[index].seen_ns).unwrap_or(0);
            self.channels.remove(oldest);
        }
        self.channels.push(Channel::new(frame.device.as_str().into(), frame.signal, frame.boot));
        self.channels.len() - 1
    }

    /// Versioned snapshot of the patient.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut writer = Writer::new(KIND, VERSION);
        writer.one(self.log_ns).one(self.channels.len() as u16);
        for channel in &self.channels {
            channel.write(&mut writer);
        }
        writer.finish()
    }

    /// The patient of a snapshot.
    pub fn restore(snapshot: &[u8], config: Config) -> Result<Self, StateError> {
        let mut reader = Reader::open(snapshot, KIND, VERSION)?;
        let log_ns = reader.one()?;
        let count = reader.one::<u16>()?;
        let channels = (0..count).map(|_| Channel::read(&mut reader)).collect::<Result<_, _>>()?;
        reader.finish()?;
        Ok(Self { config, log_ns, channels })
    }
}

/// The frame's own rows: a function of the frame alone.
fn store(frame: &Frame, device: &Arc<str>, out: &mut Output) {
    let origin = Origin { device: device.clone(), boot: frame.boot, signal: signal_name(frame.signal), seq: frame.seq };
    let observation = |ts, value, first_sample| ObservationRow {
        ts,
        origin: origin.clone(),
        value,
        stored: frame.stored,
        averaging_s: frame.averaging_s,
        first_sample,
        log_ns: frame.log_ns,
    };
    match &frame.body {
        Body::Wave(wave) => out.waveforms.push(WaveRow {
            ts: frame.device_ns,
            origin,
            wave: wave.clone(),
            stored: frame.stored,
            first_sample: frame.first_sample,
            device_ns: frame.device_ns,
            log_ns: frame.log_ns,
        }),
        Body::Readings(readings) => {
            let rows = readings.iter().zip(frame.first_sample..);
            out.observations.extend(
                rows.map(|(reading, index)| observation(reading.device_ns, Observed::Reading(*reading), index)),
            );
        }
        Body::Answers { instrument, answers, .. } => {
            out.observations.extend(answers.iter().map(|(item, value)| {
                let code = format!("{instrument}.{item}");
                let value = Observed::Answer { code, value: *value, device_ns: frame.device_ns };
                observation(frame.device_ns, value, frame.first_sample)
            }));
        }
    }
}

fn list_late(frame: &Frame, device: &Arc<str>, reason: &'static str, out: &mut Output) {
    out.late_frames.push(LateRow {
        ts: frame.device_ns,
        origin: Origin { device: device.clone(), boot: frame.boot, signal: signal_name(frame.signal), seq: frame.seq },
        reason,
        lag_ms: (frame.log_ns - frame.device_ns) as f64 / 1e6,
        log_ns: frame.log_ns,
        log_seq: frame.log_seq,
    });
}
