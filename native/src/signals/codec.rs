//! Frames inside a snapshot, and text.

use bytes::Bytes;

use crate::state::{Reader, StateError, Writer};
use crate::wire::proto::{Code, Signal, Unit};
use crate::wire::{Body, Frame, Reading, Wave};

/// Reads text behind its length.
pub fn read_text(reader: &mut Reader<'_>) -> Result<String, StateError> {
    String::from_utf8(reader.part()?.to_vec()).map_err(|_| StateError::Value("text is not UTF-8"))
}

/// Reads a signal's number.
pub fn read_signal(reader: &mut Reader<'_>) -> Result<Signal, StateError> {
    Signal::try_from(reader.one::<i32>()?).map_err(|_| StateError::Value("unknown signal"))
}

/// Appends a frame.
pub fn write_frame(writer: &mut Writer, frame: &Frame) {
    writer.part(frame.device.as_bytes()).one(frame.signal as i32);
    writer.put(&[frame.boot, frame.seq, frame.first_sample, frame.log_seq]);
    writer.put(&[frame.device_ns, frame.log_ns]).one(u8::from(frame.stored)).one(frame.averaging_s);
    match &frame.body {
        Body::Wave(wave) => {
            writer.one(0_u8).put(&[wave.fs_mhz, wave.status]).one(wave.lsb).part(&wave.samples);
        }
        Body::Readings(readings) => {
            writer.one(1_u8).one(readings.len() as u16);
            for reading in readings {
                writer.put(&[reading.code as i32, reading.unit as i32]).put(&[reading.value, reading.canonical]);
                writer.put(&[reading.quality_pct, reading.status]).one(reading.device_ns);
                writer.one(u8::from(reading.suspect));
            }
        }
        Body::Answers { instrument, version, mode, answers } => {
            writer.one(2_u8).part(instrument.as_bytes()).part(version.as_bytes()).part(mode.as_bytes());
            writer.one(answers.len() as u16);
            for (item, value) in answers {
                writer.part(item.as_bytes()).one(*value);
            }
        }
    }
}

/// Reads a frame back.
pub fn read_frame(reader: &mut Reader<'_>) -> Result<Frame, StateError> {
    let device = read_text(reader)?;
    let signal = read_signal(reader)?;
    let (boot, seq, first_sample, log_seq) = (reader.one()?, reader.one()?, reader.one()?, reader.one()?);
    let (device_ns, log_ns) = (reader.one()?, reader.one()?);
    let stored = reader.one::<u8>()? != 0;
    let averaging_s = reader.one()?;
    let body = match reader.one::<u8>()? {
        0 => {
            let (fs_mhz, status, lsb) = (reader.one()?, reader.one()?, reader.one()?);
            Body::Wave(Wave { fs_mhz, lsb, status, samples: Bytes::copy_from_slice(reader.part()?) })
        }
        1 => {
            let count = reader.one::<u16>()?;
            Body::Readings((0..count).map(|_| read_reading(reader)).collect::<Result<_, _>>()?)
        }
        2 => {
            let (instrument, version, mode) = (read_text(reader)?, read_text(reader)?, read_text(reader)?);
            let count = reader.one::<u16>()?;
            let answer = |reader: &mut Reader<'_>| Ok((read_text(reader)?, reader.one()?));
            let answers = (0..count).map(|_| answer(reader)).collect::<Result<_, StateError>>()?;
            Body::Answers { instrument, version, mode, answers }
        }
        _ => return Err(StateError::Value("unknown body of a frame")),
    };
    Ok(Frame { device, boot, signal, seq, first_sample, device_ns, stored, averaging_s, body, log_seq, log_ns })
}

fn read_reading(reader: &mut Reader<'_>) -> Result<Reading, StateError> {
    let code = Code::try_from(reader.one::<i32>()?).map_err(|_| StateError::Value("unknown code"))?;
    let unit = Unit::try_from(reader.one::<i32>()?).map_err(|_| StateError::Value("unknown unit"))?;
    let (value, canonical) = (reader.one()?, reader.one()?);
    let (quality_pct, status, device_ns) = (reader.one()?, reader.one()?, reader.one()?);
    let suspect = reader.one::<u8>()? != 0;
    Ok(Reading { code, value, unit, canonical, quality_pct, device_ns, status, suspect })
}
