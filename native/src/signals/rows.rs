//! A frame's own rows: a function of the frame and its clock segment alone.

use std::sync::Arc;

use crate::wire::{Body, Frame, signal_name};

use super::output::{LateRow, ObservationRow, Observed, Origin, Output, WaveRow};

/// The rows of a frame whose device time is moved by `offset_ns`.
pub fn store(frame: &Frame, device: &Arc<str>, offset_ns: i64, out: &mut Output) {
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
            ts: frame.device_ns.saturating_add(offset_ns),
            origin,
            wave: wave.clone(),
            stored: frame.stored,
            first_sample: frame.first_sample,
            device_ns: frame.device_ns,
            log_ns: frame.log_ns,
        }),
        Body::Readings(readings) => {
            let rows = readings.iter().zip(frame.first_sample..);
            out.observations.extend(rows.map(|(reading, index)| {
                observation(reading.device_ns.saturating_add(offset_ns), Observed::Reading(*reading), index)
            }));
        }
        Body::Answers { instrument, answers, .. } => {
            out.observations.extend(answers.iter().map(|(item, value)| {
                let code = format!("{instrument}.{item}");
                let value = Observed::Answer { code, value: *value, device_ns: frame.device_ns };
                observation(frame.device_ns.saturating_add(offset_ns), value, frame.first_sample)
            }));
        }
    }
}

/// Its row in `late_frames`.
pub fn list_late(frame: &Frame, device: &Arc<str>, offset_ns: i64, reason: &'static str, out: &mut Output) {
    out.late_frames.push(LateRow {
        ts: frame.device_ns.saturating_add(offset_ns),
        origin: Origin { device: device.clone(), boot: frame.boot, signal: signal_name(frame.signal), seq: frame.seq },
        reason,
        lag_ms: (frame.log_ns - frame.device_ns) as f64 / 1e6,
        log_ns: frame.log_ns,
        log_seq: frame.log_seq,
    });
}
