//! Commands to one patient's signals: who comes, who leaves, what is taken off, other limits.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::signals::channel::Channel;
use crate::signals::confirm::Confirm;
use crate::signals::device::Device;
use crate::signals::limits::{PROFILE, THRESHOLD};
use crate::signals::output::{Event, Output};
use crate::wire::Command;

use super::Signals;

/// The command after which nothing is expected of the patient's devices any more.
const DISCHARGE: &str = "discharge";
/// The command with which everything starts anew.
const ADMIT: &str = "admit";
/// The command with which one device is taken off.
const REMOVE: &str = "remove";
/// A device whose silence has stood for so long is taken off, as if somebody had: else its alerts would stand for ever.
/// Less than a day, for which idle patients still get ticks (`flow.roster_h`).
const GONE_NS: i64 = 12 * 3_600_000_000_000;
/// Commands that change something here, kept or refused: the judge remembers the same ones apart from all others.
const OURS: [&str; 5] = [DISCHARGE, ADMIT, REMOVE, THRESHOLD, PROFILE];

impl Signals {
    pub(super) fn on_command(&mut self, command: &Command, out: &mut Output) {
        let place = (command.log_seq, command.log_ns);
        // First, so that what ends by it ends as discharged, and nothing that waited is told on the way out.
        out.events.push(Event::Command(command.clone()));
        if !OURS.contains(&command.name.as_str()) || !self.heard.is_new(command) {
            return;
        }
        match command.name.as_str() {
            name @ (DISCHARGE | ADMIT) => {
                if argument(command).is_some_and(|fields| fields.is_empty()) {
                    self.start_anew(name == DISCHARGE, place, out);
                }
            }
            REMOVE => {
                let fields = argument(command).filter(|fields| fields.len() == 1);
                if let Some(Value::String(device)) = fields.as_ref().and_then(|fields| fields.get("device")) {
                    self.take_off(device, place, out);
                }
            }
            _ => {
                if Arc::make_mut(&mut self.limits).apply(command, &self.config.profiles) {
                    for channel in &mut self.channels {
                        channel.set_limits(self.limits.clone(), place, out);
                    }
                    self.past.set_limits(&self.limits);
                }
            }
        }
    }

    /// Somebody leaves, or comes: nothing that was found or learnt of who was there before goes on. Whatever is still
    /// wrong is found again, and told to whoever the patient belongs to by then. Admitting who is there changes nothing.
    fn start_anew(&mut self, leaves: bool, place: (u64, i64), out: &mut Output) {
        if !leaves && !self.discharged {
            return;
        }
        self.discharged = leaves;
        self.confirm = Confirm::default();
        self.forget(|_| true, place, out);
    }

    /// A device is worn no more: nothing is expected of it, and what it found ends. Should it be heard again, it is new.
    fn take_off(&mut self, device: &str, place: (u64, i64), out: &mut Output) {
        let known = out.events.len();
        self.forget(|name| name == device, place, out);
        self.review(known, place, out); // what waited for a witness waits no more
    }

    /// Ends what the devices of these names found, and expects nothing of them any more.
    fn forget(&mut self, of: impl Fn(&str) -> bool, place: (u64, i64), out: &mut Output) {
        self.devices.iter_mut().filter(|device| of(&device.name)).for_each(Device::start_anew);
        for index in 0..self.channels.len() {
            if !of(self.channels[index].name().0) {
                continue;
            }
            if let Some(standing) = self.channels[index].silence.disarm() {
                self.silence(index, standing, false, 0, place, out);
            }
            self.channels[index].start_anew(place, out);
        }
    }

    /// When a device of which every expected signal is silent is given up, and the message that set the time.
    pub(super) fn gone(&self, device: &str) -> Option<(i64, u64)> {
        let silent = |channel: &&Channel| channel.silence.standing.is_some();
        let mut its = self.channels.iter().filter(|channel| channel.name().0 == device);
        if !its.clone().any(|channel| silent(&channel)) || self.is_of_models() {
            return None; // nearly always
        }
        if its.any(|channel| channel.silence.deadline(self.silence_ns(channel)).is_some()) {
            return None;
        }
        let its = self.channels.iter().filter(|channel| channel.name().0 == device).filter(silent);
        its.map(|channel| {
            let silent_for = channel.silence.limit_ns(self.silence_ns(channel)).saturating_add(GONE_NS);
            (channel.silence.since_ns.saturating_add(silent_for), channel.silence.last.0)
        })
        .max()
    }

    /// Takes a device off that nobody took off.
    pub(super) fn give_up(&mut self, device: usize, (log_seq, log_ns): (u64, i64), out: &mut Output) {
        let command = Command {
            name: REMOVE.into(),
            actor: "silence".into(),
            idempotency_key: log_ns.to_string(),
            argument_json: serde_json::json!({ "device": &*self.devices[device].name }).to_string(),
            log_seq,
            log_ns,
        };
        self.on_command(&command, out);
    }
}

/// The argument of a command, which is a JSON object; absent is an empty one.
fn argument(command: &Command) -> Option<Map<String, Value>> {
    match command.argument_json.as_str() {
        "" => Some(Map::new()),
        text => serde_json::from_str(text).ok(),
    }
}
