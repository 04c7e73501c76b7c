//! `signals` for one patient: items in log order in, rows and events out.

use std::sync::Arc;

use crate::state::{Reader, StateError, Writer};
use crate::wire::{Frame, Item, RawMessage, Reason, Reject, SignalKind, is_model};

use super::budget::{Budget, Rate};
use super::channel::Channel;
use super::confirm::Confirm;
use super::device::Device;
use super::evidence::Evidence;
use super::heard::Heard;
use super::hole::Hole;
use super::ledger::Ledger;
use super::limits::{Limits, Profiles};
use super::order::Verdict;
use super::output::{ClockRow, Detection, Event, Output};
use super::past::Past;
use super::rows::{list_late, store};
use super::silence::Standing;

mod commands;

const KIND: [u8; 4] = *b"SIGS";
const VERSION: u16 = 12;
/// Signals of one patient that are followed at once; beyond it the one unheard for longest is forgotten. A patient
/// wears a handful; the bound is for a device that invents names.
const MAX_CHANNELS: usize = 32;
/// The same for devices.
const MAX_DEVICES: usize = 16;
/// A patient's devices together may send so many times what one may: inventing names gives no new budget.
const DEVICES_OF_A_PATIENT: f64 = 4.0;
/// What is configured for the step. Outputs depend on it, so a replay needs the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// How long, in log time, a missing frame is waited for.
    pub reorder_ns: i64,
    /// After this long without a frame a wave is silent; 0 switches the alarm off.
    pub silence_wave_ns: i64,
    /// The same for readings, whose own pace is added.
    pub silence_reading_ns: i64,
    /// What a device may send.
    pub rate: Rate,
    /// What a `profile` command may name.
    pub profiles: Profiles,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            reorder_ns: 2_000_000_000,
            silence_wave_ns: 10_000_000_000,
            silence_reading_ns: 60_000_000_000,
            rate: Rate { frames_per_s: 100.0, bytes_per_s: 262_144.0, burst_s: 200.0 },
            profiles: Profiles::default(),
        }
    }
}

/// What waits for log time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// A frame that waits for missing ones, of this channel.
    Order(usize),
    /// Silence of this channel.
    Silence(usize),
    /// The end of waiting for this device.
    Gone(usize),
    /// An upload.
    Past,
    /// A finding that waits for a witness.
    Finding,
    /// The end of the alarm on a hole in the log.
    Hole,
    /// The minute's counts.
    Ledger,
}

/// The state of one patient.
pub struct Signals {
    config: Config,
    log_ns: i64,
    channels: Vec<Channel>,
    devices: Vec<Device>,
    /// Budget of all devices together.
    budget: Option<Budget>,
    hole: Option<Hole>,
    /// Frames that came after their time.
    past: Past,
    /// Rhythm findings that other signals are asked about.
    confirm: Confirm,
    /// What the patient is watched for.
    limits: Arc<Limits>,
    /// Commands that changed something.
    heard: Heard,
    /// What became of the frames.
    ledger: Ledger,
    /// The patient has left, and nobody was admitted since.
    discharged: bool,
}

