//! Frames that come after their time: back-filled or late.
//!
//! They are stored like any other. What they say of the past is found by a second channel beside the live one, so that an
//! upload of hours disturbs no live detection; its findings are marked `stored` and page nobody. Within an upload frames
//! are taken in the order of their numbers, with the patience of the live channel; one that comes after its turn here,
//! too, is stored and detected in no more.

use std::sync::Arc;

use crate::state::{Reader, StateError, Writer};
use crate::wire::Frame;

use super::channel::Channel;
use super::limits::Limits;
use super::order::Verdict;
use super::output::{Event, Output};

/// Uploads of one patient that are followed at once; beyond it the one unheard for longest ends.
const MAX_LANES: usize = 8;
/// An upload is over after so long, in log time, without a frame.
const END_NS: i64 = 60_000_000_000;

struct Lane {
    channel: Channel,
    /// Log time and sequence of its last frame.
    last: (i64, u64),
}

/// The uploads of one patient.
#[derive(Default)]
pub struct Past(Vec<Lane>);

impl Past {
    /// Takes a frame that is stored already; `limits` are those of the patient, now and before.
    pub fn take(
        &mut self,
        frame: &Arc<Frame>,
        offset_ns: i64,
        reorder_ns: i64,
        limits: &Arc<Limits>,
        out: &mut Output,
    ) {
        let known = out.events.len();
        let place = (frame.log_seq, frame.log_ns);
        let name = (&*frame.device, frame.signal as i32);
        let found = self.0.iter().position(|lane| lane.channel.name() == name);
        if let Some(other) = found.filter(|&index| self.0[index].channel.boot != frame.boot) {
            self.0.remove(other).channel.end(place, out); // of another start of the device
        }
        if found.is_none() && self.0.len() == MAX_LANES {
            let oldest = (0..MAX_LANES).min_by_key(|&index| self.0[index].last).unwrap_or(0);
            self.0.remove(oldest).channel.end(place, out);
        }
        let index = self.0.iter().position(|lane| lane.channel.name() == name).unwrap_or_else(|| {
            let channel = Channel::of_the_past(frame.device.as_str().into(), frame.signal, frame.boot, limits.clone());
            self.0.push(Lane { channel, last: (0, 0) });
            self.0.len() - 1
        });
        let Lane { channel, last } = &mut self.0[index];
        *last = (frame.log_ns, frame.log_seq);
        if channel.order.admit(frame) == Verdict::Fresh {
            channel.order.hold(frame.clone(), offset_ns, reorder_ns);
            channel.process_ready(place, out);
        }
        mark(known, out);
    }

    /// Another change is known: what was judged stays, what comes from its time on is judged by it.
    pub fn set_limits(&mut self, limits: &Arc<Limits>) {
        self.0.iter_mut().for_each(|lane| lane.channel.limits = limits.clone());
    }

    /// The next moment at which something is due here, and the message that set it.
    pub fn deadline(&self) -> Option<(i64, u64)> {
        let ends = self.0.iter().map(|lane| (lane.last.0.saturating_add(END_NS), lane.last.1));
        ends.chain(self.0.iter().filter_map(|lane| lane.channel.order.deadline())).min()
    }

    /// What is due at this deadline.
    pub fn fire(&mut self, (deadline_ns, log_seq): (i64, u64), out: &mut Output) {
        let known = out.events.len();
        for lane in &mut self.0 {
            if lane.channel.order.deadline() == Some((deadline_ns, log_seq)) {
                lane.channel.process_overdue(log_seq, deadline_ns, out);
            }
        }
        self.0.retain_mut(|lane| {
            let over = (lane.last.0.saturating_add(END_NS), lane.last.1) == (deadline_ns, log_seq);
            if over {
                lane.channel.end((log_seq, deadline_ns), out);
            }
            !over
        });
        mark(known, out);
    }

    /// Appends the state.
    pub fn write(&self, writer: &mut Writer) {
        writer.one(self.0.len() as u8);
        for lane in &self.0 {
            lane.channel.write(writer);
            writer.one(lane.last.0).one(lane.last.1);
        }
    }

    /// Reads the state back.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let count = reader.one::<u8>()?;
        let lane = |reader: &mut Reader<'_>| {
            let mut channel = Channel::read(reader)?;
            channel.past = true;
            Ok(Lane { channel, last: (reader.one()?, reader.one()?) })
        };
        (0..count).map(|_| lane(reader)).collect::<Result<_, StateError>>().map(Self)
    }
}

/// What was found since `known` events is about the past.
fn mark(known: usize, out: &mut Output) {
    for event in &mut out.events[known..] {
        if let Event::Detection(found) = event {
            found.stored = true;
        }
    }
}