impl Signals {
    /// A patient that has just been heard of.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            log_ns: i64::MIN,
            channels: Vec::new(),
            devices: Vec::new(),
            budget: None,
            hole: None,
            past: Past::default(),
            confirm: Confirm::default(),
            limits: Arc::default(),
            heard: Heard::default(),
            ledger: Ledger::default(),
            discharged: false,
        }
    }

    /// Takes items in log order. Before each one every deadline that is due fires, so the outputs do not depend on how
    /// the log is cut into lists, nor on ticks.
    pub fn on_items(&mut self, items: &[Item], out: &mut Output) {
        for item in items {
            let (_, log_ns) = item.place();
            if let Item::Hole { since_ns, .. } = item {
                self.pass_to(*since_ns, out);
                self.channels.iter_mut().for_each(|channel| channel.silence.start_anew(log_ns));
            }
            self.pass_to(log_ns, out);
            match item {
                Item::Frame(frame, raw) => {
                    let (known, before) = (out.events.len(), out.counts);
                    self.on_frame(frame, raw, out);
                    self.review(known, item.place(), out);
                    self.ledger.note(frame, before, out.counts);
                }
                Item::Command(command, _) => self.on_command(command, out),
                Item::Tick { .. } => {}
                Item::Hole { log_seq, since_ns, log_ns } => {
                    if !self.is_of_models() {
                        out.events.extend(Hole::found(&mut self.hole, *log_seq, *since_ns, *log_ns));
                    }
                }
            }
        }
    }

    /// Log time of the last item.
    pub fn log_ns(&self) -> i64 {
        self.log_ns
    }

    /// Asks the other signals about what was found since `known` events.
    fn review(&mut self, known: usize, place: (u64, i64), out: &mut Output) {
        let channels = &self.channels;
        self.confirm.review(|| channels.iter().filter_map(Channel::witness).collect(), known, place, out);
    }

    /// Log time has come to `log_ns`: fires what is due, in order.
    fn pass_to(&mut self, log_ns: i64, out: &mut Output) {
        self.log_ns = self.log_ns.max(log_ns);
        while let Some((deadline_ns, log_seq, due)) = self.next_due() {
            match due {
                Due::Order(index) => {
                    let known = out.events.len();
                    self.channels[index].process_overdue(log_seq, deadline_ns, out);
                    self.review(known, (log_seq, deadline_ns), out);
                }
                Due::Finding => self.confirm.expire((deadline_ns, log_seq), out),
                Due::Silence(index) => {
                    let limit_ns = deadline_ns - self.channels[index].silence.since_ns;
                    let standing = self.channels[index].silence.raise();
                    self.silence(index, standing, true, limit_ns, (log_seq, deadline_ns), out);
                }
                Due::Gone(index) => self.give_up(index, (log_seq, deadline_ns), out),
                Due::Past => self.past.fire((deadline_ns, log_seq), out),
                Due::Ledger => self.ledger.tell(deadline_ns, &mut out.ledger),
                Due::Hole => out.events.extend(self.hole.take().map(|hole| hole.over(deadline_ns))),
            }
        }
    }

    fn next_due(&self) -> Option<(i64, u64, Due)> {
        let channels = self.channels.iter().enumerate();
        let orders = channels.clone().filter_map(|(index, channel)| {
            channel.order.deadline().map(|(deadline_ns, log_seq)| (deadline_ns, log_seq, Due::Order(index)))
        });
        let silences = channels.filter_map(|(index, channel)| {
            let deadline = channel.silence.deadline(self.silence_ns(channel))?;
            Some((deadline.0, deadline.1, Due::Silence(index)))
        });
        let gone = (0..self.devices.len()).filter_map(|index| {
            let (deadline_ns, log_seq) = self.gone(&self.devices[index].name)?;
            Some((deadline_ns, log_seq, Due::Gone(index)))
        });
        let hole = self.hole.map(|hole| (hole.deadline_ns(), hole.log_seq, Due::Hole));
        let past = self.past.deadline().map(|(deadline_ns, log_seq)| (deadline_ns, log_seq, Due::Past));
        let finding = self.confirm.deadline().map(|(deadline_ns, log_seq)| (deadline_ns, log_seq, Due::Finding));
        let ledger = self.ledger.deadline().map(|(deadline_ns, log_seq)| (deadline_ns, log_seq, Due::Ledger));
        let all = orders.chain(silences).chain(gone).chain(past).chain(finding).chain(hole).chain(ledger);
        all.min().filter(|(deadline_ns, _, _)| *deadline_ns <= self.log_ns)
    }

    /// Whether this is no patient, but where models say that they live: there only models speak.
    fn is_of_models(&self) -> bool {
        !self.channels.is_empty() && self.channels.iter().all(|channel| is_model(channel.name().0))
    }

    /// How long this signal may be silent at least; 0 where silence says nothing. That a model gives a patient no scores
    /// is told once for all, where it says that it lives.
    fn silence_ns(&self, channel: &Channel) -> i64 {
        match channel.kind() {
            _ if is_model(channel.name().0) && !self.is_of_models() => 0,
            Some(SignalKind::Numeric) => self.config.silence_reading_ns,
            Some(SignalKind::Questionnaire) | None => 0,
            Some(_) => self.config.silence_wave_ns,
        }
    }

    fn silence(
        &self,
        index: usize,
        standing: Standing,
        raised: bool,
        limit_ns: i64,
        (log_seq, log_ns): (u64, i64),
        out: &mut Output,
    ) {
        let origin = self.channels[index].origin(standing.boot, standing.seq);
        out.events.push(Event::Detection(Detection {
            rule: if is_model(&origin.device) { "model_silent" } else { "silence" },
            raised,
            origin,
            code: "",
            onset: standing.seq,
            onset_ns: standing.since_ns,
            value: (log_ns - standing.since_ns) as f64 / 1e9,
            limit: limit_ns as f64 / 1e9,
            evidence_ns: (standing.since_ns, log_ns),
            evidence: Evidence::default(),
            sample_ns: standing.since_ns,
            stored: false,
            log_seq,
            log_ns,
        }));
    }

    fn on_frame(&mut self, frame: &Arc<Frame>, raw: &RawMessage, out: &mut Output) {
        out.counts.received += 1;
        let device = self.device(frame);
        if let Some(detail) = self.over_budget(device, frame, raw.payload.len()) {
            out.counts.rejected += 1;
            out.rejects.push(Reject { reason: Reason::OverRate, detail, raw: raw.clone() });
            return;
        }
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
        if reason.is_none() {
            self.look_at_clock(device, index, frame, out);
        }
        if !frame.stored
            && let Some(standing) = self.channels[index].silence.heard(frame)
        {
            self.silence(index, standing, false, 0, (frame.log_seq, frame.log_ns), out);
        }
        let channel = &mut self.channels[index];
        let offset_ns = channel.segments.offset_ns(frame.boot, frame.first_sample);
        let name = &self.devices[device].name;
        store(frame, name, offset_ns, out);
        match reason {
            Some(reason) => {
                out.counts.late += 1;
                list_late(frame, name, offset_ns, reason, out);
            }
            None => out.counts.stored += 1,
        }
        if verdict == Verdict::Late {
            channel.tell_late(frame, offset_ns, out);
        } else {
            channel.order.hold(frame.clone(), offset_ns, self.config.reorder_ns);
            channel.process_ready((frame.log_seq, frame.log_ns), out);
        }
        if reason.is_some() {
            self.past.take(frame, offset_ns, self.config.reorder_ns, &self.limits, out);
        }
    }

    /// Why the device, or the patient's devices together, may not send this now.
    fn over_budget(&mut self, device: usize, frame: &Frame, bytes: usize) -> Option<String> {
        let rate = self.config.rate;
        let all = rate.times(DEVICES_OF_A_PATIENT);
        let budget = self.budget.get_or_insert_with(|| Budget::full(all, frame.log_ns));
        let limit = |who: &str, rate: Rate| {
            let Rate { frames_per_s, bytes_per_s, burst_s } = rate;
            format!(
                "{who} may send {frames_per_s} frames and {bytes_per_s} bytes a second, {burst_s} s of them at once"
            )
        };
        if !self.devices[device].may_send(rate, frame.log_ns, bytes) {
            return Some(limit("a device", rate));
        }
        (!budget.take(all, frame.log_ns, bytes)).then(|| limit("a patient's devices", all))
    }

    /// What a live frame says of its device's clock, and whether a segment begins with it.
    fn look_at_clock(&mut self, device: usize, index: usize, frame: &Frame, out: &mut Output) {
        let (device, channel) = (&mut self.devices[device], &mut self.channels[index]);
        let set_back = channel.is_set_back(frame);
        device.observe(frame, set_back);
        let origin = || channel.origin(frame.boot, frame.seq);
        device.judge(frame, origin, out);
        let offset_ns = device.clock.offset_ns();
        if channel.segments.note(frame.boot, frame.first_sample, offset_ns) {
            out.clock_segments.push(ClockRow {
                ts: frame.device_ns.saturating_add(offset_ns),
                origin: channel.origin(frame.boot, frame.seq),
                first_sample: frame.first_sample,
                offset_ns,
                reason: device.change.name(),
                uncertainty_ns: device.clock.uncertainty_ns(),
                drift_ppm: device.clock.drift_ppm(),
                log_ns: frame.log_ns,
            });
        }
    }

    /// The frame's device, new where it was not heard of.
    fn device(&mut self, frame: &Frame) -> usize {
        if let Some(index) = self.devices.iter().position(|device| *device.name == *frame.device) {
            return index;
        }
        if self.devices.len() == MAX_DEVICES {
            let oldest = (0..MAX_DEVICES).min_by_key(|&index| self.devices[index].seen_ns).unwrap_or(0);
            self.devices.remove(oldest);
        }
        self.devices.push(Device::new(&frame.device, frame.boot, self.config.rate, frame.log_ns));
        self.devices.len() - 1
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
        let mut channel = Channel::new(frame.device.as_str().into(), frame.signal, frame.boot);
        channel.limits = self.limits.clone();
        self.channels.push(channel);
        self.channels.len() - 1
    }

    /// Versioned snapshot of the patient.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut writer = Writer::new(KIND, VERSION);
        writer.one(self.log_ns).one(self.channels.len() as u16);
        for channel in &self.channels {
            channel.write(&mut writer);
        }
        writer.one(self.devices.len() as u16);
        for device in &self.devices {
            device.write(&mut writer);
        }
        writer.one(u8::from(self.budget.is_some()));
        if let Some(budget) = &self.budget {
            budget.write(&mut writer);
        }
        writer.one(u8::from(self.hole.is_some()));
        if let Some(hole) = &self.hole {
            hole.write(&mut writer);
        }
        self.past.write(&mut writer);
        self.confirm.write(&mut writer);
        self.limits.write(&mut writer);
        self.heard.write(&mut writer);
        self.ledger.write(&mut writer);
        writer.one(u8::from(self.discharged));
        writer.finish()
    }

    /// The patient of a snapshot.
    pub fn restore(snapshot: &[u8], config: Config) -> Result<Self, StateError> {
        let mut reader = Reader::open(snapshot, KIND, VERSION)?;
        let mut signals = Self { log_ns: reader.one()?, ..Self::new(config) };
        for _ in 0..reader.one::<u16>()? {
            signals.channels.push(Channel::read(&mut reader)?);
        }
        for _ in 0..reader.one::<u16>()? {
            signals.devices.push(Device::read(&mut reader)?);
        }
        if reader.one::<u8>()? != 0 {
            signals.budget = Some(Budget::read(&mut reader)?);
        }
        if reader.one::<u8>()? != 0 {
            signals.hole = Some(Hole::read(&mut reader)?);
        }
        signals.past = Past::read(&mut reader)?;
        signals.confirm = Confirm::read(&mut reader)?;
        signals.limits = Arc::new(Limits::read(&mut reader)?);
        for channel in &mut signals.channels {
            channel.limits = signals.limits.clone();
        }
        signals.past.set_limits(&signals.limits);
        signals.heard = Heard::read(&mut reader)?;
        signals.ledger = Ledger::read(&mut reader)?;
        signals.discharged = reader.one::<u8>()? != 0;
        reader.finish()?;
        Ok(signals)
    }
}
